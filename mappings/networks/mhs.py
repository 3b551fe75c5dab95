"""mhs: the addresses of NetWare's Message Handling Service, `user@workgroup`, perhaps `user@gate {what lies behind}`.

Promises: compares without case; the extended part in braces is kept as it was; a trailing comment is dropped.
In an RFC 5322 header of this network an address without an extended part is an addr-spec whose domain has no dot.
Source: the free-form address formats of MS Mail gateways and the MHS gateway's notes on extended addresses.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from mappings.network import MAX_OCTETS, Address, AddressError, Network, clean
from mappings.networks.smtp import Smtp, quote, unquote

_COMMENT: Final = re.compile(r" *\([^()]{0,66}\)\Z")
_USER: Final = re.compile(r"[^@{}()<>\",;:\\\[\]]+")
_WORKGROUP: Final = re.compile(r"[^@{}()<>\",;:\\\[\] ]+")
_BEHIND: Final = re.compile(r"(.*?) \{SMTP:(.*)\}", re.IGNORECASE | re.ASCII)
_SMF70_NAME: Final = 8
_SMTP: Final = Smtp()


class Mhs(Network):
    """NetWare MHS."""

    name = "mhs"
    imcea_type = "MHS"

    def parse(self, text: str) -> Address:
        value = clean(text)
        if value.endswith(")"):
            value = _COMMENT.sub("", value)
        head, brace, rest = value.partition("{")
        user, at, workgroup = head.partition("@")
        if not at:
            raise AddressError("mhs.no-workgroup", value, len(user), "write user@workgroup")
        user = " ".join(user.split())
        workgroup = workgroup.strip()
        if not user:
            raise AddressError("mhs.no-user", value, 0, "there is no user before the @")
        if not workgroup:
            raise AddressError("mhs.no-workgroup", value, len(user) + 1, "write user@workgroup")
        if not _USER.fullmatch(user):
            raise AddressError("mhs.bad-char", value, 0, "a user's name has no @ { } ( ) < > \" , ; : \\ [ ]")
        if not _WORKGROUP.fullmatch(workgroup):
            message = "a workgroup's name has no blank and no @ { } ( ) < > \" , ; : \\ [ ]"
            raise AddressError("mhs.bad-char", value, value.find("@") + 1, message)
        made = f"{user}@{workgroup}"
        if brace:
            if len(rest) < 2 or not rest.endswith("}"):
                raise AddressError("mhs.open-brace", value, len(head), "the part in braces is not closed, or is empty")
            inner = rest[:-1]
            if inner != inner.strip():
                raise AddressError("mhs.blank-in-braces", value, len(head), "no blanks just inside the braces")
            made = f"{made} {{{inner}}}"
        made = clean(made)
        return Address("mhs", made, unicodedata.normalize("NFC", made.lower()))

    def from_addr_spec(self, local: str, domain: str) -> Address | None:
        if "." in domain or domain.startswith("["):
            return None
        try:
            return self.parse(f"{unquote(local)}@{domain}")
        except AddressError:
            return None

    def to_addr_spec(self, address: Address) -> str | None:
        user, _, workgroup = address.value.rpartition("@")
        if "{" in address.value or "." in workgroup or not address.value.isascii():
            return None
        return f"{quote(user)}@{workgroup}"

    def through(self, gate: Address, inner: Address) -> Address | None:
        if inner.network != "smtp" or gate.network != "mhs" or "{" in gate.value:
            return None
        made = f"{gate.value} {{SMTP:{inner.value}}}"
        if made.isascii() and len(made) <= MAX_OCTETS:  # both parts are normalised, so the whole is
            return Address("mhs", made, made.lower())
        try:
            return self.parse(made)
        except AddressError:
            return None

    def behind(self, gate: Address, address: Address) -> Address | None:
        extended = _BEHIND.fullmatch(address.value)
        if extended is None or unicodedata.normalize("NFC", extended[1].lower()) != gate.key:
            return None
        try:
            return _SMTP.parse(extended[2])
        except AddressError:
            return None

    def warnings(self, address: Address) -> tuple[str, ...]:
        user = address.value.partition("@")[0]
        if len(user) > _SMF70_NAME:
            return (f"the user's name is over {_SMF70_NAME} characters: SMF-70 systems need an alias",)
        return ()
