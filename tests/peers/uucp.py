"""Two private UUCP sites, joined by a pipe: Taylor UUCP's own uux, uucico and uuxqt, each site with its own folders.

Debian's programs take another configuration by `-I` and run as the user `uucp`, to whom the sites' folders belong. A
site runs what its folder `bin` has: `rmail`, `rsmtp`, as a test puts them there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.peers.process import AS_ROOT, wait_until
from tests.scratch import SCRATCH

_CONFIG = """\
nodename {name}
spool {folder}/spool
lockdir {folder}/lock
pubdir {folder}/pub
logfile {folder}/Log
statfile {folder}/Stats
debugfile {folder}/Debug
sysfile {folder}/sys
portfile {folder}/port
run-uuxqt never
"""
_SYSTEM = """\
system {other}
time any
chat ""
chat-timeout 10
protocol i
port pipe
commands rmail rsmtp
command-path {folder}/bin
"""
_ENDED = "Call complete"
_PORT = """\
port pipe
type pipe
command /usr/sbin/uucico -I {config}
"""


class Site:
    """One system: `name`, and the folder that all of it lies in."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.config = folder / "config"

    def write(self, other: Site) -> None:
        """Make its folders, and its configuration for calls to the other."""
        for each in ("spool", "lock", "pub", "bin"):
            (self.folder / each).mkdir(parents=True)
        self.config.write_text(_CONFIG.format(name=self.name, folder=self.folder))
        (self.folder / "sys").write_text(_SYSTEM.format(other=other.name, folder=self.folder))
        (self.folder / "port").write_text(_PORT.format(config=other.config))

    def program(self, name: str, text: str) -> Path:
        """Put a program where the site's uuxqt finds it."""
        path = self.folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def run(self, *command: str, stdin: bytes = b"") -> None:
        """Run a program of the site with its configuration. Raises: RuntimeError with what it said."""
        words = [*AS_ROOT, command[0], "-I", str(self.config), *command[1:]]
        ran = subprocess.run(words, input=stdin, capture_output=True, timeout=60, env=environment())
        if ran.returncode:
            said = (ran.stdout + ran.stderr).decode(errors="replace")
            raise RuntimeError(f"{' '.join(command)} ended with {ran.returncode}: {said}{self.said()}")

    def call(self, other: Site) -> None:
        """Exchange with the other what waits on both sides; both have ended the call when this returns."""
        before = other.said().count(_ENDED)
        self.run("uucico", "-s", other.name)
        wait_until(lambda: other.said().count(_ENDED) > before, 60, f"{other.name} has ended the call")

    def execute(self) -> None:
        """Run what has come."""
        self.run("uuxqt")

    def spooled(self, kind: str) -> dict[str, bytes]:
        """Return the files that have come from the other, of one kind: `X.`, `D.`."""
        return {path.name: path.read_bytes() for path in sorted((self.folder / "spool").glob(f"*/{kind}/{kind}*"))}

    def said(self) -> str:
        log = self.folder / "Log"
        return log.read_text(errors="replace") if log.exists() else ""


class Sites:
    """The two systems `gate` and `beta`."""

    def __init__(self) -> None:
        # Not pytest's folder: its mode keeps the user `uucp` out.
        self.folder = Path(tempfile.mkdtemp(prefix="uucp-", dir=SCRATCH))
        self.folder.chmod(0o755)
        self.gate, self.beta = (Site(name, self.folder / name) for name in ("gate", "beta"))
        self.gate.write(self.beta)
        self.beta.write(self.gate)
        self.own()

    def own(self, folder: Path | None = None) -> None:
        """Give the user `uucp` all that a test has put there, or into a folder of it."""
        subprocess.run([*AS_ROOT, "chown", "-R", "uucp:uucp", str(folder or self.folder)], check=True)

    def __enter__(self) -> Sites:
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run([*AS_ROOT, "rm", "-rf", "--one-file-system", str(self.folder)], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def environment() -> dict[str, str]:
    return {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin", "LC_ALL": "C"}
