"""Who asks: Basic (RFC 7617), NTLM ([MS-NTHT]), or a bearer token that this peer issued (RFC 6749 §4.4, RFC 6750)."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import threading
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import spnego
from spnego.exceptions import SpnegoError

from tests.peers.ews.http import Asked, Connection
from tests.peers.ews.store import Store

PASSWORD: Final = "secret"
"""Of every account and application here."""
SERVICE: Final = "svc"
"""The account of each organisation that opens all mailboxes and may impersonate."""
OFFERED: Final = ("NTLM", 'Basic realm="ews"', "Bearer")
_TOKEN_S: Final = 3599


@dataclass(frozen=True, slots=True)
class Login:
    """An account: its address, and the organisation it is of."""

    user: str
    domain: str

    @property
    def is_service(self) -> bool:
        return self.user.partition("@")[0] == SERVICE


class Door:
    """Lets in whom it knows; NTLM's users stand in a file, as pyspnego reads them from there."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._users = folder / "ntlm-users"
        self._users.write_text("")
        os.environ["NTLM_USER_FILE"] = str(self._users)
        self._tokens: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def add(self, domain: str, name: str) -> None:
        """Make an account known to NTLM, as `domain\\name` and as an address."""
        with self._lock, self._users.open("a") as out:
            out.write(f"{domain}:{name}:{PASSWORD}\n:{name}@{domain}:{PASSWORD}\n")

    def revoke(self) -> None:
        """Let no token be valid any more."""
        with self._lock:
            self._tokens.clear()

    def login(self, connection: Connection, asked: Asked) -> Login | None:
        """Return who a request is from; None: it has been answered with a 401."""
        scheme, _, said = asked.headers.get("authorization", "").partition(" ")
        found: Login | None = None
        if scheme.lower() == "basic":
            found = self._basic(said)
        elif scheme.lower() == "bearer":
            found = self._bearer(said)
        elif scheme.lower() == "ntlm":
            challenge = self._ntlm(connection, said)
            if challenge is not None:
                connection.answer(401, WWW_Authenticate=f"NTLM {challenge}")
                return None
            found = connection.state.get("login")
        elif not scheme:
            # NTLM is of a connection: what comes after on it is from the same account ([MS-NTHT]).
            found = connection.state.get("login")
        if found is None:
            connection.answer(401, also=[("WWW-Authenticate", each) for each in OFFERED])
        return found

    def _basic(self, said: str) -> Login | None:
        try:
            user, _, password = base64.b64decode(said.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return account(self._store, user) if password == PASSWORD else None

    def _ntlm(self, connection: Connection, said: str) -> str | None:
        """Take a step of the handshake; return the challenge, or None where it is over, well or not."""
        context: Any = connection.state.get("ntlm")
        if context is None:
            connection.state.pop("login", None)
            context = spnego.server(protocol="ntlm", options=spnego.NegotiateOptions.use_ntlm)
            connection.state["ntlm"] = context
        try:
            answer = context.step(base64.b64decode(said))
        except (SpnegoError, ValueError, binascii.Error):
            connection.state.pop("ntlm", None)
            return None
        if not context.complete:
            return base64.b64encode(answer or b"").decode()
        connection.state.pop("ntlm", None)
        connection.state["login"] = account(self._store, str(context.client_principal))
        return None

    def _bearer(self, said: str) -> Login | None:
        domain, until = self._tokens.get(said.strip(), ("", 0.0))
        return Login(f"{SERVICE}@{domain}", domain) if until > time.time() else None

    # --- the tenant's token endpoint: the domain is the tenant, `client@domain` its application ---

    def token(self, connection: Connection, asked: Asked) -> bool:
        """Answer a request for a token, or for where to ask; False: it is something else."""
        path = urllib.parse.urlsplit(asked.path).path
        parts = path.strip("/").split("/")
        origin = f"{'https' if connection.server.tls else 'http'}://{asked.headers.get('host', '')}"
        if parts[1:] == ["v2.0", ".well-known", "openid-configuration"]:
            here = f"{origin}/{parts[0]}"
            said = {
                "issuer": f"{here}/v2.0",
                "authorization_endpoint": f"{here}/oauth2/v2.0/authorize",
                "token_endpoint": f"{here}/oauth2/v2.0/token",
            }
            connection.answer(200, orjson.dumps(said), "application/json")
            return True
        if parts[1:] != ["oauth2", "v2.0", "token"]:
            return False
        form = dict(urllib.parse.parse_qsl(asked.body.decode("latin-1")))
        known = form.get("client_id") == f"client@{parts[0]}" and form.get("client_secret") == PASSWORD
        if not known or account(self._store, f"{SERVICE}@{parts[0]}") is None:
            said = {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."}
            connection.answer(401, orjson.dumps(said), "application/json")
        elif form.get("grant_type") != "client_credentials" or not form.get("scope", "").endswith("/.default"):
            connection.answer(400, orjson.dumps({"error": "invalid_scope"}), "application/json")
        else:
            made = secrets.token_urlsafe(32)
            with self._lock:
                self._tokens[made] = (parts[0].lower(), time.time() + _TOKEN_S)
            said_token = {"token_type": "Bearer", "expires_in": _TOKEN_S, "access_token": made}
            connection.answer(200, orjson.dumps(said_token), "application/json")
        return True


def account(store: Store, user: str) -> Login | None:
    """Return the account of a user name: an address, or `domain\\name`."""
    before, slash, name = user.partition("\\")
    address = (f"{name}@{before}" if slash and before else name or user).lower()
    domain = address.partition("@")[2]
    if store.row("select 1 from company where domain=?", domain) is None:
        return None
    if address.partition("@")[0] != SERVICE and store.mailbox(address) is None:
        return None
    return Login(address, domain)
