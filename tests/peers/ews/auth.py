"""Who asks: Basic ([RFC 7617]) by the accounts of the organisations."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Final

from tests.peers.ews.store import Store

PASSWORD: Final = "secret"
"""Of every account here."""
SERVICE: Final = "svc"
"""The account of each organisation that opens all mailboxes and may impersonate."""


@dataclass(frozen=True, slots=True)
class Login:
    """An account: its address, and the organisation it is of."""

    user: str
    domain: str

    @property
    def is_service(self) -> bool:
        return self.user.partition("@")[0] == SERVICE


def account(store: Store, user: str) -> Login | None:
    """Return the account of a user name: an address, or `domain\\name`."""
    before, slash, name = user.partition("\\")
    address = (f"{name}@{before}" if slash else user).lower()
    domain = address.partition("@")[2]
    if store.row("select 1 from company where domain=?", domain) is None:
        return None
    if address.partition("@")[0] != SERVICE and store.mailbox(address) is None:
        return None
    return Login(address, domain)


def basic(store: Store, field: str) -> Login | None:
    """Return who an Authorization field with Basic credentials is; None where they are wrong."""
    try:
        user, _, password = base64.b64decode(field[6:].strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return account(store, user) if password == PASSWORD else None
