"""Postfix's maps: what they are read as does what Postfix does, and what is written Postfix takes."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mappings.address import Address
from mappings.checks import check_identities
from mappings.formats import FORMATS, OptionError, Reading, Writer, by_name
from mappings.formats.lines import addresses_in, key_and_value, logical_lines, parts_of
from mappings.identity import Held, Identity, Kind, Role
from mappings.network import parse, registry
from mappings.resolution import Direction
from mappings.rule import Rule, Way, compile_rule
from mappings.tabular import Problems
from tests.mappings.maps import Lookup, Tool, ends, table_of
from tests.mappings.strategies import smtp
from tests.peers.postfix import Postfix
from tests.peers.process import wait_until
from tests.peers.raw import send
from tests.peers.sink import Sink

HERE = {"origin": "acme.example", "destinations": "acme.example, alt.example"}

VIRTUAL = """\
# one row of each kind
Ann@old.example  ann@acme.example, bob@acme.example
al@old.example   ann.lee@far.example
chain@old.example al@old.example
@cat.example     one@far.example
@old.example     @new.example
local            bob@far.example
local@alt.example carl@far.example
tag+x@old.example tagx@far.example
tag@old.example   tagged@far.example
todom@old.example @dom.example
bare@old.example  bareuser
ext@old.example   extt+own@far.example
two@two.example   t1@far.example
   t2@far.example
ph@old.example    Ann Lee <phrase@far.example>, (a comment) c@far.example
q@old.example     "quoted one"@far.example
"sp ace"@old.example space@far.example
viacat@old.example   x@cat.example
UPPER@old.example    upper@far.example
ltag+x            lt@far.example
ltag@acme.example ltfull@far.example
nested@old.example two@two.example, al@old.example
stays@old.example stays@old.example
dup@old.example   first@far.example
dup@old.example   second@far.example
"""

WHAT_POSTFIX_DOES = [
    ("ann@old.example", ["ann@acme.example", "bob@acme.example"]),
    ("AL@Old.example", ["ann.lee@far.example"]),
    ("al+t@old.example", ["ann.lee+t@far.example"]),
    ("chain@old.example", ["ann.lee@far.example"]),
    ("chain+t@old.example", ["ann.lee+t@far.example"]),
    ("any@cat.example", ["one@far.example"]),
    ("any+t@cat.example", ["one@far.example"]),
    ("who@old.example", ["who@new.example"]),
    ("who+t@old.example", ["who+t@new.example"]),
    ("local@acme.example", ["bob@far.example"]),
    ("local+t@acme.example", ["bob+t@far.example"]),
    ("local@alt.example", ["carl@far.example"]),
    ("local@far.example", ["local@far.example"]),
    ("tag+x@old.example", ["tagx@far.example"]),
    ("tag+y@old.example", ["tagged+y@far.example"]),
    ("tag@old.example", ["tagged@far.example"]),
    ("todom@old.example", ["todom@dom.example"]),
    ("todom+t@old.example", ["todom+t@dom.example"]),
    ("bare@old.example", ["bareuser@acme.example"]),
    ("two@two.example", ["t1@far.example", "t2@far.example"]),
    ("ph@old.example", ["c@far.example", "phrase@far.example"]),
    ("q@old.example", ['"quoted one"@far.example']),
    ('"sp ace"@old.example', ["space@far.example"]),
    ("viacat@old.example", ["one@far.example"]),
    ("upper@old.example", ["upper@far.example"]),
    ("ltag+x@acme.example", ["ltfull+x@far.example"]),
    ("ltag+x@alt.example", ["lt@far.example"]),
    ("nested@old.example", ["ann.lee@far.example", "t1@far.example", "t2@far.example"]),
    ("stays@old.example", ["stays@old.example"]),
    ("dup@old.example", ["first@far.example"]),
]
OURS_BY_DESIGN = [
    ("ext+t@old.example", ["extt+own+t@far.example"], ["extt+own@far.example"]),
    ("viacat+t@old.example", ["one@far.example"], ["one+t@far.example"]),
    ("ann+t@old.example", ["ann+t@acme.example", "bob+t@acme.example"], ["ann@acme.example", "bob@acme.example"]),
    ('"in quotes"@old.example', ['"in quotes"@new.example'], ['"in quotes"@old.example']),
]


def read(name: str, text: str, options: dict[str, str] | None = None) -> Reading:
    return by_name(name).read(text.encode(), HERE if options is None else options, registry())


def writer(name: str) -> Writer:
    write = by_name(name).write
    assert write is not None
    return write


def write(name: str, identities: Sequence[Identity], rules: Sequence[Rule] = (), **options: str) -> str:
    return writer(name)(identities, options, registry(), rules).octets.decode()


def said(reading: Reading) -> list[str]:
    return [str(problem) for problem in reading.problems]


def person(primary: str, *others: str, former: Sequence[str] = (), home: str | None = None) -> Identity:
    held = (
        Held(parse(f"smtp:{primary}"), Role.PRIMARY),
        *(Held(parse(f"smtp:{each}"), Role.ALIAS) for each in others),
        *(Held(parse(f"smtp:{each}"), Role.FORMER) for each in former),
    )
    return Identity(primary, held, home=home)


@pytest.mark.parametrize(("address", "expected"), WHAT_POSTFIX_DOES)
def test_virtual_resolves_as_postfix_does(address: str, expected: list[str]) -> None:
    assert sorted(ends(table_of(read("postfix-virtual", VIRTUAL)), address)) == expected


@pytest.mark.parametrize(("address", "postfix", "expected"), OURS_BY_DESIGN)
def test_where_virtual_differs_by_design(address: str, postfix: list[str], expected: list[str]) -> None:
    assert sorted(ends(table_of(read("postfix-virtual", VIRTUAL)), address)) == expected != postfix


def test_a_real_postfix_does_what_the_table_says(tmp_path: Path) -> None:
    rows = [*WHAT_POSTFIX_DOES, *((address, postfix) for address, postfix, _ in OURS_BY_DESIGN)]
    with Sink(tmp_path) as sink:
        settings = {
            "myorigin": HERE["origin"],
            "mydestination": HERE["destinations"],
            "local_transport": f"smtp:[127.0.0.1]:{sink.port}",
            "local_recipient_maps": "",
            "recipient_delimiter": "+",
            "virtual_alias_maps": "hash:${config_directory}/maps/map",
        }
        postfix = Postfix(next_hop=sink.port, settings=settings)
        Tool(postfix.folder / "etc" / "maps", VIRTUAL.encode())
        with postfix:
            for number, (address, _) in enumerate(rows):
                content = f"Message-Id: <{number}@x.example>\r\n\r\nhi\r\n".encode()
                assert send(postfix.port, "ann@source.example", [address], content).code == 250
            wait_until(postfix.is_empty, 60, "Postfix has sent all")
        got: dict[int, list[str]] = {}
        for taken in sink.taken():
            got.setdefault(int(taken.id.partition("@")[0]), []).extend(taken.recipients)
    assert [(address, sorted(got[number])) for number, (address, _) in enumerate(rows)] == rows


def test_the_look_ups_of_postmap_come_to_the_same(tmp_path: Path) -> None:
    tool = Tool(tmp_path, VIRTUAL.encode())
    text = Tool(tmp_path / "text", VIRTUAL.encode(), kind="texthash")
    for key in ("ann@old.example", "ANN@old.example", '"sp ace"@old.example', "two@two.example", "dup@old.example"):
        assert tool.query(key) == text.query(key) is not None
    plain = {key: value for key, value in tool.rows().items() if not set('"<(') & set(value)}
    lookup = Lookup(plain, "acme.example", ["alt.example"])
    for address, expected in WHAT_POSTFIX_DOES:
        if not set('"') & set(address + expected[0]) and not address.startswith("ph@"):
            assert sorted(lookup.ends(address)) == expected


def test_virtual_makes_identities_groups_and_rules() -> None:
    reading = read(
        "postfix-virtual", "# c\nal@old.example ann@new.example\na@old.example al@old.example\n@x.example @y.example\n"
    )
    [entry] = reading.entries
    assert entry.line == 2
    assert entry.identity == Identity(
        "ann@new.example",
        (
            Held(parse("smtp:ann@new.example"), Role.PRIMARY),
            Held(parse("smtp:al@old.example"), Role.ALIAS),
            Held(parse("smtp:a@old.example"), Role.ALIAS),
        ),
        attributes=(("ref", "ann@new.example"),),
    )
    assert reading.rules == [Rule("smtp:{local}@x.example", "smtp:{local}@y.example", Way.INWARD)]
    assert not reading.problems


def test_a_group_has_its_members_and_aliases() -> None:
    reading = read("postfix-virtual", "team@x.example ann@x.example, bob\nall@x.example team@x.example\n")
    [entry] = reading.entries
    assert entry.identity.kind is Kind.GROUP
    assert entry.identity.name == "team"
    assert [(h.address.value, h.role) for h in entry.identity.addresses] == [
        ("team@x.example", Role.PRIMARY),
        ("all@x.example", Role.ALIAS),
    ]
    assert [m.value for m in entry.identity.members] == ["ann@x.example", "bob@acme.example"]


def test_a_catch_all_of_its_own_domain_is_a_rule() -> None:
    [rule] = read("postfix-virtual", "@x.example ann@x.example").rules
    assert rule == Rule("smtp:{local}@x.example", "smtp:ann@x.example", Way.INWARD)
    assert compile_rule(rule, 0).forward(parse("smtp:bob@x.example")) == parse("smtp:ann@x.example")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ann@x.example", "line 1, column value: 'ann@x.example' has no value; a row is: key, blank, value"),
        ("  ann@x.example bob@y.example", "line 1: the line begins with a blank, and there is no line that it could"),
        ("a..b@x.example bob@y.example", "line 1, column key: 'a..b@x.example': a dot at the start or end of the mail"),
        ("\n\na@x.example b..c@y.example", "line 3, column value: 'b..c@y.example': a dot at the start or end of the"),
        ("a@x.example ,,", "line 1, column value: 'a@x.example' has no address after it"),
        ("@x_-.example b@y.example", "line 1, column key: '@x_-.example': not a domain: 'x_-'"),
        ("/^(.*)@x.example$/ ${1}@y.example", "line 1, column key: '/^(.*)@x.example$/' is of a regexp or pcre table"),
        ("if /x/", "line 1, column key: 'if' is of a regexp or pcre table"),
        ("endif", "line 1, column key: 'endif' is of a regexp or pcre table"),
        ("a@x.example b@x.example\nA@x.example c@x.example", "line 2: smtp:A@x.example has a row already, on line 1"),
        ("al b@x.example\nAL c@x.example", "line 2: 'AL' has a row already, on line 1; that one is in force"),
        ("@x.example b@x.example\n@X.example c@x.example", "line 2: @x.example has a row already, on line 1"),
        ("@x.example a@y.example, b@y.example", "line 1: @x.example goes to 2 addresses; make a group of them"),
        ("a@x.example b@x.example\nb@x.example a@x.example", "line 1, column value: smtp:a@x.example is forwarded in"),
        ("a@x.example b@x.example, c@x.example\nb@x.example a@x.example",
         "line 1, column value: smtp:a@x.example has itself among its members"),
        ("@x.example {local}@y.example", "line 1, column value: smtp:{local}@y.example has braces, which a rule"),
        ("a..b c@x.example", "line 1, column key: 'a..b' is no mailbox: a dot at the start or end"),
        ("a@x.example \"open@y.example", "line 1, column value: '\"open@y.example': the quote is not closed"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_taken_is_a_problem(text: str, problem: str) -> None:
    reading = read("postfix-virtual", f"{text}\nlast@x.example good@far.example\n")
    assert reading.problems
    assert str(reading.problems[0]).startswith(problem)
    assert any(entry.identity.name == "good@far.example" for entry in reading.entries), "the rest goes on"


def test_a_bare_user_needs_the_origin() -> None:
    reading = read("postfix-virtual", "al ann@far.example\nbob@x.example bob\nok@x.example ok@far.example\n", {})
    assert said(reading) == [
        "line 1: 'al' is a user of the host; say its domain in the option origin",
        "line 2, column value: 'bob' is a user of the host; say its domain in the option origin",
    ]
    assert [entry.line for entry in reading.entries] == [3]


def test_octets_that_are_no_text_spoil_their_row_alone() -> None:
    octets = b"# caf\xe9\nann@x.example \xe9@y.example\nok@x.example ok@far.example\nam\xe9@x.example b@far.example\n"
    reading = by_name("postfix-virtual").read(octets, HERE, registry())
    assert [problem.line for problem in reading.problems] == [2, 4]
    assert [entry.identity.name for entry in reading.entries] == ["ok@far.example"]
    reading = by_name("postfix-virtual").read(octets, {**HERE, "encoding": "latin-1"}, registry())
    assert not reading.problems
    assert parse("smtp:amé@x.example") in {h.address for e in reading.entries for h in e.identity.addresses}


def test_options_are_checked() -> None:
    with pytest.raises(OptionError, match="takes no option 'orgin'"):
        read("postfix-virtual", "", {"orgin": "x.example"})
    with pytest.raises(OptionError, match="which is no domain"):
        read("postfix-virtual", "", {"origin": "a b"})
    with pytest.raises(OptionError, match=r"there is no encoding 'klingon'"):
        read("postfix-virtual", "", {"encoding": "klingon"})
    with pytest.raises(OptionError, match="write transport:nexthop=connector"):
        read("postfix-transport", "", {"homes": "smtp=x"})


def test_a_declared_domain_is_a_note() -> None:
    reading = read("postfix-virtual", "old.example anything\na@old.example b@far.example\njoe.doe joe@far.example\n")
    assert reading.notes == ["line 1: old.example is declared as a domain of ours; it belongs in [mapping] domains"]
    assert [entry.line for entry in reading.entries] == [2, 3]


def test_canonical_shows_and_translates_both_ways() -> None:
    reading = read("postfix-canonical", "al@old.example ann.lee@far.example\nc@old.example al@old.example\n"
                   "@old.example @new.example\nloc bob@far.example\n")  # fmt: skip
    table = table_of(reading)
    # What a real Postfix makes of both envelope addresses under canonical_maps.
    for old, new in (
        ("al@old.example", "ann.lee@far.example"),
        ("al+t@old.example", "ann.lee+t@far.example"),
        ("c@old.example", "ann.lee@far.example"),
        ("who@old.example", "who@new.example"),
        ("loc@acme.example", "bob@far.example"),
    ):
        assert ends(table, old) == {new}
    for old, new in (("al@old.example", "ann.lee@far.example"), ("c@old.example", "ann.lee@far.example")):
        assert table.translate(parse(f"smtp:{old}"), "smtp", Direction.OUTWARD).address == parse(f"smtp:{new}")
    shown = [
        compile_rule(rule, 0).backward(parse("smtp:who@old.example"))
        for rule in reading.rules
        if rule.way is Way.OUTWARD
    ]
    assert shown == [parse("smtp:who@new.example")]
    reading = read("postfix-canonical", "a@x.example b@x.example, c@x.example\nd@x.example a@x.example")
    assert [problem.line for problem in reading.problems] == [1, 2]
    assert "here it can be one alone" in said(reading)[0]


def test_generic_shows_and_is_not_followed() -> None:
    text = (
        "ann@host.local ann@new.example\n@host.local @hidden.example\nloc bob@new.example\n@cat.local all@new.example\n"
    )
    reading = read("postfix-generic", text)
    table = table_of(reading)
    for old, new in (
        ("ann@host.local", "ann@new.example"),
        ("ann+t@host.local", "ann@new.example"),
        ("loc@acme.example", "bob@new.example"),
        ("loc@alt.example", "bob@new.example"),
    ):
        assert table.translate(parse(f"smtp:{old}"), "smtp", Direction.OUTWARD).address == parse(f"smtp:{new}")
    hidden, everyone = (compile_rule(rule, n) for n, rule in enumerate(reading.rules))
    assert hidden.backward(parse("smtp:who+t@host.local")) == parse("smtp:who+t@hidden.example")
    assert everyone.backward(parse("smtp:cat@cat.local")) == parse("smtp:all@new.example")
    reading = read("postfix-generic", "a@host.local b@host.local\nb@host.local c@far.example\n")
    assert said(reading) == [
        "line 1, column value: smtp:a@host.local becomes smtp:b@host.local, which line 2 makes into another; "
        "name the last one here"
    ]
    assert [entry.line for entry in reading.entries] == [2]


def test_relocated_makes_former_addresses() -> None:
    reading = read(
        "postfix-relocated",
        "old@acme.example new@other.example\nolder@acme.example old@acme.example\nbob +358 5 555\n@gone.example far\n",
    )
    [entry] = reading.entries
    assert [(h.address.value, h.role) for h in entry.identity.addresses] == [
        ("new@other.example", Role.PRIMARY),
        ("old@acme.example", Role.FORMER),
        ("older@acme.example", Role.FORMER),
    ]
    assert [problem.line for problem in reading.problems] == [3, 4]
    assert "5.1.6 and the text '+358 5 555'" in said(reading)[0]
    assert len(reading.notes) == 1


def test_transport_makes_homes_and_routes() -> None:
    text = """\
ann@acme.example    smtp:[mx.acme.example]:25
bob@acme.example    uucp:hub
acme.example        smtp:[mx.acme.example]:25
other.example       smtp:mail.other.example
.uucp.example       uucp:hub
*                   :
gone@x.example      error:5.1.1 gone
x.example           discard:
x.example           smtp:
@y.example          smtp:
bad..x              smtp:
"""
    reading = read("postfix-transport", text, {"homes": "smtp:[mx.acme.example]:25=exchange smtp:=internet"})
    [entry] = reading.entries
    assert (entry.identity.home, entry.identity.addresses[0].address.value) == ("exchange", "ann@acme.example")
    assert said(reading) == [
        "line 2, column value: bob@acme.example has its mailbox behind 'uucp:hub'; "
        "name its connector in the option homes",
        "line 7, column value: 'gone@x.example': mail for it is refused ('5.1.1 gone'); leave it out of the table and "
        "the routes, so that it is unknown",
        "line 8, column value: 'x.example': mail for it is thrown away without a word, which this gateway never does",
        "line 10, column key: '@y.example' is never looked up; a domain's row has no @",
        "line 11, column key: 'bad..x' is no domain: not a domain: two dots in a row [smtp.bad-label]",
    ]
    routes = [tomllib.loads(note.partition("\n")[2])["route"][0] for note in reading.notes]
    assert routes == [
        {"match": "smtp:*@acme.example", "to": "exchange"},
        {"match": "smtp:*@other.example", "to": "internet", "next_hop": "mail.other.example"},
        {"match": "smtp:*@x.example", "to": "internet"},
        {"match": "smtp:*@*.uucp.example", "to": "CONNECTOR"},
        {"match": "smtp:*", "to": "CONNECTOR"},
    ]
    written = write("postfix-transport", [entry.identity], homes="smtp:[mx.acme.example]:25=exchange")
    assert written == "ann@acme.example\tsmtp:[mx.acme.example]:25\n"


PEOPLE = [
    person("ann.lee@merged.example", "ann@acme.example", former=["al@old.example"]),
    person("Bob@merged.example"),
    person('"odd one"@merged.example', '"odd \\" (name)"@acme.example', "/o=x/@acme.example"),
    Identity(
        "team",
        (Held(parse("smtp:team@merged.example"), Role.PRIMARY), Held(parse("smtp:all@acme.example"), Role.ALIAS)),
        Kind.GROUP,
        members=(parse("smtp:ann@acme.example"), parse('smtp:"odd one"@merged.example')),
    ),
]
RULES = [
    Rule("smtp:{local}@acme.example", "smtp:{local}@merged.example", Way.INWARD),
    Rule("smtp:{any}@gone.example", "smtp:ann@merged.example", Way.INWARD),
]


def test_written_virtual_is_taken_by_postmap_and_answers_alike(tmp_path: Path) -> None:
    text = write("postfix-virtual", PEOPLE, RULES)
    tool = Tool(tmp_path, text.encode())
    assert tool.warnings == ""
    assert tool.query("@acme.example") == "@merged.example"
    assert tool.query("@gone.example") == "ann@merged.example"
    assert tool.query("team@merged.example") == 'ann@acme.example, "odd one"@merged.example'
    assert tool.query("/o=x/@acme.example") == '"odd one"@merged.example'
    assert tool.query('"odd \\" (name)"@acme.example') == '"odd one"@merged.example'
    assert tool.query("bob@merged.example") == "Bob@merged.example"
    again = read("postfix-virtual", text, {})
    assert not again.problems
    assert [e.identity.addresses for e in again.entries] != []
    assert {frozenset(h.address for h in e.identity.addresses) for e in again.entries} == {
        frozenset(h.address for h in one.addresses) for one in PEOPLE
    }
    assert [e.identity.members for e in again.entries if e.identity.members] == [PEOPLE[3].members]
    assert len(again.rules) == len(RULES)
    before = table_of(Reading([], RULES))
    assert [str(rule.to) for rule in before.rules()] == [
        str(rule.to) for rule in table_of(Reading([], again.rules)).rules()
    ]


def test_what_a_map_cannot_hold_is_a_problem() -> None:
    timed = Identity("t", (Held(parse("smtp:t@x.example"), Role.PRIMARY, until=9.0),))
    group = Identity(
        "g",
        (Held(parse("smtp:g@x.example"), Role.PRIMARY),),
        Kind.GROUP,
        members=(parse("mhs:ann@sales"), parse("smtp:a@x.example")),
    )
    hash_key = person("a@x.example", "#1@x.example")
    rule = Rule("smtp:{local}@{wg}.mhs.example", "mhs:{local}@{wg}")
    written = writer("postfix-virtual")([timed, group, hash_key], {}, registry(), [rule])
    assert written.octets == b"g@x.example\ta@x.example\na@x.example\ta@x.example\n"
    messages = [str(problem) for problem in written.problems]
    assert [message.partition(": ")[2][:40] for message in messages] == [
        "'t' holds 1 addresses for a time only, w",
        "'g' has members on other networks: mhs:a",
        "'g' has one member alone, and is read ag",
        "#1@x.example begins with a sign that a m",
        "the rule smtp:{local}@{wg}.mhs.example <",
    ]
    canonical = writer("postfix-canonical")([group], {}, registry())
    assert "the members of 'g' have no place in postfix-canonical" in str(canonical.problems[0])
    relocated = writer("postfix-relocated")(PEOPLE, {}, registry(), RULES)
    assert relocated.octets == b"al@old.example\tann.lee@merged.example\n"
    assert len(relocated.problems) == len(RULES)


def test_canonical_and_generic_write_their_rules() -> None:
    reading = read("postfix-canonical", "@old.example @new.example\na@x.example b@x.example\n")
    text = write("postfix-canonical", [e.identity for e in reading.entries], reading.rules)
    assert text == "b@x.example\tb@x.example\na@x.example\tb@x.example\n@old.example\t@new.example\n"
    reading = read("postfix-generic", "@host.local @new.example\n@c.local all@new.example\n")
    assert write("postfix-generic", [], reading.rules) == "@host.local\t@new.example\n@c.local\tall@new.example\n"
    alone = Rule("smtp:{x}@old.example", "smtp:{x}@new.example", Way.INWARD)
    written = writer("postfix-canonical")([], {}, registry(), [alone])
    assert (written.octets, len(written.problems)) == (b"", 1)


# Addresses in few domains, so that rows meet each other: chains, groups in groups, bare users and whole domains.
_names = st.sampled_from(["a", "b", "c", "d", "e", "f"])
_domains = st.sampled_from(["acme.example", "alt.example", "old.example", "new.example"])
_full = st.builds("{}@{}".format, _names, _domains)
_whole = _domains.map("@{}".format)
_keys = st.one_of(_full, _full, _whole, _names, st.builds("{}+t@{}".format, _names, _domains))
_values = st.lists(st.one_of(_full, _full, _names), min_size=1, max_size=3).map(", ".join)
_rows = st.lists(st.tuples(_keys, st.one_of(_values, _whole)), max_size=12)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(_rows)
def test_any_map_without_problems_resolves_as_postfix_does(rows: list[tuple[str, str]]) -> None:
    text = "".join(f"{key}\t{value}\n" for key, value in rows)
    reading = read("postfix-virtual", text)
    if reading.problems or any(_is_its_own(rule) for rule in reading.rules):
        return
    lookup = Lookup({key.lower(): value for key, value in reversed(rows)}, "acme.example", ["alt.example"])
    try:
        table = table_of(reading)
    except ValueError:
        return  # rules that feed each other, which is said when they are loaded
    for name in "abcdef":
        for domain in ("acme.example", "alt.example", "old.example", "new.example"):
            address = f"{name}@{domain}"
            assert ends(table, address) == lookup.ends(address), (text, address)


def _is_its_own(rule: Rule) -> bool:
    """Tell whether a rule's results match it again."""
    return rule.match.rpartition("@")[2] == rule.to.rpartition("@")[2]


@given(st.lists(st.tuples(smtp, smtp), max_size=8, unique_by=lambda pair: pair[0]))
def test_what_is_written_is_read_again(pairs: list[tuple[Address, Address]]) -> None:
    seen: set[Address] = set()
    people = []
    for one, other in pairs:
        if one == other or one in seen or other in seen or {"#", "+", "{"} & set(one.value + other.value):
            continue
        seen |= {one, other}
        people.append(person(one.value, other.value))
    for name in ("postfix-virtual", "postfix-canonical", "postfix-generic"):
        written = writer(name)(people, {}, registry())
        again = by_name(name).read(written.octets, {}, registry())
        if written.problems:
            continue
        assert not again.problems
        assert [e.identity.addresses for e in again.entries] == [one.addresses for one in people]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=st.lists(st.tuples(smtp, smtp), min_size=1, max_size=4))
def test_postmap_finds_whatever_is_written(tmp_path: Path, pairs: list[tuple[Address, Address]]) -> None:
    people = [person(one.value, other.value) for one, other in pairs if one != other]
    written = writer("postfix-virtual")(people, {}, registry())
    tool = Tool(tmp_path, written.octets)
    assert tool.warnings == ""
    if not written.problems:
        for one in people:
            for held in one.addresses:
                assert tool.query(held.address.value) == one.addresses[0].address.value


_octets = st.one_of(
    st.binary(max_size=300),
    st.lists(
        st.sampled_from(
            [b"ann@x.example", b" ", b"\t", b"\n", b",", b"@", b"@x.example", b'"', b"\\", b"(", b")", b"<", b">", b"#",
             b":", b"|", b"/", b"+", b"*", b"\x00", b"\xff\xfe", b"\xe9", b"{", b"}", b"error:", b"if", b"\r", b"%1",
             "bücher.example".encode(), b":include:", b"owner-", b"smtp:", b"[x]"]
        ),
        max_size=40,
    ).map(b"".join),
)  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in FORMATS
        if name.startswith("postfix-") or name in ("aliases", "virtusertable", "genericstable", "mailertable")
    ],
)
@given(_octets)
def test_any_octets_give_entries_and_problems(name: str, octets: bytes) -> None:
    options = {option: HERE[option] for option in by_name(name).options if option in HERE}
    reading = by_name(name).read(octets, options, registry())
    for entry in reading.entries:
        assert entry.identity.name.isprintable()
        str(entry.identity.addresses).encode()
    for rule in reading.rules:
        compile_rule(rule, 0)
    "".join([*said(reading), *reading.notes]).encode()
    assert not check_identities([entry.identity for entry in reading.entries], {"CONNECTOR": "smtp"})
    write = by_name(name).write
    if write is not None:
        write([entry.identity for entry in reading.entries], options, registry(), reading.rules).octets.decode()


def test_time_is_linear_in_the_file() -> None:
    """A ring, a chain, a long list and many open quotes, each of a size at which a slip would take minutes."""
    count = 20_000
    chain = "".join(f"a{n}@x.example a{n + 1}@x.example\n" for n in range(count))
    reading = read("postfix-virtual", chain, {})
    assert not reading.problems
    assert [len(entry.identity.addresses) for entry in reading.entries] == [count + 1]
    listed = "all@x.example " + ", ".join(f"a{n}@x.example" for n in range(count))
    [entry] = read("postfix-virtual", listed, {}).entries
    assert len(entry.identity.members) == count
    for text in ('"' * count, '"\\' * count, "<" * count, "(" * count, '<"' * count, ",(" * count, '"<' * count):
        assert read("postfix-virtual", f"a@x.example {text}", {}).problems
        assert read("aliases", f"a: {text}").problems
        assert read("postfix-virtual", f"{text} a@x.example", {}).problems


def test_the_parts_of_rows() -> None:
    problems = Problems()
    lines = list(logical_lines("a 1\n # c\n\n  b,\n\tc\n#d\ne\r\n", problems))
    assert lines == [(1, "a 1  b,\tc"), (7, "e")]
    assert key_and_value('"a b"@x.example  c') == ('"a b"@x.example', "c")
    assert key_and_value('"a\\" b"@x\tc d') == ('"a\\" b"@x', "c d")
    assert key_and_value('"a b') == ('"a b', "")
    assert parts_of('a, "b,c"@x, (d,e) f, <g,h>') == ["a", '"b,c"@x', "f", "<g,h>"]
    assert addresses_in("Ann Lee <a@x>") == ["a@x"]
    assert addresses_in('a@x "b c"@y') == ["a@x", '"b c"@y']
