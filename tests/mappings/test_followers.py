"""Who is being cut over, and which nodes have their queues in accord with that, as the database tells."""

from __future__ import annotations

from dataclasses import replace

from mappings import followers, store
from mappings.identity import Identity, Stage, addresses
from mappings.network import parse
from mappings.schema import followers as table
from mappings.store import Head, Put
from tests.mappings.conftest import Begin

ANN = Identity("Ann Lee", addresses(parse("smtp:ann@acme.example")), home="old", stage=Stage.COEXISTING)


def write(begin: Begin, who: Identity) -> Head:
    with begin() as connection:
        store.apply(connection, [Put(who)], who="test", why="", at=1000.0)
        return store.head(connection)


def cutting(begin: Begin) -> frozenset[int]:
    with begin() as connection:
        return store.facts(connection).cutting


def test_it_is_known_who_is_being_cut_over(begin: Begin) -> None:
    write(begin, ANN)
    assert cutting(begin) == frozenset()
    write(begin, replace(ANN, id=1, stage=Stage.CUTTING))
    write(begin, replace(ANN, name="Bob", addresses=addresses(parse("smtp:bob@acme.example")), stage=Stage.CUTTING))
    assert cutting(begin) == {1, 2}
    write(begin, replace(ANN, id=1, stage=Stage.MOVED, home="new"))
    assert cutting(begin) == {2}
    with begin() as connection:
        store.apply(connection, [store.Remove(2)], who="test", why="", at=1000.0)
    assert cutting(begin) == frozenset()
    with begin() as connection:
        store.rollback(connection, 5, who="test", why="", at=1000.0)
    assert cutting(begin) == {2}, "undoing brings it back"


def test_a_node_counts_from_the_revision_that_it_named_on(begin: Begin) -> None:
    first = write(begin, ANN)
    second = write(begin, replace(ANN, id=1, stage=Stage.CUTTING))
    with begin() as connection:
        followers.confirm(connection, "0", first)
        followers.confirm(connection, "1", second)
    with begin() as connection:
        assert followers.confirmed(connection, first.number) == {"0", "1"}
        assert followers.confirmed(connection, second.number) == {"1"}
        followers.confirm(connection, "0", second)
        assert followers.confirmed(connection, second.number) == {"0", "1"}
        assert followers.confirmed(connection, second.number + 1) == set()


def test_what_was_said_of_the_mapping_before_a_restore_counts_for_nothing(begin: Begin) -> None:
    head = write(begin, ANN)
    with begin() as connection:
        followers.confirm(connection, "0", Head(head.number, "of another one"))
        followers.confirm(connection, "1", Head(57, "of another one"))
        assert followers.confirmed(connection, head.number) == set()
        assert len(connection.execute(table.select()).all()) == 2
