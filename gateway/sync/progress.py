"""How passes go on, for people and for programs: a live table on a terminal, else lines; or JSON, a line an event."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from gateway.sync.ends import Report
from gateway.sync.values import Pairing, Refusal
from gateway.units import show_size

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table


LINE_EVERY_S: Final = 30.0
"""A mailbox that takes long gets a line that often."""
_RATE_S: Final = 20.0
"""A rate is that of the last so many seconds."""
_MOST_ROWS: Final = 30
NOTHING: Final = "in step already"
COUNTS: Final = (
    ("copied", "copied"),
    ("adopted", "there already"),
    ("flagged", "flags set"),
    ("moved", "moved"),
    ("removed", "removed"),
    ("mended", "mended"),
    ("skipped", "left out"),
    ("conflicts", "conflicts kept"),
)


def show_count(n: float) -> str:
    """Return a number with its thousands marked."""
    return f"{n:,.0f}"


def show_seconds(seconds: float) -> str:
    """Return a time as a clock shows it: 0:42, 3:07, 1:02:09."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def names(pairing: Pairing) -> str:
    """Return a pairing for people: its mailboxes."""
    left, right = pairing.left.mailbox, pairing.right.mailbox
    return left if left == right else f"{left} → {right}"


def refusal(refused: Refusal) -> str:
    """Return in words why nothing was removed, and what can be done."""
    if refused.is_lost:
        return (
            f"{show_count(refused.removals)} of {show_count(refused.total)} items are gone from where they were copied "
            f"to, and at most {show_count(refused.allowed)} may be: look at it; `gatepost sync run` with "
            '`mode = "mirror"` copies them again, with --allow-removal it takes them for removed by their owner'
        )
    return (
        f"{show_count(refused.removals)} of {show_count(refused.total)} items would go, and at most "
        f"{show_count(refused.allowed)} may: none was removed; look at it, then use "
        "`gatepost sync run --allow-removal`"
    )


def told(report: Report) -> str:
    """Return what a pass did, in words."""
    parts = [f"{show_count(n)} {word}" for key, word in COUNTS if (n := getattr(report, key))]
    if report.copied:
        parts[0] += f" ({show_size(report.octets)})"
    if report.problems:
        parts.append(f"{show_count(report.problems)} not done")
    return ", ".join(parts) or NOTHING


class Ended(Protocol):
    """What became of a mailbox, whatever was done with it."""

    @property
    def pairing(self) -> Pairing: ...

    @property
    def is_done(self) -> bool: ...

    @property
    def report(self) -> Report: ...

    def told(self) -> str:
        """Return it in a line."""
        ...

    def values(self) -> dict[str, Any]:
        """Return it as plain values."""
        ...


Event = Report | Ended | None
"""Of a mailbox: None as its work begins, the Report as it goes on, what became of it at the end."""


class Progress(Protocol):
    """Whoever shows how passes go on. `with` is around the whole of it."""

    def __enter__(self) -> Progress: ...

    def __exit__(self, *_: object) -> None: ...

    def expects(self, total: int) -> None:
        """Take how many mailboxes there will be."""
        ...

    def heard(self, pairing: Pairing, what: Event) -> None:
        """Take what happens with a mailbox."""
        ...


def tell(progress: Progress, outcomes: Collection[Ended], total: int) -> None:
    """Tell of mailboxes that are done already, of so many that there will be."""
    progress.expects(total)
    for outcome in outcomes:
        progress.heard(outcome.pairing, None)
        progress.heard(outcome.pairing, outcome)


@dataclass(slots=True)
class Going:
    """A mailbox's pass that is under way."""

    pairing: Pairing
    began: float
    report: Report = field(default_factory=Report)
    line_at: float = 0.0
    _marks: list[tuple[float, int]] = field(default_factory=list)

    def take(self, report: Report, now: float) -> None:
        """Take the report as it is now."""
        self.report = report
        if not self._marks or now - self._marks[-1][0] >= 0.5:
            self._marks.append((now, report.passed))
            while len(self._marks) > 2 and now - self._marks[0][0] > _RATE_S:
                self._marks.pop(0)

    def rate(self, now: float) -> float | None:
        """Return items a second of late, None where that is not known."""
        if not self._marks or now - self._marks[0][0] < 1.0:
            return None
        at, passed = self._marks[0]
        return (self.report.passed - passed) / (now - at)

    def rest_s(self, now: float) -> float | None:
        """Return how long it will take from now on, None where that is not known."""
        rate = self.rate(now)
        rest = self.report.expected - self.report.passed
        return rest / rate if rate and rest > 0 else None

    def state(self) -> str:
        """Return what it is at."""
        return self.report.waiting or self.report.folder


class Lines:
    """Lines of text: one as a mailbox is done, and one now and then while it takes long."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._going: dict[str, Going] = {}

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def expects(self, total: int) -> None:
        return

    def heard(self, pairing: Pairing, what: Event) -> None:
        now = self._clock()
        if what is None:
            self._going[pairing.id] = Going(pairing, now, line_at=now + LINE_EVERY_S)
        elif isinstance(what, Report):
            going = self._going.setdefault(pairing.id, Going(pairing, now, line_at=now + LINE_EVERY_S))
            going.take(what, now)
            if now >= going.line_at:
                going.line_at = now + LINE_EVERY_S
                self._write(f"{names(pairing)}: {_share(going)}{_pace(going, now)}")
        else:
            self._going.pop(pairing.id, None)
            self._write(what.told())


def _share(going: Going) -> str:
    report = going.report
    state = f", {state}" if (state := going.state()) else ""
    return f"{show_count(report.passed)} of {show_count(report.expected)}{state}"


def _pace(going: Going, now: float) -> str:
    rate, rest = going.rate(now), going.rest_s(now)
    shown = f", {show_count(rate)} a second" if rate else ""
    return shown + (f", about {show_seconds(rest)} more" if rest is not None else "")


class JsonLines:
    """A line of JSON for each event: begin, progress (at most one a second and mailbox), done."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._going: dict[str, Going] = {}

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def expects(self, total: int) -> None:
        return

    def heard(self, pairing: Pairing, what: Event) -> None:
        now = self._clock()
        if what is None:
            self._going[pairing.id] = Going(pairing, now, line_at=now + 1.0)
            self._tell({"event": "begin", **as_named(pairing)})
        elif isinstance(what, Report):
            going = self._going.setdefault(pairing.id, Going(pairing, now))
            going.take(what, now)
            if now >= going.line_at:
                going.line_at = now + 1.0
                rate, rest = going.rate(now), going.rest_s(now)
                shown = {"items_per_s": rate and round(rate, 1), "eta_s": rest and round(rest)}
                self._tell({"event": "progress", **as_named(pairing), **as_counts(what), **shown})
        else:
            self._going.pop(pairing.id, None)
            self._tell({"event": "done", **what.values()})

    def _tell(self, event: dict[str, Any]) -> None:
        self._write(json.dumps(event, ensure_ascii=False))


def as_named(pairing: Pairing) -> dict[str, Any]:
    """Return who a pairing is, as plain values."""
    return {
        "sync": pairing.set,
        "from": pairing.left.mailbox,
        "to": pairing.right.mailbox,
        "identity": pairing.identity,
        "batch": pairing.batch,
    }


def as_counts(report: Report) -> dict[str, Any]:
    """Return a report as plain values."""
    return {key: getattr(report, key) for key in Report.__dataclass_fields__}


class LiveTable:
    """A table that is drawn anew twice a second, with those that are under way; what is done goes above it."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.live import Live

        self._total = 0
        self._console = console
        self._clock = clock
        self._began = clock()
        self._going: dict[str, Going] = {}
        self._done: list[Report] = []
        self._bad = 0
        self._live: Live = Live(
            console=console, get_renderable=self._draw, refresh_per_second=2, transient=True, redirect_stdout=False
        )

    def __enter__(self) -> LiveTable:
        self._live.__enter__()
        return self

    def __exit__(self, *given: Any) -> None:
        self._live.__exit__(*given)

    def expects(self, total: int) -> None:
        self._total = total

    def heard(self, pairing: Pairing, what: Event) -> None:
        from rich.text import Text

        now = self._clock()
        if what is None:
            self._going[pairing.id] = Going(pairing, now)
        elif isinstance(what, Report):
            self._going.setdefault(pairing.id, Going(pairing, now)).take(what, now)
        else:
            self._going.pop(pairing.id, None)
            self._done.append(what.report)
            self._bad += not what.is_done
            self._console.print(Text(what.told(), style="" if what.is_done else "red"))

    def _draw(self) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        now = self._clock()
        reports = [*self._done, *(going.report for going in self._going.values())]
        copied, octets = sum(each.copied for each in reports), sum(each.octets for each in reports)
        bad = f", {self._bad} with trouble" if self._bad else ""
        title = (
            f"{len(self._done)} of {self._total} mailboxes{bad}; {show_count(copied)} items copied "
            f"({show_size(octets)}), {show_seconds(now - self._began)}"
        )
        table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("mailbox", overflow="ellipsis", no_wrap=True, ratio=3)
        table.add_column("folder", overflow="ellipsis", no_wrap=True, ratio=4)
        for head in ("done", "total", "a second", "left", "errors"):
            table.add_column(head, justify="right", no_wrap=True)
        table.expand = True
        for going in list(self._going.values())[:_MOST_ROWS]:
            report, rate, rest = going.report, going.rate(now), going.rest_s(now)
            table.add_row(
                Text(names(going.pairing)),
                Text(going.state()),
                show_count(report.passed),
                show_count(report.expected),
                "" if rate is None else show_count(rate),
                "" if rest is None else show_seconds(rest),
                Text(show_count(report.problems), style="red" if report.problems else ""),
            )
        return table


def summary(outcomes: Iterable[Ended]) -> str:
    """Return in a line what became of all passes."""
    some = list(outcomes)
    bad = sum(not each.is_done for each in some)
    copied = sum(each.report.copied for each in some)
    octets = sum(each.report.octets for each in some)
    text = f"{show_count(len(some) - bad)} of {show_count(len(some))} mailboxes in step, "
    return text + f"{show_count(copied)} items copied ({show_size(octets)})"
