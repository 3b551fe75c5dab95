"""`python -m tests.peers.ews --port N --control N`: the peer as a process, until it is asked to end."""

from __future__ import annotations

import argparse
import os
import signal
import threading
from pathlib import Path

from tests.peers.ews.auth import Door
from tests.peers.ews.control import Control
from tests.peers.ews.http import Server
from tests.peers.ews.server import Ews
from tests.peers.ews.store import Store
from tests.peers.graph.tls import server_context


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.peers.ews", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="the port of EWS on loopback")
    parser.add_argument("--control", type=int, required=True, help="the port for tests")
    parser.add_argument("--tls-port", type=int, required=True, help="the port of EWS with TLS")
    parser.add_argument("--folder", type=Path, required=True, help="where the store and the certificates are kept")
    parser.add_argument("--lean", action="store_true", help="neither validate nor log")
    said = parser.parse_args()
    folder = said.folder
    context, _ = server_context(folder)
    store = Store(folder / "store.sqlite")
    ews = Ews(store, Door(store, folder), lean=said.lean)
    if not ews.validator.is_on:
        print("GATEPOST_EWS_SCHEMA is not set: no request and no answer is validated", flush=True)
    server = Server(said.port, ews.serve)
    secure = Server(said.tls_port, ews.serve, context)
    control = Control(ews, server, secure)
    Server(said.control, control.serve)
    ended = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: ended.set())
    print(f"the EWS peer listens on {server.port}", flush=True)
    # A run of the tests that is killed takes it along: nobody else would end it.
    parent = os.getppid()
    while not ended.wait(1.0) and os.getppid() == parent:
        pass


if __name__ == "__main__":
    main()
