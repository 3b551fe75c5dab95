"""The source of gatepost-sendmail keeps the connector contract."""

from __future__ import annotations

import os
import re
import threading

from gateway.sendmail import handover
from gateway.sendmail.source import Sendmail
from gateway.sendmail.way import Unreachable, ask, drop
from gateway.testing import Bench, SourceDriver, SourceSuite, fixture_of


class SendmailDriver(SourceDriver):
    """Hands messages over as the command does: by the socket, or else into the drop folder."""

    in_flight_bound = 65
    flood = 100

    def __init__(self, bench: Bench) -> None:
        self._folder = bench.tmp / "local"
        self._lock = threading.Lock()
        self._told: set[int] = set()
        self._refused: set[int] = set()
        self._dropped: dict[int, str] = {}

    def submit(self, number: int, octets: bytes) -> None:
        threading.Thread(target=self._hand_over, args=(number, octets), daemon=True).start()

    def _hand_over(self, number: int, octets: bytes) -> None:
        id = os.urandom(16).hex()
        pieces = [handover.write([("do", "mail"), ("id", id), ("to", "bob@peer.example")]), octets]
        try:
            status, _ = ask(str(self._folder), pieces)
        except Unreachable:
            status = 75
        with self._lock:
            if status == 0:
                self._told.add(number)
            elif status != 75:
                self._refused.add(number)
            else:
                (self._folder / "drop").mkdir(parents=True, exist_ok=True)
                drop(str(self._folder), id, pieces)
                self._dropped[number] = f"{id}.msg"

    def acknowledged(self) -> set[int]:
        with self._lock:
            # In the order of a file's way, so that none is missed.
            left = {n for n, name in self._dropped.items() if self._lies(name, "drop") or self._lies(name, "claimed")}
            return self._told | (self._dropped.keys() - left - self._set_aside())

    def refused(self) -> set[int]:
        with self._lock:
            return self._refused | self._set_aside()

    def _set_aside(self) -> set[int]:
        return {n for n, name in self._dropped.items() if self._lies(name, "bad")}

    def _lies(self, name: str, where: str) -> bool:
        return (self._folder / where / name).exists()

    def body_carried(self, body: bytes) -> bytes:
        """Lines end in LF in what programs write, and in CRLF in a message."""
        return re.sub(rb"(?<!\r)\n", b"\r\n", body)


class TestSendmail(SourceSuite):
    connector = fixture_of(Sendmail, config={"folder": "{tmp}/local"}, driver=SendmailDriver)
