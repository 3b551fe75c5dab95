"""200 messages of 50 MB, 20 at once, in a worker that never holds 200 MiB: part of `make soak`."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.peers.gateway import Gateway
from tests.peers.sink import Sink
from tests.peers.streams import big, send_many

MIB: Final = 1 << 20
LIMIT_BYTES: Final = 200 * MIB


def cross(folder: Path, count: int, at_once: int, size_bytes: int) -> tuple[int, float]:
    """Send `count` messages through a gateway; return its VmHWM in octets and the seconds taken.

    Raises: AssertionError where one was lost, doubled or changed.
    """
    with Sink(folder) as sink, Gateway(folder, sink.port) as gateway:
        started = time.monotonic()
        asyncio.run(send_many(gateway.port, count, at_once, size_bytes))
        sink.wait_for(count, 60 + count * size_bytes / (10 * MIB))
        taken = sink.taken()
        seconds = time.monotonic() - started
        assert sorted(t.id for t in taken) == sorted(f"big-{n}" for n in range(count))
        assert {t.body for t in taken} == {big(size_bytes).digest}
        most = gateway.vm_hwm_bytes()
        gateway.stop()
    left = list((gateway.spool / "content").rglob("*"))
    assert not [each for each in left if each.is_file()], "content files are gone with their messages"
    return most, seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=20)
    parser.add_argument("--size-mb", type=int, default=50)
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gatepost-big-", dir=os.environ.get("GATEPOST_BENCH_DIR", "/var/tmp")))
    try:
        most, seconds = cross(folder, asked.messages, asked.at_once, asked.size_mb * 1_000_000)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    rate = asked.messages * asked.size_mb / seconds
    print(
        f"big: {asked.messages} messages of {asked.size_mb} MB, {asked.at_once} at once, {rate:.0f} MB/s, none lost; "
        f"worker's VmHWM {most / MIB:.0f} MiB (limit {LIMIT_BYTES // MIB})"
    )
    return 0 if most < LIMIT_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
