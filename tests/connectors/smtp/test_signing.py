"""What is signed and sealed on the way out, verified by dkimpy and by our own verifier over what the peer received."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import dkim as dkimpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.smtp import rsa_native
from connectors.smtp.authentication import arc
from connectors.smtp.authentication.canonical import Bodies, Fields
from connectors.smtp.authentication.dkim import Verifier
from connectors.smtp.authentication.keys import KeyCache
from connectors.smtp.client_config import ClientConfig
from connectors.smtp.config import SmtpConfig
from connectors.smtp.destination import SmtpDestination
from connectors.smtp.outward import Outward
from connectors.smtp.signing import USUAL, Signing, signed
from connectors.smtp.signing_keys import KeyRing, KeyStore
from gateway.contract import Address, Content, Context, Delivered, Origin, Parcel
from tests.connectors.smtp.client_kit import RecordingBatch, config, context, parcel
from tests.peers.bad_smtp import OFFERS, BadSmtp

NOW = time.time()
BODY = b"hello  there \r\n.dot\r\n\r\n\r\n"
HEAD = (
    b"From: Ann Lee <ann@acme.example>\r\nTo: b@y.example\r\nSubject: one\r\n\ttwo\r\n"
    b"Date: Mon, 30 Nov 2026 04:00:00 +0000\r\nMessage-ID: <1@acme.example>\r\n\r\n"
)
OURS = {"acme.example", "gw.test", "srs.acme.example"}


class Records:
    """TXT records by name, as a resolver of ours and as a function of dkimpy's."""

    def __init__(self, records: Mapping[str, str]) -> None:
        self.records = dict(records)
        self.asked: list[str] = []

    async def txt(self, name: str) -> Sequence[bytes]:
        self.asked.append(name)
        found = self.records.get(name)
        return [] if found is None else [found.encode()]

    async def addresses(self, name: str, *, ipv6: bool) -> Sequence[str]:
        return []

    async def mx(self, name: str) -> Sequence[tuple[int, str]]:
        return []

    async def ptr(self, name: str) -> Sequence[str]:
        return []

    def dkimpy(self, name: bytes, timeout: int = 5) -> bytes | None:
        found = self.records.get(name.decode().rstrip("."))
        return None if found is None else found.encode()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyStore:
    """Keys of acme.example by both algorithms, and one of gw.test; all sign."""
    folder = tmp_path_factory.mktemp("base") / "dkim"
    folder.mkdir()
    store = KeyStore(folder)
    store.make("acme.example", "rsa", NOW - 100, NOW - 50, selector="r")
    store.make("acme.example", "ed25519", NOW - 100, NOW - 50, selector="e")
    store.make("gw.test", "rsa", NOW - 100, NOW - 50, selector="g")
    return store


def records_of(store: KeyStore) -> Records:
    return Records(
        {
            f"{entry.selector}._domainkey.{domain}": store.record(domain, entry.selector)
            for domain in store.domains()
            for entry in store.entries(domain)
        }
    )


def ours(address: Address) -> bool:
    return address.value.rpartition("@")[2] in OURS


def place(store: KeyStore) -> Context:
    return replace(context(base=store.folder.parent), is_ours=ours)


def mail(
    n: int = 1, *, head: bytes = HEAD, body: bytes = BODY, trusted: bool = True,
    sender: str | None = "ann@acme.example", content: Content | None = None, to: str | Sequence[str] = "b@y.example",
    connector: str = "in",
) -> Parcel:  # fmt: skip
    made = parcel(n, to, sender=sender, content=content or Content(head + body))
    return replace(made, envelope=replace(made.envelope, origin=Origin(connector, trusted=trusted)))


@asynccontextmanager
async def sending(
    store: KeyStore, peer: BadSmtp, records: Records | None = None, **options: Any
) -> AsyncIterator[SmtpDestination]:
    where = place(store)
    authentication = options.pop("authentication", None)
    settings: ClientConfig = config(peer.port, **options)
    if authentication is not None:
        settings = SmtpConfig(**settings.model_dump(exclude_unset=True), authentication=authentication)
    destination = SmtpDestination("out", settings, where)
    await destination.start()
    if records is not None and destination._outward is not None:
        destination._outward.close()
        destination._outward = Outward(settings, where, resolver=records)
    try:
        yield destination
    finally:
        await destination.stop()


async def sent(
    store: KeyStore, *parcels: Parcel, offers: Sequence[str] = OFFERS, records: Records | None = None, **options: Any
) -> tuple[list[bytes], RecordingBatch]:
    """Send parcels; return what the peer received, and the batch."""
    batch = RecordingBatch(parcels)
    async with BadSmtp(offers=offers) as peer:
        async with sending(store, peer, records, **options) as destination:
            async with asyncio.timeout(60):
                await destination.deliver(batch)
        return [each.content for each in peer.messages], batch


async def verdicts(octets: bytes, records: Records) -> list[str]:
    """Return `pass acme.example r rsa-sha256` for each signature, as we see it."""
    content = Content(octets)
    bodies = Bodies()
    verifier = Verifier(Fields(content.head), bodies)
    bodies.update(content.body())
    found = await verifier.verify(records, KeyCache(), time.time())
    return [f"{each.verdict} {each.domain} {each.selector} {each.algorithm}" for each in found]


BOTH = ["pass acme.example r rsa-sha256", "pass acme.example e ed25519-sha256"]


async def test_both_algorithms_at_once_verified_by_dkimpy(keys: KeyStore) -> None:
    got, batch = await sent(keys, mail(), dkim={})
    records = records_of(keys)
    assert batch.codes() == ["delivered 2.0.0"]
    assert await verdicts(got[0], records) == BOTH
    for idx in (0, 1):
        assert dkimpy.DKIM(got[0]).verify(idx, records.dkimpy)
    assert got[0].endswith(HEAD + BODY)


@pytest.mark.parametrize("name", ["From", "To", "Subject", "Date", "Reply-To", "Content-Type", "Cc"])
async def test_no_further_field_can_be_added(keys: KeyStore, name: str) -> None:
    got, _ = await sent(keys, mail(), dkim={})
    forged = name.encode() + b": evil@evil.example\r\n" + got[0]
    assert [each.split()[0] for each in await verdicts(forged, records_of(keys))] == ["fail", "fail"]


async def test_what_others_may_add_breaks_nothing(keys: KeyStore) -> None:
    got, _ = await sent(keys, mail(), dkim={})
    changed = b"Received: from x\r\nX-Spam: no\r\nAuthentication-Results: x; none\r\n" + got[0]
    assert await verdicts(changed, records_of(keys)) == BOTH


async def test_a_batch_keeps_its_order_and_every_message_is_signed(keys: KeyStore) -> None:
    parcels = [mail(n, body=b"%d\r\n" % n) for n in range(30)]
    batch = RecordingBatch(parcels[:20], [parcels[20:25], parcels[25:]])
    async with BadSmtp() as peer:
        async with sending(keys, peer, dkim={}) as destination:
            await destination.deliver(batch)
        got = [each.content for each in peer.messages]
    assert [int(each.rpartition(b"\r\n\r\n")[2]) for each in got] == list(range(30))
    assert len(batch.outcomes) == 30
    records = records_of(keys)
    for each in got[::7]:
        assert await verdicts(each, records) == BOTH


@pytest.mark.parametrize("offers", [OFFERS, tuple(o for o in OFFERS if o != "8BITMIME")])
async def test_signed_in_the_form_that_this_peer_takes(keys: KeyStore, offers: Sequence[str]) -> None:
    """An 8-bit message to a host without 8BITMIME, as is known only once it is met: encoded first, signed then."""
    head = HEAD.replace(b"\r\n\r\n", b"\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
                        b"Content-Transfer-Encoding: 8bit\r\n\r\n")  # fmt: skip
    got, batch = await sent(keys, mail(head=head, body="grüße\r\n".encode()), dkim={}, offers=offers)
    assert batch.codes() == ["delivered 2.0.0"]
    assert got[0].isascii() == ("8BITMIME" not in offers)
    assert await verdicts(got[0], records_of(keys)) == BOTH


async def test_a_content_that_is_not_in_memory(keys: KeyStore) -> None:
    class File:
        octets = HEAD + b"0123456789 abcdef\r\n" * 40_000
        size = len(octets)

        def read(self, offset: int, length: int) -> bytes:
            return self.octets[offset : offset + length]

    got, batch = await sent(keys, mail(content=Content(File())), dkim={})
    assert batch.codes() == ["delivered 2.0.0"]
    assert await verdicts(got[0], records_of(keys)) == BOTH


async def test_fields_are_removed_before_and_not_after(keys: KeyStore) -> None:
    head = HEAD.replace(b"\r\n\r\n", b"\r\nX-Inner: 1\r\n\r\n")
    options = {"headers": ("From", "Subject", "X-Inner")}
    got, batch = await sent(keys, mail(head=head), dkim=options, remove_headers=("X-Inner",))
    assert b"X-Inner" not in got[0].partition(b"\r\n\r\n")[0].replace(b"x-inner", b"")
    assert await verdicts(got[0], records_of(keys)) == BOTH
    outcome = batch.outcomes[1, 0]
    assert isinstance(outcome, Delivered)
    assert any("X-Inner" in note.what for note in outcome.notes)


@pytest.mark.parametrize(
    ("author", "trusted", "options", "expected"),
    [
        (b"ann@acme.example", True, {}, ["acme.example", "acme.example"]),
        (b"ann@sub.acme.example", True, {}, ["acme.example", "acme.example"]),
        (b"ann@other.example", True, {}, []),
        (b"ann@other.example", True, {"default_domain": "gw.test"}, ["gw.test"]),
        # A stranger who writes our name into From, to an address that is forwarded
        (b"ann@acme.example", False, {}, []),
        (b"ann@other.example", False, {"default_domain": "gw.test"}, []),
        (b"ann@acme.example, eve@evil.example", True, {}, []),
        (b"not an address", True, {}, []),
    ],
)
async def test_whose_mail_is_signed(
    keys: KeyStore, author: bytes, trusted: bool, options: dict[str, Any], expected: list[str]
) -> None:
    head = HEAD.replace(b"ann@acme.example>\r\nTo", author + b">\r\nTo")
    got, _ = await sent(keys, mail(head=head, trusted=trusted), dkim=options)
    assert [each.split()[1] for each in await verdicts(got[0], records_of(keys))] == expected


@pytest.mark.parametrize(
    ("field", "options", "signed"),
    [
        (b"gw.test; dmarc=pass header.from=acme.example", {"authentication": {}}, True),
        (b"gw.test; dmarc=fail header.from=acme.example", {"authentication": {}}, False),
        (b"gw.test; dmarc=pass header.from=other.example", {"authentication": {}}, False),
        (b"evil.test; dmarc=pass header.from=acme.example", {"authentication": {}}, False),
        # The word of whoever wrote it, where nobody here has taken out what is no word of ours.
        (b"gw.test; dmarc=pass header.from=acme.example", {}, False),
        (b"gw.test; dmarc=pass header.from=acme.example", {"authentication": {}, "origin": "elsewhere"}, False),
    ],
)
async def test_what_came_back_to_us_is_signed_anew_where_it_was_proved(
    keys: KeyStore, field: bytes, options: dict[str, Any], signed: bool
) -> None:
    made = mail(head=b"Authentication-Results: " + field + b"\r\n" + HEAD, trusted=False)
    origin = replace(made.envelope.origin, connector=options.get("origin", "out"))
    made = replace(made, envelope=replace(made.envelope, origin=origin))
    options = {name: value for name, value in options.items() if name != "origin"}
    got, _ = await sent(keys, made, dkim={}, **options)
    assert bool(await verdicts(got[0], records_of(keys))) is signed


async def test_an_end_is_stated_where_it_is_asked_for(keys: KeyStore) -> None:
    got, _ = await sent(keys, mail(), dkim={"expire_days": 2})
    assert b"x=" in got[0].partition(b"From:")[0]
    assert await verdicts(got[0], records_of(keys)) == BOTH


# --- forwarding

FOREIGN = HEAD.replace(b"acme.example", b"else.example")


def notes(batch: RecordingBatch) -> list[str]:
    return [note.what for outcome in batch.outcomes.values() for note in getattr(outcome, "notes", ())]


async def test_srs_for_what_others_sent(keys: KeyStore) -> None:
    table = {"domain": "srs.acme.example", "secrets": ("new", "old")}
    async with BadSmtp() as peer:
        async with sending(keys, peer, srs=table) as destination:
            paths = ["ann@else.example", "ann@acme.example", None, "SRS0=x=y=z=a@other.example"]
            batch = RecordingBatch([mail(n, head=FOREIGN, sender=path, trusted=False) for n, path in enumerate(paths)])
            await destination.deliver(batch)
            inner = RecordingBatch([mail(9, sender="ann@else.example", to="bob@acme.example", trusted=False)])
            await destination.deliver(inner)
        got = [each.mail.split()[0] for each in peer.messages]
    assert got[0].startswith("FROM:<SRS0=")
    assert got[0].endswith("=else.example=ann@srs.acme.example>")
    assert got[1:3] == ["FROM:<ann@acme.example>", "FROM:<>"]
    assert got[3].startswith("FROM:<SRS1=")
    assert got[4] == "FROM:<ann@else.example>"  # to one of ours nothing is forwarded
    assert any(what.startswith("reverse-path ann@else.example as SRS0=") for what in notes(batch))


async def foreign(
    keys: KeyStore, tmp_path: Path, policy: str = "", *, whole: bool = False, author: bytes = b"ann@else.example"
) -> tuple[bytes, Records]:
    """Return a message of else.example, signed by it (which still holds where `whole`), and the DNS it is in."""
    store = KeyStore(tmp_path / "else")
    store.folder.mkdir(exist_ok=True)
    store.make("else.example", "ed25519", NOW - 100, NOW - 50, selector="s")
    where = replace(context(base=tmp_path), is_ours=lambda address: True)
    outward = Outward(config(25, dkim={"keys": "else"}), where)
    ((made, _, _),) = await outward.prepare(
        [mail(head=FOREIGN.replace(b"<ann@else.example>\r\nTo", b"<" + author + b">\r\nTo"))]
    )
    outward.close()
    records = records_of(keys)
    records.records |= records_of(store).records
    if policy:
        records.records["_dmarc.else.example"] = f"v=DMARC1; p={policy}"
    octets = made.content.octets()
    return octets if whole else octets.replace(b"Subject: one", b"Subject: [list] one"), records


WRAP = {"wrap_address": "list@acme.example", "dkim": {"default_domain": "gw.test"}}


@pytest.mark.parametrize(
    ("choice", "policy", "whole", "code", "author", "signers"),
    [
        ("keep", "reject", False, "delivered 2.0.0", b"Ann Lee <ann@else.example>", ["fail else.example"]),
        ("refuse", "reject", False, "failed 5.7.22", b"", []),
        ("refuse", "reject", True, "delivered 2.0.0", b"Ann Lee <ann@else.example>", ["pass else.example"]),
        ("wrap", "", False, "delivered 2.0.0", b'"Ann Lee via acme.example" <list@acme.example>',
         ["pass acme.example", "pass acme.example", "fail else.example"]),
        ("wrap", "reject", True, "delivered 2.0.0", b"Ann Lee <ann@else.example>", ["pass else.example"]),
        ("auto", "reject", False, "delivered 2.0.0", b'"Ann Lee via acme.example" <list@acme.example>',
         ["pass acme.example", "pass acme.example", "fail else.example"]),
        ("auto", "none", False, "delivered 2.0.0", b"Ann Lee <ann@else.example>",
         ["pass gw.test", "fail else.example"]),
        ("resign", "reject", False, "delivered 2.0.0", b"Ann Lee <ann@else.example>",
         ["pass gw.test", "fail else.example"]),
    ],
)  # fmt: skip
async def test_what_no_signature_covers(
    keys: KeyStore, tmp_path: Path, choice: str, policy: str, whole: bool, code: str, author: bytes, signers: list[str]
) -> None:
    octets, records = await foreign(keys, tmp_path, policy, whole=whole)
    got, batch = await sent(
        keys, mail(content=Content(octets), trusted=False, sender="ann@else.example"), records=records,
        unsigned_from=choice, **WRAP,
    )  # fmt: skip
    assert batch.codes() == [code]
    if not got:
        return
    content = Content(got[0])
    assert content.get(b"from") == author
    assert [" ".join(each.split()[:2]) for each in await verdicts(got[0], records)] == signers
    if b"via" in author:
        assert content.get(b"reply-to") == content.get(b"x-original-from") == b"Ann Lee <ann@else.example>"
        assert any(what == "From: ann@else.example as list@acme.example" for what in notes(batch))
    elif not whole and choice != "keep":
        assert "From" in notes(batch)


@pytest.mark.parametrize(
    ("record", "code"),
    [
        ("", "delivered 2.0.0"),
        ("v=DMARC1; p=reject", "delivered 2.0.0"),
        ("v=DMARC1; p=reject; adkim=s", "failed 5.7.22"),
    ],
)
async def test_a_signature_of_the_domain_above_covers_what_its_record_says(
    keys: KeyStore, tmp_path: Path, record: str, code: str
) -> None:
    octets, records = await foreign(keys, tmp_path, author=b"ann@sub.else.example", whole=True)
    if record:
        records.records["_dmarc.sub.else.example"] = record
        records.records["_dmarc.else.example"] = record
    _, batch = await sent(keys, mail(content=Content(octets), trusted=False), records=records, unsigned_from="refuse")
    assert batch.codes() == [code]


async def test_an_answer_that_is_missing_defers(keys: KeyStore, tmp_path: Path) -> None:
    from connectors.smtp.authentication.lookup import LookupFault

    octets, records = await foreign(keys, tmp_path)

    async def silent(name: str) -> Sequence[bytes]:
        raise LookupFault(name)

    records.txt = silent  # type: ignore[method-assign]
    _, batch = await sent(keys, mail(content=Content(octets), trusted=False), records=records, unsigned_from="refuse")
    assert batch.codes() == ["deferred 4.4.3 message"]


async def test_names_beyond_ascii_and_a_reply_to_that_is_there(keys: KeyStore, tmp_path: Path) -> None:
    head = (
        b"From: =?utf-8?q?J=C3=BCrgen_M=C3=BCller?= <jm@else.example>\r\nReply-To: team@else.example\r\n"
        b"To: b@y.example\r\n\r\n"
    )
    records = records_of(keys)
    got, _ = await sent(keys, mail(head=head, trusted=False), records=records, unsigned_from="wrap", **WRAP)
    content = Content(got[0])
    assert list(content.get_all(b"reply-to")) == [b"team@else.example"]
    from email.header import decode_header, make_header

    shown = str(make_header(decode_header((content.get(b"from") or b"").decode())))
    assert shown == "Jürgen Müller via acme.example <list@acme.example>"


# --- ARC

RESULTS = b"Authentication-Results: gw.test; spf=pass smtp.mailfrom=else.example; arc=%s\r\n"


async def sealed(octets: bytes, records: Records) -> arc.ArcResult:
    content = Content(octets)
    bodies = Bodies()
    validator = arc.Validator(Fields(content.head), bodies)
    bodies.update(content.body())
    return await validator.validate(records, KeyCache(), time.time())


async def test_a_seal_carries_what_was_found_on_arrival(keys: KeyStore) -> None:
    records = records_of(keys)

    async def passed_on(octets: bytes, domain: str = "gw.test") -> bytes:
        judged = mail(content=Content(octets), trusted=False, connector="out")
        got, _ = await sent(keys, judged, arc={"domain": domain}, authentication={"name": "gw.test"})
        return got[0]

    got = await passed_on(RESULTS % b"none" + FOREIGN + BODY)
    first = await sealed(got, records)
    assert (first.status, first.domains) == ("pass", ("gw.test",))
    assert b"spf=pass" in first.chain.sets[0].claims
    cv, _, _ = dkimpy.arc_verify(got, dnsfunc=records.dkimpy)
    assert cv == b"pass"
    # The next hop, which found the chain whole, seals above it; one that found it broken says so.
    second = await sealed(await passed_on(RESULTS % b"pass" + got, "acme.example"), records)
    assert (second.status, second.domains) == ("pass", ("acme.example", "gw.test"))
    assert (await sealed(await passed_on(RESULTS % b"fail" + got), records)).status == "fail"
    # Nobody has said what the chain is worth: no seal can.
    assert await passed_on(got) == got


async def test_a_seal_carries_what_all_fields_of_ours_say(keys: KeyStore) -> None:
    more = b"Authentication-Results: gw.test; iprev=pass policy.iprev=192.0.2.1; arc=fail\r\n"
    judged = mail(content=Content(RESULTS % b"none" + more + FOREIGN + BODY), trusted=False, connector="out")
    got, _ = await sent(keys, judged, arc={"domain": "gw.test"}, authentication={"name": "gw.test"})
    found = await sealed(got[0], records_of(keys))
    assert found.status == "pass"  # the topmost field says what the chain is worth
    assert b"spf=pass" in found.chain.sets[0].claims
    assert b"iprev=pass" in found.chain.sets[0].claims


@pytest.mark.parametrize(
    ("connector", "options", "carried"),
    [
        ("out", {"authentication": {}}, True),
        ("in", {"arc": {"domain": "gw.test", "judged_by": ["in"]}}, True),
        # What came by another way, or where nobody looks, has the results that its sender wrote.
        ("pop", {"authentication": {}}, False),
        ("out", {}, False),
        ("in", {"arc": {"domain": "gw.test", "authserv_id": "gw.test"}}, False),
    ],
)
async def test_a_seal_carries_no_results_that_a_stranger_wrote(
    keys: KeyStore, connector: str, options: dict[str, Any], carried: bool
) -> None:
    forged = b"Authentication-Results: gw.test; dmarc=pass header.from=bank.example; arc=none\r\n"
    made = mail(head=forged + FOREIGN, trusted=False, connector=connector)
    got, _ = await sent(keys, made, **{"arc": {"domain": "gw.test"}, **options})
    (last,) = (await sealed(got[0], records_of(keys))).chain.sets
    assert (b"dmarc=pass" in last.claims) is carried


async def test_what_is_ours_gets_no_seal(keys: KeyStore) -> None:
    got, _ = await sent(keys, mail(), dkim={}, arc={"domain": "gw.test"})
    assert b"ARC-Seal" not in got[0]


# --- keys and options


async def test_a_rotated_key_is_taken_up_while_running(tmp_path: Path) -> None:
    now = [NOW]
    store = KeyStore(tmp_path / "dkim")
    store.folder.mkdir()
    store.make("acme.example", "rsa", NOW, NOW, selector="one", bits=1024)
    where = replace(place(store), clock=lambda: now[0])
    outward = Outward(config(25, dkim={}), where)

    async def selectors() -> list[str]:
        ((made, _, _),) = await outward.prepare([mail()])
        return [each.split()[2] for each in await verdicts(made.content.octets(), records_of(store))]

    assert await selectors() == ["one"]
    (following,) = store.rotate("acme.example", now[0], publish_s=3600, keep_s=7200, bits=1024)
    now[0] += 60
    assert await selectors() == ["one"]  # published, and not used yet
    now[0] += 3600
    assert await selectors() == [following.selector]
    (store.folder / "acme.example" / "keys.json").write_text("torn")
    now[0] += 60
    ((made, _, _),) = await outward.prepare([mail()])
    assert b"DKIM-Signature" in made.content.head  # what was read stays in force
    outward.close()


async def test_one_that_trips_it_up_holds_up_no_other(keys: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    from connectors.smtp import forwarding, outward

    whole = outward.signed

    def trips(content: Content, *more: Any) -> Content:
        if b"trip" in content.octets():
            raise RuntimeError("a bug")
        return whole(content, *more)

    def authors(values: Sequence[bytes]) -> Any:
        if any(b"stumble" in value for value in values):
            raise RuntimeError("another bug")
        return real(values)

    real = forwarding.dmarc.authors
    monkeypatch.setattr(outward, "signed", trips)
    monkeypatch.setattr(forwarding.dmarc, "authors", authors)
    stumbles = HEAD.replace(b"Ann Lee", b"stumble")
    got, batch = await sent(keys, mail(1, body=b"trip"), mail(2), mail(3, head=stumbles), mail(4), dkim={})
    assert batch.codes() == ["deferred 4.3.5 message", "delivered 2.0.0", "deferred 4.3.5 message", "delivered 2.0.0"]
    assert len(got) == 2


async def test_options_change_while_mail_goes(keys: KeyStore) -> None:
    async with BadSmtp() as peer:
        async with sending(keys, peer) as destination:
            for n, options in enumerate(({}, {"dkim": {}}, {"dkim": {"expire_days": 1}}, {}), 1):
                destination.reconfigure(config(peer.port, **options))
                await destination.deliver(RecordingBatch([mail(n)]))
            with pytest.raises(ValueError, match="has no key"):
                destination.reconfigure(config(peer.port, dkim={"default_domain": "none.example"}))
            await destination.deliver(RecordingBatch([mail(5)]))
        assert [each.content.count(b"DKIM-Signature:") for each in peer.messages] == [0, 2, 2, 0, 0]


def test_a_domain_that_is_to_sign_needs_a_key(keys: KeyStore) -> None:
    for options in ({"dkim": {"default_domain": "none.example"}}, {"arc": {"domain": "none.example"}}):
        with pytest.raises(ValueError, match=r"has no key: make one with `gatepost dkim new none\.example`"):
            Outward(config(25, **options), place(keys))
    with pytest.raises(ValueError, match="none holds no key to sign by: make one with `gatepost dkim new DOMAIN`"):
        Outward(config(25, dkim={"keys": "none"}), place(keys))
    with pytest.raises(ValueError, match="two folders"):
        Outward(config(25, dkim={"keys": "a"}, arc={"domain": "gw.test", "keys": "b"}), place(keys))
    Outward(config(25, dkim={"keys": "dkim"}, arc={"domain": "gw.test"}), place(keys)).close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"unsigned_from": "wrap"}, "wrap_address"),
        ({"unsigned_from": "resign"}, "default_domain"),
        ({"wrap_address": "x"}, "plain address"),
        ({"dkim": {"headers": ("a b",)}}, "header field"),
        ({"dkim": {"default_domain": "bücher.example"}}, "in ASCII"),
        ({"srs": {"domain": "x.example", "secrets": ()}}, "at least 1"),
        ({"srs": {"domain": "x.example", "secrets": ("",)}}, "empty"),
        ({"srs": {"domain": "x.example", "secrets": ("s",), "hash_chars": 5, "min_hash_chars": 6}}, "min_hash_chars"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        config(**options)
    assert "secrets=('s'" not in str(refused.value)


def test_rsa_by_openssl_itself_is_rsa() -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

    key = rsa.generate_private_key(65537, 2048)
    native = rsa_native.load(key)
    if native is None:
        print("OpenSSL's library is not found: signatures are made by cryptography")
        return
    for n in range(20):
        digest = bytes([n]) * 32
        assert native.sign(digest) == key.sign(digest, padding.PKCS1v15(), Prehashed(hashes.SHA256()))
    with pytest.raises(ValueError, match="does not sign"):
        native.sign(b"short")


@pytest.fixture(scope="module")
def signer(keys: KeyStore) -> tuple[Signing, Records]:
    ring = KeyRing(keys, time.time)
    ring.load()
    return Signing(ring.keys("acme.example")[:1]), records_of(keys)


VALUES = st.text('abc \t.:;=@<>"()', max_size=60).map(lambda text: text.encode())
FIELDS = st.lists(
    st.tuples(
        st.sampled_from([b"From", b"TO", b"subject", b"Date", b"X-Other", b"Received", b"Cc", b"List-Id"]), VALUES
    ),
    max_size=8,
)
BODIES = st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"")))


@settings(max_examples=60, deadline=None)
@given(FIELDS, BODIES, st.booleans())
def test_whatever_is_signed_verifies(
    signer: tuple[Signing, Records], fields: list[tuple[bytes, bytes]], lines: list[bytes], folded: bool
) -> None:
    """By another implementation, over any header and body that can leave."""
    signing, records = signer
    fold = b"\r\n\t" if folded else b""
    rest = b"".join(name + b": x" + fold + value.strip() + b"\r\n" for name, value in fields)
    octets = b"From: ann@acme.example\r\n" + rest + b"\r\n" + b"".join(line + b"\r\n" for line in lines)
    made = signed(Content(octets), signing, USUAL, int(NOW)).octets()
    assert made.endswith(octets)
    assert dkimpy.DKIM(made).verify(0, records.dkimpy)
