"""Replies of the server: how a Status is said in SMTP, and how any text is made fit for a reply line.

Promises: a reply is always whole lines of printable ASCII within the line limit, whatever the text holds.
Source: RFC 5321 §4.2, §4.5.3.1.5; RFC 2034; RFC 3463.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.contract import Status

_LINE: Final = 480
"""Octets of text in one line; with code and line end it stays under the 512 of RFC 5321 §4.5.3.1.5."""

_UNFIT: Final = re.compile(r"[^ -~]+")

# RFC 5321 §4.2.3 gives these replies to RCPT and to the end of data; whatever is not named takes the default.
_BASIC: Final = {
    "4.2.2": 452,
    "4.3.1": 452,
    "4.5.3": 452,
    "5.1.3": 553,
    "5.1.6": 551,
    "5.2.2": 552,
    "5.2.3": 552,
    "5.3.4": 552,
}


def reply(code: int, enhanced: str, text: str) -> bytes:
    """Return a reply, in several lines where the text is long or has line ends.

    `enhanced` is empty for the replies that carry no enhanced code: greeting, EHLO, 354.
    """
    words = f"{enhanced} " if enhanced else ""
    lines = [part for line in text.splitlines() for part in _parts(_UNFIT.sub("?", line))] or [""]
    made = [f"{code}-{words}{line}\r\n" for line in lines[:-1]]
    made.append(f"{code} {words}{lines[-1]}\r\n")
    return "".join(made).encode("ascii")


def _parts(line: str) -> list[str]:
    parts = []
    while len(line) > _LINE:
        cut = line.rfind(" ", 0, _LINE)
        cut = cut if cut > 0 else _LINE
        parts.append(line[:cut])
        line = line[cut:].lstrip(" ")
    parts.append(line)
    return parts


def refusal(status: Status, *, at_end: bool = False) -> bytes:
    """Return the reply that says a status of class 4 or 5; `at_end` at the end of data, else for a recipient.

    A status of another class is a fault of ours, and the peer is to try again.
    """
    code = status.code
    if code[0] not in "45":
        return reply(451, "4.3.0", "a fault of this system, try again later")
    basic = _BASIC.get(code)
    if basic is None or (at_end and basic in (551, 553)):
        permanent = code[0] == "5"
        basic = (554 if permanent else 451) if at_end else (550 if permanent else 450)
    return reply(basic, code, status.text or ("refused" if code[0] == "5" else "try again later"))
