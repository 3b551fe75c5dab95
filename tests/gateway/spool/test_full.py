"""No room: mail is refused for now before the disk is full and when it is, outcomes go on, recovery by itself."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.contract import ContentWriter, Unavailable
from gateway.message import Traits
from gateway.spool.api import QueueFilter, SpoolError, Stored
from gateway.spool.durable import DurableSpool
from gateway.spool.open import open_spool
from gateway.spool.options import SpoolOptions
from tests.gateway.spool.builders import Clock, Maker

ALL = QueueFilter()
MIB = 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB; a limit on files where we may not mount one is tested below."""
    disk = tmp_path / "disk"
    disk.mkdir()
    as_root = [] if os.getuid() == 0 else ["sudo", "-n"]
    mount = [*as_root, "mount", "-t", "tmpfs", "-o", "size=16m,mode=1777", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.xfail("no small file system can be mounted here")
    yield disk
    subprocess.run([*as_root, "umount", "-l", str(disk)], check=True)


async def opened(disk: Path, clock: Clock, **options: object) -> DurableSpool:
    return await open_spool(f"sqlite:///{disk}/spool", Path("/"), 0, clock, SpoolOptions(**options))  # type: ignore[arg-type]  # by name


async def fill(spool: DurableSpool, maker: Maker, pause_s: float = 0.0) -> list[Stored]:
    """Accept until it is refused; returns what was taken."""
    told: list[Stored] = []
    while True:
        await asyncio.sleep(pause_s)
        message = maker.message(body=b"x" * 100_000)
        try:
            await spool.accept(message)
        except SpoolError as refused:
            if refused.status.code != "4.3.1":
                raise
            return told
        told.append(message)


async def write(writer: ContentWriter, mib: int) -> None:
    for _ in range(mib):
        if not writer.write(b"x" * MIB):
            await writer.drain()
    await writer.finish(Traits(True, False))


async def until_it_works(spool: DurableSpool, maker: Maker) -> None:
    deadline = time.monotonic() + 5
    while True:
        try:
            await spool.accept(maker.message())
            return
        except SpoolError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)


async def test_a_full_disk(small_disk: Path, clock: Clock, maker: Maker) -> None:
    spool = await opened(small_disk, clock, min_free_bytes=0, wal_pages=500)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(5 * MIB))
    told = await fill(spool, maker)
    assert len(told) > 20
    for _ in range(3):
        with pytest.raises(SpoolError):
            await spool.accept(maker.message(body=b"x" * 100_000))
    assert {r.delivery.id[0] for r in await spool.rows(ALL, 10_000)} >= {m.id for m in told}
    filler.unlink()
    await spool.settle([maker.done(m.deliveries[0].id) for m in told[:10]])
    await until_it_works(spool, maker)
    await spool.close()
    spool = await opened(small_disk, clock, min_free_bytes=0)
    assert {r.delivery.id[0] for r in await spool.rows(ALL, 10_000)} > {m.id for m in told[10:]}
    await spool.close()


async def test_the_limit_stops_mail_before_the_disk_is_full(small_disk: Path, clock: Clock, maker: Maker) -> None:
    spool = await opened(small_disk, clock, min_free_bytes=8 * MIB, wal_pages=500)
    told = await fill(spool, maker, 0.02)
    room = os.statvfs(small_disk)
    assert room.f_bavail * room.f_frsize > 3 * MIB
    # Outcomes are committed all the same, and the room that they make is used again.
    await spool.settle([maker.done(m.deliveries[0].id) for m in told])
    assert await spool.rows(ALL, 1) == []
    await spool.close()


async def test_a_content_file_finds_no_room(small_disk: Path, clock: Clock, maker: Maker) -> None:
    spool = await opened(small_disk, clock, min_free_bytes=2 * MIB)
    writer = spool.content()
    with pytest.raises(Unavailable) as refused:
        await write(writer, 40)
    assert refused.value.status.code == "4.3.1"
    room = os.statvfs(small_disk)
    assert room.f_bavail * room.f_frsize >= 2 * MIB
    await writer.abandon()
    assert not [p for p in (small_disk / "spool" / "content").rglob("*") if p.is_file()]
    again = spool.content()
    again.write(b"x" * MIB)
    await spool.accept(maker.message(content=await again.finish(Traits(True, False))))
    await spool.close()


_LIMITED = """
import asyncio, resource, signal, sys
from pathlib import Path
from gateway.contract import Unavailable
from gateway.spool.api import QueueFilter, SpoolError
from gateway.spool.open import open_spool
from gateway.spool.options import SpoolOptions
from tests.gateway.spool.builders import Clock, Maker

async def main():
    clock = Clock()
    maker = Maker(clock)
    spool = await open_spool(sys.argv[1], Path("/"), 0, clock, SpoolOptions(min_free_bytes=0))
    soft = 6 << 20
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))
    told: list[Stored] = []
    try:
        while True:
            message = maker.message(body=b"x" * 100_000)
            await spool.accept(message)
            told.append(message)
    except SpoolError as error:
        assert error.status.code == "4.3.1", error
    assert len(told) > 20
    writer = spool.content()
    try:
        for _ in range(10):
            writer.write(b"x" * (1 << 20))
            await writer.drain()
    except Unavailable as error:
        assert error.status.code == "4.3.1", error
    else:
        raise AssertionError
    await writer.abandon()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await asyncio.sleep(1.2)
    await spool.accept(maker.message())
    assert len(await spool.rows(QueueFilter(), 10_000)) == len(told) + 1
    await spool.close()
    print("recovered")

asyncio.run(main())
"""


def test_a_limit_on_files(tmp_path: Path) -> None:
    """As a quota shows itself, and to be had without root."""
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, f"sqlite:///{tmp_path}/spool"], capture_output=True, text=True, check=False
    )
    assert done.stdout == "recovered\n", done.stderr
