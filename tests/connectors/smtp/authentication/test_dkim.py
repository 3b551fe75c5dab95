"""DKIM: signatures of others, ours, and what is no signature."""

from __future__ import annotations

import base64
import time
from pathlib import Path

import dkim  # type: ignore[import-untyped]  # dkimpy ships no types
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.smtp.authentication.canonical import Bodies, BodyHash, Fields, Form
from connectors.smtp.authentication.dkim import DkimResult, SignatureFault, Verifier, read, sign, signed_names
from connectors.smtp.authentication.keys import (
    KeyCache,
    KeyFault,
    PrivateKey,
    algorithm_of,
    load_private_key,
    public_record,
    read_record,
)
from tests.connectors.smtp.authentication.dns_double import Zone

DATA = Path(__file__).parents[3] / "data" / "dkimpy"
HEAD = b"From: Ann <ann@s.example>\r\nTo: Bob <bob@t.example>,\r\n\tCarl\r\nSubject:  two  spaces \r\nDate: today\r\n"
BODY = b"Hello  there \r\n\r\n.\r\n\r\n"
NOW = 1_800_000_000
FORMS: list[tuple[Form, Form]] = [(h, b) for h in ("simple", "relaxed") for b in ("simple", "relaxed")]
NAMES = (b"from", b"to", b"subject", b"date", b"message-id")


def pem(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


RSA = rsa.generate_private_key(public_exponent=65537, key_size=1024)
ED = ed25519.Ed25519PrivateKey.generate()
PRIVATE: dict[str, PrivateKey] = {"rsa": RSA, "ed25519": ED}
ZONE = Zone({(f"{name}._domainkey.s.example", "TXT"): [public_record(k).encode()] for name, k in PRIVATE.items()})


async def verify(
    octets: bytes, zone: Zone = ZONE, *, now: float = NOW, body: list[bytes] | None = None
) -> list[DkimResult]:
    head, _, rest = octets.partition(b"\r\n\r\n")
    bodies = Bodies()
    verifier = Verifier(Fields(head + b"\r\n"), bodies)
    for piece in [rest] if body is None else body:
        bodies.update(piece)
    return await verifier.verify(zone, KeyCache(), now)


def signed(
    head: bytes = HEAD,
    body: bytes = BODY,
    kind: str = "rsa",
    form: tuple[Form, Form] = ("relaxed", "relaxed"),
    **more: int,
) -> bytes:
    made = BodyHash(form[1])
    made.update(body)
    fields = Fields(head)
    names = signed_names(fields, NAMES)
    field = sign(
        fields, made.digest(), key=PRIVATE[kind], domain="s.example", selector=kind, names=names, form=form, **more
    )
    return field + head + b"\r\n" + body


# Others' signatures


async def test_the_example_of_rfc_6376() -> None:
    octets = (DATA / "rfc6376.signed.rsa.msg").read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    zone = Zone({("test._domainkey.football.example.com", "TXT"): [(DATA / "test.txt").read_bytes()]})
    assert [each.verdict for each in await verify(octets, zone, now=1e9)] == ["pass"]


@pytest.mark.parametrize("form", FORMS, ids="/".join)
@pytest.mark.parametrize("kind", PRIVATE)
async def test_what_dkimpy_signs_verifies(kind: str, form: tuple[Form, Form]) -> None:
    key = PRIVATE[kind]
    text = pem(RSA) if kind == "rsa" else base64.b64encode(ED.private_bytes_raw())
    field = dkim.sign(
        HEAD + b"\r\n" + BODY,
        kind.encode(),
        b"s.example",
        text,
        canonicalize=tuple(f.encode() for f in form),
        signature_algorithm=algorithm_of(key).encode(),
    )
    (result,) = await verify(field + HEAD + b"\r\n" + BODY, now=time.time())
    assert (result.verdict, result.domain, result.algorithm) == ("pass", "s.example", algorithm_of(key))


# Ours


def dkimpy_says(octets: bytes, zone: Zone = ZONE) -> bool:
    def record(name: bytes, timeout: int = 5) -> bytes:
        return bytes(zone.records.get((name.decode().rstrip("."), "TXT"), [b""])[0])

    return bool(dkim.verify(octets, dnsfunc=record))


@pytest.mark.parametrize("form", FORMS, ids="/".join)
@pytest.mark.parametrize("kind", PRIVATE)
async def test_ours_verify_here_and_by_dkimpy(kind: str, form: tuple[Form, Form]) -> None:
    octets = signed(kind=kind, form=form, timestamp=int(time.time()) - 5, expires=NOW + 5)
    (result,) = await verify(octets)
    assert (result.verdict, result.reason) == ("pass", "")
    assert dkimpy_says(octets)
    assert max(map(len, octets.split(b"\r\n"))) <= 80


# dkimpy takes VT and FF for blanks, which RFC 6376 §2.8 does not.
TEXT = st.binary(max_size=60).map(lambda b: bytes(c for c in b if c not in b"\r\n\0\v\f"))
FIELD = st.builds(
    lambda name, value, fold: name + b": " + value + (b"\r\n\t" + fold if fold.strip() else b"") + b"\r\n",
    st.sampled_from([b"To", b"Subject", b"Date", b"X-Some", b"SUBJECT"]),
    TEXT,
    TEXT,
)
LINES = st.lists(
    st.sampled_from([b"\r\n", b" \r\n", b"\t", b"x", b"  ", b"\xc3\xa9", b".", b"\0", b"From "]) | TEXT, max_size=30
)


@settings(max_examples=60, deadline=None)
@given(st.lists(FIELD, max_size=6), LINES, st.sampled_from(FORMS), st.sampled_from(sorted(PRIVATE)))
async def test_any_content_signed_verifies(
    fields: list[bytes], lines: list[bytes], form: tuple[Form, Form], kind: str
) -> None:
    head = b"From: a@s.example\r\n" + b"".join(fields)
    octets = signed(head, b"".join(lines), kind, form)
    assert [each.verdict for each in await verify(octets, body=lines)] == ["pass"]
    assert dkimpy_says(octets)


# What takes a signature its worth


@pytest.mark.parametrize(
    ("change", "verdict", "reason"),
    [
        ((b"Hello", b"Hallo"), "fail", "body hash does not match"),
        ((b"two  spaces", b"two spaces!"), "fail", "signature does not verify"),
        ((b"\r\nDate: today", b"\r\nDate: today\r\nFrom: else@x.example"), "fail", "signature does not verify"),
        ((b"v=1;", b"v=2;"), "neutral", "another version"),
        ((b"v=1;", b""), "neutral", "v= missing"),
        ((b"a=rsa-sha256;", b"a=rsa-sha256; a=rsa-sha256;"), "neutral", "a tag twice"),
        ((b"a=rsa-sha256;", b"a=rsa-sha3;"), "neutral", "unknown algorithm"),
        ((b"a=rsa-sha256;", b"a=rsa-sha1;"), "policy", "SHA-1 proves nothing"),
        ((b"a=rsa-sha256;", b"a=ed25519-sha256;"), "permerror", "key of another kind"),
        ((b"d=s.example;", b"d=;"), "permerror", "d= missing"),
        ((b"d=s.example;", b"d=s..example;"), "permerror", "no domain in d="),
        ((b"d=s.example;", b"d=example;"), "permerror", "no domain in d="),
        ((b"d=s.example;", b"d=s.example; i=a@b.example;"), "permerror", "i= is not within d="),
        ((b"d=s.example;", b"d=s.example; l=9x;"), "neutral", "no number in l="),
        ((b"d=s.example;", b"d=s.example; l=99999;"), "fail", "body shorter than l="),
        ((b"d=s.example;", b"d=s.example; x=100;"), "fail", "expired"),
        ((b"d=s.example;", b"d=s.example; t=200; x=100;"), "neutral", "x= before t="),
        ((b"d=s.example;", b"d=s.example; q=http;"), "neutral", "keys by another way than DNS"),
        ((b"s=rsa;", b"s=other;"), "permerror", "no key"),
        ((b"s=rsa;", b"s=late;"), "temperror", "no answer for the key"),
        ((b"s=rsa;", b"s=revoked;"), "permerror", "key revoked"),
        ((b"s=rsa;", b"s=short;"), "policy", "key of 512 bits"),
        ((b"s=rsa;", b"s=notes;"), "permerror", "key not for mail"),
        ((b"s=rsa;", b"s=sha1;"), "permerror", "key not for this hash"),
        ((b"s=rsa;", b"s=odd;"), "permerror", "key of an unknown kind"),
        ((b"s=rsa;", b"s=broken;"), "permerror", "key that cannot be read"),
        ((b"c=relaxed/relaxed", b"c=loose"), "neutral", "unknown canonical form"),
        ((b"h=from:", b"h="), "fail", "signature does not verify"),
    ],
)
async def test_faults(change: tuple[bytes, bytes], verdict: str, reason: str) -> None:
    octets = signed()
    assert change[0] in octets
    record = public_record(RSA)
    short = (
        "v=DKIM1; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBALVI635dLK4cJJAH3Lx6upo3X/Lm1tQz3mezcWTA3BUBnyIsdnRf57aD5BtNmhPrYY"
        "DlWlzWaAZVJQ1jwUoTIX0CAwEAAQ=="
    )
    more = {
        "late": None,
        "revoked": ["v=DKIM1; p="],
        "short": [short],
        "notes": [record + "; s=notes"],
        "sha1": [record + "; h=sha1"],
        "odd": [record.replace("k=rsa", "k=elliptic")],
        "broken": ["v=DKIM1; p=AAAA"],
    }
    zone = Zone(
        {(name, kind): value for (name, kind), value in ZONE.records.items()}
        | {(f"{s}._domainkey.s.example", "TXT"): v if v is None else [t.encode() for t in v] for s, v in more.items()}
    )
    (result,) = await verify(octets.replace(*change, 1), zone)
    assert (result.verdict, result.reason) == (verdict, reason)


async def test_a_key_says_what_it_is_for() -> None:
    octets = signed().replace(b"d=s.example;", b"d=s.example; i=@sub.s.example;", 1)
    strict = Zone({("rsa._domainkey.s.example", "TXT"): [public_record(RSA).encode() + b"; t=s:y"]})
    (result,) = await verify(octets, strict)
    assert (result.verdict, result.reason, result.testing) == ("permerror", "key not for subdomains", True)


async def test_the_first_record_that_is_a_key_counts() -> None:
    zone = Zone({("rsa._domainkey.s.example", "TXT"): [b"hello", public_record(RSA).encode()]})
    assert [each.verdict for each in await verify(signed(), zone)] == ["pass"]


async def test_a_length_leaves_the_rest_unsigned_and_is_told() -> None:
    field = dkim.sign(HEAD + b"\r\n" + BODY, b"rsa", b"s.example", pem(RSA), length=True)
    for more, partial in ((b"", False), (b"more\r\n", True)):
        (result,) = await verify(field + HEAD + b"\r\n" + BODY + more, now=time.time())
        assert (result.verdict, result.partial) == ("pass", partial)


async def test_a_signature_signs_those_before_it_and_not_itself() -> None:
    first = signed()
    made = BodyHash("relaxed")
    made.update(BODY)
    digest = made.digest()
    fields = Fields(first.partition(b"\r\n\r\n")[0] + b"\r\n")
    names = [b"from", b"dkim-signature"]
    second = sign(fields, digest, key=RSA, domain="s.example", selector="rsa", names=names)
    assert [each.verdict for each in await verify(second + first)] == ["pass", "pass"]
    assert dkimpy_says(second + first)
    changed = first.replace(b"s=rsa;", b"s=rsa; z=x;", 1)
    assert [each.verdict for each in await verify(second + changed)] == ["fail", "fail"]
    names.append(b"dkim-signature")  # no further one can be added
    third = sign(fields, digest, key=RSA, domain="s.example", selector="rsa", names=names)
    assert [each.verdict for each in await verify(third + first)] == ["pass", "pass"]
    assert [each.verdict for each in await verify(third + second + first)] == ["fail", "pass", "pass"]


async def test_many_signatures_are_bounded() -> None:
    octets = signed()
    one = octets[: octets.index(b"\r\nFrom:") + 2]
    zone = Zone(dict(ZONE.records))
    results = await verify(one * 500 + octets, zone)
    assert len(results) == 10
    assert zone.asked.total() == 10


def test_keys_are_read_once() -> None:
    cache = KeyCache(limit=2)
    records = [public_record(key).encode() for key in PRIVATE.values()]
    assert cache.read(records[:1]) is cache.read(records[:1])
    with pytest.raises(KeyFault):
        cache.read([b"v=DKIM1"])
    with pytest.raises(KeyFault):
        cache.read([])
    assert len(cache._read) == 2


@pytest.mark.parametrize("text", ["p=", "k=rsa; p=", "v=DKIM1;p=;"])
def test_a_revoked_key(text: str) -> None:
    assert read_record(text.encode()).key is None


@pytest.mark.parametrize(
    "text", ["", "v=DKIM1", "p=x; v=DKIM1", "v=DKIM2; p=", "k=ed25519; p=AAAA", "p=%%%", "a=b;;p="]
)
def test_no_key_records(text: str) -> None:
    with pytest.raises(KeyFault):
        read_record(text.encode())


def test_no_private_keys() -> None:
    for octets in (b"", b"secret words", pem(ec.generate_private_key(ec.SECP256R1())), b"-----BEGIN x"):
        with pytest.raises(KeyFault) as fault:
            load_private_key(octets)
        assert "secret" not in str(fault.value)
    assert isinstance(load_private_key(pem(RSA)), rsa.RSAPrivateKey)
    assert isinstance(load_private_key(base64.b64encode(ED.private_bytes_raw())), ed25519.Ed25519PrivateKey)


@pytest.mark.parametrize(
    "field", [b"", b"DKIM-Signature", b"DKIM-Signature: " + b"v=1;" * 20_000, b"x: \xff=1", b"x: a"]
)
def test_no_signatures(field: bytes) -> None:
    with pytest.raises(SignatureFault):
        read(field)


def test_from_must_be_signed() -> None:
    with pytest.raises(ValueError, match="From"):
        sign(Fields(HEAD), b"", key=RSA, domain="s.example", selector="rsa", names=[b"to"])
