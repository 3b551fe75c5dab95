"""How the answers of a gateway's workers to one command become one answer.

Promises: what several workers tell of one delivery or event is told once, be their spool shared or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

CHANGES: Final = frozenset({"queue.hold", "queue.release", "queue.requeue", "queue.drop", "queue.reroute"})
"""Commands that one worker does alone where the spool is shared: another would find their work done, or do it again."""


def merge(command: str, answers: Sequence[Any]) -> Any:
    """Make one answer of the workers'."""
    if len(answers) == 1:
        return answers[0]
    if command == "queue.list":
        by_id = {r["delivery"]: r for a in answers for r in a["rows"]}
        rows = sorted(by_id.values(), key=lambda r: r["arrived_at"])
        limit = answers[0]["limit"]
        more = len(rows) > limit or any(a["more"] for a in answers)
        return {"rows": rows[:limit], "more": more, "limit": limit}
    if command == "queue.lanes":
        return _merge_lanes(answers)
    if command == "trace":
        return _merge_traces(answers)
    if command == "why":
        told = [a for a in answers if a is not None]
        return max(told, key=lambda a: len(a["recipients"])) if told else None
    if command == "db.backup":
        return answers[0]
    if command == "db.fsck":
        return {"findings": [f for a in answers for f in a["findings"]]}
    changed = sorted({id for a in answers for id in a["changed"]})
    return {"changed": changed, "in_flight": sorted({id for a in answers for id in a["in_flight"]})}


def _merge_lanes(answers: Sequence[Any]) -> dict[str, Any]:
    lanes: dict[tuple[str, str], dict[str, Any]] = {}
    is_shared = any(a["shared"] for a in answers)
    for lane in (lane for a in answers for lane in a["lanes"]):
        known = lanes.setdefault((lane["connector"], lane["next_hop"]), lane)
        if known is lane:
            continue
        if not is_shared:
            for key in ("queued", "held", "moving", "parked"):
                known[key] += lane[key]
            known["by_age"] = [a + b for a, b in zip(known["by_age"], lane["by_age"], strict=True)]
            known["oldest_at"] = min(known["oldest_at"], lane["oldest_at"])
        for key in ("reason", "lane", "closed_until", "lane_reason"):
            known[key] = known[key] or lane[key]
    more = any(a["more"] for a in answers)
    return {"lanes": list(lanes.values()), "ages_s": answers[0]["ages_s"], "more": more, "shared": is_shared}


def _merge_traces(answers: Sequence[Any]) -> dict[str, Any]:
    messages: dict[str, list[dict[str, Any]]] = {}
    for message in (m for a in answers for m in a["messages"]):
        known = messages.setdefault(message["id"], [])
        known += [e for e in message["events"] if e not in known]
    return {
        "messages": [{"id": m, "events": sorted(messages[m], key=lambda e: e["at"])} for m in sorted(messages)],
        "more": any(a["more"] for a in answers),
    }
