"""The client against Mosquitto and paho: what comes and goes, what breaks, what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from connectors.mqtt.client import Client
from connectors.mqtt.link import Broker, ClientSettings, Version
from connectors.mqtt.wire import packets as p
from connectors.mqtt.wire.encode import encode
from connectors.mqtt.wire.packets import V5, V311
from connectors.mqtt.wire.stream import Decoder
from connectors.mqtt.wire.values import Arrived, Lost, Outgoing, Phase, Properties, Refused, Subscription
from gateway.testing.peers import KitLog
from tests.connectors.mqtt.wire.memory import MemoryJournal
from tests.peers.mosquitto import Mosquitto
from tests.peers.process import free_port

VERSIONS: Sequence[Version] = ("5", "3.1.1")


@pytest.fixture(scope="module")
def broker() -> Iterator[Mosquitto]:
    with Mosquitto(settings="max_queued_messages 0") as mosquitto:
        yield mosquitto


def here(mosquitto: Mosquitto) -> Broker:
    return Broker("127.0.0.1", mosquitto.port)


class Owner:
    """A client with all that it tells; acknowledges at once unless told not to."""

    def __init__(
        self, *brokers: Broker, journal: MemoryJournal | None = None, acknowledges: bool = True, **settings: Any
    ) -> None:
        subscriptions = settings.pop("subscriptions", ())
        settings.setdefault("client_id", f"client-{time.monotonic_ns()}")
        settings.setdefault("retry_min_s", 0.02)
        settings.setdefault("retry_max_s", 0.2)
        self.journal = journal or MemoryJournal()
        self.arrived: list[Arrived] = []
        self.told: list[str | None] = []
        self.counted: dict[str, int] = {}
        self.log = KitLog()
        self.logs = self.log.lines
        self.acknowledges = acknowledges
        self.client = Client(
            ClientSettings(brokers, **settings),
            log=self.log,
            journal=self.journal,
            subscriptions=subscriptions,
            on_message=self._came,
            tell=self.told.append,
            count=self._count,
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self.client.run())
        await self.until(lambda: self.client.connected and not self.client._session._asked)

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def until(self, condition: Callable[[], object], timeout_s: float = 60.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():
                if self._task is not None and self._task.done():
                    self._task.result()
                await asyncio.sleep(0.005)

    @property
    def payloads(self) -> list[str]:
        return [each.payload.decode() for each in self.arrived]

    def said(self, event: str) -> list[dict[str, Any]]:
        return [values for _, name, values in self.logs if name == event]

    def _came(self, arrived: Arrived) -> None:
        self.arrived.append(arrived)
        if self.acknowledges:
            self.client.acknowledge(arrived)

    def _count(self, name: str, value: int = 1, **_: Any) -> None:
        self.counted[name] = self.counted.get(name, 0) + value


@contextlib.asynccontextmanager
async def running(*brokers: Broker, **more: Any) -> AsyncIterator[Owner]:
    owner = Owner(*brokers, **more)
    try:
        await owner.start()
        yield owner
    finally:
        await owner.stop()


async def blocking(call: Callable[[], object]) -> None:
    await asyncio.get_running_loop().run_in_executor(None, call)


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_mosquitto_pub_sends_arrives(broker: Mosquitto, version: Version) -> None:
    topic = f"in/{version}"
    async with running(here(broker), version=version, subscriptions=[Subscription(f"{topic}/#", 2)]) as owner:
        for qos in (0, 1, 2):
            await blocking(lambda qos=qos: broker.publish(f"{topic}/{qos}", f"é {qos}", qos=qos))  # type: ignore[misc]
        await owner.until(lambda: len(owner.arrived) == 3)
        assert [(each.topic, each.payload.decode(), each.qos) for each in owner.arrived] == [
            (f"{topic}/{qos}", f"é {qos}", qos) for qos in (0, 1, 2)
        ]
        await owner.until(lambda: not owner.journal.inward())
        assert owner.told == [None]


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_is_published_reaches_mosquitto_sub(broker: Mosquitto, tmp_path: Path, version: Version) -> None:
    topic = f"out/{version}"
    file = tmp_path / "out"
    subscriber = broker.subscriber(f"{topic}/#", file, qos=2)
    try:
        async with running(here(broker), version=version) as owner:
            futures = [
                owner.client.publish(Outgoing(f"{topic}/{n % 3}", f"message {n}".encode(), n % 3), f"key {n}")
                for n in range(60)
            ]
            assert set(await asyncio.gather(*futures)) <= {0, 0x10}
            await owner.until(lambda: len(file.read_text().splitlines()) == 60)
    finally:
        subscriber.kill()
    assert sorted(file.read_text().splitlines()) == sorted(f"{topic}/{n % 3} message {n}" for n in range(60))


async def test_paho_reads_what_we_write_and_we_what_it_writes(broker: Mosquitto) -> None:
    """All properties, both ways, through a client that others wrote."""
    properties = Properties(1, 300, "text/plain", "answers/here", b"\0\xff", (("a", "1"), ("a", "é")))
    heard: list[paho.MQTTMessage] = []
    other = paho.Client(CallbackAPIVersion.VERSION2, "paho", protocol=MQTTProtocolVersion.MQTTv5)

    def echo(client: paho.Client, _: Any, message: paho.MQTTMessage) -> None:
        heard.append(message)
        client.publish("to/us", message.payload, message.qos, properties=message.properties)

    subscribed: list[bool] = []
    other.on_message = echo
    other.on_subscribe = lambda *_: subscribed.append(True)
    other.connect("127.0.0.1", broker.port)
    other.subscribe("to/paho", 2)
    other.loop_start()
    try:
        async with running(here(broker), subscriptions=[Subscription("to/us", 2, identifier=7)]) as owner:
            await owner.until(lambda: subscribed)
            await owner.client.publish(Outgoing("to/paho", b"x", 2, properties=properties), "k")
            await owner.until(lambda: owner.arrived)
    finally:
        other.disconnect()
        other.loop_stop()
    got: Any = heard[0].properties
    assert (got.PayloadFormatIndicator, got.ContentType, got.ResponseTopic) == (1, "text/plain", "answers/here")
    assert (got.CorrelationData, got.UserProperty) == (b"\0\xff", [("a", "1"), ("a", "é")])
    (arrived,) = owner.arrived
    assert arrived.properties.subscription_ids == (7,)
    assert arrived.properties.user == properties.user
    assert arrived.properties.correlation_data == properties.correlation_data
    assert arrived.properties.message_expiry_s in (299, 300)


async def test_paho_answers_qos_2_before_its_application_has_seen_the_message() -> None:
    """Why the codec is our own: a kill between its PUBREC and the application's commit loses the message."""
    order: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = Decoder()
        while data := await reader.read(4096):
            for packet in decoder.feed(data):
                order.append(type(packet).__name__)
                if isinstance(packet, p.Connect):
                    writer.write(encode(p.Connack()) + encode(p.Publish("a", b"x", 2, packet_id=1)))
                elif isinstance(packet, p.Pubrec):
                    writer.write(encode(p.Pubrel(1)))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    other = paho.Client(CallbackAPIVersion.VERSION2, "paho", protocol=MQTTProtocolVersion.MQTTv5, manual_ack=True)
    loop, seen = asyncio.get_running_loop(), asyncio.Event()

    def see(*_: object) -> None:
        order.append("the application sees it")
        loop.call_soon_threadsafe(seen.set)

    other.on_message = see
    other.connect_async("127.0.0.1", server.sockets[0].getsockname()[1])
    other.loop_start()
    try:
        async with asyncio.timeout(10):
            await seen.wait()
    finally:
        other.disconnect()
        await blocking(other.loop_stop)
        server.close()
    assert order.index("Pubrec") < order.index("the application sees it")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("qos", [1, 2])
async def test_what_was_not_acknowledged_comes_again(broker: Mosquitto, version: Version, qos: int) -> None:
    """To the next process, as after a kill: at QoS 2 under the same key."""
    topic, name = f"again/{version}/{qos}", f"again-{version}-{qos}"
    common: dict[str, Any] = {"client_id": name, "version": version, "subscriptions": [Subscription(topic, qos)]}
    async with running(here(broker), acknowledges=False, **common) as first:
        await blocking(lambda: broker.publish(topic, "hello", qos=qos))
        await first.until(lambda: first.arrived)
        assert first.client._link is not None
        first.client._link.abort("killed")
        await first.stop()
    async with running(here(broker), journal=first.journal, **common) as second:
        await second.until(lambda: second.arrived)
        assert second.arrived[0].dup
        assert (second.arrived[0].key == first.arrived[0].key) == (qos == 2)
        await second.until(lambda: not second.journal.inward())
    async with running(here(broker), journal=first.journal, **common) as third:
        await blocking(lambda: broker.publish(topic, "another", qos=qos))
        await third.until(lambda: third.arrived)
        assert third.payloads == ["another"], "what was acknowledged does not come again"
    assert second.said("connected")[0]["resumed"]


async def test_what_comes_while_we_are_away_is_kept_and_what_was_subscribed_is_not_for_ever(broker: Mosquitto) -> None:
    common: dict[str, Any] = {"client_id": "away"}
    journal = MemoryJournal()
    async with running(
        here(broker), journal=journal, subscriptions=[Subscription("away/a"), Subscription("away/b")], **common
    ) as owner:
        await owner.until(lambda: len(journal.subscribed()) == 2)
    await blocking(lambda: broker.publish("away/a", "kept"))
    async with running(here(broker), journal=journal, subscriptions=[Subscription("away/a")], **common) as owner:
        await owner.until(lambda: owner.payloads == ["kept"] and len(journal.subscribed()) == 1)
        await blocking(lambda: broker.publish("away/b", "no more"))
        await blocking(lambda: broker.publish("away/a", "more"))
        await owner.until(lambda: len(owner.arrived) > 1)
        assert owner.payloads == ["kept", "more"]


async def test_in_311_a_resumed_session_does_not_bring_retained_messages_again(broker: Mosquitto) -> None:
    await blocking(lambda: broker.publish("kept/a", "retained", more=["-r"]))
    journal = MemoryJournal()
    common: dict[str, Any] = {"client_id": "kept", "version": "3.1.1", "subscriptions": [Subscription("kept/a")]}
    async with running(here(broker), journal=journal, **common) as owner:
        await owner.until(lambda: owner.payloads == ["retained"] and journal.subscribed())
        assert owner.arrived[0].retain
    async with running(here(broker), journal=journal, **common) as owner:
        await blocking(lambda: broker.publish("kept/a", "new"))
        await owner.until(lambda: owner.arrived)
        assert owner.payloads == ["new"]


@pytest.mark.parametrize("qos", [1, 2])
async def test_what_is_in_flight_when_the_broker_is_stopped_is_asked_for_again(tmp_path: Path, qos: int) -> None:
    """By the same key, it joins what the session sends again: nothing is lost, and at QoS 2 nothing doubled."""
    with Mosquitto(tmp_path / "broker", settings="max_queued_messages 0") as mosquitto:
        async with running(here(mosquitto), max_in_flight=20, session_expiry_s=600) as owner:
            out = tmp_path / "out"
            more = ["-c", "-i", "the-subscriber"]
            mosquitto.subscriber("out/#", out, qos=2, more=more).kill()  # its session stays
            wanted = {f"key {n}": Outgoing("out/a", f"message {n}".encode(), qos) for n in range(300)}
            open_keys, stops = set(wanted), 0
            while open_keys:
                for key in sorted(open_keys)[:40]:
                    with contextlib.suppress(Lost):
                        await owner.client.wait_room()
                        future = owner.client.publish(wanted[key], key)
                        if stops < 2 and len(open_keys) < 200 - stops * 100:
                            stops += 1
                            await blocking(mosquitto.stop)
                            await blocking(mosquitto.start)
                        await future
                        open_keys.discard(key)
            assert stops == 2
        subscriber = mosquitto.subscriber("out/#", out, qos=2, more=more)
        await owner.until(lambda: len(set(out.read_text().splitlines())) == 300)
        subscriber.kill()
        lines = out.read_text().splitlines()
        assert set(lines) == {f"out/a message {n}" for n in range(300)}
        assert len(lines) == 300 or qos == 1


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_broker_that_comes_back_with_an_older_state_takes_all_that_is_published(
    tmp_path: Path, version: Version
) -> None:
    """It holds as many exchanges of QoS 2 as it takes at once, all of which have ended since: in version 5 it would
    refuse all that comes, and in 3.1.1 drop it, and say nothing."""
    level = V5 if version == "5" else V311
    journal = MemoryJournal()
    with Mosquitto(tmp_path / "broker") as mosquitto:
        common: dict[str, Any] = {"client_id": "older", "version": version, "journal": journal}
        async with running(here(mosquitto), **common):
            pass
        reader, writer = await asyncio.open_connection("127.0.0.1", mosquitto.port)
        writer.write(encode(p.Connect(level, "older", clean_start=False, session_expiry_s=600), level))
        for number in range(1, 21):
            writer.write(encode(p.Publish("older/a", b"old %d" % number, 2, packet_id=number), level))
        decoder, answers = Decoder(level), 0
        while answers < 21:
            answers += len(decoder.feed(await reader.read(4096)))
        await blocking(mosquitto.save)
        for number in range(1, 21):
            await journal.sent(f"old {number}", number)
            await journal.released(f"old {number}")
            await journal.done(f"old {number}")
        await blocking(mosquitto.kill)
        writer.close()
        await blocking(mosquitto.start)
        out = tmp_path / "out"
        subscriber = mosquitto.subscriber("older/#", out, qos=2)
        try:
            async with running(here(mosquitto), **common) as owner:
                assert owner.said("connected")[0]["resumed"]
                futures = [owner.client.publish(Outgoing("older/a", b"new %d" % n, 2), f"new {n}") for n in range(100)]
                assert set(await asyncio.gather(*futures)) == {0}
                await owner.until(lambda: out.read_text().count("new") == 100)
        finally:
            subscriber.kill()
    assert len(set(out.read_text().splitlines())) == len(out.read_text().splitlines())


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_a_kill_left_and_nobody_asks_for_again_does_not_stand_in_the_way(
    tmp_path: Path, version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its messages are there no more: they were removed from the queue, or another worker has them."""
    monkeypatch.setattr("connectors.mqtt.client.PATIENCE_S", 0.2)
    with Mosquitto(tmp_path / "broker") as mosquitto:
        common: dict[str, Any] = {"client_id": "left", "version": version}
        async with running(here(mosquitto), **common) as first:
            pass
        for number in range(1, 21):
            await first.journal.sent(f"gone {number}", number)
        out = tmp_path / "out"
        subscriber = mosquitto.subscriber("left/#", out, qos=2)
        try:
            async with running(here(mosquitto), journal=first.journal, **common) as owner:
                assert owner.client.room > 0
                futures = [owner.client.publish(Outgoing("left/a", b"new %d" % n, 2), f"new {n}") for n in range(50)]
                assert set(await asyncio.gather(*futures)) == {0}
                await owner.until(lambda: out.read_text().count("new") == 50)
                assert owner.counted["duplicates_possible"] == 20
                assert not [key for key, (_, phase) in owner.journal.outward().items() if phase is Phase.SENT]
        finally:
            subscriber.kill()


async def test_an_earlier_session_of_our_name_is_cleared_where_the_journal_does_not_know_it(broker: Mosquitto) -> None:
    """The broker waits for the PUBREL of identifier 1; what goes out next under it must not be taken for that."""
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
    writer.write(encode(p.Connect(V5, "made-anew", session_expiry_s=600)))
    writer.write(encode(p.Publish("anew/a", b"old", 2, packet_id=1)))
    while b"\x50" not in await reader.read(100):  # PUBREC
        pass
    writer.close()
    async with running(here(broker), subscriptions=[Subscription("anew/#")]) as watcher:
        async with running(here(broker), client_id="made-anew") as owner:
            await owner.client.publish(Outgoing("anew/a", b"new", 2), "k")
            await watcher.until(lambda: watcher.payloads == ["new"])
        async with running(here(broker), client_id="made-anew", journal=owner.journal) as owner:
            assert owner.said("connected")[0]["resumed"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_silent_broker_is_given_up(tmp_path: Path, version: Version) -> None:
    """The connection stands, and nothing comes: half-open, or a broker that hangs."""
    with Mosquitto(tmp_path / "broker") as mosquitto:
        async with running(here(mosquitto), version=version, keep_alive_s=1, connect_timeout_s=0.3) as owner:
            mosquitto.freeze()
            future = owner.client.publish(Outgoing("a", b"x"), "k")
            began = time.monotonic()
            await owner.until(lambda: not owner.client.connected)
            assert time.monotonic() - began < 3
            with pytest.raises(Lost, match="does not answer"):
                await future
            with pytest.raises(Lost):
                await owner.client.wait_room()
            assert owner.client.room == 0
            mosquitto.thaw()
            await owner.until(lambda: owner.client.connected)
            assert owner.client.trouble is None
            assert owner.told[-1] is None


async def test_an_idle_connection_is_kept_alive(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as mosquitto:
        async with running(here(mosquitto), keep_alive_s=1) as owner:
            await asyncio.sleep(2.2)
            assert len(owner.said("connected")) == 1
            assert owner.client.connected
            assert "Sending PINGRESP" in mosquitto.said()


async def test_the_next_broker_is_taken_where_one_does_not_answer(broker: Mosquitto) -> None:
    nobody = Broker("127.0.0.1", free_port())
    async with running(nobody, here(broker)) as owner:
        assert owner.said("broker not reached")[0]["broker"] == str(nobody)
        assert owner.said("connected")[0]["broker"] == str(here(broker))
        assert owner.told[-1] is None


async def test_who_waits_for_room_need_not_wait_for_the_next_try(tmp_path: Path) -> None:
    """The broker was away for long, and is back: the mail that finds so must not find its lane closed once more."""
    mosquitto = Mosquitto(tmp_path / "broker")
    owner = Owner(here(mosquitto), retry_min_s=0.05, retry_max_s=600, connect_timeout_s=5)
    task = asyncio.create_task(owner.client.run())
    try:
        await owner.until(lambda: len(owner.said("broker not reached")) >= 6)
        await blocking(mosquitto.start)
        began = time.monotonic()
        await owner.client.wait_room()
        assert time.monotonic() - began < 1.5
        assert owner.client.connected
    finally:
        task.cancel()
        await asyncio.wait((task,))
        mosquitto.stop()


async def test_who_waits_for_a_broker_that_is_away_can_be_told_to_go() -> None:
    owner = Owner(Broker("127.0.0.1", free_port()), connect_timeout_s=30)
    task = asyncio.create_task(owner.client.run())
    waiting = asyncio.create_task(owner.client.wait_room())
    await owner.until(lambda: len(owner.said("broker not reached")) >= 2)
    assert not waiting.done()
    owner.client.stop_waiting()
    with pytest.raises(Lost):
        await asyncio.wait_for(waiting, 2)
    task.cancel()
    await asyncio.wait((task,))


async def test_all_who_wait_for_a_broker_that_is_away_wait_as_long() -> None:
    owner = Owner(Broker("127.0.0.1", free_port()), connect_timeout_s=3)
    task = asyncio.create_task(owner.client.run())
    began = time.monotonic()
    faults = await asyncio.gather(*[owner.client.wait_room() for _ in range(20)], return_exceptions=True)
    assert time.monotonic() - began < 20
    assert all(isinstance(fault, Lost) for fault in faults)
    assert not owner.client.is_awaited
    task.cancel()
    await asyncio.wait((task,))


async def test_room_goes_to_who_has_waited_longest(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as mosquitto:
        async with running(here(mosquitto), max_in_flight=1) as owner:
            order: list[int] = []

            async def publish(number: int) -> None:
                await owner.client.wait_room()
                order.append(number)
                await owner.client.publish(Outgoing("a", b"x"), f"k{number}")

            await asyncio.gather(*[publish(number) for number in range(10)])
            assert order == list(range(10))


async def test_tls_with_a_client_certificate_and_passwords(tmp_path: Path) -> None:
    with Mosquitto(
        tmp_path / "broker", tls=True, client_certificates=True, passwords={"user": "pass word"}
    ) as mosquitto:
        context = ssl.create_default_context(cafile=mosquitto.folder / "ca.pem")
        without = Broker("localhost", mosquitto.tls_port, context)
        with_it = ssl.create_default_context(cafile=mosquitto.folder / "ca.pem")
        with_it.load_cert_chain(mosquitto.folder / "client.pem", mosquitto.folder / "client.key")
        address = Broker("localhost", mosquitto.tls_port, with_it)
        async with running(address, username="user", password="pass word") as owner:
            assert await owner.client.publish(Outgoing("a", bytes(300_000)), "k") in (0, 0x10)
        for wrong, why in (
            (Owner(address, username="user", password="other"), "not authorized"),
            (Owner(without, username="user", password="pass word"), ""),
            (Owner(Broker("127.0.0.1", mosquitto.tls_port, context), username="user"), "certificate"),
        ):
            task = asyncio.create_task(wrong.client.run())
            await wrong.until(lambda wrong=wrong: wrong.told)  # type: ignore[misc]
            assert why in (wrong.client.trouble or "")
            assert not wrong.client.connected
            with pytest.raises(Lost):
                await wrong.client.publish(Outgoing("a", b""), "k")
            task.cancel()


async def test_what_the_broker_refuses_is_told(tmp_path: Path) -> None:
    acl = ["topic read open/#", "topic write open/#"]
    with Mosquitto(tmp_path / "broker", acl=acl) as mosquitto:
        async with running(here(mosquitto), subscriptions=[Subscription("open/#")]) as owner:
            for qos in (1, 2):
                with pytest.raises(Refused) as caught:
                    await owner.client.publish(Outgoing("closed/a", b"", qos), f"k{qos}")
                assert caught.value.code == 0x87
            assert await owner.client.publish(Outgoing("open/a", b"x", 2), "k2") == 0
            await owner.until(lambda: owner.payloads == ["x"])
            with pytest.raises(ValueError, match="wildcard"):
                await owner.client.publish(Outgoing("open/#", b""), "k3")


async def test_a_will_is_published_where_the_connection_breaks_and_not_where_we_leave(broker: Mosquitto) -> None:
    async with running(here(broker), subscriptions=[Subscription("will/#")]) as watcher:
        will = Outgoing("will/us", b"gone", 1)
        async with running(here(broker), will=will):
            pass
        async with running(here(broker), will=will) as owner:
            assert owner.client._link is not None
            owner.client._link.abort("cut")
            await watcher.until(lambda: watcher.arrived)
            assert watcher.payloads == ["gone"]


async def test_an_oversized_payload_comes_as_its_beginning(broker: Mosquitto) -> None:
    async with running(
        here(broker), subscriptions=[Subscription("large/#")], max_payload_octets=1000, head_octets=10
    ) as owner:
        await blocking(lambda: broker.publish("large/a", "y" * 100_000))
        await blocking(lambda: broker.publish("large/a", "small"))
        await owner.until(lambda: len(owner.arrived) == 2)
        assert [(each.payload, each.oversized) for each in owner.arrived] == [(b"y" * 10, 100_000), (b"small", 0)]


async def test_reading_stops_where_too_much_is_unanswered(broker: Mosquitto) -> None:
    """Mosquitto 2.0 sends all it has at the first acknowledgement after a reconnection, whatever was agreed."""
    common: dict[str, Any] = {"client_id": "slow", "subscriptions": [Subscription("slow/#")], "receive_maximum": 10}
    async with running(here(broker), **common) as owner:
        pass
    await blocking(lambda: broker.publish_lines("slow/a", 20_000, size=1000).wait())
    async with running(here(broker), journal=owner.journal, acknowledges=False, **common) as owner:
        await owner.until(lambda: owner.arrived)
        owner.client.acknowledge(owner.arrived[0])
        await asyncio.sleep(0.5)
        assert len(owner.arrived) < 5_000
        owner.acknowledges = True
        for each in owner.arrived[1:]:
            owner.client.acknowledge(each)
        await owner.until(lambda: len(owner.arrived) == 20_000, 30)
        assert len({each.payload for each in owner.arrived}) == 20_000
        assert len(owner.said("connected")) == 1


async def test_a_journal_that_fails_ends_the_connection_and_loses_nothing(broker: Mosquitto) -> None:
    async with running(here(broker), client_id="disk-full", subscriptions=[Subscription("full/#", 2)]) as owner:
        owner.journal.fault = OSError("no space left")
        await blocking(lambda: broker.publish("full/a", "x", qos=2))
        with pytest.raises(Lost, match="no space left"):
            await owner.client.publish(Outgoing("other", b"", 2), "k")
        await owner.until(lambda: len(owner.said("connection lost")) >= 2)
        assert owner.arrived == []
        owner.journal.fault = None
        await owner.until(lambda: owner.payloads == ["x"] and not owner.journal.inward())
        await owner.until(lambda: owner.client.connected)
        await owner.client.publish(Outgoing("other", b"", 2), "k")
        assert owner.journal.outward()["k"][1] is Phase.DONE


class Scripted:
    """A broker of few words: `answer` says what follows each packet."""

    def __init__(self, answer: Callable[[p.Packet], Sequence[p.Packet] | None], version: int = V5) -> None:
        self.answer = answer
        self.version = version
        self.heard: list[p.Packet] = []

    async def __aenter__(self) -> Broker:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return Broker("127.0.0.1", self._server.sockets[0].getsockname()[1])

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = Decoder()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(4096):
                for packet in decoder.feed(data):
                    self.heard.append(packet)
                    answers = self.answer(packet)
                    if answers is None:
                        writer.close()
                        return
                    writer.write(b"".join(encode(each, self.version) for each in answers))
        writer.close()


@pytest.mark.parametrize("how", ["0x84", "return code 1", "closes"])
async def test_a_broker_that_does_not_speak_5_is_asked_in_311(how: str) -> None:
    def answer(packet: p.Packet) -> Sequence[p.Packet] | None:
        if not isinstance(packet, p.Connect):
            return []
        if packet.version == V311:
            return [p.Connack()]
        return None if how == "closes" else [p.Connack(0x84)]

    scripted = Scripted(answer, V5 if how == "0x84" else V311)
    if how == "0x84":
        scripted.version = V311
    async with scripted as address, running(address) as owner:
        assert owner.said("connected")[0]["version"] == "3.1.1"
        assert owner.client.version == V311
    async with scripted as address:
        owner = Owner(address, version="5")
        task = asyncio.create_task(owner.client.run())
        await owner.until(lambda: owner.told)
        assert ("closed" if how == "closes" else "unsupported protocol version") in (owner.client.trouble or "")
        task.cancel()


async def test_a_broker_that_says_nothing_to_version_5_is_asked_in_311_and_remembered() -> None:
    """amqtt reads a CONNECT of version 5 as one of 3.1.1, and waits for octets that never come."""
    scripted = Scripted(
        lambda packet: [p.Connack()] if isinstance(packet, p.Connect) and packet.version == V311 else [], V311
    )
    async with scripted as address, running(address, connect_timeout_s=0.9) as owner:
        assert owner.client.version == V311
        assert owner.client._link is not None
        owner.client._link.abort("cut")
        await owner.until(lambda: len(owner.said("connected")) == 2)
        versions = [each.version for each in scripted.heard if isinstance(each, p.Connect)]
        assert versions.count(V5) == 1, "it is not asked in version 5 again at each connection"
    async with scripted as address:
        owner = Owner(address, version="5", connect_timeout_s=0.3)
        task = asyncio.create_task(owner.client.run())
        await owner.until(lambda: owner.told)
        assert "no answer within 0.3 s" in (owner.client.trouble or "")
        task.cancel()


async def test_a_slow_broker_is_not_taken_for_an_old_one() -> None:
    """Silent in both versions for as long as 3.1.1 is waited for: then version 5 has all the time there is."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = Decoder()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(4096):
                for packet in decoder.feed(data):
                    if isinstance(packet, p.Connect):
                        await asyncio.sleep(0.5)
                        writer.write(encode(p.Connack(), packet.version))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = Broker("127.0.0.1", server.sockets[0].getsockname()[1])
    async with running(address, connect_timeout_s=0.9) as owner:
        assert owner.client.version == V5
        assert owner.said("broker not reached")[0]["cause"] == "no CONNACK within 0.3 s"
    server.close()


async def test_a_fault_of_the_broker_s_is_answered_with_its_code() -> None:
    scripted = Scripted(lambda packet: [p.Connack(), p.Suback(99, (0,))] if isinstance(packet, p.Connect) else [])
    async with scripted as address:
        owner = Owner(address)
        task = asyncio.create_task(owner.client.run())
        await owner.until(lambda: p.Disconnect(0x82) in scripted.heard)
        await owner.until(lambda: owner.said("connection lost"))
        assert "SUBACK" in owner.said("connection lost")[0]["cause"]
        task.cancel()


async def test_a_session_taken_over_says_so() -> None:
    def answer(packet: p.Packet) -> Sequence[p.Packet]:
        if not isinstance(packet, p.Connect):
            return []
        return [p.Connack(), p.Disconnect(0x8E, reason="somebody else", server_reference="other.example")]

    async with Scripted(answer) as address:
        owner = Owner(address, retry_min_s=5.0, retry_max_s=5.0)
        task = asyncio.create_task(owner.client.run())
        await owner.until(lambda: owner.said("connection lost"))
        cause = owner.said("connection lost")[0]["cause"]
        assert cause == "the broker ended the connection: session taken over: somebody else, use other.example"
        assert cause in (owner.client.trouble or "")
        task.cancel()


async def test_a_lost_session_is_counted() -> None:
    def answer(packet: p.Packet) -> Sequence[p.Packet] | None:
        if isinstance(packet, p.Connect):
            return [p.Connack(session_present=False)]
        return None if isinstance(packet, p.Publish) else []

    async with Scripted(answer) as address, running(address) as owner:
        with pytest.raises(Lost):
            await owner.client.publish(Outgoing("a", b"x", 2), "k")
        await owner.until(lambda: owner.counted.get("duplicates_possible") == 1)
        assert owner.journal.outward() == {}


async def test_a_cancelled_wait_takes_nothing_back(broker: Mosquitto) -> None:
    async with running(here(broker), subscriptions=[Subscription("cancelled")]) as owner:
        first = owner.client.publish(Outgoing("cancelled", b"x", 2), "k")
        first.cancel()
        assert await owner.client.publish(Outgoing("cancelled", b"x", 2), "k") == 0
        await owner.until(lambda: owner.arrived)
        assert owner.payloads == ["x"]
