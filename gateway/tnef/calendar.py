"""A meeting of Outlook's as iCalendar: what its properties say, in RFC 5545's words and RFC 5546's methods. Pure.

Promises: every line is one line, and folded; what the properties do not say is left out. A pattern of recurrence that
has no rule in RFC 5545 is not guessed at: the first instance is told alone, and `Calendar.whole` is False.
Sources: MS-OXCICAL §2.1.3.1.1 (properties to iCalendar), MS-OXOCAL §2.2 (the properties), RFC 5545, RFC 5546 §1.4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from gateway.octets import no_controls
from gateway.tnef import names
from gateway.tnef.properties import Key, number_of, octets_of, text_of, time_of
from gateway.tnef.reader import Party, Unpacked
from gateway.tnef.recurrence import Change, Zone, read_recurrence, read_zone

Method = Literal["REQUEST", "CANCEL", "REPLY", "COUNTER", "PUBLISH"]

_ANSWERS: Final = {"Pos": "ACCEPTED", "Neg": "DECLINED", "Tent": "TENTATIVE"}
_BUSY: Final = {0: "FREE", 1: "TENTATIVE", 2: "BUSY", 3: "OOF"}
_CLASSES: Final = {1: "X-PERSONAL", 2: "PRIVATE", 3: "CONFIDENTIAL"}
_PRIORITIES: Final = {0: 9, 2: 1}
_DAYS: Final = ("SU", "MO", "TU", "WE", "TH", "FR", "SA")
_VCAL: Final = b"vCal-Uid\x01\0\0\0"
_ORIGIN: Final = 40
"""Octets before a global id's own data (MS-OXOCAL §2.2.1.27)."""
_LINE: Final = 75
_NEVER: Final = 0x5AE980E0  # "no date", in minutes, of an old client


@dataclass(frozen=True, slots=True)
class Calendar:
    """An iCalendar object: its method, its octets, and whether it says all that the properties did."""

    method: Method
    octets: bytes
    whole: bool = True


def calendar(unpacked: Unpacked, others: Sequence[Party] = ()) -> Calendar | None:
    """Return the meeting or appointment that a stream holds; None where it holds none, or one without a start.

    `others` are those the message around it is to, for a stream that names no recipients.
    """
    method = method_of(unpacked)
    if method is None:
        return None
    event = _Event(unpacked, method, unpacked.recipients or tuple(others))
    if event.starts is None:
        return None
    lines = [
        "BEGIN:VCALENDAR",
        "PRODID:-//Gatepost//TNEF//EN",
        "VERSION:2.0",
        f"METHOD:{method}",
        *event.zone_lines(),
        *event.lines(),
        "END:VCALENDAR",
    ]
    return Calendar(method, b"".join(map(_folded, lines)), event.whole)


def method_of(unpacked: Unpacked) -> Method | None:
    """Return what a class of messages asks its recipient to do; None where it is no appointment."""
    kind = unpacked.message_class
    lower = kind.lower()
    if lower.startswith("ipm.schedule.meeting.request"):
        return "REQUEST"
    if lower.startswith("ipm.schedule.meeting.canceled"):
        return "CANCEL"
    if lower.startswith("ipm.schedule.meeting.resp."):
        return "COUNTER" if number_of(unpacked.properties, names.IS_PROPOSAL) else "REPLY"
    return "PUBLISH" if lower.startswith("ipm.appointment") else None


class _Event:
    def __init__(self, unpacked: Unpacked, method: Method, recipients: Sequence[Party]) -> None:
        self._of = unpacked
        self._properties = unpacked.properties
        self._method = method
        self._recipients = recipients
        start = self._time(names.STARTS, names.COMMON_START, names.START)
        end = self._time(names.ENDS, names.COMMON_END, names.END)
        if method == "COUNTER":
            start = self._time(names.PROPOSED_START) or start
            end = self._time(names.PROPOSED_END) or end
        self.starts = start
        self._ends = end if end is not None and start is not None and end >= start else None
        self._all_day = bool(number_of(self._properties, names.ALL_DAY))
        self._zone = read_zone(octets_of(self._properties, names.ZONE))
        pattern = octets_of(self._properties, names.RECURRENCE)
        self._recurrence = read_recurrence(pattern, unpacked.charset) if pattern else None
        self.whole = not pattern or self._recurrence is not None
        if self._recurrence is not None and self._zone is None and not self._all_day:
            self._recurrence, self.whole = None, False  # in which zone it comes again is not known

    def _time(self, *keys: Key) -> int | None:
        return next((found for key in keys if (found := time_of(self._properties, key)) is not None), None)

    def _text(self, key: Key) -> str:
        return text_of(self._properties, key, self._of.charset)

    def lines(self) -> Iterator[str]:
        yield from self._event()
        recurrence = self._recurrence
        if recurrence is None:
            return
        for one in recurrence.exceptions:
            which = f"RECURRENCE-ID{self._local(one.original)}"
            yield from self._event((which,), one.starts, one.ends, one.subject, one.location)

    def _event(
        self,
        more: Sequence[str] = (),
        starts: datetime | None = None,
        ends: datetime | None = None,
        subject: str | None = None,
        location: str | None = None,
    ) -> Iterator[str]:
        properties = self._properties
        yield "BEGIN:VEVENT"
        yield f"UID:{_text(self._uid())}"
        yield from more
        stamp = self._time(names.CHANGED_AT, names.ANSWERED_AT, names.REPLIED_AT)
        yield f"DTSTAMP:{_utc(stamp or self._of.sent_at or self.starts or 0)}"
        if starts is not None and ends is not None:
            yield f"DTSTART{self._local(starts)}"
            yield f"DTEND{self._local(ends)}"
        else:
            yield from self._when()
        yield f"SUMMARY:{_text(self._of.subject if subject is None else subject)}"
        where = self._text(names.LOCATION) if location is None else location
        if where:
            yield f"LOCATION:{_text(where)}"
        if self._of.text.strip():
            yield f"DESCRIPTION:{_text(self._of.text)}"
        yield f"SEQUENCE:{max(0, number_of(properties, names.SEQUENCE) or 0)}"
        if self._method == "CANCEL":
            yield "STATUS:CANCELLED"
        elif self._method == "REQUEST":
            yield "STATUS:CONFIRMED"
        yield f"CLASS:{_CLASSES.get(number_of(properties, names.SENSITIVITY) or 0, 'PUBLIC')}"
        yield f"PRIORITY:{_PRIORITIES.get(number_of(properties, names.IMPORTANCE) or 1, 5)}"
        busy = _BUSY.get(number_of(properties, names.BUSY) or 0, "BUSY")
        yield f"TRANSP:{'TRANSPARENT' if busy == 'FREE' else 'OPAQUE'}"
        yield f"X-MICROSOFT-CDO-BUSYSTATUS:{busy}"
        yield f"X-MICROSOFT-CDO-ALLDAYEVENT:{'TRUE' if self._all_day else 'FALSE'}"
        keywords = properties.get(names.KEYWORDS)
        if keywords is not None and keywords.type == 0x1F:
            words = (octets.decode("utf-16-le", "replace").partition("\0")[0] for octets in keywords.values[:100])
            yield f"CATEGORIES:{','.join(_text(word) for word in words if word)}"
        yield from self._people()
        if number_of(properties, names.REMINDER) and self._method in ("REQUEST", "PUBLISH"):
            minutes = number_of(properties, names.REMINDER_MINUTES)
            if minutes is not None and 0 <= minutes < _NEVER:
                yield "BEGIN:VALARM"
                yield "ACTION:DISPLAY"
                yield "DESCRIPTION:REMINDER"
                yield f"TRIGGER;RELATED=START:-PT{minutes}M"
                yield "END:VALARM"
        yield "END:VEVENT"

    def _when(self) -> Iterator[str]:
        assert self.starts is not None
        recurrence = self._recurrence
        if recurrence is None and not self._all_day:
            yield f"DTSTART:{_utc(self.starts)}"
            if self._ends is not None:
                yield f"DTEND:{_utc(self._ends)}"
            return
        first = self._in_zone(self.starts)
        yield f"DTSTART{self._local(first)}"
        if self._ends is not None:
            yield f"DTEND{self._local(self._in_zone(self._ends))}"
        if recurrence is None:
            return
        rule = recurrence.rule
        if recurrence.until is not None:
            last = recurrence.until + timedelta(minutes=recurrence.starts_minutes)
            rule += f";UNTIL={last:%Y%m%d}" if self._all_day else f";UNTIL={_utc(self._from_zone(last))}"
        yield f"RRULE:{rule}"
        for day in recurrence.removed:
            yield f"EXDATE{self._local(day + timedelta(minutes=recurrence.starts_minutes))}"

    def _people(self) -> Iterator[str]:
        sender = self._of.sender
        if self._method in ("REPLY", "COUNTER"):
            organizer = next((party for party in self._recipients if party.type in (0, 1)), None)
            if organizer is not None:
                yield _party("ORGANIZER", organizer)
            if sender is not None:
                kind = self._of.message_class.rpartition(".")[2].capitalize()
                yield _party("ATTENDEE", sender, f";PARTSTAT={_ANSWERS.get(kind, 'TENTATIVE')}")
            return
        if sender is not None and (self._method != "PUBLISH" or self._recipients):
            yield _party("ORGANIZER", sender)
        for party in self._recipients:
            if sender is not None and party.address.lower() == sender.address.lower():
                continue
            role = {2: ";ROLE=OPT-PARTICIPANT", 3: ";CUTYPE=RESOURCE;ROLE=NON-PARTICIPANT"}.get(
                party.type, ";ROLE=REQ-PARTICIPANT"
            )
            asked = ";PARTSTAT=NEEDS-ACTION;RSVP=TRUE" if self._method == "REQUEST" else ""
            yield _party("ATTENDEE", party, role + asked)

    def _uid(self) -> str:
        octets = octets_of(self._properties, names.CLEAN_GLOBAL_ID)
        if not octets:
            octets = octets_of(self._properties, names.GLOBAL_ID)
            octets = octets[:16] + bytes(4) + octets[20:] if len(octets) >= 20 else octets  # which instance it is
        if octets[_ORIGIN : _ORIGIN + len(_VCAL)] == _VCAL:
            return octets[_ORIGIN + len(_VCAL) :].partition(b"\0")[0].decode("utf-8", "replace")
        if octets:
            return octets.hex().upper()
        return self._of.message_id.strip("<>") or f"{self.starts}-{self._of.subject}"

    def _local(self, moment: datetime) -> str:
        """Return parameters and value of a time in the event's own zone."""
        if self._all_day:
            return f";VALUE=DATE:{moment:%Y%m%d}"
        if self._zone is None:
            return f":{_utc(self._from_zone(moment))}"
        return f";TZID={self._zone_name()}:{moment:%Y%m%dT%H%M%S}"

    def _zone_name(self) -> str:
        name = "".join(c for c in no_controls(self._text(names.ZONE_NAME)) if c not in '";:,')
        return f'"{name or "the zone of the organizer"}"'

    def zone_lines(self) -> Iterator[str]:
        if self._zone is None or self._recurrence is None or self._all_day:
            return
        yield "BEGIN:VTIMEZONE"
        yield f"TZID:{_text(self._zone_name().strip(chr(34)))}"
        zone = self._zone
        changing = bool(zone.standard.month and zone.daylight.month)
        for name, to, before in (
            ("STANDARD", zone.standard, zone.daylight),
            ("DAYLIGHT", zone.daylight, zone.standard),
        ):
            if name == "DAYLIGHT" and not changing:
                continue
            yield f"BEGIN:{name}"
            yield f"DTSTART:16010101T{to.hour if changing else 0:02}{to.minute if changing else 0:02}00"
            if changing:
                nth = -1 if to.nth == 5 else to.nth
                yield f"RRULE:FREQ=YEARLY;BYDAY={nth}{_DAYS[to.weekday]};BYMONTH={to.month}"
            yield f"TZOFFSETFROM:{_offset(before.offset_minutes if changing else to.offset_minutes)}"
            yield f"TZOFFSETTO:{_offset(to.offset_minutes)}"
            yield f"END:{name}"
        yield "END:VTIMEZONE"

    def _in_zone(self, seconds: int) -> datetime:
        moment = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
        if self._zone is None:
            if self._all_day:  # it begins at midnight somewhere: at the one that is next to it
                return (moment + timedelta(hours=12)).replace(hour=0, minute=0, second=0)
            return moment
        local = moment + timedelta(minutes=self._zone.standard.offset_minutes)
        return moment + timedelta(minutes=_offset_at(self._zone, local))

    def _from_zone(self, local: datetime) -> int:
        offset = 0 if self._zone is None else _offset_at(self._zone, local)
        return int((local - timedelta(minutes=offset)).replace(tzinfo=UTC).timestamp())


def _offset_at(zone: Zone, local: datetime) -> int:
    """Return the offset in minutes at a local time; in the hour that comes twice, that of the standard time."""
    standard, daylight = zone.standard, zone.daylight
    if not (standard.month and daylight.month):
        return standard.offset_minutes
    into, out = _change_in(local.year, daylight), _change_in(local.year, standard)
    summer = into <= local < out if into < out else not out <= local < into
    return daylight.offset_minutes if summer else standard.offset_minutes


def _change_in(year: int, change: Change) -> datetime:
    first = datetime(year, change.month, 1, change.hour, change.minute)
    weekday = (first.weekday() + 1) % 7  # Sunday is 0 here
    day = first + timedelta(days=(change.weekday - weekday) % 7 + 7 * (max(change.nth, 1) - 1))
    while day.month != change.month:
        day -= timedelta(days=7)
    return day


def _party(what: str, party: Party, parameters: str = "") -> str:
    name = no_controls(party.name).replace('"', "'")
    named = f';CN="{name}"' if name else ""
    address = no_controls(party.smtp)
    if not address:
        # RFC 5545 wants an address; one that is no mail address is said so, and not made up.
        return f"{what}{named}{parameters}:invalid:nomail"
    return f"{what}{named}{parameters}:mailto:{address}"


def _offset(minutes: int) -> str:
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}{abs(minutes) % 60:02}"


def _utc(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y%m%dT%H%M%SZ}"


def _text(value: str) -> str:
    """Escape a text (RFC 5545 §3.3.11)."""
    value = value.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,")
    return "\\n".join(no_controls(line) for line in value.replace("\r\n", "\n").rstrip("\n").split("\n"))


def _folded(line: str) -> bytes:
    """Fold a line to 75 octets, never within a character (RFC 5545 §3.1)."""
    pieces: list[bytes] = []
    piece = b""
    for character in line:
        octets = character.encode("utf-8", "replace")
        if len(piece) + len(octets) > _LINE:
            pieces.append(piece)
            piece = b" "
        piece += octets
    return b"\r\n".join([*pieces, piece]) + b"\r\n"
