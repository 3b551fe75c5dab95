"""What becomes of messages: which are mail, which are not, what waits, what is kept apart; nothing is lost of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from connectors.mqtt import source
from connectors.mqtt.source import MARK
from connectors.mqtt.wire.values import Properties
from gateway.contract import Message, Receipt, Recipient, Status, memo
from gateway.testing import RecordingIntake
from tests.connectors.mqtt.kit import OPS, Kit

Make = Callable[..., Kit]


def rule(topic: str = "alerts/{plant}", **more: Any) -> dict[str, Any]:
    return {"topic": topic, "recipients": [OPS], **more}


def subjects(intake: RecordingIntake) -> list[str]:
    return [memo(one.message.content).subject for one in intake.accepted]


async def test_a_message_becomes_a_mail_with_its_topic_as_sender(kit: Make) -> None:
    at = kit(subscribe=[rule(subject="hot in {plant}", recipients=["smtp:ops-{plant}@merged.example"])])
    async with at.running():
        await at.acknowledged(at.put("alerts/p7", b"93 degrees"))
    (one,) = at.intake.accepted
    envelope = one.message.envelope
    assert str(envelope.reverse_path) == "mqtt:alerts/p7"
    assert [str(each.address) for each in envelope.recipients] == ["smtp:ops-p7@merged.example"]
    assert (envelope.origin.peer, envelope.origin.protocol, envelope.origin.trusted) == ("alerts/p7", "MQTT", True)
    assert envelope.dedupe_key is None, "at QoS 1 nobody knows after a kill whether it is the same"
    assert memo(one.message.content).text.strip() == "93 degrees"


async def test_mails_of_a_topic_share_an_envelope_unless_they_name_another_way(kit: Make) -> None:
    at = kit(subscribe=[rule(), {"topic": "mail", "payload": "json", "trusted": True}])
    async with at.running():
        for topic in ("alerts/p7", "alerts/p8", "alerts/p7"):
            await at.acknowledged(at.put(topic, b"hot"))
        for to in ("Bob@merged.example", "bob@merged.example"):
            await at.acknowledged(at.put("mail", json.dumps({"to": [to], "subject": "s", "text": "t"}).encode()))
    seven, eight, again, *others = (one.message.envelope for one in at.intake.accepted)
    assert again is seven
    assert eight is not seven
    assert [each.origin.peer for each in (seven, eight, again)] == ["alerts/p7", "alerts/p8", "alerts/p7"]
    assert [each.recipients[0].address.value for each in others] == ["Bob@merged.example", "bob@merged.example"]


async def test_exactly_once_has_a_key(kit: Make) -> None:
    at = kit(subscribe=[rule(qos=2)])
    async with at.running():
        await at.acknowledged(at.put("alerts/p7", qos=2), at.put("alerts/p7", qos=2))
    keys = [one.message.envelope.dedupe_key for one in at.intake.accepted]
    assert len(set(keys)) == 2
    assert all(key.startswith("mqtt:things:kit:") for key in keys)


@pytest.mark.parametrize(("retained", "mails"), [("ignore", 0), ("once", 1), ("take", 1)])
async def test_retained_messages_are_mail_where_the_rule_says_so(kit: Make, retained: str, mails: int) -> None:
    at = kit(subscribe=[rule(retained=retained)])
    async with at.running():
        await at.acknowledged(at.put("alerts/p7", retain=True))
    assert len(at.intake.accepted) == mails


@pytest.mark.parametrize("own", [False, True])
async def test_what_we_published_ourselves_is_known(kit: Make, own: bool) -> None:
    at = kit(subscribe=[rule(own=own)])
    async with at.running():
        mine = at.put("alerts/p7", properties=Properties(user=((MARK, "gw.kit.example/things"),)))
        other = at.put("alerts/p7", properties=Properties(user=((MARK, "gw.other.example/things"),)))
        await at.acknowledged(mine, other)
    assert len(at.intake.accepted) == 1 + own


async def test_what_nobody_asked_for_any_more_is_let_go(kit: Make) -> None:
    at = kit(subscribe=[rule()])
    async with at.running():
        await at.until(lambda: "kit" in at.broker.sessions, "it is connected")
        at.broker.sessions["kit"].filters["old/#"] = 1
        await at.acknowledged(at.put("old/x"))
    assert at.counted["messages_dropped no_rule"] == 1
    assert not at.intake.accepted


@pytest.mark.parametrize("size", [2000, 200_000])
async def test_too_large_a_payload_goes_to_the_quarantine(kit: Make, size: int) -> None:
    at = kit(subscribe=[rule(max_payload_bytes=1000), rule("other/#", max_payload_bytes=3000)])
    async with at.running():
        await at.acknowledged(at.put("alerts/p7", b"x" * size), at.put("alerts/p8"))
    assert len(at.intake.accepted) == 1
    (reason,) = at.bad()
    assert f"the payload has {size} octets; at most 1000 are taken" in reason
    assert "alerts/p7" in reason


INJECTED = "x\r\nBcc: eve@evil.example"
ENDLESS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
BAD: dict[str, tuple[str, bytes, Properties, str]] = {
    "no UTF-8": ("text/a", b"\xff\xfe \xc3", Properties(), "payload.not-utf8"),
    "no UTF-8, and said to be": ("whole/a", b"From: a@b.example\r\n\r\n\xff", Properties(1), "property.payload-format"),
    "deep JSON": ("json/a", b'{"text":' + b"[" * 50_000, Properties(), "json.too-deep"),
    "a huge number": ("json/a", b'{"text": ' + b"9" * 500_000 + b"}", Properties(), "json.number"),
    "many values": ("json/a", b'{"headers": {"X": [' + b"1," * 100_000 + b"1]}}", Properties(), "json.too-many-values"),
    "too large": ("text/a", b"x" * 2_000_000, Properties(), "mqtt.too-large"),
    "an endless template": ("endless/a", b"x", Properties(), "template.endless"),
    "a recursive template": ("recursive/a", b"x", Properties(), "template.recursive"),
    "CR LF in a topic": ("text/a\r\nBcc: e", b"x", Properties(), "property.character"),
    "CR LF in a property": ("text/a", b"x", Properties(user=(("subject", INJECTED),)), "property.character"),
    "CR LF in its name": ("text/a", b"x", Properties(user=((INJECTED, "x"),)), "property.character"),
    "CR LF in Content Type": ("text/a", b"x", Properties(content_type=INJECTED), "property.character"),
    "CR LF in Response Topic": ("text/a", b"x", Properties(response_topic=INJECTED), "property.character"),
    "CR LF in JSON": ("json/a", b'{"subject": "x\\r\\nBcc: eve@evil.example"}', Properties(), "json.value"),
    "CR LF by a template": ("subject/a", b'{"s": "x\\r\\nBcc: eve@evil.example"}', Properties(), "field.control"),
}


@pytest.mark.parametrize("qos", [1, 2])
async def test_bad_payloads_go_to_the_quarantine_with_the_reason_and_hold_nothing_up(kit: Make, qos: int) -> None:
    def by(topic: str, payload: str, **template: str) -> dict[str, Any]:
        return rule(topic, payload=payload, qos=qos, **({"template": template} if template else {}))

    at = kit(
        receive_maximum=4,
        subscribe=[
            by("text/+", "text"),
            by("json/+", "json"),
            by("whole/+", "rfc822"),
            by("endless/+", "template", text=ENDLESS),
            by("recursive/+", "template", text="{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"),
            by("subject/+", "template", subject="{{ json.s }}"),
        ],
    )
    async with at.running() as made:
        tags, good = [], 0
        for topic, payload, properties, _ in BAD.values():
            tags.append(at.put(topic, payload, qos, properties=properties))
            tags.append(at.put("text/good", b"%d" % good, qos))
            good += 1
        await at.acknowledged(*tags)
        assert made.health().ok
    reasons = at.bad()
    for name, (_, _, _, broken) in BAD.items():
        assert any(broken in each for each in reasons), name
    assert len(reasons) == len(BAD)
    assert len(at.intake.accepted) == good
    assert not any(b"evil.example" in one.octets for one in at.intake.accepted)
    assert at.counted["payloads_bad"] == len(BAD)


async def test_a_refused_mail_goes_to_the_quarantine_with_the_reason(kit: Make) -> None:
    at = kit(subscribe=[rule()])
    at.intake.rejects = at.intake.check_answer = Status("5.1.1", "no such mailbox here")
    async with at.running():
        await at.acknowledged(at.put("alerts/p7"))
        at.intake.rejects = None
        await at.acknowledged(at.put("alerts/p8"))
    (reason,) = at.bad()
    assert "no such mailbox here" in reason


@pytest.mark.parametrize("said", [None, Status("4.3.5", "its connector is not there")], ids=["by accept", "by check"])
async def test_a_refusal_that_passes_holds_the_message_back(kit: Make, said: Status | None) -> None:
    """Nothing is acknowledged or kept apart; the receive maximum makes the broker wait; then all are taken."""
    at = kit(subscribe=[rule()], receive_maximum=3)
    at.intake.rejects, at.intake.check_answer = Status("4.3.0", "try again"), said
    async with at.running() as made:
        tags = [at.put("alerts/p7", b"%d" % n) for n in range(8)]
        await at.until(lambda: not made.health().ok, "health says so")
        assert "4.3.0 try again" in made.health().text
        await at.until(lambda: at.intake.calls >= 6, "it is tried again")
        assert not at.broker.acknowledged
        assert len(at.broker.sessions["kit"].in_flight) == 3
        at.intake.rejects = at.intake.check_answer = None
        await at.acknowledged(*tags)
        assert made.health().ok
    assert len(at.intake.accepted) == 8
    assert not at.bad()


async def test_nobody_is_left_out_for_a_refusal_that_passes(kit: Make) -> None:
    class Picky(RecordingIntake):
        tries = 0

        def check(self, envelope: Any, recipient: Recipient) -> Status | None:
            return Status("4.2.1", "not now") if "late" in str(recipient.address) and self.tries < 2 else None

        async def _commit(self, message: Any) -> Any:
            late = any("late" in str(each.address) for each in message.envelope.recipients)
            self.rejects = Status("4.2.1", "not now") if late and self.tries < 2 else None
            self.tries += 1
            return await super()._commit(message)

    at = kit(subscribe=[rule(recipients=["smtp:late@merged.example", OPS])])
    at.intake = Picky()
    async with at.running():
        await at.acknowledged(at.put("alerts/p7"))
    (one,) = at.intake.accepted
    assert [str(each.address) for each in one.message.envelope.recipients] == ["smtp:late@merged.example", OPS]


async def test_one_refused_recipient_does_not_keep_the_others_from_theirs(kit: Make) -> None:
    class Picky(RecordingIntake):
        def check(self, envelope: Any, recipient: Recipient) -> Status | None:
            return Status("5.1.1", "gone") if "gone" in str(recipient.address) else None

        async def _commit(self, message: Any) -> Any:
            bad = any("gone" in str(each.address) for each in message.envelope.recipients)
            self.rejects = Status("4.3.0", "the recipients changed meanwhile, try again") if bad else None
            return await super()._commit(message)

    at = kit(subscribe=[rule(recipients=["smtp:gone@merged.example", OPS])])
    at.intake = Picky()
    async with at.running():
        await at.acknowledged(at.put("alerts/p7"))
    assert [str(each.address) for each in at.intake.accepted[-1].message.envelope.recipients] == [OPS]


async def test_a_fault_that_stays_does_not_hold_up_the_others(kit: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.mqtt.acceptance._PAUSE_S", 0.001)
    at = kit(subscribe=[rule()])
    at.intake.faults = 100
    async with at.running():
        tag = at.put("alerts/p7")
        await at.acknowledged(tag)
        at.intake.faults = 0
        await at.acknowledged(at.put("alerts/p8"))
    assert "a fault in the gateway" in at.bad()[0]


async def test_a_spool_that_takes_nothing_is_told_until_it_does(kit: Make) -> None:
    at = kit(subscribe=[rule()])
    at.intake.unavailable = 3
    async with at.running() as made:
        tag = at.put("alerts/p7")
        await at.until(lambda: not made.health().ok, "health says so")
        assert "messages wait at the broker" in made.health().text
        await at.acknowledged(tag)
        assert made.health().ok


async def test_a_storm_becomes_a_few_mails_and_a_digest(kit: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.mqtt.calm._LOOK_S", 0.05)
    at = kit(subscribe=[rule(calm={"max_mails": 3, "window_s": 60}, qos=1)])
    now = [1_795_000_000.0]
    at.now = lambda: now[0]
    async with at.running():
        tags = [at.put(f"alerts/p{n % 4}", b"%d" % n) for n in range(500)]
        await at.acknowledged(*tags)
        assert len(at.intake.accepted) == 3
        now[0] += 61
        await at.until(lambda: len(at.intake.accepted) == 4, "the digest is sent")
    digest = memo(at.intake.accepted[3].message.content)
    assert "497 messages" in digest.subject
    assert [str(each.address) for each in at.intake.accepted[3].message.envelope.recipients] == [OPS]
    assert at.intake.accepted[3].message.envelope.dedupe_key.startswith("mqtt:things:digest:")
    assert at.counted["messages_held"] == 497


async def test_a_change_and_the_return_to_normal_are_one_thread(kit: Make) -> None:
    calm = {"on_change": True, "normal": ["ok"]}
    at = kit(subscribe=[rule(calm=calm)])
    async with at.running():
        for value in (b"ok", b"hot", b"hot", b"hotter", b"ok", b"ok"):
            await at.acknowledged(at.put("alerts/p7", value))
    texts = [memo(one.message.content) for one in at.intake.accepted]
    assert [text.text.strip() for text in texts] == ["hot", "hotter", "ok"]
    first = texts[0].get(b"message-id")
    assert [text.get(b"in-reply-to") for text in texts] == ["", first, first]
    assert [text.get(b"references") for text in texts] == ["", first, first]


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_no_more_are_under_way_than_the_receive_maximum(kit: Make, qos: int) -> None:
    at = kit(subscribe=[rule(qos=qos)], receive_maximum=7)
    at.intake.gate.clear()
    async with at.running():
        for _ in range(50):
            at.put("alerts/p7", qos=qos)
        await at.until(lambda: at.intake.in_flight == 7, "seven are under way")
        await asyncio.sleep(0.1)
        assert at.intake.in_flight_peak == 7
        at.intake.gate.set()
        await at.until(lambda: len(at.intake.accepted) == 50, "all are taken")


async def test_a_window_that_comes_in_one_piece_is_begun_in_several_turns(
    kit: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "AT_ONCE", 3)
    at = kit(subscribe=[rule()])
    turns: list[int] = []
    submit = at.intake.submit

    def counted(message: Message, *, report: bool = False) -> asyncio.Future[Receipt]:
        if not turns or turns[-1] == 0:
            turns.append(0)
            asyncio.get_running_loop().call_soon(turns.append, 0)
        turns[-1] += 1
        return submit(message, report=report)

    monkeypatch.setattr(at.intake, "submit", counted)
    async with at.running():
        await at.until(lambda: "kit" in at.broker.sessions, "it is connected")
        await at.acknowledged(*(at.put(f"alerts/{n:02}") for n in range(20)))
    assert max(turns) <= 6  # what is counted as one may be two: another callback of the same turn ends it
    assert subjects(at.intake) == [f"alerts/{n:02}" for n in range(20)]


async def test_so_many_a_minute_are_taken(kit: Make) -> None:
    at = kit(subscribe=[rule()], max_per_minute=60)
    now = [1_795_000_000.0]
    at.now = lambda: now[0]
    async with at.running():
        for _ in range(25):
            at.put("alerts/p7")
        await at.until(lambda: len(at.intake.accepted) == 10, "ten are taken at once")
        await asyncio.sleep(0.05)
        assert len(at.intake.accepted) == 10
        now[0] += 5
        await at.until(lambda: len(at.intake.accepted) >= 15, "five more after five seconds")
        assert len(at.intake.accepted) == 15


async def test_status_reports_are_asked_for(kit: Make) -> None:
    at = kit(subscribe=[rule()], status={"topic": "status/{topic}", "when": ["failed", "delayed"]})
    async with at.running() as made:
        assert made.takes_reports
        await at.acknowledged(at.put("alerts/p7"))
    (one,) = at.intake.accepted
    assert one.message.envelope.recipients[0].notify.name == "FAILURE|DELAY"


async def test_workers_share_by_a_group(kit: Make) -> None:
    at = kit(subscribe=[rule()], share=True, share_group="g")
    async with at.running() as made:
        assert not made.singleton
        await at.until(lambda: "kit-0" in at.broker.sessions, "it is connected")
        await at.acknowledged(at.put("alerts/p7"))
        assert list(at.broker.sessions["kit-0"].filters) == ["$share/g/alerts/+"]


async def test_others_are_told_whether_we_are_there(kit: Make) -> None:
    at = kit(subscribe=[rule()], will={"topic": "gw/state"})
    async with at.running():
        await at.until(lambda: len(at.broker.published) == 1, "we say that we are there")
    assert [(each.topic, each.payload, each.retain) for each in at.broker.published] == [
        ("gw/state", b"online", True),
        ("gw/state", b"offline", True),
    ]
    will = at.broker.connects[-1].will
    assert will is not None
    assert (will.topic, will.payload, will.qos, will.retain) == ("gw/state", b"offline", 1, True)


async def test_a_broker_that_is_away_is_told_and_waited_for(kit: Make) -> None:
    at = kit(subscribe=[rule()])
    at.broker.stop()
    async with at.running() as made:
        await at.until(lambda: not made.health().ok, "health says so")
        assert str(at.broker.port) in made.health().text
        at.broker.start()
        await at.acknowledged(at.put("alerts/p7"))
        assert made.health().ok
