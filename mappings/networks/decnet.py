"""decnet: the addresses of DECnet mail (MAIL-11), `VAXA::SMITH`, perhaps by way of further nodes, `A::B::SMITH`.

Promises: written in upper case, but for what stands in quotes, which is kept; compares without case, and quotes that
change nothing else do not count. A node's name has one to six letters or digits. An internet address behind a
gateway is a text in quotes at the gateway's node, `GATE::"bob@b.example"`; the way of VMS to name the mail protocol
in front, `GATE::IN%"bob@b.example"`, is read. In the internet a gateway shows `"VAXA::SMITH"` as a mailbox.
Source: the address forms of VMS MAIL and of DEC's own gateway to the internet (DECWRL); DECnet Phase IV (node names).
"""

from __future__ import annotations

import re
from typing import Final

from mappings.network import Address, AddressError, Network, clean
from mappings.networks.msmail import number_in, numbered_name
from mappings.networks.smtp import Smtp, quote, unquote

_NODE: Final = re.compile(r"[A-Za-z0-9]+")
_NODE_LENGTH: Final = 6
_USER: Final = re.compile(r"[A-Za-z0-9$_.#&'*+/=?^`{|}~-]+")
_USER_USUAL: Final = 12
_PROTOCOL: Final = re.compile(r"[A-Za-z0-9$_-]+%")
_QUOTED: Final = re.compile(r"[ !#-~]+")
_BEYOND: Final = re.compile(r'(?:(?:IN|SMTP|MX)%)?"([^"]*)"')
_PSEUDO: Final = re.compile(r"([^%@]+)%([^%@.]+)\.decnet", re.IGNORECASE)
_SMTP: Final = Smtp()


class Decnet(Network):
    """DECnet. With `percent_pseudo`, `user%node.decnet` at a gateway's domain is read too."""

    name = "decnet"
    imcea_type = "DECNET"

    def __init__(self, *, percent_pseudo: bool = False) -> None:
        self._percent_pseudo = percent_pseudo

    def parse(self, text: str) -> Address:
        value = clean(text)
        if '"' in value:
            return _quoted(value)
        *nodes, user = value.split("::")
        if not nodes:
            if ":" in value:
                raise _single_colon(value, value.index(":"))
            raise AddressError("decnet.no-node", value, 0, "write the node in front, as in VAXA::SMITH")
        way = _way(nodes, value)
        at = len(value) - len(user)
        if not user:
            raise AddressError("decnet.no-user", value, at, "there is no user behind the node, as in VAXA::SMITH")
        if ":" in user:
            raise _single_colon(value, at)
        if not _USER.fullmatch(user):
            message = 'what is no plain name stands in quotes, as in VAXA::"bob@b.example"'
            raise AddressError("decnet.bad-char", value, at, message)
        made = f"{way}::{user.upper()}"
        return Address("decnet", made, made.lower())

    def at_gateway(self, address: Address, domain: str) -> str | None:
        if '"' in address.value:  # quotes within quotes are shown only encapsulated
            return None
        return f"{quote(address.value)}@{domain}"

    def from_gateway(self, local: str, below: str) -> Address | None:
        text = unquote(local)
        if below or '"' in text:
            return None
        if self._percent_pseudo:
            text = _PSEUDO.sub(r"\2::\1", text) if _PSEUDO.fullmatch(text) else text
        if "::" not in text:
            return None
        try:
            return self.parse(text)
        except AddressError:
            return None

    def through(self, gate: Address, inner: Address) -> Address | None:
        """Return `GATE::"bob@b.example"`, where GATE is the way to the gate's node; the gate's user is not used.

        So DEC's own gateway was addressed, from VMS and from Ultrix alike.
        """
        way = gate.value.rpartition("::")[0]
        if inner.network != "smtp" or gate.network != "decnet" or '"' in gate.value:
            return None
        try:
            made = self.parse(f'{way}::"{_SMTP.format(inner, "ascii")}"')
        except AddressError:
            return None
        return made if self.behind(gate, made) == inner else None

    def behind(self, gate: Address, address: Address) -> Address | None:
        way = gate.value.rpartition("::")[0] + "::"
        found = _BEYOND.fullmatch(address.value, len(way)) if address.value.startswith(way) else None
        if found is None or "@" not in found[1]:
            return None
        try:
            return _SMTP.parse(found[1])
        except AddressError:
            return None

    def numbered(self, gate: Address, number: int) -> Address | None:
        """Return a user at the gate's node; every user there is this gateway's."""
        if gate.network != "decnet" or '"' in gate.value:
            return None
        made = f"{gate.value.rpartition('::')[0]}::{numbered_name(number)}"
        return Address("decnet", made, made.lower())

    def number_of(self, gate: Address, address: Address) -> int | None:
        way, _, user = address.value.rpartition("::")
        return number_in(user) if way == gate.value.rpartition("::")[0] else None

    def warnings(self, address: Address) -> tuple[str, ...]:
        user = address.value.rpartition("::")[2]
        if '"' not in address.value and len(user) > _USER_USUAL:
            return (f"the user's name is over {_USER_USUAL} characters; VMS has no such users",)
        return ()


def _quoted(value: str) -> Address:
    """Read an address whose user stands in quotes, perhaps with the name of a mail protocol in front."""
    head, _, rest = value.partition('"')
    text = rest[:-1]
    if not rest.endswith('"') or not text:
        raise AddressError("decnet.open-quote", value, len(head), "the quote is not closed, or nothing is in it")
    if not _QUOTED.fullmatch(text):
        raise AddressError("decnet.bad-char", value, len(head), "what is in quotes is ASCII, and has no quote")
    nodes, colons, protocol = head.rpartition("::")
    if protocol and not _PROTOCOL.fullmatch(protocol):
        if ":" in protocol:
            raise _single_colon(value, len(nodes) + len(colons))
        message = 'before a quote stands :: or a mail protocol and %, as in VAXA::IN%"bob@b.example"'
        raise AddressError("decnet.bad-char", value, len(nodes) + len(colons), message)
    if not colons:
        raise _without_node(value, text)
    way = _way(nodes.split("::"), value)
    made = f'{way}::{protocol.upper()}"{text}"'
    key = f"{way}::{text}" if not protocol and _USER.fullmatch(text) else made
    return Address("decnet", made, key.lower())


def _without_node(value: str, text: str) -> AddressError:
    try:
        shown = _SMTP.parse(text).value
    except AddressError:
        shown = ""
    if "@" not in shown:
        return AddressError("decnet.no-node", value, 0, 'write the node in front, as in VAXA::"smith"')
    message = f"this is the internet address {shown}; write smtp:{shown}, or the node that sends it on in front"
    return AddressError("decnet.internet", value, 0, message)


def _way(nodes: list[str], value: str) -> str:
    """Return the nodes that mail goes by, in upper case."""
    at = 0
    for node in nodes:
        if not node:
            raise AddressError("decnet.empty-node", value, at, "there is no node before the ::")
        if ":" in node:
            raise _single_colon(value, at)
        if not _NODE.fullmatch(node):
            raise AddressError("decnet.bad-char", value, at, "a node's name has letters and digits")
        if len(node) > _NODE_LENGTH:
            message = f"a node's name has at most {_NODE_LENGTH} characters"
            raise AddressError("decnet.node-length", value, at, message)
        at += len(node) + 2
    return "::".join(nodes).upper()


def _single_colon(value: str, at: int) -> AddressError:
    return AddressError("decnet.single-colon", value, at, "write two colons behind a node, as in VAXA::SMITH")
