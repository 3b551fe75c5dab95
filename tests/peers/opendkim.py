"""A private OpenDKIM as Postfix's milter: what administrators run where the server itself does not sign or verify."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from types import TracebackType

from tests.peers.process import cpu_s, free_port, wait_until

PROGRAM = shutil.which("opendkim", path="/usr/sbin:/usr/bin")
_LINE = re.compile(r"opendkim: (\S+): verification \(.*\) (succeeded|failed)")


class OpenDkim:
    """Signs for `domain` by the private key in `pem`, or, where the key's `record` is given, verifies by that; listens
    on a loopback port."""

    def __init__(self, folder: Path, domain: str, selector: str, pem: bytes, *, record: str = "") -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        if record:
            keys = folder / "opendkim.keys"
            keys.write_text(f"{selector}._domainkey.{domain} {record}\n")
            mode = f"Mode v\nTestDNSData file:{keys}\nAuthservID verifier.example\nInternalHosts 192.0.2.1\n"
        else:
            key = folder / "opendkim.pem"
            key.write_bytes(pem)
            key.chmod(0o600)
            mode = (
                f"Mode s\nDomain {domain}\nSelector {selector}\nKeyFile {key}\nCanonicalization relaxed/relaxed\n"
                "OversignHeaders From\nSignatureAlgorithm rsa-sha256\nInternalHosts 127.0.0.1\n"
            )
        (folder / "opendkim.conf").write_text(
            f"{mode}Socket inet:{self.port}@127.0.0.1\nBackground no\nSyslog no\nRequireSafeKeys no\n"
        )

    @property
    def settings(self) -> dict[str, str]:
        """Return what Postfix's main.cf needs to ask it."""
        return {"smtpd_milters": f"inet:127.0.0.1:{self.port}", "milter_default_action": "tempfail"}

    def cpu_s(self) -> float:
        assert self._process is not None
        return cpu_s(self._process.pid)

    def __enter__(self) -> OpenDkim:
        assert PROGRAM is not None, "opendkim is missing: see tests/bootstrap.sh"
        self._process = subprocess.Popen([PROGRAM, "-f", "-x", str(self.folder / "opendkim.conf")])
        wait_until(self._listens, 60, "OpenDKIM listens")
        return self

    def _listens(self) -> bool:
        # A connection of ours would be one of the filter's sessions.
        assert self._process is not None
        assert self._process.poll() is None, "OpenDKIM ended at once"
        wanted = f":{self.port:04X} "
        return any(wanted in line and " 0A " in line for line in Path("/proc/net/tcp").read_text().splitlines())

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(20)


def verdicts(folder: Path, messages: dict[str, bytes], records: dict[str, str]) -> dict[str, bool]:
    """Have OpenDKIM verify messages by key records of a test's own; return whether each one's signatures hold."""
    assert PROGRAM is not None, "opendkim is missing: see tests/bootstrap.sh"
    for name, octets in messages.items():
        (folder / name).write_bytes(octets)
    (folder / "keys").write_text("".join(f"{name} {record}\n" for name, record in records.items()))
    (folder / "verify.conf").write_text(
        f"Mode v\nTestDNSData file:{folder / 'keys'}\nAuthservID verifier.example\nBackground no\nSyslog no\n"
    )
    command = [PROGRAM, "-t", ",".join(messages), "-x", "verify.conf", "-v"]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    return {found[1]: found[2] == "succeeded" for found in _LINE.finditer(said.stdout + said.stderr)}
