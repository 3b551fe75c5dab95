"""Merging an import: who is matched, what is kept, what is refused, and that the same import again does nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from mappings import store
from mappings.checks import check_identities
from mappings.formats import FORMATS, Entry, Reading
from mappings.identity import Held, Identity, Kind, Role, Stage, addresses
from mappings.merge import InMemory, Merge, Stored, merge
from mappings.tabular import Problem
from tests.mappings import people
from tests.mappings.conftest import Begin
from tests.mappings.people import parse

ACME = "acme"


def who(name: str, *held: str, ref: str | None = None, **more: object) -> Identity:
    """Return an identity as a reader makes it; `former:` may stand before an address."""
    current = tuple(parse(text) for text in held if not text.startswith("former:"))
    former = tuple(parse(text.removeprefix("former:")) for text in held if text.startswith("former:"))
    made = Identity(name, addresses(*current, former=former), attributes=(() if ref is None else (("ref", ref),)))
    return replace(made, **more)  # type: ignore[arg-type]


def reading(*identities: Identity, problems: tuple[Problem, ...] = ()) -> Reading:
    return Reading([Entry(line, identity) for line, identity in enumerate(identities, 2)], problems=list(problems))


class Mapping:
    """What is stored, as a list."""

    def __init__(self, *identities: Identity) -> None:
        self.all = [replace(identity, id=number) for number, identity in enumerate(identities, 1)]
        self._next = len(self.all) + 1

    def plan(
        self,
        *identities: Identity,
        source: str = ACME,
        missing: bool = False,
        strict: bool = False,
        problems: tuple[Problem, ...] = (),
    ) -> Merge:
        made = reading(*identities, problems=problems)
        return merge(made, InMemory(self.all), source=source, remove_missing=missing, strict=strict)

    def take(self, *identities: Identity, source: str = ACME, missing: bool = False) -> Merge:
        """Plan an import and do what is planned."""
        made = self.plan(*identities, source=source, missing=missing)
        self.apply(made)
        return made

    def apply(self, made: Merge) -> None:
        removed = {each.id for each in made.removed}
        changed = {put.identity.id: put.identity for _, put in made.changed}
        self.all = [changed.get(each.id, each) for each in self.all if each.id not in removed]
        for put in made.added:
            assert put.identity.id == 0
            self.all.append(replace(put.identity, id=self._next))
            self._next += 1

    def shown(self) -> dict[str, dict[str, str]]:
        return {each.name: {str(h.address): h.role.value for h in each.addresses} for each in self.all}

    def __getitem__(self, name: str) -> Identity:
        (found,) = (each for each in self.all if each.name == name)
        return found


def nothing(made: Merge) -> bool:
    return not (made.added or made.changed or made.removed)


def test_what_is_new_is_added_and_the_second_time_nothing_changes() -> None:
    stored = Mapping()
    everybody = (who("Ann", "smtp:ann@acme.example", "mhs:ann@sales", ref="1"), who("Bob", "smtp:bob@acme.example"))
    first = stored.take(*everybody)
    assert (len(first.added), first.refused, first.unchanged) == (2, [], 0)
    assert stored["Ann"].attribute("source") == ACME
    again = stored.take(*everybody, missing=True)
    assert nothing(again)
    assert (again.unchanged, again.refused) == (2, [])


def test_a_reference_finds_a_person_under_another_name_and_address() -> None:
    stored = Mapping()
    stored.take(who("Ann Lee", "smtp:ann@acme.example", ref="1"))
    made = stored.take(who("Ann Ray", "smtp:ann.ray@acme.example", ref="1"))
    assert len(made.changed) == 1
    assert stored.shown() == {"Ann Ray": {"smtp:ann.ray@acme.example": "primary"}}


def test_an_address_finds_a_person_of_another_directory() -> None:
    stored = Mapping()
    stored.take(who("Ann Lee", "smtp:ann@acme.example", ref="1"))
    stored.take(who("LEE A.", "smtp:ANN@acme.example", "mhs:ann@sales", "smtp:al@acme.example", ref="x"), source="mhs")
    assert stored.shown() == {
        "Ann Lee": {"smtp:ann@acme.example": "primary", "mhs:ann@sales": "primary", "smtp:al@acme.example": "alias"}
    }
    assert stored["Ann Lee"].attribute("ref") == "1"
    assert nothing(stored.take(who("Ann Lee", "smtp:ann@acme.example", ref="1"), missing=True))
    assert nothing(
        stored.take(who("LEE A.", "smtp:ann@acme.example", "mhs:ann@sales", "smtp:al@acme.example"), source="mhs")
    )


@pytest.mark.parametrize("contact_first", [True, False])
def test_a_contact_becomes_the_person_that_it_stands_for(contact_first: bool) -> None:
    stored = Mapping()
    contact = replace(who("Bob (Bolt)", "smtp:bob@bolt.example", "mhs:bob@acme", ref="1"), kind=Kind.CONTACT)
    person = who("Bob Ray", "smtp:bob@bolt.example", "notes:CN=Bob/O=Bolt", ref="x")
    imports = [(contact, ACME), (person, "bolt")]
    for entry, source in imports if contact_first else reversed(imports):
        stored.take(entry, source=source)
    bob = stored["Bob Ray"]
    assert (bob.kind, bob.attribute("source"), bob.attribute("ref")) == (Kind.PERSON, "bolt", "x")
    assert set(stored.shown()["Bob Ray"]) == {"smtp:bob@bolt.example", "mhs:bob@acme", "notes:CN=Bob/O=Bolt"}
    for entry, source in imports:
        assert nothing(stored.take(entry, source=source))
    stored.take(who("Ann", "smtp:ann@acme.example"), missing=True)
    assert set(stored.shown()["Bob Ray"]) == {"smtp:bob@bolt.example", "notes:CN=Bob/O=Bolt"}


def test_a_source_takes_back_what_it_gave_and_no_more() -> None:
    stored = Mapping()
    stored.take(who("Ann", "smtp:ann@acme.example", "smtp:al@acme.example", "mhs:ann@sales", ref="1"))
    stored.take(who("Ann", "smtp:ann@acme.example", "mhs:ann@sales"), source="mhs")
    ann = stored["Ann"]
    by_hand = (Held(parse("smtp:hand@acme.example"), Role.ALIAS), Held(parse("smtp:old@acme.example"), Role.FORMER))
    stored.all = [replace(ann, addresses=ann.addresses + by_hand)]
    stored.take(who("Ann", "smtp:ann@acme.example", ref="1"))
    assert stored.shown()["Ann"] == {
        "smtp:ann@acme.example": "primary",
        "mhs:ann@sales": "primary",
        "smtp:hand@acme.example": "alias",
        "smtp:old@acme.example": "former",
    }


def test_what_was_made_by_hand_is_not_taken_over() -> None:
    stored = Mapping(who("Ann", "smtp:ann@acme.example"))
    stored.take(who("ANN", "smtp:ann@acme.example", "mhs:ann@sales", ref="1"))
    assert stored["Ann"].attribute("source") is None
    stored.take(who("Bob", "smtp:bob@acme.example", ref="2"), missing=True)
    assert stored.shown()["Ann"] == {"smtp:ann@acme.example": "primary"}


def test_a_primary_address_chosen_here_stays() -> None:
    stored = Mapping()
    entry = who("Ann", "smtp:ann@acme.example", "smtp:al@acme.example", ref="1")
    stored.take(entry)
    ann = stored["Ann"]
    merged = (Held(parse("smtp:ann.lee@merged.example"), Role.PRIMARY),)
    stored.all = [
        replace(ann, addresses=merged + tuple(replace(h, role=Role.FORMER) for h in ann.addresses), home="new")
    ]
    assert nothing(stored.take(entry))
    stored.take(who("Ann", "smtp:a.l@acme.example", "smtp:ann@acme.example", ref="1"))
    assert stored.shown()["Ann"] == {
        "smtp:ann.lee@merged.example": "primary",
        "smtp:ann@acme.example": "former",
        "smtp:al@acme.example": "former",
        "smtp:a.l@acme.example": "alias",
    }


def test_the_source_that_made_somebody_says_which_address_is_the_primary() -> None:
    stored = Mapping()
    stored.take(who("Ann", "smtp:ann@acme.example", "smtp:al@acme.example", ref="1"))
    stored.take(who("Ann", "smtp:al@acme.example", "smtp:ann@acme.example", ref="1"))
    assert stored.shown()["Ann"] == {"smtp:ann@acme.example": "alias", "smtp:al@acme.example": "primary"}
    stored.take(who("Ann", "smtp:ann@acme.example", "smtp:al@acme.example"), source="other")
    assert stored.shown()["Ann"]["smtp:al@acme.example"] == "primary"


def test_homes_and_stages_are_filled_in_and_not_replaced() -> None:
    stored = Mapping()
    stored.take(who("Ann", "smtp:ann@acme.example", home="old", stage=Stage.BEFORE))
    stored.all = [replace(stored["Ann"], home="new", stage=Stage.MOVED)]
    assert nothing(stored.take(who("Ann", "smtp:ann@acme.example", home="old", stage=Stage.BEFORE, copy_home=None)))
    stored.take(who("Ann", "smtp:ann@acme.example", home="old", copy_home="old"))
    assert (stored["Ann"].home, stored["Ann"].copy_home) == ("new", "old")


def test_facts_are_replaced_by_their_source_and_filled_in_by_others() -> None:
    stored = Mapping()
    entry = who("Ann", "smtp:ann@acme.example")
    stored.take(replace(entry, attributes=(("department", "Sales"), ("ref", "1"))))
    stored.take(replace(entry, attributes=(("department", "X"), ("room", "7"))), source="other")
    stored.take(replace(entry, attributes=(("department", "Lab"), ("ref", "1"))))
    facts = dict(stored["Ann"].attributes)
    assert (facts["department"], facts["room"], facts["ref"]) == ("Lab", "7", "1")


def test_a_group_is_kept_up_to_date() -> None:
    stored = Mapping()
    group = who("All", "smtp:all@acme.example", kind=Kind.GROUP, members=(parse("smtp:a@b.example"), parse("mhs:c@d")))
    stored.take(group)
    assert nothing(stored.take(replace(group, members=group.members[::-1])))
    stored.take(replace(group, members=group.members[:1], owner=parse("smtp:boss@b.example")))
    assert stored["All"].members == group.members[:1]
    stored.take(who("ALL", "smtp:all@acme.example"), source="other")
    assert stored["All"].kind is Kind.GROUP
    assert stored["All"].owner == parse("smtp:boss@b.example")


def test_times_are_kept_where_the_source_says_none() -> None:
    stored = Mapping()
    stored.take(who("Ann", "smtp:ann@acme.example", "smtp:al@acme.example"))
    ann = stored["Ann"]
    stored.all = [replace(ann, addresses=tuple(replace(h, until=h.until or 9e9) for h in ann.addresses))]
    assert nothing(stored.take(who("Ann", "smtp:ann@acme.example", "smtp:al@acme.example")))


# -- what is refused


def test_entries_that_claim_one_address_are_refused_and_none_is_used() -> None:
    made = Mapping().plan(
        who("Ann", "smtp:x@acme.example"), who("Bob", "smtp:X@acme.example"), who("Eve", "smtp:eve@acme.example")
    )
    assert [put.identity.name for put in made.added] == ["Eve"]
    assert [problem.line for problem in made.refused] == [2, 3]


def test_an_address_is_not_taken_from_somebody_else() -> None:
    stored = Mapping(who("Ann", "smtp:ann@acme.example", "former:smtp:al@acme.example"))
    made = stored.plan(who("Bob", "smtp:bob@acme.example", "smtp:al@acme.example"))
    assert nothing(made)
    assert str(made.refused[0]) == (
        "line 2, column smtp: smtp:al@acme.example is held by 'Ann' (number 1); take it away there first"
    )


def test_a_former_address_makes_nobody_of_somebody_else() -> None:
    stored = Mapping(who("Ann", "smtp:ann@acme.example", "former:smtp:info@acme.example"))
    assert nothing(stored.plan(who("Info", "smtp:info@acme.example")))


def test_an_address_goes_from_one_to_another_in_one_import() -> None:
    stored = Mapping()
    stored.take(
        who("Ann", "smtp:ann@acme.example", "smtp:info@acme.example", ref="1"),
        who("Bob", "smtp:bob@acme.example", ref="2"),
    )
    made = stored.take(
        who("Ann", "smtp:ann@acme.example", ref="1"),
        who("Bob", "smtp:bob@acme.example", "smtp:info@acme.example", ref="2"),
    )
    assert made.refused == []
    assert made.notes == ["smtp:info@acme.example goes from 'Ann' to 'Bob'"]
    assert stored.shown()["Bob"] == {"smtp:bob@acme.example": "primary", "smtp:info@acme.example": "alias"}


def test_two_may_change_their_addresses() -> None:
    stored = Mapping()
    stored.take(who("Ann", "smtp:a@acme.example", ref="1"), who("Bob", "smtp:b@acme.example", ref="2"))
    stored.take(who("Ann", "smtp:b@acme.example", ref="1"), who("Bob", "smtp:a@acme.example", ref="2"))
    assert stored.shown() == {"Ann": {"smtp:b@acme.example": "primary"}, "Bob": {"smtp:a@acme.example": "primary"}}


def test_what_one_cannot_give_away_the_other_does_not_get() -> None:
    stored = Mapping(who("Eve", "smtp:eve@acme.example"))
    stored.take(
        who("Ann", "smtp:ann@acme.example", "smtp:info@acme.example", ref="1"),
        who("Bob", "smtp:bob@acme.example", ref="2"),
    )
    made = stored.plan(
        who("Ann", "smtp:ann@acme.example", "smtp:eve@acme.example", ref="1"),  # Eve's, so all of it is refused
        who("Bob", "smtp:bob@acme.example", "smtp:info@acme.example", ref="2"),
    )
    assert nothing(made)
    assert [problem.line for problem in made.refused] == [2, 3]
    assert "held by 'Ann'" in made.refused[1].message


def test_what_one_has_from_elsewhere_the_other_does_not_get() -> None:
    stored = Mapping(who("Ann", "smtp:ann@acme.example", "smtp:info@acme.example"))
    made = stored.plan(
        who("Ann", "smtp:ann@acme.example"), who("Bob", "smtp:bob@acme.example", "smtp:info@acme.example")
    )
    assert [put.identity.name for put in made.added] == []
    assert "lines 2 and 3 all have addresses of 'Ann'" in made.refused[0].message
    stored = Mapping()
    stored.take(who("Ann", "smtp:ann@acme.example", ref="1"))
    info = Held(parse("smtp:info@acme.example"), Role.ALIAS)
    stored.all = [replace(stored["Ann"], addresses=(*stored["Ann"].addresses, info))]
    made = stored.plan(
        who("Ann", "smtp:ann@acme.example", ref="1"), who("Bob", "smtp:bob@acme.example", "smtp:info@acme.example")
    )
    assert str(made.refused[0]) == (
        "line 3, column smtp: smtp:info@acme.example stays with 'Ann' (line 2), who has it from elsewhere"
    )


def test_who_is_known_for_certain_makes_the_others_clear() -> None:
    stored = Mapping()
    stored.take(who("Ann", "smtp:a@acme.example"), who("Bob", "smtp:b@acme.example", "smtp:info@acme.example"))
    stored.take(who("Bob", "smtp:b@acme.example"), who("Ann", "smtp:a@acme.example", "smtp:info@acme.example"))
    assert stored.shown() == {
        "Ann": {"smtp:a@acme.example": "primary", "smtp:info@acme.example": "alias"},
        "Bob": {"smtp:b@acme.example": "primary"},
    }


def test_an_entry_that_is_two_people_is_refused() -> None:
    stored = Mapping(who("Ann", "smtp:ann@acme.example"), who("A. Lee", "mhs:ann@sales"))
    made = stored.plan(who("Ann", "smtp:ann@acme.example", "mhs:ann@sales"))
    assert nothing(made)
    assert "the entry has addresses of 'Ann' and 'A. Lee'" in made.refused[0].message


def test_a_reference_that_several_entries_have_is_nobody_s() -> None:
    stored = Mapping()
    made = stored.take(who("Ann", "smtp:ann@acme.example", ref="n/a"), who("Bob", "smtp:bob@acme.example", ref="n/a"))
    assert len(made.added) == 2
    assert made.notes == ["several entries have one reference, so that nobody is known by it: n/a"]
    assert stored["Ann"].attribute("ref") is None


def test_a_reference_of_another_source_is_another_one() -> None:
    stored = Mapping()
    stored.take(who("Ann", "smtp:ann@acme.example", ref="1"))
    stored.take(who("Bob", "smtp:bob@far.example", ref="1"), source="far")
    assert set(stored.shown()) == {"Ann", "Bob"}
    assert nothing(stored.take(who("Bob", "smtp:bob@far.example", ref="1"), source="far"))


def test_somebody_made_anew_in_the_directory_is_known_by_the_address() -> None:
    stored = Mapping()
    stored.take(who("Ann", "smtp:ann@acme.example", ref="1"))
    stored.take(who("Ann", "smtp:ann@acme.example", ref="2"))
    assert len(stored.all) == 1
    assert stored["Ann"].attribute("ref") == "2"


def test_a_number_that_somebody_has_is_an_attribute() -> None:
    stored = Mapping(who("Desk", "smtp:desk@acme.example", "tel:+3585551234"))
    made = stored.take(who("Ann", "smtp:ann@acme.example", "tel:+3585551234"))
    assert made.refused == []
    assert stored.shown()["Ann"] == {"smtp:ann@acme.example": "primary"}
    assert stored["Ann"].attribute("tel") == "+3585551234"
    assert made.notes == ["tel:+3585551234 is somebody's already, and is an attribute of 'Ann'"]


# -- removal and strictness


def test_only_what_is_of_the_source_is_removed() -> None:
    stored = Mapping(who("Hand", "smtp:hand@acme.example"))
    stored.take(who("Ann", "smtp:ann@acme.example"), who("Bob", "smtp:bob@acme.example", "mhs:bob@hq"))
    stored.take(
        who("Bob", "smtp:bob@acme.example", "smtp:b@far.example"), who("Far", "smtp:far@far.example"), source="far"
    )
    stored.take(who("Eve", "smtp:eve@acme.example"), missing=True)
    assert stored.shown() == {
        "Hand": {"smtp:hand@acme.example": "primary"},
        "Bob": {"smtp:bob@acme.example": "primary", "smtp:b@far.example": "alias"},
        "Far": {"smtp:far@far.example": "primary"},
        "Eve": {"smtp:eve@acme.example": "primary"},
    }
    assert stored["Bob"].attribute("source") == "far"


def test_the_addresses_of_somebody_who_left_may_be_given_to_another() -> None:
    stored = Mapping()
    stored.take(who("Ann", "smtp:ann@acme.example", ref="1"), who("Bob", "smtp:info@acme.example", ref="2"))
    entries = (who("Ann", "smtp:ann@acme.example", "smtp:info@acme.example", ref="1"),)
    assert nothing(stored.plan(*entries))
    made = stored.take(*entries, missing=True)
    assert made.refused == []
    assert stored.shown() == {"Ann": {"smtp:ann@acme.example": "primary", "smtp:info@acme.example": "alias"}}


@pytest.mark.parametrize(
    ("entries", "problems"),
    [
        ((who("Ann", "smtp:ann@acme.example"),), (Problem(3, "smtp", "a mistake"),)),
        ((who("Ann", "smtp:ann@acme.example"), who("X", "smtp:hand@acme.example", "smtp:ann2@acme.example")), ()),
        ((), ()),
    ],
)
def test_nothing_is_removed_where_an_entry_could_not_be_used(
    entries: tuple[Identity, ...], problems: tuple[Problem, ...]
) -> None:
    stored = Mapping(who("Hand", "smtp:h@acme.example", "former:smtp:hand@acme.example"))
    stored.take(who("Ann", "smtp:ann@acme.example"), who("Bob", "smtp:bob@acme.example"))
    made = stored.plan(*entries, missing=True, problems=problems)
    assert made.removed == []
    assert made.notes[-1].startswith("nothing is removed, since")


def test_strict_does_nothing_where_there_is_a_problem() -> None:
    stored = Mapping()
    entries = (who("Ann", "smtp:ann@acme.example"),)
    made = stored.plan(*entries, strict=True, problems=(Problem(3, "smtp", "a mistake"),))
    assert nothing(made)
    assert [str(problem) for problem in made.refused] == ["line 3, column smtp: a mistake"]
    assert len(stored.plan(*entries, strict=True).added) == 1


# -- people stated whole


def test_an_edited_export_says_all_of_its_columns() -> None:
    stored = Mapping()
    stored.take(who("Ann", "smtp:ann@acme.example", "smtp:al@acme.example", "mhs:ann@sales", home="old", ref="1"))
    csv = FORMATS["csv"]
    assert csv.write is not None
    octets = csv.write(stored.all, {}, people.NETWORKS).octets
    same = csv.read(octets, {"whole": "yes"}, people.NETWORKS)
    assert nothing(merge(same, InMemory(stored.all), source=ACME, remove_missing=False, strict=True))
    edited = octets.replace(b"Ann,old,", b"Ann Lee,,").replace(b"ann@acme.example;al@", b"al@")
    made = merge(
        csv.read(edited, {"whole": "yes"}, people.NETWORKS),
        InMemory(stored.all),
        source="hand",
        remove_missing=False,
        strict=True,
    )
    stored.apply(made)
    assert stored.shown() == {"Ann Lee": {"smtp:al@acme.example": "primary", "mhs:ann@sales": "primary"}}
    assert (stored["Ann Lee"].home, stored["Ann Lee"].attribute("source")) == (None, ACME)


# -- properties

few = st.sampled_from(
    [parse(f"smtp:{name}@acme.example") for name in "abcde"]
    + [parse(f"mhs:{name}@hq") for name in "ab"]
    + [parse("tel:+3585551234")]
)


@st.composite
def entries(draw: st.DrawFn) -> Identity:
    found = draw(st.lists(few, min_size=1, max_size=3, unique=True))
    former = draw(st.integers(0, len(found) - 1))
    return Identity(
        draw(st.sampled_from("AB")),
        addresses(*found[former:], former=tuple(found[:former])),
        attributes=draw(st.sampled_from([(), (("ref", "1"),), (("ref", "2"),), (("title", "Boss"),)])),
        home=draw(st.sampled_from([None, "old"])),
    )


def consistent(identities: list[Identity]) -> bool:
    """Tell whether everybody has what a mapping needs; whether the home is right is another matter."""
    return all("has its home at" in told for told in check_identities(identities, {"old": "smtp"}))


@given(
    st.lists(entries(), max_size=4),
    st.lists(entries(), max_size=4),
    st.lists(entries(), max_size=4),
    st.booleans(),
    st.booleans(),
)
def test_whatever_is_imported_nobody_s_address_is_held_twice_and_again_changes_nothing(
    by_hand: list[Identity], first: list[Identity], second: list[Identity], missing: bool, strict: bool
) -> None:
    stored = Mapping()
    for each in by_hand:
        if consistent([*stored.all, each]):
            stored = Mapping(*stored.all, each)
    for source, found in (("one", first), ("two", second), ("one", second)):
        before = list(stored.all)
        made = stored.plan(*found, source=source, missing=missing, strict=strict)
        touched = {old.id for old, _ in made.changed} | {each.id for each in made.removed}
        stored.apply(made)
        assert consistent(stored.all)
        assert all(each in stored.all for each in before if each.id not in touched)
        after = {each.id: each for each in stored.all}
        for each in before:  # nobody loses what the source did not give
            if f"given:{source}" not in dict(each.attributes):
                assert set(each.addresses) <= set(after[each.id].addresses)
                assert set(each.attributes) <= set(after[each.id].attributes)
        assert nothing(stored.plan(*found, source=source, missing=missing, strict=strict))


def test_the_same_with_the_identities_of_a_database(begin: Begin) -> None:
    def take(connection: Connection, *identities: Identity) -> Merge:
        made = merge(reading(*identities), Stored(connection), source=ACME, remove_missing=True, strict=True)
        if not nothing(made):
            store.apply(connection, made.changes(), who="ann", why="import", at=1.0)
        return made

    everybody = (who("Ann", "smtp:ann@acme.example", ref="1"), who("Bob", "smtp:bob@acme.example"))
    with begin() as connection:
        assert len(take(connection, *everybody).added) == 2
        assert take(connection, *everybody).unchanged == 2
        made = take(connection, who("Ann", "smtp:a@acme.example", ref="1"))
        assert (len(made.changed), len(made.removed)) == (1, 1)
        assert [str(h.address) for x in store.load(connection) for h in x.addresses] == ["smtp:a@acme.example"]
