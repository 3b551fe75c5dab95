"""The uucp format: the sample jobs, tables of paths, and properties over any octets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.filedrop.files import InMemory
from connectors.filedrop.formats import Bad, Options, Part, Stamp
from connectors.filedrop.formats.uucp import Uucp, UucpSettings, read_from_lines, to_crlf, to_lf
from connectors.filedrop.formats.values import Refused
from gateway.contract import Address, AddressError, Blob, Item, Notify
from gateway.testing.feed import feed
from mappings.network import parse
from tests.connectors.filedrop.codec_kit import DATA, content_of, parcel, span_of

SAMPLES = {path.name: path.read_bytes() for path in (DATA / "uucp").iterdir()}
CONTENT = b"Received: by gw.example\r\nFrom: ann@b.example\r\nSubject: s\r\n\r\n.dot\r\nFrom here\r\nend\r\n"


def codec(**options: Any) -> Uucp:
    return Uucp("uucp", Options(hostname="gate.gw.example", max_recipients=5), UucpSettings(**options))


def read(octets: bytes, files: Mapping[str, bytes] | None = None, **options: Any) -> list[Part | Bad]:
    """Decode a file with `files` beside it."""

    def beside(name: str) -> Blob:
        if name not in (files or {}):
            raise FileNotFoundError(name)
        return InMemory((files or {})[name])

    return list(codec(**options).decode(InMemory(octets), Stamp("token", 0.0, "X.name", beside)))


def said(octets: bytes, files: Mapping[str, bytes] | None = None, **options: Any) -> Any:
    """Return sender, recipients and content of the one message, or the rule of the one Bad."""
    [found] = read(octets, files, **options)
    if isinstance(found, Bad):
        assert found.text
        assert found.mend
        return found.rule
    sender = "<>" if found.reverse_path is None else str(found.reverse_path)
    return sender, [str(each.address) for each in found.recipients], content_of(found, octets, files)


def test_the_page_shows_the_samples() -> None:
    page = (DATA.parents[2] / "docs" / "connectors" / "filedrop" / "uucp.md").read_text()
    for name in ("X.betaX0001", "D.betaX0001"):
        assert f"`{name}`:\n\n```text\n{SAMPLES[name].decode()}```" in page


def test_a_job_of_rmail() -> None:
    sender, recipients, content = said(SAMPLES["X.betaX0001"], SAMPLES)
    assert (sender, recipients) == ("uucp:beta!alpha!ann", ["uucp:gate!bob", "smtp:eve@gw.example"])
    assert content.startswith(b"Received: by alpha (1.0/smail);")
    assert content.endswith(b"\r\n\r\n.a dot\r\n>From here on\r\nend\r\n")


def test_a_job_of_rsmtp() -> None:
    assert said(SAMPLES["X.betaX0002"], SAMPLES) == (
        "smtp:ann@alpha.uucp",
        ["smtp:bob@gw.example"],
        b"Subject: in a batch\r\n\r\n.dot\r\n",
    )


def test_a_text_without_its_command() -> None:
    sender, recipients, content = said(SAMPLES["text.rmail"])
    assert (sender, recipients) == ("uucp:beta!acme.example!ann", ["smtp:bob@gw.example"])
    assert content == b"From: ann@acme.example\r\nTo: bob@gw.example\r\nSubject: text alone\r\n\r\nend\r\n"


def test_a_text_for_the_recipients_of_the_folder() -> None:
    options = Options(hostname="gw.example", recipients=(parse("smtp:post@gw.example"),))
    [part] = Uucp("uucp", options, UucpSettings()).decode(InMemory(SAMPLES["text.rmail"]), Stamp("t", 0.0))
    assert isinstance(part, Part)
    assert [str(each.address) for each in part.recipients] == ["smtp:post@gw.example"]


def test_a_batch_alone() -> None:
    assert said(SAMPLES["D.betaX0002"])[2] == b"Subject: in a batch\r\n\r\n.dot\r\n"


def test_what_is_bad_in_a_batch_is_kept_from_its_data_file() -> None:
    data = SAMPLES["D.betaX0002"].replace(b"bob@", b"bob bob@")
    [bad] = read(SAMPLES["X.betaX0002"], {"D.betaX0002": data})
    assert isinstance(bad, Bad)
    assert bad.rule == "bsmtp.bad-address"
    assert "D.betaX0002" in bad.text
    assert bad.item is not None
    kept = b"".join(each if isinstance(each, bytes) else span_of(each, b"", {"D.betaX0002": data}) for each in bad.item)
    assert said(kept.replace(b"bob bob", b"bob"))[1] == ["smtp:bob@gw.example"], "the item is a file of its own"


def test_the_data_file_is_not_there_yet() -> None:
    with pytest.raises(FileNotFoundError):
        read(SAMPLES["X.betaX0001"], {})


DATA_FILE = b"From ann Tue Nov 24 01:02:03 2026 remote from beta\nSubject: s\n\nt\n"


@pytest.mark.parametrize(
    ("job", "data", "rule"),
    [
        (b"U u beta\nI ../D.1\nC rmail bob\n", DATA_FILE, "uucp.unsafe-name"),
        (b"U u beta\nI /etc/passwd\nC rmail bob\n", DATA_FILE, "uucp.unsafe-name"),
        (b"U u beta\nI .D\nC rmail bob\n", DATA_FILE, "uucp.unsafe-name"),
        (b"U u beta\nC rmail bob\n", DATA_FILE, "uucp.no-data"),
        (b"U u beta\nI D.1\n", DATA_FILE, "uucp.unknown-command"),
        (b"U u beta\nI D.1\nC rcsmtp\n", DATA_FILE, "uucp.unknown-command"),
        (b"U u beta\nI D.1\nC rm -rf x\n", DATA_FILE, "uucp.unknown-command"),
        (b"U u beta\nI D.1\nC rmail\n", DATA_FILE, "uucp.no-recipient"),
        (b"U u beta\nI D.1\nC rmail a b c d e f\n", DATA_FILE, "uucp.too-many-recipients"),
        (b"U u beta\nI D.1\nC rmail a!!b\n", DATA_FILE, "uucp.bad-address"),
        (b"U u beta\nI D.1\nC rmail \xff!b\n", DATA_FILE, "uucp.bad-address"),
        (b"U u beta\nI D.1\nC rmail bob\n", b"Subject: s\n\nt\n", "uucp.no-from-line"),
        (b"U u beta\nI D.1\nC rmail bob\n", b"From a!!b x remote from c\n\n", "uucp.bad-sender"),
        (b"U u beta\nI D.1\nC rmail bob\n", b"", "uucp.no-from-line"),
        (b"U u beta\n" + b"# \n" * 100_000, DATA_FILE, "uucp.job-too-long"),
        (b"Subject: s\n\nt\n", b"", "uucp.unknown-form"),
        (b"", b"", "uucp.unknown-form"),
        (b"From ann x remote from beta\nSubject: s\n\nt\n", b"", "uucp.no-recipient"),
    ],
)
def test_bad(job: bytes, data: bytes, rule: str) -> None:
    assert said(job, {"D.1": data}) == rule


def test_a_data_file_with_a_local_name() -> None:
    job = b"U u beta\nF D.1 letter\nI letter\nC /usr/bin/rmail bob\n"
    assert said(job, {"D.1": DATA_FILE})[:2] == ("uucp:beta!ann", ["smtp:bob@gate.gw.example"])


def test_each_recipient_once() -> None:
    job = b"U u beta\nI D.1\nC rmail b.example!bob bob@b.example\n"
    assert said(job, {"D.1": DATA_FILE})[1] == ["smtp:bob@b.example"]


FROM_LINES = [
    (b"From ann Tue Nov 24 01:02:03 2026 remote from beta\n", "beta!ann"),
    (b"From alpha!ann Tue Nov 24 01:02:03 2026 remote from beta\n", "beta!alpha!ann"),
    (b"From alpha!ann date remote from beta\n>From ann date remote from alpha\n", "beta!alpha!ann"),
    (b"From alpha!ann date remote from beta\n>From alpha!ann date remote from alpha\n", "beta!alpha!ann"),
    (b"From beta!alpha!ann date remote from beta\n", "beta!alpha!ann"),
    (b">From ann date forwarded by beta\r\n", "beta!ann"),
    (b"From acme.example!ann Tue Nov 24 01:02:03 2026\n", "acme.example!ann"),
    (b"From ann@acme.example date remote from beta", "beta!ann@acme.example"),
    (b"From <> date remote from beta\n", "beta!<>"),
    (b"From ann\n", "ann"),
]


@pytest.mark.parametrize(("lines", "path"), FROM_LINES)
def test_from_lines(lines: bytes, path: str) -> None:
    assert read_from_lines(lines + b"Subject: s\n")[0] == path or not lines.endswith(b"\n")
    assert read_from_lines(lines) == (path, len(lines))


@pytest.mark.parametrize("user", ["<>", "MAILER-DAEMON", "mailer-daemon"])
def test_nobody_sends(user: str) -> None:
    data = b"From %s date remote from beta\n\nt\n" % user.encode()
    assert said(b"U u beta\nI D.1\nC rmail bob\n", {"D.1": data})[0] == "<>"


def test_a_sender_without_any_host_is_one_of_the_system_that_asks() -> None:
    assert said(b"U u beta\nI D.1\nC rmail bob\n", {"D.1": b"From ann date\n\nt\n"})[0] == "uucp:beta!ann"


ADDRESSES = [
    ("alpha!beta!ann", "uucp:alpha!beta!ann", "alpha!beta!ann"),
    ("alpha!acme.example!ann", "uucp:alpha!acme.example!ann", "alpha!acme.example!ann"),
    ("acme.example!ann", "smtp:ann@acme.example", "acme.example!ann"),
    ("att.!mark", "uucp:att!mark", "att!mark"),
    ("ann@acme.example", "smtp:ann@acme.example", "acme.example!ann"),
    ("ann@beta.uucp", "uucp:beta!ann", "beta!ann"),
    ("ann", "smtp:ann@gate.gw.example", "gate.gw.example!ann"),
    ("a!b@c.example", "smtp:a!b@c.example", "a!b@c.example"),
    ("o'hara+x@c.example", "smtp:o'hara+x@c.example", "c.example!o'hara+x"),
]


@pytest.mark.parametrize(("text", "address", "written"), ADDRESSES)
def test_addresses(text: str, address: str, written: str) -> None:
    found = codec().read_address(text)
    assert str(found) == address
    assert codec().write_address(found) == written


@pytest.mark.parametrize("address", ['smtp:"ann lee"@acme.example', "x400:/G=Ann/S=Lee/O=Acme/ADMD=att/C=us/"])
def test_an_address_that_is_no_argument_is_refused(address: str) -> None:
    with pytest.raises(Refused, match=r"5\.1\.3"):
        codec().write_address(parse(address))


def job_of(made: Uucp, sender: Address | None, *to: str) -> tuple[bytes, dict[str, bytes]]:
    """Return the job's file and the data beside it."""
    encoded = made.encode(parcel(sender, [parse(each) for each in to], CONTENT), _items(*to), "stem-0")
    return b"".join(encoded.octets()), {each.name: b"".join(each.octets()) for each in encoded.enclosures}


def _items(*to: str) -> tuple[Item, ...]:
    return tuple(Item((1, n), parse(each), parse(each)) for n, each in enumerate(to))


def test_what_uux_is_given() -> None:
    made = codec(neighbor="beta", system="gate")
    job, files = job_of(
        made, parse("smtp:ann@acme.example"), "uucp:beta!bob", "uucp:beta!delta!eve", "smtp:al@x.example"
    )
    assert job == (b"U gatepost gate\nF stem-0.D\nI stem-0.D\nR acme.example!ann\nC rmail bob delta!eve x.example!al\n")
    assert files == {
        "stem-0.D": b"From acme.example!ann Tue Nov 24 01:02:03 2026 remote from gate\n"
        + CONTENT.replace(b"\r\n", b"\n")
    }


def test_our_own_name_is_not_told_twice() -> None:
    _, files = job_of(codec(), parse("uucp:gate!alpha!ann"), "uucp:beta!bob")
    assert files["stem-0.D"].startswith(b"From alpha!ann Tue Nov 24 01:02:03 2026 remote from gate\n")


@pytest.mark.parametrize("command", ["rmail", "rsmtp"])
def test_a_job_is_read_back(command: str) -> None:
    to = ("smtp:al@x.example", "uucp:delta!eve")
    for sender in (parse("smtp:ann@acme.example"), None):
        job, files = job_of(codec(command=command), sender, *to)
        found, recipients, content = said(job, files)
        assert recipients == list(to)
        assert content == CONTENT
        ours = "uucp:gate!acme.example!ann" if command == "rmail" else "smtp:ann@acme.example"
        assert found == ("<>" if sender is None else ours)


def test_rsmtp_holds_any_address() -> None:
    job, files = job_of(codec(command="rsmtp"), None, 'smtp:"ann lee"@acme.example')
    assert said(job, files)[1] == ['smtp:"ann lee"@acme.example']


def test_what_is_not_carried_is_told() -> None:
    item = Item((1, 0), parse("smtp:al@x.example"), parse("smtp:al@x.example"), Notify.NEVER)
    sent = parcel(None, [item], CONTENT)
    assert [note.what for note in codec().encode(sent, sent.items, "s").notes] == ["envelope NOTIFY"]


def test_which_files_are_messages() -> None:
    made = codec()
    names = ["X.betaX0001", "stem.X", "text.rmail", "D.betaX0001", "stem.D", "C.betaX0001", "TM.00001"]
    assert [name for name in names if made.is_message(name)] == ["X.betaX0001", "stem.X", "text.rmail"]


def test_recipients_of_one_job() -> None:
    assert codec(max_recipients_a_job=3).max_recipients_a_file == 3
    assert codec(one_recipient=True).one_a_recipient


PIECES = st.sampled_from(
    [b"From ", b">From ", b"ann", b" remote from ", b"beta", b"!", b"@", b"\n", b"\r\n", b"C rmail ", b"I D.1\n", b" "]
) | st.sampled_from([b"U a b\n", b"F D.1 x\n", b"C rsmtp\n", b"MAIL FROM:<", b">\n", b"DATA\n", b".\n", b"\0", b"\xff"])
OCTETS = st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=30).map(b"".join))


@given(OCTETS, OCTETS)
def test_any_octets_are_parts_or_bad(job: bytes, data: bytes) -> None:
    for octets in (job, b"U a b\nI D.1\n" + job):
        for each in read(octets, {"D.1": data}):
            if isinstance(each, Part):
                content_of(each, octets, {"D.1": data})


@given(st.lists(st.sampled_from([b"text", b"\r", b"\n", b"\r\n", b"."]), max_size=20).map(b"".join))
@settings(max_examples=60, deadline=None)
def test_line_ends_in_pieces(octets: bytes) -> None:
    feed(lambda pieces: b"".join(to_crlf(iter(pieces))), octets)
    feed(lambda pieces: b"".join(to_lf(iter(pieces))), octets)


@given(st.text(max_size=30), st.sampled_from(["a.example", "beta.uucp", "x"]))
def test_what_is_written_is_read_back(user: str, domain: str) -> None:
    for text in (f"{user}@{domain}", f"{domain}!{user}"):
        try:
            address = codec().read_address(text)
            written = codec().write_address(address)
        except (AddressError, Refused):
            continue
        assert codec().read_address(written) == address
        assert not any(c.isspace() for c in written)
