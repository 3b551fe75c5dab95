"""Search terms: what they take, and what they say of themselves where they are wrong."""

from __future__ import annotations

import pytest

from gateway.contract import Content
from gateway.sync.search import Search
from gateway.sync.values import Item, Print

ITEM = Item("1", 1, frozenset(("seen", "project")), Print(500, None, None, 1706659200.0))  # 2024-01-31
HEAD = Content(b"From: =?utf-8?q?Ann_M=C3=BCller?= <ann@example.org>\r\nSubject: Invoice 7\r\n\r\nbody\r\n")


@pytest.mark.parametrize(
    ("term", "takes"),
    [
        ("seen", True),
        ("!seen", False),
        ("flagged", False),
        ("!flagged", True),
        ("keyword:project", True),
        ("!keyword:project", False),
        ("since:2024-01-31", True),
        ("since:2024-02-01", False),
        ("before:2024-02-01", True),
        ("before:2024-01-31", False),
        ("larger:499", True),
        ("larger:500", False),
        ("smaller:501", True),
        ("from:müller", True),
        ("from:ANN@", True),
        ("!from:ann@", False),
        ("subject:invoice", True),
        ("subject:bill", False),
        ("list-id:x", False),
        ("!list-id:x", True),
    ],
)
def test_a_term_takes_or_not(term: str, takes: bool) -> None:
    search = Search.parse([term])
    assert (search.may_take(ITEM) and search.takes(HEAD)) is takes


def test_all_terms_have_to_hold_and_none_takes_everything() -> None:
    assert Search.parse(["seen", "from:ann"]).takes(HEAD)
    assert not Search.parse(["subject:invoice", "subject:none"]).takes(HEAD)
    assert Search().may_take(ITEM)
    assert Search.parse(["since:2024-01-31", "larger:9"]).may_take(Item("1", 1, frozenset(), Print()))


@pytest.mark.parametrize(
    ("term", "said"),
    [
        ("red", "no such flag"),
        ("since:yesterday", "2024-01-31"),
        ("larger:much", "octets are a number"),
        ("from:", "nothing stands behind"),
        ("fröm:x", "no name of a header field"),
    ],
)
def test_a_wrong_term_says_what_is_wrong(term: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Search.parse([term])
