"""Fixtures and plugins for all tests."""

import os
import sys
from collections.abc import Generator, Sequence

import pytest
from hypothesis import settings

from tests import scratch

pytest_plugins = ["gateway.testing", "tests.peers.ews.process", "tests.peers.graph.process"]

scratch.use()

# Thirty connectors and forms of them are killed step by step; `make soak` does it at the kit's own number of steps.
os.environ.setdefault("GATEPOST_KILL_POINTS", "16")

# Else each gateway that a test starts compiles all its modules anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# The same examples each time, so that a run says something of what was changed since the last one; `make thorough`
# draws others, and more. No deadline: how long an example takes says more of the machine's other work than of the
# code, and what has to be linear is measured by tests of its own, by the processor's time.
settings.register_profile("steady", derandomize=True, deadline=None, max_examples=60, print_blob=True)
settings.register_profile("thorough", deadline=None, max_examples=2000, print_blob=True)
settings.load_profile(os.environ.get("GATEPOST_EXAMPLES", "steady"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> Generator[None, None, None]:
    """Have the tests of an `xdist_group` run in one process.

    pytest-xdist 3.8 writes a group behind a test's id where pytest 9.2 does not read it any more: each test of a
    group would go to whichever process is free, with its module's peers started once more there.
    """
    yield
    for item in items:
        grouped = getattr(item, "_nodeid", item.nodeid)
        if grouped.startswith(f"{item.nodeid}@"):
            item._id = type(item._id).parse(grouped)  # type: ignore[attr-defined]
