"""FidoNet mail with a real tosser on the other side: CrashMail II takes our packets, and we take its."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from connectors.filedrop.bso import BsoLayout
from connectors.filedrop.formats.ftn.codec import Ftn
from connectors.filedrop.formats.ftn.packets import PackedMessage
from connectors.filedrop.formats.ftn.stored import StoredMessage, read_stored, write_stored
from connectors.filedrop.formats.ftn.text import MessageText, read_text
from connectors.filedrop.layouts import Sheet
from connectors.filedrop.netmail_layout import NetmailLayout
from mappings.network import parse
from tests.connectors.filedrop.ftn_kit import STEM, codec, encode, packed, packet, parcel, read_one, text_of
from tests.connectors.filedrop.test_ftn_outward import MIXED, mail
from tests.peers.crashmail import Crashmail


@pytest.fixture
def peer(tmp_path: Path) -> Crashmail:
    return Crashmail(tmp_path / "peer", aka="2:280/464", link="2:280/999", points=("2:280/464.1",))


def hand_over(
    peer: Crashmail, made: Ftn, octets: str, to: str = "Bob Ray@2:280/464", name: str = "1a2b3c4d.pkt"
) -> None:
    """Put a packet of one message into the peer's inbound and have it tossed."""
    (peer.inbound / name).write_bytes(packet(made, encode(made, parcel(octets, f"ftn:{to}"))))
    peer.toss()


def tossed(peer: Crashmail, default: str = "cp437") -> tuple[StoredMessage, MessageText]:
    """Return the newest netmail of the peer."""
    found = read_stored(peer.stored()[-1])
    assert found is not None, peer.log
    return found, read_text(found.message.text, default)


@pytest.mark.parametrize("kind", ["2", "2+"])
def test_it_takes_our_netmail_with_every_field(peer: Crashmail, kind: str) -> None:
    more = "In-Reply-To: <MSGID_2=3A280=2F464_fedcba98@fidonet.org>\nPriority: urgent\nX-FTN-Kludge: Flags DIR\n"
    hand_over(peer, codec(packet_type=kind), mail("Körper\n\nzweiter Absatz\n", "Grüße", more))
    stored, text = tossed(peer)
    message = stored.message
    assert (message.sender, message.to, message.subject) == (b"Ann Lee", b"Bob Ray", "Grüße".encode("cp437"))
    assert (message.origin, message.destination) == ((280, 999), (280, 464))
    assert message.date == b"24 Nov 26  01:02:03"
    assert message.attributes & 0b11 == 0b11
    assert text.lines == ("Körper", "", "zweiter Absatz")
    want = {
        "INTL": "2:280/464 2:280/999",
        "MSGID": "<1@acme.example> f2efefae",
        "REPLY": "2:280/464 fedcba98",
        "REPLYADDR": "ann@acme.example",
        "REPLYTO": "2:280/999 UUCP",
        "CHRS": "CP437 2",
        "TZUTC": "0100",
        "PID": "Gatepost",
        "FLAGS": "DIR",
    }
    assert {name: text.get(name) for name in want} == want
    assert "Tossing 1a2b3c4d.pkt (0K) from 2:280/999.0" in peer.log


@pytest.mark.parametrize(
    ("charset", "text"),
    [("CP866", "Пётр Новиков\n"), ("LATIN-1", "Åse Køn ì\n"), ("UTF-8", "日本 ✓ ì\n"), ("CP850", "Øre\n")],
)
def test_character_sets_pass_through_it(peer: Crashmail, charset: str, text: str) -> None:
    hand_over(peer, codec(charset=charset), mail(text))
    _, read = tossed(peer, "ascii")
    assert "".join(f"{line}\n" for line in read.lines) == text
    assert read.charset == charset


def test_it_knows_a_point_as_sender_and_as_receiver(peer: Crashmail) -> None:
    for style, name in (("fsc39", "00000001.pkt"), ("fsc48", "00000002.pkt")):
        hand_over(peer, codec(aka="2:280/464.7", point_style=style), mail(), name=name)
        _, text = tossed(peer)
        assert text.get("FMPT") == "7"
        assert "from 2:280/464.7" in peer.log
    hand_over(peer, codec(), mail(), to="Bob Ray@2:280/464.1", name="00000003.pkt")
    # To its point it goes on, in a packet of its own.
    [path] = [p for p in peer.outbound.rglob("*.out") if b"TOPT 1" in p.read_bytes()]
    [message] = packed(path.read_bytes())
    assert read_text(message.text, "cp437").get("TOPT") == "1"
    part, read = read_one(path.read_bytes(), aka="2:280/464.1")
    assert part.recipients[0].address == parse("ftn:Bob Ray@2:280/464.1")
    assert read["Message-ID"] == "<1@acme.example>"


def test_passwords_are_held_to(tmp_path: Path) -> None:
    peer = Crashmail(tmp_path / "peer", aka="2:280/464", link="2:280/999", password="SECRET")
    hand_over(peer, codec(), mail(), name="00000001.pkt")
    assert peer.stored() == []
    hand_over(peer, codec(passwords={"2:280/464": "Secret"}), mail(), name="00000002.pkt")
    assert len(peer.stored()) == 1


def test_we_take_what_crashwrite_makes(peer: Crashmail, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    peer.write(
        folder,
        sender=("Bob Ray", "2:280/464.7"),
        to=("UUCP", "2:280/999"),
        subject="From a point",
        text=b"To: ann@acme.example\n\nHi Ann\n",
    )
    [path] = folder.glob("*.pkt")
    part, message = read_one(path.read_bytes())
    assert part.reverse_path == parse("ftn:Bob Ray@2:280/464.7")
    assert [r.address for r in part.recipients] == [parse("smtp:ann@acme.example")]
    assert message["Message-ID"].startswith("<MSGID_2=3A280=2F464.7_")
    assert (message["Subject"], text_of(message)) == ("From a point", "Hi Ann\n")


def answer(peer: Crashmail, kludges: bytes, text: bytes = b"To: ann@acme.example\r\rHi Ann\r") -> bytes:
    """Have Bob write a netmail to the gateway and the peer send it; return the packet that a mailer would take."""
    body = b"\x01INTL 2:280/999 2:280/464\r" + kludges + text
    message = PackedMessage(
        (280, 464), (280, 999), 0x0101, 0, b"24 Nov 26  03:02:03", b"UUCP", b"Bob Ray", b"Re: Hello", body
    )
    number = 1 + max((int(p.stem) for p in peer.netmail.glob("*.msg") if p.stem.isdigit()), default=1)
    (peer.netmail / f"{number}.msg").write_bytes(write_stored(StoredMessage(message, (2, 2))))
    peer.scan()
    path = peer.outbound / "011803e7.out"
    octets = path.read_bytes()
    path.unlink()
    return octets


def test_replies_thread_across_both_systems(peer: Crashmail) -> None:
    hand_over(peer, codec(), mail())
    _, first = tossed(peer)
    octets = answer(peer, b"\x01MSGID: 2:280/464 0000abcd\r\x01REPLY: %s\r" % first.get("MSGID").encode())
    part, second = read_one(octets, name="011803e7.out")
    assert second["In-Reply-To"] == "<1@acme.example>"
    assert second["References"] == "<1@acme.example>"
    assert "CrashMail" in second["X-FTN-Via"]
    assert [r.address for r in part.recipients] == [parse("smtp:ann@acme.example")]
    third = mail(more=f"In-Reply-To: {second['Message-ID']}\n").replace("<1@", "<3@")
    hand_over(peer, codec(), third, name="00000003.pkt")
    _, text = tossed(peer)
    assert text.get("REPLY") == "2:280/464 0000abcd"


def test_its_stored_netmail_is_read_with_what_it_left_behind_the_names(peer: Crashmail) -> None:
    hand_over(peer, codec(), mail("Körper\n"))
    part, message = read_one(peer.stored()[0], name="2.msg", aka="2:280/464")
    assert part.recipients[0].address == parse("ftn:Bob Ray@2:280/464")
    assert message["From"].addresses[0].display_name == "Ann Lee"
    assert (message["Subject"], text_of(message)) == ("Hello", "Körper\n")


def test_our_outbound_is_what_it_takes(peer: Crashmail, tmp_path: Path) -> None:
    outbound = tmp_path / "outbound"
    outbound.mkdir()
    made = codec(layout="bso")
    layout = BsoLayout(outbound, made)
    for number in (1, 2, 3):
        stem = f"{STEM}{number}"
        sheet = Sheet(stem, encode(made, parcel(mail(f"number {number}\n"), "ftn:Bob Ray@2:280/464"), stem))
        layout.put([sheet])
    layout.sync()
    # A mailer sends the packet under a name of its own.
    shutil.move(outbound / "011801d0.out", peer.inbound / "0badcafe.pkt")
    peer.toss()
    texts = [read_text(stored.message.text, "cp437") for each in peer.stored() if (stored := read_stored(each))]
    assert [text.lines for text in texts] == [("number 1",), ("number 2",), ("number 3",)]


def test_files_go_along(peer: Crashmail) -> None:
    made = codec()
    encoded = encode(made, parcel(MIXED))
    for enclosure in encoded.enclosures:
        (peer.inbound / enclosure.name).write_bytes(b"".join(enclosure.octets()))
    (peer.inbound / "1a2b3c4d.pkt").write_bytes(packet(made, encoded))
    peer.toss()
    stored = [found.message for each in peer.stored() if (found := read_stored(each))]
    assert [m.subject.decode() for m in stored] == ["With files", *(e.name for e in encoded.enclosures)]
    assert [bool(m.attributes & 0x10) for m in stored] == [False, True, True]
    assert all((peer.inbound / e.name).exists() for e in encoded.enclosures)


def test_a_long_text_arrives_in_parts(peer: Crashmail) -> None:
    lines = "".join(f"line {n}\n" for n in range(5000))
    hand_over(peer, codec(), mail(lines))
    texts = [read_text(found.message.text, "cp437") for each in peer.stored() if (found := read_stored(each))]
    assert len(texts) > 3
    assert "".join(f"{line}\n" for text in texts for line in text.lines) == lines


def test_we_take_its_echomail(peer: Crashmail) -> None:
    message = PackedMessage(
        (280, 464), (0, 0), 0x0100, 0, b"24 Nov 26  03:02:03", b"All", b"Bob Ray", b"News",
        b"\x01MSGID: 2:280/464 0000abce\rHello all\r--- Reader\r * Origin: Here (2:280/464)\r",
    )  # fmt: skip
    (peer.folder / "testarea" / "2.msg").write_bytes(write_stored(StoredMessage(message)))
    peer.scan()
    found = [p for p in peer.outbound.rglob("*") if p.is_file() and p.suffix in (".out", ".pkt")]
    found += [p for p in (peer.folder / "packets").rglob("*") if p.is_file()]
    assert found, peer.log
    part, read = read_one(found[0].read_bytes(), name="1.pkt", areas={"TESTAREA": "list@lists.example"})
    assert part.recipients[0].address == parse("smtp:list@lists.example")
    assert read["X-FTN-Area"] == "TESTAREA"
    assert text_of(read) == "Hello all\n--- Reader\n"
    assert read["X-FTN-Seen-By"]


# --- Its netmail folder, which we write into and it scans: here it is the gateway's own tosser, and 2:280/464 the link.


@pytest.fixture
def ours(tmp_path: Path) -> Crashmail:
    """The tosser at the gateway's own node; it may delete what it has sent."""
    return Crashmail(tmp_path / "ours", aka="2:280/999", link="2:280/464", more="ALLOWKILLSENT")


def write_and_scan(peer: Crashmail, octets: str, to: str = "Bob Ray@2:280/464", **settings: Any) -> list[bytes]:
    """Put a message into the tosser's netmail folder and have it scanned; return the packets for the link."""
    made = codec(**{"layout": "messages", "outbound_path": str(peer.netmail), **settings})
    layout = NetmailLayout(peer.netmail)
    layout.put([Sheet(STEM, encode(made, parcel(octets, f"ftn:{to}")))])
    layout.sync()
    peer.scan()
    packets = [path for path in peer.outbound.rglob("011801d0.?ut") if path.is_file()]
    octets_of = [path.read_bytes() for path in packets]
    for path in packets:
        path.unlink()
    return octets_of


def test_it_packs_what_we_put_into_its_netmail_folder(ours: Crashmail) -> None:
    more = "In-Reply-To: <MSGID_2=3A280=2F464_fedcba98@fidonet.org>\nX-FTN-Kludge: Flags DIR\n"
    octets = mail("Körper\n\nzweiter Absatz\n", "Grüße", more)
    [got] = write_and_scan(ours, octets)
    [message] = packed(got)
    [sent] = packed(packet(codec(), encode(codec(), parcel(octets))))
    # The same as in a packet of our own, and a Via line more.
    assert replace(message, text=b"", start=0, end=0) == replace(sent, text=b"", start=0, end=0)
    assert message.text.startswith(sent.text)
    assert b"CrashMail" in message.text.removeprefix(sent.text)
    part, read = read_one(got, name="011801d0.out", aka="2:280/464")
    assert part.recipients[0].address == parse("ftn:Bob Ray@2:280/464")
    assert part.reverse_path is not None
    assert part.reverse_path.value == "Ann Lee@2:280/999"
    assert (read["Subject"], text_of(read)) == ("Grüße", "Körper\n\nzweiter Absatz\n")
    assert (read["Message-ID"], read["In-Reply-To"]) == (
        "<1@acme.example>", "<MSGID_2=3A280=2F464_fedcba98@fidonet.org>",
    )  # fmt: skip
    assert ours.stored() == [], "it was sent, and deleted"


def test_what_it_has_sent_is_known_again(ours: Crashmail) -> None:
    assert len(write_and_scan(ours, mail(), kill_sent=False)) == 1
    assert write_and_scan(ours, mail(), kill_sent=False) == []
    [octets] = ours.stored()
    stored = read_stored(octets)
    assert stored is not None
    assert stored.message.attributes & 0b1000, "it marked it as sent"


def test_it_parts_what_we_put_by_flags_zones_and_points(ours: Crashmail) -> None:
    made = codec(layout="messages", outbound_path="x")
    sheets = []
    for n, (to, more) in enumerate([
        ("Bob Ray@2:280/464.1", ""), ("Eve@2:280/465", "Priority: urgent\n"), ("Dan@3:712/848.9", ""),
    ]):  # fmt: skip
        stem = f"{STEM}{n}"
        sheets.append(Sheet(stem, encode(made, parcel(mail(f"number {n}\n", more=more), f"ftn:{to}"), stem)))
    layout = NetmailLayout(ours.netmail)
    layout.put(sheets)
    ours.scan()
    [crash] = packed((ours.outbound / "011801d1.cut").read_bytes())
    assert crash.attributes & 0b11 == 0b11
    point, far = packed((ours.outbound / "011801d0.out").read_bytes())
    texts = [read_text(each.text, "cp437") for each in (point, crash, far)]
    assert [(text.get("INTL"), text.get("TOPT"), text.lines) for text in texts] == [
        ("2:280/464 2:280/999", "1", ("number 0",)),
        ("2:280/465 2:280/999", "", ("number 1",)),
        ("3:712/848 2:280/999", "9", ("number 2",)),
    ]


def test_files_beside_a_netmail_are_sent_by_it(ours: Crashmail) -> None:
    got = [message for octets in write_and_scan(ours, MIXED) for message in packed(octets)]
    attached = [message for message in got if message.attributes & 0x10]
    assert (len(got), len(attached)) == (3, 2)
    [flow] = [path for path in ours.outbound.rglob("011801d0.?lo") if path.is_file()]
    listed = [line.strip().lstrip("^#") for line in flow.read_text().splitlines()]
    # It takes copies, and puts the name alone into the subject. The files that we put stay: nobody deletes them.
    assert [Path(line).name for line in listed] == [message.subject.decode() for message in attached]
    assert [Path(line).read_bytes() for line in listed] == [b"hello", b"world"]
    assert all(Path(line).parent == ours.folder / "packets" for line in listed)
    assert all((ours.netmail / Path(line).name).exists() for line in listed)


def test_a_number_that_it_deleted_is_not_given_again(tmp_path: Path) -> None:
    peer = Crashmail(tmp_path / "o", aka="2:280/999", link="2:280/464", more="ALLOWKILLSENT\nMSG_HIGHWATER")
    for n in range(3):
        [got] = write_and_scan(peer, mail(f"number {n}\n"))
        assert len(packed(got)) == 1
        assert peer.stored()[0][:12] == b"CrashMail II", "1.msg is its mark"


def test_it_imports_beside_what_we_put(ours: Crashmail) -> None:
    """Netmail for the node comes into the same folder: each has a number of its own, and its own is not sent."""
    made = codec(layout="messages", outbound_path="x")
    theirs = codec(aka="2:280/464")
    for n in range(3):
        stem = f"{STEM}{n}"
        one = encode(theirs, parcel(mail(f"in {n}\n"), "ftn:Ann@2:280/999"), stem)
        (ours.inbound / f"0000000{n}.pkt").write_bytes(packet(theirs, one))
        ours.toss()
        NetmailLayout(ours.netmail).put([Sheet(stem, encode(made, parcel(mail(f"out {n}\n")), stem))])
    assert len(ours.stored()) == 6
    ours.scan()
    out = packed((ours.outbound / "011801d0.out").read_bytes())
    assert [read_text(each.text, "cp437").lines for each in out] == [(f"out {n}",) for n in range(3)]
    assert len(ours.stored()) == 3
