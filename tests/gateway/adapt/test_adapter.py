"""What holds for every content: bounds kept, meaning kept, untouched octets shared, large contents streamed."""

from __future__ import annotations

import base64
import email
import email.policy
import os
import random
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.adapt import Adapter, Fate
from gateway.contract import Capabilities
from gateway.message import Content, Traits
from mappings.fields import header_end, scan
from mappings.identity import Identity, addresses
from mappings.rule import Rule
from mappings.table import compile_table

from .builders import PARSE, TABLE, FileBlob, is_carried, message

SMTP = Capabilities(max_line_octets=998)
SEVEN = Capabilities(max_line_octets=998, eight_bit=False, utf8_addresses=False, nul=False)
HEAD = b"From: Bob <bob@acme.example>\r\nTo: Ann <ann@far.example>\r\nSubject: x\r\nMIME-Version: 1.0\r\n"


def test_where_nothing_applies_the_octets_are_the_same_object() -> None:
    stored = message(HEAD + b"\r\n" + "grüße\r\n".encode(), prefix=b"Received: by us\r\n")
    fitted = Adapter().adapt(stored, stored.deliveries, SMTP, TABLE)
    assert fitted.content.source is stored.content.source
    assert fitted.content.octets() == stored.prefix + stored.content.octets()
    assert not fitted.fidelity
    assert fitted.envelope is stored.envelope
    bare = message(HEAD + b"\r\nhi\r\n")
    assert Adapter().adapt(bare, bare.deliveries, SMTP, TABLE).content is bare.content


def test_a_body_keeps_its_octets_where_only_the_header_changes() -> None:
    stored = message(b"From: a.lee@acme.example\r\n\r\nbody \x80\xff\r\n")
    fitted = Adapter().adapt(stored, stored.deliveries, SMTP, TABLE)
    assert fitted.content.source is stored.content.source
    assert fitted.content.octets() == b"From: ann@acme.example\r\n\r\nbody \x80\xff\r\n"


def test_no_envelope_recipient_and_no_bcc_is_ever_in_the_header() -> None:
    stored = message(
        HEAD + b"Bcc: hidden@far.example\r\nResent-Bcc: too@far.example\r\n\r\nhi\r\n", to="smtp:z@far.example"
    )
    out = Adapter().adapt(stored, stored.deliveries, SMTP, TABLE).content.octets()
    assert b"hidden" not in out
    assert b"too@" not in out
    assert b"z@far" not in out


def test_the_reverse_path_is_shown_as_the_destination_can_answer_it() -> None:
    stored = message(HEAD + b"\r\nhi\r\n", to="mhs:bob@sales", sender="smtp:bob@acme.example")
    fitted = Adapter().adapt(stored, stored.deliveries, replace(SMTP, header_networks=("mhs",)), TABLE)
    assert str(fitted.envelope.reverse_path) == "mhs:bob@sales"
    null = message(HEAD + b"\r\nhi\r\n", sender=None)
    assert Adapter().adapt(null, null.deliveries, SMTP, TABLE).envelope.reverse_path is None


def test_a_rule_may_ask_where_a_message_goes() -> None:
    rules = [
        Rule("smtp:{l}@one.example", "mhs:{l}@hq", destination=("connector:internet",)),
        Rule("smtp:{l}@other.example", "mhs:{l}@hq"),
    ]
    table = compile_table([], rules, domains=[], homes={}, encapsulation=None, version=1)
    adapter = Adapter({"oldmhs": ("mhs",)})
    stored = message(HEAD + b"\r\nhi\r\n", sender="mhs:joe@hq")
    for connector, shown in (("internet", "one"), ("link", "other"), ("internet", "one")):
        deliveries = [replace(each, lane=(connector, "")) for each in stored.deliveries]
        fitted = adapter.adapt(stored, deliveries, SMTP, table)
        assert str(fitted.envelope.reverse_path) == f"smtp:joe@{shown}.example"


def test_a_new_table_is_used_at_once() -> None:
    adapter = Adapter()
    stored = message(b"From: a.lee@acme.example\r\n\r\nhi\r\n")
    empty = compile_table([], [], domains=["acme.example"], homes={}, encapsulation=None, version=2)
    assert b"a.lee" in adapter.adapt(stored, stored.deliveries, SMTP, empty).content.octets()
    assert b"a.lee" not in adapter.adapt(stored, stored.deliveries, SMTP, TABLE).content.octets()
    assert b"a.lee" in adapter.adapt(stored, stored.deliveries, SMTP, empty).content.octets()


def test_one_recipient_that_needs_utf8_does_not_hold_up_the_others() -> None:
    stored = message(HEAD + b"\r\nhi\r\n")
    addresses = [PARSE("smtp:plain@far.example"), PARSE("smtp:jö@far.example"), PARSE("smtp:x@bücher.example")]
    first = stored.deliveries[0]
    deliveries = tuple(replace(first, id=(1, n), address=a) for n, a in enumerate(addresses))
    fitted = Adapter().adapt(stored, deliveries, SEVEN, TABLE)
    assert [(id, f.status.code) for id, f in fitted.refused] == [((1, 1), "5.6.7")]
    assert {id: a.value for id, a in fitted.addresses.items()} == {(1, 2): "x@xn--bcher-kva.example"}


def test_a_person_of_ours_is_named_by_an_address_that_is_ascii() -> None:
    jo = Identity("Jö", addresses(PARSE("smtp:jö@acme.example"), PARSE("smtp:jo@acme.example")))
    table = compile_table([jo], [], domains=["acme.example"], homes={}, encapsulation=None, version=1)
    stored = message(
        "From: Jö <jö@acme.example>\r\nCc: zü@far.example\r\n\r\nhi\r\n".encode(),
        to="smtp:jö@acme.example", sender="smtp:jö@acme.example",
    )  # fmt: skip
    fitted = Adapter().adapt(stored, stored.deliveries, SEVEN, table)
    assert str(fitted.envelope.reverse_path) == "smtp:jo@acme.example"
    assert [str(address) for address in fitted.addresses.values()] == ["smtp:jo@acme.example"]
    assert not fitted.refused
    head = fitted.content.octets()
    assert b"<jo@acme.example>" in head
    assert b"far.example" not in head, "nobody knows another address of hers"


def test_a_declared_header_is_encoded_for_who_takes_8bit_content_but_no_utf8_addresses() -> None:
    octets = "Subject: grün\r\n\r\ngrün\r\n".encode()
    eight_bit = replace(SMTP, utf8_addresses=False)
    for declared, wanted in ((True, b"=?utf-8?"), (False, "grün".encode())):
        stored = message(octets)
        stored = replace(stored, envelope=replace(stored.envelope, smtputf8=declared))
        out = Adapter().adapt(stored, stored.deliveries, eight_bit, TABLE).content.octets()
        head, _, body = out.partition(b"\r\n\r\n")
        assert wanted in head
        assert body == "grün\r\n".encode()


def test_a_sender_that_needs_utf8_refuses_the_message() -> None:
    stored = message(HEAD + b"\r\nhi\r\n", sender="smtp:jö@acme.example")
    fitted = Adapter().adapt(stored, stored.deliveries, SEVEN, TABLE)
    assert [f.status.code for _, f in fitted.refused] == ["5.6.7"]


def test_size_is_checked_before_and_after_encoding() -> None:
    stored = message(HEAD + b"\r\n" + b"\xff" * 3000 + b"\r\n")
    for most, wanted in ((3000, ["5.3.4"]), (3500, ["5.3.4"]), (6000, [])):
        fitted = Adapter().adapt(stored, stored.deliveries, replace(SEVEN, max_size_bytes=most), TABLE)
        assert [f.status.code for _, f in fitted.refused] == wanted
    assert "destination takes" in fitted.refused[0][1].status.text if fitted.refused else True


def leaves(octets: bytes) -> list[bytes]:
    whole = email.message_from_bytes(octets, policy=email.policy.compat32)
    found = []
    for part in whole.walk():
        if not part.is_multipart():
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            found.append(payload.replace(b"\r\n", b"\n").rstrip(b"\n"))
    return found


texts = st.lists(
    st.one_of(
        st.sampled_from(
            [b"\r\n", b"\r\n\r\n", b".\r\n", b"--b\r\n", b"--b--\r\n", b"=", b" \r\n", b"x" * 1200, "ü".encode() * 700]
        ),
        st.binary(max_size=40),
        st.text(max_size=40).map(str.encode),
    ),
    max_size=20,
).map(b"".join)
capability = st.builds(
    Capabilities, eight_bit=st.booleans(), utf8_addresses=st.booleans(), bare_newlines=st.booleans(), nul=st.booleans(),
    max_line_octets=st.sampled_from([None, 998]),
)  # fmt: skip


@given(texts, capability)
def test_any_octets_come_out_as_the_destination_can_carry_them(octets: bytes, capabilities: Capabilities) -> None:
    stored = message(octets)
    fitted = Adapter().adapt(stored, stored.deliveries, capabilities, TABLE)
    kept = [n for n in fitted.fidelity.notes if n.fate is Fate.KEPT]
    if not fitted.refused and not kept and not capabilities.bare_newlines:
        is_carried(fitted.content.octets(), capabilities)


heads = st.lists(
    st.one_of(
        st.sampled_from(
            [b"\r", b"\n", b"\r\n", b"\r\r\n", b"\n\r", b"\0", b" ", b"\t", b"Bcc: evil@far.example", b"X-A: b", b"Bc"]
        ),
        st.binary(max_size=3),
    ),
    max_size=20,
).map(b"".join)


def named(octets: bytes) -> list[bytes]:
    return [field.name for field in scan(octets) if field.name]


@given(heads, heads, st.sampled_from([(False, True), (True, False), (False, False)]))
def test_no_bare_cr_or_nul_ends_the_header_or_begins_a_field(
    more: bytes, body: bytes, takes: tuple[bool, bool]
) -> None:
    stored = message(b"From: bob@acme.example\r\nX-A: b" + more + b"\r\nX-End: here\r\n\r\n" + body)
    content = stored.content
    capabilities = Capabilities(bare_newlines=takes[0], nul=takes[1])
    fitted = Adapter().adapt(stored, stored.deliveries, capabilities, TABLE).content
    out = fitted.octets()
    assert fitted.head == out[: header_end(out)[0]]
    told = [name for name in named(content.head) if name != b"bcc"]  # Bcc goes, wherever a message goes
    added = [b"content-transfer-encoding", b"content-type", b"mime-version"]
    assert [name for name in named(fitted.head) if name not in added] == told
    if capabilities.bare_newlines:
        return
    strict, empty, _ = out.partition(b"\r\n\r\n")  # as a server reads it
    assert [name for name in named(strict + b"\r\n") if name not in added] == told
    assert empty or content.head == content.octets()


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (b"\r\n\rX: y", b"\r\nSubject: s\r\n"),
        (b"\r\r\nX: y", b" \r\nX: y\r\nSubject: s\r\n"),
        (b"\r\r\r\n\r\r\n more", b"  \r\nSubject: s\r\n"),
        (b"\rBcc: evil@far.example", b" Bcc: evil@far.example\r\nSubject: s\r\n"),
        (b"\r\n\0\r\nX: y", b"\r\nX: y\r\nSubject: s\r\n"),
        (b"\r\nBc\0c: evil@far.example", b"\r\nSubject: s\r\n"),
        (b"\r\n \r\0\r\n more", b"\r\n more\r\nSubject: s\r\n"),
    ],
)
def test_a_header_goes_on_behind_a_bare_cr_or_a_nul(given: bytes, made: bytes) -> None:
    stored = message(b"X-A: b" + given + b"\r\nSubject: s\r\n\r\n\rtext\r\n")
    fitted = Adapter().adapt(stored, stored.deliveries, Capabilities(nul=False), TABLE)
    assert fitted.content.octets() == b"X-A: b" + made + b"\r\n\r\ntext\r\n"
    assert any(note.what == "bare CR or NUL in the header" for note in fitted.fidelity.notes)


def test_the_header_of_a_part_goes_on_too() -> None:
    stored = message(
        HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n"
        b"\rContent-Disposition: attachment; filename=a.exe\r\n\r\nhi\r\n--b--\r\n"
    )
    out = Adapter().adapt(stored, stored.deliveries, Capabilities(), TABLE).content.octets()
    assert b"--b\r\nContent-Type: text/plain\r\n\r\nhi\r\n--b--\r\n" in out


@given(texts, st.sampled_from([b"8bit", b"binary", b"7bit"]))
def test_what_a_part_says_is_kept(body: bytes, encoding: bytes) -> None:
    clean = body.replace(b"--b", b"").replace(b"\r\n", b"\n").replace(b"\r", b"").replace(b"\n", b"\r\n")
    octets = HEAD + (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: " + encoding + b"\r\n\r\n" + clean + b"\r\n--b\r\nContent-Type: text/plain\r\n\r\n"
        b"second part\r\n--b--\r\n"
    )
    stored = message(octets)
    out = Adapter().adapt(stored, stored.deliveries, SEVEN, TABLE).content.octets()
    is_carried(out, SEVEN)
    assert leaves(out) == leaves(octets)
    assert out.endswith(b"--b\r\nContent-Type: text/plain\r\n\r\nsecond part\r\n--b--\r\n")


@pytest.mark.parametrize("kind", ["binary", "long-base64", "lf", "plain"])
def test_large_contents_are_adapted_in_pieces_and_come_out_as_small_ones_do(tmp_path: Path, kind: str) -> None:
    chance = random.Random(4)
    data = chance.randbytes(3_000_000)
    if kind == "binary":
        part = b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: binary\r\n\r\n" + data
    elif kind == "long-base64":
        part = b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.b64encode(data)
    elif kind == "lf":
        part = b"Content-Type: text/plain\r\n\r\n" + b"a line of text\n.\n\r\nmore\r" * 150_000
    else:
        part = b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(
            data
        ).replace(b"\n", b"\r\n")
    octets = HEAD + (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
        b"gr\xc3\xbc\xc3\x9fe\r\n--b\r\n" + part + b"\r\n--b--\r\n"
    )
    path = tmp_path / "content"
    path.write_bytes(octets)
    blob = FileBlob(path)
    stored = message(Content(blob), prefix=b"Received: by us\r\n")
    fitted = Adapter().adapt(stored, stored.deliveries, SEVEN, TABLE)
    pieces = list(fitted.content.chunks())
    assert blob.largest <= 4 * 1024 * 1024
    assert max(map(len, pieces)) <= 300_000
    out = b"".join(pieces)
    assert len(out) == fitted.content.size
    is_carried(out, SEVEN)
    small = message(octets, prefix=stored.prefix)
    inline = Adapter().adapt(small, small.deliveries, SEVEN, TABLE).content.octets()
    assert leaves(out) == leaves(inline)
    if kind != "lf":
        assert leaves(out)[1] == data.replace(b"\r\n", b"\n").rstrip(b"\n")
    # Read at random, as a connector that resumes may do.
    source = fitted.content.source
    assert not isinstance(source, bytes)
    whole = source.read(0, source.size)
    for _ in range(50):
        at = chance.randrange(source.size)
        assert source.read(at, 1000) == whole[at : at + 1000]


def test_a_large_content_that_needs_nothing_is_not_read_twice(tmp_path: Path) -> None:
    path = tmp_path / "content"
    path.write_bytes(HEAD + b"\r\n" + b"line\r\n" * 100_000)
    stored = message(Content(FileBlob(path), traits=Traits(crlf_only=True, eight_bit=False)))
    fitted = Adapter().adapt(stored, stored.deliveries, SMTP, TABLE)
    assert fitted.content is stored.content


def test_an_adapter_may_be_used_by_several_threads() -> None:
    adapter = Adapter()
    faults: list[BaseException] = []

    def work() -> None:
        try:
            for i in range(200):
                stored = message(f"From: a.lee@acme.example\r\nX: {i}\r\n\r\nhi\r\n".encode())
                out = adapter.adapt(stored, stored.deliveries, SMTP, TABLE).content.octets()
                assert out.startswith(b"From: ann@acme.example\r\n")
        except BaseException as fault:  # noqa: BLE001  handed to the test's own thread
            faults.append(fault)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not faults


def test_the_check_of_an_ordinary_message_costs_microseconds() -> None:
    """A count, not a clock: nothing of the body is copied, and the header is read by the mapping once a direction."""
    reads = 0
    adapter = Adapter()
    for _ in range(50):
        stored = message(HEAD + b"\r\n" + b"x" * 70 + b"\r\n")
        fitted = adapter.adapt(stored, stored.deliveries, SMTP, TABLE)
        reads += fitted.content is not stored.content
    assert reads == 0
    step = adapter._step
    assert step is not None
    assert len(step._unchanged) == 2


CORPUS = os.environ.get("GATEPOST_CORPUS")


def test_every_message_of_the_corpus_can_be_carried() -> None:
    if CORPUS is None:
        print("GATEPOST_CORPUS is not set: the corpus was not read")
        return
    seen = 0
    for path in sorted(Path(CORPUS).rglob("*")):
        if not path.is_file() or path.suffix not in (".eml", ".msg", ".txt", ".mbox") or path.stat().st_size > 250_000:
            continue
        octets = path.read_bytes()
        stored = message(octets)
        fitted = Adapter().adapt(stored, stored.deliveries, SEVEN, TABLE)
        if any(n.fate is Fate.KEPT for n in fitted.fidelity.notes):
            continue
        is_carried(fitted.content.octets(), SEVEN)
        seen += 1
    assert seen > 500


def test_recipients_of_ours_are_shown_ours_as_they_are() -> None:
    stored = message(b"From: a.lee@acme.example\r\n\r\nhi\r\n", to="smtp:ann@acme.example")
    direction = Adapter().adapt(stored, stored.deliveries, SMTP, TABLE).content.octets()
    assert direction.startswith(b"From: a.lee@acme.example")


def test_the_same_header_again_is_shown_as_its_recipients_may_see_it() -> None:
    adapter = Adapter()
    ours, theirs = "smtp:ann@acme.example", "smtp:z@far.example"
    for sender, outward in ((b"a.lee@acme.example", b"ann@acme.example"), (b"y@far.example", b"y@far.example")):
        for to in (ours, ours, ours, theirs, theirs, theirs, ours):
            stored = message(b"From: " + sender + b"\r\n\r\nhi\r\n", to=to)
            shown = adapter.adapt(stored, stored.deliveries, SMTP, TABLE).content
            assert shown.head == b"From: " + (sender if to == ours else outward) + b"\r\n"
    for to in (theirs, ours, theirs, ours):
        stored = message(b"From: y@far.example\r\n\r\nhi\r\n", to=to, sender="smtp:a.lee@acme.example")
        path = adapter.adapt(stored, stored.deliveries, SMTP, TABLE).envelope.reverse_path
        assert str(path) == ("smtp:a.lee@acme.example" if to == ours else "smtp:ann@acme.example")
