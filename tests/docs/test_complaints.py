"""docs/complaints.md: every line names its source and tests that exist."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "complaints.md"
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
ISSUE = re.compile(r"[A-Za-z][\w.-]+ #\d+")


def rows() -> list[list[str]]:
    """Return the cells of every line of the tables, without their heads."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if "Complaint | Reported" not in line
    ]


@lru_cache
def functions_of(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_bytes())
    found = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, found) and node.name.startswith("test_"))


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0][:60])
def test_a_complaint_has_a_source_and_a_test(row: list[str]) -> None:
    assert len(row) == 4, row
    complaint, source, behaviour, tests = row
    assert complaint.endswith(".")
    assert behaviour.endswith(".")
    assert ISSUE.search(source) or "documentation" in source or ".com" in source or "release notes" in source
    named = TEST.findall(tests)
    assert named, "no test is named"
    assert ", ".join(f"`{path}::{name}`" for path, name in named) == tests
    for path, name in named:
        assert name in functions_of(path), f"{path} has no {name}"


def test_the_page_is_found() -> None:
    assert len(rows()) > 25
