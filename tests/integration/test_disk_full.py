"""A spool on a small disk: new mail is put off before the disk is full, and where it is full all the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.conftest import StartGateway
from tests.peers.gateway import Gateway, SmallDisk
from tests.peers.process import wait_until
from tests.peers.raw import Reply, send
from tests.peers.sink import Sink

MIB = 1 << 20
SIZE_MIB = 112
TO = ["bob@target.example"]
QUICK = 'retry_min = "1s"\nretry_max = "2s"\n'


def content(n: int, size: int) -> bytes:
    head = b"From: <ann@source.example>\r\nTo: <bob@target.example>\r\nMessage-Id: <%d@test>\r\n\r\n" % n
    return head + (b"x" * 76 + b"\r\n") * (size // 78)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with SmallDisk(tmp_path / "disk", SIZE_MIB) as folder:
        yield folder


def fill(gateway: Gateway, size: int) -> tuple[list[int], Reply]:
    """Send until it is refused; return what was accepted, and the refusal."""
    accepted: list[int] = []
    for n in range(4 * SIZE_MIB * MIB // size):
        reply = send(gateway.port, "ann@source.example", TO, content(n, size))
        if reply.code != 250:
            return accepted, reply
        accepted.append(n)
    raise AssertionError(f"{len(accepted)} messages of {size} fitted on {SIZE_MIB} MiB")


def recovers(gateway: Gateway, sink: Sink, accepted: list[int]) -> None:
    """Let the next hop take mail: all of it comes out, and new mail is taken without a restart."""
    sink.behave()
    wanted = {f"{n}@test" for n in accepted}
    wait_until(lambda: wanted <= {t.id for t in sink.taken()}, 60, "everything accepted came out", 0.2)
    wait_until(
        lambda: send(gateway.port, "ann@source.example", TO, content(9999, 1000)).code == 250,
        60,
        "mail is taken again",
        0.5,
    )
    wait_until(lambda: "9999@test" in {t.id for t in sink.taken()}, 60, "and comes out")
    assert gateway.process is not None
    assert gateway.process.is_alive


@pytest.mark.parametrize("size", [100_000, 2 * MIB], ids=["inline", "content files"])
@pytest.mark.timeout(300)
def test_mail_is_put_off_before_the_disk_is_full(
    size: int, disk: Path, sink: Sink, start_gateway: StartGateway
) -> None:
    sink.keep(False)
    sink.behave({"MAIL": "451 4.3.0 not yet"})
    gateway = start_gateway(sink.port, spool=f"sqlite:///{disk}/spool", gateway=QUICK + f"min_free_bytes = {56 * MIB}")
    accepted, refusal = fill(gateway, size)
    assert accepted
    assert refusal.code == 452, str(refusal)
    recovers(gateway, sink, accepted)


@pytest.mark.timeout(300)
def test_a_disk_that_others_fill(disk: Path, sink: Sink, start_gateway: StartGateway) -> None:
    sink.keep(False)
    sink.behave({"MAIL": "451 4.3.0 not yet"})
    gateway = start_gateway(sink.port, spool=f"sqlite:///{disk}/spool", gateway=QUICK + "min_free_bytes = 0")
    accepted = list(range(20))
    for n in accepted:
        assert send(gateway.port, "ann@source.example", TO, content(n, 50_000)).code == 250
    stuffing = disk / "stuffing"
    # Unbuffered: what a buffer still held at the fault would be written once more when it is closed, and fault again.
    with stuffing.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 65536)
    refusals = []
    for n in range(100, 140):
        reply = send(gateway.port, "ann@source.example", TO, content(n, 200_000))
        if reply.code == 250:
            accepted.append(n)
        else:
            refusals.append(reply)
    assert refusals
    assert {each.code for each in refusals} <= {451, 452}, str(refusals[0])
    stuffing.unlink()
    recovers(gateway, sink, accepted)
