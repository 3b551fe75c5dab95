"""Canonical forms: RFC 6376 §3.4, whole and in pieces."""

from __future__ import annotations

import hashlib
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.smtp.authentication.canonical import Bodies, BodyHash, Fields, Form, canonical_fields, relaxed_field


def reference(body: bytes, form: Form) -> bytes:
    """Say what RFC 6376 §3.4.3 and §3.4.4 say, line by line."""
    lines = body.split(b"\r\n")
    if form == "relaxed":
        lines = [
            re.sub(rb"[ \t]+", b" ", line if n == len(lines) - 1 else line.rstrip(b" \t"))
            for n, line in enumerate(lines)
        ]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        return b"" if form == "relaxed" else b"\r\n"
    return b"\r\n".join(lines) + b"\r\n"


def hashed(pieces: list[bytes], form: Form, limit: int | None = None) -> bytes:
    made = BodyHash(form, limit=limit)
    for piece in pieces:
        made.update(piece)
    return made.digest()


def sha(octets: bytes) -> bytes:
    return hashlib.sha256(octets).digest()


@pytest.mark.parametrize(
    ("body", "simple", "relaxed"),
    [
        (b"", b"\r\n", b""),
        (b"\r\n", b"\r\n", b""),
        (b"\r\n\r\n\r\n", b"\r\n", b""),
        (b" \r\n\t\r\n", b" \r\n\t\r\n", b""),
        (b" C \r\nD \t E\r\n\r\n\r\n", b" C \r\nD \t E\r\n", b" C\r\nD E\r\n"),  # RFC 6376 §3.4.5
        (b"x", b"x\r\n", b"x\r\n"),
        (b"x \t", b"x \t\r\n", b"x \r\n"),
        (b"x\r\n\t", b"x\r\n\t\r\n", b"x\r\n \r\n"),
        (b"x\r", b"x\r\r\n", b"x\r\r\n"),
        (b"a\n \nb\n", b"a\n \nb\n\r\n", b"a\n \nb\n\r\n"),
        (b"a\r\n\r\n\r\nb\r\n", b"a\r\n\r\n\r\nb\r\n", b"a\r\n\r\n\r\nb\r\n"),
    ],
)
def test_bodies(body: bytes, simple: bytes, relaxed: bytes) -> None:
    assert hashed([body], "simple") == sha(simple)
    assert hashed([body], "relaxed") == sha(relaxed)
    one_by_one = [body[n : n + 1] for n in range(len(body))]
    assert hashed(one_by_one, "simple") == sha(simple)
    assert hashed(one_by_one, "relaxed") == sha(relaxed)


BODY = st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"\r", b"\n", b"a", b"bc", b"\0", b"\xff"]), max_size=40)


@settings(max_examples=400, deadline=None)
@given(BODY, st.sampled_from(["simple", "relaxed"]), st.none() | st.integers(0, 30))
def test_pieces_make_no_difference(pieces: list[bytes], form: Form, limit: int | None) -> None:
    body = b"".join(pieces)
    whole = reference(body, form)
    assert hashed(pieces, form, limit) == hashed([body], form, limit) == sha(whole[:limit])
    made = BodyHash(form)
    made.update(body)
    made.digest()
    assert made.size == len(whole)


@pytest.mark.parametrize("unit", [b"\r\n", b" ", b" \r", b"\r", b"\t\r\n", b"a  ", b"\n"])
def test_the_cost_is_linear(unit: bytes) -> None:
    began = time.process_time()
    made = BodyHash("relaxed")
    piece = unit * (65536 // len(unit))
    for _ in range(160):
        made.update(piece)
    for n in range(20_000):
        made.update(unit[n % len(unit) :][:1])
    made.digest()
    assert time.process_time() - began < 10


def test_one_hash_for_all_that_ask_for_it() -> None:
    bodies = Bodies()
    assert not bodies
    bodies.want("relaxed", "sha256")
    bodies.want("relaxed", "sha256")
    bodies.want("simple", "sha256", 1)
    bodies.update(b"ab\r\n")
    assert bodies.get("relaxed", "sha256") == bodies.get("relaxed", "sha256") == (sha(b"ab\r\n"), 4)
    assert bodies.get("simple", "sha256", 1) == (sha(b"a"), 4)


def test_fields_as_the_rfc_shows_them() -> None:
    head = b"A: X\r\nB : Y\t\r\n\tZ  \r\n"
    fields = Fields(head)
    both = [*fields.all(b"a"), *fields.all(b"b")]
    assert canonical_fields(both, "relaxed") == b"a:X\r\nb:Y Z\r\n"
    assert canonical_fields(both, "simple") == head


VALUE = st.lists(
    st.sampled_from([b" ", b"\t", b"\r\n ", b"\r\n\t", b"\r", b"a", b":", b"B", b"\xff"]), max_size=20
).map(b"".join)
FIELD = st.builds(
    lambda name, blank, value, end: name + blank + b":" + value + end,
    st.sampled_from([b"A", b"Bc", b"X-Y"]),
    st.sampled_from([b"", b" ", b"\t "]),
    VALUE,
    st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n"]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(FIELD, max_size=6))
def test_fields_at_once_are_those_one_by_one(fields: list[bytes]) -> None:
    assert canonical_fields(fields, "relaxed") == b"".join(relaxed_field(each) for each in fields)


def test_fields_are_chosen_from_below() -> None:
    fields = Fields(b"A: 1\r\nB: x\r\na: 2\r\nno field\r\n folded\r\nA: 3\r\n")
    assert fields.chosen([b"a", b"a", b"c", b"a", b"a", b"b"]) == [b"A: 3\r\n", b"a: 2\r\n", b"A: 1\r\n", b"B: x\r\n"]
    assert fields.count(b"a") == 3
