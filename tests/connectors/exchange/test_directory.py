"""The directory as a table: what is written is what `map import --format exchange` reads."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator

import pytest

from connectors.exchange.directory import COLUMNS, row, write
from connectors.exchange.organisation import Person
from mappings.formats.exchange import Exchange
from mappings.identity import Kind
from mappings.network import registry

PEOPLE = [
    Person(
        "Ann Lee; Sales", "ann@acme.example",
        ("smtp:ANN@acme.example", "smtp:ann.lee@acme.example", "X500:/o=Old/cn=ann", "sip:ann@acme.example"),
        "/o=Acme/ou=Exchange/cn=Recipients/cn=ann",
    ),
    Person("Room 1", "room1@acme.example", (), None, "room"),
    Person("Sales", "sales@acme.example", (), "/o=Acme/cn=sales", "group"),
    Person("Cy", "cy@far.example", (), None, "contact"),
    Person("", "nobody@acme.example", (), None, "other"),
    Person("without an address", "", (), "/o=Acme/cn=none"),
]  # fmt: skip


async def people() -> AsyncIterator[Person]:
    for each in PEOPLE:
        yield each


async def table() -> str:
    to = io.StringIO()
    assert await write(people(), to) == 5
    return to.getvalue()


async def test_the_mapping_reads_what_is_written() -> None:
    read = Exchange().read((await table()).encode(), {}, registry())
    assert read.problems == []
    found = {entry.identity.name: entry.identity for entry in read.entries}
    ann = found["Ann Lee; Sales"]
    assert {str(held.address) for held in ann.addresses} == {
        "smtp:ann@acme.example",
        "smtp:ann.lee@acme.example",
        "x500:/o=Acme/ou=Exchange/cn=Recipients/cn=ann",
        "x500:/o=Old/cn=ann",
        "sip:ann@acme.example",
    }
    kinds = {name: identity.kind for name, identity in found.items()}
    assert kinds == {
        "Ann Lee; Sales": Kind.PERSON,
        "Room 1": Kind.ROOM,
        "Sales": Kind.GROUP,
        "Cy": Kind.CONTACT,
        "nobody@acme.example": Kind.PERSON,
    }


async def test_each_line_has_all_columns() -> None:
    rows = list(csv.reader(io.StringIO(await table())))
    assert rows[0] == list(COLUMNS)
    assert {len(each) for each in rows} == {len(COLUMNS)}


@pytest.mark.parametrize(
    ("addresses", "written"),
    [
        ((), "SMTP:a@x.example"),
        (("SMTP:a@x.example", "smtp:b@x.example"), "SMTP:a@x.example;smtp:b@x.example"),
        (("SMTP:c@x.example", "x500:/o=A"), "SMTP:a@x.example;smtp:c@x.example;X500:/o=A"),
        (("", "smtp:", "nonsense"), "SMTP:a@x.example"),
    ],
)
def test_one_address_is_the_primary(addresses: tuple[str, ...], written: str) -> None:
    assert row(Person("a", "a@x.example", addresses))[COLUMNS.index("EmailAddresses")] == written
