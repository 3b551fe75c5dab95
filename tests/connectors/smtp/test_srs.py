"""SRS: what libsrs2 makes of an address we make, and every change of one is refused."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.smtp.outward_config import SrsConfig
from connectors.smtp.srs import Flaw, Srs, SrsError, srs_of

NEW_YEAR = datetime(2020, 1, 1, 0, 1, tzinfo=UTC).timestamp()
SHORT = Srs("example.com", [b"tops3cr3t"], hash_chars=4)
DAY = 86400.0

# What the daemon that most sites run answers to, at that time and with that secret.
FORWARD = [
    ("test@otherdomain.com", "SRS0=vmyz=2W=otherdomain.com=test@example.com"),
    ("SRS1=X=thirddomain.com==opaque+string@otherdomain.com", "SRS1=JIBX=thirddomain.com==opaque+string@example.com"),
]
REVERSE = [
    ("SRS0=XjO9=2V=otherdomain.com=test@example.com", "test@otherdomain.com"),
    ("SRS1=JIBX=thirddomain.com==opaque+string@example.com", "SRS0=opaque+string@thirddomain.com"),
    ("srs0=xjo9=2v=otherdomain.com=test@example.com", "test@otherdomain.com"),
    ("SRS0=XJO9=2V=OTHERDOMAIN.COM=TEST@EXAMPLE.COM", "TEST@OTHERDOMAIN.COM"),
]
FLAWS = [
    ("SRS0=te87=T7=otherdomain.com=test@example.com", Flaw.EXPIRED),
    ("SRS0=VcIb=7N=otherdomain.com=test@example.com", Flaw.EXPIRED),
    ("SRS0=FAKE=2V=otherdomain.com=test@example.com", Flaw.FORGED),
    ("SRS0=@example.com", Flaw.NO_HASH),
    ("SRS0=XjO9@example.com", Flaw.NO_TIME),
    ("SRS0=XjO9=2V@example.com", Flaw.NO_HOST),
    ("SRS0=XjO9=2V=otherdomain.com@example.com", Flaw.NO_USER),
    ("SRS1=@example.com", Flaw.NO_HASH),
    ("SRS1=JIBX@example.com", Flaw.NO_HOST),
    ("SRS1=JIBX=thirddomain.com@example.com", Flaw.NO_USER),
]


@pytest.mark.parametrize(("address", "expected"), FORWARD)
def test_forward_as_others_do(address: str, expected: str) -> None:
    assert SHORT.forward(address, NEW_YEAR) == expected


@pytest.mark.parametrize(("address", "expected"), REVERSE)
def test_reverse_as_others_do(address: str, expected: str) -> None:
    assert SHORT.is_ours(address)
    assert SHORT.reverse(address, NEW_YEAR) == expected


@pytest.mark.parametrize(("address", "flaw"), FLAWS)
def test_what_leads_nowhere(address: str, flaw: Flaw) -> None:
    assert SHORT.is_ours(address)
    with pytest.raises(SrsError) as refused:
        SHORT.reverse(address, NEW_YEAR)
    assert refused.value.flaw is flaw


def test_the_published_vectors_are_all_here() -> None:
    """Every SRS address in the vectors of the corpus is one of the tables above."""
    corpus = os.environ.get("GATEPOST_CORPUS")
    if corpus is None:
        print("GATEPOST_CORPUS is not set: the tables above are not compared with the published ones")
        return
    text = (Path(corpus) / "postsrsd" / "run_postsrsd_tests.bats").read_text()
    asked = set(re.findall(r'"get (\S*SRS[01]\S*@example\.com)"', text, re.IGNORECASE))
    # The daemon refuses to rewrite what is its own already, which it was asked about, too.
    assert asked <= {address for address, _ in REVERSE} | {address for address, _ in FLAWS}
    answers = set(re.findall(r'\^"200 (SRS[01]=\w{4}=\S+@example\.com)"', text))
    assert answers == {expected for _, expected in FORWARD}


def test_a_second_forwarder_leads_back_to_the_first() -> None:
    first, second, third = (Srs(f"{n}.example", [n.encode()]) for n in ("one", "two", "three"))
    path = third.forward(second.forward(first.forward("ann@home.example", NEW_YEAR), NEW_YEAR), NEW_YEAR)
    assert path.startswith("SRS1=")
    assert path.endswith("@three.example")
    back = third.reverse(path, NEW_YEAR)  # past the second, straight to the one who can read it
    assert back.endswith("@one.example")
    assert first.reverse(back, NEW_YEAR) == "ann@home.example"


def test_secrets_rotate_and_domains_move() -> None:
    old = Srs("old.example", [b"one"])
    made = old.forward("ann@home.example", NEW_YEAR)
    new = Srs("new.example", [b"two", b"one"], ["old.example"])
    assert new.is_ours(made)
    assert new.reverse(made, NEW_YEAR) == "ann@home.example"
    assert new.forward("ann@home.example", NEW_YEAR).endswith("@new.example")
    gone = Srs("new.example", [b"two"], ["old.example"])
    with pytest.raises(SrsError, match="hash is wrong"):
        gone.reverse(made, NEW_YEAR)


@pytest.mark.parametrize(("days", "good"), [(-2, False), (-1, True), (0, True), (21, True), (22, False), (1024, True)])
def test_how_long_an_address_lives(days: int, good: bool) -> None:
    made = SHORT.forward("ann@home.example", NEW_YEAR)
    now = NEW_YEAR + days * DAY
    if good:
        assert SHORT.reverse(made, now) == "ann@home.example"
    else:
        with pytest.raises(SrsError, match="out of date"):
            SHORT.reverse(made, now)


@pytest.mark.parametrize(
    "address", ["nobody", "@x.example", "ann@example.com", "SRS1=X=host@x.example", "SRS1=@x.y", '"a b"@x.y']
)
def test_what_is_not_rewritten(address: str) -> None:
    with pytest.raises(SrsError):
        SHORT.forward(address, NEW_YEAR)


@pytest.mark.parametrize("address", ["SRS0@example.com", "srs2=x@example.com", "ann@example.com", "SRS0=a@x.example"])
def test_what_is_not_ours(address: str) -> None:
    assert not SHORT.is_ours(address)


def test_a_shorter_hash_than_the_least_is_forged() -> None:
    made = Srs("example.com", [b"s"]).forward("a@b.example", NEW_YEAR)
    head, rest = made[:5], made[13:]
    assert Srs("example.com", [b"s"]).reverse(head + made[5:9] + rest, NEW_YEAR) == "a@b.example"
    for cut in (made[5:8], ""):
        with pytest.raises(SrsError):
            Srs("example.com", [b"s"]).reverse(head + cut + rest, NEW_YEAR)


def test_as_configured_no_shorter_hash_than_those_made_is_believed() -> None:
    table = SrsConfig(domain="forward.example", secrets=("secret",))
    made = srs_of(table)
    whole = made.forward("ann@far.example", 0)
    hash_ = whole.split("=")[1]
    assert made.reverse(whole, 0) == "ann@far.example"
    cut = whole.replace(hash_, hash_[:4])
    with pytest.raises(SrsError):
        made.reverse(cut, 0)
    assert srs_of(table.model_copy(update={"min_hash_chars": 4})).reverse(cut, 0) == "ann@far.example"


def test_no_secret_is_no_srs() -> None:
    for secrets in ([], [b""], [b"x", b""]):
        with pytest.raises(ValueError, match="secret"):
            Srs("example.com", secrets)


LOCAL = st.text("abcdefghijklmnopqrstuvwxyz0123456789-+=", min_size=1, max_size=63)


@given(LOCAL, st.text("abcdefghijklmnopqrstuvwxyz.", min_size=1, max_size=63), st.integers(5, 80))
def test_back_and_forth_and_no_change_is_believed(local: str, domain: str, at: int) -> None:
    srs = Srs("example.com", [b"tops3cr3t"], hash_chars=16)
    address = f"{local}@{domain}"
    made = srs.forward(address, NEW_YEAR)
    assert srs.reverse(made, NEW_YEAR).lower() == address
    end = made.index("@")
    at = min(at, end - 1)
    changed = made[:at] + chr(ord(made[at]) + 1) + made[at + 1 :]
    if changed.lower() != made.lower():
        with pytest.raises(SrsError):
            srs.reverse(changed, NEW_YEAR)
