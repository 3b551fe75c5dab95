"""`python -m tests.peers.ews --port N --control N`: the peer as a process, until it is asked to end."""

from __future__ import annotations

import argparse
import signal
import threading

from tests.peers.ews.control import Control
from tests.peers.ews.http import Server
from tests.peers.ews.server import Ews
from tests.peers.ews.store import Store


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.peers.ews", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="the port of EWS on loopback")
    parser.add_argument("--control", type=int, required=True, help="the port for tests")
    parser.add_argument("--database", default=":memory:", help="where the store is kept")
    parser.add_argument("--lean", action="store_true", help="neither validate nor log")
    said = parser.parse_args()
    ews = Ews(Store(said.database), lean=said.lean)
    if not ews.validator.is_on:
        print("GATEPOST_EWS_SCHEMA is not set: no request and no answer is validated", flush=True)
    server = Server(said.port, ews.serve)
    control = Control(ews, server)
    Server(said.control, control.serve)
    ended = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: ended.set())
    print(f"the EWS peer listens on {server.port}", flush=True)
    ended.wait()


if __name__ == "__main__":
    main()
