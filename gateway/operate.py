"""What an operator does: list, hold, release, requeue, drop and reroute deliveries; trace a message; ask why.

Plain functions of a Desk and of plain JSON values to plain JSON values, so that the control socket, the commands
and whatever comes later share them. Promises: what a change returns is done in the spool, durably, and gone from every
node's memory; a delivery that is being sent at that moment is named by `in_flight`: it may be delivered all the same,
and if it is not, it is as the operator left it. So is named one of which another node has said nothing within 10 s.
What is released or queued anew is tried at once, though its next hop was down.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from gateway import ids
from gateway.contract import Connector, Destination
from gateway.control import ControlError
from gateway.spool.api import DeliveryId, LaneKey, QueueFilter, QueueRow, State, Stored, TraceEvent

if TYPE_CHECKING:
    from gateway.mapping import MappingDatabase
    from gateway.spool.durable import DurableSpool

MAX_ROWS: Final = 100_000
_NOTICE_S: Final = 10.0
"""How long other nodes are waited for, which look every second."""
AGES_S: Final = (300.0, 1800.0, 3600.0, 14_400.0, 86_400.0)
"""The bounds by which a lane's deliveries are counted by age."""
_FILTER: Final = frozenset({"id", "connector", "next_hop", "state", "sender", "recipient", "older_s"})
_ENDS: Final = frozenset({"delivered", "relayed", "failed", "dropped"})
_STATES: Final = (
    frozenset({"held", "moving", "parked", "released", "requeued", "rerouted", "redirected", "deferred"}) | _ENDS
)


class LiveLane(Protocol):
    """A lane in a running dispatcher's memory."""

    @property
    def lane(self) -> Any: ...


class Live(Protocol):
    """What is asked of a running dispatcher."""

    def forget(self, ids: Collection[DeliveryId], *, dropped: bool = False) -> set[DeliveryId]: ...

    async def reopen(self, keys: Collection[LaneKey]) -> None: ...

    def flush(self, key: LaneKey | None = None) -> None: ...

    def lanes(self) -> Mapping[LaneKey, Any]: ...


@dataclass(frozen=True)
class Desk:
    """What an operator works with: the spool, and where the gateway runs, its dispatcher and destinations."""

    spool: DurableSpool
    clock: Callable[[], float]
    live: Live | None = None
    destinations: Mapping[str, Destination] = field(default_factory=dict)
    expire_after_s: float = 5 * 86_400.0
    shared: bool = False
    """All workers have the same spool, so that each of them tells of all of it."""
    state_dir: Path | None = None
    mapping: MappingDatabase | None = None


Arguments = Mapping[str, Any]


def filter_from(where: Mapping[str, Any], now: float) -> QueueFilter:
    """Read a filter: `id` is ID or ID/N, `older_s` an age in seconds. Raises: ControlError."""
    unknown = sorted(where.keys() - _FILTER)
    if unknown:
        raise ControlError(f"no condition {unknown[0]!r}; there are: {', '.join(sorted(_FILTER))}")
    message_id = n = None
    if where.get("id"):
        message_id, n = read_id(str(where["id"]))
    try:
        state = State(where["state"]) if where.get("state") else None
    except ValueError:
        raise ControlError(f"no state {where['state']!r}; there are: queued, held, parked, moving") from None
    older = where.get("older_s")
    return QueueFilter(
        connector=where.get("connector"),
        next_hop=where.get("next_hop"),
        state=state,
        message_id=message_id,
        n=n,
        sender=where.get("sender"),
        recipient=where.get("recipient"),
        older_than=None if older is None else now - float(older),
    )


def read_id(text: str) -> tuple[int, int | None]:
    """Read a message's id, or a delivery's as ID/N. Raises: ControlError."""
    shown, slash, n = text.partition("/")
    try:
        return ids.parse(shown.strip()), int(n) if slash else None
    except ValueError as e:
        raise ControlError(str(e) if not slash else f"{text!r} is not a delivery: write ID/N") from None


def show_id(id: DeliveryId) -> str:
    return f"{ids.text(id[0])}/{id[1]}"


# -- the queue


async def queue_list(desk: Desk, given: Arguments) -> dict[str, Any]:
    """Return deliveries, oldest first: `{"rows": [...], "more": whether there are more than `limit`}`."""
    limit = max(1, min(int(given.get("limit", 100)), MAX_ROWS))
    found = await desk.spool.rows(filter_from(given.get("where", {}), desk.clock()), limit + 1)
    return {"rows": [_row(r) for r in found[:limit]], "more": len(found) > limit, "limit": limit}


def _row(row: QueueRow) -> dict[str, Any]:
    d = row.delivery
    return {
        "delivery": show_id(d.id),
        "connector": d.lane[0],
        "next_hop": d.lane[1],
        "from": row.reverse_path,
        "to": str(d.original),
        "address": str(d.address),
        "state": d.state.value,
        "attempts": d.attempts,
        "reason": d.reason,
        "arrived_at": row.arrived_at,
        "next_attempt_at": d.next_attempt_at,
        "expires_at": d.expires_at,
        "size_bytes": row.size_bytes,
        "priority": d.priority,
        "leased": row.leased,
    }


async def queue_lanes(desk: Desk, given: Arguments) -> dict[str, Any]:
    """Return the queue by lane: counts by state and by age, and what is known of the next hop."""
    now = desk.clock()
    rows = await desk.spool.rows(filter_from(given.get("where", {}), now), MAX_ROWS)
    lanes: dict[LaneKey, dict[str, Any]] = {}
    for row in rows:
        d = row.delivery
        lane = lanes.get(d.lane)
        if lane is None:
            lane = lanes[d.lane] = {
                "connector": d.lane[0], "next_hop": d.lane[1], "queued": 0, "held": 0, "moving": 0, "parked": 0,
                "by_age": [0] * (len(AGES_S) + 1), "oldest_at": row.arrived_at, "reason": d.reason,
                **_lane_state(desk, d.lane),
            }  # fmt: skip
        lane[d.state.value] += 1
        lane["by_age"][sum(now - row.arrived_at >= bound for bound in AGES_S)] += 1
        lane["reason"] = lane["reason"] or d.reason
    return {
        "lanes": list(lanes.values()),
        "ages_s": list(AGES_S),
        "more": len(rows) == MAX_ROWS,
        "shared": desk.shared,
    }


def _lane_state(desk: Desk, key: LaneKey) -> dict[str, Any]:
    """Return what a running dispatcher knows of a lane."""
    live = None if desk.live is None else desk.live.lanes().get(key)
    if live is None:
        return {"lane": None, "closed_until": None, "lane_reason": ""}
    lane = live.lane
    closed = not lane.is_ready and isfinite(lane.until)
    return {
        "lane": "held" if lane.is_held else "open" if lane.is_ready else "closed",
        "closed_until": lane.until if closed else None,
        "lane_reason": str(lane.reason) if lane.reason is not None else "",
    }


async def hold(desk: Desk, given: Arguments) -> dict[str, Any]:
    """Stop queued deliveries until they are released."""
    where = _chosen(desk, given)
    changed = await desk.spool.change(replace(where, state=where.state or State.QUEUED), state=State.HELD)
    return await _changed(desk, changed)


async def release(desk: Desk, given: Arguments) -> dict[str, Any]:
    """Let held deliveries go on, due at once."""
    where = replace(_chosen(desk, given), state=State.HELD)
    lanes = await _reopened(desk, where)
    changed = await desk.spool.change(where, state=State.QUEUED, next_attempt_at=desk.clock())
    _look(desk, lanes)
    return _told(changed)


async def requeue(desk: Desk, given: Arguments) -> dict[str, Any]:
    """Make queued and parked deliveries due at once; a parked one gets its whole time anew."""
    where = _chosen(desk, given)
    now = desk.clock()
    changed: list[DeliveryId] = []
    lanes: set[LaneKey] = set()
    for state, expires_at in ((State.QUEUED, None), (State.PARKED, now + desk.expire_after_s)):
        if where.state in (None, state):
            narrowed = replace(where, state=state)
            lanes |= await _reopened(desk, narrowed)
            changed += await desk.spool.change(narrowed, state=State.QUEUED, next_attempt_at=now, expires_at=expires_at)
    _look(desk, lanes)
    return _told(changed)


async def drop(desk: Desk, given: Arguments) -> dict[str, Any]:
    """Remove deliveries for good; the sender gets no report."""
    why = str(given.get("why") or "dropped by an operator")
    return await _changed(desk, await desk.spool.drop(_chosen(desk, given), why), dropped=True)


async def reroute(desk: Desk, given: Arguments) -> dict[str, Any]:
    """Send deliveries by another connector or next hop, due at once. Without `next_hop` the connector names it."""
    where = _chosen(desk, given)
    connector, next_hop = given.get("to"), given.get("to_next_hop")
    if not connector and not next_hop:
        raise ControlError("say where to: a connector, a next hop, or both")
    rows = await desk.spool.rows(where, MAX_ROWS)
    now = desk.clock()
    changed: list[DeliveryId] = []
    by_lane: dict[LaneKey, list[QueueRow]] = {}
    for row in rows:
        by_lane.setdefault(_new_lane(desk, row, connector, next_hop), []).append(row)
    await _reopen(desk, set(by_lane))
    for lane, group in by_lane.items():
        if len(by_lane) == 1 and len(rows) < MAX_ROWS:
            changed += await desk.spool.change(where, lane=lane, next_attempt_at=now)
            break
        for row in group:
            one = QueueFilter(message_id=row.delivery.id[0], n=row.delivery.id[1])
            changed += await desk.spool.change(one, lane=lane, next_attempt_at=now)
    told = await _changed(desk, changed)
    _look(desk, set(by_lane))
    return told


def _new_lane(desk: Desk, row: QueueRow, connector: str | None, next_hop: str | None) -> LaneKey:
    name = connector or row.delivery.lane[0]
    address = row.delivery.address
    destination = desk.destinations.get(name)
    if destination is None:
        if desk.live is not None:
            known = ", ".join(sorted(n for n in desk.destinations if not n.startswith("!")))
            raise ControlError(f"no connector {name!r} that can send; there are: {known}")
        if next_hop is None:
            raise ControlError("name the next hop too: the gateway does not run, so its connector cannot be asked")
        return name, next_hop
    networks = destination.capabilities.header_networks if isinstance(destination, Connector) else (address.network,)
    if address.network not in networks:
        raise ControlError(
            f"{name} takes addresses of {' and '.join(networks)}, and {show_id(row.delivery.id)} goes to {address}"
        )
    return name, next_hop if next_hop is not None else destination.next_hop(address)


def _chosen(desk: Desk, given: Arguments) -> QueueFilter:
    where = filter_from(given.get("where", {}), desk.clock())
    if where == QueueFilter() and not given.get("all"):
        raise ControlError("say which deliveries, or --all for every one")
    return where


async def _reopened(desk: Desk, where: QueueFilter) -> set[LaneKey]:
    """Open the lanes of what is about to be made due, and return them."""
    lanes = await desk.spool.lanes_of(where)
    await _reopen(desk, lanes)
    return lanes


async def _reopen(desk: Desk, lanes: Collection[LaneKey]) -> None:
    if desk.live is not None:
        await desk.live.reopen(lanes)
    else:
        await desk.spool.lanes_up(lanes)


def _look(desk: Desk, lanes: Iterable[LaneKey]) -> None:
    if desk.live is not None:
        for lane in lanes:
            desk.live.flush(lane)


async def _changed(desk: Desk, changed: Sequence[DeliveryId], *, dropped: bool = False) -> dict[str, Any]:
    in_flight: set[DeliveryId] = set()
    if desk.live is not None and changed:
        in_flight = desk.live.forget(changed, dropped=dropped)
        await desk.spool.withdrew(changed, in_flight)
    if desk.shared:
        in_flight = in_flight | await desk.spool.not_withdrawn(changed, _NOTICE_S)
    return _told(changed, in_flight)


def _told(changed: Iterable[DeliveryId], in_flight: Iterable[DeliveryId] = ()) -> dict[str, Any]:
    return {"changed": [show_id(id) for id in changed], "in_flight": sorted(show_id(id) for id in in_flight)}


# -- one message


async def trace(desk: Desk, given: Arguments) -> dict[str, Any]:
    """Return the events of messages: `what` is an id, or a text that stands in them (a Message-ID, an address)."""
    what = str(given.get("what", "")).strip()
    if not what:
        raise ControlError("say what to trace: a message's id, a Message-ID or an address")
    span: dict[str, Any] = {k: given[k] for k in ("since", "until") if given.get(k) is not None}
    limit = max(1, min(int(given.get("limit", 1000)), MAX_ROWS))
    try:
        message_id, _ = read_id(what)
    except ControlError:
        events = await desk.spool.trace(text=what, limit=limit, **span)
    else:
        events = await desk.spool.trace(message_id=message_id, limit=limit, **span)
    messages: dict[int, list[dict[str, Any]]] = {}
    for event in events:
        messages.setdefault(event.message_id, []).append(_event(event))
    return {"messages": [{"id": ids.text(m), "events": e} for m, e in messages.items()], "more": len(events) == limit}


def _event(event: TraceEvent) -> dict[str, Any]:
    return {"at": event.at, "kind": event.kind, "n": event.n, "detail": dict(event.detail)}


async def why(desk: Desk, given: Arguments) -> dict[str, Any] | None:
    """Return where a message is and why, recipient by recipient; None where it was never here or its trace is gone."""
    message_id, only = read_id(str(given.get("id", "")))
    stored = await desk.spool.load(message_id)
    events = await desk.spool.trace(message_id=message_id, limit=MAX_ROWS)
    if stored is None and not events:
        return None
    accepted: Mapping[str, Any] = next((e.detail for e in events if e.kind == "accepted"), {})
    told = {
        "id": ids.text(message_id),
        "now": desk.clock(),
        "from": _sender(stored, accepted),
        "accepted_at": stored.arrived_at if stored is not None else ids.seconds(message_id),
        "size_bytes": stored.content.size if stored is not None else accepted.get("size"),
        "message_id": accepted.get("message_id", ""),
        "came": {k: accepted[k] for k in ("connector", "peer", "helo", "protocol", "user", "tls") if k in accepted},
        "is_report": bool(accepted.get("report")),
        "recipients": _recipients(desk, stored, accepted, events),
    }
    if only is not None:
        told["recipients"] = [r for r in told["recipients"] if r["n"] == only]
    return told


def _sender(stored: Stored | None, accepted: Mapping[str, Any]) -> str:
    if stored is not None:
        return "" if stored.envelope.reverse_path is None else str(stored.envelope.reverse_path)
    return str(accepted.get("from", ""))


def _recipients(
    desk: Desk, stored: Stored | None, accepted: Mapping[str, Any], events: Sequence[TraceEvent]
) -> list[dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for n, (original, address, connector, hop, rule) in enumerate(accepted.get("to", ())):
        found[n] = {
            "n": n, "to": original, "address": address, "connector": connector, "next_hop": hop, "rule": rule,
            "state": "unknown", "attempts": 0, "last": None, "lane": None,
        }  # fmt: skip
    for event in events:
        if event.kind not in _STATES:
            continue
        for one in found.values() if event.n is None else (found.get(event.n),):
            if one is not None:
                _apply(one, event)
    for d in stored.deliveries if stored is not None else ():
        one = found.setdefault(d.id[1], {"n": d.id[1], "rule": "", "last": None})
        one |= {
            "to": str(d.original), "address": str(d.address), "connector": d.lane[0], "next_hop": d.lane[1],
            "state": d.state.value, "attempts": d.attempts, "reason": d.reason,
            "next_attempt_at": d.next_attempt_at, "expires_at": d.expires_at, **_lane_state(desk, d.lane),
        }  # fmt: skip
    return [found[n] for n in sorted(found)]


def _apply(one: dict[str, Any], event: TraceEvent) -> None:
    detail = event.detail
    if event.kind in ("rerouted", "redirected") and "lane" in detail:
        one["connector"], one["next_hop"] = detail["lane"]
        one["rule"] = "rerouted" if event.kind == "rerouted" else "there after the mailbox's cut-over"
        return
    if event.kind in _ENDS:
        one["state"] = event.kind
    if event.kind in _ENDS or event.kind in ("deferred", "parked"):
        one["last"] = {"at": event.at, "kind": event.kind, **detail}


# -- commands by name

Function = Callable[[Desk, Arguments], Awaitable[Any]]

COMMANDS: Final[Mapping[str, Function]] = {
    "queue.list": queue_list,
    "queue.lanes": queue_lanes,
    "queue.hold": hold,
    "queue.release": release,
    "queue.requeue": requeue,
    "queue.drop": drop,
    "queue.reroute": reroute,
    "trace": trace,
    "why": why,
}
