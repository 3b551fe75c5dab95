"""The directory's login: OpenID discovery, and application tokens for a secret or a certificate.

Source: OpenID Connect Discovery 1.0 §4.2; RFC 6749 §4.4; RFC 7523 §2.2, §3; learn.microsoft.com "Microsoft identity
platform application authentication certificate credentials" (PS256 with x5t#S256, RS256 with x5t).
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.peers.graph.trouble import Trouble

if TYPE_CHECKING:
    from tests.peers.graph.call import Answer, Call
    from tests.peers.graph.store import Store

LIFETIME_S: Final = 3599
_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass(slots=True)
class Application:
    """What a company has registered: its tenant, and how the client proves who it is."""

    company: int
    tenant: str
    client_id: str
    secret: str
    certificate: x509.Certificate | None = None


class Login:
    """Applications and the tokens given to them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._applications: dict[str, Application] = {}
        self._tokens: dict[str, tuple[int, str, float]] = {}
        self._assertions: set[str] = set()
        self._lock = threading.Lock()
        self.lifetime_s: dict[int, int] = {}

    def register(self, application: Application) -> None:
        """Make an application known."""
        with self._lock:
            self._applications[application.client_id] = application

    def certify(self, client_id: str, pem: bytes) -> None:
        """Let an application prove itself by a certificate's key."""
        self._applications[client_id].certificate = x509.load_pem_x509_certificate(pem)

    def revoke(self, company: int) -> None:
        """Let none of a company's tokens be valid any more."""
        with self._lock:
            self._tokens = {token: each for token, each in self._tokens.items() if each[0] != company}

    def serve(self, call: Call) -> Answer | None:
        """Answer discovery and token requests; None: it is something else."""
        from tests.peers.graph.call import Answer

        parts = call.path.strip("/").split("/")
        origin = call.base.removesuffix("/v1.0")
        if parts[1:] == ["v2.0", ".well-known", "openid-configuration"]:
            call.operation = "Discovery"
            return Answer(200, _discovery(origin, parts[0]), kind="application/json")
        if parts[1:] != ["oauth2", "v2.0", "token"]:
            return None
        call.operation = "Token"
        form = dict(urllib.parse.parse_qsl(call.body.decode("latin-1")))
        application = self._applications.get(form.get("client_id", ""))
        call.company = application.company if application else 0

        def work() -> Answer:
            audience = f"{origin}/{parts[0]}/oauth2/v2.0/token"
            told = self._token(application, parts[0], form, audience, origin)
            return Answer(200, told, {"Cache-Control": "no-store"})

        def refused(trouble: Trouble) -> Answer:
            told = {"error": trouble.code, "error_description": trouble.text, "error_codes": [], "trace_id": ""}
            return Answer(trouble.status, told, trouble.headers)

        return call.service.meet(call, work, refused)

    def who(self, authorization: str) -> tuple[int, str]:
        """Return (company, client id) of a bearer token. Raises: Trouble."""
        scheme, _, token = authorization.partition(" ")
        found = self._tokens.get(token) if scheme.lower() == "bearer" else None
        if not authorization:
            raise Trouble("InvalidAuthenticationToken", "Access token is empty.")
        if found is None:
            raise Trouble("InvalidAuthenticationToken", "Access token validation failure. Invalid audience.")
        if found[2] < time.time():
            raise Trouble("InvalidAuthenticationToken", "Lifetime validation failed, the token is expired.")
        return found[0], found[1]

    def _token(
        self, application: Application | None, tenant: str, form: dict[str, str], audience: str, origin: str
    ) -> dict[str, Any]:
        if application is None:
            raise Trouble(
                "unauthorized_client", "AADSTS700016: Application was not found in the directory.", status=400
            )
        if tenant != application.tenant:
            raise Trouble("invalid_request", f"AADSTS90002: Tenant '{tenant}' not found.", status=400)
        if form.get("grant_type") != "client_credentials":
            raise Trouble(
                "unsupported_grant_type", "AADSTS70003: The app requested an unsupported grant type.", status=400
            )
        if form.get("scope") not in (f"{origin}/.default", "https://graph.microsoft.com/.default"):
            raise Trouble(
                "invalid_scope", "AADSTS70011: The provided value for the input parameter 'scope' is not valid."
            )
        if "client_assertion" in form:
            self._prove(application, form, audience)
        elif not secrets.compare_digest(form.get("client_secret", ""), application.secret):
            raise Trouble("invalid_client", "AADSTS7000215: Invalid client secret provided.", status=401)
        token = secrets.token_urlsafe(48)
        lasts = self.lifetime_s.get(application.company, LIFETIME_S)
        with self._lock:
            self._tokens[token] = (application.company, application.client_id, time.time() + lasts)
        return {"token_type": "Bearer", "expires_in": lasts, "ext_expires_in": lasts, "access_token": token}

    def _prove(self, application: Application, form: dict[str, str], audience: str) -> None:
        """Check a certificate assertion: the right certificate's, signed by its key, for us, now, and once."""

        def refuse(why: str) -> Trouble:
            return Trouble("invalid_client", f"AADSTS700027: Client assertion failed: {why}.", status=401)

        certificate = application.certificate
        if form.get("client_assertion_type") != _ASSERTION or certificate is None:
            raise refuse("no certificate is registered")
        try:
            head, claims, signature = form["client_assertion"].split(".")
            header, said = json.loads(_octets(head)), json.loads(_octets(claims))
        except (ValueError, KeyError):
            raise refuse("it is malformed") from None
        der = certificate.public_bytes(encoding=_der())
        prints = {"x5t": hashlib.sha1(der).digest(), "x5t#S256": hashlib.sha256(der).digest()}
        if not any(name in header and _octets(header[name]) == value for name, value in prints.items()):
            raise refuse("the key was not found by its thumbprint")
        key = certificate.public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        scheme = {
            "RS256": padding.PKCS1v15(),
            "PS256": padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH),
        }.get(header.get("alg"))
        if scheme is None:
            raise refuse("its algorithm is not allowed")
        try:
            key.verify(_octets(signature), f"{head}.{claims}".encode(), scheme, hashes.SHA256())
        except InvalidSignature:
            raise refuse("its signature is not valid") from None
        now = time.time()
        if said.get("aud") != audience:
            raise refuse("its audience is not this endpoint")
        if not said.get("iss") == said.get("sub") == application.client_id:
            raise refuse("its issuer is not the application")
        if not float(said.get("nbf", said.get("iat", 0))) - 300 <= now <= float(said.get("exp", 0)):
            raise refuse("it is not within its time")
        with self._lock:
            if said.get("jti") in self._assertions:
                raise refuse("it was used before")
            self._assertions.add(said.get("jti"))


def _discovery(origin: str, tenant: str) -> dict[str, Any]:
    here = f"{origin}/{tenant}"
    return {
        "issuer": f"{here}/v2.0",
        "authorization_endpoint": f"{here}/oauth2/v2.0/authorize",
        "token_endpoint": f"{here}/oauth2/v2.0/token",
        "jwks_uri": f"{here}/discovery/v2.0/keys",
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
        "response_types_supported": ["code", "id_token"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid"],
    }


def _octets(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _der() -> Any:
    from cryptography.hazmat.primitives.serialization import Encoding

    return Encoding.DER
