"""Authentication-Results: written, read, and told from forged ones."""

from __future__ import annotations

import authres  # type: ignore[import-untyped]  # it ships no types
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.smtp.authentication.results import Result, Results, field_of, first_of, is_ours, read, write

OURS = frozenset({"mx.us.example"})


@pytest.mark.parametrize(
    ("value", "server", "found"),
    [
        (b" example.com 1; none", "example.com", []),  # RFC 8601 appendix B.1 and on
        (
            b" example.com; spf=pass smtp.mailfrom=example.net",
            "example.com",
            [("spf", "pass", {"smtp.mailfrom": "example.net"})],
        ),
        (
            b" example.com;\r\n auth=pass (cleartext) smtp.auth=sender@example.com;\r\n"
            b" spf=pass smtp.mailfrom=example.com",
            "example.com",
            [("auth", "pass", {"smtp.auth": "sender@example.com"}), ("spf", "pass", {"smtp.mailfrom": "example.com"})],
        ),
        (
            b" foo.example.net (foobar) 1 (baz);\r\n dkim (Because I like it) / 1 (One yay) = (wait for it) fail\r\n"
            b" policy (A dot can go here) . (like that) expired\r\n (this surprised me) = (as I wasn't expecting it)"
            b" 1362471462",
            "foo.example.net",
            [("dkim", "fail", {"policy.expired": "1362471462"})],
        ),
        (b'"mx.us.example"; dkim=PASS header.d="a;b\\"c"', "mx.us.example", [("dkim", "pass", {"header.d": 'a;b"c'})]),
        (
            b'MX.us.example; dkim=pass reason="x = y; z" header.b=ab+/=',
            "mx.us.example",
            [("dkim", "pass", {"header.b": "ab+/"})],
        ),
        (b"a; x; dkim=pass", "a", []),
        (b"a; dkim=pass; ; spf=pass", "a", [("dkim", "pass", {})]),
        (b"a; (comment (nested) spf=pass", "a", []),
    ],
)
def test_what_fields_say(value: bytes, server: str, found: list[tuple[str, str, dict[str, str]]]) -> None:
    results = read(value)
    assert results is not None
    assert results.server == server
    assert [(r.method, r.verdict, dict(r.properties)) for r in results.results] == found


@pytest.mark.parametrize(
    "value", [b"", b" ", b";", b"; spf=pass", b"(only a comment", b"a b; spf=pass", b"= ; x", b"x" * 40_000]
)
def test_what_cannot_be_read_is_taken_for_ours(value: bytes) -> None:
    assert read(value) is None
    assert is_ours(value, OURS)


@pytest.mark.parametrize(
    ("value", "ours"),
    [
        (b"mx.us.example; none", True),
        (b" MX.US.example 1; none", True),
        (b"mx.us.example.; none", True),
        (b"(x) mx.us.example (y) ; none", True),
        (b'"mx.us.example"; none', True),
        (b'"mx.us\\.example"; none', True),
        (b"\r\n\tmx.us.example\r\n\t; none", True),
        (b"mx.us.example", True),
        (b"mx.them.example; dkim=pass header.d=mx.us.example", False),
        (b"xmx.us.example; none", False),
        (b"(" * 5000 + b") mx.them.example; none", True),
        (b"(" * 30 + b")" * 30 + b" mx.them.example; none", True),
        (b"() " * 100 + b"mx.us.example; none", True),
        (b"() " * 100 + b"mx.them.example; none", False),
        (b"x" * 2000 + b"; none", True),
        (b"mx.them.example; dkim=pass (" + b"x" * 100_000, False),
    ],
)
def test_forged_ones(value: bytes, ours: bool) -> None:
    assert is_ours(value, OURS) is ours


def test_how_it_is_written() -> None:
    results = [
        Result("spf", "fail", {"smtp.mailfrom": 'ann "x"@a.example'}, comment="(all)"),
        Result("dkim", "pass", {"header.d": "a.example", "header.i": "", "header.b": "abcd+/12"}),
        Result("dmarc", "none", {"header.from": "line\r\nX-Evil: 1"}, reason="no record"),
    ]
    assert field_of("mx.us.example", results) == (
        b"Authentication-Results: mx.us.example;\r\n"
        b'\tspf=fail ( all ) smtp.mailfrom="ann \\"x\\"@a.example";\r\n'
        b"\tdkim=pass header.d=a.example header.b=abcd+/12;\r\n"
        b'\tdmarc=none reason="no record" header.from="line??X-Evil: 1"\r\n'
    )
    assert write("mx.us.example", []) == b"mx.us.example; none"


PROPERTY = st.dictionaries(st.sampled_from(["smtp.mailfrom", "header.d", "header.i", "policy.x"]), st.text(max_size=80))
WRITTEN = st.lists(
    st.builds(
        Result,
        st.sampled_from(["spf", "dkim", "dmarc", "arc"]),
        st.sampled_from(["pass", "fail", "none"]),
        PROPERTY,
        st.text(max_size=40),
        st.text(max_size=40),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=150, deadline=None)
@given(WRITTEN)
def test_what_is_written_is_read_again(results: list[Result]) -> None:
    field = field_of("mx.us.example", results)
    assert all(line[:1] == b"\t" for line in field[:-2].split(b"\r\n")[1:])
    back = read(field.partition(b":")[2])
    assert back is not None
    assert [(r.method, r.verdict) for r in back.results] == [(r.method, r.verdict) for r in results]
    for mine, theirs in zip(results, back.results, strict=True):
        shown = {n: "".join(c if c.isprintable() else "?" for c in v) for n, v in mine.properties.items() if v}
        assert theirs.properties == shown


def test_authres_reads_it_too() -> None:
    field = field_of(
        "mx.us.example",
        [
            Result("spf", "pass", {"smtp.mailfrom": "ann@a.example"}, comment="ip4"),
            Result("dkim", "fail", {"header.d": "a.example", "header.s": "s1"}, comment="body hash"),
            Result("dmarc", "pass", {"header.from": "a.example"}),
        ],
    )
    read_by_it = authres.AuthenticationResultsHeader.parse(field.decode().replace("\r\n\t", "\r\n ").strip())
    assert read_by_it.authserv_id == "mx.us.example"
    assert [(r.method, r.result) for r in read_by_it.results] == [("spf", "pass"), ("dkim", "fail"), ("dmarc", "pass")]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_octets(octets: bytes) -> None:
    found = read(octets)
    assert found is None or isinstance(found, Results)


def test_the_topmost_field_of_ours() -> None:
    values = [b"other.example; dkim=fail", b"mx.us.example; dkim=pass", b"mx.us.example; dkim=fail"]
    assert first_of(values, OURS) == Results("mx.us.example", (Result("dkim", "pass"),))
    assert first_of(values[:1], OURS) is None
