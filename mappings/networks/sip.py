"""sip: the addresses of SIP telephony and messaging, `Ann@acme.example`, perhaps with a port.

Promises: the user compares with its case and the host without; parameters and headers are left out; what needs no
percent-encoding in a user stands without it, all else in upper case, so one address has one text. A telephone number
(`user=phone`) is no sip address, and a password is never kept. An internet address behind a gateway is the
percent-encoded user at that gateway's host, `bob%40b.example@gate.example`.
Source: RFC 3261 §19.1.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import Final
from urllib.parse import quote, unquote

from mappings.network import MAX_OCTETS, Address, AddressError, Network, clean
from mappings.networks.smtp import Smtp, domain_key

_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.!~*'()")
_IN_USER: Final = _UNRESERVED | frozenset("&=+$,;?/")
_PIECE: Final = re.compile(r"%([0-9A-Fa-f]{2})|(.)", re.DOTALL)
_HOST: Final = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(?::([0-9]{1,5}))?")
_NOT_IN_HOST: Final = re.compile(r"[\s()<>,@\\\"]")
_MAX_PORT: Final = 65535
_SMTP: Final = Smtp()


class Sip(Network):
    """SIP."""

    name = "sip"
    imcea_type = "SIP"

    def parse(self, text: str) -> Address:
        if not text.strip(" \t"):
            raise AddressError("sip.empty", text, 0, "write user@host")
        value = clean(text)
        user, at, rest = value.partition("@")
        if not at:
            raise AddressError("sip.no-host", value, len(value), "write user@host")
        if not user:
            raise AddressError("sip.no-user", value, 0, "there is no user before the @")
        host = re.split("[;?]", rest, maxsplit=1)[0]
        # RFC 3261 §19.1.6: then the user is the number, and the host no more than the way to it.
        if "user=phone" in rest[len(host) :].partition("?")[0].lower().split(";"):
            number = user.partition(";")[0]
            how = f"tel:{number}" if number.startswith("+") else "tel: and the number with + and the country's code"
            raise AddressError("sip.telephone", value, value.find(";"), f"this is a telephone number: write {how}")
        made = clean(f"{_user(user, value)}@{_host(host, value, len(user) + 1)}")
        return Address("sip", made, made)

    def through(self, gate: Address, inner: Address) -> Address | None:
        if inner.network != "smtp" or gate.network != "sip":
            return None
        user = quote(inner.value, safe="!*'()")
        made = f"{user}@{gate.value.rpartition('@')[2]}"
        if "%40" not in user or len(made) > MAX_OCTETS:  # the bare postmaster is one of the gate's own there
            return None
        return Address("sip", made, made)

    def behind(self, gate: Address, address: Address) -> Address | None:
        user, _, host = address.value.rpartition("@")
        if "%40" not in user or host != gate.value.rpartition("@")[2]:
            return None
        try:
            return _SMTP.parse(unquote(user, errors="strict"))
        except ValueError:
            return None


def _user(text: str, whole: str) -> str:
    made = []
    for piece in _PIECE.finditer(text):
        digits, c = piece.groups()
        if digits is not None:
            octet = chr(int(digits, 16))
            made.append(octet if octet in _UNRESERVED else f"%{digits.upper()}")
        elif c in _IN_USER:
            made.append(c)
        elif c == "%":
            message = "% needs two hexadecimal digits; a percent sign itself is %25"
            raise AddressError("sip.bad-escape", whole, piece.start(), message)
        elif c == ":":
            raise AddressError("sip.password", whole, piece.start(), "leave the password out; a colon itself is %3A")
        elif c.isascii():
            message = f"{c!r} is written %{ord(c):02X} in a user's name"
            raise AddressError("sip.bad-char", whole, piece.start(), message)
        else:
            made.append(quote(c))
    return "".join(made)


def _host(text: str, whole: str, at: int) -> str:
    """Return a host in lower case as A-labels, with its port if it has one."""
    found = _HOST.fullmatch(text.strip())
    if found is None or _NOT_IN_HOST.search(found[1]) or not found[1]:
        raise AddressError("sip.bad-host", whole, at, "write a host, such as acme.example or acme.example:5070")
    port = int(found[2] or _MAX_PORT)
    if not 0 < port <= _MAX_PORT:
        raise AddressError("sip.bad-port", whole, at, f"a port is a number from 1 to {_MAX_PORT}")
    try:
        host = f"[{_ipv6(found[1])}]" if found[1].startswith("[") else domain_key(found[1])
    except ValueError:
        raise AddressError("sip.bad-host", whole, at, "what follows the @ is not a host") from None
    return f"{host}:{port}" if found[2] else host


def _ipv6(text: str) -> IPv6Address:
    if "%" in text:  # the scope of an address is one machine's own
        raise ValueError(text)
    return IPv6Address(text[1:-1])
