"""The process that reads a file drop's inbox, under kill -9, beside the gateway as it ships."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from tests.peers.gateway import Gateway
from tests.peers.process import descendants, wait_until
from tests.peers.sink import Sink

DROP = """
[connector.drop]
type = "filedrop"
inbox = "in"
create_folders = true
poll_s = 0.5
"""
SMALL, LARGE = 300, 6
LARGE_OCTETS = 1_500_000
KILLS = 6
DROPS = 8
StartGateway = Callable[..., Gateway]


def put(inbox: Path, number: int, size: int = 0) -> None:
    text = f"From: ann@sales.example\r\nTo: bob@peer.example\r\nMessage-ID: <{number}@x>\r\n\r\n{number}\r\n".encode()
    text += b"x" * 70 + b"\r\n" if size == 0 else (b"x" * 70 + b"\r\n") * (size // 72)
    (inbox / f"{number}.tmp").write_bytes(text)
    (inbox / f"{number}.tmp").rename(inbox / f"{number}.eml")


def left(inbox: Path) -> int:
    return sum(path.suffix == ".eml" for path in inbox.rglob("*"))


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def readers(of: int | None = None) -> list[int]:
    """Return the reading processes that run, of one gateway or of all."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            is_one = b"connectors.filedrop.apart.child" in (path / "cmdline").read_bytes()
            parent = parent_of(int(path.name))
        except (OSError, ValueError):
            continue
        if is_one and of in (None, parent):
            found.append(int(path.name))
    return found


def have_ended(pids: list[int]) -> bool:
    return not set(pids) & set(readers())


def kill_reader(gateway: Gateway) -> None:
    for pid in readers(gateway.pid):
        os.kill(pid, signal.SIGKILL)


def contents(spool: Path) -> list[Path]:
    """Return the content files of a spool."""
    found = (spool / "content").rglob("*")
    return [path for path in found if path.is_file() and path.stat().st_size >= LARGE_OCTETS // 2]


def test_a_reading_process_killed_at_any_time_loses_and_doubles_nothing(
    tmp_path: Path, sink: Sink, start_gateway: StartGateway
) -> None:
    # The next hop takes nothing yet, so that what is queued is what was accepted.
    sink.behave({"CONNECT": "421 4.3.2 come back later"})
    inbox = tmp_path / "in"
    inbox.mkdir()
    gateway = start_gateway(sink.port, folder=tmp_path, more=DROP)
    dice = random.Random(11)
    numbers = iter(range(SMALL + LARGE))
    for kill in range(KILLS):
        for _ in range((SMALL + LARGE) // KILLS):
            number = next(numbers)
            put(inbox, number, LARGE_OCTETS if number % 60 == 7 else 0)
        wait_until(lambda: readers(gateway.pid), 60, "the reading process is there")
        time.sleep(dice.uniform(0.3, 1.1))
        if kill == 3:
            gateway.kill()
            wait_until(lambda: not readers(gateway.pid), 2, "the reading process ended with its gateway")
            gateway.start()
        else:
            kill_reader(gateway)
    for number in numbers:
        put(inbox, number)
    wait_until(lambda: left(inbox) == 0, 60, "the inbox is empty")
    rows = gateway.cli("queue", "list", "--limit", "2000")["rows"]
    assert len(rows) == SMALL + LARGE
    large = sum(number % 60 == 7 for number in range(SMALL + LARGE - (SMALL + LARGE) % KILLS))
    wait_until(lambda: len(contents(gateway.spool)) == large, 60, f"{large} contents, none without a message")
    wait_until(gateway.is_healthy, 60, "the reading process is there again after the last kill")


def test_a_killed_worker_takes_its_files_up_again(tmp_path: Path, sink: Sink, start_gateway: StartGateway) -> None:
    sink.behave({"CONNECT": "421 4.3.2 come back later"})
    inbox = tmp_path / "in"
    inbox.mkdir()
    gateway = start_gateway(sink.port, folder=tmp_path, workers=2, more=DROP)

    def its_readers() -> list[int]:
        return [pid for worker in descendants(gateway.pid) for pid in readers(worker)]

    for kill in range(2):
        wait_until(lambda: len(its_readers()) == 1, 60, "one worker reads the inbox")
        for number in range(kill * 100, kill * 100 + 100):
            put(inbox, number)
        time.sleep(0.15)
        killed = its_readers()
        for pid in killed:
            os.kill(parent_of(pid), signal.SIGKILL)
        wait_until(partial(have_ended, killed), 60, "its reading process has ended with it")
        wait_until(lambda: left(inbox) == 0, 60, "the inbox is empty")

    def rows() -> int:
        try:
            return len(gateway.rows())
        except RuntimeError:  # the worker is not back yet
            return 0

    wait_until(lambda: rows() >= 200, 60, "all are queued")
    assert rows() == 200


def test_a_stop_finishes_what_is_accepted_and_leaves_no_process(
    tmp_path: Path, sink: Sink, start_gateway: StartGateway
) -> None:
    inbox = tmp_path / "in"
    inbox.mkdir()
    gateway = start_gateway(sink.port, folder=tmp_path, gateway='stop_after = "5s"', more=DROP)
    wait_until(lambda: readers(gateway.pid), 60, "the reading process is there")
    [pid] = readers(gateway.pid)
    for name in range(300):
        put(inbox, name)
    # As a service manager does it: every process gets the signal.
    os.kill(pid, signal.SIGTERM)
    os.kill(gateway.pid, signal.SIGTERM)
    began = time.monotonic()
    process = gateway.process
    assert process is not None
    wait_until(lambda: not process.is_alive, 60, "the gateway stopped")
    assert time.monotonic() - began < 7
    assert pid not in readers()
    assert "is started anew" not in gateway.said()
    gateway.start()
    wait_until(lambda: left(inbox) == 0, 60, "the inbox is empty")
    sink.wait_for(300)
    wait_until(lambda: gateway.queued() == 0, 60, "all are delivered")
    assert sink.count == 300


def test_many_file_drops(
    tmp_path: Path, sink: Sink, start_gateway: StartGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"drop{number}" for number in range(DROPS)]
    for name in names:
        (tmp_path / name).mkdir()
        put(tmp_path / name, 1)
    more = "".join(f'[connector.{name}]\ntype = "filedrop"\ninbox = "{name}"\n' for name in names)
    began = time.monotonic()
    gateway = start_gateway(sink.port, folder=tmp_path, more=more)
    ready = time.monotonic() - began
    wait_until(lambda: sink.count == DROPS, 60, "each took its file")
    taken = time.monotonic() - began
    pids = readers(gateway.pid)
    assert len(pids) == DROPS
    own = [_own_kib(pid) for pid in pids]
    with capsys.disabled():
        print(
            f"\n{DROPS} file drops: healthy after {ready:.1f} s, all read after {taken:.1f} s, "
            f"{sum(own) / DROPS / 1024:.1f} MiB of its own each, {sum(own) / 1024:.0f} MiB in all"
        )
    assert max(own) < 60 * 1024
    assert _own_kib(gateway.pid) < 400 * 1024


def _own_kib(pid: int) -> int:
    lines: Sequence[str] = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))
