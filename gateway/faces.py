"""A node's faces to its operator: every worker's control socket, and the admin port, which worker 0 serves for all.

Entered when the node's parts are built, left before they are put away.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway import metrics, operate, upkeep
from gateway.admin import AdminServer
from gateway.config import split_listen
from gateway.contract import Health
from gateway.control import Command, ControlError, ControlServer, ask_all, socket_path
from gateway.log import get_log, lines_dropped
from gateway.mapping import MappingDatabase
from gateway.spool.api import SpoolError

if TYPE_CHECKING:
    from gateway.node import Node

_OTHERS_TIMEOUT_S = 5.0


@asynccontextmanager
async def faces(node: Node) -> AsyncIterator[None]:
    """Open the control socket, and on worker 0 the admin port, while the block runs.

    Raises: ControlError where another gateway has this state folder; OSError where the port is taken.
    """
    log = get_log("control")

    def on_fault(name: str, fault: Exception) -> None:
        log.error("command_fault", command=name, error=repr(fault), exc_info=fault)

    control = ControlServer(socket_path(node.config.state_dir, node.worker), _commands(node), on_fault)
    await control.start()
    try:
        admin = _admin(node, on_fault)
        if admin is not None:
            try:
                await admin.start()
            except OSError as fault:
                text = f"admin_listen = {node.config.gateway.admin_listen!r} cannot be used: {fault.strerror or fault}"
                raise OSError(fault.errno, text) from fault
            log.info("admin_listening", host=admin.host, port=admin.port)
        try:
            yield
        finally:
            if admin is not None:
                await admin.stop()
    finally:
        await control.stop()


def desk(node: Node) -> operate.Desk:
    """Return what an operator's functions work with on a running node, as it is at this moment."""
    return operate.Desk(
        spool=node.spool,
        clock=node.clock,
        live=node.dispatcher,
        destinations=node.destinations,
        expire_after_s=node.config.gateway.expire_after,
        shared=node.config.spool_dir is None,
        state_dir=node.config.state_dir,
        mapping=MappingDatabase(node.config.spool_url, node.config.base_dir),
    )


def _commands(node: Node) -> Mapping[str, Command]:
    async def operated(function: operate.Function, given: Mapping[str, Any]) -> Any:
        try:
            return await function(desk(node), given)
        except SpoolError as fault:
            raise ControlError(f"the spool is not available: {fault}") from None

    async def status(given: Mapping[str, Any]) -> Any:
        return _status(node)

    async def figures(given: Mapping[str, Any]) -> Any:
        return await samples(node)

    async def reload(given: Mapping[str, Any]) -> Any:
        await node.reload()
        return {"reloads": node.reloads}

    commands: dict[str, Command] = {
        name: partial(operated, f) for name, f in (*operate.COMMANDS.items(), *upkeep.COMMANDS.items())
    }
    own = {"status": status, "metrics": figures, "reload": reload, "sync.status": node.sync_figures.standings}
    return {**commands, **own}


def _status(node: Node) -> dict[str, Any]:
    """Return how this worker is: its connectors' health by their own word."""
    connectors = []
    for name in node.connectors:
        section = node.config.connectors.get(name)
        health = health_of(node, name)
        restarts = node.sources.restarts.get(name, 0)
        old = section.deprecation if section is not None else None
        connectors.append(
            {
                "name": name,
                "type": section.type if section is not None else "",
                "ok": health.ok,
                "text": old if old is not None and health.ok else health.text,
                "note": node.stalls.told(name) or old,
                "restarts": restarts,
                "waiting": name in node.sources.waiting,
            }
        )
    return {
        "worker": node.worker,
        "started_at": node.started_at,
        "reloads": node.reloads,
        "oldest_age_s": node.oldest_age_s,
        "connectors": connectors,
    }


def health_of(node: Node, name: str) -> Health:
    """Return how a connector is: by its own word, unless it is not at work, or does what it may not."""
    health = node.hosting.health(name)
    if not health.ok:
        return health
    trouble = node.sources.troubles.get(name) or node.dispatcher.fault_of(name)
    return health if trouble is None else Health(False, trouble)


async def samples(node: Node) -> list[metrics.Sample]:
    """Return this worker's figures."""
    sample = metrics.sample
    counts = node.dispatcher.counts
    in_memory, in_memory_bytes = node.dispatcher.in_memory
    found = [
        sample("gatepost_workers", 1),
        sample("gatepost_start_time_seconds", node.started_at),
        sample("gatepost_reloads_total", node.reloads),
        sample("gatepost_accepted_total", node.intake.accepted),
        sample("gatepost_refused_total", node.intake.refused),
        sample("gatepost_delivered_total", counts.delivered),
        sample("gatepost_deferred_total", counts.deferred),
        sample("gatepost_failed_total", counts.failed),
        sample("gatepost_put_off_total", counts.put_off),
        sample("gatepost_connector_faults_total", counts.raised + counts.hung),
        sample("gatepost_lease_lost_total", counts.lease_lost),
        sample("gatepost_log_lines_dropped_total", lines_dropped()),
        sample("gatepost_in_memory", in_memory),
        sample("gatepost_in_memory_bytes", in_memory_bytes),
        sample("gatepost_oldest_seconds", node.oldest_age_s),
    ]
    states = {"open": 0, "closed": 0}
    for live in node.dispatcher.lanes().values():
        states["open" if live.lane.is_ready else "closed"] += 1
    found += [sample("gatepost_lanes", n, state=state) for state, n in states.items()]
    found += [
        sample("gatepost_connector_healthy", float(health_of(node, name).ok), connector=name)
        for name in node.connectors
    ]
    for name, stalls in list(node.stalls.found.items()):
        found.append(sample("gatepost_loop_stalls_total", stalls.count, connector=name or "gateway"))
        found.append(sample("gatepost_loop_stalled_seconds_total", stalls.seconds, connector=name or "gateway"))
    for (connector, event, labels), value in node.counters.items():
        detail = ",".join(f"{k}={v}" for k, v in labels)
        found.append(sample("gatepost_connector_events_total", value, connector=connector, event=event, detail=detail))
    found += await node.sync_figures.samples() if node.worker == 0 else []
    with suppress(SpoolError):  # the other figures are wanted all the more while the spool is down
        found += _spool_samples(await node.spool.stats(), first=node.worker == 0 or node.config.spool_dir is not None)
    return found


def _spool_samples(stats: Mapping[str, float], *, first: bool) -> list[metrics.Sample]:
    """Return the spool's figures; of one that all workers share, the first worker tells."""
    sample = metrics.sample
    found = [sample("gatepost_commits_total", stats["commits"]), sample("gatepost_spool_waiting", stats["waiting"])]
    if first:
        found += [
            sample("gatepost_queued", stats[s], state=s) for s in ("queued", "held", "moving", "parked") if s in stats
        ]
        for name, key in (("gatepost_spool_free_bytes", "free_bytes"), ("gatepost_spool_bytes", "database_bytes")):
            if key in stats:
                found.append(sample(name, stats[key]))
    return found


def _admin(node: Node, on_fault: Any) -> AdminServer | None:
    listen = node.config.gateway.admin_listen
    if listen is None or node.worker != 0:
        return None
    host, port = split_listen(listen)
    state_dir = node.config.state_dir

    async def health() -> tuple[bool, Mapping[str, Any]]:
        workers = [_status(node)]
        if node.workers > 1:
            workers = await ask_all(state_dir, "status", {}, _OTHERS_TIMEOUT_S)
        ill = sorted({c["name"] for w in workers for c in w["connectors"] if not c["ok"]})
        expected = node.workers
        oldest = max(w["oldest_age_s"] for w in workers)
        well = not ill and len(workers) >= expected
        return well, {"workers": len(workers), "expected": expected, "ill": ill, "oldest_age_s": round(oldest)}

    async def figures() -> bytes:
        answers = [await samples(node)]
        if node.workers > 1:
            with suppress(ControlError):  # one worker's figures are better than none
                answers = await ask_all(state_dir, "metrics", {}, _OTHERS_TIMEOUT_S)
        return metrics.render(metrics.merge(answers))

    return AdminServer(host, port, name=node.config.gateway.name, health=health, metrics=figures, on_fault=on_fault)
