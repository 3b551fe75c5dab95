"""Bounces to rewritten reverse-paths: led back before anybody sees them, and no way in for anything else."""

from __future__ import annotations

import asyncio

import pytest

from connectors.smtp.srs import Srs
from connectors.smtp.srs_intake import SrsIntake
from gateway.contract import (
    Address,
    Content,
    ContentWriter,
    Envelope,
    Message,
    Origin,
    Receipt,
    Recipient,
    Rejected,
    Status,
)

NOW = 1_800_000_000.0
SRS = Srs("srs.acme.example", [b"secret"])
NO_RELAY = Status("5.7.1", "relaying denied")


def address(text: str) -> Address:
    return Address("smtp", text, text.lower())


class Gateway:
    """An Intake of acme.example, which relays for nobody."""

    def __init__(self) -> None:
        self.accepted: list[Message] = []

    def check(self, envelope: Envelope, recipient: Recipient) -> Status | None:
        if recipient.address.value.endswith("@acme.example") or envelope.origin.trusted or envelope.origin.returning:
            return None
        return NO_RELAY

    def content(self) -> ContentWriter:
        raise NotImplementedError

    async def accept(self, message: Message, *, report: bool = False) -> Receipt:
        return await self.submit(message, report=report)

    def submit(self, message: Message, *, report: bool = False) -> asyncio.Future[Receipt]:
        self.accepted.append(message)
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        future.set_result(Receipt(len(self.accepted)))
        return future


class World:
    def __init__(self) -> None:
        self.now = NOW
        self.gateway = Gateway()
        self.intake = SrsIntake(self.gateway, SRS, 3, lambda: self.now)

    def check(self, to: str) -> str:
        refused = self.intake.check(Envelope(None, (), Origin("in")), Recipient(address(to)))
        return "" if refused is None else refused.code

    async def send(self, *to: str, sender: str | None = None) -> Message:
        path = None if sender is None else address(sender)
        envelope = Envelope(path, tuple(Recipient(address(each)) for each in to), Origin("in"))
        await self.intake.accept(Message(envelope, Content(b"Subject: bounce\r\n\r\n")))
        return self.gateway.accepted[-1]


@pytest.fixture
def world() -> World:
    return World()


MADE = SRS.forward("Ann.Lee@else.example", NOW)


async def test_a_bounce_finds_its_way(world: World) -> None:
    assert world.check(MADE) == ""
    message = await world.send(MADE)
    (recipient,) = message.envelope.recipients
    assert recipient.address.value == "Ann.Lee@else.example"
    origin = message.envelope.origin
    assert origin.returning
    assert not origin.trusted  # or a stranger's mail would be signed as ours


@pytest.mark.parametrize(
    ("to", "code"),
    [
        (MADE.replace("=Ann", "=Bob"), "5.1.1"),
        ("SRS0=AAAAAAAA=AA=else.example=ann@srs.acme.example", "5.1.1"),
        ("SRS0@srs.acme.example", "5.7.1"),
        ("ann@srs.acme.example", "5.7.1"),
        ("ann@else.example", "5.7.1"),
        ("bob@acme.example", ""),
        (MADE.upper(), ""),
    ],
)
async def test_nothing_else_gets_in(world: World, to: str, code: str) -> None:
    assert world.check(to) == code


async def test_an_old_address_leads_nowhere(world: World) -> None:
    world.now += 22 * 86400
    assert world.check(MADE) == "5.1.1"
    with pytest.raises(Rejected):
        await world.send(MADE)


async def test_a_stranger_beside_it_does_not_get_in(world: World) -> None:
    with pytest.raises(Rejected) as refused:
        await world.send(MADE, "victim@other.example")
    assert refused.value.status.code == "5.7.1"
    message = await world.send(MADE, "bob@acme.example")
    assert [r.address.value for r in message.envelope.recipients] == ["Ann.Lee@else.example", "bob@acme.example"]


async def test_it_can_be_written_to_so_often(world: World) -> None:
    for _ in range(3):
        await world.send(MADE)
    assert world.check(MADE) == "4.7.1"
    world.now += 1200
    assert world.check(MADE) == ""


async def test_the_forms_of_one_address_are_counted_as_one(world: World) -> None:
    forms = [MADE, MADE.upper(), MADE.replace("SRS0=", "SRS0+"), MADE.replace("SRS0=", "srs0-")]
    message = await world.send(*forms)
    assert len(message.envelope.recipients) == 1
    for form in forms[:2]:
        await world.send(form)
    assert [world.check(form) for form in forms] == ["4.7.1"] * 4
    # Those who were let in by RCPT at the same time are too many all the same.
    with pytest.raises(Rejected) as refused:
        await world.send(forms[3])
    assert refused.value.status.code == "4.7.1"
    world.now -= 86_400  # a clock that is put back gives nothing free, and shuts nobody out for a day
    assert world.check(MADE) == "4.7.1"
    world.now += 1200
    assert world.check(MADE) == ""


async def test_a_reverse_path_that_comes_back_is_undone(world: World) -> None:
    """Sent on to us by one it was forwarded to: what answers it here answers the sender."""
    message = await world.send("bob@acme.example", sender=MADE)
    assert message.envelope.reverse_path == address("Ann.Lee@else.example")
    forged = await world.send("bob@acme.example", sender="SRS0=A=B=c=d@srs.acme.example")
    assert forged.envelope.reverse_path == address("SRS0=A=B=c=d@srs.acme.example")
    plain = await world.send("bob@acme.example", sender="x@y.example")
    assert plain.envelope.reverse_path == address("x@y.example")
