"""What can be answered, and where the answer goes; what nobody without the key can make."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.mqtt.replies import Answer, Replies, own_key
from connectors.mqtt.rules import SubscribeRule
from connectors.mqtt.topics import Pattern
from connectors.mqtt.wire.values import Arrived, Properties
from gateway.contract import Address, Content, Item
from mappings.network import network

KEY = b"0" * 32
NOW = 1_795_000_000.0


def rule(**reply: Any) -> SubscribeRule:
    return SubscribeRule.model_validate(
        {"topic": "alerts/{plant}", "recipients": ["smtp:ops@merged.example"], "reply": reply}
    )


def arrived(topic: str = "alerts/p7", key: str = "s:1:2:3", **properties: Any) -> Arrived:
    return Arrived(topic, b"hot", 1, False, False, Properties(**properties), 2, key, 1)


def item(topic: str = "alerts/p7") -> Item:
    address = network("mqtt").parse(topic)
    return Item((1, 0), address, address)


class Desk:
    def __init__(self, folder: Path, rules: list[SubscribeRule], key: bytes = KEY) -> None:
        self.now = NOW
        self.rules = rules
        self.replies = Replies(rules, key, folder, "gw.example", lambda: self.now)

    def minted(self, message: Arrived) -> str:
        values = Pattern(self.rules[0].topic).values(message.topic)
        made = self.replies.mint(self.rules[0].label, message, values or {})
        if made is None:
            return ""
        if made.write is not None:
            made.write()
        return made.message_id

    def found(self, fields: str, to: Item | None = None) -> Answer | None:
        return asyncio.run(self.replies.find(Content(f"{fields}\r\n\r\nyes\r\n".encode()), to or item()))


def test_an_answer_goes_to_the_response_topic_with_its_correlation_data(tmp_path: Path) -> None:
    desk = Desk(tmp_path, [rule(response_topics=["replies/{client}"])])
    made = desk.minted(arrived(response_topic="replies/c1", correlation_data=b"\0\xff42"))
    assert len(made) < 250
    found = desk.found(f"In-Reply-To: {made}")
    assert found is not None
    assert (found.target.topic, found.target.correlation) == ("replies/c1", b"\0\xff42")


def test_long_ones_are_kept_in_a_file(tmp_path: Path) -> None:
    desk = Desk(tmp_path, [rule(response_topics=["replies/#"])])
    topic, data = "replies/" + "ä" * 300, bytes(range(256)) * 20
    made = desk.minted(arrived(response_topic=topic, correlation_data=data))
    assert len(made) < 250
    again = Desk(tmp_path, desk.rules)
    found = again.found(f"References: <x@y>\r\n {made}")
    assert found is not None
    assert (found.target.topic, found.target.correlation) == (topic, data)
    desk.now += 40 * 86400
    assert desk.replies.sweep() == 0, "files have the machine's own time"
    desk.now = 4_000_000_000.0
    assert desk.replies.sweep() == 1
    assert again.found(f"In-Reply-To: {made}") is None


def test_without_a_response_topic_it_goes_to_the_mapped_one(tmp_path: Path) -> None:
    desk = Desk(tmp_path, [rule(topic="cmnd/{plant}/ack")])
    found = desk.found(f"In-Reply-To: {desk.minted(arrived())}")
    assert found is not None
    assert (found.target.topic, found.target.correlation) == ("cmnd/p7/ack", None)


@pytest.mark.parametrize("asked", ["cmnd/lamp/POWER", "$SYS/x", "replies/+", "replies/a/", "replies/\0", ""])
def test_a_response_topic_that_no_rule_names_is_not_followed(tmp_path: Path, asked: str) -> None:
    desk = Desk(tmp_path, [rule(response_topics=["replies/#"])])
    assert desk.minted(arrived(response_topic=asked)) == ""


def test_levels_of_the_topic_make_no_other_topic(tmp_path: Path) -> None:
    desk = Desk(tmp_path, [rule(topic="cmnd/{plant}")])
    assert desk.minted(arrived("alerts/")) == "", "an empty level would leave a slash at the end"


def test_a_forged_one_is_none(tmp_path: Path) -> None:
    desk = Desk(tmp_path, [rule(topic="cmnd/{plant}/ack")])
    made = desk.minted(arrived())
    assert desk.found(f"In-Reply-To: {made}") is not None
    local, _, host = made.partition("@")
    changed = [local[:n] + ("A" if local[n] != "A" else "B") + local[n + 1 :] for n in range(4, len(local))]
    for each in changed:
        assert desk.found(f"In-Reply-To: {each}@{host}") is None or each[:-1] == local[:-1]  # unused bits of base64
    assert Desk(tmp_path, desk.rules, b"1" * 32).found(f"In-Reply-To: {made}") is None


def test_it_is_for_the_topic_that_the_mail_came_from(tmp_path: Path) -> None:
    desk = Desk(tmp_path, [rule(topic="cmnd/{plant}/ack")])
    made = desk.minted(arrived())
    assert desk.found(f"In-Reply-To: {made}", item("alerts/p8")) is None


def test_it_runs_out(tmp_path: Path) -> None:
    desk = Desk(tmp_path, [rule(topic="cmnd/{plant}/ack", valid_days=3)])
    made = desk.minted(arrived())
    desk.now += 2.9 * 86400
    assert desk.found(f"In-Reply-To: {made}") is not None
    desk.now += 2 * 86400
    assert desk.found(f"In-Reply-To: {made}") is None


def test_it_ends_with_its_rule(tmp_path: Path) -> None:
    made = Desk(tmp_path, [rule(topic="cmnd/{plant}/ack")]).minted(arrived())
    assert Desk(tmp_path, [rule(topic="other/{plant}")]).found(f"In-Reply-To: {made}") is None
    assert Desk(tmp_path, []).found(f"In-Reply-To: {made}") is None


def test_the_newest_of_a_thread_counts(tmp_path: Path) -> None:
    desk = Desk(tmp_path, [rule(response_topics=["replies/#"])])
    ids = [desk.minted(arrived(key=f"{n}", response_topic=f"replies/{n}")) for n in range(3)]
    found = desk.found("References: " + "\r\n ".join(ids))
    assert found is not None
    assert found.target.topic == "replies/2"


def test_a_hand_over_has_one(tmp_path: Path) -> None:
    desk = Desk(tmp_path, [rule(topic="cmnd/{plant}/ack")])
    assert desk.minted(arrived()) == desk.minted(arrived()) != desk.minted(arrived(key="other"))
    assert desk.minted(arrived(key="")) != desk.minted(arrived(key="")), "at QoS 0 each is its own"


def test_a_rule_with_a_sender_is_answered_by_its_address(tmp_path: Path) -> None:
    given_ = rule(topic="cmnd/{plant}/ack").model_copy(update={"sender": "smtp:{plant}@things.example"})
    desk = Desk(tmp_path, [given_])
    other = Item((1, 0), Address("mqtt", "things/p7", "things/p7"), network("smtp").parse("p7@things.example"))
    assert desk.found(f"In-Reply-To: {desk.minted(arrived())}", other) is not None


@given(st.text(alphabet="<>gpr.@AZaz09_- \r\n", max_size=200))
def test_any_fields_are_taken(text: str) -> None:
    desk = Desk(Path("/nonexistent"), [rule(topic="cmnd/x")])
    for value in (text, "<gpr." + text * 3, "<gpr." + "A" * 60 + "@x>"):
        assert desk.found(f"In-Reply-To: {value}\r\nReferences: {value}") is None


def test_the_key_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "state" / "reply.key"
    key = own_key(path)
    assert len(key) == 64
    assert own_key(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["reply.key"]
    path.write_bytes(b"short")
    with pytest.raises(ValueError, match="holds no key"):
        own_key(path)
