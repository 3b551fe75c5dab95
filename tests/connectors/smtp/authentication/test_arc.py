"""ARC: chains of ours and of dkimpy, each judged by the other, and what breaks one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import dkim  # type: ignore[import-untyped]  # dkimpy ships no types
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.smtp.authentication import arc
from connectors.smtp.authentication.arc import ArcResult, Validator
from connectors.smtp.authentication.canonical import Bodies, BodyHash, Fields
from connectors.smtp.authentication.dkim import signed_names
from connectors.smtp.authentication.keys import KeyCache, load_private_key
from tests.connectors.smtp.authentication.dns_double import Zone

DATA = Path(__file__).parents[3] / "data" / "dkimpy"
PEM = (DATA / "test.private").read_bytes()
KEY = load_private_key(PEM)
RECORD = (DATA / "test.txt").read_bytes()
MESSAGE = (DATA / "test.message").read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
NAMES = (b"from", b"to", b"subject", b"date", b"message-id", b"mime-version")


class Hops(Zone):
    """Every domain has the same key."""

    async def txt(self, name: str) -> list[bytes]:
        self.asked[name, "TXT"] += 1
        return [] if name.startswith("missing.") else [RECORD]


async def validate(octets: bytes, zone: Zone | None = None, *, now: float | None = None) -> ArcResult:
    head, _, body = octets.partition(b"\r\n\r\n")
    bodies = Bodies()
    validator = Validator(Fields(head + b"\r\n"), bodies)
    bodies.update(body)
    return await validator.validate(zone or Hops({}), KeyCache(), time.time() if now is None else now)


async def sealed(octets: bytes, domain: str, claims: bytes = b"", **more: Any) -> bytes:
    head, _, body = octets.partition(b"\r\n\r\n")
    fields, hashed = Fields(head + b"\r\n"), BodyHash("relaxed")
    hashed.update(body)
    made = arc.seal(
        fields,
        hashed.digest(),
        await validate(octets),
        claims or domain.encode() + b"; spf=pass smtp.mailfrom=a@b.example",
        key=KEY,
        domain=domain,
        selector="test",
        timestamp=int(time.time()),
        **({"names": signed_names(fields, NAMES)} | more),
    )
    return made + octets


def dkimpy_says(octets: bytes) -> str:
    status, _, _ = dkim.arc_verify(octets, dnsfunc=lambda name, timeout=5: RECORD)
    return "fail" if status is None else str(status.decode())


async def test_no_chain() -> None:
    assert await validate(MESSAGE) == arc.NO_CHAIN
    assert dkimpy_says(MESSAGE) == "none"


async def test_ours_is_believed_here_and_by_dkimpy() -> None:
    octets = MESSAGE
    for number, domain in enumerate(("one.example", "two.example", "three.example"), 1):
        octets = await sealed(octets, domain)
        result = await validate(octets)
        assert (result.status, len(result.chain.sets), result.domains[0]) == ("pass", number, domain)
        assert dkimpy_says(octets) == "pass"
    assert result.domains == ("three.example", "two.example", "one.example")
    assert result.chain.sets[1].claims == b"two.example; spf=pass smtp.mailfrom=a@b.example"


async def test_dkimpys_is_believed_and_sealed_on() -> None:
    lines = dkim.arc_sign(MESSAGE, b"test", b"first.example", PEM, b"lists.example.org", timestamp="12345")
    octets = await sealed(b"".join(lines) + MESSAGE, "second.example")
    assert (await validate(octets)).status == dkimpy_says(octets) == "pass"
    claims = b"Authentication-Results: third.example; arc=pass\r\n"
    lines = dkim.arc_sign(claims + octets, b"test", b"third.example", PEM, b"third.example", timestamp="12345")
    assert (await validate(b"".join(lines) + claims + octets)).status == "pass"


async def test_a_message_signature_may_name_those_before_it() -> None:
    octets = MESSAGE
    for domain in ("one.example", "two.example"):
        octets = await sealed(octets, domain, names=[b"from", b"arc-message-signature"])
        assert (await validate(octets)).status == "pass"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (
            (b"; s=test", b" ;\r\n s = test"),
            "fail",
        ),  # what is sealed may be folded otherwise, but not be given more blanks
        ((b"; s=test", b";\r\n\t s=test"), "pass"),
        ((b"s=test; t", b"s=test;; t"), "fail"),
        ((b"s=test; t", b"s=test; s=test; t"), "fail"),
        ((b"s=test; t", b"S=test; t"), "fail"),
        ((b"s=test; t", b"_=x; s=test; t"), "fail"),
        ((b"d=one.example", b"d=*.example"), "fail"),
        ((b"d=one.example", b"d="), "fail"),
        ((b"b=", b"b=%"), "fail"),
    ],
)
async def test_the_tags_of_a_seal(change: tuple[bytes, bytes], status: str) -> None:
    octets = await sealed(MESSAGE, "one.example")
    assert (await validate(octets.replace(*change, 1))).status == status


async def test_a_seal_must_not_say_what_it_signs() -> None:
    one = await sealed(MESSAGE, "one.example")
    octets = one.replace(b"cv=none;", b"cv=none; h=from;", 1)
    assert (await validate(octets)).reason == "a seal with h= or bh="


def without(octets: bytes, name: bytes, instance: int) -> bytes:
    """Remove a field of the chain."""
    start = octets.index(b"\r\n" + name + b": i=%d;" % instance) if octets[: len(name)] != name else -2
    end = start + 2
    while octets[(end := octets.index(b"\r\n", end) + 2) :][:1] in (b"\t", b" "):
        pass
    return octets[: start + 2] + octets[end:]


@pytest.mark.parametrize("instance", [1, 2, 3])
@pytest.mark.parametrize("name", [b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results"])
async def test_every_field_of_every_set_is_needed(name: bytes, instance: int) -> None:
    octets = MESSAGE
    for domain in ("one.example", "two.example", "three.example"):
        octets = await sealed(octets, domain)
    assert (await validate(without(octets, name, instance))).status == "fail"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ((b"d=two.example; s=test", b"d=two.example; s=missing"), "seal 2: no key"),
        ((b"a test", b"a taste"), "message signature 2: body hash does not match"),
        ((b"Subject: ", b"Subject: Re: "), "message signature 2: signature does not verify"),
        ((b"two.example; spf=pass", b"two.example; spf=fail"), "seal 2: signature does not verify"),
        ((b"one.example; spf=pass", b"one.example; spf=fail"), "seal 2: signature does not verify"),
        ((b"cv=pass", b"cv=none"), "cv= out of place"),
        ((b"cv=none", b"cv=pass"), "cv= out of place"),
        ((b"cv=pass", b"cv=other"), "cv= out of place"),
        ((b"cv=pass", b"cv=fail"), "a hop before found it broken"),
        ((b"cv=pass;", b""), "cv= missing in a seal"),
        ((b"i=2", b"i=3"), "an instance is not whole"),
        ((b"i=2", b"i=1"), "an instance twice or out of bounds"),
        ((b"i=2", b"i=0"), "an instance twice or out of bounds"),
        ((b"i=2", b"i=51"), "an instance twice or out of bounds"),
        ((b"i=2", b"i=two"), "an instance twice or out of bounds"),
        ((b"ARC-Seal: i=2; a=rsa-sha256", b"ARC-Seal: i=2; a=rsa-sha1"), "unknown algorithm"),
        ((b"Signature: i=2; a=rsa-sha256", b"Signature: i=2; a=rsa-sha1"), "SHA-1 proves nothing"),
        ((b"h=from", b"h=arc-seal:from"), "a message signature that signs seals"),
        ((b"t=1", b"t=x1"), "no number in t="),
    ],
)
async def test_what_breaks_a_chain(change: tuple[bytes, bytes], reason: str) -> None:
    octets = await sealed(await sealed(MESSAGE, "one.example"), "two.example")
    assert change[0] in octets
    changed = octets.replace(*change, 1)
    result = await validate(changed)
    assert (result.status, result.reason) == ("fail", reason)
    if b"missing" not in change[1] and change[0] != b"t=1":  # dkimpy reads no t= of a seal, and is given a key always
        assert dkimpy_says(changed) == "fail"


async def test_a_key_that_dns_does_not_give_now_breaks_nothing() -> None:
    octets = await sealed(MESSAGE, "one.example")
    zone = Zone({("test._domainkey.one.example", "TXT"): None})
    result = await validate(octets, zone)
    assert result.status == "temperror"
    fields = Fields(octets.partition(b"\r\n\r\n")[0] + b"\r\n")
    args: dict[str, Any] = {"key": KEY, "domain": "x.example", "selector": "test", "names": [b"from"], "timestamp": 1}
    assert arc.seal(fields, b"", result, b"x; none", **args) == b""


async def test_a_broken_chain_is_sealed_once_as_broken() -> None:
    broken = (await sealed(MESSAGE, "one.example")).replace(b"a test", b"a taste", 1)
    octets = await sealed(broken, "two.example")
    assert b"ARC-Seal: i=2; a=rsa-sha256; cv=fail;" in octets
    assert (await validate(octets)).reason == "a hop before found it broken"
    assert await sealed(octets, "three.example") == octets


async def test_a_full_chain_is_not_sealed() -> None:
    octets = await sealed(MESSAGE, "one.example")
    full = octets.replace(b"i=1;", b"i=50;")
    assert await sealed(full, "two.example") == full


async def test_many_fields_are_bounded() -> None:
    octets = await sealed(MESSAGE, "one.example")
    many = b"".join(b"ARC-Seal: i=%d; cv=none\r\n" % n for n in range(2000)) + octets
    zone = Hops({})
    result = await validate(many, zone)
    assert (result.status, zone.asked.total()) == ("fail", 0)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 2000))
async def test_no_octets_are_a_fault_of_ours(octets: bytes, place: int) -> None:
    one = await sealed(MESSAGE, "one.example")
    changed = one[:place] + octets + one[place + len(octets) :]
    assert (await validate(changed)).status in ("none", "pass", "fail")
