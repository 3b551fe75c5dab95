"""A folder's changes: pages, links kept whole, what is gone, a token that is lost."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.exchange.graph.answers import Malformed
from connectors.exchange.graph.delta import item, lost, page, seconds, time
from connectors.exchange.organisation import SYNC_STATE_LOST, Fault
from connectors.exchange.properties import TAKEN
from tests.connectors.exchange.graph.conftest import Opened
from tests.peers.graph.process import GraphCompany

ANN = "ann@x.example"
NEXT, DELTA = "https://graph.test/v1.0/x?$skiptoken=a%2Bb", "https://graph.test/v1.0/x?$deltatoken=c%3D"
MAIL = b"From: a@b.example\r\nSubject: x\r\nMessage-ID: <%d@b.example>\r\n\r\nhello\r\n"


def test_a_page_as_the_documentation_shows_it() -> None:
    found = page(
        {
            "@odata.context": "...",
            "@odata.nextLink": NEXT,
            "value": [
                {
                    "@odata.type": "#microsoft.graph.message",
                    "@odata.etag": 'W/"CQ"',
                    "id": "A1",
                    "changeKey": "CQ",
                    "receivedDateTime": "2026-11-29T21:47:00Z",
                    "internetMessageId": "<m@b.example>",
                    "categories": [TAKEN, "Blue"],
                    "isDraft": False,
                },
                {"@odata.type": "#microsoft.graph.eventMessageRequest", "id": "A2", "isDraft": True},
                {"@odata.type": "#microsoft.graph.message", "id": "A3", "@removed": {"reason": "deleted"}},
            ],
        },
        ANN,
    )
    first, second = found.seen
    assert (first.ref.mailbox, first.ref.id, first.ref.version) == (ANN, "A1", "CQ")
    assert (first.message_id, first.received_at, first.marked, first.draft) == (
        "<m@b.example>",
        1795988820.0,
        True,
        False,
    )
    assert (second.item_class, second.marked, second.draft, second.received_at) == (
        "IPM.Schedule.Meeting",
        False,
        True,
        None,
    )
    assert (found.gone, found.token, found.more) == (("A3",), NEXT, True)


def test_the_last_page_has_the_link_of_the_next_time() -> None:
    found = page({"@odata.deltaLink": DELTA, "value": []}, ANN)
    assert (found.token, found.more, found.seen, found.gone) == (DELTA, False, (), ())


@pytest.mark.parametrize(
    "answer",
    [
        {"value": []},
        {"@odata.deltaLink": 7, "value": []},
        {"@odata.deltaLink": DELTA},
        {"@odata.deltaLink": DELTA, "value": [{"subject": "no id"}]},
        {"@odata.deltaLink": DELTA, "value": ["x"]},
    ],
)
def test_a_page_of_another_shape_is_no_empty_page(answer: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        page(answer, ANN)


@pytest.mark.parametrize("code", ["syncStateNotFound", "resyncRequired", "SyncStateNotFound", "HTTP 410"])
def test_a_token_that_is_not_known_any_more(code: str) -> None:
    assert lost(Fault(code)).code == SYNC_STATE_LOST


def test_other_faults_stay() -> None:
    fault = Fault("ErrorItemNotFound")
    assert lost(fault) is fault


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-29T21:47:00Z", 1795988820.0),
        ("2026-11-29T21:47:00.1234567Z", pytest.approx(1795988820.123, abs=0.01)),
        ("2026-11-29T22:47:00+01:00", 1795988820.0),
        ("2026-11-29T21:47:00", 1795988820.0),
        ("yesterday", None),
        (None, None),
        (5, None),
    ],
)
def test_times_are_read(text: object, at: float | None) -> None:
    assert seconds(text) == at


def test_times_are_written_in_whole_seconds() -> None:
    assert time(1795988820.9) == "2026-11-29T21:47:00Z"


def test_an_item_of_nothing_but_an_id() -> None:
    seen = item({"id": "A"}, ANN)
    assert (seen.ref.id, seen.marked, seen.draft, seen.message_id) == ("A", False, False, None)


async def test_every_change_is_told_once_and_a_moved_item_goes(company: GraphCompany, opened: Opened) -> None:
    organisation, ann = await opened(), company.address("ann")
    inbox = await organisation.folder(ann, "inbox")
    token = None
    seen: list[str | None] = []
    for number in range(7):
        company.put("ann", MAIL % number)
    for number in range(7, 14):
        found = await organisation.page(ann, inbox, token, 3)
        token = found.token
        seen += [each.message_id for each in found.seen]
        company.put("ann", MAIL % number)
    while True:
        found = await organisation.page(ann, inbox, token, 3)
        token = found.token
        seen += [each.message_id for each in found.seen]
        if not found.more and not found.seen:
            break
    assert sorted(seen, key=str) == sorted((f"<{n}@b.example>" for n in range(14)), key=str)
    company.alter("ann", company.items("ann")[0].id, move="Elsewhere")
    found = await organisation.page(ann, inbox, token)
    assert len(found.gone) == 1
    assert found.seen == ()


async def test_other_connectors_links_are_not_ours(company: GraphCompany, opened: Opened) -> None:
    organisation, ann = await opened(), company.address("ann")
    inbox = await organisation.folder(ann, "inbox")
    with pytest.raises(Fault, match="foreign link"):
        await organisation.page(ann, inbox, "https://elsewhere.example/v1.0/delta?$deltatoken=x")
