"""Dates in SMF files: `24-Nov-26 01:02:03 +0000`, or as RFC 822 has them. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime, parsedate_to_datetime
from typing import Final

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DASHED: Final = re.compile(
    r"(?:[A-Za-z]{3,9},? +)?(\d{1,2})-([A-Za-z]{3})-(\d{4}|\d{2})"
    r" +(\d{1,2}):(\d{2})(?::(\d{2}))?(?: *([+-])(\d{2})(\d{2}))?(?: *(?:GMT|UT|UTC))?",
    re.ASCII,
)
_PIVOT: Final = 70
_LONGEST: Final = 80


def read_date(text: str) -> str:
    """Return a date as RFC 5322 writes it; empty where it is none."""
    text = text.strip()
    if len(text) > _LONGEST:
        return ""
    try:
        found = _DASHED.fullmatch(text)
        return format_datetime(parsedate_to_datetime(text) if found is None else _dashed(found))
    except (ValueError, TypeError, OverflowError, IndexError):
        return ""


def _dashed(found: re.Match[str]) -> datetime:
    day, month, year, hour, minute, second, sign, hours, minutes = found.groups()
    number = int(year)
    if len(year) == 2:
        number += 1900 if number >= _PIVOT else 2000
    made = datetime(number, _MONTHS.index(month.lower()) + 1, int(day), int(hour), int(minute), int(second or 0))
    if sign is None:
        return made  # without a zone: written as -0000
    shift = timedelta(hours=int(hours), minutes=int(minutes))
    return made.replace(tzinfo=timezone(-shift if sign == "-" else shift))
