"""Delivery to a server of another make: Postfix's smtp-sink, with and without what it can offer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.connectors.smtp.client_kit import RecordingBatch, config, deliver, parcel
from tests.peers.process import Process, answers, free_port, wait_until


@contextmanager
def sink(folder: Path, *options: str) -> Iterator[int]:
    """Run smtp-sink with options; yield its port."""
    port = free_port()
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    command = ["smtp-sink", *user, *options, f"127.0.0.1:{port}", "128"]
    process = Process(command, folder / "sink.log", {"PATH": os.environ.get("PATH", "") + ":/usr/sbin"})
    try:
        wait_until(lambda: answers(port), 60, "smtp-sink listens")
        yield port
    finally:
        process.kill()


@pytest.mark.parametrize("options", [(), ("-p",), ("-e",), ("-8",), ("-E", "-N")], ids=lambda o: " ".join(o) or "all")
async def test_many_messages_over_one_connection(tmp_path: Path, options: tuple[str, ...]) -> None:
    first = [parcel(n) for n in range(20)]
    later = [[parcel(n) for n in range(start, start + 20)] for start in range(20, 100, 20)]
    batch = RecordingBatch(first, later)
    with sink(tmp_path, *options) as port:
        await deliver(batch, config(port))
    assert batch.codes() == ["delivered 2.0.0"] * 100


async def test_lmtp_answers_each_recipient(tmp_path: Path) -> None:
    batch = RecordingBatch([parcel(n, [f"{r}@y.example" for r in range(3)]) for n in range(20)])
    with sink(tmp_path, "-L") as port:
        await deliver(batch, config(port, protocol_out="lmtp"))
    assert batch.codes() == ["delivered 2.2.0"] * 60


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("-f", "MAIL"), "failed 5.3.0"),
        (("-f", "RCPT"), "failed 5.3.0"),
        (("-f", "DATA"), "failed 5.3.0"),
        (("-f", "."), "failed 5.3.0"),
        (("-f", "EHLO,HELO"), "deferred 4.3.0 hop"),
        (("-r", "MAIL"), "deferred 4.3.0 hop"),
        (("-r", "RCPT"), "deferred 4.3.0 recipient"),
        (("-r", "DATA"), "deferred 4.3.0 message"),
        (("-r", "."), "deferred 4.3.0 message"),
        (("-q", "EHLO"), "deferred 4.4.2 hop"),
        (("-q", "MAIL"), "deferred 4.4.2 hop"),
        (("-q", "."), "deferred 4.4.2 message"),
        (("-Q", "MAIL"), "deferred 4.0.0 hop"),
        (("-Q", "."), "deferred 4.0.0 hop"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
async def test_refusals_and_ends(tmp_path: Path, options: tuple[str, ...], expected: str) -> None:
    batch = RecordingBatch([parcel(1)])
    with sink(tmp_path, *options) as port:
        await deliver(batch, config(port))
    assert batch.codes() == [expected]
