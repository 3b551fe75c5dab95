"""The ledger: outcomes on their way into the spool, committed together with the reports that are due.

Promises: an outcome is handed to the spool within `settle_delay_s` or as soon as `settle_limit` wait; a report is
committed in the transaction of the outcome it tells of; recipients of one message that fail together share one report;
what could not be committed stays here and is tried until it is. `is_full` says when nothing more may be sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from gateway.dispatch.settings import Settings
from gateway.dispatch.tasks import Tasks
from gateway.dispatch.verdict import Verdict, park
from gateway.report import Action, RecipientReport, Report
from gateway.spool.api import Delivery, Done, LeaseLost, Settlement, Spool, SpoolError, Stored

_RETRY_S = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
_FORMS = 256
"""So many forms of lines are kept."""

Line = tuple[Settlement, Stored | None, Delivery, RecipientReport | None]
"""The message is kept only where a report is due: it holds the content in memory."""

MakeReport = Callable[[Report, Stored], Stored | None]
"""Build the message that tells a Report about a message; None where no route leads to its reverse-path."""

Instead = Callable[[Report, Stored], Awaitable[Stored | None]]
"""Return what goes out in place of a Report, None where the Report does."""


def _octets(message: Stored) -> int:
    return message.content.size if message.content.is_inline else 0


class Ledger:
    """Collects verdicts and commits them. `on_reports` is given the reports that were committed; `on_lost` is
    called when the spool says that this node's lease is gone."""

    def __init__(
        self,
        spool: Spool,
        make_report: MakeReport,
        settings: Settings,
        log: Any,
        *,
        on_reports: Callable[[Sequence[Stored]], None],
        on_lost: Callable[[], None],
        on_room: Callable[[], None],
        instead: Instead | None = None,
    ) -> None:
        self._spool = spool
        self._make_report = make_report
        self._settings = settings
        self._log = log
        self._on_reports = on_reports
        self._on_lost = on_lost
        self._on_room = on_room
        self._instead = instead
        self._loop = asyncio.get_running_loop()
        self._tasks = Tasks(log)
        self._lines: list[Line] = []
        self._forms: dict[object, Any] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._uncommitted = 0
        self._octets = 0
        self._committing = 0
        self._generation = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self.commits = 0
        self.reports = 0
        self.retries = 0

    @property
    def uncommitted(self) -> int:
        """Outcomes that are not in the spool yet."""
        return self._uncommitted

    @property
    def is_full(self) -> bool:
        return self._uncommitted >= self._settings.max_uncommitted or self._octets > self._settings.memory_bytes

    def add(self, message: Stored, delivery: Delivery, verdict: Verdict) -> None:
        """Take one verdict; it is committed soon."""
        lines = self._lines
        part = verdict[1]
        if part is None:
            lines.append((verdict[0], None, delivery, None))
        else:
            lines.append((verdict[0], message, delivery, part))
            self._octets += _octets(message)
        self._uncommitted += 1
        if self._uncommitted == self._settings.max_uncommitted:
            self._log.error("dispatch_paused", reason="outcomes can't be committed", count=self._uncommitted)
        n = len(lines)
        if n == 1:
            self._empty.clear()
            if self._timer is None:
                self._timer = self._loop.call_later(self._settings.settle_delay_s, self._due)
        elif n >= self._settings.settle_limit and self._committing < self._settings.settles_at_once:
            self._flush()

    async def close(self, timeout_s: float) -> bool:
        """Commit what is left; return False where that did not work in time (it will be done again after a start)."""
        self._flush()
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            self._log.warning("outcomes_not_committed", count=self._uncommitted)
            return False
        finally:
            await self._tasks.close(0.0)
        return True

    def discard(self) -> None:
        """Forget everything: the lease is lost, so another node settles these deliveries."""
        self._generation += 1
        self._lines = []
        self._uncommitted = self._octets = 0
        self._empty.set()

    def _due(self) -> None:
        self._timer = None
        if self._lines and self._committing < self._settings.settles_at_once:
            self._flush()

    def _flush(self) -> None:
        lines = self._lines
        if not lines:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._lines = []
        self._committing += 1
        self._tasks.start(self._commit(lines, self._generation))

    async def _commit(self, lines: list[Line], generation: int) -> None:
        try:
            new: list[Stored] = []
            settlements: list[Settlement] = [line[0] for line in lines]
            if any(line[3] is not None for line in lines):
                await self._add_reports(lines, settlements, new)
            if await self._settle(settlements, new, generation):
                self.commits += 1
                self.reports += len(new)
                self._tell(settlements)
                if new:
                    self._on_reports(new)
        finally:
            self._committing -= 1
            if generation == self._generation:
                was_full = self.is_full
                self._uncommitted -= len(lines)
                self._octets -= sum(_octets(line[1]) for line in lines if line[1] is not None)
                if not self._uncommitted:
                    self._empty.set()
                if was_full and not self.is_full:
                    self._on_room()
            if self._lines and self._timer is None:
                self._flush()

    def _tell(self, settlements: list[Settlement]) -> None:
        """Log each outcome once it is committed."""
        for settlement in settlements:
            event = settlement.event
            if event is None:
                continue
            told = event.detail
            to, reply = told.get("to", ""), told.get("reply")
            kind, connector, hop, status = event.kind, told.get("connector"), told.get("hop"), told.get("status")
            if reply:  # a peer's own words seldom come again
                self._log.info(
                    kind, message_id=event.message_id,
                    connector=connector, hop=hop, status=status, reply=reply, to=to,
                )  # fmt: skip
            else:
                self._form(kind, connector, hop, status, told.get("text")).tell(event.message_id, to)

    def _form(self, kind: str, *same: str | None) -> Any:
        """Return a form of lines for outcomes of which the same is told."""
        key = kind, same
        form = self._forms.get(key)
        if form is None:
            if len(self._forms) >= _FORMS:
                self._forms.clear()
            fields = dict(zip(("connector", "hop", "status", "reply"), same, strict=True))
            form = self._forms[key] = self._log.form(kind, "to", **fields)
        return form

    async def _settle(self, settlements: list[Settlement], new: list[Stored], generation: int) -> bool:
        attempt = 0
        while generation == self._generation:
            try:
                await self._spool.settle(settlements, new)
            except LeaseLost:
                if generation == self._generation:
                    self._on_lost()
                return False
            except SpoolError as e:
                self._log.warning("settle_failed", reason=str(e.status), cause=e.status.cause, count=len(settlements))
            except Exception:  # noqa: BLE001  whatever went wrong, an outcome must not be lost: it would be sent again
                self._log.exception("settle_fault", count=len(settlements))
            else:
                return True
            self.retries += 1
            await asyncio.sleep(_RETRY_S[min(attempt, len(_RETRY_S) - 1)])
            attempt += 1
        return False

    async def _add_reports(self, lines: list[Line], settlements: list[Settlement], new: list[Stored]) -> None:
        """Fill `new`, one report per message; park the failures of which no report can tell."""
        told: dict[int, list[int]] = {}
        for i, line in enumerate(lines):
            if line[1] is not None:
                told.setdefault(line[1].id, []).append(i)
        for indexes in told.values():
            message = lines[indexes[0]][1]
            assert message is not None
            if not message.content.is_inline:
                # Its header is read here, where the loop does not wait for it, and kept by the Content.
                await asyncio.to_thread(getattr, message.content, "head")
            report = await self._made(message, tuple(part for i in indexes if (part := lines[i][3]) is not None))
            if report is not None:
                new.append(report)
                continue
            for i in indexes:
                settlement, _, delivery, part = lines[i]
                if isinstance(settlement, Done) and part is not None and part.action is Action.FAILED:
                    settlements[i] = park(settlement, delivery, part.status)

    async def _made(self, message: Stored, parts: tuple[RecipientReport, ...]) -> Stored | None:
        envelope = message.envelope
        assert envelope.reverse_path is not None
        report = Report(
            message_id=message.id,
            reverse_path=envelope.reverse_path,
            arrived_at=message.arrived_at,
            recipients=parts,
            envid=envelope.envid,
            ret_full=envelope.ret == "full",
            peer=envelope.origin.peer,
            hand_over=envelope.dedupe_key,
        )
        if self._instead is not None:
            try:
                other = await self._instead(report, message)
            except Exception:  # noqa: BLE001  the report is due all the same
                self._log.exception("report_fault", id=message.id)
            else:
                if other is not None:
                    return other
        try:
            return self._make_report(report, message)
        except Exception:  # noqa: BLE001  a fault in making a report must not keep the outcome from being committed
            self._log.exception("report_fault", id=message.id)
            return None
