"""Debian packages in a root folder of their own, for servers that exclude each other or know one configuration only.

Made by mmdebstrap from the packages of the running Debian, which takes half a minute; kept under /var/tmp for later
runs, by the packages' versions. Several processes may ask for the same one. Instances share it, each with a folder of
its own below `srv`. Programs see the machine's network and nothing of its files.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from tests.peers.process import AS_ROOT

CACHE: Final = Path("/var/tmp/gatepost-chroots")
BUILD_S: Final = 600


class Chroot:
    """One root folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def command(self, args: Sequence[str]) -> list[str]:
        """Return the command that runs another in it, as its root."""
        return [*AS_ROOT, "chroot", str(self.path), *args]

    def run(
        self,
        args: Sequence[str],
        *,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        timeout_s: float = 60,
        check: bool = True,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command in it as its root. Raises: RuntimeError with what it said, where it fails and `check`."""
        inner = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", **(env or {})}
        words = ["env", "-i", *(f"{key}={value}" for key, value in inner.items()), *args]
        ran = subprocess.run(self.command(words), input=stdin, capture_output=True, timeout=timeout_s)
        if check and ran.returncode:
            said = (ran.stdout + ran.stderr).decode(errors="replace")
            raise RuntimeError(f"{' '.join(args)} ended with {ran.returncode}: {said[-2000:]}")
        return ran

    def inside(self, path: Path) -> str:
        """Return the name that a file below it has for programs in it."""
        return f"/{path.relative_to(self.path)}"


@cache
def chroot(*packages: str) -> Chroot:
    """Return a root folder with these packages, made where there is none of their versions.

    Raises: RuntimeError that names what is missing.
    """
    if shutil.which("mmdebstrap") is None:
        raise RuntimeError("mmdebstrap is missing; mend: bash tests/bootstrap.sh")
    if AS_ROOT and subprocess.run([*AS_ROOT, "true"], capture_output=True).returncode:
        raise RuntimeError("a root folder needs root, or a sudo without password")
    suite = _suite()
    versions = _versions(packages)
    digest = hashlib.sha256(repr((suite, versions)).encode()).hexdigest()[:12]
    path = CACHE / f"{'+'.join(sorted(packages))}-{digest}"
    if not path.is_dir():
        _build(path, suite, packages)
    return Chroot(path)


def _build(path: Path, suite: str, packages: Sequence[str]) -> None:
    # Every folder above it is passable for all: servers give up root and open their files as other users.
    subprocess.run([*AS_ROOT, "mkdir", "-p", "-m", "755", str(CACHE)], check=True)
    lock = Path("/var/tmp") / f"gatepost-chroots-{os.getuid()}.lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if path.is_dir():
            return
        half = path.with_name(f"{path.name}.half")
        subprocess.run([*AS_ROOT, "rm", "-rf", "--one-file-system", str(half)], check=True)
        names = ",".join(packages)
        command = [*AS_ROOT, "mmdebstrap", "--quiet", "--variant=minbase", "--mode=root", f"--include={names}"]
        ran = subprocess.run(
            [*command, suite, str(half)], capture_output=True, text=True, timeout=BUILD_S, stdin=subprocess.DEVNULL
        )
        if ran.returncode:
            subprocess.run([*AS_ROOT, "rm", "-rf", "--one-file-system", str(half)], check=False)
            raise RuntimeError(f"mmdebstrap made no root folder with {names}: {ran.stderr[-2000:]}")
        subprocess.run([*AS_ROOT, "chmod", "755", str(half)], check=True)
        subprocess.run([*AS_ROOT, "mv", "-T", str(half), str(path)], check=True)


def _suite() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        key, _, value = line.partition("=")
        if key == "VERSION_CODENAME":
            return value.strip('"')
    raise RuntimeError("/etc/os-release names no VERSION_CODENAME: this is no Debian")


def _versions(packages: Sequence[str]) -> list[tuple[str, str]]:
    """Return the version of each package that would be installed now. Raises: RuntimeError where there is none."""
    # One call for all: it reads the lists of all packages there are, which takes a second of the processor.
    ran = subprocess.run(["apt-cache", "policy", *packages], capture_output=True, text=True, check=True)
    versions: dict[str, str] = {}
    name = ""
    for line in ran.stdout.splitlines():
        if not line.startswith(" "):
            name = line.removesuffix(":")
        elif line.strip().startswith("Candidate:"):
            versions[name] = line.split()[1]
    for each in packages:
        if versions.get(each, "(none)") == "(none)":
            raise RuntimeError(f"no package {each} is known here; mend: apt-get update")
    return [(each, versions[each]) for each in sorted(packages)]
