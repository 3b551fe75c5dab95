"""Tasks as iCalendar: what Exchange has no MIME for is written as a VTODO, and read of one. Pure.

Appointments and contacts need nothing here: their MIME is iCalendar and vCard.
Promises: what is written is read back equal; any octets are taken, and what is no task is None. A task that comes again
has no form here, for its rule would be lost: it is not written at all.
Sources: RFC 5545 §3.6.2 (VTODO), §3.1 (lines), §3.3.11 (texts); MS-OXWSTASK (the fields), MS-OXOTASK §2.2.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

_LINE: Final = 75
_MAX_OCTETS: Final = 1024 * 1024
_FOLD: Final = re.compile(r"\r?\n[ \t]")
_NAME: Final = re.compile(r"([A-Za-z0-9-]{1,60})((?:;[^:\"]{0,500}(?:\"[^\"]{0,500}\")?)*):(.*)", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_COMMA: Final = re.compile(r"(?<!\\),")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]+")
_TO_STATUS: Final = {
    "NotStarted": "NEEDS-ACTION", "InProgress": "IN-PROCESS", "Completed": "COMPLETED",
    "WaitingOnOthers": "NEEDS-ACTION", "Deferred": "NEEDS-ACTION",
}  # fmt: skip
_FROM_STATUS: Final = {
    "NEEDS-ACTION": "NotStarted", "IN-PROCESS": "InProgress", "COMPLETED": "Completed", "CANCELLED": "Deferred",
}  # fmt: skip
_STATUS: Final = "X-GATEPOST-STATUS"
"""What Exchange says, where RFC 5545 has no word for it."""
_PRIORITIES: Final = {"Low": "9", "Normal": "5", "High": "1"}
_CLASSES: Final = {"Normal": "PUBLIC", "Personal": "X-PERSONAL", "Private": "PRIVATE", "Confidential": "CONFIDENTIAL"}


@dataclass(frozen=True, slots=True)
class Task:
    """A task; days are local ones, as Outlook has them."""

    subject: str
    body: str = ""
    starts: date | None = None
    due: date | None = None
    completed: date | None = None
    percent: int = 0
    status: str = "NotStarted"
    importance: str = "Normal"
    sensitivity: str = "Normal"
    categories: tuple[str, ...] = ()
    uid: str = ""


def write(task: Task) -> bytes:
    """Return a task as an iCalendar object."""
    lines = [
        "BEGIN:VCALENDAR", "PRODID:-//Gatepost//Tasks//EN", "VERSION:2.0", "BEGIN:VTODO",
        f"UID:{_text(task.uid or task.subject)}",
        "DTSTAMP:19700101T000000Z",
        f"SUMMARY:{_text(task.subject)}",
    ]  # fmt: skip
    if task.body:
        lines.append(f"DESCRIPTION:{_text(task.body)}")
    for name, day in (("DTSTART", task.starts), ("DUE", task.due)):
        if day is not None:
            lines.append(f"{name};VALUE=DATE:{day:%Y%m%d}")
    if task.completed is not None:
        lines.append(f"COMPLETED:{task.completed:%Y%m%d}T000000Z")
    lines.append(f"STATUS:{_TO_STATUS.get(task.status, 'NEEDS-ACTION')}")
    if _FROM_STATUS.get(_TO_STATUS.get(task.status, "")) != task.status:
        lines.append(f"{_STATUS}:{_text(task.status)}")
    lines.append(f"PERCENT-COMPLETE:{task.percent}")
    lines.append(f"PRIORITY:{_PRIORITIES.get(task.importance, '5')}")
    lines.append(f"CLASS:{_CLASSES.get(task.sensitivity, 'PUBLIC')}")
    if task.categories:
        lines.append(f"CATEGORIES:{','.join(map(_text, task.categories))}")
    return b"".join(map(_folded, [*lines, "END:VTODO", "END:VCALENDAR"]))


def read(octets: bytes) -> Task | None:
    """Return the task that an iCalendar object holds; None where it holds none, or one that comes again."""
    fields = dict(_fields(octets[:_MAX_OCTETS].decode("utf-8", "replace")))
    if not fields or "RRULE" in fields:
        return None
    status = _FROM_STATUS.get(fields.get("STATUS", "").upper(), "NotStarted")
    own = _plain(fields.get(_STATUS, ""))
    percent = fields.get("PERCENT-COMPLETE", "0")
    return Task(
        _plain(fields.get("SUMMARY", "")),
        _plain(fields.get("DESCRIPTION", "")),
        _day(fields.get("DTSTART")),
        _day(fields.get("DUE")),
        _day(fields.get("COMPLETED")),
        min(100, int(percent)) if percent.isascii() and percent.isdigit() and len(percent) < 4 else 0,
        own if own in _TO_STATUS else status,
        _named(_PRIORITIES, _priority(fields.get("PRIORITY", "5")), "Normal"),
        _named(_CLASSES, fields.get("CLASS", "PUBLIC").upper(), "Normal"),
        tuple(word for each in _COMMA.split(fields.get("CATEGORIES", "")) if (word := _plain(each))),
        _plain(fields.get("UID", "")),
    )


def _fields(text: str) -> Iterator[tuple[str, str]]:
    """Yield name and value of each line of the first VTODO, but those of what is inside it (alarms)."""
    depth = 0
    for line in _FOLD.sub("", text).splitlines():
        upper = line.strip().upper()
        if upper == "BEGIN:VTODO" and not depth:
            depth = 1
        elif depth and upper.startswith("BEGIN:"):
            depth += 1
        elif depth and upper.startswith("END:"):
            depth -= 1
            if not depth:
                return
        elif depth == 1 and (match := _NAME.fullmatch(line)) is not None:
            yield match[1].upper(), match[3]


def _named(names: Mapping[str, str], value: str, otherwise: str) -> str:
    return next((name for name, each in names.items() if each == value), otherwise)


def _priority(text: str) -> str:
    """RFC 5545 §3.8.1.9: 1 to 4 are high, 5 is in the middle, 6 to 9 are low."""
    if text[:1] in "1234" and text:
        return "1"
    return "9" if text[:1] in "6789" and text else "5"


def _day(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return datetime.strptime(text[:8], "%Y%m%d").replace(tzinfo=UTC).date()
    except ValueError:
        return None


def _text(value: str) -> str:
    value = value.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,")
    return _CONTROL.sub(" ", value.replace("\r\n", "\n").replace("\n", "\\n"))


def _plain(value: str) -> str:
    return _ESCAPE.sub(lambda match: "\n" if match[1] in "nN" else match[1], value)


def _folded(line: str) -> bytes:
    pieces: list[bytes] = []
    piece = b""
    for character in line:
        octets = character.encode("utf-8", "replace")
        if len(piece) + len(octets) > _LINE:
            pieces.append(piece)
            piece = b" "
        piece += octets
    return b"\r\n".join([*pieces, piece]) + b"\r\n"
