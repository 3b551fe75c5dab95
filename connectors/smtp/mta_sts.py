"""MTA-STS: which hosts a domain says its mail goes to, always by verified TLS; got by HTTPS and kept on disk.

Promises: a policy is kept until its own end, whatever becomes of DNS or its server meanwhile, and over restarts; it is
got again when half of its time is over, so that there is no gap behind it; one that cannot be had, or is ill-formed,
never takes the place of one that is kept (RFC 8461 §5.1, §10.2); what comes from outside is bounded in size and time.
Source: RFC 8461.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import tempfile
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal, Protocol, cast

from connectors.smtp.dane import covers
from connectors.smtp.mx import Absent, LookupFault

MAX_POLICY: Final = 64 * 1024
_MAX_AGE: Final = 31_557_600
_MAX_HOSTS: Final = 100
_MAX_KEPT: Final = 10_000
_RECHECK_S: Final = 3600.0
"""How long a domain's record in DNS is not asked for again, whether there was one or not."""
_RETRY_S: Final = 300.0
"""RFC 8461 §3.3: a fetch that failed is not tried again before five minutes are over."""

_RECORD_ID: Final = re.compile(r"[A-Za-z0-9]{1,32}")
_HOST: Final = re.compile(r"(\*\.)?[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")

Mode = Literal["enforce", "testing", "none"]


class PolicyError(ValueError):
    """A policy that cannot be had or read. `result` is a result type of RFC 8460 §4.3.2."""

    def __init__(self, text: str, result: str) -> None:
        self.result = result
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Policy:
    """What a domain asks for. `id` is that of the record under which it was got, `until` in seconds since 1970."""

    domain: str
    mode: Mode
    hosts: tuple[str, ...]
    max_age_s: int
    id: str
    until: float
    text: tuple[str, ...] = ()
    """Its lines, as reports quote them."""

    def allows(self, host: str) -> bool:
        """Say whether a host is one of those named (RFC 8461 §4.1)."""
        return any(covers(pattern, host) for pattern in self.hosts)


class TxtResolver(Protocol):
    async def txt(self, name: str) -> Sequence[bytes]: ...


Fetch = Callable[[str], Awaitable[bytes]]
"""Get the policy file of a domain by verified HTTPS. Raises PolicyError."""


def record_id(records: Sequence[bytes]) -> str | None:
    """Return the id in a domain's `_mta-sts` record, None where there is none, or more than one (RFC 8461 §3.1)."""
    found = [r.decode("ascii", "replace") for r in records if r.replace(b" ", b"").startswith(b"v=STSv1;")]
    if len(found) != 1:
        return None
    tags = dict(pair.strip().partition("=")[::2] for pair in found[0].split(";"))
    value = tags.get("id", "").strip()
    return value if _RECORD_ID.fullmatch(value) else None


def parse(domain: str, text: bytes, id: str, now: float) -> Policy:
    """Read a policy file (RFC 8461 §3.2).

    Raises: PolicyError.
    """
    if len(text) > MAX_POLICY:
        raise PolicyError("the policy is over the bound", "sts-policy-invalid")
    values: dict[str, str] = {}
    hosts: list[str] = []
    lines = tuple(line.strip() for line in text.decode("utf-8", "replace").splitlines() if line.strip())
    for line in lines:
        key, colon, value = line.partition(":")
        key, value = key.strip(), value.strip()
        if not colon:
            raise PolicyError(f"not a line of a policy: {line[:80]!r}", "sts-policy-invalid")
        if key == "mx":
            hosts.append(value.lower())
        else:
            values.setdefault(key, value)  # the first one counts
    mode, age = values.get("mode", ""), values.get("max_age", "")
    if values.get("version") != "STSv1":
        raise PolicyError("a policy of another version", "sts-policy-invalid")
    if mode not in ("enforce", "testing", "none"):
        raise PolicyError(f"the mode {mode[:40]!r} is none", "sts-policy-invalid")
    if not (age.isascii() and age.isdigit() and len(age) <= 10 and int(age) <= _MAX_AGE):
        raise PolicyError(f"the max_age {age[:40]!r} is none", "sts-policy-invalid")
    if (not hosts and mode != "none") or len(hosts) > _MAX_HOSTS or not all(_HOST.fullmatch(h) for h in hosts):
        raise PolicyError("the policy names no host, too many, or one that cannot be", "sts-policy-invalid")
    return Policy(domain, cast(Mode, mode), tuple(hosts), int(age), id, now + int(age), lines[:_MAX_HOSTS])


@dataclass(slots=True)
class _Known:
    policy: Policy | None
    asked_again_at: float
    fault: PolicyError | None = None


class Policies:
    """The policies of the domains that mail goes to: in memory, on disk, and got anew when they change."""

    def __init__(self, folder: Path, resolver: TxtResolver, fetch: Fetch, clock: Callable[[], float]) -> None:
        self._folder = folder
        self.resolver = resolver
        self._fetch = fetch
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._asking: dict[str, asyncio.Future[_Known]] = {}

    def start(self) -> None:
        """Make the folder, and remove from it what is out of date. Blocks on the disk.

        Raises: OSError.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._folder.glob("*.json"):
            stored = _read(path)
            if stored is None or stored.until <= self._clock():
                path.unlink(missing_ok=True)

    async def of(self, domain: str) -> tuple[Policy | None, PolicyError | None]:
        """Return the policy in force for a domain, None where it has none; and why a newer one could not be had."""
        known = self._known.get(domain)
        now = self._clock()
        if known is None or known.asked_again_at <= now:
            known = await self._ask(domain)
        policy = known.policy
        if policy is not None and policy.until <= now:
            policy = None
        return policy, known.fault

    async def _ask(self, domain: str) -> _Known:
        """Ask once for all that wait for the same domain."""
        asking = self._asking.get(domain)
        if asking is None:
            asking = self._asking[domain] = asyncio.ensure_future(self._look(domain))
            asking.add_done_callback(lambda _: self._asking.pop(domain, None))
        return await asyncio.shield(asking)

    async def _look(self, domain: str) -> _Known:
        held = self._known.get(domain)
        path = self._path(domain)
        kept = held.policy if held is not None else await asyncio.to_thread(_read, path)
        if kept is not None and (kept.until <= self._clock() or kept.domain != domain):
            kept = None
        known = _Known(kept, self._clock() + _RECHECK_S)
        try:
            id = record_id(await self.resolver.txt(f"_mta-sts.{domain}"))
        except Absent:
            id = None
        except LookupFault as fault:
            id = None
            known.asked_again_at = self._clock() + _RETRY_S
            if kept is not None:
                known.fault = PolicyError(str(fault), "sts-policy-fetch-error")
        if id is not None and (kept is None or kept.id != id or kept.until - self._clock() < kept.max_age_s / 2):
            try:
                made = parse(domain, await self._fetch(domain), id, self._clock())
            except PolicyError as fault:
                known.fault = fault
                known.asked_again_at = self._clock() + _RETRY_S
            else:
                known.policy = made
                known.asked_again_at = min(known.asked_again_at, max(made.until, self._clock() + _RETRY_S))
                # A disk that is full costs the memory of it over a restart, not the message.
                with contextlib.suppress(OSError):
                    await asyncio.to_thread(_write, path, made)
        self._known[domain] = known
        self._known.move_to_end(domain)
        if len(self._known) > _MAX_KEPT:
            self._known.popitem(last=False)
        return known

    def _path(self, domain: str) -> Path:
        # A domain comes from an address: its digest is a safe name of a file.
        return self._folder / f"{sha256(domain.encode('utf-8', 'replace')).hexdigest()[:40]}.json"


def _read(path: Path) -> Policy | None:
    try:
        value: Any = json.loads(path.read_bytes())
        return Policy(**{**value, "hosts": tuple(value["hosts"]), "text": tuple(value["text"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None  # not there, or not whole: it is got anew


def _write(path: Path, policy: Policy) -> None:
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(json.dumps(asdict(policy)).encode())
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
