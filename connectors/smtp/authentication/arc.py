"""ARC: what earlier hops found out about a message, sealed by each of them in turn. Source: RFC 8617.

A chain is read from the header, its newest message signature asks `Bodies` for a hash, and `validate` then asks for the
keys. Sealing is in steps as DKIM's signing is, with `seal` for all of them at once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain as joined
from typing import Final, Literal, NamedTuple

from connectors.smtp.authentication import dkim, tags
from connectors.smtp.authentication.canonical import HASHES, Bodies, Fields, Form, canonical_fields
from connectors.smtp.authentication.dkim import Signature, SignatureFault
from connectors.smtp.authentication.keys import KeyCache, PrivateKey, algorithm_of, sign_digest
from connectors.smtp.authentication.lookup import Resolver

RESULTS: Final = b"arc-authentication-results"
MESSAGE: Final = b"arc-message-signature"
SEAL: Final = b"arc-seal"
MAX_INSTANCE: Final = 50
"""Source: RFC 8617 §4.2.1."""

MAX_OCTETS: Final = 256 * 1024
"""Octets of all fields of a chain: each seal is over those of all before it."""

Status = Literal["none", "pass", "fail", "temperror"]
"""What a chain is worth; `temperror` is ours, for a key that DNS does not give now."""

_INSTANCE: Final = re.compile(rb"[ \t\r\n]*i[ \t\r\n]*=[ \t\r\n]*(\d{1,3})[ \t\r\n]*(?:;|\Z)")


@dataclass(frozen=True, slots=True)
class Seal:
    """One ARC-Seal, read."""

    field: bytes
    algorithm: str
    domain: str
    selector: str
    cv: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class ArcSet:
    """The three fields of one instance."""

    instance: int
    results: bytes
    """The whole ARC-Authentication-Results field."""
    message: Signature
    seal: Seal

    @property
    def claims(self) -> bytes:
        """What the field of results says, without its instance: authserv-id and results as in RFC 8601."""
        return self.results.partition(b":")[2].partition(b";")[2].strip()

    @property
    def fields(self) -> tuple[bytes, bytes, bytes]:
        """The fields in the order in which they are sealed (§5.1.1)."""
        return self.results, self.message.field, self.seal.field


class Chain(NamedTuple):
    """The ARC sets of a message, oldest first. With a `fault` it is broken, and the sets are not to be used."""

    sets: tuple[ArcSet, ...] = ()
    fault: str = ""
    highest: int = 0
    """The highest instance that stands in the header, of a broken chain too."""

    @property
    def next_instance(self) -> int | None:
        """The instance that a seal of ours gets; None where there is room for none."""
        return self.highest + 1 if self.highest < MAX_INSTANCE else None


class ArcResult(NamedTuple):
    """What a chain is worth."""

    status: Status
    reason: str = ""
    chain: Chain = Chain()

    @property
    def domains(self) -> tuple[str, ...]:
        """Who has sealed, newest first."""
        return tuple(each.seal.domain for each in reversed(self.chain.sets))


NO_CHAIN: Final = ArcResult("none")


def read(fields: Fields) -> Chain:
    """Read the chain of a message, whatever it holds."""
    found = {name: fields.all(name) for name in (RESULTS, MESSAGE, SEAL)}
    if not any(found.values()):
        return NO_CHAIN.chain
    if sum(map(len, joined.from_iterable(found.values()))) > MAX_OCTETS:
        return Chain(fault="too long", highest=MAX_INSTANCE)
    highest = 0
    by_name: dict[bytes, dict[int, bytes]] = {}
    fault = ""
    for name, each in found.items():
        of = by_name[name] = {}
        for field in each[: MAX_INSTANCE + 1]:
            number = _instance(name, field)
            if not 1 <= number <= MAX_INSTANCE or number in of:
                fault = fault or "an instance twice or out of bounds"
                continue
            highest = max(highest, number)
            of[number] = field
        if len(of) > MAX_INSTANCE or len(each) > MAX_INSTANCE:
            fault = fault or "too many fields"
    if not fault and not all(set(of) == set(range(1, highest + 1)) for of in by_name.values()):
        fault = "an instance is not whole"
    if fault:
        return Chain(fault=fault, highest=highest)
    try:
        sets = [
            ArcSet(n, by_name[RESULTS][n], _message(by_name[MESSAGE][n]), _seal(by_name[SEAL][n], n))
            for n in range(1, highest + 1)
        ]
    except SignatureFault as broken:
        return Chain(fault=str(broken), highest=highest)
    return Chain(tuple(sets), "", highest)


def _instance(name: bytes, field: bytes) -> int:
    """Return the instance of a field, 0 where it has none that can be one."""
    if name == RESULTS:  # it comes first there, and is not in a list of tags (§4.1.1)
        match = _INSTANCE.match(field.partition(b":")[2])
        return int(match[1]) if match is not None else 0
    try:
        return dkim.read_number(_tags(field), "i") or 0
    except SignatureFault:
        return 0


def _tags(field: bytes) -> dict[str, bytes]:
    try:
        return tags.parse(field.partition(b":")[2])
    except tags.TagFault as fault:
        raise SignatureFault("neutral", str(fault)) from fault


def _message(field: bytes) -> Signature:
    found = _tags(field)
    del found["i"]  # here it is no identity
    signature = dkim.read_tags(field, found, signs_from=False)
    if SEAL in signature.terms.signed:
        raise SignatureFault("permerror", "a message signature that signs seals")  # §4.1.2
    if signature.terms.hash != "sha256":
        raise SignatureFault("policy", "SHA-1 proves nothing")
    return signature


def _seal(field: bytes, instance: int) -> Seal:
    found = _tags(field)
    for name in ("a", "b", "cv", "d", "s"):
        if not found.get(name):
            raise SignatureFault("permerror", f"{name}= missing in a seal")
    if "h" in found or "bh" in found:
        raise SignatureFault("permerror", "a seal with h= or bh=")  # §4.1.3
    cv = found["cv"].decode("latin-1").lower()
    if cv not in ("fail", "none" if instance == 1 else "pass"):
        raise SignatureFault("permerror", "cv= out of place")
    algorithm = found["a"].decode("latin-1").lower()
    if algorithm not in ("rsa-sha256", "ed25519-sha256"):
        raise SignatureFault("neutral", "unknown algorithm")
    dkim.read_number(found, "t")
    return Seal(
        field,
        algorithm,
        dkim.host(found["d"]),
        dkim.host(found["s"], selector=True),
        cv,
        dkim.octets_of(found["b"]),
    )


class Validator:
    """The chain of one message."""

    __slots__ = ("_bodies", "_fields", "chain")

    def __init__(self, fields: Fields, bodies: Bodies) -> None:
        """Read the chain, and ask `bodies`, which is to see the body next, for the hash it needs."""
        self._fields = fields
        self._bodies = bodies
        self.chain = read(fields)
        if self.chain.sets and not self.chain.fault:
            newest = self.chain.sets[-1].message
            bodies.want(newest.terms.body_form, newest.terms.hash, newest.length)

    async def validate(self, resolver: Resolver, keys: KeyCache, now: float) -> ArcResult:
        """Say what the chain is worth (§5.2); the body has gone by."""
        chain = self.chain
        if chain.fault:
            return ArcResult("fail", chain.fault, chain)
        if not chain.sets:
            return NO_CHAIN
        if any(each.seal.cv == "fail" for each in chain.sets):
            return ArcResult("fail", "a hop before found it broken", chain)
        newest = chain.sets[-1]
        result = await dkim.verify(newest.message, self._fields, self._bodies, resolver, keys, now)
        if result.verdict != "pass":
            status: Status = "temperror" if result.verdict == "temperror" else "fail"
            return ArcResult(status, f"message signature {newest.instance}: {result.reason}", chain)
        for number in range(len(chain.sets), 0, -1):
            try:
                await _verify_seal(chain.sets[:number], resolver, keys)
            except SignatureFault as fault:
                status = "temperror" if fault.verdict == "temperror" else "fail"
                return ArcResult(status, f"seal {number}: {fault}", chain)
        return ArcResult("pass", "", chain)


async def _verify_seal(sets: Sequence[ArcSet], resolver: Resolver, keys: KeyCache) -> None:
    """Verify the seal of the last of these sets. Raises: SignatureFault."""
    seal = sets[-1].seal
    record = await dkim.key_of(seal.domain, seal.selector, resolver, keys)
    dkim.check_algorithm(seal.algorithm, record)
    octets = _sealed(sets[:-1], sets[-1].results, sets[-1].message.field, seal.field)
    if not record.verifies(seal.signature, HASHES["sha256"](octets).digest()):
        raise SignatureFault("fail", "signature does not verify")


def _sealed(before: Sequence[ArcSet], results: bytes, message: bytes, own: bytes) -> bytes:
    """Return what a seal is made over (§5.1.1), always in the relaxed form."""
    fields = [field for each in before for field in each.fields]
    return canonical_fields([*fields, results], "relaxed") + dkim.signing_input([message], "relaxed", own)


# Sealing


def results_field(instance: int, claims: bytes) -> bytes:
    """Return ARC-Authentication-Results: `claims` are authserv-id and results, folded, without a line end."""
    return b"ARC-Authentication-Results: i=%d; " % instance + claims + b"\r\n"


def unsigned_message(
    instance: int,
    body_hash: bytes,
    *,
    algorithm: str,
    domain: str,
    selector: str,
    names: Sequence[bytes],
    form: tuple[Form, Form] = ("relaxed", "relaxed"),
    timestamp: int,
) -> bytes:
    """Return ARC-Message-Signature up to its `b=`; what is signed is as for DKIM (`dkim.signing_input`)."""
    found = [("i", str(instance)), ("a", algorithm), ("c", "/".join(form)), ("d", domain), ("s", selector)]
    found.append(("t", str(timestamp)))
    return dkim.unsigned_field(b"ARC-Message-Signature", found, names, body_hash)


def unsigned_seal(
    instance: int,
    status: Literal["none", "pass", "fail"],
    *,
    algorithm: str,
    domain: str,
    selector: str,
    timestamp: int,
) -> bytes:
    """Return ARC-Seal up to its `b=`. `status` is what the chain was worth when the message came."""
    return (
        f"ARC-Seal: i={instance}; a={algorithm}; cv={status};\r\n\td={domain}; s={selector}; t={timestamp};\r\n\tb="
    ).encode("ascii")


def sealing_input(
    chain: Chain, status: Literal["none", "pass", "fail"], results: bytes, message: bytes, bare: bytes
) -> bytes:
    """Return what our seal is made over. Of a chain that has failed nothing but our own set is (§5.1.2)."""
    return _sealed(() if status == "fail" else chain.sets, results, message, bare)


def seal(
    fields: Fields,
    body_hash: bytes,
    arrived: ArcResult,
    claims: bytes,
    *,
    key: PrivateKey,
    domain: str,
    selector: str,
    names: Sequence[bytes],
    form: tuple[Form, Form] = ("relaxed", "relaxed"),
    timestamp: int,
) -> bytes:
    """Return the three fields of a new set, to stand in front of the header; empty where there must be none.

    None is made for a chain that is full, one that had failed before (§5.1.2 has nothing to gain from it), and one
    whose worth is not known. `claims` are our authserv-id and results for the message as it came; `names` has no field
    of ARC.
    """
    chain, status = arrived.chain, arrived.status
    instance = chain.next_instance
    if instance is None or status == "temperror" or any(each.seal.cv == "fail" for each in chain.sets):
        return b""
    algorithm = algorithm_of(key)
    results = results_field(instance, claims)
    bare = unsigned_message(
        instance,
        body_hash,
        algorithm=algorithm,
        domain=domain,
        selector=selector,
        names=names,
        form=form,
        timestamp=timestamp,
    )
    own = dkim.signing_input(fields.chosen(names), form[0], bare)
    message = dkim.completed(bare, sign_digest(key, hashlib.sha256(own).digest()))
    bare = unsigned_seal(instance, status, algorithm=algorithm, domain=domain, selector=selector, timestamp=timestamp)
    own = sealing_input(chain, status, results, message, bare)
    return dkim.completed(bare, sign_digest(key, hashlib.sha256(own).digest())) + message + results
