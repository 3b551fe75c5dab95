"""What becomes of mail: who may publish where, what the broker's word means, how answers find back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from connectors.mqtt.faults import NO_SUBSCRIBERS
from connectors.mqtt.source import MARK
from connectors.mqtt.wire.values import Properties
from gateway.contract import Action, Deferred, Delivered, Failed, Outcome, RecipientReport, Report, Scope, Status
from gateway.testing.peers import reported
from mappings.network import network
from tests.connectors.mqtt.kit import OPS, Kit

Make = Callable[..., Kit]
MAIL = b"From: Ann <ann@merged.example>\r\nSubject: go\r\n\r\non\r\n"


def pub(topic: str = "cmnd/{device}", **more: Any) -> dict[str, Any]:
    return {"topic": topic, "senders": ["smtp:ann@merged.example"], "proof": "none", **more}


def code(outcome: Outcome) -> str:
    return outcome.status.code


async def test_a_mail_is_published_by_its_rule(kit: Make) -> None:
    at = kit(publish=[pub(retain=True, qos=2, expiry_s=60)])
    async with at.running():
        (outcome,) = await at.deliver(at.parcel("cmnd/lamp", MAIL))
    assert isinstance(outcome, Delivered)
    (got,) = at.broker.published
    assert (got.topic, got.payload.strip(), got.qos, got.retain) == ("cmnd/lamp", b"on", 2, True)
    assert got.properties.message_expiry_s == 60
    assert (MARK, "gw.kit.example/things") in got.properties.user


async def test_what_an_old_version_cannot_carry_is_noted(kit: Make) -> None:
    at = kit(publish=[pub()], version="3.1.1")
    async with at.running():
        (outcome,) = await at.deliver(at.parcel("cmnd/lamp", MAIL))
    assert isinstance(outcome, Delivered)
    assert "user properties" in [note.what for note in outcome.notes]


async def test_nobody_publishes_where_no_rule_lets_them(kit: Make) -> None:
    at = kit(publish=[pub()])
    async with at.running():
        (no_rule,) = await at.deliver(at.parcel("other/lamp", MAIL))
        (not_ann,) = await at.deliver(at.parcel("cmnd/lamp", MAIL.replace(b"ann", b"eve"), 2))
        (slash,) = await at.deliver(at.parcel("cmnd/", MAIL, 3))
    assert [code(each) for each in (no_rule, not_ann, slash)] == ["5.7.1", "5.7.1", "5.1.3"]
    assert not at.broker.published


@pytest.mark.parametrize(
    ("reason", "kind", "status", "scope"),
    [
        (0x80, Deferred, "4.3.0", Scope.RECIPIENT),
        (0x83, Deferred, "4.3.0", Scope.RECIPIENT),
        (0x87, Failed, "5.7.1", None),
        (0x90, Failed, "5.1.3", None),
        (0x95, Failed, "5.3.4", None),
        (0x96, Deferred, "4.4.5", Scope.HOP),
        (0x97, Deferred, "4.2.2", Scope.HOP),
        (0x99, Failed, "5.6.1", None),
        (0xEE, Deferred, "4.3.0", Scope.RECIPIENT),
        (NO_SUBSCRIBERS, Delivered, "2.0.0", None),
    ],
)
@pytest.mark.parametrize("qos", [1, 2])
async def test_the_brokers_word(kit: Make, reason: int, kind: type, status: str, scope: Any, qos: int) -> None:
    at = kit(publish=[pub(qos=qos)])
    at.broker.refuse["cmnd/lamp"] = reason
    async with at.running():
        (outcome,) = await at.deliver(at.parcel("cmnd/lamp", MAIL))
    assert isinstance(outcome, kind)
    assert code(outcome) == status
    assert getattr(outcome, "scope", None) == scope
    if reason == NO_SUBSCRIBERS:
        assert isinstance(outcome, Delivered)
        assert outcome.notes


async def test_a_full_quota_is_the_whole_hops(kit: Make) -> None:
    at = kit(publish=[pub()], in_flight=1)
    at.broker.refuse["cmnd/lamp"] = 0x97
    async with at.running():
        outcomes = await at.deliver(*(at.parcel("cmnd/lamp", MAIL, n) for n in range(1, 6)))
    assert all(isinstance(each, Deferred) and each.scope is Scope.HOP for each in outcomes)


async def test_so_many_a_minute_are_published(kit: Make) -> None:
    at = kit(publish=[pub(max_per_minute=6)])
    async with at.running():
        first, second = await at.deliver(*(at.parcel("cmnd/lamp", MAIL, n) for n in (1, 2)))
    assert isinstance(first, Delivered)
    assert isinstance(second, Deferred)
    assert second.retry_after_s is not None
    assert 0 < second.retry_after_s <= 10


async def test_a_window_is_kept_full(kit: Make) -> None:
    at = kit(publish=[pub(max_per_minute=1_000_000)], in_flight=10)
    parcels = [at.parcel("cmnd/lamp", MAIL.replace(b"on\r", b"%d\r" % n), n) for n in range(1, 101)]
    async with at.running():
        outcomes = await at.deliver(*parcels[:20], waiting=[parcels[20:60], [], parcels[60:]])
    assert len(outcomes) == 100, "it asks for more as long as something is under way"
    assert all(isinstance(each, Delivered) for each in outcomes)
    assert sorted(int(each.payload) for each in at.broker.published) == list(range(1, 101))


async def test_a_call_takes_no_more_while_another_waits_for_its_first(kit: Make) -> None:
    at = kit(publish=[pub(max_per_minute=1_000_000)], in_flight=1)
    parcels = [at.parcel("cmnd/lamp", MAIL.replace(b"on\r", b"%d\r" % n), n) for n in range(1, 7)]
    async with at.running():
        one, other = await asyncio.gather(
            at.deliver(*parcels[:3], waiting=[parcels[3:5]]), at.deliver(parcels[5]),
        )  # fmt: skip
    assert (len(one), len(other)) == (3, 1)
    assert sorted(int(each.payload) for each in at.broker.published) == [1, 2, 3, 6]


async def test_a_broker_that_is_away_defers_all(kit: Make) -> None:
    at = kit(publish=[pub()], connect_timeout_s=0.3)
    at.broker.stop()
    async with at.running() as made:
        (outcome,) = await at.deliver(at.parcel("cmnd/lamp", MAIL))
        assert isinstance(outcome, Deferred)
        assert (code(outcome), outcome.scope) == ("4.4.1", Scope.HOP)
        assert outcome.retry_after_s is not None, "its lane is not to be closed for long where the broker is soon back"
        assert outcome.retry_after_s <= 10
        assert str(at.broker.port) in outcome.status.cause
        assert not made.health().ok
        at.broker.start()
        await at.until(lambda: made.health().ok, "it is connected")
        (outcome,) = await at.deliver(at.parcel("cmnd/lamp", MAIL))
        assert isinstance(outcome, Delivered)


async def test_the_end_does_not_wait_for_a_broker_that_is_away(kit: Make) -> None:
    at = kit(publish=[pub()], connect_timeout_s=60)
    at.broker.stop()
    made = at.made = at.build()
    await made.start()
    running = asyncio.create_task(made.run(at.intake))
    delivering = asyncio.create_task(at.deliver(at.parcel("cmnd/lamp", MAIL)))
    await asyncio.sleep(0.2)
    assert not delivering.done()
    running.cancel()
    async with asyncio.timeout(2):
        (outcome,) = await delivering
    assert isinstance(outcome, Deferred)
    await made.stop()


async def test_a_token_lets_through_and_is_not_published(kit: Make) -> None:
    token = "0123456789abcdef0123"
    at = kit(publish=[pub(payload="rfc822", senders=[], tokens=[token])])
    octets = MAIL.replace(b"go", f"go [token:{token}]".encode())
    async with at.running():
        (outcome,) = await at.deliver(at.parcel("cmnd/lamp", octets))
    assert isinstance(outcome, Delivered)
    assert token.encode() not in at.broker.published[0].payload
    assert b"Subject: go\r\n" in at.broker.published[0].payload


def sub(**reply: Any) -> dict[str, Any]:
    return {"topic": "alerts/{plant}", "recipients": [OPS], "reply": reply}


async def answered(at: Kit, fields: str = "", number: int = 1, **properties: Any) -> Outcome:
    """Have an alert become a mail, and answer that."""
    await at.acknowledged(at.put("alerts/p7", b"hot", properties=Properties(**properties)))
    alert = at.intake.accepted[-1].message.content
    octets = (
        b"From: Bob <bob@elsewhere.example>\r\nSubject: Re: hot\r\nIn-Reply-To: "
        + alert.get(b"message-id")
        + f"\r\n{fields}\r\nswitch it off\r\n".encode()
    )
    (outcome,) = await at.deliver(at.parcel("alerts/p7", octets, number))
    return outcome


async def test_an_answer_goes_to_the_response_topic(kit: Make) -> None:
    at = kit(subscribe=[sub(response_topics=["replies/{client}"])])
    async with at.running():
        outcome = await answered(at, response_topic="replies/c1", correlation_data=b"\0\xff")
    assert isinstance(outcome, Delivered)
    (got,) = at.broker.published
    assert (got.topic, got.payload.strip()) == ("replies/c1", b"switch it off")
    assert got.properties.correlation_data == b"\0\xff"


async def test_an_answer_goes_to_the_mapped_topic(kit: Make) -> None:
    at = kit(subscribe=[sub(topic="cmnd/{plant}/ack")])
    async with at.running():
        assert isinstance(await answered(at, response_topic="cmnd/other"), Delivered)
    assert [each.topic for each in at.broker.published] == ["cmnd/p7/ack"]


async def test_a_program_answers_nothing(kit: Make) -> None:
    at = kit(subscribe=[sub(topic="cmnd/{plant}/ack")])
    async with at.running():
        assert code(await answered(at, "Auto-Submitted: auto-replied\r\n")) == "5.7.1"
    assert not at.broker.published


async def test_who_may_answer_can_be_said(kit: Make) -> None:
    at = kit(subscribe=[sub(topic="cmnd/{plant}/ack", senders=["smtp:ann@merged.example"], proof="none")])
    async with at.running():
        assert code(await answered(at)) == "5.7.1"


async def test_a_long_response_topic_is_kept(kit: Make) -> None:
    at = kit(subscribe=[sub(response_topics=["replies/#"])])
    topic = "replies/" + "x" * 500
    async with at.running():
        assert isinstance(await answered(at, response_topic=topic, correlation_data=b"y" * 1000), Delivered)
    assert [(each.topic, each.properties.correlation_data) for each in at.broker.published] == [(topic, b"y" * 1000)]


async def test_reports_go_to_the_status_topic(kit: Make) -> None:
    at = kit(publish=[pub()], status={"topic": "status/{topic}", "when": ["failed"], "retain": True})
    told = reported(at.parcel("alerts/p7", MAIL), network("smtp").parse("ops@merged.example"))
    assert told.report is not None
    failed = Report(7, told.report.reverse_path, 0.0, told.report.recipients, peer="alerts/p7")
    one = RecipientReport(
        Action.DELIVERED, network("smtp").parse("a@b.example"), network("smtp").parse("a@b.example"), Status("2.0.0")
    )
    fine = Report(8, told.report.reverse_path, 0.0, (one,), peer="alerts/p7")
    async with at.running():
        items = tuple(replace(item, id=(2, item.id[1])) for item in told.items)
        second = replace(told, message_id=2, report=fine, items=items)
        outcomes = await at.deliver(replace(told, report=failed), second)
    assert all(isinstance(each, Delivered) for each in outcomes)
    (got,) = at.broker.published
    assert (got.topic, got.retain) == ("status/alerts/p7", True)
    assert b"failed" in got.payload


async def test_rules_to_publish_change_without_a_new_connection(kit: Make) -> None:
    at = kit(publish=[pub()])
    async with at.running() as made:
        (before,) = await at.deliver(at.parcel("other/x", MAIL))
        connects = len(at.broker.connects)
        assert made.reconfigure(at.config(publish=[pub(), pub("other/x")]))
        (after,) = await at.deliver(at.parcel("other/x", MAIL, 2))
        assert isinstance(before, Failed)
        assert isinstance(after, Delivered)
        assert not made.reconfigure(at.config(publish=[pub()], keep_alive_s=99)), "that asks for a new connection"
        assert len(at.broker.connects) == connects


async def test_a_broker_that_says_nothing_more_is_left(kit: Make) -> None:
    at = kit(publish=[pub()], keep_alive_s=5)
    async with at.running():
        await at.deliver(at.parcel("cmnd/lamp", MAIL))
        at.broker.is_silent = True
        (outcome,) = await at.deliver(at.parcel("cmnd/lamp", MAIL, 2))
        assert isinstance(outcome, Deferred)
        assert outcome.scope is Scope.HOP
