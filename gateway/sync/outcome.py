"""What became of a mailbox's pass, and what is told of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from gateway.sync.ends import Report, Result
from gateway.sync.progress import NOTHING, as_counts, as_named, names, refusal, show_count, show_seconds, summary, told
from gateway.sync.values import Pairing

_MOST_SHOWN: Final = 20
"""Problems of one mailbox that are shown after a run; `sync status --problems` shows all."""


@dataclass(slots=True)
class Outcome:
    """What became of a mailbox's pass. `fault`: why it was not done, or not to the end."""

    pairing: Pairing
    result: Result = field(default_factory=Result)
    fault: str | None = None
    not_done: int = 0
    """Items and folders that did not get across, in this pass or before."""
    is_locked: bool = False
    """It was not begun: another process is at it, or its stage says no."""
    began_at: float = 0.0
    seconds: float = 0.0

    @property
    def is_done(self) -> bool:
        """Tell whether both sides are in step now, all items that could be."""
        return self.fault is None and self.result.refused is None and not self.not_done

    @property
    def report(self) -> Report:
        return self.result.report

    def refusal(self) -> str:
        """Return in words why nothing was removed; empty where nothing is the matter."""
        refused = self.result.refused
        return "" if refused is None else refusal(refused)

    def told(self) -> str:
        """Return it in a line."""
        text = told(self.report)
        if before := self.not_done - self.report.problems:
            text += f", {show_count(before)} not done before" if before > 0 else ""
        if self.result.refused is not None:
            text += f"; {self.refusal()}"
        if self.fault is not None:
            text = f"{self.fault} (until then: {text})" if text != NOTHING else self.fault
        return f"{names(self.pairing)}: {text}, in {show_seconds(self.seconds)}"

    def values(self) -> dict[str, Any]:
        """Return it as plain values."""
        refused = self.result.refused
        return {
            **as_named(self.pairing),
            "ok": self.is_done,
            "error": self.fault,
            "seconds": round(self.seconds, 3),
            **as_counts(self.report),
            "not_done": self.not_done,
            "refused": None if refused is None else asdict(refused),
            "collisions": self.result.collisions,
            "left_out": self.result.left_out,
            "warnings": self.result.warnings,
            "conflicts_told": self.result.conflicts,
        }


def after_lines(outcomes: Sequence[Outcome], problems: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield what is to be known of mailboxes after a run, beyond what was told as they ended."""
    for outcome in outcomes:
        lines = [f"names collide: {each}" for each in outcome.result.collisions]
        lines += [f"left out: {each}" for each in outcome.result.left_out]
        lines += outcome.result.warnings
        lines += [f"changed on both sides: {each}" for each in outcome.result.conflicts]
        some = list(problems.get(outcome.pairing.id, ()))
        lines += some[:_MOST_SHOWN]
        if len(some) > _MOST_SHOWN:
            lines.append(f"and {len(some) - _MOST_SHOWN} more; `gatepost sync status --problems` lists all")
        if lines:
            yield f"{names(outcome.pairing)}:"
            yield from (f"  {line}" for line in lines)


def end_lines(outcomes: Sequence[Outcome], problems: Mapping[str, Sequence[str]], nothing: str) -> Iterator[str]:
    """Yield what ends a run: what is to be known, and a summary; `nothing` where no mailbox was worked on."""
    yield from after_lines(outcomes, problems)
    yield summary(outcomes) if outcomes else nothing
