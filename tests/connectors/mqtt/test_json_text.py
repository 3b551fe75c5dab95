"""JSON from a stranger: what is read, and what is refused before it costs anything."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.mqtt.bad import BadPayload
from connectors.mqtt.json_text import MAX_DEPTH, MAX_VALUES, pointed, read_json


@pytest.mark.parametrize(
    ("octets", "rule", "place", "found"),
    [
        (b"", "json.syntax", "octet 0, line 1", b""),
        (b'{"a": 1,}', "json.syntax", "octet 8, line 1", b"}"),
        (b'{"a": 1}\n{"b": 2}', "json.syntax", "octet 9, line 2", b'{"b": 2}'),
        ('{"é": x'.encode(), "json.syntax", "octet 7, line 1", b"x"),
        (b'{"a": "\xff"}', "payload.not-utf8", "octet 7, line 1", b'\xff"}'),
        (b'{"a": "b\nc"}', "json.syntax", "octet 8, line 1", b'\nc"}'),
        (b"[" * 100_000, "json.too-deep", "octet 0, line 1", b"[" * 200),
        (b'{"a":' * 100_000, "json.too-deep", "octet 0, line 1", b'{"a":' * 40),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "json.too-deep", "octet 0, line 1", b"[" * 33 + b"]" * 33),
        (b"[" + b"[]," * MAX_VALUES + b"1]", "json.too-many-values", "the whole payload", b""),
        (b"[1, " + b"9" * 5000 + b"]", "json.number", "octet 4, line 1", b"9" * 200),
        (b"[1e999]", "json.number", "octet 1, line 1", b"1e999"),
        (b"[NaN]", "json.number", "octet 1, line 1", b"NaN"),
        (b"[-Infinity]", "json.number", "octet 1, line 1", b"-Infinity"),
        (b'{"a": 1, "b": {"c": 1,\n "c": 2}}', "json.name-twice", "octet 25, line 2", b"c"),
        (b'["\\ud800"]', "json.surrogate", "octet 2, line 1", b"\\ud800"),
        (b'{"\\uDC00": 1}', "json.surrogate", "octet 2, line 1", b"\\udc00"),
        (b"\0", "json.syntax", "octet 0, line 1", b"\0"),
        ("{}".encode("utf-16"), "payload.not-utf8", "octet 0, line 1", b"\xff\xfe{\0}\0"),
    ],
)
def test_what_is_refused(octets: bytes, rule: str, place: str, found: bytes) -> None:
    with pytest.raises(BadPayload) as caught:
        read_json(octets)
    bad = caught.value
    assert (bad.rule, bad.place, bad.found) == (rule, place, found)
    assert bad.text
    assert bad.mend


@pytest.mark.parametrize(
    ("octets", "value"),
    [
        (b"\xef\xbb\xbf{}", {}),
        (b'["\\ud83d\\ude00"]', ["😀"]),
        (b'["\\\\ud800"]', ["\\ud800"]),
        (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, json.loads("[" * MAX_DEPTH + "]" * MAX_DEPTH)),
        (b'["' + b"[" * 1000 + b'\\"["]', ["[" * 1000 + '"[']),
        (b'["' + b"," * (MAX_VALUES + 1) + b'"]', ["," * (MAX_VALUES + 1)]),
        (b"1e5", 1e5),
        (b"[1.5, -2, true, null]", [1.5, -2, True, None]),
    ],
)
def test_what_is_read(octets: bytes, value: Any) -> None:
    assert read_json(octets) == value


@pytest.mark.parametrize(
    "octets", [b"[" * 1_000_000, b'"' * 1_000_000, b'"\\' * 500_000, b"{" + b'"a":1,' * 140_000, b"," * 1_000_000]
)
def test_a_megabyte_of_nonsense_is_refused_at_once(octets: bytes) -> None:
    started = time.thread_time()
    with pytest.raises(BadPayload):
        read_json(octets)
    assert time.thread_time() - started < 0.5


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(_VALUES, st.booleans())
def test_whatever_is_json_is_read(value: Any, ascii_only: bool) -> None:
    assert read_json(json.dumps(value, ensure_ascii=ascii_only).encode("utf-8")) == value


@given(st.binary(max_size=60) | st.text('[]{}",:0123456789.eE-+\\utrdfalsn ', max_size=60).map(str.encode))
def test_nothing_else_is_raised(octets: bytes) -> None:
    try:
        value = read_json(octets)
    except BadPayload:
        return
    assert json.loads(octets.decode("utf-8-sig")) == value


@pytest.mark.parametrize(
    ("pointer", "expected"),
    [
        ("", {"a/b": [1, {"~x": "y"}], "": 0}),
        ("/a~1b/0", 1),
        ("/a~1b/1/~0x", "y"),
        ("/", 0),
        ("/a~1b/2", None),
        ("/a~1b/01", None),
        ("/a~1b/-1", None),
        ("/x", None),
        ("/a~1b/0/0", None),
    ],
)
def test_pointers(pointer: str, expected: Any) -> None:
    value = {"a/b": [1, {"~x": "y"}], "": 0}
    if expected is None:
        with pytest.raises(LookupError):
            pointed(value, pointer)
    else:
        assert pointed(value, pointer) == expected
