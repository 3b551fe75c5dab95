"""The table of shapes refuses what is wrong, and is the one from which Microsoft generates its own client."""

from __future__ import annotations

from typing import Any

import pytest

from tests.peers.graph import shapes
from tests.peers.graph.sdk import Sdk

GOOD: dict[str, Any] = {
    "id": "A",
    "subject": None,
    "isRead": True,
    "receivedDateTime": "2026-01-01T00:00:00Z",
    "importance": "normal",
    "conversationIndex": "AQI=",
    "toRecipients": [{"emailAddress": {"name": "a", "address": "a@x"}}],
    "@odata.etag": 3,
}


def test_what_fits_is_right() -> None:
    assert list(shapes.wrong("message", GOOD)) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"subjekt": "a"}, "message has no property subjekt"),
        ({"isRead": "true"}, "message.isRead is not bool: 'true'"),
        ({"isRead": 1}, "message.isRead is not bool: 1"),
        ({"subject": 1}, "message.subject is not text: 1"),
        ({"receivedDateTime": "2026-01-01"}, "message.receivedDateTime is not time: '2026-01-01'"),
        ({"receivedDateTime": "2026-01-01T00:00:00"}, "message.receivedDateTime is not time: '2026-01-01T00:00:00'"),
        ({"importance": "urgent"}, "message.importance is not enum:low|normal|high: 'urgent'"),
        ({"toRecipients": {}}, "message.toRecipients is not a list"),
        ({"toRecipients": ["a@x"]}, "message.toRecipients[0] is not an object"),
        ({"toRecipients": [{"emailAddress": {"mail": "a"}}]}, "emailAddress has no property mail"),
        ({"conversationIndex": "?"}, "message.conversationIndex is not bytes: '?'"),
        ({"attachments": [{"size": True}]}, "message.attachments[0].size is not int: True"),
    ],
)
def test_what_does_not_fit_is_named(changed: dict[str, Any], said: str) -> None:
    assert list(shapes.wrong("message", {**GOOD, **changed})) == [said]


def test_answers_are_checked_too() -> None:
    assert list(shapes.wrong_answer("GetMessage", {"id": "A"})) == ["no @odata.context"]
    assert list(shapes.wrong_answer("Delta", {"value": [GOOD, {"isDraft": 0}]})) == ["value[1].isDraft is not bool: 0"]
    assert list(shapes.wrong_answer("GetMessage", {"error": {"code": "x"}})) == []


def test_every_shape_that_is_named_is_there() -> None:
    names = {each.removesuffix("[]") for each in shapes.ANSWERS.values()}
    names |= {
        kind.removesuffix("[]")
        for fields in shapes.SHAPES.values()
        for kind in fields.values()
        if not kind[0].isupper()
    }
    plain = {"text", "bool", "int", "time", "bytes"}
    assert {each for each in names if not each.startswith("enum:")} - plain <= set(shapes.SHAPES)


def test_the_table_is_what_microsofts_client_was_generated_from(graph_sdk: Sdk) -> None:
    theirs = graph_sdk.shapes(sorted(shapes.SHAPES))
    for name, fields in shapes.SHAPES.items():
        missing = {field: kind for field, kind in fields.items() if theirs[name].get(field) != kind}
        assert not missing, f"{name}: {missing}, theirs: { {each: theirs[name].get(each) for each in missing} }"
