"""Tokens: what an application shows in place of a password (OAuth 2.0, client credentials; RFC 6749 §4.4).

Promises: one token for all connections, renewed before it ends; the secret and the token stand in no log and in no
fault's text; nothing is read from the environment.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msal
from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from connectors.exchange.ews.answer import NotSent, short
from connectors.exchange.ews.config import EwsConfig
from connectors.exchange.ews.session import plain_session, trusted

MICROSOFT: Final = "https://login.microsoftonline.com"
EARLY_S: Final = 300.0
"""A token is renewed so long before it ends: a request that waits in the server is still let in."""


class Tokens:
    """Gets tokens for the application of a configuration. Used in threads."""

    def __init__(self, config: EwsConfig, file: Callable[[str], Path]) -> None:
        """Raises: ValueError, OSError that name a certificate that can't be used."""
        self._config = config
        self._credential = _credential(config, file)
        self._verify = trusted(config, None if config.ca_file is None else str(file(config.ca_file)))
        self._lock = threading.Lock()
        self._application: Any = None
        self._token = ""
        self._until = 0.0

    def bearer(self, url: str) -> AuthBase:
        """Return what shows a token to the service at an address: its origin is the resource that is asked for."""
        parts = urlsplit(url)
        return _Bearer(self, f"https://{parts.netloc}/.default")

    def drop(self) -> None:
        """Forget the token: the service does not take it."""
        with self._lock:
            self._until = 0.0
            self._application = None  # with the token that it remembers

    def current(self, scope: str) -> str:
        """Return a token that lasts. Raises: NotSent."""
        with self._lock:
            if time.monotonic() < self._until:
                return self._token
            try:
                answer = self._ask(scope)
            except Exception as e:  # noqa: BLE001 - msal raises what its transport raises, and ValueError for a bad authority
                raise NotSent(f"no token: {type(e).__name__} at the authority") from None
            token = answer.get("access_token")
            if not isinstance(token, str) or not token:
                raise NotSent(f"no token: {short(str(answer.get('error') or 'the authority gives none'))}")
            lasts = answer.get("expires_in")
            seconds = float(lasts) if isinstance(lasts, int | float) else 0.0
            self._token, self._until = token, time.monotonic() + max(seconds - EARLY_S, seconds / 2)
            return token

    def _ask(self, scope: str) -> dict[str, Any]:
        if self._application is None:
            session = plain_session(self._verify)
            session.mount("https://", _Bounded(self._config.connect_timeout_s, self._config.timeout_s))
            self._application = msal.ConfidentialClientApplication(
                self._config.client_id,
                client_credential=self._credential,
                authority=authority(self._config),
                # The authority is the operator's word; or a server of Microsoft's would be asked whether it is known.
                instance_discovery=False,
                http_client=session,
            )
        answer: dict[str, Any] = self._application.acquire_token_for_client(scopes=[scope]) or {}
        return answer


def authority(config: EwsConfig) -> str:
    """Return who issues tokens."""
    base = (config.authority or MICROSOFT).rstrip("/")
    return base if config.tenant is None else f"{base}/{config.tenant}"


def _credential(config: EwsConfig, file: Callable[[str], Path]) -> Any:
    if config.certificate is None:
        return config.client_secret
    certificate = file(config.certificate).read_text()
    key = certificate if config.certificate_key is None else file(config.certificate_key).read_text()
    if "PRIVATE KEY-----" not in key:
        raise ValueError(f"{config.certificate_key or config.certificate} holds no private key; name certificate_key")
    if "-----BEGIN CERTIFICATE-----" not in certificate:
        raise ValueError(f"{config.certificate} holds no certificate")
    return {"private_key": key, "public_certificate": certificate}


class _Bounded(HTTPAdapter):
    """Waits no longer than we do; what asks for tokens says nothing of time."""

    def __init__(self, connect_s: float, read_s: float) -> None:
        self._timeout = (connect_s, read_s)
        super().__init__(max_retries=0)

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        kwargs["timeout"] = self._timeout
        return super().send(request, *args, **kwargs)


class _Bearer(AuthBase):
    def __init__(self, tokens: Tokens, scope: str) -> None:
        self._tokens = tokens
        self._scope = scope

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._tokens.current(self._scope)}"
        return request
