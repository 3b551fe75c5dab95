"""The formats together: how they are found, what all of them promise of any octets, and the columns of any CSV."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.formats import FORMATS, OptionError, by_name, guess
from mappings.identity import Identity, Kind, addresses
from tests.mappings.people import NETWORKS, parse, shown
from tests.mappings.strategies import nasty

DIRECTORIES = ("csv", "ldif", "exchange", "google", "entra", "domino", "vcard")

HEADS = {
    "csv": "name,smtp\n",
    "ldif": "dn: cn=a\nmail: a@b.example\nproxyAddresses: ",
    "exchange": "DisplayName,EmailAddresses\na,",
    "google": "Email Address [Required]\n",
    "entra": "userPrincipalName,mail,Proxy addresses\n",
    "domino": "FullName,InternetAddress,Members\n",
    "vcard": "BEGIN:VCARD\nFN:a\nEMAIL",
}


def test_every_format_is_found_by_its_name() -> None:
    for name in DIRECTORIES:
        assert by_name(name.upper()).name == name
    with pytest.raises(OptionError, match="there is no format 'xls'; there are: csv, ldif"):
        by_name("xls")


@pytest.mark.parametrize(
    ("path", "octets", "name"),
    [
        ("x.ldif", b"", "ldif"),
        ("export.txt", b"# made by slapcat\nversion: 1\n\ndn: cn=a\n", "ldif"),
        ("x.txt", b"\xef\xbb\xbfBEGIN:VCARD\r\n", "vcard"),
        ("people.csv", b"name,home,smtp\n", "csv"),
        ("people", b"name;smtp\n", "csv"),
        ("r.csv", '#TYPE X\n"DisplayName","EmailAddresses"\n'.encode("utf-16"), "exchange"),
        ("u.csv", b"DN,objectClass,proxyAddresses\n", "exchange"),
        ("c.csv", b"Name,ExternalEmailAddress\n", "exchange"),
        ("users.csv", b"First Name [Required],Last Name [Required],Email Address [Required]\n", "google"),
        ("users.csv", b"userPrincipalName,displayName,mail\n", "entra"),
        ("users.csv", b"Display name,Proxy addresses,User principal name\n", "entra"),
        ("names.csv", b"FullName,ShortName\n", "domino"),
    ],
)
def test_a_format_is_guessed(path: str, octets: bytes, name: str) -> None:
    found = guess(path, octets)
    assert found is not None
    assert found.name == name


def test_nothing_is_guessed_of_nothing() -> None:
    assert guess("x.bin", b"\x00\x01") is None


@pytest.mark.parametrize("name", DIRECTORIES)
def test_options_are_checked(name: str) -> None:
    with pytest.raises(OptionError, match=f"the format {name} takes no option 'colour'"):
        by_name(name).read(b"", {"colour": "red"}, NETWORKS)
    with pytest.raises(OptionError, match="there is no encoding 'rot13'"):
        by_name(name).read(b"x", {"encoding": "rot13"}, NETWORKS)
    write = by_name(name).write
    if write is not None:
        with pytest.raises(OptionError, match="takes no option"):
            write([], {"colour": "red"}, NETWORKS)


@pytest.mark.parametrize("name", DIRECTORIES)
@given(text=nasty, octets=st.binary(max_size=60), encoding=st.sampled_from([None, "latin-1", "utf-7", "idna"]))
def test_anything_is_read_without_a_fault(name: str, text: str, octets: bytes, encoding: str | None) -> None:
    options = {} if encoding is None else {"encoding": encoding}
    made = (HEADS[name] + text).encode("utf-8", "surrogatepass")
    for each in (octets, made, HEADS[name].encode() + octets, made.replace(b"\n", b"\r\n")):
        reading = FORMATS[name].read(each, options, NETWORKS)
        assert all(problem.line >= 1 for problem in reading.problems)


def test_problems_are_bounded() -> None:
    octets = b"DisplayName,EmailAddresses\n" + b"x,SMTP:a..b@c\n" * 20_000
    reading = FORMATS["exchange"].read(octets, {}, NETWORKS)
    assert reading.entries == []
    assert len(reading.problems) == 1000
    assert reading.problems[-1].message == "and 19001 more problems from here on"


# -- csv with columns of any names


def test_columns_are_named_by_options() -> None:
    octets = (
        "Pers.-Nr;Vorname;Nachname;E-Mail;Zweite;Abteilung;Büro\n"
        "17;Ann;Lee;ann@acme.example;al@acme.example;Sales;7\n"
        "18;Bob;Ray;bob@acme.example;;;\n"
    ).encode("cp1252")
    reading = FORMATS["csv"].read(
        octets,
        {
            "name": "Vorname|Nachname",
            "smtp": "E-Mail|Zweite",
            "ref": "pers.-nr",
            "attribute.department": "Abteilung",
            "encoding": "cp1252",
        },
        NETWORKS,
    )
    assert reading.problems == []
    assert reading.notes == ["these columns were ignored: Büro"]
    assert [entry.identity for entry in reading.entries] == [
        Identity(
            "Ann Lee",
            addresses(parse("smtp:ann@acme.example"), parse("smtp:al@acme.example")),
            attributes=(("department", "Sales"), ("ref", "17")),
        ),
        Identity("Bob Ray", addresses(parse("smtp:bob@acme.example")), attributes=(("ref", "18"),)),
    ]


def test_a_mistake_names_the_column_of_the_file() -> None:
    reading = FORMATS["csv"].read(b"N,Mail\nBob,bob\n", {"name": "N", "smtp": "Mail"}, NETWORKS)
    assert str(reading.problems[0]).startswith("line 2, column Mail: 'bob': write mailbox@domain")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"smtp": "Mail"}, "name is needed too"),
        ({"name": " | "}, "the option name names a column of the file"),
        ({"whole": "perhaps"}, "the option whole is yes or no"),
    ],
)
def test_options_that_say_nothing_are_refused(options: dict[str, str], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        FORMATS["csv"].read(b"N,Mail\n", options, NETWORKS)


def test_a_column_that_is_not_there_is_named() -> None:
    reading = FORMATS["csv"].read(b"N,Mail\nBob,b@a.example\n", {"name": "Name", "smtp": "Mail"}, NETWORKS)
    assert reading.entries == []
    assert str(reading.problems[0]) == "line 1, column Name: there is no such column for name; there are: N, Mail"


def test_a_file_may_state_its_people_whole() -> None:
    reading = FORMATS["csv"].read(b"name,home,smtp\nBob,,b@a.example\n", {"whole": "yes"}, NETWORKS)
    assert reading.states == {"name", "home", "smtp"}


# -- google, entra, domino


def test_google_users_are_read() -> None:
    reading = FORMATS["google"].read(
        b"First Name [Required],Last Name [Required],Email Address [Required],Status [READ ONLY],Recovery Email,"
        b"Work Secondary Email,Work Phone,Employee ID\n"
        b"Ann,Lee,ann@acme.example,Active,ann@home.example,al@acme.example,+358 5 55 1234,17\n"
        b"Bob,Ray,bob,Active,,,,\n",
        {},
        NETWORKS,
    )
    assert [(e.line, e.identity) for e in reading.entries] == [
        (
            2,
            Identity(
                "Ann Lee",
                addresses(parse("smtp:ann@acme.example"), parse("tel:+3585551234"), parse("smtp:al@acme.example")),
                attributes=(("first", "Ann"), ("last", "Lee"), ("ref", "17"), ("status", "Active")),
            ),
        )
    ]
    assert [str(p)[:50] for p in reading.problems] == ["line 3, column Email Address: 'bob': write mailbox"]
    assert reading.notes == ["Google keeps aliases and groups in files of their own; import them too"]


def test_entra_users_are_read() -> None:
    reading = FORMATS["entra"].read(
        b"userPrincipalName,displayName,surname,mail,givenName,objectId,userType,telephoneNumber,mobile\n"
        b"ann@acme.onmicrosoft.example,Ann Lee,Lee,ann@acme.example,Ann,0A-1,Member,ext. 12,\n"
        b"bob_far.example#EXT#@acme.example,Bob Ray,,bob@far.example,,0A-2,Guest,,\n"
        b"nobody@acme.example,No Mail,,,,0A-3,Member,,\n",
        {},
        NETWORKS,
    )
    assert reading.problems == []
    ann, bob = (entry.identity for entry in reading.entries)
    assert ann == Identity(
        "Ann Lee",
        addresses(parse("smtp:ann@acme.example")),
        attributes=(
            ("first", "Ann"),
            ("last", "Lee"),
            ("ref", "0A-1"),
            ("tel", "ext. 12"),
            ("upn", "ann@acme.onmicrosoft.example"),
        ),
    )
    assert (bob.kind, bob.primary("smtp")) == (Kind.CONTACT, parse("smtp:bob@far.example"))
    assert "an entry without an address was left aside" in reading.notes


def test_microsoft_365_users_are_read() -> None:
    reading = FORMATS["entra"].read(
        b"Display name,First name,Last name,Object Id,Proxy addresses,User principal name\n"
        b"Ann Lee,Ann,Lee,17,smtp:a.lee+x@acme.example+SMTP:ann@acme.example+SPO:SPO_1@SPO_2,ann@acme.example\n",
        {},
        NETWORKS,
    )
    assert reading.problems == []
    who = reading.entries[0].identity
    assert who.addresses == addresses(parse("smtp:ann@acme.example"), parse("smtp:a.lee+x@acme.example"))
    assert who.attribute("proxy") == "SPO:SPO_1@SPO_2"


def test_a_name_to_sign_in_with_is_an_address_where_there_is_no_other_column() -> None:
    reading = FORMATS["entra"].read(b"User principal name,Display name\nann@acme.example,Ann\n", {}, NETWORKS)
    assert reading.entries[0].identity.primary("smtp") == parse("smtp:ann@acme.example")


def test_domino_people_and_groups_are_read() -> None:
    reading = FORMATS["domino"].read(
        b"Name,ShortName,InternetAddress,MailDomain,MailFile,ListName,Members\n"
        b'"CN=Ann Lee/OU=Sales/O=Acme;Ann Lee",alee,ann@acme.example,AcmeNet,mail\\alee,,\n'
        b'"CN=Bob Ray/O=Acme",bray,bob@acme.example,,,,\n'
        b',,all@acme.example,,,All,"CN=Ann Lee/OU=Sales/O=Acme;bob@acme.example"\n',
        {"fullname": "Name"},
        NETWORKS,
    )
    assert reading.problems == []
    ann, bob, group = (entry.identity for entry in reading.entries)
    assert ann.name == "Ann Lee"
    assert ann.primary("notes") == parse("notes:CN=Ann Lee/OU=Sales/O=Acme@AcmeNet")
    assert ann.attribute("mail_file") == "mail\\alee"
    assert bob.primary("notes") == parse("notes:CN=Bob Ray/O=Acme")
    assert (group.kind, group.name, group.primary("notes")) == (Kind.GROUP, "All", parse("notes:All"))
    assert group.members == (parse("notes:CN=Ann Lee/OU=Sales/O=Acme"), parse("smtp:bob@acme.example"))


def test_rows_that_claim_one_address_are_reported_and_none_is_taken() -> None:
    reading = FORMATS["google"].read(
        b"First Name,Last Name,Email Address,Org Unit Path\nA,A,x@a.example,/\nB,B,X@a.example,/\nC,C,c@a.example,/\n",
        {},
        NETWORKS,
    )
    assert [entry.identity.name for entry in reading.entries] == ["C C"]
    assert [p.line for p in reading.problems] == [2, 3]


def test_a_number_of_several_people_is_an_attribute_of_each() -> None:
    octets = (
        b"First Name,Last Name,Email Address,Org Unit Path,Work Phone\n"
        b"A,A,a@a.example,/,+358555123\nB,B,b@a.example,/,+358 555 123\nC,C,c@a.example,/,+358555124\n"
    )
    reading = FORMATS["google"].read(octets, {}, NETWORKS)
    assert reading.problems == []
    assert [entry.identity.primary("tel") for entry in reading.entries] == [None, None, parse("tel:+358555124")]
    assert [entry.identity.attribute("tel") for entry in reading.entries] == ["+358555123", "+358555123", None]
    without = FORMATS["google"].read(octets, {"phones": "no"}, NETWORKS)
    assert not any(list(entry.identity.of("tel")) for entry in without.entries)


def test_the_form_of_identities_carries_no_rules() -> None:
    write = FORMATS["csv"].write
    assert write is not None
    written = write([Identity("Bob", addresses(parse("smtp:bob@far.example")))], {}, NETWORKS)
    assert (written.octets, shown(written)) == (b"name,home,kind,smtp\nBob,,person,bob@far.example\n", [])
