"""Dates as files of records have them: forms of strptime, zones, years of two digits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_NAMED: Final = frozenset(("iso", "epoch", "epoch-ms"))
_DIRECTIVE: Final = re.compile(r"%(.)", re.DOTALL)
_DIRECTIVES: Final = frozenset("YymdHIMSfpjbBaAzZ%")
MAX_DATE: Final = 100


def date_form(text: str) -> str:
    """Check a form of dates. Raises: ValueError."""
    if text in _NAMED:
        return text
    found = set(_DIRECTIVE.findall(text))
    if not found or not found <= _DIRECTIVES or (text.endswith("%") and not text.endswith("%%")):
        raise ValueError(
            f"a form of dates such as %Y%m%d%H%M%S or %d.%m.%y %H:%M, or one of {', '.join(sorted(_NAMED))}"
        )
    if not found & set("Yy"):
        raise ValueError("a form of dates has a year, %Y or %y")
    return text


def zone_named(text: str) -> str:
    """Check the name of a time zone. Raises: ValueError."""
    zone(text)
    return text


def zone(name: str) -> tzinfo:
    """Raises: ValueError."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"no time zone is called {name!r} on this machine; Europe/Helsinki is one") from None


def read_date(text: str, forms: Sequence[str], where: tzinfo, pivot: int) -> float | None:
    """Return the time in seconds since 1970 by the first form that fits; None where none does."""
    if len(text) > MAX_DATE:
        return None
    for form in forms:
        try:
            return _read(text, form, where, pivot)
        except (ValueError, OverflowError, OSError):
            continue
    return None


def _read(text: str, form: str, where: tzinfo, pivot: int) -> float:
    if form in ("epoch", "epoch-ms"):
        at = float(text) / (1000 if form == "epoch-ms" else 1)
        datetime.fromtimestamp(at, UTC)  # within the years that a Date field can tell
        return at
    found = datetime.fromisoformat(text) if form == "iso" else datetime.strptime(text, form)
    if form != "iso" and "%y" in form.replace("%%", ""):
        found = found.replace(year=found.year % 100 + (1900 if found.year % 100 >= pivot else 2000))
    if found.tzinfo is None:
        found = found.replace(tzinfo=where)
    return found.timestamp()


def write_date(at: float | None, form: str, where: tzinfo) -> str:
    """Return a time in this form; empty where there is none."""
    if at is None:
        return ""
    if form in ("epoch", "epoch-ms"):
        return str(int(at * (1000 if form == "epoch-ms" else 1)))
    try:
        found = datetime.fromtimestamp(at, where)
    except (ValueError, OverflowError, OSError):
        return ""
    return found.isoformat(timespec="seconds") if form == "iso" else found.strftime(form)
