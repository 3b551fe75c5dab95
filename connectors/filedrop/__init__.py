"""filedrop: messages handed over as files in folders, the oldest gateway protocol there is.

Promises: a file is taken by exactly one worker and leaves only after its message's commit; a file that is put
appears whole, under a name that a retry finds again. What the files hold is a format's business (`formats/`).
Refuses: links, devices, pipes, files over a bound. A bad file is kept with a text that says why and how to mend it.
Known limits: a writer must write under another name and rename, or the file may be read half; on a share without
file events a file waits for the next look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from connectors.filedrop.connector import FileDrop

__all__ = ["FileDrop"]


def __getattr__(name: str) -> Any:
    """Import the connector where it is asked for: `gatepost --help` loads this package for its command alone."""
    if name != "FileDrop":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from connectors.filedrop.connector import FileDrop

    return FileDrop
