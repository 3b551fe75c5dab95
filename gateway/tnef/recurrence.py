"""When an appointment of Outlook's comes again: its pattern's octets to values and to RFC 5545's rule. Pure.

Promises: any octets are taken; what can't be read, or has no rule in RFC 5545 (calendars that are not Gregorian), is
None. Sources: MS-OXOCAL §2.2.1.44 (the structures), §2.2.1.39 (time zones), MS-OXCICAL §2.1.3.2.2 (rules).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gateway.charsets import decoded

MAX_INSTANCES: Final = 5000
_DAYS: Final = ("SU", "MO", "TU", "WE", "TH", "FR", "SA")
_DAY, _WEEK, _MONTH, _MONTH_NTH, _MONTH_END = 0, 1, 2, 3, 4
_DAILY, _WEEKLY, _MONTHLY, _YEARLY = 0x200A, 0x200B, 0x200C, 0x200D
_UNTIL, _COUNT = 0x2021, 0x2022
_GREGORIAN: Final = (0, 1, 2, 9, 10, 11, 12)
_ZERO: Final = datetime(1601, 1, 1)
_NO_END: Final = 0x5AE980DF
_LAST: Final = 5
# Which parts of an exception its flags announce (MS-OXOCAL §2.2.1.44.2), in their order; what has a text is apart.
_FLAGS: Final = ((0x1, None), (0x2, 4), (0x4, 4), (0x8, 4), (0x10, None), (0x20, 4), (0x40, 4), (0x80, 4), (0x100, 4))


@dataclass(frozen=True, slots=True)
class Exceptional:
    """One time at which it is otherwise. Times are local; `original` is when it was to be."""

    starts: datetime
    ends: datetime
    original: datetime
    subject: str | None = None
    location: str | None = None


@dataclass(frozen=True, slots=True)
class Recurrence:
    """A rule as RFC 5545 §3.3.10 writes it, without UNTIL, which `until` tells as a local day; the times of day in
    minutes; local days on which it is not; and the exceptions."""

    rule: str
    until: datetime | None
    starts_minutes: int
    ends_minutes: int
    removed: tuple[datetime, ...] = ()
    exceptions: tuple[Exceptional, ...] = ()


def read_recurrence(octets: bytes, charset: str = "cp1252") -> Recurrence | None:
    """Return what a pattern says; None where it can't be read or told in RFC 5545's words."""
    try:
        return _read(octets, charset)
    except (struct.error, OverflowError, ValueError):
        return None


def _read(octets: bytes, charset: str) -> Recurrence | None:
    _, _, frequency, pattern, calendar, _, period, _ = struct.unpack_from("<5H3I", octets)
    if calendar not in _GREGORIAN or not 0 < period <= 1_000_000:
        return None
    at = 22
    days = nth = 0
    if pattern in (_WEEK, _MONTH, _MONTH_END, _MONTH_NTH):
        days = struct.unpack_from("<I", octets, at)[0]
        at += 4
    if pattern == _MONTH_NTH:
        nth = struct.unpack_from("<I", octets, at)[0]
        at += 4
    end, count, _, gone = struct.unpack_from("<4I", octets, at)
    at += 16
    removed, at = _dates(octets, at, gone)
    changed = struct.unpack_from("<I", octets, at)[0]
    _, at = _dates(octets, at + 4, changed)
    first, last = struct.unpack_from("<2I", octets, at)
    at += 8
    starts, ends = 0, 0
    exceptions: list[Exceptional] = []
    if at + 18 <= len(octets):
        starts, ends, many = struct.unpack_from("<IIH", octets, at + 8)
        at += 18
        for _ in range(min(many, MAX_INSTANCES)):
            exception, at = _exception(octets, at, charset)
            exceptions.append(exception)
    rule = _rule(frequency, pattern, period, days, nth, _moment(first))
    if rule is None:
        return None
    until = None
    if end == _COUNT and count:
        rule += f";COUNT={count}"
    elif end == _UNTIL and last < _NO_END:
        until = _moment(last)
    moved = {exception.original.date() for exception in exceptions}
    return Recurrence(
        rule, until, starts % (24 * 60), ends, tuple(d for d in removed if d.date() not in moved), tuple(exceptions)
    )


def _rule(frequency: int, pattern: int, period: int, days: int, nth: int, first: datetime) -> str | None:
    by_day = ",".join(name for i, name in enumerate(_DAYS) if days >> i & 1)
    if frequency == _DAILY and pattern == _DAY:
        every = max(1, period // (24 * 60))  # minutes here alone
        return f"FREQ=DAILY;INTERVAL={every}"
    if pattern == _WEEK and by_day:
        # "Every weekday" is a daily pattern that is written as a week's.
        return f"FREQ=WEEKLY;INTERVAL={period if frequency == _WEEKLY else 1};BYDAY={by_day}"
    if pattern == _MONTH_END or (pattern == _MONTH and 1 <= days <= 31):
        on = f"BYMONTHDAY={days if pattern == _MONTH and 1 <= days <= 28 else -1}"
        if pattern == _MONTH and 28 < days < 31:
            # The last day of a shorter month counts for it (MS-OXCICAL §2.1.3.2.2.6).
            on = f"BYMONTHDAY={','.join(str(day) for day in range(28, days + 1))};BYSETPOS=-1"
    elif pattern == _MONTH_NTH and by_day and 1 <= nth <= _LAST:
        on = f"BYDAY={by_day};BYSETPOS={nth if nth < _LAST else -1}"
    else:
        return None
    if frequency == _MONTHLY:
        return f"FREQ=MONTHLY;INTERVAL={period};{on}"
    if frequency == _YEARLY and period % 12 == 0:
        return f"FREQ=YEARLY;INTERVAL={period // 12};BYMONTH={first.month};{on}"
    return None


def _dates(octets: bytes, at: int, count: int) -> tuple[list[datetime], int]:
    if count > MAX_INSTANCES:
        raise ValueError("too many instances")
    return [_moment(minutes) for minutes in struct.unpack_from(f"<{count}I", octets, at)], at + 4 * count


def _moment(minutes: int) -> datetime:
    return _ZERO + timedelta(minutes=minutes)


def _exception(octets: bytes, at: int, charset: str) -> tuple[Exceptional, int]:
    starts, ends, original, flags = struct.unpack_from("<3IH", octets, at)
    at += 14
    texts: dict[int, str] = {}
    for flag, size in _FLAGS:
        if not flags & flag:
            continue
        if size is None:
            _, length = struct.unpack_from("<2H", octets, at)
            texts[flag] = decoded(octets[at + 4 : at + 4 + length], charset)
            size = 4 + length
        at += size
    return Exceptional(_moment(starts), _moment(ends), _moment(original), texts.get(0x1), texts.get(0x10)), at


@dataclass(frozen=True, slots=True)
class Change:
    """When a zone changes to this offset: the `nth` (5: the last) `weekday` (0 is Sunday) of `month`; all 0: never."""

    offset_minutes: int
    """East of UTC."""
    month: int
    weekday: int
    nth: int
    hour: int
    minute: int


@dataclass(frozen=True, slots=True)
class Zone:
    """A time zone as Windows has it."""

    standard: Change
    daylight: Change


def read_zone(octets: bytes) -> Zone | None:
    """Return what a time zone's structure says (MS-OXOCAL §2.2.1.39); None where it can't be read."""
    if len(octets) < 48:
        return None
    bias, standard, daylight = struct.unpack_from("<3i", octets)
    changes = []
    for extra, at in ((standard, 14), (daylight, 32)):
        _, month, weekday, day, hour, minute, _, _ = struct.unpack_from("<8H", octets, at)
        if month > 12 or weekday > 6 or day > _LAST or hour > 23 or minute > 59 or abs(bias + extra) > 24 * 60:
            return None
        changes.append(Change(-(bias + extra), month, weekday, day, hour, minute))
    return Zone(*changes)
