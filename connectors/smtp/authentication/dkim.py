"""DKIM: read, verify and make signatures. Source: RFC 6376, 8301 (no SHA-1, no short keys), 8463 (Ed25519), 8616.

A verification has three steps, so that a body of any size goes by once for all signatures: `read` takes the header,
the body is fed to `Bodies`, `verify` asks for the keys. Signing is the same: `BodyHash`, then `sign`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, Literal, NamedTuple, cast

import idna

from connectors.smtp.abreast import step_done
from connectors.smtp.authentication import tags
from connectors.smtp.authentication.canonical import HASHES, Bodies, Fields, Form, canonical_fields
from connectors.smtp.authentication.keys import (
    MAX_BITS,
    MIN_BITS,
    KeyCache,
    KeyFault,
    KeyRecord,
    PrivateKey,
    algorithm_of,
    sign_digest,
)
from connectors.smtp.authentication.lookup import LookupFault, Resolver

FIELD: Final = b"dkim-signature"
MAX_SIGNATURES: Final = 10
"""Signatures of one message that are verified; the rest is not looked at."""
_MAX_SIGNED: Final = 500
MAX_OCTETS: Final = 512 * 1024
"""Octets of a header that one signature is over; what is more is a way to keep a processor busy."""

Verdict = Literal["pass", "fail", "neutral", "policy", "temperror", "permerror"]
"""Source: RFC 8601 §2.7.1."""

_MAX_HOST: Final = 300
"""Octets of a domain that are read; a longer one is none."""
# Of the value of b=, as the first tag and behind others; apart, since an expression that begins with one sign is found
# at once.
_B_FIRST: Final = re.compile(rb"[ \t\r\n]*+b[ \t\r\n]*+=([^;]*+)")
_B: Final = re.compile(rb";[ \t\r\n]*+b[ \t\r\n]*+=([^;]*+)")
_HOST: Final = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
)
_SELECTOR: Final = re.compile(
    r"(?=.{1,200}\Z)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
_ALGORITHMS: Final = ("rsa-sha256", "ed25519-sha256", "rsa-sha1")
_KEPT_OCTETS: Final = 2048
"""Of a signature whose terms are kept read."""


class SignatureFault(ValueError):
    """A signature that cannot be processed, and what is said of it."""

    def __init__(self, verdict: Verdict, reason: str) -> None:
        self.verdict: Verdict = verdict
        super().__init__(reason)


class Terms(NamedTuple):
    """What a signer writes into each of its signatures alike."""

    algorithm: str
    hash: str
    domain: str
    selector: str
    signed: tuple[bytes, ...]
    header_form: Form
    body_form: Form
    identity: str


class Signature(NamedTuple):
    """A signature field, read: `field` is it whole with its line end, the rest are its tags."""

    field: bytes
    terms: Terms
    body_hash: bytes
    signature: bytes
    length: int | None
    timestamp: int | None
    expires: int | None


class DkimResult(NamedTuple):
    """What one signature proves: with `pass`, that `domain` has signed header and body."""

    verdict: Verdict
    domain: str = ""
    reason: str = ""
    selector: str = ""
    identity: str = ""
    algorithm: str = ""
    mark: str = ""
    """The first octets of b=, which tell signatures of one domain apart (RFC 6008)."""
    testing: bool = False
    partial: bool = False
    """By l= the end of the body is not signed, and there is one: who has added it is not known (§8.2)."""


def read(field: bytes) -> Signature:
    """Read a whole DKIM-Signature field. Raises: SignatureFault."""
    found = _tags(field)
    if found.get("v") != b"1":
        raise SignatureFault("neutral", "another version" if "v" in found else "v= missing")
    return read_tags(field, found)


def _tags(field: bytes) -> dict[str, bytes]:
    try:
        return tags.parse(field.partition(b":")[2])
    except tags.TagFault as fault:
        raise SignatureFault("neutral", str(fault)) from fault


def read_tags(field: bytes, found: Mapping[str, bytes], *, signs_from: bool = True) -> Signature:
    """Read what DKIM-Signature and ARC-Message-Signature share. Raises: SignatureFault.

    `signs_from` asks for From among what is signed (RFC 6376 §5.4).
    """
    for name in ("a", "b", "bh", "d", "h", "s"):
        if not found.get(name):
            raise SignatureFault("permerror", f"{name}= missing")
    timestamp, expires = read_number(found, "t"), read_number(found, "x")
    if timestamp is not None and expires is not None and expires <= timestamp:
        raise SignatureFault("neutral", "x= before t=")
    read_terms = _terms if len(field) <= _KEPT_OCTETS else _terms.__wrapped__
    terms = read_terms(
        found["a"], found["d"], found["s"], found["h"], found.get("q"), found.get("c"), found.get("i"), signs_from
    )
    return Signature(
        field, terms, octets_of(found["bh"]), octets_of(found["b"]), read_number(found, "l"), timestamp, expires
    )


@lru_cache(1024)
def _terms(
    a: bytes, d: bytes, s: bytes, h: bytes, q: bytes | None, c: bytes | None, i: bytes | None, signs_from: bool
) -> Terms:
    """Read the tags of these names. Raises: SignatureFault."""
    algorithm = a.decode("latin-1").lower()
    if algorithm not in _ALGORITHMS:
        raise SignatureFault("neutral", "unknown algorithm")
    domain, selector = host(d), host(s, selector=True)
    if q is not None and "dns/txt" not in tags.names(q):
        raise SignatureFault("neutral", "keys by another way than DNS")
    header_form, _, body_form = (b"simple" if c is None else c).decode("latin-1").lower().partition("/")
    body_form = body_form or "simple"
    if header_form not in ("simple", "relaxed") or body_form not in ("simple", "relaxed"):
        raise SignatureFault("neutral", "unknown canonical form")
    signed = tuple(tags.compact(h).lower().split(b":"))
    if signs_from and b"from" not in signed:
        raise SignatureFault("permerror", "From not signed")
    if len(signed) > _MAX_SIGNED:
        raise SignatureFault("neutral", "too many names in h=")
    return Terms(
        algorithm,
        algorithm.partition("-")[2],
        domain,
        selector,
        signed,
        cast(Form, header_form),
        cast(Form, body_form),
        _identity(i or b"", domain),
    )


def host(value: bytes, *, selector: bool = False) -> str:
    """Return a domain or selector of a tag, in lower case and A-labels (RFC 8616 §5). Raises: SignatureFault."""
    return _host(value[:_MAX_HOST], selector)


@lru_cache(4096)
def _host(value: bytes, selector: bool) -> str:
    try:
        text = value.decode("utf-8").lower()
        if not text.isascii():
            text = idna.encode(text[:255], uts46=True).decode("ascii")
    except (UnicodeError, idna.IDNAError) as fault:
        raise SignatureFault("permerror", "no domain in d= or s=") from fault
    if not (_SELECTOR if selector else _HOST).fullmatch(text):
        raise SignatureFault("permerror", "no selector in s=" if selector else "no domain in d=")
    return text


def _identity(value: bytes, domain: str) -> str:
    if not value:
        return "@" + domain
    local, at, of = value.rpartition(b"@")
    own = host(of) if at else ""
    if own != domain and not own.endswith("." + domain):
        raise SignatureFault("permerror", "i= is not within d=")
    return f"{local[:_MAX_HOST].decode('utf-8', 'replace')}@{own}"


def read_number(found: Mapping[str, bytes], name: str) -> int | None:
    """Return the number in a tag, None where there is no such tag. Raises: SignatureFault."""
    value = found.get(name)
    if value is None:
        return None
    if not value.isdigit() or len(value) > 76:  # RFC 6376 §3.5
        raise SignatureFault("neutral", f"no number in {name}=")
    return int(value)


def octets_of(value: bytes) -> bytes:
    """Decode base64 with blanks. Raises: SignatureFault."""
    try:
        return binascii.a2b_base64(tags.compact(value), strict_mode=True)
    except (ValueError, binascii.Error) as fault:
        raise SignatureFault("neutral", "no base64") from fault


def signing_input(fields: Sequence[bytes], form: Form, own: bytes) -> bytes:
    """Return what is hashed and signed: chosen fields, and the signature's own field without its b= (§3.7)."""
    name, _, value = own.partition(b":")
    found = _B_FIRST.match(value) or _B.search(value)
    if found is not None:
        value = value[: found.start(1)] + value[found.end() :]
    bare = name + b":" + value
    return canonical_fields([*fields, bare], form).removesuffix(b"\r\n").removesuffix(b"\n")


class Verifier:
    """The DKIM signatures of one message."""

    __slots__ = ("_bodies", "_fields", "_read")

    def __init__(self, fields: Fields, bodies: Bodies) -> None:
        """Read the signatures, and ask `bodies`, which is to see the body next, for the hashes they need."""
        self._fields = fields
        self._bodies = bodies
        self._read: list[Signature | DkimResult] = []
        for field in fields.all(FIELD)[:MAX_SIGNATURES]:
            try:
                signature = read(field)
            except SignatureFault as fault:
                self._read.append(DkimResult(fault.verdict, _claimed(field), str(fault)))
                continue
            if signature.terms.hash == "sha256":
                bodies.want(signature.terms.body_form, signature.terms.hash, signature.length)
            self._read.append(signature)

    def __len__(self) -> int:
        return len(self._read)

    async def verify(self, resolver: Resolver, keys: KeyCache, now: float) -> list[DkimResult]:
        """Return a result for each signature in order; the body has gone by."""
        return [
            each
            if isinstance(each, DkimResult)
            else await verify(each, self._fields, self._bodies, resolver, keys, now)
            for each in self._read
        ]


def _claimed(field: bytes) -> str:
    """Return the domain of a signature that cannot be read, where that can."""
    try:
        return host(_tags(field).get("d", b""))
    except SignatureFault:
        return ""


async def verify(
    signature: Signature, fields: Fields, bodies: Bodies, resolver: Resolver, keys: KeyCache, now: float
) -> DkimResult:
    """Verify one signature, whose body hash `bodies` was asked for."""
    testing = False
    try:
        size = _check_before(signature, bodies, now)
        record = await key_of(signature.terms.domain, signature.terms.selector, resolver, keys)
        testing = record.testing
        _check_key(signature, record)
        chosen = fields.chosen(signature.terms.signed, signature.field)
        if sum(map(len, chosen)) > MAX_OCTETS:
            raise SignatureFault("policy", "too much of a header")
        own = signing_input(chosen, signature.terms.header_form, signature.field)
        digest = HASHES[signature.terms.hash](own).digest()
        await step_done()
        if not record.verifies(signature.signature, digest):
            raise SignatureFault("fail", "signature does not verify")
    except SignatureFault as fault:
        return _result(signature, fault.verdict, str(fault), testing)
    partial = signature.length is not None and signature.length < size
    return _result(signature, "pass", "", testing, partial)


def _result(signature: Signature, verdict: Verdict, reason: str, testing: bool, partial: bool = False) -> DkimResult:
    mark = binascii.b2a_base64(signature.signature[:6], newline=False).decode("ascii")
    return DkimResult(
        verdict,
        signature.terms.domain,
        reason,
        signature.terms.selector,
        signature.terms.identity,
        signature.terms.algorithm,
        mark,
        testing,
        partial,
    )


def _check_before(signature: Signature, bodies: Bodies, now: float) -> int:
    """Check all that needs no key, and return the octets of the body. Raises: SignatureFault."""
    if signature.terms.hash != "sha256":
        raise SignatureFault("policy", "SHA-1 proves nothing")  # RFC 8301 §3.1
    if signature.expires is not None and signature.expires < now:
        raise SignatureFault("fail", "expired")
    digest, size = bodies.get(signature.terms.body_form, signature.terms.hash, signature.length)
    if signature.length is not None and signature.length > size:
        raise SignatureFault("fail", "body shorter than l=")
    if digest != signature.body_hash:
        raise SignatureFault("fail", "body hash does not match")
    return size


async def key_of(domain: str, selector: str, resolver: Resolver, keys: KeyCache) -> KeyRecord:
    """Look a key up. Raises: SignatureFault."""
    try:
        records = await resolver.txt(f"{selector}._domainkey.{domain}")
    except LookupFault as fault:
        raise SignatureFault("temperror", "no answer for the key") from fault
    if not records:
        raise SignatureFault("permerror", "no key")
    try:
        record = keys.read(records)
    except KeyFault as fault:
        raise SignatureFault("permerror", str(fault)) from fault
    if record.key is None:
        raise SignatureFault("permerror", "key revoked")
    return record


def _check_key(signature: Signature, record: KeyRecord) -> None:
    check_algorithm(signature.terms.algorithm, record)
    if "*" not in record.services and "email" not in record.services:
        raise SignatureFault("permerror", "key not for mail")
    if record.strict and signature.terms.identity.rpartition("@")[2] != signature.terms.domain:
        raise SignatureFault("permerror", "key not for subdomains")


def check_algorithm(algorithm: str, record: KeyRecord) -> None:
    """Raises: SignatureFault where a key is not for an algorithm, or proves nothing."""
    kind, _, hashed = algorithm.partition("-")
    if kind != record.kind:
        raise SignatureFault("permerror", "key of another kind")
    if record.hashes is not None and hashed not in record.hashes:
        raise SignatureFault("permerror", "key not for this hash")
    if kind == "rsa" and not MIN_BITS <= record.bits <= MAX_BITS:
        raise SignatureFault("policy", f"key of {record.bits} bits")


# Signing


def signed_names(fields: Fields, wanted: Iterable[bytes], *, oversign: Iterable[bytes] = (b"from",)) -> list[bytes]:
    """Return what h= is to name: each wanted (lower-case) name as often as it stands in the header.

    Names of `oversign` stand once more, whether there or not, so that no further one can be added to what was signed.
    """
    names: list[bytes] = []
    for name in wanted:
        names += [name] * fields.count(name)
    return names + list(oversign)


def sign(
    fields: Fields,
    body_hash: bytes,
    *,
    key: PrivateKey,
    domain: str,
    selector: str,
    names: Sequence[bytes],
    form: tuple[Form, Form] = ("relaxed", "relaxed"),
    timestamp: int | None = None,
    expires: int | None = None,
    identity: str | None = None,
) -> bytes:
    """Return a DKIM-Signature field with its line end, to stand in front of the header that `fields` are of.

    `body_hash` is the SHA-256 of the body in the second form of `form` (BodyHash); `domain`, `selector` and `identity`
    are ASCII; `names` (see `signed_names`) must have b"from".
    """
    bare = unsigned(
        body_hash,
        algorithm=algorithm_of(key),
        domain=domain,
        selector=selector,
        names=names,
        form=form,
        timestamp=timestamp,
        expires=expires,
        identity=identity,
    )
    own = signing_input(fields.chosen(names), form[0], bare)
    return completed(bare, sign_digest(key, hashlib.sha256(own).digest()))


def unsigned(
    body_hash: bytes,
    *,
    algorithm: str,
    domain: str,
    selector: str,
    names: Sequence[bytes],
    form: tuple[Form, Form] = ("relaxed", "relaxed"),
    timestamp: int | None = None,
    expires: int | None = None,
    identity: str | None = None,
) -> bytes:
    """Return a DKIM-Signature field up to its `b=`.

    What is signed is `signing_input(fields.chosen(names), form[0], field)`, by RSA over its SHA-256, by Ed25519 that
    SHA-256 as if it were the text (RFC 8463 §3); `completed` puts the signature in.
    """
    if b"from" not in names:
        raise ValueError("From must be signed")
    found = [("v", "1"), ("a", algorithm), ("c", "/".join(form)), ("d", domain), ("s", selector)]
    for tag, value in (("i", identity), ("t", timestamp), ("x", expires)):
        if value is not None:
            found.append((tag, str(value)))
    return unsigned_field(b"DKIM-Signature", found, names, body_hash)


def unsigned_field(name: bytes, found: Sequence[tuple[str, str]], names: Sequence[bytes], body_hash: bytes) -> bytes:
    """Return a signature field of DKIM or ARC up to its `b=`, whose first tags are `found`."""
    lines = _filled([f"{tag}={value};" for tag, value in found], " ", room=len(name) + 2)
    lines += _filled(_pieces("h=", b":".join(names).decode("ascii"), ";", ":"), "")
    lines += [f"bh={_text(body_hash)};", "b="]
    return name + b": " + "\r\n\t".join(lines).encode("ascii")


def completed(bare: bytes, signature: bytes) -> bytes:
    """Return a signature field, which ended in `b=`, with its signature and line end."""
    text = _text(signature)
    return bare + "\r\n\t".join(text[at : at + 72] for at in range(0, len(text), 72)).encode("ascii") + b"\r\n"


def _text(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")


def _pieces(before: str, listed: str, after: str, between: str) -> list[str]:
    parts = listed.split(between)
    return [
        (before if n == 0 else "") + part + (between if n < len(parts) - 1 else after) for n, part in enumerate(parts)
    ]


def _filled(parts: Iterable[str], blank: str, *, room: int = 0, columns: int = 72) -> list[str]:
    """Fill lines with parts; the first one has `room` octets in front of it."""
    lines = [""]
    for part in parts:
        line = lines[-1]
        if line and room + len(line) + len(blank) + len(part) > columns:
            lines.append(part)
            room = 0
        else:
            lines[-1] = line + blank + part if line else part
    return lines
