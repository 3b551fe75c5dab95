"""Folders of the peer: what is there, what is found, what cannot be done to Exchange's own."""

from __future__ import annotations

import pytest

from tests.peers.ews.asking import Answer, Asker, inbox_of
from tests.peers.ews.process import EwsCompany, EwsPeer


@pytest.fixture
def here(ews_peer: EwsPeer) -> EwsCompany:
    return ews_peer.organisation("ann", "bob")


@pytest.fixture
def ann(here: EwsCompany) -> Asker:
    return Asker(here, mailbox=here.address("ann"))


def _create(
    ann: Asker, name: str, parent: str = '<t:DistinguishedFolderId Id="msgfolderroot"/>', kind: str = ""
) -> str:
    class_ = f"<t:FolderClass>{kind}</t:FolderClass>" if kind else ""
    answer = ann.ask(
        f"<m:CreateFolder><m:ParentFolderId>{parent}</m:ParentFolderId><m:Folders><t:Folder>{class_}"
        f"<t:DisplayName>{name}</t:DisplayName></t:Folder></m:Folders></m:CreateFolder>"
    )
    assert answer.codes == ["NoError"], answer.raw
    return answer.texts(".//t:FolderId/@Id")[0]


def _get(ann: Asker, which: str, base: str = "AllProperties", properties: str = "") -> Answer:
    wanted = f"<t:AdditionalProperties>{properties}</t:AdditionalProperties>" if properties else ""
    return ann.ask(
        f"<m:GetFolder><m:FolderShape><t:BaseShape>{base}</t:BaseShape>{wanted}</m:FolderShape>"
        f"<m:FolderIds>{which}</m:FolderIds></m:GetFolder>"
    )


def test_a_folder_counts_what_is_in_it(here: EwsCompany, ann: Asker) -> None:
    here.put("ann", b"Subject: 1\r\n\r\n\r\n")
    here.put("ann", b"Subject: 2\r\n\r\n\r\n", is_read=True)
    answer = _get(ann, '<t:DistinguishedFolderId Id="inbox"/>')
    assert answer.texts(".//t:TotalCount") == ["2"]
    assert answer.texts(".//t:UnreadCount") == ["1"]
    assert answer.texts(".//t:DisplayName") == ["Inbox"]
    assert answer.texts(".//t:FolderClass") == ["IPF.Note"]


def test_mapi_counts_are_the_same(here: EwsCompany, ann: Asker) -> None:
    here.put("ann", b"Subject: 1\r\n\r\n\r\n")
    tags = ("0x3602", "0x3603", "0x3613", "0x360a")
    asked = "".join(
        f'<t:ExtendedFieldURI PropertyTag="{tag}" PropertyType="{"String" if tag == "0x3613" else "Integer"}"/>'
        for tag in tags
    )
    answer = _get(ann, '<t:DistinguishedFolderId Id="inbox"/>', "IdOnly", asked)
    assert answer.texts(".//t:Value") == ["1", "1", "IPF.Note", "false"]


def test_each_part_has_its_own_answer(ann: Asker) -> None:
    answer = _get(
        ann, '<t:DistinguishedFolderId Id="inbox"/><t:FolderId Id="AAAA"/><t:DistinguishedFolderId Id="favorites"/>'
    )
    assert answer.codes == ["NoError", "ErrorInvalidIdMalformed", "ErrorFolderNotFound"]


def test_a_folder_is_made_found_and_made_once(here: EwsCompany, ann: Asker) -> None:
    made = _create(ann, "Gatepost")
    _create(ann, "Taken", f'<t:FolderId Id="{made}"/>')
    assert {"Gatepost", "Gatepost/Taken"} <= set(here.folders("ann"))
    again = ann.ask(
        '<m:CreateFolder><m:ParentFolderId><t:DistinguishedFolderId Id="msgfolderroot"/></m:ParentFolderId>'
        "<m:Folders><t:Folder><t:DisplayName>gatepost</t:DisplayName></t:Folder></m:Folders></m:CreateFolder>"
    )
    assert again.codes == ["ErrorFolderExists"]


@pytest.mark.parametrize(("traversal", "found"), [("Shallow", ["One"]), ("Deep", ["One", "Two"])])
def test_traversal(ann: Asker, traversal: str, found: list[str]) -> None:
    one = _create(ann, "One")
    _create(ann, "Two", f'<t:FolderId Id="{one}"/>')
    answer = ann.ask(
        f'<m:FindFolder Traversal="{traversal}"><m:FolderShape><t:BaseShape>Default</t:BaseShape></m:FolderShape>'
        '<m:Restriction><t:Or><t:IsEqualTo><t:FieldURI FieldURI="folder:DisplayName"/><t:FieldURIOrConstant>'
        '<t:Constant Value="One"/></t:FieldURIOrConstant></t:IsEqualTo><t:IsEqualTo>'
        '<t:FieldURI FieldURI="folder:DisplayName"/><t:FieldURIOrConstant><t:Constant Value="Two"/>'
        "</t:FieldURIOrConstant></t:IsEqualTo></t:Or></m:Restriction>"
        '<m:ParentFolderIds><t:DistinguishedFolderId Id="msgfolderroot"/></m:ParentFolderIds></m:FindFolder>'
    )
    assert answer.texts(".//t:DisplayName") == found
    assert answer.texts(".//m:RootFolder/@TotalItemsInView") == [str(len(found))]
    assert answer.texts(".//m:RootFolder/@IncludesLastItemInRange") == ["true"]


def test_a_folder_is_renamed_moved_and_deleted(here: EwsCompany, ann: Asker) -> None:
    one, two = _create(ann, "One"), _create(ann, "Two")
    renamed = ann.ask(
        f'<m:UpdateFolder><m:FolderChanges><t:FolderChange><t:FolderId Id="{one}"/><t:Updates><t:SetFolderField>'
        '<t:FieldURI FieldURI="folder:DisplayName"/><t:Folder><t:DisplayName>Uno</t:DisplayName></t:Folder>'
        "</t:SetFolderField></t:Updates></t:FolderChange></m:FolderChanges></m:UpdateFolder>"
    )
    assert renamed.codes == ["NoError"]
    moved = ann.ask(
        f'<m:MoveFolder><m:ToFolderId><t:FolderId Id="{two}"/></m:ToFolderId>'
        f'<m:FolderIds><t:FolderId Id="{one}"/></m:FolderIds></m:MoveFolder>'
    )
    assert moved.codes == ["NoError"]
    assert "Two/Uno" in here.folders("ann")
    gone = ann.ask(
        f'<m:DeleteFolder DeleteType="HardDelete"><m:FolderIds><t:FolderId Id="{two}"/></m:FolderIds></m:DeleteFolder>'
    )
    assert gone.codes == ["NoError"]
    assert not {"Two", "Two/Uno"} & set(here.folders("ann"))


def test_exchanges_own_folders_stay(ann: Asker) -> None:
    answer = ann.ask(
        '<m:DeleteFolder DeleteType="HardDelete"><m:FolderIds><t:DistinguishedFolderId Id="inbox"/></m:FolderIds>'
        "</m:DeleteFolder>"
    )
    assert answer.codes == ["ErrorDeleteDistinguishedFolder"]


def test_the_hierarchy_is_synchronised(ann: Asker) -> None:
    def sync(state: str) -> tuple[list[str], list[str], str]:
        said = f"<m:SyncState>{state}</m:SyncState>" if state else ""
        answer = ann.ask(
            "<m:SyncFolderHierarchy><m:FolderShape><t:BaseShape>Default</t:BaseShape></m:FolderShape>"
            f"{said}</m:SyncFolderHierarchy>"
        )
        made = answer.texts(".//t:Create//t:DisplayName")
        return made, answer.texts(".//t:Delete/t:FolderId/@Id"), answer.texts(".//m:SyncState")[0]

    made, _, state = sync("")
    assert "Inbox" in made
    new = _create(ann, "New")
    made, gone, state = sync(state)
    assert (made, gone) == (["New"], [])
    ann.ask(
        f'<m:DeleteFolder DeleteType="HardDelete"><m:FolderIds><t:FolderId Id="{new}"/></m:FolderIds></m:DeleteFolder>'
    )
    made, gone, _ = sync(state)
    assert (made, gone) == ([], [new])


def test_who_may_open_what(here: EwsCompany) -> None:
    bobs = inbox_of(here.address("bob"))
    assert _get(Asker(here), bobs).codes == ["NoError"], "the service account is a delegate of all"
    assert _get(Asker(here, user=here.address("ann")), bobs).codes == ["ErrorAccessDenied"]
    assert _get(Asker(here, user=here.address("ann"), mailbox=here.address("bob")), bobs).codes == [
        "ErrorImpersonateUserDenied"
    ]
    assert _get(Asker(here, mailbox=f"nobody@{here.domain}"), bobs).codes == ["ErrorNonExistentMailbox"]
    here.disable("bob")
    assert _get(Asker(here), bobs).codes == ["ErrorAccountDisabled"]


@pytest.mark.parametrize(("how", "trash"), [("MoveToDeletedItems", 2), ("HardDelete", 0)])
def test_a_folder_is_emptied(here: EwsCompany, ann: Asker, how: str, trash: int) -> None:
    for each in "12":
        here.put("ann", f"Subject: {each}\r\n\r\n".encode())
    answer = ann.ask(
        f'<m:EmptyFolder DeleteType="{how}" DeleteSubFolders="false"><m:FolderIds>'
        '<t:DistinguishedFolderId Id="inbox"/></m:FolderIds></m:EmptyFolder>'
    )
    assert answer.codes == ["NoError"]
    assert [len(here.items("ann", each)) for each in ("inbox", "deleteditems")] == [0, trash]
