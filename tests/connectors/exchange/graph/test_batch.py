"""$batch: split, ordered, each part judged by itself."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.exchange.graph.batch import OCTETS, PARTS, Batches, Part, body, groups, query, read
from connectors.exchange.graph.client import IMMUTABLE
from connectors.exchange.organisation import Fault, Made, New
from gateway.contract import Content
from tests.connectors.exchange.graph.conftest import Opened
from tests.connectors.exchange.graph.kit import graph, told
from tests.peers.graph.process import GraphCompany

OCTET = b"From: a@b.example\r\nSubject: x\r\n\r\nhello\r\n"


def posts(count: int, size: int = 10) -> list[Part]:
    return [Part("POST", f"/users/a/messages/{n}", json={"x": "y" * size}) for n in range(count)]


def answering(request: httpx.Request, odd: dict[str, dict[str, Any]] | None = None) -> httpx.Response:
    asked = json.loads(request.content)["requests"]
    found = [
        {
            "id": each["id"],
            "status": 201,
            "headers": {},
            "body": {"url": each["url"]},
            **(odd or {}).get(each["id"], {}),
        }
        for each in asked
    ]
    random.Random(1).shuffle(found)  # Graph answers in any order
    return httpx.Response(200, json={"responses": found})


def test_a_batch_is_of_twenty_parts_and_four_megabytes() -> None:
    assert [len(each) for each in groups(posts(45))] == [20, 20, 5]
    large = groups(posts(6, 1_500_000))
    assert [len(each) for each in large] == [2, 2, 2]
    assert all(len(json.dumps(body(each))) < 4_000_000 for each in large)
    assert groups([]) == []


@given(st.lists(st.integers(0, OCTETS // 3), max_size=60))
def test_no_part_is_lost_and_no_batch_too_large(sizes: list[int]) -> None:
    parts = [Part("GET", "/" + "x" * size) for size in sizes]
    split = groups(parts)
    assert [part for each in split for part in each] == parts
    assert all(1 <= len(each) <= PARTS for each in split)
    assert all(len(each) == 1 or sum(len(part.path) for part in each) <= OCTETS for each in split)


async def test_answers_come_in_the_order_asked() -> None:
    peer = graph(answering)
    batches = Batches(peer.client, peer.pacing, lambda: 0.0)
    found = await batches.ask("a@b.example", posts(45))
    assert [each["url"] for each in found if not isinstance(each, Fault)] == [
        f"/users/a/messages/{n}" for n in range(45)
    ]
    assert len(peer.seen) == 3
    entries = json.loads(peer.seen[0].content)["requests"]
    assert all(each["headers"]["Prefer"] == IMMUTABLE for each in entries)
    assert all(each["headers"]["Content-Type"] == "application/json" for each in entries)


async def test_each_part_has_its_own_status() -> None:
    odd = {
        "1": {"status": 507, "body": {"error": {"code": "ErrorQuotaExceeded", "message": "full"}}},
        "2": {"status": 429, "headers": {"Retry-After": "9"}, "body": {"error": {"code": "ApplicationThrottled"}}},
        "3": {"status": 504, "body": None},
        "4": {"id": "nobody's"},
    }
    peer = graph(lambda request: answering(request, odd))
    found = await Batches(peer.client, peer.pacing, lambda: 0.0).ask("a@b.example", posts(6))
    assert [each.why if isinstance(each, Fault) else "done" for each in found] == [
        "done",
        "refused",
        "busy",
        "unknown",
        "unknown",
        "done",
    ]
    with pytest.raises(Fault) as caught:
        peer.pacing.check("a@b.example")
    assert 8 < (caught.value.retry_after_s or 0) <= 9


def test_a_part_that_changes_nothing_is_never_unknown() -> None:
    (found,) = read({"responses": []}, [Part("GET", "/x")], 0.0)
    assert isinstance(found, Fault)
    assert found.why == "unreachable"


@pytest.mark.parametrize("answer", [{}, {"responses": None}, {"responses": [1, {"id": 0}, {"id": "0", "status": "x"}]}])
def test_an_answer_of_another_shape_is_no_answer(answer: dict[str, Any]) -> None:
    (found,) = read(answer, posts(1), 0.0)
    assert isinstance(found, Fault)
    assert found.why == "unknown"


def test_what_is_not_json_comes_as_base64() -> None:
    coded = base64.b64encode(b'{"id": "x"}').decode()
    assert read({"responses": [{"id": "0", "status": 200, "body": coded}]}, posts(1), 0.0) == [{"id": "x"}]


async def test_one_part_goes_as_a_request_of_its_own() -> None:
    peer = graph(lambda _: httpx.Response(201, json={"id": "1"}))
    assert await Batches(peer.client, peer.pacing, lambda: 0.0).ask("a@b.example", posts(1)) == [{"id": "1"}]
    assert peer.seen[0].url.path == "/v1.0/users/a/messages/0"
    refused = graph(lambda _: told(404, "ErrorItemNotFound"))
    (found,) = await Batches(refused.client, refused.pacing, lambda: 0.0).ask("a@b.example", posts(1))
    assert isinstance(found, Fault)


async def test_a_later_batch_that_breaks_leaves_what_is_known_of_the_first() -> None:
    def breaking(request: httpx.Request) -> httpx.Response:
        if b"messages/20" in request.content:
            raise httpx.ReadError("cut")
        return answering(request)

    peer = graph(breaking)
    batches = Batches(peer.client, peer.pacing, lambda: 0.0)
    found = await batches.ask("a@b.example", posts(25))
    assert [isinstance(each, Fault) for each in found] == [False] * 20 + [True] * 5
    with pytest.raises(Fault) as caught:
        await batches.ask("a@b.example", posts(25)[20:])
    assert caught.value.why == "unknown"


async def test_questions_that_break_are_not_unknown() -> None:
    def cut(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("cut")

    peer = graph(cut)
    with pytest.raises(Fault) as caught:
        await Batches(peer.client, peer.pacing, lambda: 0.0).ask("a@b.example", [Part("GET", "/x"), Part("GET", "/y")])
    assert caught.value.why == "unreachable"


def test_the_query_of_a_part_is_quoted() -> None:
    assert query({"$filter": "a eq 'b+c&d'", "$top": "5"}) == "?$filter=a%20eq%20%27b%2Bc%26d%27&$top=5"
    assert query(None) == ""


async def test_parts_that_the_peer_refuses_stop_no_others(company: GraphCompany, opened: Opened) -> None:
    organisation, ann = await opened(), company.address("ann")
    inbox = await organisation.folder(ann, "inbox")
    company.fault("CreateMessage", "code", nth=3, code="ErrorQuotaExceeded", status=507)
    results = await organisation.create(ann, inbox, [New(f"k{n}", Content(OCTET)) for n in range(5)])
    assert sum(isinstance(each, Made) for each in results) == 4
    (refused,) = [each for each in results if isinstance(each, Fault)]
    assert (refused.code, refused.why) == ("ErrorQuotaExceeded", "refused")
    assert len(company.items("ann")) == 4


async def test_a_batch_whose_answer_is_cut_is_unknown_and_found(company: GraphCompany, opened: Opened) -> None:
    organisation, ann = await opened(), company.address("ann")
    inbox = await organisation.folder(ann, "inbox")
    company.fault("Batch", "cut_after", nth=1)
    with pytest.raises(Fault) as caught:
        await organisation.create(ann, inbox, [New(f"k{n}", Content(OCTET)) for n in range(5)])
    assert caught.value.why == "unknown"
    found = await organisation.find(ann, ["inbox"], [f"k{n}" for n in range(8)])
    assert sorted(found) == [f"k{n}" for n in range(5)]
