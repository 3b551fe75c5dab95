"""Meetings: what the properties say is in the iCalendar, and what another program reads of the stream is the same."""

from __future__ import annotations

import re
import struct
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.tnef import Party, names, unpack
from gateway.tnef.calendar import Calendar, calendar
from gateway.tnef.properties import Key, Property, binary, boolean, number, text, time
from gateway.tnef.recurrence import read_recurrence, read_zone
from gateway.tnef.stream import MESSAGE_CLASS, Stream, write
from tests.gateway.tnef.test_reader import real

GLOBAL_ID = bytes.fromhex("040000008200E00074C5B7101A82E00800000000") + bytes(20)
STARTS = int(datetime(2026, 3, 2, 9, 0, tzinfo=UTC).timestamp())
ANN: dict[Key, Property] = {0x0C1A: text("Ann Lee"), 0x0C1E: text("SMTP"), 0x0C1F: text("ann@a.example")}
# Central Europe: an hour east, two from the last Sunday in March, 2:00, to the last in October, 3:00
ZONE = struct.pack("<3iH8HH8H", -60, 0, -60, 0, 0, 10, 0, 5, 3, 0, 0, 0, 0, 0, 3, 0, 5, 2, 0, 0, 0)


def minutes(*moment: int) -> int:
    return int((datetime(*moment) - datetime(1601, 1, 1)) / timedelta(minutes=1))  # type: ignore[arg-type]  # a date's parts


def pattern(
    frequency: int, kind: int, period: int, special: tuple[int, ...] = (), *, end: int = 0x2023, count: int = 0,
    removed: tuple[int, ...] = (), changed: tuple[bytes, ...] = (), first: int = 0, last: int = 0x5AE980DF,
    calendar: int = 0,
) -> bytes:  # fmt: skip
    """MS-OXOCAL §2.2.1.44"""
    first = first or minutes(2026, 3, 2)
    gone = tuple(sorted((*removed, *(struct.unpack_from("<I", c, 8)[0] // 1440 * 1440 for c in changed))))
    octets = struct.pack("<5H3I", 0x3004, 0x3004, frequency, kind, calendar, 0, period, 0)
    octets += struct.pack(f"<{len(special)}I", *special) + struct.pack("<3I", end, count, 0)
    octets += struct.pack(f"<I{len(gone)}I", len(gone), *gone)
    days = [struct.unpack_from("<I", c, 0)[0] // 1440 * 1440 for c in changed]
    octets += struct.pack(f"<I{len(days)}I", len(days), *days) + struct.pack("<2I", first, last)
    return octets + struct.pack("<4IH", 0x3006, 0x3009, 600, 660, len(changed)) + b"".join(changed) + bytes(8)


def meeting(kind: str = "IPM.Schedule.Meeting.Request", **more: dict[Key, Property]) -> Stream:
    properties: dict[Key, Property] = {
        names.MESSAGE_CLASS: text(kind), names.SUBJECT: text("Budget; plans, 2026"), names.BODY: text("One\r\nTwo"),
        names.STARTS: time(STARTS), names.ENDS: time(STARTS + 3600), names.LOCATION: text("Room 1"),
        names.GLOBAL_ID: binary(GLOBAL_ID), names.SEQUENCE: number(2), names.BUSY: number(2),
        names.REMINDER: boolean(True), names.REMINDER_MINUTES: number(15), names.SENT_AT: time(STARTS - 86400), **ANN,
    }  # fmt: skip
    for each in more.values():
        properties.update(each)
    recipients = (
        {names.RECIPIENT_TYPE: number(1), 0x3001: text("Bob"), 0x3002: text("SMTP"), 0x3003: text("bob@b.example")},
        {names.RECIPIENT_TYPE: number(3), 0x3001: text("Room 1"), 0x3002: text("SMTP"), 0x3003: text("room@b.example")},
    )
    return Stream(properties=properties, recipients=recipients)


def made(stream: Stream, others: tuple[Party, ...] = ()) -> Calendar:
    found = unpack(write(stream))
    assert found is not None
    result = calendar(found, others)
    assert result is not None
    return result


def lines(of: Calendar) -> list[str]:
    octets = of.octets
    assert all(len(line) <= 75 for line in octets.split(b"\r\n"))
    assert set(octets.replace(b"\r\n", b"")).isdisjoint(b"\r\n")
    return octets.decode().replace("\r\n ", "").split("\r\n")[:-1]


def test_a_request() -> None:
    found = made(meeting())
    assert (found.method, found.whole) == ("REQUEST", True)
    assert lines(found) == [
        "BEGIN:VCALENDAR",
        "PRODID:-//Gatepost//TNEF//EN",
        "VERSION:2.0",
        "METHOD:REQUEST",
        "BEGIN:VEVENT",
        "UID:" + GLOBAL_ID.hex().upper(),
        "DTSTAMP:20260301T090000Z",
        "DTSTART:20260302T090000Z",
        "DTEND:20260302T100000Z",
        "SUMMARY:Budget\\; plans\\, 2026",
        "LOCATION:Room 1",
        "DESCRIPTION:One\\nTwo",
        "SEQUENCE:2",
        "STATUS:CONFIRMED",
        "CLASS:PUBLIC",
        "PRIORITY:5",
        "TRANSP:OPAQUE",
        "X-MICROSOFT-CDO-BUSYSTATUS:BUSY",
        "X-MICROSOFT-CDO-ALLDAYEVENT:FALSE",
        'ORGANIZER;CN="Ann Lee":mailto:ann@a.example',
        'ATTENDEE;CN="Bob";ROLE=REQ-PARTICIPANT;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:bob@b.example',
        'ATTENDEE;CN="Room 1";CUTYPE=RESOURCE;ROLE=NON-PARTICIPANT;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:room'
        "@b.example",
        "BEGIN:VALARM",
        "ACTION:DISPLAY",
        "DESCRIPTION:REMINDER",
        "TRIGGER;RELATED=START:-PT15M",
        "END:VALARM",
        "END:VEVENT",
        "END:VCALENDAR",
    ]


def test_another_program_reads_the_same_meeting(tmp_path: Path) -> None:
    """The peer is ytnef: its iCalendar names the same event."""
    path = tmp_path / "winmail.dat"
    path.write_bytes(write(replace(meeting(), attributes=((MESSAGE_CLASS, b"IPM.Microsoft Schedule.MtgReq\0"),))))
    subprocess.run(["ytnef", "-f", tmp_path, "-F", path], capture_output=True, check=True, timeout=60)
    (calendar_file,) = tmp_path.glob("*.ics")
    theirs = calendar_file.read_text()
    for name in ("UID", "DTSTART", "DTEND"):
        ours = next(line for line in lines(made(meeting())) if line.startswith(f"{name}:"))
        assert ours in theirs


@pytest.mark.parametrize(
    ("kind", "method", "answer"),
    [
        ("IPM.Schedule.Meeting.Resp.Pos", "REPLY", "ACCEPTED"),
        ("IPM.Schedule.Meeting.Resp.Neg", "REPLY", "DECLINED"),
        ("IPM.Schedule.Meeting.Resp.Tent", "REPLY", "TENTATIVE"),
    ],
)
def test_an_answer_names_who_answers_and_whom(kind: str, method: str, answer: str) -> None:
    found = made(meeting(kind))
    assert found.method == method
    assert 'ORGANIZER;CN="Bob":mailto:bob@b.example' in lines(found)
    assert f'ATTENDEE;CN="Ann Lee";PARTSTAT={answer}:mailto:ann@a.example' in lines(found)


def test_a_cancellation_and_a_proposal() -> None:
    assert "STATUS:CANCELLED" in lines(made(meeting("IPM.Schedule.Meeting.Canceled")))
    proposal: dict[Key, Property] = {
        names.IS_PROPOSAL: boolean(True), names.PROPOSED_START: time(STARTS + 7200),
        names.PROPOSED_END: time(STARTS + 10800),
    }  # fmt: skip
    found = made(meeting("IPM.Schedule.Meeting.Resp.Tent", proposal=proposal))
    assert found.method == "COUNTER"
    assert "DTSTART:20260302T110000Z" in lines(found)


def test_a_meeting_made_elsewhere_keeps_its_uid() -> None:
    """MS-OXCICAL §2.1.3.1.1.20.26: a UID that is no global id stands behind `vCal-Uid`."""
    uid = GLOBAL_ID[:40] + b"vCal-Uid\x01\0\0\0abc@elsewhere.example\0"
    assert "UID:abc@elsewhere.example" in lines(made(meeting(uid={names.CLEAN_GLOBAL_ID: binary(uid)})))
    instance = GLOBAL_ID[:16] + b"\x07\xea\x03\x02" + GLOBAL_ID[20:]
    found = made(meeting(uid={names.GLOBAL_ID: binary(instance)}))
    assert "UID:" + GLOBAL_ID.hex().upper() in lines(found)


def test_those_it_is_to_may_be_named_by_the_message_around_it() -> None:
    stream = Stream(properties=meeting().properties)
    found = lines(made(stream, (Party("Cy", "cy@c.example", type=2),)))
    assert 'ATTENDEE;CN="Cy";ROLE=OPT-PARTICIPANT;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:cy@c.example' in found


def test_an_all_day_event_is_on_its_day() -> None:
    day: dict[Key, Property] = {
        names.ALL_DAY: boolean(True), names.STARTS: time(STARTS - 10 * 3600), names.ENDS: time(STARTS + 14 * 3600),
    }  # fmt: skip
    for zone in ({}, {names.ZONE: binary(ZONE)}):
        found = lines(made(meeting(day=day, zone=zone)))
        assert "DTSTART;VALUE=DATE:20260302" in found
        assert "DTEND;VALUE=DATE:20260303" in found


WEEKDAYS = 0b0111110


@pytest.mark.parametrize(
    ("octets", "rule"),
    [
        (pattern(0x200A, 0, 1440), "FREQ=DAILY;INTERVAL=1"),
        (pattern(0x200A, 0, 3 * 1440, end=0x2022, count=5), "FREQ=DAILY;INTERVAL=3;COUNT=5"),
        (pattern(0x200A, 1, 1, (WEEKDAYS,)), "FREQ=WEEKLY;INTERVAL=1;BYDAY=MO,TU,WE,TH,FR"),
        (pattern(0x200B, 1, 2, (0b10,)), "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO"),
        (pattern(0x200C, 2, 1, (2,)), "FREQ=MONTHLY;INTERVAL=1;BYMONTHDAY=2"),
        (pattern(0x200C, 2, 1, (31,)), "FREQ=MONTHLY;INTERVAL=1;BYMONTHDAY=-1"),
        (pattern(0x200C, 2, 1, (30,)), "FREQ=MONTHLY;INTERVAL=1;BYMONTHDAY=28,29,30;BYSETPOS=-1"),
        (pattern(0x200C, 3, 1, (0b100, 2)), "FREQ=MONTHLY;INTERVAL=1;BYDAY=TU;BYSETPOS=2"),
        (pattern(0x200C, 3, 1, (WEEKDAYS, 5)), "FREQ=MONTHLY;INTERVAL=1;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1"),
        (pattern(0x200D, 2, 12, (2,)), "FREQ=YEARLY;INTERVAL=1;BYMONTH=3;BYMONTHDAY=2"),
        (pattern(0x200D, 3, 12, (0b10, 1)), "FREQ=YEARLY;INTERVAL=1;BYMONTH=3;BYDAY=MO;BYSETPOS=1"),
    ],
)
def test_patterns(octets: bytes, rule: str) -> None:
    found = read_recurrence(octets)
    assert found is not None
    assert found.rule == rule
    zone: dict[Key, Property] = {names.ZONE: binary(ZONE), names.ZONE_NAME: text("(UTC+01:00) Berlin, Rome")}
    result = made(meeting(zone=zone, again={names.RECURRENCE: binary(octets)}))
    assert result.whole
    assert f"RRULE:{rule}" in lines(result)
    assert 'DTSTART;TZID="(UTC+0100) Berlin Rome":20260302T100000' in lines(result)


@pytest.mark.parametrize(
    "octets",
    [
        pattern(0x200C, 10, 1, (2,), calendar=6),
        pattern(0x200B, 1, 0, (2,)),
        pattern(0x200B, 1, 1, (0,)),
        b"",
        b"\4\x30",
    ],
)
def test_what_has_no_rule_is_not_guessed(octets: bytes) -> None:
    assert read_recurrence(octets) is None
    result = made(meeting(zone={names.ZONE: binary(ZONE)}, again={names.RECURRENCE: binary(octets)}))
    assert result.whole == (not octets)
    assert not any(line.startswith("RRULE") for line in lines(result))
    assert "DTSTART:20260302T090000Z" in lines(result)


def test_instances_that_are_left_out_or_changed() -> None:
    subject = "Møved"
    octets = subject.encode("cp1252")
    changed = struct.pack(
        "<3IHHH", minutes(2026, 3, 17, 14), minutes(2026, 3, 17, 15), minutes(2026, 3, 16, 10), 0x1 | 0x20,
        len(octets) + 1, len(octets),
    ) + octets + struct.pack("<I", 0)  # fmt: skip
    blob = pattern(
        0x200B, 1, 1, (0b10,), end=0x2021, last=minutes(2026, 4, 6), removed=(minutes(2026, 3, 9),), changed=(changed,)
    )
    zone: dict[Key, Property] = {names.ZONE: binary(ZONE), names.ZONE_NAME: text("Berlin")}
    found = lines(made(meeting(zone=zone, again={names.RECURRENCE: binary(blob)})))
    assert 'EXDATE;TZID="Berlin":20260309T100000' in found
    assert "RRULE:FREQ=WEEKLY;INTERVAL=1;BYDAY=MO;UNTIL=20260406T080000Z" in found  # summer time by then
    at = found.index('RECURRENCE-ID;TZID="Berlin":20260316T100000')
    assert found[at + 2 : at + 5] == [
        'DTSTART;TZID="Berlin":20260317T140000',
        'DTEND;TZID="Berlin":20260317T150000',
        "SUMMARY:Møved",
    ]
    assert found[4:17] == [
        "BEGIN:VTIMEZONE",
        "TZID:Berlin",
        "BEGIN:STANDARD",
        "DTSTART:16010101T030000",
        "RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10",
        "TZOFFSETFROM:+0200",
        "TZOFFSETTO:+0100",
        "END:STANDARD",
        "BEGIN:DAYLIGHT",
        "DTSTART:16010101T020000",
        "RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3",
        "TZOFFSETFROM:+0100",
        "TZOFFSETTO:+0200",
    ]


def test_a_recurrence_in_no_zone_is_told_once() -> None:
    result = made(meeting(again={names.RECURRENCE: binary(pattern(0x200A, 0, 1440))}))
    assert not result.whole
    assert "DTSTART:20260302T090000Z" in lines(result)


def test_real_appointments() -> None:
    found = calendar(real("triples"))
    assert found is not None
    assert {"DTSTART:20030523T140000Z", "DTEND:20030523T150000Z", "LOCATION:Sample Location"} <= set(lines(found))
    whit_monday = calendar(real("multi-name-property"))
    assert whit_monday is not None
    assert {"DTSTART;VALUE=DATE:20030609", "SUMMARY:Pfingstmontag"} <= set(lines(whit_monday))
    assert calendar(real("body")) is None


@given(st.binary(max_size=120), st.text(max_size=90), st.binary(max_size=60))
def test_any_properties_are_taken(blob: bytes, words: str, zone: bytes) -> None:
    more: dict[Key, Property] = {
        names.RECURRENCE: binary(struct.pack("<3H", 0x3004, 0x3004, 0x200B) + blob), names.SUBJECT: text(words),
        names.LOCATION: text(words), names.ZONE: binary(zone), names.ZONE_NAME: text(words),
        names.GLOBAL_ID: binary(blob),
    }  # fmt: skip
    found = lines(made(meeting(more=more)))
    assert sum(line == "BEGIN:VEVENT" for line in found) >= 1
    assert all(re.match(r"[A-Z-]+[;:]", line) for line in found)
    read_recurrence(blob)
    read_zone(blob)
