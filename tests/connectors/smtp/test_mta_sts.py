"""MTA-STS: records and policies as others write them, and what is kept when they go away."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.smtp.mta_sts import MAX_POLICY, Policies, PolicyError, parse, record_id
from connectors.smtp.tls_reports import places
from tests.connectors.smtp.secure_dns import SecureDns

GOOD = b"version: STSv1\r\nmode: enforce\r\nmx: mx1.y.example\r\nmx: *.mail.y.example\r\nmax_age: 86400\r\n"

# (records, id)
RECORDS: list[tuple[list[bytes], str | None]] = [
    ([b"v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
    ([b"v=STSv1;id=1"], "1"),
    ([b"v=STSv1; id=1; ext=some"], "1"),
    ([b"v=spf1 -all", b"v=STSv1; id=2;"], "2"),
    ([b"v=STSv1; id=1;", b"v=STSv1; id=2;"], None),
    ([b"v=STSv1; id=;"], None),
    ([b"v=STSv1; id=a_b;"], None),
    ([b"v=STSv1; id=" + b"x" * 33], None),
    ([b"v=STSv2; id=1;"], None),
    ([b"\xff\xfe"], None),
    ([], None),
]


@pytest.mark.parametrize(("records", "expected"), RECORDS)
def test_records(records: list[bytes], expected: str | None) -> None:
    assert record_id(records) == expected


def test_a_policy() -> None:
    policy = parse("y.example", GOOD, "1", 1000.0)
    assert (policy.mode, policy.max_age_s, policy.until, policy.id) == ("enforce", 86400, 87400.0, "1")
    assert policy.text[0] == "version: STSv1"
    for host, named in (
        ("mx1.y.example", True),
        ("MX1.y.example.", True),
        ("a.mail.y.example", True),
        ("a.b.mail.y.example", False),  # RFC 8461 §4.1: the star is one label
        ("mail.y.example", False),
        (".mail.y.example", False),
        ("mx2.y.example", False),
        ("mx1.y.example.evil.example", False),
    ):
        assert policy.allows(host) is named, host


BAD = [
    b"",
    b"version: STSv2\nmode: enforce\nmx: a.example\nmax_age: 1\n",
    b"version: STSv1\nmode: maybe\nmx: a.example\nmax_age: 1\n",
    b"version: STSv1\nmode: enforce\nmax_age: 1\n",
    b"version: STSv1\nmode: enforce\nmx: a.example\n",
    b"version: STSv1\nmode: enforce\nmx: a.example\nmax_age: -1\n",
    b"version: STSv1\nmode: enforce\nmx: a.example\nmax_age: 31557601\n",
    b"version: STSv1\nmode: enforce\nmx: a..example\nmax_age: 1\n",
    b"version: STSv1\nmode: enforce\nmx: *\nmax_age: 1\n",
    b"version: STSv1\nmode: enforce\nmx: " + b"a-" * 20_000 + b"\nmax_age: 1\n",
    b"<html>not a policy</html>",
    GOOD + b"\xff" * MAX_POLICY,
    b"version: STSv1\nmode: enforce\nmax_age: 1\n" + b"mx: a.example\n" * 200,
]


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_what_is_no_policy(text: bytes) -> None:
    with pytest.raises(PolicyError) as refused:
        parse("y.example", text, "1", 0.0)
    assert refused.value.result == "sts-policy-invalid"


def test_the_first_of_a_key_counts_and_a_policy_of_none_names_no_host() -> None:
    assert parse("y.example", b"version: STSv1\nmode: none\nmode: enforce\nmax_age: 60", "1", 0.0).mode == "none"


class Web:
    """Serves one policy file, or fails."""

    def __init__(self, text: bytes | None = GOOD) -> None:
        self.text = text
        self.asked = 0

    async def __call__(self, domain: str) -> bytes:
        self.asked += 1
        if self.text is None:
            raise PolicyError("no answer", "sts-policy-fetch-error")
        return self.text


class World:
    """Policies over a fake DNS and web, with a clock that is put forward by hand."""

    def __init__(self, folder: Path) -> None:
        self.now = 1_000_000.0
        self.dns = SecureDns(txt={"_mta-sts.y.example": [b"v=STSv1; id=1;"]})
        self.web = Web()
        self.policies = self.anew(folder)

    def anew(self, folder: Path) -> Policies:
        self.policies = Policies(folder, self.dns, self.web, lambda: self.now)
        self.policies.start()
        return self.policies

    async def mode(self) -> str | None:
        policy, _ = await self.policies.of("y.example")
        return None if policy is None else policy.mode


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "sts")


async def test_it_is_asked_for_once_and_kept(world: World) -> None:
    assert await world.mode() == "enforce"
    for _ in range(5):
        assert await world.mode() == "enforce"
    assert (world.web.asked, len(world.dns.asked)) == (1, 1)
    world.now += 4000  # the record is looked at again; the same id asks for no other file
    assert await world.mode() == "enforce"
    assert (world.web.asked, len(world.dns.asked)) == (1, 2)


async def test_there_is_no_gap_behind_a_policy(world: World) -> None:
    """One who can suppress its file, or the record, gets no hour of mail in clear for it (RFC 8461 section 3.3)."""
    world.web.text = GOOD.replace(b"86400", b"3000")
    assert await world.mode() == "enforce"
    world.now += 3001  # sooner than the record would be looked at again
    assert await world.mode() == "enforce"
    world.web.text = GOOD
    world.now += 3001
    assert await world.mode() == "enforce"
    asked = world.web.asked
    world.now += 44_000  # past the half: it is got again under the same id, while there is time to try
    world.web.text = None
    assert await world.mode() == "enforce"
    assert world.web.asked == asked + 1
    world.web.text = GOOD
    world.now += 301
    assert await world.mode() == "enforce"
    world.now += 80_000
    assert await world.mode() == "enforce"


async def test_a_record_that_cannot_be_had_is_asked_for_again_soon(world: World) -> None:
    world.dns.texts["_mta-sts.y.example"] = None
    assert await world.mode() is None
    world.dns.texts["_mta-sts.y.example"] = [b"v=STSv1; id=1;"]
    world.now += 301
    assert await world.mode() == "enforce"


async def test_a_new_id_brings_the_new_policy(world: World) -> None:
    await world.mode()
    world.dns.texts["_mta-sts.y.example"] = [b"v=STSv1; id=2;"]
    world.web.text = GOOD.replace(b"enforce", b"testing")
    assert await world.mode() == "enforce"
    world.now += 4000
    assert await world.mode() == "testing"


@pytest.mark.parametrize("gone", ["record", "dns", "web", "file"])
async def test_what_goes_away_does_not_take_the_policy_along(world: World, gone: str) -> None:
    """RFC 8461 §10.2: one who can suppress an answer gains nothing until the policy is over."""
    await world.mode()
    world.now += 4000
    if gone == "record":
        del world.dns.texts["_mta-sts.y.example"]
    elif gone == "dns":
        world.dns.texts["_mta-sts.y.example"] = None
    else:
        world.dns.texts["_mta-sts.y.example"] = [b"v=STSv1; id=2;"]
        world.web.text = None if gone == "web" else b"garbage"
    assert await world.mode() == "enforce"
    world.now += 90_000
    assert await world.mode() is None


async def test_it_outlives_a_restart(world: World, tmp_path: Path) -> None:
    await world.mode()
    world.anew(tmp_path / "sts")
    world.dns.texts.clear()
    world.web.text = None
    assert await world.mode() == "enforce"
    assert len(list((tmp_path / "sts").glob("*.json"))) == 1
    world.now += 90_000
    world.anew(tmp_path / "sts")
    assert not list((tmp_path / "sts").iterdir())


async def test_a_torn_file_is_got_anew(world: World, tmp_path: Path) -> None:
    await world.mode()
    for path in (tmp_path / "sts").glob("*.json"):
        path.write_bytes(b'{"domain": "y.example", "mode')
    world.anew(tmp_path / "sts")
    assert await world.mode() == "enforce"
    assert world.web.asked == 2


async def test_a_fetch_that_failed_waits_before_it_is_tried_again(world: World) -> None:
    world.web.text = None
    for _ in range(3):
        policy, fault = await world.policies.of("y.example")
        assert policy is None
        assert fault is not None
        assert fault.result == "sts-policy-fetch-error"
    assert world.web.asked == 1
    world.now += 301
    world.web.text = GOOD
    assert await world.mode() == "enforce"


async def test_a_domain_without_a_record_costs_one_question_an_hour(world: World) -> None:
    for _ in range(5):
        assert await world.policies.of("other.example") == (None, None)
    assert world.dns.asked == ["_mta-sts.other.example"]
    assert world.web.asked == 0


PIECES = st.sampled_from(
    [b"version: STSv1", b"mode: ", b"enforce", b"mx: ", b"*.", b"a.example", b"max_age: 1", b"\n", b":"]
)
OCTETS = st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=20).map(b"".join))


@given(OCTETS)
def test_anything_is_a_policy_or_refused(text: bytes) -> None:
    with contextlib.suppress(PolicyError):
        policy = parse("y.example", text, "1", 0.0)
        assert policy.hosts or policy.mode == "none"
        policy.allows("mx.y.example")


@given(
    st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([b"v=STSv1;", b"v=TLSRPTv1; rua=mailto:a@b.example"])))
)
def test_any_records_are_read(records: list[bytes]) -> None:
    id = record_id(records)
    assert id is None or id.isalnum()
    for place in places(records):
        assert place.startswith(("mailto:", "https://"))
