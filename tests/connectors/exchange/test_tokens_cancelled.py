"""The file of tokens is closed while a thread of a cancelled task still writes to it: nothing crashes."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from connectors.exchange.tokens import Tokens
from tests.connectors.exchange.graph.kit import context


async def test_it_is_closed_under_a_cancelled_write(tmp_path: Path) -> None:
    for turn in range(100):
        tokens = Tokens(tmp_path / "tokens.sqlite", context(tmp_path))
        await tokens.put("ann@x.example", "Out", "first")
        writes = [asyncio.create_task(tokens.put("ann@x.example", f"Out{n}", "t" * 5000)) for n in range(5)]
        await asyncio.sleep(0.0002 * (turn % 5))
        for each in writes:
            each.cancel()
        await tokens.close()
        for each in writes:
            with contextlib.suppress(asyncio.CancelledError):
                await each
    tokens = Tokens(tmp_path / "tokens.sqlite", context(tmp_path))
    assert await tokens.get("ann@x.example", "Out") == "first"
    await tokens.close()
