"""How long a command waits for a running gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.cli import reach
from gateway.config import GatewaySection


@pytest.mark.parametrize(
    ("command", "in_turn", "waits_s"),
    [
        ("queue.list", False, 60.0),
        ("queue.requeue", False, 6 * 3600.0),
        ("queue.drop", False, 6 * 3600.0),
        ("db.check", True, 6 * 3600.0),
    ],
)
async def test_changes_of_a_long_queue_are_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, in_turn: bool, waits_s: float
) -> None:
    asked: list[float] = []

    async def ask_all(folder: Path, command: str, given: Any, timeout_s: float, **_: Any) -> list[Any]:
        asked.append(timeout_s)
        return [{"changed": [], "in_flight": [], "rows": [], "more": False}]

    monkeypatch.setattr(reach, "ask_all", ask_all)
    await reach._perform(GatewaySection(name="gw.example"), tmp_path, command, {}, in_turn)
    assert asked == [waits_s]
