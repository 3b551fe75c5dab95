"""bitnet: the addresses of BITNET, EARN, NetNorth and of other networks of RSCS, `BOB@CUNYVM`.

Promises: written in upper case, compares without case; user and node have one to eight characters each; the
pseudo-domain `.BITNET` is left out. Read are also `BOB(CUNYVM)` and `BOB AT CUNYVM`, as RSCS and its users write.
What a mailer at a node sends on to the internet is a percent address there, `bob%b.example@GATE`; its user part is
kept as written, and is not bound to eight characters, since it stands in mail headers alone.
In an RFC 5322 header of this network the domain is a lone node or ends in `.BITNET`.
Source: the address forms of BITNET mailers and RSCS; RFC 1207 (percent form, into BITNET). Lengths as IBM's VM
has them; some signs are taken that other systems on RSCS networks had in user names.
"""

from __future__ import annotations

import re
from typing import Final

from mappings.network import Address, AddressError, Network, clean
from mappings.networks.msmail import number_in, numbered_name
from mappings.networks.smtp import Smtp, quote, unquote

_NODE: Final = re.compile(r"[A-Za-z0-9@#$_-]+")
_USER: Final = re.compile(r"[A-Za-z0-9@#$_.:+-]+")
_LABEL: Final = re.compile(r"[A-Z0-9_](?:[A-Z0-9_-]*[A-Z0-9_])?")
_NAME: Final = 8
_IN_BRACKETS: Final = re.compile(r"([^()]*)\(([^()]*)\)")
_BEYOND: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+%[A-Za-z0-9_.-]+")
_PSEUDO_DOMAIN: Final = ".BITNET"
_AT_PSEUDO_DOMAIN: Final = re.compile(r"\.BITNET\.?\Z", re.IGNORECASE | re.ASCII)
_SMTP: Final = Smtp()


class Bitnet(Network):
    """BITNET and its like."""

    name = "bitnet"
    imcea_type = "BITNET"
    aliases = ("rscs",)

    def parse(self, text: str) -> Address:
        value = clean(text)
        user, node = _parted(value)
        node = _AT_PSEUDO_DOMAIN.sub("", node)
        if "%" in user and user.isascii():
            if not _BEYOND.fullmatch(user):
                message = "an internet address behind a node is written user%host@NODE"
                raise AddressError("rscs.bad-char", value, 0, message)
        else:
            user = rscs_user(user, value)
        node = rscs_node(node, value)
        if "@" in node:
            raise AddressError("rscs.bad-char", value, 0, "a node's name has no @")
        return _address(f"{user}@{node}")

    def from_addr_spec(self, local: str, domain: str) -> Address | None:
        if "." in domain and not _AT_PSEUDO_DOMAIN.search(domain):
            return None
        try:
            return self.parse(f"{unquote(local)}@{domain}")
        except AddressError:
            return None

    def to_addr_spec(self, address: Address) -> str | None:
        """Return `BOB@CUNYVM.BITNET`; None where the node's name cannot stand in a domain."""
        user, _, node = address.value.rpartition("@")
        if not _LABEL.fullmatch(node):
            return None
        return f"{quote(user)}@{node}{_PSEUDO_DOMAIN}"

    def through(self, gate: Address, inner: Address) -> Address | None:
        """Return `user%host@NODE`, where NODE is the gate's node; the gate's user is not used.

        On the way into BITNET the percent form is documented (RFC 1207); that mailers took it on the way out is common
        knowledge, no more. One that knew the internet's domains took `user@host` too.
        """
        if inner.network != "smtp" or gate.network != "bitnet":
            return None
        try:
            local, _, domain = _SMTP.format(inner, "ascii").rpartition("@")
            made = self.parse(f"{local}%{domain}@{gate.value.rpartition('@')[2]}")
        except AddressError:
            return None
        return made if self.behind(gate, made) == inner else None

    def behind(self, gate: Address, address: Address) -> Address | None:
        user, _, node = address.value.rpartition("@")
        local, sign, domain = user.rpartition("%")
        if not sign or node != gate.value.rpartition("@")[2]:
            return None
        try:
            return _SMTP.parse(f"{local}@{domain}")
        except AddressError:
            return None

    def numbered(self, gate: Address, number: int) -> Address | None:
        """Return a user at the gate's node; every user there is this gateway's."""
        if gate.network != "bitnet":
            return None
        return _address(f"{numbered_name(number)}@{gate.value.rpartition('@')[2]}")

    def number_of(self, gate: Address, address: Address) -> int | None:
        user, _, node = address.value.rpartition("@")
        return number_in(user) if node == gate.value.rpartition("@")[2] else None


def rscs_node(text: str, whole: str) -> str:
    """Return a node's name in upper case. Raises: AddressError (`rscs.no-node`, `rscs.too-long`, `rscs.bad-char`)."""
    return _name("node", _NODE, text, whole)


def rscs_user(text: str, whole: str) -> str:
    """Return a user's name in upper case. Raises: AddressError (`rscs.no-user`, `rscs.too-long`, `rscs.bad-char`)."""
    return _name("user", _USER, text, whole)


def words_at(value: str) -> tuple[str, str] | None:
    """Return (user, node) of `USER AT NODE`, None where it is no such text."""
    words = value.split()
    return (words[0], words[2]) if len(words) == 3 and words[1].lower() == "at" else None


def _parted(value: str) -> tuple[str, str]:
    """Return (user, node) of any form."""
    at = words_at(value)
    if at is not None:
        return at
    brackets = _IN_BRACKETS.fullmatch(value)
    user, node = brackets.groups() if brackets is not None else _at_sign(value)
    return user.strip(), node.strip()


def _at_sign(value: str) -> tuple[str, str]:
    user, sign, node = value.rpartition("@")
    return (user, node) if sign else (value, "")


def _name(what: str, signs: re.Pattern[str], text: str, whole: str) -> str:
    at = max(whole.find(text), 0)
    if not text:
        raise AddressError(f"rscs.no-{what}", whole, at, f"the name of the {what} is missing, as in BOB@CUNYVM")
    if len(text) > _NAME:
        raise AddressError("rscs.too-long", whole, at, f"the name of a {what} has at most {_NAME} characters")
    if not signs.fullmatch(text):
        raise AddressError("rscs.bad-char", whole, at, f"the name of a {what} has letters, digits, @ # $ _ and -")
    return text.upper()


def _address(value: str) -> Address:
    return Address("bitnet", value, value.lower())
