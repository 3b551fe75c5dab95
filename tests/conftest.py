"""Fixtures and plugins for all tests."""

import gc
import os
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadGroupScheduling

from tests import scratch
from tests.peers.nursery import share

pytest_plugins = ["gateway.testing", "tests.peers.ews.process", "tests.peers.graph.process"]

scratch.use()

# Thirty connectors and forms of them are killed step by step; `make soak` does it at the kit's own number of steps.
os.environ.setdefault("GATEPOST_KILL_POINTS", "6")

# Else each gateway that a test starts compiles all its modules anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

gc.disable()  # until all is collected: there is little garbage in fifteen thousand tests, and all of it is searched

# The same examples each time, so that a run says something of what was changed since the last one; `make thorough`
# draws others, and more. No deadline: how long an example takes says more of the machine's other work than of the
# code, and what has to be linear is measured by tests of its own, by the processor's time.
settings.register_profile("steady", derandomize=True, deadline=None, max_examples=20, print_blob=True)
settings.register_profile("thorough", deadline=None, max_examples=2000, print_blob=True)
settings.load_profile(os.environ.get("GATEPOST_EXAMPLES", "steady"))


def pytest_configure(config: pytest.Config) -> None:
    """Have one nursery for all processes of a run; the one that has them all collects no tests itself."""
    if getattr(config.option, "numprocesses", None):
        gc.enable()
        share()


_LONG: Final = tuple(
    f"tests/{each}" for each in ("integration/", "crash/", "docs/", "examples/", "test_fuzz", "test_layers")
)
"""What takes long a test, much of it waiting."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, None, None]:
    """Have the tests of an `xdist_group` run in one process, and the long ones that share what their module starts.

    pytest-xdist 3.8 writes a group behind a test's id where pytest 9.2 does not read it any more: each test of a
    group would go to whichever process is free, with its module's peers started once more there.
    """
    for item in items:
        if _is_long(item.nodeid) and item.get_closest_marker("xdist_group") is None and _shares(item):
            item.add_marker(pytest.mark.xdist_group(Path(item.nodeid.partition("::")[0]).stem))
    items[:] = _mixed(items)
    yield
    for item in items:
        grouped = getattr(item, "_nodeid", item.nodeid)
        if grouped.startswith(f"{item.nodeid}@"):
            item._id = type(item._id).parse(grouped)  # type: ignore[attr-defined]


def _is_long(nodeid: str) -> bool:
    return nodeid.startswith(_LONG)


def _shares(item: pytest.Item) -> bool:
    """Tell whether a test has a fixture that its module or class starts once for several."""
    found = getattr(item, "_fixtureinfo", None)
    return found is not None and any(
        made.scope in ("module", "class") and made.baseid for each in found.name2fixturedefs.values() for made in each
    )


def _mixed(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Return the tests with the long ones spread over the first three quarters of all others.

    So some always wait while others have the processors, and at the end no process is left with a long one.
    """
    long = [item for item in items if _is_long(item.nodeid)]
    rest = [item for item in items if not _is_long(item.nodeid)]
    order = [(0.75 * n / len(long), item) for n, item in enumerate(long)]
    order += [(n / len(rest), item) for n, item in enumerate(rest)]
    return [item for _, item in sorted(order, key=lambda each: each[0])]


class _ByModule(LoadGroupScheduling):
    """Gives out groups, long tests one by one, and of all else whole modules, in the order of the tests.

    A module's peers and fixtures are then started once; and there are few pieces of work, all of which pytest-xdist
    counts whenever a test is done.
    """

    def _split_scope(self, nodeid: str) -> str:
        group = super()._split_scope(nodeid)
        return group if group != nodeid or _is_long(nodeid) else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadGroupScheduling | None:
    if config.option.dist != "loadgroup":
        return None
    config.option.loadscopereorder = False
    return _ByModule(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Leave what is there by now to no search for garbage: a million objects, in each process, and in each fork."""
    gc.freeze()
    gc.enable()
