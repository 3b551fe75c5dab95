"""snads: the addresses of IBM's SNA Distribution Services, `DGN.DEN`: the name of a group, and of an entry in it.

Promises: written in upper case, compares without case; each name has one to eight characters. Read is also the
free-form text of Microsoft Mail gateways, `[SNADS:gateway/DGN/DEN]`; the gateway's name there is a way to the address
and no part of it, so it is left out. Eight characters have no room for an internet address, and no custom of writing
one is known; what lies behind a gateway has a number there, as the name of an entry.
Source: the free-form address formats of Microsoft Mail gateways (the parts); the lengths as SNA names have them.
"""

from __future__ import annotations

import re
from typing import Final

from mappings.network import Address, AddressError, Network
from mappings.networks.msmail import number_in, numbered_name, one_off

_NAME: Final = re.compile(r"[A-Za-z0-9@#$_-]+")
_CHARACTERS: Final = 8


class Snads(Network):
    """SNA Distribution Services."""

    name = "snads"
    imcea_type = "SNADS"

    def parse(self, text: str) -> Address:
        value = one_off(self, text)
        if "/" in value:
            names = value.split("/")
            if len(names) == 3 and not names.pop(0).strip():
                raise AddressError("snads.empty-part", value, 0, "the gateway is missing; write gateway/DGN/DEN")
        else:
            names = value.split(".")
        if len(names) != 2:
            raise AddressError("snads.parts", value, 0, "write DGN.DEN, or gateway/DGN/DEN")
        group, entry = (_name(what, name, value) for what, name in zip(("DGN", "DEN"), names, strict=True))
        return _address(f"{group}.{entry}")

    def numbered(self, gate: Address, number: int) -> Address | None:
        """Return an entry of the gate's group; every entry there is this gateway's."""
        if gate.network != "snads":
            return None
        return _address(f"{gate.value.partition('.')[0]}.{numbered_name(number)}")

    def number_of(self, gate: Address, address: Address) -> int | None:
        group, _, entry = address.value.partition(".")
        return number_in(entry) if group == gate.value.partition(".")[0] else None


def _name(what: str, text: str, whole: str) -> str:
    name = text.strip()
    if not name:
        raise AddressError("snads.empty-part", whole, 0, f"the {what} is missing; write DGN.DEN")
    if len(name) > _CHARACTERS:
        raise AddressError("snads.too-long", whole, whole.find(name), f"a {what} has at most {_CHARACTERS} characters")
    if not _NAME.fullmatch(name):
        message = f"a {what} has letters, digits, @ # $ _ and -"
        raise AddressError("snads.bad-char", whole, whole.find(name), message)
    return name.upper()


def _address(value: str) -> Address:
    return Address("snads", value, value.lower())
