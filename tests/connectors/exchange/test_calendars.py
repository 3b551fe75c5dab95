"""Tasks as iCalendar: what is written is read back, and what others write is understood."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.exchange.calendars import Task, read, write

texts = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=100)
lines = st.lists(texts, max_size=3).map("\n".join)
days = st.none() | st.dates(date(1601, 1, 1), date(9000, 1, 1))
tasks = st.builds(
    Task,
    texts,
    lines,
    days,
    days,
    days,
    st.integers(0, 100),
    st.sampled_from(["NotStarted", "InProgress", "Completed", "WaitingOnOthers", "Deferred"]),
    st.sampled_from(["Low", "Normal", "High"]),
    st.sampled_from(["Normal", "Personal", "Private", "Confidential"]),
    st.lists(texts.filter(bool), max_size=3).map(tuple),
    texts.filter(bool),
)


@given(tasks)
def test_what_is_written_is_read_back(task: Task) -> None:
    octets = write(task)
    assert read(octets) == task
    assert all(len(line) <= 75 for line in octets.split(b"\r\n"))


def test_a_task_of_another_program() -> None:
    """RFC 5545 §3.6.2, the second example, with an alarm in it and lines that end in LF."""
    octets = (
        b"BEGIN:VCALENDAR\nBEGIN:VTODO\nUID:20070313T123432Z-456553@example.com\nDTSTAMP:20070313T123432Z\n"
        b"DUE;VALUE=DATE:20070501\nSUMMARY:Submit Quebec Income Tax\n  Return for 2006\nCLASS:CONFIDENTIAL\n"
        b"CATEGORIES:FAMILY,FINANCE\nSTATUS:NEEDS-ACTION\nPRIORITY:2\n"
        b"BEGIN:VALARM\nSUMMARY:not this\nEND:VALARM\nEND:VTODO\nEND:VCALENDAR\n"
    )
    assert read(octets) == Task(
        "Submit Quebec Income Tax Return for 2006",
        due=date(2007, 5, 1),
        importance="High",
        sensitivity="Confidential",
        categories=("FAMILY", "FINANCE"),
        uid="20070313T123432Z-456553@example.com",
    )


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nSUMMARY:x\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
        b"BEGIN:VTODO\r\nSUMMARY:x\r\nRRULE:FREQ=DAILY\r\nEND:VTODO\r\n",
    ],
)
def test_what_is_no_task_or_comes_again(octets: bytes) -> None:
    assert read(octets) is None


@given(st.binary(max_size=200))
def test_any_octets_are_taken(octets: bytes) -> None:
    read(b"BEGIN:VTODO\r\n" + octets)
