"""Plans: who gets which address, what is said of collisions, and that a reviewed sheet does what it says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine
from sqlalchemy.engine import Connection

from mappings import migrations, store
from mappings.checks import check_identities
from mappings.identity import Held, Identity, Kind, Role, addresses
from mappings.network import parse
from mappings.plan import Action, Company, Plan, Policy, PolicyError, Row, companies_of, propose
from mappings.plan_sheet import apply, read, write
from mappings.resolution import Direction
from mappings.store import Put, Remove
from mappings.table import compile_table

POLICY = Policy("merged.example")


def person(name: str, *current: str, former: Iterable[str] = (), kind: Kind = Kind.PERSON, **more: object) -> Identity:
    known = {key: value for key, value in more.items() if key in ("home", "id", "members", "copy_home")}
    facts = tuple(sorted((key, str(value)) for key, value in more.items() if key not in known))
    held = addresses(*map(parse, current), former=tuple(map(parse, former)))
    return Identity(name, held, kind, attributes=facts, **known)  # type: ignore[arg-type]  # passed on as they come


ANN = person("Ann Lee", "smtp:ann@acme.example", "mhs:ann@sales", id=1, source="acme", home="oldmhs")
BOB = person("Bob Ray", "smtp:bob.ray@acme.example", id=2, source="acme")
ANN_TOO = person("Lee, Ann B.", "smtp:a.lee@bolt.example", id=3, source="bolt")
SALES = person(
    "Sales", "smtp:sales@bolt.example", kind=Kind.GROUP, id=4, source="bolt", members=(parse("smtp:a@b.example"),)
)
COMPANIES = [Company("acme", [ANN, BOB]), Company("bolt", [ANN_TOO, SALES])]


def by_key(plan: Plan) -> dict[str, Row]:
    return {row.key: row for row in plan.rows}


def given_to(*people: Identity, policy: Policy = POLICY) -> list[str]:
    """Return the new mailboxes of people of one company, those that stay too."""
    plan = propose([Company("acme", people)], policy)
    found = (identity.primary("smtp") for identity in plan.outcome)
    return ["" if a is None else a.value.removesuffix("@merged.example") for a in found]


def test_a_merger() -> None:
    plan = propose(COMPANIES, POLICY)
    rows = by_key(plan)
    assert [(r.action.value, str(r.new_primary), r.reason) for r in plan.rows] == [
        ("rename", "smtp:ann.lee@merged.example", "{first}.{last}"),
        ("rename", "smtp:bob.ray@merged.example", "{first}.{last}"),
        ("rename", "smtp:ann.b.lee@merged.example", "{first}.{m}.{last}"),
        ("rename", "smtp:sales@merged.example", "{local}"),
    ]
    conflict = rows["bolt 3"].conflict
    assert (
        "ann.lee@merged.example is for 'Ann Lee' of acme; gets ann.b.lee@merged.example by {first}.{m}.{last}"
        in conflict
    )
    assert "perhaps the same as 'Ann Lee' of acme: both are called Ann Lee" in conflict
    assert rows["bolt 3"].join_with == "acme 1"
    (collision,) = plan.collisions
    assert str(collision) == (
        "ann.lee@merged.example is for 'Ann Lee' of acme; 'Lee, Ann B.' of bolt gets ann.b.lee@merged.example"
    )
    ann = plan.outcome[0]
    assert ann.addresses == (
        Held(parse("smtp:ann.lee@merged.example"), Role.PRIMARY),
        Held(parse("smtp:ann@acme.example"), Role.ALIAS),
        Held(parse("mhs:ann@sales"), Role.PRIMARY),
    )
    assert (ann.home, ann.id) == ("oldmhs", 1)
    assert list(plan.conflicts()) == []


def test_old_addresses_become_former_ones_where_the_policy_says_so() -> None:
    plan = propose(COMPANIES, replace(POLICY, old=Role.FORMER))
    assert plan.outcome[1].addresses[1] == Held(parse("smtp:bob.ray@acme.example"), Role.FORMER)


def test_fall_backs() -> None:
    lees = [person("Ann Lee", f"smtp:u{n}@acme.example") for n in range(4)]
    assert given_to(*lees) == ["ann.lee", "alee", "ann.lee2", "ann.lee3"]


@pytest.mark.parametrize(
    ("who", "policy", "mailbox"),
    [
        (person("Ann Lee", "smtp:ann.lee@merged.example"), POLICY, "ann.lee"),
        (person("Ann Lee", "smtp:boss@merged.example"), POLICY, "boss"),  # whoever is there stays
        (person("Ann Lee", "smtp:x@acme.example", "smtp:alee@merged.example"), POLICY, "alee"),
        (person("Ann Lee", "smtp:x@acme.example", "smtp:ann.lee7@merged.example"), POLICY, "ann.lee7"),
        (person("Ann Lee", "smtp:x@acme.example", "smtp:boss@merged.example"), POLICY, "ann.lee"),
        (person("Jörg Müßig", "smtp:x@acme.example"), POLICY, "jorg.mussig"),
        (person("Jörg Müßig", "smtp:x@acme.example"), replace(POLICY, german=True), "joerg.muessig"),
        (person("Jan van der Berg", "smtp:x@acme.example"), POLICY, "jan.vanderberg"),
        (person("shown otherwise", "smtp:x@acme.example", first="Ann Maria", last="O'Neil"), POLICY, "annmaria.oneil"),
        (person("Юрий Щукин", "smtp:x@acme.example"), POLICY, "iurii.shchukin"),
        (person("李", "smtp:li.wei@acme.example"), POLICY, "li.wei"),
        (person("李", "mhs:LI WEI@hq"), POLICY, "liwei"),
        (person("李", "smtp:李@acme.example"), POLICY, "person"),
        (person("Plato", "smtp:p@acme.example"), POLICY, "p"),
        (person("Room 7", "mhs:room7@hq", kind=Kind.ROOM), POLICY, "room7"),
        (person("Al Min", "smtp:admin@acme.example"), replace(POLICY, patterns=("{local}", "{f}{last}{n}")), "amin2"),
        (person("Ann Lee", "smtp:x@acme.example", department="Sales"), POLICY, "ann.lee"),
        (
            person("Ann Lee", "smtp:x@acme.example", department="sales"),
            replace(POLICY, units=(("Sales", "sales.merged.example"),)),
            "ann.lee@sales.merged.example",
        ),
        (
            person("Ann Lee", "smtp:x@acme.example"),
            Policy("other.example", patterns=("{last}.{first}@merged.example", "{last}{n}@merged.example")),
            "lee.ann",
        ),
    ],
)
def test_one_person(who: Identity, policy: Policy, mailbox: str) -> None:
    assert given_to(who, policy=policy) == [mailbox]


def test_what_somebody_has_is_nobody_elses() -> None:
    holder = person("Zoe", "smtp:z@acme.example", "smtp:alee@merged.example", former=["smtp:ann.lee@merged.example"])
    assert given_to(person("Ann Lee", "smtp:x@acme.example"), holder)[0] == "ann.lee2"


def test_who_chooses_first() -> None:
    one, other = person("Ann Lee", "smtp:one@acme.example"), person("Ann Lee", "smtp:other@acme.example")
    assert given_to(one, other) == ["ann.lee", "alee"]
    assert given_to(one, other, policy=replace(POLICY, first=(parse("smtp:other@acme.example"),))) == [
        "alee",
        "ann.lee",
    ]


def test_a_contact_that_stands_for_somebody_is_dropped_and_others_stay() -> None:
    contact = person("Lee Ann (Acme)", "smtp:ann@acme.example", kind=Kind.CONTACT, id=9)
    stranger = person("Supplier", "smtp:s@far.example", kind=Kind.CONTACT)
    plan = propose([Company("bolt", [contact, stranger]), Company("acme", [ANN])], POLICY)
    assert [row.action for row in plan.rows] == [Action.DROP, Action.KEEP, Action.RENAME]
    assert "stands for 'Ann Lee' of acme, who is in the table: both have smtp:ann@acme.example" in plan.rows[0].reason
    assert [i.name for i in plan.outcome] == ["Supplier", "Ann Lee"]


def test_an_address_of_two_goes_to_the_first_and_is_told() -> None:
    one = person("Ann Lee", "smtp:shared@acme.example")
    other = person("Al Dee", "smtp:al@bolt.example", "smtp:shared@acme.example", "mhs:al@hq")
    plan = propose([Company("acme", [one]), Company("bolt", [other])], POLICY)
    assert "smtp:shared@acme.example is 'Ann Lee' of acme's too, who keeps it; join the two" in plan.rows[1].conflict
    assert "perhaps the same as 'Ann Lee' of acme: both have smtp:shared@acme.example" in plan.rows[1].conflict
    assert parse("smtp:shared@acme.example") not in [h.address for h in plan.outcome[1].addresses]
    assert check_identities(plan.outcome, {}) == []
    # who uses it today is stronger than who had it once
    before = person("Ann Lee", "smtp:a@acme.example", former=["smtp:al@bolt.example"])
    plan = propose([Company("acme", [before]), Company("bolt", [other])], POLICY)
    assert "smtp:al@bolt.example is 'Al Dee' of bolt's too" in plan.rows[0].conflict


def test_who_is_unreachable_from_where() -> None:
    plan = propose(COMPANIES, POLICY)
    table = compile_table(
        plan.outcome, [], domains=["merged.example"], homes={"oldmhs": "mhs"}, encapsulation=None, version=1
    )
    (gap,) = plan.unreachable(["mhs", "smtp"], lambda a, n: table.translate(a, n, Direction.OUTWARD).address)
    assert (gap.network, gap.of, gap.count) == ("mhs", "smtp", 3)


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (Policy("merged.example", patterns=("{first}.{last}",)), "runs out of addresses"),
        (Policy("merged.example", patterns=()), "runs out of addresses"),
        (Policy("merged.example", patterns=("{given}{n}",)), "{given} in '{given}{n}' is none of"),
        (Policy("merged.example", patterns=("{first} {last}{n}",)), "makes no mailbox"),
        (Policy("not a domain"), "'not a domain' is no domain for new addresses"),
        (Policy("merged.example", units=(("x", "-"),)), "'-' is no domain"),
        (Policy("merged.example", old=Role.PRIMARY), "becomes an alias or a former one"),
    ],
)
def test_policies_that_name_nobody(policy: Policy, says: str) -> None:
    with pytest.raises(PolicyError) as raised:
        propose(COMPANIES, policy)
    assert says in str(raised.value)


def test_labels() -> None:
    for companies in ([Company("a b", [])], [Company("a", []), Company("A", [])]):
        with pytest.raises(PolicyError, match="cannot label a company"):
            propose(companies, POLICY)
    assert [c.label for c in companies_of([BOB, ANN_TOO, ANN, person("X", "smtp:x@y.example")])] == [
        "acme",
        "bolt",
        "other",
    ]


# -- the sheet


def edited(plan: Plan, **edits: tuple[str, str]) -> bytes:
    """Return a plan's sheet with the cell of one row changed: the beginning of its name -> (column, text)."""
    lines = []
    for row in plan.rows:
        for name, (column, text) in edits.items():
            if not row.name.startswith(name):
                continue
            match column:
                case "action":
                    row = replace(row, action=Action(text))
                case "new primary":
                    row = replace(row, new_primary=parse(text) if text else None)
                case "name":
                    row = replace(row, name=text)
                case "key":
                    row = replace(row, key=text)
        lines.append(row)
    return write(lines).encode()


def test_the_sheet_is_read_back() -> None:
    plan = propose(COMPANIES, POLICY)
    text = write(plan.rows)
    assert text.splitlines()[1] == (
        "rename,Ann Lee,acme,smtp:ann@acme.example; mhs:ann@sales,ann.lee@merged.example,{first}.{last},,,person,acme 1"
    )
    decision, problems = apply(text.encode(), COMPANIES, POLICY)
    assert problems == []
    assert list(decision.changes()) == [Put(identity) for identity in plan.outcome]
    turned = "\n".join([text.splitlines()[0], *reversed(text.splitlines()[1:])])
    assert list(apply(turned.encode(), COMPANIES, POLICY)[0].changes()) == list(decision.changes())


def test_edits_are_done() -> None:
    plan = propose(COMPANIES, POLICY)
    sheet = edited(
        plan, Lee=("action", "join"), Bob=("new primary", "smtp:bobby@merged.example"), Sales=("action", "drop")
    )
    decision, problems = apply(sheet, COMPANIES, POLICY)
    assert problems == []
    ann, bob = (identity for _, identity in decision.made)
    assert [str(h.address) for h in ann.addresses] == [
        "smtp:ann.lee@merged.example", "smtp:ann@acme.example", "mhs:ann@sales", "smtp:a.lee@bolt.example",
    ]  # fmt: skip
    assert [h.role for h in ann.addresses] == [Role.PRIMARY, Role.ALIAS, Role.PRIMARY, Role.ALIAS]
    assert bob.primary("smtp") == parse("smtp:bobby@merged.example")
    assert list(decision.changes()) == [Remove(3), Remove(4), Put(ann), Put(bob)]
    named, _ = apply(edited(plan, Bob=("name", "Robert Ray")), COMPANIES, POLICY)
    assert [identity.name for _, identity in named.made][1] == "Robert Ray"


def test_rows_that_are_left_out_change_nothing() -> None:
    text = write(propose(COMPANIES, POLICY).rows[:1])
    decision, problems = apply(text.encode(), COMPANIES, POLICY)
    assert problems == []
    assert [type(c).__name__ for c in decision.changes()] == ["Put"]


@pytest.mark.parametrize(
    ("edits", "line", "says"),
    [
        (
            {"Bob": ("new primary", "smtp:ann.lee@merged.example")},
            3,
            "ann.lee@merged.example is given to 'Ann Lee' too",
        ),
        ({"Bob": ("new primary", "smtp:sales@bolt.example")}, 3, "sales@bolt.example is 'Sales' of bolt's"),
        ({"Bob": ("new primary", "")}, 3, "there is no new address"),
        ({"Bob": ("action", "keep")}, 3, "a new address is written, and the action is keep; write rename"),
        ({"Bob": ("action", "join")}, 3, "'' names nobody; write another row's key"),
        ({"Lee": ("action", "join"), "Ann": ("action", "drop")}, 4, "is dropped; join it the other way round"),
        ({"Bob": ("key", "acme 1")}, 3, "'acme 1' stands in two rows"),
        ({"Bob": ("key", "acme 77")}, 3, "nobody in the directories has the key"),
        ({"Bob": ("key", "")}, 3, "there is no key"),
    ],
)
def test_mistakes_in_a_sheet(edits: dict[str, tuple[str, str]], line: int, says: str) -> None:
    _, problems = apply(edited(propose(COMPANIES, POLICY), **edits), COMPANIES, POLICY)
    assert [(p.line, says in p.message) for p in problems] == [(line, True)]


def test_joins_that_go_round() -> None:
    rows = list(propose(COMPANIES, POLICY).rows)
    rows[0] = replace(rows[0], action=Action.JOIN, join_with=rows[2].key)
    rows[2] = replace(rows[2], action=Action.JOIN, join_with=rows[0].key)
    _, problems = apply(write(rows).encode(), COMPANIES, POLICY)
    assert len(problems) == 2
    assert all("joined with each other" in p.message for p in problems)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "line 1: the file is empty"),
        (b"\xff\xfe\xff", "line 1: "),
        (b"name,key\nx,y\n", "line 1: there is no column action"),
        (
            b"action,new primary,key\nmove,a@b.example,k\n",
            "line 2, column action: 'move' is no action; there are: keep",
        ),
        (b"action,new primary,key\nrename,a b,k\n", "line 2, column new primary: 'a b': "),
    ],
)
def test_sheets_that_cannot_be_read(text: bytes, says: str) -> None:
    assert says in str(read(text).problems[0])


def test_no_cell_is_a_formula() -> None:
    names = ["=1+1", "'=1", "@x y", "-a b", "+1", "plain", "'quoted'"]
    people = [person(name, f"smtp:u{n}@acme.example", id=n + 1) for n, name in enumerate(names)]
    companies = [Company("acme", people)]
    text = write(propose(companies, POLICY).rows)
    assert not [line for line in text.splitlines() if any(cell[:1] in "=+-@" for cell in line.split(",") if cell)]
    decision, problems = apply(text.encode(), companies, POLICY)
    assert problems == []
    assert [identity.name for _, identity in decision.made] == names


# -- the store


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.connect() as made:
        migrations.upgrade(made)
        yield made
    engine.dispose()


def test_one_revision_that_a_second_plan_finds_nothing_to_add_to(connection: Connection) -> None:
    people = [replace(who, id=0) for who in (ANN, BOB, ANN_TOO, SALES)]
    store.apply(connection, map(Put, people), who="import", why="", at=1.0)
    stored = companies_of(store.load(connection))
    sheet = write(propose(stored, POLICY).rows).encode()
    decision, problems = apply(sheet, stored, POLICY)
    assert problems == []
    number = store.apply(connection, decision.changes(), who="plan", why="merger", at=2.0)
    assert number == 2
    again = companies_of(store.load(connection))
    assert list(apply(write(propose(again, POLICY).rows).encode(), again, POLICY)[0].changes()) == []
    # nor does the sheet that was applied
    repeated, problems = apply(sheet, again, POLICY)
    assert (list(repeated.changes()), problems) == ([], [])
    store.rollback(connection, 2, who="op", why="", at=3.0)
    assert [i.addresses for i in store.load(connection)] == [i.addresses for i in people]


def test_a_sheet_with_joins_is_done_once(connection: Connection) -> None:
    people = [replace(who, id=0) for who in (ANN, BOB, ANN_TOO, SALES)]
    store.apply(connection, map(Put, people), who="import", why="", at=1.0)
    stored = companies_of(store.load(connection))
    sheet = edited(propose(stored, POLICY), Lee=("action", "join"), Sales=("action", "drop"))
    store.apply(connection, apply(sheet, stored, POLICY)[0].changes(), who="plan", why="", at=2.0)
    left = companies_of(store.load(connection))
    assert [i.name for company in left for i in company.identities] == ["Ann Lee", "Bob Ray"]
    repeated, problems = apply(sheet, left, POLICY)
    assert (list(repeated.changes()), problems) == ([], [])


def test_identities_that_are_not_stored_are_keyed_by_their_address() -> None:
    people = [replace(ANN, id=0), replace(BOB, id=0), replace(BOB, id=0, name="Bob Two")]
    plan = propose([Company("acme", people)], POLICY)
    assert [row.key for row in plan.rows] == [
        "acme smtp:ann@acme.example",
        "acme smtp:bob.ray@acme.example",
        "acme smtp:bob.ray@acme.example #2",
    ]


# -- properties

FIRST = st.sampled_from(["Ann", "Änn", "Al", "Юрий", "B.", "李"])
LAST = st.sampled_from(["Lee", "van Lee", "Min", "O'Lee", ""])
LOCALS = st.sampled_from(["ann", "ann.lee", "alee", "ann.lee2", "admin", "sales", "x"])
DOMAINS = st.sampled_from(["acme.example", "bolt.example", "merged.example"])
SMTP = st.builds(lambda local, domain: parse(f"smtp:{local}@{domain}"), LOCALS, DOMAINS)
MHS = st.builds(lambda local: parse(f"mhs:{local}@hq"), LOCALS)
HELD = st.lists(st.tuples(st.one_of(SMTP, MHS), st.booleans()), min_size=1, max_size=4)


def _identity(first: str, last: str, held: Sequence[tuple[object, bool]], kind: Kind) -> Identity | None:
    current = [address for address, is_former in held if not is_former]
    former = [address for address, is_former in held if is_former and address not in current]
    if not current:
        return None
    made = addresses(*dict.fromkeys(current), former=tuple(dict.fromkeys(former)))  # type: ignore[arg-type]
    return Identity(f"{first} {last}".strip(), made, kind)


IDENTITIES = st.builds(_identity, FIRST, LAST, HELD, st.sampled_from(list(Kind))).filter(lambda i: i is not None)
DIRECTORIES = st.lists(st.lists(IDENTITIES, max_size=5), min_size=1, max_size=3)


@given(DIRECTORIES, st.sampled_from([Role.ALIAS, Role.FORMER]))
def test_new_addresses_are_unique_and_a_second_plan_changes_nothing(people: list[list[Identity]], old: Role) -> None:
    policy = replace(POLICY, old=old)
    companies = [Company(f"c{n}", some) for n, some in enumerate(people)]
    plan = propose(companies, policy)
    assert propose(companies, policy) == plan
    assert check_identities([i for i in plan.outcome if any(h.role is not Role.FORMER for h in i.addresses)], {}) == []
    for identity in plan.outcome:
        if identity.kind is not Kind.CONTACT:
            primary = identity.primary("smtp")
            assert primary is not None
            assert primary.value.endswith("@merged.example")
    decision, problems = apply(write(plan.rows).encode(), companies, policy)
    assert [identity for _, identity in decision.made] == list(plan.outcome)
    if not problems:
        number = {id(entry): n for n, (entry, _) in enumerate(decision.made, 1)}
        made: dict[str, list[Identity]] = {}
        for entry, identity in decision.made:
            made.setdefault(entry.company, []).append(replace(identity, id=number[id(entry)]))
        again = [Company(label, some) for label, some in made.items()]
        second, _ = apply(write(propose(again, policy).rows).encode(), again, policy)
        assert list(second.changes()) == []


def test_many_of_one_name_are_named_in_time() -> None:
    people = [person("Ann Lee", f"smtp:u{n}@acme.example") for n in range(5000)]
    given = given_to(*people)
    assert len(set(given)) == 5000
    assert given[-1] == "ann.lee4999"
