"""Batches: each part has an answer of its own, whatever becomes of the others."""

from __future__ import annotations

import base64
from typing import Any

from tests.peers.graph.client import Client


def _batch(graph: Client, *parts: dict[str, Any], status: int = 200) -> dict[str, dict[str, Any]]:
    found = graph.ask("POST", "$batch", json={"requests": list(parts)}, status=status)
    return {each["id"]: each for each in found["responses"]} if status == 200 else found


def _get(graph: Client, id: str, path: str = "mailFolders/inbox", **more: Any) -> dict[str, Any]:
    return {"id": id, "method": "GET", "url": f"/{graph.user()}/{path}", **more}


def _create(graph: Client, id: str, **more: Any) -> dict[str, Any]:
    url, headers = f"/{graph.user()}/mailFolders/inbox/messages", {"Content-Type": "application/json"}
    return {"id": id, "method": "POST", "url": url, "headers": headers, "body": {"subject": id}, **more}


def test_each_part_has_its_own_status_and_body(graph: Client) -> None:
    id = graph.company.put("ann", b"Subject: a\r\n\r\nx\r\n")
    mime = _get(graph, "4", f"messages/{id}/$value")
    found = _batch(graph, _get(graph, "1"), _get(graph, "2", "messages/none"), _create(graph, "3"), mime)
    assert {key: each["status"] for key, each in found.items()} == {"1": 200, "2": 400, "3": 201, "4": 200}
    assert found["1"]["body"]["displayName"] == "Inbox"
    assert found["2"]["body"]["error"]["code"] == "ErrorInvalidIdMalformed"
    assert base64.b64decode(found["4"]["body"]) == graph.company.items("ann")[0].shown
    assert len(graph.company.items("ann")) == 2


def test_twenty_parts_and_no_more(graph: Client) -> None:
    assert len(_batch(graph, *(_create(graph, str(at)) for at in range(20)))) == 20
    found = _batch(graph, *(_create(graph, str(at)) for at in range(21)), status=400)
    assert found["error"]["code"] == "MaximumValueExceeded"
    assert len(graph.company.items("ann")) == 20


def test_no_more_than_four_run_at_once_in_a_mailbox(graph: Client) -> None:
    graph.company.fault("CreateMessage", "slow", seconds=0.1)
    found = _batch(graph, *(_create(graph, str(at)) for at in range(20)))
    assert {each["status"] for each in found.values()} == {201}
    assert graph.company.most_at_once("ann") == 4


def test_a_part_waits_for_those_it_depends_on_and_fails_with_them(graph: Client) -> None:
    found = _batch(
        graph, _create(graph, "3", dependsOn=["2"]), _create(graph, "2", dependsOn=["1"]), _create(graph, "1"),
        _get(graph, "bad", "messages/x"), _create(graph, "after", dependsOn=["bad"]),
    )  # fmt: skip
    assert {key: each["status"] for key, each in found.items()} == {
        "1": 201,
        "2": 201,
        "3": 201,
        "bad": 400,
        "after": 424,
    }
    assert [each.subject for each in graph.company.items("ann")] == ["1", "2", "3"]


def test_a_throttled_part_is_answered_429_among_the_others(graph: Client) -> None:
    graph.company.fault("CreateMessage", "busy", nth=2, ms=7000)
    found = _batch(graph, *(_create(graph, str(at)) for at in range(4)))
    busy = [each for each in found.values() if each["status"] == 429]
    assert [(each["headers"]["Retry-After"], each["body"]["error"]["code"]) for each in busy] == [
        ("7", "ApplicationThrottled")
    ]
    assert len(graph.company.items("ann")) == 3


def test_a_batch_that_is_malformed_is_refused_whole(graph: Client) -> None:
    for parts in (
        [],
        [_create(graph, "1"), _create(graph, "1")],
        [_create(graph, "1", dependsOn=["2"])],
        [_create(graph, "1", dependsOn=["2"]), _create(graph, "2", dependsOn=["1"])],
        [{**_create(graph, "1"), "id": None}],
    ):
        graph.ask("POST", "$batch", json={"requests": parts}, status=400)
    assert graph.company.items("ann") == []


def test_a_body_without_its_type_is_refused(graph: Client) -> None:
    assert _batch(graph, _create(graph, "1", headers={}))["1"]["status"] == 400


def test_each_part_is_in_the_log(graph: Client) -> None:
    _batch(graph, _get(graph, "1"), _create(graph, "2"))
    names = {each.operation for each in graph.company.log()}
    assert {"Batch", "GetFolder", "CreateMessage"} <= names
