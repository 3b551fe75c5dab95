"""The stored mapping, on SQLite and PostgreSQL: revisions written, read back, compared and undone; its migrations."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mappings import migrations, revisions, store, stored
from mappings.checks import MappingError
from mappings.identity import Held, Identity, Kind, Role, Stage, addresses
from mappings.network import Address, parse
from mappings.record import Unstorable, decode, encode
from mappings.store import Change, ClaimedTwice, Head, NoSuchRevision, Overtaken, Put, Remove, StaleMapping
from tests.mappings.company import ANN, BOB, PEOPLE, ROOM
from tests.mappings.conftest import Begin
from tests.mappings.strategies import any_address

NEWER = {"mapping_records", "mapping_holders", "mapping_counts", "mapping_revisions", "mapping_changes"}
RETIRED = {"mapping_identities", "mapping_addresses"}
SALES = Identity(
    "Sales",
    addresses(parse("smtp:sales@merged.example")),
    Kind.GROUP,
    None,
    Stage.COEXISTING,
    "net",
    (("ref", "cn=sales"), ("source", "hq")),
    (parse("smtp:ann@acme.example"), parse("mhs:BOB@sales")),
    parse("smtp:boss@acme.example"),
    expand=False,
)


def person(name: str, *texts: str, id: int = 0, **more: str) -> Identity:
    attributes = tuple(sorted(more.items()))
    return Identity(name, addresses(*map(parse, texts)), attributes=attributes, id=id)


def write(begin: Begin, *changes: Change, why: str = "a test", expected: int | None = None) -> int:
    with begin() as connection:
        return store.apply(connection, changes, who="ann", why=why, at=1000.0, expected=expected)


def puts(people: Iterable[Identity]) -> list[Put]:
    return [Put(who) for who in people]


def facts(size: int, homes: set[str], networks: set[str]) -> store.Facts:
    return store.Facts(size, frozenset(homes), frozenset(networks))


def names(found: Iterable[Identity]) -> list[str]:
    return [who.name for who in found]


# -- migrations


def is_current(_: object, name: str | None, kind: str, *__: object) -> bool:
    return kind != "table" or name not in RETIRED


def test_migrations_run_once_and_leave_the_tables_of_the_metadata(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        assert migrations.current(connection) is None
        assert migrations.upgrade(connection)[-1] == migrations.head()
    with engine.begin() as connection:
        assert migrations.current(connection) == migrations.head()
        assert migrations.upgrade(connection) == []
        options = {"version_table": migrations.VERSION_TABLE, "compare_type": True, "include_object": is_current}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, store.metadata) == []
        assert list(store.load(connection)) == []
        assert store.head(connection) == Head(0, "")


def test_the_versions_that_are_known_without_alembic_are_all_there_are() -> None:
    assert migrations.__file__ is not None
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert [script.revision for script in scripts.walk_revisions()] == list(reversed(migrations.VERSIONS))


def test_the_version_table_is_its_own(engine: sa.Engine, begin: Begin) -> None:
    """The spool's migrations have theirs in the same database, and neither sees the other's."""
    assert set(sa.inspect(engine).get_table_names()) >= {"mapping_state", "mappings_version"} | NEWER | RETIRED


def test_a_newer_schema_is_refused_and_left_alone(begin: Begin) -> None:
    with begin() as connection:
        connection.execute(sa.text("UPDATE mappings_version SET version_num = 'm9999'"))
    with begin() as connection, pytest.raises(migrations.NewerSchema, match="m9999"):
        migrations.upgrade(connection)
    with begin() as connection:
        assert migrations.current(connection) == "m9999"


def test_an_upgrade_that_is_rolled_back_leaves_nothing(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":  # Python's driver opens no transaction before DDL by itself
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        migrations.upgrade(connection)
        connection.rollback()
    assert sa.inspect(engine).get_table_names() == []


def test_what_an_earlier_release_stored_becomes_a_revision(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with engine.begin() as connection:
        monkeypatch.setattr(migrations, "head", lambda: "m0001")
        migrations.upgrade(connection)
        monkeypatch.undo()
        connection.execute(sa.text("UPDATE mapping_state SET generation = 3"))
        for id, who in enumerate(PEOPLE):
            values = {"id": id, "name": who.name, "kind": who.kind.value, "home": who.home}
            connection.execute(sa.text("INSERT INTO mapping_identities VALUES (:id, :name, :kind, :home)"), values)
            for place, held in enumerate(who.addresses):
                row = {**dataclasses.asdict(held.address), "role": held.role.value, "id": id, "place": place}
                insert = "INSERT INTO mapping_addresses VALUES (:network, :key, :value, :role, :id, :place)"
                connection.execute(sa.text(insert), row)
        connection.execute(sa.text("INSERT INTO mapping_identities VALUES (9, 'Nobody', 'person', NULL)"))
    with engine.begin() as connection:
        assert migrations.upgrade(connection)[0] == "m0002"
        nobody = Identity("Nobody", ())
        found = list(store.load(connection))
        assert found == [*PEOPLE, nobody]
        assert [who.id for who in found] == [1, 2, 3, 4, 10]
        assert [[h.address.value for h in who.addresses] for who in found[:4]] == [
            [h.address.value for h in who.addresses] for who in PEOPLE
        ]
        assert [store.find(connection, h.address.network, h.address.key) for h in ANN.addresses] == [[ANN]] * 5
        assert store.facts(connection) == facts(5, {"oldmhs", "net"}, {"smtp", "mhs"})
        assert [(r.number, r.who, r.added) for r in store.log(connection, limit=9)] == [(4, "upgrade", 5)]
        assert len(store.diff(connection, 3, 4)) == 5
        assert store.apply(connection, [Remove(10), Put(SALES)], who="a", why="b", at=2.0) == 5
        assert store.get(connection, 11) == SALES
        assert store.rollback(connection, to=3, who="a", why="b", at=3.0) == 6
        assert list(store.load(connection)) == []


# -- records

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
_times = st.none() | st.floats(allow_nan=False, allow_infinity=False)
_helds = st.builds(Held, any_address, st.sampled_from(Role), _times, _times)
identities = st.builds(
    Identity,
    _texts,
    st.lists(_helds, max_size=4).map(tuple),
    st.sampled_from(Kind),
    st.none() | _names,
    st.none() | st.sampled_from(Stage),
    st.none() | _names,
    st.lists(st.tuples(_texts, _texts), max_size=3).map(tuple),
    st.lists(any_address, max_size=3).map(tuple),
    st.none() | any_address,
    st.booleans(),
)


@given(identities, st.integers(1, 2**40))
def test_a_record_holds_all_of_an_identity(who: Identity, number: int) -> None:
    record = encode(who, number)
    assert not re.search(r"[\n\0]", record)
    found = decode(record)
    assert repr(found) == repr(dataclasses.replace(who, id=number))


def test_text_that_no_database_takes_is_refused(begin: Begin) -> None:
    who = person("\ud800", "smtp:a@far.example")
    with pytest.raises(Unstorable, match="cannot be stored"):
        encode(who, 1)
    with pytest.raises(MappingError, match="cannot be stored"):
        write(begin, Put(who))
    with begin() as connection:
        assert store.revision(connection) == 0


def test_names_may_hold_anything_else(begin: Begin) -> None:
    who = dataclasses.replace(person("a\0\t\n", "smtp:a@far.example", ref="r\0\t"), home="")
    write(begin, Put(who))
    with begin() as connection:
        assert store.get(connection, 1) == who
        assert store.by_ref(connection, "r\0\t") == [who]
        assert store.by_ref(connection, "r\ufffd\t") == []


@pytest.mark.parametrize("value", ["a\tb", "a\nb", "a\0", ""])
def test_an_address_that_no_network_makes_is_refused(value: str) -> None:
    with pytest.raises(Unstorable, match="an address"):
        encode(Identity("A", addresses(Address("mhs", value, value))), 1)


@pytest.mark.parametrize("who", [dataclasses.replace(ANN, home="a\0"), dataclasses.replace(ANN, copy_home="a\0")])
def test_a_home_has_no_control_characters(who: Identity) -> None:
    with pytest.raises(Unstorable, match="home"):
        encode(who, 1)


def test_a_time_must_be_a_number() -> None:
    with pytest.raises(Unstorable, match="no number"):
        encode(Identity("A", (Held(parse("smtp:a@far.example"), Role.PRIMARY, float("inf")),)), 1)


@pytest.mark.parametrize(
    "record",
    ["", "7", "7\tA", "x\tA\t\t", "7\tA\t\t\tPsmtp", "7\tA\t\t\tXsmtp\ta\tb", "7\tA\t\t{", "7\tA\t\t[]", "7\tA\t\t7"],
)
def test_what_is_no_record_is_refused(record: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(record)


# -- revisions


def test_what_is_put_is_loaded(begin: Begin) -> None:
    timed = Identity("T", (Held(parse("mhs:t@hq"), Role.PRIMARY, 5.0, 9.5),), attributes=(("a", "ü"),))
    people = [*PEOPLE, SALES, timed]
    assert write(begin, *puts(people)) == 1
    with begin() as connection:
        found = list(store.load(connection))
        assert found == people
        assert [who.id for who in found] == [1, 2, 3, 4, 5, 6]
        assert [who.members[1].value for who in found if who.members] == ["BOB@sales"]
        assert store.facts(connection) == facts(6, {"oldmhs", "net"}, {"smtp", "mhs"})
        assert store.get(connection, 2) == BOB
        assert store.get(connection, 7) is None


def test_an_identity_is_changed_and_removed_by_number(begin: Begin) -> None:
    write(begin, *puts(PEOPLE))
    bob = dataclasses.replace(BOB, addresses=addresses(parse("mhs:bob@hq")), home="oldmhs", id=2)
    assert write(begin, Put(bob), Remove(3)) == 2
    with begin() as connection:
        assert list(store.load(connection)) == [ANN, bob, PEOPLE[3]]
        assert store.find(connection, "smtp", "bob@merged.example") == []
        assert store.find(connection, "mhs", "bob@hq") == [bob]
        assert store.facts(connection) == facts(3, {"oldmhs"}, {"smtp", "mhs"})
    assert write(begin, Put(ROOM)) == 3
    with begin() as connection:
        assert store.get(connection, 5) == ROOM  # 3 is never used again


def test_a_change_that_changes_nothing_makes_no_revision(begin: Begin) -> None:
    write(begin, *puts(PEOPLE))
    assert write(begin, Put(dataclasses.replace(ANN, id=1))) == 1
    assert write(begin) == 1
    with begin() as connection:
        assert len(store.log(connection, limit=9)) == 1


def test_a_change_made_from_an_older_revision_is_refused(begin: Begin) -> None:
    write(begin, *puts(PEOPLE))
    with pytest.raises(StaleMapping, match="revision 0"):
        write(begin, Remove(1), expected=0)
    assert write(begin, Remove(1), expected=1) == 2
    for change in (Remove(1), Put(dataclasses.replace(ANN, id=1)), Remove(99)):
        with pytest.raises(StaleMapping, match="there is no identity"):
            write(begin, change)
    with begin() as connection:
        assert list(store.load(connection)) == list(PEOPLE[1:])


def test_one_identity_is_changed_once_in_a_revision(begin: Begin) -> None:
    write(begin, *puts(PEOPLE))
    with pytest.raises(ValueError, match="twice in one revision"):
        write(begin, Remove(1), Put(dataclasses.replace(ANN, id=1)))


def test_two_that_claim_one_address_are_both_named_and_nothing_is_stored(begin: Begin) -> None:
    write(begin, *puts(PEOPLE))
    thief = person("Thief", "smtp:thief@far.example", "mhs:ANN@sales")
    with pytest.raises(ClaimedTwice) as raised:
        write(begin, Put(thief))
    message = "mhs:ann@sales is claimed by both 'Ann Lee' (identity 1) and 'Thief' (identity 5); take it from one"
    assert [problem.startswith(message) for problem in raised.value.problems] == [True]
    with pytest.raises(ClaimedTwice):
        write(begin, Put(person("A", "smtp:x@far.example")), Put(person("B", "smtp:x@far.example")))
    with begin() as connection:
        assert store.revision(connection) == 1
        assert len(list(store.load(connection))) == len(PEOPLE)


def test_addresses_that_share_a_fingerprint_are_told_apart(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    def three(network: str, key: str) -> int:
        return len(key) % 3

    monkeypatch.setattr(revisions, "fingerprint", three)
    monkeypatch.setattr(stored, "fingerprint", three)
    monkeypatch.setattr(revisions, "fingerprints", lambda who: {three("", h.address.key) for h in who.addresses})
    people = [person(f"P{n}", f"smtp:p{n}@far.example", f"mhs:p{n}@hq") for n in range(60)]
    write(begin, *puts(people))
    with begin() as connection:
        assert [store.find(connection, "mhs", f"p{n}@hq") for n in range(60)] == [[who] for who in people]
        assert store.find(connection, "smtp", "p1@hq") == []
    with pytest.raises(ClaimedTwice, match=r"mhs:p59@hq is claimed by both 'P59' .* and 'Q'"):
        write(begin, Put(person("Q", "mhs:p59@hq")))


def test_an_address_may_change_hands_in_one_revision_and_in_time(begin: Begin) -> None:
    one, other = person("One", "smtp:one@far.example"), person("Other", "smtp:other@far.example")
    write(begin, Put(one), Put(other))
    swapped = [
        dataclasses.replace(one, addresses=other.addresses, id=1),
        dataclasses.replace(other, addresses=one.addresses, id=2),
    ]
    assert write(begin, *puts(swapped)) == 2
    with begin() as connection:
        assert names(store.find(connection, "smtp", "one@far.example")) == ["Other"]
    seat = parse("smtp:seat@far.example")
    before, after = (Held(seat, Role.PRIMARY, None, 50.0), Held(seat, Role.PRIMARY, 50.0))
    write(begin, Put(Identity("Before", (before,))), Put(Identity("After", (after,))))
    with begin() as connection:
        assert names(store.find(connection, "smtp", seat.key)) == ["Before", "After"]
    with pytest.raises(ClaimedTwice, match="'After'"):
        write(begin, Put(Identity("Between", (Held(seat, Role.PRIMARY, 60.0, 61.0),))))


def test_every_identity_that_is_wrong_is_named(begin: Begin) -> None:
    former = Identity("F", (Held(parse("smtp:f@far.example"), Role.FORMER),))
    with pytest.raises(MappingError, match=r"'F' has no current address.*'G' has no current"):
        write(begin, Put(former), Put(ROOM), Put(Identity("G", ())))
    with begin() as connection:
        assert store.revision(connection) == 0


def test_many_identities_keep_their_order(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revisions, "_HOLDERS", 1200)
    people = [person(f"P{n}", f"smtp:p{n}@far.example", f"mhs:p{n}@hq") for n in range(2000, 0, -1)]
    write(begin, *puts(people))
    with begin() as connection:
        assert list(store.load(connection)) == people
        assert store.find(connection, "mhs", "p17@hq") == [people[-17]]
    extra = [person(f"Q{n}", f"smtp:q{n}@far.example") for n in range(2500)]
    with pytest.raises(ClaimedTwice, match="'P1'"):
        write(begin, *puts(extra), Put(person("Q", "mhs:p1@hq")))
    with begin() as connection:
        changed = [dataclasses.replace(who, name=f"{who.name}!") for who in store.load(connection)]
    assert write(begin, *puts(changed)) == 2
    with begin() as connection:
        assert store.rollback(connection, 1 + 1, who="a", why="b", at=1.0) == 3
        assert list(store.load(connection)) == people


def test_writers_wait_for_each_other(engine: sa.Engine, begin: Begin) -> None:
    """Two that read the same revision: the second is told, whatever the database isolates."""
    write(begin, *puts(PEOPLE))
    with engine.connect() as first, engine.connect() as second:
        if engine.dialect.name == "postgresql":
            second.execute(sa.text("SET lock_timeout = '100ms'"))
            second.commit()
        else:
            second.exec_driver_sql("PRAGMA busy_timeout=100")
            second.commit()
        store.apply(first, [Remove(1)], who="a", why="b", at=1.0, expected=1)
        with pytest.raises(sa.exc.OperationalError, match="lock"):
            store.apply(second, [Remove(2)], who="a", why="b", at=1.0, expected=1)
        second.rollback()
        first.commit()
        with pytest.raises(StaleMapping):
            store.apply(second, [Remove(2)], who="a", why="b", at=1.0, expected=1)


# -- looking up


def test_search_finds_parts_of_names_addresses_and_attributes(begin: Begin) -> None:
    odd = person('100 % "Odd" \\ Ärzte_日', "smtp:odd@far.example", ref="cn=odd,o=X")
    write(begin, *puts(PEOPLE), Put(odd), Put(SALES))
    with begin() as connection:
        for text, found in {
            "LEE": ["Ann Lee"],
            "acme.EXAMPLE": ["Ann Lee", "Bob Ray"],
            "KÄTHE": ["Käthe"],
            "0 %": [odd.name],
            "e_日": [odd.name],
            "e日": [],
            '"odd" \\ ärz': [odd.name],
            "CN=ODD": [odd.name],
            "Psmtp": [],
            "\0": [],
            "\ud800": [],
            "room7@hq": ["Room 7"],
        }.items():
            assert names(store.search(connection, text, 10)) == found, text
        assert names(store.search(connection, "", 2)) == ["Ann Lee", "Bob Ray"]
        assert names(store.by_ref(connection, "cn=sales")) == ["Sales"]
        assert store.by_ref(connection, "cn=SALES") == []


def test_a_reader_learns_what_became_of_the_changed(begin: Begin) -> None:
    write(begin, *puts(PEOPLE))
    room = dataclasses.replace(ROOM, name="Room 8", id=3)
    write(begin, Remove(1), Put(SALES))
    write(begin, Put(room))
    with begin() as connection:
        delta = store.changes_since(connection, 1)
        assert (delta.revision, delta.changed, delta.removed) == (3, [room, SALES], [1])
        assert [who.id for who in delta.changed] == [3, 5]
        assert store.changes_since(connection, 3) == store.Delta(3, [], [])
        assert store.count_since(connection, 1) == 3
        assert store.changes_since(connection, 2).changed == [room]


def test_a_revision_is_told_from_another_database_s(begin: Begin) -> None:
    with begin() as connection:
        assert store.is_past(connection, Head(0, ""))
    write(begin, *puts(PEOPLE))
    with begin() as connection:
        first = store.head(connection)
    write(begin, Remove(1))
    with begin() as connection:
        assert store.is_past(connection, first)
        assert store.is_past(connection, store.head(connection))
        assert not store.is_past(connection, Head(1, "another"))
        assert not store.is_past(connection, Head(9, first.mark))


# -- history


def test_the_log_says_who_did_what_when_and_why(begin: Begin) -> None:
    write(begin, *puts(PEOPLE), why="the first import")
    write(begin, Remove(1), Put(dataclasses.replace(ROOM, name="Room 8", id=3)), Put(SALES), why="a\0b\ud800")
    with begin() as connection:
        found = store.log(connection, limit=9)
        assert found == [
            store.Revision(2, 1000.0, "ann", "a\ufffdb?", 1, 1, 1),
            store.Revision(1, 1000.0, "ann", "the first import", 4, 0, 0),
        ]
        assert store.log(connection, limit=1) == found[:1]
        assert store.log(connection, limit=9, identity=2) == found[1:]
        assert store.log(connection, limit=9, identity=5) == found[:1]


def test_diff_shows_what_differs_between_two_revisions(begin: Begin) -> None:
    write(begin, *puts(PEOPLE))
    rooms = [dataclasses.replace(ROOM, name=f"Room {n}", id=3) for n in (8, 9)]
    write(begin, Put(rooms[0]), Put(SALES), Remove(1))
    write(begin, Put(rooms[1]), Remove(5))
    with begin() as connection:
        assert store.diff(connection, 0, 1) == [(None, who) for who in PEOPLE]
        assert store.diff(connection, 1, 2) == [(ANN, None), (ROOM, rooms[0]), (None, SALES)]
        assert store.diff(connection, 2, 3) == [(rooms[0], rooms[1]), (SALES, None)]
        assert store.diff(connection, 1, 3) == [(ANN, None), (ROOM, rooms[1])]
        assert store.diff(connection, 3, 3) == []
        for older, newer in ((-1, 1), (1, 4)):
            with pytest.raises(NoSuchRevision):
                store.diff(connection, older, newer)
        with pytest.raises(ValueError, match="turn the two around"):
            store.diff(connection, 2, 1)


def rollback(begin: Begin, number: int | None = None, *, to: int | None = None) -> int:
    with begin() as connection:
        return store.rollback(connection, number, to=to, who="ann", why="undo", at=2000.0)


def test_a_revision_is_undone_by_another(begin: Begin) -> None:
    write(begin, *puts(PEOPLE))
    write(begin, Remove(1), Put(dataclasses.replace(ROOM, name="Room 8", id=3)), Put(SALES))
    assert rollback(begin, 2) == 3
    with begin() as connection:
        found = list(store.load(connection))
        assert found == list(PEOPLE)
        assert [who.id for who in found] == [1, 2, 3, 4]
        assert store.facts(connection) == facts(4, {"oldmhs", "net"}, {"smtp", "mhs"})
        newest = store.log(connection, limit=1)[0]
        assert (newest.who, newest.added, newest.changed, newest.removed) == ("ann", 1, 1, 1)
    assert rollback(begin, 3) == 4  # and an undoing is undone
    with begin() as connection:
        assert names(store.load(connection)) == ["Bob Ray", "Room 8", "Käthe", "Sales"]
        assert [who.id for who in store.load(connection)] == [2, 3, 4, 5]


def test_a_revision_that_later_ones_built_on_is_not_undone(begin: Begin) -> None:
    write(begin, *puts(PEOPLE))
    write(begin, Put(dataclasses.replace(ROOM, name="Room 8", id=3)), Put(dataclasses.replace(BOB, name="B", id=2)))
    write(begin, Put(dataclasses.replace(ROOM, name="Room 9", id=3)))
    write(begin, Remove(2))
    with pytest.raises(Overtaken) as raised:
        rollback(begin, 2)
    assert raised.value.problems == (
        "revision 2 cannot be undone by itself: revision 4 changed identity 2, which is gone by now, again; "
        "undo that one first",
        "revision 2 cannot be undone by itself: revision 3 changed 'Room 9' again; undo that one first",
    )
    assert rollback(begin, to=2) == 5
    assert rollback(begin, to=1) == 6
    with begin() as connection:
        assert list(store.load(connection)) == list(PEOPLE)
    assert rollback(begin, to=0) == 7
    with begin() as connection:
        assert list(store.load(connection)) == []
        assert store.facts(connection) == facts(0, set(), set())


def test_what_was_stored_once_comes_back_whatever_is_asked_of_new_ones(begin: Begin) -> None:
    """As an identity without an address, which an earlier release took."""
    write(begin, *puts(PEOPLE))
    nobody = Identity("Nobody", (), id=9)
    with begin() as connection:
        row = {"id": 9, "record": encode(nobody, 9)}
        connection.execute(sa.text("INSERT INTO mapping_records (id, record) VALUES (:id, :record)"), row)
    write(begin, Remove(9))
    rollback(begin, 2)
    with begin() as connection:
        assert store.get(connection, 9) == nobody


def test_an_undoing_that_would_give_an_address_to_two_is_refused(begin: Begin) -> None:
    write(begin, *puts(PEOPLE))
    write(begin, Remove(2))
    write(begin, Put(person("New Bob", "smtp:bob@merged.example")))
    with pytest.raises(ClaimedTwice, match=r"'Bob Ray' .* and 'New Bob'"):
        rollback(begin, 2)


@pytest.mark.parametrize("number", [0, 2, -1])
def test_a_revision_that_is_not_there_is_not_undone(begin: Begin, number: int) -> None:
    write(begin, *puts(PEOPLE))
    with pytest.raises(NoSuchRevision):
        rollback(begin, number)
    if number:
        with pytest.raises(NoSuchRevision):
            rollback(begin, to=number)
    with pytest.raises(ValueError, match="name either"):
        rollback(begin)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
@given(st.data())
def test_any_history_is_read_back_and_undone(data: st.DataObject) -> None:
    """Against a model: what each revision left is known, and every way back leads there."""
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        migrations.upgrade(connection)
        left: list[dict[int, Identity]] = [{}]
        for _ in range(data.draw(st.integers(1, 6))):
            now = dict(left[-1])
            changes: list[Change] = []
            for id in data.draw(st.lists(st.sampled_from(sorted(now)), unique=True)) if now else ():
                if data.draw(st.booleans()):
                    changes.append(Remove(id))
                    del now[id]
                else:
                    now[id] = dataclasses.replace(now[id], name=data.draw(st.sampled_from("XYZ")))
                    changes.append(Put(now[id]))
            following = 1 + max((id for past in left for id in past), default=0)
            for id in range(following, following + data.draw(st.integers(0, 2))):
                address = Address("mhs", f"p{id}", f"p{id}")
                now[id] = Identity("N", addresses(address), id=id)
                changes.append(Put(dataclasses.replace(now[id], id=0)))
            number = store.apply(connection, changes, who="h", why="", at=0.0)
            if now != left[-1]:
                left.append(now)
            assert number == len(left) - 1
        assert {who.id: who for who in store.load(connection)} == left[-1]
        older, newer = sorted(data.draw(st.tuples(*[st.integers(0, len(left) - 1)] * 2)))
        ids = {**left[older], **left[newer]}
        pairs = [(left[older].get(id), left[newer].get(id)) for id in sorted(ids)]
        assert store.diff(connection, older, newer) == [(a, b) for a, b in pairs if a != b]
        delta = store.changes_since(connection, older)
        kept = {id: who for id, who in left[older].items() if id not in delta.removed}
        assert {**kept, **{who.id: who for who in delta.changed}} == left[-1]
        store.rollback(connection, to=older, who="h", why="", at=0.0)
        assert {who.id: who for who in store.load(connection)} == left[older]
    engine.dispose()
