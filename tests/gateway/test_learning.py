"""Learning: what is read out of a bounce, whom a directory name means, and that everything else tells nothing."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway import learning
from gateway.dsn import read_status
from gateway.learning import MAX_NAMES, Original, Sent
from gateway.message import Content
from gateway.mime import InMemory
from gateway.report import Action, RecipientReport
from gateway.spool.api import TraceEvent
from gateway.status import Status
from mappings.address import Address
from mappings.encapsulation import Encapsulation, Key
from mappings.identity import Held, Identity, Kind, Role, addresses
from mappings.network import parse
from mappings.table import compile_table
from tests.peers.ndr import BOUNDARY, ndr

KEY = b"k" * 32
ID = 2_085_000_000_000_000_000
TABLE = compile_table(
    [Identity("Bob Ray", addresses(parse("smtp:bob@merged.example")))],
    [],
    domains=["merged.example", "acme.example"],
    homes={},
    encapsulation=Encapsulation(["gw.example"], [Key("a", b"secret")]),
    version=1,
)
BOB = "bob@merged.example"
NAME = "IMCEAEX-_o=Acme_ou=HQ_cn=Recipients_cn=alee@acme.example"
X500 = parse("x500:/o=Acme/ou=HQ/cn=Recipients/cn=alee")
ORIGINAL = b"From: <bob@merged.example>\r\nMessage-ID: <1@test>\r\nSubject: Re: lunch\r\n\r\nSure.\r\n"
PARTED = b"Message-ID: <1@test>\r\nContent-Type: multipart/mixed; boundary=in\r\n\r\n--in\r\n\r\n"


def name_of(address: Address) -> Address | None:
    return learning.name_of(TABLE, address)


def read(octets: bytes, key: bytes = KEY) -> learning.Bounce | None:
    return learning.read(InMemory(octets), key, name_of)


def bounce(*failed: str, **more: Any) -> bytes:
    more.setdefault("envid", learning.envid(KEY, ID))
    return ndr(BOB, failed or [NAME], more.pop("original", ORIGINAL), **more)


# -- the envelope identifier


@given(st.integers(0, 2**63 - 1), st.binary(min_size=1, max_size=64))
def test_an_envelope_identifier_is_read_back(message_id: int, key: bytes) -> None:
    made = learning.envid(key, message_id)
    assert learning.message_of(key, made) == message_id
    assert learning.message_of(key, f" {made.upper()}\t") == message_id
    # RFC 3461 §5.4: up to 38 characters, and none that xtext would write otherwise
    assert len(made) <= 38
    assert all(c.isalnum() or c == "-" for c in made)
    assert made.isascii()


@given(st.integers(0, 2**63 - 1), st.integers(0, 36), st.sampled_from("abcdefgh234567-0189xyz"))
def test_a_changed_one_is_none_of_ours(message_id: int, at: int, other: str) -> None:
    made = learning.envid(KEY, message_id)
    changed = made[:at] + other + made[at + 1 :]
    # Letters that are mistaken for figures stand for them in an id, and the proof is over what is written.
    assert changed == made or learning.message_of(KEY, changed) is None


@given(st.text(max_size=60) | st.none())
@example("gp-")
@example("gp-0000000000000-aaaaaaaaaaaaaaaaaaaa")
def test_no_other_text_is_one(text: str | None) -> None:
    assert learning.message_of(KEY, text) is None


def test_another_key_or_none_proves_nothing() -> None:
    made = learning.envid(KEY, ID)
    assert learning.message_of(b"other", made) is None
    assert learning.message_of(b"", learning.envid(b"", ID)) is None


# -- names


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (f"smtp:{NAME}", str(X500)),
        ("smtp:imceaex-_O=ACME_OU=HQ_CN=RECIPIENTS_CN=ALEE@ACME.example", "x500:/o=ACME/ou=HQ/cn=RECIPIENTS/cn=ALEE"),
        ("smtp:IMCEAEX-_o=Acme_cn=alee@gw.example", "x500:/o=Acme/cn=alee"),
        ("x500:/o=Acme/cn=alee", "x500:/o=Acme/cn=alee"),
        ("smtp:IMCEAEX-_o=Acme_cn=alee@other.example", None),
        ("smtp:IMCEAEX-_o=Acme_cn=a+2@acme.example", None),
        ("smtp:IMCEAMHS-ann+40sales@acme.example", None),
        ("smtp:GPaaaaaaaaaaaaa-EX-_o=Acme_cn=alee@gw.example", None),
        ("smtp:complex-name@acme.example", None),
        ("mhs:ann@sales", None),
    ],
)
def test_which_addresses_are_directory_names(address: str, name: str | None) -> None:
    found = name_of(parse(address))
    assert (None if found is None else str(found)) == name


def test_a_name_that_was_shown_signed_is_known_again() -> None:
    shown = Encapsulation(["gw.example"], [Key("a", b"secret")]).encapsulate(X500)
    assert name_of(shown) == X500


@pytest.mark.parametrize(
    ("name", "local"),
    [
        ("/o=Acme/ou=HQ/cn=Recipients/cn=alee", "alee"),
        ("/O=ACME/OU=HQ/CN=RECIPIENTS/CN=ALEE", "ALEE"),
        ("/o=ExchangeLabs/cn=Recipients/cn=0a1b2c3d4e5f60718293a4b5c6d7e8f9-alee", "alee"),
        ("/o=ExchangeLabs/cn=Recipients/cn=0A1B2C3D4E5F60718293A4B5C6D7E8F9-ann-lee", "ann-lee"),
        ("/o=x/cn=0a1b-alee", "0a1b-alee"),
        ("/o=x/cn=0a1b2c3d4e5f60718293a4b5c6d7e8f9", "0a1b2c3d4e5f60718293a4b5c6d7e8f9"),
        ("/o=x/cn=0a1b2c3d4e5f60718293a4b5c6d7e8f9-", None),
        ("/o=x/cn=a=b", "a=b"),
        ("/o=x/cn=alee/ou=y", None),
    ],
)
def test_what_stands_for_the_person(name: str, local: str | None) -> None:
    assert learning.local_part(parse(f"x500:{name}")) == local


def test_the_addresses_that_a_person_may_have() -> None:
    domains = ["b.example", "a.example"]
    assert learning.keys(parse("x500:/o=x/cn=ALee"), domains) == ["alee@a.example", "alee@b.example"]
    assert learning.keys(parse("x500:/o=x/cn=Ann Lee"), ["a.example"]) == ['"ann lee"@a.example']
    assert learning.keys(parse("x500:/o=x/ou=y"), domains) == []
    assert learning.keys(parse("x500:/o=x/cn=" + "a" * 1000), ["a-domain-that-is-far-too-long.example"]) == []


def person(name: str, *held: str, id: int = 0, former: tuple[str, ...] = (), **more: Any) -> Identity:
    made = addresses(*map(parse, held), former=tuple(map(parse, former)))
    return Identity(name, made, id=id, **more)


ANN = person("Ann Lee", "smtp:ann.lee@merged.example", "smtp:ALee@acme.example", id=1)
KEYS = ["alee@acme.example", "alee@merged.example"]


@pytest.mark.parametrize(
    ("found", "only"),
    [
        ([ANN], "Ann Lee"),
        ([ANN, ANN], "Ann Lee"),
        ([person("Ann", "smtp:x@x.example", id=3, former=("smtp:alee@merged.example",))], "Ann"),
        ([person("Room", "smtp:alee@acme.example", id=3, kind=Kind.ROOM)], "Room"),
        ([], None),
        ([person("Ann", "smtp:alee2@acme.example", id=3)], None),
        ([ANN, person("Al Lee", "smtp:alee@merged.example", id=2)], None),
        ([ANN, person("Al Lee", "smtp:al@merged.example", id=2, former=("smtp:alee@merged.example",))], None),
        ([person("All", "smtp:alee@acme.example", id=3, kind=Kind.GROUP)], None),
        ([ANN, person("All", "smtp:alee@merged.example", id=3, kind=Kind.GROUP)], None),
        ([person("Pat", "smtp:alee@acme.example", id=3, kind=Kind.CONTACT)], None),
        ([Identity("Past", (Held(parse("smtp:alee@acme.example"), Role.PRIMARY, until=5.0),), id=4)], None),
        ([ANN, Identity("Past", (Held(parse("smtp:alee@merged.example"), Role.PRIMARY, until=5.0),), id=4)], "Ann Lee"),
    ],
)
def test_one_match_or_none(found: list[Identity], only: str | None) -> None:
    one = learning.the_one(found, "smtp", KEYS, now=10.0)
    assert (None if one is None else one.name) == only


# -- the report


@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
@pytest.mark.parametrize("original_recipient", [False, True])
def test_a_report_is_read(newline: bytes, original_recipient: bool) -> None:
    octets = bounce(original_recipient=original_recipient).replace(b"\r\n", newline)
    found = read(octets)
    assert found is not None
    assert (found.message_id, found.names, found.is_all, found.by) == (ID, (X500,), True, "EX01.acme.example")
    assert found.original is not None
    returned = octets[found.original.start : found.original.end]
    assert returned == ORIGINAL.replace(b"\r\n", newline)
    assert found.original.message_id == "<1@test>"
    assert learning.is_report(Content(octets))


def test_a_report_of_headers_alone_returns_nothing() -> None:
    found = read(bounce(whole=False))
    assert found is not None
    assert (found.names, found.original) == ((X500,), None)


def test_the_original_recipient_alone_may_bear_the_name() -> None:
    octets = bounce(original_recipient=True).replace(
        b"Final-Recipient: rfc822;" + NAME.encode(), b"Final-Recipient: rfc822; unknown@acme.example"
    )
    found = read(octets)
    assert found is not None
    assert found.names == (X500,)


def test_a_report_of_others_too_says_so() -> None:
    found = read(bounce(NAME, "nobody@acme.example"))
    assert found is not None
    assert (found.names, found.is_all) == ((X500,), False)


@pytest.mark.parametrize("status", ["5.1.0", "5.1.1", "5.1.10", "5.1.351"])
def test_statuses_of_an_address_that_nobody_has(status: str) -> None:
    assert read(bounce(status=status)) is not None


TELLS_NOTHING = {
    "no envelope identifier": bounce(envid=None),
    "another's envelope identifier": bounce(envid="QQ314159"),
    "a forged one": bounce(envid=learning.envid(b"guess", ID)),
    "one of another message's with this proof": bounce(
        envid=learning.envid(KEY, ID + 1)[:17] + learning.envid(KEY, ID)[17:]
    ),
    "the sender's address is wrong": bounce(status="5.1.7"),
    "the sender's system is wrong": bounce(status="5.1.8"),
    "the mailbox is full": bounce(status="5.2.2"),
    "for now alone": bounce(status="4.1.1"),
    "no status": bounce(status="nonsense"),
    "delayed": bounce(action="delayed"),
    "delivered": bounce(action="delivered"),
    "an ordinary address": bounce("nobody@acme.example"),
    "a name at another's domain": bounce(NAME.replace("acme.example", "other.example")),
    "a broken name": bounce("IMCEAEX-_o=Acme_cn=a+2@acme.example"),
    "another network's name": bounce("IMCEAMHS-ann+40sales@acme.example"),
    "many recipients": bounce(*(NAME.replace("alee", f"a{n}") for n in range(MAX_NAMES + 1))),
    "a long status": bounce().replace(b"X-Display-Name: ", b"X-Display-Name: " + b"x" * learning.MAX_STATUS),
    "another kind of report": bounce().replace(b"report-type=delivery-status", b"report-type=disposition-notification"),
    "no report": bounce().replace(b"multipart/report; report-type=delivery-status", b"multipart/mixed"),
    "a report within a report": bounce(original=bounce(), envid=None),
    "nothing": b"",
    "no parts": b"Content-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n",
}


@pytest.mark.parametrize("octets", TELLS_NOTHING.values(), ids=TELLS_NOTHING.keys())
def test_what_tells_nothing(octets: bytes) -> None:
    assert read(octets) is None


@given(st.binary(max_size=200), st.integers(0, len(bounce())), st.integers(0, 60))
def test_any_octets_are_read(octets: bytes, at: int, gone: int) -> None:
    whole = bounce()
    read(octets)
    broken = whole[:at] + octets + whole[at + gone :]
    learning.is_report(Content(broken))
    found = read(broken)
    # Whatever is done to a report, it tells of the message that its envelope identifier proves.
    assert found is None or found.message_id == ID


class Counted(InMemory):
    """Octets that are not in memory, for all that their reader knows; what is read of them is counted."""

    __slots__ = ("count",)

    def __init__(self, octets: bytes) -> None:
        super().__init__(octets)
        self.count = 0

    def read(self, offset: int, length: int) -> bytes:
        octets = super().read(offset, length)
        self.count += len(octets)
        return octets


def test_a_large_report_is_read_in_pieces() -> None:
    octets = bounce(original=ORIGINAL + b"line\r\n" * 1_000_000)
    source = Counted(octets)
    found = learning.read(source, KEY, name_of)
    assert found is not None
    assert found.original is not None
    assert found.original.end - found.original.start == len(ORIGINAL) + 6_000_000
    assert source.count < 2 * len(octets)


@pytest.mark.parametrize(
    "octets",
    [
        bounce(original=ORIGINAL + f"x--{BOUNDARY}\r\n".encode() * 200_000),
        bounce(original=ORIGINAL + f"--{BOUNDARY}y\r\n".encode() * 200_000),
        bounce(original=ORIGINAL + f"--{BOUNDARY}\r\n\r\n".encode() * 200_000),
    ],
    ids=["boundaries amid lines", "longer boundaries", "parts"],
)
def test_what_is_laid_out_to_be_read_again_and_again_is_left(octets: bytes) -> None:
    source = Counted(octets)
    found = learning.read(source, KEY, name_of)
    assert found is None or found.names == (X500,)
    assert source.count < 32 * 1024 * 1024 + 5 * len(octets)


def test_deep_nesting_tells_nothing_and_costs_nothing() -> None:
    octets = bounce()
    for n in range(500):
        head = f"Content-Type: multipart/mixed; boundary=n{n}\r\n\r\n--n{n}\r\n".encode()
        octets = head + octets + f"\r\n--n{n}--\r\n".encode()
    assert read(octets) is None


def test_the_bounces_of_others_teach_nothing() -> None:
    corpus = os.environ.get("GATEPOST_CORPUS")
    if corpus is None:
        print("GATEPOST_CORPUS is not set: the bounces of others were not read")
        return
    folders = [Path(corpus) / "flufl-bounce", Path(corpus) / "mailgun-flanker"]
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    reports = 0
    for path in paths:
        octets = path.read_bytes()
        reports += learning.is_report(Content(octets))
        assert read(octets) is None, path
    assert reports >= 15
    (exchange,) = [p for p in paths if p.name == "office365.eml"]
    octets = exchange.read_bytes()
    assert learning.is_report(Content(octets))
    start = octets.index(b"Reporting-MTA: dns;DB5")
    status = read_status(octets[start : octets.index(b"--22a54575", start)])
    assert status is not None
    assert (status.recipients[0].code, status.recipients[0].final) == ("5.1.10", ("rfc822", "noname@example.com"))


def test_an_exchange_report_of_the_corpus_teaches_once_it_is_about_us() -> None:
    """The real report with our identifier and name put in is read like the made ones, its whole message found."""
    corpus = os.environ.get("GATEPOST_CORPUS")
    if corpus is None:
        print("GATEPOST_CORPUS is not set: the report of Exchange was not read")
        return
    (path,) = (Path(corpus) / "mailgun-flanker").rglob("office365.eml")
    octets = path.read_bytes()
    octets = octets.replace(b"rfc822;noname@example.com", b"rfc822;" + NAME.encode())
    mark = b"Original-Envelope-Id: " + learning.envid(KEY, ID).encode()
    newline = b"\r\n" if b"\r\n" in octets else b"\n"
    octets = octets.replace(b"Reporting-MTA: dns;DB5", mark + newline + b"Reporting-MTA: dns;DB5")
    found = read(octets)
    assert found is not None
    assert (found.names, found.is_all) == ((X500,), True)
    assert found.original is not None
    assert found.original.message_id == "<20171013111011.20866.254C2F3A4D7AA526@ninomail.com>"


# -- failures of our own


@pytest.mark.parametrize(
    ("original", "final", "code", "action", "is_name"),
    [
        (f"smtp:{NAME}", f"smtp:{NAME}", "5.1.1", Action.FAILED, True),
        ("x500:/o=Acme/ou=HQ/cn=Recipients/cn=alee", f"smtp:{NAME}", "5.1.10", Action.FAILED, True),
        (f"smtp:{NAME}", "smtp:ann.lee@merged.example", "5.1.1", Action.FAILED, False),
        ("smtp:all@merged.example", "x500:/o=Acme/ou=HQ/cn=Recipients/cn=alee", "5.1.1", Action.FAILED, True),
        (f"smtp:{NAME}", f"smtp:{NAME}", "5.1.8", Action.FAILED, False),
        (f"smtp:{NAME}", f"smtp:{NAME}", "5.4.4", Action.FAILED, False),
        (f"smtp:{NAME}", f"smtp:{NAME}", "5.1.1", Action.DELAYED, False),
        ("smtp:x@acme.example", "smtp:x@acme.example", "5.1.1", Action.FAILED, False),
    ],
)
def test_a_failure_of_ours(original: str, final: str, code: str, action: Action, is_name: bool) -> None:
    recipient = RecipientReport(action=action, original=parse(original), final=parse(final), status=Status(code))
    assert learning.failed_name(recipient, name_of) == (X500 if is_name else None)


# -- the trace


def accepted(**more: Any) -> TraceEvent:
    detail = {
        "from": "smtp:bob@merged.example",
        "to": [
            ["smtp:carl@merged.example", "smtp:carl@merged.example", "internet", "hop", ""],
            [f"smtp:{NAME}", f"smtp:{NAME}", "exchange", "hop", ""],
            ["x500:/o=Acme/cn=bob", "smtp:bob@merged.example", "internet", "hop", ""],
            ["no address", "smtp:@", "exchange", "hop", ""],
        ],
        "size": 100,
        "message_id": "<1@test>",
    }
    return TraceEvent(ID, 1.0, "accepted", None, {**detail, **more})


def test_what_a_trace_knows() -> None:
    events = [accepted(), TraceEvent(ID, 2.0, "delivered", 0), TraceEvent(ID, 3.0, "sent_on", None, {"names": ["a"]})]
    assert learning.sent(events, name_of) == Sent(
        parse("smtp:bob@merged.example"), {X500.key: parse(f"smtp:{NAME}")}, 100, "<1@test>", frozenset({"a"})
    )


@pytest.mark.parametrize(
    "events",
    [
        [],
        [TraceEvent(ID, 2.0, "delivered", 0)],
        [accepted(**{"from": ""})],
        [accepted(**{"from": "smtp:a@b@c@"})],
    ],
)
def test_a_trace_without_a_beginning_or_a_sender(events: list[TraceEvent]) -> None:
    assert learning.sent(events, name_of) is None


@pytest.mark.parametrize(
    ("original", "is_whole"),
    [
        (Original(10, 110, "<1@test>", False), True),
        (Original(10, 109, "<1@test>", False), False),
        (Original(10, 50, "<1@test>", True), True),
        (Original(10, 500, "<2@test>", True), False),
        (Original(10, 500, "", True), False),
    ],
)
def test_whether_the_whole_message_came_back(original: Original, is_whole: bool) -> None:
    sent = learning.sent([accepted()], name_of)
    assert sent is not None
    assert sent.is_whole(original) is is_whole
    assert not replace(sent, message_id="").is_whole(original)


@pytest.mark.parametrize(
    ("original", "is_closed"),
    [
        (ORIGINAL, False),
        (PARTED + b"a\r\n--in--\r\n", True),
        (PARTED + b"a\r\n", False),
        (PARTED + b"a--in--", False),
    ],
)
def test_a_message_that_was_cut_is_not_closed(original: bytes, is_closed: bool) -> None:
    found = read(bounce(original=original))
    assert found is not None
    assert found.original is not None
    assert found.original.is_closed is is_closed
