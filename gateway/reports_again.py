"""Reports whose way back is gone: those queued for a connector that is there no more, or takes no reports any more, go
as DSNs where the routes lead.

Run when connectors have changed: at the start, and after a reload. Promises: a report is stored on its new way before
it leaves the old one, and once, however often this is cut short or done by several nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from gateway.ids import text as id_text
from gateway.planner import Planner
from gateway.spool.api import Claim, DeliveryId, QueueFilter, Spool, State, Stored, claims_of
from gateway.stored_report import ATTRIBUTE, without_report

_PAGE: Final = 1000
_WHY: Final = "its source takes no reports; it goes as a DSN"


def takes_reports(connector: object) -> bool:
    """Say whether a connector, or what is there in its place, takes reports."""
    return bool(getattr(connector, "takes_reports", False))


async def send_again(
    spool: Spool,
    planner: Planner,
    destinations: Mapping[str, object],
    now: float,
    *,
    hand_over: Callable[[Iterable[Claim]], None],
    forget: Callable[[list[DeliveryId]], object],
    log: Any,
) -> int:
    """Give every report that waits for a connector without `takes_reports` a new way; return how many.

    Raises: SpoolError, LeaseLost; what was done until then stays.
    """
    count = 0
    for due in await spool.due(now):
        connector, hop = due.lane
        if connector.startswith("!") or takes_reports(destinations.get(connector)):
            continue
        where = QueueFilter(connector=connector, next_hop=hop, state=State.QUEUED, sender="<>")
        found = _PAGE
        while found == _PAGE:
            done = 0
            rows = await spool.rows(where, _PAGE)
            for row in rows:
                stored = await spool.load(row.delivery.id[0])
                if stored is not None and stored.is_report and ATTRIBUTE in stored.content.attributes:
                    await _again(spool, planner, stored, hand_over, forget)
                    done += 1
            count += done
            found = len(rows) if done else 0  # what is left of a page is no report of ours, and stays
    if count:
        log.info("reports_sent_again", count=count, text=_WHY)
    return count


async def _again(
    spool: Spool,
    planner: Planner,
    stored: Stored,
    hand_over: Callable[[Iterable[Claim]], None],
    forget: Callable[[list[DeliveryId]], object],
) -> None:
    made = planner.plan_report(stored.deliveries[0].original, without_report(stored.content))
    # By this key it is stored once, though the next step should not be reached.
    envelope = replace(made.envelope, dedupe_key=f"report:{id_text(stored.id)}")
    made = replace(made, envelope=envelope)
    known = await spool.accept(made)
    forget(await spool.drop(QueueFilter(message_id=stored.id), _WHY))
    if known is None:
        hand_over(claims_of(made))
