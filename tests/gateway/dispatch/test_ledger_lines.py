"""The lines of outcomes: all that varies is told, whether or not others have said the same."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.dispatch.ledger import Ledger
from gateway.dispatch.settings import Settings
from gateway.dispatch.verdict import judge
from gateway.log import get_log
from gateway.message import Content, Envelope, Notify, Origin, Recipient
from gateway.outcome import Deferred, Delivered, Failed, Outcome
from gateway.spool.api import Delivery, Settlement, Stored
from gateway.status import Status
from mappings.address import Address

TAKEN = Delivered(Status("2.0.0", "the broker has it"))


def settled(id: int, to: str, outcome: Outcome) -> Settlement:
    address = Address("mqtt", to, to)
    delivery = Delivery((id, 0), ("things", "hop"), address, address, Notify.UNSET, None, "s", 0, 0.0, 9e9)
    envelope = Envelope(Address("smtp", "a@b", "a@b"), (Recipient(address),), Origin("in"))
    return judge(Stored(id, envelope, b"", Content(b""), 0.0, (delivery,)), delivery, outcome, 1.0)[0]


async def test_each_outcome_has_its_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.log._sink", None)  # lines go to standard error
    nothing: Any = None
    ledger = Ledger(
        nothing, nothing, Settings(), get_log("dispatch"), on_reports=nothing, on_lost=nothing, on_room=nothing
    )
    ledger._tell([
        settled(1, "a", TAKEN), settled(2, "b c", TAKEN), settled(3, "d", Delivered(Status("2.0.0", reply="250 ok 7"))),
        settled(4, "e", Deferred(Status("4.4.1", "away"))), settled(5, "f", Failed(Status("5.1.1", "nobody"))),
    ])  # fmt: skip
    told = [line.partition("things: ")[2] for line in capsys.readouterr().err.splitlines()]
    assert told == [
        'delivered part=dispatch message_id=0000000000001 hop=hop status=2.0.0 reply="the broker has it" to=mqtt:a',
        'delivered part=dispatch message_id=0000000000002 hop=hop status=2.0.0 reply="the broker has it" to="mqtt:b c"',
        'delivered part=dispatch message_id=0000000000003 hop=hop status=2.0.0 reply="250 ok 7" to=mqtt:d',
        "deferred part=dispatch message_id=0000000000004 hop=hop status=4.4.1 reply=away to=mqtt:e",
        "failed part=dispatch message_id=0000000000005 hop=hop status=5.1.1 reply=nobody to=mqtt:f",
    ]
