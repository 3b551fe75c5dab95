"""Notifications: Subscribe, GetStreamingEvents, GetEvents, Unsubscribe ([MS-OXWSNTIF])."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from typing import Final

from tests.peers.ews import soap
from tests.peers.ews.call import Call, Payload
from tests.peers.ews.http import Connection, Cut
from tests.peers.ews.soap import (
    Element,
    ItemError,
    M,
    SoapFault,
    T,
    element,
    failure,
    name,
    response,
    success,
    truth,
    under,
)
from tests.peers.ews.subscriptions import Event, Subscription, Subscriptions, notification, watermark

HANGING: Final = 3
"""How many streams one account may have open: the throttling policy's HangingConnectionLimit."""
_HEARTBEAT_S: Final = 30.0
_MOST_EVENTS: Final = 50


def subscribe(call: Call) -> Element:
    def made(request: Element) -> Payload:
        if name(request) == "PushSubscriptionRequest":
            raise ItemError("ErrorInvalidSubscriptionRequest", "push subscriptions are not served")
        kinds = frozenset(each.text or "" for each in request.iterfind(f"{T}EventTypes/{T}EventType"))
        named = request.find(f"{T}FolderIds")
        folders = [call.folder(each) for each in named] if named is not None else []
        if truth(request.get("SubscribeToAllFolders")):
            mailbox, of = call.check(call.mailbox), None
        else:
            mailboxes = {each.mailbox for each in folders}
            if len(mailboxes) != 1:
                raise ItemError("ErrorInvalidSubscriptionRequest", "A subscription is for the folders of one mailbox.")
            mailbox, of = mailboxes.pop(), frozenset(each.id for each in folders)
        subscription = call.subscriptions.add(mailbox, of, kinds)
        mark = element(f"{M}Watermark", watermark(0)) if name(request) == "PullSubscriptionRequest" else None
        return element(f"{M}SubscriptionId", subscription.id), mark

    return call.answer(list(call.body)[:1], made)


def unsubscribe(call: Call) -> Element:
    def done(id_: Element) -> Payload:
        if not call.subscriptions.remove(id_.text or ""):
            raise ItemError("ErrorSubscriptionNotFound", "The subscription was not found.")
        return ()

    return call.answer([call.need("m:SubscriptionId")], done)


def get_events(call: Call) -> Element:
    before = call.need("m:Watermark").text or ""

    def told(id_: Element) -> Payload:
        found = call.subscriptions.get(id_.text or "")
        if found is None:
            raise ItemError("ErrorSubscriptionNotFound", "The subscription was not found.")
        events = [found.waiting.popleft() for _ in range(min(_MOST_EVENTS, len(found.waiting)))]
        made = notification(found.id, events, pull=(before, bool(found.waiting)))
        if not events:
            status = under(element(f"{T}StatusEvent"), [element(f"{T}Watermark", before)])
            made.append(status)
        return (made,)

    answer = call.answer([call.need("m:SubscriptionId")], told)
    for each in answer.iter(f"{T}Notification"):
        each.tag = f"{M}Notification"
    return answer


def stream(
    call: Call, connection: Connection, subscriptions: Subscriptions, check: Callable[[Element], None], drop: bool
) -> None:
    """Tell what happens until the time is over. `drop`: end it at once, cut. Raises: Cut, SoapFault."""
    wanted: list[Subscription] = []
    unknown: list[str] = []
    for each in call.body.iterfind(f"{M}SubscriptionIds/{T}SubscriptionId"):
        found = subscriptions.get(each.text or "")
        if found is None:
            unknown.append(each.text or "")
        else:
            wanted.append(found)

    def say(*payload: Element | None, error: ItemError | None = None) -> None:
        operation = "GetStreamingEvents"
        part = failure(operation, error, *payload) if error else success(operation, *payload)
        made = response(operation, [part])
        check(made)
        connection.chunk(soap.envelope(made))

    if unknown:
        connection.begin_chunks()
        listed = under(element(f"{M}ErrorSubscriptionIds"), [element(f"{T}SubscriptionId", each) for each in unknown])
        say(listed, error=ItemError("ErrorSubscriptionNotFound", "The subscription was not found."))
        say(element(f"{M}ConnectionStatus", "Closed"))
        connection.chunk(b"")
        call.codes = ("ErrorSubscriptionNotFound",)
        return
    begun = subscriptions.listen(call.user, call.domain, wanted, HANGING)
    if begun is None:
        raise SoapFault("ErrorExceededConnectionCount", "You have exceeded the available concurrent connections.")
    number, sink = begun
    end = time.monotonic() + 60 * int(call.need("m:ConnectionTimeout").text or 1)
    try:
        connection.begin_chunks()
        say(element(f"{M}ConnectionStatus", "OK"))
        call.codes = ("NoError",)
        if drop:
            raise Cut
        said_at = time.monotonic()
        while (now := time.monotonic()) < end:
            events = _next(sink, min(0.25, end - now))
            if events is None:
                raise Cut
            if events:
                listed = under(element(f"{M}Notifications"), [notification(*each) for each in events.items()])
                say(listed)
                said_at = now
            elif connection.is_gone():
                raise Cut
            elif now - said_at > _HEARTBEAT_S:
                say(element(f"{M}ConnectionStatus", "OK"))
                said_at = now
        say(element(f"{M}ConnectionStatus", "Closed"))
        connection.chunk(b"")
    finally:
        subscriptions.end(number, wanted)


def _next(sink: queue.SimpleQueue[tuple[str, Event] | None], patience_s: float) -> dict[str, list[Event]] | None:
    """Return what is to be told by subscription, nothing where nothing came; None: the stream is to end."""
    found: dict[str, list[Event]] = {}
    try:
        told = sink.get(timeout=max(0.0, patience_s))
        for _ in range(_MOST_EVENTS):
            if told is None:
                return None
            found.setdefault(told[0], []).append(told[1])
            told = sink.get_nowait()
        if told is not None:
            found.setdefault(told[0], []).append(told[1])
    except queue.Empty:
        pass
    return found


HANDLERS: Final[dict[str, Callable[[Call], Element]]] = {
    "Subscribe": subscribe,
    "Unsubscribe": unsubscribe,
    "GetEvents": get_events,
}
