"""A private Mosquitto: configuration and persistence in a folder of its own, on free loopback ports, gone afterwards.

It has a listener without TLS, and one with, whose certificate is for `localhost` by an authority made for it; that one
can ask its clients for certificates. Passwords and access lists are as the caller says.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.peers.certificates import authority
from tests.peers.process import Process, answers, free_port, wait_until
from tests.scratch import SCRATCH

_PATH: Final = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"


def program(name: str) -> str:
    """Return where a program of Mosquitto's is. Raises: RuntimeError that says how to get it."""
    found = shutil.which(name, path=_PATH)
    if found is None:
        raise RuntimeError(f"there is no {name} here (Debian: apt-get install mosquitto mosquitto-clients)")
    return found


class Mosquitto:
    """A broker; `with` starts it, and so does `start`.

    `tls`: a second listener on `tls_port`, by certificates in `folder`: ca.pem, client.pem, client.key;
    `client_certificates`: it takes only who has one. `passwords`: users, and nobody without; `acl`: the lines of its
    access list. `settings`: more lines of its configuration; `quiet`: no line of log a packet. Persistence is on:
    `stop` saves, `kill` does not, but for what was saved before.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        tls: bool = False,
        client_certificates: bool = False,
        passwords: Mapping[str, str] | None = None,
        acl: Sequence[str] = (),
        settings: str = "",
        quiet: bool = False,
        port: int | None = None,
    ) -> None:
        self._is_ours = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="gatepost-mosquitto-", dir=SCRATCH))
        self.folder.mkdir(exist_ok=True)
        self.port = port or free_port()
        self.tls_port = free_port() if tls else 0
        self._process: Process | None = None
        lines = [
            "per_listener_settings false",
            "persistence true",
            f"persistence_location {self.folder}/",
            # It gives up root for this user, who then has to write into the folder.
            f"user {'root' if os.geteuid() == 0 else 'mosquitto'}",
            "log_dest stderr",
            # A line for each packet: what tests look at, and what a measurement is better without.
            *(["log_type error", "log_type notice"] if quiet else ["log_type all"]),
            f"allow_anonymous {'false' if passwords else 'true'}",
            *(["password_file " + str(self._passwords(passwords))] if passwords else []),
            *(["acl_file " + str(self._write("acl", acl))] if acl else []),
            settings,
            f"listener {self.port} 127.0.0.1",
        ]
        if tls:
            lines += self._tls_listener(client_certificates)
        self._write("mosquitto.conf", lines)

    @property
    def pid(self) -> int:
        assert self._process is not None, "it is not running"
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.is_alive

    def said(self) -> str:
        """Return all it has logged."""
        log = self.folder / "log"
        return log.read_text(errors="replace") if log.exists() else ""

    def start(self) -> Mosquitto:
        """Start it and wait until it answers."""
        process = self._process = Process(
            [program("mosquitto"), "-c", self.folder / "mosquitto.conf"], self.folder / "log"
        )
        ports = [port for port in (self.port, self.tls_port) if port]
        wait_until(lambda: all(map(answers, ports)) or not process.is_alive, 60, "mosquitto answers")
        if not process.is_alive:
            raise RuntimeError(f"mosquitto does not start: {process.said()[-2000:]}")
        return self

    def stop(self) -> None:
        """End it in order (SIGTERM): it saves what it holds."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL)."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    def save(self) -> None:
        """Have it write what it holds to the disk now (SIGUSR1), and wait for that."""
        database = self.folder / "mosquitto.db"
        before = database.stat().st_mtime_ns if database.exists() else 0
        os.kill(self.pid, signal.SIGUSR1)
        wait_until(lambda: database.exists() and database.stat().st_mtime_ns != before, 60, "mosquitto has saved")

    def freeze(self) -> None:
        """Have it do nothing, its connections open (SIGSTOP)."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def __enter__(self) -> Mosquitto:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.is_alive:
            self.thaw()
        self.stop()
        if self._is_ours:
            shutil.rmtree(self.folder, ignore_errors=True)

    def publish(self, topic: str, payload: str, *, qos: int = 1, more: Sequence[str] = ()) -> None:
        """Publish one message by mosquitto_pub, and wait until it has been taken."""
        command = [program("mosquitto_pub"), "-p", str(self.port), "-t", topic, "-m", payload, "-q", str(qos), *more]
        subprocess.run(command, check=True, timeout=20)

    def publish_lines(self, topic: str, count: int, *, qos: int = 1, size: int = 100) -> subprocess.Popen[bytes]:
        """Publish `count` numbered lines of `size` octets by one mosquitto_pub, as fast as it goes."""
        lines = self.folder / f"lines-{count}-{size}"
        lines.write_text("".join(f"{n} ".ljust(size, "x") + "\n" for n in range(count)))
        command = [program("mosquitto_pub"), "-p", str(self.port), "-t", topic, "-q", str(qos), "-l"]
        with lines.open("rb") as text:
            return subprocess.Popen(command, stdin=text)

    def subscriber(self, topic_filter: str, out: Path, *, qos: int = 1, more: Sequence[str] = ()) -> Process:
        """Start a mosquitto_sub that writes what comes into a file: topic, blank, payload, a line a message.

        Assumes: not `quiet`.
        """
        had = self.said().count("Received SUBSCRIBE from")
        subscriber = Process(
            [program("mosquitto_sub"), "-p", str(self.port), "-t", topic_filter, "-q", str(qos), "-v", *more], out
        )
        wait_until(lambda: self.said().count("Received SUBSCRIBE from") > had, 60, "mosquitto_sub has subscribed")
        return subscriber

    def _tls_listener(self, client_certificates: bool) -> list[str]:
        made = authority()
        for name, (certificate, key) in {"server": made.issue("localhost"), "client": made.issue("a-client")}.items():
            (self.folder / f"{name}.pem").write_bytes(certificate)
            (self.folder / f"{name}.key").write_bytes(key)
        (self.folder / "ca.pem").write_bytes(made.certificate)
        return [
            f"listener {self.tls_port} 127.0.0.1",
            f"cafile {self.folder}/ca.pem",
            f"certfile {self.folder}/server.pem",
            f"keyfile {self.folder}/server.key",
            f"require_certificate {'true' if client_certificates else 'false'}",
        ]

    def _passwords(self, users: Mapping[str, str]) -> Path:
        path = self._write("passwords", [f"{name}:{password}" for name, password in users.items()])
        path.chmod(0o600)
        subprocess.run([program("mosquitto_passwd"), "-U", path], check=True, timeout=20)
        return path

    def _write(self, name: str, lines: Sequence[str]) -> Path:
        path = self.folder / name
        path.write_text("\n".join(lines) + "\n")
        return path
