"""What the tests of the file drop share: a connector over folders of a test, and the system on the other side."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from connectors.filedrop import FileDrop
from connectors.filedrop.config import FileDropConfig
from gateway.contract import Context
from gateway.testing import KitLog, RecordingIntake

GOOD = b"From: ann@sales\r\nTo: bob@acme.example\r\nMessage-ID: <1@a>\r\nDate: x\r\n\r\ntext\r\n"


def connector(tmp: Path, **options: Any) -> FileDrop:
    config = FileDropConfig.model_validate(
        {"network": "mhs", "inbox": "in", "create_folders": True, "poll_s": 0.2, "isolate": False, **options}
    )
    return FileDrop("oldmhs", config, Context("gw.example", tmp, tmp, KitLog(), time.time, stop_s=3.0))


@asynccontextmanager
async def running(made: FileDrop, intake: Any) -> AsyncIterator[None]:
    await made.start()
    task = asyncio.create_task(made.run(intake))
    try:
        yield
    finally:
        intake.gate.set()
        task.cancel()
        await asyncio.wait((task,))
        await made.stop()
        if not task.cancelled():
            task.result()


async def until(done: Callable[[], object], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not done():  # noqa: ASYNC110 - what it waits for is a folder, which sets no event
            await asyncio.sleep(0.01)


def put(tmp: Path, name: str, octets: bytes = GOOD, folder: str = "in") -> Path:
    """Put a file as a careful writer does."""
    path = tmp / folder / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.with_name(f".{name}").write_bytes(octets)
    path.with_name(f".{name}").rename(path)
    return path


def left(tmp: Path) -> list[str]:
    """Return what is in the inbox, claimed files by their own names too."""
    names = [path.name for path in (tmp / "in").iterdir() if path.name != ".claimed"]
    return sorted(names + [path.name.split(".", 1)[1] for path in (tmp / "in" / ".claimed").glob("*/*")])


def peers(intake: RecordingIntake) -> list[str]:
    """Return the names of the files whose messages were accepted, in order."""
    return [one.message.envelope.origin.peer for one in intake.accepted]
