"""ftn: the addresses of FidoNet and of networks of its technology, `Ann Lee@2:280/464.1`, perhaps with `@network`.

Promises: names compare without case and with their blanks folded; the point 0 is the node itself; a network's name
is left out where it is the one that the zone belongs to. The internet form of FidoNet's domain is read; behind a
gateway's domain it is read and written, except where dots for blanks could not be turned back.
A name is bounded in characters, since every code page of these systems takes at least one octet for each.
Source: FTS-0001 (name), FTS-4001 (ranges), FTS-5000 (nodelist, domain form of an address).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from mappings.network import Address, AddressError, Network, clean
from mappings.networks.smtp import unquote

FIDONET: Final = "fidonet"
ZONES: Final[Mapping[int, str]] = MappingProxyType(dict.fromkeys(range(1, 7), FIDONET))
"""The zones of FidoNet itself; other networks choose theirs, so a node's operator lists those."""

_PLACE: Final = re.compile(r"(?:(-?[0-9]+):)?(-?[0-9]+)/(-?[0-9]+)(?:\.([0-9]+))?")
_NO_NODE: Final = re.compile(r"[0-9]+:[0-9]*")
_LABELS: Final = re.compile(r"(?:p([0-9]+)\.)?f([0-9]+)\.n([0-9]+)(?:\.z([0-9]+))?", re.IGNORECASE | re.ASCII)
_INTERNET: Final = re.compile(rf"{_LABELS.pattern}\.fidonet\.org\.?", re.IGNORECASE | re.ASCII)
_DOMAIN: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9-]+(?: [A-Za-z0-9-]+)*")
_NAME: Final = 35
_NUMBER: Final = 32767
_POINT: Final = 65535
_DOMAIN_CHARACTERS: Final = 60
_DOMAIN_USUAL: Final = 8


class Ftn(Network):
    """FidoNet technology networks.

    `default_zone` completes an address without a zone. `domains` names the network of each zone, besides FidoNet's
    own six. With `sysop`, an address without a name is the node's operator.
    """

    name = "ftn"
    imcea_type = "FTN"
    aliases = ("fidonet",)

    def __init__(
        self, default_zone: int | None = None, domains: Mapping[int, str] | None = None, *, sysop: bool = False
    ) -> None:
        self._default_zone = default_zone
        self._domains = {**ZONES, **{zone: domain.lower() for zone, domain in (domains or {}).items()}}
        self._sysop = sysop

    def parse(self, text: str) -> Address:
        value = clean(text)
        name, _, last = value.rpartition("@")
        at = len(value) - len(last)
        internet = _INTERNET.fullmatch(last.strip())
        if internet is not None:
            return self._from_labels(name, internet, FIDONET, value, at)
        place, domain = last, ""
        if _PLACE.fullmatch(last.strip()) is None:
            before, sign, middle = name.rpartition("@")
            middle = middle if sign else name
            if _PLACE.fullmatch(middle.strip()) is not None:
                domain = last.strip().lower()
                if len(domain) > _DOMAIN_CHARACTERS or not _DOMAIN.fullmatch(domain):
                    message = "the name of a network has letters, digits, dots and hyphens"
                    raise AddressError("ftn.bad-domain", value, at, message)
                name, place, at = before, middle, len(before) + len(sign)
        found = _PLACE.fullmatch(place.strip())
        if found is None:
            if _NO_NODE.fullmatch(place.strip()):
                raise AddressError("ftn.no-node", value, len(value), "write zone:net/node, as in Ann Lee@2:280/464")
            raise AddressError("ftn.no-address", value, at, "write Name@zone:net/node, as in Ann Lee@2:280/464.1")
        return self._made(name, found.groups(), domain, value, at)

    def at_gateway(self, address: Address, domain: str) -> str | None:
        name, _, place = address.value.rpartition("@")
        found = _PLACE.fullmatch(place)
        if found is None or not _PLAIN_NAME.fullmatch(name):  # a network's name is shown only encapsulated
            return None
        zone, net, node, point = found.groups()
        front = f"p{point}." if point else ""
        return f"{name.replace(' ', '.')}@{front}f{node}.n{net}.z{zone}.{domain}"

    def from_gateway(self, local: str, below: str) -> Address | None:
        labels = _LABELS.fullmatch(below)
        if labels is None:
            return None
        try:
            return self._from_labels(local, labels, "", f"{local}@{below}", len(local) + 1)
        except AddressError:
            return None

    def warnings(self, address: Address) -> tuple[str, ...]:
        name, _, place = address.value.rpartition("@")
        domain = ""
        if _PLACE.fullmatch(place) is None:
            domain = place
            name, _, place = name.rpartition("@")
        found = []
        if len(name.encode()) > _NAME:
            found.append(f"the name is over {_NAME} octets in UTF-8; it must be sent in another code page")
        if len(domain) > _DOMAIN_USUAL:
            found.append(f"the network's name is over {_DOMAIN_USUAL} characters; some systems cut it")
        if int(place.partition(".")[2] or 0) > _NUMBER:
            found.append(f"the point is over {_NUMBER}; some systems refuse it")
        return tuple(found)

    def _from_labels(self, local: str, labels: re.Match[str], domain: str, whole: str, at: int) -> Address:
        """Read the form in which every part of the node's number is a label of a domain."""
        point, node, net, zone = labels.groups()
        # Both signs are written for a blank, by different gateways; in quotes, the name is as its owner writes it.
        name = unquote(local) if local.startswith('"') else re.sub("[._]", " ", local)
        return self._made(name, (zone, net, node, point), domain, whole, at)

    def _made(self, name: str, place: tuple[str | None, ...], domain: str, whole: str, at: int) -> Address:
        name = " ".join(name.split())
        if not name:
            if not self._sysop:
                raise AddressError("ftn.no-name", whole, 0, "write the name in front, as in Ann Lee@2:280/464")
            name = "Sysop"
        if len(name) > _NAME:
            raise AddressError("ftn.name-length", whole, 0, f"a name has at most {_NAME} characters")
        zone, net, node, point = (None if number is None else int(number) for number in place)
        if zone is None:
            zone = self._default_zone
        if zone is None:
            raise AddressError("ftn.no-zone", whole, at, "write the zone in front, as in 2:280/464")
        for what, number, low, high in (
            ("zone", zone, 1, _NUMBER),
            ("net", net, 0, _NUMBER),
            ("node", node, 0, _NUMBER),
            ("point", point or 0, 0, _POINT),
        ):
            if number is None or not low <= number <= high:
                raise AddressError("ftn.range", whole, at, f"a {what} is a number from {low} to {high}")
        made = f"@{zone}:{net}/{node}"
        if point:
            made += f".{point}"
        if domain and domain != self._domains.get(zone):
            made += f"@{domain}"
        name = unicodedata.normalize("NFC", name)
        return Address("ftn", name + made, unicodedata.normalize("NFC", name.casefold()) + made)
