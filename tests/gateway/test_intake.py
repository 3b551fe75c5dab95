"""Intake: what it refuses and why, how recipients are split, and that the receipt comes after the commit alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.contract import Batch, ContentWriter, Receipt, Rejected, Unavailable
from gateway.ids import IdSource
from gateway.intake import GatewayIntake
from gateway.message import Content, Envelope, Message, Notify, Origin, Recipient
from gateway.planned import REFUSALS, REPORTS
from gateway.planner import Planner, PlannerSettings
from gateway.route import Route, Routes
from gateway.spool.api import Claim, DuplicateHandOver, SpoolError, State, Stored, claims_of
from gateway.spool.jobs import HandOver, Told
from gateway.status import SPOOL_DOWN
from mappings.encapsulation import Encapsulation, Key
from mappings.interchange import read_csv
from mappings.network import Address, parse
from mappings.rule import Rule
from mappings.table import compile_table

NOW = 1_764_000_000.0
PEOPLE = """name,home,kind,smtp,mhs
Ann Lee,oldmhs,person,ann.lee@merged.example;alee@acme.example;former:al@acme.example,ann@sales
Bob Ray,,person,bob@merged.example,
"""


class Box:
    """A destination whose next hop is an address's domain."""

    def next_hop(self, address: Address) -> str:
        return address.value.rpartition("@")[2]

    async def deliver(self, batch: Batch) -> None:
        raise AssertionError("nothing is sent here")


def planner(**settings: Any) -> Planner:
    identities, problems = read_csv(PEOPLE)
    assert not problems
    table = compile_table(
        identities,
        [Rule("smtp:{local}@{wg}.mhs.acme.example", "mhs:{local}@{wg}")],
        domains=["merged.example", "acme.example"],
        homes={"oldmhs": "mhs", "internet": "smtp"},
        encapsulation=Encapsulation(["gw.example"], [Key("a", b"secret")]),
        version=1,
        postmaster=parse("smtp:bob@merged.example"),
    )
    return Planner(
        PlannerSettings("gw.example", **settings),
        table,
        Routes([Route("mhs:*", "oldmhs"), Route("smtp:*", "internet")]),
        {"oldmhs": Box(), "internet": Box()},
        {"oldmhs": ("mhs",), "internet": ("smtp",)},
        IdSource(1, lambda: NOW),
        lambda: NOW,
    )


def mail(*to: str, sender: str | None = "smtp:carl@peer.example", trusted: bool = True, head: bytes = b"") -> Message:
    envelope = Envelope(
        parse(sender) if sender else None,
        tuple(Recipient(parse(t)) for t in to),
        Origin("internet", peer="192.0.2.1", helo="peer.example", protocol="ESMTP", trusted=trusted),
    )
    return Message(envelope, Content(head + b"Subject: hi\r\n\r\ntext\r\n"))


class Spool:
    """Commits when told to."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Stored, Told]] = []
        self.down = False
        self.taken: set[str] = set()

    def submit(self, hand_overs: Sequence[HandOver]) -> None:
        for message, _, told in hand_overs:
            if self.down:
                told(None, SpoolError(SPOOL_DOWN))
            else:
                self.waiting.append((message, told))

    async def accept(self, message: Stored, more: Sequence[Stored] = ()) -> DuplicateHandOver | None:
        raise AssertionError("not asked for here")

    def take_once(self, key: str) -> asyncio.Future[bool]:
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if self.down:
            future.set_exception(SpoolError(SPOOL_DOWN))
        else:
            future.set_result(key not in self.taken)
        self.taken.add(key)
        return future

    def content(self) -> ContentWriter:
        raise AssertionError("not asked for here")


class Desk:
    def __init__(self, **settings: Any) -> None:
        self.spool = Spool()
        self.handed: list[Claim] = []
        self.intake = GatewayIntake(self.spool, planner(**settings), self._take)

    def _take(self, claims: Sequence[Claim]) -> None:
        self.handed.extend(claims)


@pytest.mark.parametrize(
    ("to", "trusted", "code"),
    [
        ("smtp:ann.lee@merged.example", False, None),
        ("smtp:alee@acme.example", False, None),
        ("smtp:joe@plant.mhs.acme.example", False, None),
        ("smtp:postmaster@merged.example", False, None),
        ("smtp:nobody@merged.example", True, "5.1.1"),
        ("smtp:x@elsewhere.example", False, "5.7.1"),
        ("smtp:x@elsewhere.example", True, None),
        ("smtp:GPaaaaaaaaaaaaa-MHS-joe+40plant@gw.example", True, "5.7.1"),
        ("smtp:x%elsewhere.example@merged.example", False, "5.1.1"),
    ],
)
def test_answers_at_rcpt_time(to: str, trusted: bool, code: str | None) -> None:
    message = mail("smtp:bob@merged.example", trusted=trusted)
    status = planner().check(message.envelope, Recipient(parse(to)))
    assert (status.code if status else None) == code


def test_splits_recipients_by_lane_and_keeps_what_was_written() -> None:
    stored = (
        planner()
        .plan(mail("smtp:alee@acme.example", "smtp:x@a.example", "smtp:y@a.example", "smtp:z@b.example"))
        .message
    )
    assert [str(d.address) for d in stored.deliveries] == [
        "mhs:ann@sales",
        "smtp:x@a.example",
        "smtp:y@a.example",
        "smtp:z@b.example",
    ]
    assert str(stored.deliveries[0].original) == "smtp:alee@acme.example"
    assert [c.deliveries[0].lane for c in claims_of(stored)] == [
        ("oldmhs", "sales"),
        ("internet", "a.example"),
        ("internet", "b.example"),
    ]
    assert all(stored.why)


def test_the_trace_field_names_no_recipient() -> None:
    stored = planner().plan(mail("smtp:ann.lee@merged.example")).message
    text = stored.prefix.decode()
    assert text.startswith("Received: from peer.example ([192.0.2.1])\r\n\tby gw.example with ESMTP id ")
    assert text.endswith("\r\n")
    assert "ann" not in text


def test_a_peers_words_cannot_leave_the_trace_field() -> None:
    message = mail("smtp:bob@merged.example")
    origin = Origin("internet", peer="1.2.3.4", helo="evil\r\nBcc: x (comment", protocol="ESMTP", trusted=True)
    envelope = Envelope(message.envelope.reverse_path, message.envelope.recipients, origin)
    prefix = planner().plan(Message(envelope, message.content)).message.prefix
    assert prefix.count(b"\r\n") == 3
    assert b"(comment" not in prefix


@pytest.mark.parametrize(
    ("head", "loops"),
    [
        (b"Received: by other\r\n" * 50, False),
        (b"Received: by other\r\n" * 51, True),
        (b"Received: from a\r\n\tby gw.example with ESMTP; x\r\n" * 3, False),
        (b"Received: from a\r\n\tby GW.example with ESMTP; x\r\n" * 4, True),
        (b"Received: from gw.example by other\r\n" * 9, False),
    ],
)
def test_loops_are_cut(head: bytes, loops: bool) -> None:
    if not loops:
        planner().plan(mail("smtp:bob@merged.example", head=head))
        return
    with pytest.raises(Rejected) as refusal:
        planner().plan(mail("smtp:bob@merged.example", head=head))
    assert refusal.value.status.code == "5.4.6"


def test_a_content_over_the_limit_is_refused() -> None:
    with pytest.raises(Rejected) as refusal:
        planner(max_message_bytes=10).plan(mail("smtp:bob@merged.example"))
    assert refusal.value.status.code == "5.3.4"


def test_with_report_a_refused_recipient_fails_like_a_delivery() -> None:
    stored = planner().plan(mail("smtp:nobody@merged.example", "smtp:bob@merged.example"), report=True).message
    assert stored.deliveries[0].lane[0] == REFUSALS
    assert stored.deliveries[0].lane[1].startswith("5.1.1 ")
    assert stored.deliveries[1].lane == ("internet", "merged.example")


def test_with_report_and_nobody_to_tell_it_is_refused() -> None:
    with pytest.raises(Rejected) as refusal:
        planner().plan(mail("smtp:nobody@merged.example", sender=None), report=True)
    assert refusal.value.status.code == "5.1.1"


def test_without_report_one_bad_recipient_refuses_for_now() -> None:
    with pytest.raises(Rejected) as refusal:
        planner().plan(mail("smtp:nobody@merged.example", "smtp:bob@merged.example"))
    assert refusal.value.status.code[0] == "4"


def test_a_report_has_a_null_reverse_path_and_asks_for_none() -> None:
    stored = planner().plan_report(parse("smtp:carl@peer.example"), Content(b"x"))
    assert stored.envelope.reverse_path is None
    assert stored.is_report
    assert stored.deliveries[0].notify is Notify.NEVER
    assert stored.deliveries[0].state is State.QUEUED


def test_a_report_without_a_way_is_parked_not_lost() -> None:
    stored = planner().plan_report(parse("smtp:gone@merged.example"), Content(b"x"))
    assert stored.deliveries[0].state is State.PARKED
    assert stored.deliveries[0].lane[0] == REPORTS
    assert claims_of(stored) == []


async def turns() -> None:
    """Let the loop go on to where it waits for the spool."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_what_comes_in_one_turn_is_handed_over_at_once_and_refused_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    calls: list[int] = []
    submit = desk.spool.submit

    def counted(hand_overs: Sequence[HandOver]) -> None:
        calls.append(len(hand_overs))
        submit(hand_overs)

    monkeypatch.setattr(desk.spool, "submit", counted)
    broken = mail("smtp:bob@merged.example")
    object.__setattr__(broken, "content", None)
    asked = [mail("smtp:bob@merged.example"), mail("smtp:nobody@merged.example"), broken, mail("smtp:al@acme.example")]
    receipts = [desk.intake.submit(each) for each in asked]
    await turns()
    assert calls == [2]
    assert isinstance(receipts[1].exception(), Rejected)
    assert isinstance(receipts[2].exception(), AttributeError)
    assert [each.done() for each in receipts] == [False, True, True, False]
    for _, told in desk.spool.waiting:
        told(None, None)
    assert [each.result().message_id for each in (receipts[0], receipts[3])] == [m.id for m, _ in desk.spool.waiting]


async def test_the_receipt_and_the_hand_over_wait_for_the_commit() -> None:
    desk = Desk()
    accepting = asyncio.create_task(desk.intake.accept(mail("smtp:bob@merged.example")))
    await turns()
    stored, told = desk.spool.waiting[0]
    assert not accepting.done()
    assert not desk.handed
    told(None, None)
    assert (await accepting).message_id == stored.id
    assert [c.message for c in desk.handed] == [stored]


async def test_a_cancelled_source_strands_no_delivery() -> None:
    desk = Desk()
    accepting = asyncio.create_task(desk.intake.accept(mail("smtp:bob@merged.example")))
    await turns()
    accepting.cancel()
    await asyncio.gather(accepting, return_exceptions=True)
    desk.spool.waiting[0][1](None, None)
    await turns()
    assert len(desk.handed) == 1


async def test_a_new_address_is_told_once() -> None:
    desk = Desk(tell_moved=True)
    for _ in range(2):
        accepting = asyncio.create_task(desk.intake.accept(mail("smtp:al@acme.example")))
        await turns()
        desk.spool.waiting[-1][1](None, None)
        await accepting
        await turns()
    first, notice, second = (stored for stored, _ in desk.spool.waiting)
    assert [bool(m.is_report) for m in (first, notice, second)] == [False, True, False]
    assert str(notice.deliveries[0].address) == "smtp:carl@peer.example"
    desk.spool.waiting[1][1](None, None)
    await turns()
    assert [c.message for c in desk.handed] == [first, second, notice]


async def test_a_notice_that_cannot_be_stored_takes_nothing_from_the_message() -> None:
    desk = Desk(tell_moved=True)
    accepting = asyncio.create_task(desk.intake.accept(mail("smtp:al@acme.example")))
    await turns()
    desk.spool.down = True
    desk.spool.waiting[0][1](None, None)
    assert not (await accepting).duplicate
    await turns()
    assert len(desk.spool.waiting) == 1
    assert len(desk.handed) == 1


@pytest.mark.parametrize("head", [b"Message-ID: <a\rb@far.example>\r\n", b"Message-ID: <a\0\xe9@far.example>\r\n"])
async def test_whatever_a_message_holds_it_is_answered_and_its_notice_made(head: bytes) -> None:
    """A fault behind the commit would leave whoever brought it without an answer, and bring it again for ever."""
    desk = Desk(tell_moved=True)
    accepting = asyncio.create_task(desk.intake.accept(mail("smtp:al@acme.example", head=head)))
    await turns()
    desk.spool.waiting[0][1](None, None)
    assert not (await accepting).duplicate
    await turns()
    assert len(desk.spool.waiting) == 2


async def test_a_notice_that_cannot_be_made_takes_nothing_from_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError("the content cannot be read")

    monkeypatch.setattr("gateway.moved.notice", fails)
    desk = Desk(tell_moved=True)
    accepting = asyncio.create_task(desk.intake.accept(mail("smtp:al@acme.example")))
    await turns()
    desk.spool.waiting[0][1](None, None)
    assert not (await accepting).duplicate
    assert len(desk.handed) == 1


async def test_a_known_hand_over_is_not_sent_again() -> None:
    desk = Desk()
    accepting = asyncio.create_task(desk.intake.accept(mail("smtp:bob@merged.example")))
    await turns()
    desk.spool.waiting[0][1](DuplicateHandOver(7), None)
    receipt = await accepting
    assert receipt.duplicate
    assert receipt.message_id == 7
    assert not desk.handed


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_spool_that_cannot_take_it_is_unavailable(at_once: bool) -> None:
    desk = Desk()
    desk.spool.down = at_once
    accepting = asyncio.create_task(desk.intake.accept(mail("smtp:bob@merged.example")))
    await turns()
    if not at_once:
        desk.spool.waiting[0][1](None, SpoolError(SPOOL_DOWN))
    with pytest.raises(Unavailable):
        await accepting
    assert not desk.handed


async def test_a_reload_changes_the_answer_for_the_next_message() -> None:
    desk = Desk()
    message = mail("smtp:bob@merged.example")
    assert desk.intake.check(message.envelope, Recipient(parse("smtp:new@merged.example"))) is not None
    desk.intake.planner = planner()
    assert desk.intake.check(message.envelope, Recipient(parse("smtp:bob@merged.example"))) is None


async def test_who_does_not_take_an_answer_costs_nobody_else_theirs() -> None:
    desk = Desk()
    answers: list[object] = []

    def broken(receipt: Receipt | None, fault: BaseException | None) -> None:
        answers.append(receipt or fault)
        raise RuntimeError("the source has a fault of its own")

    desk.intake.take(mail("smtp:nobody@merged.example"), broken)
    for _ in range(2):
        desk.intake.take(mail("smtp:ann.lee@merged.example"), broken)
    await asyncio.sleep(0)
    assert [type(each) for each in answers] == [Rejected]
    for _, told in desk.spool.waiting:
        told(None, None)
    assert [type(each) for each in answers] == [Rejected, Receipt, Receipt]
