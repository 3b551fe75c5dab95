"""The service behind HTTP: who asks, which operation it is, what goes wrong on order, and what is written down."""

from __future__ import annotations

import json
import threading
import urllib.parse
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.peers.graph import shapes, uploads
from tests.peers.graph.call import Answer, Call, find
from tests.peers.graph.faults import Fault, Faults, Running
from tests.peers.graph.login import Login
from tests.peers.graph.outbox import settle
from tests.peers.graph.store import Mailbox, Store
from tests.peers.graph.trouble import Cut, Trouble

if TYPE_CHECKING:
    from tests.peers.graph.subscriptions import Notifier

MAX_REQUEST_BYTES: Final = 4 * 1024 * 1024
"""Larger ones get 413. Source: learn.microsoft.com "Create message" (MIME); "Attach large files" (JSON)."""
NEVER_S: Final = 600.0


class Service:
    """All state of the peer."""

    def __init__(self, folder: Path | None = None) -> None:
        self.store = Store(folder)
        self.login = Login(self.store)
        self.faults = Faults()
        self.running = Running()
        self.generation: dict[int, int] = {}
        """How often a company's delta tokens were made void."""
        self.sent_after_s: dict[int, float] = {}
        """How long a company's sent messages stay in the outbox."""
        self.granted: dict[int, set[str]] = {}
        """In whose names a mailbox may send beside its own; `*`: in any."""
        self.notifier: Notifier | None = None
        """Made with the first subscription."""
        self._violations: list[str] = []
        self._lock = threading.Lock()
        self.stopped = threading.Event()

    def honest(self, company: int) -> str:
        """Return the domain of a company whose MIME is made anew, else nothing."""
        found = self.store.one("select domain from company where id=? and honest", company)
        return str(found[0]) if found else ""

    def may_send(self, owner: Mailbox, author: str) -> bool:
        """Say whether a mailbox may send in this name: its own, or one that was granted to it."""
        own = {owner.address, *(each.lower().removeprefix("smtp:") for each in owner.proxies)}
        granted = self.granted.get(owner.id, set())
        return author in own or author in granted or "*" in granted

    def violation(self, text: str) -> None:
        """Note that a client has asked, or the peer answered, what the description of the service does not have."""
        with self._lock:
            self._violations.append(text[:500])

    def violations(self) -> list[str]:
        """Return and forget them."""
        with self._lock:
            found, self._violations = self._violations, []
        return found

    def serve(self, method: str, target: str, headers: dict[str, str], body: bytes, origin: str) -> Answer:
        """Answer one request. `origin`: scheme and authority under which the client knows the service. Raises: Cut."""
        settle(self.store)
        path, _, query = target.partition("?")
        path = urllib.parse.unquote(path)
        call = Call(self, 0, "", method, path, _query(query), headers, body, origin + "/v1.0")
        return self._logged(call, lambda: self._answer(call, path))

    def part(self, call: Call, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """Answer a part of a batch, written down as a request of its own. Raises: Cut."""
        path, _, query = path.partition("?")
        path = urllib.parse.unquote(path).lstrip("/")
        inner = Call(self, call.company, call.user, method, f"/v1.0/{path}", _query(query), headers, body, call.base)
        return self._logged(inner, lambda: self._checked(inner, path))

    def meet(self, call: Call, work: Callable[[], Answer], told: Callable[[Trouble], Answer]) -> Answer:
        """Do a request's work, or what was ordered instead or besides. Raises: Cut."""
        fault = self.faults.strikes(call.company, call.operation, call.mailbox)
        try:
            if fault is not None:
                self._before(call, fault)
            answer = work()
        except Trouble as trouble:
            call.codes.append(trouble.code)
            answer = told(trouble)
        if fault is not None and fault.kind == "held":
            self._hold(call)
        if fault is not None and fault.kind in ("cut_after", "truncate"):
            octets = answer.octets()[0]
            raise Cut("cut", fault.how.get("at", len(octets) // 2) if fault.kind == "truncate" else None, octets)
        return answer

    def _answer(self, call: Call, path: str) -> Answer:
        if (answer := self.login.serve(call)) is not None:
            return answer
        if path.startswith("/upload/"):
            token = path.removeprefix("/upload/")
            uploads.name(call, token)
            return self.meet(call, lambda: uploads.put(call, token), _told)
        try:
            call.company, call.user = self.login.who(call.headers.get("authorization", ""))
        except Trouble as trouble:
            return _told(trouble)
        if not path.startswith("/v1.0/"):
            self.violation(f"{call.method} {path}: no such version of the service")
            return _told(Trouble("BadRequest", "Invalid version."))
        return self._checked(call, path.removeprefix("/v1.0/"))

    def _checked(self, call: Call, path: str) -> Answer:
        found = find(call.method, path.rstrip("/"))
        if found is None:
            self.violation(f"{call.method} /{path}: no such operation")
            return _told(Trouble("BadRequest", f"Resource not found for the segment '{path[:80]}'."))
        operation, values = found
        call.operation, call.mailbox = operation.name, values.get("user", "").lower()
        unknown = set(call.query) - operation.query
        if unknown:
            self.violation(f"{operation.name}: query options {sorted(unknown)}")
            return _told(Trouble("BadRequest", f"Query option '{min(unknown)}' is not allowed."))
        if len(call.body) > MAX_REQUEST_BYTES:
            return _told(Trouble("RequestEntityTooLarge", "The request is larger than the maximum allowed size."))

        def run() -> Answer:
            owner = {"owner": call.owner(values.pop("user"))} if "user" in values else {}
            return operation.handler(call, **owner, **values)

        try:
            with self.running.one_more(call.company, call.mailbox):
                answer = self.meet(call, run, _told)
        except Trouble as trouble:
            call.codes.append(trouble.code)
            answer = _told(trouble)
        for each in shapes.wrong_answer(operation.name, answer.body):
            self.violation(f"answer of {operation.name}: {each}")
        return answer

    def _before(self, call: Call, fault: Fault) -> None:
        how = fault.how
        match fault.kind:
            case "busy":
                wait = {"Retry-After": str(max(1, -(-int(how.get("ms", 0)) // 1000)))} if how.get("ms") else {}
                raise Trouble("ApplicationThrottled", "Application is over its limit.", headers=wait)
            case "http":
                wait = {"Retry-After": str(how["retry_after"])} if how.get("retry_after") is not None else {}
                close = {"Connection": "close"} if how.get("close") else {}
                raise Trouble(how.get("code", "UnknownError"), status=int(how["status"]), headers={**wait, **close})
            case "code" | "refuse":
                raise Trouble(str(how["code"]), status=how.get("status"))
            case "expire_sync":
                raise Trouble("syncStateNotFound", "The sync state generation is not found.")
            case "cut_before":
                raise Cut
            case "never":
                self._hold(call)
            case "slow":
                self.stopped.wait(float(how.get("seconds", 1)))

    def _hold(self, call: Call) -> None:
        """Keep a request without an answer. It is written down now, so that a test sees that it is held."""
        self._write_down(call, Answer(), "never")
        self.faults.wait_for_calm(NEVER_S)
        raise Cut("never")

    def _logged(self, call: Call, work: Callable[[], Answer]) -> Answer:
        answer, status = Answer(), "500"
        try:
            answer = work()
            status = str(answer.status)
        except Cut as cut:
            status = cut.status
            raise
        finally:
            if status != "never":
                self._write_down(call, answer, status)
        return answer

    def _write_down(self, call: Call, answer: Answer, status: str) -> None:
        octets, _ = answer.octets()
        kept = {name: value for name, value in call.headers.items() if name != "authorization"}
        self.store.do(
            "insert into request(company, operation, user, mailbox, body, answer, answered, codes, at, headers)"
            " values(?,?,?,?,?,?,?,?,?,?)",
            call.company, call.operation or call.path[:80], call.user, call.mailbox, call.body, octets, status,
            json.dumps(call.codes), call.began, json.dumps({**kept, ":target": f"{call.method} {call.path}"}),
        )  # fmt: skip


def _query(text: str) -> dict[str, str]:
    return dict(urllib.parse.parse_qsl(text, keep_blank_values=True))


def _told(trouble: Trouble) -> Answer:
    body: dict[str, Any] = trouble.body(str(uuid.uuid4()))
    return Answer(trouble.status, body, {"request-id": body["error"]["innerError"]["request-id"], **trouble.headers})
