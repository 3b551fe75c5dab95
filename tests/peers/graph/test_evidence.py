"""Every operation has a row of evidence, and every test that the rows name is there."""

from __future__ import annotations

import re
from pathlib import Path

import tests.peers.graph.server  # noqa: F401  (it enters all operations)
from tests.peers.graph.call import OPERATIONS

HERE = Path(__file__).parent
BESIDE_THE_TABLE = {"Discovery", "Token", "CreateMime", "Upload"}
"""Served, but not by an entry of the table of operations."""


def _rows() -> list[list[str]]:
    lines = (HERE / "EVIDENCE.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return [row for row in rows if row[0] not in ("operation", "behaviour")]


def test_every_operation_has_a_row() -> None:
    served = {each.name for each in OPERATIONS} | BESIDE_THE_TABLE
    assert {row[0] for row in _rows() if len(row) == 4} == served


def test_every_row_says_where_it_is_from() -> None:
    for row in _rows():
        assert re.search(r"document|client|report|assumed", row[-2]), row[0]


def test_every_named_test_is_there() -> None:
    for row in _rows():
        file, _, name = row[-1].partition("::")
        assert f"\ndef {name}(" in (HERE / file).read_text(), row[-1]
