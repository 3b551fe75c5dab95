"""The connectors of `examples/` pass their own tests, the conformance kit among them, and are typed throughout."""

from __future__ import annotations

import pytest

from tests.examples.plugin import Plugin

NAMES = ("webhook", "xmpp")


@pytest.mark.parametrize("name", NAMES)
def test_its_own_tests(name: str) -> None:
    said = Plugin(name).run("pytest", "-q", "-p", "no:cacheprovider")
    assert " passed" in said


@pytest.mark.xdist_group("types of plugins")  # what mypy knows of the gateway by the one, it need not find out again
@pytest.mark.parametrize("name", NAMES)
def test_its_types(name: str) -> None:
    """Also of what it takes from the gateway: the contract is typed for who uses it."""
    said = Plugin(name).run("mypy", "--follow-imports=silent", "--cache-dir", "../../build/plugins/mypy")
    assert "no issues found" in said
