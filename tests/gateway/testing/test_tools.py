"""The kit's own tools: who is blamed for a blocked loop, the log of calls, and which suites are a connector's."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from connectors.filedrop import FileDrop
from connectors.mqtt import Mqtt
from gateway.contract import Delivered, Status
from gateway.testing import (
    Bench,
    Broken,
    Calls,
    NetworkSuite,
    RecordingIntake,
    SourceSuite,
    fixture_of,
    numbered,
    parcel,
)
from gateway.testing.installed import Wanted
from gateway.testing.stall import StallWatch
from mappings.network import parse
from tests.gateway.testing.pigeon import Pigeon, PigeonDriver


class Blocking(Pigeon):
    def block(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.01)


class Computing(Blocking):
    def block(self, seconds: float) -> None:
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass


class BlockingDriver(PigeonDriver):
    def block(self, seconds: float) -> None:
        time.sleep(seconds)


def bench(tmp: Path) -> Bench:
    return Bench(Blocking, {"loft": "{tmp}/loft"}, BlockingDriver, tmp)


async def watched(call: object, seconds: float, times: int = 1) -> str | None:
    watch = StallWatch(Blocking, BlockingDriver, blocked_s=0.3)
    watch.start()
    for _ in range(times):
        await asyncio.sleep(0.1)
        call.block(seconds)  # type: ignore[attr-defined]
    await asyncio.sleep(0.1)
    watch.stop()
    return watch.found


async def test_a_connector_that_blocks_is_blamed_by_name(tmp_path: Path) -> None:
    found = await watched(bench(tmp_path).make(), 1.5)
    assert found is not None
    assert "in Blocking.block() of test_tools.py" in found


async def test_one_that_computes_is_too(tmp_path: Path) -> None:
    found = await watched(Bench(Computing, {"loft": "{tmp}/loft"}, BlockingDriver, tmp_path).make(), 0.8)
    assert found is not None
    assert "in Computing.block() of test_tools.py" in found


async def test_a_driver_that_takes_long_is_not(tmp_path: Path) -> None:
    assert await watched(bench(tmp_path).driver, 0.8) is None


async def test_many_short_calls_are_a_busy_loop_and_no_blocked_one(tmp_path: Path) -> None:
    assert await watched(bench(tmp_path).make(), 0.06, times=5) is None


def test_a_call_without_an_end_is_a_broken_promise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.testing.bench.PATIENCE_S", 0.02)
    with pytest.raises(Broken, match="every call comes to an end"):
        bench(tmp_path).run(asyncio.sleep(60))


def test_the_log_tells_calls_and_what_came_of_them(tmp_path: Path) -> None:
    on = Bench(Pigeon, {"loft": "{tmp}/loft"}, PigeonDriver, tmp_path)

    async def body() -> None:
        made = on.make()
        await made.start()
        on.driver.submit(7, numbered(7))
        intake = RecordingIntake()
        task = asyncio.ensure_future(made.run(intake))
        await on.until(lambda: on.driver.acknowledged() == {7}, "it is taken", "was not")
        task.cancel()
        await asyncio.wait((task,))
        await made.stop()

    on.run(body())
    said = [line.split("  ", 1)[1].strip() for line in (each.lstrip() for each in on.calls.text().splitlines())]
    assert said[:3] == ["start()", "start returned None", "the peer: submit(7, 200 octets)"]
    assert "intake.accept(message 7 of 200 octets, dedupe key '7.msg:')" in said
    assert "intake.accept: message 7 is in the spool, Receipt(message_id=1, duplicate=False)" in said
    assert said[-1] == "stop returned None"


def test_a_call_in_the_log_is_short() -> None:
    calls = Calls()
    logged = calls.logged("put", lambda *given, **named: None)
    logged(b"x" * 5000, "y" * 5000, [parcel(1, [parse("smtp:a@b.example")] * 2, b"")] * 9, status=Status("4.0.0"))
    (line,) = calls.text().splitlines()
    assert len(line) < 900
    assert "5000 octets" in line
    assert "parcel 1 to smtp:a@b.example, smtp:a@b.example" in line
    for n in range(1000):
        calls.note(str(n))
    assert len(calls.text().splitlines()) == 401
    assert calls.text().startswith("(601 earlier calls are left out)")


def test_what_a_killed_process_did_is_taken_over(tmp_path: Path) -> None:
    calls = Calls()
    child = os.fork()
    if child == 0:
        calls.into(tmp_path / "calls")
        calls.note(f"settle {Delivered()}")
        os._exit(9)
    os.waitpid(child, 0)
    calls.take_over(tmp_path / "calls", "the gateway is killed")
    first, last = calls.text().splitlines()
    assert "settle Delivered" in first
    assert first.endswith("[in the process]")
    assert last.endswith("the gateway is killed")


class OfMqtt(SourceSuite):
    connector = fixture_of(Mqtt, config={}, driver=PigeonDriver)


class OfFileDrop(SourceSuite):
    connector = fixture_of(FileDrop, config={}, driver=PigeonDriver)


class OfANetwork(NetworkSuite):
    network = "mhs"
    addresses = ("ann@sales",)


def test_the_suites_of_a_connector_are_found_by_its_class() -> None:
    wanted = Wanted.of("mqtt")
    assert [wanted.has(each) for each in (OfMqtt, OfFileDrop, OfANetwork)] == [True, False, False]
    wanted.suites.add(OfMqtt)
    assert list(wanted.untested()) == ["no DestinationSuite for its destination, deliver()"]
    wanted.networks = frozenset(["mhs"])  # as where a distribution brings both
    assert wanted.has(OfANetwork)
    assert "no NetworkSuite for its network mhs" in list(wanted.untested())
    assert Wanted.of("no-such-type").entry is None


def test_a_suite_of_a_few_tests_has_these_alone() -> None:
    class Few(SourceSuite, only=("test_back_pressure_is_the_await",)):
        connector = fixture_of(Pigeon, config={}, driver=PigeonDriver)

    left = [name for name in dir(Few) if name.startswith("test_") and getattr(Few, name) is not None]
    assert left == ["test_back_pressure_is_the_await"]
    with pytest.raises(ValueError, match="Typo has no tests test_that_there_is_not"):

        class Typo(SourceSuite, only=("test_that_there_is_not",)):
            pass


@pytest.mark.parametrize(
    ("name", "says", "found"),
    [
        ("no-such-type", "a connector is found by its entry point", "'no-such-type' is none: ews, filedrop"),
        (
            "mqtt",
            "each side of a connector, and each network, is tested by the kit",
            "has no SourceSuite for its source",
        ),
    ],
)
def test_pytest_grades_a_connector_by_its_name(name: str, says: str, found: str, tmp_path: Path) -> None:
    """In a folder that has no suite, nor any other test that would be run."""
    (tmp_path / "test_other.py").write_text("def test_of_something_else() -> None:\n    raise AssertionError\n")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--gatepost-connector={name}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert f"the contract promises: {says}" in ran.stdout
    assert found in ran.stdout
    assert "1 deselected" in ran.stdout
