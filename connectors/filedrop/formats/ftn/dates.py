"""Dates of FidoNet messages: local time, two digits of a year, the zone apart in TZUTC or not told at all.

A year below 80 is one of this century. Source: FTS-0001, with the form of SEAdog, which has a weekday and no seconds.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from email.utils import parsedate_to_datetime
from typing import Final
from zoneinfo import ZoneInfo

from connectors.filedrop.formats.ftn.text import write_zone

_MONTHS: Final = "JanFebMarAprMayJunJulAugSepOctNovDec"
_DATE: Final = re.compile(
    r"(?:[A-Za-z]{2,9},?\s+)?([0-9]{1,2})\s+([A-Za-z]{3})[a-z]*\s+([0-9]{2,4})\s+([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?"
)
_PIVOT: Final = 80
_CENTURY: Final = 100


def read_date(octets: bytes) -> datetime | None:
    """Return the local time that a message's date field tells, without its zone; None where it tells none."""
    match = _DATE.match(octets.decode("ascii", "replace").strip())
    if match is None:
        return None
    month = _MONTHS.lower().find(match[2].lower())
    year = int(match[3])
    if month % 3 or month < 0:
        return None
    if year < _CENTURY:
        year += 2000 if year < _PIVOT else 1900
    try:
        return datetime(year, month // 3 + 1, int(match[1]), int(match[4]), int(match[5]), int(match[6] or 0))
    except ValueError:
        return None


def usual_zone(name: str) -> tzinfo:
    """Return a time zone by name. UTC needs no data of the system's. Raises: OSError, ValueError, KeyError."""
    return UTC if name == "UTC" else ZoneInfo(name)


def in_zone(local: datetime, minutes: int | None, usual: tzinfo) -> datetime:
    """Return a local time in the zone that TZUTC tells, or in the usual one."""
    zone = usual if minutes is None else timezone(timedelta(minutes=minutes))
    return local.replace(tzinfo=zone)


def write_date(at: datetime) -> bytes:
    """Return a message's date field: 19 octets, two blanks between date and time."""
    month = _MONTHS[at.month * 3 - 3 : at.month * 3]
    return f"{at.day:02} {month} {at.year % 100:02}  {at.hour:02}:{at.minute:02}:{at.second:02}".encode("ascii")


def sent_at(field: str, otherwise: float) -> datetime:
    """Return when a Date field says that a message was sent, in its own zone; `otherwise` where it says nothing."""
    try:
        found = parsedate_to_datetime(field)
        if found.tzinfo is None:  # RFC 5322 §3.3: -0000 tells UTC, and nothing of the place
            found = found.replace(tzinfo=UTC)
        found.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return datetime.fromtimestamp(otherwise, UTC)
    return found


def zone_of(at: datetime) -> str:
    """Return the value of the TZUTC line for a time."""
    offset = at.utcoffset() or timedelta()
    return write_zone(int(offset.total_seconds() // 60))
