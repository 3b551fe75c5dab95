"""What lies in a mailbox, and what was sent, as the server has it."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from connectors.exchange.lookup import key
from gateway.contract import Content, Deferred, Delivered, Failed, memo
from gateway.testing.samples import names, sample
from tests.connectors.exchange.bench import code, mail
from tests.connectors.exchange.ews_bench import EwsBench
from tests.peers.ews.process import EwsCompany

PATH = b"Return-Path: <pat@far.example>\r\n"
MIME = re.compile(rb"<(?:\w+:)?MimeContent[^>]*>([^<]*)<")


def sent_octets(company: EwsCompany) -> list[bytes]:
    """Return the octets of all items that were asked to be created, as the peer's log has them."""
    return [base64.b64decode(each) for one in company.log("CreateItem") for each in MIME.findall(one.body)]


async def test_a_mail_is_there_as_one_that_came(company: EwsCompany, tmp_path: Path) -> None:
    at = EwsBench(company, tmp_path)
    given = mail(1, at.ann)
    async with at.running():
        (outcome,) = await at.deliver(given)
    assert isinstance(outcome, Delivered)
    assert (outcome.status.code, outcome.relayed) == ("2.1.5", False)
    (item,) = company.items("ann")
    assert item.octets == PATH + given.content.octets()
    assert (item.is_draft, item.is_read) == (False, False)
    assert item.received_at == int(given.arrived_at)
    assert key((1, 0)) in item.properties.values()
    assert item.item_class == "IPM.Note"


async def test_samples_go_out_octet_for_octet(company: EwsCompany, tmp_path: Path) -> None:
    at = EwsBench(company, tmp_path)
    given = [sample(name) for name in names()]
    async with at.running():
        outcomes = await at.deliver(*(mail(n, at.ann, octets=octets) for n, octets in enumerate(given, 1)))
    assert all(isinstance(each, Delivered) for each in outcomes), outcomes
    assert sorted(sent_octets(company)) == sorted(Content(each).with_prefix(PATH).octets() for each in given)


async def test_as_the_options_say(company: EwsCompany, tmp_path: Path) -> None:
    at = EwsBench(company, tmp_path, deliver_to="From outside/Mail", is_read=True)
    async with at.running():
        await at.deliver(mail(1, at.ann), mail(2, at.ann))
    found = company.items("ann", "From outside/Mail")
    assert [item.is_read for item in found] == [True, True]


async def test_a_full_mailbox_and_one_that_is_off(company: EwsCompany, tmp_path: Path) -> None:
    at = EwsBench(company, tmp_path)
    company.quota("ann", 3000)
    async with at.running():
        outcomes = await at.deliver(
            mail(1, at.ann, octets=b"Subject: s\r\n\r\nx\r\n"),
            mail(2, at.ann, octets=b"Subject: l\r\n\r\n" + b"x" * 9000),
            mail(3, at.ann, octets=b"Subject: t\r\n\r\ny\r\n"),
        )
        assert [code(each) for each in outcomes] == ["2.1.5", "4.2.2", "2.1.5"]
        company.disable("bob")
        (outcome,) = await at.deliver(mail(4, company.address("bob")))
        assert isinstance(outcome, Deferred)
        (outcome,) = await at.deliver(mail(5, company.address("nobody")))
        assert (code(outcome), type(outcome)) == ("5.1.1", Failed)


@pytest.mark.parametrize(
    ("refused", "status"),
    [
        ("ErrorMessageSizeExceeded", "5.3.4"),
        ("ErrorMimeContentInvalid", "5.6.0"),
        ("ErrorCreateItemAccessDenied", "4.7.1"),
        ("ErrorMailboxMoveInProgress", "4.3.2"),
    ],
)
async def test_the_servers_word(company: EwsCompany, tmp_path: Path, refused: str, status: str) -> None:
    at = EwsBench(company, tmp_path)
    async with at.running() as made:
        company.fault("CreateItem", "refuse", nth=1, code=refused)
        (outcome,) = await at.deliver(mail(1, at.ann))
        assert code(outcome) == status
        assert made.health().ok is (not status.startswith("4.7"))


async def test_a_mail_is_sent(company: EwsCompany, tmp_path: Path) -> None:
    at = EwsBench(company, tmp_path, mode="send", send_as=company.address("ann"))
    bob = company.address("bob")
    octets = (
        f"From: Ann <{at.ann}>\r\nTo: Bob <{bob}>, Olga <olga@out.example>, Not <not@out.example>\r\n"
        "Subject: sent\r\nMessage-ID: <s@gw.example>\r\n\r\nhello\r\n"
    ).encode()
    async with at.running():
        outcomes = await at.deliver(mail(1, bob, "olga@out.example", "hidden@out.example", octets=octets))
    assert all(isinstance(each, Delivered) and each.relayed for each in outcomes), outcomes
    (held,) = company.items("bob")
    assert memo(Content(held.octets)).get(b"subject") == "sent"
    assert sorted(each.properties["to"] for each in company.outside()) == ["hidden@out.example", "olga@out.example"]
    (copy,) = company.items("ann", "Gatepost/Sent")
    assert memo(Content(copy.octets)).get(b"bcc") == "hidden@out.example"
    assert not company.items("ann", "drafts")


@pytest.mark.parametrize("operation", ["CreateItem", "SendItem", "FindItem"])
@pytest.mark.parametrize("kind", ["cut_before", "cut_after", "truncate"])
async def test_a_sent_mail_arrives_once(company: EwsCompany, tmp_path: Path, operation: str, kind: str) -> None:
    at = EwsBench(company, tmp_path, mode="send", send_as=company.address("ann"))
    bob = company.address("bob")
    company.grant("ann", "*")
    async with at.running() as made:
        await at.deliver(mail(99, bob, fresh=False))
        company.fault(operation, kind, nth=1)  # type: ignore[arg-type]  # a Kind
        left = {1, 2, 3}
        outcomes = await at.deliver(*(mail(n, bob, fresh=operation != "FindItem") for n in sorted(left)))
        for _ in range(5):
            left -= {n for n, each in zip(sorted(left), outcomes, strict=True) if isinstance(each, Delivered)}
            if not left:
                break
            assert made._destination is not None
            made._destination._desk.pace._until.clear()  # the waits are told elsewhere
            outcomes = await at.deliver(*(mail(n, bob, fresh=False, attempts=1) for n in sorted(left)))
        assert not left
    assert len(company.items("bob")) == 4
    assert not company.items("ann", "drafts")


async def test_who_may_not_send_for_an_author(company: EwsCompany, tmp_path: Path) -> None:
    at = EwsBench(company, tmp_path, mode="send", send_as=company.address("ann"))
    async with at.running():
        (outcome,) = await at.deliver(mail(1, company.address("bob")))
        assert (code(outcome), type(outcome)) == ("5.7.1", Failed)
        assert not company.items("ann", "drafts")
        company.grant("ann", "*")
        (outcome,) = await at.deliver(mail(2, company.address("bob")))
        assert isinstance(outcome, Delivered)
