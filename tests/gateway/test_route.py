"""Routes: rows of (address, where it goes) that read as the documentation of patterns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.route import Route, RouteError, Routes
from mappings.network import parse

ROUTES = Routes(
    [
        Route("smtp:boss@acme.example", "desk"),
        Route("smtp:*@acme.example", "acme"),
        Route("smtp:*+alerts@*", "alerts", "pager.example:25"),
        Route("smtp:*@*.acme.example", "branches"),
        Route("smtp:*@bücher.example", "books"),
        Route("mhs:*@sales", "sales"),
        Route("mhs:*", "oldmhs"),
        Route("smtp:*", "internet"),
    ]
)


@pytest.mark.parametrize(
    ("address", "connector"),
    [
        ("smtp:boss@acme.example", "desk"),
        ("smtp:Boss@ACME.example", "desk"),
        ("smtp:ann@acme.example", "acme"),
        ("smtp:ann+alerts@acme.example", "acme"),  # the first rule that matches wins
        ("smtp:ann+alerts@far.example", "alerts"),
        ("smtp:ann@paris.acme.example", "branches"),
        ("smtp:ann@a.b.acme.example", "branches"),
        ("smtp:ann@notacme.example", "internet"),  # the dot of *.acme.example is a dot
        ("smtp:ann@bücher.example", "books"),
        ("smtp:ann@xn--bcher-kva.example", "books"),
        ('smtp:"a@acme.example"@far.example', "internet"),  # an @ in quotes ends no mailbox
        ("smtp:postmaster", "internet"),
        ("mhs:ann@Sales", "sales"),
        ("mhs:ann@hq", "oldmhs"),
        ("mhs:ann@hq {SMTP:x@sales}", "oldmhs"),
        ("ftn:Ann Lee@2:280/464", None),
    ],
)
def test_find(address: str, connector: str | None) -> None:
    for _ in range(2):  # from the rules, and from memory
        choice = ROUTES.find(parse(address))
        assert (None if choice is None else choice.connector) == connector


def test_a_home_comes_before_all_routes() -> None:
    choice = ROUTES.find(parse("smtp:boss@acme.example"), "oldmhs")
    assert choice is not None
    assert (choice.connector, choice.next_hop, choice.rule) == ("oldmhs", None, "home of the identity: oldmhs")


def test_the_rule_is_told_in_words() -> None:
    choice = ROUTES.find(parse("smtp:x+alerts@far.example"))
    assert choice is not None
    assert choice.rule == "route 3: smtp:*+alerts@* goes to alerts, next hop pager.example:25"
    assert choice.next_hop == "pager.example:25"


@pytest.mark.parametrize(
    ("match", "said"),
    [
        ("smtp", "network:pattern"),
        ("smtp:", "network:pattern"),
        ("smpt:*", "an installed network"),
        ("smtp:acme.example", r'such as "smtp:\*@acme.example"'),
        ("smtp:@acme.example", "a mailbox and a domain"),
        ("smtp:ann@", "a mailbox and a domain"),
        ("smtp:a b@acme.example", "an address that can be"),
    ],
)
def test_a_pattern_that_cannot_be_used(match: str, said: str) -> None:
    with pytest.raises(RouteError, match=said):
        Routes([Route(match, "x")])


def test_explain_tells_each_rule_looked_at() -> None:
    lines = ROUTES.explain(parse("smtp:ann@acme.example"))
    assert lines == [
        "route 1 (smtp:boss@acme.example -> desk) does not match smtp:ann@acme.example",
        "route 2 (smtp:*@acme.example -> acme) matches",
    ]
    assert ROUTES.explain(parse("ftn:Ann@2:280/464"))[-1] == "no route matches ftn:Ann@2:280/464"
    assert ROUTES.explain(parse("smtp:a@b.example"), "home") == [
        "the identity's home is home, which comes before all routes"
    ]


def test_patterns_are_as_they_compare_with_keys() -> None:
    routes = Routes([Route("SMTP:*@BÜCHER.example", "a"), Route("fidonet:*", "b"), Route("smtp: Ann@x.example", "c")])
    assert list(routes.patterns()) == [
        ("smtp", "*@xn--bcher-kva.example"),
        ("ftn", "*"),
        ("smtp", "ann@x.example"),
    ]


def test_the_memory_of_domains_is_bounded() -> None:
    routes = Routes([Route("smtp:*", "x")])
    for i in range(10_050):
        routes.find(parse(f"smtp:a@d{i}.example"))
    assert len(routes._by_domain) <= 10_000


@given(st.text("ab.*", min_size=1, max_size=5), st.text("ab", min_size=1, max_size=4), st.text("ab", min_size=1))
def test_memory_and_rules_agree(glob: str, local: str, domain: str) -> None:
    address = parse(f"smtp:{local}@{domain}.example")
    try:
        routes = Routes([Route(f"smtp:{glob}@*.example", "one"), Route("smtp:*", "rest")])
    except RouteError:
        return
    first = routes.find(address)
    explained = routes.explain(address)[-1]
    assert first is not None
    assert first == routes.find(address)
    assert (first.connector == "one") == explained.startswith("route 1")


def test_a_pattern_meets_keys_of_networks_that_tell_case_apart() -> None:
    routes = Routes([Route("mqtt:Plant7/*", "things"), Route("mqtt:*", "rest")])
    for text in ("Plant7/line", "plant7/line"):
        found = routes.find(parse(f"mqtt:{text}"))
        assert found is not None
        assert found.connector == "things"
