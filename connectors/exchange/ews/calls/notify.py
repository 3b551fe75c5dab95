"""Notifications: a mailbox's folders subscribed, and a stream of what happens in them (MS-OXWSNTIF)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from exchangelib import Account

from connectors.exchange.ews.answer import Answer, CutOff, HttpFault, answers
from connectors.exchange.ews.call import LOST, Single
from connectors.exchange.ews.calls.paths import Place
from connectors.exchange.ews.xml import Element, M, T, element, local

EVENTS: Final = ("CreatedEvent", "MovedEvent", "NewMailEvent")
_END: Final = re.compile(rb"</(?:[A-Za-z_][\w.-]*:)?Envelope\s*>")
_END_OCTETS: Final = 64
_PIECE: Final = 65_536
_DOCUMENT: Final = 4 * 1024 * 1024
SILENCE_S: Final = 120.0
"""A stream says at least every 45 s that it lives."""


class Affine(Single):
    """The base of calls that must reach one mailbox server: that of the group's first mailbox, the anchor.

    Source: learn.microsoft.com "How to: Maintain affinity between a group of subscriptions and the Mailbox server".
    """

    prefer_affinity = True

    def __init__(self, account: Account, anchor: Account) -> None:
        super().__init__(account)
        self._anchor = anchor

    def _extra_headers(self) -> dict[str, str]:
        headers: dict[str, str] = super()._extra_headers()
        headers["X-AnchorMailbox"] = self._anchor.primary_smtp_address
        cookie = self._anchor.affinity_cookie
        if cookie:
            headers["Cookie"] = f"X-BackEndOverrideCookie={cookie}"
        headers.pop("X-BackEndOverrideCookie", None)
        return headers

    def _handle_response_cookies(self, session: Any) -> None:
        for cookie in session.cookies:
            if cookie.name == "X-BackEndOverrideCookie":
                self._anchor.affinity_cookie = cookie.value
        session.cookies.clear()  # they are the anchor's, and the session serves other groups too


class Subscribe(Affine):
    """Subscribes to folders of one mailbox; one answer."""

    SERVICE_NAME = "Subscribe"

    def ask(self, folders: Sequence[str]) -> list[Answer]:
        return self._answers(
            element(
                "m:Subscribe",
                element(
                    "m:StreamingSubscriptionRequest",
                    element("t:FolderIds", *(Place(id=each).element() for each in folders)),
                    element("t:EventTypes", *(element("t:EventType", text=each) for each in EVENTS)),
                ),
            )
        )


@dataclass(frozen=True, slots=True)
class Events:
    """What one document of a stream says: (subscription, folder) of what happened; subscriptions that are none."""

    happened: tuple[tuple[str, str], ...] = ()
    refused: tuple[str, ...] = ()
    code: str = "NoError"
    closed: bool = False


class GetStreamingEvents(Affine):
    """Reads a stream until the server closes it: a request whose answer is one document after the other."""

    SERVICE_NAME = "GetStreamingEvents"

    def __init__(self, account: Account, anchor: Account) -> None:
        super().__init__(account, anchor)
        self.timeout = (self.protocol.connect_timeout_s, max(self.protocol.timeout_s, SILENCE_S))

    def ask(self, subscriptions: Sequence[str], minutes: int, tell: Callable[[Events], None]) -> Events:
        """Tell of each document as it comes; return the last. Raises: Failure."""
        payload = element(
            "m:GetStreamingEvents",
            element("m:SubscriptionIds", *(element("t:SubscriptionId", text=each) for each in subscriptions)),
            element("m:ConnectionTimeout", text=str(minutes)),
        )
        with self.protocol.under_way(), self._open(payload) as response:
            if response.status_code != 200:
                # A fault is one document and its end.
                answers(self._read(response), self.SERVICE_NAME)
                raise HttpFault(response.status_code)
            return self._follow(response, time.monotonic() + minutes * 60 + SILENCE_S, tell)

    def _follow(self, response: Any, deadline: float, tell: Callable[[Events], None]) -> Events:
        last = Events()
        for document in self._documents(response, deadline):
            for answer in answers(document, self.SERVICE_NAME)[0]:
                last = read_events(answer)
                tell(last)
                if last.closed or not answer.ok:
                    # The server ends a stream of which one subscription is none.
                    response.close()
                    return last
        return last

    def _documents(self, response: Any, deadline: float) -> Iterator[bytes]:
        """Yield whole documents as they end. The library takes what comes octet by octet."""
        held = bytearray()
        looked = 0
        while True:
            if time.monotonic() > deadline:
                raise CutOff("the stream did not end in its time")
            try:
                piece = response.raw.read1(_PIECE, decode_content=False)
            except LOST as e:
                raise self._lost(e) from None
            if not piece:
                return
            held += piece
            while (end := _END.search(held, looked)) is not None:
                yield bytes(held[: end.end()]).lstrip()
                del held[: end.end()]
                looked = 0
            looked = max(0, len(held) - _END_OCTETS)
            if len(held) > _DOCUMENT:
                raise CutOff(f"a document of the stream is longer than {_DOCUMENT} octets")


def read_subscription(message: Element) -> str | None:
    """Return a new subscription's id."""
    return message.findtext(f"{M}SubscriptionId") or None


def read_events(answer: Answer) -> Events:
    """Return what a document of a stream says."""
    message = answer.element
    happened: dict[tuple[str, str], None] = {}
    for notification in message.iterfind(f"{M}Notifications/{T}Notification"):
        subscription = notification.findtext(f"{T}SubscriptionId") or ""
        for event in notification.iterchildren(tag="*"):
            if local(event) not in EVENTS:
                continue
            folder = event.find(f"{T}ParentFolderId")
            if folder is not None:
                happened[subscription, folder.get("Id", "")] = None
    refused = tuple(each.text or "" for each in message.iterfind(f"{M}ErrorSubscriptionIds/{{*}}SubscriptionId"))
    closed = message.findtext(f"{M}ConnectionStatus") == "Closed"
    return Events(tuple(happened), refused, answer.code, closed)
