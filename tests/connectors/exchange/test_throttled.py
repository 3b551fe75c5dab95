"""A server that wants to be left alone is, for exactly as long as it says; then mail goes on, each once."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from gateway.contract import Deferred, Delivered, Scope
from tests.connectors.exchange.bench import code, mail
from tests.connectors.exchange.ews_bench import EwsBench
from tests.peers.ews.process import EwsCompany

SLACK_S = 0.01
"""The peer's clock and ours are read one after the other."""


@pytest.mark.parametrize(
    ("kind", "how", "said_s"),
    [("busy", {"ms": 1500}, 1.5), ("http", {"status": 503, "retry_after": 2}, 2.0)],
)
async def test_nothing_is_asked_while_it_holds(
    company: EwsCompany, tmp_path: Path, kind: str, how: dict[str, int], said_s: float
) -> None:
    at = EwsBench(company, tmp_path)
    async with at.running():
        await at.deliver(mail(1, at.ann))
        company.fault("CreateItem", kind, nth=1, **how)  # type: ignore[arg-type]  # a Kind
        (outcome,) = await at.deliver(mail(2, at.ann))
        began = time.monotonic()
        assert isinstance(outcome, Deferred)
        assert (code(outcome), outcome.scope, outcome.retry_after_s) == ("4.4.5", Scope.HOP, said_s)
        asked = len(company.log())
        tries = 0
        while True:
            # Every lane asks as often as it likes, as its own clock says; the connector answers for the server.
            (bob,) = await at.deliver(mail(100 + tries, company.address("bob")))
            if isinstance(bob, Delivered):
                break
            assert isinstance(bob, Deferred)
            assert bob.retry_after_s is not None
            left = said_s - (time.monotonic() - began)
            assert left - 0.2 <= bob.retry_after_s <= left + 0.2
            assert len(company.log()) == asked
            tries += 1
            await asyncio.sleep(0.05)
        assert tries > 5
        refused = next(each for each in company.log("CreateItem") if each.codes != ("NoError",))
        after = company.log()[asked]
        assert after.at - refused.at >= said_s - SLACK_S, "it waits no shorter than was said"
        (outcome,) = await at.deliver(mail(2, at.ann, fresh=False, attempts=1))
        assert isinstance(outcome, Delivered)
    assert len(company.items("ann")) == 2


async def test_half_of_all_requests_throttled(company: EwsCompany, tmp_path: Path) -> None:
    at = EwsBench(company, tmp_path, chunk_items=5)
    left = {n: mail(n, company.address(("ann", "bob")[n % 2])) for n in range(1, 101)}
    async with at.running():
        company.fault("*", "busy", chance=0.5, ms=20)
        for _ in range(400):
            for name in (1, 0):
                mine = [each for n, each in left.items() if n % 2 == name]
                if not mine:
                    continue
                outcomes = await at.deliver(*mine)
                for each, outcome in zip(mine, outcomes, strict=True):
                    number = each.message_id
                    if isinstance(outcome, Delivered):
                        del left[number]
                    else:
                        left[number] = mail(number, each.items[0].address.value, fresh=False, attempts=1)
            if not left:
                break
            await asyncio.sleep(0.02)
    assert not left
    assert [len(company.items(name)) for name in ("ann", "bob")] == [50, 50]


@pytest.mark.parametrize("kind", ["cut_before", "cut_after", "truncate"])
@pytest.mark.parametrize("operation", ["CreateItem", "FindItem", "GetFolder"])
async def test_a_connection_cut_at_every_operation(
    company: EwsCompany, tmp_path: Path, kind: str, operation: str
) -> None:
    at = EwsBench(company, tmp_path, chunk_items=4)
    left = {n: mail(n, at.ann) for n in range(1, 13)}
    async with at.running() as made:
        company.fault(operation, kind, every=2)  # type: ignore[arg-type]  # a Kind
        for _ in range(60):
            outcomes = await at.deliver(*left.values())
            for number, outcome in zip(list(left), outcomes, strict=True):
                if isinstance(outcome, Delivered):
                    del left[number]
                else:
                    left[number] = mail(number, at.ann, fresh=False, attempts=1)
            if not left:
                break
            assert made._destination is not None
            made._destination._desk.pace._until.clear()  # the waits are told elsewhere
    assert not left
    company.calm()
    assert len(company.items("ann")) == 12
