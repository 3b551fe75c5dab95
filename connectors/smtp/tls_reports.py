"""TLS reports: how many connections to a domain met its TLS policy, told to it once a day (RFC 8460).

Counted while mail is sent, by policy and kind of failure; kept on disk, so that a restart loses at most some minutes of
counts; after the end of a day (UTC) each domain that asks for reports gets one, by mail or HTTPS, and a copy is kept.

Promises: bounded in memory and on disk; nothing here is in the way of mail.
Limits: each worker counts and reports for itself, as hosts of one site may; a report that goes by mail to hosts which
fail their own policy waits as other mail does, where RFC 8460 §5.3 would have it delivered all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Final, Protocol

from connectors.smtp.mx import Absent, LookupFault, Target

_DAY_S: Final = 86400
_MAX_RULINGS: Final = 10_000
_MAX_FAILURES: Final = 100
"""Kinds of failure kept apart for one policy."""
_MAX_TEXT: Final = 200
_MAX_PLACES: Final = 4
_KEPT_DAYS: Final = 14
_SAVE_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Ruling:
    """The policy that a connection was under, as reports name it: `tlsa`, `sts` or `no-policy-found`."""

    domain: str
    kind: str
    lines: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


class TxtResolver(Protocol):
    async def txt(self, name: str) -> Sequence[bytes]: ...


Send = Callable[[str, str, bytes], Awaitable[None]]
"""Send a message: sender, recipient, octets. May raise anything: a report is a courtesy."""
Post = Callable[[str, bytes], Awaitable[None]]
"""Give a gzipped report to an https: address."""

_Failure = tuple[str, str, str, str]
"""(result type, host, its address, reason)"""


class _Tally:
    __slots__ = ("failures", "good")

    def __init__(self) -> None:
        self.good = 0
        self.failures: dict[_Failure, int] = {}


class Reports:
    """Counts of the present day, and what becomes of those of the day before."""

    def __init__(
        self, folder: Path, submitter: str, sender: str, resolver: TxtResolver, clock: Callable[[], float], log: Any,
        *, worker: int = 0,
    ) -> None:  # fmt: skip
        """`submitter` is the gateway's name, `sender` the address that reports come from."""
        self._folder = folder
        self._submitter = submitter
        self.sender = sender
        self.resolver = resolver
        self._clock = clock
        self._log = log
        self._worker = worker
        self._day = int(clock() // _DAY_S)
        self._tallies: dict[Ruling, _Tally] = {}
        self._changed = False

    def count(self, ruling: Ruling, target: Target, result: str = "", reason: str = "") -> None:
        """Count a connection; `result` is empty where it is as the policy asks."""
        if int(self._clock() // _DAY_S) != self._day and not self._tallies:
            self._day = int(self._clock() // _DAY_S)
        tally = self._tallies.get(ruling)
        if tally is None:
            if len(self._tallies) >= _MAX_RULINGS:
                return
            tally = self._tallies[ruling] = _Tally()
        self._changed = True
        if not result:
            tally.good += 1
            return
        failure = (result, target.name, target.address, reason[:_MAX_TEXT])
        if failure not in tally.failures and len(tally.failures) >= _MAX_FAILURES:
            failure = (result, "", "", "")
        tally.failures[failure] = tally.failures.get(failure, 0) + 1

    # --- on disk

    def start(self) -> None:
        """Take up the counts of before. Blocks on the disk. Raises: OSError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            stored = json.loads(self._path.read_bytes())
            tallies: dict[Ruling, _Tally] = {}
            for domain, kind, lines, hosts, good, failures in stored["tallies"]:
                tally = tallies[Ruling(domain, kind, tuple(lines), tuple(hosts))] = _Tally()
                tally.good = int(good)
                tally.failures = {(a, b, c, d): int(n) for a, b, c, d, n in failures}
            self._day, self._tallies = int(stored["day"]), tallies
        except FileNotFoundError:
            return
        except (ValueError, TypeError, KeyError) as fault:
            self._log.warning("tls_counts_unread", error=str(fault), text="counted anew from now")

    def save(self) -> None:
        """Keep the counts. Blocks on the disk. Raises: OSError."""
        if not self._changed and self._path.exists():
            return
        rows = [
            [r.domain, r.kind, r.lines, r.hosts, t.good, [[*f, n] for f, n in t.failures.items()]]
            for r, t in self._tallies.items()
        ]
        self._changed = False
        _replace(self._path, json.dumps({"day": self._day, "tallies": rows}).encode())

    @property
    def _path(self) -> Path:
        return self._folder / f"counts-{self._worker}.json"

    # --- once a day

    async def run(self, send: Send, post: Post) -> None:
        """Save now and then, and report when a day is over; until cancelled."""
        while True:
            try:
                if int(self._clock() // _DAY_S) > self._day:
                    await self.report(send, post)
                await asyncio.to_thread(self.save)
            except OSError as fault:
                self._log.warning("tls_reports_unsaved", error=str(fault))
            await asyncio.sleep(_SAVE_S)

    async def report(self, send: Send, post: Post) -> int:
        """Report what was counted, begin to count anew, and return how many reports went out."""
        day, tallies = self._day, self._tallies
        self._day, self._tallies, self._changed = int(self._clock() // _DAY_S), {}, True
        by_domain: dict[str, list[tuple[Ruling, _Tally]]] = {}
        for ruling, tally in tallies.items():
            by_domain.setdefault(ruling.domain, []).append((ruling, tally))
        sent = 0
        for domain, rows in by_domain.items():
            places = await self._places(domain)
            if not places:
                continue
            made = build(domain, rows, day, self._submitter, self.sender, self._worker)
            packed = gzip.compress(json.dumps(made, indent=1).encode(), mtime=0)
            name = _file_name(domain, self._submitter, day, self._worker)
            with contextlib.suppress(OSError):
                await asyncio.to_thread(_replace, self._folder / name, packed)
            for place in places:
                try:
                    if place.startswith("mailto:"):
                        to = place.removeprefix("mailto:").partition("?")[0]
                        await send(self.sender, to, self._mail(domain, to, str(made["report-id"]), name, packed))
                    else:
                        await post(place, packed)
                    sent += 1
                except Exception as fault:  # noqa: BLE001  the other side's mistakes; the report is kept on disk
                    self._log.warning("tls_report_unsent", domain=domain, to=place, error=str(fault))
        await asyncio.to_thread(self._forget)
        return sent

    async def _places(self, domain: str) -> list[str]:
        try:
            return places(await self.resolver.txt(f"_smtp._tls.{domain}"))
        except (Absent, LookupFault):
            return []

    def _forget(self) -> None:
        end = self._clock() - _KEPT_DAYS * _DAY_S
        for path in self._folder.glob("*.json.gz"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < end:
                    path.unlink()

    def _mail(self, domain: str, to: str, id: str, name: str, packed: bytes) -> bytes:
        """Return the report as a message (RFC 8460 §5.3)."""
        from base64 import encodebytes

        now = datetime.fromtimestamp(self._clock(), UTC)
        mark = f"=_{id.partition('@')[0]}"
        lines = (
            f"From: {self.sender}",
            f"To: {to}",
            f"Date: {format_datetime(now)}",
            f"Message-ID: <{id}>",
            f"Subject: Report Domain: {domain} Submitter: {self._submitter}",
            f" Report-ID: <{id}>",
            f"TLS-Report-Domain: {domain}",
            f"TLS-Report-Submitter: {self._submitter}",
            "Auto-Submitted: auto-generated",
            "MIME-Version: 1.0",
            f'Content-Type: multipart/report; report-type="tlsrpt"; boundary="{mark}"',
            "",
            f"--{mark}",
            "Content-Type: text/plain; charset=us-ascii",
            "",
            f"This is a report on TLS connections from {self._submitter} to the mail hosts of {domain}.",
            "",
            f"--{mark}",
            "Content-Type: application/tlsrpt+gzip",
            "Content-Transfer-Encoding: base64",
            f'Content-Disposition: attachment; filename="{name}"',
            "",
            *encodebytes(packed).decode("ascii").splitlines(),
            f"--{mark}--",
            "",
        )
        return "\r\n".join(lines).encode("ascii", "replace")


def places(records: Sequence[bytes]) -> list[str]:
    """Return where a domain wants its reports: `mailto:` and `https:` addresses of its one record (RFC 8460 §3)."""
    found = [r.decode("ascii", "replace") for r in records if r.replace(b" ", b"").startswith(b"v=TLSRPTv1;")]
    if len(found) != 1:
        return []
    for pair in found[0].split(";"):
        key, _, value = pair.strip().partition("=")
        if key.strip() == "rua":
            named = [each.strip() for each in value.split(",")]
            return [each for each in named if each.startswith(("mailto:", "https://")) and each.isprintable()][
                :_MAX_PLACES
            ]
    return []


def build(
    domain: str, rows: Sequence[tuple[Ruling, Any]], day: int, submitter: str, contact: str, worker: int = 0
) -> dict[str, Any]:
    """Return the report on a day (in days since 1970) as RFC 8460 §4.4 has it."""
    policies = []
    for ruling, tally in rows:
        policy: dict[str, Any] = {"policy-type": ruling.kind, "policy-domain": domain}
        if ruling.lines:
            policy["policy-string"] = list(ruling.lines)
        if ruling.hosts and ruling.kind == "sts":
            policy["mx-host"] = list(ruling.hosts)
        details = []
        for (result, host, address, reason), count in tally.failures.items():
            detail: dict[str, Any] = {"result-type": result, "failed-session-count": count}
            if host:
                detail |= {"receiving-mx-hostname": host, "receiving-ip": address}
            if reason:
                detail["failure-reason-code"] = reason
            details.append(detail)
        policies.append(
            {
                "policy": policy,
                "summary": {
                    "total-successful-session-count": tally.good,
                    "total-failure-session-count": sum(tally.failures.values()),
                },
                "failure-details": details,
            }
        )
    start = datetime.fromtimestamp(day * _DAY_S, UTC)
    return {
        "organization-name": submitter,
        "date-range": {
            "start-datetime": start.strftime("%Y-%m-%dT00:00:00Z"),
            "end-datetime": start.strftime("%Y-%m-%dT23:59:59Z"),
        },
        "contact-info": contact,
        "report-id": f"{start:%Y%m%d}.{worker}.{domain}@{submitter}",
        "policies": policies,
    }


def _file_name(domain: str, submitter: str, day: int, worker: int) -> str:
    """RFC 8460 §5.1; a domain that DNS has asked about holds no separator."""
    safe = "".join(c if c.isalnum() or c in ".-" else "_" for c in domain)
    return f"{submitter}!{safe}!{day * _DAY_S}!{(day + 1) * _DAY_S - 1}!{worker}.json.gz"


def _replace(path: Path, octets: bytes) -> None:
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
