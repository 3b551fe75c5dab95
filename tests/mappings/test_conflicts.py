"""Conflicts: claims of one address, look-alikes and names, among few and among many."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.conflicts import Conflict, Conflicts, Kind, Severity, find_conflicts
from mappings.identity import Held, Identity, Role, addresses
from mappings.network import parse


def person(name: str, *current: str, former: Iterable[str] = (), id: int = 0) -> Identity:
    return Identity(name, addresses(*map(parse, current), former=tuple(map(parse, former))), id=id)


def conflicts(*people: Identity) -> list[Conflict]:
    return list(find_conflicts(lambda: people))


def test_nothing_is_wrong() -> None:
    assert conflicts(person("Ann", "smtp:ann@a.example", "mhs:ann@hq"), person("Bob", "smtp:bob@a.example")) == []
    assert conflicts() == []


@pytest.mark.parametrize(
    ("one", "other", "kind", "severity", "says", "mend"),
    [
        (
            person("Ann", "smtp:ann@a.example", id=3),
            person("Anna", "smtp:ANN@a.example", id=7),
            Kind.CLAIMED,
            Severity.ERROR,
            "smtp:ANN@a.example is held by both 'Ann' (number 3) and 'Anna' (number 7)",
            "decide whose it is",
        ),
        (
            person("Ann", "smtp:ann@a.example"),
            person("Anna", "smtp:anna@a.example", "smtp:ann@a.example"),
            Kind.CLAIMED,
            Severity.ERROR,
            "is held by both 'Ann' and 'Anna'",
            "leave it to 'Ann', whose primary it is, and take it from 'Anna'",
        ),
        (
            person("Ann", "smtp:ann@a.example"),
            person("Anna", "smtp:anna@a.example", former=["smtp:ann@a.example"]),
            Kind.FORMER,
            Severity.ERROR,
            "smtp:ann@a.example is a former address of 'Anna', and 'Ann' has it now",
            "take it from 'Anna', or end it there before 'Ann' gets it",
        ),
        (
            person("Ann", "mqtt:plant7/Ann"),
            person("Anna", "mqtt:plant7/ann"),
            Kind.CASE,
            Severity.WARNING,
            "differ by case alone",
            "rename one",
        ),
        (
            person("A Müller", "smtp:müller@a.example"),
            person("B Muller", "smtp:muller@a.example"),
            Kind.ACCENTS,
            Severity.NOTE,
            "smtp:müller@a.example of 'A Müller' and smtp:muller@a.example of 'B Muller' differ by accents alone",
            "rename one",
        ),
        (
            person("Ann", "smtp:ann@a.example"),
            person("Mallory", "smtp:аnn@a.example"),
            Kind.LETTERS,
            Severity.WARNING,
            "differ by letters of another script that look the same alone",
            "deceive",
        ),
        (
            person("Al", "smtp:al@a.example"),
            person("A One", "smtp:a1@a.example"),
            Kind.LETTERS,
            Severity.NOTE,
            "differ by letters that look the same alone",
            "rename one",
        ),
        (
            person("Ann Lee", "smtp:ann@a.example"),
            person("ann  lee", "smtp:alee@b.example"),
            Kind.NAME,
            Severity.NOTE,
            "2 are called 'Ann Lee' or 'ann  lee': smtp:ann@a.example, smtp:alee@b.example",
            "join them",
        ),
    ],
)
def test_each_kind(one: Identity, other: Identity, kind: Kind, severity: Severity, says: str, mend: str) -> None:
    (found,) = conflicts(one, other)
    assert (found.kind, found.severity) == (kind, severity)
    assert says in found.text
    assert mend in found.mend
    assert found.ids == tuple(i.id for i in (one, other) if i.id)


def test_an_address_that_was_handed_on_is_a_note() -> None:
    address = parse("smtp:sales@a.example")
    before = Identity("Ann", (Held(parse("smtp:ann@a.example"), Role.PRIMARY), Held(address, Role.FORMER, None, 100.0)))
    after = Identity("Bob", (Held(address, Role.PRIMARY, 200.0, None),))
    (found,) = conflicts(before, after)
    assert (found.kind, found.severity) == (Kind.FORMER, Severity.NOTE)
    assert "at different times" in found.text
    at_once = replace(before, addresses=(before.addresses[0], Held(address, Role.FORMER, None, 300.0)))
    assert conflicts(at_once, after)[0].severity is Severity.ERROR


def test_ones_own_addresses_are_no_conflict() -> None:
    assert conflicts(person("Müller", "smtp:müller@a.example", "smtp:muller@a.example", "smtp:rnuller@a.example")) == []
    assert conflicts(person("A", "smtp:al@a.example", "smtp:a1@a.example"), person("B", "smtp:b@a.example")) == []


def test_three_that_claim_one_address_are_told_twice() -> None:
    found = conflicts(*(person(name, "smtp:x@a.example") for name in ("One", "Two", "Three")))
    assert [c.text.rpartition("both ")[2] for c in found] == ["'One' and 'Two'", "'One' and 'Three'"]


def test_what_is_listed_is_bounded() -> None:
    people = [person(f"P{n // 2}", f"smtp:u{n}@a.example") for n in range(40)]
    found = find_conflicts(lambda: people, at_most=5)
    assert len(found) == 5
    assert found.left_out == {Kind.NAME: 15}


NAMES = st.sampled_from(["al", "a1", "AL", "ál", "аl", "bob", "b0b"])
PEOPLE = st.lists(
    st.tuples(NAMES, st.lists(st.tuples(NAMES, st.sampled_from(list(Role))), max_size=3)).map(
        lambda pair: Identity(
            pair[0], tuple(Held(parse(f"smtp:{name}@a.example"), role) for name, role in dict(pair[1]).items())
        )
    ),
    max_size=6,
)


@given(PEOPLE)
def test_every_shared_address_is_found_and_nothing_else(people: list[Identity]) -> None:
    found: Conflicts = find_conflicts(lambda: iter(people))
    shared = set()
    for n, one in enumerate(people):
        for other in people[n + 1 :]:
            keys = {h.address.key for h in one.addresses} & {h.address.key for h in other.addresses}
            shared |= keys
    told = {parse(c.subject).key for c in found if c.kind in (Kind.CLAIMED, Kind.FORMER)}
    assert told == shared
    assert [str(c) for c in found] == [str(c) for c in find_conflicts(lambda: iter(people))]
