"""What others wrap a reverse-path in: SRS of forwarders, BATV of senders, VERP of lists; and our own of the first two.

Promises: `unwrapped` tells what address a wrapped one was made of, by its form alone, so an identity is found and a
loop is seen; others' tags are never altered, and nothing is sent to what was found without `Srs` or `Batv` having
verified it. A tag survives a change of case on its way. A local part that needs quotes keeps them. The clock and the
keys are arguments.
Source: the SRS papers as libsrs2 and PostSRSd implement them, draft-levine-smtp-batv, the VERP of qmail and of ezmlm.
"""

from __future__ import annotations

import hmac
import re
import unicodedata
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from mappings.address import AddressError
from mappings.networks.smtp import Smtp, domain_key, quote, unquote

SRS_DAYS: Final = 21
"""How long a forwarded message may take to bounce."""
BATV_DAYS: Final = 7

_DAY_S: Final = 86400
_BASE32: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_STAMPS: Final = 1024
_HASH: Final = 4
_AS_ASCII: Final = re.IGNORECASE | re.ASCII
_SRS: Final = re.compile(r"srs([01])[-=+]", _AS_ASCII)
_SRS0: Final = re.compile(r"srs0[-=+]([^=]+)=([a-z2-7]{2})=([^=]+)=(.*)", _AS_ASCII | re.DOTALL)
_SRS1: Final = re.compile(r"srs1[-=+]([^=]+)=([^=]+)=([-=+].+)", _AS_ASCII | re.DOTALL)
_PRVS: Final = re.compile(r"prvs=(?:([0-9]{4}[0-9a-f]{6})=(.*)|(.+)=([0-9]{4}[0-9a-f]{6}))", _AS_ASCII | re.DOTALL)
_NUMBERED: Final = re.compile(r"[0-9]+-(.+)", re.DOTALL)
_SMTP: Final = Smtp()


class Wrapper(Enum):
    """What an address is wrapped in; of VERP alone, what is inside is a recipient and no sender."""

    SRS0 = "a forwarder's return path"
    SRS1 = "the return path of a forwarder behind another"
    BATV = "a sender's tagged return path"
    VERP = "a list's return path for one recipient"


@dataclass(frozen=True, slots=True)
class Verp:
    """How one list names the recipient in its return path: `local separator recipient@`, its @ written as `at`.

    `numbered` lists put a message's number and a hyphen before the recipient.
    Raises: AddressError where `domain` is ill-formed.
    """

    local: str
    domain: str
    separator: str = "+"
    at: str = "="
    numbered: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "domain", domain_key(self.domain))


@dataclass(frozen=True, slots=True)
class Own:
    """What is known of wrappers here: our domains in comparison form, and lists whose return paths are read."""

    domains: frozenset[str]
    lists: tuple[Verp, ...] = ()


class EnvelopeTagError(Exception):
    """A tag that claims to be ours and is refused: `code` (RFC 3463) and `text` are for the sender."""

    def __init__(self, code: str, text: str) -> None:
        self.code = code
        self.text = text
        super().__init__(f"{code} {text}")


def unwrapped(path: str, *, own: Own) -> str | None:
    """Return what a reverse-path was made of, one wrapper taken off and nothing verified; None where it has none."""
    found = recognised(path, own=own)
    return None if found is None else found[1]


def recognised(path: str, *, own: Own) -> tuple[Wrapper, str] | None:
    """Return (wrapper, what is inside) of a reverse-path, None where it has none. Raises nothing.

    A BATV tag is recognised for our own domains alone: elsewhere it is that domain's mailbox name.
    """
    parts = _split(path)
    if parts is None:
        return None
    local, domain = parts
    srs0 = _SRS0.fullmatch(local)
    if srs0 is not None:
        return _inside(Wrapper.SRS0, srs0[4], srs0[3])
    srs1 = _SRS1.fullmatch(local)
    if srs1 is not None:
        return _inside(Wrapper.SRS1, f"SRS0{srs1[3]}", srs1[2])
    prvs = _PRVS.fullmatch(local) if domain in own.domains else None
    if prvs is not None:
        return _inside(Wrapper.BATV, prvs[2] if prvs[1] else prvs[3], domain)
    for verp in own.lists:
        start = verp.local + verp.separator
        if domain == verp.domain and local.lower().startswith(start.lower()):
            rest = local[len(start) :]
            numbered = _NUMBERED.fullmatch(rest) if verp.numbered else None
            user, at, host = (numbered[1] if numbered else rest).rpartition(verp.at)
            if user and at:
                return _inside(Wrapper.VERP, user, host)
    return None


class Srs:
    """Makes and verifies the return paths of what this gateway forwards.

    Signs with the first of `secrets`, verifies with all. Immutable, and safe to use from many threads.
    Raises: ValueError where there is no secret or `domain` is ill-formed.
    """

    def __init__(self, domain: str, secrets: Sequence[bytes], *, days: int = SRS_DAYS) -> None:
        if not secrets or not all(secrets):
            raise ValueError("SRS needs a secret, and none that is empty")
        self.domain = domain_key(domain)
        self._secrets = tuple(secrets)
        self._days = days

    def wrap(self, path: str, now: float) -> str:
        """Return the return path to forward with, whose bounces come here; null and our own stay as they are.

        `now` is in seconds since 1970. Raises: AddressError where `path` is no address.
        """
        if not path:
            return path
        address = _SMTP.parse(path)
        local, at, _ = address.value.rpartition("@")
        domain = address.key.rpartition("@")[2]
        if not at or domain == self.domain:
            return address.value
        local = unquote(local)
        srs1 = _SRS1.fullmatch(local)
        kind = _SRS.match(local)
        if srs1 is not None and _inside(Wrapper.SRS1, f"SRS0{srs1[3]}", srs1[2]) is not None:
            # The first forwarder stays, and only the one between is left out.
            made = f"SRS1={self._sign(srs1[2], srs1[3])}={srs1[2]}={srs1[3]}"
        elif kind is not None and kind[1] == "0" and len(local) > kind.end():
            rest = local[4:]
            made = f"SRS1={self._sign(domain, rest)}={domain}={rest}"
        else:
            day = int(now // _DAY_S) % _STAMPS
            stamp = _BASE32[day >> 5] + _BASE32[day & 31]
            made = f"SRS0={self._sign(stamp, domain, local)}={stamp}={domain}={local}"
        return f"{quote(made)}@{self.domain}"

    def unwrap(self, path: str, now: float) -> str | None:
        """Return where a bounce to `path` goes, None where it is no return path of ours.

        Raises: EnvelopeTagError where it was not made here, or too long ago.
        """
        parts = _split(path)
        if parts is None or parts[1] != self.domain:
            return None
        local = parts[0]
        if _SRS.match(local) is None:
            return None
        srs0 = _SRS0.fullmatch(local)
        srs1 = _SRS1.fullmatch(local)
        if srs0 is not None:
            self._verify(srs0[1], *srs0.groups()[1:])
            high, low = (_BASE32.index(c) for c in srs0[2].upper())
            age = (int(now // _DAY_S) - (high << 5 | low)) % _STAMPS
            if self._days < age < _STAMPS - 1:  # the node that made it may have been a day ahead
                raise _expired()
            found = _inside(Wrapper.SRS0, srs0[4], srs0[3])
        elif srs1 is not None:
            self._verify(srs1[1], *srs1.groups()[1:])
            found = _inside(Wrapper.SRS1, f"SRS0{srs1[3]}", srs1[2])
        else:
            found = None
        if found is None:
            raise _forged()
        return found[1]

    def _sign(self, *parts: str) -> str:
        return _srs_hash(self._secrets[0], parts)

    def _verify(self, shown: str, *parts: str) -> None:
        # Some peers fold the case of a whole address, so the hash compares without it too.
        for secret in self._secrets:
            if hmac.compare_digest(_srs_hash(secret, parts).lower().encode(), shown.lower().encode()):
                return
        raise _forged()


class Batv:
    """Tags the return paths of our own senders, so that a bounce of what they never sent is told from a true one.

    `keys` are numbered 0 to 9; the first signs, and each verifies what names it. `domains` are ours.
    Immutable, and safe to use from many threads. Raises: ValueError where a key or a domain is ill-formed.
    """

    def __init__(self, domains: Iterable[str], keys: Mapping[int, bytes], *, days: int = BATV_DAYS) -> None:
        if not keys or not all(keys.values()) or not all(0 <= number <= 9 for number in keys):
            raise ValueError("BATV needs keys with numbers from 0 to 9, and none that is empty")
        self.domains = frozenset(domain_key(domain) for domain in domains)
        self._keys = dict(keys)
        self._days = days

    def wrap(self, path: str, now: float) -> str:
        """Return the tagged form of a return path in our domains; null, others' and tagged ones stay as they are.

        `now` is in seconds since 1970. Raises: AddressError where `path` is no address.
        """
        if not path:
            return path
        value = _SMTP.parse(path).value
        parts = _split(value)
        if parts is None or parts[1] not in self.domains or _PRVS.fullmatch(parts[0]):
            return value
        local, domain = parts
        number, secret = next(iter(self._keys.items()))
        head = f"{number}{(int(now // _DAY_S) + self._days) % 1000:03d}"
        tagged = quote(f"prvs={head}{_batv_hash(secret, head, local, domain)}={local}")
        return f"{tagged}@{value.rpartition('@')[2]}"

    def unwrap(self, path: str, now: float) -> str | None:
        """Return the address that was tagged, None where it is none of our domains or has no tag.

        Raises: EnvelopeTagError where the tag was not made here, or too long ago.
        """
        parts = _split(path)
        if parts is None or parts[1] not in self.domains:
            return None
        prvs = _PRVS.fullmatch(parts[0])
        if prvs is None:
            return None
        tag, local = (prvs[1], prvs[2]) if prvs[1] is not None else (prvs[4], prvs[3])
        secret = self._keys.get(int(tag[0]))
        found = _inside(Wrapper.BATV, local, path.rpartition("@")[2])
        if secret is None or found is None:
            raise _forged()
        if not hmac.compare_digest(_batv_hash(secret, tag[:4], local, parts[1]), tag[4:].lower()):
            raise _forged()
        if (int(tag[1:4]) - int(now // _DAY_S)) % 1000 > self._days:
            raise _expired()
        return found[1]


def _split(path: str) -> tuple[str, str] | None:
    """Return (local part without quotes, domain in comparison form), None where it is no address with both."""
    try:
        address = _SMTP.parse(path)
    except AddressError:
        return None
    local, at, _ = address.value.rpartition("@")
    return (unquote(local), address.key.rpartition("@")[2]) if at else None


def _inside(wrapper: Wrapper, local: str, domain: str) -> tuple[Wrapper, str] | None:
    try:
        return wrapper, _SMTP.parse(f"{quote(local)}@{domain}").value
    except AddressError:
        return None


def _srs_hash(secret: bytes, parts: Iterable[str]) -> str:
    digest = hmac.digest(secret, _folded("".join(parts)), "sha1")
    return b64encode(digest)[:_HASH].decode("ascii")


def _batv_hash(secret: bytes, head: str, local: str, domain: str) -> str:
    return hmac.digest(secret, _folded(f"{head}{local}@{domain}"), "sha1").hex()[:6]


def _folded(text: str) -> bytes:
    """Return what a text has in common with what becomes of it where it is put into lower case and normalised."""
    # Not by `lower`, which makes of one Σ this or that letter by what stands around it.
    return unicodedata.normalize("NFC", text.casefold()).encode()


def _forged() -> EnvelopeTagError:
    return EnvelopeTagError("5.7.1", "forged return path")


def _expired() -> EnvelopeTagError:
    return EnvelopeTagError("5.7.1", "expired return path")
