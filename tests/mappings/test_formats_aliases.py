"""/etc/aliases: what is read does what Postfix's local delivery does, and what is written `postalias` takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.formats import OptionError, Reading, Written, by_name
from mappings.formats.lines import alias_and_value
from mappings.identity import Held, Identity, Kind, Role
from mappings.network import parse, registry
from mappings.networks.smtp import quote
from mappings.rule import Rule
from tests.mappings.maps import Lookup, Tool, ends, table_of

HERE = {"origin": "acme.example", "destinations": "alt.example"}

ALIASES = """\
# the usual ones
MAILER-DAEMON: postmaster
postmaster: root
root:   ann.lee@far.example
al:     ann
ann:    ann.lee@far.example
team:   al, bob, carl@far.example,
        "odd one"@far.example
everybody: team, dora
owner-team: ann
"two words": bob
self:   self
tag+x:  tagx
dup:    first
dup:    second
"""


def read(text: str, options: dict[str, str] | None = None) -> Reading:
    return by_name("aliases").read(text.encode(), HERE if options is None else options, registry())


def written(identities: Sequence[Identity], rules: Sequence[Rule] = (), **options: str) -> Written:
    write = by_name("aliases").write
    assert write is not None
    return write(identities, options or HERE, registry(), rules)


def identity(primary: str, *others: str) -> Identity:
    held = (Held(parse(f"smtp:{primary}"), Role.PRIMARY), *(Held(parse(f"smtp:{o}"), Role.ALIAS) for o in others))
    return Identity(primary, held)


def group(primary: str, *members: str, owner: str | None = None, others: Sequence[str] = ()) -> Identity:
    one = identity(primary, *others)
    found = tuple(parse(f"smtp:{member}") for member in members)
    return Identity(
        primary, one.addresses, Kind.GROUP, members=found, owner=None if owner is None else parse(f"smtp:{owner}")
    )


def test_every_name_goes_where_the_look_ups_of_postalias_lead(tmp_path: Path) -> None:
    tool = Tool(tmp_path, ALIASES.encode(), "postalias")
    rows = {f"{key}": value.replace('"odd one"@far.example', "odd@far.example") for key, value in tool.rows().items()}
    # local(8) looks names up alone, so that each is known in all domains of the host
    lookup = Lookup(rows, "acme.example", ["alt.example"])
    table = table_of(read(ALIASES.replace('"odd one"@', "odd@")))
    for name in ("mailer-daemon", "postmaster", "root", "al", "ann", "team", "everybody", "owner-team", "tag+x", "dup"):
        for domain in ("acme.example", "alt.example"):
            assert ends(table, f"{name}@{domain}") == lookup.ends(f"{name}@{domain}"), name
    assert lookup.ends("postmaster@acme.example") == {"ann.lee@far.example"}
    assert tool.query("two words") == "bob"
    assert ends(table, '"two words"@acme.example') == {"bob@acme.example"}


def test_sub_addresses_are_kept_as_with_propagation() -> None:
    table = table_of(read(ALIASES))
    assert ends(table, "al+t@acme.example") == {"ann.lee+t@far.example"}
    assert ends(table, "tag+x@acme.example") == {"tagx@acme.example"}


def test_aliases_make_groups_with_owners() -> None:
    entries = {entry.identity.name: entry for entry in read(ALIASES).entries}
    team = entries["team"]
    assert team.line == 7
    assert team.identity.kind is Kind.GROUP
    assert team.identity.owner == parse("smtp:ann@acme.example")
    assert [h.address.value for h in team.identity.addresses] == ["team@acme.example", "team@alt.example"]
    assert [m.value for m in team.identity.members] == [
        "al@acme.example",
        "bob@acme.example",
        "carl@far.example",
        '"odd one"@far.example',
    ]
    ann = entries["ann.lee@far.example"].identity
    assert len(ann.addresses) == 1 + 2 * len(["MAILER-DAEMON", "postmaster", "root", "al", "ann", "owner-team"])


@pytest.mark.parametrize("text", ["ann: ann, bob", "ann: \\ann, bob"])
def test_who_keeps_the_mail_and_copies_it_has_it_forwarded(text: str) -> None:
    reading = read(f"{text}\n")
    (ann,) = (entry.identity for entry in reading.entries)
    assert (reading.problems, ann.attribute("mail.forward")) == ([], "smtp:ann@acme.example;smtp:bob@acme.example")
    write = by_name("aliases").write
    assert write is not None
    assert b"ann: ann@acme.example, bob@acme.example\n" in write([ann], HERE, registry()).octets


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('ann: "|/usr/bin/vacation ann"', "line 1, column value: the command '|/usr/bin/vacation ann' is not run here"),
        ("ann: |/bin/cat", "line 1, column value: the command '|/bin/cat' is not run here"),
        ("ann: /var/mail/ann", "line 1, column value: the file '/var/mail/ann' gets no mail from here"),
        ("ann: :include:/etc/list", "line 1, column value: the list ':include:/etc/list' is in a file of its own"),
        ('ann: ":INCLUDE:/etc/list"', "line 1, column value: the list ':INCLUDE:/etc/list' is in a file of its own"),
        ("ann:", "line 1, column value: 'ann' has no address after it"),
        ("ann bob", "line 1: 'ann bob' is no row of aliases; a row is name: address"),
        (": bob", "line 1: ': bob' is no row of aliases"),
        ('"ann bob', "line 1: '\"ann bob' is no row of aliases"),
        ("ann@acme.example: bob", "line 1, column key: 'ann@acme.example' has a domain, and so is never looked up"),
        ("ann: a..b@x.example", "line 1, column value: 'a..b@x.example': a dot at the start or end of the mailbox"),
        ("ann: bob\nbob: ann", "line 1, column value: smtp:ann@acme.example is forwarded in a ring"),
    ],
)
def test_a_row_that_cannot_be_taken_is_a_problem(text: str, problem: str) -> None:
    reading = read(f"{text}\nlast: good@far.example\n")
    assert str(reading.problems[0]).startswith(problem)
    assert "good@far.example" in {entry.identity.name for entry in reading.entries}


def test_addresses_beside_a_command_are_taken() -> None:
    reading = read('ann: "|/bin/cat", ann.lee@far.example, bob@far.example\n')
    [entry] = reading.entries
    assert [m.value for m in entry.identity.members] == ["ann.lee@far.example", "bob@far.example"]
    assert len(reading.problems) == 1


def test_a_host_needs_its_domain() -> None:
    with pytest.raises(OptionError, match="say in the option origin"):
        read("ann: bob@far.example", {})


def test_what_is_written_postalias_takes_and_answers_alike(tmp_path: Path) -> None:
    people = [
        identity("ann.lee@far.example", "ann@acme.example", "al@alt.example", "ann@elsewhere.example"),
        identity("bob@acme.example", "robert@acme.example"),
        identity('"odd name"@acme.example', '"a:b"@acme.example', '"q\\"uo"@acme.example', '"#h"@acme.example'),
        group("team@acme.example", "ann@acme.example", "carl@far.example", owner="bob@acme.example",
              others=["all@acme.example"]),
    ]  # fmt: skip
    made = written(people)
    assert [str(problem) for problem in made.problems] == [
        "line 10, column smtp: 1 addresses outside acme.example, alt.example have no place in aliases"
    ]
    tool = Tool(tmp_path, made.octets, "postalias")
    assert tool.warnings == ""
    assert tool.query("ann") == "ann.lee@far.example"
    assert tool.query("al") == "ann.lee@far.example"
    assert tool.query("robert") == "bob@acme.example"
    assert tool.query("team") == "ann@acme.example, carl@far.example"
    assert tool.query("owner-team") == "bob@acme.example"
    assert tool.query("all") == "team@acme.example"
    for name in ("a:b", 'q"uo', "#h"):
        assert tool.query(name) == '"odd name"@acme.example'
    again = {e.identity.addresses[0].address.value: e.identity for e in read(made.octets.decode()).entries}
    assert again["team@acme.example"].members == people[3].members
    assert again["team@acme.example"].owner == people[3].owner
    assert ends(table_of(read(made.octets.decode())), "al@acme.example") == {"ann.lee@far.example"}


def test_no_address_is_written_that_would_be_run() -> None:
    people = [
        identity('"|rm -r"@far.example', "one@acme.example"),
        identity("/etc/passwd@far.example", "two@acme.example"),
        identity('":include:/x"@far.example', "three@acme.example"),
        identity("|x@far.example", "four@acme.example"),
    ]
    made = written(people)
    assert made.octets == b""
    assert ["would be run or opened as a file" in str(problem) for problem in made.problems] == [True] * 4


def test_a_name_of_two_domains_is_a_problem() -> None:
    people = [identity("ann@acme.example", "al@acme.example"), identity("other@far.example", "al@alt.example")]
    made = written(people, [Rule("smtp:{x}@a.example", "smtp:{x}@b.example")])
    assert made.octets == b""
    assert [str(problem).partition(": ")[2][:30] for problem in made.problems] == [
        "al is a name of several identi",
        "al is a name of several identi",
        "the rule smtp:{x}@a.example <-",
    ]


@given(st.lists(st.tuples(st.text("abc :#\"\\'(", min_size=1, max_size=6), st.sampled_from("xyz")), max_size=5))
def test_written_names_are_read_again(names: list[tuple[str, str]]) -> None:
    people = []
    seen = set()
    for name, target in names:
        address = parse(f"smtp:{quote(name)}@acme.example")
        if address.key not in seen:
            seen.add(address.key)
            people.append(identity(f"{target}{len(seen)}@far.example", address.value))
    made = written(people, origin="acme.example")
    assert not made.problems
    again = read(made.octets.decode(), {"origin": "acme.example"})
    assert not again.problems
    assert {e.identity.addresses for e in again.entries} == {one.addresses for one in people}


def test_the_name_of_a_row() -> None:
    assert alias_and_value("ann : bob") == ("ann", "bob")
    assert alias_and_value('"a\\"b: c" : d') == ('a"b: c', "d")
    assert alias_and_value('"" : d') is None
    assert alias_and_value("nothing") is None
