"""SRS: a forwarded message's reverse-path in a domain of ours, so that SPF passes, and back again for its bounces.

`SRS0=HASH=TT=domain=local@ours` carries the sender's address, signed and dated; what another forwarder has rewritten
already becomes `SRS1=HASH=domain==…@ours`, which leads back to that forwarder, however many hops follow. The form is
that of libsrs2, so that a site which moves in keeps its secrets and its bounces.

Promises: only addresses that this gateway made lead anywhere, for a stated number of days; the first secret signs, all
of them verify. Pure.
"""

from __future__ import annotations

import hmac
import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import Final

from connectors.smtp.outward_config import SrsConfig

_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_DAY_S: Final = 86400
_DAYS: Final = 1024
"""Days go round in two signs of five bits each."""
_REWRITTEN: Final = re.compile(r"SRS([01])([=+-])(.*)", re.IGNORECASE | re.DOTALL)
_MOST: Final = 512
"""Octets of a local part that is read or made: others would not carry a longer one."""


@unique
class Flaw(Enum):
    """Why an address in our SRS domain leads nowhere."""

    NO_HASH = "it has no hash"
    NO_TIME = "it has no date"
    NO_HOST = "it has no domain"
    NO_USER = "it has no mailbox"
    FORGED = "its hash is wrong"
    EXPIRED = "it is out of date"


class SrsError(ValueError):
    """An address that cannot be rewritten, or not back; `flaw` is set for the latter."""

    def __init__(self, text: str, flaw: Flaw | None = None) -> None:
        self.flaw = flaw
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Srs:
    """Rewrites for one domain. `secrets`: the first signs. `former_domains` are read, and never written.

    Raises: ValueError where no secret is given, or an empty one.
    """

    domain: str
    secrets: Sequence[bytes] = field(repr=False)
    former_domains: Iterable[str] = ()
    max_age_days: int = 21
    hash_chars: int = 8
    min_hash_chars: int = 4
    """A shorter hash is not believed: addresses made with another setting are read down to this."""

    def __post_init__(self) -> None:
        if not self.secrets or not all(self.secrets):
            raise ValueError("SRS needs a secret that is not empty")
        domains = frozenset(each.lower() for each in (self.domain, *self.former_domains))
        object.__setattr__(self, "former_domains", domains)

    def is_ours(self, address: str) -> bool:
        """Say whether an address has the form of ours: in a domain of ours, and `SRS0` or `SRS1` in front."""
        local, _, domain = address.rpartition("@")
        return local[:3].upper() == "SRS" and domain.lower() in self.former_domains and _form(local) is not None

    def forward(self, address: str, now: float) -> str:
        """Return the address in our domain that stands for `address`.

        Raises: SrsError where it has no domain, is one of ours already, or grows too long.
        """
        local, _, domain = address.rpartition("@")
        if not local or not domain:
            raise SrsError("an address without a domain")
        if domain.lower() in self.former_domains:
            raise SrsError("an address of our own domain")
        if local.startswith('"'):
            raise SrsError("a mailbox in quotes, which cannot stand within another")
        form = _form(local)
        if form is None:
            stamp = _stamp(now)
            made = f"SRS0={self._hash(self.secrets[0], stamp, domain, local)}={stamp}={domain}={local}"
        elif form[0] == "0":
            # The domain that rewrote it first must get the bounce: it alone can read what it wrote.
            opaque = form[1] + form[2]
            made = f"SRS1={self._hash(self.secrets[0], domain, opaque)}={domain}={opaque}"
        else:
            _, host, opaque = _parts(form[2], 3)
            if not host or not opaque:
                raise SrsError("an SRS1 address that is cut")
            made = f"SRS1={self._hash(self.secrets[0], host, opaque)}={host}={opaque}"
        if len(made) > _MOST:
            raise SrsError("an address too long to be rewritten")
        return f"{made}@{self.domain}"

    def reverse(self, address: str, now: float) -> str:
        """Return the address that one of ours stands for; `is_ours` was asked before.

        Raises: SrsError with its flaw.
        """
        local = address.rpartition("@")[0]
        form = _form(local)
        if form is None or len(local) > _MOST:
            raise SrsError("not an SRS address", Flaw.NO_HASH)
        if form[0] == "1":
            given, host, opaque = _parts(form[2], 3)
            _present((given, Flaw.NO_HASH), (host, Flaw.NO_HOST), (opaque, Flaw.NO_USER))
            self._verify(given, host, opaque)
            return f"SRS0{opaque}@{host}"
        given, stamp, host, user = _parts(form[2], 4)
        _present((given, Flaw.NO_HASH), (stamp, Flaw.NO_TIME), (host, Flaw.NO_HOST), (user, Flaw.NO_USER))
        self._verify(given, stamp, host, user)
        if not _is_fresh(stamp, now, self.max_age_days):
            raise SrsError(Flaw.EXPIRED.value, Flaw.EXPIRED)
        return f"{user}@{host}"

    def _hash(self, secret: bytes, *parts: str) -> str:
        # Letters may change their case on the way, so it is taken without.
        text = "".join(parts).lower().encode("utf-8", "surrogateescape")
        return b64encode(hmac.digest(secret, text, "sha1")).decode("ascii")[: self.hash_chars]

    def _verify(self, given: str, *parts: str) -> None:
        text = "".join(parts).lower().encode("utf-8", "surrogateescape")
        said = given.lower().encode("utf-8", "surrogateescape")
        for secret in self.secrets:
            made = b64encode(hmac.digest(secret, text, "sha1")).lower()
            if self.min_hash_chars <= len(said) <= len(made) and hmac.compare_digest(made[: len(said)], said):
                return
        raise SrsError(Flaw.FORGED.value, Flaw.FORGED)


def srs_of(table: SrsConfig) -> Srs:
    """Return what rewrites by a configuration."""
    secrets = [secret.encode() for secret in table.secrets]
    fewest = table.hash_chars if table.min_hash_chars is None else table.min_hash_chars
    return Srs(table.domain, secrets, table.former_domains, table.max_age_days, table.hash_chars, fewest)


def _form(local: str) -> tuple[str, str, str] | None:
    """Return (0 or 1, separator, rest) of a rewritten local part."""
    found = _REWRITTEN.fullmatch(local)
    return None if found is None else (found[1], found[2], found[3])


def _parts(text: str, count: int) -> list[str]:
    """Split at `=` into so many parts, absent ones empty. Of SRS1 the last keeps the separator that SRS0 had."""
    parts = text.split("=", count - 1)
    return parts + [""] * (count - len(parts))


def _present(*parts: tuple[str, Flaw]) -> None:
    for text, flaw in parts:
        if not text:
            raise SrsError(flaw.value, flaw)


def _stamp(now: float) -> str:
    day = int(now // _DAY_S) % _DAYS
    return _ALPHABET[day >> 5] + _ALPHABET[day & 31]


def _is_fresh(stamp: str, now: float, max_age_days: int) -> bool:
    signs = [_ALPHABET.find(sign) for sign in stamp.upper()]
    if len(signs) != 2 or -1 in signs:
        return False
    age = (int(now // _DAY_S) - (signs[0] << 5 | signs[1])) % _DAYS
    # A day of the future: by a clock that goes a little before ours.
    return age <= max_age_days or age == _DAYS - 1
