"""SmtpDestination against peers that refuse, lie, hang and vanish: what each recipient's outcome is."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest

from connectors.smtp.destination import SmtpDestination
from gateway.contract import Address, Content, Delivered, Notify, Parcel, Traits
from tests.connectors.smtp.client_kit import (
    BODY,
    Counts,
    FakeDns,
    RecordingBatch,
    address,
    config,
    context,
    deliver,
    item,
    parcel,
)
from tests.peers.bad_smtp import CLOSE, HANG, OFFERS, RESET, BadSmtp

NO_PIPELINING = tuple(offer for offer in OFFERS if offer != "PIPELINING")


THREE = ("a@y.example", "b@y.example", "c@y.example")

# (case, the peer's replies, outcome of each of three recipients of one message)
ONE_MESSAGE: list[tuple[str, dict[str, Any], list[str]]] = [
    ("taken", {}, ["delivered 2.0.0"] * 3),
    ("greeting 4xx", {"GREETING": "450 4.3.2 later"}, ["deferred 4.3.2 hop"] * 3),
    ("greeting 421", {"GREETING": "421 4.3.2 busy CLOSE"}, ["deferred 4.3.2 hop"] * 3),
    # RFC 5321 §3.1 calls 554 final; it is also what a block list says today and takes back tomorrow.
    ("greeting 554", {"GREETING": "554 5.7.1 blocked"}, ["deferred 4.7.1 hop"] * 3),
    ("greeting 521", {"GREETING": "521 this host takes no mail"}, ["failed 5.3.2"] * 3),
    ("greeting of another protocol", {"GREETING": "SSH-2.0-x"}, ["deferred 4.5.0 hop"] * 3),
    ("greeting of no sense", {"GREETING": "354 what"}, ["deferred 4.5.0 hop"] * 3),
    ("closed at once", {"GREETING": CLOSE}, ["deferred 4.4.2 hop"] * 3),
    ("reset at once", {"GREETING": RESET}, ["deferred 4.4.2 hop"] * 3),
    ("EHLO 4xx", {"EHLO": "451 4.3.0 no"}, ["deferred 4.3.0 hop"] * 3),
    ("EHLO and HELO 5xx", {"EHLO": "502 5.5.1 no", "HELO": "550 5.7.1 no"}, ["deferred 4.7.1 hop"] * 3),
    ("EHLO unknown, HELO known", {"EHLO": "502 5.5.1 no"}, ["delivered 2.0.0"] * 3),
    ("MAIL 4xx", {"MAIL": "451 4.7.1 later"}, ["deferred 4.7.1 message"] * 3),
    ("MAIL, disk full", {"MAIL": "452 4.3.1 full"}, ["deferred 4.3.1 hop"] * 3),
    ("MAIL 5xx", {"MAIL": "550 5.1.8 bad sender"}, ["failed 5.1.8"] * 3),
    ("MAIL, AUTH wanted", {"MAIL": "530 5.7.0 authenticate"}, ["deferred 4.7.0 hop"] * 3),
    ("MAIL 421", {"MAIL": "421 4.7.0 too fast CLOSE"}, ["deferred 4.7.0 hop"] * 3),
    ("MAIL, closed", {"MAIL": CLOSE}, ["deferred 4.4.2 hop"] * 3),
    ("MAIL, garbage", {"MAIL": b"\x80\x81\r\n"}, ["deferred 4.5.0 hop"] * 3),
    (
        "RCPT, one 4xx",
        {"RCPT b@y.example": "450 4.2.0 grey"},
        ["delivered 2.0.0", "deferred 4.2.0 recipient", "delivered 2.0.0"],
    ),
    ("RCPT, one 5xx", {"RCPT a@y.example": "550 5.1.1 who?"}, ["failed 5.1.1", "delivered 2.0.0", "delivered 2.0.0"]),
    (
        "RCPT, 5xx without code",
        {"RCPT a@y.example": "550 who?"},
        ["failed 5.1.0", "delivered 2.0.0", "delivered 2.0.0"],
    ),
    (
        "RCPT, each another",
        {"RCPT a@y.example": "550 5.1.1 who?", "RCPT b@y.example": "452 4.2.2 full"},
        ["failed 5.1.1", "deferred 4.2.2 recipient", "delivered 2.0.0"],
    ),
    ("RCPT, all 5xx", {"RCPT": "550 5.1.1 who?", "DATA": "503 5.5.1 no recipients"}, ["failed 5.1.1"] * 3),
    ("RCPT, all 5xx, 354 all the same", {"RCPT": "550 5.1.1 who?"}, ["failed 5.1.1"] * 3),
    ("RCPT, all 4xx", {"RCPT": "451 4.7.1 later", "DATA": "554 5.5.1 none"}, ["deferred 4.7.1 recipient"] * 3),
    ("RCPT 421 amid", {"RCPT b@y.example": "421 4.3.2 bye CLOSE"}, ["deferred 4.3.2 hop"] * 3),
    ("DATA 4xx", {"DATA": "451 4.3.0 later"}, ["deferred 4.3.0 message"] * 3),
    ("DATA 5xx", {"DATA": "554 5.7.1 no"}, ["failed 5.7.1"] * 3),
    ("DATA, closed", {"DATA": CLOSE}, ["deferred 4.4.2 hop"] * 3),
    ("DATA, 250 instead of 354", {"DATA": "250 ok"}, ["deferred 4.5.0 hop"] * 3),
    ("dot 4xx", {".": "451 4.6.0 later"}, ["deferred 4.6.0 message"] * 3),
    ("dot 5xx", {".": "554 5.6.0 spam"}, ["failed 5.6.0"] * 3),
    ("dot 421", {".": "421 4.7.0 slow down CLOSE"}, ["deferred 4.7.0 hop"] * 3),
    ("dot, disk full", {".": "452 4.3.1 full"}, ["deferred 4.3.1 hop"] * 3),
    ("dot, closed", {".": CLOSE}, ["deferred 4.4.2 message"] * 3),
    ("dot, reset", {".": RESET}, ["deferred 4.4.2 message"] * 3),
    ("dot, garbage", {".": b"ok ok\r\n"}, ["deferred 4.5.0 hop"] * 3),
    ("dot, a reply too long", {".": b"250-x\r\n" * 300 + b"250 x\r\n"}, ["deferred 4.5.0 hop"] * 3),
    ("dot, a line too long", {".": b"250 " + b"x" * 9000 + b"\r\n"}, ["deferred 4.5.0 hop"] * 3),
    ("dot, two codes in one", {".": b"250-x\r\n550 x\r\n"}, ["deferred 4.5.0 hop"] * 3),
    ("dot, two replies", {".": b"250 2.0.0 taken\r\n250 2.0.0 taken\r\n"}, ["delivered 2.0.0"] * 3),
    ("dot, 250 and closed", {".": "250 2.0.0 taken CLOSE"}, ["delivered 2.0.0"] * 3),
    ("lines over several packets", {".": b"250-2.6.0 a\r\n250 2.6.0 b\r\n"}, ["delivered 2.6.0"] * 3),
    ("bare LF in replies", {".": b"250 2.0.0 taken\n"}, ["delivered 2.0.0"] * 3),
]


@pytest.mark.parametrize("offers", [OFFERS, NO_PIPELINING], ids=["pipelining", "one by one"])
@pytest.mark.parametrize(("case", "replies", "expected"), ONE_MESSAGE, ids=[row[0] for row in ONE_MESSAGE])
async def test_outcomes_of_one_message(
    case: str, replies: dict[str, Any], expected: list[str], offers: Sequence[str]
) -> None:
    batch = RecordingBatch([parcel(1, THREE)])
    async with BadSmtp(replies, offers=offers) as peer:
        await deliver(batch, config(peer.port))
        taken = [message for message in peer.messages if message.rcpts]
    assert batch.codes() == expected
    assert len(taken) <= 1, "sent twice in one attempt"
    if "delivered" in "".join(expected):
        assert taken[0].content == BODY


@pytest.mark.parametrize(("case", "replies", "expected"), ONE_MESSAGE, ids=[row[0] for row in ONE_MESSAGE])
async def test_replies_that_come_octet_by_octet_mean_the_same(
    case: str, replies: dict[str, Any], expected: list[str]
) -> None:
    batch = RecordingBatch([parcel(1, THREE)])
    async with BadSmtp(replies, by_byte=True) as peer:
        await deliver(batch, config(peer.port))
    assert batch.codes() == expected


async def test_no_content_is_sent_where_every_recipient_was_refused() -> None:
    batch = RecordingBatch([parcel(1), parcel(2, "ok@y.example")])
    async with BadSmtp({"RCPT b@y.example": "550 5.1.1 who?"}) as peer:
        await deliver(batch, config(peer.port))
        (session,) = peer.sessions
    assert batch.codes() == ["failed 5.1.1", "delivered 2.0.0"]
    # RFC 2920 §3.1: the 354 is answered by a single dot.
    assert [message.content for message in session.messages] == [b"", BODY]


async def test_an_open_transaction_is_reset_before_the_next_one() -> None:
    batch = RecordingBatch([parcel(1), parcel(2, "ok@y.example")])
    replies = {"RCPT b@y.example": "550 5.1.1 who?", "DATA": ["503 5.5.1 no recipients", "354 go on"]}
    async with BadSmtp(replies) as peer:
        await deliver(batch, config(peer.port))
        verbs = [line.split()[0] for line in peer.sessions[0].commands]
    assert batch.codes() == ["failed 5.1.1", "delivered 2.0.0"]
    assert verbs == ["EHLO", "MAIL", "RCPT", "DATA", "RSET", "MAIL", "RCPT", "DATA", "QUIT"]


async def test_equal_addresses_keep_their_own_outcomes() -> None:
    batch = RecordingBatch([parcel(1, ["b@y.example", "b@y.example", "b@y.example"])])
    async with BadSmtp({"RCPT": ["250 ok", "550 5.1.1 who?", "450 4.2.0 later"]}) as peer:
        await deliver(batch, config(peer.port))
    assert batch.outcomes[1, 0].status.code == "2.0.0"
    assert batch.outcomes[1, 1].status.code == "5.1.1"
    assert batch.outcomes[1, 2].status.code == "4.2.0"


async def test_each_refusal_names_reply_and_peer() -> None:
    batch = RecordingBatch([parcel(1)])
    async with BadSmtp({"RCPT": "550-5.1.1 No such\r\n550 5.1.1 person"}) as peer:
        await deliver(batch, config(peer.port))
    status = batch.outcomes[1, 0].status
    assert (status.code, status.reply, status.remote) == ("5.1.1", "550 5.1.1 No such 5.1.1 person", "127.0.0.1")


# --- time-outs


@pytest.mark.parametrize(
    ("stage", "option"),
    [
        ("GREETING", "greeting_timeout_s"),
        ("EHLO", "command_timeout_s"),
        ("MAIL", "command_timeout_s"),
        ("RCPT", "command_timeout_s"),
        ("DATA", "data_timeout_s"),
        (".", "dot_timeout_s"),
    ],
)
async def test_a_peer_that_hangs_defers_the_hop_when_its_time_is_over(stage: str, option: str) -> None:
    batch, counts = RecordingBatch([parcel(1), parcel(2)]), Counts()
    async with BadSmtp({stage: HANG}) as peer:
        loop = asyncio.get_running_loop()
        start = loop.time()
        await deliver(batch, config(peer.port, **{option: 0.3}), counts=counts)
        took = loop.time() - start
    assert batch.codes() == ["deferred 4.4.1 hop"] * 2
    assert 0.25 < took < 1.5
    assert counts.values == ({"duplicates_possible": 1} if stage == "." else {})


async def test_a_peer_that_drips_does_not_hold_on_for_ever() -> None:
    """A line that never ends must not put the time-out off."""
    batch = RecordingBatch([parcel(1)])

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ")
        while not writer.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0.02)

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        async with asyncio.timeout(3):
            await deliver(batch, config(port, greeting_timeout_s=0.3))
    finally:
        server.close()
    assert batch.codes() == ["deferred 4.4.1 hop"]


async def test_one_message_has_a_bound_in_all() -> None:
    replies = {"RCPT": "250 ok", "DATA": HANG}
    batch = RecordingBatch([parcel(1)])
    async with BadSmtp(replies, offers=NO_PIPELINING) as peer:
        async with asyncio.timeout(3):
            await deliver(batch, config(peer.port, message_timeout_s=0.3))
    assert batch.codes() == ["deferred 4.4.1 hop"]


async def test_nobody_listens() -> None:
    async with BadSmtp() as peer:
        port = peer.port
    batch = RecordingBatch([parcel(1), parcel(2)])
    await deliver(batch, config(port))
    assert batch.codes() == ["deferred 4.4.1 hop"] * 2


# --- connections that end


async def test_a_connection_lost_after_the_dot_defers_and_is_counted() -> None:
    batch, counts = RecordingBatch([parcel(1, THREE)]), Counts()
    async with BadSmtp({".": CLOSE}) as peer:
        await deliver(batch, config(peer.port), counts=counts)
    assert batch.codes() == ["deferred 4.4.2 message"] * 3
    assert counts.values == {"duplicates_possible": 3}


async def test_a_connection_cut_within_the_content_defers_that_message_alone() -> None:
    batch, counts = RecordingBatch([parcel(1), parcel(2, content=b"x" * 990 + b"\r\n" + BODY), parcel(3)]), Counts()
    async with BadSmtp(cut_content_after=900) as peer:
        await deliver(batch, config(peer.port), counts=counts)
        assert len(peer.sessions) == 2
    assert batch.codes() == ["delivered 2.0.0", "deferred 4.4.2 message", "delivered 2.0.0"]
    assert sum(counts.values.values()) <= 1


async def test_a_peer_that_only_ever_cuts_defers_the_hop_after_one_message() -> None:
    batch = RecordingBatch([parcel(n) for n in range(50)])
    async with BadSmtp({".": CLOSE}) as peer:
        await deliver(batch, config(peer.port))
        assert len(peer.sessions) == 1
    assert batch.codes() == ["deferred 4.4.2 message"] + ["deferred 4.4.2 hop"] * 49


async def test_421_between_messages_goes_on_over_a_fresh_connection() -> None:
    batch = RecordingBatch([parcel(n) for n in range(7)])
    replies = {"MAIL": ["250 ok", "250 ok", "421 4.3.2 enough for one connection CLOSE"] * 3 + ["250 ok"]}
    async with BadSmtp(replies) as peer:
        await deliver(batch, config(peer.port))
        assert len(peer.sessions) == 4
    assert batch.codes() == ["delivered 2.0.0"] * 7


@pytest.mark.parametrize("offers", [OFFERS, NO_PIPELINING], ids=["pipelining", "one by one"])
async def test_a_peer_that_takes_part_and_closes_each_time_is_left_alone(offers: Sequence[str]) -> None:
    """No outcome ever comes of it, so that going on would go on for ever."""
    batch = RecordingBatch([parcel(1, THREE), parcel(2)])
    replies = {"RCPT a@y.example": "250 ok", "RCPT b@y.example": "452 4.5.3 too many", "DATA": CLOSE}
    async with BadSmtp(replies, offers=offers) as peer:
        await deliver(batch, config(peer.port))
        assert len(peer.sessions) == 1
    assert batch.codes() == ["deferred 4.4.2 hop"] * 4


async def test_a_peer_that_closes_after_its_greeting_each_time_is_left_alone() -> None:
    batch = RecordingBatch([parcel(1)])
    async with BadSmtp({"EHLO": "250 bad.test CLOSE"}) as peer:
        await deliver(batch, config(peer.port))
        assert len(peer.sessions) == 1
    assert batch.codes() == ["deferred 4.4.2 hop"]


async def test_a_connection_closed_while_idle_is_replaced_and_nobody_notices() -> None:
    async with BadSmtp() as peer:
        destination = SmtpDestination("out", config(peer.port), context())
        await destination.start()
        first, second = RecordingBatch([parcel(1)]), RecordingBatch([parcel(2)])
        await destination.deliver(first)
        await peer.close_idle()
        await destination.deliver(second)
        await destination.stop()
        assert len(peer.sessions) == 2
    assert second.codes() == ["delivered 2.0.0"]


@pytest.mark.parametrize("end", ["421 4.4.2 idle for too long CLOSE", CLOSE, RESET])
async def test_a_connection_that_was_ending_while_idle_is_retried_on_a_fresh_one(end: str) -> None:
    async with BadSmtp({"MAIL": ["250 ok", end, "250 ok"]}) as peer:
        destination = SmtpDestination("out", config(peer.port), context())
        await destination.start()
        first, second = RecordingBatch([parcel(1)]), RecordingBatch([parcel(2)])
        await destination.deliver(first)
        await destination.deliver(second)
        await destination.stop()
        assert len(peer.sessions) == 2
    assert second.codes() == ["delivered 2.0.0"]


async def test_connections_are_reused_bounded_and_ended_in_good_order() -> None:
    async with BadSmtp() as peer:
        destination = SmtpDestination("out", config(peer.port, max_messages_per_connection=3), context())
        await destination.start()
        for n in range(7):
            await destination.deliver(RecordingBatch([parcel(n)]))
        await destination.stop()
        assert [len(session.messages) for session in peer.sessions] == [3, 3, 1]
        assert all(session.quit for session in peer.sessions)


async def test_an_idle_connection_is_ended_by_quit() -> None:
    async with BadSmtp() as peer:
        destination = SmtpDestination("out", config(peer.port, idle_timeout_s=0.1), context())
        await destination.start()
        await destination.deliver(RecordingBatch([parcel(1)]))
        assert peer.open_sessions == 1
        await asyncio.sleep(0.4)
        assert peer.open_sessions == 0
        assert peer.sessions[0].quit
        await destination.stop()


async def test_no_more_connections_than_allowed() -> None:
    batches = [RecordingBatch([parcel(n)]) for n in range(12)]
    async with BadSmtp() as peer:
        destination = SmtpDestination("out", config(peer.port, max_connections_per_hop=3), context())
        await destination.start()
        await asyncio.gather(*(destination.deliver(batch) for batch in batches))
        assert len(peer.sessions) <= 3
        await destination.stop()
    assert all(batch.codes() == ["delivered 2.0.0"] for batch in batches)


async def test_those_who_wait_for_a_connection_get_one_when_it_fails() -> None:
    batches = [RecordingBatch([parcel(n)]) for n in range(4)]
    async with BadSmtp({"GREETING": "450 4.3.2 later"}) as peer:
        destination = SmtpDestination("out", config(peer.port, max_connections_per_hop=1), context())
        await destination.start()
        async with asyncio.timeout(5):
            await asyncio.gather(*(destination.deliver(batch) for batch in batches))
        await destination.stop()
    assert all(batch.codes() == ["deferred 4.3.2 hop"] for batch in batches)


@pytest.mark.parametrize("stage", ["GREETING", "MAIL", "DATA", "."])
async def test_cancellation_ends_the_connection_and_settles_nothing_twice(stage: str) -> None:
    batch, counts = RecordingBatch([parcel(1), parcel(2)]), Counts()
    async with BadSmtp({stage: HANG}) as peer:
        destination = SmtpDestination("out", config(peer.port), context(counts))
        await destination.start()
        task = asyncio.create_task(destination.deliver(batch))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.1)
        assert all(word.startswith("deferred") for word in batch.codes())
        assert counts.values == ({"duplicates_possible": 1} if stage == "." else {})
        await destination.stop()


async def test_stop_returns_within_its_bound_with_deliveries_under_way() -> None:
    batch = RecordingBatch([parcel(1), parcel(2)])
    async with BadSmtp({".": HANG, "QUIT": HANG}) as peer:
        destination = SmtpDestination("out", config(peer.port), context())
        await destination.start()
        task = asyncio.create_task(destination.deliver(batch))
        await asyncio.sleep(0.2)
        async with asyncio.timeout(3):
            await destination.stop()
            await destination.stop()
            await task
        assert len(peer.sessions) == 1
    assert batch.codes() == ["deferred 4.4.2 message", "deferred 4.3.2 message"]


async def test_all_that_more_hands_over_goes_over_the_same_connection() -> None:
    later = [[parcel(n) for n in range(start, start + 10)] for start in range(10, 100, 10)]
    batch = RecordingBatch([parcel(n) for n in range(10)], later)
    async with BadSmtp() as peer:
        await deliver(batch, config(peer.port))
        assert len(peer.sessions) == 1
    assert batch.codes() == ["delivered 2.0.0"] * 100


# --- too many recipients


async def test_recipients_over_the_peers_limit_go_in_further_transactions() -> None:
    names = [f"r{n}@y.example" for n in range(7)]
    batch = RecordingBatch([parcel(1, names)])
    full = "452 4.5.3 too many recipients"
    replies = {"RCPT": ["250 ok"] * 3 + [full] * 4 + ["250 ok"] * 3 + [full] + ["250 ok"]}
    async with BadSmtp(replies) as peer:
        await deliver(batch, config(peer.port))
        assert [len(message.rcpts) for message in peer.messages] == [3, 3, 1]
    assert batch.codes() == ["delivered 2.0.0"] * 7


async def test_552_at_rcpt_is_read_as_452() -> None:
    """RFC 5321 §4.5.3.1.10."""
    batch = RecordingBatch([parcel(1, THREE)])
    async with BadSmtp({"RCPT": ["250 ok", "552 too many recipients", "552 too many", "250 ok"]}) as peer:
        await deliver(batch, config(peer.port))
    assert batch.codes() == ["delivered 2.0.0"] * 3


async def test_our_own_limit_of_recipients_splits_too() -> None:
    batch = RecordingBatch([parcel(1, [f"r{n}@y.example" for n in range(25)])])
    async with BadSmtp() as peer:
        await deliver(batch, config(peer.port, max_recipients_per_message=10))
        assert [len(message.rcpts) for message in peer.messages] == [10, 10, 5]
    assert batch.codes() == ["delivered 2.0.0"] * 25


# --- LMTP


async def test_lmtp_gives_each_recipient_its_own_answer() -> None:
    batch = RecordingBatch([parcel(1, THREE), parcel(2)])
    replies = {". a@y.example": "452 4.2.2 full", ". c@y.example": "550 5.2.1 closed"}
    async with BadSmtp(replies, lmtp=True) as peer:
        await deliver(batch, config(peer.port, protocol_out="lmtp"))
        assert peer.sessions[0].commands[0] == "LHLO gw.test"
    assert batch.codes() == ["deferred 4.2.2 recipient", "delivered 2.0.0", "failed 5.2.1", "delivered 2.0.0"]


async def test_lmtp_delivers_for_good_and_its_reports_are_ours_to_make() -> None:
    wish = item("b@y.example", notify=Notify.SUCCESS)
    base = parcel(1)
    batch = RecordingBatch([Parcel(1, base.envelope, base.content, (wish,), 0.0)])
    async with BadSmtp(lmtp=True) as peer:
        settings = config(peer.port, protocol_out="lmtp")
        await deliver(batch, settings)
        assert peer.messages[0].rcpts == ["TO:<b@y.example>"]
    outcome = batch.outcomes[1, 0]
    assert isinstance(outcome, Delivered)
    assert not outcome.relayed
    assert not SmtpDestination("out", settings, context()).capabilities.delivery_reports


async def test_lmtp_closed_between_two_answers_leaves_only_the_rest_open() -> None:
    batch, counts = RecordingBatch([parcel(1, THREE)]), Counts()
    async with BadSmtp({". b@y.example": CLOSE}, lmtp=True) as peer:
        await deliver(batch, config(peer.port, protocol_out="lmtp"), counts=counts)
    assert batch.codes() == ["delivered 2.0.0", "deferred 4.4.2 message", "deferred 4.4.2 message"]
    assert counts.values == {"duplicates_possible": 2}


async def test_lmtp_counts_answers_by_accepted_recipients() -> None:
    batch = RecordingBatch([parcel(1, THREE), parcel(2)])
    async with BadSmtp({"RCPT b@y.example": ["550 5.1.1 who?", "250 ok"]}, lmtp=True) as peer:
        await deliver(batch, config(peer.port, protocol_out="lmtp"))
    assert batch.codes() == ["delivered 2.0.0", "failed 5.1.1", "delivered 2.0.0", "delivered 2.0.0"]


# --- what one peer cannot take


async def test_a_message_over_the_peers_size_is_not_sent() -> None:
    batch = RecordingBatch([parcel(1, content=b"x" * 70 + b"\r\n" + BODY), parcel(2)])
    async with BadSmtp(offers=(*NO_PIPELINING[:1], "PIPELINING", f"SIZE {len(BODY)}")) as peer:
        await deliver(batch, config(peer.port))
        assert len(peer.messages) == 1
    assert batch.codes() == ["failed 5.3.4", "delivered 2.0.0"]


async def test_an_utf8_address_fails_alone_where_the_peer_takes_none() -> None:
    names = ["ok@y.example", "jürgen@y.example", "ok@bücher.example"]
    batch = RecordingBatch([parcel(1, names)])
    async with BadSmtp(offers=("PIPELINING", "8BITMIME")) as peer:
        await deliver(batch, config(peer.port))
        assert peer.messages[0].rcpts == ["TO:<ok@y.example>", "TO:<ok@xn--bcher-kva.example>"]
    assert batch.codes() == ["delivered 2.0.0", "failed 5.6.7", "delivered 2.0.0"]


async def test_an_utf8_address_is_sent_as_it_is_where_it_can_be() -> None:
    batch = RecordingBatch([parcel(1, "jürgen@y.example")])
    async with BadSmtp() as peer:
        await deliver(batch, config(peer.port))
        (message,) = peer.messages
        assert message.rcpts == ["TO:<jürgen@y.example>"]
        assert message.mail.endswith(" SMTPUTF8")
    assert batch.codes() == ["delivered 2.0.0"]


@pytest.mark.parametrize(
    ("assume", "offers", "refits"),
    [(True, ("PIPELINING",), 0), (False, ("PIPELINING",), 1), (False, ("PIPELINING", "8BITMIME"), 0)],
)
async def test_8bit_content(assume: bool, offers: Sequence[str], refits: int) -> None:
    content = BODY + "grün\r\n".encode()
    batch = RecordingBatch([parcel(1, content=content)])
    async with BadSmtp(offers=offers) as peer:
        await deliver(batch, config(peer.port, assume_8bit=assume))
        (message,) = peer.messages
    assert (batch.codes(), batch.refits) == (["delivered 2.0.0"], refits)
    assert ("BODY=8BITMIME" in message.mail) == ("8BITMIME" in offers)
    assert (message.content == content) == (not refits)
    assert message.content.isascii() == bool(refits)


async def test_bare_newlines_never_leave() -> None:
    """What adaptation should have mended is mended here, counted, and cannot end the content early."""
    smuggled = (
        b"Subject: x\r\n\r\nbody\n.\nMAIL FROM:<evil@x.example>\r.\r\nRCPT TO:<c@y.example>\n.\r\nDATA\r\r\n.\r\n"
    )
    told_wrong = Content(smuggled, traits=Traits(crlf_only=True, eight_bit=False))
    batch, counts = RecordingBatch([parcel(1, content=told_wrong)]), Counts()
    async with BadSmtp() as peer:
        await deliver(batch, config(peer.port), counts=counts)
        (message,) = peer.messages
        assert len(peer.sessions[0].commands) == 5
    assert message.content.replace(b"\r\n", b"") == smuggled.replace(b"\r", b"").replace(b"\n", b"")
    assert counts.values == {"newlines_mended": 1}
    assert batch.codes() == ["delivered 2.0.0"]


async def test_what_a_peer_offers_and_cannot_do_is_left_alone_where_so_configured() -> None:
    """It answers one command at a time and drops what else had arrived with it, though it offers PIPELINING."""

    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 x\r\n")
        replies = {b"EHLO": b"250-x\r\n250-DSN\r\n250 PIPELINING", b"DATA": b"354 go", b"QUIT": b"221 bye"}
        while octets := await reader.read(1 << 16):
            writer.write(replies.get(octets[:4], b"250 ok") + b"\r\n")

    server = await asyncio.start_server(drop, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        first, second = RecordingBatch([parcel(1, ret="full")]), RecordingBatch([parcel(1)])
        await deliver(first, config(port, ignore_offers=("PIPELINING", "DSN")))
        await deliver(second, config(port, command_timeout_s=0.3))
    finally:
        server.close()
    assert first.codes() == ["delivered 2.0.0"]
    assert second.codes() == ["deferred 4.4.1 hop"]


# --- DSN


async def test_dsn_wishes_are_passed_on() -> None:
    wish = item("b@y.example", notify=Notify.SUCCESS | Notify.DELAY, orcpt="rfc822;Ann+x=y@z.example")
    base = parcel(1, ret="hdrs", envid="id 1+2")
    batch = RecordingBatch([Parcel(1, base.envelope, base.content, (wish,), 0.0)])
    async with BadSmtp() as peer:
        await deliver(batch, config(peer.port))
        (message,) = peer.messages
    assert message.mail == f"FROM:<a@x.example> SIZE={len(BODY)} RET=HDRS ENVID=id+201+2B2"
    assert message.rcpts == ["TO:<b@y.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Ann+2Bx+3Dy@z.example"]
    outcome = batch.outcomes[1, 0]
    assert isinstance(outcome, Delivered)
    assert not outcome.relayed


async def test_without_dsn_a_delivery_is_relayed() -> None:
    wish = item("b@y.example", notify=Notify.SUCCESS, orcpt="rfc822;b@y.example")
    base = parcel(1, ret="full", envid="x")
    batch = RecordingBatch([Parcel(1, base.envelope, base.content, (wish,), 0.0)])
    async with BadSmtp(offers=("PIPELINING",)) as peer:
        await deliver(batch, config(peer.port))
        assert peer.messages[0].mail == "FROM:<a@x.example>"
        assert peer.messages[0].rcpts == ["TO:<b@y.example>"]
    outcome = batch.outcomes[1, 0]
    assert isinstance(outcome, Delivered)
    assert outcome.relayed


async def test_a_report_goes_with_the_null_path_and_never() -> None:
    base = parcel(1, sender=None)
    batch = RecordingBatch([Parcel(1, base.envelope, base.content, (item("b@y.example", notify=Notify.NEVER),), 0.0)])
    async with BadSmtp() as peer:
        await deliver(batch, config(peer.port))
        (message,) = peer.messages
    assert message.mail.startswith("FROM:<> ")
    assert message.rcpts == ["TO:<b@y.example> NOTIFY=NEVER"]


# --- AUTH


async def test_auth_is_not_done_in_the_clear() -> None:
    batch = RecordingBatch([parcel(1)])
    async with BadSmtp(offers=(*OFFERS, "AUTH PLAIN")) as peer:
        await deliver(batch, config(peer.port, auth_user="u", auth_password="p"))
        assert not any("AUTH" in line for line in peer.sessions[0].commands)
    assert batch.codes() == ["deferred 4.7.11 hop"]


@pytest.mark.parametrize(
    ("mechanism", "expected"),
    [("AUTH PLAIN LOGIN", ["AUTH PLAIN AHUAcA=="]), ("AUTH LOGIN", ["AUTH LOGIN", "dQ==", "cA=="])],
)
async def test_auth_mechanisms(mechanism: str, expected: list[str]) -> None:
    batch = RecordingBatch([parcel(1)])
    async with BadSmtp(offers=(*OFFERS, mechanism)) as peer:
        await deliver(batch, config(peer.port, auth_user="u", auth_password="p", auth_without_tls=True))
        assert peer.sessions[0].commands[1 : 1 + len(expected)] == expected
    assert batch.codes() == ["delivered 2.0.0"]


async def test_wrong_credentials_hold_the_mail_and_show_in_health() -> None:
    batch = RecordingBatch([parcel(1)])
    async with BadSmtp({"AUTH": "535 5.7.8 wrong"}, offers=(*OFFERS, "AUTH PLAIN")) as peer:
        settings = config(peer.port, auth_user="u", auth_password="p", auth_without_tls=True)
        destination = SmtpDestination("out", settings, context())
        await destination.start()
        await destination.deliver(batch)
        health = destination.health()
        await destination.stop()
    assert batch.codes() == ["deferred 4.7.8 hop"]
    assert not health.ok
    assert "wrong" in health.text


# --- next hops


def test_next_hop_is_the_domain_or_the_smart_host() -> None:
    by_mx = SmtpDestination("out", config(), context(), resolver=FakeDns())
    assert by_mx.next_hop(address("Ann@ACME.example")) == "acme.example"
    assert by_mx.next_hop(Address("smtp", '"a@b"@y.example', '"a@b"@y.example')) == "y.example"
    assert SmtpDestination("out", config(25), context()).next_hop(address("a@b.example")) == "127.0.0.1:25"


async def test_the_next_mx_is_tried_where_the_first_does_not_answer() -> None:
    async with BadSmtp(host="127.0.0.2") as second:
        names = {"mx": {"y.example": [(20, "two.test"), (10, "one.test")]}}
        dns = FakeDns(names["mx"], {"one.test": ["127.0.0.1"], "two.test": ["127.0.0.2"]})
        batch = RecordingBatch([parcel(1)])
        await deliver(batch, config(port=second.port), resolver=dns)
    assert batch.codes() == ["delivered 2.0.0"]
    assert batch.outcomes[1, 0].status.remote == "two.test"


@pytest.mark.parametrize("first_says", ["450 4.3.2 later", "554 5.7.1 blocked", "521 no mail", CLOSE, "junk"])
async def test_the_next_mx_is_tried_where_the_first_refuses_us(first_says: str) -> None:
    async with BadSmtp({"GREETING": first_says}) as first, BadSmtp(host="127.0.0.2", port=first.port) as second:
        dns = FakeDns(
            {"y.example": [(10, "one.test"), (20, "two.test")]}, {"one.test": ["127.0.0.1"], "two.test": ["127.0.0.2"]}
        )
        batch = RecordingBatch([parcel(1)])
        await deliver(batch, config(port=second.port), resolver=dns)
        assert len(first.sessions) == 1
    assert batch.codes() == ["delivered 2.0.0"]


async def test_a_domain_that_does_not_exist_fails_at_once() -> None:
    batch = RecordingBatch([parcel(1, THREE)])
    await deliver(batch, config(), resolver=FakeDns())
    assert batch.codes() == ["failed 5.1.2"] * 3


async def test_lmtp_over_a_unix_socket(tmp_path: Any) -> None:
    peer = BadSmtp(lmtp=True)
    path = tmp_path / "lmtp"
    server = await asyncio.start_unix_server(peer._serve, str(path))
    batch = RecordingBatch([parcel(1)])
    try:
        await deliver(batch, config(smart_host=f"unix:{path}", protocol_out="lmtp"))
    finally:
        server.close()
    assert batch.codes() == ["delivered 2.0.0"]
    assert peer.messages[0].content == BODY


# --- contents that are not in memory


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        (b"Subject: t\r\n\r\ngr\xfcn\r\n", {}, "delivered 2.0.0"),
        (b"Subject: t\r\n\r\ngr\xfcn\r\n", {"assume_8bit": False}, "delivered 2.0.0"),
        (b"Subject: t\r\n\r\ngreen\r\n", {"assume_8bit": False}, "delivered 2.0.0"),
        (b"Subject: gr\xc3\xbcn\r\n\r\nx\r\n", {"smtputf8": True}, "delivered 2.0.0"),
        (b"Subject: t\r\n\r\n" + b"gr\xfcn" * 300_000, {"assume_8bit": False}, "failed 5.3.4"),
        (b"Subject: green\r\n\r\ngr\xfcn\r\n", {"smtputf8": True}, "delivered 2.0.0"),
    ],
)
async def test_what_must_be_known_of_a_content_file_is_read_in_a_thread(
    content: bytes, options: dict[str, Any], expected: str
) -> None:
    class Stored:
        size = len(content)

        def read(self, offset: int, length: int) -> bytes:
            with pytest.raises(RuntimeError):
                asyncio.get_running_loop()
            return content[offset : offset + length]

    settings = {"assume_8bit": options.get("assume_8bit", True)}
    smtputf8 = options.get("smtputf8", False)
    stored = [parcel(n, content=Content(Stored()), smtputf8=smtputf8) for n in (1, 2)]
    batch = RecordingBatch([stored[0], parcel(3), stored[1]])
    async with BadSmtp(offers=("PIPELINING", "SIZE 1000000")) as peer:
        await deliver(batch, config(peer.port, **settings))
    assert batch.codes() == [expected, expected, "delivered 2.0.0"]


class Octets:
    """A Blob that makes its octets up as they are read, and can fail."""

    def __init__(self, size: int, fail_at: int | None = None) -> None:
        self.size = size
        self._fail_at = fail_at

    def read(self, offset: int, length: int) -> bytes:
        if self._fail_at is not None and offset + length > self._fail_at:
            raise OSError("disk fault")
        line = b"." + b"y" * 61 + b"\r\n"
        first = offset - offset % 64
        count = (offset + length - first) // 64 + 1
        return (line * count)[offset - first : offset - first + length]


async def test_a_large_content_crosses_whole_and_takes_little_memory() -> None:
    size = 32 * 1024 * 1024
    batches = [RecordingBatch([parcel(n, content=Content(Octets(size)))]) for n in range(4)]
    received: list[int] = []

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in (b"220 x", b"250-x\r\n250 PIPELINING", b"250 ok\r\n250 ok\r\n354 go"):
            writer.write(reply + b"\r\n")
            if reply.startswith(b"250 ok"):
                break
            await reader.readuntil(b"\r\n")
        seen, tail, dots = 0, b"", 0
        await reader.readuntil(b"DATA\r\n")
        while not tail.endswith(b"\r\n.\r\n"):
            piece = await reader.read(1 << 16)
            seen += len(piece)
            dots += piece.count(b"..")
            tail = (tail + piece)[-5:]
        received.append(seen)
        writer.write(b"250 2.0.0 ok\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(count, "127.0.0.1", 0, limit=1 << 16)
    destination = SmtpDestination("out", config(server.sockets[0].getsockname()[1]), context())
    await destination.start()
    tracemalloc.start()
    try:
        async with asyncio.timeout(60):
            await asyncio.gather(*(destination.deliver(batch) for batch in batches))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        await destination.stop()
        server.close()
    assert [batch.codes() for batch in batches] == [["delivered 2.0.0"]] * 4
    assert received == [size + size // 64 + 3] * 4  # a doubled dot a line, and the end
    assert peak < 24 * 1024 * 1024  # of 128 MiB; how much lies in the sockets' buffers is up to the machine


async def test_a_content_that_cannot_be_read_to_its_end_is_never_ended() -> None:
    content = Content(Octets(2 * 1024 * 1024, fail_at=1024 * 1024))
    batch = RecordingBatch([parcel(1, content=content), parcel(2)])
    async with BadSmtp(offers=("PIPELINING",)) as peer:
        await deliver(batch, config(peer.port))
        assert [message.content for message in peer.messages] == [BODY]
    assert batch.codes() == ["deferred 4.3.0 message", "delivered 2.0.0"]


async def test_a_peer_that_stops_reading_is_given_up() -> None:
    batch = RecordingBatch([parcel(1, content=Content(Octets(32 * 1024 * 1024)))])
    async with BadSmtp(offers=("PIPELINING",), stall_content_after=1000) as peer:
        async with asyncio.timeout(5):
            await deliver(batch, config(peer.port, block_timeout_s=0.4))
    assert batch.codes() == ["deferred 4.4.1 hop"]


async def test_a_refusal_amid_the_content_is_heard() -> None:
    batch = RecordingBatch([parcel(1, content=Content(Octets(64 * 1024 * 1024)))])

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 x\r\n")
        await reader.readuntil(b"\r\n")
        writer.write(b"250-x\r\n250 PIPELINING\r\n")
        await reader.readuntil(b"DATA\r\n")
        writer.write(b"250 ok\r\n250 ok\r\n354 go\r\n")
        await reader.read(1 << 16)
        writer.write(b"552 5.3.4 too big\r\n")
        await reader.read(1 << 16)

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    try:
        await deliver(batch, config(server.sockets[0].getsockname()[1]))
    finally:
        server.close()
    assert batch.codes() == ["failed 5.3.4"]


async def test_ipv4_is_tried_where_ipv6_does_not_answer() -> None:
    async with BadSmtp() as peer:
        dns = FakeDns({"y.example": [(10, "one.test")]}, {"one.test": ["::1", "127.0.0.1"]})
        batch = RecordingBatch([parcel(1)])
        await deliver(batch, config(port=peer.port), resolver=dns)
    assert batch.codes() == ["delivered 2.0.0"]
