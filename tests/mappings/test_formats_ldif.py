"""LDIF: how records are taken apart, what entries say, and that what is written is read back."""

from __future__ import annotations

import ast
import base64
import re
import textwrap
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.address import Address, AddressError
from mappings.formats import OptionError, Reading, Written
from mappings.formats.ldif import Ldif, records
from mappings.identity import Held, Identity, Kind, Role, addresses
from mappings.tabular import Problems
from tests.mappings import people
from tests.mappings.corpus import corpus
from tests.mappings.people import NETWORKS, parse, same, shown

LDIF = Ldif()
ANN = """version: 1
dn: CN=Ann Lee,OU=HQ,DC=acme,DC=example
objectClass: user
mail: ann@acme.example
proxyAddresses: SMTP:ann@acme.example
proxyAddresses: smtp:al@acme.example
displayName:: w4RubiBMZWU=
legacyExchangeDN: /o=Acme/ou=HQ/cn=ann

"""


def read(text: str | bytes, **options: str) -> Reading:
    return LDIF.read(text if isinstance(text, bytes) else text.encode(), options, NETWORKS)


def entry(*lines: str) -> Identity:
    """Return the identity of an entry of these lines."""
    reading = read("\n".join(("dn: cn=x,o=y", *lines)))
    assert [str(problem) for problem in reading.problems] == []
    return reading.entries[0].identity


def roles(who: Identity) -> dict[str, str]:
    return {str(held.address): held.role.value for held in who.addresses}


def test_an_entry_is_read() -> None:
    reading = read(ANN)
    assert reading.problems == []
    assert reading.entries[0].line == 1
    assert reading.entries[0].identity == Identity(
        "Änn Lee",
        addresses(parse("smtp:ann@acme.example"), parse("x500:/o=Acme/ou=HQ/cn=ann"), parse("smtp:al@acme.example")),
        attributes=(
            ("dn", "CN=Ann Lee,OU=HQ,DC=acme,DC=example"),
            ("ref", "CN=Ann Lee,OU=HQ,DC=acme,DC=example"),
        ),
    )


@pytest.mark.parametrize(
    "octets",
    [
        ANN.replace("\n", "\r\n").encode(),
        ANN.encode("utf-8-sig"),
        ANN.encode("utf-16"),
        ANN.replace("HQ,DC", "HQ\n ,DC").replace("ann@acme", "ann\n \n @acme").encode(),
        ("# a comment\n  that is folded\n" + ANN.replace("\nmail", "\n# another\n  one\nmail")).encode(),
        ANN.replace("version: 1\n", "\n\n").replace(": ", ":").encode(),
        ANN.replace("displayName", "displayName;lang-en").replace("objectClass", "OBJECTCLASS").encode(),
    ],
)
def test_the_same_is_read_however_it_is_written(octets: bytes) -> None:
    reading = read(octets)
    assert reading.problems == []
    assert [each.identity for each in reading.entries] == [each.identity for each in read(ANN).entries]


FIRST_A = {"smtp:a@b.example": "primary", "smtp:c@b.example": "alias"}


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["mail: a@b.example", "mailAlternateAddress: c@b.example"], FIRST_A),
        (["mailLocalAddress: a@b.example", "mailRoutingAddress: x@hub.example"], {"smtp:a@b.example": "primary"}),
        (["mailRoutingAddress: x@hub.example"], {"smtp:x@hub.example": "primary"}),
        (["mail: c@b.example", "proxyAddresses: SMTP:a@b.example"], FIRST_A),
        (["mail: a@b.example", "targetAddress: SMTP:a@b.example"], {"smtp:a@b.example": "primary"}),
        (["textEncodedORAddress: C=us;S=Lee"], {"x400:C=us;S=Lee": "primary"}),
        (["telephoneNumber: +358 5 55 1234", "mobile: +358 5 551234"], {"tel:+3585551234": "primary"}),
        (["facsimileTelephoneNumber: +358 5 55 1235"], {"fax:+3585551235": "primary"}),
        (["msRTCSIP-PrimaryUserAddress: ann@a.example"], {"sip:ann@a.example": "primary"}),
        (["proxyAddresses: Ann [MHS:ann@sales]"], {"mhs:ann@sales": "primary"}),
    ],
)  # fmt: skip
def test_the_addresses_of_an_entry(lines: list[str], found: dict[str, str]) -> None:
    assert roles(entry(*lines)) == found


def test_where_mail_is_sent_on_to_is_kept() -> None:
    who = entry("mail: a@b.example", "targetAddress: SMTP:a@hub.example")
    assert who.attribute("forward") == "smtp:a@hub.example"


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("objectClass: inetOrgPerson", Kind.PERSON),
        ("objectClass: contact", Kind.CONTACT),
        ("objectClass: GroupOfNames", Kind.GROUP),
        ("objectClass: nisMailAlias", Kind.GROUP),
        ("objectClass: room", Kind.ROOM),
        ("msExchRecipientDisplayType: 7", Kind.ROOM),
        ("msExchRecipientDisplayType: 8", Kind.DEVICE),
    ],
)
def test_what_an_entry_is(line: str, kind: Kind) -> None:
    assert entry("mail: a@b.example", line).kind is kind


def test_the_number_of_an_entry_is_its_reference() -> None:
    octets = base64.b64encode(bytes.fromhex("cdab23016745ab89cdef0123456789ab")).decode()
    assert entry("mail: a@b.example", "entryUUID: 0A-1").attribute("ref") == "0A-1"
    who = entry("mail: a@b.example", f"objectGUID:: {octets}")
    assert who.attribute("ref") == "0123abcd-4567-89ab-cdef-0123456789ab"


def test_a_group_names_its_members_by_their_entries() -> None:
    reading = read(
        ANN + "dn: cn=All,o=acme\nobjectClass: group\nmail: all@acme.example\n"
        "member: cn=ann lee, ou=hq, dc=acme, dc=example\nmember: cn=Gone,o=acme\n"
        "rfc822MailMember: bob@far.example\nrfc822MailMember: [MHS:max@hq]\nrfc822MailMember: nobody\n"
        "mgrpErrorsTo: mailto:boss@acme.example\n"
    )
    group = reading.entries[1].identity
    assert group.members == (parse("smtp:bob@far.example"), parse("mhs:max@hq"), parse("smtp:ann@acme.example"))
    assert group.owner == parse("smtp:boss@acme.example")
    assert group.attribute("member") == "cn=Gone,o=acme"
    assert [str(p) for p in reading.problems] == [
        "line 10, column rfc822mailmember: 'nobody': write mailbox@domain [smtp.no-domain]; the member is left out"
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("dn: cn=x\nmail:< file:///etc/passwd\n", "line 2, column mail: a value by URL is not fetched"),
        ("dn: cn=x\nmail:: ???\n", "line 2, column mail: the value is not base64"),
        ("dn: cn=x\nmail\n", "line 2: 'mail' is no line of LDIF"),
        ("mail: a@b.example\n", "line 1, column mail: a record begins with its name"),
        ("version: 2\ndn: cn=x\n", "line 1, column version: this version of LDIF is not known"),
        ("dn: cn=x\nchangetype: add\nmail: a@b.example\n", "line 2, column changetype: a record of a change; export"),
        (b"dn: cn=\xe9\nmail: a@b.example\n", "line 1, column dn: the name is not UTF-8"),
        (b"dn: cn=x\nmail: a@b.example\ncn: \xe9\n", "line 1, column cn: '\\\\xe9' is not UTF-8"),
        (b"\xff\xfe\x00", "line 1: the file says it is UTF-16 and is not"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(text: str | bytes, says: str) -> None:
    made = text if isinstance(text, bytes) else text.encode()
    reading = read(made if made.startswith(b"\xff") else made + b"\ndn: cn=y\nmail: y@b.example\n")
    assert str(reading.problems[0]).startswith(says)
    if not made.startswith(b"\xff"):
        assert reading.entries[-1].identity.primary("smtp") == parse("smtp:y@b.example")


def test_additions_are_read_where_that_is_asked_for() -> None:
    text = (
        "dn: cn=x\ncontrol: 1.2 true\nchangetype: add\nmail: a@b.example\n\n"
        "dn: cn=y\nchangetype: modify\nreplace: mail\nmail: b@b.example\n-\n"
    )
    reading = read(text, changes="add")
    assert [each.identity.primary("smtp") for each in reading.entries] == [parse("smtp:a@b.example")]
    assert "'modify' says no whole entry" in str(reading.problems[0])
    with pytest.raises(OptionError, match="the option changes is add"):
        read("", changes="all")


def test_values_that_are_not_utf_8_are_read_by_their_code_page() -> None:
    octets = "dn: cn=Käthe\nmail: k@b.example\ncn: Käthe\n".encode("cp1252")
    assert read(octets, encoding="cp1252").entries[0].identity.name == "Käthe"


def test_entries_without_addresses_are_left_aside() -> None:
    reading = read("dn: ou=hq\nou: hq\n\ndn: ou=far\nou: far\n")
    assert (reading.entries, reading.problems) == ([], [])
    assert reading.notes == ["an entry without an address was left aside (2 times)"]


@pytest.mark.parametrize("name", ["subschema-ipa.demo1.freeipa.org.ldif", "subschema-openldap-all.ldif"])
def test_the_schemas_of_the_corpus_are_read(name: str) -> None:
    octets = (corpus("python-ldap") / "Tests" / "data" / name).read_bytes()
    problems = Problems()
    (record,) = records(octets, problems, changes=False)
    assert not problems
    assert record.dn == "cn=Subschema" or record.dn == "cn=schema"
    folded = octets.replace(b"\n ", b"")
    wanted = [line for line in folded.splitlines() if re.match(rb"(?!dn:|version:|#)[^:]+:", line)]
    assert len(record.values) == len(wanted)
    assert all(b"\n" not in value for _, value in record.values)


def test_the_vectors_of_the_corpus_are_read() -> None:
    """Those of python-ldap's tests that are plain literals: a text, and the records that it holds."""
    tree = ast.parse((corpus("python-ldap") / "Tests" / "t_ldif.py").read_text())
    (entries,) = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == "TestEntryRecords")
    read = 0
    for call in ast.walk(entries):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute) or call.keywords:
            continue
        try:
            text, expected = (ast.literal_eval(argument) for argument in call.args)
        except ValueError:
            continue
        problems = Problems()
        made = textwrap.dedent(text).lstrip().encode()
        found = [(r.dn, grouped(r.values)) for r in records(made, problems, changes=False)]
        assert found == [(dn, {name: list(values) for name, values in entry.items()}) for dn, entry in expected]
        assert not problems
        read += 1
    assert read >= 10


def grouped(values: list[tuple[str, bytes]]) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    for name, value in values:
        found.setdefault(name, []).append(value)
    return found


# -- writing


def write(*identities: Identity, **options: str) -> Written:
    return LDIF.write(identities, options, NETWORKS)


def test_entries_are_written() -> None:
    ann = Identity(
        "Ann, Lee",
        addresses(parse("smtp:ann@acme.example"), parse("mhs:ann@sales"), parse("tel:+3585551234"), former=()),
        attributes=(("first", "Änn"), ("source", "x")),
    )
    group = Identity(
        "All",
        addresses(parse("smtp:all@acme.example")),
        Kind.GROUP,
        members=(parse("smtp:ann@acme.example"), parse("smtp:bob@far.example"), parse("mhs:max@hq")),
        owner=parse("smtp:boss@acme.example"),
    )
    written = write(ann, group, base="ou=people,o=acme")
    assert written.problems == []
    assert written.octets.decode() == textwrap.dedent(
        """\
        version: 1

        dn: cn=Ann\\, Lee,ou=people,o=acme
        objectClass: top
        objectClass: person
        objectClass: organizationalPerson
        objectClass: user
        cn: Ann, Lee
        displayName: Ann, Lee
        givenName:: w4Rubg==
        mail: ann@acme.example
        proxyAddresses: SMTP:ann@acme.example
        proxyAddresses: MHS:ann@sales
        telephoneNumber: +3585551234

        dn: cn=All,ou=people,o=acme
        objectClass: top
        objectClass: group
        cn: All
        displayName: All
        mail: all@acme.example
        proxyAddresses: SMTP:all@acme.example
        member: cn=Ann\\, Lee,ou=people,o=acme
        rfc822MailMember: bob@far.example
        rfc822MailMember: MHS:max@hq
        mgrpErrorsTo: mailto:boss@acme.example
        """
    )


def test_lines_are_folded_and_names_are_told_apart() -> None:
    long = Identity("A" * 200, addresses(parse("smtp:a@b.example")))
    written = write(
        long, Identity("A" * 200, addresses(parse("smtp:b@b.example"))), Identity("A" * 200, (long.addresses))
    )
    assert max(len(line) for line in written.octets.splitlines()) == 76
    names = [line for line in written.octets.replace(b"\n ", b"").splitlines() if line.startswith(b"dn:")]
    assert len(set(names)) == 3


def test_what_is_not_carried_is_told() -> None:
    who = Identity("A", addresses(parse("smtp:a@b.example"), former=(parse("smtp:o@b.example"),)), home="old")
    assert shown(write(who)) == [
        "line 3, column home: is not carried by this form",
        "line 3, column proxyAddresses: a former address is written as an alias, since the form has no former ones",
    ]


FACTS = st.dictionaries(
    st.sampled_from(["first", "last", "company", "department", "title", "alias", "upn", "uid", "forward"]), people.text
).map(lambda facts: tuple(sorted((n, f"smtp:{v}@far.example" if n == "forward" else v) for n, v in facts.items())))


@given(
    people.text,
    people.held(timed=False, former=False),
    st.sampled_from(Kind),
    FACTS,
    st.lists(people.address, max_size=3, unique=True),
    st.one_of(st.none(), people.address),
)
def test_what_is_written_is_read_back(
    name: str,
    held: tuple[Held, ...],
    kind: Kind,
    facts: tuple[tuple[str, str], ...],
    members: list[Address],
    owner: Address | None,
) -> None:
    is_group = kind is Kind.GROUP
    facts = tuple(pair for pair in facts if pair[0] != "forward" or readable(pair[1], held))
    who = Identity(name, held, kind, attributes=facts, members=tuple(members) if is_group else ())
    who = replace(who, owner=owner if is_group else None)
    written = write(who)
    reading = read(written.octets)
    assert written.problems == []
    assert reading.problems == []
    found = reading.entries[0].identity
    assert set(found.members) == set(who.members)
    kept = tuple(pair for pair in found.attributes if pair[0] not in ("ref", "dn"))
    assert same(replace(found, attributes=kept, members=who.members), who)


def readable(forward: str, held: tuple[Held, ...]) -> bool:
    """Tell whether mail can be sent on to an address: one of smtp, beside another one."""
    try:
        address = parse(forward)
    except AddressError:
        return False
    smtp = [h.address for h in held if h.address.network == "smtp"]
    return bool(smtp) and address not in smtp and str(address) == forward


def test_a_former_address_stays_an_address() -> None:
    who = Identity("A", (Held(parse("smtp:a@b.example"), Role.PRIMARY), Held(parse("smtp:o@b.example"), Role.FORMER)))
    assert roles(read(write(who).octets).entries[0].identity) == {
        "smtp:a@b.example": "primary",
        "smtp:o@b.example": "alias",
    }
