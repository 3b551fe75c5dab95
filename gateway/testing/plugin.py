"""The pytest side of the kit: `--gatepost-connector`, failures in words with the log of calls, and a marker."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest

from gateway.testing.bench import Bench, Broken
from gateway.testing.suites.connector import Suite

OPTION: Final = "--gatepost-connector"
_INSTALLED: Final = Path(__file__).with_name("installed.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("gatepost").addoption(
        OPTION,
        metavar="NAME",
        help="Grade the installed connector of this type: its suites of the conformance kit, how it is installed, and "
        "whether each of its sides has a suite; no other tests.",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "timeout(seconds): the longest a test may take, where pytest-timeout is there")
    if config.getoption(OPTION) and str(_INSTALLED) not in config.args:
        config.args.append(str(_INSTALLED))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "gatepost_connector" in metafunc.fixturenames:
        name = metafunc.config.getoption(OPTION)
        metafunc.parametrize("gatepost_connector", [name] if name else [])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the suites of the connector that is asked for, and tell the tests of its installation which they are."""
    name = config.getoption(OPTION)
    if not name:
        return
    from gateway.testing import installed

    wanted = installed.Wanted.of(name)
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        suite = getattr(item, "cls", None)
        mine = isinstance(suite, type) and issubclass(suite, Suite) and wanted.has(suite)
        (kept if mine or item.path == _INSTALLED else left).append(item)
        if mine and isinstance(suite, type):
            wanted.suites.add(suite)
    config.stash[installed.WANTED] = wanted
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo is not None and isinstance(call.excinfo.value, Broken) and item.config.get_verbosity() < 2:
        shown = [each for each in call.excinfo.traceback if not each.ishidden(call.excinfo)]
        where = shown[-1]
        report.longrepr = f"{call.excinfo.value}\n  ({where.path}:{where.lineno + 1}; -vv shows how it came there)"
    bench = getattr(item, "funcargs", {}).get("connector")
    if report.failed and isinstance(bench, Bench):
        if calls := bench.calls.text():
            report.sections.append(("calls, in seconds since the test began", calls))
        if bench.log.lines:
            lines = (f"{level:8} {event} {values}" for level, event, values in bench.log.lines)
            report.sections.append(("connector log", "\n".join(lines)))
    return report
