"""Every connector of ours passes the kit that anyone's is graded by, with no private hook in it.

What is held here: each side of each built-in connector has its suite among the tests; and the modules that hold these
suites, and the drivers that they are run with, take nothing of the kit but its public names, and bend none of it. That
the suites pass is told by those tests themselves.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib.metadata import distribution
from inspect import getattr_static
from pathlib import Path
from typing import Final

import pytest

import gateway.testing
from gateway.contract import Connector
from gateway.registry import connectors
from gateway.testing import DestinationSuite, MailboxStoreSuite, SourceSuite, Suite
from gateway.testing.installed import SIDES
from tests.docs.sandbox import ROOT

OURS: Final = sorted(p.name for p in distribution("gatepost").entry_points if p.group == "gatepost.connectors")
TESTS: Final = ROOT / "tests"
ANSWERS_ALONE: Final = {"local": "answers of people who are away, of its own making: no peer hands them over"}
"""Types by which nothing comes in that a peer could hand over twice, or be told of; and what does."""
SUITES: Final = {suite.__name__: suite for suite in (SourceSuite, DestinationSuite, MailboxStoreSuite)}


@cache
def kinds() -> dict[type[Connector], str]:
    """The classes of our connectors, and the types that they are."""
    return {connectors()[name].load(): name for name in OURS}


@cache
def modules() -> dict[Path, ast.Module]:
    """The test modules that grade a connector of ours: they make a fixture of it."""
    found = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        if path.parent == Path(__file__).parent:  # the kit's own tests
            continue
        text = path.read_text(encoding="utf-8")
        if "fixture_of(" in text and any(kind.__name__ in text for kind in kinds()):
            found[path] = ast.parse(text)
    return found


def drivers(path: Path, tree: ast.Module) -> Iterator[Path]:
    """Yield the test modules that a grading module imports its drivers from."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests."):
            file = ROOT / f"{(node.module or '').replace('.', '/')}.py"
            if file.exists() and re.search(r"\b(Source|Destination|Mailbox)Driver\b", file.read_text(encoding="utf-8")):
                yield file


def suites() -> Iterator[tuple[str, type[Suite]]]:
    """Yield (connector type, suite class) of all that grade a connector of ours in full: no `only`."""
    for path in modules():
        module = __import__(".".join(path.relative_to(ROOT).with_suffix("").parts), fromlist=["*"])
        for found in vars(module).values():
            if isinstance(found, type) and issubclass(found, Suite) and found.__module__ == module.__name__:
                kind = getattr(getattr_static(found, "connector", None), "gatepost_kind", None)
                if kind in kinds():
                    yield kinds()[kind], found


def is_whole(found: type[Suite], suite: type[Suite]) -> bool:
    """Tell whether a class runs every test of a suite, none of them left out or changed."""
    tests = [name for name in dir(suite) if name.startswith("test_")]
    return issubclass(found, suite) and all(getattr(found, name) is getattr(suite, name) for name in tests)


@pytest.fixture(scope="module")
def graded() -> dict[str, list[type[Suite]]]:
    made: dict[str, list[type[Suite]]] = {}
    for name, suite in suites():
        made.setdefault(name, []).append(suite)
    return made


@pytest.mark.parametrize("name", OURS)
def test_each_side_is_graded_by_the_whole_suite(name: str, graded: dict[str, list[type[Suite]]]) -> None:
    kind = connectors()[name].load()
    for side, (method, suite) in SIDES.items():
        if hasattr(kind, method) and not (side == "source" and name in ANSWERS_ALONE):
            whole = [each for each in graded.get(name, []) if is_whole(each, suite)]
            assert whole, f"connector type {name}: nothing grades its {side} by all of {suite.__name__}"


def test_they_are_graded_by_public_names_alone() -> None:
    public = set(gateway.testing.__all__)
    wrong = []
    for path, tree in modules().items():
        for file in {path, *drivers(path, tree)}:
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gateway.testing"):
                    wrong += [
                        f"{file.relative_to(ROOT)}:{node.lineno} imports {each.name} from {node.module}"
                        for each in node.names
                        if node.module != "gateway.testing" or each.name not in public
                    ]
                if isinstance(node, ast.Constant) and str(node.value).startswith("gateway.testing."):
                    wrong.append(f"{file.relative_to(ROOT)}:{node.lineno} bends {node.value}")
                if isinstance(node, ast.Attribute) and node.attr.startswith("_") and _names_a_suite(node.value):
                    wrong.append(f"{file.relative_to(ROOT)}:{node.lineno} takes {node.attr} of a suite")
    assert not wrong


def _names_a_suite(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in SUITES
