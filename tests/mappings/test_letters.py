"""Letters: what looks alike, and how names are written in ASCII."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.letters import in_ascii, plain, scripts, skeleton, without_accents


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("Müller", "muller"),
        ("Łukasz Ørsted", "lukasz orsted"),
        ("Straße", "strasse"),
        ("İstanbul", "istanbul"),
        ("Æsir Œuvre", "aesir oeuvre"),
        ("Dvořák", "dvorak"),
        ("Ann", "ann"),
        ("日本", "日本"),
    ],
)
def test_without_accents(text: str, bare: str) -> None:
    assert without_accents(text) == bare


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ann", "аnn"),  # Cyrillic а
        ("mark", "rnark"),
        ("al", "a1"),
        ("info", "inf0"),
        ("paypal", "pаypаl"),
        ("ιan", "ian"),  # Greek ι
        ("ANN", "ann"),
        ("müller", "muller"),
    ],
)
def test_what_looks_alike(one: str, other: str) -> None:
    assert skeleton(one) == skeleton(other)


@pytest.mark.parametrize(("one", "other"), [("ann", "anne"), ("lee", "leo"), ("n", "u"), ("日", "目")])
def test_what_does_not(one: str, other: str) -> None:
    assert skeleton(one) != skeleton(other)


@pytest.mark.parametrize(
    ("text", "ascii", "german"),
    [
        ("Müller", "muller", "mueller"),
        ("Åse Ørn", "ase orn", "aase orn"),
        ("Straße", "strasse", "strasse"),
        ("Юрий Щукин", "iurii shchukin", None),
        ("Γιώργος Παπαδόπουλος", "giorgos papadopoylos", None),
        ("Đorđe Čolić", "dorde colic", None),
        ("Ann-Marie O'Neil", "ann-marie o'neil", None),
        ("李", "", None),
    ],
)
def test_in_ascii(text: str, ascii: str, german: str | None) -> None:
    assert in_ascii(text) == ascii
    assert in_ascii(text, german=True) == (ascii if german is None else german)


def test_scripts() -> None:
    assert scripts("ann") == {"LATIN"}
    assert scripts("аnn") == {"LATIN", "CYRILLIC"}
    assert scripts("123") == frozenset()


@given(st.text(max_size=20))
def test_each_is_coarser_and_gives_the_same_for_what_it_gives(text: str) -> None:
    for fold in (plain, without_accents, skeleton):
        assert fold(fold(text)) == fold(text)
    assert without_accents(plain(text)) == without_accents(text)
    assert skeleton(without_accents(text)) == skeleton(text)
    assert in_ascii(text).isascii()
    assert in_ascii(text, german=True).isascii()
