"""Public keys as DNS holds them, and private ones as files do. Source: RFC 6376 §3.6.1; RFC 8301; RFC 8463."""

from __future__ import annotations

import base64
import binascii
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, cast

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_private_key

from connectors.smtp.authentication import tags

PrivateKey = RSAPrivateKey | Ed25519PrivateKey
PublicKey = RSAPublicKey | Ed25519PublicKey

MIN_BITS: Final = 1024
"""RFC 8301 §3.2: a shorter RSA key proves nothing."""
MAX_BITS: Final = 8192
"""A longer one is a way to keep a processor busy; a verifier must take 4096."""
_MAX_RECORDS: Final = 4
_PADDING: Final = padding.PKCS1v15()
_HASHED: Final = Prehashed(SHA256())


class KeyFault(ValueError):
    """A key record or key file that is none; the text says why."""


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One key record, read. `key` is None where it is revoked (an empty p=)."""

    key: PublicKey | None
    hashes: tuple[str, ...] | None
    """The hash algorithms it may be used with; None for all."""
    services: tuple[str, ...]
    testing: bool
    strict: bool
    """i= of a signature must be at the very domain of d= (t=s)."""
    bits: int
    """The length of an RSA key, else 0. Kept: to ask the key costs as much as half of the header's canonical form."""

    @property
    def kind(self) -> Literal["rsa", "ed25519"]:
        return "rsa" if self.bits else "ed25519"

    def verifies(self, signature: bytes, digest: bytes) -> bool:
        """Say whether a signature is over this SHA-256 digest."""
        key = self.key
        if key is None:
            return False
        try:
            if self.bits:
                cast(RSAPublicKey, key).verify(signature, digest, _PADDING, _HASHED)
            else:
                cast(Ed25519PublicKey, key).verify(signature, digest)  # RFC 8463 §3: Ed25519 over the hash
        except InvalidSignature:
            return False
        return True


def read_record(octets: bytes) -> KeyRecord:
    """Read a key record. Raises: KeyFault."""
    try:
        found = tags.parse(octets)
    except tags.TagFault as fault:
        raise KeyFault(f"key record: {fault}") from fault
    if "v" in found and (found["v"] != b"DKIM1" or next(iter(found)) != "v"):
        raise KeyFault("key record of another version")
    if "p" not in found:
        raise KeyFault("key record without a key")
    kind = found.get("k", b"rsa").decode("latin-1").lower()
    flags = tags.names(found.get("t", b""))
    key = _public(kind, tags.compact(found["p"]))
    return KeyRecord(
        key=key,
        hashes=tags.names(found["h"]) if "h" in found else None,
        services=tags.names(found.get("s", b"*")),
        testing="y" in flags,
        strict="s" in flags,
        bits=key.key_size if isinstance(key, RSAPublicKey) else 0,
    )


def _public(kind: str, text: bytes) -> PublicKey | None:
    if kind not in ("rsa", "ed25519"):
        raise KeyFault("key of an unknown kind")
    if not text:
        return None
    try:
        octets = base64.b64decode(text, validate=True)
        if kind == "ed25519":
            return Ed25519PublicKey.from_public_bytes(octets)
        key = load_der_public_key(octets)
    except (ValueError, TypeError, binascii.Error, UnsupportedAlgorithm) as fault:
        raise KeyFault("key that cannot be read") from fault
    if not isinstance(key, RSAPublicKey):
        raise KeyFault("key of another kind than it says")
    return key


class KeyCache:
    """Key records by their octets, read once: to read an RSA key costs as much as to verify with it."""

    def __init__(self, limit: int = 2048) -> None:
        self._limit = limit
        self._read: OrderedDict[bytes, KeyRecord | KeyFault] = OrderedDict()

    def read(self, records: Sequence[bytes]) -> KeyRecord:
        """Return the first of a name's records that is one. Raises: KeyFault."""
        fault: KeyFault | None = None
        for octets in records[:_MAX_RECORDS]:
            found = self._one(octets)
            if isinstance(found, KeyRecord):
                return found
            fault = fault or found
        raise fault or KeyFault("no key")

    def _one(self, octets: bytes) -> KeyRecord | KeyFault:
        found = self._read.get(octets)
        if found is None:
            try:
                found = read_record(octets)
            except KeyFault as fault:
                found = fault.with_traceback(None)
            self._read[octets] = found
            if len(self._read) > self._limit:
                self._read.popitem(last=False)
        return found


def load_private_key(octets: bytes) -> PrivateKey:
    """Read a private key: PEM, or the 32 octets of an Ed25519 seed in base64 as `dknewkey` writes them.

    Raises: KeyFault, whose text holds nothing of the key.
    """
    try:
        if octets.lstrip().startswith(b"-----"):
            key = load_pem_private_key(octets, password=None)
        else:
            key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(octets.strip(), validate=True))
    except (ValueError, TypeError, binascii.Error, UnsupportedAlgorithm):
        raise KeyFault("no private key without a password, in PEM, of RSA or Ed25519") from None
    if not isinstance(key, (RSAPrivateKey, Ed25519PrivateKey)):
        raise KeyFault("a private key of another kind than RSA or Ed25519")
    if isinstance(key, RSAPrivateKey) and not MIN_BITS <= key.key_size <= MAX_BITS:
        raise KeyFault(f"an RSA key of {key.key_size} bits; take 2048")
    return key


def algorithm_of(key: PrivateKey) -> str:
    """Return what a= says of signatures by this key."""
    return "rsa-sha256" if isinstance(key, RSAPrivateKey) else "ed25519-sha256"


def sign_digest(key: PrivateKey, digest: bytes) -> bytes:
    """Sign a SHA-256 digest. An RSA signature of 2048 bits takes most of a millisecond: see where you call it."""
    if isinstance(key, RSAPrivateKey):
        return key.sign(digest, _PADDING, _HASHED)
    return key.sign(digest)


def public_record(key: PrivateKey) -> str:
    """Return the key record to publish for a private key."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if isinstance(key, RSAPrivateKey):
        octets = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return f"v=DKIM1; k=rsa; p={base64.b64encode(octets).decode('ascii')}"
    octets = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return f"v=DKIM1; k=ed25519; p={base64.b64encode(octets).decode('ascii')}"
