"""What a gateway gets out of by itself: a loop to itself, a worker that died, a report nobody takes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.integration.conftest import StartGateway
from tests.peers.gateway import Gateway
from tests.peers.process import descendants, wait_until
from tests.peers.raw import send
from tests.peers.sink import Sink

CONTENT = b"From: <ann@source.example>\r\nTo: <bob@target.example>\r\nMessage-Id: <%d@test>\r\n\r\nbody\r\n"
TO = ["bob@target.example"]
QUICK = 'retry_min = "1s"\nretry_max = "2s"'


def test_a_gateway_whose_smart_host_is_itself_stops_the_loop(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, 1, gateway=QUICK)
    text = gateway.config.read_text()
    gateway.config.write_text(text.replace('smart_host = "127.0.0.1:1"', f'smart_host = "127.0.0.1:{gateway.port}"'))
    with gateway:
        assert send(gateway.port, "ann@source.example", TO, CONTENT % 1).code == 250
        time.sleep(5)
        passed = gateway.metrics()["gatepost_accepted_total"]
        time.sleep(3)
        assert gateway.metrics()["gatepost_accepted_total"] == passed, "nothing goes round any more"
        assert passed <= 10, "the message and the report about it, a few times each"


@pytest.mark.timeout(300)
def test_a_dead_workers_mail_goes_out_without_help(sink: Sink, start_gateway: StartGateway) -> None:
    gateway = start_gateway(sink.port, workers=2, gateway=QUICK)
    sink.behave({"MAIL": "hang"})
    for n in range(40):
        assert send(gateway.port, "ann@source.example", TO, CONTENT % n).code == 250
    workers = list(descendants(gateway.pid))[1:]
    assert len(workers) >= 2
    os.kill(workers[-1], signal.SIGKILL)
    sink.behave()
    # What hangs on the old connections of the worker that lives is given up with them.
    sink.stop()
    sink.start()
    wanted = {f"{n}@test" for n in range(40)}
    wait_until(lambda: wanted <= {t.id for t in sink.taken()}, 120, "all of it came out", 0.2)
    wait_until(lambda: len(list(descendants(gateway.pid))) > 2, 60, "the worker was started again")


@pytest.mark.timeout(300)
def test_with_fewer_workers_nobodys_mail_is_left_behind(sink: Sink, start_gateway: StartGateway) -> None:
    gateway = start_gateway(sink.port, workers=2, gateway=QUICK)
    sink.behave({"MAIL": "451 4.3.0 not yet"})
    for n in range(40):
        assert send(gateway.port, "ann@source.example", TO, CONTENT % n).code == 250
    gateway.stop()
    assert (gateway.spool / "worker-1.db").exists()
    gateway.config.write_text(gateway.config.read_text().replace("workers = 2", "workers = 1"))
    sink.behave()
    gateway.start()
    wanted = {f"{n}@test" for n in range(40)}
    wait_until(lambda: wanted <= {t.id for t in sink.taken()}, 60, "all of it came out", 0.2)
    assert not (gateway.spool / "worker-1.db").exists()


def test_a_report_that_nobody_takes_is_parked_and_shown(gateway: Gateway, sink: Sink) -> None:
    sink.behave(recipients={"*": "550 5.1.1 no such user"})
    assert send(gateway.port, "ann@source.example", TO, CONTENT % 1).code == 250
    wait_until(lambda: [r for r in gateway.rows() if r["state"] == "parked"], 60, "it is parked")
    rows = gateway.cli("queue", "list")["rows"]
    assert [(r["state"], r["to"]) for r in rows] == [("parked", "smtp:ann@source.example")]
    seen = sink.commands["RCPT"]
    time.sleep(3)
    assert sink.commands["RCPT"] == seen, "it is not tried again by itself"


def test_what_is_queued_anew_while_it_is_sent_goes_out_once(sink: Sink, start_gateway: StartGateway) -> None:
    sink.behave({"CONNECT": "421 4.3.2 come back later"})
    gateway = start_gateway(sink.port, gateway='retry_min = "60s"\nretry_max = "60s"')
    for n in range(400):
        assert send(gateway.port, "ann@source.example", TO, CONTENT % n).code == 250
    sink.behave(eod_delay_s=0.2)
    while gateway.queued():
        try:
            gateway.cli("queue", "requeue", "--all")
        except RuntimeError:  # it found nothing to queue anew: the last has gone out since we asked
            assert not gateway.queued()
    assert sorted(t.id for t in sink.taken()) == sorted(f"{n}@test" for n in range(400))
