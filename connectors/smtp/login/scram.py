"""SCRAM: the server's side, and what it stores of a password. Without I/O.

Source: RFC 5802; RFC 7677 (SHA-256); RFC 5929 and RFC 9266 (what a channel is bound by).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Final, Literal

from connectors.smtp.login.sasl import name_of
from connectors.smtp.login.steps import Challenge, Keys, Proven, Refused, ScramKeys, Step

Hash = Literal["sha1", "sha256"]
ITERATIONS: Final = 65_536
"""Of what is stored anew; RFC 7677 §4 asks for 4096 at least. The client does them at each log-in."""
SALT_OCTETS: Final = 16
MOST_ITERATIONS: Final = 10_000_000

_FIRST: Final = re.compile(
    rb"((p=([A-Za-z0-9.-]+)|n|y),(?:a=([^,]*))?,)"  # RFC 5802 §7: the gs2-header
    rb"(n=([^,\x00]+),r=([!-+\--~]{1,512})(?:,[A-Za-z]=[^,\x00]*)*)"
)
_FINAL: Final = re.compile(rb"(c=([A-Za-z0-9+/=]+),r=([!-+\--~]+)(?:,[A-Za-z]=[^,\x00]*)*),p=([A-Za-z0-9+/=]+)")

_MALFORMED: Final = Refused("the response is not written as SCRAM has it", is_malformed=True)


def derive(password: str, salt: bytes, iterations: int, hash_: Hash = "sha256") -> ScramKeys:
    """Return what is stored of a password (prepared by SASLprep). Takes a while: `iterations` hashes."""
    salted = hashlib.pbkdf2_hmac(hash_, password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", hash_)
    return ScramKeys(
        iterations, salt, hashlib.new(hash_, client_key).digest(), hmac.digest(salted, b"Server Key", hash_)
    )


Form = Callable[[int], tuple[int, int]]
"""Returns, by any number, the iterations and the octets of the salt that some account has."""


def usual_form(number: int) -> tuple[int, int]:
    """Return the form of what is stored anew."""
    return ITERATIONS, SALT_OCTETS


def pretended(login: str, secret: bytes, hash_: Hash = "sha256", form: Form = usual_form) -> ScramKeys:
    """Return keys of a login that there is not, the same each time, so that a stranger sees no difference."""
    made = hmac.digest(secret, b"salt of " + login.encode(), "sha512")
    iterations, octets = form(int.from_bytes(made[-8:]))
    size = hashlib.new(hash_).digest_size
    return ScramKeys(iterations, made[: max(1, octets)], secrets.token_bytes(size), secrets.token_bytes(size))


class Scram:
    """One log-in by SCRAM. `bindings` are what this channel is bound by, by type; with `plus` the client must use one.

    `secret` makes up the keys of those who do not exist, in a `form` that others have.
    """

    def __init__(
        self,
        *,
        secret: bytes,
        plus: bool = False,
        bindings: Mapping[str, bytes] | None = None,
        hash_: Hash = "sha256",
        form: Form = usual_form,
        nonce: Callable[[], str] = lambda: secrets.token_urlsafe(18),
    ) -> None:
        self._secret = secret
        self._plus = plus
        self._bindings = bindings or {}
        self._hash: Hash = hash_
        self._form = form
        self._nonce = nonce
        self._bare = self._server_first = b""
        self._gs2 = b""
        self._whole_nonce = b""
        self._login = ""
        self._keys: ScramKeys | None = None
        self._is_known = False
        self._is_proven = False

    def step(self, response: bytes | None) -> Step:
        if self._is_proven:  # the client has checked our signature; its empty response says so
            return Proven(self._login)
        if response is None:
            return Challenge(b"")
        return self._first(response) if self._keys is None else self._final(response, self._keys)

    def answer(self, known: bool | ScramKeys | None) -> Step:
        self._is_known = isinstance(known, ScramKeys)
        keys = known if isinstance(known, ScramKeys) else pretended(self._login, self._secret, self._hash, self._form)
        self._keys = keys
        self._server_first = b"r=%s,s=%s,i=%d" % (self._whole_nonce, b64encode(keys.salt), keys.iterations)
        return Challenge(self._server_first)

    def _first(self, response: bytes) -> Step:
        match = _FIRST.fullmatch(response)
        if match is None:
            return _MALFORMED
        gs2, flag, kind, authorise, bare, name, nonce = match.groups()
        login = name_of(name)
        if login is None:
            return _MALFORMED
        if authorise and name_of(authorise) != login:
            return Refused("it asks to act as another")
        bound = self._bound(gs2, flag, kind)
        if isinstance(bound, Refused):
            return bound
        self._gs2 = bound
        self._login, self._bare = login, bare
        self._whole_nonce = nonce + self._nonce().encode("ascii")
        return Keys(login)

    def _bound(self, gs2: bytes, flag: bytes, kind: bytes | None) -> bytes | Refused:
        """Return what `c=` must stand for."""
        if kind is not None:
            data = self._bindings.get(kind.decode("ascii"))
            if not self._plus or data is None:
                return Refused("it is bound by what we do not have")
            return gs2 + data
        if self._plus:
            return Refused("it is not bound to the channel, as -PLUS asks")
        if flag == b"y" and self._bindings:
            # RFC 5802 §6: it would have, but saw no -PLUS in the list: somebody in the middle took it out
            return Refused("somebody took -PLUS out of our offer")
        return gs2

    def _final(self, response: bytes, keys: ScramKeys) -> Step:
        match = _FINAL.fullmatch(response)
        if match is None:
            return _MALFORMED
        without_proof, binding, nonce, proof = match.groups()
        try:
            bound, given = b64decode(binding, validate=True), b64decode(proof, validate=True)
        except ValueError:
            return _MALFORMED
        if nonce != self._whole_nonce or bound != self._gs2:
            return Refused("it answers another exchange, or over another channel")
        message = b",".join((self._bare, self._server_first, without_proof))
        signature = hmac.digest(keys.stored_key, message, self._hash)
        if len(given) != len(signature):
            return _MALFORMED
        client_key = bytes(a ^ b for a, b in zip(given, signature, strict=True))
        right = hmac.compare_digest(hashlib.new(self._hash, client_key).digest(), keys.stored_key)
        if not (right and self._is_known):
            return Refused("wrong name or password")
        self._is_proven = True
        return Challenge(b"v=" + b64encode(hmac.digest(keys.server_key, message, self._hash)))
