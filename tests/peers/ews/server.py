"""The peer's server: a request is known by its login, broken where a plan says so, validated, answered, validated."""

from __future__ import annotations

import threading
import time
import traceback
from collections import defaultdict, deque
from typing import Any, Final, NoReturn

from lxml import etree

from tests.peers.ews import autodiscover, schema, soap
from tests.peers.ews.auth import Door
from tests.peers.ews.call import Call
from tests.peers.ews.faults import Faults, Plan
from tests.peers.ews.http import Asked, Connection, Cut, Server
from tests.peers.ews.operations import HANDLERS, notify
from tests.peers.ews.soap import Element, ItemError, M, S, SoapFault, T
from tests.peers.ews.store import Store
from tests.peers.ews.subscriptions import Subscriptions

PATH: Final = "/ews/exchange.asmx"
_MOST_KEPT: Final = 256 * 1024 * 1024
"""Octets of requests and answers in the log, of all organisations."""


class Ews:
    """All that the peer is, but for its socket."""

    def __init__(self, store: Store, door: Door, *, lean: bool = False) -> None:
        """`lean`: it neither validates nor keeps a log, so that a measurement is not of that."""
        self.store = store
        self.door = door
        self.validator = schema.Validator()
        self.is_lean = lean
        self.faults: defaultdict[str, Faults] = defaultdict(Faults)
        self.log: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.violations: list[str] = []
        self._kept: deque[dict[str, Any]] = deque()
        self._octets = 0
        self.subscriptions = Subscriptions(store, lambda domain: self.faults[domain].has("miss_events"))
        self._lock = threading.Lock()

    def serve(self, connection: Connection, asked: Asked) -> None:
        """Answer one request."""
        if self.door.token(connection, asked):
            return
        login = self.door.login(connection, asked)
        if login is None:
            return
        if asked.path.lower() == autodiscover.PATH:
            autodiscover.serve(self.store, connection, asked)
            return
        if asked.path.lower() != PATH:
            connection.answer(404)
            return
        if not asked.body:
            connection.answer(200)
            return
        try:
            top = soap.parse(asked.body)
            body = top.find(f"{S}Body")[0]
        except (etree.XMLSyntaxError, TypeError, IndexError):
            self.violate(f"{login.user}: what was sent is no envelope")
            connection.answer(500, soap.fault(SoapFault("ErrorInvalidRequest", "The request is no envelope.")))
            return
        operation = soap.name(body)
        call = Call(self.store, login.domain, login.user, login.user, operation, body, self.subscriptions)
        call.is_service = login.is_service
        entry = self._logged(call, asked)
        try:
            self._check_header(top, asked)
            _act_for(call, top)
            entry["mailbox"] = call.mailbox
            self._work(connection, asked, call, entry)
        except SoapFault as raised:
            entry["codes"] = (raised.code,)
            self._send(connection, entry, 500, soap.fault(raised))

    def _work(self, connection: Connection, asked: Asked, call: Call, entry: dict[str, Any]) -> None:
        plan = self.faults[call.domain].take(call.operation, call.mailbox)
        kind = plan.kind if plan else ""
        if plan is not None and self._breaks_before(connection, call, entry, plan):
            return
        self._check(
            soap_body := schema.detached(call.body, asked.body),
            f"asked by {_agent(asked)}: {call.operation}",
            raises=True,
        )
        call.body = soap_body
        if call.operation == "GetStreamingEvents":
            self._stream(connection, call, entry, kind == "drop_stream")
            return
        handler = HANDLERS.get(call.operation)
        if handler is None:
            self.violate(f"{_agent(asked)} asked for {call.operation}, which is not served")
            raise SoapFault("ErrorInvalidOperation", f"{call.operation} is not served.")
        try:
            with self.store.transaction():
                answer = handler(call)
        except SoapFault:
            raise
        except ItemError as error:
            raise SoapFault(error.code, error.text) from None
        except Exception as error:
            # A mistake of the peer's own: the test is to fail by it, and not to take it for a connection that broke.
            self.violate(f"{call.operation} failed: {''.join(traceback.format_exception(error))[-1500:]}")
            raise SoapFault("ErrorInternalServerError", type(error).__name__) from error
        entry["codes"] = call.codes
        self._check(answer, f"answered to {call.operation}")
        if kind == "cut_after":
            entry["answered"] = "cut"
            raise Cut
        if kind == "held":
            self._never(connection, call, entry)
        octets = soap.envelope(answer)
        sent = (
            min(len(octets) - 1, int(plan.how.get("at") or len(octets) // 2)) if plan and kind == "truncate" else None
        )
        self._send(connection, entry, 200, octets, sent)

    def _stream(self, connection: Connection, call: Call, entry: dict[str, Any], drop: bool) -> None:
        entry["answered"] = "200"
        try:
            notify.stream(call, connection, self.subscriptions, lambda answer: self._check(answer, "streamed"), drop)
        except (Cut, OSError):
            entry["answered"] = "cut"
            raise
        finally:
            entry["codes"] = call.codes

    def _breaks_before(self, connection: Connection, call: Call, entry: dict[str, Any], plan: Plan) -> bool:
        """Do what a plan says before anything is done; say whether that was all."""
        how = plan.how
        if plan.kind == "slow":
            time.sleep(float(how.get("seconds", 1)))
        elif plan.kind == "refuse":
            call.refused = str(how["code"])
        elif plan.kind == "expire_sync":
            self.store.expire_sync(call.domain)
        elif plan.kind == "busy":
            text = "The server cannot service this request right now. Try again later."
            raise SoapFault("ErrorServerBusy", text, back_off_ms=int(how.get("ms", 0)) or None)
        elif plan.kind == "code":
            raise SoapFault(str(how["code"]))
        elif plan.kind == "http":
            headers = {"Retry_After": str(how["retry_after"])} if how.get("retry_after") is not None else {}
            headers |= {"Connection": "close"} if how.get("close") else {}
            entry["answered"] = str(how["status"])
            connection.answer(int(how["status"]), str(how.get("body", "")).encode(), "text/html", **headers)
            return True
        elif plan.kind == "cut_before":
            entry["answered"] = "cut"
            raise Cut
        elif plan.kind == "never":
            self._never(connection, call, entry)
        return False

    def _never(self, connection: Connection, call: Call, entry: dict[str, Any]) -> NoReturn:
        """Keep the connection without a word, until the fault is taken back or the client goes."""
        entry["answered"] = "never"
        calmed = self.faults[call.domain].calmed
        while not calmed.wait(0.2) and not connection.is_gone():
            pass
        raise Cut

    def _check(self, body: Element, what: str, raises: bool = False) -> None:
        if self.is_lean:
            return
        errors = self.validator.errors(body)
        if errors:
            self.violate(f"{what}: {'; '.join(errors)}")
            if raises:
                raise SoapFault("ErrorSchemaValidation", f"The request failed schema validation: {errors[0]}")

    def _check_header(self, top: Element, asked: Asked) -> None:
        errors = [] if self.is_lean else self.validator.header_errors(top.find(f"{S}Header"))
        if errors:
            self.violate(f"header of {_agent(asked)}: {'; '.join(errors)}")
            raise SoapFault("ErrorSchemaValidation", f"The request failed schema validation: {errors[0]}")

    def violate(self, text: str) -> None:
        with self._lock:
            self.violations.append(text)

    def _logged(self, call: Call, asked: Asked) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "operation": call.operation,
            "user": call.user,
            "mailbox": call.mailbox,
            "body": b"" if self.is_lean else asked.body,
            "answer": b"",
            "answered": "",
            "codes": (),
            "at": time.time(),
            "headers": {k: v if k != "authorization" else v.split(" ")[0] for k, v in asked.headers.items()},
        }
        if not self.is_lean:
            with self._lock:
                self.log[call.domain].append(entry)
                self._kept.append(entry)
                self._octets += len(asked.body)
        return entry

    def _keep(self, entry: dict[str, Any], answer: bytes) -> None:
        """Keep an answer; where all that is kept gets too large, the oldest requests keep their other facts alone."""
        with self._lock:
            entry["answer"] = answer
            self._octets += len(answer)
            while self._octets > _MOST_KEPT and len(self._kept) > 1:
                oldest = self._kept.popleft()
                self._octets -= len(oldest["body"]) + len(oldest["answer"])
                oldest["body"] = oldest["answer"] = b""

    def _send(
        self, connection: Connection, entry: dict[str, Any], status: int, octets: bytes, sent: int | None = None
    ) -> None:
        entry["answered"] = str(status) if sent is None else "cut"
        if not self.is_lean:
            self._keep(entry, octets)
        connection.answer(status, octets, sent=sent)


def _act_for(call: Call, top: Element) -> None:
    """Set the mailbox that is acted for, by the header ExchangeImpersonation. Raises: SoapFault."""
    said = top.find(f"{S}Header/{T}ExchangeImpersonation/{T}ConnectingSID")
    if said is None or not len(said):
        return
    if not call.is_service:
        raise SoapFault(
            "ErrorImpersonateUserDenied", "The account does not have permission to impersonate the requested user."
        )
    call.mailbox = call.check(said[0].text or "", item_level=False)


def _agent(asked: Asked) -> str:
    return asked.headers.get("user-agent", "?").split("/")[0]


__all__ = ["PATH", "Ews", "M", "Server"]
