"""The check of a source: what is written into the header, what is removed from it, refused and held."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dkim  # type: ignore[import-untyped]  # dkimpy ships no types
import pytest

from connectors.smtp.authentication import arc
from connectors.smtp.authentication.canonical import BodyHash, Fields
from connectors.smtp.authentication.check import MAX_FIELDS, without_ours
from connectors.smtp.authentication.dkim import sign, signed_names
from connectors.smtp.authentication.dns_lookup import DnsLookup
from connectors.smtp.authentication.evaluation import Sender, evaluate
from connectors.smtp.authentication.keys import KeyCache, load_private_key, public_record
from connectors.smtp.data_reader import INLINE_LIMIT
from gateway.contract import Content
from tests.connectors.smtp.server_kit import Served, serving
from tests.peers.zone_dns import ZoneDns

KEY = load_private_key((Path(__file__).parents[3] / "data" / "dkimpy" / "test.private").read_bytes())
RECORD = public_record(KEY)
FORGED = b"Authentication-Results: gw.example; dmarc=pass header.from=strict.example\r\n"
THEIRS = b"Authentication-Results: mx.them.example; spf=pass smtp.mailfrom=strict.example\r\n"


@pytest.fixture(scope="module")
def zone() -> Iterator[ZoneDns]:
    records: dict[tuple[str, str], Any] = {
        ("open.example", "TXT"): ["v=spf1 ip4:127.0.0.1 -all"],
        ("strict.example", "TXT"): ["v=spf1 -all exp=why.strict.example"],
        ("why.strict.example", "TXT"): ["%{i} is not one of us"],
        ("_dmarc.strict.example", "TXT"): ["v=DMARC1; p=reject"],
        ("_dmarc.soft.example", "TXT"): ["v=DMARC1; p=quarantine"],
        ("s1._domainkey.strict.example", "TXT"): [RECORD],
        ("s1._domainkey.list.example", "TXT"): [RECORD],
        ("late.example", "TXT"): None,
        ("_dmarc.late.example", "TXT"): None,
    }
    with ZoneDns(records) as server:
        yield server


def message(domain: str = "strict.example", body: bytes = b"Hello\r\n", head: bytes = b"") -> bytes:
    return head + b"From: Ann <ann@%s>\r\nTo: bob@acme.example\r\nSubject: x\r\n\r\n" % domain.encode() + body


def signed(octets: bytes, domain: str = "strict.example") -> bytes:
    content, hashed = Content(octets), BodyHash("relaxed")
    hashed.update(content.body())
    fields = Fields(content.head)
    names = signed_names(fields, (b"from", b"to", b"subject", b"authentication-results"))
    return sign(fields, hashed.digest(), key=KEY, domain=domain, selector="s1", names=names) + octets


def sealed(octets: bytes, domain: str, claims: bytes) -> bytes:
    content, hashed = Content(octets), BodyHash("relaxed")
    hashed.update(content.body())
    fields = Fields(content.head)
    names = signed_names(fields, (b"from", b"to", b"subject"))
    more: dict[str, Any] = {"key": KEY, "domain": domain, "selector": "s1", "names": names, "timestamp": 1}
    return arc.seal(fields, hashed.digest(), arc.NO_CHAIN, claims, **more) + octets


def options(zone: ZoneDns, **table: Any) -> dict[str, Any]:
    return {
        "nameservers": ["127.0.0.1"],
        "nameserver_port": zone.port,
        "relay_networks": ["192.0.2.0/24"],
        "authentication": table,
    }


async def hand_in(served: Served, octets: bytes, sender: str = "ann@strict.example") -> str:
    """Return the reply to MAIL where that says no, else the one to the content."""
    dial = await (await served.dial()).greeted()
    await dial.send(f"MAIL FROM:<{sender}>\r\n".encode())
    if (lines := await dial.reply())[-1][:3] == "250":
        assert await dial.say("RCPT TO:<bob@acme.example>", "DATA") == [250, 354]
        await dial.send(octets + b".\r\n")
        lines = await dial.reply()
    await dial.close()
    return " ".join(lines)


def field_of(served: Served) -> bytes:
    """Return our field of the last message, unfolded."""
    content = served.intake.messages[-1].content
    first = content.fields[0]
    assert first.name == b"authentication-results"
    value = next(content.get_all(b"authentication-results"))
    return b" ".join(value.split())


async def test_results_are_told_and_nothing_is_refused(zone: ZoneDns) -> None:
    async with serving(**options(zone)) as served:
        assert (await hand_in(served, signed(message()), "ann@open.example"))[:3] == "250"
        assert field_of(served).startswith(
            b"gw.example; spf=pass smtp.mailfrom=ann@open.example; dkim=pass header.d=strict.example"
            b" header.i=@strict.example header.s=s1 header.a=rsa-sha256 header.b="
        )
        assert field_of(served).endswith(b"dmarc=pass header.from=strict.example")
        assert (await hand_in(served, message()))[:3] == "250"
        assert field_of(served) == (
            b"gw.example; spf=fail (all) smtp.mailfrom=ann@strict.example; dkim=none;"
            b" dmarc=fail (p=reject dis=none) header.from=strict.example"
        )
        assert (await hand_in(served, message("late.example"), ""))[:3] == "250"
        assert field_of(served) == (
            b"gw.example; spf=none (no record) smtp.helo=client.example; dkim=none;"
            b" dmarc=temperror (no answer for a record) header.from=late.example"
        )
        assert served.counts["authentication_results"] == 7


async def test_forged_results_go_and_what_was_signed_is_judged(zone: ZoneDns) -> None:
    async with serving(**options(zone, other_names=["mx2.us.example"])) as served:
        other = FORGED.replace(b"gw.example", b"MX2.us.example")
        octets = signed(message(head=FORGED + THEIRS + other))
        assert (await hand_in(served, octets))[:3] == "250"
        content = served.intake.messages[-1].content
        values = list(content.get_all(b"authentication-results"))
        assert [v.partition(b";")[0] for v in values] == [b"gw.example", b"mx.them.example"]
        assert b"dkim=pass" in values[0]
        assert content.octets().endswith(octets[octets.index(b"From: ") :])


@pytest.mark.parametrize(
    "field",
    [
        THEIRS,
        FORGED,
        b"Authentication-Results: " + b"()" * 10_000 + b"\r\n",
        b"Authentication-Results: " + b"(" * 30_000 + b"\r\n",
        b"ARC-Authentication-Results: i=1; a\r\n",
        b"ARC-Seal: i=1; cv=none; a=rsa-sha256; d=list.example; s=s1; b=" + b"A" * 20_000 + b"\r\n",
        b"DKIM-Signature: v=1; a=rsa-sha256; d=strict.example; s=s1; h=from" + b":x" * 490 + b"; bh=; b=AA\r\n",
        b"From: " + b"(" * 4000 + b"a@b.example\r\n",
        b"From: " + b"a@b.example," * 300 + b"\r\n",
    ],
    ids=range(9),
)
def test_a_long_header_keeps_no_processor_busy(field: bytes, zone: ZoneDns) -> None:
    content = Content(message(head=field * (2_000_000 // len(field)) + b"X: " + b" \t" * 500_000 + b"\r\n"))
    began = time.process_time()
    kept = without_ours(content, frozenset({"gw.example"}))
    asyncio.run(judged(content, zone))
    assert time.process_time() - began < 10
    assert sum(1 for _ in kept.get_all(b"authentication-results")) <= MAX_FIELDS


async def judged(content: Content, zone: ZoneDns) -> None:
    resolver = DnsLookup(["127.0.0.1"], zone.port).until(asyncio.get_running_loop().time() + 60)
    sender = Sender("127.0.0.1", "client.example", "ann@strict.example")
    more: dict[str, Any] = {"trusted_sealers": frozenset(), "receiver": "gw.example", "now": 1.5e9}
    await evaluate(content, sender, None, resolver, KeyCache(), **more)


async def test_a_relaying_client_is_not_judged_but_forges_nothing(zone: ZoneDns) -> None:
    more = {**options(zone), "relay_networks": ["127.0.0.1"]}
    async with serving(**more) as served:
        assert (await hand_in(served, message(head=FORGED + THEIRS)))[:3] == "250"
        assert (await hand_in(served, message()))[:3] == "250"
        assert served.intake.bodies == [THEIRS + message(), message()]


async def test_our_own_servers_fields_stay(zone: ZoneDns) -> None:
    async with serving(**options(zone, own_servers=["127.0.0.0/8"], dmarc="honour", spf="refuse")) as served:
        assert (await hand_in(served, message(head=FORGED)))[:3] == "250"
        assert served.intake.bodies == [message(head=FORGED)]


@pytest.mark.parametrize(
    ("author", "code"),
    [
        (b"ann@strict.example, " + b", ".join(b"a@%d.example" % n for n in range(4)), "554"),
        (b"ann@strict.example (%s)" % (b"x" * 4000), "554"),
        (b"Ann <ann@strict.example> <ann@open.example>", "554"),
        (b"Ann <ann@strict.example\r\nFrom: Ann <ann@open.example>", "554"),
        (b"Ann Lee <ann@open.example>, Bob <bob@open.example>", "250"),
        (b"MAILER-DAEMON", "250"),
        (b"<>", "250"),
    ],
)
async def test_an_author_who_cannot_be_told_is_no_way_past_a_policy(zone: ZoneDns, author: bytes, code: str) -> None:
    octets = message().replace(b"Ann <ann@strict.example>", author)
    async with serving(**options(zone, dmarc="honour")) as served:
        assert (await hand_in(served, octets, "ann@open.example"))[:3] == code
    async with serving(**options(zone)) as served:
        assert (await hand_in(served, octets, "ann@open.example"))[:3] == "250"


async def test_what_domains_ask_for_is_honoured(zone: ZoneDns) -> None:
    async with serving(**options(zone, dmarc="honour", no_answer="defer", name="mx.us.example")) as served:
        assert await hand_in(served, message()) == (
            "554 5.7.26 it is not known that this is from strict.example, which asks that such mail is rejected (DMARC)"
        )
        assert (await hand_in(served, message("late.example"))).startswith("451 4.7.26")
        assert (await hand_in(served, signed(message())))[:3] == "250"
        assert field_of(served).startswith(b"mx.us.example;")
        assert (await hand_in(served, message("soft.example")))[:3] == "250"
        assert b"dmarc=fail (p=quarantine dis=quarantine)" in field_of(served)
        assert served.intake.messages[-1].envelope.hold == ""
        assert served.counts["dmarc_honoured"] == 3


async def test_quarantine_may_hold(zone: ZoneDns) -> None:
    async with serving(**options(zone, dmarc="honour", quarantine="hold")) as served:
        assert (await hand_in(served, message("soft.example")))[:3] == "250"
        assert served.intake.messages[-1].envelope.hold == "DMARC of soft.example asks for quarantine"
        assert (await hand_in(served, message("late.example")))[:3] == "250"


async def test_spf_may_refuse_at_mail(zone: ZoneDns) -> None:
    async with serving(**options(zone, spf="refuse", no_answer="defer")) as served:
        assert await hand_in(served, b"") == (
            "550 5.7.23 strict.example does not send from your address (SPF): strict.example says: "
            "127.0.0.1 is not one of us"
        )
        assert (await hand_in(served, b"", "ann@late.example")).startswith("450 4.7.24")
        assert (await hand_in(served, message("open.example"), "ann@open.example"))[:3] == "250"
        assert b"spf=pass" in field_of(served)


async def test_a_trusted_forwarder_vouches(zone: ZoneDns) -> None:
    passed, failed = (b"list.example; dmarc=%s header.from=strict.example" % w for w in (b"pass", b"fail"))
    async with serving(**options(zone, dmarc="honour", arc_trusted=["list.example"])) as served:
        assert (await hand_in(served, sealed(message(), "list.example", passed)))[:3] == "250"
        assert b"arc=pass (i=1 list.example); dmarc=fail (p=reject dis=none arc=list.example)" in field_of(served)
        assert (await hand_in(served, sealed(message(), "list.example", failed)))[:3] == "554"
        assert (await hand_in(served, sealed(message(), "strict.example", passed)))[:3] == "554"
        other = passed.replace(b"strict", b"soft")
        assert (await hand_in(served, sealed(message(), "list.example", other)))[:3] == "554"
        broken = sealed(message(), "list.example", passed).replace(b"Hello", b"Hallo")
        assert (await hand_in(served, broken))[:3] == "554"


async def test_a_large_body_is_judged_too(zone: ZoneDns) -> None:
    octets = signed(message(body=b"some text\r\n" * (INLINE_LIMIT // 5)))
    async with serving(**options(zone)) as served:
        assert (await hand_in(served, octets))[:3] == "250"
        assert b"dkim=pass" in field_of(served)
        assert served.intake.bodies[0].endswith(octets)


async def test_what_was_added_to_a_signed_body_is_not_from_its_signer(zone: ZoneDns) -> None:
    pem = (Path(__file__).parents[3] / "data" / "dkimpy" / "test.private").read_bytes()
    octets = dkim.sign(message(), b"s1", b"strict.example", pem, length=True) + message()
    async with serving(**options(zone, dmarc="honour")) as served:
        assert (await hand_in(served, octets))[:3] == "250"
        assert (await hand_in(served, octets + b"and more\r\n"))[:3] == "554"


async def test_many_at_once(zone: ZoneDns) -> None:
    async with serving(**options(zone, dmarc="honour")) as served:
        octets = signed(message())
        replies = await asyncio.gather(*(hand_in(served, octets) for _ in range(40)))
        assert {reply[:3] for reply in replies} == {"250"}


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"name": "mx us"}, "is no name of a server"),
        ({"own_servers": ["10.0.0.1/8"]}, "has host bits set"),
        ({"arc_trusted": ["Lists"]}, "is no domain in lower case"),
        ({"dmarc": "yes"}, "'honour' or 'observe'"),
        ({"dkim": True}, "Extra inputs"),
    ],
)
def test_complaints(table: dict[str, Any], told: str) -> None:
    from connectors.smtp.config import SmtpConfig

    with pytest.raises(ValueError, match=told):
        SmtpConfig(authentication=table)  # type: ignore[arg-type]  # as TOML gives it
