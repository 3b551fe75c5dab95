"""DANE and MTA-STS on the wire: which host gets the mail, over what, and what is counted for the report."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from connectors.smtp.destination import SmtpDestination
from connectors.smtp.dns_resolver import Tlsa
from connectors.smtp.domain_tls import DomainTls
from connectors.smtp.faults import HopFault
from connectors.smtp.mta_sts import PolicyError
from connectors.smtp.mx import LookupFault, Target
from connectors.smtp.tls import TlsOptions
from connectors.smtp.tls_guard import Guard, GuardedFinder
from connectors.smtp.tls_reports import Ruling
from gateway.contract import Address, Deferred, Failed, Message, Status
from tests.connectors.smtp.client_kit import Counts, RecordingBatch, config, context, parcel
from tests.connectors.smtp.secure_dns import SecureDns
from tests.connectors.smtp.test_client_tls import TLS_OFFERS, Authority
from tests.peers.bad_smtp import BadSmtp

ENFORCE = b"version: STSv1\nmode: enforce\nmx: mx.test\nmax_age: 86400\n"
TESTING = ENFORCE.replace(b"enforce", b"testing")
NOWHERE = ENFORCE.replace(b"mx.test", b"other.test")
WRONG = Tlsa(3, 1, 1, bytes(32))


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def right(ca: Authority) -> Tlsa:
    """Return the record of the certificate that was made last."""
    made = x509.load_pem_x509_certificate((ca.folder / "server.pem").read_bytes())
    key = made.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Tlsa(3, 1, 1, hashlib.sha256(key).digest())


class Sent:
    """What became of two messages to y.example, whose one host is `mx.test`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.codes: list[str] = []
        self.over: list[bool] = []
        """For each session with a message: whether it was over TLS."""
        self.counted: list[dict[str, Any]] = []
        self.counts = Counts()

    async def go(
        self, ca: Authority, server: ssl.SSLContext | None, *, tlsa: Sequence[Tlsa] | None = (),
        sts: bytes | None = None, secure: bool = True, to: str = "b@y.example", domain: str = "y.example",
        dns: Callable[..., SecureDns] = SecureDns, **options: Any,
    ) -> Sent:  # fmt: skip
        """`domain` is that of `to` as DNS has it."""

        async def fetch(domain: str) -> bytes:
            if sts is None:
                raise PolicyError("no answer", "sts-policy-fetch-error")
            return sts

        offers = TLS_OFFERS if server else TLS_OFFERS[:-1]
        async with BadSmtp(offers=offers, tls=server) as peer:
            records = {} if tlsa == () else {f"_{peer.port}._tcp.mx.test": tlsa}
            texts: dict[str, list[bytes]] = {f"_smtp._tls.{domain}": [b"v=TLSRPTv1; rua=mailto:tls@y.example"]}
            if options.get("mta_sts"):
                texts[f"_mta-sts.{domain}"] = [b"v=STSv1; id=1;"]
            zone = dns(
                {domain: [(10, "mx.test")]}, {"mx.test": ["127.0.0.1"]}, tlsa=records, txt=texts,
                secure=["mx.test", domain] if secure else [],
            )  # fmt: skip
            base = context(self.counts, base=self.folder)
            destination = SmtpDestination(
                "out",
                config(
                    port=peer.port, ca_file=str(ca.file), nameservers=("127.0.0.1",),
                    tls_reports_from="tls@gw.test", **options,
                ),
                base,
                resolver=zone,
            )  # fmt: skip
            destination._domain_tls = kept = DomainTls(base, fetch=fetch)
            await destination.start()
            batch = RecordingBatch([parcel(1, to), parcel(2, to)], next_hop=to.rpartition("@")[2])
            try:
                await destination.deliver(batch)
            finally:
                await destination.stop()
            self.codes = batch.codes()
            self.over = [bool(session.tls) for session in peer.sessions if session.messages]
        mails: list[tuple[str, str, bytes]] = []

        async def send(sender: str, to: str, octets: bytes) -> None:
            mails.append((sender, to, octets))

        async def post(url: str, packed: bytes) -> None:
            raise AssertionError(url)

        assert kept._reports is not None
        assert await kept._reports.report(send, post) == len(mails)
        for path in (self.folder / "tls-reports").glob("*.json.gz"):
            self.counted = json.loads(gzip.decompress(path.read_bytes()))["policies"]
        return self

    @property
    def told(self) -> list[tuple[str, int, list[str]]]:
        """Return (policy type, sessions that were right, kinds of failure) of each policy."""
        return [
            (
                each["policy"]["policy-type"],
                each["summary"]["total-successful-session-count"],
                sorted(detail["result-type"] for detail in each["failure-details"]),
            )
            for each in self.counted
        ]


@pytest.fixture
def sent(tmp_path: Path) -> Sent:
    return Sent(tmp_path)


DELIVERED = ["delivered 2.0.0"] * 2
UNTRUSTED = ["deferred 4.7.5 hop"] * 2


async def test_dane_takes_a_certificate_that_nobody_else_trusts(ca: Authority, sent: Sent) -> None:
    server = ca.server("nobody.test")
    await sent.go(ca, server, tlsa=[right(ca)], dane=True)
    assert (sent.codes, sent.over) == (DELIVERED, [True])
    assert sent.told == [("tlsa", 1, [])]
    assert sent.counts.values["tls_sessions"] == 1


async def test_dane_refuses_another_certificate(ca: Authority, sent: Sent) -> None:
    await sent.go(ca, ca.server("mx.test"), tlsa=[WRONG], dane=True)
    assert (sent.codes, sent.over) == (UNTRUSTED, [])
    assert sent.told == [("tlsa", 0, ["validation-failure"])]


async def test_dane_bars_plain_text(ca: Authority, sent: Sent) -> None:
    """A listener who strips STARTTLS gains nothing."""
    await sent.go(ca, None, tlsa=[WRONG], dane=True)
    assert (sent.codes, sent.over) == (["deferred 4.7.4 hop"] * 2, [])
    assert sent.told == [("tlsa", 0, ["starttls-not-supported"])]


async def test_dane_without_an_answer_bars_the_host(ca: Authority, sent: Sent) -> None:
    await sent.go(ca, ca.server("mx.test"), tlsa=None, dane=True)
    assert (sent.codes, sent.over) == (UNTRUSTED, [])
    assert sent.told == [("tlsa", 0, ["dnssec-invalid"])]


async def test_dane_without_an_answer_about_the_domain_bars_its_hosts(ca: Authority, sent: Sent) -> None:
    """Who can suppress the second answer about a domain's hosts must not get its mail without DANE."""

    class Once(SecureDns):
        async def is_secure(self, name: str, kind: str) -> bool:
            if kind == "MX":
                raise LookupFault("SERVFAIL")
            return await super().is_secure(name, kind)

    await sent.go(ca, None, tlsa=[WRONG], dane=True, dns=Once)
    assert (sent.codes, sent.over) == (["deferred 4.7.5 hop"] * 2, [])


async def test_dane_of_a_domain_that_is_not_signed_is_not_asked_for(ca: Authority, sent: Sent) -> None:
    await sent.go(ca, None, tlsa=[WRONG], dane=True, secure=False)
    assert (sent.codes, sent.over) == (DELIVERED, [False])
    assert sent.told == [("no-policy-found", 0, ["starttls-not-supported"])]


async def test_records_that_cannot_be_used_still_want_tls(ca: Authority, sent: Sent) -> None:
    await sent.go(ca, ca.server("nobody.test"), tlsa=[Tlsa(1, 1, 1, bytes(32))], dane=True)
    assert (sent.codes, sent.over) == (DELIVERED, [True])
    assert sent.told == [("tlsa", 0, ["tlsa-invalid"])]


@pytest.mark.parametrize(
    ("policy", "name", "codes", "over", "told"),
    [
        (ENFORCE, "mx.test", DELIVERED, [True], ("sts", 1, [])),
        (ENFORCE, "nobody.test", UNTRUSTED, [], ("sts", 0, ["certificate-host-mismatch"])),
        (ENFORCE, "", ["deferred 4.7.4 hop"] * 2, [], ("sts", 0, ["starttls-not-supported"])),
        (NOWHERE, "mx.test", UNTRUSTED, [], ("sts", 0, ["validation-failure"])),
        (TESTING, "mx.test", DELIVERED, [True], ("sts", 1, [])),
        (TESTING, "nobody.test", DELIVERED, [True], ("sts", 0, ["certificate-host-mismatch"])),
        (TESTING, "", DELIVERED, [False], ("sts", 0, ["starttls-not-supported"])),
        (b"version: STSv1\nmode: none\nmax_age: 60\n", "", DELIVERED, [False],
         ("no-policy-found", 0, ["starttls-not-supported"])),
    ],
)  # fmt: skip
async def test_mta_sts(
    ca: Authority, sent: Sent, policy: bytes, name: str, codes: list[str], over: list[bool], told: tuple[Any, ...]
) -> None:
    await sent.go(ca, ca.server(name) if name else None, sts=policy, mta_sts=True)
    assert (sent.codes, sent.over) == (codes, over)
    assert sent.told == [told]


async def test_the_policy_of_a_domain_beyond_ascii_is_found_by_its_form_in_dns(ca: Authority, sent: Sent) -> None:
    idn = {"to": "b@stra\u00dfe.example", "domain": "xn--strae-oqa.example", "mta_sts": True}
    await sent.go(ca, ca.server("nobody.test"), sts=ENFORCE, **idn)
    assert (sent.codes, sent.over) == (UNTRUSTED, [])


@pytest.mark.parametrize(("needed", "outcome"), [(True, "deferred 4.3.2 hop"), (False, "failed 5.3.2")])
async def test_a_word_in_clear_fails_no_message_that_needs_tls(needed: bool, outcome: str) -> None:
    """A 521 before TLS may be of whoever is in the middle."""

    async def refuses(*_: object) -> Any:
        raise HopFault(Failed(Status("5.3.2", "no mail here")))

    nothing: Any = None
    floor = TlsOptions("opportunistic", ssl.create_default_context())
    tls = TlsOptions("require", ssl.create_default_context()) if needed else floor
    finder = GuardedFinder(
        nothing, nothing, floor, plain=nothing, verified=nothing, resolver=None, policies=None, reports=None,
        count=lambda *_, **__: None, open_=refuses,
    )  # fmt: skip
    target = Target("mx.test", "127.0.0.1", 25, Guard(Ruling("y.example", "sts"), tls))
    with pytest.raises(HopFault) as fault:
        await finder.open(target, "gw", lambda _: None)
    found = fault.value.outcome
    said = f"deferred {found.status.code} {found.scope.value}" if isinstance(found, Deferred) else "failed 5.3.2"
    assert said == outcome


async def test_a_policy_that_cannot_be_had_is_told_and_mail_goes(ca: Authority, sent: Sent) -> None:
    await sent.go(ca, ca.server("mx.test"), sts=None, mta_sts=True)
    assert (sent.codes, sent.over) == (DELIVERED, [True])
    assert ("sts", 0, ["sts-policy-fetch-error"]) in sent.told
    assert ("no-policy-found", 1, []) in sent.told


async def test_dane_goes_before_mta_sts(ca: Authority, sent: Sent) -> None:
    """RFC 8461 §2: what MTA-STS allows does not count where DANE says no; and the other way round."""
    await sent.go(ca, ca.server("mx.test"), tlsa=[WRONG], sts=ENFORCE, dane=True, mta_sts=True)
    assert (sent.codes, sent.told) == (UNTRUSTED, [("tlsa", 0, ["validation-failure"])])
    other = Sent(sent.folder / "other")
    server = ca.server("nobody.test")
    await other.go(ca, server, tlsa=[right(ca)], sts=NOWHERE, dane=True, mta_sts=True)
    assert (other.codes, other.told) == (DELIVERED, [("tlsa", 1, [])])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dane": True}, "nameservers"),
        ({"mta_sts": True, "tls": "none"}, "need TLS"),
        ({"mta_sts": True, "tls": "implicit"}, "STARTTLS"),
        ({"mta_sts": True, "smart_host": "x:25"}, "verify"),
        ({"tls_reports_from": "Ann <ann@x.example>"}, "plain address"),
        ({"tls_reports_from": "ann@x"}, "no domain"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        config(**options)


async def test_counts_outlive_a_restart_and_go_out_by_mail(tmp_path: Path) -> None:
    from email import message_from_bytes

    from connectors.smtp.mx import Target
    from connectors.smtp.tls_reports import Reports, Ruling

    now = [86400.0 * 20_000 + 100]
    dns = SecureDns(txt={"_smtp._tls.y.example": [b"v=TLSRPTv1; rua=mailto:tls@y.example,https://y.example/tls?a=1"]})

    def reports() -> Reports:
        made = Reports(tmp_path, "gw.test", "tls@gw.test", dns, lambda: now[0], context().log)
        made.start()
        return made

    target = Target("mx.test", "192.0.2.1", 25)
    first = reports()
    first.count(Ruling("y.example", "sts", ("version: STSv1",), ("mx.test",)), target)
    first.count(Ruling("y.example", "sts", ("version: STSv1",), ("mx.test",)), target, "certificate-expired", "old")
    first.count(Ruling("silent.example", "no-policy-found"), target)
    first.save()
    second = reports()
    second.count(Ruling("y.example", "sts", ("version: STSv1",), ("mx.test",)), target)
    now[0] += 86400
    mails: list[bytes] = []
    posts: list[tuple[str, bytes]] = []

    async def send(sender: str, to: str, octets: bytes) -> None:
        assert (sender, to) == ("tls@gw.test", "tls@y.example")
        mails.append(octets)

    async def post(url: str, packed: bytes) -> None:
        posts.append((url, packed))

    assert await second.report(send, post) == 2
    message = message_from_bytes(mails[0])
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "tlsrpt"
    assert message["TLS-Report-Domain"] == "y.example"
    assert message["TLS-Report-Submitter"] == "gw.test"
    part = message.get_payload()[1]
    assert part.get_content_type() == "application/tlsrpt+gzip"
    packed = part.get_payload(decode=True)
    assert posts == [("https://y.example/tls?a=1", packed)]
    report = json.loads(gzip.decompress(packed))
    day = time.strftime("%Y-%m-%d", time.gmtime(86400 * 20_000))
    assert report["date-range"] == {"start-datetime": f"{day}T00:00:00Z", "end-datetime": f"{day}T23:59:59Z"}
    assert report["policies"] == [
        {
            "policy": {
                "policy-type": "sts",
                "policy-domain": "y.example",
                "policy-string": ["version: STSv1"],
                "mx-host": ["mx.test"],
            },
            "summary": {"total-successful-session-count": 2, "total-failure-session-count": 1},
            "failure-details": [
                {
                    "result-type": "certificate-expired",
                    "failed-session-count": 1,
                    "receiving-mx-hostname": "mx.test",
                    "receiving-ip": "192.0.2.1",
                    "failure-reason-code": "old",
                }
            ],
        }
    ]
    assert await second.report(send, post) == 0  # counted anew


async def test_the_connector_hands_its_reports_to_the_gateway(tmp_path: Path) -> None:
    """By its own intake, so that they are queued, signed and tried again like any mail."""
    from connectors.smtp.mx import Target
    from connectors.smtp.tls_reports import Ruling

    now = [86400.0 * 20_000]
    place = replace(context(base=tmp_path), clock=lambda: now[0])
    rua = b"mailto:x@y.example> BODY=8BITMIME,mailto:,mailto:root,mailto:tls@y.example"  # what is no address gets none
    dns = SecureDns(txt={"_smtp._tls.y.example": [b"v=TLSRPTv1; rua=" + rua]})
    destination = SmtpDestination("out", config(tls_reports_from="tls@gw.test"), place, resolver=dns)
    await destination.start()
    assert destination._domain_tls is not None
    assert destination._domain_tls._reports is not None
    destination._domain_tls._reports.count(Ruling("y.example", "no-policy-found"), Target("mx", "192.0.2.1", 25))
    accepted: asyncio.Queue[Message] = asyncio.Queue()

    class Gateway:
        async def accept(self, message: Message) -> None:
            await accepted.put(message)

    now[0] += 86400
    reporting = asyncio.create_task(destination.report_tls(Gateway()))  # type: ignore[arg-type]  # all that is asked
    async with asyncio.timeout(60):
        message = await accepted.get()
    reporting.cancel()
    await destination.stop()
    envelope = message.envelope
    assert (envelope.reverse_path, [r.address.value for r in envelope.recipients]) == (
        Address("smtp", "tls@gw.test", "tls@gw.test"),
        ["tls@y.example"],
    )
    assert envelope.origin.trusted
    assert message.content.get(b"tls-report-domain") == b"y.example"
