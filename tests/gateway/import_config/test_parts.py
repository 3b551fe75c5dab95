"""The smaller readers: m4's calls, Exim's lists and look-ups, networks as sendmail writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.import_config.exim_text import items, lookups, parse
from gateway.import_config.files import Files, FilesError
from gateway.import_config.macros import calls
from gateway.import_config.outline import Access, Hop, Outline, network_of
from gateway.import_config.sendmail import _hop
from gateway.import_config.writer import access_rules


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("define(`A', `b c')dnl x", [("define", ("A", "b c"))]),
        ("FEATURE(`x', `hash -o ``q'' /f')dnl", [("FEATURE", ("x", "hash -o ``q'' /f"))]),
        ("F(a, (b, c), d)", [("F", ("a", "(b, c)", "d"))]),
        ("dnl F(a)\nG(b)", [("G", ("b",))]),
        ("Cwhost other", [("", ("Cwhost other",))]),
        ("# no\nR$*\t$: $1", [("", ("R$*\t$: $1",))]),
        ("F(`never closed", [("F", ("never closed",))]),
        ("LOCAL_CONFIG\nKx", [("LOCAL_CONFIG", ()), ("", ("Kx",))]),
    ],
)
def test_calls(text: str, found: list[tuple[str, tuple[str, ...]]]) -> None:
    assert [(call.name, call.arguments) for call in calls(text)] == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a : b", ["a", "b"]),
        ("<; a:1 ; b", ["a:1", "b"]),
        ("2001::db8::::1 : x", ["2001:db8::1", "x"]),
        ("", []),
    ],
)
def test_items_of_a_list(text: str, found: list[str]) -> None:
    assert items(text) == found


def test_lookups() -> None:
    text = "${lookup{${lc:$local_part}}lsearch*@{/etc/aliases}{$value}fail}"
    (found,) = lookups(text)
    assert (found.key, found.kind, found.file) == ("${lc:$local_part}", "lsearch*@", "/etc/aliases")


def test_blocks() -> None:
    made = parse(
        "X = /etc\nfile = X/y\nbegin routers\none:\n  driver = accept\n  no_more\ntwo:\n driver = \\\n   redirect\n"
    )
    assert made.options["file"].value == "/etc/y"
    assert [(each.name, each["driver"], each["more"]) for each in made.routers] == [
        ("one", "accept", "false"),
        ("two", "redirect", ""),
    ]


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10", "10.0.0.0/8"),
        ("192.168.1", "192.168.1.0/24"),
        ("192.0.2.7", "192.0.2.7/32"),
        ("IPv6:2001:db8", "2001:db8::/32"),
        ("10.0.0.0/9", "10.0.0.0/9"),
        ("acme.example", None),
        ("300", None),
        ("friend@acme.example", None),
    ],
)
def test_a_network(text: str, network: str | None) -> None:
    assert network_of(text) == network


@pytest.mark.parametrize(
    ("text", "hop"),
    [
        ("esmtp:[mx.example]", Hop("smtp", "mx.example")),
        ("mx.example", Hop("smtp", "mx.example", by_mx=True)),
        ("relay:[192.0.2.1]", Hop("smtp", "192.0.2.1")),
        ("uucp:hub", None),
        ("", None),
    ],
)
def test_a_hop(text: str, hop: Hop | None) -> None:
    assert _hop(text) == hop


def test_links_stay_below_the_root(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/real").write_text("below\n")
    (tmp_path / "etc/absolute").symlink_to("/etc/real")
    (tmp_path / "etc/upward").symlink_to("../../../../etc/passwd")
    files = Files(tmp_path)
    assert files.words("/etc/absolute") == ["below"]
    with pytest.raises(FilesError, match="cannot be read"):
        files.text("/etc/upward")


def test_rules_for_less_come_before_rules_for_more() -> None:
    rows = [
        Access("", "sender", "example", "reject"),
        Access("", "sender", "spam.example", "reject", "go  away"),
        Access("", "sender", "friend@spam.example", "accept"),
        Access("", "client", "10", "accept"),
        Access("", "client", "10.1.2.3", "defer"),
        Access("", "helo", ".dyn.example", "reject"),
        Access("", "recipient", "abuse@", "accept"),
    ]
    assert access_rules(rows) == [
        "client 10.1.2.3/32 tempfail",
        "client 10.0.0.0/8 accept",
        "sender friend@spam.example accept",
        "sender *@spam.example reject go away",
        "sender *@example reject",
        "helo *.dyn.example reject",
        "sender *@*.spam.example reject go away",
        "sender *@*.example reject",
        "recipient abuse@* accept",
    ]


def test_what_may_not_relay_is_cut_out_of_what_may() -> None:
    outline = Outline("Postfix")
    outline.relay_networks = dict.fromkeys(("10.0.0.0/30", "192.0.2.7/32", "2001:db8::/32"))
    outline.excluded_networks = dict.fromkeys(("10.0.0.1/32", "192.0.2.0/24"))
    assert outline.relaying() == ["10.0.0.0/32", "10.0.0.2/31", "2001:db8::/32"]
