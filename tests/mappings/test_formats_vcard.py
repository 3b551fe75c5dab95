"""vCards of three versions: folding, escapes, charsets, and that what is written is read back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.address import Address
from mappings.formats import OptionError, Reading, Written
from mappings.formats.vcard import Vcard
from mappings.identity import Held, Identity, Kind, Role, addresses
from tests.mappings import people
from tests.mappings.corpus import corpus
from tests.mappings.people import NETWORKS, parse, same, shown

VCARD = Vcard()
ANN = (
    "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Ann Lee\r\nN:Lee;Ann;;;\r\nEMAIL;TYPE=INTERNET,PREF:ann@acme.example\r\n"
    "EMAIL;TYPE=X400:C=us\\;ADMD=att\\;S=Lee\r\nTEL;TYPE=FAX:+358 5 55 1234\r\nIMPP:xmpp:ann@chat.example\r\n"
    "END:VCARD\r\n"
)


def read(text: str | bytes, **options: str) -> Reading:
    return VCARD.read(text if isinstance(text, bytes) else text.encode(), options, NETWORKS)


def card(*lines: str) -> Identity:
    """Return the identity of a card of these lines."""
    reading = read("\r\n".join(("BEGIN:VCARD", *lines, "END:VCARD", "")))
    assert [str(problem) for problem in reading.problems] == []
    return reading.entries[0].identity


def roles(who: Identity) -> dict[str, str]:
    return {str(held.address): held.role.value for held in who.addresses}


def test_a_card_is_read() -> None:
    reading = read(ANN)
    assert reading.problems == []
    assert reading.entries[0].line == 1
    who = reading.entries[0].identity
    assert (who.name, who.attributes) == ("Ann Lee", (("first", "Ann"), ("last", "Lee")))
    assert roles(who) == {
        "smtp:ann@acme.example": "primary",
        "x400:C=us;ADMD=att;S=Lee": "primary",
        "fax:+3585551234": "primary",
        "xmpp:ann@chat.example": "primary",
    }


@pytest.mark.parametrize(
    "octets",
    [
        ANN.replace("\r\n", "\n").encode(),
        ANN.encode("utf-8-sig"),
        ANN.encode("utf-16"),
        ANN.replace("acme.ex", "ac\r\n me.e\r\n\tx").encode(),
        ANN.replace("EMAIL", "item1.Email").replace("BEGIN:VCARD", "begin:vcard").encode(),
        ANN.replace("END:", "PHOTO;ENCODING=b:AAAA\r\n AAAA\r\nEND:").encode(),
        ("\r\n" + ANN.replace("VERSION:3.0", "AGENT:\r\nBEGIN:VCARD\r\nFN:X\r\nEMAIL:x@y\r\nEND:VCARD")).encode(),
    ],
)
def test_the_same_is_read_however_it_is_written(octets: bytes) -> None:
    reading = read(octets)
    assert [each.identity for each in reading.entries] == [each.identity for each in read(ANN).entries]


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        (["VERSION:2.1", "FN;ENCODING=QUOTED-PRINTABLE:=E9"], "é"),
        (["VERSION:2.1", "FN;CHARSET=UTF-8;QUOTED-PRINTABLE:K=C3=A4=", "the"], "Käthe"),
        (["VERSION:2.1", "FN;CHARSET=ISO-8859-1;ENCODING=QUOTED-PRINTABLE:K=E4the"], "Käthe"),
        (["VERSION:2.1", "FN:Ann", " Lee"], "Ann Lee"),
        (["VERSION:3.0", "FN:Ann", "  Lee"], "Ann Lee"),
        (["VERSION:3.0", "FN:Lee\\, Ann\\; \\\\x\\nhere"], "Lee, Ann; \\x here"),
        (["VERSION:3.0", "N:Lee;Ann;;;"], "Ann Lee"),
        (["VERSION:4.0", "ORG:Acme\\, Inc.;Sales"], "Acme, Inc.;Sales"),
        (["VERSION:4.0"], "a@b.example"),
    ],
)
def test_names_are_read(lines: list[str], name: str) -> None:
    assert card(*lines, "EMAIL:a@b.example").name == name


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["EMAIL;PREF=2:a@b.example", "EMAIL;PREF=1:c@b.example"], ["smtp:c@b.example", "smtp:a@b.example"]),
        (["EMAIL;INTERNET:a@b.example", "EMAIL;INTERNET;PREF:c@b.example"], ["smtp:c@b.example", "smtp:a@b.example"]),
        (['EMAIL;TYPE="home,pref":a@b.example'], ["smtp:a@b.example"]),
        (["EMAIL:mailto:a%2Bx@b.example"], ["smtp:a+x@b.example"]),
        (["TEL;VALUE=uri;TYPE=voice:tel:+358-5-55-1234"], ["tel:+3585551234"]),
        (["TEL;HOME;FAX:+358 5 55 1234"], ["fax:+3585551234"]),
        (["X-JABBER:a@b.example"], ["xmpp:a@b.example"]),
        (["IMPP;PREF=1:sip:a@b.example"], ["sip:a@b.example"]),
        (["X-GATEPOST-ADDRESS;PREF=1:mhs:ann@sales"], ["mhs:ann@sales"]),
    ],
)
def test_the_addresses_of_a_card(lines: list[str], found: list[str]) -> None:
    assert [str(held.address) for held in card("VERSION:4.0", *lines).addresses] == found


def test_what_is_no_address_is_kept() -> None:
    lines = ("VERSION:2.1", "EMAIL:a@b.example", "EMAIL;CIS:1,2", "IMPP:aim:ann", "TEL:x7", "TITLE:Boss", "ORG:A;B")
    who = card(*lines)
    assert who.attributes == (
        ("company", "A"),
        ("department", "B"),
        ("impp", "aim:ann"),
        ("proxy", "CIS:1,2"),
        ("tel", "x7"),
        ("title", "Boss"),
    )


def test_a_group_names_its_members() -> None:
    reading = read(
        ANN.replace("END:", "UID:urn:uuid:17\r\nEND:")
        + "BEGIN:VCARD\r\nVERSION:4.0\r\nKIND:group\r\nFN:All\r\nEMAIL:all@acme.example\r\nMEMBER:urn:uuid:17\r\n"
        "MEMBER:mailto:bob%40far@far.example\r\nMEMBER:urn:uuid:18\r\nMEMBER:mailto:nobody\r\nEND:VCARD\r\n"
    )
    group = reading.entries[1].identity
    assert reading.entries[0].identity.attribute("ref") == "urn:uuid:17"
    assert (group.kind, group.attribute("member")) == (Kind.GROUP, "18")
    assert group.members == (parse("smtp:ann@acme.example"),)
    assert len(reading.problems) == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("BEGIN:VCARD\r\nVERSION:3.0\r\nhello\r\nEMAIL:a@b.example\r\nEND:VCARD\r\n", "line 3: 'hello' is no property"),
        ("hello\r\n" + ANN, "line 1: 'hello' stands outside of a card"),
        (ANN + "BEGIN:VCARD\r\nFN:x\r\n", "line 10: the card has no END:VCARD"),
        ("BEGIN:VCARD\r\nEMAIL:a\r\nEND:VCARD\r\n" + ANN, "line 1, column EMAIL: 'a': write mailbox@domain"),
        (
            "BEGIN:VCARD\r\nFN;CHARSET=xx:a\r\nEMAIL:a@b.example\r\nEND:VCARD\r\n",
            "line 2, column FN: the va",
        ),
        (
            b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:\xe9\r\nEMAIL:a@b.example\r\nEND:VCARD\r\n",
            "line 3, column FN: the va",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str | bytes, says: str) -> None:
    reading = read(text)
    assert str(reading.problems[0]).startswith(says)
    assert len(reading.entries) == 1


def test_values_that_are_not_utf_8_are_read_by_their_code_page() -> None:
    octets = b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:\xe9\r\nEMAIL:a@b.example\r\nEND:VCARD\r\n"
    assert read(octets, encoding="cp1252").entries[0].identity.name == "é"


def test_the_cards_of_the_corpus_are_read() -> None:
    folder = corpus("vobject") / "test_files"
    reading = read((folder / "radicale-1587.vcf").read_bytes())
    assert (reading.entries, reading.problems) == ([], [])
    assert reading.notes == ["an entry without an address was left aside"]
    for path in sorted(folder.glob("*.ics")):  # no cards, but folded and escaped in the same way
        reading = read(path.read_bytes())
        assert reading.entries == []
        assert reading.problems


# -- writing


def write(*identities: Identity, **options: str) -> Written:
    return VCARD.write(identities, options, NETWORKS)


def test_cards_are_written() -> None:
    ann = Identity(
        "Lee, Ann",
        addresses(
            parse("smtp:ann@acme.example"),
            parse("smtp:al@acme.example"),
            parse("mhs:ann@sales"),
            former=(parse("smtp:old@acme.example"),),
        ),
        attributes=(("first", "Ann"), ("ref", "17"), ("source", "x")),
    )
    written = write(ann)
    assert written.problems == []
    assert written.octets.decode().split("\r\n") == [
        "BEGIN:VCARD",
        "VERSION:3.0",
        "FN:Lee\\, Ann",
        "N:;Ann;;;",
        "UID:17",
        "EMAIL;TYPE=INTERNET,PREF:ann@acme.example",
        "X-GATEPOST-ADDRESS;TYPE=PREF:mhs:ann@sales",
        "EMAIL;TYPE=INTERNET:al@acme.example",
        "X-GATEPOST-ADDRESS;TYPE=former:smtp:old@acme.example",
        "END:VCARD",
        "",
    ]
    assert b"\r\nEMAIL;PREF=1:ann@acme.example\r\nX" in write(ann, version="4.0").octets
    with pytest.raises(OptionError, match=r"the option version is 3\.0 or 4\.0"):
        write(ann, version="2.1")


def test_lines_are_folded_between_characters() -> None:
    octets = write(Identity("ä" * 100, addresses(parse("smtp:a@b.example")))).octets
    assert max(len(line) for line in octets.split(b"\r\n")) <= 75
    assert all(line.decode() for line in octets.split(b"\r\n")[:-1])


def test_what_is_not_carried_is_told() -> None:
    assert shown(write(Identity("A", addresses(parse("smtp:a@b.example")), Kind.ROOM, home="old"))) == [
        "line 1, column home: is not carried by this form",
        "line 1, column kind: room is not carried by version 3.0",
    ]


FACTS = st.dictionaries(st.sampled_from(["first", "last", "company", "department", "title", "ref"]), people.text).map(
    lambda facts: tuple(sorted(facts.items()))
)


@given(
    people.text,
    people.held(timed=False),
    st.sampled_from(Kind),
    FACTS,
    st.lists(people.address, max_size=3, unique=True),
    st.sampled_from(["3.0", "4.0"]),
    st.sampled_from([(), (("proxy", "CIS:1,2"), ("proxy", "SPO:1;2"))]),
)
def test_what_is_written_is_read_back(
    name: str,
    held: tuple[Held, ...],
    kind: Kind,
    facts: tuple[tuple[str, str], ...],
    members: list[Address],
    version: str,
    kept: tuple[tuple[str, str], ...],
) -> None:
    members = members if kind is Kind.GROUP else []
    who = Identity(name, held, kind, attributes=tuple(sorted(facts + kept)), members=tuple(members))
    written = write(who, version=version)
    reading = read(written.octets)
    assert reading.problems == []
    carried = kind in (Kind.PERSON, Kind.GROUP) or (version == "4.0" and kind is not Kind.CONTACT)
    assert [p.column for p in written.problems] == ([] if carried else ["kind"])
    found = reading.entries[0].identity
    assert same(found, who if carried else replace(who, kind=Kind.PERSON))


def test_a_former_address_stays_former() -> None:
    who = Identity("A", (Held(parse("smtp:a@b.example"), Role.PRIMARY), Held(parse("smtp:o@b.example"), Role.FORMER)))
    assert same(read(write(who).octets).entries[0].identity, who)
