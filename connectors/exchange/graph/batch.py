"""$batch: up to twenty requests for one mailbox by one, each with its own answer.

Promises: answers in the order asked, each judged by its own status, whatever order Graph gives them in; a part that is
not answered is unknown (or unreachable, where it changes nothing). A batch is split by number and by octets, and has
its mailbox alone, since Graph runs up to four of its parts at once.

Source: learn.microsoft.com "Combine multiple requests in one HTTP call using JSON batching".
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import orjson

from connectors.exchange.graph.answers import Answer, Malformed, fault, unread
from connectors.exchange.graph.client import IMMUTABLE, Client, Request
from connectors.exchange.graph.pacing import Pacing
from connectors.exchange.organisation import Fault
from gateway.contract import Scope

PARTS: Final = 20
OCTETS: Final = 3_500_000
"""Of one batch's body. Graph takes 4 MB; what is around the parts is not counted."""

Result = dict[str, Any] | Fault


@dataclass(frozen=True, slots=True)
class Part:
    """One request of a batch; `path` is under the configured URL."""

    method: str
    path: str
    params: Mapping[str, str] | None = None
    json: Mapping[str, Any] | None = None
    prefer: tuple[str, ...] = ()

    @property
    def is_safe(self) -> bool:
        return self.method == "GET"


class Batches:
    """Sends batches."""

    def __init__(self, client: Client, pacing: Pacing, clock: Callable[[], float]) -> None:
        self._client = client
        self._pacing = pacing
        self._clock = clock

    async def ask(self, mailbox: str, parts: Sequence[Part]) -> list[Result]:
        """Return what became of each part. A single part goes as a request of its own.

        Raises: Fault where nothing is known of any part; where an earlier batch of several was answered, its answers
        are returned, and the fault stands for each part of the others.
        """
        found: list[Result] = []
        for group in groups(parts):
            try:
                found += await self._group(mailbox, group)
            except Fault as e:
                if not found:
                    raise
                found += [e] * len(group)
        return found

    async def _group(self, mailbox: str, parts: Sequence[Part]) -> list[Result]:
        is_safe = all(part.is_safe for part in parts)
        if len(parts) == 1:
            (part,) = parts
            request = Request(part.method, part.path, mailbox, part.params, part.json, prefer=part.prefer)
            try:
                return [await self._client.ask(request)]
            except Fault as e:
                if e.why == "refused":
                    return [e]
                raise
        request = Request("POST", "/$batch", mailbox, json=body(parts), alone=True)
        try:
            answer = await self._client.ask(request)
        except Fault as e:
            if is_safe and e.why == "unknown":
                raise Fault(e.code, e.text, "unreachable", scope=e.scope) from e
            raise
        results = read(answer, parts, self._clock())
        waits = [e.retry_after_s or 0.0 for e in results if isinstance(e, Fault) and e.why == "busy"]
        if waits:
            self._pacing.hold(mailbox, max(waits))
        return results


def groups(parts: Sequence[Part]) -> list[list[Part]]:
    """Split parts into batches."""
    found: list[list[Part]] = []
    size = 0
    for part in parts:
        octets = len(part.path) + (len(orjson.dumps(part.json)) if part.json is not None else 0)
        if not found or len(found[-1]) >= PARTS or size + octets > OCTETS:
            found.append([])
            size = 0
        found[-1].append(part)
        size += octets
    return found


def body(parts: Sequence[Part]) -> dict[str, Any]:
    """Return the JSON of a batch."""
    found = []
    for number, part in enumerate(parts):
        fields = {"Prefer": ", ".join((IMMUTABLE, *part.prefer))}
        entry: dict[str, Any] = {"id": str(number), "method": part.method, "url": part.path + query(part.params)}
        if part.json is not None:
            fields["Content-Type"] = "application/json"
            entry["body"] = part.json
        entry["headers"] = fields
        found.append(entry)
    return {"requests": found}


def query(params: Mapping[str, str] | None) -> str:
    """Return the query of a part's URL. Quoted as httpx does it, with %20 for a blank: OData takes no plus."""
    if not params:
        return ""
    return "?" + "&".join(f"{quote(name, safe='$')}={quote(value, safe='')}" for name, value in params.items())


def read(answer: Mapping[str, Any], parts: Sequence[Part], now: float) -> list[Result]:
    """Return the results of a batch's parts, in the order they were asked."""
    told = answer.get("responses")
    by_id: dict[str, Answer] = {}
    for each in told if isinstance(told, list) else ():
        if isinstance(each, dict) and isinstance(each.get("status"), int):
            by_id.setdefault(str(each.get("id")), _answer(each))
    return [_result(by_id.get(str(number)), part, now) for number, part in enumerate(parts)]


def _answer(each: Mapping[str, Any]) -> Answer:
    fields = each.get("headers")
    named = {str(k).lower(): str(v) for k, v in fields.items()} if isinstance(fields, dict) else {}
    content = each.get("body")
    if isinstance(content, str):  # what is not JSON comes as base64
        try:
            return Answer(each["status"], named, base64.b64decode(content, validate=True))
        except binascii.Error:
            return Answer(each["status"], named, content.encode())
    return Answer(each["status"], named, b"" if content is None else orjson.dumps(content))


def _result(answer: Answer | None, part: Part, now: float) -> Result:
    if answer is None:
        text = "a part of the batch was not answered"
        return Fault("no answer", text, "unreachable" if part.is_safe else "unknown", scope=Scope.HOP)
    if not answer.is_good:
        return fault(answer, is_safe=part.is_safe, now=now)
    try:
        return answer.json()
    except Malformed as e:
        return unread(e, is_safe=part.is_safe)
