"""The kit grades rightly: a sound connector passes, and each broken promise is found, by the test that names it."""

from __future__ import annotations

import inspect
import os
import re
from pathlib import Path
from typing import Any

import pytest

from gateway.contract import Capabilities, Deferred, Delivered, Status
from gateway.testing import (
    Bench,
    Broken,
    DestinationSuite,
    ListBatch,
    MailboxStoreSuite,
    NetworkSuite,
    SourceSuite,
    Suite,
    beyond,
    fixture_of,
    names,
    numbered,
    over_limits,
    parcel,
    sample,
)
from tests.docs.sandbox import ROOT
from tests.gateway.testing import pigeon
from tests.gateway.testing.faults import ENDS_BY_PATIENCE, FAULTS, Fault
from tests.gateway.testing.memory_store import MemoryDriver, lying
from tests.gateway.testing.pigeon import Pigeon, PigeonDriver

PAGE = ROOT / "docs" / "conformance.md"


class TestPigeon(SourceSuite, DestinationSuite):
    connector = fixture_of(Pigeon, config={"loft": "{tmp}/loft"}, driver=PigeonDriver)


class Coop(NetworkSuite):
    network = pigeon.CoopNetwork
    addresses = ("ann@sales", "Ann Lee@Sales-2")
    no_addresses = ("ann", "@sales")


class TestCoop(Coop):
    pass


ROW = "| {side} | {words} | {says} | {found} |"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.side}-{fault.plant}-{fault.test[5:40]}")
def test_a_planted_fault_is_found(fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the test that is for it, in words, and the page shows them. `UPDATE_DOCS=1` writes them anew."""
    patience_s = 1.5 if fault.plant in ENDS_BY_PATIENCE else 60.0  # a slow machine is no other fault
    monkeypatch.setattr("gateway.testing.bench.PATIENCE_S", patience_s)
    monkeypatch.setattr("gateway.testing.suites.destination.PATIENCE_S", patience_s)
    monkeypatch.setattr(Bench, "stop_s", 1.0)
    with pytest.raises(Broken) as caught:
        _meet(fault, tmp_path, monkeypatch)
    words = re.fullmatch(
        r"\n  the contract promises: (.*)\n  the (?:connector|network): +(.*)", str(caught.value), re.DOTALL
    )
    assert words is not None
    says, found = (_cell(each, tmp_path) for each in words.groups())
    row = ROW.format(side=fault.side, words=fault.words, says=says, found=found)
    _check_row(row, ROW.format(side=fault.side, words=fault.words, says="", found="")[:-6])


def test_the_page_shows_no_fault_that_is_not_planted() -> None:
    shown = re.findall(r"^\| (\w[\w ]*) \| (.*?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    planted = {(fault.side, fault.words) for fault in FAULTS}
    assert {row for row in shown if row[0] != "side"} == planted
    assert len(planted) == len(FAULTS)


def _meet(fault: Fault, tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, _, argument = fault.test.partition(":")
    if fault.side == "network":
        monkeypatch.setattr(pigeon.CoopNetwork, "fault", fault.plant)
        getattr(Coop(), name)()
        return
    if fault.side == "mailbox store":
        _call(MailboxStoreSuite(), name, Bench(lying(fault.plant), {}, MemoryDriver, tmp), tmp, argument)
        return
    if fault.side == "Config":
        monkeypatch.setattr(Pigeon, "Config", getattr(pigeon, fault.plant))
    else:
        monkeypatch.setattr(Pigeon, "fault", fault.plant)
    _run(fault.test, tmp)


def _cell(text: str, tmp: Path) -> str:
    """Return a text as a cell of a table has it, without what is this machine's or this moment's."""
    text = re.sub(r" at 0x[0-9a-f]+", "", text.replace(str(tmp), "/tmp"))
    text = " ".join(text.split()).replace("|", "\\|")
    return text if len(text) <= 300 else f"{text[:300]}…"


def _check_row(row: str, begins: str) -> None:
    """Find the row that the page has for this fault, or write it there."""
    lines = PAGE.read_text(encoding="utf-8").rstrip("\n").split("\n")
    at = next((n for n, line in enumerate(lines) if line.startswith(begins)), None)
    if at is not None and _even(lines[at]) == _even(row):
        return
    assert os.environ.get("UPDATE_DOCS"), f"docs/conformance.md is not current; UPDATE_DOCS=1 writes it:\n{row}"
    rows = [line for line in lines if _place(line) is not None and not line.startswith(begins)] + [row]
    kept = [line for line in lines if _place(line) is None]
    PAGE.write_text("\n".join([*kept, *sorted(rows, key=lambda line: _place(line) or 0)]) + "\n", encoding="utf-8")


def _place(line: str) -> int | None:
    """Return which fault a line of the page is the row of, None where it is none."""
    return next((n for n, fault in enumerate(FAULTS) if line.startswith(f"| {fault.side} | {fault.words} |")), None)


def _even(row: str) -> str:
    """Steps, times, counts and what is random differ from run to run."""
    row = re.sub(r"'loft-[0-9a-f]+'(, )?", "LANE", row)
    row = re.sub(r"killed at step \d+|restarted", "WHEN", row)
    row = re.sub(r"\.msg:[0-9a-f]+", "KEY", row)
    row = re.sub(r"set\(\)|\{[\d, ]+\}", "SET", row)
    return re.sub(r"\d+(?:\.\d+)?", "N", row)


def test_what_is_altered_may_be_told_by_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside "strips-nul" above: the same loss is no broken promise where the outcome says it."""
    monkeypatch.setattr(Pigeon, "fault", "strips-nul-and-tells")
    _run("test_carries_what_it_declares:nul", tmp_path)


def _run(test: str, tmp: Path, kind: type[Pigeon] = Pigeon) -> None:
    name, _, argument = test.partition(":")
    bench = Bench(kind, {"loft": "{tmp}/loft"}, PigeonDriver, tmp)
    _call(TestPigeon(), name, bench, tmp, argument)


def _call(suite: Suite, name: str, bench: Bench, tmp: Path, argument: str) -> None:
    method = getattr(suite, name)
    given: dict[str, Any] = {"connector": bench, "name": argument, "tmp_path": tmp}
    method(**{key: value for key, value in given.items() if key in inspect.signature(method).parameters})


def test_no_test_of_one_suite_hides_one_of_another() -> None:
    ours = [name for suite in (SourceSuite, DestinationSuite) for name in vars(suite) if not name.startswith("__")]
    assert len(ours) == len(set(ours))


def test_a_batch_keeps_the_first_outcome_and_defers_what_is_unsettled() -> None:
    address = PigeonDriver.recipient(None, 1)  # type: ignore[arg-type]  # uses nothing of the driver
    batch = ListBatch([parcel(1, [address, address], numbered(1))])
    batch.settle((1, 0), Delivered())
    batch.settle((1, 0), Deferred(Status("4.0.0")))
    assert batch.outcomes[1, 0] == Delivered()
    assert isinstance(batch.outcomes[1, 1], Deferred)
    assert batch.settled_twice == 1


def test_samples_need_what_they_are_named_for() -> None:
    nothing = Capabilities(eight_bit=False, nul=False, max_line_octets=998, max_size_bytes=1024 * 1024)
    forms = {name: len(beyond(sample(name), nothing)) for name in names()}
    assert {name for name in names() if forms[name]} == {
        "nul",
        "bare-lf",
        "bare-cr",
        "eight-bit-body",
        "eight-bit-header",
    }
    limits = {name: len(over_limits(sample(name), nothing)) for name in names()}
    assert {name for name in names() if limits[name]} == {"long-lines", "header-line-1mib", "body-3mib"}
