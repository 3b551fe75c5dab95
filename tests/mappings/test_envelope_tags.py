"""Wrapped reverse-paths: their table, our own tags made and verified, and another implementation's vectors."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.address import Address, AddressError
from mappings.envelope_tags import Batv, EnvelopeTagError, Own, Srs, Verp, Wrapper, recognised, unwrapped
from mappings.networks.smtp import Smtp
from tests.mappings.corpus import corpus
from tests.mappings.strategies import nasty, smtp

SMTP = Smtp()
_ASKED = re.compile(r'echo>&9 "get (.*)"\n\tread<&9 line\n\t\[\[ "\$line" =+~? \^?"(.*)" \]\]')
any_path = st.one_of(smtp, st.just(SMTP.parse('""@acme.example')))
DAY = 86400
NOW = 20_000.25 * DAY
SRS = Srs("fwd.example", [b"key", b"older"])
BATV = Batv(["acme.example", "bücher.example"], {3: b"key", 1: b"older"})
OWN = Own(
    frozenset({"acme.example"}),
    (
        Verp("news-bounces", "lists.example"),
        Verp("shop-return", "lists.example", separator="-", numbered=True),
        Verp("plain", "lists.example", separator="-", at="-at-"),
    ),
)


@pytest.mark.parametrize(
    ("path", "wrapper", "inner"),
    [
        ("SRS0=Ab3d=XY=acme.example=ann@fwd.example", Wrapper.SRS0, "ann@acme.example"),
        ("SRS0+Ab3d=XY=acme.example=ann@fwd.example", Wrapper.SRS0, "ann@acme.example"),
        ("srs0-ab3d=xy=ACME.example=Ann=x@fwd.example", Wrapper.SRS0, "Ann=x@acme.example"),
        ('"SRS0=Ab3d=XY=acme.example=ann lee"@fwd.example', Wrapper.SRS0, '"ann lee"@acme.example'),
        (
            "SRS1=Zz9q=fwd.example==Ab3d=XY=acme.example=ann@second.example",
            Wrapper.SRS1,
            "SRS0=Ab3d=XY=acme.example=ann@fwd.example",
        ),
        ("SRS1+Zz9q=fwd.example=+opaque@second.example", Wrapper.SRS1, "SRS0+opaque@fwd.example"),
        ("prvs=0123abcdef=ann@acme.example", Wrapper.BATV, "ann@acme.example"),
        ("PRVS=0123ABCDEF=ann=x@ACME.example", Wrapper.BATV, "ann=x@acme.example"),
        ("prvs=ann=0123abcdef@acme.example", Wrapper.BATV, "ann@acme.example"),
        ("prvs=0123abcdef=@acme.example", Wrapper.BATV, '""@acme.example'),
        ("news-bounces+bob=b.example@lists.example", Wrapper.VERP, "bob@b.example"),
        ("News-Bounces+bob=x=b.example@LISTS.example", Wrapper.VERP, "bob=x@b.example"),
        ("shop-return-17-bob=b.example@lists.example", Wrapper.VERP, "bob@b.example"),
        ("plain-bob-at-b.example@lists.example", Wrapper.VERP, "bob@b.example"),
    ],
)
def test_what_is_inside(path: str, wrapper: Wrapper, inner: str) -> None:
    assert recognised(path, own=OWN) == (wrapper, inner)
    assert unwrapped(path, own=OWN) == inner


@pytest.mark.parametrize(
    "path",
    [
        "",
        "ann",
        "postmaster",
        "ann@acme.example",
        "prvs=0123abcdef=ann@other.example",
        "prvs=0123abcde=ann@acme.example",
        "prvs==0123abcdef@acme.example",
        "SRS0=opaque@fwd.example",
        "SRS0=Ab3d=XY=acme.example@fwd.example",
        "SRS0=Ab3d=X1=acme.example=ann@fwd.example",
        "SRS0=Ab3d=XY=-=ann@fwd.example",
        "SRS1=Zz9q=fwd.example=opaque@second.example",
        "news-bounces+bob=b.example@other.example",
        "news-bounces+bob@lists.example",
        "news-bounces+=b.example@lists.example",
        "news-bouncesbob=b.example@lists.example",
    ],
)
def test_what_is_not_wrapped(path: str) -> None:
    assert unwrapped(path, own=OWN) is None


def test_our_return_path() -> None:
    made = SRS.wrap("Ann@ACME.example", NOW)
    assert re.fullmatch(r"SRS0=[A-Za-z0-9+/]{4}=[A-Z2-7]{2}=acme\.example=Ann@fwd\.example", made)
    assert SRS.unwrap(made, NOW + 20 * DAY) == "Ann@acme.example"
    assert SRS.wrap(made, NOW) == made
    second = Srs("second.example", [b"another"])
    twice = second.wrap(made, NOW)
    assert twice.startswith("SRS1=")
    assert "=fwd.example==" in twice
    assert second.unwrap(twice, NOW) == made
    third = Srs("third.example", [b"a third"])
    thrice = third.wrap(twice, NOW)
    assert (
        thrice.partition("=fwd.example==")[2].partition("@")[0]
        == twice.partition("=fwd.example==")[2].partition("@")[0]
    )
    assert third.unwrap(thrice, NOW) == made


def test_the_null_path_and_our_own_stay() -> None:
    assert SRS.wrap("", NOW) == ""
    assert SRS.wrap("ann@fwd.example", NOW) == "ann@fwd.example"
    assert BATV.wrap("", NOW) == ""
    assert BATV.wrap("ann@other.example", NOW) == "ann@other.example"
    for wrap in (SRS.wrap, BATV.wrap):
        assert wrap("postmaster", NOW) == "postmaster"
        with pytest.raises(AddressError):
            wrap("ann", NOW)


def test_others_return_paths_are_not_ours_to_verify() -> None:
    for path in ("", "ann@fwd.example", "SRS0=Ab3d=XY=acme.example=ann@other.example", "prvs=x@fwd.example"):
        assert SRS.unwrap(path, NOW) is None
    for path in ("", "ann@acme.example", "prvs=0123abcdef=ann@other.example", "prvs=ann@acme.example"):
        assert BATV.unwrap(path, NOW) is None


@pytest.mark.parametrize(
    ("path", "back"),
    [
        ("SRS0=@far.example", "SRS0=@far.example"),
        ("SRS1=q=%==n@far.example", "SRS1=q=%==n@far.example"),
        ('"SRS1=Ab3d=e.example== "@far.example', '"SRS0= "@e.example'),
        ("\u0399\u0308\u0301@far.example", "\u03aa\u0301@far.example"),
        ("\u03a3@far.example", "\u03a3@far.example"),
    ],
)
def test_odd_return_paths_come_back(path: str, back: str) -> None:
    for made in (SRS.wrap(path, NOW), SRS.wrap(path, NOW).lower()):
        found = SRS.unwrap(made, NOW)
        assert found is not None
        assert SMTP.parse(found) == SMTP.parse(back)


def test_a_forged_or_ill_formed_return_path_is_refused() -> None:
    made = SRS.wrap("ann@acme.example", NOW)
    for path in (
        made.replace("acme", "acne"),
        made.replace("=ann", "=bob"),
        Srs("fwd.example", [b"a stranger's"]).wrap("ann@acme.example", NOW),
        "SRS0=@fwd.example",
        "SRS0=Ab3d=XY@fwd.example",
        "SRS1=Ab3d=other.example==x@fwd.example",
        "SRS1=Ab3d@fwd.example",
    ):
        with pytest.raises(EnvelopeTagError, match=r"5\.7\.1 forged return path"):
            SRS.unwrap(path, NOW)


def test_a_return_path_expires() -> None:
    made = SRS.wrap("ann@acme.example", NOW)
    assert SRS.unwrap(made, NOW + 21 * DAY)
    assert SRS.unwrap(made, NOW - 1 * DAY)  # made where the clock is ahead
    for later in (22, 500, -2):
        with pytest.raises(EnvelopeTagError, match="expired"):
            SRS.unwrap(made, NOW + later * DAY)
    tagged = BATV.wrap("ann@acme.example", NOW)
    assert BATV.unwrap(tagged, NOW + 7 * DAY)
    for later in (8, 500, -1):
        with pytest.raises(EnvelopeTagError, match="expired"):
            BATV.unwrap(tagged, NOW + later * DAY)


def test_older_keys_verify() -> None:
    assert SRS.unwrap(Srs("fwd.example", [b"older"]).wrap("ann@acme.example", NOW), NOW) == "ann@acme.example"
    assert BATV.unwrap(Batv(["acme.example"], {1: b"older"}).wrap("ann@acme.example", NOW), NOW) == "ann@acme.example"


def test_a_tag_of_ours() -> None:
    made = BATV.wrap("Ann@acme.example", NOW)
    assert re.fullmatch(r"prvs=3007[0-9a-f]{6}=Ann@acme\.example", made)  # it holds until day 20007
    assert BATV.wrap(made, NOW) == made
    assert BATV.unwrap(made, NOW) == "Ann@acme.example"
    tag = made.partition("@")[0].split("=")[1]
    assert BATV.unwrap(f"prvs=Ann={tag}@acme.example", NOW) == "Ann@acme.example"
    for forged in (made.replace("Ann", "Bob"), made.replace("prvs=3", "prvs=1"), made.replace("prvs=3", "prvs=4")):
        with pytest.raises(EnvelopeTagError, match="forged"):
            BATV.unwrap(forged, NOW)


def test_settings_that_cannot_work_are_refused() -> None:
    for secrets in ([], [b""]):
        with pytest.raises(ValueError, match="secret"):
            Srs("fwd.example", secrets)
    for keys in ({}, {10: b"x"}, {1: b""}):
        with pytest.raises(ValueError, match="keys"):
            Batv(["acme.example"], keys)


@given(any_path, st.floats(0, 4e9))
def test_what_is_wrapped_is_read_back(address: Address, now: float) -> None:
    made = SRS.wrap(address.value, now)
    for peer in (str, str.lower, str.upper) if made.isascii() else (str,):
        inner = SRS.unwrap(peer(made), now)
        assert inner is not None
        assert SMTP.parse(inner) == address
        assert SMTP.parse(unwrapped(peer(made), own=OWN) or "") == address


@given(any_path, st.floats(0, 4e9))
def test_what_is_tagged_is_read_back(address: Address, now: float) -> None:
    batv = Batv([address.key.rpartition("@")[2]], {0: b"key"})
    made = batv.wrap(address.value, now)
    for peer in (str, str.lower, str.upper) if made.isascii() else (str,):
        inner = batv.unwrap(peer(made), now)
        assert inner is not None
        assert SMTP.parse(inner) == address


@given(st.integers(0, 100), st.sampled_from("aZ09=+.x"))
def test_one_changed_character_is_noticed(at: int, c: str) -> None:
    made = SRS.wrap("ann.lee@acme.example", NOW)
    local = made.partition("@")[0]
    at %= len(local)
    changed = f"{local[:at]}{c}{local[at + 1 :]}@fwd.example"
    if changed.lower() == made.lower() or changed[4] in "-+":
        return
    with suppress(EnvelopeTagError):
        assert SRS.unwrap(changed, NOW) is None


@given(nasty)
def test_text_raises_nothing_but_its_own_error(text: str) -> None:
    for path in (text, f"{text}@fwd.example", f"SRS0={text}@fwd.example", f"prvs={text}@acme.example"):
        inner = unwrapped(path, own=OWN)
        assert inner is None or SMTP.parse(inner).value == inner
        for unwrap in (SRS.unwrap, BATV.unwrap):
            with suppress(EnvelopeTagError):
                unwrap(path, NOW)


def test_vectors_of_postsrsd() -> None:
    """Its forward and reverse requests, at its clock and with its secret, get our answers."""
    script = (corpus("postsrsd") / "run_postsrsd_tests.bats").read_text()
    seen = 0
    for name in ("SRS forward rewrite", "SRS reverse rewrite"):
        body = script.partition(f'@test "{name}" {{')[2].partition("\n}")[0]
        when = re.search(r'start_postsrsd_at "(.+) UTC"', body)
        assert when is not None
        now = datetime.fromisoformat(f"{when[1]}+00:00").timestamp()
        srs = Srs("example.com", [b"tops3cr3t"])
        for asked, wanted in _ASKED.findall(body):
            path, (code, _, answer) = unquote(asked), wanted.partition(" ")
            seen += 1
            try:
                got = srs.wrap(path, now) if "forward" in name else srs.unwrap(path, now)
            except (AddressError, EnvelopeTagError):
                assert code == "500", asked
                continue
            if code == "500":
                assert got in (path, None), asked
            else:
                assert got is not None
                assert got.lower().startswith(answer.lower()), asked
    assert seen == 19
