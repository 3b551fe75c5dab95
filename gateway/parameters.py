"""Parameters of Content-Type and Content-Disposition as text, and back (RFC 2231, RFC 2183). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from gateway.charsets import decoded
from gateway.octets import encoded_words, no_controls

MAX_NAME: Final = 255
"""Characters of a file name that are written."""
_MAX_PIECES: Final = 50
_PIECE: Final = 60
_NOT_PLAIN: Final = re.compile(r"[^ !#-\[\]-~]")
_CHARSET: Final = re.compile(r"[A-Za-z0-9._:+-]{1,40}")
_TOKENS: Final = re.compile(r"[!#$&+.0-9A-Z^_a-z{}|~-]{1,100}/[!#$&+.0-9A-Z^_a-z{}|~-]{1,100}")


def parameter(parameters: Mapping[str, bytes], name: str) -> str:
    """Return a parameter decoded and on one line, empty where it is absent: the form of RFC 2231 before the plain one,
    which may hold encoded words, since many mail programs write it so."""
    whole = parameters.get(name + "*")
    if whole is not None:
        return no_controls(_extended(whole))
    pieces: list[tuple[bool, bytes]] = []
    while len(pieces) < _MAX_PIECES:
        section = f"{name}*{len(pieces)}"
        encoded = parameters.get(section + "*")
        plain = parameters.get(section)
        if encoded is None and plain is None:
            break
        pieces.append((True, encoded) if encoded is not None else (False, plain or b""))
    if pieces:
        charset, octets = (_parts(pieces[0][1])) if pieces[0][0] else ("", pieces[0][1])
        octets += b"".join(unquote_to_bytes(piece) if escaped else piece for escaped, piece in pieces[1:])
        return no_controls(decoded(octets, charset))
    return no_controls(encoded_words(parameters.get(name, b"")))


def _extended(value: bytes) -> str:
    charset, octets = _parts(value)
    return decoded(octets, charset)


def _parts(value: bytes) -> tuple[str, bytes]:
    """Return (charset, octets) of `charset'language'text`."""
    charset, first, rest = value.partition(b"'")
    _, second, text = rest.partition(b"'")
    if not (first and second):
        return "", unquote_to_bytes(value)
    return charset.decode("latin-1"), unquote_to_bytes(text)


def written(name: str, value: str) -> list[str]:
    """Return a parameter as pieces `name="value"`, each for a line of its own; beyond ASCII a plain fall-back comes
    first, for programs that know no RFC 2231."""
    value = no_controls(value)[:MAX_NAME]
    plain = _NOT_PLAIN.sub("_", value)
    if plain == value and len(value) <= _PIECE:
        return [f'{name}="{value}"']
    fallback = [f'{name}="{plain[:_PIECE]}"']
    encoded = [quote(c, safe="") for c in value]
    pieces = [""]
    for c in encoded:
        if len(pieces[-1]) + len(c) > _PIECE:
            pieces.append("")
        pieces[-1] += c
    if len(pieces) == 1:
        return [*fallback, f"{name}*=utf-8''{pieces[0]}"]
    pieces[0] = "utf-8''" + pieces[0]
    return fallback + [f"{name}*{i}*={piece}" for i, piece in enumerate(pieces)]


def media_type(text: str) -> str:
    """Return a media type in lower case, application/octet-stream where it is none."""
    text = text.strip().lower()
    return text if _TOKENS.fullmatch(text) else "application/octet-stream"


def media_charset(parameters: Mapping[str, bytes]) -> str:
    """Return a charset parameter to be written behind a media type, empty where there is none."""
    charset = parameters.get("charset", b"").decode("latin-1")
    return f"; charset={charset}" if _CHARSET.fullmatch(charset) else ""
