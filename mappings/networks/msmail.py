"""msmail: the addresses of Microsoft Mail for PC Networks, `NETWORK/POSTOFFICE/MAILBOX`.

Promises: written in upper case, compares without case; each part has at most ten characters, letters and digits and
the signs that such names have been seen with. The free-form text of its gateways, `Ann Lee [MS:NET/PO/ANN]`, is read,
and the connection form with backslashes. Ten characters have no room for an internet address, so what lies behind a
gateway has a number there, as the name of a mailbox.
Not read is `user@server`, as Microsoft Mail for AppleTalk Networks has it: that is a network of its own.
Source: the free-form address formats of Microsoft Mail gateways; MAPI, "Microsoft Mail for PC Networks" (lengths);
Exchange Server 5.5, "MS Mail Recipient Addresses" (lengths, case).
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from mappings.network import Address, AddressError, Network, clean

_ONE_OFF: Final = re.compile(r"[^\[\]]*\[([A-Za-z0-9]+):([^\[\]]*)\]")
_NUMBERED: Final = re.compile(r"G([0-9A-F]{7})")
_REFUSED: Final = frozenset('[]<>"|:;,*?@')
_PART: Final = 10
_PART_EVERYWHERE: Final = 8


class Msmail(Network):
    """Microsoft Mail for PC Networks."""

    name = "msmail"
    imcea_type = "MS"
    aliases = ("ms", "pcm")

    def parse(self, text: str) -> Address:
        value = one_off(self, text).replace("\\", "/")
        parts = [" ".join(part.split()) for part in value.split("/")]
        if len(parts) != 3:
            raise AddressError("msmail.parts", value, 0, "need network/postoffice/mailbox")
        at = 0
        for i, what in enumerate(("network", "post office", "mailbox")):
            parts[i] = _part(what, parts[i], value, at)
            at = value.find("/", at) + 1
        return _address("/".join(parts))

    def numbered(self, gate: Address, number: int) -> Address | None:
        """Return a mailbox at the gate's post office; every mailbox there is this gateway's."""
        if gate.network != "msmail":
            return None
        return _address(f"{gate.value.rpartition('/')[0]}/{numbered_name(number)}")

    def number_of(self, gate: Address, address: Address) -> int | None:
        office, _, mailbox = address.value.rpartition("/")
        return number_in(mailbox) if office == gate.value.rpartition("/")[0] else None

    def warnings(self, address: Address) -> tuple[str, ...]:
        if any(len(part) > _PART_EVERYWHERE for part in address.value.split("/")):
            return (f"a part is over {_PART_EVERYWHERE} characters; some systems connected to post offices cut it",)
        return ()


def one_off(network: Network, text: str) -> str:
    """Return the value within the free-form text `Ann Lee [TYPE:value]`, or the cleaned text where it is no such.

    Raises: AddressError (`<network>.other-type`, and those of `clean`).
    """
    value = clean(text)
    found = _ONE_OFF.fullmatch(value) if value.endswith("]") else None
    if found is None:
        return value
    if found[1].lower() not in {network.imcea_type.lower(), *network.aliases}:
        message = f"this is an address of the type {found[1][:32]}; give it to that network"
        raise AddressError(f"{network.name}.other-type", value, found.start(1), message)
    return clean(found[2])


def numbered_name(number: int) -> str:
    """Return the name of eight characters that stands for a number where names are that short."""
    return f"G{number:07X}"  # eight decimal digits fit into seven hexadecimal ones


def number_in(name: str) -> int | None:
    """Return the number that `numbered_name` wrote; None where the name, in upper case, is no such one."""
    found = _NUMBERED.fullmatch(name)
    return None if found is None else int(found[1], 16)


def _address(value: str) -> Address:
    return Address("msmail", value, unicodedata.normalize("NFC", value.lower()))


def _part(what: str, text: str, whole: str, at: int) -> str:
    part = unicodedata.normalize("NFC", text.upper())
    if not part:
        raise AddressError("msmail.empty-part", whole, at, f"the {what} is missing; need network/postoffice/mailbox")
    if len(part) > _PART:
        raise AddressError("msmail.too-long", whole, at, f"a {what} has at most {_PART} characters")
    for c in part:
        if c in _REFUSED or not (c.isascii() or c.isalnum()):
            raise AddressError("msmail.bad-char", whole, at, f"{c!r} cannot stand in the name of a {what}")
    return part
