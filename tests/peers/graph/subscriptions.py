"""Change notifications by POST to the client's own address.

The address is asked first, and has to answer the token it is given; only then is the subscription made. A notification
says that something changed and no more, may come more than once, and is not sent again when it is lost.
Source: learn.microsoft.com "Receive change notifications through webhooks", "subscription resource type": at most
10,080 minutes for mail without resource data.
"""

from __future__ import annotations

import http.client
import json
import queue
import re
import threading
import time
import urllib.parse
import uuid
from dataclasses import dataclass
from typing import Any, Final

from tests.peers.graph import ids, shapes
from tests.peers.graph.call import Answer, Call, operation
from tests.peers.graph.message import moment, seconds
from tests.peers.graph.service import Service
from tests.peers.graph.trouble import Trouble

LONGEST_S: Final = 10_080 * 60.0
_RESOURCE: Final = re.compile(r"/?users/([^/]+)(?:/mailFolders(?:/|\(')([^/')]+)(?:'\))?)?/messages", re.IGNORECASE)
_TIMEOUT_S: Final = 10.0


@dataclass(slots=True)
class Subscription:
    """Who wants to know of what, until when."""

    id: str
    company: int
    application: str
    mailbox: str
    folder: int | None
    resource: str
    kinds: tuple[str, ...]
    url: str
    state: str | None
    expires: float
    form: ids.Form


class Notifier:
    """Sends what is due from a thread of its own, so that no request waits for a client's answer."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.known: dict[str, Subscription] = {}
        self._due: queue.SimpleQueue[tuple[Subscription, dict[str, Any]]] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()
        service.store.noticed.append(self._noticed)

    def _noticed(self, folder: int, item: int, kind: str) -> None:
        for each in list(self.known.values()):
            if each.folder not in (None, folder) or kind not in each.kinds or each.expires < time.time():
                continue
            owner = self._service.store.mailbox(each.company, each.mailbox)
            found = owner and self._service.store.item(owner.id, item)
            if owner is None or (found is None and kind != "deleted"):
                continue
            if self._service.faults.strikes(each.company, "Notify", each.mailbox, "miss_events"):
                continue
            id = ids.item(item, found.moves if found else 0, each.form)
            resource = f"Users/{owner.guid}/Messages/{id}"
            told = {
                "subscriptionId": each.id, "subscriptionExpirationDateTime": moment(each.expires), "changeType": kind,
                "resource": resource, "clientState": each.state, "tenantId": str(uuid.UUID(int=each.company)),
                "resourceData": {"@odata.type": "#Microsoft.Graph.Message", "@odata.id": resource, "id": id},
            }  # fmt: skip
            self._due.put((each, told))

    def _run(self) -> None:
        while True:
            subscription, told = self._due.get()
            try:
                post(subscription.url, json.dumps({"value": [told]}).encode(), "application/json")
            except (OSError, http.client.HTTPException):
                continue


def post(url: str, body: bytes, kind: str) -> tuple[int, bytes]:
    """Send to a client's address and return status and content. Raises: OSError, HTTPException."""
    at = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(at.hostname or "", at.port or 80, timeout=_TIMEOUT_S)
    try:
        connection.request("POST", f"{at.path or '/'}?{at.query}".rstrip("?"), body, {"Content-Type": kind})
        answer = connection.getresponse()
        return answer.status, answer.read(65536)
    finally:
        connection.close()


@operation("Subscribe", "POST", "subscriptions")
def subscribe(call: Call) -> Answer:
    """Make a subscription, when the address has proved that it wants it."""
    body = _checked(call)
    found = _RESOURCE.fullmatch(str(body.get("resource")))
    kinds = tuple(each.strip() for each in str(body.get("changeType")).split(","))
    url, expires = str(body.get("notificationUrl")), _expires(body)
    if found is None or not set(kinds) <= {"created", "updated", "deleted"}:
        raise Trouble("InvalidRequest", "The resource or the changeType is not supported.", status=400)
    if len(body.get("clientState") or "") > 128:
        raise Trouble("InvalidRequest", "The clientState is longer than 128 characters.", status=400)
    owner = call.owner(found[1])
    folder = call.folder(owner, found[2]).id if found[2] else None
    token = f"Validation: Testing client application reachability for subscription Request-Id: {uuid.uuid4()}"
    try:
        joined = f"{url}{'&' if '?' in url else '?'}validationToken={urllib.parse.quote_plus(token)}"
        status, said = post(joined, b"", "text/plain; charset=utf-8")
    except (OSError, http.client.HTTPException):
        status, said = 0, b""
    if status != 200 or said != token.encode():
        text = "Subscription validation request failed. Notification endpoint must respond with 200 OK."
        raise Trouble("ValidationError", text, status=400)
    made = Subscription(
        str(uuid.uuid4()), call.company, call.user, owner.address, folder, str(body["resource"]), kinds, url,
        body.get("clientState"), expires, call.form,
    )  # fmt: skip
    _notifier(call).known[made.id] = made
    return Answer(201, {"@odata.context": f"{call.base}/$metadata#subscriptions/$entity", **_view(made)})


@operation("ListSubscriptions", "GET", "subscriptions")
def list_subscriptions(call: Call) -> Answer:
    """List the application's subscriptions."""
    found = [_view(each) for each in _notifier(call).known.values() if each.company == call.company]
    return Answer(200, {"@odata.context": f"{call.base}/$metadata#subscriptions", "value": found})


@operation("GetSubscription", "GET", "subscriptions/{id}")
def get_subscription(call: Call, id: str) -> Answer:
    """Return one subscription."""
    return Answer(200, {"@odata.context": f"{call.base}/$metadata#subscriptions/$entity", **_view(_find(call, id))})


@operation("RenewSubscription", "PATCH", "subscriptions/{id}")
def renew(call: Call, id: str) -> Answer:
    """Let a subscription last longer."""
    found, body = _find(call, id), _checked(call)
    found.expires = _expires(body)
    return Answer(200, {"@odata.context": f"{call.base}/$metadata#subscriptions/$entity", **_view(found)})


@operation("Unsubscribe", "DELETE", "subscriptions/{id}")
def unsubscribe(call: Call, id: str) -> Answer:
    """End a subscription."""
    del _notifier(call).known[_find(call, id).id]
    return Answer(204)


def _notifier(call: Call) -> Notifier:
    found = call.service.notifier
    if found is None:
        found = call.service.notifier = Notifier(call.service)
    return found


def _find(call: Call, id: str) -> Subscription:
    found = _notifier(call).known.get(id)
    if found is None or found.company != call.company:
        raise Trouble("ResourceNotFound", "The object was not found.")
    return found


def _checked(call: Call) -> dict[str, Any]:
    body = call.json()
    for each in shapes.wrong("subscription", body):
        call.service.violation(f"{call.operation}: {each}")
        raise Trouble("BadRequest", f"The request body is not valid: {each}")
    return body


def _expires(body: dict[str, Any]) -> float:
    try:
        expires = seconds(str(body.get("expirationDateTime")))
    except ValueError:
        expires = 0.0
    if not time.time() < expires <= time.time() + LONGEST_S:
        text = "Subscription expiration can only be 10080 minutes in the future."
        raise Trouble("ExtensionError", text, status=400)
    return expires


def _view(found: Subscription) -> dict[str, Any]:
    return {
        "id": found.id, "resource": found.resource, "applicationId": found.application,
        "changeType": ",".join(found.kinds), "clientState": found.state, "notificationUrl": found.url,
        "expirationDateTime": moment(found.expires), "latestSupportedTlsVersion": "v1_2",
    }  # fmt: skip
