"""Recipients of Exchange and Active Directory as CSV: the shapes that exports have, and what is written."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.formats import OptionError, Reading, Written, proxy
from mappings.formats.exchange import Exchange
from mappings.identity import Held, Identity, Kind, Role, addresses
from mappings.rule import Rule
from tests.mappings import people
from tests.mappings.people import NETWORKS, parse, same, shown

EXCHANGE = Exchange()
GET_RECIPIENT = (
    '"DisplayName","RecipientType","PrimarySmtpAddress","Alias","EmailAddresses"\r\n'
    '"Ann Lee","UserMailbox","ann@acme.example","ann","SMTP:ann@acme.example;smtp:a.lee@acme.example;'
    'X500:/o=Acme/ou=HQ/cn=ann;X400:c=US;a= ;p=Acme;o=HQ;s=Lee;g=Ann;;SIP:ann@acme.example"\r\n'
)
CSVDE = (
    "DN,displayName,mail,proxyAddresses,legacyExchangeDN\r\n"
    '"CN=Ann Lee,OU=HQ,DC=acme,DC=example",Ann Lee,ann@acme.example,'
    "SMTP:ann@acme.example;smtp:al@acme.example,/o=Acme/ou=HQ/cn=ann\r\n"
)


def read(text: str | bytes, **options: str) -> Reading:
    return EXCHANGE.read(text if isinstance(text, bytes) else text.encode(), options, NETWORKS)


def roles(who: Identity) -> dict[str, str]:
    return {str(held.address): held.role.value for held in who.addresses}


def test_the_recipients_of_get_recipient_are_read() -> None:
    reading = read(GET_RECIPIENT)
    assert reading.problems == []
    entry = reading.entries[0]
    assert (entry.line, entry.identity.name, entry.identity.kind) == (2, "Ann Lee", Kind.PERSON)
    assert roles(entry.identity) == {
        "smtp:ann@acme.example": "primary",
        "smtp:a.lee@acme.example": "alias",
        "x500:/o=Acme/ou=HQ/cn=ann": "primary",
        "x400:c=US;a= ;p=Acme;o=HQ;s=Lee;g=Ann;": "primary",
        "sip:ann@acme.example": "primary",
    }
    assert entry.identity.attributes == (("alias", "ann"),)


@pytest.mark.parametrize(
    "octets",
    [
        GET_RECIPIENT.encode("utf-16"),
        GET_RECIPIENT.encode("utf-8-sig"),
        b"#TYPE Microsoft.Exchange.Data.Directory.Management.ReducedRecipient\r\n" + GET_RECIPIENT.encode(),
        GET_RECIPIENT.replace(",", ";").replace("g=Ann;;SIP", "g=Ann;;SIP").encode(),
        GET_RECIPIENT.replace(",", "\t").encode(),
        # A plain Export-Csv joins the addresses by blanks.
        GET_RECIPIENT.replace(";smtp:", " smtp:").replace(";X", " X").replace(";SIP:", " SIP:").encode(),
        GET_RECIPIENT.replace('"PrimarySmtpAddress"', '"WindowsEmailAddress"').encode(),
    ],
)
def test_the_same_is_read_however_it_was_saved(octets: bytes) -> None:
    reading = read(octets)
    assert reading.problems == []
    assert [entry.identity for entry in reading.entries] == [entry.identity for entry in read(GET_RECIPIENT).entries]


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("SMTP:a@b;smtp:c@d", ["SMTP:a@b", "smtp:c@d"]),
        ("SMTP:a@b smtp:c@d", ["SMTP:a@b", "smtp:c@d"]),
        ("SMTP:a@b+smtp:c+d@e", ["SMTP:a@b", "smtp:c+d@e"]),
        ("X400:c=US;a= ;p=O;dda:smtp=a(a)b;;SMTP:a@b", ["X400:c=US;a= ;p=O;dda:smtp=a(a)b;", "SMTP:a@b"]),
        ("X400:c=US;a= ;p=Acme Corp;s=Lee; SIP:a@b", ["X400:c=US;a= ;p=Acme Corp;s=Lee;", "SIP:a@b"]),
        (
            "X500:/o=A/cn=Ann Lee;EUM:47;phone-context=x.y;smtp:a@b",
            ["X500:/o=A/cn=Ann Lee", "EUM:47;phone-context=x.y", "smtp:a@b"],
        ),
        ("X400:c=US\\;a= \\;s=Lee\\;;SMTP:a@b", ["X400:c=US;a= ;s=Lee;", "SMTP:a@b"]),
        ("", []),
        ("ann@acme.example", ["ann@acme.example"]),
    ],
)
def test_addresses_are_parted_only_where_one_begins(cell: str, found: list[str]) -> None:
    assert proxy.split(cell) == found


def test_the_export_of_csvde_is_read() -> None:
    reading = read(CSVDE)
    assert reading.problems == []
    who = reading.entries[0].identity
    assert roles(who) == {
        "smtp:ann@acme.example": "primary",
        "smtp:al@acme.example": "alias",
        "x500:/o=Acme/ou=HQ/cn=ann": "primary",
    }
    assert who.attribute("ref") == "CN=Ann Lee,OU=HQ,DC=acme,DC=example"


def test_a_group_of_csvde_names_its_members_by_their_entries() -> None:
    reading = read(
        CSVDE.replace("\r\n", ",objectClass,member,managedBy\r\n", 1).removesuffix("\r\n")
        + ",top;person;user,,\r\n"
        + '"CN=All,DC=acme,DC=example",All,all@acme.example,,,top;group,'
        + '"CN=Ann Lee,OU=HQ,DC=acme,DC=example;CN=Gone,DC=acme,DC=example","CN=Ann Lee,OU=HQ,DC=acme,DC=example"\r\n'
    )
    assert reading.problems == []
    group = reading.entries[1].identity
    assert (group.kind, group.members) == (Kind.GROUP, (parse("smtp:ann@acme.example"),))
    assert group.owner == parse("smtp:ann@acme.example")
    assert group.attribute("member") == "CN=Gone,DC=acme,DC=example"
    assert any("member that is not in the file" in note for note in reading.notes)


@pytest.mark.parametrize(
    ("kind", "types"),
    [
        (Kind.PERSON, ("UserMailbox", "SharedMailbox")),
        (Kind.PERSON, ("MailUser", "MailUser")),
        (Kind.GROUP, ("MailUniversalSecurityGroup", "MailUniversalSecurityGroup")),
        (Kind.GROUP, ("DynamicDistributionGroup", "DynamicDistributionGroup")),
        (Kind.ROOM, ("UserMailbox", "RoomMailbox")),
        (Kind.DEVICE, ("UserMailbox", "EquipmentMailbox")),
        (Kind.CONTACT, ("MailContact", "MailContact")),
    ],
)
def test_what_a_recipient_is(kind: Kind, types: tuple[str, str]) -> None:
    text = f"Name,RecipientType,RecipientTypeDetails,EmailAddresses\nA,{types[0]},{types[1]},SMTP:a@b.example\n"
    assert read(text).entries[0].identity.kind is kind


def test_a_contact_is_known_by_its_outside_address_and_its_legacy_name() -> None:
    reading = read(
        "Name,RecipientType,ExternalEmailAddress,EmailAddresses,LegacyExchangeDN\n"
        "Bob,MailContact,SMTP:bob@far.example,,/o=Acme/cn=bob\n"
        "Eve,MailContact,SMTP:eve@far.example,SMTP:eve@acme.example,/o=Acme/cn=eve\n"
        "Joe,MailContact,X400:c=US;a= ;p=Far;s=Joe;,SMTP:joe@acme.example,\n"
        "Max,MailContact,Max [MHS:max@hq],SMTP:max@acme.example,\n"
    )
    assert reading.problems == []
    bob, eve, joe, max_ = (entry.identity for entry in reading.entries)
    assert roles(bob) == {"smtp:bob@far.example": "primary", "x500:/o=Acme/cn=bob": "primary"}
    assert roles(eve) == {"smtp:eve@acme.example": "primary", "x500:/o=Acme/cn=eve": "primary"}
    assert eve.attribute("forward") == "smtp:eve@far.example"
    assert joe.primary("x400") == parse("x400:c=US;a= ;p=Far;s=Joe;")
    assert max_.primary("mhs") == parse("mhs:max@hq")


def test_ex_is_the_legacy_name_and_comes_before_x500() -> None:
    who = read("Name,EmailAddresses\nA,X500:/o=Old/cn=a;SMTP:a@b.example;EX:/o=New/cn=a\n").entries[0].identity
    assert who.primary("x500") == parse("x500:/o=New/cn=a")


def test_an_address_of_an_unknown_kind_is_kept() -> None:
    text = "Name,EmailAddresses\nA,SMTP:a@b.example;SPO:SPO_1@SPO_2;eum:4711;phone-context=dial.acme.example\n"
    who = read(text).entries[0].identity
    assert [value for name, value in who.attributes if name == "proxy"] == [
        "SPO:SPO_1@SPO_2",
        "eum:4711;phone-context=dial.acme.example",
    ]
    written = write(who)
    assert "SPO:SPO_1@SPO_2;eum:4711;phone-context=dial.acme.example" in written.octets.decode("utf-8-sig")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("A,SMTP:a..b@c.example", "line 2, column EmailAddresses: 'a..b@c.example': a dot at the start"),
        ("A,SMTP:a@b.example;SMTP:c@b.example", "line 2, column EmailAddresses: a@b.example and c@b.example are both"),
        ("A,SMTP:a@b.example,more", "line 2: the row has 3 fields, the header 2"),
    ],
)
def test_a_row_with_a_mistake_is_left_out(row: str, says: str) -> None:
    reading = read(f"Name,EmailAddresses\n{row}\nB,SMTP:b@b.example\n")
    assert [entry.identity.name for entry in reading.entries] == ["B"]
    assert str(reading.problems[0]).startswith(says)


def test_another_address_with_a_mistake_is_left_out_alone() -> None:
    reading = read("Name,EmailAddresses\nA,SMTP:a@b.example;smtp:a..b@b.example;MHS:nowhere\n")
    assert roles(reading.entries[0].identity) == {"smtp:a@b.example": "primary"}
    assert [p.message.rpartition("; ")[2] for p in reading.problems] == ["the address is left out"] * 2


def test_a_file_without_addresses_is_told() -> None:
    assert "none of these columns is there: EmailAddresses" in str(read("Name,City\nA,B\n").problems[0])
    assert "the file is empty" in str(read("").problems[0])


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("Guid", "0123abcd-4567-89ab-cdef-0123456789ab"),
        ("objectGUID", "X'cdab23016745ab89cdef0123456789ab'"),
    ],
)
def test_an_object_has_one_number_in_all_exports(text: str, ref: str) -> None:
    reading = read(f"Name,{text},EmailAddresses\nA,{ref},SMTP:a@b.example\n")
    assert reading.entries[0].identity.attribute("ref") == "0123abcd-4567-89ab-cdef-0123456789ab"


# -- writing


def write(*people: Identity, **options: str) -> Written:
    return EXCHANGE.write(people, options, NETWORKS)


def table(written: Written) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(written.octets.decode("utf-8-sig"), newline="")))


ANN = Identity(
    "Ann Lee",
    addresses(
        parse("smtp:ann@acme.example"),
        parse("smtp:al@acme.example"),
        parse("x500:/o=Acme/cn=ann"),
        parse("mhs:ann@sales"),
        parse("tel:+3585551234"),
    ),
    attributes=(("first", "Ann"), ("last", "Lee"), ("proxy", "SPO:1"), ("ref", "7"), ("source", "x")),
)


def test_the_columns_are_those_that_the_commands_take() -> None:
    written = write(ANN)
    assert written.problems == []
    row = table(written)[0]
    assert {name: row[name] for name in row if row[name]} == {
        "Name": "Ann Lee",
        "DisplayName": "Ann Lee",
        "RecipientType": "UserMailbox",
        "RecipientTypeDetails": "UserMailbox",
        "FirstName": "Ann",
        "LastName": "Lee",
        "PrimarySmtpAddress": "ann@acme.example",
        "EmailAddresses": "SMTP:ann@acme.example;MHS:ann@sales;smtp:al@acme.example;SPO:1",
        "LegacyExchangeDN": "/o=Acme/cn=ann",
        "Phone": "+3585551234",
    }


def test_everybody_may_be_written_as_a_contact() -> None:
    mhs = Identity("Bob", addresses(parse("mhs:bob@hq")))
    rows = table(write(ANN, mhs, **{"as": "contacts"}))
    assert [(row["RecipientType"], row["ExternalEmailAddress"]) for row in rows] == [
        ("MailContact", "SMTP:ann@acme.example"),
        ("MailContact", "MHS:bob@hq"),
    ]
    with pytest.raises(OptionError, match="the option as is recipients or contacts"):
        write(ANN, **{"as": "guests"})


def test_what_is_not_carried_is_told_once_for_all() -> None:
    former = Identity("A", addresses(parse("smtp:a@b.example"), former=(parse("smtp:old@b.example"),)), home="old")
    written = EXCHANGE.write([former, former], {}, NETWORKS, [Rule("smtp:{x}@a.example", "smtp:{x}@b.example")])
    assert shown(written) == [
        "line 1: the rule smtp:{x}@a.example <-> smtp:{x}@b.example is not carried by this form",
        "line 2, column home: is not carried by this form (2 in all)",
        "line 2, column EmailAddresses: a former address is written as an alias, since the form has no former ones"
        " (2 in all)",
    ]


FACTS = st.dictionaries(
    st.sampled_from(["first", "last", "company", "department", "title", "alias", "upn", "uid", "dn"]), people.text
).map(lambda facts: tuple(sorted(facts.items())))


@given(
    people.text,
    people.held(timed=False, former=False),
    st.sampled_from(Kind),
    FACTS,
    st.sampled_from([(), (("proxy", "SPO:x y"),), (("proxy", "eum:1;phone-context=a"),)]),
)
def test_what_is_written_is_read_back(
    name: str, held: tuple[Held, ...], kind: Kind, facts: tuple[tuple[str, str], ...], kept: tuple[tuple[str, str], ...]
) -> None:
    who = Identity(name, held, kind, attributes=tuple(sorted(facts + kept)))
    written = write(who)
    reading = read(written.octets)
    if any("looks like the beginning of another one" in told for told in shown(written)):
        return
    assert all("no address that a contact can point at" in told for told in shown(written))
    assert reading.problems == []
    found = reading.entries[0].identity
    expected = dict(facts).get("dn")
    assert found.attribute("ref") == expected
    if kind is Kind.CONTACT and who.primary("smtp") is None:
        assert roles(found) == roles(who)
    assert same(
        Identity(found.name, found.addresses, found.kind, attributes=_without_ref(found)),
        who,
    )


def _without_ref(who: Identity) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in who.attributes if pair[0] != "ref")


def test_a_former_address_stays_an_address() -> None:
    who = Identity("A", (Held(parse("smtp:a@b.example"), Role.PRIMARY), Held(parse("smtp:o@b.example"), Role.FORMER)))
    assert roles(read(write(who).octets).entries[0].identity) == {
        "smtp:a@b.example": "primary",
        "smtp:o@b.example": "alias",
    }
