"""The operator's queries: list, change and drop deliveries by a filter. Core expressions, built when called.

A change that may match a long queue goes through it in bites, each a transaction of its own, in the order of
the deliveries' ids, so that it never holds up an accept for long.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, tuple_, update

from gateway.spool.api import Delivery, DeliveryId, LaneKey, QueueFilter, QueueRow, State, TraceEvent
from gateway.spool.rows import (
    DELIVERY_COLUMNS,
    address_columns,
    as_ids,
    delivery_from,
    envelope_from,
    lane_key,
    lane_text,
)
from gateway.spool.schema import deliveries, messages
from gateway.spool.store import Store
from mappings.address import Address

BITE: Final = 500

_D = deliveries.c
_ROW = [deliveries.c[name] for name in DELIVERY_COLUMNS]


@dataclass(frozen=True, slots=True)
class Change:
    """What `change` sets; None leaves it as it is."""

    state: State | None = None
    next_attempt_at: float | None = None
    lane: LaneKey | None = None
    address: Address | None = None
    expires_at: float | None = None

    @property
    def withdraws(self) -> bool:
        """What is only made due stays in memory, or on its way."""
        return self.lane is not None or self.state not in (None, State.QUEUED)


def _same_address(column: ColumnElement[Any], wanted: str, dialect: str) -> ColumnElement[bool]:
    """Compare without case, with or without the network's name in front."""
    place = func.instr if dialect == "sqlite" else func.strpos
    lowered = wanted.lower()
    return or_(func.lower(column) == lowered, func.lower(func.substr(column, place(column, ":") + 1)) == lowered)


def matching(where: QueueFilter, dialect: str, now: float) -> list[ColumnElement[bool]]:
    """Return a filter's conditions on deliveries; that on the arrival needs messages joined."""
    conditions: list[ColumnElement[bool]] = []
    if where.message_id is not None:
        conditions.append(_D.message_id == where.message_id)
    if where.n is not None:
        conditions.append(_D.n == where.n)
    if where.connector is not None and where.next_hop is not None:
        conditions.append(_D.lane == lane_text((where.connector, where.next_hop)))
    elif where.connector is not None:
        conditions.append(_D.lane.startswith(where.connector + "\t", autoescape=True))
    elif where.next_hop is not None:
        conditions.append(_D.lane.endswith("\t" + where.next_hop, autoescape=True))
    if where.state is not None:
        conditions.append(_D.state == where.state.value)
    if where.sender is not None:
        conditions.append(_same_address(_D.sender, where.sender, dialect))
    if where.recipient is not None:
        conditions.append(
            or_(
                _same_address(_D.address, where.recipient, dialect),
                _same_address(_D.original, where.recipient, dialect),
            )
        )
    if where.older_than is not None:
        conditions.append(messages.c.arrived_at < where.older_than)
    if where.ids is not None:
        conditions.append(_exactly(where.ids))
    if where.parked_before is not None:
        conditions += [
            _D.state == State.PARKED.value,
            _D.next_attempt_at < where.parked_before,  # of what is parked: when that was
            _D.expires_at < now,
        ]
    return conditions


def rows(store: Store, where: QueueFilter, limit: int) -> list[QueueRow]:
    """Return matching deliveries, oldest first."""
    query = (
        select(*_ROW, messages.c.envelope, messages.c.arrived_at, messages.c.size)
        .join_from(deliveries, messages, messages.c.id == _D.message_id)
        .where(*matching(where, store.dialect, store.clock()))
        .order_by(_D.message_id, _D.n)
        .limit(limit)
    )
    found = []
    for row in store.connection.execute(query):
        envelope, arrived_at, size = row[-3:]
        reverse_path = envelope_from(envelope).reverse_path
        found.append(
            QueueRow(
                delivery=delivery_from(row[:-3]),
                reverse_path="" if reverse_path is None else str(reverse_path),
                arrived_at=arrived_at,
                size_bytes=size,
                leased=row[-4] is not None,
            )
        )
    return found


def waiting(
    store: Store, state: State, after: DeliveryId, limit: int, connectors: Collection[str] | None
) -> list[tuple[Delivery, bool]]:
    """Return deliveries in a state that come after one, each with whether it is leased; of these connectors, or all."""
    query = (
        select(*_ROW)
        .where(tuple_(_D.message_id, _D.n) > tuple_(*after), _D.state == state.value)
        .order_by(_D.message_id, _D.n)
        .limit(limit)
    )
    if connectors is not None:
        query = query.where(or_(*(_D.lane.startswith(name + "\t", autoescape=True) for name in connectors)))
    return [(delivery_from(row), row[-1] is not None) for row in store.connection.execute(query)]


def lanes_of(store: Store, where: QueueFilter) -> set[LaneKey]:
    """Return the lanes of matching deliveries."""
    query = select(_D.lane).distinct().where(*matching(where, store.dialect, store.clock()))
    if where.older_than is not None:
        query = query.join_from(deliveries, messages, messages.c.id == _D.message_id)
    return {lane_key(row[0]) for row in store.connection.execute(query)}


def _bite(store: Store, where: QueueFilter, after: DeliveryId) -> Sequence[Any]:
    """Return (message_id, n, state, lane) of the next matching deliveries, locked."""
    query = (
        select(_D.message_id, _D.n, _D.state, _D.lane)
        .join_from(deliveries, messages, messages.c.id == _D.message_id)
        .where(tuple_(_D.message_id, _D.n) > tuple_(*after), *matching(where, store.dialect, store.clock()))
        .order_by(_D.message_id, _D.n)
        .limit(BITE)
        .with_for_update(of=deliveries)
    )
    return store.connection.execute(query).fetchall()


def _exactly(ids: Sequence[DeliveryId]) -> ColumnElement[bool]:
    return tuple_(_D.message_id, _D.n).in_(ids)


def change(
    store: Store, where: QueueFilter, what: Change, after: DeliveryId
) -> tuple[list[DeliveryId], DeliveryId | None]:
    """Change one bite; returns the ids and where the next bite begins, None at the end."""
    found = _bite(store, where, after)
    if not found:
        return [], None
    ids = as_ids(found)
    values: dict[Any, Any] = {}
    if what.state is not None:
        values[_D.state] = what.state.value
    if what.next_attempt_at is not None:
        values[_D.next_attempt_at] = what.next_attempt_at
    if what.lane is not None:
        values[_D.lane] = lane_text(what.lane)
    if what.address is not None:
        values |= dict(zip((_D.address, _D.address_key), address_columns(what.address), strict=True))
    if what.expires_at is not None:
        values[_D.expires_at] = what.expires_at
    # Leases stay: whoever has one may be sending it now, and a delivery that is free is another's to send as well.
    store.connection.execute(update(deliveries).where(_exactly(ids)).values(values))
    if what.withdraws:
        store.withdraw(ids, dropped=False)
    now = store.clock()
    store.record([_event(row, what, now) for row in found])
    return ids, ids[-1] if len(found) == BITE else None


def _event(row: Sequence[Any], what: Change, now: float) -> TraceEvent:
    message_id, n, state, lane = row
    detail: dict[str, Any] = {}
    if what.state is not None:
        detail["state"] = what.state.value
    if what.next_attempt_at is not None:
        detail["next_attempt_at"] = what.next_attempt_at
    if what.expires_at is not None:
        detail["expires_at"] = what.expires_at
    if what.lane is not None:
        detail["lane"] = list(what.lane)
        detail["was"] = lane.split("\t", 1)
    if what.address is not None:
        detail["address"] = str(what.address)
    if what.lane is not None:
        kind = "redirected" if state == State.MOVING.value else "rerouted"
    elif what.state in (State.HELD, State.PARKED, State.MOVING):
        kind = what.state.value
    elif what.state is State.QUEUED and state != State.QUEUED.value:
        kind = "released"
    elif what.state is State.QUEUED or what.next_attempt_at is not None:
        kind = "requeued"
    else:
        kind = "changed"
    return TraceEvent(message_id, now, kind, n, detail)


def drop(store: Store, where: QueueFilter, why: str, after: DeliveryId) -> tuple[list[DeliveryId], DeliveryId | None]:
    """Drop one bite; returns the ids and where the next bite begins, None at the end."""
    found = _bite(store, where, after)
    if not found:
        return [], None
    ids = as_ids(found)
    message_ids = list({i[0] for i in ids})
    store.lock_shared(message_ids)
    store.withdraw(ids, dropped=True)
    store.connection.execute(delete(deliveries).where(and_(_exactly(ids))))
    now = store.clock()
    store.record(
        [TraceEvent(m, now, "dropped", n, {"why": why, "lane": lane.split("\t", 1)}) for m, n, _, lane in found]
    )
    store.leave(message_ids, keep=False)
    return ids, ids[-1] if len(found) == BITE else None
