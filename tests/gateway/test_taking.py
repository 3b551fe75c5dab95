"""A message is taken whole, also by a source that is cancelled in the middle."""

from __future__ import annotations

import asyncio

import pytest

from gateway.contract import Content, Envelope, Message, Origin, Receipt, Recipient, Rejected, Status, take
from gateway.testing import RecordingIntake, numbered
from mappings.network import parse

MESSAGE = Message(Envelope(None, (Recipient(parse("smtp:ann@target.example")),), Origin("kit")), Content(numbered(1)))


class Peer:
    def __init__(self) -> None:
        self.told: list[int] = []
        self.intake = RecordingIntake()

    async def acknowledge(self, receipt: Receipt) -> None:
        await asyncio.sleep(0.01)
        self.told.append(receipt.message_id)

    def taking(self, within_s: float) -> asyncio.Task[Receipt]:
        return asyncio.ensure_future(take(self.intake, MESSAGE, self.acknowledge, within_s=within_s))


async def test_what_is_accepted_is_acknowledged() -> None:
    peer = Peer()
    receipt = await peer.taking(1)
    assert peer.told == [receipt.message_id]


async def test_what_is_refused_is_not() -> None:
    peer = Peer()
    peer.intake.rejects = Status("5.1.1", "no such mailbox here")
    with pytest.raises(Rejected):
        await peer.taking(1)
    assert peer.told == []


@pytest.mark.parametrize("opened", [True, False])
async def test_a_cancellation_waits_for_it_within_the_bound(opened: bool) -> None:
    peer = Peer()
    peer.intake.gate.clear()
    task = peer.taking(60 if opened else 0.05)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0.02)
    assert not task.done()
    if opened:
        peer.intake.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 60)
    assert peer.told == ([1] if opened else [])
    assert peer.intake.in_flight == 0
