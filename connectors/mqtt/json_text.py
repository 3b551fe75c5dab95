"""JSON from a stranger: read within bounds, or refused with the place.

Promises: takes time and memory of a few times the octets; nothing nests deeper than `MAX_DEPTH`, no object has a name
twice, every number is one that a double holds, all text can be written as UTF-8 (I-JSON, RFC 7493); raises BadPayload
and nothing else. Sources: RFC 8259 (the syntax), RFC 7493 §2 (what readers disagree about, and is refused), RFC 6901
(pointers).
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

from connectors.mqtt.bad import SHOWN, BadPayload, at_octet

MAX_DEPTH: Final = 32
MAX_VALUES: Final = 100_000
"""A value takes some twenty times the memory of the two octets that it needs on the wire."""
MAX_DIGITS: Final = 40

_BOM: Final = b"\xef\xbb\xbf"
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_NOT_BRACKETS: Final = re.compile(rb"[^\[\]{}]+")
_HALF: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}")


class _Number(Exception):
    def __init__(self, text: str) -> None:
        self.text = text


class _Twice(Exception):
    def __init__(self, name: str) -> None:
        self.name = name


def read_json(octets: bytes) -> Any:
    """Return what a document says. Raises: BadPayload."""
    start = len(_BOM) if octets.startswith(_BOM) else 0  # RFC 8259 §8.1: a reader may ignore it
    try:
        text = octets[start:].decode()
    except UnicodeDecodeError as e:
        raise not_utf8(octets, start + e.start) from None
    _check_shape(octets)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as e:
        offset = start + len(text[: e.pos].encode())
        raise BadPayload(
            "json.syntax", f"no JSON: {e.msg}", at_octet(octets, offset), "write one JSON document, RFC 8259",
            octets[offset : offset + SHOWN],
        ) from None  # fmt: skip
    except RecursionError:
        raise _too_deep(octets, 0) from None
    except _Number as e:
        found = e.text.encode()
        mend = "write a number that a double holds, or a string"
        place = at_octet(octets, max(0, octets.find(found)))
        raise BadPayload("json.number", "the number is too large or none", place, mend, found) from None
    except _Twice as e:
        found = e.name.encode("utf-8", "replace")
        place = at_octet(octets, max(0, octets.rfind(found)))
        mend = "give each name once: readers differ in which they take"
        raise BadPayload("json.name-twice", "an object has a name twice", place, mend, found) from None
    if _HALF.search(octets) is not None:
        _check_surrogates(value, octets)
    return value


def _number(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise _Number(text)
    return int(text)


def _fraction(text: str) -> float:
    value = float(text) if len(text) <= 400 else math.inf
    if not math.isfinite(value):
        raise _Number(text)
    return value


def _constant(text: str) -> Any:
    raise _Number(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        raise _Twice(next(name for name, _ in pairs if name in seen or seen.add(name)))  # type: ignore[func-returns-value]  # None: it was not there
    return made


_DECODER: Final = json.JSONDecoder(
    parse_int=_number, parse_float=_fraction, parse_constant=_constant, object_pairs_hook=_object
)


def _check_shape(octets: bytes) -> None:
    """Refuse what is too deep or too much, before a value is made of it."""
    opened = octets.count(b"[") + octets.count(b"{")
    if opened <= MAX_DEPTH and opened + octets.count(b",") <= MAX_VALUES:
        return
    bare = _STRING.sub(b"", octets)
    if bare.count(b",") + bare.count(b"[") + bare.count(b"{") > MAX_VALUES:
        mend = "publish several messages"
        raise BadPayload("json.too-many-values", f"more than {MAX_VALUES} values", "the whole payload", mend)
    depth = 0
    for sign in _NOT_BRACKETS.sub(b"", bare):
        depth += 1 if sign in b"[{" else -1
        if depth > MAX_DEPTH:
            raise _too_deep(octets, 0)


def _too_deep(octets: bytes, offset: int) -> BadPayload:
    mend = "put fewer objects and arrays into each other"
    text = f"values nested deeper than {MAX_DEPTH}"
    return BadPayload("json.too-deep", text, at_octet(octets, offset), mend, octets[offset : offset + SHOWN])


def not_utf8(octets: bytes, offset: int) -> BadPayload:
    mend = "write it in UTF-8"
    text = "octets that are no UTF-8"
    return BadPayload("payload.not-utf8", text, at_octet(octets, offset), mend, octets[offset : offset + 16])


def _check_surrogates(value: Any, octets: bytes) -> None:
    stack = [value]
    while stack:
        one = stack.pop()
        if isinstance(one, dict):
            stack += [*one, *one.values()]
        elif isinstance(one, list):
            stack += one
        elif isinstance(one, str) and (found := _SURROGATE.search(one)) is not None:
            said = b"\\u%04x" % ord(found[0])
            place = at_octet(octets, max(0, octets.lower().find(said)))
            mend = "write both halves of the pair, or the character"
            raise BadPayload("json.surrogate", "half of a surrogate pair is no character", place, mend, said)


def pointed(value: Any, pointer: str) -> Any:
    """Return what a pointer leads to (RFC 6901). Raises: LookupError where there is nothing."""
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value[name]
        elif isinstance(value, list) and _INDEX.fullmatch(name):
            value = value[int(name)]
        else:
            raise LookupError(name)
    return value
