"""CSV of identities: what is read, what each mistake says and where, and that nothing is lost on the way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.address import Address
from mappings.identity import Held, Identity, Kind, Role, Stage, addresses
from mappings.interchange import MAX_PROBLEMS, read_csv, write_csv
from mappings.network import parse
from tests.mappings import people
from tests.mappings.company import ANN, PEOPLE
from tests.mappings.strategies import any_address, nasty

ANN_ROW = (
    "Ann Lee,oldmhs,person,ann.lee@merged.example;ann@acme.example;former:al@acme.example,ann@sales;former:alee@old"
)


def test_a_row_becomes_an_identity() -> None:
    found, problems = read_csv(f"name,home,kind,smtp,mhs\n{ANN_ROW}\n")
    assert problems == []
    assert found[0].name == ANN.name
    assert found[0].home == "oldmhs"
    assert set(found[0].addresses) == set(ANN.addresses)
    assert found[0].primary("smtp") == parse("smtp:ann.lee@merged.example")


@pytest.mark.parametrize(
    "source",
    [
        "\ufeffname,home,kind,smtp\r\nBob,,,bob@far.example\r\n",
        "name;smtp\nBob;bob@far.example\n",
        "name\tsmtp\nBob\tbob@far.example",
        '#TYPE Selected.User\n"Name","SMTP"\n"Bob","SMTP:bob@far.example"\n',
        "\n\nname,smtp,kind\n\nBob , smtp: bob@far.example ; \n,,\n",
        "name,smtp\nBob,bob@far.example\n".encode("utf-16"),
        "\ufeffname,smtp\nBob,bob@far.example\n".encode(),
    ],
)
def test_what_other_programs_write_is_read(source: str | bytes) -> None:
    found, problems = read_csv(source)
    assert problems == []
    assert found == [Identity("Bob", addresses(parse("smtp:bob@far.example")))]


def test_an_escaped_separator_is_part_of_the_address() -> None:
    found, problems = read_csv('name,smtp\nBob,"""b\\;ob""@far.example;bob@far.example"\n')
    assert problems == []
    assert [h.address.value for h in found[0].addresses] == ['"b;ob"@far.example', "bob@far.example"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1: the file is empty"),
        ("home,smtp\n", "line 1: there is no column name"),
        (
            "name,smpt\nBob,x\n",
            "line 1, column smpt: no such column, and no such network is installed; did you mean smtp?",
        ),
        ("name,smtp,smtp\n", "line 1, column smtp: the column stands twice"),
        ("name,smtp\n,bob@far.example\n", "line 2, column name: a name is needed"),
        ("name,smtp\nBob,\n", "line 2: the row has no address"),
        ("name,smtp\nBob,former:bob@far.example\n", "line 2: the row has former addresses only"),
        ("name,smtp\nBob,b..b@far.example\n", "line 2, column smtp: 'b..b@far.example': a dot at the start"),
        ("name,mhs\nBob,bob\n", "line 2, column mhs: 'bob': write user@workgroup [mhs.no-workgroup]"),
        (
            "name,smtp,kind\nBob,b@far.example,robot\n",
            "line 2, column kind: 'robot' is no kind; there are: person, group",
        ),
        ("name,smtp\nBob,b@far.example;B@far.example\n", "line 2, column smtp: smtp:B@far.example stands twice"),
        ("name,smtp\nBob,b@far.example,more\n", "line 2: the row has 3 fields, the header 2"),
        ('name,smtp\nBob,"b@far.example\n', "line 2: not CSV: a quote is opened and not closed"),
        ('name,smtp\n"Bo\nb",b@far.example\nX,x\n', "line 4, column smtp: 'x': write mailbox@domain"),
        ("name,smtp\nBob," + "b@far.example;" * 2000, "line 2, column smtp: 28000 characters"),
        (b"name,smtp\nB\xf6b,b@far.example\n", "line 1: the file is neither UTF-8 nor UTF-16"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str | bytes, says: str) -> None:
    found, problems = read_csv(text)
    assert found == [] or "\n" in found[0].name
    assert any(str(problem).startswith(says) for problem in problems), [str(p) for p in problems]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name,smtp,stage\nBob,b@far.example,gone\n", "line 2, column stage: 'gone' is no stage; there are: before,"),
        ("name,smtp,expand\nBob,b@far.example,maybe\n", "line 2, column expand: write yes or no"),
        ("name,smtp,members\nBob,b@far.example,smtp:a@far.example\n", "line 2, column members: a group alone has"),
        (
            "name,kind,smtp,members\nBob,group,b@far.example,a@far.example\n",
            "line 2, column members: 'a@far.example': w",
        ),
        (
            "name,kind,smtp,owner\nBob,group,b@far.example,smtp:a@far.example;smtp:c@far.example\n",
            "line 2, column owner: a group has one owner",
        ),
        ("name,smtp,attributes\nBob,b@far.example,Sales\n", "line 2, column attributes: 'Sales' is no attribute"),
        (
            "name,smtp\nBob,until 2026-13-01: b@far.example\n",
            "line 2, column smtp: 'until 2026-13-01: b@far.example': ",
        ),
        (
            "name,smtp\nBob,b@far.example;until 2026-07-01: B@far.example\n",
            "line 2, column smtp: smtp:B@far.example st",
        ),
        ("name,other\nBob,bob\n", "line 2, column other: 'bob': write the network in front"),
    ],
)
def test_a_mistake_in_what_few_have_is_told_with_its_place(text: str, says: str) -> None:
    found, problems = read_csv(text)
    assert found == []
    assert any(str(problem).startswith(says) for problem in problems), [str(p) for p in problems]


def test_an_open_quote_costs_its_row_and_no_other() -> None:
    found, problems = read_csv('name,smtp\n"A,a@far.example\nB,b@far.example\n"C"x,c@far.example\nD,d@far.example\n')
    assert [who.name for who in found] == ["B", "D"]
    assert [(p.line, p.message.partition(":")[0]) for p in problems] == [(2, "not CSV"), (4, "not CSV")]


def test_a_file_of_open_quotes_is_given_up() -> None:
    _, problems = read_csv("name,smtp\n" + '"A,\n' * 5000)
    assert problems[-1].message.endswith("nothing is read from here on")
    assert len(problems) < MAX_PROBLEMS


def test_times_and_roles_stand_before_an_address() -> None:
    found, problems = read_csv(
        "name,smtp\nBob,until 2026-07-01: b@old.example;primary since 2026-07-01: b@new.example;alias: x@new.example;"
        "former since 2026-07-01T00:00:00.5Z until @1782864001.25: b@older.example\n"
    )
    july = 1_782_864_000.0
    assert problems == []
    assert found[0].addresses == (
        Held(parse("smtp:b@old.example"), Role.PRIMARY, None, july),
        Held(parse("smtp:b@new.example"), Role.PRIMARY, july),
        Held(parse("smtp:x@new.example"), Role.ALIAS),
        Held(parse("smtp:b@older.example"), Role.FORMER, july + 0.5, july + 1.25),
    )


def test_an_address_may_be_held_by_one_after_the_other() -> None:
    found, problems = read_csv("name,smtp\nA,until 2026-07-01: x@a.example\nB,since 2026-07-01: x@a.example\n")
    assert problems == []
    assert len(found) == 2


def test_all_that_an_identity_has_is_read() -> None:
    found, problems = read_csv(
        "name,home,kind,smtp,stage,copy_home,members,owner,expand,other,attributes\n"
        "All,new,group,all@a.example,coexisting,old,smtp:b@a.example;mhs:ann@sales,smtp:boss@a.example,no,"
        "pigeon:loft 7;pigeon:loft 8,ref=7\\;8; note = a\\\\b \n"
    )
    assert problems == []
    assert found[0] == Identity(
        "All",
        addresses(parse("smtp:all@a.example"), parse("pigeon:loft 7"), parse("pigeon:loft 8")),
        Kind.GROUP,
        "new",
        Stage.COEXISTING,
        "old",
        (("note", "a\\b"), ("ref", "7;8")),
        (parse("smtp:b@a.example"), parse("mhs:ann@sales")),
        parse("smtp:boss@a.example"),
        False,
    )


def test_what_cannot_be_read_back_is_refused() -> None:
    with pytest.raises(ValueError, match="line 2, column other: pigeon:loft"):
        write_csv([Identity("Bob", addresses(parse("smtp:bob@far.example"), parse("pigeon:loft\\")))])


@given(st.lists(people.identities(), max_size=3, unique_by=lambda who: frozenset(h.address for h in who.addresses)))
def test_nothing_is_lost_on_the_way(whole: list[Identity]) -> None:
    try:
        text = write_csv(whole, networks=people.NETWORKS)
    except ValueError:
        return
    found, problems = read_csv(text, networks=people.NETWORKS)
    claimed = [held.address for who in whole for held in who.addresses]
    if len(set(claimed)) == len(claimed):
        assert problems == []
        assert all(people.same(one, other) for one, other in zip(whole, found, strict=True))
        assert write_csv(found, networks=people.NETWORKS) == text


def test_a_bad_row_leaves_the_others() -> None:
    found, problems = read_csv("name,smtp\nA,a@far.example\nB,b\nC,c@far.example\n")
    assert [who.name for who in found] == ["A", "C"]
    assert [p.line for p in problems] == [3]


def test_rows_that_claim_one_address_are_reported_and_none_is_applied() -> None:
    found, problems = read_csv(
        "name,smtp,mhs\nA,a@far.example;x@far.example,\nB,b@far.example,b@hq\nC,X@FAR.example,\nD,d@far.example,former:B@HQ\n"
    )
    assert found == []
    assert [(p.line, p.column) for p in problems] == [(2, "smtp"), (3, "mhs"), (4, "smtp"), (5, "mhs")]
    assert "claimed by line 4 (C) too; none of these rows is applied" in problems[0].message


def test_problems_are_bounded() -> None:
    found, problems = read_csv("name,smtp\n" + "A,x\n" * (MAX_PROBLEMS + 50))
    assert found == []
    assert len(problems) == MAX_PROBLEMS
    assert "51 more problems" in problems[-1].message


def test_a_file_is_written_and_read_back() -> None:
    text = write_csv(PEOPLE)
    assert text.splitlines()[0] == "name,home,kind,smtp,mhs"
    found, problems = read_csv(text)
    assert problems == []
    assert [(who.name, who.home, who.kind) for who in found] == [(who.name, who.home, who.kind) for who in PEOPLE]
    assert [set(who.addresses) for who in found] == [set(who.addresses) for who in PEOPLE]
    assert write_csv(found) == text


NAMES = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp", "Cn", "Cf", "Co", "Zs"]), min_size=1, max_size=10
)


@given(NAMES, st.lists(any_address, min_size=1, max_size=4, unique=True), st.sampled_from(Kind))
def test_what_is_written_is_read_back(name: str, held: list[Address], kind: Kind) -> None:
    who = Identity(name, addresses(held[0], former=tuple(held[1:])), kind)
    text = write_csv([who])
    found, problems = read_csv(text)
    assert problems == []
    assert (found[0].name, found[0].kind) == (name, kind)
    assert set(found[0].addresses) == set(who.addresses)
    assert found[0].addresses[0].role is Role.PRIMARY


@given(nasty, st.binary(max_size=60))
def test_anything_is_read_without_a_fault(text: str, octets: bytes) -> None:
    read_csv(text)
    read_csv("name,home,kind,smtp,mhs\n" + text)
    read_csv(octets)


def test_an_address_that_all_rows_claim_is_refused_in_little_time() -> None:
    found, problems = read_csv("name,smtp\n" + "A,a@far.example\n" * 5000)
    assert found == []
    assert problems[0].message == "smtp:a@far.example is claimed by 5000 rows; none of them is applied"
