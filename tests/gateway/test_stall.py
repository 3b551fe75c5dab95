"""Who is blamed for a loop that does not go on."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import pytest

from gateway import stall
from gateway.contract import Connector, ConnectorConfig, Context
from gateway.log import Silence
from gateway.stall import Blame, StallWatch, blame, frames_of
from gateway.testing import KitLog

_MODULE = """
import sys
from gateway.contract import Connector

class Plugged(Connector):
    def method(self, then):
        return then()

def function(then):
    return then()
"""


def module(name: str) -> Any:
    made = ModuleType(name)
    made.__dict__["__name__"] = name
    exec(compile(_MODULE, f"/plugins/{name}.py", "exec"), made.__dict__)
    return made


def connector(kind: type[Connector], name: str) -> Connector:
    here = Path("/nowhere")
    return kind(name, ConnectorConfig(), Context("gw.example", here, here, Silence({}), time.time))


def stack() -> list[FrameType]:
    return frames_of(sys._getframe(1))


def test_a_connector_is_known_by_its_own_object() -> None:
    vendor = module("vendor_plugin")
    one, other = connector(vendor.Plugged, "one"), connector(vendor.Plugged, "other")
    found = blame(other.method(stack), {"one": one, "other": other}, "source one")  # type: ignore[attr-defined]
    assert isinstance(found, Blame)
    assert found.connector == "other"
    assert found.at == "plugins/vendor_plugin.py:7 in method"


def test_else_by_its_code_and_the_task() -> None:
    vendor = module("vendor_plugin")
    known = {name: connector(vendor.Plugged, name) for name in ("one", "other")}
    frames = vendor.function(stack)
    for task, name in (("source other", "other"), ("source one leased", "one"), ("", "one")):
        found = blame(frames, known, task)
        assert found is not None
        assert (found.connector, found.at) == (name, "plugins/vendor_plugin.py:10 in function")


def test_a_connector_that_is_gone_is_not_blamed_by_its_object() -> None:
    vendor = module("vendor_plugin")
    found = blame(connector(vendor.Plugged, "old").method(stack), {}, "")  # type: ignore[attr-defined]
    assert found is not None
    assert found.connector == ""


def test_the_gateway_itself_has_no_name() -> None:
    found = blame(stack(), {"one": connector(module("vendor_plugin").Plugged, "one")}, "dispatch")
    assert found is not None
    assert found.connector == ""
    assert "in test_the_gateway_itself_has_no_name" in found.at


def test_a_loop_that_waits_is_blamed_on_nobody() -> None:
    ready, seen = threading.Event(), []

    async def main() -> None:
        asyncio.get_running_loop().call_later(0.05, ready.set)
        await asyncio.sleep(0.5)

    def look(ident: int) -> None:
        ready.wait(10)
        time.sleep(0.1)
        seen.append(blame(frames_of(sys._current_frames()[ident]), {}, ""))

    looking = threading.Thread(target=look, args=(threading.get_ident(),))
    looking.start()
    asyncio.run(main())
    looking.join()
    assert seen == [None]


async def watched(work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> tuple[StallWatch, KitLog]:
    monkeypatch.setattr(stall, "EVERY_S", 0.02)
    monkeypatch.setattr(stall, "STALL_S", 0.2)
    vendor = module("vendor_plugin")
    one = connector(vendor.Plugged, "one")
    log = KitLog()
    watch = StallWatch({"one": one}, log)
    watch.start()
    await asyncio.sleep(0.1)
    one.method(work)  # type: ignore[attr-defined]
    async with asyncio.timeout(60):
        while not any(event == "loop_goes_on" for _, event, _ in log.lines):  # noqa: ASYNC110 - a thread writes it
            await asyncio.sleep(0.01)
    watch.stop()
    return watch, log


async def test_a_stall_is_told_while_it_lasts_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    watch, log = await watched(lambda: time.sleep(0.6), monkeypatch)
    (blocked, *_) = [values for _, event, values in log.lines if event == "loop_blocked"]
    assert blocked["connector"] == "one"
    assert blocked["at"] == "plugins/vendor_plugin.py:7 in method"
    assert "test_stall.py" in blocked["stack"]
    found = watch.found["one"]
    assert found.count >= 1
    assert found.longest_s >= 0.4
    assert "it blocked the event loop" in (watch.told("one") or "")
    assert watch.told("other") is None


async def test_a_stall_of_long_ago_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    watch, _ = await watched(lambda: time.sleep(0.5), monkeypatch)
    monkeypatch.setattr(stall, "SHOWN_S", 0.0)
    assert watch.told("one") is None


def test_a_closed_loop_ends_the_watch() -> None:
    async def main() -> StallWatch:
        watch = StallWatch({}, KitLog())
        watch.start()
        return watch

    watch = asyncio.run(main())
    watch._thread.join(timeout=30)
    assert not watch._thread.is_alive()
