"""Who wants to hear of what, and what they have not heard yet: the subscriptions of [MS-OXWSNTIF]."""

from __future__ import annotations

import itertools
import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.peers.ews import ids, shapes
from tests.peers.ews.properties import when
from tests.peers.ews.soap import Element, T, element, under
from tests.peers.ews.store import Change, Store

_TELL: Final = {
    "new": ("NewMailEvent", "CreatedEvent"),
    "create": ("CreatedEvent",),
    "update": ("ModifiedEvent",),
    "read": ("ModifiedEvent",),
    "delete": ("DeletedEvent",),
    "moved": ("MovedEvent",),
}


@dataclass(slots=True)
class Event:
    """What is told: the kind of event, when, and of which change."""

    kind: str
    at: float
    change: Change


@dataclass(slots=True)
class Subscription:
    """One: `folders` are those it is for, None: all of the mailbox. A stream sets `sink` while it listens."""

    id: str
    mailbox: str
    folders: frozenset[int] | None
    kinds: frozenset[str]
    waiting: deque[Event] = field(default_factory=deque)
    sink: queue.SimpleQueue[tuple[str, Event] | None] | None = None

    def wants(self, change: Change) -> bool:
        if change.mailbox != self.mailbox or change.kind == "left":
            return False
        was = change.was[1] if change.was else change.folder
        return self.folders is None or change.folder in self.folders or was in self.folders


class Subscriptions:
    """All of them; it listens to the store. `deaf`: whether an organisation's notifications are being lost."""

    def __init__(self, store: Store, deaf: Callable[[str], bool]) -> None:
        self._by_id: dict[str, Subscription] = {}
        self._by_mailbox: dict[str, list[Subscription]] = {}
        self._lock = threading.Lock()
        self._number = itertools.count(1)
        self._deaf = deaf
        self._open: dict[int, tuple[str, str, queue.SimpleQueue[tuple[str, Event] | None]]] = {}
        store.heard.append(self._heard)

    def _heard(self, change: Change) -> None:
        with self._lock:
            wanting = self._by_mailbox.get(change.mailbox)
            if not wanting or self._deaf(change.mailbox.partition("@")[2]):
                return
            for each in wanting:
                if not each.wants(change):
                    continue
                for kind in _TELL[change.kind]:
                    if kind in each.kinds:
                        event = Event(kind, time.time(), change)
                        if each.sink is not None:
                            each.sink.put((each.id, event))
                        else:
                            each.waiting.append(event)

    def add(self, mailbox: str, folders: frozenset[int] | None, kinds: frozenset[str]) -> Subscription:
        made = Subscription(str(uuid.uuid4()), mailbox, folders, kinds)
        with self._lock:
            self._by_id[made.id] = made
            self._by_mailbox.setdefault(mailbox, []).append(made)
        return made

    def remove(self, id: str) -> bool:
        """Forget a subscription; False where there is none."""
        with self._lock:
            found = self._by_id.pop(id, None)
            if found is not None:
                self._by_mailbox[found.mailbox].remove(found)
        return found is not None

    def get(self, id: str) -> Subscription | None:
        return self._by_id.get(id)

    def forget(self, domain: str) -> None:
        """Forget all of an organisation, as when its server is started anew."""
        for each in list(self._by_id.values()):
            if each.mailbox.endswith(f"@{domain}"):
                self.remove(each.id)

    # --- streams ---

    def listen(
        self, user: str, domain: str, wanted: Sequence[Subscription], most: int
    ) -> tuple[int, queue.SimpleQueue[tuple[str, Event] | None]] | None:
        """Begin a stream; None where the user has `most` open. None in its queue: it is to end without a word."""
        sink: queue.SimpleQueue[tuple[str, Event] | None] = queue.SimpleQueue()
        with self._lock:
            if sum(each[0] == user for each in self._open.values()) >= most:
                return None
            number = next(self._number)
            self._open[number] = (user, domain, sink)
            for each in wanted:
                each.sink = sink
                while each.waiting:
                    sink.put((each.id, each.waiting.popleft()))
        return number, sink

    def end(self, number: int, wanted: Sequence[Subscription]) -> None:
        """End a stream; what it did not tell is told to the next."""
        with self._lock:
            _, _, sink = self._open.pop(number)
            by_id = {each.id: each for each in wanted if each.sink is sink}
            for each in by_id.values():
                each.sink = None
            while not sink.empty():
                told = sink.get()
                if told is not None and told[0] in by_id:
                    by_id[told[0]].waiting.append(told[1])

    def drop(self, domain: str) -> None:
        """Let every open stream of an organisation end without a word."""
        with self._lock:
            for _, of, sink in self._open.values():
                if of == domain:
                    sink.put(None)

    def streams(self, domain: str) -> int:
        """Return how many streams an organisation has open."""
        with self._lock:
            return sum(each[1] == domain for each in self._open.values())


def notification(subscription: str, events: Sequence[Event], *, pull: tuple[str, bool] | None = None) -> Element:
    """Return a Notification; `pull`: the watermark it begins at, and whether there is more."""
    parts = [element(f"{T}SubscriptionId", subscription)]
    if pull is not None:
        parts += [element(f"{T}PreviousWatermark", pull[0]), element(f"{T}MoreEvents", "true" if pull[1] else "false")]
    parts += [_event(each, pull is not None) for each in events]
    return under(element(f"{T}Notification"), parts)


def watermark(number: int) -> str:
    """Return the watermark behind a change."""
    return ids.change_key(number)


def _event(event: Event, with_watermark: bool) -> Element:
    change = event.change
    made = element(f"{T}{event.kind}")
    if with_watermark:
        made.append(element(f"{T}Watermark", watermark(change.seq)))
    made.append(element(f"{T}TimeStamp", when(event.at)))
    made.append(shapes.item_id(change.item, 1))
    made.append(shapes.folder_id(change.folder, "ParentFolderId"))
    if change.was is not None and event.kind == "MovedEvent":
        old = shapes.item_id(change.was[0], 1)
        made.append(element(f"{T}OldItemId", **dict(old.attrib)))
        made.append(shapes.folder_id(change.was[1], "OldParentFolderId"))
    return made
