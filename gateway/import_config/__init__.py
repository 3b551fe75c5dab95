"""Import of configurations: what sendmail, Postfix and Exim were told, as a configuration of this gateway.

A reader (`postfix`, `sendmail`, `exim`) makes an `Outline` of the files of its system, `tables` turns the tables that
the outline names into identities, rules and routes, and `writer` makes of both a `gatepost.toml`, a `people.csv` and
the list of all that was not taken.

Promises: nothing of the other system is changed, run or connected to; whatever is not taken is in the list, with its
place, the reason, and what can be done; where the meaning of a setting is in doubt, the stricter one is taken, so that
the result relays for nobody for whom the other system did not; secrets go into files of mode 0600 and nowhere else.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Final

from gateway.import_config.files import Files
from gateway.import_config.outline import Outline

FOLDERS: Final = {"sendmail": "/etc/mail", "postfix": "/etc/postfix", "exim": "/etc/exim4"}


def read(system: str, root: Path, folder: Path | None, hostname: str) -> Outline:
    """Return what a system's configuration says.

    `folder` is where it lies on the other machine, whose files are below `root`. Raises: FilesError.
    """
    reader = import_module(f"gateway.import_config.{system}")
    outline: Outline = reader.read(Files(root), str(folder) if folder is not None else FOLDERS[system], hostname)
    return outline
