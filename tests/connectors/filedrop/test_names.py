"""Names: what is safe to look up and to make, whatever a message says."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connectors.filedrop.names import is_safe, safe_name, shown, stem_of


@pytest.mark.parametrize(
    "name", ["a.pdf", "0A1B2C3D", "Übersicht.doc", "a b.txt", "-rf", "console.txt", "com.txt", "a..b"]
)
def test_plain_names_are_safe(name: str) -> None:
    assert is_safe(name)
    assert safe_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "a\\b", "c:x", ".hidden", "a.", "a ", "CON", "nul.txt", "Com1", "lpt9.x", "a\0b", "a\nb"],
)
def test_others_are_not(name: str) -> None:
    assert not is_safe(name)


def test_what_can_be_no_name_on_disk_is_not() -> None:
    assert not is_safe("\ud800")
    assert not is_safe("x" * 256)
    assert is_safe(os.fsdecode(b"\xff.bin"))


@given(st.text(max_size=400), st.integers(8, 200))
@example("x" * 300 + ".pdf", 20)
@example("\N{PILE OF POO}" * 200, 200)
@example("." * 300, 8)
@example("a." + "b" * 300, 8)
def test_a_made_name_is_safe_and_short(text: str, limit: int) -> None:
    made = safe_name(text, limit)
    assert is_safe(made)
    assert len(made) <= limit + 1
    assert safe_name(made, limit + 1) == made


def test_the_extension_is_kept() -> None:
    assert safe_name("x" * 300 + ".pdf", 20) == "x" * 16 + ".pdf"
    assert safe_name("F:\\mail\\letter.doc") == "letter.doc"


def test_a_long_name_costs_little() -> None:
    began = time.thread_time()
    assert len(safe_name("ä" * 5_000_000 + ".pdf")) == 100
    assert time.thread_time() - began < 5


@given(st.binary(min_size=1, max_size=60))
def test_any_name_on_disk_can_be_shown(octets: bytes) -> None:
    text = shown(os.fsdecode(octets))
    assert text.isprintable()
    text.encode()


def test_a_stem_is_what_stands_before_the_last_dot() -> None:
    assert [stem_of(name) for name in ("a.b.eml", "a", ".eml", "a.")] == ["a.b", "a", ".eml", "a"]
