"""gwise: the addresses of GroupWise, `domain.postoffice.user`, and what lies outside of it, `domain:user`.

Promises: compares without case; an address without domain or post office is completed from the configuration or
refused. What follows a gateway's colon in quotes is kept as it was. An internet address is reached in the latter
form: where this gateway is known in GroupWise as `inet:postmaster`, as `inet:"ann@acme.example"`.
Source: GroupWise's documents on addressing (domain, post office and user; foreign domains and gateways).
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from mappings.network import Address, AddressError, Network, clean
from mappings.networks.smtp import Smtp

_FORBIDDEN: Final = re.compile(r"[.@:{}(),\"]")
_PARTS: Final = ("domain", "post office", "user")
_SMTP: Final = Smtp()


class Gwise(Network):
    """GroupWise. `default_domain` and `default_post_office` complete an address that has none.

    Raises: AddressError where a default cannot stand in an address.
    """

    name = "gwise"
    imcea_type = "GWISE"
    aliases = ("groupwise",)

    def __init__(self, default_domain: str | None = None, default_post_office: str | None = None) -> None:
        for default in (default_domain, default_post_office):
            if default is not None:
                _check(default, "default", default, 0)
        self._domain = default_domain
        self._post_office = default_post_office

    def parse(self, text: str) -> Address:
        value = clean(text)
        head, colon, rest = value.partition(":")
        made = self._foreign(head, rest, value) if colon and '"' not in head else self._own(value)
        return Address("gwise", made, unicodedata.normalize("NFC", made.casefold()))

    def through(self, gate: Address, inner: Address) -> Address | None:
        if inner.network != "smtp" or gate.network != "gwise" or ":" not in gate.value:
            return None
        try:
            made = self.parse(f'{gate.value.partition(":")[0]}:"{inner.value}"')
        except AddressError:
            return None
        return made if self.behind(gate, made) == inner else None

    def behind(self, gate: Address, address: Address) -> Address | None:
        rest = address.value.partition(":")[2]
        gateway, colon, _ = gate.key.partition(":")
        if not colon or not rest.startswith('"') or address.key.partition(":")[0] != gateway:
            return None
        try:
            return _SMTP.parse(rest[1:-1])
        except AddressError:
            return None

    def _own(self, value: str) -> str:
        parts = value.split(".")
        if len(parts) > len(_PARTS):
            message = "write domain.postoffice.user; a name has no dots"
            raise AddressError("gwise.too-many-parts", value, len(".".join(parts[: len(_PARTS)])), message)
        at = 0
        for part, what in zip(parts, _PARTS[-len(parts) :], strict=True):
            _check(part, what, value, at)
            at += len(part) + 1
        if len(parts) == 1:
            if self._post_office is None:
                message = "write domain.postoffice.user; no default post office is set"
                raise AddressError("gwise.no-post-office", value, 0, message)
            parts.insert(0, self._post_office)
        if len(parts) == 2:
            if self._domain is None:
                message = "write domain.postoffice.user; no default domain is set"
                raise AddressError("gwise.no-domain", value, 0, message)
            parts.insert(0, self._domain)
        return ".".join(parts)

    def _foreign(self, head: str, rest: str, value: str) -> str:
        at = len(head) + 1
        _check(head.rstrip(), "domain", value, 0)
        user = rest.lstrip()
        if user.startswith('"'):
            inner = user[1:-1].strip()
            if not inner or '"' in inner or not user.endswith('"'):
                message = 'what follows the gateway stands in one pair of quotes, as in inet:"ann@acme.example"'
                raise AddressError("gwise.open-quote", value, at, message)
            return f'{head.rstrip()}:"{inner}"'
        _check(user, "user", value, at)
        return f"{head.rstrip()}:{user}"


def _check(part: str, what: str, whole: str, at: int) -> None:
    if not part:
        raise AddressError("gwise.empty-part", whole, at, f"the {what} is empty; write domain.postoffice.user")
    for i, c in enumerate(part):
        if c.isspace():
            raise AddressError("gwise.space", whole, at + i, f"a {what} has no blanks")
    found = _FORBIDDEN.search(part)
    if found is not None:
        message = f'a {what} has no . @ : {{ }} ( ) " ,; an address beyond a gateway stands in quotes after its colon'
        raise AddressError("gwise.bad-char", whole, at + found.start(), message)
