"""xmpp: the addresses of XMPP (Jabber), `ann@chat.example`, and the bare domain of a server or a component.

Promises: an address is bare, the resource that names one of its devices left out; local part and domain are in lower
case, a domain in its Unicode form. An internet address behind a gateway is its escaped text at the gateway's domain,
`bob\\40b.example@gate.example`; one that does not survive the case folding has no such form.
Of PRECIS, the local part gets the mapping of width and case and the classes of characters, as Python's Unicode data
tell them; characters that are allowed only next to certain others (joiners, middle dots) are refused altogether.
Source: RFC 7622, RFC 8264 §9, RFC 8265 §3.3, XEP-0106.
"""

from __future__ import annotations

import re
import unicodedata
from ipaddress import IPv6Address
from typing import Final

import idna

from mappings.network import Address, AddressError, Network, clean
from mappings.networks.smtp import Smtp, domain_key

_ESCAPES: Final = {c: f"\\{ord(c):02x}" for c in " \"&'/:<>@\\"}
_TO_ESCAPE: Final = re.compile(r"[ \"&'/:<>@]|\\(?=20|22|26|27|2f|3a|3c|3e|40|5c)", re.IGNORECASE)
_ESCAPED: Final = re.compile(r"\\(20|22|26|27|2f|3a|3c|3e|40|5c)")
_FORBIDDEN: Final = frozenset(_ESCAPES) - {"\\"}
_NOT_IN_DOMAIN: Final = re.compile(r"[\s()<>\[\],;:@\\\"]")
_LETTERS_DIGITS: Final = frozenset({"Ll", "Lu", "Lo", "Nd", "Lm", "Mn", "Mc"})
# RFC 5892 §2.6: of the letters, these are disallowed by name; §2.9: the parts of old Hangul.
_DISALLOWED: Final = re.compile(
    "[\u0640\u07fa\u302e\u302f\u3031-\u3035\u303b\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff\u200c\u200d]"
)
_PART_OCTETS: Final = 1023
_SMTP: Final = Smtp()


class Xmpp(Network):
    """XMPP, also known as Jabber."""

    name = "xmpp"
    imcea_type = "XMPP"
    aliases = ("jabber",)

    def parse(self, text: str) -> Address:
        value = clean(text)
        bare, slash, resource = value.partition("/")
        if slash and not resource:
            raise AddressError("xmpp.no-resource", value, len(bare), "leave the / out; nothing follows it")
        local, at, domain = bare.partition("@")
        if not at:
            local, domain = "", bare
        elif not domain:
            raise AddressError("xmpp.no-domain", value, len(bare), "write user@domain")
        elif not local:
            raise AddressError("xmpp.no-local", value, 0, "there is no user before the @")
        elif "@" in domain:
            raise AddressError("xmpp.bad-char", value, len(local), _mend("@"))
        made = _domain(domain, value, len(local) + len(at)) if domain else ""
        if not local and not {".", ":"} & set(made):  # a lone word is a name without its server, not a server
            raise AddressError("xmpp.no-domain", value, len(value), "write user@domain")
        if local:
            made = f"{_local(local, value)}@{made}"
        made = clean(made)
        return Address("xmpp", made, made)

    def through(self, gate: Address, inner: Address) -> Address | None:
        if inner.network != "smtp" or gate.network != "xmpp":
            return None
        local = _TO_ESCAPE.sub(lambda found: _ESCAPES[found[0]], inner.value)
        try:
            made = self.parse(f"{local}@{gate.value.rpartition('@')[2]}")
        except AddressError:
            return None
        return made if self.behind(gate, made) == inner else None

    def behind(self, gate: Address, address: Address) -> Address | None:
        local, _, domain = address.value.rpartition("@")
        if "\\40" not in local or domain != gate.value.rpartition("@")[2]:
            return None
        try:
            return _SMTP.parse(_ESCAPED.sub(lambda found: chr(int(found[1], 16)), local))
        except AddressError:
            return None


def _mend(c: str) -> str:
    if c in _FORBIDDEN:
        return f"{c!r} cannot stand in a user's name; it is written {_ESCAPES[c]}"
    return f"{c!r} cannot stand in a user's name"


def _local(text: str, whole: str) -> str:
    """Map and check a local part by the profile UsernameCaseMapped."""
    for i, c in enumerate(text):
        if c in _FORBIDDEN:
            raise AddressError("xmpp.bad-char", whole, i, _mend(c))
    mapped = unicodedata.normalize("NFC", "".join(map(_narrow, text)).lower())
    for c in mapped:
        if c in _FORBIDDEN or not _is_allowed(c):
            raise AddressError("xmpp.bad-char", whole, 0, _mend(c))
    try:
        idna.check_bidi(mapped)
    except idna.IDNAError:
        message = "letters from right to left and from left to right cannot stand in one name"
        raise AddressError("xmpp.bidi", whole, 0, message) from None
    if len(mapped.encode()) > _PART_OCTETS:
        raise AddressError("xmpp.local-too-long", whole, 0, f"a user's name has at most {_PART_OCTETS} octets")
    return mapped


def _narrow(c: str) -> str:
    """Return the ordinary form of a fullwidth or halfwidth character (RFC 8265 §3.3.1)."""
    kind, _, code = unicodedata.decomposition(c).partition(" ")
    return chr(int(code, 16)) if kind in ("<wide>", "<narrow>") else c


def _is_allowed(c: str) -> bool:
    if c.isascii():
        return "!" <= c <= "~"
    return (
        unicodedata.category(c) in _LETTERS_DIGITS
        and unicodedata.normalize("NFKC", c) == c
        and not _DISALLOWED.match(c)
    )


def _domain(text: str, whole: str, at: int) -> str:
    """Return a domain in lower case, its labels in their Unicode form (RFC 7622 §3.2)."""
    try:
        if text.startswith("[") and text.endswith("]") and "%" not in text:
            return f"[{IPv6Address(text[1:-1])}]"
        if not _NOT_IN_DOMAIN.search(text):
            return ".".join(map(_unicode_label, domain_key(text).split(".")))
    except ValueError:
        pass
    raise AddressError("xmpp.bad-domain", whole, at, "what follows the @ is a domain, such as chat.example")


def _unicode_label(label: str) -> str:
    if not label.startswith("xn--"):
        return label
    try:
        shown = idna.ulabel(label)
        return shown if domain_key(shown) == label else label
    except (idna.IDNAError, AddressError, ValueError):
        return label
