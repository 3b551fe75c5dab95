"""The snapshot's file, the layer of changes over it, and the reader that keeps both at the newest revision."""

from __future__ import annotations

import dataclasses
import io
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Event

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from mappings import layered, migrations, reader, record, snapshot, store
from mappings.directory import MemoryDirectory, Person
from mappings.identity import Held, Identity, Role, Stage, addresses
from mappings.layered import LayeredDirectory
from mappings.network import Address, parse
from mappings.reader import MappingReader
from mappings.record import encode, fingerprints
from mappings.snapshot import (
    HEADER_BYTES,
    SnapshotError,
    SnapshotWriter,
    open_snapshot,
    snapshot_in,
)
from mappings.store import Facts, Put, Remove
from mappings.table import Direction, compile_table
from tests.mappings.company import ANN, BOB, ENCAPSULATION, PEOPLE, ROOM, RULES, company
from tests.mappings.conftest import Begin
from tests.mappings.strategies import any_address
from tests.mappings.test_store import SALES, identities, person, write

NOW = 1000.0
TIMED = Identity(
    "Timed",
    (
        Held(parse("smtp:now@far.example"), Role.PRIMARY, None, NOW + 10),
        Held(parse("smtp:then@far.example"), Role.PRIMARY, NOW + 10),
        Held(parse("smtp:was@far.example"), Role.FORMER, None, NOW),
    ),
    stage=Stage.MOVED,
)


def facts_of(people: Sequence[Identity]) -> Facts:
    return Facts(
        len(people),
        frozenset(home for who in people for home in (who.home, who.copy_home) if home is not None),
        frozenset(held.address.network for who in people for held in who.addresses),
    )


def numbered(people: Sequence[Identity]) -> list[Identity]:
    return [dataclasses.replace(who, id=number) for number, who in enumerate(people, 1)]


def written(people: Sequence[Identity]) -> bytes:
    """Return the snapshot of identities that have numbers."""
    stream = io.BytesIO()
    writer = SnapshotWriter(stream, 7, "abc")
    if people:
        writer.add_records([who.id for who in people], [encode(who, who.id) for who in people])
    holders = sorted((each, who.id) for who in people for each in fingerprints(who))
    writer.add_holders([each for each, _ in holders], [number for _, number in holders])
    writer.close()
    return stream.getvalue()


def directory_of(people: Sequence[Identity]) -> LayeredDirectory:
    return LayeredDirectory(snapshot_in(written(numbered(people))), facts_of(people))


def seen(person: Person | None) -> object:
    """Return all that a person says."""
    if person is None:
        return None
    former = sorted(person.former)
    primaries = {network: (a.network, a.value, a.key) for network, a in person.primaries.items()}
    known = (person.name, person.kind, person.home, person.copy_home, person.stage, person.is_timed)
    return known, primaries, former, repr(dataclasses.replace(person.identity, id=0)), person.fallback()


# -- one look-up


@given(st.lists(identities, max_size=8), st.floats(allow_nan=False, allow_infinity=False))
def test_a_snapshot_answers_as_objects_do(people: list[Identity], now: float) -> None:
    """Where nobody claims another's address."""
    taken: set[tuple[str, str]] = set()
    apart = []
    for who in people:
        keys = {(held.address.network, held.address.key) for held in who.addresses}
        primary = [held.address.network for held in who.addresses if held.role is Role.PRIMARY]
        if keys & taken or len(set(primary)) < len(primary) or len(keys) < len(who.addresses):
            continue
        taken |= keys
        apart.append(who)
    expected, found = MemoryDirectory(apart), directory_of(apart)
    assert len(found) == len(expected)
    assert found.homes == expected.homes
    assert list(found.identities()) == apart
    for network, key in [*taken, ("smtp", "nobody@far.example"), ("mhs", "x"), ("mhs", "")]:
        assert found.has_network(network) == expected.has_network(network)
        one, other = found.find(network, key, now), expected.find(network, key, now)
        assert seen(one) == seen(other)
        if one is not None and other is not None:
            again = found.find(network, key, now)
            assert again is not None
            for each in ("smtp", "mhs", "sip"):
                assert again.primary(each) == other.primary(each)
            for held in other.identity.addresses:
                assert again.is_former(held.address) == other.is_former(held.address)


def test_a_table_over_a_snapshot_maps_as_one_over_objects() -> None:
    table = compile_table(
        directory_of([*PEOPLE, SALES]),
        RULES,
        domains=["merged.example", "acme.example", "bücher.example"],
        homes={"oldmhs": "mhs", "net": "smtp"},
        encapsulation=ENCAPSULATION,
        version=1,
        postmaster=parse("smtp:postmaster@merged.example"),
        gates={"mhs": parse("mhs:GATE@GP")},
    )
    expected = company((*PEOPLE, SALES))
    asked = [held.address for who in PEOPLE for held in who.addresses]
    asked += map(parse, ("smtp:ann+x@acme.example", "smtp:nobody@acme.example", "mhs:ann@sales.x", "smtp:x@y.example"))
    for address in asked:
        assert table.resolve(address) == expected.resolve(address)
        assert table.explain(address) == expected.explain(address)
        for network in ("smtp", "mhs", "pigeon"):
            for direction in Direction:
                assert table.translate(address, network, direction) == expected.translate(address, network, direction)


def test_what_reads_like_an_address_is_told_from_one() -> None:
    """A value that is another's key, a value that is a network with its sign, one text on two networks."""
    people = [
        Identity("A", addresses(Address("mhs", "ann@x", "key-a"), Address("sip", "k", "k"))),
        Identity("B", addresses(Address("mhs", "b", "ann@x"))),
        Identity("C", addresses(Address("mhs", "Psmtp", "psmtp"), Address("smtp", "c", "c"))),
        Identity("D", addresses(Address("smtp", "k", "k"))),
        Identity("E", addresses(Address("mhs", "sip", "e"), former=(Address("sip", "e", "e"),))),
    ]
    found = directory_of(people)
    for network, key, name in (
        ("mhs", "key-a", "A"),
        ("mhs", "ann@x", "B"),
        ("sip", "k", "A"),
        ("smtp", "k", "D"),
        ("smtp", "c", "C"),
        ("sip", "e", "E"),
        ("mhs", "e", "E"),
        ("mhs", "k", None),
        ("smtp", "ann@x", None),
    ):
        who = found.find(network, key, NOW)
        assert (None if who is None else who.name) == name
    who = found.find("mhs", "psmtp", NOW)
    assert who is not None
    assert who.primary("smtp") == Address("smtp", "c", "c")
    assert who.primary("sip") is None
    with pytest.raises(AttributeError):
        _ = who.nickname  # type: ignore[attr-defined]


def test_who_shares_a_fingerprint_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    people = numbered([person(f"P{n}", f"smtp:p{n}@far.example", f"mhs:p{n}@hq") for n in range(300)])
    monkeypatch.setattr(record, "_MASK", 7)
    monkeypatch.setattr(layered, "_MASK", 7)
    found = directory_of(people)
    for who in people:
        for held in who.addresses:
            holder = found.find(held.address.network, held.address.key, NOW)
            assert holder is not None
            assert holder.name == who.name
    assert found.find("smtp", "p300@far.example", NOW) is None


def test_times_bound_what_is_found() -> None:
    found = directory_of([TIMED, BOB])
    now = found.find("smtp", "now@far.example", NOW)
    assert now is not None
    assert now.is_timed
    assert now.primaries == {"smtp": parse("smtp:now@far.example")}
    assert not now.is_former(parse("smtp:was@far.example"))
    assert found.find("smtp", "then@far.example", NOW) is None
    assert found.find("smtp", "was@far.example", NOW) is None
    then = found.find("smtp", "then@far.example", NOW + 10)
    assert then is not None
    assert then.primary("smtp") == parse("smtp:then@far.example")
    assert found.find("smtp", "now@far.example", NOW + 10) is None
    assert found.find("smtp", "was@far.example", NOW - 1) is not None


def test_many_threads_read_one_snapshot() -> None:
    people = numbered([person(f"P{n}", f"smtp:p{n}@far.example", f"mhs:p{n}@hq") for n in range(500)])
    found = directory_of(people)

    def look(seed: int) -> None:
        for n in random.Random(seed).choices(range(500), k=2000):
            who = found.find("mhs", f"p{n}@hq", NOW)
            assert who is not None
            assert (who.name, str(who.primary("smtp"))) == (f"P{n}", f"smtp:p{n}@far.example")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(look, range(8)))


# -- the file


def test_a_snapshot_s_file_is_mapped_and_outlives_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.snapshot"
    path.write_bytes(written(numbered(PEOPLE)))
    opened = open_snapshot(path)
    assert (opened.revision, opened.mark, opened.size) == (7, "abc", 4)
    path.unlink()
    assert [octets.decode() for octets in opened.records()] == [encode(who, who.id) for who in numbered(PEOPLE)]


def test_an_empty_snapshot_knows_nobody() -> None:
    found = directory_of([])
    assert len(found) == 0
    assert list(found.identities()) == []
    assert not found.has_network("smtp")
    assert snapshot_in(written([])).find(0, b"smtp", b"", NOW, ()) is None


def test_numbers_may_be_sparse_and_records_may_be_missing() -> None:
    """A holder whose record was gone when the snapshot was made is left out."""
    for numbers in ((1, 2, 3, 4), (5, 900, 70_000, 2**40)):
        people = [dataclasses.replace(who, id=number) for who, number in zip(PEOPLE, numbers, strict=True)]
        stream = io.BytesIO()
        writer = SnapshotWriter(stream, 1, "")
        kept = [people[0], people[1], people[3]]
        writer.add_records([who.id for who in kept[:1]], [encode(who, who.id) for who in kept[:1]])
        writer.add_records([who.id for who in kept[1:]], [encode(who, who.id) for who in kept[1:]])
        holders = sorted((each, who.id) for who in people for each in fingerprints(who))
        for part in (holders[:3], holders[3:]):
            writer.add_holders([each for each, _ in part], [number for _, number in part])
        writer.close()
        found = LayeredDirectory(snapshot_in(stream.getvalue()), facts_of(people))
        assert list(found.identities()) == kept
        assert found.find("mhs", "room7@hq", NOW) is None
        assert all(found.find(h.address.network, h.address.key, NOW) for who in kept for h in who.addresses)


def test_every_change_to_a_file_is_noticed(tmp_path: Path) -> None:
    octets = written(numbered(PEOPLE))
    snapshot_in(octets)
    path = tmp_path / "a.snapshot"
    pick = random.Random(1)
    places = {*range(HEADER_BYTES), *pick.choices(range(len(octets)), k=300), len(octets) - 1}
    for place in places:
        changed = bytearray(octets)
        changed[place] ^= 1 << pick.randrange(8)
        with pytest.raises(SnapshotError):
            snapshot_in(bytes(changed))
    for length in (0, 1, HEADER_BYTES - 1, HEADER_BYTES, len(octets) // 2, len(octets) - 1):
        path.write_bytes(octets[:length])
        with pytest.raises(SnapshotError):
            open_snapshot(path)
        with pytest.raises(SnapshotError):
            snapshot_in(octets[:length])
    path.write_bytes(octets + b"\0")
    with pytest.raises(SnapshotError, match="cut short"):
        open_snapshot(path)


@given(st.binary(max_size=400), st.booleans())
def test_any_octets_are_refused(octets: bytes, has_magic: bool) -> None:
    octets = b"GPSNAP\r\n" + octets if has_magic else octets
    with pytest.raises(SnapshotError):
        snapshot_in(octets)


@given(st.lists(st.integers(0, 2**64 - 1), min_size=4, max_size=4), st.binary(max_size=300))
def test_a_well_made_header_over_any_octets_is_refused(sizes: list[int], rest: bytes) -> None:
    """Counts that do not fit the file, with checksums that are right."""
    header = struct.pack("<8sIQ16sQQQQI", b"GPSNAP\r\n", snapshot._FORMAT, 1, b"", *sizes, zlib.crc32(rest))
    header = header.ljust(HEADER_BYTES - 4, b"\0")
    octets = header + struct.pack("<I", zlib.crc32(header)) + rest
    with pytest.raises(SnapshotError, match="cut short"):
        snapshot_in(octets)


def test_another_release_s_snapshot_is_refused() -> None:
    octets = written(numbered(PEOPLE))
    with pytest.raises(SnapshotError, match="another release or kind of machine"):
        snapshot_in(octets[:8] + bytes([octets[8] + 1]) + octets[9:])


def test_a_snapshot_has_a_bound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(snapshot, "MAX_BYTES", 1000)
    with pytest.raises(SnapshotError, match="at most"):
        written(numbered(PEOPLE))
    (tmp_path / "a").write_bytes(bytes(1001))
    with pytest.raises(SnapshotError, match="1001 octets"):
        open_snapshot(tmp_path / "a")


# -- the layer


def laid(
    directory: LayeredDirectory, changed: Sequence[Identity], removed: Sequence[int], facts: Facts
) -> LayeredDirectory:
    return directory.with_changes([(who.id, encode(who, who.id)) for who in changed], removed, facts)


def test_what_changed_hides_what_was(tmp_path: Path) -> None:
    base = directory_of([*PEOPLE, TIMED])
    bob = dataclasses.replace(BOB, addresses=(*ROOM.addresses, *BOB.addresses[:1]), id=2)
    new = dataclasses.replace(SALES, id=9)
    after = [dataclasses.replace(ANN, id=1), bob, dataclasses.replace(PEOPLE[3], id=4), new]
    found = laid(base, [bob, new], [3, 5], facts_of(after))
    assert found.changes == 4
    assert [who.id for who in found.identities()] == [1, 2, 4, 9]
    assert list(found.identities()) == after
    assert found.homes == {"oldmhs", "net"}
    names = {
        "room7@hq": "Bob Ray",
        "bob@merged.example": "Bob Ray",
        "bob.ray@acme.example": None,
        "now@far.example": None,
        "sales@merged.example": "Sales",
        "ann@sales": "Ann Lee",
    }
    for key, name in names.items():
        who = found.find("smtp" if "." in key else "mhs", key, NOW)
        assert (None if who is None else who.name) == name
    again = laid(found, [dataclasses.replace(ROOM, id=3)], [2], facts_of([*PEOPLE[:1], ROOM, PEOPLE[3], new]))
    who = again.find("mhs", "room7@hq", NOW)
    assert who is not None
    assert who.name == "Room 7"
    assert again.find("smtp", "bob@merged.example", NOW) is None
    assert found.find("smtp", "bob@merged.example", NOW) is not None  # the older one stays as it was


@given(st.data())
def test_any_changes_over_a_snapshot_give_what_objects_give(data: st.DataObject) -> None:
    """The pool of addresses is small, so that they change hands."""
    pool = data.draw(st.lists(any_address, min_size=4, max_size=8, unique=True))
    now: dict[int, Identity] = {}
    found = directory_of([])
    for step in range(3):
        removed = data.draw(st.lists(st.sampled_from(sorted(now)), unique=True)) if now else []
        now = {id: who for id, who in now.items() if id not in removed}
        free = [each for each in pool if not any(each == h.address for who in now.values() for h in who.addresses)]
        changed = []
        for number in data.draw(st.lists(st.integers(1, 9), max_size=3, unique=True)):
            held = [free.pop() for _ in range(min(len(free), data.draw(st.integers(0, 2))))]
            changed.append(
                Identity(f"{step}", addresses(*held), home=data.draw(st.sampled_from([None, "a"])), id=number)
            )
            now[number] = changed[-1]
            removed = [id for id in removed if id != number]
        people = [now[id] for id in sorted(now)]
        found = laid(found, changed, removed, facts_of(people))
        if data.draw(st.booleans()):
            found = LayeredDirectory(snapshot_in(written(people)), facts_of(people))
        expected = MemoryDirectory(people)
        assert list(found.identities()) == people
        assert len(found) == len(expected)
        for each in pool:
            assert seen(found.find(each.network, each.key, NOW)) == seen(expected.find(each.network, each.key, NOW))


# -- the reader


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "snapshots"


def test_the_reader_follows_the_store(begin: Begin, folder: Path) -> None:
    follower = MappingReader(begin, folder)
    with pytest.raises(RuntimeError, match="not open"):
        follower.refresh()
    first = follower.open()
    assert (len(first), follower.revision) == (0, 0)
    assert follower.refresh() is None
    write(begin, *map(Put, [*PEOPLE, TIMED]))
    second = follower.refresh()
    assert second is not None
    assert list(second.identities()) == [*PEOPLE, TIMED]
    assert second.homes == {"oldmhs", "net"}
    assert (len(second), second.has_network("mhs"), second.has_network("sip")) == (5, True, False)
    assert follower.refresh() is None
    write(begin, Remove(1), Put(dataclasses.replace(ROOM, name="Room 8", id=3)))
    write(begin, Put(SALES), Put(dataclasses.replace(BOB, home=None, id=2)))
    third = follower.refresh()
    assert third is not None
    assert [who.name for who in third.identities()] == ["Bob Ray", "Room 8", "Käthe", "Timed", "Sales"]
    assert third.homes == {"net"}
    assert follower.revision == 3
    assert third.find("smtp", "ann@acme.example", NOW) is None
    assert second.find("smtp", "ann@acme.example", NOW) is not None
    assert len(first) == 0


def test_a_prepared_snapshot_is_used_where_it_is_this_database_s(
    begin: Begin, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(begin, *map(Put, PEOPLE))
    MappingReader(begin, folder).open()
    assert oct((folder / "mapping.snapshot").stat().st_mode & 0o777) == "0o600"
    assert sorted(each.name for each in folder.iterdir()) == ["mapping.lock", "mapping.snapshot"]
    before = (folder / "mapping.snapshot").stat()
    write(begin, Remove(3), Put(SALES))
    opened = MappingReader(begin, folder).open()
    assert list(opened.identities()) == [ANN, BOB, PEOPLE[3], SALES]
    assert opened.base.revision == 1
    assert (folder / "mapping.snapshot").stat().st_ino == before.st_ino
    # Restored from a backup: the same numbers, another history.
    with begin() as connection:
        connection.execute(sa.text("UPDATE mapping_revisions SET mark = 'other'"))
        connection.execute(sa.text("UPDATE mapping_state SET mark = 'other'"))
    opened = MappingReader(begin, folder).open()
    assert (opened.base.revision, opened.changes) == (2, 0)
    assert list(opened.identities()) == [ANN, BOB, PEOPLE[3], SALES]


@pytest.mark.parametrize("octets", [b"", b"x" * 5000, None])
def test_a_damaged_snapshot_is_made_anew(begin: Begin, folder: Path, octets: bytes | None) -> None:
    write(begin, *map(Put, PEOPLE))
    MappingReader(begin, folder).open()
    path = folder / "mapping.snapshot"
    path.write_bytes(path.read_bytes()[:-1] if octets is None else octets)
    assert list(MappingReader(begin, folder).open().identities()) == list(PEOPLE)
    assert open_snapshot(path).size == 4


def test_where_nothing_can_be_written_the_snapshot_is_in_memory(begin: Begin, tmp_path: Path) -> None:
    write(begin, *map(Put, PEOPLE))
    (tmp_path / "file").write_text("in the way")
    follower = MappingReader(begin, tmp_path / "file")
    assert list(follower.open().identities()) == list(PEOPLE)
    write(begin, Remove(1))
    after = follower.refresh()
    assert after is not None
    assert len(after) == 3


def test_a_restore_beneath_a_running_reader_is_noticed(begin: Begin, folder: Path) -> None:
    write(begin, *map(Put, PEOPLE))
    follower = MappingReader(begin, folder)
    follower.open()
    with begin() as connection:
        for table in ("mapping_records", "mapping_holders", "mapping_counts", "mapping_revisions", "mapping_changes"):
            connection.execute(sa.text(f"DELETE FROM {table}"))
        connection.execute(sa.text("UPDATE mapping_state SET generation = 0, mark = '', next_id = 1"))
    write(begin, Put(SALES))
    after = follower.refresh()
    assert after is not None
    assert list(after.identities()) == [SALES]
    assert follower.revision == 1


def test_much_change_makes_a_new_snapshot(begin: Begin, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MANY_CHANGES", 3)
    monkeypatch.setattr(reader, "MOST_CHANGES", 10)
    follower, other = MappingReader(begin, folder), MappingReader(begin, folder)
    follower.open()
    other.open()
    write(begin, *map(Put, PEOPLE[:3]))
    follower.refresh()
    assert follower.compact() is None
    write(begin, Put(PEOPLE[3]))
    grown = follower.refresh()
    assert grown is not None
    assert (grown.changes, grown.base.size) == (4, 0)
    compacted = follower.compact()
    assert compacted is not None
    assert (compacted.changes, compacted.base.size) == (0, 4)
    assert list(compacted.identities()) == list(PEOPLE)
    assert follower.compact() is None
    other.refresh()
    before = (folder / "mapping.snapshot").stat().st_ino
    compacted = other.compact()
    assert compacted is not None
    assert (compacted.changes, compacted.base.size) == (0, 4)
    assert (folder / "mapping.snapshot").stat().st_ino == before  # the other's is as new
    write(begin, *(Put(person(f"P{n}", f"smtp:p{n}@far.example")) for n in range(11)))
    grown = follower.refresh()
    assert grown is not None
    assert (grown.changes, grown.base.size) == (0, 15)


class Interrupted:
    """Opens connections, and does something between two of them."""

    def __init__(self, begin: Begin, between: Callable[[int], None]) -> None:
        self._begin = begin
        self._between = between
        self._count = 0

    def __call__(self) -> AbstractContextManager[sa.Connection]:
        self._between(self._count)
        self._count += 1
        return self._begin()


@pytest.mark.parametrize("at", range(2, 30, 3))
def test_changes_while_a_snapshot_is_made_are_seen_whole(
    begin: Begin, folder: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    monkeypatch.setattr(reader, "_RECORDS", 7)
    monkeypatch.setattr(reader, "_HOLDERS", 9)
    people = [person(f"P{n}", f"smtp:p{n}@far.example", f"mhs:p{n}@hq") for n in range(60)]
    write(begin, *map(Put, people))

    def shuffle(count: int) -> None:
        if count == at:
            with begin() as connection:
                stored = list(store.load(connection))
            held = [who.addresses for who in stored]
            moved = [dataclasses.replace(w, addresses=a) for w, a in zip(stored[::4], held[::4][::-1], strict=True)]
            write(begin, *map(Put, moved), *(Remove(who.id) for who in stored[1::4]), Put(SALES))

    follower = MappingReader(Interrupted(begin, shuffle), folder)
    for found in (follower.open(), MappingReader(begin, folder).open()):
        with begin() as connection:
            expected = list(store.load(connection))
        assert list(found.identities()) == expected
        assert len(found) == len(expected)
        objects = MemoryDirectory(expected)
        for who in people:
            for held in who.addresses:
                address = held.address
                one, other = (d.find(address.network, address.key, NOW) for d in (found, objects))
                assert seen(one) == seen(other)


def test_a_refresh_goes_on_while_a_snapshot_is_made(
    begin: Begin, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "MANY_CHANGES", 1)
    reached, go_on = Event(), Event()
    slow = False

    def wait(_: int) -> None:
        if slow and not reached.is_set():
            reached.set()
            go_on.wait(20)

    follower = MappingReader(Interrupted(begin, wait), folder)
    follower.open()
    write(begin, *map(Put, PEOPLE))
    follower.refresh()
    slow = True
    with ThreadPoolExecutor(1) as pool:
        compacting = pool.submit(follower.compact)
        assert reached.wait(20)
        write(begin, Remove(1))
        seen_meanwhile = follower.refresh()
        assert seen_meanwhile is not None
        assert len(seen_meanwhile) == 3
        go_on.set()
        compacted = compacting.result(20)
    assert compacted is not None
    assert list(compacted.identities()) == list(PEOPLE[1:])
    assert follower.refresh() is None


OPEN = """
import sys, sqlalchemy as sa
from pathlib import Path
from mappings.reader import MappingReader
engine = sa.create_engine(sys.argv[1])
found = MappingReader(engine.begin, Path(sys.argv[2])).open()
print(len(found), found.base.revision, (Path(sys.argv[2]) / "mapping.snapshot").stat().st_ino)
"""


def test_processes_that_start_together_make_one_snapshot(tmp_path: Path, folder: Path) -> None:
    url = f"sqlite:///{tmp_path}/mapping.db"
    made = sa.create_engine(url)
    with made.begin() as connection:
        migrations.upgrade(connection)
    write(made.begin, *(Put(person(f"P{n}", f"smtp:p{n}@far.example")) for n in range(5000)))
    running = [
        subprocess.Popen([sys.executable, "-c", OPEN, url, str(folder)], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = {process.communicate(timeout=60)[0] for process in running}
    assert [line.split()[:2] for line in said] == [["5000", "1"]]
    made.dispose()
