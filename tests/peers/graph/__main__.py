"""`python -m tests.peers.graph --port N --control N --folder F`: the peer until it is killed.

Without a folder all is kept in memory, and clients reach it without TLS. `--try DOMAIN` makes an organisation with two
mailboxes and prints how to reach it.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
import time
from pathlib import Path

from tests.peers.graph import tls
from tests.peers.graph.control import Control
from tests.peers.graph.server import Peer
from tests.peers.graph.service import Service


def end_with(parent: int) -> None:
    """End this process when the tests that started it are gone, killed ones too."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)


def main() -> None:
    """Run the peer."""
    parser = argparse.ArgumentParser(prog="python -m tests.peers.graph", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--control", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--try", dest="domain")
    given = parser.parse_args()
    context = tls.server_context(given.folder)[0] if given.folder else None
    service = Service(given.folder)
    peer = Peer(service, given.port, given.control, context)
    if given.control:
        threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    if given.domain:
        made = Control(service, peer.refuse).do_organisation(["ann", "bob"], given.domain, True)
        print(json.dumps({"url": f"http{'s' if context else ''}://127.0.0.1:{given.port}/v1.0", **made}), flush=True)
    peer.run()


main()
