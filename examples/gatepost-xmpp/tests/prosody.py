"""Prosody, as Debian has it: a private instance on loopback ports, with its own data, as an unprivileged user."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

HOST = "chat.example"
COMPONENT = "mail.chat.example"
SECRET = "the component's secret"
PASSWORD = "pencil"

_CONFIG = """\
daemonize = false
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
certificates = "{folder}"
interfaces = {{ "127.0.0.1" }}
local_interfaces = {{ "127.0.0.1" }}
component_interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {c2s} }}
component_ports = {{ {component} }}
modules_enabled = {{ "saslauth", "disco", "ping", "posix" }}
modules_disabled = {{ "s2s" }}
authentication = "internal_plain"
storage = "internal"
allow_unencrypted_plain_auth = true
c2s_require_encryption = false
c2s_stanza_size_limit = 16777216
component_stanza_size_limit = 16777216
component_conflict_resolve = "kick_old"
log = {{ info = "{folder}/prosody.log" }}
VirtualHost "{host}"
Component "{name}"
  component_secret = "{secret}"
"""


def free_port() -> int:
    """Return a port that nobody listens at, none of those that the system gives to who connects."""
    while True:
        port = random.randint(10_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class Prosody:
    """One instance; use it as a context. `c2s` is the port of clients, `port` that of components."""

    def __init__(self) -> None:
        self.c2s, self.port = free_port(), free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="prosody-", dir="/tmp"))
        self.config = self.folder / "prosody.cfg.lua"
        self._process: subprocess.Popen[bytes] | None = None
        self._said = 0
        self._accounts = self.folder / "data" / quote(HOST, safe="").replace(".", "%2e") / "accounts"
        self._accounts.mkdir(parents=True)
        self.config.write_text(
            _CONFIG.format(
                folder=self.folder, c2s=self.c2s, component=self.port, host=HOST, name=COMPONENT, secret=SECRET
            )
        )
        self._owner: pwd.struct_passwd | None = pwd.getpwnam("nobody") if os.geteuid() == 0 else None

    def start(self) -> None:
        """Start, and wait until it listens. Raises: RuntimeError with its log."""
        log = self.folder / "prosody.log"
        self._said = len(log.read_text()) if log.exists() else 0
        more = {}
        if self._owner is not None:
            for each in (self.folder, *self.folder.rglob("*")):
                os.chown(each, self._owner.pw_uid, self._owner.pw_gid)
            more = {"user": self._owner.pw_uid, "group": self._owner.pw_gid, "extra_groups": []}
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(  # type: ignore[call-overload]  # the keys are checked above
                ["prosody", "-F", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                **more,
            )
        end = time.monotonic() + 60
        while not (self._listens(self.port) and self._listens(self.c2s)):
            if time.monotonic() > end or self._process.poll() is not None:
                raise RuntimeError(f"prosody did not start\n{self.said()}")
            time.sleep(0.05)

    def _listens(self, port: int) -> bool:
        """Tell whether it is this very server that has a port, by its own word."""
        log = self.folder / "prosody.log"
        said = log.read_text() if log.exists() else ""
        return f"on [127.0.0.1]:{port}" in said[self._said :] and _answers(port)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
            self._process = None

    def user(self, name: str) -> str:
        """Make a user who has PASSWORD; return their JID."""
        path = self._accounts / f"{_encoded(name)}.dat"
        path.write_text(f'return {{\n["password"] = "{PASSWORD}";\n}};\n')
        if self._owner is not None:
            os.chown(path, self._owner.pw_uid, self._owner.pw_gid)
        return f"{name}@{HOST}"

    def offline(self, name: str) -> int:
        """Return how many messages wait for a user who is not there."""
        path = self._accounts.parent / "offline" / f"{_encoded(name)}.list"
        return path.read_text().count("item(") if path.exists() else 0

    def said(self) -> str:
        paths = (self.folder / "prosody.log", self.folder / "output")
        return "\n".join(path.read_text()[-4000:] for path in paths if path.exists())

    def __enter__(self) -> Prosody:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _encoded(name: str) -> str:
    """Return the name of a user's file: everything but letters and digits as %xx."""
    return "".join(c if c.isascii() and c.isalnum() else "".join(f"%{o:02x}" for o in c.encode()) for c in name)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
