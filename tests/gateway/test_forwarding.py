"""Forwarding: mail of somebody whose identity says so goes on to others, and a copy stays where they want one."""

from __future__ import annotations

import pytest

from gateway.contract import Rejected
from gateway.message import Notify
from gateway.planned import REFUSALS
from mappings.identity import Identity, addresses
from mappings.mail_rules import FORWARD
from mappings.network import parse
from tests.gateway.test_planner import mail, planner, ways


def person(name: str, forward: str = "", home: str | None = "new") -> Identity:
    held = addresses(parse(f"smtp:{name}@merged.example"), parse(f"smtp:{name}.alias@merged.example"))
    return Identity(name, held, home=home, attributes=((FORWARD, forward),) if forward else ())


def to(*people: Identity, recipients: tuple[str, ...] = ("smtp:ann@merged.example",)) -> list[tuple[str, str]]:
    return ways(planner(*people).plan(mail(*recipients)).message)


ELSEWHERE = ("internet", "smtp:ann@elsewhere.example")
HERE = ("new", "smtp:ann@merged.example")


def test_mail_goes_on_instead() -> None:
    assert to(person("ann", "ann@elsewhere.example")) == [ELSEWHERE]


def test_ones_own_address_among_them_keeps_a_copy() -> None:
    assert to(person("ann", "ann.alias@merged.example; smtp:ann@elsewhere.example")) == [ELSEWHERE, HERE]


def test_a_copy_that_is_sent_on_makes_no_reports() -> None:
    planned = planner(person("ann", "ann@merged.example; ann@elsewhere.example")).plan(mail("smtp:ann@merged.example"))
    assert [each.notify for each in planned.message.deliveries] == [Notify.NEVER, Notify.UNSET]


def test_it_goes_from_one_to_the_next() -> None:
    assert to(person("ann", "bob@merged.example"), person("bob", "ann@elsewhere.example")) == [ELSEWHERE]


def test_two_that_forward_to_each_other_lose_nothing() -> None:
    assert to(person("ann", "bob@merged.example"), person("bob", "ann@merged.example")) == [HERE]


def test_a_message_for_two_addresses_of_one_is_sent_on_once() -> None:
    both = ("smtp:ann@merged.example", "smtp:ann.alias@merged.example")
    assert to(person("ann", "ann@elsewhere.example"), recipients=both) == [ELSEWHERE]


def test_it_may_lead_to_another_network() -> None:
    assert to(person("ann", "mhs:ann@sales")) == [("oldmhs", "mhs:ann@sales")]


def test_strangers_reach_nothing_else_by_it() -> None:
    with pytest.raises(Rejected):
        to(person("ann", "ann@elsewhere.example"), recipients=("smtp:ann@elsewhere.example",))


def test_an_address_that_is_nobodys_is_told_to_the_sender() -> None:
    (delivery,) = planner(person("ann", "gone@merged.example")).plan(mail("smtp:ann@merged.example")).message.deliveries
    assert delivery.lane[0] == REFUSALS
    assert delivery.lane[1].startswith("5.1.1")
    assert delivery.original == parse("smtp:ann@merged.example")


def test_a_report_goes_on_too_and_stays_one_message() -> None:
    plan = planner(person("ann", "bob@merged.example; x@elsewhere.example"), person("bob", "ann@elsewhere.example"))
    told = plan.plan_report(parse("smtp:ann@merged.example"), mail("smtp:ann@merged.example").content)
    assert ways(told) == [ELSEWHERE]


def test_a_report_within_a_ring_goes_to_the_mailbox() -> None:
    plan = planner(person("ann", "bob@merged.example"), person("bob", "ann@merged.example"))
    told = plan.plan_report(parse("smtp:ann@merged.example"), mail("smtp:ann@merged.example").content)
    assert ways(told) == [HERE]


def test_it_is_told_where_mail_goes() -> None:
    table = planner(person("ann", "ann@merged.example; ann@elsewhere.example")).table
    lines = table.explain(parse("smtp:ann@merged.example"))
    assert "its mail is forwarded to smtp:ann@elsewhere.example besides" in lines


def test_very_many_ways_to_one_are_gone_once() -> None:
    """Two people a level forward to both of the next: 2 ** 18 ways, 36 people."""
    levels = 18
    people = [
        person(f"p{level}.{n}", f"p{level + 1}.0@merged.example; p{level + 1}.1@merged.example")
        for level in range(levels)
        for n in (0, 1)
    ]
    people += [person(f"p{levels}.0", "ann@elsewhere.example"), person(f"p{levels}.1", "ann@elsewhere.example")]
    plan = planner(*people)
    asked = []
    find, plan.target = plan.target, lambda *of: asked.append(of) or find(*of)  # type: ignore[method-assign, func-returns-value]
    assert ways(plan.plan(mail("smtp:p0.0@merged.example")).message) == [ELSEWHERE]
    assert len(asked) < 4 * levels + 10
