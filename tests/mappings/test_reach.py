"""Reach: who cannot be answered from which network, and what mends it."""

from __future__ import annotations

from mappings.network import parse
from mappings.reach import Gap, find_gaps
from mappings.resolution import Direction
from mappings.table import Table
from tests.mappings.company import BOB, PEOPLE, company


def gaps(table: Table) -> list[Gap]:
    return find_gaps(
        PEOPLE, ["mhs", "smtp"], lambda address, network: table.translate(address, network, Direction.OUTWARD).address
    )


def test_behind_a_gate_everybody_is_answered() -> None:
    assert gaps(company()) == []


def test_without_a_gate_those_without_an_address_there_are_not() -> None:
    (found,) = gaps(company(gates=False))
    assert (found.network, found.of, found.count) == ("mhs", "smtp", 1)
    assert found.examples == ((BOB.name, parse("smtp:bob@merged.example")),)
    assert "people of mhs cannot answer 1 with smtp addresses alone: Bob Ray (smtp:bob@merged.example)" in str(found)
    assert "give mhs a gate under [mapping.gates]" in found.mend
