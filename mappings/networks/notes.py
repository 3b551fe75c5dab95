"""notes: the hierarchical names of Lotus Notes and Domino, `CN=Ann Lee/OU=Sales/O=Acme@AcmeNet`.

Promises: abbreviated names are read and kept with their keys; compares without case and with blanks folded. Domains
stand in the order in which they are written, so the last is reached first. An internet address is refused, since it
would be a second name for an smtp address, except behind a domain of Notes, where it is how Notes reaches the
internet: `ann@acme.example@Inet`, kept as `CN=ann@acme.example@Inet`.
Source: the manuals of Domino (hierarchical naming, addressing across domains).
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from mappings.network import Address, AddressError, Network, Style, clean
from mappings.networks.smtp import Smtp, unquote

_RANKS: Final = {"CN": 0, "G": 1, "I": 1, "S": 1, "Q": 1, "OU": 2, "O": 3, "C": 4}
_WRITTEN: Final = ("CN", "G", "I", "S", "Q", "OU", "O", "C")
_UNITS: Final = 4
_KEYED: Final = re.compile(rf"({'|'.join(_WRITTEN)}) *=", re.IGNORECASE | re.ASCII)
_COUNTRY: Final = re.compile("[A-Za-z]{2}")
_SMTP: Final = Smtp()


class Notes(Network):
    """Notes and Domino.

    With `two_letter_country`, a last part of exactly two letters in an abbreviated name is a country. With
    `domino_style`, `Ann_Lee/Sales/Acme%AcmeNet` in front of this gateway's domain is read as Domino writes it; there,
    `_` stands for a blank, so a name that holds `_` itself is not found by it.
    """

    name = "notes"
    imcea_type = "NOTES"

    def __init__(self, *, two_letter_country: bool = True, domino_style: bool = False) -> None:
        self._two_letter_country = two_letter_country
        self._domino_style = domino_style

    def parse(self, text: str) -> Address:
        value = clean(text)
        name, *domains = value.split("@")
        at = len(name) + 1
        for i, domain in enumerate(domains):
            if not domain.strip():
                raise AddressError("notes.empty-domain", value, at, "write the name of a Notes domain after the @")
            if "/" in domain:
                raise AddressError("notes.bad-domain", value, at, "a domain has no /; write the name before the @")
            at += len(domain) + 1
            domains[i] = " ".join(domain.split())
        if len(domains) == 1 and ("." in domains[0] or domains[0].startswith("[")) and "/" not in name:
            message = "this is an internet address; write smtp: in front of it, or the Notes domain that leads there"
            raise AddressError("notes.internet", value, len(name), message)
        made = clean("@".join((self._name(name, value), *domains)))
        return Address("notes", made, unicodedata.normalize("NFC", made.casefold()))

    def format(self, address: Address, style: Style = "canonical") -> str:
        """Return an address; for people, its abbreviated form where that is read back as the same."""
        if style != "display":
            return super().format(address, style)
        name, at, domains = address.value.partition("@")
        short = "/".join(part.partition("=")[2] for part in name.split("/")) + at + domains
        try:
            return short if self.parse(short).value == address.value else address.value
        except AddressError:
            return address.value

    def from_gateway(self, local: str, below: str) -> Address | None:
        text = unquote(local)
        if not self._domino_style or below or not {"/", "%"} & set(text):
            return None
        try:
            return self.parse(text.replace("_", " ").replace("%", "@"))
        except AddressError:
            return None

    def through(self, gate: Address, inner: Address) -> Address | None:
        """Return `inner` in front of the gate's domains: at the gate `CN=Gateway@Inet`, `ann@acme.example@Inet`.

        The name of the gate does not count; mail to everybody in its domain comes to it.
        """
        _, at, domains = gate.value.partition("@")
        if inner.network != "smtp" or gate.network != "notes" or not at:
            return None
        try:
            made = self.parse(f"CN={inner.value}@{domains}")
        except AddressError:
            return None
        return made if self.behind(gate, made) == inner else None

    def behind(self, gate: Address, address: Address) -> Address | None:
        ours = gate.key.split("@")[1:]
        inner = address.value.split("@")[: -len(ours)]
        if not ours or len(inner) < 2 or address.key.split("@")[-len(ours) :] != ours or "/" in inner[0]:
            return None
        try:
            return _SMTP.parse("@".join(inner).removeprefix("CN="))
        except AddressError:
            return None

    def _name(self, text: str, whole: str) -> str:
        """Return a name with all its keys, in their order."""
        parts: list[tuple[str, str]] = []
        raw = text.split("/")
        pieces = [piece.strip() for piece in raw]
        if not pieces[0]:
            raise AddressError("notes.no-cn", whole, 0, "write the person's name first, as in Ann Lee/Sales/Acme")
        at = 0
        for i, (piece, key) in enumerate(zip(pieces, self._keys(pieces), strict=True)):
            keyed = _KEYED.match(piece)
            value = " ".join(piece[keyed.end() if keyed is not None else 0 :].split())
            if i == 0 and (key != "CN" or not value):
                raise AddressError("notes.no-cn", whole, 0, "write the person's name first, as in CN=Ann Lee/O=Acme")
            if not value:
                raise AddressError("notes.empty-part", whole, at, "a part between two / is empty")
            if unicodedata.combining(value[0]):  # it would become one character with the = before it
                raise AddressError("notes.bad-char", whole, at, "a part does not begin with a combining mark")
            if parts and _RANKS[key] < _RANKS[parts[-1][0]]:
                raise AddressError("notes.order", whole, at, "write CN, then OU from the lowest up, then O, then C")
            if key != "OU" and any(key == other for other, _ in parts):
                raise AddressError("notes.twice", whole, at, f"a name has one {key}")
            parts.append((key, value))
            at += len(raw[i]) + 1
        if sum(key == "OU" for key, _ in parts) > _UNITS:
            raise AddressError("notes.too-many-ou", whole, 0, f"a name has at most {_UNITS} organizational units")
        parts.sort(key=lambda part: _WRITTEN.index(part[0]))
        return "/".join(f"{key}={value}" for key, value in parts)

    def _keys(self, pieces: list[str]) -> list[str]:
        """Return the key of each part: as it is written, or by its place in an abbreviated name."""
        keys = [found[1].upper() if (found := _KEYED.match(piece)) is not None else "" for piece in pieces]
        keys[0] = keys[0] or "CN"
        last = len(keys) - 1
        if last and not keys[last] and self._two_letter_country and _COUNTRY.fullmatch(pieces[last]):
            keys[last] = "C"
        if keys[last] == "C":
            last -= 1
        if last > 0:
            keys[last] = keys[last] or "O"
        return [key or "OU" for key in keys]
