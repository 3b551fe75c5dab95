"""What one outcome means for one delivery."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.dispatch.verdict import expired, judge, put_off, reason
from gateway.message import Notify
from gateway.outcome import Deferred, Delivered, Failed
from gateway.report import Action
from gateway.spool.api import Again, Delivery, Done, State, Stored
from gateway.status import MAILBOX_FULL, UNKNOWN_MAILBOX, Status

from .simulated import START, smtp, stored

NOW = START + 60.0
FULL = Deferred(MAILBOX_FULL)


def one(**more: object) -> tuple[Stored, Delivery]:
    message = stored(now=START, **more)  # type: ignore[arg-type]  # a table of keywords
    return message, message.deliveries[0]


@pytest.mark.parametrize(
    ("notify", "relayed", "reports_itself", "wanted"),
    [
        (Notify.UNSET, False, False, None),
        (Notify.UNSET, True, False, None),
        (Notify.FAILURE, True, False, None),
        (Notify.NEVER, True, False, None),
        (Notify.SUCCESS, False, False, Action.DELIVERED),
        (Notify.SUCCESS, True, False, Action.RELAYED),
        (Notify.SUCCESS, False, True, None),
        (Notify.SUCCESS, True, True, Action.RELAYED),
        (Notify.SUCCESS | Notify.FAILURE, True, False, Action.RELAYED),
    ],
)
def test_success_is_told_only_where_asked_for(
    notify: Notify, relayed: bool, reports_itself: bool, wanted: Action | None
) -> None:
    message, delivery = one(notify=notify)
    settlement, part = judge(message, delivery, Delivered(relayed=relayed), NOW, reports_itself=reports_itself)
    assert isinstance(settlement, Done)
    assert (part.action if part else None) is wanted


@pytest.mark.parametrize(
    ("notify", "wanted"),
    [
        (Notify.UNSET, True),
        (Notify.FAILURE, True),
        (Notify.FAILURE | Notify.DELAY, True),
        (Notify.SUCCESS, False),
        (Notify.DELAY, False),
        (Notify.NEVER, False),
    ],
)
def test_failure_is_told_unless_not_wanted(notify: Notify, wanted: bool) -> None:
    message, delivery = one(notify=notify)
    settlement, part = judge(message, delivery, Failed(UNKNOWN_MAILBOX), NOW)
    assert isinstance(settlement, Done)
    assert settlement.event.kind == "failed"
    assert (part is not None) is wanted


def test_a_failure_nobody_would_hear_of_is_parked() -> None:
    message, delivery = one(is_report=True)
    settlement, part = judge(message, delivery, Failed(UNKNOWN_MAILBOX), NOW)
    assert isinstance(settlement, Again)
    assert settlement.state is State.PARKED
    assert part is None
    assert settlement.event is not None
    assert settlement.event.kind == "parked"


def test_the_report_names_the_address_as_it_was_written() -> None:
    message, delivery = one()
    delivery = replace(delivery, original=smtp("Ann@old.example"), address=smtp("a.lee@inside.example"))
    _, part = judge(message, delivery, Failed(UNKNOWN_MAILBOX), NOW)
    assert part is not None
    assert part.original.value == "Ann@old.example"


def test_a_deferral_comes_again() -> None:
    message, delivery = one()
    settlement, part = judge(message, delivery, FULL, NOW, retry_at=NOW + 90.0, delay_warning_s=3600.0)
    assert isinstance(settlement, Again)
    assert (settlement.next_attempt_at, settlement.attempts, settlement.state) == (NOW + 90.0, 1, State.QUEUED)
    assert settlement.reason == "4.2.2 the mailbox is full"
    assert part is None


def test_the_last_attempt_is_when_the_time_is_up() -> None:
    message, delivery = one(expires_s=100.0)
    settlement, _ = judge(message, delivery, FULL, NOW, retry_at=NOW + 3600.0)
    assert isinstance(settlement, Again)
    assert settlement.next_attempt_at == START + 100.0


def test_a_deferral_after_that_is_a_failure_of_the_same_kind() -> None:
    message, delivery = one(expires_s=60.0)
    settlement, part = judge(message, delivery, FULL, NOW)
    assert isinstance(settlement, Done)
    assert part is not None
    assert part.status.code == "5.2.2"


def test_expiry_without_a_reason_is_5_4_7_and_with_one_that() -> None:
    message, delivery = one()
    _, part = expired(message, delivery, None, NOW)
    assert part is not None
    assert part.status.code == "5.4.7"
    _, part = expired(message, replace(delivery, reason="4.4.1 no answer"), None, NOW)
    assert part is not None
    assert part.status.code == "5.4.1"
    _, part = expired(message, replace(delivery, reason="no code at all"), None, NOW)
    assert part is not None
    assert part.status.code == "5.4.7"


@pytest.mark.parametrize(
    ("age_s", "reported", "notify", "wanted"),
    [
        (4 * 3600.0 - 1, False, Notify.UNSET, False),
        (4 * 3600.0, False, Notify.UNSET, True),
        (4 * 3600.0, True, Notify.UNSET, False),
        (4 * 3600.0, False, Notify.DELAY, True),
        (4 * 3600.0, False, Notify.FAILURE, False),
        (4 * 3600.0, False, Notify.NEVER, False),
    ],
)
def test_delay_is_told_once(age_s: float, reported: bool, notify: Notify, wanted: bool) -> None:
    message, delivery = one(notify=notify)
    delivery = replace(delivery, delay_reported=reported)
    now = START + age_s
    for settlement, part in (
        judge(message, delivery, FULL, now, retry_at=now + 60.0, delay_warning_s=4 * 3600.0),
        put_off(message, delivery, now + 60.0, MAILBOX_FULL, now, 4 * 3600.0),
    ):
        assert isinstance(settlement, Again)
        assert settlement.delay_reported is (wanted or reported)
        assert (part is not None) is wanted
        assert part is None or (part.action is Action.DELAYED and part.retry_until == delivery.expires_at)


def test_putting_off_is_no_attempt_but_age_counts() -> None:
    message, delivery = one(expires_s=100.0)
    settlement, part = put_off(message, delivery, NOW + 1000.0, MAILBOX_FULL, NOW, 0.0)
    assert isinstance(settlement, Again)
    assert (settlement.attempts, settlement.next_attempt_at, settlement.event) == (0, START + 100.0, None)
    settlement, part = put_off(message, delivery, NOW + 1000.0, MAILBOX_FULL, START + 100.0, 0.0)
    assert isinstance(settlement, Done)
    assert part is not None


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        (Status("4.2.2", "full"), "4.2.2 full"),
        (Status("4.2.2", "full", reply="452 4.2.2 over quota"), "4.2.2 452 4.2.2 over quota"),
        (Status("4.4.1", "no answer", cause="timed out"), "4.4.1 no answer (timed out)"),
    ],
)
def test_the_reason_is_one_line(status: Status, wanted: str) -> None:
    assert reason(status) == wanted
