"""Check a spool: rows against rows, rows against contents; and mend what can be mended without losing mail.

What is mended how:
    a delivery without its message     removed, with a trace event (there is nothing left to send)
    a message without deliveries       its deliveries are made anew from the envelope, parked for an operator
    a content missing or cut           the message's deliveries are parked, with the reason
    a content that no row names        removed, once it is older than any transaction can be
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from sqlalchemy import exists, func, select, tuple_, update

from gateway import ids
from gateway.message import Notify
from gateway.spool.api import Delivery, State, TraceEvent
from gateway.spool.rows import as_ids, delivery_row, envelope_from
from gateway.spool.schema import deliveries, kept, messages
from gateway.spool.store import Store

ORPHAN_AGE_S: Final = 3600.0
_BITE: Final = 1000
_PARKED_FOR_S: Final = 365 * 86400.0
"""What is found damaged is kept for somebody to look at, whatever the retention of other parked deliveries."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be. `kind` is damaged, dangling, undeliverable, missing, size or orphan."""

    kind: str
    subject: str
    text: str
    repaired: bool = False


class Work(Protocol):
    def __call__(self, run: Callable[[Store], Any], *, durable: bool = True) -> Awaitable[Any]: ...


async def check(work: Work, repair: bool) -> list[Finding]:
    """Return everything found; each check is one transaction or several short ones."""
    found: list[Finding] = list(await work(_integrity))
    found += await work(lambda store: _dangling(store, repair))
    found += await work(lambda store: _undeliverable(store, repair))
    for table in (messages, kept):
        after: int | None = -1
        while after is not None:
            bite, after = await work(partial(_contents, table=table, after=after, repair=repair))
            found += bite
    found += await work(lambda store: _orphans(store, repair))
    return found


def _integrity(store: Store) -> list[Finding]:
    return [Finding("damaged", "database", line) for line in store.integrity()]


def _dangling(store: Store, repair: bool) -> list[Finding]:
    run = store.connection.execute
    lost = ~exists().where(messages.c.id == deliveries.c.message_id)
    rows = as_ids(run(select(deliveries.c.message_id, deliveries.c.n).where(lost)).fetchall())
    if repair and rows:
        run(deliveries.delete().where(lost))
        now = store.clock()
        store.record([TraceEvent(m, now, "dropped", n, {"why": "its message is missing"}) for m, n in rows])
    return [Finding("dangling", f"{ids.text(m)}/{n}", "a delivery without its message", repair) for m, n in rows]


def _undeliverable(store: Store, repair: bool) -> list[Finding]:
    run = store.connection.execute
    alone = ~exists().where(deliveries.c.message_id == messages.c.id)
    rows = run(select(messages.c.id, messages.c.envelope).where(alone)).fetchall()
    now = store.clock()
    for id, envelope in rows if repair else ():
        read = envelope_from(envelope)
        sender = "" if read.reverse_path is None else str(read.reverse_path)
        again = [
            Delivery(
                id=(id, n),
                lane=("", ""),
                address=r.address,
                original=r.address,
                notify=Notify(r.notify),
                orcpt=r.orcpt,
                sender=sender,
                priority=read.priority,
                next_attempt_at=now,
                expires_at=now + _PARKED_FOR_S,
                state=State.PARKED,
                reason="found without deliveries: reroute it, or drop it where it has arrived",
            )
            for n, r in enumerate(read.recipients)
        ]
        if again:
            store.insert("deliveries", [delivery_row(d) for d in again])
            store.record([TraceEvent(id, now, "parked", None, {"why": "found without deliveries"})])
    return [Finding("undeliverable", ids.text(id), "a message without deliveries", repair) for id, _ in rows]


def _contents(store: Store, *, table: Any, after: int, repair: bool) -> tuple[list[Finding], int | None]:
    """Check one bite of messages' contents."""
    c = table.c
    rows = store.connection.execute(
        select(c.id, c.size, c.content_ref, c.content_offset, func.length(c.content))
        .where(c.id > after)
        .order_by(c.id)
        .limit(_BITE)
    ).fetchall()
    found = []
    bad: list[tuple[int, str]] = []
    for id, size, ref, offset, front in rows:
        if ref is None:
            if front != size:
                bad.append((id, f"the content has {front} octets of {size}"))
            continue
        there = store.content_size(ref)
        expected = size - front + offset
        if there is None:
            bad.append((id, f"the content {ref} is missing"))
        elif there != expected:
            bad.append((id, f"the content {ref} has {there} octets of {expected}"))
    for id, text in bad:
        repaired = repair and table is messages
        if repaired:
            store.connection.execute(
                update(deliveries)
                .where(tuple_(deliveries.c.message_id).in_([(id,)]))
                .values(state=State.PARKED.value, lease=None, reason=text, expires_at=store.clock() + _PARKED_FOR_S)
            )
            store.record([TraceEvent(id, store.clock(), "parked", None, {"why": text})])
        kind = "missing" if text.endswith("missing") else "size"
        found.append(Finding(kind, ids.text(id), text, repaired))
    return found, rows[-1][0] if len(rows) == _BITE else None


def _orphans(store: Store, repair: bool) -> Sequence[Finding]:
    found = []
    for ref, size in store.orphans(ORPHAN_AGE_S):
        if repair:
            store.remove_orphan(ref)
        found.append(Finding("orphan", ref, f"a content of {size} octets that no message names", repair))
    return found
