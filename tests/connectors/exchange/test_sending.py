"""Mail that a mailbox sends: by two steps, to those alone that it is for, once whatever was cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connectors.exchange.lookup import SENT, key
from connectors.exchange.organisation import Delete, Fault, Person
from connectors.exchange.sweep import KEPT_S, before
from gateway.contract import Content, Deferred, Delivered, Failed, Outcome, Parcel, memo
from tests.connectors.exchange.bench import CUT, Bench, code, mail

OUT = "gateway@acme.example"
BOB, EVE, DAN = "bob@far.example", "eve@far.example", "dan@acme.example"
TO_ALL = (
    b"From: Pat <pat@far.example>\r\nTo: Bob <bob@far.example>, list@far.example\r\nCc: eve@far.example\r\n"
    b"Bcc: dan@acme.example\r\nSubject: hi\r\n\r\nhi\r\n"
)


class Sender(Bench):
    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, **{"mode": "send", "send_as": OUT} | options)

    async def send(self, *parcels: Parcel, **more: Any) -> list[Outcome]:
        return await self.deliver(*parcels, hop=OUT, **more)

    @property
    def sent(self) -> list[tuple[str, ...]]:
        return [tuple(sorted(to)) for to, _ in self.organisation.sent_to]

    def drafts(self) -> list[str]:
        return [held.new.key for held in self.organisation.inside(OUT, "drafts")]


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., Sender]:
    return lambda **options: Sender(tmp_path, **options)


async def test_it_is_sent_to_those_it_is_for(bench: Callable[..., Sender]) -> None:
    at = bench()
    outcomes = await at.send(mail(1, BOB, DAN, octets=TO_ALL))
    assert all(isinstance(each, Delivered) and each.relayed for each in outcomes)
    assert at.sent == [(BOB, DAN)]
    (held,) = at.organisation.inside(OUT, "Gatepost/Sent")
    found = memo(Content(held.octets))
    assert found.get(b"to") == "Bob <bob@far.example>"
    assert found.get(b"x-gatepost-original-to") == "Bob <bob@far.example>, list@far.example"
    assert found.get(b"x-gatepost-original-cc") == "eve@far.example"
    assert (found.get(b"cc"), found.get(b"bcc")) == ("", "dan@acme.example")
    assert held.octets.endswith(b"\r\n\r\nhi\r\n")
    (outcome, _) = outcomes
    assert isinstance(outcome, Delivered)
    told = [note.what for note in outcome.notes]
    assert [each in told for each in ("To", "Cc", "reverse-path", "recipients whom To and Cc do not name")] == [
        True
    ] * 4


async def test_several_mails_are_drafted_by_one_request(bench: Callable[..., Sender]) -> None:
    at = bench()
    outcomes = await at.send(*(mail(n, BOB) for n in range(1, 6)), waiting=[[mail(n, BOB) for n in range(6, 9)]])
    assert all(isinstance(each, Delivered) for each in outcomes)
    assert [len(keys) for _, keys in at.organisation.asked_for("create")] == [5, 3]
    assert len(at.organisation.asked_for("send")) == 8
    assert not at.organisation.asked_for("find")
    assert not at.drafts()


async def test_a_mail_to_very_many_goes_in_several(bench: Callable[..., Sender]) -> None:
    at = bench()
    everybody = [f"r{n}@far.example" for n in range(1100)]
    at.organisation.plan("send", CUT, done=True, nth=2)
    at.organisation.plan("find", CUT)
    outcomes = await at.send(mail(1, *everybody, octets=TO_ALL))
    left = [to for to, outcome in zip(everybody, outcomes, strict=True) if not isinstance(outcome, Delivered)]
    assert len(left) >= 500
    at.now += 3600
    again = mail(1, *everybody, fresh=False, octets=TO_ALL)
    items = tuple(item for item in again.items if item.address.value in left)
    outcomes = await at.send(type(again)(1, again.envelope, again.content, items, again.arrived_at))
    assert all(isinstance(each, Delivered) for each in outcomes)
    assert sorted(map(len, at.sent)) == [100, 500, 500]
    assert sorted(address for to in at.sent for address in to) == sorted(everybody)
    assert max(len(keys) for _, (_, keys) in at.organisation.asked_for("find")) <= 20


async def test_a_mail_on_behalf_of_its_author(bench: Callable[..., Sender]) -> None:
    at = bench(on_behalf=True)
    await at.send(mail(1, BOB, octets=b"Sender: x@y.example\r\n" + TO_ALL))
    found = memo(Content(at.organisation.items[0].octets))
    assert (found.get(b"sender"), found.get(b"from")) == (OUT, "Pat <pat@far.example>")


async def test_two_recipients_of_one_address_get_one_mail(bench: Callable[..., Sender]) -> None:
    at = bench()
    outcomes = await at.send(mail(1, BOB, "Bob@FAR.example", octets=TO_ALL))
    assert [isinstance(each, Delivered) for each in outcomes] == [True, True]
    assert at.sent == [(BOB,)]


async def test_what_stands_in_to_and_is_no_address_is_sent_to_nobody(bench: Callable[..., Sender]) -> None:
    at = bench()
    await at.send(mail(1, BOB, octets=b"To: bob@far.example, Eve\r\nFrom: p@q.example\r\n\r\nx"))
    assert memo(Content(at.organisation.items[0].octets)).get(b"to") == BOB


@pytest.mark.parametrize("operation", ["create", "send"])
@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("look", [True, False])
async def test_a_cut_at_either_step_doubles_nothing(
    bench: Callable[..., Sender], operation: str, done: bool, look: bool
) -> None:
    at = bench()
    at.organisation.plan(operation, CUT, done=done)
    if not look:
        at.organisation.plan("find", CUT)
    first = await at.send(mail(1, BOB, EVE, octets=TO_ALL), mail(2, EVE, octets=TO_ALL))
    at.now += 3600
    later = []
    for n, (to, outcomes) in enumerate((((BOB, EVE), first[:2]), ((EVE,), first[2:])), 1):
        if not all(isinstance(each, Delivered) for each in outcomes):
            later.append(mail(n, *to, fresh=False, attempts=1, octets=TO_ALL))
    again = await at.send(*later) if later else []
    assert all(isinstance(each, Delivered) for each in again)
    assert sorted(at.sent) == [(BOB, EVE), (EVE,)]
    assert not at.drafts()
    if done and look:
        assert not later, "what has been done is found at once"


@pytest.mark.parametrize("routing", ["SMTP", "EX"])
async def test_a_message_is_taken_apart_otherwise_than_before(bench: Callable[..., Sender], routing: str) -> None:
    at = bench()
    for each in (BOB, EVE, DAN):
        at.organisation.people_by_name[each] = Person(each, each, legacy_dn=f"/o=Acme/cn={each}")
    at.organisation.routing = routing
    at.organisation.plan("send", CUT, done=True)
    at.organisation.plan("find", CUT)
    first = await at.send(mail(1, BOB, EVE, DAN, octets=TO_ALL))
    assert {code(each) for each in first} == {"4.4.2"}
    at.now += 3600
    again = mail(1, BOB, EVE, DAN, fresh=False, octets=TO_ALL)
    for some in (again.items[2:], again.items[:1], again.items[1:2]):
        (outcome,) = await at.send(type(again)(1, again.envelope, again.content, some, again.arrived_at))
        assert isinstance(outcome, Delivered)
    assert at.sent == [tuple(sorted((BOB, EVE, DAN)))]


async def test_a_draft_to_others_too_is_not_sent_as_it_is(bench: Callable[..., Sender]) -> None:
    at = bench()
    at.organisation.plan("send", CUT)
    await at.send(mail(1, BOB, EVE, octets=TO_ALL))
    assert at.drafts() == [key((1, 0))]
    at.now += 3600
    again = mail(1, BOB, EVE, fresh=False, octets=TO_ALL)
    (outcome,) = await at.send(type(again)(1, again.envelope, again.content, again.items[:1], again.arrived_at))
    assert isinstance(outcome, Delivered)
    assert at.sent == [(BOB,)]
    assert not at.drafts()


@pytest.mark.parametrize("operation", ["create", "send"])
async def test_a_refused_recipient_fails_alone(bench: Callable[..., Sender], operation: str) -> None:
    at = bench()
    fault = Fault("ErrorInvalidRecipients", "At least one recipient isn't valid.")

    def refuse(octets: bytes) -> Fault | None:
        return fault if b"eve@far.example" in octets.partition(b"X-Gatepost-Original-Cc")[0] else None

    if operation == "create":
        at.organisation.refuse = lambda mailbox, new: refuse(b"".join(new.mime.chunks()))
    else:
        at.organisation.refuse_to_send = lambda held: refuse(held.octets)
    outcomes = await at.send(mail(1, BOB, EVE, DAN, octets=TO_ALL))
    assert [code(each) for each in outcomes] == ["2.0.0", "5.1.3", "2.0.0"]
    assert sorted(at.sent) == [(BOB,), (DAN,)]
    assert not at.drafts()


async def test_nobody_gets_a_second_mail_where_a_refused_draft_stays(bench: Callable[..., Sender]) -> None:
    at = bench()
    fault = Fault("ErrorInvalidRecipients")
    at.organisation.refuse_to_send = lambda held: fault if EVE in held.to else None
    at.organisation.plan("finish", CUT)
    first = await at.send(mail(1, BOB, EVE, octets=TO_ALL))
    assert {code(each) for each in first} == {"4.4.2"}
    at.now += 3600
    again = await at.send(mail(1, BOB, EVE, fresh=False, octets=TO_ALL))
    assert [code(each) for each in again] == ["2.0.0", "5.1.3"]
    assert at.sent == [(BOB,)]


async def test_who_may_not_send_for_an_author(bench: Callable[..., Sender]) -> None:
    at = bench()
    at.organisation.plan("send", Fault("ErrorSendAsDenied"))
    (outcome,) = await at.send(mail(1, BOB))
    assert isinstance(outcome, Failed)
    assert code(outcome) == "5.7.1"
    assert not at.drafts(), "what has failed is not left to be sent by a hand"


async def test_a_busy_server_leaves_the_draft_for_later(bench: Callable[..., Sender]) -> None:
    at = bench()
    at.organisation.plan("send", Fault("ErrorServerBusy", "", "busy", retry_after_s=7.0, everywhere=True))
    outcomes = await at.send(mail(1, BOB), mail(2, EVE))
    assert [(code(each), each.retry_after_s) for each in outcomes if isinstance(each, Deferred)] == [("4.4.5", 7.0)] * 2
    asked = len(at.organisation.asked)
    await at.send(mail(3, BOB))
    assert len(at.organisation.asked) == asked, "nothing is asked meanwhile"
    at.now += 7
    outcomes = await at.send(*(mail(n, to, fresh=False) for n, to in ((1, BOB), (2, EVE), (3, BOB))))
    assert all(isinstance(each, Delivered) for each in outcomes)
    assert sorted(at.sent) == [(BOB,), (BOB,), (EVE,)]


async def test_a_draft_that_a_user_deleted_is_made_again(bench: Callable[..., Sender]) -> None:
    at = bench()
    at.organisation.plan("send", Fault("ErrorItemNotFound"))
    (outcome,) = await at.send(mail(1, BOB))
    assert (code(outcome), isinstance(outcome, Deferred)) == ("4.2.0", True)
    at.organisation.items.clear()
    (outcome,) = await at.send(mail(1, BOB, fresh=False))
    assert isinstance(outcome, Delivered)
    assert at.sent == [(BOB,)]


@pytest.mark.parametrize("keep", [True, False])
async def test_copies_of_sent_mail_go_after_an_hour(bench: Callable[..., Sender], keep: bool) -> None:
    at = bench(keep_sent=keep)
    start = at.wall()
    await at.send(mail(1, BOB))
    (held,) = at.organisation.inside(OUT, "Gatepost/Sent")
    assert SENT == ("Gatepost", "Sent")
    object.__setattr__(held.new, "received_at", start)
    at.made._desk.uncertain_at = start - 90_000
    for hours, left in ((0.9, 1), (1.1, int(keep))):
        at.passed = hours * 3600
        await at.send(mail(int(hours * 100), EVE))
        for task in list(at.made._tasks):
            await task
        assert len([each for each in at.organisation.inside(OUT, "Gatepost/Sent") if BOB in each.to]) == left
    assert all(how == Delete(purge=True) for _, (_, how) in at.organisation.asked_for("finish"))


@pytest.mark.parametrize("keep", [True, False])
async def test_a_draft_that_nobody_sends_goes_after_a_day(bench: Callable[..., Sender], keep: bool) -> None:
    """Its mail ran out of time. One whose mail is still to be sent is made anew, and sent once."""
    at = bench(keep_sent=keep)
    start = at.wall()
    busy = Fault("ErrorServerBusy", "", "busy", retry_after_s=7.0)
    for number in (1, 2):
        at.organisation.plan("send", busy)
        await at.send(mail(number, EVE))
        at.now += 3600
    assert at.drafts() == [key((1, 0)), key((2, 0))]
    for held in at.organisation.inside(OUT, "drafts"):
        object.__setattr__(held.new, "received_at", start)
    for hours, left in ((23, 2), (25, 0)):
        at.passed = hours * 3600
        await at.send(mail(hours, BOB))
        for task in list(at.made._tasks):
            await task
        assert len(at.drafts()) == left
    (outcome,) = await at.send(mail(2, EVE, fresh=False))
    assert isinstance(outcome, Delivered)
    assert at.sent == [(BOB,), (BOB,), (EVE,)]


@pytest.mark.parametrize(
    ("now", "uncertain_at", "limit"),
    [
        (100_000.0, 0.0, 100_000.0 - KEPT_S),
        (100_000.0, 99_000.0, 99_000.0 - KEPT_S),
        (100_000.0, 20_000.0, 20_000.0 - KEPT_S),
        (200_000.0, 20_000.0, 200_000.0 - KEPT_S),
    ],
)
def test_no_copy_goes_that_may_still_be_needed(now: float, uncertain_at: float, limit: float) -> None:
    assert before(now, uncertain_at) == limit
