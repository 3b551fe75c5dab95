"""Where keys stand: every path of a parsed document has the line that a reader would point at."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.toml_places import Path, locate

DOCUMENT = """\
# a comment with [brackets] and "quotes
title = "x"

[gateway]
name = "gw.example"  # = not a key
"quoted key".'and literal' = 1
text = \"\"\"
[not.a.table]
key = "no"\"\"\"
raw = '''
[nor.this]
'''
after = 1

[connector.internet]
listen = [
  "0.0.0.0:25",  # one
  # two is gone
  "[::1]:25",
]
inline = { a = 1, b = { c = "}" }, "d" = [1, 2] }
dotted.deep.key = true

[[route]]
match = "mhs:*"
to = "x"

[[route]]
match = "smtp:*"

[route.sub]
key = 1
"""

PLACES: list[tuple[Path, int]] = [
    (("title",), 2),
    (("gateway",), 4),
    (("gateway", "name"), 5),
    (("gateway", "quoted key", "and literal"), 6),
    (("gateway", "text"), 7),
    (("gateway", "raw"), 10),
    (("gateway", "after"), 13),
    (("connector", "internet"), 15),
    (("connector", "internet", "listen", 0), 17),
    (("connector", "internet", "listen", 1), 19),
    (("connector", "internet", "inline", "b", "c"), 21),
    (("connector", "internet", "inline", "d", 1), 21),
    (("connector", "internet", "dotted", "deep", "key"), 22),
    (("route", 0), 24),
    (("route", 0, "to"), 26),
    (("route", 1), 28),
    (("route", 1, "match"), 29),
    (("route", 1, "sub", "key"), 32),
    (("route", 1, "no such key"), 28),
    (("nothing",), 1),
]


@pytest.mark.parametrize(("path", "line"), PLACES, ids=lambda v: ".".join(map(str, v)) if isinstance(v, tuple) else v)
def test_line(path: Path, line: int) -> None:
    assert locate(DOCUMENT).line(path) == line


@pytest.mark.parametrize(("path", "line"), PLACES, ids=lambda v: ".".join(map(str, v)) if isinstance(v, tuple) else v)
def test_line_with_crlf(path: Path, line: int) -> None:
    assert locate(DOCUMENT.replace("\n", "\r\n")).line(path) == line


def _paths(value: Any, path: Path = ()) -> Iterator[Path]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key)
            yield from _paths(inner, (*path, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield (*path, i)
            yield from _paths(inner, (*path, i))


def test_every_path_of_the_parsed_value_is_located() -> None:
    located = locate(DOCUMENT)._lines
    assert [p for p in _paths(tomllib.loads(DOCUMENT)) if p not in located] == []


_keys = st.text("ab-_", min_size=1, max_size=4) | st.text(max_size=4)
_scalars = st.booleans() | st.integers(-9, 9) | st.text(max_size=8)
_values = st.recursive(_scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=3))


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case str():
            escaped = "".join(c if c.isalnum() else f"\\U{ord(c):08x}" for c in value)
            return f'"{escaped}"'
        case list():
            return "[\n" + ",\n".join(_toml(v) for v in value) + "\n]"
    return "{" + ", ".join(f"{_toml(k)} = {_toml(v)}" for k, v in value.items()) + "}"


@given(st.dictionaries(_keys, _values, max_size=4))
def test_every_path_of_any_document_is_located(value: dict[str, Any]) -> None:
    text = "".join(f"{_toml(k)} = {_toml(v)}\n" for k, v in value.items())
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError:  # a newline inside an inline table
        return
    located = locate(text)._lines
    assert [p for p in _paths(parsed) if p not in located] == []


@given(st.text("[]{}=\"'.,#\n\\ab1 ", max_size=60))
def test_garbage_never_raises(text: str) -> None:
    locate(text)


def test_deep_nesting_ends_early() -> None:
    text = "a = " + "[" * 5000
    assert locate(text).line(("a",)) == 1
