"""Encapsulation: a foreign address carried in an SMTP address, signed, and read back.

The form is `GP<key id><mac>-<TYPE>-<encoded>@domain`. Promises: what `encapsulate` made, `decapsulate` reads back to
an equal address, whatever a peer did to the case; anything else in the encapsulation domain that looks like an
encapsulated address is refused. So a stranger reaches exactly the addresses that this gateway has shown, no other.
Retired keys verify but never sign; a key that is taken out is revoked.
Source of the inner encoding: MS-OXCMAIL §2.1.3.1.8 (IMCEA).
"""

from __future__ import annotations

import hmac
import re
import secrets
from base64 import b32decode, b32encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from mappings.address import Address, AddressError
from mappings.network import Network, Registry, registry
from mappings.networks.smtp import domain_key

MAX_ENCODED: Final = 250
"""The longest encoded address; the local part is at most 268 octets then."""

_WORD: Final = 600
"""The longest word of an unsigned form, so that its lines stay under 998 octets."""

_KEY_ID: Final = re.compile(r"[a-z2-7]")
_SIGNED: Final = re.compile(r"gp([a-z2-7])([a-z2-7]{12})-([a-z0-9]+)-(.*)", re.IGNORECASE | re.ASCII | re.DOTALL)
_TOKEN: Final = re.compile(r"gpt-([a-z2-7]{26})")
_UNSIGNED: Final = re.compile(r"imcea([a-z0-9]+)-(.*)", re.IGNORECASE | re.ASCII | re.DOTALL)
_ESCAPED: Final = re.compile(rb"\+([0-9A-Fa-f]{2})?")
_KEPT: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-=")
_ENCODED: Final = tuple(chr(o) if o in _KEPT else "_" if o == 0x2F else f"+{o:02X}" for o in range(256))
_ENCODED_CAPITALS: Final = tuple(f"+{o:02X}" if 0x41 <= o <= 0x5A else sign for o, sign in enumerate(_ENCODED))

# What reads as a plain smtp address or as an Exchange name of its own is never carried (an smtp address inside an
# smtp address would be a relay for whoever writes one).
_NEVER: Final = frozenset({"SMTP", "X500"})


@dataclass(frozen=True, slots=True)
class Key:
    """A signing key: `id` is one character of a-z2-7; a `retired` one still verifies."""

    id: str
    secret: bytes = field(repr=False)
    retired: bool = False

    def __post_init__(self) -> None:
        if not _KEY_ID.fullmatch(self.id):
            raise ValueError(f"{self.id!r} is not a key id: one character of a-z or 2-7")
        if not self.secret:
            raise ValueError(f"the secret of key {self.id!r} is empty")


def new_key(id: str) -> Key:
    """Make a key from 32 random octets."""
    return Key(id, secrets.token_bytes(32))


class EncapsulationError(Exception):
    """An address in the encapsulation domain that is refused: `code` (RFC 3463) and `text` are for the sender."""

    def __init__(self, code: str, text: str) -> None:
        self.code = code
        self.text = text
        super().__init__(f"{code} {text}")


class Encapsulation:
    """Encapsulates in the first of `domains`, reads back in all of them. Signs with the first key not retired.

    Immutable, and safe to use from many threads.
    Raises: ValueError where no key signs, two keys share an id, or a domain is ill-formed.
    """

    def __init__(
        self,
        domains: Sequence[str],
        keys: Iterable[Key],
        *,
        percent: bool = False,
        networks: Registry | None = None,
    ) -> None:
        if not domains:
            raise ValueError("encapsulation needs a domain that mail reaches this gateway by")
        keys = tuple(keys)
        self.domains = frozenset(domain_key(d) for d in domains)
        self._domain = domain_key(domains[0])
        self._all_keys = keys
        self._keys = {k.id: k.secret for k in keys}
        if len(self._keys) != len(keys):
            raise ValueError("two encapsulation keys share an id; give each a character of its own")
        signing = next((k for k in keys if not k.retired), None)
        if signing is None:
            raise ValueError("no encapsulation key can sign; add one that is not retired")
        self._signing = signing
        self._percent = percent
        self._networks = networks if networks is not None else registry()

    def derived_key(self, purpose: str) -> bytes:
        """Return a key of 32 octets for another purpose, made from the signing key."""
        return hmac.digest(self._signing.secret, f"derived:{purpose}".encode(), "sha256")

    def encapsulate(self, address: Address) -> Address:
        """Return the smtp address that carries `address`; an smtp address is returned as it is.

        Raises: AddressError where the encoded address is over 250 octets.
        """
        if address.network == "smtp":
            return address
        kind = self._networks.get(address.network).imcea_type.upper()
        # Where case tells two addresses apart it must outlive peers that fold it, as XMPP servers do.
        encoded = encode(address.value, keep_case=address.key != address.key.lower())
        if len(encoded) > MAX_ENCODED:
            raise AddressError(
                "encapsulation.too-long",
                str(address),
                0,
                f"the address is too long to be carried in an smtp address ({len(encoded)} octets, "
                f"at most {MAX_ENCODED}); give its owner an smtp address in the identities",
            )
        mac = _mac(self._signing.secret, kind, address.key)
        local = f"GP{self._signing.id}{mac}-{kind}-{encoded}"
        return Address("smtp", f"{local}@{self._domain}", f"{local.lower()}@{self._domain}")

    def decapsulate(self, address: Address, *, unsigned: Callable[[Address], bool] | None = None) -> Address | None:
        """Return the address that an smtp address in our encapsulation domains carries; None where it carries none.

        An unsigned `IMCEA<type>-…` is taken only where `unsigned` says of the address within that anyone may name it.
        Raises: EncapsulationError where it must be refused.
        """
        if address.network != "smtp":
            return None
        key = address.key
        if not key.startswith(("gp", "imcea")) or key.rpartition("@")[2] not in self.domains:
            return None
        local = address.value.rpartition("@")[0]
        signed = _SIGNED.fullmatch(local)
        if signed is not None:
            id, mac, kind, encoded = signed[1].lower(), signed[2].lower(), signed[3], signed[4]
            secret = self._keys.get(id)
            if secret is None:
                raise _not_issued()
            network = self._network(kind)
            # Where case counts, what was written in lower case comes back by it though a peer put it in capitals.
            for text in dict.fromkeys((encoded, encoded.lower())):
                try:
                    inner = self._inner(network, text)
                except AddressError:
                    continue
                if hmac.compare_digest(_mac(secret, kind, inner.key), mac):
                    return inner
            raise _not_issued()
        plain = _UNSIGNED.fullmatch(local)
        if plain is None:
            return None
        try:
            inner = self._inner(self._network(plain[1]), plain[2])
        except AddressError as e:
            raise EncapsulationError("5.1.3", f"the encapsulated address is ill-formed: {e.message}") from None
        if unsigned is None or not unsigned(inner):
            raise _not_issued()
        return inner

    def unsigned(self, address: Address) -> Address | None:
        """Return what an smtp address of the form `IMCEA<type>-…` names, whatever its domain; None where it has no such
        form, or a broken one. Nothing proves that anyone may write to it."""
        if address.network != "smtp" or not address.key.startswith("imcea"):
            return None
        plain = _UNSIGNED.fullmatch(address.value.rpartition("@")[0])
        if plain is None:
            return None
        try:
            return self._inner(self._network(plain[1]), plain[2])
        except (AddressError, EncapsulationError):
            return None

    def numbered(self, number: int) -> Address:
        """Return the smtp address that stands for a kept number, for addresses too long to be carried."""
        local = f"GPT-{_token(self._signing, number)}"
        return Address("smtp", f"{local}@{self._domain}", f"{local.lower()}@{self._domain}")

    def number_of(self, address: Address) -> int | None:
        """Return the number that `numbered` wrote; None where the address has no such form.

        Raises: EncapsulationError where this gateway did not write it.
        """
        local, _, domain = address.key.rpartition("@")
        found = _TOKEN.fullmatch(local) if domain in self.domains else None
        if found is None:
            return None
        number = int.from_bytes(b32decode(found[1][:8].upper())) >> 8
        for key in self._all_keys:
            if hmac.compare_digest(_token(key, number), found[1]):
                return number
        raise _expired()

    def is_signed(self, address: Address) -> bool:
        """Tell whether an address has the signed form; whether its signature is ours, `decapsulate` says."""
        return _SIGNED.fullmatch(address.value.rpartition("@")[0]) is not None

    def by_custom(self, address: Address) -> Address | None:
        """Return what an smtp address at or below our domains names by some network's own custom, such as
        `FAX=+35812345@gw.example`; None where it is no such form. It carries no signature."""
        local, _, domain = address.value.rpartition("@")
        below = self._below(address.key.rpartition("@")[2])
        if below is None or not domain:
            return None
        for network in self._customs:
            # A network may have a domain of its own there, as in `…f464.n280.z2.ftn.gw.example`.
            inner = network.from_gateway(local, f".{below}".removesuffix(f".{network.name}").lstrip("."))
            if inner is not None and inner.network != "smtp":
                return inner
        return None

    def _below(self, domain: str) -> str | None:
        """Return the labels in front of one of our domains, "" for the domain itself; None for a domain beyond."""
        for own in self.domains:
            if domain == own:
                return ""
            if domain.endswith("." + own):
                return domain[: -len(own) - 1]
        return None

    def is_below(self, domain: str) -> bool:
        """Tell whether a domain (in comparison form) is one of ours, or below one."""
        return self._below(domain) is not None

    @cached_property
    def _customs(self) -> tuple[Network, ...]:
        """The networks that have a form of their own at a gateway's domain."""
        found = (self._networks.get(name) for name in self._networks.names)
        return tuple(n for n in found if type(n).from_gateway is not Network.from_gateway)

    def _network(self, kind: str) -> Network:
        kind = kind.upper()
        network = None if kind in _NEVER else self._networks.by_type(kind)
        if network is None:
            raise EncapsulationError("5.1.2", f"no network {kind[:32]} here")
        return network

    def _inner(self, network: Network, encoded: str) -> Address:
        inner = self._networks.parse_in(network.name, decode(encoded, percent=self._percent))
        if inner.network == "smtp":  # some networks write an internet address inside their own
            raise AddressError("encapsulation.smtp", encoded, 0, "an smtp address is not carried in an smtp address")
        return inner


def unsigned_spec(address: Address, domain: str, networks: Registry | None = None) -> str:
    """Return an addr-spec that names an address of any network, `IMCEA<type>-…@domain`, with nothing to prove it.

    For header fields between this gateway and those who know what such a mailbox is. One that is too long for a line
    has dots in it, where it may be folded (RFC 5322 §4.4, obs-local-part): the encoding itself writes none.
    """
    network = (networks if networks is not None else registry()).get(address.network)
    encoded = encode(address.value, keep_case=address.key != address.key.lower())
    local = f"IMCEA{network.imcea_type.upper()}-{encoded}"
    return ".".join(local[i : i + _WORD] for i in range(0, len(local), _WORD)) + f"@{domain}"


def named_unsigned(local: str, networks: Registry | None = None) -> Address | None:
    """Return what the local part of an `unsigned_spec` names; None where it is none."""
    found = networks if networks is not None else registry()
    plain = _UNSIGNED.fullmatch(local.replace(".", ""))
    network = None if plain is None else found.by_type(plain[1])
    if plain is None or network is None:
        return None
    try:
        return found.parse_in(network.name, decode(plain[2]))
    except AddressError:
        return None


def encode(value: str, *, keep_case: bool = False) -> str:
    """Write a text in IMCEA's alphabet: letters, digits, `-`, `=`; `/` as `_`; every other octet as `+HH`.

    `keep_case` writes capital letters as `+HH` too.
    """
    alphabet = _ENCODED_CAPITALS if keep_case else _ENCODED
    return "".join([alphabet[o] for o in value.encode()])


def decode(encoded: str, *, percent: bool = False) -> str:
    """Read IMCEA's alphabet; characters that should have been escaped stay. `percent` takes `%HH` too.

    Raises: AddressError (`imcea.bad-escape`) where `+` has no two hexadecimal digits, or the octets are not UTF-8.
    """
    octets = encoded.encode().replace(b"_", b"/")
    if percent:
        octets = re.sub(rb"%([0-9A-Fa-f]{2})", rb"+\1", octets)
    pieces = []
    last = 0
    for escape in _ESCAPED.finditer(octets):
        if escape[1] is None:
            raise AddressError("imcea.bad-escape", encoded, escape.start(), "+ needs two hexadecimal digits")
        pieces += [octets[last : escape.start()], bytes((int(escape[1], 16),))]
        last = escape.end()
    pieces.append(octets[last:])
    try:
        return b"".join(pieces).decode()
    except UnicodeDecodeError as e:
        raise AddressError("imcea.bad-escape", encoded, e.start, "the escaped octets are not UTF-8") from None


def _mac(secret: bytes, kind: str, key: str) -> str:
    """Return 60 bits in base 32 over type and comparison key, so that a change of case does no harm."""
    digest = hmac.digest(secret, f"{kind.lower()}:{key}".encode(), "sha256")
    return b32encode(digest[:10])[:12].decode("ascii").lower()


def _token(key: Key, number: int) -> str:
    """Return a number of up to 32 bits and 90 bits that prove it, as 26 characters of base 32."""
    head = number.to_bytes(4) + b"\0"
    digest = hmac.digest(key.secret, b"token:" + head, "sha256")
    return (b32encode(head) + b32encode(digest[:15]))[:26].decode("ascii").lower()


def _expired() -> EncapsulationError:
    return EncapsulationError("5.1.6", "address expired")


def _not_issued() -> EncapsulationError:
    return EncapsulationError("5.7.1", "address was not issued by this gateway")
