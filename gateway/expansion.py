"""`${VARIABLE}` and `file:` in the texts of a configuration, and what stands for them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final

MAX_SECRET_OCTETS: Final = 64 * 1024
_FILE: Final = "file:"
_VARIABLE: Final = re.compile(r"(\$?)\$\{([^}]*)\}")
_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Wrong = Callable[[str, str, Collection[str]], None]
"""Takes what was found, what was expected, and the names of which a misspelt one may be meant."""


def has_expansion(text: str) -> bool:
    """Tell whether something else stands for a text, or for a part of it."""
    return "${" in text or text.startswith(_FILE)


def expanded(
    text: str, base: Path, environ: Mapping[str, str], wrong: Wrong, readable: Callable[[Path], None] | None = None
) -> str:
    """Return a text with variables, or its file, put in; files are relative to `base`.

    `wrong` is told what cannot be, for which nothing is put in; `readable` of a file that every user can read.
    """

    def put_in(found: re.Match[str]) -> str:
        if found[1]:  # $${NAME} stands for the text ${NAME}
            return found[0][1:]
        name = found[2]
        if not _ENV_NAME.fullmatch(name):
            wrong(f"${{{name}}}", "the name of an environment variable in ${…}", ())
        elif name not in environ:
            wrong(f"${{{name}}}", f"the environment variable {name} to be set", environ)
        else:
            return environ[name]
        return ""

    if "${" in text:
        text = _VARIABLE.sub(put_in, text)
    return _read(text, base, wrong, readable) if text.startswith(_FILE) else text


def _read(text: str, base: Path, wrong: Wrong, readable: Callable[[Path], None] | None) -> str:
    name = base / text.removeprefix(_FILE).strip()
    try:
        with name.open("rb") as file:
            octets = file.read(MAX_SECRET_OCTETS + 1)
            mode = os.fstat(file.fileno()).st_mode
    except (OSError, ValueError) as e:
        reason = e.strerror if isinstance(e, OSError) else str(e)
        wrong(f"{text} ({reason})", "a file that can be read", ())
        return ""
    if mode & 0o004 and readable is not None:
        readable(name)
    if len(octets) > MAX_SECRET_OCTETS:
        wrong(text, f"a file of at most {MAX_SECRET_OCTETS} octets", ())
        return ""
    try:
        return octets.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        wrong(text, "a file of text in UTF-8", ())
        return ""
