"""A directory server that identities are read from: how it is named, asked and trusted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from mappings.network import Registry

ATTRIBUTES: Final = (
    "objectClass", "entryUUID", "objectGUID", "nsUniqueId", "ipaUniqueID", "guid",
    "displayName", "cn", "name", "uid", "givenName", "sn", "company", "o", "department", "departmentNumber", "ou",
    "title", "sAMAccountName", "mailNickname", "userPrincipalName", "msExchRecipientDisplayType",
    "mail", "proxyAddresses", "mailAlternateAddress", "mailLocalAddress", "mailEquivalentAddress",
    "legacyExchangeDN", "textEncodedORAddress", "msRTCSIP-PrimaryUserAddress", "targetAddress", "mailRoutingAddress",
    "telephoneNumber", "mobile", "facsimileTelephoneNumber",
    "member", "uniqueMember", "rfc822MailMember", "mgrpRFC822MailMember", "mgrpErrorsTo", "managedBy", "owner",
)  # fmt: skip
"""What is asked for of each entry."""
ADDRESSED: Final = (
    "mail", "proxyAddresses", "mailAlternateAddress", "mailLocalAddress", "legacyExchangeDN", "textEncodedORAddress",
    "rfc822MailMember", "mgrpRFC822MailMember",
)  # fmt: skip
"""An entry with one of these is asked for, where the operator gives no filter."""


class DirectoryError(Exception):
    """A directory that cannot be read; the text says why, and names the mend."""


@dataclass(frozen=True, slots=True)
class Server:
    """A directory server, and what is to be read of it.

    `url` is `ldap://host:port` or `ldaps://host:port`; `base` is the name of the entry to begin at. `filter` is empty
    for every entry with an address. `attributes` gives attributes a meaning, as `mappings.live_ldap` tells. Without
    `user` the server is asked as anybody. `ca_file` holds the certificates to trust in place of the system's.
    """

    url: str
    base: str
    filter: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    start_tls: bool = False
    ca_file: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    phones: bool = True
    page_size: int = 500
    max_entries: int = 2_000_000
    connect_timeout_s: float = 10.0
    answer_timeout_s: float = 60.0
    total_timeout_s: float = 3600.0

    @property
    def sought(self) -> str:
        """The filter in force."""
        if self.filter:
            return self.filter if self.filter.startswith("(") else f"({self.filter})"
        names = (
            *ADDRESSED,
            *(name for name, meaning in self.attributes.items() if ":" in meaning or meaning in ADDRESSED),
        )
        return f"(|{''.join(f'({name}=*)' for name in dict.fromkeys(names))})"

    @property
    def asked(self) -> tuple[str, ...]:
        """The attributes to ask for."""
        dropped = {name.lower() for name, meaning in self.attributes.items() if not meaning}
        kept = (name for name in ATTRIBUTES if name.lower() not in dropped)
        return tuple(dict.fromkeys((*kept, *(name for name, meaning in self.attributes.items() if meaning))))


def check(server: Server, networks: Registry) -> None:
    """Raises: DirectoryError where a server is not to be asked."""
    parts = parts_of(server.url)
    if server.page_size < 1 or server.max_entries < 1:
        raise DirectoryError("page_size and max_entries are 1 or more")
    is_clear = parts[0] == "ldap" and not server.start_tls
    if server.password and is_clear and not _is_here(parts[1]):
        raise DirectoryError(f"the password would go to {parts[1]} in the clear; write ldaps://, or set start_tls")
    if server.user and not server.password:
        raise DirectoryError("a user without a password is taken for anybody; give the password")
    for name, meaning in server.attributes.items():
        kind, colon, network = meaning.partition(":")
        if colon and (kind not in ("network", "former") or not network):
            raise DirectoryError(
                f"the attribute {name} is to be {meaning!r}; write an attribute's name, network:NAME or former:NAME"
            )
        try:
            networks.get(network or "smtp")
        except ValueError as e:
            raise DirectoryError(f"the attribute {name} is to be {meaning!r}: {e}") from None
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*(?:;[A-Za-z0-9-]+)*", name):
            raise DirectoryError(f"{name!r} is no attribute's name")


def parts_of(url: str) -> tuple[str, str, int]:
    """Return (scheme, host, port). Raises: DirectoryError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as e:
        raise DirectoryError(f"{url!r} is no URL of a server: {e}") from None
    if parts.scheme not in ("ldap", "ldaps") or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise DirectoryError(f"{url!r} is no URL of a server; write ldaps://host or ldap://host:port")
    return parts.scheme, parts.hostname, port or (636 if parts.scheme == "ldaps" else 389)


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
