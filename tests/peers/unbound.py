"""A private Unbound that validates: a signed zone of the test's own, with its key as the trust anchor."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType

import dns.dnssec
import dns.name
import dns.rdatatype
import dns.rrset
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec

from tests.peers.process import free_port, wait_until

PROGRAM = shutil.which("unbound", path="/usr/sbin:/usr/bin")


class Unbound:
    """Answers for `zones`: name of a zone -> its records as zone-file lines. All but those in `unsigned` are signed;
    those in `forged` are signed, and changed afterwards, so that nothing of them can be proved."""

    def __init__(
        self,
        folder: Path,
        zones: dict[str, str],
        *,
        unsigned: tuple[str, ...] = (),
        forged: dict[str, tuple[str, str]] | None = None,
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self._zones = zones
        self._unsigned = unsigned
        self._forged = forged or {}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Unbound:
        assert PROGRAM is not None, "unbound is missing: see tests/bootstrap.sh"
        anchors, parts = [], []
        for name, lines in self._zones.items():
            path = self.folder / f"{name}.zone"
            text, anchor = self._signed(name, lines)
            if name in self._forged:
                text = text.replace(*self._forged[name])
            path.write_text(text)
            anchors.append(anchor)
            parts.append(
                f'auth-zone:\n name: "{name}."\n zonefile: "{path}"\n for-downstream: no\n for-upstream: yes\n'
                " fallback-enabled: no\n"
            )
        trusted = "".join(f' trust-anchor: "{each}"\n' for each in anchors if each)
        settings = self.folder / "unbound.conf"
        settings.write_text(
            f'server:\n interface: 127.0.0.1\n port: {self.port}\n chroot: ""\n username: ""\n'
            f' directory: "{self.folder}"\n'
            f' pidfile: ""\n use-syslog: no\n logfile: "{self.folder}/log"\n do-ip6: no\n do-not-query-localhost: no\n'
            f' module-config: "validator iterator"\n num-threads: 1\n local-zone: "test." nodefault\n'
            f' root-hints: ""\n{trusted}'
            "remote-control:\n control-enable: no\n" + "".join(parts)
        )
        self._process = subprocess.Popen([PROGRAM, "-d", "-c", str(settings)])
        wait_until(self._answers, 60, "unbound answers")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)

    def _answers(self) -> bool:
        import dns.exception
        import dns.message
        import dns.query

        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        question = dns.message.make_query(next(iter(self._zones)), "SOA")
        try:
            return bool(dns.query.udp(question, "127.0.0.1", timeout=1, port=self.port).answer)
        except (dns.exception.DNSException, OSError):
            return False

    def _signed(self, name: str, lines: str) -> tuple[str, str]:
        """Return the zone's text, signed unless it is to be unsigned, and the anchor that proves it."""
        head = f"@ 300 IN SOA ns.{name}. root.{name}. 1 3600 600 86400 300\n"
        head += f"@ 300 IN NS ns.{name}.\nns 300 IN A 127.0.0.1\n"
        zone = dns.zone.from_text(head + lines, origin=f"{name}.", relativize=False)
        if name in self._unsigned:
            return str(zone.to_text(relativize=False)), ""
        key = ec.generate_private_key(ec.SECP256R1())
        algorithm = dns.dnssec.Algorithm.ECDSAP256SHA256
        public = dns.dnssec.make_dnskey(key.public_key(), algorithm, flags=257)
        now = int(time.time())
        with zone.writer() as writer:
            dns.dnssec.sign_zone(
                zone, writer, keys=[(key, public)], add_dnskey=True, dnskey_ttl=300, inception=now - 3600,
                expiration=now + 86400,
            )  # fmt: skip
        return str(zone.to_text(relativize=False)), f"{name}. 300 IN DNSKEY {public.to_text()}"
