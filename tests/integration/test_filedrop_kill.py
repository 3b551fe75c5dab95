"""A file drop under kill -9: every file is in the spool once, wherever the gateway dies."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

from tests.peers.gateway import Gateway
from tests.peers.process import wait_until
from tests.peers.sink import Sink

FILES = 600
KILLS = 5
DROP = """
[connector.drop]
type = "filedrop"
inbox = "in"
create_folders = true
"""


def put(inbox: Path, number: int) -> None:
    text = f"From: ann@sales.example\r\nTo: bob@peer.example\r\nMessage-ID: <{number}@x>\r\n\r\n{number}\r\n"
    (inbox / f"{number}.tmp").write_bytes(text.encode())
    (inbox / f"{number}.tmp").rename(inbox / f"{number}.eml")


def left(inbox: Path) -> int:
    return sum(path.suffix == ".eml" for path in inbox.rglob("*"))


def test_killed_at_any_time_each_file_is_taken_once(
    tmp_path: Path, sink: Sink, start_gateway: Callable[..., Gateway]
) -> None:
    # The next hop takes nothing yet, so that what is queued is what was accepted.
    sink.behave({"CONNECT": "421 4.3.2 come back later"})
    inbox = tmp_path / "in"
    inbox.mkdir()
    gateway = start_gateway(sink.port, folder=tmp_path, more=DROP)
    dice = random.Random(3)
    for kill in range(KILLS):
        for number in range(kill * FILES // KILLS, (kill + 1) * FILES // KILLS):
            put(inbox, number)
        time.sleep(dice.uniform(0.0, 0.15))
        gateway.kill()
        gateway.start()
    wait_until(lambda: left(inbox) == 0, 60, "the inbox is empty")
    assert len(gateway.cli("queue", "list", "--limit", str(2 * FILES))["rows"]) == FILES


def test_a_file_that_was_accepted_before_the_crash_is_known_by_its_claim(
    tmp_path: Path, sink: Sink, start_gateway: Callable[..., Gateway]
) -> None:
    claims = tmp_path / "in" / ".claimed" / "w0"
    claims.mkdir(parents=True)
    text = b"From: ann@sales.example\r\nTo: bob@peer.example\r\nMessage-ID: <1@sales.example>\r\n\r\nonce\r\n"
    gateway = start_gateway(sink.port, folder=tmp_path, more=DROP)
    for _ in range(3):  # each time as a crash between the commit and the removal leaves it
        gateway.kill()
        (claims / "0123456789abcdef.a.eml").write_bytes(text)
        gateway.start()
        wait_until(lambda: left(tmp_path / "in") == 0, 60, "the inbox is empty")
        sink.wait_for(1)
        wait_until(lambda: gateway.queued() == 0, 60, "the outcome is committed")
    assert sink.count == 1
