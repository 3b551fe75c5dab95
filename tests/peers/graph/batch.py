"""Several requests in one: up to 20, run four at once in each mailbox, or in the order that they depend on.

Source: learn.microsoft.com "Combine multiple HTTP requests using JSON batching"; "Microsoft Graph throttling guidance"
(a batch runs up to 4 requests to one mailbox at once).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Final

from tests.peers.graph.call import Answer, Call, operation
from tests.peers.graph.faults import AT_ONCE
from tests.peers.graph.trouble import Trouble

PARTS: Final = 20


@operation("Batch", "POST", "$batch")
def batch(call: Call) -> Answer:
    """Run the parts, and answer each with a status of its own; the order is not that of the requests."""
    parts = call.json().get("requests")
    if not isinstance(parts, list) or not parts:
        raise Trouble("BadRequest", "Invalid batch payload format.")
    if len(parts) > PARTS:
        raise Trouble("MaximumValueExceeded", f"Number of batch request steps exceeds the maximum value of {PARTS}.")
    by_id = {str(each.get("id") or ""): each for each in parts if isinstance(each, dict)}
    if len(by_id) != len(parts) or not all(by_id):
        raise Trouble("BadRequest", "Request Id has to be unique in a batch.")
    if any(str(each) not in by_id for part in parts for each in part.get("dependsOn") or ()):
        raise Trouble("BadRequest", "The dependsOn of a part names no other part.")
    return Answer(200, {"responses": _run(call, by_id)})


def _run(call: Call, parts: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    done: dict[str, dict[str, Any]] = {}
    waiting = dict(parts)
    running: dict[Future[dict[str, Any]], tuple[str, str]] = {}
    with ThreadPoolExecutor(PARTS) as pool:
        while waiting or running:
            for id, part in list(waiting.items()):
                before = [str(each) for each in part.get("dependsOn") or ()]
                if any(each in done and done[each]["status"] >= 400 for each in before):
                    del waiting[id]
                    done[id] = _answered(id, Answer(424, Trouble("FailedDependency", status=424).body(id)))
                    continue
                mailbox = _mailbox(part)
                at_once = sum(each == mailbox for _, each in running.values())
                if all(each in done for each in before) and (not mailbox or at_once < AT_ONCE):
                    del waiting[id]
                    running[pool.submit(_one, call, id, part)] = (id, mailbox)
            if running:
                ended, _ = wait(running, return_when=FIRST_COMPLETED)
                for each in ended:
                    done[running.pop(each)[0]] = each.result()
            elif waiting and not any(set(map(str, p.get("dependsOn") or ())) <= set(done) for p in waiting.values()):
                raise Trouble("BadRequest", "The parts depend on each other in a circle.")
    return list(done.values())


def _one(call: Call, id: str, part: dict[str, Any]) -> dict[str, Any]:
    headers = {str(name).lower(): str(value) for name, value in (part.get("headers") or {}).items()}
    body = part.get("body")
    if body is None:
        octets = b""
    elif isinstance(body, str):
        octets = body.encode()
    else:
        octets = json.dumps(body).encode()
        if "content-type" not in headers:
            answer = Answer(400, Trouble("BadRequest", "Write request of a batch lacks a Content-Type.").body(id))
            return _answered(id, answer)
    return _answered(
        id, call.service.part(call, str(part.get("method")).upper(), str(part.get("url")), headers, octets)
    )


def _answered(id: str, answer: Answer) -> dict[str, Any]:
    octets, kind = answer.octets()
    made: dict[str, Any] = {"id": id, "status": answer.status, "headers": {**answer.headers}}
    if kind:
        made["headers"]["Content-Type"] = kind
        made["body"] = answer.body if isinstance(answer.body, dict) else base64.b64encode(octets).decode()
    return made


def _mailbox(part: Mapping[str, Any]) -> str:
    found = re.match(r"/?users/([^/?]+)/", str(part.get("url")), re.IGNORECASE)
    return found[1].lower() if found else ""
