"""No create is blind: what may have been done is looked up, wherever its item has gone meanwhile."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from connectors.exchange.lookup import Place, Step, key, next_step
from connectors.exchange.organisation import Fault, New, Person
from gateway.contract import Deferred, Delivered, Failed, Scope
from gateway.testing.peers import ListBatch, parcel
from gateway.testing.samples import numbered
from mappings.network import network
from tests.connectors.exchange.bench import ANN, CUT, Bench, code, mail

PATH = b"Return-Path: <pat@far.example>\r\n"


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., Bench]:
    return lambda **options: Bench(tmp_path, **options)


@pytest.mark.parametrize(
    ("found", "step"),
    [
        ((), Step.CREATE),
        ((Place.DRAFTS,), Step.SEND),
        ((Place.GONE_OUT,), Step.DONE),
        ((Place.DRAFTS, Place.GONE_OUT), Step.DONE),
    ],
)
def test_what_is_left_to_do(found: tuple[Place, ...], step: Step) -> None:
    for order in itertools.permutations(found):
        assert next_step(order) is step


def test_a_key_names_one_recipient_of_one_message() -> None:
    keys = {key((message, number)) for message in (1, 2, 1 << 62) for number in range(100)}
    assert len(keys) == 300
    assert all(len(each) <= 40 and each.isascii() for each in keys)


async def test_a_mail_is_created_as_it_came(bench: Callable[..., Bench]) -> None:
    at = bench()
    given = mail(1)
    (outcome,) = await at.deliver(given)
    assert isinstance(outcome, Delivered)
    assert (code(outcome), outcome.relayed) == ("2.1.5", False)
    (held,) = at.organisation.inside(ANN)
    assert held.octets == PATH + given.content.octets()
    assert (held.new.key, held.new.received_at, held.new.draft) == (key((1, 0)), given.arrived_at, False)
    assert not at.organisation.asked_for("find"), "nobody can have tried what is fresh"


async def test_many_go_by_few_requests(bench: Callable[..., Bench]) -> None:
    at = bench(chunk_items=20)
    first = [mail(n) for n in range(1, 6)]
    waiting = [[mail(n) for n in range(6, 40)], [mail(n) for n in range(40, 101)]]
    outcomes = await at.deliver(*first, waiting=waiting)
    assert len(outcomes) == 100
    assert all(isinstance(each, Delivered) for each in outcomes)
    assert [len(keys) for _, keys in at.organisation.asked_for("create")] == [20] * 5
    assert len(at.organisation.asked_for("folder")) == 1


async def test_a_request_holds_so_many_octets(bench: Callable[..., Bench]) -> None:
    at = bench(chunk_bytes=1024 * 1024)
    sizes = [700_000, 300_000, 300_000, 2_000_000, 10]
    mails = [mail(n, octets=b"Subject: x\r\n\r\n" + b"x" * size) for n, size in enumerate(sizes, 1)]
    outcomes = await at.deliver(*mails)
    assert all(isinstance(each, Delivered) for each in outcomes)
    assert [len(keys) for _, keys in at.organisation.asked_for("create")] == [2, 1, 1, 1]


async def test_what_may_have_been_tried_is_looked_up(bench: Callable[..., Bench]) -> None:
    at = bench()
    await at.deliver(*(mail(n) for n in range(1, 31)))
    again = await at.deliver(*(mail(n, fresh=False) for n in range(1, 51)))
    assert all(isinstance(each, Delivered) for each in again)
    assert len(at.organisation.inside(ANN)) == 50
    assert at.counted["found_again"] == 30


@pytest.mark.parametrize("folder", ["inbox", "trash", "junk"])
async def test_a_cut_after_it_was_done_doubles_nothing(bench: Callable[..., Bench], folder: str) -> None:
    at = bench()
    at.organisation.plan("create", CUT, done=True)
    at.organisation.plan("find", CUT)
    first = await at.deliver(mail(1), mail(2))
    assert [code(each) for each in first] == ["4.4.2", "4.4.2"], "the look-up was cut as well"
    for held in list(at.organisation.items):
        at.organisation.move(held, folder)
    at.now += 3600
    again = await at.deliver(mail(1, fresh=False, attempts=1), mail(2, fresh=False, attempts=1))
    assert all(isinstance(each, Delivered) for each in again)
    assert len(at.organisation.items) == 2


async def test_an_unknown_result_is_settled_at_once_where_it_can_be(bench: Callable[..., Bench]) -> None:
    at = bench()
    at.organisation.plan("create", CUT, done=True)
    outcomes = await at.deliver(mail(1), mail(2))
    assert all(isinstance(each, Delivered) for each in outcomes)
    assert "duplicates_possible" not in at.counted


async def test_what_was_cut_before_it_was_done_waits(bench: Callable[..., Bench]) -> None:
    at = bench()
    at.organisation.plan("create", CUT)
    outcomes = await at.deliver(mail(1), mail(2))
    assert [code(each) for each in outcomes] == ["4.4.2", "4.4.2"]
    assert all(isinstance(each, Deferred) and each.scope is Scope.HOP for each in outcomes)
    assert at.counted["duplicates_possible"] == 2
    at.now += 3600
    again = await at.deliver(mail(1, fresh=False), mail(2, fresh=False))
    assert all(isinstance(each, Delivered) for each in again)
    assert len(at.organisation.items) == 2


@pytest.mark.parametrize("operation", ["folder", "find"])
async def test_a_cut_look_up_creates_nothing(bench: Callable[..., Bench], operation: str) -> None:
    at = bench()
    at.organisation.plan(operation, CUT)
    (outcome,) = await at.deliver(mail(1, fresh=False))
    assert code(outcome) == "4.4.2"
    assert not at.organisation.asked_for("create")


async def test_one_item_of_unknown_result_is_looked_up(bench: Callable[..., Bench]) -> None:
    at = bench()
    refused = {key((2, 0)): Fault("ErrorInternalServerError", why="unknown", scope=Scope.HOP)}
    at.organisation.refuse = lambda mailbox, new: refused.get(new.key)
    outcomes = await at.deliver(mail(1), mail(2), mail(3))
    assert [code(each) for each in outcomes] == ["2.1.5", "4.3.2", "2.1.5"]
    assert [keys for _, (_, keys) in at.organisation.asked_for("find")] == [(key((2, 0)),)]


async def test_a_fault_of_ours_defers(tmp_path: Path) -> None:
    at = Bench(tmp_path)
    at.organisation.plan("create", RuntimeError("odd"))
    batch = ListBatch([mail(1)], ANN)
    await at.made.deliver(batch)
    (outcome,) = batch.outcomes.values()
    assert isinstance(outcome, Deferred)
    assert any(line[1] == "deliver failed" for line in at.log.lines)


async def test_each_of_a_mails_recipients_has_its_own(bench: Callable[..., Bench]) -> None:
    at = bench()
    nobody = Fault("ErrorNonExistentMailbox", "The SMTP address has no mailbox associated with it.")
    at.organisation.refuse = lambda mailbox, new: nobody if mailbox.startswith("nobody") else None
    outcomes = await at.deliver(mail(1, ANN, "nobody@acme.example", "Bob@ACME.example"))
    assert [code(each) for each in outcomes] == ["2.1.5", "5.1.1", "2.1.5"]
    assert len(at.organisation.inside(ANN)) == len(at.organisation.inside("bob@acme.example")) == 1


async def test_an_address_beyond_ascii_is_refused(bench: Callable[..., Bench]) -> None:
    at = bench()
    outcomes = await at.deliver(mail(1, "jürgen@acme.example", ANN))
    assert [code(each) for each in outcomes] == ["5.6.7", "2.1.5"]


async def test_an_x500_recipient_is_found_in_the_directory(bench: Callable[..., Bench]) -> None:
    at = bench()
    dn = "/o=Acme/ou=First/cn=Recipients/cn=ann"
    at.organisation.people_by_name[ANN] = Person("Ann", ANN, legacy_dn=dn)
    known, stranger = network("x500").parse(dn), network("x500").parse(dn + "2")
    outcomes = await at.deliver(parcel(1, [known, stranger], numbered(1)), parcel(2, [known], numbered(2)))
    assert [code(each) for each in outcomes] == ["2.1.5", "5.1.1", "2.1.5"]
    assert len(at.organisation.inside(ANN)) == 2
    assert len(at.organisation.asked_for("resolve")) == 2, "who is known is not asked for again"


async def test_a_mailbox_that_is_known_by_its_primary_address_alone(bench: Callable[..., Bench]) -> None:
    at = bench()
    alias = "lee@acme.example"
    at.organisation.people_by_name[alias] = Person("Ann", ANN)
    at.organisation.plan("folder", Fault("ErrorNonPrimarySmtpAddress"), mailbox=alias, times=9)
    for n in (1, 2):
        (outcome,) = await at.deliver(mail(n, alias), hop=alias)
        assert isinstance(outcome, Delivered)
    assert len(at.organisation.inside(ANN)) == 2
    assert len(at.organisation.asked_for("resolve")) == 1


async def test_a_folder_that_is_gone_is_made_anew(bench: Callable[..., Bench]) -> None:
    at = bench(deliver_to="Old/Mail")
    (outcome,) = await at.deliver(mail(1))
    assert isinstance(outcome, Delivered)
    at.organisation.gone_folders.add(f"{ANN}/Old/Mail")
    (outcome,) = await at.deliver(mail(2))
    assert isinstance(outcome, Delivered)
    assert len(at.organisation.inside(ANN, "Old/Mail")) == 2


async def test_what_belongs_to_an_organisation_stays_outside(bench: Callable[..., Bench]) -> None:
    spam = b"X-MS-Exchange-Organization-SCL: -1\r\n"
    stripped = bench()
    (outcome,) = await stripped.deliver(mail(1, octets=spam + numbered(1)))
    assert stripped.organisation.items[0].octets == PATH + numbered(1)
    assert isinstance(outcome, Delivered)
    assert "field X-Ms-Exchange-Organization-Scl" in [note.what for note in outcome.notes]
    kept = bench(organization_headers="keep")
    await kept.deliver(mail(1, octets=spam + numbered(1)))
    assert kept.organisation.items[0].octets == PATH + spam + numbered(1)


def refusal(at: Bench, fault: Fault, *numbers: int) -> Callable[[str, New], Fault | None]:
    keys = {key((n, 0)) for n in numbers}
    return lambda mailbox, new: fault if new.key in keys else None


@pytest.mark.parametrize(
    ("fault", "kind", "status"),
    [
        (Fault("ErrorQuotaExceeded"), Deferred, "4.2.2"),
        (Fault("ErrorMessageSizeExceeded"), Failed, "5.3.4"),
        (Fault("ErrorMimeContentInvalid"), Failed, "5.6.0"),
        (Fault("ErrorMimeContentConversionFailed"), Deferred, "4.6.0"),
        (Fault("ErrorOfTomorrow"), Deferred, "4.3.0"),
    ],
)
async def test_one_bad_mail_of_a_request_stops_no_other(
    bench: Callable[..., Bench], fault: Fault, kind: type, status: str
) -> None:
    at = bench()
    at.organisation.refuse = refusal(at, fault, 2)
    outcomes = await at.deliver(mail(1), mail(2), mail(3))
    assert [code(each) for each in outcomes] == ["2.1.5", status, "2.1.5"]
    assert isinstance(outcomes[1], kind)


@pytest.mark.parametrize("fault", [Fault("HTTP 413"), Fault("ErrorSchemaValidation"), Fault("ErrorMimeContentInvalid")])
async def test_a_refused_request_is_tried_singly(bench: Callable[..., Bench], fault: Fault) -> None:
    at = bench()
    at.organisation.plan("create", fault)
    outcomes = await at.deliver(mail(1), mail(2), mail(3))
    assert all(isinstance(each, Delivered) for each in outcomes)
    assert [len(keys) for _, keys in at.organisation.asked_for("create")] == [3, 1, 1, 1]


async def test_what_a_stopped_request_left_is_tried_singly(bench: Callable[..., Bench]) -> None:
    at = bench()
    stopped = {key((2, 0)), key((3, 0))}
    at.organisation.refuse = lambda mailbox, new: (
        Fault("ErrorBatchProcessingStopped") if new.key in stopped and len(at.organisation.asked) < 3 else None
    )
    outcomes = await at.deliver(mail(1), mail(2), mail(3))
    assert all(isinstance(each, Delivered) for each in outcomes)


async def test_no_more_is_tried_where_nobody_answers(bench: Callable[..., Bench]) -> None:
    at = bench(chunk_items=2)
    at.organisation.plan("create", Fault("NotSent", "refused", "unreachable", scope=Scope.HOP), nth=2)
    waiting = [[mail(n) for n in range(7, 9)]]
    outcomes = await at.deliver(*(mail(n) for n in range(1, 7)), waiting=waiting)
    assert [code(each) for each in outcomes] == ["2.1.5", "2.1.5", *["4.4.1"] * 4]
    assert len(waiting) == 1, "nothing is taken that could only be put back"
    assert not at.organisation.asked_for("find"), "what was not sent need not be looked up"
