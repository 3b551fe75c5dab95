"""Learner: with a real spool and a real mapping, what a bounce changes, what is sent on, and what stays as it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from gateway import dsn, ids, learner, learning
from gateway.contract import Batch, Receipt
from gateway.ids import IdSource
from gateway.intake import GatewayIntake
from gateway.learner import MAX_OF_ONE, Learner, traced
from gateway.log import get_log
from gateway.mapping import FollowedMapping, MappingDatabase
from gateway.message import Content, Envelope, Message, Notify, Origin, Recipient
from gateway.planner import Planner, PlannerSettings
from gateway.report import Action, RecipientReport, Report
from gateway.route import Route, Routes
from gateway.spool.api import Claim, QueueFilter, SpoolError, Stored, TraceEvent
from gateway.spool.open import open_spool
from gateway.spool.options import SpoolOptions
from gateway.status import SPOOL_DOWN, Status
from mappings import store
from mappings.encapsulation import Encapsulation, Key
from mappings.identity import Identity, Kind, Role, addresses
from mappings.network import Address, parse
from mappings.table import compile_table
from tests.peers.ndr import ndr

NOW = 1_764_000_000.0
ANN = Identity(
    "Ann Lee", addresses(parse("smtp:ann.lee@merged.example"), parse("smtp:alee@merged.example")), home="internet"
)
BOB = Identity("Bob Ray", addresses(parse("smtp:bob@merged.example")), home="internet")
AL = Identity("Al Lee", addresses(parse("smtp:al.lee@merged.example"), parse("smtp:alee@acme.example")))
STAFF = Identity(
    "Staff",
    addresses(parse("smtp:staff@merged.example")),
    Kind.GROUP,
    members=(parse("smtp:bob@merged.example"), parse("smtp:ann.lee@merged.example")),
)
NAME = "IMCEAEX-_o=Acme_ou=HQ_cn=Recipients_cn=alee@acme.example"
X500 = parse("x500:/o=Acme/ou=HQ/cn=Recipients/cn=alee")
ENCAPSULATION = Encapsulation(["gw.example"], [Key("a", b"secret")])
HEAD = b"From: <bob@merged.example>\r\nMessage-ID: <%d@test>\r\nSubject: Re: lunch\r\n\r\n"
LIMIT = 4096


class Box:
    def next_hop(self, address: Address) -> str:
        return address.value.rpartition("@")[2]

    async def deliver(self, batch: Batch) -> None:
        raise AssertionError("nothing is sent here")


class Desk:
    """A node's parts, without its dispatcher: what is handed over stays in `handed`."""

    def __init__(self, spool: Any, mapping: FollowedMapping) -> None:
        self.spool = spool
        self.mapping = mapping
        self.ids = IdSource(1, lambda: NOW)
        self.handed: list[Claim] = []
        self.planner = self.plan()
        self.learner = Learner(spool, mapping, self.trace, lambda: self.planner, self.take, lambda: NOW)
        self.intake = GatewayIntake(spool, self.planner, self.take)
        self.intake.learner = self.learner
        self.number = 0

    def take(self, claims: Any) -> None:
        self.handed.extend(claims)

    async def trace(self, message_id: int) -> list[TraceEvent]:
        found: list[TraceEvent] = await self.spool.trace(message_id=message_id)
        return found

    def plan(self) -> Planner:
        table = compile_table(
            self.stored(),
            [],
            domains=["merged.example", "acme.example"],
            homes={"internet": "smtp", "exchange": "smtp"},
            encapsulation=ENCAPSULATION,
            version=1,
            shared=["acme.example"],
            clock=lambda: NOW,
        )
        return Planner(
            PlannerSettings("gw.example", learn=True, shared={"acme.example": ("exchange",)}, secret=b"k"),
            table,
            Routes([Route("smtp:*", "internet")]),
            {"internet": Box(), "exchange": Box()},
            {"internet": ("smtp",), "exchange": ("smtp",)},
            self.ids,
            lambda: NOW,
        )

    def follow(self) -> None:
        """Bring the mapping as it is stored into force."""
        self.planner = self.intake.planner = self.plan()

    def work(self, do: Callable[[Connection], Any]) -> Any:
        with self.mapping.database.connect() as connection:
            return do(connection)

    def put(self, *people: Identity) -> None:
        self.work(lambda c: store.apply(c, [store.Put(who) for who in people], who="me", why="test", at=NOW))
        self.follow()

    def stored(self) -> list[Identity]:
        found: list[Identity] = self.work(lambda c: list(store.load(c)))
        return found

    def revisions(self) -> list[store.Revision]:
        found: list[store.Revision] = self.work(lambda c: store.log(c, limit=1000))
        return found

    def holders(self, name: Address = X500) -> list[str]:
        return [i.name for i in self.work(lambda c: store.find(c, name.network, name.key))]

    async def accept(
        self, sender: str | None, to: str, octets: bytes, *, trusted: bool = True, **more: Any
    ) -> tuple[Receipt, list[Stored]]:
        """Take a message in; return its receipt and the messages that were handed over."""
        before = len(self.handed)
        content = Content(octets)
        if len(octets) > LIMIT:
            writer = self.spool.content()
            writer.write(octets)
            content = await writer.finish()
        origin = Origin("internet", "127.0.0.1", "raw.example", "ESMTP", trusted=trusted)
        envelope = Envelope(parse(sender) if sender else None, (Recipient(parse(to)),), origin, **more)
        receipt = await self.intake.accept(Message(envelope, content))
        for _ in range(200):  # what follows a receipt
            await asyncio.sleep(0.005)
            if not self.learner._tasks:
                break
        return receipt, [c.message for c in self.handed[before:]]

    async def write(self, name: str = NAME, body: bytes = b"Sure.\r\n") -> tuple[Stored, bytes]:
        """Write from Bob to an old name; return what is stored, and the octets as the next hop has them."""
        self.number += 1
        octets = HEAD % self.number + body
        _, (stored,) = await self.accept("smtp:bob@merged.example", f"smtp:{name}", octets)
        assert stored.envelope.envid is not None
        return stored, stored.prefix + octets

    async def bounce(self, octets: bytes, to: str = "bob@merged.example") -> tuple[Receipt, list[Stored]]:
        return await self.accept(None, f"smtp:{to}", octets, trusted=False)

    async def kinds(self, message_id: int) -> list[str]:
        return [event.kind for event in await self.trace(message_id)]


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    options = replace(SpoolOptions(), inline_limit_bytes=LIMIT, accept_delay_s=0.0, min_free_bytes=0)
    spool = await open_spool("sqlite:///spool", tmp_path, 0, lambda: NOW, options)
    database = MappingDatabase("sqlite:///spool", tmp_path)
    mapping = FollowedMapping(database, tmp_path / "state", b"secret", lambda: NOW, get_log("mapping"))
    await mapping.open(lambda: [ANN, BOB, STAFF])
    made = Desk(spool, mapping)
    yield made
    await made.learner.close()
    await mapping.close()
    await spool.close()


def report(stored: Stored, octets: bytes, *failed: str, **more: Any) -> bytes:
    more.setdefault("envid", stored.envelope.envid)
    return ndr("bob@merged.example", failed or [NAME], octets, **more)


# -- a bounce that comes in


async def test_a_name_is_learnt_and_the_message_sent_on(desk: Desk) -> None:
    stored, octets = await desk.write()
    receipt, (on,) = await desk.bounce(report(stored, octets))

    assert on.envelope.reverse_path == parse("smtp:bob@merged.example")
    assert [str(d.address) for d in on.deliveries] == ["smtp:ann.lee@merged.example"]
    assert on.deliveries[0].orcpt == f"rfc822;{NAME}"
    assert on.envelope.envid is None
    assert on.content.octets() == octets
    assert on.why[0].startswith("sent on, since")

    (revision, _) = desk.revisions()
    assert (revision.who, revision.changed, revision.added) == ("bounce", 1, 0)
    assert str(X500) in revision.why
    assert ids.text(receipt.message_id) in revision.why
    assert ids.text(stored.id) in revision.why
    (ann,) = desk.work(lambda c: store.find(c, "smtp", "ann.lee@merged.example"))
    assert ann.addresses[:-1] == ANN.addresses
    assert (ann.addresses[-1].address, ann.addresses[-1].role) == (X500, Role.FORMER)
    assert ann.home == "internet"

    # The bounce was stored, and is dropped; what became of the first message says why.
    assert await desk.kinds(receipt.message_id) == ["accepted", "dropped"]
    assert await desk.kinds(stored.id) == ["accepted", "learnt", "sent_on"]
    assert await desk.spool.load(receipt.message_id) is None
    assert await desk.spool.load(on.id) is not None

    # Mail to the name goes to her from now on, and is not marked.
    desk.follow()
    _, (later,) = await desk.accept("smtp:bob@merged.example", f"smtp:{NAME}", HEAD % 9)
    assert [str(d.address) for d in later.deliveries] == ["smtp:ann.lee@merged.example"]
    assert later.envelope.envid is None


async def test_rolled_back_it_is_forgotten_and_not_learnt_again(desk: Desk) -> None:
    stored, octets = await desk.write()
    await desk.bounce(report(stored, octets))
    (revision, _) = desk.revisions()
    desk.work(lambda c: store.rollback(c, revision.number, who="me", why="wrong", at=NOW))
    desk.follow()
    assert desk.holders() == []
    stored, octets = await desk.write()
    receipt, handed = await desk.bounce(report(stored, octets))
    assert [m.id for m in handed] == [receipt.message_id]
    assert desk.holders() == []
    assert len(desk.revisions()) == 3
    assert await desk.kinds(stored.id) == ["accepted"]


async def test_two_messages_that_went_astray_are_both_sent_on_and_the_name_is_learnt_once(desk: Desk) -> None:
    first, second = await desk.write(), await desk.write()
    for stored, octets in (first, second):
        _, (on,) = await desk.bounce(report(stored, octets))
        assert on.envelope.reverse_path == parse("smtp:bob@merged.example")
    assert len(desk.revisions()) == 2


async def test_a_bounce_that_comes_twice_goes_to_the_sender_the_second_time(desk: Desk) -> None:
    stored, octets = await desk.write()
    await desk.bounce(report(stored, octets))
    receipt, handed = await desk.bounce(report(stored, octets))
    assert [m.id for m in handed] == [receipt.message_id]


async def test_where_headers_alone_come_back_the_name_is_learnt_and_the_sender_told(desk: Desk) -> None:
    stored, octets = await desk.write()
    receipt, handed = await desk.bounce(report(stored, octets, whole=False))
    assert [m.id for m in handed] == [receipt.message_id]
    assert desk.holders() == ["Ann Lee"]
    assert await desk.kinds(stored.id) == ["accepted", "learnt"]


@pytest.mark.parametrize("cut", [200, 3])
async def test_a_message_that_was_cut_is_not_sent_on(desk: Desk, cut: int) -> None:
    stored, octets = await desk.write(body=b"a long line\r\n" * 100)
    cut_short = octets[len(stored.prefix) : -cut - len(stored.prefix)]
    receipt, handed = await desk.bounce(report(stored, cut_short))
    assert [m.id for m in handed] == [receipt.message_id]
    assert desk.holders() == ["Ann Lee"]


async def test_another_message_than_ours_is_not_sent_on(desk: Desk) -> None:
    stored, octets = await desk.write()
    receipt, handed = await desk.bounce(report(stored, octets.replace(b"<1@test>", b"<forged@test>")))
    assert [m.id for m in handed] == [receipt.message_id]


async def test_a_large_message_is_copied_and_the_bounce_removed(desk: Desk) -> None:
    body = b"".join(b"line %07d\r\n" % n for n in range(20_000))
    stored, octets = await desk.write(body=body)
    _, (on,) = await desk.bounce(report(stored, octets))
    loaded = await desk.spool.load(on.id)
    assert loaded is not None
    assert not loaded.content.is_inline
    assert b"".join(loaded.content.chunks()) == octets
    files = [p for p in desk.mapping.database.folder.rglob("*") if p.is_file() and p.stat().st_size == len(octets)]  # type: ignore[union-attr]  # SQLite has a folder
    assert len(files) == 1
    assert await desk.spool.fsck() == []


async def test_several_names_in_one_report(desk: Desk) -> None:
    desk.put(Identity("Carl", addresses(parse("smtp:carl@merged.example"))))
    other = NAME.replace("alee", "carl")
    self_made = Envelope(
        parse("smtp:bob@merged.example"),
        (Recipient(parse(f"smtp:{NAME}")), Recipient(parse(f"smtp:{other}"))),
        Origin("internet", trusted=True),
    )
    octets = HEAD % 1 + b"Sure.\r\n"
    await desk.intake.accept(Message(self_made, Content(octets)))
    stored = desk.handed[-1].message
    _, handed = await desk.bounce(report(stored, stored.prefix + octets, NAME, other))
    assert {str(d.address) for m in handed for d in m.deliveries} == {
        "smtp:ann.lee@merged.example",
        "smtp:carl@merged.example",
    }
    assert desk.revisions()[0].changed == 2


async def test_beside_another_failure_the_sender_is_told(desk: Desk) -> None:
    stored, octets = await desk.write()
    receipt, handed = await desk.bounce(report(stored, octets, NAME, "nobody@acme.example"))
    assert [m.id for m in handed] == [receipt.message_id]
    assert desk.holders() == ["Ann Lee"]


OTHER = NAME.replace("alee", "carl")


@pytest.mark.parametrize(
    "made",
    [
        lambda stored, octets: report(stored, octets, envid=None),
        lambda stored, octets: report(stored, octets, envid=learning.envid(b"guess", stored.id)),
        lambda stored, octets: report(
            stored, octets, envid=learning.envid(ENCAPSULATION.derived_key("envid"), stored.id + 1)
        ),
        lambda stored, octets: report(stored, octets, OTHER),
        lambda stored, octets: report(stored, octets, NAME, OTHER),
        lambda stored, octets: report(stored, octets, status="5.2.2"),
        lambda stored, octets: report(stored, octets, action="delayed"),
        lambda stored, octets: octets,
    ],
    ids=["unmarked", "forged", "unknown message", "other name", "other name too", "full", "delayed", "no report"],
)
async def test_what_teaches_nothing_goes_its_way(desk: Desk, made: Callable[[Stored, bytes], bytes]) -> None:
    stored, octets = await desk.write()
    receipt, handed = await desk.bounce(made(stored, octets))
    assert [m.id for m in handed] == [receipt.message_id]
    assert len(desk.revisions()) == 1
    assert await desk.kinds(stored.id) == ["accepted"]


@pytest.mark.parametrize("to", ["ann.lee@merged.example", "postmaster@merged.example"])
async def test_a_bounce_to_another_than_the_sender_teaches_nothing(desk: Desk, to: str) -> None:
    desk.put(Identity("Postmaster", addresses(parse("smtp:postmaster@merged.example"))))
    stored, octets = await desk.write()
    receipt, handed = await desk.bounce(report(stored, octets), to=to)
    assert [m.id for m in handed] == [receipt.message_id]
    assert desk.holders() == []


async def test_a_message_with_a_sender_teaches_nothing(desk: Desk) -> None:
    stored, octets = await desk.write()
    await desk.accept("smtp:ann.lee@merged.example", "smtp:bob@merged.example", report(stored, octets))
    assert desk.holders() == []


async def test_two_who_can_be_meant_are_nobody(desk: Desk) -> None:
    desk.put(AL)
    stored, octets = await desk.write()
    receipt, handed = await desk.bounce(report(stored, octets))
    assert [m.id for m in handed] == [receipt.message_id]
    assert desk.holders() == []


async def test_a_name_that_was_entered_meanwhile_is_sent_on_and_not_learnt(desk: Desk) -> None:
    stored, octets = await desk.write()
    desk.put(Identity("Al Lee", addresses(parse("smtp:al@merged.example"), former=(X500,))))
    _, (on,) = await desk.bounce(report(stored, octets))
    assert [str(d.address) for d in on.deliveries] == ["smtp:al@merged.example"]
    assert desk.holders() == ["Al Lee"]
    assert desk.revisions()[0].who == "me"


async def test_one_identity_gets_a_few_names_alone(desk: Desk) -> None:
    (ann,) = desk.work(lambda c: store.find(c, "smtp", "ann.lee@merged.example"))
    many = tuple(parse(f"x500:/o=Old{n}/cn=alee") for n in range(MAX_OF_ONE))
    desk.put(replace(ann, addresses=(*ann.addresses, *addresses(former=many))))
    stored, octets = await desk.write()
    receipt, handed = await desk.bounce(report(stored, octets))
    assert [m.id for m in handed] == [receipt.message_id]
    assert desk.holders() == []


async def test_what_cannot_be_sent_on_comes_back(desk: Desk) -> None:
    """It has gone round as often as it may."""
    stored, octets = await desk.write()
    passes = b"Received: from x by gw.example with ESMTP id 1; now\r\n" * 4
    receipt, handed = await desk.bounce(report(stored, passes + octets))
    assert [m.id for m in handed] == [receipt.message_id]


# -- where something is out of order


class Broken:
    """A mapping that fails some times first."""

    def __init__(self, mapping: FollowedMapping, faults: list[BaseException]) -> None:
        self.mapping = mapping
        self.faults = faults

    async def change(self, work: Callable[[Connection], Any]) -> Any:
        if self.faults:
            raise self.faults.pop(0)
        return await self.mapping.change(work)


@pytest.mark.parametrize(
    ("faults", "is_learnt"),
    [
        ([store.StaleMapping("another wrote"), store.StaleMapping("another wrote")], True),
        ([store.StaleMapping("another wrote")] * 3, False),
        ([OperationalError("UPDATE", {}, Exception("database is locked"))], False),
        ([store.ClaimedTwice(["two have it"])], False),
        ([TimeoutError()], False),
        ([RuntimeError("a bug")], False),
    ],
)
async def test_where_the_mapping_fails_the_bounce_goes_its_way(
    desk: Desk, faults: list[BaseException], is_learnt: bool
) -> None:
    desk.learner._mapping = Broken(desk.mapping, list(faults))
    stored, octets = await desk.write()
    receipt, handed = await desk.bounce(report(stored, octets))
    assert (desk.holders() == ["Ann Lee"]) is is_learnt
    assert ([m.id for m in handed] == [receipt.message_id]) is not is_learnt


async def test_a_mapping_that_takes_too_long_holds_no_bounce(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Broken):
        async def change(self, work: Callable[[Connection], Any]) -> Any:
            await asyncio.sleep(60)

    monkeypatch.setattr(learner, "_TIMEOUT_S", 0.05)
    desk.learner._mapping = Slow(desk.mapping, [])
    stored, octets = await desk.write()
    receipt, handed = await desk.bounce(report(stored, octets))
    assert [m.id for m in handed] == [receipt.message_id]


async def test_a_bounce_that_cannot_be_dropped_is_delivered(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def drop(where: QueueFilter, why: str) -> list[Any]:
        raise SpoolError(SPOOL_DOWN)

    stored, octets = await desk.write()
    monkeypatch.setattr(desk.spool, "drop", drop)
    receipt, handed = await desk.bounce(report(stored, octets))
    assert {m.id for m in handed} > {receipt.message_id}


async def test_a_spool_that_is_down_takes_neither(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def submit(hand_overs: Any) -> None:
        for _, _, told in hand_overs:
            told(None, SpoolError(SPOOL_DOWN))

    stored, octets = await desk.write()
    with monkeypatch.context() as patched:
        patched.setattr(desk.spool, "submit", submit)
        with pytest.raises(Exception, match=r"4\.3\.0"):
            await desk.bounce(report(stored, octets))
    # The peer comes again: the name is known by now, and the message is sent on all the same.
    _, (on,) = await desk.bounce(report(stored, octets))
    assert [str(d.address) for d in on.deliveries] == ["smtp:ann.lee@merged.example"]
    assert len(desk.revisions()) == 2


# -- a failure of our own


def failures(*recipients: tuple[str, str], action: Action = Action.FAILED) -> tuple[RecipientReport, ...]:
    return tuple(
        RecipientReport(action=action, original=parse(f"smtp:{to}"), final=parse(f"smtp:{to}"), status=Status(code))
        for to, code in recipients
    )


async def about(desk: Desk, *to: str, **more: Any) -> Stored:
    recipients = tuple(Recipient(parse(f"smtp:{each}"), Notify.FAILURE | Notify.SUCCESS) for each in to)
    envelope = Envelope(parse("smtp:bob@merged.example"), recipients, Origin("internet", trusted=True), **more)
    await desk.intake.accept(Message(envelope, Content(HEAD % 1 + b"Sure.\r\n")))
    return desk.handed[-1].message


def told(stored: Stored, parts: tuple[RecipientReport, ...]) -> Report:
    assert stored.envelope.reverse_path is not None
    return Report(stored.id, stored.envelope.reverse_path, NOW, parts, envid=stored.envelope.envid)


async def test_a_name_that_the_next_hop_refuses_is_sent_on_in_place_of_the_report(desk: Desk) -> None:
    stored = await about(desk, NAME, envid="QQ314159", ret="hdrs")
    on = await desk.learner.instead(told(stored, failures((NAME, "5.1.1"))), stored)
    assert on is not None
    assert [(str(d.address), d.notify, d.orcpt) for d in on.deliveries] == [
        ("smtp:ann.lee@merged.example", Notify.FAILURE | Notify.SUCCESS, f"rfc822;{NAME}")
    ]
    assert (on.envelope.envid, on.envelope.ret) == ("QQ314159", "hdrs")
    assert on.content.octets() == stored.prefix + stored.content.octets()
    assert desk.holders() == ["Ann Lee"]
    assert await desk.kinds(stored.id) == ["accepted", "learnt", "sent_on"]


async def test_our_own_envelope_identifier_goes_no_further(desk: Desk) -> None:
    stored, _ = await desk.write()
    on = await desk.learner.instead(told(stored, failures((NAME, "5.1.10"))), stored)
    assert on is not None
    assert on.envelope.envid is None


@pytest.mark.parametrize(
    "parts",
    [
        failures((NAME, "5.2.2")),
        failures((NAME, "5.1.1"), action=Action.DELAYED),
        failures(("nobody@acme.example", "5.1.1")),
        failures((NAME, "5.1.1"), ("nobody@acme.example", "5.1.1")),
        failures((OTHER, "5.1.1")),
        (),
    ],
)
async def test_any_other_failure_is_reported(desk: Desk, parts: tuple[RecipientReport, ...]) -> None:
    stored = await about(desk, NAME, OTHER)
    assert await desk.learner.instead(told(stored, parts), stored) is None
    assert desk.holders() == []


async def test_mail_to_somebody_who_has_the_name_fails_like_any(desk: Desk) -> None:
    """Where the next hop does not know the person's own address, nothing is gained by sending it there again."""
    (ann,) = desk.work(lambda c: store.find(c, "smtp", "ann.lee@merged.example"))
    desk.put(replace(ann, addresses=(*ann.addresses, *addresses(former=(X500,)))))
    stored = await about(desk, NAME)
    assert [str(d.address) for d in stored.deliveries] == ["smtp:ann.lee@merged.example"]
    assert stored.envelope.envid is None
    (failed,) = failures((NAME, "5.1.1"))
    parts = (replace(failed, final=stored.deliveries[0].address),)
    assert await desk.learner.instead(told(stored, parts), stored) is None


async def test_a_name_that_mail_is_sent_to_is_no_former_one(desk: Desk) -> None:
    """Somebody's mailbox may be at a system that takes directory names: sent on, it would come back for ever."""
    (ann,) = desk.work(lambda c: store.find(c, "smtp", "ann.lee@merged.example"))
    stored, octets = await desk.write()
    desk.put(replace(ann, addresses=(*ann.addresses, *addresses(X500))))
    receipt, handed = await desk.bounce(report(stored, octets))
    assert [m.id for m in handed] == [receipt.message_id]
    assert await desk.learner.instead(told(stored, failures((NAME, "5.1.1"))), stored) is None


async def test_a_large_message_that_was_refused_is_sent_on(desk: Desk) -> None:
    stored, octets = await desk.write(body=b"line\r\n" * 10_000)
    on = await desk.learner.instead(told(stored, failures((NAME, "5.1.1"))), stored)
    assert on is not None
    await desk.spool.settle([], [on])
    loaded = await desk.spool.load(on.id)
    assert loaded is not None
    assert b"".join(loaded.content.chunks()) == octets


async def test_a_report_of_ours_that_comes_in_again_is_read_like_any(desk: Desk) -> None:
    """Another gateway of this kind gives the same form as others do."""
    stored, octets = await desk.write()
    whole = replace(stored, content=Content(octets))
    made = dsn.build(
        Report(7, parse("smtp:bob@merged.example"), NOW, failures((NAME, "5.1.1")), stored.envelope.envid, True),
        whole,
        hostname="other.example",
        now=NOW,
    )
    _, (on,) = await desk.bounce(made.octets())
    assert [str(d.address) for d in on.deliveries] == ["smtp:ann.lee@merged.example"]


# -- the trace of several workers


async def test_a_trace_is_put_together() -> None:
    async def mine(*, message_id: int) -> list[TraceEvent]:
        return [TraceEvent(message_id, 1.0, "accepted")]

    async def everybody(command: str, given: Any) -> list[Any]:
        assert (command, given) == ("trace", {"what": ids.text(7)})
        one = {"at": 1.0, "kind": "accepted", "n": None, "detail": {"size": 1}}
        two = {"at": 2.0, "kind": "sent_on", "n": None, "detail": {}}
        return [
            {"messages": []},
            {"messages": [{"id": ids.text(7), "events": [one]}, {"id": ids.text(8), "events": [two]}]},
            {"messages": [{"id": ids.text(7), "events": [two]}]},
        ]

    assert await traced(7, mine, None) == [TraceEvent(7, 1.0, "accepted")]
    assert await traced(7, mine, everybody) == [
        TraceEvent(7, 1.0, "accepted", None, {"size": 1}),
        TraceEvent(7, 2.0, "sent_on"),
    ]
