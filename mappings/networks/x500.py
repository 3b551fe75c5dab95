"""x500: the directory names of Exchange, `/o=Acme/ou=HQ/cn=Recipients/cn=ann`, known as legacyExchangeDN.

Promises: the names of attributes are kept in lower case and without blanks around them, values as they were written;
compares without case on the whole. The order of the attributes is not judged, since old names stay in use after
their organisation is gone. Such a name has no room for another address, so nothing is reached through it.
Source: MS-OXOABK §2.2.1.1 (distinguished names), MS-OXCMAIL §2.1.3.1.8 (EX as a type of encapsulated address).
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from mappings.network import Address, AddressError, Network, clean

_ATTRIBUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)*")


class X500(Network):
    """Exchange's directory names. Exchange refuses X500 as the type of an encapsulated address, and takes EX."""

    name = "x500"
    imcea_type = "EX"
    aliases = ("ex",)

    def parse(self, text: str) -> Address:
        value = clean(text)
        if not value.startswith("/"):
            raise AddressError("x500.no-slash", value, 0, "write / in front, as in /o=Acme/ou=HQ/cn=ann")
        at = 1
        parts = []
        for part in value[1:].split("/"):
            parts.append(_part(part, value, at))
            at += len(part) + 1
        made = clean("".join(parts))
        return Address("x500", made, unicodedata.normalize("NFC", made.casefold()))


def _part(text: str, whole: str, at: int) -> str:
    """Return `/attribute=value`, normalised."""
    if not text.strip():
        raise AddressError("x500.empty-rdn", whole, at, "there is nothing after the /; write attribute=value")
    attribute, _, value = text.partition("=")
    attribute, value = attribute.strip(), value.strip()
    if not value:
        raise AddressError("x500.no-value", whole, at, "write attribute=value, as in cn=ann; a value has no /")
    if not _ATTRIBUTE.fullmatch(attribute):
        raise AddressError("x500.bad-attribute", whole, at, "before the = stands an attribute, such as o, ou or cn")
    if unicodedata.combining(value[0]):  # it would become one character with the = before it
        raise AddressError("x500.bad-char", whole, at, "a value does not begin with a combining mark")
    return f"/{attribute.lower()}={value}"
