"""Address lists as people and programs write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.filedrop.formats.addresses import ListError, Spec, in_network, read_list, read_one, write_one
from mappings.network import AddressError, parse

LISTS = [
    ("", []),
    ("ann@sales", ["ann@sales"]),
    ("Ann Lee <ann@acme.example>", ["ann@acme.example"]),
    ("<ann@acme.example>", ["ann@acme.example"]),
    ('"Lee, Ann" <ann@acme.example>, bob@ops', ["ann@acme.example", "bob@ops"]),
    # RFC 5322 appendix A.1.3: groups
    (
        "A Group:Ed Jones <c@a.test>,joe@where.test,John <jdoe@one.test>;",
        ["c@a.test", "joe@where.test", "jdoe@one.test"],
    ),
    ("Undisclosed recipients:;", []),
    # RFC 5322 appendix A.5: comments and blanks
    ("Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", ["pete@silly.test"]),
    ("A Group(Some people):Chris Jones <c@(Chris's host.)public.example>;", ["c@public.example"]),
    # RFC 5322 appendix A.6.1: a route, an empty member
    ("Mary <@node.test:mary@example.net>, , jdoe@test . example", ["mary@example.net", "jdoe@test.example"]),
    # semicolons, as some programs write between addresses
    ("ann@sales; bob@ops", ["ann@sales", "bob@ops"]),
    ('"a b"@acme.example', ['"a b"@acme.example']),
    ('"a@b, c"@acme.example', ['"a@b, c"@acme.example']),
    ("ann@[192.0.2.1]", ["ann@[192.0.2.1]"]),
    ("ann@[IPv6:2001:db8::1]", ["ann@[IPv6:2001:db8::1]"]),
    ("Jürgen <jürgen@acme.example>", ["jürgen@acme.example"]),
    ("=?utf-8?q?J=C3=BCrgen?= <j@acme.example>", ["j@acme.example"]),
]

BAD = [
    "ann",
    "Ann Lee",
    "ann@",
    "@sales",
    "ann@@sales",
    "ann@sales bob@ops",
    "<ann@sales",
    "ann@sales>",
    "Ann <ann@sales> Lee",
    '"Ann <ann@sales>',
    "Ann (Lee <ann@sales>",
    "Ann) <ann@sales>",
    "a: b: c@d;;",
    "ann lee@sales",
    "[192.0.2.1",
    "a\\ b@c",
]


@pytest.mark.parametrize(("text", "expected"), LISTS)
def test_a_list_is_read(text: str, expected: list[str]) -> None:
    assert [f"{spec.local}@{spec.domain}" for spec in read_list(text)] == expected


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_list_is_told_with_its_place(text: str) -> None:
    with pytest.raises(ListError) as caught:
        read_list(text)
    assert 0 <= caught.value.offset <= len(text)
    assert str(caught.value)


@given(st.text(max_size=60) | st.text(alphabet='ab.@<>(),;:"\\[] \t', max_size=40))
def test_any_text_is_a_list_or_a_list_error(text: str) -> None:
    try:
        for spec in read_list(text):
            assert spec.local
            assert spec.domain
            assert 0 <= spec.offset < len(text)
    except ListError:
        pass


def test_a_long_list_takes_time_in_proportion() -> None:
    assert len(read_list(",".join(f"Name {n} <user{n}@sales>" for n in range(20_000)))) == 20_000
    assert read_list("(" * 10_000 + ")" * 10_000) == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (Spec("ann", "sales", 0), "mhs:ann@sales"),
        (Spec('"ann lee"', "sales", 0), "mhs:ann lee@sales"),
        (Spec("ann", "acme.example", 0), "smtp:ann@acme.example"),
    ],
)
def test_the_folder_s_own_network_is_read_first(spec: Spec, expected: str) -> None:
    assert in_network(spec, "mhs") == parse(expected)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("mhs:ann@sales", "ann@sales"),
        ("mhs:ann lee@sales", '"ann lee"@sales'),
        ("smtp:ann@acme.example", "ann@acme.example"),
        ('smtp:"a>b"@acme.example', '"a>b"@acme.example'),
        # not an addr-spec in this network, so it is written out
        ("mhs:ann@sales.example", "mhs:ann@sales.example"),
        ("mhs:gate@hub {SMTP:ann@acme.example}", "gate@hub {SMTP:ann@acme.example}"),
        ("smtp:ann@localhost", "smtp:ann@localhost"),
        ("pigeon:+358 9 1234", "pigeon:+358 9 1234"),
    ],
)
def test_one_address_is_written_so_that_it_is_read_back(address: str, text: str) -> None:
    assert write_one(parse(address), "mhs") == text
    assert read_one(text, "mhs") == parse(address)


@given(
    network=st.sampled_from(["smtp", "mhs"]),
    address=st.sampled_from(["smtp", "mhs", "fax"]).flatmap(
        lambda name: st.text(alphabet='ab. "@{}:<>\\+é', min_size=1, max_size=20).map(lambda value: f"{name}:{value}")
    ),
)
def test_what_is_written_is_read_back(network: str, address: str) -> None:
    try:
        made = parse(address)
    except AddressError:
        return
    text = write_one(made, network)
    assert read_one(text, network) == made
