"""Changes of a folder: none is left out, whatever happens between two pages."""

from __future__ import annotations

from typing import Any

import pytest

from tests.peers.graph.client import IMMUTABLE, Client


def _put(graph: Client, *names: str) -> list[str]:
    return [graph.company.put("ann", f"Subject: {name}\r\n\r\n".encode(), received_at=1_767_225_600) for name in names]


def _round(
    graph: Client, path: str, *, size: int = 2, query: dict[str, str] | None = None
) -> tuple[list[dict[str, Any]], str, int]:
    """Follow the links to the end of a round: entries, the link to the next one, and how many pages it took."""
    headers = {"Prefer": f"{IMMUTABLE['Prefer']}, odata.maxpagesize={size}"}
    entries: list[dict[str, Any]] = []
    found = graph.ask("GET", path, headers=headers, params=query)
    pages = 1
    while True:
        entries += found["value"]
        if "@odata.deltaLink" in found:
            assert "@odata.nextLink" not in found
            return entries, found["@odata.deltaLink"], pages
        found, pages = graph.ask("GET", found["@odata.nextLink"], headers=headers), pages + 1


def test_the_first_round_is_what_lies_there_and_later_ones_what_changed(graph: Client) -> None:
    ids = _put(graph, "a", "b", "c", "d", "e")
    entries, link, pages = _round(graph, f"{graph.user()}/mailFolders/inbox/messages/delta")
    assert ([each["id"] for each in entries], pages) == (ids, 3)
    assert _round(graph, link)[0] == []
    more = _put(graph, "f")
    graph.company.alter("ann", ids[1], is_read=True)
    graph.company.alter("ann", ids[2], delete=True)
    graph.company.alter("ann", ids[3], move="archive")
    entries, link, _ = _round(graph, link)
    by_id = {each["id"]: each for each in entries}
    assert set(by_id) == {*more, *ids[1:4]}
    assert by_id[ids[1]]["isRead"] is True
    for gone in ids[2:4]:
        assert by_id[gone]["@removed"] == {"reason": "deleted"}
    assert _round(graph, link)[0] == []


def test_the_query_of_the_first_request_holds_for_all(graph: Client) -> None:
    _put(graph, "a", "b", "c")
    entries, link, pages = _round(
        graph, f"{graph.user()}/mailFolders/inbox/messages/delta", query={"$select": "isDraft"}
    )
    assert pages == 2
    assert all(set(each) == {"@odata.type", "@odata.etag", "id", "isDraft"} for each in entries)
    _put(graph, "d")
    assert set(_round(graph, link)[0][0]) == {"@odata.type", "@odata.etag", "id", "isDraft"}


def test_what_changes_between_two_pages_comes_in_the_next_round(graph: Client) -> None:
    ids = _put(graph, "a", "b", "c", "d")
    headers = {"Prefer": f"{IMMUTABLE['Prefer']}, odata.maxpagesize=2"}
    first = graph.ask("GET", f"{graph.user()}/mailFolders/inbox/messages/delta", headers=headers)
    graph.company.alter("ann", ids[0], delete=True)
    late = _put(graph, "e")
    entries, link, _ = _round(graph, first["@odata.nextLink"])
    seen = {each["id"] for each in first["value"] + entries if "@removed" not in each}
    assert seen >= set(ids[1:])
    entries, _, _ = _round(graph, link)
    assert {each["id"] for each in entries} == {ids[0], *late}


def test_default_ids_of_what_was_moved_away_are_those_that_were_given_out(graph: Client) -> None:
    _put(graph, "a")
    path = f"{graph.user()}/mailFolders/inbox/messages/delta"
    first = graph.ask("GET", path)
    id = first["value"][0]["id"]
    graph.ask("POST", f"{graph.user()}/messages/{id}/move", json={"destinationId": "archive"}, status=201)
    assert graph.ask("GET", first["@odata.deltaLink"])["value"][0]["id"] == id


def test_a_message_moved_away_and_back_is_there(graph: Client) -> None:
    ids = _put(graph, "a")
    _, link, _ = _round(graph, f"{graph.user()}/mailFolders/inbox/messages/delta")
    graph.company.alter("ann", ids[0], move="archive")
    graph.company.alter("ann", ids[0], move="inbox")
    entries, _, _ = _round(graph, link)
    assert [(each["id"], "@removed" in each) for each in entries] == [(ids[0], False)]


@pytest.mark.parametrize(("kind", "expected"), [("created", 1), ("updated", 1), ("deleted", 1)])
def test_a_round_can_be_of_one_kind(graph: Client, kind: str, expected: int) -> None:
    ids = _put(graph, "a", "b")
    _, link, _ = _round(graph, f"{graph.user()}/mailFolders/inbox/messages/delta", query={"changeType": kind})
    _put(graph, "c")
    graph.company.alter("ann", ids[0], is_read=True)
    graph.company.alter("ann", ids[1], delete=True)
    assert len(_round(graph, link)[0]) == expected


def test_only_received_date_time_filters(graph: Client) -> None:
    _put(graph, "a")
    path = f"{graph.user()}/mailFolders/inbox/messages/delta"
    assert len(_round(graph, path, query={"$filter": "receivedDateTime ge 2026-01-01T00:00:00Z"})[0]) == 1
    assert _round(graph, path, query={"$filter": "receivedDateTime gt 2026-01-01T00:00:00Z"})[0] == []
    found = graph.ask("GET", path, params={"$filter": "isRead eq true"}, status=400)
    assert found["error"]["code"] == "ErrorInvalidUrlQueryFilter"


def test_a_lost_token_is_gone(graph: Client) -> None:
    _put(graph, "a")
    _, link, _ = _round(graph, f"{graph.user()}/mailFolders/inbox/messages/delta")
    graph.company.expire_sync()
    assert graph.ask("GET", link, status=410)["error"]["code"] == "syncStateNotFound"
    entries, link, _ = _round(graph, f"{graph.user()}/mailFolders/inbox/messages/delta")
    assert (len(entries), _round(graph, link)[0]) == (1, [])
    graph.company.fault("Delta", "expire_sync", nth=1)
    assert graph.ask("GET", link, status=410)["error"]["code"] == "syncStateNotFound"
    graph.ask("GET", link)


def test_a_damaged_token_and_one_of_another_folder_are_refused(graph: Client) -> None:
    _, link, _ = _round(graph, f"{graph.user()}/mailFolders/inbox/messages/delta")
    for wrong in (
        link.replace("mailFolders/inbox", "mailFolders/drafts"),
        link.replace("deltatoken=", "deltatoken=xx"),
    ):
        assert graph.ask("GET", wrong, status=400)["error"]["code"] == "ErrorInvalidSyncStateData"


def test_folders_have_a_delta_too(graph: Client) -> None:
    found = graph.ask("GET", f"{graph.user()}/mailFolders/delta")
    assert "Inbox" in [each["displayName"] for each in found["value"]]
    graph.ask("GET", found["@odata.deltaLink"])
