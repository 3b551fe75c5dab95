"""Dates of messages as IMAP writes them: `24-Nov-2026 01:02:03 +0100`. Pure.

Source: RFC 9051 §9, date-time.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LAST: Final = 253402300799.0
"""The last second of the year 9999."""
_DAY_MINUTES: Final = 24 * 60
_NUMBERS: Final = {name.lower().encode(): number for number, name in enumerate(_MONTHS, 1)}
_FORM: Final = re.compile(
    rb"\s*([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2})(?: ([+-])([0-9]{2})([0-9]{2}))?\s*"
)


def seconds(text: bytes) -> float | None:
    """Return a date as seconds since 1970; None where it is none, or lies before 1970 as some servers' null does."""
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    day, month, year, hour, minute, second, sign, zone_hour, zone_minute = found.groups()
    offset = 60 * int(zone_hour or 0) + int(zone_minute or 0)
    try:
        moment = datetime(
            int(year), _NUMBERS[month.lower()], int(day), int(hour), int(minute), min(int(second), 59), tzinfo=UTC
        )
    except (ValueError, KeyError):
        return None
    if offset >= _DAY_MINUTES:
        return None
    at = moment.timestamp() - 60 * (-offset if sign == b"-" else offset)
    return at if at >= 0 else None


def date_time(at: float) -> bytes:
    """Return seconds since 1970 as a quoted date-time, in UTC and whole seconds, within what its form can say."""
    moment = datetime.fromtimestamp(int(min(max(at, 0.0), _LAST)), UTC)
    day = f"{moment.day:02}-{_MONTHS[moment.month - 1]}-{moment.year:04}"
    return f'"{day} {moment.hour:02}:{moment.minute:02}:{moment.second:02} +0000"'.encode()
