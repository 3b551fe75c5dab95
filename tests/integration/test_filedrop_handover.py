"""Files in, files out, status files back, through a whole gateway: also over a full disk and one that is read-only."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.peers.gateway import Gateway, SmallDisk
from tests.peers.process import AS_ROOT, free_port, wait_until

QUICK = 'retry_min = "1s"\nretry_max = "1s"\n'
DROP = """
[connector.orders]
type = "filedrop"
network = "mhs"
inbox = "in"
archive = "done"
errors = "bad"
status = "status"
poll_s = 0.2

[connector.shop]
type = "filedrop"
network = "mhs"
outbox = "disk/out"
min_free_bytes = 0

[[route]]
match = "mhs:*@gone"
to = "nowhere"

[[route]]
match = "mhs:*"
to = "shop"

[connector.nowhere]
type = "filedrop"
network = "mhs"
outbox = "full"
max_files_in_outbox = 1
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    for name in ("in", "done", "bad", "status", "full"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "not yet fetched").touch()
    with SmallDisk(tmp_path / "disk", 4) as folder:
        (folder / "out").mkdir()
        yield folder


def put(folder: Path, name: str, size: int = 100, to: str = "bob@hq") -> bytes:
    octets = f"From: ann@sales\r\nTo: {to}\r\nMessage-ID: <{name}@sales>\r\n\r\n".encode() + b"x" * size + b"\r\n"
    (folder / f"{name}.tmp").write_bytes(octets)
    (folder / f"{name}.tmp").rename(folder / f"{name}.eml")
    return octets


def seen(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def remount(folder: Path, mode: str) -> None:
    subprocess.run([*AS_ROOT, "mount", "-o", f"remount,{mode}", str(folder)], check=True, capture_output=True)


def test_a_status_file_tells_what_became_of_each(
    tmp_path: Path, disk: Path, start_gateway: Callable[..., Gateway]
) -> None:
    start_gateway(
        free_port(), folder=tmp_path, more=DROP, gateway='delay_warning = "1s"\nexpire_after = "10s"\n' + QUICK
    )
    put(tmp_path / "in", "good")
    put(tmp_path / "in", "late", to="bob@gone")
    status = tmp_path / "status"
    wait_until(lambda: (status / "good.sts").exists(), 60, "the status of what was put")
    lines = (status / "good.sts").read_text().splitlines()
    for line in ("File: good.eml", "Recipient: bob@hq", "Action: relayed"):
        assert line in lines
    wait_until(lambda: (status / "late-2.sts").exists(), 60, "the status of what could not be put")
    assert "Action: delayed" in (status / "late.sts").read_text().splitlines()
    assert "Action: failed" in (status / "late-2.sts").read_text().splitlines()
    assert len(seen(disk / "out")) == 1, "no report goes to the shop"


def test_a_full_disk_defers_and_shows_no_part_of_a_file(
    tmp_path: Path, disk: Path, start_gateway: Callable[..., Gateway]
) -> None:
    gateway = start_gateway(free_port(), folder=tmp_path, more=DROP, gateway=QUICK)
    sizes = {put(tmp_path / "in", f"{number}", 600_000) for number in range(10)}
    wait_until(lambda: len(list((tmp_path / "done").iterdir())) == 10, 60, "all are accepted")
    fetched: list[bytes] = []

    def fetch() -> bool:
        for path in seen(disk / "out"):
            octets = path.read_bytes()
            assert octets.endswith(b"x\r\n"), f"{path.name} is cut off"
            fetched.append(octets)
            path.unlink()
        return len(fetched) >= 10

    wait_until(lambda: "on a full disk" in gateway.said(), 60, "the disk is full")
    assert 0 < len(seen(disk / "out")) < 10
    wait_until(fetch, 60, "all come out", 0.3)
    assert len(fetched) == len(sizes) == 10
    wait_until(lambda: gateway.queued() == 0, 60, "the queue is empty")


@contextmanager
def standing_still(gateway: Gateway) -> Iterator[None]:
    """Stop a gateway in its tracks, with the processes that it has started."""
    children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()
    pids = [gateway.pid, *map(int, children)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_a_read_only_outbox_and_inbox_wait(tmp_path: Path, disk: Path, start_gateway: Callable[..., Gateway]) -> None:
    (disk / "in").mkdir()
    (disk / "done").mkdir()
    more = DROP.replace('inbox = "in"', 'inbox = "disk/in"').replace('archive = "done"', 'archive = "disk/done"')
    more = more.replace('errors = "bad"\n', "")
    gateway = start_gateway(free_port(), folder=tmp_path, more=more, gateway=QUICK)
    put(disk / "in", "first")
    wait_until(lambda: len(seen(disk / "out")) == 1, 60, "the first is put")
    wait_until(lambda: len(seen(disk / "done")) == 1, 60, "and archived")
    with standing_still(gateway):
        put(disk / "in", "second")
        remount(disk, "ro")
    try:
        wait_until(lambda: "Read-only" in gateway.said() or "read-only" in gateway.said(), 60, "it is told", 0.1)
    finally:
        remount(disk, "rw")
    put(disk / "in", "third")
    wait_until(lambda: len(seen(disk / "out")) == 3, 60, "all are put")
    wait_until(lambda: len(seen(disk / "done")) == 3, 60, "all are archived")
    assert sorted(path.name for path in seen(disk / "done")) == ["first.eml", "second.eml", "third.eml"]
