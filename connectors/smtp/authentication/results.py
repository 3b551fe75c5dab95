"""Authentication-Results: the field that tells the next ones what was found out here. Source: RFC 8601.

`write` makes the field, `read` takes one apart, `is_ours` tells the forged ones that came with a message. Any octets
are taken, bounded in size; what cannot be read says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from types import MappingProxyType
from typing import Final, NamedTuple

FIELD: Final = b"authentication-results"
MAX_OCTETS: Final = 32 * 1024
MAX_RESULTS: Final = 100
MAX_FIELDS: Final = 50
"""Of those of one message that are read for a seal."""
_MAX_VALUE: Final = 300
_MAX_START: Final = 1000
_MAX_DEPTH: Final = 20
_COLUMNS: Final = 76

_TOKEN: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|([;=/.])|([^\s"();=]+)|(.)', re.DOTALL)
_WORD: Final = re.compile(r"[A-Za-z0-9!#$%&'*+\-^_`{|}~.:@/\[\]]+")
_COMMENT: Final = re.compile(r"[ -'*-\[\]-~]*")
_IN_COMMENT: Final = re.compile(r"\\.?|[()]", re.DOTALL)
_METHOD: Final = re.compile(r"([A-Za-z0-9-]{1,40})(?:/\d{1,3})?")
_PROPERTY: Final = re.compile(r"([A-Za-z0-9-]{1,20})\.([A-Za-z0-9_-]{1,40})")


_NO_PROPERTIES: Final[Mapping[str, str]] = MappingProxyType({})


class Result(NamedTuple):
    """One result: `properties` are by `ptype.property`; `comment` explains, for a person."""

    method: str
    verdict: str
    properties: Mapping[str, str] = _NO_PROPERTIES
    comment: str = ""
    reason: str = ""


class Results(NamedTuple):
    """What one field says, under whose name; both in lower case."""

    server: str
    results: tuple[Result, ...] = ()


def write(server: str, results: Sequence[Result]) -> bytes:
    """Return authserv-id and results, folded, without the field's name and line end."""
    if not results:
        return f"{server}; none".encode("utf-8", "replace")
    lines = []
    for method, verdict, properties, comment, reason in results:
        words = [f"{name}={_value(value[:_MAX_VALUE])}" for name, value in properties.items() if value]
        last = words.pop() if words else ""
        line = _line(method, verdict, comment[:_MAX_VALUE], reason[:_MAX_VALUE], tuple(words))
        lines.append(_with(line, last) if last else line)
    return (f"{server};\r\n\t" + ";\r\n\t".join(lines)).encode("utf-8", "replace")


@lru_cache(2048)
def _line(method: str, verdict: str, comment: str, reason: str, properties: tuple[str, ...]) -> str:
    """Return one result but for its last property, folded. Most of them come again and again; the last property is what
    tells two of a sender's messages apart."""
    words = [f"{method}={verdict}"]
    if comment:
        words.append(f"({_commented(comment)})")
    if reason:
        words.append(f"reason={_value(reason, quoted=True)}")
    return _folded([*words, *properties])


def field_of(server: str, results: Sequence[Result]) -> bytes:
    """Return the whole field with its line end."""
    return b"Authentication-Results: " + write(server, results) + b"\r\n"


def _folded(words: Iterable[str]) -> str:
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + 1 + len(word) > _COLUMNS:
            lines.append("\t" + word)
        else:
            lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
    return "\r\n\t".join(lines)


def _with(line: str, word: str) -> str:
    """Return what `_folded` makes of one word more."""
    columns = len(line) - (line.rfind("\n") + 2 if "\n" in line else 0)
    return f"{line}\r\n\t\t{word}" if columns + 1 + len(word) > _COLUMNS else f"{line} {word}"


@lru_cache(4096)
def _value(text: str, *, quoted: bool = False) -> str:
    """Return a value as one word, or quoted; without control characters, and of a bounded length."""
    text = text[:_MAX_VALUE]
    if not text.isprintable():
        text = "".join(c if c.isprintable() else "?" for c in text)
    if not quoted and _WORD.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _commented(text: str) -> str:
    text = text[:_MAX_VALUE]
    if _COMMENT.fullmatch(text):
        return text
    return "".join(c if c.isprintable() and c not in "()\\" else " " for c in text)


def read(value: bytes) -> Results | None:
    """Take a field's value apart (without the instance of an ARC one); None where not even the server can be read.

    A result that cannot be read is left out, and so is all that comes behind it.
    """
    if len(value) > MAX_OCTETS:
        return None
    parts = list(_parts(value.decode("utf-8", "replace")))
    server = _server(parts[0])
    if server is None:
        return None
    found = []
    for words in parts[1 : MAX_RESULTS + 1]:
        result = _result(words)
        if result is None:
            break
        found.append(result)
    return Results(server, tuple(found))


def _server(words: list[str]) -> str | None:
    """Return the name of the server that the first part gives, perhaps with a version; None where it is none."""
    if not words or len(words) > 2 or (len(words) == 2 and not words[1].isdigit()):
        return None
    server = words[0].lower()
    return None if server in "=/.;" or len(server) > 255 else server


def _parts(text: str) -> Iterator[list[str]]:
    """Yield the words between semicolons; a quoted one is one word, comments are none (RFC 5322 §3.2.2)."""
    words: list[str] = []
    for word, quoted in _tokens(text):
        if word == ";" and not quoted:
            yield words
            words = []
        else:
            words.append(word)
    yield words


def _tokens(text: str) -> Iterator[tuple[str, bool]]:
    at, end = 0, len(text)
    while at < end:
        char = text[at]
        if char.isspace():
            at += 1
        elif char == "(":
            at = _after_comment(text, at)
        else:
            match = _TOKEN.match(text, at)
            assert match is not None  # the last branch takes any character
            at = match.end()
            if match[1] is not None:
                yield re.sub(r"\\(.)", r"\1", match[1]), True
            else:
                yield match[0], False


def _after_comment(text: str, at: int) -> int:
    """Return where a comment ends: behind its closing parenthesis, or at the end of a text in which there is none.

    What is nested beyond reason has no end.
    """
    depth = 0
    for sign in _IN_COMMENT.finditer(text, at):
        if sign[0] == "(":
            depth += 1
            if depth > _MAX_DEPTH:
                break
        elif sign[0] == ")":
            depth -= 1
            if depth == 0:
                return sign.end()
    return len(text)


def _result(words: list[str]) -> Result | None:
    pairs = list(_pairs(words))
    if not pairs:
        return None
    method = _METHOD.fullmatch(pairs[0][0])
    if method is None:
        return None
    properties: dict[str, str] = {}
    reason = ""
    for name, value in pairs[1:]:
        match = _PROPERTY.fullmatch(name)
        if match is not None:
            properties.setdefault(f"{match[1]}.{match[2]}".lower(), value)
        elif name.lower() == "reason":
            reason = value
    return Result(method[1].lower(), pairs[0][1].lower(), properties, reason=reason)


def _pairs(words: list[str]) -> Iterator[tuple[str, str]]:
    """Yield what stands around each `=`; blanks may stand within a name, as in `smtp . mailfrom`."""
    name = ""
    after = False
    for word in words:
        if word == "=" and name and not after:
            after = True
        elif after:
            yield name, word
            name, after = "", False
        elif word != "=":
            name += word


def is_ours(value: bytes, servers: frozenset[str]) -> bool:
    """Say whether a field claims to be of one of these servers (in lower case), or cannot be read to say it is not.

    Only its beginning is looked at, where the name has to be.
    """
    start = value.lstrip()[:_MAX_START].decode("utf-8", "replace")
    server = _server(next(_parts(start)))
    cut = len(start) == _MAX_START and ";" not in start
    return cut or server is None or server in servers or server.rstrip(".") in servers


def first_of(values: Iterable[bytes], servers: frozenset[str]) -> Results | None:
    """Return what the topmost field of these servers says (their names in lower case); None where there is none."""
    for value in values:
        found = read(value)
        if found is not None and found.server in servers:
            return found
    return None


def merged(values: Iterable[bytes], servers: frozenset[str]) -> Results | None:
    """Return what all fields of these servers say, the topmost first, as a seal carries it (RFC 8617 §4.1.1)."""
    topmost: Results | None = None
    every: list[Result] = []
    for value in islice(values, MAX_FIELDS):
        found = read(value)
        if found is not None and found.server in servers:
            topmost = topmost or found
            every += [each for each in found.results if each not in every][: MAX_RESULTS - len(every)]
    return None if topmost is None else Results(topmost.server, tuple(every))
