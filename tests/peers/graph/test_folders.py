"""Folders and the directory."""

from __future__ import annotations

import pytest

from tests.peers.graph.client import Client


def test_well_known_folders_are_found_by_name_and_id(graph: Client) -> None:
    for known, shown in (("inbox", "Inbox"), ("SentItems", "Sent Items"), ("drafts", "Drafts"), ("outbox", "Outbox")):
        found = graph.ask("GET", f"{graph.user()}/mailFolders/{known}")
        assert found["displayName"] == shown
        assert graph.ask("GET", f"{graph.user()}/mailFolders/{found['id']}")["id"] == found["id"]
    missing = graph.ask("GET", f"{graph.user()}/mailFolders/nowhere", status=404)
    assert missing["error"]["code"] == "ErrorItemNotFound"


def test_a_folder_is_made_found_renamed_moved_and_deleted(graph: Client) -> None:
    top = graph.ask("POST", f"{graph.user()}/mailFolders", json={"displayName": "Gatepost"}, status=201)
    below = f"{graph.user()}/mailFolders/{top['id']}/childFolders"
    inner = graph.ask("POST", below, json={"displayName": "Taken"}, status=201)
    assert inner["parentFolderId"] == top["id"]
    assert graph.company.folders("ann")[-2:] == ["Gatepost", "Gatepost/Taken"]
    again = graph.ask("POST", below, json={"displayName": "taken"}, status=409)
    assert again["error"]["code"] == "ErrorFolderExists"
    found = graph.ask("GET", below, params={"$filter": "displayName eq 'Taken'"})
    assert [each["id"] for each in found["value"]] == [inner["id"]]
    here = f"{graph.user()}/mailFolders/{inner['id']}"
    assert graph.ask("PATCH", here, json={"displayName": "Done"})["displayName"] == "Done"
    moved = graph.ask("POST", f"{here}/move", json={"destinationId": "inbox"}, status=201)
    assert (moved["id"], graph.company.folders("ann")[-1]) == (inner["id"], "inbox/Done")
    graph.ask("DELETE", here, status=204)
    assert "trash/Done" in graph.company.folders("ann")
    refused = graph.ask("DELETE", f"{graph.user()}/mailFolders/inbox", status=400)
    assert refused["error"]["code"] == "ErrorDeleteDistinguishedFolder"


def test_counts_are_of_what_lies_there(graph: Client) -> None:
    graph.company.put("ann", b"Subject: a\r\n\r\n")
    graph.company.put("ann", b"Subject: b\r\n\r\n", is_read=True)
    found = graph.ask("GET", f"{graph.user()}/mailFolders/inbox")
    assert (found["totalItemCount"], found["unreadItemCount"], found["childFolderCount"]) == (2, 1, 0)


def test_a_long_list_comes_in_pages(graph: Client) -> None:
    for at in range(12):
        graph.ask("POST", f"{graph.user()}/mailFolders", json={"displayName": f"f{at:02}"}, status=201)
    first = graph.ask("GET", f"{graph.user()}/mailFolders")
    assert len(first["value"]) == 10
    rest = graph.ask("GET", first["@odata.nextLink"])
    names = [each["displayName"] for each in first["value"] + rest["value"]]
    assert len(names) == len(set(names)) == 19
    assert "@odata.nextLink" not in rest


def test_the_directory_lists_users_groups_and_contacts(graph: Client) -> None:
    company = graph.company
    company.group("all", "ann", "bob")
    company.contact("carl", "carl@elsewhere.example")
    users = graph.ask("GET", "users", params={"$select": "mail,proxyAddresses"})["value"]
    assert [each["mail"] for each in users] == [company.address("ann"), company.address("bob")]
    assert users[0]["proxyAddresses"] == [f"SMTP:{company.address('ann')}", f"X500:{company.legacy_dn('ann')}"]
    assert [each["mail"] for each in graph.ask("GET", "groups")["value"]] == [company.address("all")]
    assert [each["mail"] for each in graph.ask("GET", "contacts")["value"]] == ["carl@elsewhere.example"]


@pytest.mark.parametrize(
    "text",
    [
        "proxyAddresses/any(p:p eq 'X500:{dn}')",
        "mail eq '{mail}'",
        "mail eq '{mail}' or proxyAddresses/any(x:x eq 'smtp:nobody')",
        "startswith(displayName,'bo') and not startsWith(mail,'x')".replace("startsWith", "startswith"),
    ],
)
def test_people_are_found_by_filter(graph: Client, text: str) -> None:
    dn, mail = graph.company.legacy_dn("bob"), graph.company.address("bob")
    found = graph.ask("GET", "users", params={"$filter": text.format(dn=dn, mail=mail)})
    assert [each["mail"] for each in found["value"]] == [mail]


def test_a_user_is_found_by_address_and_id(graph: Client) -> None:
    found = graph.ask("GET", graph.user())
    assert found["userPrincipalName"] == graph.company.address("ann")
    assert graph.ask("GET", f"users/{found['id']}")["mail"] == found["mail"]
    assert graph.ask("GET", "users/nobody@x", status=404)["error"]["code"] == "Request_ResourceNotFound"


def test_a_mailbox_out_of_service_says_so(graph: Client) -> None:
    graph.company.disable("ann")
    found = graph.ask("GET", f"{graph.user()}/messages", status=404)
    assert found["error"]["code"] == "MailboxNotEnabledForRESTAPI"
    graph.company.disable("ann", False)
    graph.ask("GET", f"{graph.user()}/messages")


def test_ids_are_translated_both_ways(graph: Client) -> None:
    graph.company.put("ann", b"Subject: a\r\n\r\n")
    plain = graph.ask("GET", f"{graph.user()}/messages")["value"][0]["id"]
    stable = graph.ask("GET", f"{graph.user()}/messages", headers={"Prefer": 'IdType="ImmutableId"'})["value"][0]["id"]
    assert plain != stable
    for source, target, given, expected in (
        ("restId", "restImmutableEntryId", plain, stable),
        ("restImmutableEntryId", "restId", stable, plain),
    ):
        body = {"inputIds": [given], "sourceIdType": source, "targetIdType": target}
        found = graph.ask("POST", f"{graph.user()}/translateExchangeIds", json=body)
        assert found["value"] == [{"sourceId": given, "targetId": expected}]
