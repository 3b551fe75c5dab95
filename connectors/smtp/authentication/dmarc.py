"""DMARC: whether what SPF and DKIM prove is of the domain that the reader sees in From.

The organisational domain is found by walking up the tree in DNS, eight look-ups at most, rather than by a list of
public suffixes: the owners of the domains say themselves where theirs end, nothing has to be kept up to date, and
where no record stands there is no policy for which the difference could matter.
Source: RFC 7489 for records and alignment, and its successor in the IETF's working group for the walk, `psd=`, `np=`
(RFC 9091) and `t=`, which takes the place of `pct=`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple, cast

import idna

from connectors.smtp.authentication.lookup import LookupFault, Resolver
from gateway.contract import AddressError, Content, memo

Policy = Literal["none", "quarantine", "reject"]
Verdict = Literal["none", "pass", "fail", "temperror", "permerror"]
"""Source: RFC 7489 §11.2; RFC 8601 §2.7."""

MAX_WALK: Final = 8
MAX_AUTHORS: Final = 4
"""Domains in From that are judged; more are none of anybody's."""
_MAX_FROM: Final = 4000

_MAX_RECORD: Final = 4096
_MAX_TAGS: Final = 50
_VERSION: Final = re.compile(rb"v[ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")
_STRICTNESS: Final = {"none": 0, "quarantine": 1, "reject": 2}
_HOST: Final = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
)
# One mailbox with nothing in it that could be read in two ways; nearly all of them are.
_PLAIN: Final = re.compile(rb'[^<>@,:;"()\\\[\]\x80-\xff]*<[^\s<>@,:;"()\\\[\]\x80-\xff]+@([A-Za-z0-9.-]+)>')


@dataclass(frozen=True, slots=True)
class Record:
    """One DMARC record: policies for the domain, its subdomains, and those that do not exist."""

    domain: str
    policy: Policy
    subdomains: Policy
    absent: Policy
    strict_dkim: bool
    strict_spf: bool
    psd: str
    testing: bool
    applies: bool = True
    """It says what to do; one that does not, and asks for no reports either, takes DMARC out of force (§6.6.3)."""


class DmarcResult(NamedTuple):
    """What DMARC says: `policy` is what the domain asks for where it is a `fail`."""

    verdict: Verdict
    domain: str = ""
    policy: Policy = "none"
    reason: str = ""
    aligned: str = ""
    """The domain whose SPF or DKIM made it a pass."""


class Proof(NamedTuple):
    """Domains that SPF and DKIM have proved, and those for which they could not say it now."""

    spf: str = ""
    dkim: tuple[str, ...] = ()
    spf_unknown: str = ""
    dkim_unknown: tuple[str, ...] = ()


def authors(values: Sequence[bytes]) -> tuple[str, ...] | None:
    """Return the domains of From's fields in A-labels, each once; None where that cannot be said.

    `values` are unfolded. A message has one From field (RFC 5322 §3.6), and of several a reader may see any.
    """
    found: dict[str, None] = {}
    for value in values[: MAX_AUTHORS + 1]:
        domains = _domains(value) if len(value) <= _MAX_FROM else None
        if not domains:
            return None
        found.update(dict.fromkeys(domains))
    return tuple(found) if 0 < len(found) <= MAX_AUTHORS else None


@lru_cache(2048)
def _domains(value: bytes) -> tuple[str, ...] | None:
    plain = _PLAIN.fullmatch(value.strip())
    texts: list[str]
    if plain is not None:
        texts = [plain[1].decode("ascii")]
    else:
        try:
            boxes = memo(Content(b"From: " + value + b"\r\n\r\n")).mailboxes(b"from", ("smtp",), strict=True)
        except AddressError:
            return None
        texts = [box.address.value.rpartition("@")[2] for box in boxes]
    found = [host(text) for text in texts]
    return None if not all(found) else tuple(found)


def host(text: str) -> str:
    """Return a domain in lower case and A-labels, empty where it is none (an address literal, too)."""
    text = text.rstrip(".").lower()
    if not text.isascii():
        try:
            text = idna.encode(text[:255], uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            return ""
    return text if _HOST.fullmatch(text) else ""


@lru_cache(2048)
def parse(octets: bytes, domain: str) -> Record | None:
    """Read a record that stands at `_dmarc.<domain>`; None where it is none, or says nothing that can be used.

    What is no tag in it is passed over (§6.3), and of a tag that stands twice the first one counts.
    """
    version = _VERSION.match(octets)
    if version is None or len(octets) > _MAX_RECORD:
        return None
    found: dict[str, bytes] = {}
    for part in octets[version.end() :].split(b";", _MAX_TAGS)[:_MAX_TAGS]:
        name, equals, value = part.partition(b"=")
        if equals:
            found.setdefault(name.strip().decode("latin-1").lower(), value.strip())
    policy = _policy(found, "p", None)
    if policy is None:
        return Record(domain, "none", "none", "none", False, False, "u", False, applies=bool(found.get("rua")))
    subdomains = _policy(found, "sp", policy) or policy
    absent = _policy(found, "np", subdomains) or subdomains
    return Record(
        domain=domain,
        policy=policy,
        subdomains=subdomains,
        absent=absent,
        strict_dkim=found.get("adkim", b"r").lower() == b"s",
        strict_spf=found.get("aspf", b"r").lower() == b"s",
        psd=found.get("psd", b"u").decode("latin-1").lower(),
        testing=found.get("t", b"n").lower() == b"y" or found.get("pct") == b"0",
    )


def _policy(found: dict[str, bytes], tag: str, otherwise: Policy | None) -> Policy | None:
    value = found.get(tag, b"").decode("latin-1").lower()
    return cast(Policy, value) if value in _STRICTNESS else otherwise


async def record_at(domain: str, resolver: Resolver) -> Record | None:
    """Return a domain's own record. Raises: LookupFault."""
    records = [octets for octets in await resolver.txt(f"_dmarc.{domain}") if _VERSION.match(octets)]
    return parse(records[0][: _MAX_RECORD + 1], domain) if len(records) == 1 else None


async def walk(domain: str, resolver: Resolver) -> list[Record]:
    """Return the records from a domain upwards. Raises: LookupFault."""
    return await _walk(domain, await record_at(domain, resolver), resolver)


async def _walk(domain: str, own: Record | None, resolver: Resolver) -> list[Record]:
    """Return the records from a domain upwards, whose own one is known."""
    if own is not None and own.psd in ("y", "n"):
        return [own]
    found = [] if own is None else [own]
    for name in steps(domain)[1:]:
        record = await record_at(name, resolver)
        if record is not None:
            found.append(record)
            if record.psd in ("y", "n"):
                break
    return found


@lru_cache(4096)
def steps(domain: str) -> tuple[str, ...]:
    """Return the names of a walk: the domain, then those above it, of which a long one has the last seven labels on."""
    labels = domain.split(".")
    names = [domain]
    rest = labels[1:] if len(labels) < MAX_WALK else labels[-(MAX_WALK - 1) :]
    while rest:
        names.append(".".join(rest))
        rest = rest[1:]
    return tuple(names)


def organisational(domain: str, records: Sequence[Record]) -> str:
    """Return the organisational domain that the records of a walk from `domain` tell."""
    for record in records:
        if record.psd == "n":
            return record.domain
        if record.psd == "y" and record.domain != domain:
            below = len(record.domain.split(".")) + 1
            return ".".join(domain.split(".")[-below:])
    return records[-1].domain if records else domain


async def evaluate(domains: Sequence[str] | None, proof: Proof, resolver: Resolver) -> DmarcResult:
    """Judge a message by the domains of its From (`authors`); of several, the strictest that fails counts."""
    if not domains:
        return DmarcResult("permerror", reason="no domain in From")
    worst: DmarcResult | None = None
    for domain in domains:
        result = await _evaluate_one(domain, proof, resolver)
        if worst is None or _rank(result) > _rank(worst):
            worst = result
    assert worst is not None
    return worst


def _rank(result: DmarcResult) -> tuple[int, int]:
    order = {"pass": 0, "none": 1, "permerror": 2, "temperror": 3, "fail": 4}
    return order[result.verdict], _STRICTNESS[result.policy]


async def _evaluate_one(domain: str, proof: Proof, resolver: Resolver) -> DmarcResult:
    try:
        own = await record_at(domain, resolver)
        if own is not None and not own.applies:
            return DmarcResult("none", domain, reason="a record without a policy")
        # The walk is spared where the author's own domain is what was proved, and its record is there.
        if own is not None and (proof.spf == domain or domain in proof.dkim):
            return DmarcResult("pass", domain, aligned=domain)
        records = await _walk(domain, own, resolver)
        organisation = organisational(domain, records)
        if not records:
            return DmarcResult("none", domain, reason="no record")
        # The last one is that of a public suffix, where the organisation has none of its own.
        record = own or next((r for r in records if r.domain == organisation), records[-1])
        if not record.applies:
            return DmarcResult("none", domain, reason="a record without a policy")
        aligned = await _aligned(domain, organisation, record, proof.spf, proof.dkim, resolver)
        if aligned:
            return DmarcResult("pass", domain, aligned=aligned)
        policy = record.policy
        if own is None:
            policy = record.subdomains
            if record.absent != record.subdomains and not await _exists(domain, resolver):
                policy = record.absent
        if record.testing:  # one step less than what it says
            policy = "quarantine" if policy == "reject" else "none"
        unknown = await _aligned(domain, organisation, record, proof.spf_unknown, proof.dkim_unknown, resolver)
    except LookupFault:
        return DmarcResult("temperror", domain, reason="no answer for a record")
    if unknown:
        return DmarcResult("temperror", domain, reason=f"no answer for {unknown}")
    return DmarcResult("fail", domain, policy)


async def _aligned(
    domain: str, organisation: str, record: Record, spf: str, dkim: Iterable[str], resolver: Resolver
) -> str:
    """Return the first of these domains that is aligned with the author's (§3.1), empty where none is."""
    for proved in dkim:
        if await _is_aligned(domain, organisation, proved, record.strict_dkim, resolver):
            return proved
    if spf and await _is_aligned(domain, organisation, spf, record.strict_spf, resolver):
        return spf
    return ""


async def _is_aligned(domain: str, organisation: str, proved: str, strict: bool, resolver: Resolver) -> bool:
    if proved == domain:
        return True
    # Nothing outside of the author's own organisation can have the same one.
    if strict or not (proved == organisation or proved.endswith("." + organisation)):
        return False
    return organisational(proved, await walk(proved, resolver)) == organisation


async def _exists(domain: str, resolver: Resolver) -> bool:
    """Say whether a domain has an address or takes mail (RFC 9091 §2.7)."""
    return bool(
        await resolver.mx(domain)
        or await resolver.addresses(domain, ipv6=False)
        or await resolver.addresses(domain, ipv6=True)
    )
