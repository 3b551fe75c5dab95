"""What is read of answers: the shapes that the schema allows, and others."""

from __future__ import annotations

from typing import Any

import pytest
from lxml import etree

from connectors.exchange.ews.answer import answers
from connectors.exchange.ews.calls.folders import read_folders, read_more
from connectors.exchange.ews.calls.items import (
    read_addressed,
    read_created,
    read_delivered,
    read_mime,
    read_seen,
    take_mime,
)
from connectors.exchange.ews.calls.names import read_people, read_resolutions, read_total
from connectors.exchange.ews.calls.paths import Place
from connectors.exchange.ews.calls.sync import read_page
from connectors.exchange.organisation import Party, Ref
from connectors.exchange.properties import DELIVERY, PROPERTY_SET, TAKEN
from tests.connectors.exchange.ews.canned import M, T, answer, message

ANN = "ann@acme.example"


def told(operation: str, payload: str) -> Any:
    return answers(answer(operation, message(operation, payload)), operation)[0][0].element


def item(inner: str, kind: str = "Message") -> Any:
    return etree.fromstring(f'<t:{kind} xmlns:t="{T}" xmlns:m="{M}">{inner}</t:{kind}>')


def test_folders_of_every_class() -> None:
    found = read_folders(
        told(
            "FindFolder",
            '<m:RootFolder TotalItemsInView="3" IncludesLastItemInRange="false" IndexedPagingOffset="3"><t:Folders>'
            '<t:Folder><t:FolderId Id="F1" ChangeKey="C"/><t:ParentFolderId Id="P"/>'
            "<t:FolderClass>IPF.Note</t:FolderClass><t:DisplayName>A &amp; B</t:DisplayName>"
            "<t:TotalCount>7</t:TotalCount><t:UnreadCount>2</t:UnreadCount></t:Folder>"
            '<t:CalendarFolder><t:FolderId Id="F2"/></t:CalendarFolder>'
            "<t:Folder><t:DisplayName>no id</t:DisplayName></t:Folder>"
            "</t:Folders></m:RootFolder>",
        )
    )
    assert [(each.id, each.parent, each.name, each.total, each.unread) for each in found] == [
        ("F1", "P", "A & B", 7, 2),
        ("F2", "", "", None, None),
    ]


@pytest.mark.parametrize(
    ("root", "more"),
    [
        ('IndexedPagingOffset="5" IncludesLastItemInRange="false"', 5),
        ('IndexedPagingOffset="5" IncludesLastItemInRange="0"', 5),
        ('IndexedPagingOffset="5" IncludesLastItemInRange="1"', None),
        ('IndexedPagingOffset="x" IncludesLastItemInRange="false"', None),
        ("", None),
    ],
)
def test_whether_there_is_more(root: str, more: int | None) -> None:
    assert read_more(told("FindFolder", f"<m:RootFolder {root}/>")) == more
    assert read_more(told("FindFolder", "")) is None


def test_pages() -> None:
    page = read_page(
        told(
            "SyncFolderItems",
            "<m:SyncState>S2</m:SyncState><m:IncludesLastItemInRange>0</m:IncludesLastItemInRange><m:Changes>"
            '<t:Create><t:MeetingRequest><t:ItemId Id="I1" ChangeKey="C1"/><t:ItemClass>IPM.Schedule.Meeting.Request'
            "</t:ItemClass><t:DateTimeReceived>2023-11-14T22:13:20Z</t:DateTimeReceived><t:Size>512</t:Size>"
            f"<t:Categories><t:String>{TAKEN}</t:String></t:Categories><t:IsDraft>1</t:IsDraft>"
            "<t:InternetMessageId>&lt;a@b&gt;</t:InternetMessageId></t:MeetingRequest></t:Create>"
            '<t:Update><t:Item><t:ItemId Id="I2"/><t:Size>x</t:Size></t:Item></t:Update>'
            '<t:Delete><t:ItemId Id="I3" ChangeKey="C"/></t:Delete><t:Delete/>'
            '<t:ReadFlagChange><t:ItemId Id="I4"/><t:IsRead>true</t:IsRead></t:ReadFlagChange>'
            "<t:Create><t:Message/></t:Create></m:Changes>",
        ),
        ANN,
    )
    assert (page.token, page.more, page.gone) == ("S2", True, ("I3",))
    assert [each.ref for each in page.seen] == [Ref(ANN, "I1", "C1")]
    one = page.seen[0]
    assert (one.size, one.item_class, one.received_at) == (512, "IPM.Schedule.Meeting.Request", 1_700_000_000.0)
    assert (one.marked, one.draft, one.message_id) == (True, True, "<a@b>")
    assert [(each.ref.id, each.size, each.marked) for each in page.changed] == [("I2", 0, False)]


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("QUJD", b"ABC"), ("QU\r\nJD\n", b"ABC"), ("", b""), ("QUJ", None), ("QU*D", None), ("QUJD\u00e9", None),
        ("=QUJD", None),
    ],
)  # fmt: skip
def test_mime_is_base64_or_nothing(text: str, octets: bytes | None) -> None:
    payload = f'<m:Items><t:Message><t:MimeContent CharacterSet="UTF-8">{text}</t:MimeContent></t:Message></m:Items>'
    assert read_mime(told("GetItem", payload)) == octets


@pytest.mark.parametrize(
    ("answered", "left", "taken"),
    [
        (b"<a><t:MimeContent>QUJD</t:MimeContent></a>", b"<a><t:MimeContent>*0</t:MimeContent></a>", [b"ABC"]),
        (b'<MimeContent CharacterSet="UTF-8">QUI=</MimeContent><x:MimeContent>QQ==</x:MimeContent>',
         b'<MimeContent CharacterSet="UTF-8">*0</MimeContent><x:MimeContent>*1</x:MimeContent>', [b"AB", b"A"]),
        (b"<t:MimeContent>QU\r\nJD</t:MimeContent>", None, []),
        (b"<t:MimeContent>QUJ</t:MimeContent>", None, []),
        (b"<t:MimeContent></t:MimeContent><t:MimeContent/>", None, []),
        (b"<t:MimeContent>QUJD", None, []),
        (b"<t:MimeContentUTF8>QUJD</t:MimeContentUTF8>", None, []),
        (b"<a t:MimeContent='QUJD'/>", None, []),
        (b"", None, []),
    ],
)  # fmt: skip
def test_mime_is_taken_out_of_an_answer(answered: bytes, left: bytes | None, taken: list[bytes]) -> None:
    assert take_mime(answered) == (answered if left is None else left, taken)


def test_an_item_without_mime_has_none() -> None:
    assert read_mime(told("GetItem", "<m:Items><t:Message/></m:Items>")) is None
    assert read_mime(told("GetItem", "")) is None


def test_keys_are_read_from_our_own_property_alone() -> None:
    def one(id: str, set_: str, name: str, value: str) -> str:
        path = f'<t:ExtendedFieldURI PropertySetId="{set_}" PropertyName="{name}" PropertyType="String"/>'
        return (
            f'<t:Message><t:ItemId Id="{id}" ChangeKey="C"/><t:ExtendedProperty>{path}<t:Value>{value}</t:Value>'
            "</t:ExtendedProperty></t:Message>"
        )

    items = one("I1", PROPERTY_SET.upper(), DELIVERY, "1.1") + one("I2", PROPERTY_SET, "other", "1.2")
    items += one("I3", "00000000-0000-0000-0000-000000000000", DELIVERY, "1.3")
    found = read_delivered(told("FindItem", f"<m:RootFolder><t:Items>{items}</t:Items></m:RootFolder>"))
    assert found == [("1.1", "I1", "C")]


def test_created_items_may_go_untold() -> None:
    assert read_created(told("CreateItem", "<m:Items/>"), ANN) is None
    assert read_seen(item("<t:Size>3</t:Size>"), ANN) is None


def test_parties() -> None:
    def box(name: str, address: str, routing: str = "") -> str:
        kind = f"<t:RoutingType>{routing}</t:RoutingType>" if routing else ""
        return f"<t:Mailbox><t:Name>{name}</t:Name><t:EmailAddress>{address}</t:EmailAddress>{kind}</t:Mailbox>"

    found = read_addressed(
        item(
            f"<t:InReplyTo>&lt;1@x&gt;</t:InReplyTo><t:Sender>{box('S', 's@x.example', 'SMTP')}</t:Sender>"
            f"<t:ToRecipients>{box('Bob', '/o=x/cn=bob', 'ex')}{box('None', '')}</t:ToRecipients>"
            f"<t:BccRecipients>{box('', 'c@x.example')}</t:BccRecipients>"
        )
    )
    assert found.sender == Party("S", "s@x.example", "SMTP")
    assert found.to == (Party("Bob", "/o=x/cn=bob", "EX"),)
    assert found.bcc == (Party("", "c@x.example", "SMTP"),)
    assert (found.cc, found.received_by, found.in_reply_to) == ((), None, "<1@x>")
    assert read_addressed(item("")).sender is None


def test_resolutions() -> None:
    found = read_resolutions(
        told(
            "ResolveNames",
            '<m:ResolutionSet TotalItemsInView="3" IncludesLastItemInRange="true">'
            "<t:Resolution><t:Mailbox><t:Name>Bob Ray</t:Name><t:EmailAddress>bob@x.example</t:EmailAddress>"
            "<t:RoutingType>SMTP</t:RoutingType><t:MailboxType>Mailbox</t:MailboxType></t:Mailbox><t:Contact>"
            '<t:EmailAddresses><t:Entry Key="EmailAddress1">SMTP:bob@x.example</t:Entry><t:Entry Key="EmailAddress2">'
            'X500:/o=x/cn=bob</t:Entry><t:Entry Key="EmailAddress3">b@y.example</t:Entry></t:EmailAddresses>'
            "</t:Contact>"
            "</t:Resolution>"
            "<t:Resolution><t:Mailbox><t:Name>Old</t:Name><t:EmailAddress>/o=x/cn=old</t:EmailAddress>"
            "<t:RoutingType>EX</t:RoutingType><t:MailboxType>PublicDL</t:MailboxType></t:Mailbox><t:Contact>"
            '<t:EmailAddresses><t:Entry Key="EmailAddress1">smtp:old@x.example</t:Entry></t:EmailAddresses></t:Contact>'
            "</t:Resolution><t:Resolution/></m:ResolutionSet>",
        )
    )
    bob, old = found
    assert (bob.name, bob.smtp, bob.kind, bob.legacy_dn) == ("Bob Ray", "bob@x.example", "mailbox", None)
    assert bob.addresses == ("SMTP:bob@x.example", "X500:/o=x/cn=bob", "SMTP:b@y.example")
    assert (old.smtp, old.kind, old.legacy_dn) == ("old@x.example", "group", "/o=x/cn=old")


def test_people() -> None:
    def address(value: str, routing: str, kind: str = "Mailbox") -> str:
        return (
            f"<t:EmailAddress>{value}</t:EmailAddress><t:RoutingType>{routing}</t:RoutingType>"
            f"<t:MailboxType>{kind}</t:MailboxType>"
        )

    found = told(
        "FindPeople",
        "<m:People>"
        f"<t:Persona><t:PersonaType>Person</t:PersonaType><t:DisplayName>Ann</t:DisplayName><t:EmailAddress>"
        f"{address('ann@x.example', 'SMTP')}</t:EmailAddress><t:EmailAddresses><t:Address>"
        f"{address('ann@x.example', 'SMTP')}</t:Address><t:Address>{address('a@y.example', 'SMTP')}</t:Address>"
        f"<t:Address>{address('/o=x/cn=ann', 'EX')}</t:Address></t:EmailAddresses></t:Persona>"
        f"<t:Persona><t:PersonaType>DistributionList</t:PersonaType><t:EmailAddress>"
        f"{address('all@x.example', 'SMTP', 'PublicDL')}</t:EmailAddress></t:Persona>"
        f"<t:Persona><t:EmailAddress>{address('out@z.example', 'SMTP', 'Contact')}</t:EmailAddress></t:Persona>"
        "<t:Persona/></m:People><m:TotalNumberOfPeopleInView>9</m:TotalNumberOfPeopleInView>",
    )
    ann, everybody, outside = read_people(found)
    assert (ann.smtp, ann.addresses) == ("ann@x.example", ("SMTP:ann@x.example", "smtp:a@y.example"))
    assert (ann.legacy_dn, ann.kind, ann.name) == ("/o=x/cn=ann", "mailbox", "Ann")
    assert (everybody.kind, outside.kind) == ("group", "contact")
    assert read_total(found) == 9
    assert read_total(told("FindPeople", "")) == 0


def test_a_place_is_named_by_id_or_by_whose_it_is() -> None:
    text = [
        etree.tostring(each.element()).decode() for each in (Place(id="F<"), Place("inbox"), Place("inbox", "", ANN))
    ]
    assert "FolderId" in text[0]
    assert 'Id="F&lt;"' in text[0]
    assert "EmailAddress" not in text[1]
    assert f"EmailAddress>{ANN}<" in text[2]
