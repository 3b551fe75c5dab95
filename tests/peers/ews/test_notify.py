"""Notifications: streams tell what happens in the folders of a subscription, and can be made to fail."""

from __future__ import annotations

import base64
import http.client
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.peers.ews.asking import NAMES, Asker, inbox_of, letter
from tests.peers.ews.auth import PASSWORD
from tests.peers.ews.process import EwsCompany, EwsPeer
from tests.peers.process import wait_until

ALL = ("NewMailEvent", "CreatedEvent", "DeletedEvent", "ModifiedEvent", "MovedEvent")


@pytest.fixture
def here(ews_peer: EwsPeer) -> EwsCompany:
    return ews_peer.organisation("ann", "bob")


@pytest.fixture
def ann(here: EwsCompany) -> Asker:
    return Asker(here, mailbox=here.address("ann"))


def _subscribe(ann: Asker, kind: str = "Streaming", folders: str = '<t:DistinguishedFolderId Id="inbox"/>') -> str:
    events = "".join(f"<t:EventType>{each}</t:EventType>" for each in ALL)
    more = "<t:Timeout>10</t:Timeout>" if kind == "Pull" else ""
    answer = ann.ask(
        f"<m:Subscribe><m:{kind}SubscriptionRequest><t:FolderIds>{folders}</t:FolderIds>"
        f"<t:EventTypes>{events}</t:EventTypes>{more}</m:{kind}SubscriptionRequest></m:Subscribe>"
    )
    assert answer.codes == ["NoError"], answer.raw
    return answer.texts(".//m:SubscriptionId")[0]


class _Stream:
    """An open GetStreamingEvents; what comes is gathered in a thread."""

    def __init__(self, company: EwsCompany, *ids: str, minutes: int = 1) -> None:
        listed = "".join(f"<t:SubscriptionId>{each}</t:SubscriptionId>" for each in ids)
        names = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMES.items())
        body = (
            f"<s:Envelope {names}><s:Body><m:GetStreamingEvents><m:SubscriptionIds>{listed}</m:SubscriptionIds>"
            f"<m:ConnectionTimeout>{minutes}</m:ConnectionTimeout></m:GetStreamingEvents></s:Body></s:Envelope>"
        )
        self._connection = http.client.HTTPConnection("127.0.0.1", company.peer.port, timeout=60)
        login = base64.b64encode(f"{company.username}:{PASSWORD}".encode()).decode()
        self._connection.request("POST", "/EWS/Exchange.asmx", body, {"Authorization": f"Basic {login}"})
        self._socket = self._connection.sock
        self.text = ""
        self.is_over = False
        self.answer = self._connection.getresponse()
        self._thread = threading.Thread(target=self._gather, daemon=True)
        self._thread.start()

    def _gather(self) -> None:
        try:
            while octets := self.answer.read1(65536):
                self.text += octets.decode()
        except (OSError, http.client.HTTPException):
            pass
        self.is_over = True

    def events(self) -> list[str]:
        return re.findall(r"<t:(\w+Event)>", self.text)

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(60)
        self.answer.close()
        self._connection.close()


@contextmanager
def _listening(company: EwsCompany, *ids: str) -> Iterator[_Stream]:
    stream = _Stream(company, *ids)
    try:
        wait_until(lambda: "ConnectionStatus>OK" in stream.text or stream.is_over, 60, "the stream is open")
        yield stream
    finally:
        stream.close()


def test_a_stream_tells_what_happens(here: EwsCompany, ann: Asker) -> None:
    with _listening(here, _subscribe(ann)) as stream:
        one = here.put("ann", letter())
        wait_until(lambda: stream.events() == ["NewMailEvent", "CreatedEvent"], 60, "of a new item")
        assert one in stream.text
        here.alter("ann", one, is_read=True)
        wait_until(lambda: stream.events()[2:] == ["ModifiedEvent"], 60, "of a read mark")
        here.alter("ann", one, move="junkemail")
        wait_until(lambda: stream.events()[3:] == ["MovedEvent"], 60, "of a move")
        assert f'<t:OldItemId Id="{one}"' in stream.text
        here.put("bob", letter())
        here.alter("ann", here.put("ann", letter(), folder="drafts"), delete=True)
        here.alter("ann", here.put("ann", letter()), delete=True)
        wait_until(lambda: stream.events()[-1] == "DeletedEvent", 60, "of a deletion")
        assert len(stream.events()) == 7, "nothing of other folders and mailboxes"


def test_what_happens_between_streams_is_told_by_the_next(here: EwsCompany, ann: Asker) -> None:
    id = _subscribe(ann)
    with _listening(here, id):
        pass
    wait_until(lambda: here.streams() == 0, 60, "the peer knows that it is over")
    here.put("ann", letter())
    with _listening(here, id) as stream:
        wait_until(lambda: stream.events() == ["NewMailEvent", "CreatedEvent"], 60, "it comes late")


def test_one_stream_for_several_mailboxes(here: EwsCompany, ann: Asker) -> None:
    bob = Asker(here, mailbox=here.address("bob"))
    ids = _subscribe(ann), _subscribe(bob)
    with _listening(here, *ids) as stream:
        here.put("ann", letter())
        here.put("bob", letter())
        wait_until(lambda: len(stream.events()) == 4, 60, "both are told")
        assert {each for each in ids if each in stream.text} == set(ids)


def test_an_unknown_subscription_ends_the_stream(here: EwsCompany, ann: Asker) -> None:
    id = _subscribe(ann)
    here.forget_subscriptions()
    stream = _Stream(here, id)
    wait_until(lambda: stream.is_over, 60, "it ends")
    assert "ErrorSubscriptionNotFound" in stream.text
    assert f"<t:SubscriptionId>{id}<" in stream.text
    assert "ConnectionStatus>Closed" in stream.text


def test_a_login_has_three_streams(here: EwsCompany, ann: Asker) -> None:
    open_now = [_Stream(here, _subscribe(ann)) for _ in range(3)]
    wait_until(lambda: here.streams() == 3, 60, "three are open")
    fourth = _Stream(here, _subscribe(ann))
    wait_until(lambda: fourth.is_over, 60, "the fourth ends")
    assert fourth.answer.status == 500
    assert "ErrorExceededConnectionCount" in fourth.text
    for each in open_now:
        each.close()
    wait_until(lambda: here.streams() == 0, 60, "those that were closed are not counted")


def test_a_stream_can_be_dropped(here: EwsCompany, ann: Asker) -> None:
    id = _subscribe(ann)
    with _listening(here, id) as stream:
        here.fault("GetStreamingEvents", "drop_stream")
        wait_until(lambda: stream.is_over, 60, "it ends")
        assert "Closed" not in stream.text
    here.put("ann", letter())
    with _listening(here, id) as stream:
        wait_until(lambda: stream.events() == ["NewMailEvent", "CreatedEvent"], 60, "nothing was lost")


def test_events_can_be_missed(here: EwsCompany, ann: Asker) -> None:
    with _listening(here, _subscribe(ann)) as stream:
        here.fault("*", "miss_events")
        here.put("ann", letter("lost"))
        here.calm()
        told = here.put("ann", letter("told"))
        wait_until(lambda: len(stream.events()) >= 2, 60, "the second is told")
        time.sleep(0.3)
        assert stream.events() == ["NewMailEvent", "CreatedEvent"]
        assert told in stream.text


def test_pull(here: EwsCompany, ann: Asker) -> None:
    id = _subscribe(ann, "Pull")

    def events() -> list[str]:
        answer = ann.ask(
            f"<m:GetEvents><m:SubscriptionId>{id}</m:SubscriptionId><m:Watermark>AAAA</m:Watermark></m:GetEvents>"
        )
        assert answer.codes == ["NoError"], answer.raw
        return re.findall(r"<t:(\w+Event)>", answer.raw.decode())

    assert events() == ["StatusEvent"]
    here.put("ann", letter())
    assert events() == ["NewMailEvent", "CreatedEvent"]
    assert ann.ask(f"<m:Unsubscribe><m:SubscriptionId>{id}</m:SubscriptionId></m:Unsubscribe>").codes == ["NoError"]
    assert ann.ask(f"<m:Unsubscribe><m:SubscriptionId>{id}</m:SubscriptionId></m:Unsubscribe>").codes == [
        "ErrorSubscriptionNotFound"
    ]


def test_a_subscription_is_of_one_mailbox(here: EwsCompany, ann: Asker) -> None:
    named = inbox_of(here.address("ann")) + inbox_of(here.address("bob"))
    answer = Asker(here).ask(
        f"<m:Subscribe><m:StreamingSubscriptionRequest><t:FolderIds>{named}</t:FolderIds>"
        "<t:EventTypes><t:EventType>NewMailEvent</t:EventType></t:EventTypes>"
        "</m:StreamingSubscriptionRequest></m:Subscribe>"
    )
    assert answer.codes == ["ErrorInvalidSubscriptionRequest"]
