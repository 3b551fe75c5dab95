"""Planner: what goes to a closed lane is planned for later, and everything else as ever."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gateway.planned import EXPANDED, REFUSALS
from gateway.spool.api import LaneKey, claims_of
from gateway.spool.rows import DELIVERY_COLUMNS, delivery_row
from tests.gateway.test_planner import NOW, mail, planner

LEASE = DELIVERY_COLUMNS.index("lease")


def closing(*lanes: str, until: float = NOW + 600) -> Any:
    """Return a planner that is told of closed lanes, and what it asked after."""
    asked: list[LaneKey] = []

    def waits(lane: LaneKey, sender: str) -> tuple[float, str] | None:
        asked.append(lane)
        return (until, "4.4.1 closed") if lane[0] in lanes else None

    made = planner()
    made.waits = waits
    return made, asked


def test_a_delivery_to_a_closed_lane_waits_in_the_spool() -> None:
    made, asked = closing("internet")
    stored = made.plan(mail("smtp:x@elsewhere.example", "smtp:ann@merged.example", trusted=True)).message
    away, here = sorted(stored.deliveries, key=lambda d: d.lane)
    assert (away.lane[0], away.at_once, away.next_attempt_at, away.reason) == (
        "internet", False, NOW + 600, "4.4.1 closed",
    )  # fmt: skip
    assert (here.lane[0], here.at_once, here.next_attempt_at, here.reason) == ("oldmhs", True, NOW, "")
    assert sorted(asked) == sorted([away.lane, here.lane])
    assert [c.deliveries for c in claims_of(stored)] == [(here,)]
    assert delivery_row(away)[LEASE] is None
    assert delivery_row(here)[LEASE] == 1


def test_it_never_waits_beyond_its_expiry() -> None:
    made, _ = closing("internet", until=NOW + 10 * 86_400)
    message = mail("smtp:x@elsewhere.example", trusted=True)
    message = replace(message, envelope=replace(message.envelope, expires_at=NOW + 60))
    [only] = made.plan(message).message.deliveries
    assert only.next_attempt_at == only.expires_at == NOW + 60


def test_members_of_a_group_wait_each_for_their_own_lane() -> None:
    made, _ = closing("oldmhs")
    stored = made.plan(mail("smtp:all@merged.example")).message
    assert {d.lane[0]: d.at_once for d in stored.deliveries} == {"internet": True, "oldmhs": False}
    assert {c.deliveries[0].lane[0] for c in claims_of(stored)} == {"internet"}


def test_lists_and_refusals_are_settled_at_once() -> None:
    made, _ = closing("internet", "oldmhs", "new", "old")
    planned = made.plan(mail("smtp:staff@merged.example", "smtp:nobody@merged.example"), report=True)
    built_in = {d.lane[0]: d.at_once for d in planned.message.deliveries}
    assert built_in == {EXPANDED: True, REFUSALS: True}
    assert not any(d.at_once for more in planned.more for d in more.deliveries)


def test_a_message_that_waits_whole_is_handed_to_nobody() -> None:
    made, _ = closing("internet")
    stored = made.plan(mail("smtp:x@elsewhere.example", trusted=True)).message
    assert claims_of(stored) == []
