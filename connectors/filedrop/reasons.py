"""The text beside a file that was not taken: which file, which place, what was found and expected, how to retry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from connectors.filedrop.formats import Bad
from connectors.filedrop.names import shown

REASON: Final = ".reason.txt"
MAX_TOLD: Final = 20
"""Faults of one file that its text tells of."""

NOT_REGULAR: Final = Bad(
    "filedrop.not-regular", 0, 0, "a link, device or pipe, not a file", "put the file itself into the inbox"
)
NO_PERMISSION: Final = Bad(
    "filedrop.no-permission", 0, 0, "the gateway may not read the file", "let the gateway's user read it"
)

TOO_MUCH_MEMORY: Final = Bad(
    "filedrop.too-much-memory", 0, 0, "reading the file took more memory than there is, twice",
    "split the file, or report the fault with it",
)  # fmt: skip


def too_big(size: int, limit: int) -> Bad:
    mend = "write a smaller file, or raise max_file_bytes"
    return Bad("filedrop.too-big", 0, 0, f"{size} octets, the limit is {limit}", mend)


def wrong_trigger(text: str) -> Bad:
    return Bad("filedrop.trigger-mismatch", 0, 0, text, "write the whole file, then a trigger that says what it holds")


def no_attachment(name: str) -> Bad:
    text = f"the file {shown(name)}, which the message names, did not come"
    return Bad("filedrop.no-attachment", 0, 0, text, "put it into its folder before the file that names it")


def not_safe(text: str) -> Bad:
    return Bad("filedrop.unsafe-name", 0, 0, text, "name a file of the folder, by its name alone")


def explain(
    name: str, kept_as: str, bad: Sequence[Bad], *, retry: str, accepted: int = 0, alone: bool = False
) -> bytes:
    """Return the text for a file once called `name` and kept as `kept_as`.

    `retry` says how to have it taken again; `accepted` of its messages were, and would be taken twice. `alone`: what
    is kept is a message of the file, and what came with it where that cannot be parted; places are those in the file.
    """
    lines = [f"The file {shown(name)} was not taken, and its message not sent.", f"It is kept as {shown(kept_as)}."]
    if accepted:
        lines[0] = f"Of the file {shown(name)} {accepted} messages were accepted; what follows was not."
    elif alone:
        lines[0] = f"A message of the file {shown(name)} was not taken, and not sent."
        lines += ["What else was in the file was accepted, or is kept likewise."]
    whose = f" of {shown(name)} as it came" if alone else ""
    for one in bad[:MAX_TOLD]:
        lines += ["", f"why:    {_line(one.text)}", f"rule:   {one.rule}"]
        if one.line:
            lines.append(f"place:  line {one.line}, octet {one.offset}{whose}")
        elif one.offset:
            lines.append(f"place:  octet {one.offset}{whose}")
        if one.found:
            lines.append(f"found:  {_quoted(one.found)}")
        lines.append(f"mend:   {_line(one.mend)}")
    if len(bad) > MAX_TOLD:
        lines += ["", "And so on; `gatepost filedrop try` shows all that is wrong with it."]
    lines += ["", f"retry:  {retry}"]
    if accepted:
        lines.append("        First take the accepted messages out of it, or they are sent twice.")
    lines.append("        This text is of no use then; delete it.")
    return ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")


def _quoted(octets: bytes) -> str:
    """Return octets in quotes: as text where they are text, else with each that is none in hexadecimal."""
    try:
        return repr(octets.decode())
    except UnicodeDecodeError:
        return repr(octets)[1:]


def _line(text: str) -> str:
    return " ".join(text.split())
