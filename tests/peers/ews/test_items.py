"""Items of the peer: what they are made of, what a client gets of them, and how they change."""

from __future__ import annotations

import base64

import pytest

from tests.peers.ews.asking import Answer, Asker, extended, field, inbox_of, letter, tag
from tests.peers.ews.process import EwsCompany, EwsPeer

PROPERTY_SET = "0f7e9f2c-0001-4000-8000-00000000aaaa"
KEY = f'<t:ExtendedFieldURI PropertySetId="{PROPERTY_SET}" PropertyName="key" PropertyType="String"/>'
HELD = f"{PROPERTY_SET}/key"


@pytest.fixture
def here(ews_peer: EwsPeer) -> EwsCompany:
    return ews_peer.organisation("ann", "bob")


@pytest.fixture
def ann(here: EwsCompany) -> Asker:
    return Asker(here, mailbox=here.address("ann"))


def _id(answer: Answer) -> str:
    return answer.texts(".//t:ItemId/@Id")[0]


def _tag(number: str, kind: str, value: str) -> str:
    return extended(tag(number, kind), value)


def test_what_is_saved_is_a_read_draft_of_now(here: EwsCompany, ann: Asker) -> None:
    assert ann.create(letter()).codes == ["NoError"]
    (item,) = here.items("ann")
    assert (item.is_draft, item.is_read, item.octets) == (True, True, letter())


def test_with_flags_and_a_date_it_looks_delivered(here: EwsCompany, ann: Asker) -> None:
    more = _tag("0x0E07", "Integer", "0") + _tag("0x0E06", "SystemTime", "2001-02-03T04:05:06Z")
    ann.create(letter(), more=more + "<t:IsRead>false</t:IsRead>")
    (item,) = here.items("ann")
    assert (item.is_draft, item.is_read, item.received_at) == (False, False, 981173106.0)
    asked = "".join(field(each) for each in ("item:DateTimeReceived", "item:IsDraft", "message:IsRead"))
    answer = ann.get(item.id, asked)
    assert answer.texts(".//t:DateTimeReceived") == ["2001-02-03T04:05:06Z"]
    assert answer.texts(".//t:IsDraft") + answer.texts(".//t:IsRead") == ["false", "false"]


@pytest.mark.parametrize("spelled", ["1", "true"])
def test_a_boolean_has_two_spellings(here: EwsCompany, ann: Asker, spelled: str) -> None:
    ann.create(letter(), more=_tag("0x0E07", "Integer", "0") + f"<t:IsRead>{spelled}</t:IsRead>")
    assert here.items("ann")[0].is_read


def test_properties_of_a_message_come_from_its_mime(here: EwsCompany, ann: Asker) -> None:
    octets = (
        b"From: =?utf-8?q?J=C3=BCrgen?= <j@outside.example>\r\nSender: Office <o@outside.example>\r\n"
        b"To: Ann <ann@acme.example>, b@acme.example\r\nCc: c@acme.example\r\nSubject: =?utf-8?b?R3LDvMOfZQ==?=\r\n"
        b"Message-ID: <1@outside.example>\r\nIn-Reply-To: <0@x>\r\nReferences: <a@x> <0@x>\r\n"
        b"Importance: high\r\n\r\nText\r\n"
    )
    id = here.put("ann", octets)
    answer = ann.get(id, base="AllProperties")
    assert answer.texts(".//t:Subject") == ["Grüße"]
    assert answer.texts(".//t:From//t:Name") == ["Jürgen"]
    assert answer.texts(".//t:From//t:EmailAddress") == ["j@outside.example"]
    assert answer.texts(".//t:Sender//t:EmailAddress") == ["o@outside.example"]
    assert answer.texts(".//t:ToRecipients//t:EmailAddress") == ["ann@acme.example", "b@acme.example"]
    assert answer.texts(".//t:CcRecipients//t:EmailAddress") == ["c@acme.example"]
    assert answer.texts(".//t:InternetMessageId") == ["<1@outside.example>"]
    assert answer.texts(".//t:InReplyTo") == ["<0@x>"]
    assert answer.texts(".//t:References") == ["<a@x> <0@x>"]
    assert answer.texts(".//t:Importance") == ["High"]
    assert answer.texts(".//t:Body") == ["Text\r\n"]
    assert answer.texts(".//t:ItemClass") == ["IPM.Note"]


@pytest.mark.parametrize(
    ("number", "kind", "value"),
    [
        ("0x37", "String", "Hello"),
        ("0x0037", "String", "Hello"),
        ("55", "String", "Hello"),
        ("0x0C1A", "String", "Xaver"),
        ("0x5D01", "String", "x@outside.example"),
        ("0x0E04", "String", "ann@acme.example"),
        ("0x1035", "String", "<Hello@outside.example>"),
        ("0x0E06", "SystemTime", "2026-11-23T10:00:00Z"),
        ("0x0E07", "Integer", "0"),
        ("0x001A", "String", "IPM.Note"),
        ("0x0039", "SystemTime", "2026-11-23T10:00:00Z"),
    ],
)
def test_mapi_properties(here: EwsCompany, ann: Asker, number: str, kind: str, value: str) -> None:
    id = here.put("ann", letter(sender="Xaver <x@outside.example>"), received_at=1795428000)
    answer = ann.get(id, tag(number, kind))
    assert answer.texts(".//t:ExtendedProperty/t:Value") == [value]


def test_a_named_property_is_kept_and_one_that_is_not_there_is_left_out(here: EwsCompany, ann: Asker) -> None:
    answer = ann.create(letter(), more=extended(KEY, "k.1"))
    assert here.items("ann")[0].properties[HELD] == "k.1"
    assert ann.get(_id(answer), KEY).texts(".//t:Value") == ["k.1"]
    other = here.put("ann", letter("other"))
    assert ann.get(other, KEY).texts(".//t:ExtendedProperty") == []


def test_bad_base64_and_nothing_are_refused_by_item(ann: Asker) -> None:
    answer = ann.ask(
        '<m:CreateItem MessageDisposition="SaveOnly"><m:Items>'
        "<t:Message><t:MimeContent>!</t:MimeContent></t:Message>"
        f"<t:Message><t:MimeContent>{base64.b64encode(letter()).decode()}</t:MimeContent></t:Message>"
        "<t:Message><t:MimeContent></t:MimeContent></t:Message></m:Items></m:CreateItem>"
    )
    assert answer.codes == ["ErrorMimeContentInvalidBase64String", "NoError", "ErrorMimeContentInvalid"]


def test_a_full_mailbox_refuses_one_of_a_chunk(here: EwsCompany, ann: Asker) -> None:
    here.quota("ann", 700)
    encoded = [base64.b64encode(letter(each) + b"x" * size).decode() for each, size in (("a", 0), ("b", 900), ("c", 0))]
    made = "".join(f"<t:Message><t:MimeContent>{each}</t:MimeContent></t:Message>" for each in encoded)
    answer = ann.ask(f'<m:CreateItem MessageDisposition="SaveOnly"><m:Items>{made}</m:Items></m:CreateItem>')
    assert answer.codes == ["NoError", "ErrorQuotaExceeded", "NoError"]
    assert [each.subject for each in here.items("ann", "drafts")] == ["a", "c"]


def _update(
    ann: Asker, id: str, updates: str, how: str = 'ConflictResolution="AlwaysOverwrite"', key: str = ""
) -> Answer:
    said = f' ChangeKey="{key}"' if key else ""
    return ann.ask(
        f'<m:UpdateItem MessageDisposition="SaveOnly" {how}><m:ItemChanges><t:ItemChange><t:ItemId Id="{id}"{said}/>'
        f"<t:Updates>{updates}</t:Updates></t:ItemChange></m:ItemChanges></m:UpdateItem>"
    )


def _set(path: str, value: str) -> str:
    return f"<t:SetItemField>{path}<t:Message>{value}</t:Message></t:SetItemField>"


READ = _set(field("message:IsRead"), "<t:IsRead>true</t:IsRead>")


def test_updates(here: EwsCompany, ann: Asker) -> None:
    id = here.put("ann", letter())
    words = _set(field("item:Categories"), "<t:Categories><t:String>Red</t:String></t:Categories>")
    key = _set(KEY, extended(KEY, "v"))
    flag = _set(field("item:Flag"), "<t:Flag><t:FlagStatus>Flagged</t:FlagStatus></t:Flag>")
    subject = _set(field("item:Subject"), "<t:Subject>Grüße</t:Subject>")
    assert _update(ann, id, READ + words + key + flag + subject).codes == ["NoError"]
    (item,) = here.items("ann")
    assert (item.is_read, item.categories, item.properties) == (True, ("Red",), {HELD: "v", "0x1090": "2"})
    keywords = '<t:ExtendedFieldURI DistinguishedPropertySetId="PublicStrings" PropertyName="Keywords"'
    keywords += ' PropertyType="StringArray"/>'
    asked = keywords + field("item:Flag") + field("item:Subject")
    answer = ann.get(id, asked)
    assert answer.texts(".//t:Values/t:Value") + answer.texts(".//t:FlagStatus") == ["Red", "Flagged"]
    assert answer.texts(".//t:Subject") == ["Grüße"]
    _update(ann, id, f"<t:DeleteItemField>{KEY}</t:DeleteItemField>")
    assert HELD not in here.items("ann")[0].properties


def test_an_item_that_is_gone_is_told_by_itself(here: EwsCompany, ann: Asker) -> None:
    id = here.put("ann", letter())
    here.alter("ann", id, delete=True)
    assert _update(ann, id, READ).codes == ["ErrorItemNotFound"]
    assert ann.get(id).codes == ["ErrorItemNotFound"]


def test_change_keys(here: EwsCompany, ann: Asker) -> None:
    id = here.put("ann", letter())
    how = 'ConflictResolution="NeverOverwrite"'
    assert _update(ann, id, READ, how).codes == ["ErrorChangeKeyRequired"]
    old = ann.get(id).texts(".//t:ItemId/@ChangeKey")[0]
    assert _update(ann, id, READ, how, old).codes == ["NoError"]
    assert _update(ann, id, READ, how, old).codes == ["ErrorIrresolvableConflict"]
    assert ann.get(id).texts(".//t:ItemId/@ChangeKey")[0] != old


def _to(operation: str, id: str, folder: str) -> str:
    return (
        f'<m:{operation}><m:ToFolderId><t:DistinguishedFolderId Id="{folder}"/></m:ToFolderId>'
        f'<m:ItemIds><t:ItemId Id="{id}"/></m:ItemIds></m:{operation}>'
    )


def test_a_moved_item_has_another_id_and_its_properties(here: EwsCompany, ann: Asker) -> None:
    id = here.put("ann", letter(), extended={HELD: "k"}, categories=["Red"], received_at=1000000000)
    new = _id(ann.ask(_to("MoveItem", id, "junkemail")))
    assert new != id
    assert ann.get(id).codes == ["ErrorItemNotFound"]
    (item,) = here.items("ann", "junkemail")
    assert (item.id, item.properties, item.categories, item.received_at) == (new, {HELD: "k"}, ("Red",), 1000000000)
    assert here.items("ann") == []


def test_a_copy_leaves_what_it_is_of(here: EwsCompany, ann: Asker) -> None:
    id = here.put("ann", letter())
    ann.ask(_to("CopyItem", id, "junkemail"))
    assert [len(here.items("ann", each)) for each in ("inbox", "junkemail")] == [1, 1]


def test_to_another_mailbox_no_id_is_told(here: EwsCompany) -> None:
    id = here.put("ann", letter())
    there = inbox_of(here.address("bob"))
    answer = Asker(here).ask(
        f'<m:MoveItem><m:ToFolderId>{there}</m:ToFolderId><m:ItemIds><t:ItemId Id="{id}"/></m:ItemIds></m:MoveItem>'
    )
    assert answer.codes == ["NoError"]
    assert answer.texts(".//t:ItemId") == []
    assert len(here.items("bob")) == 1


@pytest.mark.parametrize(
    ("how", "where"),
    [("HardDelete", None), ("SoftDelete", "recoverableitemsdeletions"), ("MoveToDeletedItems", "deleteditems")],
)
def test_where_a_deleted_item_goes(here: EwsCompany, ann: Asker, how: str, where: str | None) -> None:
    id = here.put("ann", letter())
    answer = ann.ask(f'<m:DeleteItem DeleteType="{how}"><m:ItemIds><t:ItemId Id="{id}"/></m:ItemIds></m:DeleteItem>')
    assert answer.codes == ["NoError"]
    assert here.items("ann") == []
    if where is not None:
        assert len(here.items("ann", where)) == 1


def test_a_message_is_made_of_its_properties(here: EwsCompany, ann: Asker) -> None:
    answer = ann.ask(
        '<m:CreateItem MessageDisposition="SaveOnly"><m:Items><t:Message><t:Subject>Grüße</t:Subject>'
        '<t:Body BodyType="Text">Text</t:Body><t:ToRecipients><t:Mailbox><t:Name>Bob</t:Name>'
        "<t:EmailAddress>bob@acme.example</t:EmailAddress></t:Mailbox></t:ToRecipients><t:BccRecipients><t:Mailbox>"
        "<t:EmailAddress>secret@acme.example</t:EmailAddress></t:Mailbox></t:BccRecipients></t:Message></m:Items></m:CreateItem>"
    )
    assert answer.codes == ["NoError"]
    (item,) = here.items("ann", "drafts")
    assert b"To: Bob <bob@acme.example>" in item.octets
    assert b"secret" not in item.octets, "who is hidden stands beside the header"
    assert b"BCC: secret@acme.example" in item.shown, "and is seen in a draft"


@pytest.mark.parametrize(
    ("octets", "kind", "element"),
    [
        (b"Content-Type: text/plain\r\n\r\nx", "IPM.Note", "Message"),
        (b'Content-Type: multipart/signed; boundary="b"\r\n\r\n--b--', "IPM.Note.SMIME.MultipartSigned", "Message"),
        (b"Content-Type: application/pkcs7-mime\r\n\r\nx", "IPM.Note.SMIME", "Message"),
        (
            b"Content-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\n",
            "IPM.Schedule.Meeting.Request",
            "MeetingRequest",
        ),
        (
            b"Content-Type: text/calendar; method=CANCEL\r\n\r\nBEGIN:VCALENDAR\r\nMETHOD:CANCEL\r\n",
            "IPM.Schedule.Meeting.Canceled",
            "MeetingCancellation",
        ),
        (
            b"Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\n\r\nAction: failed\r\n--b--",
            "REPORT.IPM.Note.NDR",
            "Message",
        ),
    ],
)
def test_the_class_comes_from_the_mime(here: EwsCompany, ann: Asker, octets: bytes, kind: str, element: str) -> None:
    id = here.put("ann", octets)
    assert here.items("ann")[0].item_class == kind
    assert ann.get(id, field("item:ItemClass")).texts(f".//t:{element}/t:ItemClass") == [kind]


def test_attachments_are_listed_and_got(here: EwsCompany, ann: Asker) -> None:
    octets = (
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b\r\n'
        b'Content-Type: application/pdf; name="a.pdf"\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--b\r\n'
        b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ny\r\n--b--\r\n"
    )
    id = here.put("ann", octets)
    listed = ann.get(id, field("item:Attachments") + field("item:HasAttachments"))
    assert listed.texts(".//t:HasAttachments") == ["true"]
    assert listed.texts(".//t:Attachments/*/t:Name") == ["a.pdf", "inner"]
    asked = "".join(f'<t:AttachmentId Id="{each}"/>' for each in listed.texts(".//t:AttachmentId/@Id"))
    got = ann.ask(
        "<m:GetAttachment><m:AttachmentShape><t:IncludeMimeContent>true</t:IncludeMimeContent></m:AttachmentShape>"
        f"<m:AttachmentIds>{asked}</m:AttachmentIds></m:GetAttachment>"
    )
    assert got.codes == ["NoError", "NoError"]
    assert got.texts(".//t:FileAttachment/t:Content") == ["AAEC"]
    assert b"Subject: inner" in base64.b64decode(got.texts(".//t:ItemAttachment//t:MimeContent")[0])


def test_what_another_mailbox_has_no_room_for_stays(here: EwsCompany) -> None:
    id = here.put("ann", letter())
    here.quota("bob", 10)
    answer = Asker(here).ask(
        f"<m:MoveItem><m:ToFolderId>{inbox_of(here.address('bob'))}</m:ToFolderId>"
        f'<m:ItemIds><t:ItemId Id="{id}"/></m:ItemIds></m:MoveItem>'
    )
    assert answer.codes == ["ErrorQuotaExceeded"]
    assert [each.octets for each in here.items("ann")] == [letter()]
    assert here.items("bob") == []


def test_characters_that_xml_has_not_are_left_out(here: EwsCompany, ann: Asker) -> None:
    id = here.put(
        "ann", b"Subject: a\x01b =?utf-8?b?AXgLeQ==?=\r\nFrom: =?utf-8?q?A=00nn?= <a@x.example>\r\n\r\nx\x0cy\r\n"
    )
    answer = ann.get(id, base="AllProperties")
    assert answer.texts(".//t:Subject") == ["ab xy"]
    assert answer.texts(".//t:From//t:Name") == ["Ann"]
    assert answer.texts(".//t:Body") == ["xy\r\n"]
