"""One pass between the mailboxes of two IMAP servers, in a process of its own that can be measured and killed.

`python -m tests.peers.sync_pass '{"left": 1143, "right": 2143, "user": "anna", "folder": "/tmp/x"}'` prints what it did
as a line of JSON, with the seconds from opened stores to the end, and with `passes` as many of them as it made.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvloop

from tests.peers.dovecot import PASSWORD
from tests.peers.process import vm_hwm_bytes


def command(left: int, right: int, user: str, folder: Path, **more: Any) -> list[str]:
    """Return the command line of a pass. `more`: `policy`, a table of it; `connector`, options of both stores;
    `right_user`, where it is another; `passes`, how many in one process."""
    asked = {"left": left, "right": right, "user": user, "folder": str(folder), **more}
    return [sys.executable, "-m", "tests.peers.sync_pass", json.dumps(asked)]


def run(left: int, right: int, user: str, folder: Path, *, timeout_s: float = 1800.0, **more: Any) -> dict[str, Any]:
    """Run passes and return what they did: the counts of a report, `seconds` of each, `whole_s` with the
    interpreter's start, `memory` in octets. Raises: RuntimeError with what it said where it failed."""
    started = time.perf_counter()
    ran = subprocess.run(command(left, right, user, folder, **more), capture_output=True, text=True, timeout=timeout_s)
    whole_s = time.perf_counter() - started
    if ran.returncode:
        raise RuntimeError(f"a pass ended with {ran.returncode}: {ran.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(ran.stdout)
    return found | {"whole_s": whole_s}


async def _passes(asked: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    from connectors.imap import Imap
    from gateway.contract import Context
    from gateway.sync.engine import run_pass
    from gateway.sync.opening import opened
    from gateway.sync.state import State
    from gateway.sync.values import Policy

    context = Context(
        hostname="gw.peer.example",
        state_dir=folder,
        base_dir=folder,
        log=logging.getLogger("sync"),
        clock=time.time,
        stop_s=5.0,
        count=lambda *_: None,
    )
    stores = []
    for side in ("left", "right"):
        options = {"host": "127.0.0.1", "port": asked[side], "tls": "none", "password": PASSWORD}
        config = Imap.Config.model_validate(options | asked.get("connector", {}))
        stores.append(Imap(side, config, context))  # type: ignore[arg-type]  # it is Imap's own
        await stores[-1].start()
    state, policy = State(folder / "sync.sqlite"), Policy(**asked.get("policy", {}))
    seconds: list[float] = []
    try:
        for _ in range(asked.get("passes", 1)):
            started = time.perf_counter()
            right_user = asked.get("right_user", asked["user"])
            async with opened(stores[0].open(asked["user"]), stores[1].open(right_user)) as (left, right):
                result = await run_pass(asked["user"], left, right, state, policy)
            seconds.append(time.perf_counter() - started)
    finally:
        state.close()
        for store in stores:
            await store.stop()
    told = {"refused": result.refused is not None, "conflicts": result.conflicts, "left_out": result.left_out}
    return asdict(result.report) | told | {"seconds": seconds, "memory": vm_hwm_bytes(os.getpid())}


def _main(text: str) -> None:
    asked = json.loads(text)
    folder = Path(asked["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    print(json.dumps(uvloop.run(_passes(asked, folder))))


if __name__ == "__main__":
    _main(sys.argv[1])
