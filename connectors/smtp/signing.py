"""What signs and seals a content in the form in which it leaves: DKIM by every key of a domain, ARC by one.

Pure but for the keys: meant for a thread, where RSA lets the interpreter's lock go and a content that is not in memory
may be read. The body is hashed once for all signatures.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from connectors.smtp.authentication import arc, dkim
from connectors.smtp.authentication.canonical import BodyHash, Fields
from connectors.smtp.outward_config import OVERSIGNED, SIGNED
from connectors.smtp.signing_keys import SigningKey
from gateway.contract import Content

ArcStatus = Literal["none", "pass", "fail", "temperror"]


@dataclass(frozen=True, slots=True)
class Names:
    """The fields that are signed, in lower case; `over` are signed once more than they are there."""

    wanted: tuple[bytes, ...]
    over: tuple[bytes, ...]

    @classmethod
    def of(cls, headers: Iterable[str], oversign: Iterable[str]) -> Names:
        """Take the names of options; From is among both, whatever they say."""
        wanted, over = (
            tuple(dict.fromkeys((b"from", *(name.lower().encode("ascii") for name in names))))
            for names in (headers, oversign)
        )
        return cls(wanted, over)

    def found(self, fields: Fields) -> list[bytes]:
        """Return what h= names for a header."""
        return dkim.signed_names(fields, self.wanted, oversign=self.over)


USUAL: Final = Names.of(SIGNED, OVERSIGNED)
_SEALED: Final = Names((*USUAL.wanted, b"dkim-signature"), (b"from", b"to", b"subject", b"date", b"message-id"))
"""RFC 8617 §4.1.2: the message signature of ARC covers the signatures that are there."""


@dataclass(frozen=True, slots=True)
class SealPlan:
    """What a seal needs to know: `claims` are authserv-id and results of the arrival, `status` its chain's worth."""

    key: SigningKey
    claims: bytes
    status: ArcStatus


@dataclass(frozen=True, slots=True)
class Signing:
    """What is to be done to one content."""

    keys: Sequence[SigningKey] = ()
    seal: SealPlan | None = None

    def __bool__(self) -> bool:
        return bool(self.keys) or self.seal is not None


NOTHING: Final = Signing()
_NO_DIGEST: Final = b64encode(bytes(32))


def body_hash(content: Content) -> bytes:
    """Return the SHA-256 of a body in the relaxed form. Blocks on a content that is not in memory; raises OSError."""
    made = BodyHash("relaxed")
    if content.is_inline:
        made.update(content.body())
    else:
        for piece in content.body_chunks():
            made.update(piece)
    return made.digest()


def signed(content: Content, signing: Signing, names: Names, now: int, expires: int | None = None) -> Content:
    """Return the content with its signatures, and its seal above them, in front.

    Raises: OSError, ValueError where a key does not sign.
    """
    head = content.head
    digest = body_hash(content)
    front = b""
    if signing.keys:
        front = signatures(Fields(head), digest, signing.keys, names, now, expires)
    if signing.seal is not None:
        front = sealed(Fields(front + head), digest, signing.seal, now) + front
    return content.with_prefix(front) if front else content


def signatures(
    fields: Fields, digest: bytes, keys: Sequence[SigningKey], names: Names, now: int, expires: int | None
) -> bytes:
    """Return a DKIM-Signature by each key."""
    chosen = tuple(names.found(fields))
    signed_fields = fields.chosen(chosen)
    made = []
    for key in keys:
        bare = _bare(key.algorithm, key.domain, key.selector, chosen, now, expires).replace(
            _NO_DIGEST, b64encode(digest)
        )
        own = dkim.signing_input(signed_fields, "relaxed", bare)
        made.append(dkim.completed(bare, key.sign(hashlib.sha256(own).digest())))
    return b"".join(made)


@lru_cache(256)
def _bare(algorithm: str, domain: str, selector: str, names: tuple[bytes, ...], now: int, expires: int | None) -> bytes:
    """Return a signature field up to its `b=`, for a digest to be put in: within a second nothing else differs."""
    return dkim.unsigned(
        bytes(32), algorithm=algorithm, domain=domain, selector=selector, names=names, timestamp=now, expires=expires
    )


def sealed(fields: Fields, digest: bytes, plan: SealPlan, now: int) -> bytes:
    """Return the three fields of an ARC set, empty where none is to be made: for a chain that is full, had failed
    before, or whose worth on arrival is not known (RFC 8617 §5.1)."""
    chain = arc.read(fields)
    instance = chain.next_instance
    status = plan.status
    if status == "temperror" or instance is None or any(each.seal.cv == "fail" for each in chain.sets):
        return b""
    if chain.fault:
        status = "fail"
    elif not chain.sets:
        status = "none"
    elif status == "none":
        return b""  # there is a chain, and nobody has said what it is worth
    key = plan.key
    results = arc.results_field(instance, plan.claims)
    bare = arc.unsigned_message(
        instance,
        digest,
        algorithm=key.algorithm,
        domain=key.domain,
        selector=key.selector,
        names=_SEALED.found(fields),
        timestamp=now,
    )
    own = dkim.signing_input(fields.chosen(_SEALED.found(fields)), "relaxed", bare)
    message = dkim.completed(bare, key.sign(hashlib.sha256(own).digest()))
    bare = arc.unsigned_seal(
        instance, status, algorithm=key.algorithm, domain=key.domain, selector=key.selector, timestamp=now
    )
    own = arc.sealing_input(chain, status, results, message, bare)
    return dkim.completed(bare, key.sign(hashlib.sha256(own).digest())) + message + results
