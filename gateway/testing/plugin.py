"""The pytest side of the kit: its marker, and the connector's log beside each failure."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from gateway.testing.bench import Bench


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "timeout(seconds): the longest a test may take, where pytest-timeout is there")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    bench = getattr(item, "funcargs", {}).get("connector")
    if report.failed and isinstance(bench, Bench) and bench.log.lines:
        lines = (f"{level:8} {event} {values}" for level, event, values in bench.log.lines)
        report.sections.append(("connector log", "\n".join(lines)))
    return report
