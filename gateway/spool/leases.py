"""Which deliveries a claim takes: by priority, fairly between senders, oldest first, whole messages together.

`choose` decides, purely; `claim` reads no more rows than a claim needs, however long the queue is, and leases
what was chosen.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from gateway.frozen import quickly_made
from gateway.spool.api import Claim, Delivery, DeliveryId, LaneKey
from gateway.spool.rows import Row, delivery_from, lane_text

if TYPE_CHECKING:
    from gateway.spool.store import Store

WINDOW: Final = 512
"""A queue with no more due than this is read whole; a longer one is sought through sender by sender."""

INLINE_BYTES: Final = 8 * 1024 * 1024
"""A claim stops taking messages when their inline contents come to this."""

_REMEMBERED_LANES: Final = 4096


@quickly_made
@dataclass(frozen=True, slots=True)
class Candidate:
    id: DeliveryId
    priority: int
    sender: str
    next_attempt_at: float


class Turns:
    """Who was served last in each lane, so that the next claim begins with the next sender. Bounded; what is
    forgotten costs one sender one turn."""

    def __init__(self) -> None:
        self._last: OrderedDict[LaneKey, str] = OrderedDict()

    def last(self, lane: LaneKey) -> str:
        return self._last.get(lane, "")

    def served(self, lane: LaneKey, sender: str) -> None:
        self._last[lane] = sender
        self._last.move_to_end(lane)
        if len(self._last) > _REMEMBERED_LANES:
            self._last.popitem(last=False)


def choose(candidates: Iterable[Candidate], limit: int, after: str) -> list[Candidate]:
    """Return at most `limit` candidates: the highest priority first; within one, a turn for each sender in the
    order of their names, beginning after `after`; within a sender the oldest first."""
    by_priority: dict[int, dict[str, list[Candidate]]] = {}
    for c in candidates:
        by_priority.setdefault(c.priority, {}).setdefault(c.sender, []).append(c)
    if len(by_priority) == 1:
        (senders,) = by_priority.values()
        if len(senders) == 1:  # one that sends much
            (only,) = senders.values()
            return sorted(only, key=lambda c: (c.next_attempt_at, c.id))[:limit]
    chosen: list[Candidate] = []
    for priority in sorted(by_priority, reverse=True):
        senders = by_priority[priority]
        queues = [
            iter(sorted(senders[s], key=lambda c: (c.next_attempt_at, c.id)))
            for s in sorted(senders, key=lambda s: (s <= after, s))
        ]
        while queues:
            remaining = []
            for queue in queues:
                candidate = next(queue, None)
                if candidate is None:
                    continue
                chosen.append(candidate)
                if len(chosen) == limit:
                    return chosen
                remaining.append(queue)
            queues = remaining
    return chosen


def _candidates(store: Store, lane: str, limit: int, now: float, after: str) -> list[Candidate]:
    """Read enough to choose `limit` from."""
    st = store.statements
    window = [
        Candidate((row[0], row[1]), *row[2:])
        for row in store.query(st.claim_window, lane=lane, now=now, window=WINDOW + 1)
    ]
    if len(window) <= WINDOW:
        return window
    found: list[Candidate] = []
    priority = 2**31 - 1
    while len(found) < limit:
        below = store.query(st.next_priority, lane=lane, priority=priority)
        if not below:
            break
        priority = below[0][0]
        need = limit - len(found)
        depth = need * 2
        senders = store.query(st.senders, lane=lane, priority=priority, after=after, depth=depth)
        due = [sender for sender, earliest in senders if earliest <= now][:need]
        if len(due) < need and after:  # round to the beginning of the circle
            first = store.query(st.senders, lane=lane, priority=priority, after="", depth=depth)
            due += [sender for sender, earliest in first if earliest <= now and sender not in due][: need - len(due)]
        if due:
            each = -(-need // len(due))
            found.extend(
                Candidate((row[0], row[1]), *row[2:])
                for row in store.query(
                    st.per_sender,
                    **store.senders_parameter(due),
                    lane=lane,
                    priority=priority,
                    now=now,
                    each=each,
                )
            )
    # Very many senders with nothing due may hide one that has: the oldest of all fill up what is left.
    taken = {c.id for c in found}
    return found + [c for c in window if c.id not in taken] if len(found) < limit else found


def claim(store: Store, turns: Turns, lane: LaneKey, limit: int, now: float) -> Callable[[], list[Claim]]:
    """Lease up to `limit` due deliveries of a lane; see `Spool.claim`. Runs inside a transaction, or where nobody else
    writes.

    What comes back makes the claims of what was read: for who asked, in whose thread nobody waits for that.
    """
    text = lane_text(lane)
    for _ in range(3):
        chosen = choose(_candidates(store, text, limit, now, turns.last(lane)), limit, turns.last(lane))
        if not chosen:
            break
        ids = _whole_messages(store, text, chosen, limit, now)
        order = list(dict.fromkeys([id[0] for id in ids]))
        count, rows = store.lease(ids, order)
        if count:
            turns.served(lane, chosen[-1].sender)
            return partial(_claims, store, order, rows)
        # Another node was faster with every one of them: look again.
    return list


def _whole_messages(store: Store, lane: str, chosen: Sequence[Candidate], limit: int, now: float) -> list[DeliveryId]:
    """Return what to lease: the chosen, each with its message's other deliveries, in order, within both bounds."""
    order = list(dict.fromkeys([c.id[0] for c in chosen]))
    st, named = store.statements, store.ids(order)
    weighed, found = store.both(
        (st.weigh, named), (st.siblings, {**named, "lane": lane, "now": now, "most": limit * 4})
    )
    weights = dict(tuple(row) for row in weighed)
    kept: list[int] = []
    total = 0
    for message_id in order:
        total += weights.get(message_id, 0)
        if kept and total > INLINE_BYTES:
            break
        kept.append(message_id)
    siblings: dict[int, set[DeliveryId]] = {}
    for row in found:
        siblings.setdefault(row[0], set()).add((row[0], row[1]))
    for c in chosen:
        siblings.setdefault(c.id[0], set()).add(c.id)
    ids: list[DeliveryId] = []
    for message_id in kept:
        ids.extend(sorted(siblings[message_id]))
        if len(ids) >= limit:
            break
    return ids[:limit]


def _claims(store: Store, order: Sequence[int], rows: Callable[[], Sequence[Sequence[Row]]]) -> list[Claim]:
    leased, messages = rows()
    by_message: dict[int, list[Delivery]] = {}
    for row in leased:
        by_message.setdefault(row[0], []).append(delivery_from(row))
    claims = {}
    for row in messages:
        deliveries = by_message.get(row[0])
        if deliveries is None:
            continue  # another node was faster with it
        if len(deliveries) > 1:
            deliveries.sort(key=lambda d: d.id)
        message = store.stored(row, deliveries)
        claims[row[0]] = Claim(message, message.deliveries)
    return [claims[message_id] for message_id in order if message_id in claims]
