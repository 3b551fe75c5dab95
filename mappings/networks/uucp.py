"""uucp: the addresses of UUCP mail, `alpha!beta!ann`: the hosts that mail goes by, and a user at the last one.

Promises: a host is a name of its own case, or, where it holds a dot, a domain, in A-labels and lower case; the user is
kept as written and compares without case. A domain and a user alone, `acme.example!ann`, are the internet address
`ann@acme.example` and no address here; so is `a!b@acme.example`, whose mailbox is `a!b`. `read_bang` tells the two
networks apart for text that may be of either. The pseudo-domain `.uucp` is left out. Not in a user's name are blanks,
`@`, quotes and brackets, which the commands and headers on the way take for something else.
Source: RFC 976; RFC 5321 appendix F.2 and RFC 822 §6.2.7 (source routes).
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from mappings.network import Address, AddressError, Network, clean
from mappings.networks.smtp import Smtp, domain_key, quote, unquote

_HOST: Final = re.compile(r"[A-Za-z0-9_-]+")
_DOMAIN: Final = re.compile(r"[^\s()<>\[\]@,;:\\\"!]+")
_USER: Final = re.compile(r"[^\s@<>\[\]\"]+")
_PSEUDO_DOMAIN: Final = ".uucp"
_ROUTE_HOST: Final = re.compile(r"[ ,]*@ *(\[[^\[\]]*\]|[^ @,:\[\]<>]+) *")
_SMTP: Final = Smtp()


class Uucp(Network):
    """UUCP. With `bang_first`, `a!b@c` is read as mail for `b@c` by way of `a`, as old UUCP mailers did."""

    name = "uucp"
    imcea_type = "UUCP"

    def __init__(self, *, bang_first: bool = False) -> None:
        self._bang_first = bang_first

    def parse(self, text: str) -> Address:
        found = read_bang(text, bang_first=self._bang_first)
        if found.network != "uucp":
            message = f"this is the internet address {found.value}; write smtp:{found.value}"
            raise AddressError("uucp.internet", clean(text), 0, message)
        return found

    def from_addr_spec(self, local: str, domain: str) -> Address | None:
        if not domain.lower().endswith(_PSEUDO_DOMAIN):
            return None
        try:
            return self.parse(f"{unquote(local)}@{domain}")
        except AddressError:
            return None

    def to_addr_spec(self, address: Address) -> str | None:
        """Return `ann@beta.uucp`; None for a longer path, and for a host that a domain's rules change or refuse."""
        host, _, user = address.value.partition("!")
        local, domain = quote(user), host + _PSEUDO_DOMAIN
        if "!" in user or not user.isascii() or self.from_addr_spec(local, domain) != address:
            return None
        return f"{local}@{domain}"

    def from_gateway(self, local: str, below: str) -> Address | None:
        """Return the path in a mailbox `alpha!ann` at a gateway's domain. Such mailboxes are read, never written."""
        text = unquote(local)
        if below or "!" not in text or "@" in text:
            return None
        try:
            return self.parse(text)
        except AddressError:
            return None

    def through(self, gate: Address, inner: Address) -> Address | None:
        """Return `path!b.example!bob`, where `path` are the gate's hosts; the gate's user is not used (RFC 976).

        Only a domain with a dot is told from a host there, so a mailbox at a lone name or a literal has no such form.
        """
        if inner.network != "smtp" or gate.network != "uucp":
            return None
        local, _, domain = inner.value.rpartition("@")
        try:
            made = self.parse(f"{gate.value.rpartition('!')[0]}!{domain}!{unquote(local)}")
        except AddressError:
            return None
        again = self.behind(gate, made)
        # What looks like a domain in a mailbox `A.B!c` would lose its case on the way.
        return made if again == inner and again.value.rpartition("@")[0] == local else None

    def behind(self, gate: Address, address: Address) -> Address | None:
        path = gate.value.rpartition("!")[0] + "!"
        domain, sign, user = address.value.removeprefix(path).partition("!")
        if not sign or "." not in domain or not address.value.startswith(path):
            return None
        try:
            return _SMTP.parse(f"{quote(user)}@{domain}")
        except AddressError:
            return None


def read_bang(text: str, *, bang_first: bool = False) -> Address:
    """Read what a UUCP peer gives as an address: a path, or an internet address in either spelling (RFC 976).

    A source route is left out. Returns: an address of uucp, or of smtp. Raises: AddressError.
    """
    value = clean(text)
    if value[0] in "<@":
        value = clean(strip_route(value)[0])
    local, at, domain = value.rpartition("@")
    if at:
        if domain.lower().rstrip(". ").endswith(_PSEUDO_DOMAIN):
            value = f"{domain.strip()}!{unquote(local.strip())}"
        elif bang_first and "!" in local:
            path, _, user = local.rpartition("!")
            value = f"{path}!{domain}!{user}"
        else:
            return _SMTP.parse(value)
    return _path(value)


def strip_route(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the mailbox of `<@a,@b:u@c>` and the hosts (a, b) of its route; no hosts where it has no route.

    Raises: AddressError (`smtp.route-no-mailbox`, `smtp.bad-route`, and those of `clean`).
    """
    value = clean(text)
    path = value
    if path.startswith("<") and path.endswith(">"):
        path = path[1:-1].strip(" ")
    if not path.startswith("@"):
        return path, ()
    hosts = []
    at = 0
    while (found := _ROUTE_HOST.match(path, at)) is not None and (at == 0 or path[at] == ","):
        hosts.append(_route_host(found[1], value))
        at = found.end()
    mailbox = path[at + 1 :].strip(" ")
    if path[at : at + 1] != ":":
        if at < len(path):
            raise AddressError("smtp.bad-route", value, at, "a source route is written <@a,@b:user@c>")
        mailbox = ""
    if "@" not in mailbox.lstrip("@"):
        raise AddressError("smtp.route-no-mailbox", value, len(value), "a source route ends in : and a mailbox user@c")
    return mailbox, tuple(hosts)


def _route_host(text: str, whole: str) -> str:
    try:
        return domain_key(text)
    except AddressError as e:
        raise AddressError("smtp.bad-route", whole, whole.find(text), f"{text!r}: {e.message}") from None


def _path(value: str) -> Address:
    """Read hosts and user, parted by `!`."""
    *hosts, user = value.removeprefix("!").split("!")
    if not hosts:
        raise AddressError("uucp.no-host", value, 0, "write host!user")
    if not user:
        raise AddressError("uucp.no-user", value, len(value), "there is no user behind the last host, as in host!user")
    at = len(value) - len(user)
    if not _USER.fullmatch(user):
        message = "a user's name on UUCP has no blank and no @ \" < > [ ]"
        raise AddressError("uucp.bad-char", value, at, message)
    made = [_host(host, value) for host in hosts]
    if len(made) == 1 and "." in made[0]:
        return _SMTP.parse(f"{quote(user)}@{made[0]}")
    path = "!".join(made)
    shown = clean(f"{path}!{user}")
    return Address("uucp", shown, f"{path}!{unicodedata.normalize('NFC', user.lower())}")


def _host(text: str, whole: str) -> str:
    """Return a host as it was, a domain in its comparison form; a trailing dot tells a domain of one label."""
    host = text.removesuffix(".")
    if not host:
        raise AddressError("uucp.empty-host", whole, max(whole.find("!!"), 0), "a host's name is missing between two !")
    if _HOST.fullmatch(host):
        return host
    at = max(whole.find(text), 0)
    if "." not in host or host.endswith(".") or not _DOMAIN.fullmatch(host):
        message = "a host's name has letters, digits, - and _; a domain has dots"
        raise AddressError("uucp.bad-host", whole, at, message)
    try:
        domain = domain_key(host)
    except AddressError as e:
        raise AddressError("uucp.bad-host", whole, at, e.message) from None
    known = domain.removesuffix(_PSEUDO_DOMAIN)
    return known if "." not in known else domain
