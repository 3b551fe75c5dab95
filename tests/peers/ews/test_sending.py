"""Sending: in one step or in two, to whom it goes, who is not seen, and who may not send."""

from __future__ import annotations

import base64

import pytest

from tests.peers.ews.asking import Answer, Asker
from tests.peers.ews.process import EwsCompany, EwsPeer


@pytest.fixture
def here(ews_peer: EwsPeer) -> EwsCompany:
    return ews_peer.organisation("ann", "bob", "carl")


@pytest.fixture
def ann(here: EwsCompany) -> Asker:
    return Asker(here, mailbox=here.address("ann"))


def _mail(here: EwsCompany, more: str = "", sender: str = "ann", to: str = "bob") -> bytes:
    return f"From: {here.address(sender)}\r\nTo: {here.address(to)}\r\n{more}Subject: S\r\n\r\nx\r\n".encode()


def _send(ann: Asker, id: str, key: str, keep: bool = True, folder: str = "") -> Answer:
    named = f"<m:SavedItemFolderId>{folder}</m:SavedItemFolderId>" if folder else ""
    return ann.ask(
        f'<m:SendItem SaveItemToFolder="{str(keep).lower()}"><m:ItemIds><t:ItemId Id="{id}" ChangeKey="{key}"/>'
        f"</m:ItemIds>{named}</m:SendItem>"
    )


@pytest.mark.parametrize(("how", "kept"), [("SendOnly", 0), ("SendAndSaveCopy", 1)])
def test_in_one_step(here: EwsCompany, ann: Asker, how: str, kept: int) -> None:
    encoded = base64.b64encode(_mail(here)).decode()
    answer = ann.ask(
        f'<m:CreateItem MessageDisposition="{how}"><m:Items><t:Message><t:MimeContent>{encoded}</t:MimeContent>'
        "</t:Message></m:Items></m:CreateItem>"
    )
    assert answer.codes == ["NoError"]
    assert answer.texts(".//t:ItemId") == [], "no id is told of what is sent"
    (got,) = here.items("bob")
    assert (got.is_read, got.is_draft, got.subject) == (False, False, "S")
    assert len(here.items("ann", "sentitems")) == kept


def test_in_two_steps(here: EwsCompany, ann: Asker) -> None:
    made = ann.create(_mail(here), folder="drafts")
    id, key = made.texts(".//t:ItemId/@Id")[0], made.texts(".//t:ItemId/@ChangeKey")[0]
    assert here.items("bob") == []
    assert _send(ann, id, "").codes == ["ErrorChangeKeyRequired"]
    assert _send(ann, id, key).codes == ["NoError"]
    assert len(here.items("bob")) == 1
    assert here.items("ann", "drafts") == []
    (kept,) = here.items("ann", "sentitems")
    assert (kept.is_draft, kept.is_read, kept.id == id) == (False, True, False)
    assert _send(ann, id, key).codes == ["ErrorItemNotFound"]


def test_without_a_copy_and_into_another_folder(here: EwsCompany, ann: Asker) -> None:
    for keep, folder in ((False, ""), (True, '<t:DistinguishedFolderId Id="junkemail"/>')):
        made = ann.create(_mail(here), folder="drafts")
        _send(ann, made.texts(".//t:ItemId/@Id")[0], made.texts(".//t:ItemId/@ChangeKey")[0], keep, folder)
    assert [len(here.items("ann", each)) for each in ("sentitems", "junkemail", "drafts")] == [0, 1, 0]


def test_a_copy_keeps_the_properties(here: EwsCompany, ann: Asker) -> None:
    set_ = "0f7e9f2c-0001-4000-8000-00000000aaaa"
    path = f'<t:ExtendedFieldURI PropertySetId="{set_}" PropertyName="key" PropertyType="String"/>'
    more = f"<t:ExtendedProperty>{path}<t:Value>k</t:Value></t:ExtendedProperty>"
    made = ann.create(_mail(here), folder="drafts", more=more)
    _send(ann, made.texts(".//t:ItemId/@Id")[0], made.texts(".//t:ItemId/@ChangeKey")[0])
    (kept,) = here.items("ann", "sentitems")
    assert kept.properties == {f"{set_}/key": "k"}
    assert here.items("bob")[0].properties == {}


def test_who_is_hidden_is_not_seen(here: EwsCompany, ann: Asker) -> None:
    more = f"Bcc: {here.address('carl')},\r\n x@outside.example\r\n"
    ann.create(_mail(here, more), disposition="SendAndSaveCopy", folder="sentitems")
    for name in ("bob", "carl"):
        (got,) = here.items(name)
        assert b"bcc" not in (got.octets + got.shown).lower()
    (kept,) = here.items("ann", "sentitems")
    assert f"BCC: {here.address('carl')}, x@outside.example".encode() in kept.shown
    (left,) = here.outside()
    assert (left.properties["to"], b"outside.example" in left.octets) == ("x@outside.example", False)


def test_lists_others_and_unknown_ones(here: EwsCompany, ann: Asker) -> None:
    everybody = here.group("everybody", "bob", "carl", "y@outside.example")
    here.proxy("carl", f"smtp:charles@{here.domain}")
    more = f"Cc: {everybody}, nobody@{here.domain}, charles@{here.domain}\r\n"
    ann.create(_mail(here, more), disposition="SendOnly")
    assert [len(here.items(each)) for each in ("bob", "carl")] == [1, 2], "each address once, as it is named"
    assert [each.properties["to"] for each in here.outside()] == ["y@outside.example"]
    (refusal,) = here.items("ann")
    assert refusal.item_class == "REPORT.IPM.Note.NDR"
    assert f"Final-recipient: RFC822;nobody@{here.domain}".encode() in refusal.octets


@pytest.mark.parametrize(
    ("header", "code"),
    [("Subject: x\r\n", "ErrorMissingRecipients"), ("To: nonsense\r\n", "ErrorInvalidRecipients")],
)
def test_recipients_are_looked_at(ann: Asker, header: str, code: str) -> None:
    assert ann.create(f"{header}\r\nx".encode(), disposition="SendOnly").codes == [code]


def test_who_may_send_as_another(here: EwsCompany, ann: Asker) -> None:
    mail = _mail(here, sender="carl")
    assert ann.create(mail, disposition="SendOnly").codes == ["ErrorSendAsDenied"]
    here.grant("ann", here.address("carl"))
    assert ann.create(mail, disposition="SendOnly").codes == ["NoError"]
    assert ann.create(b"From: x@outside.example\r\nTo: y@z.example\r\n\r\n", disposition="SendOnly").codes == [
        "ErrorSendAsDenied"
    ]
    here.grant("ann", "*")
    assert ann.create(b"From: x@outside.example\r\nTo: y@z.example\r\n\r\n", disposition="SendOnly").codes == [
        "NoError"
    ]
