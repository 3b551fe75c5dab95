"""What both configurations refuse, and in which words."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from connectors.exchange.common_config import ExchangeConfig, Watched
from connectors.exchange.organisation import where


def watched(**more: Any) -> dict[str, Any]:
    return {"mailbox": "ann@x.example", **more}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"watch": [watched(mailbox="ann")]}, "not the SMTP address of a mailbox"),
        ({"watch": [watched(mailbox="ann@@x.example")]}, "mailbox"),
        ({"watch": [watched(folder=" / ")]}, "a folder is inbox, sent"),
        ({"watch": [watched(folder="Gatepost/Taken")]}, "taken items would stay in"),
        ({"watch": [watched(), watched(folder="INBOX")]}, "watched twice"),
        ({"watch": [watched(folder="Gatepost/Refused", finish="mark")]}, "is the refused_folder too"),
        ({"watch": [watched(recipients=["nobody"])]}, "recipients"),
        ({"watch": [watched(finish="burn")]}, "finish"),
        ({"mode": "send"}, "needs send_as"),
        ({"mode": "send", "send_as": "ann"}, "not the SMTP address"),
        ({"deliver_to": ""}, "a folder is inbox"),
        ({"journal_senders": ["x"]}, "not the SMTP address"),
        ({"max_in_flight": 0}, "max_in_flight"),
        ({"poll": 3}, "Extra inputs"),
    ],
)
def test_a_mistake_is_told(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        ExchangeConfig.model_validate(given)


def test_mailboxes_compare_without_case() -> None:
    assert Watched(mailbox=" Ann@X.Example").mailbox == "ann@x.example"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("inbox", "inbox"),
        ("Inbox", "inbox"),
        (" SENT ", "sent"),
        ("Gatepost/Taken", ("Gatepost", "Taken")),
        ("/Projects//Out/", ("Projects", "Out")),
        ("Inbox/Sub", ("Inbox", "Sub")),
        ("", ()),
    ],
)
def test_folders_are_roles_or_paths(text: str, expected: object) -> None:
    assert where(text) == expected
