"""What next hops are known to take, and what becomes of a message that one host can't take as it is."""

from __future__ import annotations

import asyncio
import email
import email.policy
from dataclasses import replace

import pytest

from connectors.smtp import Smtp
from connectors.smtp.client_wire import Extensions
from connectors.smtp.config import SmtpConfig
from connectors.smtp.destination import SmtpDestination
from connectors.smtp.offers import _MOST, Offers
from gateway.contract import Capabilities, Parcel
from tests.connectors.smtp.client_kit import FakeDns, RecordingBatch, config, context, deliver, parcel
from tests.peers.bad_smtp import OFFERS, BadSmtp

ALL = Extensions(eight_bit=True, utf8=True)
UMLAUTS = "grüße\r\n" * 40
EIGHT_BIT = (
    b"Subject: t\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    + UMLAUTS.encode()
)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def without(*missing: str) -> tuple[str, ...]:
    return tuple(offer for offer in OFFERS if offer.split()[0] not in missing)


def text_of(content: bytes) -> str:
    made = email.message_from_bytes(content, policy=email.policy.default).get_content()
    assert isinstance(made, str)
    return made


def test_the_weakest_host_counts_until_the_hour_is_over() -> None:
    clock = Clock()
    offers = Offers(config(), clock)
    assert offers.known("y.example") == offers.most
    offers.learn("y.example", ALL)
    assert offers.known("y.example") == offers.most
    offers.learn("y.example", Extensions(utf8=True))
    offers.learn("y.example", ALL)
    assert offers.known("y.example") == replace(offers.most, eight_bit=False)
    clock.now += 3000
    offers.learn("y.example", Extensions(eight_bit=True, size=100))
    assert offers.known("y.example") == replace(offers.most, eight_bit=False, utf8_addresses=False)
    assert offers.known("x.example") == offers.most
    clock.now += 601
    assert offers.known("y.example") == offers.most
    offers.learn("y.example", Extensions(eight_bit=True))
    assert offers.known("y.example") == replace(offers.most, utf8_addresses=False)


def test_where_8bit_is_assumed_nothing_is_learnt_against_it() -> None:
    offers = Offers(config(assume_8bit=True), Clock())
    offers.learn("y.example", Extensions(utf8=True))
    assert offers.known("y.example") == offers.most
    assert offers.of(Extensions(utf8=True)).eight_bit


def test_what_one_peer_carries_has_its_size() -> None:
    offers = Offers(config(), Clock())
    assert offers.of(Extensions(eight_bit=True, size=100)) == replace(
        offers.most, utf8_addresses=False, max_size_bytes=100
    )


def test_a_flood_of_next_hops_is_bounded() -> None:
    offers = Offers(config(), Clock())
    for n in range(_MOST + 100):
        offers.learn(f"{n}.example", Extensions())
    assert len(offers._known) == _MOST
    assert offers.known("0.example") == offers.most
    assert not offers.known(f"{_MOST}.example").eight_bit


def test_the_connector_tells_what_its_destination_knows() -> None:
    connector = Smtp("out", SmtpConfig.model_validate({"smart_host": "127.0.0.1:1"}), context())
    connector.destination._offers.learn("127.0.0.1:1", Extensions())
    assert connector.capabilities_for("x.example") == connector.capabilities
    assert connector.capabilities_for("127.0.0.1:1") == replace(
        connector.capabilities, eight_bit=False, utf8_addresses=False
    )


async def test_what_is_learnt_is_told_after_the_first_batch() -> None:
    async with BadSmtp(offers=without("8BITMIME")) as peer:
        destination = SmtpDestination("out", config(peer.port), context())
        await destination.start()
        batch = RecordingBatch([parcel(1, content=EIGHT_BIT), parcel(2)], [[parcel(3, content=EIGHT_BIT)]])
        await destination.deliver(batch)
        known = destination.capabilities_for(batch.next_hop)
        destination.reconfigure(config(peer.port, assume_8bit=True))
        await destination.stop()
    assert batch.codes() == ["delivered 2.0.0"] * 3
    assert batch.refits == 2
    assert known == replace(destination.capabilities, eight_bit=False)
    assert destination.capabilities_for(batch.next_hop) == destination.capabilities
    assert [text_of(message.content) for message in peer.messages if b"charset" in message.content] == ([UMLAUTS] * 2)


# (case, what the peer does not offer, the parcel) -> (outcomes, adaptations)
FITTED: list[tuple[str, tuple[str, ...], Parcel, list[str], int]] = [
    ("8-bit body", ("8BITMIME",), parcel(1, content=EIGHT_BIT), ["delivered 2.0.0"], 1),
    ("7-bit body", ("8BITMIME", "SMTPUTF8"), parcel(1, smtputf8=True), ["delivered 2.0.0"], 0),
    (
        "header beyond ASCII",
        ("SMTPUTF8",),
        parcel(1, content="Subject: grün\r\n\r\nx\r\n".encode(), smtputf8=True),
        ["delivered 2.0.0"],
        1,
    ),
    (
        "one mailbox that only SMTPUTF8 can name",
        ("SMTPUTF8",),
        parcel(1, ["a@y.example", "jürgen@y.example", "b@y.example"]),
        ["delivered 2.0.0", "failed 5.6.7", "delivered 2.0.0"],
        1,
    ),
    ("a sender that only SMTPUTF8 can name", ("SMTPUTF8",), parcel(1, sender="jü@x.example"), ["failed 5.6.7"], 1),
    ("a domain has another form", ("SMTPUTF8",), parcel(1, "a@bücher.example"), ["delivered 2.0.0"], 0),
    ("too big", (), parcel(1, content=b"x\r\n" * 400_000), ["failed 5.3.4"], 1),
]


@pytest.mark.parametrize(("case", "missing", "one", "expected", "refits"), FITTED, ids=[row[0] for row in FITTED])
async def test_a_message_fails_only_where_no_form_of_it_fits(
    case: str, missing: tuple[str, ...], one: Parcel, expected: list[str], refits: int
) -> None:
    batch = RecordingBatch([one, parcel(2)])
    async with BadSmtp(offers=without(*missing)) as peer:
        await deliver(batch, config(peer.port))
        assert len(peer.sessions) == 1
        for message in peer.messages:
            assert message.content.isascii()
            assert "SMTPUTF8" not in message.mail
    assert (batch.codes(), batch.refits) == ([*expected, "delivered 2.0.0"], refits)


async def test_more_recipients_than_one_transaction_takes_are_fitted_together() -> None:
    names = [f"{n}@y.example" for n in range(7)]
    batch = RecordingBatch([parcel(1, names, content=EIGHT_BIT)])
    async with BadSmtp(offers=without("8BITMIME")) as peer:
        await deliver(batch, config(peer.port, max_recipients_per_message=3))
        assert [len(message.rcpts) for message in peer.messages] == [3, 3, 1]
    assert (batch.codes(), batch.refits) == (["delivered 2.0.0"] * 7, 1)


@pytest.mark.parametrize("offers", [OFFERS, without("8BITMIME")], ids=["stronger", "as weak"])
async def test_what_meets_a_weaker_host_later_is_fitted_to_that(offers: tuple[str, ...]) -> None:
    replies = {".": "250 2.0.0 taken CLOSE", "GREETING": ["220 one.test", "554 5.3.2 not again"]}
    batch = RecordingBatch([parcel(n, content=EIGHT_BIT) for n in (1, 2)])
    async with (
        BadSmtp(replies, offers=offers) as one,
        BadSmtp(host="127.0.0.2", port=one.port, offers=without("8BITMIME")) as two,
    ):
        hosts = {"one.test": ["127.0.0.1"], "two.test": ["127.0.0.2"]}
        dns = FakeDns({"y.example": [(10, "one.test"), (20, "two.test")]}, hosts)
        await deliver(batch, config(port=one.port), resolver=dns)
    assert batch.codes() == ["delivered 2.0.0"] * 2
    assert [m.content.isascii() for m in one.messages] == [offers is not OFFERS]
    assert [m.content.isascii() for m in two.messages] == [True]


async def test_a_connection_lost_while_a_message_is_fitted_leaves_nobody_out() -> None:
    class Losing(RecordingBatch):
        async def refit(self, parcel: Parcel, capabilities: Capabilities) -> Parcel | None:
            await peer.close_idle()
            await asyncio.sleep(0.05)
            return await super().refit(parcel, capabilities)

    batch = Losing([parcel(1, content=EIGHT_BIT), parcel(2)])
    async with BadSmtp(offers=without("8BITMIME")) as peer:
        await deliver(batch, config(peer.port))
    assert batch.codes() == ["deferred 4.4.2 hop"] * 2
