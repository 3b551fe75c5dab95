"""Tokens of the application itself (OAuth 2.0 client credentials), by msal: one for all requests, renewed early.

msal blocks, so it is called in a thread of its own, a daemon: an authority that never answers holds up no stop. However
many requests need a token at once, one call asks for it. A token is renewed five minutes before it ends; where that
fails, the old one serves as long as it lives. A refusal is kept for a while, so that a wrong secret does not become a
request to the authority for each mail.

Sources: RFC 6749 §4.4, RFC 7523 §2.2 (client assertions); learn.microsoft.com "Microsoft identity platform and the
OAuth 2.0 client credentials flow".
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import httpx

from connectors.exchange.graph.config import GraphConfig
from connectors.exchange.organisation import Fault
from gateway.contract import Scope

EARLY_S: Final = 300.0
"""So long before its end a token is renewed."""
REFUSED_S: Final = 60.0
UNREACHABLE_S: Final = 10.0
"""So long the authority is not asked again after a refusal, or where it did not answer."""
_TEXT: Final = 300

T = TypeVar("T")

Ask = Callable[[bool], dict[str, Any]]
"""Get a token from the authority, blocking; True: past whatever msal has kept."""


@dataclass(frozen=True, slots=True)
class Token:
    """An access token and the second since 1970 at which it ends."""

    text: str
    ends_at: float


class TokenSource:
    """Gives the token that requests carry. `ask` does the asking, and blocks."""

    def __init__(self, ask: Ask, clock: Callable[[], float]) -> None:
        self._ask = ask
        self._clock = clock
        self._token: Token | None = None
        self._fault: Fault | None = None
        self._again_at = 0.0
        self._asking: asyncio.Future[Token] | None = None
        self.trouble: str | None = None
        """Why there is no token, or no new one, for an operator."""

    async def get(self) -> str:
        """Return a token that is valid now. Raises: Fault (denied, busy or unreachable)."""
        token, now = self._token, self._clock()
        if token is not None and now < token.ends_at - EARLY_S:
            return token.text
        try:
            return (await self._new(anew=False)).text
        except Fault:
            if token is not None and now < token.ends_at:
                return token.text
            raise

    async def refused(self, text: str) -> str:
        """Return another token than this one, which Graph did not take though it has not ended. Raises: Fault."""
        token = self._token
        if token is not None and token.text != text:
            return token.text  # another request has been here before
        self._token = None
        return (await self._new(anew=True)).text

    def close(self) -> None:
        """Wait for the authority no longer; safe to call twice."""
        if self._asking is not None:
            self._asking.cancel()

    async def _new(self, *, anew: bool) -> Token:
        if self._fault is not None and self._clock() < self._again_at:
            fault = self._fault
            raise Fault(
                fault.code,
                fault.text,
                fault.why,
                retry_after_s=self._again_at - self._clock(),
                scope=fault.scope,
                everywhere=True,
            )
        asking = self._asking
        if asking is None or asking.done():
            self._asking = asking = asyncio.ensure_future(self._fetch(anew))
            asking.add_done_callback(_retrieved)
        # Who gives up waiting must not take the token away from the others.
        return await asyncio.shield(asking)

    async def _fetch(self, anew: bool) -> Token:
        try:
            token = read(await in_thread(lambda: self._ask(anew)), self._clock())
        except Fault as fault:
            self._fault = fault
            wait_s = fault.retry_after_s or (UNREACHABLE_S if fault.why == "unreachable" else REFUSED_S)
            self._again_at = self._clock() + wait_s
            self.trouble = f"no token from the authority: {fault}"
            raise
        self._token, self._fault, self.trouble = token, None, None
        return token


def _retrieved(asking: asyncio.Future[Token]) -> None:
    """A failure is kept in `_fault`, whether anyone waits for it or not."""
    if not asking.cancelled():
        asking.exception()


def read(answer: Mapping[str, Any], now: float) -> Token:
    """Read what msal returns. Raises: Fault."""
    text = answer.get("access_token")
    if isinstance(text, str) and text:
        return Token(text, now + float(answer.get("expires_in", 0)))
    code = str(answer.get("error") or "no token")
    said = plain(str(answer.get("error_description") or ""))
    # RFC 6749 §5.2 has no code for "later"; Microsoft's own are temporarily_unavailable and server_error.
    if code in ("temporarily_unavailable", "server_error"):
        raise Fault(code, said, "unreachable", scope=Scope.HOP, everywhere=True)
    raise Fault(code, said, "denied", scope=Scope.HOP, everywhere=True)


def plain(text: str) -> str:
    """Return a server's words fit for a line of a log."""
    return "".join(each if each.isprintable() else " " for each in text[:_TEXT]).strip()


async def in_thread(function: Callable[[], T]) -> T:
    """Run a blocking function in a daemon thread of its own; what it does after a cancellation is left to it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, fault: BaseException | None) -> None:
        if done.done():
            return
        if fault is not None:
            done.set_exception(fault)
        else:
            done.set_result(value)  # type: ignore[arg-type]  # None is a T where the function returns it

    def work() -> None:
        value, fault = None, None
        try:
            value = function()
        except BaseException as e:  # noqa: BLE001  # it belongs to whoever waits
            fault = e
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, value, fault)

    threading.Thread(target=work, name="graph-token", daemon=True).start()
    return await done


class Authority:
    """msal over an HTTP client of ours. Built at the first token, since msal asks the authority about itself then."""

    def __init__(self, config: GraphConfig, base: Path, client: httpx.Client) -> None:
        self._config = config
        self._http = _Http(client)
        self._application: Any = None
        self._credential = credential(config, base)
        parts = urlsplit(config.url)
        self._scopes = [f"{parts.scheme}://{parts.netloc}/.default"]

    def ask(self, anew: bool) -> dict[str, Any]:
        """Return msal's answer. Blocks. Raises: Fault."""
        try:
            application = self._application or self._build()
            self._application = application
            if anew:
                application.remove_tokens_for_client()
            return dict(application.acquire_token_for_client(scopes=self._scopes))
        except httpx.HTTPError as e:
            raise Fault(
                "no answer", f"{type(e).__name__}: {plain(str(e))}", "unreachable", scope=Scope.HOP, everywhere=True
            ) from e
        except Exception as e:  # msal raises ValueError, its own MsalServiceError, and what JSON and keys give
            text = f"{type(e).__name__}: {plain(str(e))}"
            raise Fault("no token", text, "unreachable", scope=Scope.HOP, everywhere=True) from e

    def _build(self) -> Any:
        import msal  # it takes a while to load

        # Last: it would log an answer that is not JSON, whole.
        logging.getLogger("msal").setLevel(logging.CRITICAL)
        return msal.ConfidentialClientApplication(
            self._config.client_id,
            client_credential=self._credential,
            authority=self._config.authority_of_tenant,
            http_client=self._http,
            # The operator named the authority, so Microsoft is not asked whether it knows it.
            instance_discovery=False,
        )


def credential(config: GraphConfig, base: Path) -> str | dict[str, str]:
    """Return what proves who we are, in msal's form. Blocks on the disk.

    Raises: ValueError that names the file and its fault.
    """
    if config.certificate is None:
        return config.client_secret or ""
    try:
        certificate = (base / config.certificate).read_text("ascii")
        key = (base / config.certificate_key).read_text("ascii") if config.certificate_key else certificate
    except (OSError, UnicodeDecodeError) as fault:
        raise ValueError(f"certificate {config.certificate}: {fault}; it must be a readable PEM file") from fault
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        found = x509.load_pem_x509_certificate(certificate.encode())
        public = load_pem_private_key(key.encode(), None).public_key()
    except (ValueError, TypeError) as fault:  # TypeError: the key is encrypted
        raise ValueError(
            f"certificate {config.certificate}: {fault}; it must hold a certificate, and its unencrypted key must be "
            "there or in certificate_key"
        ) from fault
    if public != found.public_key():
        raise ValueError(f"certificate {config.certificate}: the key does not belong to it")
    return {"private_key": key, "public_certificate": certificate}


class _Http:
    """The HTTP client that msal wants, over httpx: it sends form values as bytes, which httpx would write as Python
    does."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def post(self, url: str, params: Any = None, data: Any = None, headers: Any = None, **_: object) -> httpx.Response:
        if isinstance(data, Mapping):
            data = {name: value.decode() if isinstance(value, bytes) else value for name, value in data.items()}
        return self._client.post(url, params=params, data=data, headers=headers)

    def get(self, url: str, params: Any = None, headers: Any = None, **_: object) -> httpx.Response:
        return self._client.get(url, params=params, headers=headers)

    def close(self) -> None:
        self._client.close()
