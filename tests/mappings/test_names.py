"""Names: how directories write them, and how mailboxes do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.identity import Identity, addresses
from mappings.names import Name, name_of, slug, split
from mappings.network import parse


@pytest.mark.parametrize(
    ("shown", "first", "middle", "last"),
    [
        ("Ann Lee", "Ann", "", "Lee"),
        ("Lee, Ann", "Ann", "", "Lee"),
        ("Lee, Ann B.", "Ann", "B.", "Lee"),
        ("Ann Beth Lee", "Ann", "Beth", "Lee"),
        ("Ludwig van Beethoven", "Ludwig", "", "van Beethoven"),
        ("van der Berg, Jan", "Jan", "", "van der Berg"),
        ("Berg, Jan van der", "Jan", "", "van der Berg"),
        ("María de la Cruz", "María", "", "de la Cruz"),
        ("GARCIA MARQUEZ Gabriel", "Gabriel", "", "GARCIA MARQUEZ"),
        ("Gabriel GARCIA MARQUEZ", "Gabriel", "", "GARCIA MARQUEZ"),
        ("ANN LEE", "ANN", "", "LEE"),
        ("Dr. Ann Lee, PhD", "Ann", "", "Lee"),
        ("Lee, Dr. Ann, MBA", "Ann", "", "Lee"),
        ("Martin King Jr.", "Martin", "", "King"),
        ("Ann Lee (Sales)", "Ann", "", "Lee"),
        ("Ann Lee - Acme HQ", "Ann", "", "Lee"),
        ("Ann-Marie O'Neil", "Ann-Marie", "", "O'Neil"),
        ("J. R. Tolkien", "J.", "R.", "Tolkien"),
        ("Plato", "", "", "Plato"),
        ("", "", "", ""),
        ("Lee,", "", "", "Lee"),
    ],
)
def test_split(shown: str, first: str, middle: str, last: str) -> None:
    assert split(shown) == Name(first, middle, last)


def test_attributes_come_first() -> None:
    def named(**attributes: str) -> Name:
        held = addresses(parse("smtp:a@x.example"))
        return name_of(Identity("Lee, Ann", held, attributes=tuple(sorted(attributes.items()))))

    assert named() == Name("Ann", "", "Lee")
    assert named(first="Anna Maria", last="Lee-Ray") == Name("Anna Maria", "", "Lee-Ray")
    assert named(given="Anna", surname="Ray", initials="B") == Name("Anna", "B", "Ray")
    assert named(last="Ray") == Name("Ann", "", "Ray")


@pytest.mark.parametrize(
    ("text", "made", "german"),
    [
        ("O'Neil", "oneil", None),
        ("van der Berg", "vanderberg", None),
        ("Ann-Marie", "ann-marie", None),
        ("Müller", "muller", "mueller"),
        ("  -x- ", "x", None),
        ("李", "", None),
        ("J.", "j", None),
    ],
)
def test_slug(text: str, made: str, german: str | None) -> None:
    assert slug(text) == made
    assert slug(text, german=True) == (made if german is None else german)


@given(st.text(max_size=40))
def test_any_text_is_split_and_written(text: str) -> None:
    name = split(text)
    assert all(isinstance(part, str) for part in (name.first, name.middle, name.last))
    made = slug(text)
    assert not made or parse(f"smtp:{made}@a.example").value == f"{made}@a.example"
