"""What `gateway.operate` returns, told to a person in plain words: pure functions from values to lines."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from gateway.quantity import show_size

_KINDS: Final = {
    "accepted": "accepted",
    "delivered": "delivered",
    "relayed": "relayed",
    "deferred": "not yet",
    "failed": "failed",
    "parked": "parked",
    "held": "held by an operator",
    "moving": "kept while the mailbox is cut over",
    "released": "released by an operator",
    "requeued": "queued anew, by an operator or since its connector is at work again",
    "rerouted": "rerouted, by an operator or since its connector names another next hop",
    "redirected": "sent to where the mailbox is now",
    "dropped": "dropped",
    "learnt": "learnt from its bounce",
    "sent_on": "sent on",
}


def clock_time(at: float) -> str:
    """Return local time to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def span(seconds: float) -> str:
    """Return a span of time as a person says it: `45 s`, `12 min`, `3 h 20 min`, `2 d 5 h`."""
    rest = max(0, round(seconds))
    if rest < 60:
        return f"{rest} s"
    minutes = rest // 60
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def moment(at: float, now: float) -> str:
    """Return a time with its distance from now."""
    if abs(at - now) < 1:
        return f"{clock_time(at)} (now)"
    return f"{clock_time(at)} (in {span(at - now)})" if at > now else f"{clock_time(at)} ({span(now - at)} ago)"


def sender(address: str) -> str:
    return address or "<> (a report, or mail without a return address)"


# -- why


def why_lines(told: Mapping[str, Any]) -> list[str]:
    """Return the whole answer to `why`, line by line."""
    now = told["now"]
    size = "" if told["size_bytes"] is None else f", {show_size(told['size_bytes'])}"
    kind = "Report" if told["is_report"] else "Message"
    lines = [f"{kind} {told['id']} from {sender(told['from'])}{size}"]
    if told["message_id"]:
        lines.append(f"  Message-ID {told['message_id']}")
    lines.append(f"  came in {moment(told['accepted_at'], now)}{_came(told['came'])}")
    for recipient in told["recipients"]:
        lines += ["", *_recipient(recipient, now)]
    if not told["recipients"]:
        lines.append("  it has no such recipient")
    return lines


def _came(came: Mapping[str, str]) -> str:
    """Return where a message came from."""
    parts = []
    if came.get("connector"):
        parts.append(f" by connector {came['connector']}")
    if came.get("peer"):
        helo = f" ({came['helo']})" if came.get("helo") else ""
        parts.append(f" from {came['peer']}{helo}")
    if came.get("user"):
        parts.append(f" of user {came['user']}")
    if came.get("protocol"):
        parts.append(f" with {came['protocol']}")
    return "".join(parts)


def _recipient(one: Mapping[str, Any], now: float) -> Iterator[str]:
    lane = f"connector {one['connector']}, next hop {one['next_hop']}"
    shown = f", written there as {one['address']}" if one["address"] != one["to"] else ""
    yield f"to {one['to']}{shown}"
    yield f"  where:     {_where(one, lane)}"
    if one.get("rule"):
        yield f"  why there: {one['rule']}"
    last = one.get("last")
    if last is not None:
        answer = answered(last)
        label = "ended:    " if last["kind"] in ("delivered", "relayed", "failed", "dropped") else "last try: "
        yield f"  {label} {moment(last['at'], now)}{': ' + answer if answer else ''}"
    elif one["state"] in ("queued", "held", "parked", "moving"):
        yield f"  last try:  none yet{'; ' + one['reason'] if one.get('reason') else ''}"
    yield from _next(one, now)


def _where(one: Mapping[str, Any], lane: str) -> str:
    match one["state"]:
        case "queued":
            return f"in the queue for {lane}"
        case "held":
            return f"held in the queue for {lane}; `gatepost queue release` lets it go on"
        case "moving":
            return f"kept here while the mailbox is cut over; it was meant for {lane}"
        case "parked":
            return f"parked for {lane}: it is not tried again by itself; `gatepost queue requeue` or `drop` ends that"
        case "delivered":
            return f"delivered by {lane}"
        case "relayed":
            return f"handed on by {lane}, which gives no reports of its own"
        case "failed":
            return f"failed at {lane}; the sender was told where they wanted to be"
        case "dropped":
            return f"dropped from the queue for {lane}"
    return f"was meant for {lane}; what became of it is not in the trace"


def _next(one: Mapping[str, Any], now: float) -> Iterator[str]:
    if one["state"] != "queued":
        return
    if one.get("lane") == "held":
        yield "  next try:  none while an operator holds its next hop"
    elif one.get("lane") == "closed" and one.get("closed_until"):
        reason = f" ({one['lane_reason']})" if one.get("lane_reason") else ""
        yield f"  next hop:  does not answer{reason}; it is probed {moment(one['closed_until'], now)}"
    if one["next_attempt_at"] <= now:
        yield "  next try:  as soon as its turn comes"
    else:
        yield f"  next try:  {moment(one['next_attempt_at'], now)}"
    n = one["attempts"]
    yield f"  given up:  {moment(one['expires_at'], now)}; {n} attempt{'' if n == 1 else 's'} so far"


def answered(detail: Mapping[str, Any]) -> str:
    """Return what the next hop, or the gateway in its place, said at one attempt."""
    said = detail.get("reply") or " ".join(str(detail[k]) for k in ("status", "text") if detail.get(k))
    remote = f"{detail['remote']} said: " if detail.get("remote") and detail.get("reply") else ""
    cause = f" ({detail['cause']})" if detail.get("cause") else ""
    return f"{remote}{said}{cause}" if said or cause else str(detail.get("why", ""))


# -- trace


def trace_lines(message: Mapping[str, Any]) -> list[str]:
    """Return the way of one message, an event a line."""
    lines = []
    for event in message["events"]:
        detail = event["detail"]
        if event["kind"] == "accepted":
            size = f", {show_size(detail['size'])}" if "size" in detail else ""
            named = f", Message-ID {detail['message_id']}" if detail.get("message_id") else ""
            lines.append(f"{clock_time(event['at'])}  accepted from {sender(detail.get('from', ''))}{size}{named}")
            came = _came(detail)
            if came:
                lines.append(f"{'':21}came{came}")
            lines += [f"{'':21}{_way(one)}" for one in detail.get("to", ())]
        else:
            lines.append(f"{clock_time(event['at'])}  {_event(event)}")
    return lines


def _way(one: Sequence[str]) -> str:
    original, address, connector, hop, why = one
    shown = "" if address == original else f" as {address}"
    return f"to {original}{shown} by {connector}, next hop {hop}{' (' + why + ')' if why else ''}"


def _event(event: Mapping[str, Any]) -> str:
    detail = event["detail"]
    kind = _KINDS.get(event["kind"], event["kind"])
    whom = (
        f" to {detail['to']}" if isinstance(detail.get("to"), str) else "" if event["n"] is None else f" /{event['n']}"
    )
    hop = f" at {detail['hop']}" if detail.get("hop") else ""
    answer = answered(detail)
    attempt = f" (attempt {detail['attempt']})" if detail.get("attempt") else ""
    lane = detail.get("lane")
    moved = f" to {lane[0]}, next hop {lane[1]}" if event["kind"] == "rerouted" and lane else ""
    fidelity = f"; changed on the way: {_fidelity(detail['fidelity'])}" if detail.get("fidelity") else ""
    return f"{kind}{whom}{moved}{hop}{attempt}{': ' + answer if answer else ''}{fidelity}"


def _fidelity(notes: Sequence[Mapping[str, str]]) -> str:
    return ", ".join(f"{n['what']} {n['fate']}{' (' + n['why'] + ')' if n.get('why') else ''}" for n in notes)


# -- the queue

QUEUE_COLUMNS: Final = (
    "delivery",
    "age",
    "from",
    "to",
    "connector",
    "next hop",
    "state",
    "tries",
    "next try",
    "reason",
)
LANE_HEAD: Final = ("connector", "next hop", "queued", "held", "moving", "parked")


def queue_row(row: Mapping[str, Any], now: float) -> list[str]:
    """Return one delivery as a line of the queue's table."""
    next_try = "-"
    if row["state"] == "queued":
        next_try = "now" if row["next_attempt_at"] <= now else f"in {span(row['next_attempt_at'] - now)}"
    return [
        row["delivery"],
        span(now - row["arrived_at"]),
        row["from"] or "<>",
        row["to"],
        row["connector"],
        row["next_hop"],
        row["state"] if not row["leased"] or row["state"] != "queued" else "active",
        str(row["attempts"]),
        next_try,
        row["reason"],
    ]


def lane_columns(ages_s: Sequence[float]) -> list[str]:
    """Return the columns of the table by lane and age."""
    bounds = [span(a) for a in ages_s]
    return [*LANE_HEAD, *(f"<{b}" for b in bounds), f">{bounds[-1]}", "oldest", "next hop's last word"]


def lane_row(lane: Mapping[str, Any], now: float) -> list[str]:
    """Return one lane as a line of that table."""
    said = lane["lane_reason"] or lane["reason"]
    if lane["closed_until"]:
        said = f"down, next probe in {span(lane['closed_until'] - now)}; {said}".rstrip("; ")
    counts = [str(lane[k]) for k in ("queued", "held", "moving", "parked")]
    ages = [str(n) if n else "." for n in lane["by_age"]]
    return [lane["connector"], lane["next_hop"], *counts, *ages, span(now - lane["oldest_at"]), said]
