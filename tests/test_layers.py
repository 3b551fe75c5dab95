"""The layers hold: mappings <- gateway <- connectors, and the core knows no connector by name."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_import_contracts_are_kept() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert ran.returncode == 0, ran.stdout + ran.stderr


_IMPORT = re.compile(r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import\b|import[ \t]+([\w., \t]+))", re.MULTILINE)


def imported(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, wherever in the file."""
    for one, several in _IMPORT.findall(path.read_text()):
        yield from [one] if one else (each.split()[0] for each in several.split(",") if each.strip())


@pytest.mark.parametrize(
    ("layer", "forbidden"),
    [
        ("mappings", ("gateway", "connectors", "tests")),
        ("gateway", ("connectors", "tests")),
        ("connectors", ("tests",)),
    ],
)
def test_no_layer_imports_one_above(layer: str, forbidden: tuple[str, ...]) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted((ROOT / layer).rglob("*.py"))
        for name in imported(path)
        if name.partition(".")[0] in forbidden
    ]
    assert not wrong


def test_the_core_runs_without_the_testing_kit() -> None:
    """pytest is the extra `gatepost[testing]`; nothing of the core may need it."""
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted((ROOT / "gateway").rglob("*.py"))
        if "testing" not in path.relative_to(ROOT).parts
        for name in imported(path)
        if name.partition(".")[0] == "pytest" or name.startswith("gateway.testing")
    ]
    assert not wrong
