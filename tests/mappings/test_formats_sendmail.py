"""sendmail's tables. The answers it is held to are those of sendmail 8.17.1 in its address test mode (`-bt`).

They were taken with `3,0 ADDRESS` for virtusertable and mailertable, and `/tryflags HS` with `/try esmtp ADDRESS` for
genericstable, on a host acme.example with VIRTUSER_DOMAIN(foo.org old.example), GENERICS_DOMAIN(acme.example
host.local). It cannot be installed beside Postfix, so that no test runs it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence

import pytest

from mappings.address import Address
from mappings.formats import Reading, Written, by_name
from mappings.identity import Held, Identity, Kind, Role
from mappings.network import parse, registry
from mappings.resolution import Direction
from mappings.rule import Rule, Way, compile_rule
from tests.mappings.maps import ends, table_of

HERE = {"origin": "acme.example"}

VIRTUSERTABLE = """\
# comment
info@foo.org\tfoo-info
old+*@foo.org\tnew+%2@example.com
gen++@foo.org\t%2@example.com
tag@foo.org\ttagged%3@example.com
keep@foo.org\tkept@example.com
one@foo.org\ttwo@foo.org
two@foo.org\tthree@far.example
user@foo.org\t%1@example.com
@old.example\t%1%3@merged.example
@foo.org\t%1@merged.example
@x.example\tX%1@far.example
@catch.example\tall@far.example
"""


def read(name: str, text: str, **options: str) -> Reading:
    return by_name(name).read(text.encode(), HERE | options, registry())


def written(name: str, identities: Sequence[Identity], rules: Sequence[Rule] = ()) -> Written:
    write = by_name(name).write
    assert write is not None
    return write(identities, {}, registry(), rules)


def identity(primary: str, *others: str) -> Identity:
    held = (Held(parse(f"smtp:{primary}"), Role.PRIMARY), *(Held(parse(f"smtp:{o}"), Role.ALIAS) for o in others))
    return Identity(primary, held)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("info@foo.org", "foo-info@acme.example"),
        ("INFO@foo.org", "foo-info@acme.example"),
        ("old@foo.org", "old@merged.example"),
        ("old+a@foo.org", "new+a@example.com"),
        ("gen+a@foo.org", "a@example.com"),
        ("tag+t@foo.org", "tagged+t@example.com"),
        ("tag@foo.org", "tagged@example.com"),
        ("one@foo.org", "three@far.example"),
        ("user@foo.org", "user@example.com"),
        ("other@foo.org", "other@merged.example"),
        ("ann@old.example", "ann@merged.example"),
        ("ann+t@old.example", "ann+t@merged.example"),
        ("ann@x.example", "Xann@far.example"),
        ("any@catch.example", "all@far.example"),
        ("any+t@catch.example", "all@far.example"),
        ("ann@elsewhere.example", "ann@elsewhere.example"),
    ],
)
def test_virtusertable_resolves_as_sendmail_does(address: str, expected: str) -> None:
    assert ends(table_of(read("virtusertable", VIRTUSERTABLE)), address) == {expected}


@pytest.mark.parametrize(
    ("address", "sendmail", "expected"),
    [
        ("info+x@foo.org", "foo-info@acme.example", "foo-info+x@acme.example"),
        ("keep+z@foo.org", "kept@example.com", "kept+z@example.com"),
        ("other+t@foo.org", "other@merged.example", "other+t@merged.example"),
        ("ann+t@x.example", "Xann@far.example", "Xann+t@far.example"),
    ],
)
def test_a_detail_is_kept_by_design(address: str, sendmail: str, expected: str) -> None:
    assert ends(table_of(read("virtusertable", VIRTUSERTABLE)), address) == {expected} != {sendmail}


def test_rows_for_details_are_rules_in_the_order_of_their_right() -> None:
    reading = read("virtusertable", "+*@foo.org\tps-%1-%2@far.example\n++@foo.org\tpp-%1-%2@far.example\n"
                   "old+*@foo.org\told%3@far.example\n@foo.org\tall@far.example\n")  # fmt: skip
    assert not reading.problems or all("in force" in str(problem) for problem in reading.problems)
    assert [str(rule) for rule in reading.rules] == [
        "smtp:old+{detail}@foo.org -> smtp:old+{detail}@far.example",
        "smtp:{user}+{detail}@foo.org -> smtp:pp-{user}-{detail}@far.example",
        "smtp:{local}@foo.org -> smtp:all@far.example",
    ]
    table = table_of(reading)
    assert ends(table, "q+y@foo.org") == {"pp-q-y@far.example"}  # as sendmail, which tries ++ before +*


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("joe@foo.org\terror:nouser 550 No such user", "line 1, column value: mail for 'joe@foo.org' is refused ('e"),
        ("jax@foo.org\terror:5.7.0:550 Address invalid", "line 1, column value: mail for 'jax@foo.org' is refused"),
        ("@foo.org\terror:nouser User unknown", "line 1, column value: mail for '@foo.org' is refused"),
        ("joe\tann@x.example", "line 1, column key: 'joe' is never looked up; a key is user@domain or @domain"),
        ("joe@foo.org", "line 1, column value: 'joe@foo.org' has no value"),
        ("  joe@foo.org ann@x.example", "line 1: the line begins with a blank"),
        ("m@foo.org\tx@far.example, y@far.example", "line 1, column value: 'x@far.example, y@far.example': "),
        ("a@foo.org\ta%2@far.example", "line 1, column value: 'a@foo.org' 'a%2@far.example': the table has no rule"),
        ("@foo.org\t%2@far.example", "line 1, column value: '@foo.org' '%2@far.example': the table has no rule"),
        ("o+*@foo.org\t%0@far.example", "line 1, column value: 'o+*@foo.org' '%0@far.example': the table has no rule"),
        ("o+*@foo.org\tn+%2@far.example\no@foo.org\tb@far.example", "line 1, column key: smtp:o@foo.org has a row too"),
        ("o+*@foo.org\tn@far.example\no++@foo.org\tb@far.example", "line 1, column key: line 2 is for the same detail"),
        ("a@foo.org\tb@foo.org\nb@foo.org\ta@foo.org", "line 1, column value: smtp:a@foo.org is forwarded in a ring"),
        ("a b@foo.org", "line 1, column key: 'a' is never looked up"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_taken_is_a_problem(text: str, problem: str) -> None:
    reading = read("virtusertable", f"{text}\nlast@foo.org good@far.example\n")
    assert str(reading.problems[0]).startswith(problem)
    assert "good@far.example" in {entry.identity.name for entry in reading.entries}


def test_a_user_of_the_host_needs_the_origin() -> None:
    reading = by_name("virtusertable").read(b"a@foo.org\tann\n@foo.org\tX%1\no+*@foo.org\tx%2\n", {}, registry())
    assert [str(problem).partition(": ")[2] for problem in reading.problems] == [
        "'ann' is a user of the host; say its domain in the option origin",
        "'X%1' is of the host; say its domain in the option origin",
        "'x%2' is of the host; say its domain in the option origin",
    ]


GENERICSTABLE = """\
ann\tann.lee@acme.example
bob@host.local\tbob@acme.example
tag+*@host.local\ttag-%1@acme.example
@host.local\t%1@merged.example
carl\tcarl.c@acme.example
"""


def shown(reading: Reading, address: str) -> Address:
    """Return how an address is shown to the world: by its identity, else by the first rule that does."""
    start = parse(f"smtp:{address}")
    found = table_of(reading).translate(start, "smtp", Direction.OUTWARD).address
    if found != start:
        return found
    rules = (compile_rule(rule, number) for number, rule in enumerate(reading.rules))
    return next((made for rule in rules if (made := rule.backward(start)) is not None), start)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("ann@acme.example", "ann.lee@acme.example"),
        ("ann+t@acme.example", "ann.lee@acme.example"),
        ("bob@host.local", "bob@acme.example"),
        ("bob+q@host.local", "bob@acme.example"),
        ("tag+x@host.local", "tag-x@acme.example"),
        ("tag@host.local", "tag@merged.example"),
        ("zed@host.local", "zed@merged.example"),
        ("zed+t@host.local", "zed+t@merged.example"),
        ("carl@host.local", "carl@merged.example"),
        ("carl@acme.example", "carl.c@acme.example"),
        ("carl+z@host.local", "carl+z@merged.example"),
        ("nobody@acme.example", "nobody@acme.example"),
    ],
)
def test_genericstable_shows_as_sendmail_does(address: str, expected: str) -> None:
    reading = read("genericstable", GENERICSTABLE, destinations="host.local")
    assert not reading.problems
    assert shown(reading, address) == parse(f"smtp:{expected}")


def test_genericstable_is_looked_up_once() -> None:
    reading = read("genericstable", "a@host.local\tb@host.local\nb@host.local\tc@far.example\nd\te@x.example, f\n")
    assert [problem.line for problem in reading.problems] == [1, 3]
    assert [entry.line for entry in reading.entries] == [2]


def test_mailertable_makes_routes_and_rules() -> None:
    text = """\
.uucp-dom.example\tuucp-dom:host
acme.example\tsmtp:[mx.acme.example]
other.example\tesmtp:mail.other.example
gone.example\terror:5.1.1:550 gone away
.sub.example\tsmtp:%1.relay.example
user.example\tlocal:ann
.users.example\tlocal:ann
one.example\tsmtp:bob@hub.example
trash.example\tdiscard:
nothing\tnowhere
.\tsmtp:hub.example
"""
    reading = read("mailertable", text, homes="smtp:[mx.acme.example]=exchange esmtp:=internet smtp:=internet")
    assert [tomllib.loads(note.partition("\n")[2])["route"][0] for note in reading.notes] == [
        {"match": "smtp:*@acme.example", "to": "exchange"},
        {"match": "smtp:*@other.example", "to": "internet", "next_hop": "mail.other.example"},
        {"match": "smtp:*@one.example", "to": "internet", "next_hop": "hub.example"},
        {"match": "smtp:*@*.uucp-dom.example", "to": "CONNECTOR"},
        {"match": "smtp:*", "to": "internet", "next_hop": "hub.example"},
    ]
    assert [str(rule) for rule in reading.rules] == ["smtp:{local}@user.example -> smtp:ann@acme.example"]
    assert [problem.line for problem in reading.problems] == [4, 5, 7, 8, 9, 10]
    assert by_name("mailertable").write is None


def test_written_tables_are_read_again() -> None:
    people = [identity("ann.lee@merged.example", "ann@acme.example"), identity("bob@far.example", "bob@acme.example")]
    inward = [Rule("smtp:{x}@gone.example", "smtp:{x}@merged.example", Way.INWARD)]
    made = written("virtusertable", people, inward)
    assert made.octets.decode() == (
        "@gone.example\t%1%3@merged.example\n"
        "ann@acme.example\tann.lee@merged.example\nbob@acme.example\tbob@far.example\n"
    )
    assert not made.problems
    again = read("virtusertable", made.octets.decode())
    assert [e.identity.addresses for e in again.entries] == [one.addresses for one in people]
    assert [str(rule) for rule in again.rules] == ["smtp:{local}@gone.example -> smtp:{local}@merged.example"]
    outward = [Rule("smtp:{x}@merged.example", "smtp:{x}@host.local", Way.OUTWARD)]
    made = written("genericstable", people, outward)
    assert not made.problems
    again = read("genericstable", made.octets.decode())
    assert [e.identity.addresses for e in again.entries] == [one.addresses for one in people]
    assert [str(rule) for rule in again.rules] == ["smtp:{local}@merged.example <- smtp:{local}@host.local"]


def test_what_a_table_cannot_hold_is_a_problem() -> None:
    group = Identity(
        "g", (Held(parse("smtp:g@x.example"), Role.PRIMARY),), Kind.GROUP, members=(parse("smtp:a@x.example"),)
    )
    odd = identity('"a b"@x.example', "c@x.example")
    details = identity("d@far.example", "d+*@x.example")
    rules = [
        Rule("smtp:{x}@x.example", "smtp:all@far.example", Way.INWARD),
        Rule("smtp:{x}@x.example", "smtp:{x}@y.example", Way.OUTWARD),
    ]
    made = written("virtusertable", [group, odd, details], rules)
    assert made.octets == b"@x.example\tall@far.example\n"
    assert [str(problem).partition(": ")[2][:33] for problem in made.problems] == [
        "the rule smtp:{x}@x.example <- sm",
        "the members of 'g' have no place ",
        "g@x.example would be taken by the",
        '"a b"@x.example would be taken by',
        'c@x.example or "a b"@x.example ha',
        "d+*@x.example would be taken for ",
    ]
