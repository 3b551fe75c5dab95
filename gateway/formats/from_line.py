"""The From_ line that begins each message of an mbox file: `From sender date`.

Read tolerantly, as programs of forty years wrote it: the date as asctime gives it, with or without seconds, with a
zone before or behind the year, with a year of two digits; or as RFC 5322 has it. Written as RFC 4155 has it.
Sources: mbox(5) of mutt; RFC 4155 appendix A.
"""

from __future__ import annotations

import calendar
import re
import time
from dataclasses import dataclass
from typing import Final

LINE_OCTETS: Final = 2048
"""A longer line is no From_ line."""

NULL_SENDER: Final = "MAILER-DAEMON"
"""What stands for the null reverse-path."""

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAY: Final = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTH: Final = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_CLOCK: Final = rb"(\d{1,2}):(\d\d)(?::(\d\d))?"
_LINE: Final = re.compile(
    rb"From ([^ ].*?) (?:"
    + (_DAY + rb",? (" + _MONTH + rb") (\d{1,2}) " + _CLOCK + rb"((?: [^ ]+){0,2}) (\d{4}|\d\d)((?: [^ ]+)*)|")
    + (rb"(?:" + _DAY + rb",? )?(\d{1,2}) (" + _MONTH + rb") (\d{4}|\d\d) " + _CLOCK + rb"((?: [^ ]+)*)")
    + rb")"
)
_STRICT: Final = re.compile(rb"From [^ \t@]+@[^ \t@]+ " + _DAY + b" " + _MONTH + rb" (?: \d|\d\d) \d\d:\d\d:\d\d \d{4}")
_OFFSET: Final = re.compile(rb"(?:^| )([+-])(\d\d)(\d\d)\b")


@dataclass(frozen=True, slots=True)
class FromLine:
    """`sender` is as it stands, empty where the line could not be read; `at` is in seconds since 1970."""

    sender: str = ""
    at: float | None = None

    @property
    def is_null(self) -> bool:
        """Tell whether the sender stands for the null reverse-path."""
        return self.sender.partition("@")[0].upper() == NULL_SENDER


def read(line: bytes, *, strict: bool = False) -> FromLine | None:
    """Read a line, without its end; None where it is no From_ line. `strict`: as RFC 4155 has it and no other."""
    if len(line) > LINE_OCTETS or (strict and _STRICT.fullmatch(line) is None):
        return None
    match = _LINE.fullmatch(b" ".join(line.split()))  # runs of blanks made one: or the pattern's time grows with them
    if match is None:
        return None
    sender = match[1].decode("utf-8", "surrogateescape")
    if match[2] is not None:
        month, day, year, zone = match[2], match[3], match[8], match[7] + match[9]
        clock = match.group(4, 5, 6)
    else:
        month, day, year, zone = match[11], match[10], match[12], match[16]
        clock = match.group(13, 14, 15)
    return FromLine(sender, _seconds(year, month, day, clock, zone))


def _seconds(year: bytes, month: bytes, day: bytes, clock: tuple[bytes, ...], zone: bytes) -> float | None:
    """Return the time; a zone that is only a name is taken for UTC, as RFC 4155 has it."""
    number = int(year)
    if number < 100:  # mbox(5): from 70 on they are of the last century
        number += 1900 if number >= 70 else 2000
    hour, minute, second = (int(part or 0) for part in clock)
    days = calendar.monthrange(number, _MONTHS.index(month.decode()) + 1)[1] if number > 0 else 0
    if not (1 <= int(day) <= days and hour < 24 and minute < 60 and second < 61):
        return None
    at = calendar.timegm((number, _MONTHS.index(month.decode()) + 1, int(day), hour, minute, second))
    offset = _OFFSET.search(zone)
    if offset is not None:
        east = int(offset[2]) * 3600 + int(offset[3]) * 60
        at -= east if offset[1] == b"+" else -east
    return float(at)


def write(sender: str | None, at: float) -> bytes:
    """Return the line, with its LF. A sender that cannot stand in it has what it may not hold replaced by `_`."""
    name = re.sub(r"[\s\x00-\x1f\x7f]", "_", sender or NULL_SENDER).encode("utf-8", "surrogateescape")
    return b"From %s %s\n" % (name[: LINE_OCTETS // 2], time.asctime(time.gmtime(max(0.0, at))).encode())
