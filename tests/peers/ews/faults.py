"""What is to go wrong, and when: plans that a test lays, looked at before each request."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Plan:
    """One fault: for an operation (`*`: each), the `nth` from now, each `every`-th, by `chance`, or always."""

    operation: str
    kind: str
    nth: int | None = None
    every: int | None = None
    chance: float = 0.0
    mailbox: str | None = None
    how: dict[str, Any] = field(default_factory=dict)
    seen: int = 0

    def applies(self, operation: str, mailbox: str, draw: random.Random) -> bool:
        """Say whether this request is the one, and count it."""
        if self.kind == "miss_events":
            return False
        if self.operation not in ("*", operation) or (self.mailbox and self.mailbox != mailbox):
            return False
        self.seen += 1
        if self.nth is not None:
            return self.seen == self.nth
        if self.every is not None:
            return self.seen % self.every == 0
        return draw.random() < self.chance if self.chance else True


class Faults:
    """The plans of one organisation; the draw is the same in each run."""

    def __init__(self) -> None:
        self._plans: list[Plan] = []
        self._lock = threading.Lock()
        self._draw = random.Random(20)
        self.calmed = threading.Event()
        """Set when all is taken back: what was never answered ends."""

    def add(self, plan: Plan) -> None:
        with self._lock:
            self._plans.append(plan)

    def calm(self) -> None:
        with self._lock:
            self._plans.clear()
            self.calmed.set()
            self.calmed = threading.Event()

    def take(self, operation: str, mailbox: str) -> Plan | None:
        """Return the first plan that applies to a request; each that looks at it counts it."""
        with self._lock:
            found = [each for each in self._plans if each.applies(operation, mailbox, self._draw)]
        return found[0] if found else None

    def has(self, kind: str) -> bool:
        """Say whether a plan of this kind is in force."""
        with self._lock:
            return any(each.kind == kind for each in self._plans)
