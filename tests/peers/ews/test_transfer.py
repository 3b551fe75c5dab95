"""ExportItems and UploadItems: what comes out goes in again elsewhere, and is the same."""

from __future__ import annotations

from tests.peers.ews.asking import Answer, Asker, letter
from tests.peers.ews.process import EwsPeer


def _export(asker: Asker, id: str) -> Answer:
    return asker.ask(f'<m:ExportItems><m:ItemIds><t:ItemId Id="{id}"/></m:ItemIds></m:ExportItems>')


def _upload(asker: Asker, folder: str, data: str) -> Answer:
    return asker.ask(
        f'<m:UploadItems><m:Items><t:Item CreateAction="CreateNew"><t:ParentFolderId Id="{folder}"/>'
        f"<t:Data>{data}</t:Data></t:Item></m:Items></m:UploadItems>"
    )


def _folder(asker: Asker, role: str) -> str:
    answer = asker.ask(
        "<m:GetFolder><m:FolderShape><t:BaseShape>IdOnly</t:BaseShape></m:FolderShape>"
        f'<m:FolderIds><t:DistinguishedFolderId Id="{role}"/></m:FolderIds></m:GetFolder>'
    )
    return answer.texts(".//t:FolderId/@Id")[0]


def test_between_two_organisations(ews_peer: EwsPeer) -> None:
    here, there = ews_peer.organisation("ann"), ews_peer.organisation("ann")
    ann, other = Asker(here, mailbox=here.address("ann")), Asker(there, mailbox=there.address("ann"))
    more = {"categories": ["Red"], "is_read": True, "received_at": 1000000000, "extended": {"0x1090": 2}}
    id = here.put("ann", letter(), **more)
    exported = _export(ann, id)
    assert exported.texts(".//m:ItemId/@Id") == [id]
    (data,) = exported.texts(".//m:Data")
    uploaded = _upload(other, _folder(other, "inbox"), data)
    assert uploaded.codes == ["NoError"]
    (copy,) = there.items("ann")
    assert (copy.octets, copy.categories, copy.is_read) == (letter(), ("Red",), True)
    assert (copy.received_at, copy.properties) == (1000000000, {"0x1090": "2"})
    assert _export(other, copy.id).texts(".//m:Data") == [data]


def test_a_calendar_item_keeps_its_fields(ews_peer: EwsPeer) -> None:
    here = ews_peer.organisation("ann")
    ann = Asker(here, mailbox=here.address("ann"))
    made = ann.ask(
        '<m:CreateItem SendMeetingInvitations="SendToNone"><m:Items><t:CalendarItem><t:Subject>Lunch</t:Subject>'
        "<t:Start>2026-11-23T12:00:00Z</t:Start><t:End>2026-11-23T13:00:00Z</t:End><t:Location>Here</t:Location>"
        "</t:CalendarItem></m:Items></m:CreateItem>"
    )
    assert made.codes == ["NoError"]
    (data,) = _export(ann, made.texts(".//t:ItemId/@Id")[0]).texts(".//m:Data")
    copy = _upload(ann, _folder(ann, "calendar"), data).texts(".//m:ItemId/@Id")[0]
    asked = "".join(f'<t:FieldURI FieldURI="calendar:{each}"/>' for each in ("Start", "End", "Location"))
    answer = ann.get(copy, asked + '<t:FieldURI FieldURI="item:Subject"/>')
    assert answer.texts(".//t:CalendarItem/t:Start") == ["2026-11-23T12:00:00Z"]
    assert answer.texts(".//t:CalendarItem/t:Location") + answer.texts(".//t:Subject") == ["Here", "Lunch"]


def test_what_is_damaged_is_refused(ews_peer: EwsPeer) -> None:
    here = ews_peer.organisation("ann")
    ann = Asker(here, mailbox=here.address("ann"))
    (data,) = _export(ann, here.put("ann", letter())).texts(".//m:Data")
    assert _upload(ann, _folder(ann, "inbox"), data[:-8]).codes == ["ErrorCorruptData"]
