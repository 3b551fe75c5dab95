"""Tokens of OAuth: signed by an identity provider, for this service, not expired (RFC 7519, RFC 7515, RFC 7517).

Only signatures by a public key are taken; which one is fitting is said by the key, never by the token alone, so that
`none`, or a public key taken for a secret, lets nobody in.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from connectors.smtp.login.accounts import Unready
from connectors.smtp.login.config import OAuthTokens
from connectors.smtp.login.saslprep import saslprep
from gateway.client_tls import client_tls

MOST_OCTETS: Final = 1024 * 1024
MOST_KEYS: Final = 64
FRESH_S: Final = 3600.0
AGAIN_S: Final = 60.0
"""The least time between two fetches of the keys, whatever tokens come."""
FETCH_S: Final = 10.0
LEEWAY_S: Final = 60.0
"""How far the provider's clock may be from ours."""

_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}
_CURVES: Final[dict[str, tuple[str, type[ec.EllipticCurve]]]] = {
    "P-256": ("ES256", ec.SECP256R1),
    "P-384": ("ES384", ec.SECP384R1),
    "P-521": ("ES512", ec.SECP521R1),
}

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class Key:
    """One of the provider's keys, and the algorithms that it may be used with."""

    id: str
    algorithms: frozenset[str]
    key: PublicKey


def read_keys(octets: bytes) -> list[Key]:
    """Return the signing keys of a JWK set; what is of a kind not known here is passed over.

    Raises: ValueError where it is none.
    """
    try:
        found = json.loads(octets)["keys"]
        if not isinstance(found, list):
            raise TypeError
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError("it is no JWK set: a JSON object with the keys in 'keys' (RFC 7517 section 5)") from None
    keys = []
    for each in found[:MOST_KEYS]:
        try:
            if each.get("use", "sig") == "sig" and (key := _key(each)) is not None:
                keys.append(key)
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
    if not keys:
        raise ValueError("it has no key for signatures that is known here (RSA, EC, Ed25519)")
    return keys


def _key(jwk: Mapping[str, Any]) -> Key | None:
    kind = jwk["kty"]
    made: PublicKey
    if kind == "RSA":
        made = rsa.RSAPublicNumbers(_number(jwk["e"]), _number(jwk["n"])).public_key()
        if made.key_size < 2048:  # RFC 7518 §3.3
            return None
        fit = {f"{family}{size}" for family in ("RS", "PS") for size in _HASHES}
    elif kind == "EC":
        name, curve = _CURVES[jwk["crv"]]
        made = ec.EllipticCurvePublicNumbers(_number(jwk["x"]), _number(jwk["y"]), curve()).public_key()
        fit = {name}
    elif kind == "OKP" and jwk["crv"] == "Ed25519":
        made = ed25519.Ed25519PublicKey.from_public_bytes(_octets(jwk["x"]))
        fit = {"EdDSA", "Ed25519"}
    else:
        return None
    if "alg" in jwk:
        fit &= {str(jwk["alg"])}
    return Key(str(jwk.get("kid", "")), frozenset(fit), made)


def claims_of(token: str, keys: list[Key]) -> Mapping[str, Any] | None:
    """Return what a token claims, its signature proven by one of the keys; None where none proves it."""
    try:
        head, claims, signature = token.split(".")
        header = json.loads(_octets(head))
        algorithm, kid = header["alg"], header.get("kid")
        if "crit" in header:  # RFC 7515 §4.1.11: something has to be understood that is not
            return None
        signed = f"{head}.{claims}".encode("ascii")
        proof = _octets(signature)
        for key in keys:
            if algorithm in key.algorithms and kid in (None, key.id) and _proves(key.key, algorithm, signed, proof):
                found = json.loads(_octets(claims))
                return found if isinstance(found, dict) else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return None


def _proves(key: PublicKey, algorithm: str, signed: bytes, proof: bytes) -> bool:
    try:
        if isinstance(key, rsa.RSAPublicKey):
            digest = _HASHES[algorithm[2:]]
            pad: Any = padding.PKCS1v15()
            if algorithm.startswith("PS"):
                pad = padding.PSS(padding.MGF1(digest), digest.digest_size)
            key.verify(proof, signed, pad, digest)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            half = (key.key_size + 7) // 8
            if len(proof) != 2 * half:  # RFC 7518 §3.4
                return False
            both = encode_dss_signature(int.from_bytes(proof[:half]), int.from_bytes(proof[half:]))
            key.verify(both, signed, ec.ECDSA(_HASHES["512" if algorithm == "ES512" else algorithm[2:]]))
        else:
            key.verify(proof, signed)
    except InvalidSignature:
        return False
    return True


def login_of(claims: Mapping[str, Any], config: OAuthTokens, now: float) -> str | None:
    """Return whom the claims name, where they are for this service and of this time; else None."""
    audience = claims.get("aud")
    expires, begins = claims.get("exp"), claims.get("nbf", 0)
    scopes = claims.get("scope", claims.get("scp", ""))
    words = scopes.split() if isinstance(scopes, str) else scopes if isinstance(scopes, list) else []
    login = claims.get(config.login)
    fits = (
        claims.get("iss") == config.issuer
        and config.audience in (audience if isinstance(audience, list) else [audience])
        and isinstance(expires, int | float)
        and now < expires + LEEWAY_S
        and isinstance(begins, int | float)
        and begins - LEEWAY_S <= now
        and (not config.scope or config.scope in words)
        and (config.login != "email" or claims.get("email_verified", True) is True)
    )
    return saslprep(login) if fits and isinstance(login, str) else None


class Tokens:
    """Checks tokens by the provider's keys, which are fetched when they are needed."""

    def __init__(self, config: OAuthTokens, base_dir: Path, clock: Callable[[], float], log: Any) -> None:
        self._config = config
        self._base_dir = base_dir
        self._clock = clock
        self._log = log
        self._keys: list[Key] = []
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._fetching = asyncio.Lock()

    async def start(self) -> None:
        """Read the keys where they are in a file; an address is asked when somebody comes.

        Raises: OSError or ValueError that names the file and its fault.
        """
        if not self._is_remote:
            self._keys = await asyncio.to_thread(self._read)
        client_tls(self._config.ca_file, self._base_dir)

    async def check(self, token: str) -> str | None:
        """Return whom a token names; None where it is not good. Raises: Unready."""
        await self._refresh(older_than_s=FRESH_S)
        claims = await asyncio.to_thread(claims_of, token, self._keys)
        if claims is None:  # the provider may have new keys
            if not await self._refresh(older_than_s=AGAIN_S):
                return None
            claims = await asyncio.to_thread(claims_of, token, self._keys)
        return None if claims is None else login_of(claims, self._config, self._clock())

    @property
    def _is_remote(self) -> bool:
        return self._config.keys.startswith("https://")

    async def _refresh(self, *, older_than_s: float) -> bool:
        """Fetch the keys where they are older than this; say whether they are new. Raises: Unready for none at all."""
        async with self._fetching:
            now = time.monotonic()
            if now - self._fetched_at < older_than_s or now - self._tried_at < AGAIN_S:
                return False
            self._tried_at = now
            try:
                self._keys = await asyncio.to_thread(self._fetch if self._is_remote else self._read)
            except (OSError, ValueError, HTTPException) as e:
                self._log.warning("oauth_keys_unreadable", keys=self._config.keys, error=str(e))
                if not self._keys:
                    raise Unready(f"{self._config.keys}: {e}") from None
                return False
            self._fetched_at = now
            return True

    def _read(self) -> list[Key]:
        path = self._base_dir / self._config.keys
        with path.open("rb") as file:
            octets = file.read(MOST_OCTETS)
        try:
            return read_keys(octets)
        except ValueError as e:
            raise ValueError(f"login.oauth.keys {path}: {e}") from None

    def _fetch(self) -> list[Key]:
        tls = urllib.request.HTTPSHandler(context=client_tls(self._config.ca_file, self._base_dir))
        opener = urllib.request.build_opener(tls, _NoRedirect())
        with opener.open(self._config.keys, timeout=FETCH_S) as answer:
            return read_keys(answer.read(MOST_OCTETS))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        raise URLError("it redirects to another address: name that one")


def _octets(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _number(text: str) -> int:
    return int.from_bytes(_octets(text))
