"""The source with real sockets: acknowledgement, back-pressure, faults, limits, time, a graceful stop."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import time
from collections import Counter
from pathlib import Path

import pytest

from connectors.smtp.config import SmtpConfig
from connectors.smtp.source import SmtpSource
from gateway.contract import Notify, Receipt, Rejected, Status, Unavailable

from .server_kit import MemoryIntake, context, serving, settled


async def test_a_message_with_all_its_wishes() -> None:
    async with serving() as served:
        c = await (await served.dial()).greeted()
        codes = await c.say(
            "MAIL FROM:<Ann@Other.example> SIZE=10 BODY=8BITMIME RET=HDRS ENVID=Q+20Q MT-PRIORITY=4",
            "RCPT TO:<bob@acme.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Bob@old.example",
            "RCPT TO:<cy@far.example> NOTIFY=NEVER",
            "DATA",
        )
        assert codes == [250, 250, 250, 354]
        await c.send(b"Subject: \xe4\r\n\r\n..\r\n.\r\n")
        assert await c.reply() == ["250 2.0.0 queued as 0000000000001"]
        assert await c.say("QUIT") == [221]
        assert await c.is_closed()
        (message,) = served.intake.messages
        envelope = message.envelope
        assert served.intake.paths == [("Ann@other.example", ["bob@acme.example", "cy@far.example"])]
        assert (envelope.ret, envelope.envid, envelope.priority) == ("hdrs", "Q Q", 4)
        assert [r.notify for r in envelope.recipients] == [Notify.SUCCESS | Notify.FAILURE, Notify.NEVER]
        assert [r.orcpt for r in envelope.recipients] == ["rfc822;Bob@old.example", None]
        origin = envelope.origin
        assert (origin.connector, origin.peer, origin.helo) == ("internet", "127.0.0.1", "client.example")
        assert (origin.protocol, origin.trusted) == ("ESMTP", True)
        assert message.content.octets() == b"Subject: \xe4\r\n\r\n.\r\n"
        assert message.content.traits.eight_bit


async def test_the_protocol_of_the_trace() -> None:
    async with serving() as served, serving(protocol_in="lmtp") as lmtp:
        c = await served.dial()
        await c.code()
        body = b"x\r\n.\r\n"
        for hello, more in (("HELO a", ""), ("EHLO a", ""), ("EHLO b", " SMTPUTF8")):
            await c.say(hello, f"MAIL FROM:<>{more}", "RCPT TO:<a@acme.example>", "DATA")
            await c.send(body)
            assert await c.code() == 250
        d = await lmtp.dial()
        await d.code()
        codes = await d.say("LHLO a", "MAIL FROM:<>", "RCPT TO:<a@acme.example>", "RCPT TO:<b@acme.example>", "DATA")
        assert codes == [250, 250, 250, 250, 354]
        await d.send(body)
        assert [await d.code(), await d.code()] == [250, 250]
        got = [m.envelope.origin.protocol for m in served.intake.messages + lmtp.intake.messages]
        assert got == ["SMTP", "ESMTP", "UTF8SMTP", "LMTP"]


async def test_250_comes_after_accept_has_returned() -> None:
    gate = asyncio.Event()
    intake = MemoryIntake(faults={"accept": gate.wait})  # type: ignore[dict-item]  # the event's True is not looked at
    async with serving(intake=intake) as served:
        c = await (await served.dial()).ready()
        await c.send(b"x\r\n.\r\nNOOP\r\nMAIL FROM:<>\r\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(c.reader.readline(), 0.2)
        gate.set()
        assert [await c.code(), await c.code(), await c.code()] == [250, 250, 250]


def raising(fault: BaseException) -> MemoryIntake:
    async def fail() -> None:
        raise fault

    return MemoryIntake(faults={"accept": fail})


@pytest.mark.parametrize(
    ("fault", "answer"),
    [
        (Rejected(Status("5.4.6", "mail loop")), "554 5.4.6 mail loop"),
        (Rejected(Status("5.3.4", "too big")), "552 5.3.4 too big"),
        (Unavailable(Status("4.3.1", "not enough spool space")), "452 4.3.1 not enough spool space"),
        (Unavailable(Status("4.3.0", "the spool\r\n250 is down")), "451-4.3.0 the spool"),
        (RuntimeError("a bug"), "451 4.3.0 a fault of this system, try again later"),
        (Rejected(Status("2.0.0", "nonsense")), "451 4.3.0 a fault of this system, try again later"),
    ],
)
async def test_what_the_intake_says_is_told(fault: Exception, answer: str) -> None:
    async with serving(intake=raising(fault)) as served:
        c = await (await served.dial()).ready()
        await c.send(b"x\r\n.\r\n")
        lines = await c.reply()
        assert lines[0] == answer
        assert all(line[:3] == answer[:3] for line in lines)
        assert await c.say("NOOP") == [250]  # one bad message never stops the others


async def test_recipients_have_their_own_answers() -> None:
    intake = MemoryIntake(refused={
        "no@acme.example": Status("5.1.1", "no such mailbox here"),
        "later@acme.example": Status("4.2.1", "busy"),
        "full@acme.example": Status("4.2.2", "full"),
        "moved@acme.example": Status("5.1.6", "moved to b.example"),
    })  # fmt: skip
    async with serving(intake=intake) as served:
        c = await (await served.dial()).greeted()
        codes = await c.say(
            "MAIL FROM:<a@other.example>",
            "RCPT TO:<no@acme.example>",
            "RCPT TO:<later@acme.example>",
            "RCPT TO:<full@acme.example>",
            "RCPT TO:<moved@acme.example>",
            "RCPT TO:<a..b@acme.example>",
            "RCPT TO:<postmaster>",
            "DATA",
        )
        assert codes == [250, 550, 450, 452, 551, 553, 250, 354]
        await c.send(b"x\r\n.\r\n")
        assert await c.code() == 250
        assert served.intake.paths == [("a@other.example", ["postmaster"])]


# The usual ways to ask for a relay; each is either refused or names a mailbox of ours, literally.
RELAY_PROBES = [
    ("bob@far.example", 550),
    ("bob%far.example@acme.example", 250),
    ("bob%far.example", 553),
    ("far.example!bob", 553),
    ("far.example!bob@acme.example", 250),
    ("@acme.example:bob@far.example", 550),
    ("@acme.example,@gw.example:bob@far.example", 550),
    ('"bob@far.example"@acme.example', 250),
    ('"bob@far.example"', 553),
    ('"bob%far.example"@acme.example', 250),
    ("bob@far.example@acme.example", 553),
    ("bob@[127.0.0.1]", 550),
    ("bob@[IPv6:::1]", 550),
    ("bob@far.example%acme.example", 553),
    ("bob@127.0.0.1", 550),
    ("IMCEASMTP-bob+40far+2Eexample@far.example", 550),
    ("postmaster@far.example", 550),
    ("bob@acme.example.far.example", 550),
    ("bob@ACME.example.", 250),
]


@pytest.mark.parametrize(("probe", "code"), RELAY_PROBES)
async def test_nobody_relays_who_may_not(probe: str, code: int) -> None:
    async with serving(relay_networks=()) as served:
        c = await (await served.dial()).greeted()
        assert await c.say("MAIL FROM:<spam@acme.example>", f"RCPT TO:<{probe}>") == [250, code]
        if code == 250:
            await c.say("DATA")
            await c.send(b"x\r\n.\r\n")
            assert await c.code() == 250
            ((_, (recipient,)),) = served.intake.paths
            assert recipient.rpartition("@")[2] == "acme.example"


async def test_only_relay_networks_are_trusted() -> None:
    for relay, trusted in ((("10.0.0.0/8",), False), (("127.0.0.1",), True), (("127.0.0.0/8", "::1"), True)):
        async with serving(relay_networks=relay) as served:
            c = await (await served.dial()).greeted()
            assert await c.say("MAIL FROM:<>", "RCPT TO:<bob@far.example>") == [250, 250 if trusted else 550]


# Content over the inline limit

LINE = b"x" * 1022 + b"\r\n"


async def test_a_large_message_goes_by_the_writer() -> None:
    async with serving() as served:
        c = await (await served.dial()).ready()
        for _ in range(5):
            await c.send(LINE * 1024)
        await c.send(b".\r\n")
        assert await c.code() == 250
        (writer,) = served.intake.writers
        assert writer.finished
        assert not writer.abandoned
        assert served.intake.bodies == [LINE * 5 * 1024]
        await c.say("MAIL FROM:<>", "RCPT TO:<a@acme.example>", "DATA")
        await c.send(b"small\r\n.\r\n")
        assert await c.code() == 250
        assert served.intake.bodies[1] == b"small\r\n"


async def test_reading_stops_while_the_disk_is_slow() -> None:
    gate = asyncio.Event()
    intake = MemoryIntake(faults={"drain": gate.wait})  # type: ignore[dict-item]  # the event's True is not looked at
    async with serving(intake=intake) as served:
        c = await (await served.dial()).ready()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(c.send(LINE * 32 * 1024), 0.5)
        assert served.intake.writers[0].size < 4 * 1024 * 1024
        gate.set()
        await c.send(b".\r\n")
        assert await c.code() == 250
        assert len(served.intake.bodies[0]) == len(LINE) * 32 * 1024


@pytest.mark.parametrize("where", ["drain", "finish", "accept"])
async def test_no_room_for_a_large_message(where: str) -> None:
    intake = raising(Unavailable(Status("4.3.1", "not enough spool space")))
    intake.faults = {where: intake.faults["accept"]}
    async with serving(intake=intake) as served:
        c = await (await served.dial()).ready()
        await c.send(LINE * 1024 + LINE * 1024 + b".\r\n")
        assert await c.reply() == ["452 4.3.1 not enough spool space"]
        assert all(writer.abandoned for writer in served.intake.writers)
        assert await c.say("NOOP") == [250]


async def test_what_a_client_gave_up_is_removed() -> None:
    async with serving() as served:
        c = await (await served.dial()).ready()
        await c.send(LINE * 1024)
        d = await (await served.dial()).greeted()
        await d.say("MAIL FROM:<>", "RCPT TO:<a@acme.example>")
        await d.send(b"BDAT 300000\r\n" + b"x" * 300_000 + b"RSET\r\n")
        assert [await d.code(), await d.code()] == [250, 250]
        await settled(lambda: len(served.intake.writers) == 2)
        await c.close()
        await settled(lambda: all(writer.abandoned for writer in served.intake.writers))
        assert served.intake.messages == []


async def test_too_big() -> None:
    async with serving(max_message_bytes=65536) as served:
        c = await (await served.dial()).ready()
        await c.send(LINE * 1024 + b".\r\n")
        assert await c.code() == 552
        assert served.intake.messages == []
        assert await c.say("MAIL FROM:<> SIZE=70000") == [552]


async def test_a_client_that_goes_before_the_answer_loses_nothing() -> None:
    gate = asyncio.Event()
    intake = MemoryIntake(faults={"accept": gate.wait})  # type: ignore[dict-item]  # the event's True is not looked at
    async with serving(intake=intake) as served:
        c = await (await served.dial()).ready()
        await c.send(b"x\r\n.\r\n")
        await asyncio.sleep(0.1)
        await c.close()
        await asyncio.sleep(0.1)
        gate.set()
        await settled(lambda: len(served.intake.messages) == 1)


async def test_a_client_may_shut_its_side_and_still_read_the_answer() -> None:
    gate = asyncio.Event()
    intake = MemoryIntake(faults={"accept": gate.wait})  # type: ignore[dict-item]  # the event's True is not looked at
    async with serving(intake=intake) as served:
        c = await (await served.dial()).ready()
        await c.send(b"x\r\n.\r\nQUIT\r\n")
        c.writer.write_eof()
        await asyncio.sleep(0.1)
        gate.set()
        assert [await c.code(), await c.code()] == [250, 221]


# Limits


async def test_connections_are_limited() -> None:
    async with serving(max_connections=3) as served:
        dials = [await (await served.dial()).greeted() for _ in range(3)]
        refused = await served.dial()
        assert await refused.reply() == ["421 4.7.0 too many connections, try again later"]
        assert await refused.is_closed()
        assert await dials[0].say("QUIT") == [221]
        assert await dials[0].is_closed()
        await settled(lambda: served.source.health().text == "2 connections")
        await (await served.dial()).greeted()


async def test_connections_of_one_client_are_limited_unless_it_is_trusted() -> None:
    async with serving(max_connections_per_client=2, relay_networks=()) as served:
        held = [await (await served.dial()).greeted() for _ in range(2)]
        assert await (await served.dial()).code() == 421
        assert await held[0].say("NOOP") == [250]
    async with serving(max_connections_per_client=2) as served:
        held = [await (await served.dial()).greeted() for _ in range(5)]
        assert await held[0].say("NOOP") == [250]


async def test_messages_of_one_client_are_limited() -> None:
    async with serving(max_messages_per_minute=2, relay_networks=()) as served:
        c = await (await served.dial()).greeted()
        assert await c.say("MAIL FROM:<>", "RSET", "MAIL FROM:<>", "RSET", "MAIL FROM:<>") == [250, 250, 250, 250, 450]
        assert await c.say("NOOP") == [250]


async def test_a_stranger_who_tries_names_is_stopped() -> None:
    async with serving(max_errors=5, relay_networks=()) as served:
        served.intake.refused = {f"a{i}@acme.example": Status("5.1.1", "no such mailbox") for i in range(9)}
        c = await (await served.dial()).greeted()
        await c.send(b"MAIL FROM:<>\r\n" + b"".join(b"RCPT TO:<a%d@acme.example>\r\n" % i for i in range(9)))
        assert [await c.code() for _ in range(7)] == [250, 550, 550, 550, 550, 550, 421]
        assert await c.is_closed()


async def test_a_client_that_reads_no_replies_stops_being_read() -> None:
    async with serving() as served:
        c = await (await served.dial()).greeted()
        c.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one = b"MAIL FROM:<>\r\nRCPT TO:<a@acme.example>\r\nDATA\r\nx\r\n.\r\n" * 1000
        sent = 0
        with contextlib.suppress(TimeoutError):
            for _ in range(500):
                await asyncio.wait_for(c.send(one), 0.5)
                sent += 1
        assert sent < 500
        # what was held back goes on once the client reads
        before = len(served.intake.messages)
        for _ in range(4_000):
            assert await c.code() in (250, 354)
        assert len(served.intake.messages) > before


# Time


async def test_a_silent_client_is_told_and_closed() -> None:
    async with serving(client_timeout_s=0.3) as served:
        c = await (await served.dial()).greeted()
        began = time.monotonic()
        assert await c.reply() == ["421 4.4.2 nothing came for too long, closing"]
        assert await c.is_closed()
        assert 0.2 < time.monotonic() - began < 2
        assert served.counts["client_timeouts"] == 1


async def test_an_octet_now_and_then_does_not_put_the_end_off() -> None:
    async with serving(client_timeout_s=0.4) as served:
        c = await (await served.dial()).greeted()
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while not c.reader.at_eof() and time.monotonic() - began < 5:
                await c.send(b"N")
                await asyncio.sleep(0.05)
        assert time.monotonic() - began < 3


async def test_a_message_must_come_in_time() -> None:
    async with serving(client_timeout_s=0.6, receive_timeout_s=1.0) as served:
        c = await (await served.dial()).ready()
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while not c.reader.at_eof() and time.monotonic() - began < 6:
                await c.send(b"x\r\n")
                await asyncio.sleep(0.05)
        assert 0.9 < time.monotonic() - began < 4
        assert served.intake.messages == []


async def test_a_slow_client_is_served_within_its_time() -> None:
    async with serving(client_timeout_s=1.0) as served:
        c = await served.dial()
        await c.code()
        script = b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@acme.example>\r\nDATA\r\nabc\r\n.\r\nQUIT\r\n"
        for i in range(len(script)):
            await c.send(script[i : i + 1])
            await asyncio.sleep(0.01)
        assert [await c.code() for _ in range(6)] == [250, 250, 250, 354, 250, 221]


async def test_who_speaks_before_the_greeting_is_cut_off() -> None:
    async with serving(greet_delay_s=0.2, relay_networks=()) as served:
        c = await served.dial()
        await c.send(b"EHLO x\r\n")
        assert await c.code() == 554
        assert await c.is_closed()
        assert await (await served.dial()).code() == 220
    async with serving(greet_delay_s=30) as served:  # those who are trusted need not wait
        assert await (await served.dial()).code() == 220


# Stop


async def test_a_stop_finishes_what_is_under_way() -> None:
    gate = asyncio.Event()
    async with serving() as served:
        served.intake.faults = {"accept": gate.wait}  # type: ignore[dict-item]  # the event's True is not looked at
        idle = await (await served.dial()).greeted()
        opened = await (await served.dial()).greeted()
        assert await opened.say("MAIL FROM:<>", "RCPT TO:<a@acme.example>") == [250, 250]
        in_data = await (await served.dial()).ready()
        await in_data.send(b"half")
        waiting = await (await served.dial()).ready()
        await waiting.send(b"whole\r\n.\r\n")
        await asyncio.sleep(0.1)
        served.task.cancel()
        for told in (idle, opened):
            assert await told.code() == 421
            assert await told.is_closed()
        with pytest.raises(ConnectionError):
            await (await served.dial()).greeted()
        gate.set()
        await in_data.send(b" and half\r\n.\r\nMAIL FROM:<>\r\n")
        for served_still in (in_data, waiting):
            assert await served_still.code() == 250
        assert await waiting.code() == 421
        await served.stopped()
        assert sorted(served.intake.bodies) == [b"half and half\r\n", b"whole\r\n"]


async def test_a_stop_is_bounded_whatever_peers_do() -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    async with serving(stop_s=0.5) as served:
        served.intake.faults = {"accept": never}
        waiting = await (await served.dial()).ready()
        await waiting.send(b"x\r\n.\r\n")
        in_data = await (await served.dial()).ready()
        await in_data.send(LINE * 1024)
        await settled(lambda: len(served.intake.writers) == 1)
        began = time.monotonic()
        await served.stopped()
        assert time.monotonic() - began < 0.7
        assert await waiting.is_closed()  # no 250: it may come again
        assert served.intake.writers[0].abandoned


async def test_a_node_that_is_idle_stops_at_once() -> None:
    async with serving() as served:
        held = [await (await served.dial()).greeted() for _ in range(10)]
        began = time.monotonic()
        await served.stopped()
        assert time.monotonic() - began < 0.5
        assert [await c.code() for c in held] == [421] * 10


# Start


async def test_a_place_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        source = SmtpSource("internet", SmtpConfig(listen=("127.0.0.1:0", place)), context(tmp_path, Counter()))
        with pytest.raises(OSError, match=f"listen '{place}'.*in use.*choose"):
            await source.start()
        assert source.addresses == ()


@pytest.mark.parametrize(
    "config",
    [
        {"listen": ["2525"]},
        {"listen": ["127.0.0.1:70000"]},
        {"relay_networks": ["10.0.0.1/8"]},
        {"relay_networks": ["everyone"]},
        {"tls_listen": ["127.0.0.1:0"]},
        {"starttls": "require"},
        {"tls_key": "key.pem"},
        {"max_errors": 0},
        {"lisen": []},
    ],
)
def test_what_the_configuration_cannot_be(config: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"(?s)validation error.*"):
        SmtpConfig(**config)


async def test_workers_share_a_port(tmp_path: Path) -> None:
    first = SmtpSource("internet", SmtpConfig(listen=("127.0.0.1:0",)), context(tmp_path, Counter(), workers=2))
    await first.start()
    place = f"127.0.0.1:{first.addresses[0][1]}"
    second = SmtpSource("internet", SmtpConfig(listen=(place,)), context(tmp_path, Counter(), workers=2))
    await second.start()
    await first.stop()
    await second.stop()


async def test_start_raises_the_limit_of_open_files(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        source = SmtpSource("internet", SmtpConfig(listen=("127.0.0.1:0",)), context(tmp_path, Counter()))
        await source.start()
        await source.stop()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= min(10_000, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


# Many


async def test_two_hundred_clients_at_once() -> None:
    class Slow(MemoryIntake):
        async def accept(self, message: object) -> Receipt:
            await asyncio.sleep(0.01)
            return await super().accept(message)  # type: ignore[arg-type]  # only passed on

    async with serving(intake=Slow()) as served:

        async def client(n: int) -> None:
            c = await (await served.dial()).greeted(f"c{n}.example")
            for i in range(5):
                await c.say(f"MAIL FROM:<c{n}@other.example>", "RCPT TO:<a@acme.example>", "DATA")
                await c.send(b"%d %d\r\n.\r\n" % (n, i))
                assert await c.code() == 250
            assert await c.say("QUIT") == [221]
            await c.close()

        async with asyncio.TaskGroup() as group:
            for n in range(200):
                group.create_task(client(n))
        assert sorted(served.intake.bodies) == sorted(b"%d %d\r\n" % (n, i) for n in range(200) for i in range(5))


async def test_garbage_leaves_the_others_alone() -> None:
    async with serving() as served:
        good = await (await served.dial()).ready()
        for octets in (
            b"\0" * 100_000,
            b"\xff" * 10_000 + b"\r\n",
            b"\x16\x03\x01" + b"x" * 300,
            b"GET / HTTP/1.1\r\n\r\n",
        ):
            bad = await served.dial()
            with contextlib.suppress(ConnectionError):
                await bad.send(octets)
            await bad.close()
        await good.send(b"x\r\n.\r\n")
        assert await good.code() == 250
