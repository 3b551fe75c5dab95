"""The server's side of PLAIN, LOGIN, OAUTHBEARER and XOAUTH2. Without I/O; SCRAM is in `scram`.

Source: RFC 4616; RFC 7628; LOGIN by the draft that never became a standard (draft-murchison-sasl-login), XOAUTH2 by
what Google and Microsoft publish of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from connectors.smtp.login.saslprep import saslprep
from connectors.smtp.login.steps import Bearer, Challenge, Password, Proven, Refused, ScramKeys, Step

_MALFORMED: Final = Refused("the response is not written as the mechanism has it", is_malformed=True)
_WRONG: Final = Refused("wrong name or password")

# RFC 7628 §3.1: gs2-header, then key=value pairs, each ended by ^A, and a last ^A
_BEARER: Final = re.compile(rb"(?:n|y),(?:a=([^,]*))?,\x01((?:[A-Za-z]+=[^\x00\x01]*\x01)+)\x01")
_XOAUTH2: Final = re.compile(rb"user=([^\x00\x01]*)\x01auth=([^\x00\x01]*)\x01\x01")
# RFC 6750 §2.1; the scheme in any case
_TOKEN: Final = re.compile(rb"(?i:bearer) +([A-Za-z0-9._~+/-]+=*) *")
_COMMA: Final = (("=2C", ","), ("=3D", "="))

INVALID_TOKEN: Final = b'{"status":"invalid_token"}'
_INVALID_TOKEN_X: Final = b'{"status":"401","schemes":"bearer","scope":""}'


def text_of(octets: bytes) -> str | None:
    """Return a name or password in its one form; None where it has none."""
    try:
        return saslprep(octets.decode("utf-8"))
    except UnicodeDecodeError:
        return None


def name_of(saslname: bytes) -> str | None:
    """Return what a saslname stands for (RFC 5802 §5.1): `=2C` is a comma, `=3D` an equals sign, no other `=`."""
    if re.sub(rb"=2C|=3D", b"", saslname).count(b"="):
        return None
    name = text_of(saslname)
    for coded, plain in _COMMA if name else ():
        name = name.replace(coded, plain) if name else name
    return name


class Plain:
    """PLAIN: an authorisation identity, a name and a password in one response (RFC 4616)."""

    def __init__(self) -> None:
        self._login = ""

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"")
        parts = response.split(b"\0")
        if len(parts) != 3:
            return _MALFORMED
        authorise, login, password = parts[0], text_of(parts[1]), text_of(parts[2])
        if login is None or password is None:
            return _WRONG
        if authorise and text_of(authorise) != login:
            return Refused("it asks to act as another")
        self._login = login
        return Password(login, password)

    def answer(self, known: bool | ScramKeys | None) -> Step:
        return Proven(self._login) if known is True else _WRONG


class Login:
    """LOGIN: name and password asked for one after the other."""

    def __init__(self) -> None:
        self._name: bytes | None = None
        self._login = ""

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"Username:")
        if self._name is None:
            self._name = response
            return Challenge(b"Password:")
        login, password = text_of(self._name), text_of(response)
        if login is None or password is None:
            return _WRONG
        self._login = login
        return Password(login, password)

    def answer(self, known: bool | ScramKeys | None) -> Step:
        return Proven(self._login) if known is True else _WRONG


class _BearerMechanism:
    """What the two mechanisms of OAuth share: a token, and where it is refused one more exchange."""

    def __init__(self, refusal: bytes) -> None:
        self._refusal = refusal
        self._login = ""
        self._is_refused = False

    def step(self, response: bytes | None) -> Step:
        if self._is_refused:  # RFC 7628 §3.2.3: the client has read why
            return _WRONG
        if response is None:
            return Challenge(b"")
        read = self._read(response)
        if read is None:
            return _MALFORMED
        login, auth = read
        token = _TOKEN.fullmatch(auth)
        if token is None:
            return self._refuse()
        self._login = login
        return Bearer(login, token[1].decode("ascii"))

    def answer(self, known: bool | ScramKeys | None) -> Step:
        return Proven(self._login) if known is True else self._refuse()

    def _refuse(self) -> Step:
        self._is_refused = True
        return Challenge(self._refusal)

    def _read(self, response: bytes) -> tuple[str, bytes] | None:
        raise NotImplementedError


class OAuthBearer(_BearerMechanism):
    """OAUTHBEARER (RFC 7628)."""

    def __init__(self) -> None:
        super().__init__(INVALID_TOKEN)

    def _read(self, response: bytes) -> tuple[str, bytes] | None:
        match = _BEARER.fullmatch(response)
        if match is None:
            return None
        login = ""
        if match[1]:
            named = name_of(match[1])
            if named is None:
                return None
            login = named
        pairs = dict(pair.split(b"=", 1) for pair in match[2].split(b"\x01") if pair)
        return login, pairs.get(b"auth", b"")


class XOAuth2(_BearerMechanism):
    """XOAUTH2, as OAUTHBEARER was before it was a standard."""

    def __init__(self) -> None:
        super().__init__(_INVALID_TOKEN_X)

    def _read(self, response: bytes) -> tuple[str, bytes] | None:
        match = _XOAUTH2.fullmatch(response)
        if match is None:
            return None
        login = text_of(match[1]) if match[1] else ""
        return None if login is None else (login, match[2])


SIMPLE: Final[dict[str, Callable[[], Plain | Login | OAuthBearer | XOAuth2]]] = {
    "PLAIN": Plain,
    "LOGIN": Login,
    "OAUTHBEARER": OAuthBearer,
    "XOAUTH2": XOAuth2,
}
"""The mechanisms by name, but for SCRAM."""
