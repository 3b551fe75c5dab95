"""Several workers, and several machines on one database: what one of them leaves behind when it is killed amid its
work, the others send; commands see all of it wherever they are given.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import StartGateway
from tests.peers.gateway import Gateway
from tests.peers.load import Load
from tests.peers.postgres import PostgresServer
from tests.peers.process import descendants, wait_until
from tests.peers.raw import send
from tests.peers.sink import Sink

CONTENT = b"From: <ann@source.example>\r\nTo: <bob@target.example>\r\nMessage-Id: <%d@test>\r\n\r\nbody\r\n"
TO = ["bob@target.example"]
QUICK = 'retry_min = "1s"\nretry_max = "2s"'
PAUSE_S = 0.05
"""Of a session between two messages: there is always some under way, and the other tests get the processors, too."""
IN_FLIGHT = 20 * 8 + 256
"""What defaults allow one killed worker to have sent without its outcome committed: such may come twice."""


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


def waiting(gateway: Gateway) -> set[str]:
    """Return the deliveries in the queue as the command tells them."""
    return {row["delivery"] for row in gateway.rows()}


def ways(gateway: Gateway, message_id: str) -> list[list[str]]:
    """Return what happened to the messages with this Message-ID."""
    return [[event["kind"] for event in each["events"]] for each in gateway.cli("trace", message_id)["messages"]]


def none_is_lost(sink: Sink, accepted: set[str], killed_workers: int) -> None:
    """Wait until the sink has all that was answered 250, and check that little came twice."""
    assert len(accepted) > 200, "there was a load"
    wait_until(lambda: sink.count >= len(accepted), 150, f"{len(accepted)} came out")
    wait_until(lambda: not accepted - {taken.id for taken in sink.taken()}, 60, "nothing is lost", 0.2)
    doubled = Counter(taken.id for taken in sink.taken())
    assert sum(n - 1 for n in doubled.values()) <= killed_workers * IN_FLIGHT


@pytest.mark.timeout(300)
def test_a_machine_is_killed_and_the_other_sends_all(
    postgres: PostgresServer, sink: Sink, start_gateway: StartGateway, tmp_path: Path
) -> None:
    url = postgres.new_database("nodes")
    other, one = (
        start_gateway(sink.port, folder=tmp_path / name, spool=url, workers=2, gateway=QUICK)
        for name in ("other", "one")
    )
    sink.keep(False)
    sink.behave({"MAIL": "451 4.3.0 not yet"})
    for n, gateway in enumerate([one, other] * 5):
        assert send(gateway.port, "ann@source.example", TO, CONTENT % n).code == 250
    assert len(waiting(one)) == 10
    assert waiting(one) == waiting(other)
    assert ways(other, "0@test")[0][0] == ways(one, "1@test")[0][0] == "accepted"

    with (
        Load(tmp_path, one.port, sessions=5, pause_s=PAUSE_S) as first,
        Load(tmp_path, other.port, sessions=5, pause_s=PAUSE_S) as second,
    ):
        wait_until(lambda: len(first.accepted()) > 200 < len(second.accepted()), 60, "both are under load")
        sink.behave(eod_delay_s=0.02)  # mail flows, and there is always some on its way
        wait_until(lambda: sink.count > 100, 60, "mail flows")
        pids = list(descendants(one.pid))
        one.kill()
        first.process.kill()
        second.stop()
        accepted = {each.id for each in (*first.accepted(), *second.accepted())} | {f"{n}@test" for n in range(10)}
    sink.behave()
    with postgres.connect("nodes") as database:
        # The lease of 20 s runs out now, so that the test need not wait for it.
        assert database.execute("UPDATE nodes SET beat_at = beat_at - 20 WHERE pid = ANY(%s)", [pids]).rowcount == 2
    none_is_lost(sink, accepted, killed_workers=2)
    wait_until(lambda: not waiting(other), 60, "the queue is empty")
    assert ways(other, "0@test")[0][-1] == "delivered", "the dead one's too"


@pytest.mark.timeout(300)
def test_a_worker_is_killed_and_then_the_machine(sink: Sink, start_gateway: StartGateway, tmp_path: Path) -> None:
    """On SQLite each worker has a file: a dead worker's is taken up by the next of its number, and one for which there
    is no number any more by the first worker."""
    gateway = start_gateway(sink.port, workers=2, gateway=QUICK)
    sink.keep(False)
    sink.behave(eod_delay_s=0.02)
    with Load(tmp_path, gateway.port, sessions=10, pause_s=PAUSE_S) as load:
        wait_until(lambda: len(load.accepted()) > 200, 60, "it is under load")
        os.kill(list(descendants(gateway.pid))[-1], signal.SIGKILL)
        before = len(load.accepted())
        wait_until(lambda: len(load.accepted()) > before + 200, 60, "mail is taken all the while")
        sink.behave({"MAIL": "451 4.3.0 not yet"})
        before = len(load.accepted())
        wait_until(lambda: len(load.accepted()) > before + 200, 60, "there is a queue")
        gateway.kill()
        load.process.kill()
        accepted = {each.id for each in load.accepted()}
    assert (gateway.spool / "worker-1.db").exists()
    gateway.config.write_text(gateway.config.read_text().replace("workers = 2", "workers = 1"))
    sink.behave()
    gateway.start()
    none_is_lost(sink, accepted, killed_workers=3)
    wait_until(lambda: not (gateway.spool / "worker-1.db").exists(), 60, "its file was adopted")
    wait_until(lambda: not waiting(gateway), 60, "the queue is empty")
    some = sorted(accepted)[:2]
    assert all(ways(gateway, each)[0][-1] == "delivered" for each in some)
