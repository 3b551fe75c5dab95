"""Two gateways on one database: what an operator does at one of them holds for what the other has in memory, at once,
and what the other is just sending ends as it ends, once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import StartGateway
from tests.peers.gateway import Gateway
from tests.peers.postgres import PostgresServer
from tests.peers.process import free_port, wait_until
from tests.peers.raw import send
from tests.peers.sink import Sink

CONTENT = b"From: <ann@source.example>\r\nTo: <bob@target.example>\r\nMessage-Id: <%d@test>\r\n\r\nbody\r\n"
TO = ["bob@target.example"]
SLOW = 'retry_min = "29s"\nretry_max = "29s"'
"""A lane that is down stays down for longer than a test waits, and keeps in memory what it has."""
PATIENT = 'retry_min = "300s"\nretry_max = "300s"'
"""The same, and what it has is put off into the spool."""
SOON_S = 15.0
"""Much less than any retry, and enough for two looks at the database."""


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def url(postgres: PostgresServer, request: pytest.FixtureRequest) -> Iterator[str]:
    name = request.node.name.replace("[", "-").replace("]", "")[-60:]
    yield postgres.new_database(name)
    postgres.drop_database(name)


@pytest.fixture
def other_sink(tmp_path: Path) -> Iterator[Sink]:
    (tmp_path / "other-sink").mkdir()
    with Sink(tmp_path / "other-sink", keep=True) as sink:
        yield sink


def way_to(sink: Sink) -> str:
    """Return a connector by which mail goes to this sink when it is rerouted."""
    return f'[connector.detour]\ntype = "smtp"\nsmart_host = "127.0.0.1:{sink.port}"\n'


def two(start_gateway: StartGateway, folder: Path, next_hop: int, url: str, **options: Any) -> list[Gateway]:
    options = {"gateway": SLOW, **options}
    return [start_gateway(next_hop, folder=folder / name, spool=url, **options) for name in ("one", "other")]


def ids(sink: Sink) -> list[str]:
    return sorted(taken.id for taken in sink.taken())


def kinds(gateway: Gateway, message_id: str) -> list[str]:
    """Return what happened to the message with this Message-ID; a late event is marked."""
    (message,) = gateway.cli("trace", message_id)["messages"]
    return [event["kind"] + (" late" if event["detail"].get("late") else "") for event in message["events"]]


def hand_over(gateway: Gateway, count: int) -> list[str]:
    for n in range(count):
        assert send(gateway.port, "ann@source.example", TO, CONTENT % n).code == 250
    return sorted(f"{n}@test" for n in range(count))


@pytest.mark.timeout(300)
def test_what_waits_in_the_others_memory_is_rerouted_at_once(
    url: str, sink: Sink, other_sink: Sink, start_gateway: StartGateway, tmp_path: Path
) -> None:
    one, other = two(start_gateway, tmp_path, sink.port, url, more=way_to(other_sink))
    sink.behave({"MAIL": "hang"})
    wanted = hand_over(other, 20)
    wait_until(lambda: sink.commands.get("MAIL"), 60, "some of it is being sent")
    told = one.cli("queue", "reroute", "--all", "--to", "detour")
    assert len(told["changed"]) == 20
    wait_until(lambda: other_sink.count >= 20 - len(told["in_flight"]), SOON_S, "what waited goes the other way")
    assert told["in_flight"], "what was being sent is told"
    sink.stop()  # what hangs ends without an answer, so it goes the other way too
    wait_until(lambda: other_sink.count >= 20, SOON_S, "what was being sent has failed and goes the other way")
    wait_until(lambda: not one.rows(), SOON_S, "the queue is empty")
    assert ids(other_sink) == wanted


@pytest.mark.timeout(300)
def test_what_waits_behind_the_others_closed_lane_is_rerouted_at_once(
    url: str, other_sink: Sink, start_gateway: StartGateway, tmp_path: Path
) -> None:
    one, other = two(start_gateway, tmp_path, free_port(), url, more=way_to(other_sink))
    wanted = hand_over(other, 20)
    wait_until(lambda: "lane_closed" in other.said(), 60, "its lane is closed")
    told = one.cli("queue", "reroute", "--all", "--to", "detour")
    assert len(told["changed"]) == 20
    wait_until(lambda: other_sink.count >= 20, SOON_S, "all of it goes the other way")
    wait_until(lambda: not one.rows(), SOON_S, "the queue is empty")
    assert ids(other_sink) == wanted


@pytest.mark.timeout(300)
@pytest.mark.parametrize("by", ["one", "other"])
def test_what_is_just_being_sent_is_not_sent_by_the_new_way_as_well(
    by: str, url: str, sink: Sink, other_sink: Sink, start_gateway: StartGateway, tmp_path: Path
) -> None:
    one, other = two(start_gateway, tmp_path, sink.port, url, more=way_to(other_sink))
    sink.behave(eod_delay_s=60.0)
    hand_over(other, 1)
    wait_until(lambda: sink.commands.get("DATA"), 60, "it is being sent")
    operator = one if by == "one" else other
    told = operator.cli("queue", "reroute", "--all", "--to", "detour")
    assert told["in_flight"] == told["changed"] != []
    sink.behave()
    wait_until(lambda: not one.rows(), SOON_S, "the queue is empty")
    assert (ids(sink), ids(other_sink)) == (["0@test"], [])
    assert kinds(one, "0@test")[-1] == "delivered"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("by", ["one", "other"])
def test_what_is_refused_while_it_is_held_is_neither_lost_nor_sent(
    by: str, url: str, sink: Sink, start_gateway: StartGateway, tmp_path: Path
) -> None:
    one, other = two(start_gateway, tmp_path, sink.port, url)
    sink.behave(eod_delay_s=60.0)
    hand_over(other, 1)
    wait_until(lambda: sink.commands.get("DATA"), 60, "it is being sent")
    operator = one if by == "one" else other
    told = operator.cli("queue", "hold", "--all")
    assert told["in_flight"] == told["changed"] != []
    sink.behave({"EOD": "550 5.7.1 not today"})
    wait_until(lambda: [r["leased"] for r in one.rows()] == [False], SOON_S, "the attempt is over")
    (row,) = one.rows()
    assert (row["state"], row["attempts"]) == ("held", 1)
    assert "not today" in row["reason"]
    sink.behave()
    assert one.cli("queue", "release", "--all")["changed"] == told["changed"]
    wait_until(lambda: ids(sink) == ["0@test"], SOON_S, "it is sent when it is released")


@pytest.mark.timeout(300)
def test_what_is_held_is_not_sent_by_the_other_and_goes_out_once_released(
    url: str, sink: Sink, start_gateway: StartGateway, tmp_path: Path
) -> None:
    one, other = two(start_gateway, tmp_path, sink.port, url)
    sink.behave({"MAIL": "hang"})
    wanted = hand_over(other, 20)
    wait_until(lambda: sink.commands.get("MAIL"), 60, "some of it is being sent")
    told = one.cli("queue", "hold", "--all")
    assert len(told["changed"]) == 20
    sink.stop()
    sink.start()
    wait_until(lambda: not any(r["leased"] for r in one.rows()), SOON_S, "nothing of it is in memory")
    time.sleep(2.0)
    assert ids(sink) == []
    assert {r["state"] for r in one.rows()} == {"held"}
    assert len(one.cli("queue", "release", "--all")["changed"]) == 20
    wait_until(lambda: ids(sink) == wanted, SOON_S, "all of it goes out")
    wait_until(lambda: not one.rows(), SOON_S, "the queue is empty")


@pytest.mark.timeout(300)
def test_what_is_dropped_is_not_sent_by_the_other(
    url: str, sink: Sink, start_gateway: StartGateway, tmp_path: Path
) -> None:
    one, other = two(start_gateway, tmp_path, sink.port, url)
    sink.behave({"MAIL": "hang"})
    hand_over(other, 20)
    wait_until(lambda: sink.commands.get("MAIL"), 60, "some of it is being sent")
    told = one.cli("queue", "drop", "--all")
    assert len(told["changed"]) == 20
    assert 0 < len(told["in_flight"]) < 20
    wait_until(lambda: other.metrics()["gatepost_in_memory"] == len(told["in_flight"]), SOON_S, "the other forgets it")
    sink.stop()
    sink.start()
    wait_until(lambda: other.metrics()["gatepost_in_memory"] == 0, SOON_S, "the attempts are over")
    time.sleep(1.0)
    assert (ids(sink), one.rows()) == ([], [])


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("command", "gateway"),
    [("requeue", SLOW), ("requeue", PATIENT), ("release", PATIENT)],
    ids=["requeue-in-memory", "requeue-put-off", "release"],
)
def test_what_waits_behind_the_others_closed_lane_goes_out_on_command(
    command: str, gateway: str, url: str, sink: Sink, start_gateway: StartGateway, tmp_path: Path
) -> None:
    one, other = two(start_gateway, tmp_path, sink.port, url, gateway=gateway)
    sink.stop()
    wanted = hand_over(other, 20)
    wait_until(lambda: "lane_closed" in other.said(), 60, "its lane is closed")
    if gateway is PATIENT:
        wait_until(lambda: not any(r["leased"] for r in one.rows()), SOON_S, "all of it is put off")
    if command == "release":
        assert len(one.cli("queue", "hold", "--all")["changed"]) == 20
    sink.start()
    assert len(one.cli("queue", command, "--all")["changed"]) == 20
    wait_until(lambda: ids(sink) == wanted, SOON_S, "all of it goes out")
    wait_until(lambda: not one.rows(), SOON_S, "the queue is empty")


@pytest.mark.timeout(300)
def test_a_lane_that_is_down_since_before_a_restart_is_tried_on_release(
    sink: Sink, start_gateway: StartGateway
) -> None:
    """The next hop is known to be down from the spool alone: no lane is in memory when the command comes."""
    gateway = start_gateway(sink.port, gateway=PATIENT)
    sink.stop()
    hand_over(gateway, 3)
    wait_until(lambda: "lane_closed" in gateway.said(), 60, "the lane is closed")
    assert len(gateway.cli("queue", "hold", "--all")["changed"]) == 3
    gateway.stop()
    gateway.start()
    time.sleep(1.0)  # by now it has looked up which lanes are down
    sink.start()
    assert len(gateway.cli("queue", "release", "--all")["changed"]) == 3
    wait_until(lambda: sink.count == 3, SOON_S, "all of it goes out")


@pytest.mark.timeout(300)
def test_two_workers_of_one_gateway_let_go_of_what_was_rerouted(
    url: str, sink: Sink, other_sink: Sink, start_gateway: StartGateway, tmp_path: Path
) -> None:
    gateway = start_gateway(sink.port, workers=2, spool=url, gateway=SLOW, more=way_to(other_sink))
    sink.behave({"MAIL": "hang"})
    wanted = hand_over(gateway, 40)
    wait_until(lambda: sink.commands.get("MAIL", 0) > 1, 60, "some of it is being sent")
    told = gateway.cli("queue", "reroute", "--all", "--to", "detour")
    assert len(told["changed"]) == 40
    wait_until(lambda: other_sink.count >= 40 - len(told["in_flight"]), SOON_S, "what waited goes the other way")
    sink.stop()
    wait_until(lambda: other_sink.count >= 40, SOON_S, "what was being sent goes the other way")
    assert ids(other_sink) == wanted
    wait_until(lambda: not gateway.rows(), SOON_S, "the queue is empty")
