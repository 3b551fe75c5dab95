"""How passes are shown: lines, JSON, a live table; and what was done, in words."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from gateway.sync.engine import Result
from gateway.sync.progress import Going, JsonLines, Lines, LiveTable, show_seconds, summary, told
from gateway.sync.runner import Outcome
from gateway.sync.transfer import Report
from gateway.sync.values import Pairing, Place, Refusal

ANN = Pairing("merger/ann", "merger", Place("old", "ann"), Place("new", "ann"))
BOB = Pairing("merger/bob>robert", "merger", Place("old", "bob"), Place("new", "robert"), "Bob", "one")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def outcome(pairing: Pairing, **more: Any) -> Outcome:
    report = Report(**more.pop("report", {}))
    return Outcome(pairing, Result(report), seconds=65.0, **more)


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (Report(), "in step already"),
        (Report(copied=1200, octets=3 << 20), "1,200 copied (3 MiB)"),
        (Report(copied=1, octets=10, flagged=2, problems=3), "1 copied (10 B), 2 flags set, 3 not done"),
        (Report(adopted=5, removed=1), "5 there already, 1 removed"),
    ],
)
def test_what_was_done_is_told_in_words(report: Report, said: str) -> None:
    assert told(report) == said


def test_what_became_of_a_mailbox_is_a_line() -> None:
    assert outcome(ANN).told() == "ann: in step already, in 1:05"
    assert outcome(BOB, fault="5.7.8 no").told() == "bob → robert: 5.7.8 no, in 1:05"
    cut = outcome(ANN, fault="4.4.2 lost", report={"copied": 2})
    assert cut.told() == "ann: 4.4.2 lost (until then: 2 copied (0 B)), in 1:05"
    refused = Outcome(ANN, Result(refused=Refusal(30, 10, 40)))
    assert "30 of 40 items would go, and at most 10 may: none was removed" in refused.told()
    assert not refused.is_done
    assert summary([outcome(ANN, report={"copied": 7, "octets": 1024}), refused]) == (
        "1 of 2 mailboxes in step, 7 items copied (1 KiB)"
    )


@pytest.mark.parametrize(("seconds", "shown"), [(0.4, "0:00"), (187, "3:07"), (3729, "1:02:09")])
def test_a_time_is_shown_as_a_clock_does(seconds: float, shown: str) -> None:
    assert show_seconds(seconds) == shown


def test_the_rate_is_that_of_late_and_says_how_long_it_will_take() -> None:
    going = Going(ANN, 0.0)
    assert (going.rate(0.0), going.rest_s(0.0)) == (None, None)
    for second in range(60):
        rate = 10 if second < 30 else 50
        passed = going.report.passed + rate
        going.take(Report(expected=5000, passed=passed), float(second))
    assert going.rate(59.0) == pytest.approx(50)
    assert going.rest_s(59.0) == pytest.approx((5000 - going.report.passed) / 50)


def test_lines_are_written_now_and_then_and_at_the_end() -> None:
    lines: list[str] = []
    clock = Clock()
    with Lines(lines.append, clock) as shown:
        shown.heard(ANN, None)
        shown.heard(BOB, None)
        for second in range(1, 70):
            clock.now = 100.0 + second
            shown.heard(ANN, Report(expected=1000, passed=10 * second, folder="Projects"))
        shown.heard(BOB, outcome(BOB))
        shown.heard(ANN, outcome(ANN, report={"copied": 690}))
    assert lines == [
        "ann: 300 of 1,000, Projects, 10 a second, about 1:10 more",
        "ann: 600 of 1,000, Projects, 10 a second, about 0:40 more",
        "bob → robert: in step already, in 1:05",
        "ann: 690 copied (0 B), in 1:05",
    ]


def test_json_is_a_line_for_each_event() -> None:
    lines: list[str] = []
    clock = Clock()
    with JsonLines(lines.append, clock) as shown:
        shown.heard(BOB, None)
        for tenth in range(25):
            clock.now = 100.0 + tenth / 10
            shown.heard(BOB, Report(expected=100, passed=tenth, waiting="throttled"))
        shown.heard(BOB, outcome(BOB, fault="4.4.2 lost"))
    events = [json.loads(each) for each in lines]
    assert [each["event"] for each in events] == ["begin", "progress", "progress", "done"]
    assert {(each["sync"], each["from"], each["to"], each["batch"]) for each in events} == {
        ("merger", "bob", "robert", "one")
    }
    assert (events[1]["passed"], events[1]["expected"], events[1]["waiting"]) == (10, 100, "throttled")
    assert events[2]["items_per_s"] == 10.0
    assert (events[3]["ok"], events[3]["error"]) == (False, "4.4.2 lost")


def test_the_table_shows_what_is_under_way_and_above_it_what_is_done() -> None:
    clock = Clock()
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None, legacy_windows=False)
    table = LiveTable(console, clock)
    table.expects(3)
    with table as shown:
        shown.heard(ANN, None)
        shown.heard(BOB, None)
        for second in range(10):
            clock.now = 100.0 + second
            shown.heard(ANN, Report(copied=3, octets=2048, expected=400, passed=20 * second, folder="[bold]Süd"))
        shown.heard(BOB, outcome(BOB, fault="5.7.8 [red]no"))
        with console.capture() as captured:
            console.print(shown._draw())
    text_shown = captured.get()
    for text in ("1 of 3 mailboxes, 1 with trouble; 3 items copied (2 KiB), 0:09", "[bold]Süd", "180", "400", "0:11"):
        assert text in text_shown
    assert "bob → robert: 5.7.8 [red]no" in console.file.getvalue()  # type: ignore[attr-defined]
