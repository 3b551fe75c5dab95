"""The part of OData's query language that mail clients use: $filter as a predicate, $select, $expand; pure.

Source: OASIS OData 4.01 URL Conventions §5.1.1; learn.microsoft.com "Use the $filter query parameter".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from tests.peers.graph.message import seconds
from tests.peers.graph.trouble import Trouble

INTERNET_HEADERS: Final = "{00020386-0000-0000-c000-000000000046}"
Fields = dict[str, Any]
Test = Callable[[Fields], bool]
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<time>\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d))|(?P<number>-?\d+)"
    r"|(?P<word>[A-Za-z_@][\w./@]*)|(?P<mark>[(),:]))"
)
_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "gt": lambda a, b: a is not None and a > b,
    "ge": lambda a, b: a is not None and a >= b,
    "lt": lambda a, b: a is not None and a < b,
    "le": lambda a, b: a is not None and a <= b,
}
_FUNCTIONS: Final[dict[str, Callable[[str, str], bool]]] = {
    "startswith": lambda a, b: a.startswith(b),
    "endswith": lambda a, b: a.endswith(b),
    "contains": lambda a, b: b in a,
}


def property_key(text: str) -> str:
    """Return the peer's key of an extended property: `Integer 0x0E07` -> `0xe07`.

    `String {guid} Name n` -> `{guid}/n`, `Integer {guid} Id 0x8002` -> `{guid}/0x8002`. Of header fields
    (PS_INTERNET_HEADERS) letter case does not count.
    Source: learn.microsoft.com "singleValueLegacyExtendedProperty resource type". Raises: Trouble.
    """
    words = text.split(" ", 3)
    if len(words) == 2 and re.fullmatch(r"0[xX][0-9A-Fa-f]{1,4}", words[1]):
        return hex(int(words[1], 16))
    if len(words) == 4 and re.fullmatch(r"\{[0-9A-Fa-f-]{36}\}", words[1]) and words[2].lower() in ("name", "id"):
        name = words[3] if words[2].lower() == "name" else hex(int(words[3], 16))
        guid = words[1].lower()
        return f"{guid}/{name.lower() if guid == INTERNET_HEADERS else name}"
    raise Trouble("ErrorInvalidArgument", f"The extended property id '{text[:80]}' is invalid.")


def predicate(text: str) -> Test:
    """Compile a $filter. Raises: Trouble where it is not understood."""
    return _Parser(text).whole()


def selected(fields: Fields, select: str | None) -> Fields:
    """Return the named fields, `id` and all annotations always; everything but headers where nothing is named."""
    if not select:
        return {key: value for key, value in fields.items() if key not in _ON_DEMAND}
    wanted = {each.strip() for each in select.split(",")} | {"id"}
    return {key: value for key, value in fields.items() if key in wanted or key.startswith("@")}


_ON_DEMAND: Final = ("internetMessageHeaders", "singleValueExtendedProperties", "proxyAddresses")


def expansions(text: str | None) -> dict[str, str]:
    """Return the names of an $expand, each with its own options: `a,b($filter=c)` -> {a: "", b: "$filter=c"}."""
    found: dict[str, str] = {}
    depth, start = 0, 0
    whole = (text or "") + ","
    for at, char in enumerate(whole):
        depth += (char == "(") - (char == ")")
        if char == "," and not depth:
            name, _, options = whole[start:at].strip().partition("(")
            if name:
                found[name] = options.removesuffix(")")
            start = at + 1
    return found


class _Parser:
    """Recursive descent over `or`, `and`, `not`, comparisons, functions, and `any`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(self._split())
        self.at = 0

    def whole(self) -> Test:
        test = self._either()
        if self.at != len(self.tokens):
            raise self._wrong()
        return test

    def _split(self) -> Iterator[tuple[str, str]]:
        at = 0
        while self.text[at:].strip():
            found = _TOKEN.match(self.text, at)
            if found is None or found.lastgroup is None:
                raise self._wrong()
            yield found.lastgroup, found[found.lastgroup]
            at = found.end()

    def _wrong(self) -> Trouble:
        return Trouble("BadRequest", f"Invalid filter clause: {self.text[:200]}")

    def _peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def _take(self, *wanted: str) -> tuple[str, str]:
        if self.at >= len(self.tokens) or (wanted and self._peek() not in wanted):
            raise self._wrong()
        self.at += 1
        return self.tokens[self.at - 1]

    def _either(self) -> Test:
        tests = [self._both()]
        while self._peek() == "or":
            self._take()
            tests.append(self._both())
        return tests[0] if len(tests) == 1 else lambda fields: any(test(fields) for test in tests)

    def _both(self) -> Test:
        tests = [self._single()]
        while self._peek() == "and":
            self._take()
            tests.append(self._single())
        return tests[0] if len(tests) == 1 else lambda fields: all(test(fields) for test in tests)

    def _single(self) -> Test:
        if self._peek() == "not":
            self._take()
            inner = self._single()
            return lambda fields: not inner(fields)
        if self._peek() == "(":
            self._take()
            test = self._either()
            self._take(")")
            return test
        if self._peek() in _FUNCTIONS:
            return self._function(self._take()[1])
        kind, path = self._take()
        if kind != "word":
            raise self._wrong()
        return self._any(path.removesuffix("/any")) if path.endswith("/any") else self._comparison(path)

    def _function(self, name: str) -> Test:
        self._take("(")
        path = self._take()[1]
        self._take(",")
        value = _value(*self._take())
        self._take(")")
        return lambda fields: _FUNCTIONS[name](str(_at(fields, path) or "").lower(), str(value).lower())

    def _any(self, path: str) -> Test:
        self._take("(")
        self._take()
        self._take(":")
        inner = self._either()
        self._take(")")
        name = path
        return lambda fields: any(
            inner(each if isinstance(each, dict) else {"": each}) for each in fields.get(name) or ()
        )

    def _comparison(self, path: str) -> Test:
        compare = _COMPARE[self._take(*_COMPARE)[1]]
        value = _value(*self._take())
        if path.rpartition("/")[2] == "id" and isinstance(value, str) and (" 0x" in value.lower() or " {" in value):
            value = property_key(value)
            return lambda fields: compare(property_key(str(fields.get("id"))), value)
        return lambda fields: compare(_comparable(_at(fields, path)), _comparable(value))


def _value(kind: str, text: str) -> Any:
    match kind:
        case "text":
            return text[1:-1].replace("''", "'")
        case "number":
            return int(text)
        case "time":
            return text
        case _ if text in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[text]
    raise Trouble("BadRequest", f"Invalid filter clause: {text[:80]}")


def _at(fields: Any, path: str) -> Any:
    """Follow a path; a range variable (`e/value` inside any) is not a field, and stands for the fields themselves."""
    steps = path.split("/")
    if isinstance(fields, dict) and steps[0] not in fields and (len(steps) > 1 or "" in fields):
        steps = steps[1:] or [""]
    for step in steps:
        fields = fields.get(step) if isinstance(fields, dict) else None
    return fields


def _comparable(value: Any) -> Any:
    """Times compare as times; of texts, letter case does not count (as Exchange searches)."""
    if not isinstance(value, str):
        return value
    if re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)?", value):
        return seconds(value)
    return value.lower()
