"""The uucp network: its table, its refusals, source routes, and internet addresses behind a gateway host."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.encapsulation import decode, encode
from mappings.network import Address, AddressError
from mappings.networks.smtp import Smtp, quote
from mappings.networks.uucp import Uucp, read_bang, strip_route
from tests.mappings.strategies import nasty, smtp

UUCP, BANG_FIRST, SMTP = Uucp(), Uucp(bang_first=True), Smtp()
GATE = UUCP.parse("alpha!gw!gatepost")

_hosts = st.text("abXY019-_", min_size=1, max_size=8)
_domains = st.sampled_from(["acme.example", "Beta.Example", "bücher.example", "a_b.example", "x.uucp", "a.b.uucp"])
_users = st.text("abcXYZ019.%:;,()\\'&éß-", min_size=1, max_size=10)
_paths = st.builds(
    lambda first, hosts: "!".join((first, *hosts)), _hosts, st.lists(st.one_of(_hosts, _domains), max_size=3)
)
addresses = st.builds(lambda path, user: UUCP.parse(f"{path}!{user}"), _paths, _users)


@pytest.mark.parametrize(
    ("text", "value", "shown"),
    [
        ("alpha!beta!ann", "alpha!beta!ann", "IMCEAUUCP-alpha+21beta+21ann"),
        ("alpha!acme.example!ann", "alpha!acme.example!ann", "IMCEAUUCP-alpha+21acme+2Eexample+21ann"),
        ("att.!mark", "att!mark", "IMCEAUUCP-att+21mark"),
        ("ann@beta.uucp", "beta!ann", "IMCEAUUCP-beta+21ann"),
        ("!alpha!ann", "alpha!ann", "IMCEAUUCP-alpha+21ann"),
        ("alpha!ACME.Example.!Ann", "alpha!acme.example!Ann", "IMCEAUUCP-alpha+21acme+2Eexample+21Ann"),
        (
            "alpha!bücher.example!ann",
            "alpha!xn--bcher-kva.example!ann",
            "IMCEAUUCP-alpha+21xn--bcher-kva+2Eexample+21ann",
        ),
        ("Alpha!Ann%b.example", "Alpha!Ann%b.example", "IMCEAUUCP-Alpha+21Ann+25b+2Eexample"),
        ("beta.UUCP!ann", "beta!ann", "IMCEAUUCP-beta+21ann"),
        ("gamma!ann@Beta.UUCP.", "beta!gamma!ann", "IMCEAUUCP-beta+21gamma+21ann"),
        ("<@a.example:ann@beta.uucp>", "beta!ann", "IMCEAUUCP-beta+21ann"),
    ],
)
def test_normal_form(text: str, value: str, shown: str) -> None:
    address = UUCP.parse(text)
    assert address.value == value
    assert f"IMCEA{UUCP.imcea_type}-{encode(address.value)}" == shown
    assert read_bang(text) == address


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("acme.example!ann", "ann@acme.example"),
        ("!ACME.Example.!Ann", "Ann@acme.example"),
        ("a!b@c.example", "a!b@c.example"),
        ("<@a.example,@b.example:u@c.example>", "u@c.example"),
        ("@a.example:u@c.example", "u@c.example"),
        ("u%h.example@gw.example", "u%h.example@gw.example"),
        ("ann@acme.example", "ann@acme.example"),
        ("acme.example!a;b", '"a;b"@acme.example'),
        ("a.b.uucp!ann", "ann@a.b.uucp"),
    ],
)
def test_an_internet_address_is_read_as_such_and_is_none_of_uucp(text: str, value: str) -> None:
    found = read_bang(text)
    assert (found.network, found.value) == ("smtp", value)
    with pytest.raises(AddressError) as raised:
        UUCP.parse(text)
    assert raised.value.rule == "uucp.internet"
    assert raised.value.message == f"this is the internet address {value}; write smtp:{value}"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("a!!b", "uucp.empty-host"),
        ("!!b", "uucp.empty-host"),
        (".!b", "uucp.empty-host"),
        ("a!", "uucp.no-user"),
        ("acme.example!", "uucp.no-user"),
        ("!", "uucp.no-host"),
        ("ann", "uucp.no-host"),
        ("!ann", "uucp.no-host"),
        ("a b!ann", "uucp.bad-host"),
        ("é!ann", "uucp.bad-host"),
        ("a..!ann", "uucp.bad-host"),
        ("a..b!ann", "uucp.bad-host"),
        ("b!(x)a.b!ann", "uucp.bad-host"),
        ("[192.0.2.1]!ann", "uucp.bad-host"),
        ("ann@.uucp", "uucp.bad-host"),
        ("a!ann lee", "uucp.bad-char"),
        ('a!"ann"', "uucp.bad-char"),
        ("a@b@beta.uucp", "uucp.bad-char"),
        ("a!x[y]", "uucp.bad-char"),
        ("ann@", "smtp.no-domain"),
        ("<@a:u>", "smtp.route-no-mailbox"),
        ("<>", "addr.empty"),
        ("a!" + "x" * 1023, "addr.too-long"),
        (" ", "addr.empty"),
    ],
)
def test_refusal(text: str, rule: str) -> None:
    for read in (UUCP.parse, read_bang):
        with pytest.raises(AddressError) as raised:
            read(text)
        assert raised.value.rule == rule
        assert raised.value.message


def test_hosts_compare_with_case_and_all_else_without() -> None:
    assert UUCP.parse("Alpha!ann") != UUCP.parse("alpha!ann")
    assert UUCP.parse("alpha!Ann") == UUCP.parse("alpha!ann")
    assert UUCP.parse("alpha!ACME.example!ann") == UUCP.parse("alpha!acme.Example!ann")
    assert UUCP.parse("alpha!ann").value != UUCP.parse("alpha!Ann").value


def test_a_mixed_address_is_read_from_the_bang_where_that_is_wanted() -> None:
    assert BANG_FIRST.parse("a!b@c.example").value == "a!c.example!b"
    assert BANG_FIRST.parse("a!x!b@c").value == "a!x!c!b"
    assert BANG_FIRST.parse("alpha!beta!ann") == UUCP.parse("alpha!beta!ann")
    assert read_bang("b@c.example", bang_first=True) == SMTP.parse("b@c.example")
    assert read_bang("a.example!b@c.example", bang_first=True).value == "a.example!c.example!b"


@pytest.mark.parametrize(
    ("text", "mailbox", "hosts"),
    [
        ("<@a.example,@b.example:u@c.example>", "u@c.example", ("a.example", "b.example")),
        ("@A.Example:u@c.example", "u@c.example", ("a.example",)),
        ("< @a , @b : u@c >", "u@c", ("a", "b")),
        ("<@[192.0.2.1],@[IPv6:2001:db8::1]:u@c>", "u@c", ("[192.0.2.1]", "[ipv6:2001:db8::1]")),
        ('<@a:"x:y"@c>', '"x:y"@c', ("a",)),
        ("<@bücher.example:u@c>", "u@c", ("xn--bcher-kva.example",)),
        ("<u@c.example>", "u@c.example", ()),
        ("u@c.example", "u@c.example", ()),
        ("a!b", "a!b", ()),
        ("<>", "", ()),
    ],
)
def test_a_source_route_is_parted_from_its_mailbox(text: str, mailbox: str, hosts: tuple[str, ...]) -> None:
    assert strip_route(text) == (mailbox, hosts)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("<@a:u>", "smtp.route-no-mailbox"),
        ("<@a:>", "smtp.route-no-mailbox"),
        ("<@a,@b>", "smtp.route-no-mailbox"),
        ("<@a:@c>", "smtp.route-no-mailbox"),
        ("<@a@b:u@c>", "smtp.bad-route"),
        ("<@a,b:u@c>", "smtp.bad-route"),
        ("<@:u@c>", "smtp.bad-route"),
        ("<@a..b:u@c>", "smtp.bad-route"),
        ("<@a;u@c>", "smtp.bad-route"),
        ("<@a:u@c", "smtp.bad-char"),
        (" ", "addr.empty"),
    ],
)
def test_refusal_of_a_source_route(text: str, rule: str) -> None:
    with pytest.raises(AddressError) as raised:
        SMTP.parse(strip_route(text)[0])
    assert raised.value.rule == rule


def test_addr_spec_is_at_the_pseudo_domain() -> None:
    assert UUCP.from_addr_spec("ann", "beta.uucp") == UUCP.parse("beta!ann")
    assert UUCP.from_addr_spec("ann", "BETA.UUCP") == UUCP.parse("beta!ann")
    assert UUCP.from_addr_spec("gamma!ann", "beta.uucp") == UUCP.parse("beta!gamma!ann")
    for local, domain in (("ann", "acme.example"), ("ann", "beta"), ("ann", "a.b.uucp"), ('"a b"', "beta.uucp")):
        assert UUCP.from_addr_spec(local, domain) is None
    assert UUCP.to_addr_spec(UUCP.parse("beta!ann")) == "ann@beta.uucp"
    for text in ("alpha!beta!ann", "Beta!ann", "beta!käthe"):
        assert UUCP.to_addr_spec(UUCP.parse(text)) is None


@given(addresses)
def test_addr_spec_is_read_back(address: Address) -> None:
    shown = UUCP.to_addr_spec(address)
    if shown is not None:
        local, _, domain = shown.rpartition("@")
        assert UUCP.from_addr_spec(local, domain) == address
        SMTP.parse(shown)


def test_a_path_in_a_mailbox_of_ours_is_read_and_never_written() -> None:
    assert UUCP.from_gateway("alpha!ann", "") == UUCP.parse("alpha!ann")
    assert UUCP.from_gateway('"alpha!a,b"', "") == UUCP.parse("alpha!a,b")
    for local in ("ann", "acme.example!ann", "a!!b", '"a!b@c.example"'):
        assert UUCP.from_gateway(local, "") is None
    assert UUCP.from_gateway("alpha!ann", "below") is None
    assert UUCP.at_gateway(UUCP.parse("alpha!ann"), "gw.example") is None


def test_an_internet_address_follows_the_gates_hosts() -> None:
    for inner, value in (
        ("Bob@B.example", "alpha!gw!b.example!Bob"),
        ("bob@bücher.example", "alpha!gw!xn--bcher-kva.example!bob"),
        ("a!b@c.example", "alpha!gw!c.example!a!b"),
        ('"a,b"@c.example', "alpha!gw!c.example!a,b"),
    ):
        made = UUCP.through(GATE, SMTP.parse(inner))
        assert made is not None
        assert made.value == value
        assert UUCP.behind(GATE, made) == SMTP.parse(inner)
    assert UUCP.behind(GATE, UUCP.parse("alpha!gw!B.EXAMPLE!bob")) == SMTP.parse("bob@b.example")


def test_what_is_not_behind_the_gate_is_nothing_there() -> None:
    for text in ("alpha!gw!bob", "alpha!gw!beta!bob", "alpha!other!b.example!bob", "gw!b.example!bob"):
        assert UUCP.behind(GATE, UUCP.parse(text)) is None
    assert UUCP.through(GATE, GATE) is None
    assert UUCP.through(SMTP.parse("gate@b.example"), SMTP.parse("bob@b.example")) is None
    for text in (
        '"bob ray"@b.example',
        "bob@localhost",
        "bob@[192.0.2.1]",
        "A.B!c@d.example",
        "bob@x.uucp",
        "postmaster",
    ):
        assert UUCP.through(GATE, SMTP.parse(text)) is None


@given(st.one_of(smtp, st.builds(lambda user: SMTP.parse(f"{quote(user)}@b.example"), st.text("aB!.;%é", min_size=1))))
def test_what_lies_behind_our_gate_is_read_back(inner: Address) -> None:
    shown = UUCP.through(GATE, inner)
    local, _, domain = inner.value.rpartition("@")
    if "." in domain and not domain.startswith("[") and not set(local) & set('!" '):
        assert shown is not None
    if shown is not None:
        again = UUCP.parse(shown.value)
        assert (again, again.value) == (shown, shown.value)
        behind = UUCP.behind(GATE, again)
        assert behind is not None
        assert (behind, behind.value.rpartition("@")[0]) == (inner, local)


@given(addresses)
def test_what_is_printed_is_read_back(address: Address) -> None:
    again = UUCP.parse(UUCP.format(address))
    assert (again, again.value) == (address, address.value)
    assert read_bang(address.value) == address


@given(addresses)
def test_what_is_carried_is_read_back(address: Address) -> None:
    assert UUCP.parse(decode(encode(address.value))) == address


@given(nasty, nasty)
def test_text_raises_nothing_but_address_error(text: str, other: str) -> None:
    for tried in (
        text,
        f"a!{text}",
        f"{text}!ann",
        f"{text}@beta.uucp",
        f"a!{text}@c",
        f"<@{text}:{other}@c>",
        f"a!{text}.uucp!x",
    ):
        for network in (UUCP, BANG_FIRST):
            try:
                found = network.parse(tried)
            except AddressError:
                continue
            assert found.network == "uucp"
            assert UUCP.parse(found.value).value == found.value
            UUCP.behind(GATE, found)
        try:
            either = read_bang(tried)
        except AddressError:
            continue
        assert read_bang(either.value).value == either.value
    UUCP.from_addr_spec(text, f"{other}.uucp")
    UUCP.from_gateway(text, "")
    UUCP.from_gateway(f"a!{text}", "")
