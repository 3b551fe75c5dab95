"""Every operation and every rule of honest mode has a row of evidence, and every test that the rows name is there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.peers.ews import honest
from tests.peers.ews.operations import HANDLERS

HERE = Path(__file__).parent


def _rows(heading: str) -> list[list[str]]:
    text = (HERE / "EVIDENCE.md").read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def _all() -> list[list[str]]:
    return [row for heading in ("Operations", "Behaviour", "Honest mode") for row in _rows(heading)]


def test_every_operation_has_a_row() -> None:
    assert {row[0] for row in _rows("Operations")} == {*HANDLERS, "GetStreamingEvents"}


def test_every_rule_of_honest_mode_has_a_row() -> None:
    rules = re.findall(r"(?m)^ ?\d+\. ", honest.__doc__ or "")
    assert len(_rows("Honest mode")) >= len(rules) >= 10


def test_every_row_says_where_it_is_from() -> None:
    for row in _all():
        assert re.search(r"schema|document|client|assumed", row[-2]), row[0]


def test_every_named_test_is_there() -> None:
    for row in _all():
        file, _, name = row[-1].partition("::")
        assert f"\ndef {name}(" in (HERE / file).read_text(), row[-1]
