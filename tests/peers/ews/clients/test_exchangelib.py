"""exchangelib, as its own users use it, against the peer: each step with the value it has to have.

Only its connections are made here; what the connector avoids of it (tests/connectors/exchange) is seen here as it is.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from exchangelib import (
    BASIC,
    DELEGATE,
    IMPERSONATION,
    NTLM,
    Account,
    Build,
    Configuration,
    Credentials,
    ExtendedProperty,
    FileAttachment,
    Folder,
    HTMLBody,
    Mailbox,
    Message,
    Version,
)
from exchangelib.errors import ErrorItemNotFound, ErrorQuotaExceeded, ErrorServerBusy, UnauthorizedError
from exchangelib.properties import NewMailEvent
from exchangelib.protocol import CachingProtocol, FailFast

from tests.peers.ews.asking import letter
from tests.peers.ews.auth import PASSWORD
from tests.peers.ews.process import EwsCompany, EwsPeer
from tests.peers.process import wait_until


class _Key(ExtendedProperty):
    property_set_id = "0f7e9f2c-0001-4000-8000-00000000aaaa"
    property_name = "key"
    property_type = "String"


@pytest.fixture
def here(ews_peer: EwsPeer) -> Iterator[EwsCompany]:
    Message.register("gatepost_key", _Key)
    yield ews_peer.organisation("ann", "bob")
    Message.deregister("gatepost_key")
    CachingProtocol.clear_cache()


def _account(here: EwsCompany, auth: str = BASIC, password: str = PASSWORD, **more: object) -> Account:
    said: dict[str, object] = {"version": Version(build=Build(15, 1, 2507, 57)), **more}
    access = said.pop("access_type", IMPERSONATION)
    user = f"{here.domain}\\svc" if auth == NTLM else here.username
    config = Configuration(
        service_endpoint=here.peer.url,
        credentials=Credentials(user, password),
        auth_type=auth,
        retry_policy=FailFast(),
        max_connections=4,
        **said,
    )
    return Account(here.address("ann"), config=config, autodiscover=False, access_type=access)


@pytest.fixture
def ann(here: EwsCompany) -> Account:
    return _account(here)


@pytest.mark.parametrize("auth", [BASIC, NTLM])
@pytest.mark.parametrize("access", [IMPERSONATION, DELEGATE])
def test_who_comes_in(here: EwsCompany, auth: str, access: str) -> None:
    here.put("ann", letter())
    assert _account(here, auth, access_type=access).inbox.total_count == 1
    (asked,) = [each for each in here.log("GetFolder") if b"inbox" in each.body][:1]
    assert (asked.user, b"ExchangeImpersonation" in asked.body) == (here.username, access == IMPERSONATION)
    assert asked.mailbox == (here.address("ann") if access == IMPERSONATION else here.username)


@pytest.mark.parametrize("auth", [BASIC, NTLM])
def test_a_wrong_password(here: EwsCompany, auth: str) -> None:
    with pytest.raises(UnauthorizedError):
        _account(here, auth, password="wrong").inbox.refresh()


def test_the_version_is_found(here: EwsCompany) -> None:
    assert _account(here, version=None).version.build == Build(15, 1, 2507, 57)


def test_messages_are_read(here: EwsCompany, ann: Account) -> None:
    here.put("ann", letter("=?utf-8?q?Gr=C3=BC=C3=9Fe?=", sender="Jan <jan@outside.example>"), received_at=1795428000)
    here.put("ann", letter("Second"), received_at=1795428060, is_read=True, categories=["Red"])
    found = list(ann.inbox.all().order_by("-datetime_received"))
    assert [each.subject for each in found] == ["Second", "Grüße"]
    assert [each.is_read for each in found] == [True, False]
    assert found[0].categories == ["Red"]
    first = found[1]
    assert (first.author.email_address, first.author.name) == ("jan@outside.example", "Jan")
    assert first.datetime_received == datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
    assert first.message_id == "<=?utf-8?q?Gr=C3=BC=C3=9Fe?=@outside.example>"
    assert first.text_body == "Body\r\n"
    assert first.mime_content == here.items("ann")[0].shown


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"subject": "Second"}, ["Second"]),
        ({"subject__icontains": "sec"}, ["Second"]),
        ({"is_read": False}, ["First"]),
        ({"is_read": True}, ["Second"]),
        ({"datetime_received__gt": datetime(2026, 11, 23, 10, 0, 30, tzinfo=UTC)}, ["Second"]),
        ({"gatepost_key": "k.2"}, ["Second"]),
        ({"gatepost_key__in": ["k.1", "k.2"]}, ["First", "Second"]),
        ({"gatepost_key__exists": False}, []),
        ({"categories__contains": ["Red"]}, ["Second"]),
    ],
)
def test_what_is_found(here: EwsCompany, ann: Account, wanted: dict[str, object], found: list[str]) -> None:
    key = "0f7e9f2c-0001-4000-8000-00000000aaaa/key"
    here.put("ann", letter("First"), received_at=1795428000, extended={key: "k.1"})
    more = {"is_read": True, "categories": ["Red"], "extended": {key: "k.2"}}
    here.put("ann", letter("Second"), received_at=1795428060, **more)
    assert sorted(each.subject for each in ann.inbox.filter(**wanted).only("subject")) == found
    assert ann.inbox.filter(**wanted).count() == len(found)


def test_a_message_from_mime_and_its_defaults(here: EwsCompany, ann: Account) -> None:
    made = Message(account=ann, folder=ann.inbox, mime_content=letter("Mime"), gatepost_key="k")
    made.save()
    (item,) = here.items("ann")
    assert item.octets == letter("Mime")
    assert item.properties["0f7e9f2c-0001-4000-8000-00000000aaaa/key"] == "k"
    assert item.id == made.id
    sent = here.log("CreateItem")[0].body
    assert b"<t:Importance>Normal</t:Importance>" in sent, "its defaults go along with the MIME"


def test_a_message_of_properties_is_sent(here: EwsCompany, ann: Account) -> None:
    made = Message(
        account=ann,
        folder=ann.sent,
        subject="Grüße",
        body=HTMLBody("<p>Hallo</p>"),
        to_recipients=[Mailbox(email_address=here.address("bob"))],
        bcc_recipients=[Mailbox(email_address="hidden@outside.example")],
    )
    made.send_and_save()
    (got,) = here.items("bob")
    assert b"hidden" not in got.octets
    assert [each.properties["to"] for each in here.outside()] == ["hidden@outside.example"]
    (kept,) = here.items("ann", "sentitems")
    assert b"BCC: hidden@outside.example" in kept.shown
    (seen,) = _account(here).sent.all()
    assert (seen.subject, seen.body.strip()) == ("Grüße", "<p>Hallo</p>")
    assert seen.bcc_recipients[0].email_address == "hidden@outside.example"


def test_items_are_changed_moved_copied_and_deleted(here: EwsCompany, ann: Account) -> None:
    here.put("ann", letter())
    item = ann.inbox.get()
    item.is_read, item.categories, item.gatepost_key = True, ["Blue"], "new"
    item.save(update_fields=["is_read", "categories", "gatepost_key"])
    (stored,) = here.items("ann")
    assert (stored.is_read, stored.categories) == (True, ("Blue",))
    assert stored.properties["0f7e9f2c-0001-4000-8000-00000000aaaa/key"] == "new"
    folder = Folder(parent=ann.msg_folder_root, name="Kept")
    folder.save()
    old = item.id
    item.move(to_folder=folder)
    assert item.id != old
    assert [each.id for each in here.items("ann", "Kept")] == [item.id]
    item.copy(to_folder=ann.inbox)
    assert len(here.items("ann")) == 1
    item.move_to_trash()
    assert [len(here.items("ann", each)) for each in ("Kept", "deleteditems")] == [0, 1]
    ann.inbox.get().delete()
    assert here.items("ann") == []


def test_folders(here: EwsCompany, ann: Account) -> None:
    one = Folder(parent=ann.msg_folder_root, name="One")
    one.save()
    Folder(parent=one, name="Two").save()
    assert (ann.msg_folder_root / "One" / "Two").name == "Two"
    one.name = "Uno"
    one.save(update_fields=["name"])
    assert {"Uno", "Uno/Two"} <= set(here.folders("ann"))
    one.delete()
    assert not [each for each in here.folders("ann") if each.startswith("Uno")]


def test_synchronisation(here: EwsCompany, ann: Account) -> None:
    first = here.put("ann", letter("1"))
    inbox = ann.inbox
    assert [(kind, item.id) for kind, item in inbox.sync_items(only_fields=["subject"])] == [("create", first)]
    here.alter("ann", first, is_read=True)
    second = here.put("ann", letter("2"))
    changes = [(kind, item[0].id if kind == "read_flag_change" else item.id) for kind, item in inbox.sync_items()]
    assert changes == [("read_flag_change", first), ("create", second)]
    here.alter("ann", first, delete=True)
    assert [(kind, item.id) for kind, item in inbox.sync_items()] == [("delete", first)]


def test_a_stream(here: EwsCompany, ann: Account) -> None:
    # Two connections: the stream holds one (exchangelib issue 906).
    ann.protocol.config.max_connections = 4
    id = ann.inbox.subscribe_to_streaming()
    got: list[str] = []

    def listen() -> None:
        for notification in ann.inbox.get_streaming_events(id, connection_timeout=1, max_notifications_returned=1):
            got.extend(each.item_id.id for each in notification.events if isinstance(each, NewMailEvent))

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    wait_until(lambda: here.streams() == 1, 60, "the stream is open")
    made = here.put("ann", letter())
    thread.join(60)
    assert got == [made]


def test_native_copies(here: EwsCompany, ann: Account) -> None:
    here.put("ann", letter(), categories=["Red"], is_read=True, received_at=1000000000)
    (data,) = ann.export(list(ann.inbox.all().only("id", "changekey")))
    ann.upload([(ann.junk, data)])
    (copy,) = here.items("ann", "junkemail")
    assert (copy.octets, copy.categories, copy.is_read, copy.received_at) == (letter(), ("Red",), True, 1000000000)
    assert ann.export(list(ann.junk.all().only("id", "changekey"))) == [data]


def test_attachments(here: EwsCompany, ann: Account) -> None:
    octets = (
        b'Subject: a\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\ntext\r\n--b\r\n'
        b'Content-Type: application/pdf; name="a.pdf"\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--b--\r\n'
    )
    here.put("ann", octets)
    item = ann.inbox.get()
    assert item.has_attachments
    (attachment,) = item.attachments
    assert isinstance(attachment, FileAttachment)
    assert (attachment.name, attachment.content_type, attachment.content) == ("a.pdf", "application/pdf", b"\0\1\2")


def test_the_directory(here: EwsCompany, ann: Account) -> None:
    here.contact("Carl Outside", "carl@outside.example")
    everybody = here.group("everybody", "ann", "bob")
    (found,) = ann.protocol.resolve_names(["bob"])
    assert (found.email_address, found.mailbox_type) == (here.address("bob"), "Mailbox")
    ((box, contact),) = ann.protocol.resolve_names([here.legacy_dn("bob")], return_full_contact_data=True)
    assert (box.email_address, contact.display_name) == (here.address("bob"), "Bob")
    members = ann.protocol.expand_dl(everybody)
    assert sorted(each.email_address for each in members) == [here.address("ann"), here.address("bob")]


def test_what_is_refused(here: EwsCompany, ann: Account) -> None:
    here.put("ann", letter())
    item = ann.inbox.get()
    here.alter("ann", here.items("ann")[0].id, delete=True)
    with pytest.raises(ErrorItemNotFound):
        item.refresh()
    here.quota("ann", 10)
    with pytest.raises(ErrorQuotaExceeded):
        Message(account=ann, folder=ann.inbox, mime_content=letter()).save()
    here.fault("FindItem", "busy", nth=1, ms=7000)
    with pytest.raises(ErrorServerBusy) as raised:
        list(ann.inbox.all())
    assert raised.value.back_off == 7.0
    assert list(ann.inbox.all()) == []
