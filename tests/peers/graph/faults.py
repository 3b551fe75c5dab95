"""The fault plan: which requests go wrong, and how; and the count of what runs at once in a mailbox."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from tests.peers.graph.trouble import Trouble

AT_ONCE: Final = 4
"""Requests that one application may have running in one mailbox. Source: learn.microsoft.com "Microsoft Graph
service-specific throttling limits", Outlook service limits."""


@dataclass(slots=True)
class Fault:
    """One ordered fault; `left` counts down to the `nth`, `seen` up to each `every`-th."""

    operation: str
    kind: str
    nth: int | None = None
    every: int | None = None
    chance: float = 0.0
    mailbox: str = ""
    how: dict[str, Any] = field(default_factory=dict)
    seen: int = 0
    is_spent: bool = False

    def strikes(self, draw: float) -> bool:
        """Count one request that it applies to, and say whether it goes wrong."""
        if self.is_spent:
            return False
        self.seen += 1
        if self.nth is not None:
            self.is_spent = self.seen == self.nth
            return self.is_spent
        if self.every is not None:
            return self.seen % self.every == 0
        return draw < self.chance if self.chance else True


class Faults:
    """The plans of all companies."""

    def __init__(self) -> None:
        self._plans: dict[int, list[Fault]] = {}
        self._lock = threading.Lock()
        self._random = random.Random(20260101)
        self.calmed = threading.Condition()
        self.calms = 0

    def add(self, company: int, fault: Fault) -> None:
        """Let something go wrong from now on."""
        with self._lock:
            self._plans.setdefault(company, []).append(fault)

    def calm(self, company: int) -> None:
        """Take a company's faults back, and let go what waits for an answer that was never to come."""
        with self._lock:
            self._plans.pop(company, None)
        with self.calmed:
            self.calms += 1
            self.calmed.notify_all()

    def strikes(self, company: int, operation: str, mailbox: str, *kinds: str) -> Fault | None:
        """Return the fault that a request meets, if any; only those of some `kinds` where given."""
        with self._lock:
            struck = None
            for each in self._plans.get(company, ()):
                fits = each.operation in ("*", operation) and each.mailbox in ("", mailbox)
                # Each counts every request that it is about, whichever of them strikes.
                if fits and (not kinds or each.kind in kinds) and each.strikes(self._random.random()) and not struck:
                    struck = each
            return struck

    def wait_for_calm(self, bound_s: float) -> None:
        """Return when faults are taken back, or after the bound."""
        with self.calmed:
            before = self.calms
            self.calmed.wait_for(lambda: self.calms != before, bound_s)


class Running:
    """How many requests run in each mailbox now."""

    def __init__(self) -> None:
        self._now: Counter[tuple[int, str]] = Counter()
        self.most: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def one_more(self, company: int, mailbox: str) -> Iterator[None]:
        """Hold one of the places of a mailbox. Raises: Trouble where all are taken."""
        key = (company, mailbox)
        with self._lock:
            if mailbox and self._now[key] >= AT_ONCE:
                text = "Application is over its MailboxConcurrency limit."
                raise Trouble("ApplicationThrottled", text, headers={"Retry-After": "1"})
            self._now[key] += 1
            self.most[mailbox] = max(self.most[mailbox], self._now[key])
        try:
            yield
        finally:
            with self._lock:
                self._now[key] -= 1
