"""The messages that dkimpy and authheaders test themselves with, and what they find in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.smtp.authentication import dmarc
from connectors.smtp.authentication.arc import ArcResult, Validator
from connectors.smtp.authentication.canonical import Bodies, BodyHash, Fields
from connectors.smtp.authentication.dkim import DkimResult, Verifier, sign
from connectors.smtp.authentication.dmarc import Proof
from connectors.smtp.authentication.keys import KeyCache, load_private_key
from connectors.smtp.authentication.lookup import Resolver
from gateway.contract import Content
from tests.connectors.smtp.authentication.dns_double import Zone

DATA = Path(__file__).parents[3] / "data"
NOW = 1_500_000_000.0
EDWARDS = b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
"""Of RFC 8032 §7.1, with which RFC 8463 shows its example."""


def octets_of(folder: str, name: str) -> bytes:
    return (DATA / folder / name).read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def record(name: str) -> bytes:
    return (DATA / "dkimpy" / name).read_bytes().strip()


async def judged(octets: bytes, zone: Resolver) -> tuple[list[DkimResult], ArcResult]:
    content, bodies = Content(octets), Bodies()
    fields = Fields(content.head)
    verifier, validator = Verifier(fields, bodies), Validator(fields, bodies)
    bodies.update(content.body())
    keys = KeyCache()
    return await verifier.verify(zone, keys, NOW), await validator.validate(zone, keys, NOW)


@pytest.mark.parametrize(
    ("name", "keys", "verdicts"),
    [
        ("rfc6376.signed.msg", {"test": "test.txt", "brisbane": ""}, ["pass", "pass"]),
        ("rfc6376.signed.rsa.msg", {"test": "test.txt"}, ["pass"]),
        ("rfc6376.signed.rsa.msg", {"test": "test2.txt"}, ["pass"]),
        ("rfc6376.signed.rsa.msg", {"test": "test_bad.txt"}, ["permerror"]),
        ("rfc6376.signed.rsa.msg", {"test": "badk.txt"}, ["permerror"]),
        ("rfc6376.signed.rsa.msg", {"test": "badversion.txt"}, ["permerror"]),
        ("rfc6376.signed.rsa.msg", {"test": "1024_testkey_wo_markers.pub.txt"}, ["fail"]),
        ("rfc6376.signed.rsa.msg", {}, ["permerror"]),
        ("rfc6376.signed.no_t.msg", {"test": "test.txt"}, ["fail"]),
        ("test.message.baddomain", {"test": "test.txt"}, ["permerror"]),
        ("ed25519test2.msg", {"sed": "eximtest.dns"}, ["pass"]),
        ("test.message", {}, []),
    ],
)
async def test_dkimpys_messages(name: str, keys: dict[str, str], verdicts: list[str]) -> None:
    zone = Zone(
        {
            (f"{selector}._domainkey.{domain}", "TXT"): [record(file) if file else EDWARDS]
            for selector, file in keys.items()
            for domain in ("football.example.com", "test.ex")
        }
    )
    results, _ = await judged(octets_of("dkimpy", name), zone)
    assert [each.verdict for each in results] == verdicts


@pytest.mark.parametrize("form", ["1024_testkey_wo_markers.pub.txt", "1024_testkey_wo_markers.pub.rsa.txt"])
async def test_a_key_may_be_published_in_either_form(form: str) -> None:
    message = Content(octets_of("dkimpy", "test.message"))
    hashed = BodyHash("relaxed")
    hashed.update(message.body())
    key = load_private_key((DATA / "dkimpy" / "1024_testkey.key").read_bytes())
    field = sign(Fields(message.head), hashed.digest(), key=key, domain="a.example", selector="x", names=[b"from"])
    results, _ = await judged(field + message.octets(), Zone({("x._domainkey.a.example", "TXT"): [record(form)]}))
    assert [each.verdict for each in results] == ["pass"]


RECORDS = {
    "test._domainkey.example.com": (DATA / "authheaders" / "test.txt").read_text(),
    "_dmarc.example.com": "v=DMARC1; p=reject; rua=mailto:a@vali.example,mailto:b@vali.example; ruf=mailto:c@v.example",
    "_dmarc.example.org": "v=DMARC1; p=none",
    "_dmarc.example.net": "v=DMARC1; p=none; sp=reject",
    "_dmarc.example.biz": "v=DMARC1; p=none; sp=quarantine; np=reject",
    "_dmarc.nop.example.org": "v=DMARC1; sp=quarantine; np=reject",
    "_dmarc.gov": "v=DMARC1; p=reject; sp=none; np=reject; rua=mailto:d@gov.example; psd=y",
}
ZONE = Zone({(name, "TXT"): [text.strip().encode()] for name, text in RECORDS.items()})
ZONE.records["sub2.example.biz", "A"] = ["192.0.2.1"]


@pytest.mark.parametrize(
    ("name", "verdict", "domain", "policy"),
    [
        ("test.message_signed", "pass", "example.com", "none"),
        ("testcomma.message", "pass", "example.com", "none"),
        ("test.nofrom.message", "permerror", "", "none"),
        ("test.gov.message", "fail", "example.gov", "reject"),
        ("test.message_multi", "fail", "example.com", "reject"),
        ("test.message_multi2", "fail", "example.com", "reject"),
        ("test.message_sub", "fail", "sub.example.net", "reject"),
        ("test.message_np1", "fail", "sub.example.biz", "reject"),
        ("test.message_np2", "fail", "sub2.example.biz", "quarantine"),
        ("test_nop.message", "none", "nop.example.org", "none"),
    ],
)
async def test_authheaders_messages(name: str, verdict: str, domain: str, policy: str) -> None:
    octets = octets_of("authheaders", name)
    content = Content(octets)
    results, _ = await judged(octets, ZONE)
    # As its tests have it: of what is from several, the signature of example.org holds, that of example.com does not.
    proved = ["example.org"] if "multi" in name else [each.domain for each in results if each.verdict == "pass"]
    found = await dmarc.evaluate(dmarc.authors(list(content.get_all(b"from"))), Proof(dkim=tuple(proved)), ZONE)
    assert (found.verdict, found.domain, found.policy) == (verdict, domain, policy)


@pytest.mark.parametrize(("change", "status"), [((b"", b""), "pass"), ((b"Hey gang", b"ey gang"), "fail")])
async def test_a_chain_of_the_suite_for_arc(change: tuple[bytes, bytes], status: str) -> None:
    octets = octets_of("authheaders", "arc-pass.message").replace(*change, 1)
    zone = Zone({("dummy._domainkey.example.org", "TXT"): [record("test.txt")]})
    _, chain = await judged(octets, zone)
    assert chain.status == status
