"""Verdict: what one outcome means for one delivery. Pure.

Promises: exactly one settlement per outcome; a delivery ends only by Delivered, by Failed or by its age; a failure that
nobody would hear of (a report that could not be delivered, a null reverse-path) is parked, not forgotten.
Sources: RFC 3461 §4.1, §5.2; RFC 5321 §4.5.4.1 (giving up), §6.1 (no report on a null reverse-path).
"""

from __future__ import annotations

from typing import Any, Final

from gateway.dsn import due
from gateway.fidelity import INTACT, Fidelity, Note, plain
from gateway.outcome import Deferred, Delivered, Failed, Outcome
from gateway.report import Action, RecipientReport
from gateway.spool.api import Again, Delivery, Done, Settlement, State, Stored, TraceEvent
from gateway.status import EXPIRED, FAULT, Status

NOT_SETTLED: Final = Deferred(FAULT.but(cause="the connector returned without an outcome"))
CANCELLED: Final = Deferred(FAULT.but(cause="the attempt was cancelled; it may have gone through"))
RAISED: Final = FAULT.but(cause="the connector raised an exception")
HUNG: Final = FAULT.but(cause="the connector settled nothing in time")

Verdict = tuple[Settlement, RecipientReport | None]


def judge(
    message: Stored,
    delivery: Delivery,
    outcome: Outcome,
    now: float,
    *,
    retry_at: float = 0.0,
    delay_warning_s: float = 0.0,
    reports_itself: bool = False,
    fidelity: Fidelity = INTACT,
) -> Verdict:
    """Return the settlement of a delivery, and its part of the report that is due.

    `retry_at` is when to try again should it be deferred. `reports_itself`: the next hop gives success reports of
    its own (RFC 3461 §5.2.1), so a plain Delivered needs none of ours.
    """
    if type(outcome) is Delivered:
        report = None
        if delivery.notify and (outcome.relayed or not reports_itself):
            # RFC 3461 §5.2.2
            action = Action.RELAYED if outcome.relayed else Action.DELIVERED
            if due(action, delivery.notify, message.envelope.reverse_path):
                report = part(delivery, action, outcome.status, now)
        notes = outcome.notes
        if fidelity.notes:
            notes = fidelity.notes + notes
        return Done(delivery.id, _event(message.id, delivery, now, "delivered", outcome.status, notes)), report
    if type(outcome) is Failed:
        return _failed(message, delivery, outcome.status, now, fidelity)
    assert type(outcome) is Deferred, outcome
    if now >= delivery.expires_at:
        return expired(message, delivery, outcome.status, now)
    status = outcome.status
    # RFC 5321 §4.5.4.1: the last attempt is made when the time is up, not an interval before or after.
    at = min(retry_at, delivery.expires_at)
    report = warning(message, delivery, status, now, delay_warning_s)
    return (
        Again(
            delivery.id,
            next_attempt_at=at,
            attempts=delivery.attempts + 1,
            reason=reason(status),
            event=_event(message.id, delivery, now, "deferred", status, fidelity.notes),
            delay_reported=delivery.delay_reported or report is not None,
            was=delivery.next_attempt_at,
        ),
        report,
    )


def expired(message: Stored, delivery: Delivery, last: Status | None, now: float) -> Verdict:
    """End a delivery whose time is up: with the last reason in class 5, or 5.4.7 where there is none."""
    if last is None:
        status = EXPIRED.as_permanent()
        if delivery.reason:
            status = _status_of(delivery.reason)
    else:
        status = last.as_permanent()
    return _failed(message, delivery, status.but(cause=f"expired; {status.cause}".rstrip("; ")), now, INTACT)


def put_off(message: Stored, delivery: Delivery, at: float, why: Status, now: float, delay_warning_s: float) -> Verdict:
    """Leave a delivery for later without an attempt, since its lane is closed; the age counts all the same."""
    if now >= delivery.expires_at:
        return expired(message, delivery, why, now)
    report = warning(message, delivery, why, now, delay_warning_s)
    again = Again(
        delivery.id,
        next_attempt_at=min(at, delivery.expires_at),
        attempts=delivery.attempts,
        reason=reason(why),
        event=None,
        delay_reported=delivery.delay_reported or report is not None,
        was=delivery.next_attempt_at,
    )
    return again, report


def overruled(verdict: Verdict, delivery: Delivery, outcome: Outcome, now: float, *, dropped: bool) -> Verdict:
    """Return what is settled where an operator took a delivery over while it was being sent.

    A success stands. A failure speaks of what he has given up, so it counts as an attempt, and the delivery goes on as
    he left it, held or on another way. Nobody is told anything of what he `dropped`.
    """
    if type(outcome) is Delivered or dropped:
        return verdict[0], None if dropped else verdict[1]
    settlement, status = verdict[0], outcome.status
    event = settlement.event
    assert event is not None, "an attempt was made"
    again = Again(
        delivery.id,
        next_attempt_at=now,
        attempts=delivery.attempts + 1,
        reason=reason(status),
        event=TraceEvent(event.message_id, event.at, "deferred", event.n, event.detail),
        delay_reported=delivery.delay_reported,
    )
    return again, None


def warning(
    message: Stored, delivery: Delivery, why: Status, now: float, delay_warning_s: float
) -> RecipientReport | None:
    """Return the part of a `delayed` report where one is due now, and it was not given before."""
    if not delay_warning_s or delivery.delay_reported or now - message.arrived_at < delay_warning_s:
        return None
    if not due(Action.DELAYED, delivery.notify, message.envelope.reverse_path):
        return None
    return part(delivery, Action.DELAYED, why, now, retry_until=delivery.expires_at)


def park(settlement: Done, delivery: Delivery, status: Status) -> Again:
    """Return what is settled instead where a failure's report has no way to go: the delivery stays, parked."""
    return Again(
        settlement.id,
        next_attempt_at=settlement.event.at,
        attempts=delivery.attempts + 1,
        reason=reason(status),
        event=_event(settlement.event.message_id, delivery, settlement.event.at, "parked", status, ()),
        state=State.PARKED,
        delay_reported=delivery.delay_reported,
    )


def part(
    delivery: Delivery, action: Action, status: Status, now: float, *, retry_until: float | None = None
) -> RecipientReport:
    """Return one recipient's part of a report; `original` is the address as the sender wrote it."""
    return RecipientReport(
        action=action,
        original=delivery.original,
        final=delivery.address,
        status=status,
        orcpt=delivery.orcpt,
        last_attempt_at=now,
        retry_until=retry_until,
    )


def reason(status: Status) -> str:
    """Return a status as one line for the queue's list: what the next hop said, else what we say."""
    told = status.reply or str(status)
    if status.cause and not status.reply:
        told = f"{told} ({status.cause})"
    return told if told.startswith(status.code) else f"{status.code} {told}"


def _status_of(line: str) -> Status:
    """Read a kept reason back, in class 5."""
    code, _, text = line.partition(" ")
    try:
        return Status(code, text).as_permanent()
    except ValueError:
        return EXPIRED.as_permanent().but(cause=line)


def _failed(message: Stored, delivery: Delivery, status: Status, now: float, fidelity: Fidelity) -> Verdict:
    done = Done(delivery.id, _event(message.id, delivery, now, "failed", status, fidelity.notes))
    reverse_path = message.envelope.reverse_path
    if reverse_path is None or message.is_report:
        return park(done, delivery, status), None
    if due(Action.FAILED, delivery.notify, reverse_path):
        return done, part(delivery, Action.FAILED, status, now)
    return done, None


def _event(
    message_id: int, delivery: Delivery, now: float, kind: str, status: Status, notes: tuple[Note, ...]
) -> TraceEvent:
    address = delivery.address
    detail: dict[str, Any] = {
        "to": f"{address.network}:{address.value}",
        "connector": delivery.lane[0],
        "hop": delivery.lane[1],
        "status": status.code,
    }
    if status.reply:
        detail["reply"] = status.reply
    elif status.text:
        detail["text"] = status.text
    if status.remote:
        detail["remote"] = status.remote
    if status.cause:
        detail["cause"] = status.cause
    if delivery.attempts:
        detail["attempt"] = delivery.attempts + 1
    if notes:
        detail["fidelity"] = plain(notes)
    return TraceEvent(message_id, now, kind, delivery.id[1], detail)
