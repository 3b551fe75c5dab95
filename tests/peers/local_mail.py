"""Mailboxes of this machine: a gateway that delivers into them, and the Dovecot that `gatepost local dovecot` sets up.

Both run as an unprivileged user where the tests run as root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.peers.dovecot import PASSWORD, program
from tests.peers.gateway import Gateway
from tests.peers.process import Process, answers, free_port, wait_until
from tests.scratch import SCRATCH

USER, GROUP = "nobody", "nogroup"


@dataclass(frozen=True)
class Served:
    """Where Dovecot serves them."""

    imap: int
    pop: int


@contextmanager
def mail_folder(prefix: str) -> Iterator[Path]:
    """Give a folder, with `mail` in it, that servers of other users can pass; it is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=SCRATCH))
    try:
        folder.chmod(0o755)  # Dovecot's log-in processes, users of their own, find their sockets below it
        (folder / "mail").mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def local_gateway(folder: Path, next_hop: int, *, gateway: str = "", more: str = "") -> Iterator[Gateway]:
    """Run a gateway on a folder, everything in which becomes the unprivileged user's."""
    wrapper: list[str] = []
    if os.geteuid() == 0:
        wrapper = ["setpriv", f"--reuid={USER}", f"--regid={GROUP}", "--clear-groups"]
    made = Gateway(folder, next_hop, gateway=gateway, more=more, wrapper=wrapper)
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, USER, GROUP)
    with ExitStack() as stack:
        stack.callback(lambda: print(f"--- log\n{made.said()[-6000:]}"))
        yield stack.enter_context(made)


@contextmanager
def served(folder: Path, connector: str, people: Iterable[str]) -> Iterator[Served]:
    """Serve the mailboxes of a configured connector to these addresses, by IMAP and POP, with PASSWORD."""
    imap, pop = free_port(), free_port()
    (folder / "passwords").write_text("".join(f"{who}:{{PLAIN}}{PASSWORD}\n" for who in people))
    command = [str(Path(sys.executable).parent / "gatepost"), "local", "dovecot", connector]
    command += ["-c", str(folder / "gatepost.toml"), "--passwords", str(folder / "passwords")]
    command += ["-o", str(folder / "dovecot.conf"), "--imap", str(imap), "--pop", str(pop)]
    subprocess.run([*command, "--run-dir", str(folder / "run")], check=True, timeout=60)
    server = Process([program("dovecot"), "-c", str(folder / "dovecot.conf"), "-F"], folder / "dovecot.out")
    try:
        wait_until(lambda: answers(imap) and answers(pop), 30, "Dovecot answers")
        yield Served(imap, pop)
    finally:
        server.kill()
        print(f"--- Dovecot\n{server.said()[-4000:]}")
