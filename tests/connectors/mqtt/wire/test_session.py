"""A session, step by step: what goes out, what waits for the journal, what comes back after a break or a kill."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connectors.mqtt.wire import packets as p
from connectors.mqtt.wire.effects import Record, Settled, Step
from connectors.mqtt.wire.octets import WireError
from connectors.mqtt.wire.packets import V5, V311, Connack, Packet
from connectors.mqtt.wire.session import Session
from connectors.mqtt.wire.stream import Decoder
from connectors.mqtt.wire.values import Arrived, Outgoing, Phase, Refused, Subscription
from tests.connectors.mqtt.wire.world import Forgetful, choices, played

RESUMED = Connack(session_present=True)


class Client:
    """A session under a test: what it says is taken off it, packet by packet."""

    def __init__(
        self,
        version: int = V5,
        inward: Mapping[int, int] | None = None,
        outward: Mapping[str, tuple[int, Phase]] | None = None,
        send_maximum: int = 100,
    ) -> None:
        self.version = version
        self.session = Session("us", "run", inward=inward or {}, outward=outward or {}, send_maximum=send_maximum)
        self.effects = self.session.effects

    def connected(self, connack: Connack = RESUMED, *, is_other: bool = False) -> int:
        return self.session.connected(connack, self.version, "here", is_other=is_other)

    def again(self, connack: Connack = RESUMED) -> None:
        self.session.disconnected()
        self.connected(connack)

    def receive(self, *packets: Packet) -> None:
        for packet in packets:
            self.session.receive(packet)

    @property
    def said(self) -> list[Packet]:
        return Decoder(self.version).feed(self.effects.take_octets())

    @property
    def arrived(self) -> list[Arrived]:
        found, self.effects.arrived = self.effects.arrived, []
        return found

    @property
    def records(self) -> list[Record]:
        found, self.effects.records = self.effects.records, []
        return found

    @property
    def steps(self) -> list[Step]:
        return [record.step for record in self.records]

    @property
    def settled(self) -> list[Settled]:
        found, self.effects.settled = self.effects.settled, []
        return found

    def durable(self, generation: int = 0) -> None:
        """All records that were asked for are durable."""
        for record in self.records:
            self.session.recorded(record, generation)


def message(packet_id: int, qos: int = 1, *, dup: bool = False, payload: bytes = b"x") -> p.Publish:
    return p.Publish("a", payload, qos, False, dup, packet_id)


# what comes


def test_qos_0_is_handed_over_and_never_answered() -> None:
    client = Client()
    client.connected()
    client.receive(p.Publish("a", b"x"))
    (arrived,) = client.arrived
    assert (arrived.key, arrived.packet_id) == ("", 0)
    client.session.acknowledge(arrived)
    assert client.said == []


def test_acknowledgements_go_out_in_the_order_of_arrival() -> None:
    client = Client()
    client.connected()
    client.receive(message(5), message(6), message(7))
    first, second, third = client.arrived
    assert client.session.unanswered == 3
    client.session.acknowledge(third)
    client.session.acknowledge(second, 0x97)
    assert client.said == []
    client.session.acknowledge(first)
    assert client.said == [p.Puback(5), p.Puback(6, 0x97), p.Puback(7)]
    assert client.session.unanswered == 0
    client.session.acknowledge(first)
    assert client.said == []


def test_what_was_committed_and_not_answered_is_known_when_it_comes_again() -> None:
    client = Client()
    client.connected()
    client.receive(message(5), message(6))
    first, second = client.arrived
    client.session.disconnected()
    client.session.acknowledge(first)  # its PUBACK cannot be written any more
    client.connected()
    client.receive(message(5, dup=True), message(6, dup=True))
    assert client.arrived == [], "both are known by their identifiers"
    assert client.said == [p.Puback(5)]
    client.session.acknowledge(second)  # though it came by the connection before
    assert client.said == [p.Puback(6)]


def test_what_comes_without_dup_is_new() -> None:
    client = Client()
    client.connected()
    client.receive(message(5))
    (old,) = client.arrived
    client.again()
    client.receive(message(5))
    (new,) = client.arrived
    assert new.key != old.key
    client.session.acknowledge(old)
    assert client.said == [], "the old one's acknowledgement is none of the new one"
    client.session.acknowledge(new)
    assert client.said == [p.Puback(5)]


def test_what_was_not_sent_again_at_once_is_forgotten() -> None:
    client = Client()
    client.connected()
    client.receive(message(5))
    (old,) = client.arrived
    client.again()
    client.again()  # the broker had its chance: from now on, identifier 5 may be another message
    client.receive(message(5, dup=True))
    (new,) = client.arrived
    assert new.key != old.key


def test_qos_2_waits_for_the_journal_at_each_step() -> None:
    client = Client()
    client.connected()
    client.receive(message(5, 2))
    assert client.arrived == []
    (record,) = client.records
    assert record.step is Step.OPEN_INWARD
    client.session.recorded(record, 41)
    (arrived,) = client.arrived
    assert arrived.key == "us:5:41"
    client.session.acknowledge(arrived)
    assert client.said == [p.Pubrec(5)]
    client.receive(p.Pubrel(5))
    assert client.said == [], "PUBCOMP before that is durable would make the identifier's next message a known one"
    (record,) = client.records
    assert record.step is Step.CLOSE_INWARD
    client.session.recorded(record)
    assert client.said == [p.Pubcomp(5)]
    client.receive(p.Pubrel(5))
    assert client.said == [p.Pubcomp(5, 0x92)]


def test_qos_2_after_a_kill_has_the_same_key() -> None:
    client = Client(inward={5: 41, 6: 42})
    client.connected()
    client.receive(message(5, 2, dup=True), p.Pubrel(6))
    (arrived,) = client.arrived
    assert arrived.key == "us:5:41"
    client.session.acknowledge(arrived)
    assert client.said == [p.Pubrec(5)]
    client.durable()
    assert client.said == [p.Pubcomp(6)]


def test_qos_2_of_a_broker_that_went_back_in_time_is_new() -> None:
    client = Client(inward={5: 41})
    client.connected()
    client.receive(message(5, 2))
    close, opened = client.records
    assert (close.step, opened.step) == (Step.CLOSE_INWARD, Step.OPEN_INWARD)
    client.session.recorded(close)
    client.session.recorded(opened, 42)
    assert client.arrived[0].key == "us:5:42"


def test_a_record_of_a_forgotten_session_opens_nothing() -> None:
    client = Client()
    client.connected()
    client.receive(message(5, 2))
    (old,) = client.records
    client.again(Connack())
    client.receive(message(5, 2))
    forget, new = client.records
    client.session.recorded(old, 41)
    assert client.arrived == []
    client.session.recorded(forget)
    client.session.recorded(new, 42)
    assert client.arrived[0].key == "us:5:42"


def test_qos_2_is_refused_once_its_identifier_is_closed() -> None:
    client = Client()
    client.connected()
    client.receive(message(5, 2))
    client.durable(1)
    client.session.acknowledge(client.arrived[0], 0x99)
    assert client.said == []
    client.durable()
    assert client.said == [p.Pubrec(5, 0x99)]
    client.receive(message(5, 2))
    assert client.steps == [Step.OPEN_INWARD]


def test_in_311_nothing_is_refused() -> None:
    client = Client(V311)
    client.connected()
    client.receive(message(5))
    client.session.acknowledge(client.arrived[0], 0x99)
    assert client.said == [p.Puback(5)]


def test_in_311_a_message_may_come_twice_on_one_connection() -> None:
    client = Client(V311)
    client.connected()
    client.receive(message(5, 2), message(6))
    client.durable(1)
    first, second = client.arrived
    client.receive(message(5, 2, dup=True), message(6, dup=True))
    assert client.arrived == []
    client.session.acknowledge(first)
    client.session.acknowledge(second)
    assert client.said == [p.Puback(6), p.Pubrec(5)]
    client.receive(message(5, 2, dup=True))
    assert client.said == [p.Pubrec(5)]


def test_a_fault_of_the_journal_begins_it_again() -> None:
    client = Client()
    client.connected()
    client.receive(message(5, 2))
    client.session.unrecorded(client.records[0])
    client.again()
    client.receive(message(5, 2, dup=True))
    client.durable(7)
    (arrived,) = client.arrived
    client.session.acknowledge(arrived, 0x97)
    client.session.unrecorded(client.records[0])  # the refusal is not durable: it is handed over again
    client.again()
    client.receive(message(5, 2, dup=True))
    (again,) = client.arrived
    assert again.key == arrived.key
    client.session.acknowledge(again)
    assert client.said == [p.Pubrec(5)]
    client.receive(p.Pubrel(5))
    client.session.unrecorded(client.records[0])
    client.again()
    client.receive(p.Pubrel(5))
    client.durable()
    assert client.said == [p.Pubcomp(5)]


def test_topic_aliases_live_as_long_as_their_connection() -> None:
    client = Client()
    client.connected()
    client.receive(p.Publish("a/b", b"", topic_alias=3), p.Publish("", b"", topic_alias=3))
    client.receive(p.Publish("", b"", 2, packet_id=9, topic_alias=3))
    client.durable(1)
    assert [each.topic for each in client.arrived] == ["a/b"] * 3
    client.again()
    with pytest.raises(WireError, match="stands for nothing"):
        client.receive(p.Publish("", b"", topic_alias=3))
    with pytest.raises(WireError, match="alias is 65"):
        client.receive(p.Publish("a", b"", topic_alias=65))


@pytest.mark.parametrize(
    "packets",
    [
        (message(5), message(5)),
        (message(5), message(5, 2)),
        (message(5, 2), p.Pubrel(5)),
        (p.Connack(),),
        (p.Pingreq(),),
        (p.Subscribe(1, (Subscription("a"),)),),
        (p.Suback(1, (0,)),),
        (p.Auth(),),
        (p.Connect(V5, "x"),),
    ],
    ids=lambda packets: "+".join(type(each).__name__ for each in packets),
)
def test_what_a_broker_may_not_send(packets: tuple[Packet, ...]) -> None:
    client = Client()
    client.connected()
    with pytest.raises(WireError) as caught:
        client.receive(*packets)
    assert caught.value.code == 0x82


def test_a_disconnect_says_why() -> None:
    client = Client()
    client.connected()
    client.receive(p.Disconnect(0x8E, reason="another one"))
    assert client.session.ended == p.Disconnect(0x8E, reason="another one")
    old = Client(V311)
    old.connected()
    with pytest.raises(WireError, match="not for a client"):
        old.receive(p.Disconnect())


# what goes


def out(qos: int, topic: str = "a") -> Outgoing:
    return Outgoing(topic, b"x", qos)


def test_qos_1_is_settled_by_puback() -> None:
    client = Client()
    client.connected()
    client.session.publish(out(1), "k")
    client.session.publish(out(0), "zero")
    assert client.settled == [Settled("zero", 0)]
    assert client.said == [p.Publish("a", b"x", 1, packet_id=1), p.Publish("a", b"x")]
    client.receive(p.Puback(1, 0x10), p.Puback(77))
    assert client.settled == [Settled("k", 0x10)]
    client.session.publish(out(1), "k")
    assert client.settled == [Settled("k", 0x10)], "what was answered lately is not sent again"
    assert client.said == []


def test_a_refusal_names_code_and_reason() -> None:
    client = Client()
    client.connected()
    for number, qos in ((1, 1), (2, 2)):
        client.session.publish(out(qos), f"k{number}")
        client.durable()
        client.receive(p.Puback(1, 0x87, "no") if qos == 1 else p.Pubrec(1, 0x87, "no"))
        (settled,) = client.settled
        assert isinstance(settled.end, Refused)
        assert (settled.end.code, settled.end.text) == (0x87, "not authorized: no")
    assert client.steps == [Step.REFUSED]
    client.session.publish(out(2), "k2")
    assert client.steps == [Step.SENT], "a refused key may be sent anew"


def test_qos_2_waits_for_the_journal_before_publish_and_before_pubrel() -> None:
    client = Client()
    client.connected()
    client.session.publish(out(2), "k")
    assert client.said == []
    client.durable()
    assert client.said == [p.Publish("a", b"x", 2, packet_id=1)]
    client.receive(p.Pubrec(1, 0x10))
    assert client.said == [], "after PUBREL the broker forgets the identifier"
    client.durable()
    assert client.said == [p.Pubrel(1)]
    client.receive(p.Pubcomp(1))
    assert client.settled == [Settled("k", 0x10)]
    assert client.steps == [Step.DONE]
    client.receive(p.Pubrec(1), p.Pubcomp(1))
    assert client.said == [p.Pubrel(1, 0x92)]


def test_after_a_break_everything_goes_out_again_in_its_order() -> None:
    client = Client()
    client.connected()
    for key, qos in (("one", 1), ("two", 2), ("three", 2), ("four", 1)):
        client.session.publish(out(qos, key), key)
    client.durable()
    client.receive(p.Pubrec(3))
    client.durable()
    assert len(client.said) == 5
    client.again()
    again = client.said
    assert again[0] == p.Pubrel(3)
    assert [(each.topic, each.dup, each.packet_id) for each in again[1:]] == [  # type: ignore[union-attr]
        ("one", True, 1), ("two", True, 2), ("four", True, 4),
    ]  # fmt: skip
    client.session.publish(out(2, "two"), "two")
    assert client.said == [], "it joins what is under way"


def test_after_a_kill_a_key_goes_on_where_it_was() -> None:
    known = {"sent": (7, Phase.SENT), "released": (8, Phase.RELEASED), "done": (9, Phase.DONE)}
    client = Client(outward=known)
    client.connected()
    assert client.said == [p.Pubrel(9), p.Pubrel(8)], "a broker in an older state may still hold what is done"
    for key in known:
        client.session.publish(out(2), key)
    assert client.said == [p.Publish("a", b"x", 2, False, True, 7)]
    assert client.settled == [Settled("done", 0)]
    client.receive(p.Pubcomp(8, 0x92))
    assert client.settled == [Settled("released", 0)]
    client.session.publish(out(1), "other")
    assert client.said == [p.Publish("a", b"x", 1, packet_id=8)]


def test_two_rows_of_one_identifier_are_read_as_the_later_one() -> None:
    client = Client(outward={"old": (7, Phase.RELEASED), "new": (7, Phase.SENT)})
    client.connected()
    client.session.publish(out(2), "old")
    client.session.publish(out(2), "new")
    assert client.said == [p.Publish("a", b"x", 2, False, True, 7)]
    assert client.settled == [Settled("old", 0)]


def test_of_two_rows_of_one_identifier_what_was_but_sent_goes_out_anew() -> None:
    """Its end was a refusal, or it was never written; to take it as done would be to lose it."""
    client = Client(outward={"refused": (7, Phase.SENT), "later": (7, Phase.SENT)})
    client.connected()
    client.session.publish(out(2), "refused")
    client.session.publish(out(2), "later")
    assert client.settled == []
    client.durable()
    assert client.said == [p.Publish("a", b"x", 2, False, True, 7), p.Publish("a", b"x", 2, packet_id=1)]


def test_a_lost_session_is_forgotten_and_counted() -> None:
    client = Client(outward={"sent": (7, Phase.SENT)})
    client.connected()
    client.session.publish(out(2), "new")
    client.session.publish(out(1), "one")
    client.durable()
    client.effects.take_octets()
    client.session.disconnected()
    assert client.connected(Connack()) == 3
    assert client.steps == [Step.FORGET]
    assert client.said == []
    client.session.publish(out(2), "sent")
    client.durable()
    assert client.said == [p.Publish("a", b"x", 2, packet_id=1)]


def test_another_broker_s_identifiers_are_not_ours() -> None:
    client = Client(inward={5: 41}, outward={"k": (5, Phase.RELEASED)})
    assert client.connected(is_other=True) == 1
    assert client.said == []
    assert client.records == [Record(Step.FORGET, broker="here")]
    client.receive(p.Pubrel(5))
    assert client.said == [p.Pubcomp(5, 0x92)]


def test_until_it_is_forgotten_durably_it_is_forgotten_again() -> None:
    client = Client(inward={5: 41})
    client.connected(Connack())
    client.session.unrecorded(client.records[0])
    client.again()
    assert client.steps == [Step.FORGET]
    client.again()
    client.durable()
    client.again()
    assert client.steps == []


def test_never_more_are_in_flight_than_the_broker_takes() -> None:
    client = Client(send_maximum=50)
    assert client.session.room == 0
    client.connected(Connack(session_present=True, receive_maximum=3))
    assert client.session.room == 3
    for number in range(5):
        client.session.publish(out(1), f"k{number}")
    assert len(client.said) == 3
    assert client.session.room == 0
    client.receive(p.Puback(2))
    assert client.said == [p.Publish("a", b"x", 1, packet_id=2)]
    client.again(Connack(session_present=True, receive_maximum=2))
    assert [each.packet_id for each in client.said] == [1, 3]  # type: ignore[union-attr]
    client.receive(p.Puback(1), p.Puback(3))
    assert client.said == [p.Publish("a", b"x", 1, False, True, 2)], "what was never written is not sent again"
    client.receive(p.Puback(2))
    assert client.session.room == 2


def test_what_the_broker_has_said_it_refuses_is_not_sent() -> None:
    client = Client()
    client.connected(Connack(maximum_qos=1, retain_available=False, maximum_packet=40))
    client.durable()
    client.session.publish(Outgoing("a", b"x", 1, True), "retained")
    client.session.publish(Outgoing("a", bytes(40)), "large")
    client.session.publish(Outgoing("a" * 20, bytes(20)), "just too large")
    codes = [settled.end.code for settled in client.settled if isinstance(settled.end, Refused)]
    assert codes == [0x9A, 0x95, 0x95]
    client.session.publish(out(2), "at the qos that there is")
    assert client.said == [p.Publish("a", b"x", 1, packet_id=1)]


def test_what_mqtt_cannot_say_leaves_nothing_behind() -> None:
    client = Client()
    client.connected()
    for qos in (0, 1, 2):
        with pytest.raises(ValueError, match="wildcard"):
            client.session.publish(out(qos, "a/#"), "k")
    assert client.session.room == 100
    assert client.session._outward._flights == {}


def test_few_packet_identifiers_are_used() -> None:
    client = Client(outward={"k": (2, Phase.SENT)})
    client.connected()
    for number in range(5):
        client.session.publish(out(1), f"k{number}")
    sent = [each.packet_id for each in client.said if isinstance(each, p.Publish)]
    assert sent == [1, 3, 4, 5, 6], "2 is in use"
    client.receive(p.Puback(3), p.Puback(6))
    for number in range(5, 8):
        client.session.publish(out(1), f"k{number}")
    again = [each.packet_id for each in client.said if isinstance(each, p.Publish)]
    assert sorted(again) == [3, 6, 7], "what is free is used again first"


def exact(client: Client, key: str) -> int:
    """Publish at QoS 2, to its end; return the packet identifier."""
    client.session.publish(out(2), key)
    client.durable()
    (sent,) = client.said
    assert isinstance(sent, p.Publish)
    client.receive(p.Pubrec(sent.packet_id))
    client.durable()
    client.receive(p.Pubcomp(sent.packet_id))
    client.durable()
    assert [each for each in client.said if not isinstance(each, p.Pubrel)] == []
    return sent.packet_id


def test_a_broker_in_an_older_state_is_made_to_end_what_has_ended() -> None:
    """Else it takes what is published next under the identifier for what it holds, and this is lost."""
    client = Client()
    client.connected()
    packet_id = exact(client, "old")
    client.again()
    client.session.publish(out(2), "new")
    client.durable()
    released, published = client.said
    assert released == p.Pubrel(packet_id)
    assert isinstance(published, p.Publish)
    assert published.packet_id != packet_id, "it is in use until PUBCOMP"
    client.receive(p.Pubcomp(packet_id, 0x92))
    client.session.publish(out(2), "third")
    client.durable()
    (third,) = client.said
    assert isinstance(third, p.Publish)
    assert third.packet_id == packet_id


def test_what_no_pubcomp_came_for_is_asked_about_again() -> None:
    client = Client()
    client.connected()
    packet_id = exact(client, "old")
    for _ in range(3):
        client.again()
        assert client.said == [p.Pubrel(packet_id)]
    client.again(Connack())
    assert client.said == [], "a broker without a session holds nothing"


@pytest.mark.parametrize("qos", [1, 2])
def test_a_broker_that_is_full_is_made_to_end_all_that_it_may_hold(qos: int) -> None:
    """Its window is full with exchanges that a former run of ours has ended."""
    client = Client()
    client.connected()
    exact(client, "old")
    client.session.publish(out(2), "under way")
    client.durable()
    client.session.publish(out(qos), "refused")
    client.durable()
    under_way, refused = (each.packet_id for each in client.said if isinstance(each, p.Publish))
    client.receive(p.Puback(refused, 0x97) if qos == 1 else p.Pubrec(refused, 0x97))
    (settled,) = [each for each in client.settled if each.key == "refused"]
    assert isinstance(settled.end, Refused)
    asked = [each.packet_id for each in client.said if isinstance(each, p.Pubrel)]
    assert len(asked) == 998
    assert under_way not in asked
    client.receive(*(p.Pubcomp(each, 0x92) for each in asked))
    client.durable()
    client.session.publish(out(qos), "refused")
    client.durable()
    (again,) = client.said
    assert isinstance(again, p.Publish)
    client.receive(p.Puback(again.packet_id, 0x97) if qos == 1 else p.Pubrec(again.packet_id, 0x97))
    assert client.said == [], "once a connection is enough"


def test_a_broker_that_says_nothing_of_quota_is_left_alone_where_nothing_was_exact() -> None:
    client = Client()
    client.connected()
    client.session.publish(out(1), "k")
    client.receive(p.Puback(1, 0x97))
    assert [type(each) for each in client.said] == [p.Publish]


def test_an_identifier_that_the_broker_has_in_use_is_made_free() -> None:
    client = Client()
    client.connected()
    client.session.publish(out(2), "k")
    client.durable()
    client.receive(p.Pubrec(1, 0x91))
    assert client.said == [p.Publish("a", b"x", 2, packet_id=1), p.Pubrel(1)]
    client.durable()
    client.session.publish(out(2), "k")
    client.durable()
    assert client.said == [p.Publish("a", b"x", 2, packet_id=2)]
    client.receive(p.Pubcomp(1))
    client.session.publish(out(2), "l")
    client.durable()
    assert client.said == [p.Publish("a", b"x", 2, packet_id=1)]


def test_what_a_kill_has_left_is_published_before_what_is_new_and_counts_until_then() -> None:
    client = Client(outward={f"k{n}": (n, Phase.SENT) for n in (1, 2, 3, 4)})
    client.connected(Connack(session_present=True, receive_maximum=4))
    client.session.publish(out(2), "new")
    client.session.publish(out(1), "other")
    client.durable()
    assert client.said == [], "the broker may hold four, and takes no more"
    assert client.session.room > 0, "what was left may come behind what is new"
    for n in (3, 1):
        client.session.publish(out(2), f"k{n}")
    assert client.said == [p.Publish("a", b"x", 2, False, True, n) for n in (3, 1)]
    assert client.session.left == 2
    client.receive(p.Pubrec(3))
    client.durable()
    client.receive(p.Pubcomp(3))
    client.durable()
    assert client.said == [p.Pubrel(3), p.Publish("a", b"x", 2, packet_id=3)]


def test_what_a_kill_has_left_and_nobody_publishes_again_is_given_up() -> None:
    client = Client(outward={f"k{n}": (n, Phase.SENT) for n in (1, 2)})
    client.connected(Connack(session_present=True, receive_maximum=2))
    assert client.session.give_up(only_if_waited_for=True) == 0, "nothing waits for its place"
    client.session.publish(out(1), "new")
    assert client.session.give_up(only_if_waited_for=True) == 2
    assert client.session.left == 0
    assert client.records == [Record(Step.REFUSED, 1, "k1"), Record(Step.REFUSED, 2, "k2")]
    assert client.said == [p.Pubrel(1), p.Pubrel(2), p.Publish("a", b"x", 1, packet_id=3)]
    client.session.publish(out(2), "k1")
    assert client.records == [Record(Step.SENT, 4, "k1")], "it is new, and may be doubled; it is not lost"
    client.receive(p.Pubcomp(1), p.Pubcomp(2, 0x92))
    client.session.publish(out(1), "other")
    assert client.settled == []


def test_what_is_given_up_needs_nobody_to_wait_in_the_end() -> None:
    client = Client(outward={"k": (9, Phase.SENT)})
    client.connected()
    assert client.session.give_up(only_if_waited_for=False) == 1
    assert client.said == [p.Pubrel(9)]


def published(client: Client) -> list[int]:
    client.durable()
    return [each.packet_id for each in client.said if isinstance(each, p.Publish)]


@pytest.mark.parametrize("version", [V5, V311])
def test_half_of_the_broker_s_window_is_used_at_qos_2(version: int) -> None:
    """In 3.1.1 Mosquitto drops what is beyond its window of 20, and answers as if it had taken it."""
    client = Client(version)
    client.connected(Connack(receive_maximum=20 if version == V5 else 65535))
    for n in range(30):
        client.session.publish(out(2), f"k{n}")
    sent = published(client)
    assert len(sent) == 10
    client.receive(*map(p.Pubrec, sent))
    assert published(client) == []
    client.receive(p.Pubcomp(sent[0]))
    assert len(published(client)) == 1


def test_what_a_kill_has_left_leaves_room_for_what_is_new() -> None:
    """Nobody may publish it again for long: its lane is closed, or held."""
    client = Client(V311, outward={f"left {n}": (n, Phase.SENT) for n in range(1, 11)})
    client.connected()
    for n in range(30):
        client.session.publish(out(2), f"k{n}")
    sent = published(client)
    assert len(sent) == 10
    client.session.publish(out(2), "left 7")
    assert client.said == [], "it has its turn when one of those is done"
    client.receive(*map(p.Pubrec, sent))
    client.durable()
    client.receive(p.Pubcomp(sent[0]))
    assert published(client) == [7]


# subscriptions


def test_subscriptions_are_asked_for_by_identifier() -> None:
    client = Client()
    client.connected()
    several = [Subscription("a", identifier=1), Subscription("b", 2), Subscription("c", identifier=1)]
    client.session.subscribe(several)
    first, second = client.said
    assert first == p.Subscribe(1, (several[0], several[2]), 1)
    assert second == p.Subscribe(2, (several[1],))
    client.receive(p.Suback(1, (1, 0x87), "no"), p.Suback(2, (1,)))
    assert [(each.subscription, each.code, each.text) for each in client.effects.subscribed] == [
        (several[0], 1, ""),
        (several[2], 0x87, "not authorized: no"),
        (several[1], 1, ""),
    ]
    client.session.unsubscribe(["a", "b"])
    assert client.said == [p.Unsubscribe(2, ("a", "b"))]
    client.receive(p.Unsuback(2, (0, 0x11)))
    assert client.effects.unsubscribed == ["a", "b"]


def test_many_filters_take_several_packets() -> None:
    client = Client(V311)
    client.connected()
    client.session.subscribe([Subscription(f"a/{n}") for n in range(120)])
    assert [len(each.subscriptions) for each in client.said] == [50, 50, 20]  # type: ignore[union-attr]


def test_a_broker_without_shared_subscriptions_is_not_asked_for_one() -> None:
    client = Client()
    client.connected(Connack(shared_available=False, subscription_ids_available=False))
    client.session.subscribe([Subscription("$share/g/a"), Subscription("b", identifier=4)])
    (answer,) = client.effects.subscribed
    assert answer.code == 0x9E
    assert client.said == [p.Subscribe(1, (Subscription("b"),))]


@pytest.mark.parametrize("answer", [p.Suback(1, (0,)), p.Unsuback(1, (0, 0)), p.Suback(2, (0, 0))])
def test_an_answer_must_fit_its_question(answer: Packet) -> None:
    client = Client()
    client.connected()
    client.session.subscribe([Subscription("a"), Subscription("b")])
    with pytest.raises(WireError):
        client.receive(answer)


# all of it at once


@given(st.integers(0, 2**32), st.sampled_from((V5, V311)))
def test_nothing_is_lost_and_nothing_doubled(seed: int, version: int) -> None:
    played(choices(Random(seed)), version)


@given(st.integers(0, 2**32), st.sampled_from((V5, V311)))
@example(365, V5)  # these it would be lost in
@example(439, V311)
@example(487, V5)
@example(87851, V5)
def test_nothing_is_lost_where_the_broker_comes_back_with_an_older_state(seed: int, version: int) -> None:
    played(choices(Random(seed), Forgetful.steps), version, Forgetful)


def test_the_world_has_all_its_steps() -> None:
    assert all(callable(getattr(Forgetful, step)) for step in Forgetful.steps)
