"""Every command that a page shows is run, and prints what the page says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.sandbox import ROOT, Sandbox, blocks, matches, steps

PAGES = sorted(
    p.relative_to(ROOT).as_posix()
    for p in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    if any(b.language == "console" for b in blocks(p)) and p.name != "tutorial.md"  # it has an environment of its own
)


@pytest.mark.parametrize("page", PAGES)
def test_page(page: str, tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path)
    try:
        for block in blocks(ROOT / page):
            if block.title is not None:
                sandbox.write(block.title, block.text)
            elif block.language == "console":
                for command, expected in steps(block.text):
                    got = sandbox.run(command, expected)
                    assert matches(expected, got), f"$ {command}\n{got}\n--- the page says:\n{expected}"
    finally:
        sandbox.close()


def test_pages_are_found() -> None:
    assert "docs/operations.md" in PAGES


@pytest.mark.parametrize(
    ("expected", "got", "same"),
    [
        ("a ... b", "a x b", True),
        ("a\n...\nb", "a\nx\ny\nb", True),
        ("a\n...", "a\nb\n", True),
        ("a", "ab", False),
        ("a  \nb", "a\nb  \n", True),
    ],
)
def test_matches(expected: str, got: str, same: bool) -> None:
    assert matches(expected, got) is same


def test_steps() -> None:
    assert list(steps("$ one \\\n  two\nout\n\n$ three\n")) == [("one two", "out"), ("three", "")]
