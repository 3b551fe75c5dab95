"""The table: where mail goes, how addresses are shown, and that replies find their way back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.encapsulation import Encapsulation, Key
from mappings.identity import Held, Identity, Kind, Role, addresses
from mappings.network import Address, parse
from mappings.rule import Place, Rule, Way
from mappings.table import Direction, MappingError, Table, Verdict, compile_table
from tests.mappings.company import ENCAPSULATION, PEOPLE, company
from tests.mappings.strategies import any_address

TABLE = company()
SIGNED = ENCAPSULATION.encapsulate(parse("mhs:joe@far")).value


@pytest.mark.parametrize(
    ("recipient", "verdict", "address", "home"),
    [
        ("smtp:ann.lee@merged.example", Verdict.KNOWN, "mhs:ann@sales", "oldmhs"),
        ("smtp:ANN@acme.example", Verdict.KNOWN, "mhs:ann@sales", "oldmhs"),
        ("smtp:al@acme.example", Verdict.KNOWN, "mhs:ann@sales", "oldmhs"),
        ("smtp:ann+lists@acme.example", Verdict.KNOWN, "mhs:ann@sales", "oldmhs"),
        ("mhs:alee@old", Verdict.KNOWN, "mhs:ann@sales", "oldmhs"),
        ("smtp:bob@merged.example", Verdict.KNOWN, "smtp:bob@merged.example", "net"),
        ("smtp:bob.ray@acme.example", Verdict.KNOWN, "smtp:bob@merged.example", "net"),
        ("smtp:bob.ray+x@acme.example", Verdict.KNOWN, "smtp:bob+x@merged.example", "net"),
        ("smtp:bob+x@merged.example", Verdict.KNOWN, "smtp:bob+x@merged.example", "net"),
        ("smtp:ann@older.example", Verdict.KNOWN, "mhs:ann@sales", "oldmhs"),
        ("smtp:käthe@xn--bcher-kva.example", Verdict.KNOWN, "smtp:käthe@bücher.example", None),
        ("mhs:KAETHE@HQ", Verdict.KNOWN, "mhs:kaethe@hq", None),
        ("smtp:joe@far.mhs.acme.example", Verdict.KNOWN, "mhs:joe@far", None),
        ("smtp:ann@sales.mhs.acme.example", Verdict.KNOWN, "mhs:ann@sales", "oldmhs"),
        (f"smtp:{SIGNED}", Verdict.KNOWN, "mhs:joe@far", None),
        ("smtp:IMCEAMHS-ann+40sales@gw.merged.example", Verdict.KNOWN, "mhs:ann@sales", "oldmhs"),
        ("smtp:IMCEAMHS-alee+40old@gw.acme.example", Verdict.KNOWN, "mhs:ann@sales", "oldmhs"),
        ("mhs:gate@gp {SMTP:bob.ray@acme.example}", Verdict.KNOWN, "smtp:bob@merged.example", "net"),
        ("mhs:gate@gp {SMTP:x@far.example}", Verdict.FOREIGN, "smtp:x@far.example", None),
        ("mhs:other@gp {SMTP:x@far.example}", Verdict.FOREIGN, "mhs:other@gp {SMTP:x@far.example}", None),
        ("smtp:x@far.example", Verdict.FOREIGN, "smtp:x@far.example", None),
        ("mhs:joe@far", Verdict.FOREIGN, "mhs:joe@far", None),
        ("pigeon:loft", Verdict.FOREIGN, "pigeon:loft", None),
    ],
)
def test_resolve(recipient: str, verdict: Verdict, address: str, home: str | None) -> None:
    found = TABLE.resolve(parse(recipient))
    assert (found.verdict, str(found.address), found.home) == (verdict, address, home)
    assert found.code == ""
    assert found.text == ""


@pytest.mark.parametrize(
    ("recipient", "verdict", "code"),
    [
        ("smtp:nobody@acme.example", Verdict.UNKNOWN, "5.1.1"),
        ("smtp:nobody@xn--bcher-kva.example", Verdict.UNKNOWN, "5.1.1"),
        ("smtp:nobody@gw.merged.example", Verdict.UNKNOWN, "5.1.1"),
        ("smtp:nobody@older.example", Verdict.UNKNOWN, "5.1.1"),
        ('smtp:"a b"@sales.mhs.acme.example', Verdict.UNKNOWN, "5.1.1"),
        (f"smtp:{SIGNED.replace('joe', 'jim')}", Verdict.REFUSED, "5.7.1"),
        ("smtp:IMCEAPIGEON-x@gw.merged.example", Verdict.REFUSED, "5.1.2"),
    ],
)
def test_refusals(recipient: str, verdict: Verdict, code: str) -> None:
    found = TABLE.resolve(parse(recipient))
    assert (found.verdict, found.code) == (verdict, code)
    assert found.text
    assert found.steps


def test_an_unsigned_address_opens_nothing_to_strangers() -> None:
    found = TABLE.resolve(parse("smtp:IMCEAMHS-joe+40far@gw.merged.example"))
    assert (found.verdict, str(found.address)) == (Verdict.FOREIGN, "mhs:joe@far")
    assert not found.is_carried


@pytest.mark.parametrize(
    ("recipient", "verdict", "address"),
    [
        ("smtp:IMCEAMHS-ann+40sales@acme.example", Verdict.KNOWN, "mhs:ann@sales"),
        ("smtp:imceamhs-ALEE+40old@ACME.example", Verdict.KNOWN, "mhs:ann@sales"),
        ("smtp:IMCEAMHS-joe+40far@acme.example", Verdict.UNKNOWN, "smtp:IMCEAMHS-joe+40far@acme.example"),
        ("smtp:IMCEAMHS-ann+4@acme.example", Verdict.UNKNOWN, "smtp:IMCEAMHS-ann+4@acme.example"),
        ("smtp:IMCEAMHS-ann+40sales@far.example", Verdict.FOREIGN, "smtp:IMCEAMHS-ann+40sales@far.example"),
    ],
)
def test_an_unsigned_address_at_any_domain_of_ours_names_people_alone(
    recipient: str, verdict: Verdict, address: str
) -> None:
    found = TABLE.resolve(parse(recipient))
    assert (found.verdict, str(found.address)) == (verdict, address)


@pytest.mark.parametrize(
    ("address", "within"),
    [
        ("smtp:IMCEAMHS-joe+40far@acme.example", "mhs:joe@far"),
        ("smtp:IMCEAMHS-joe+40far@gw.merged.example", "mhs:joe@far"),
        (f"smtp:{SIGNED}", "mhs:joe@far"),
        (f"smtp:{SIGNED.replace('joe', 'jim')}", None),
        ("smtp:IMCEAMHS-joe+40far@far.example", None),
        ("smtp:IMCEAMHS-joe+4@acme.example", None),
        ("smtp:IMCEAPIGEON-joe@gw.merged.example", None),
        ("smtp:ann@acme.example", None),
        ("mhs:joe@far", None),
    ],
)
def test_what_an_address_at_a_domain_of_ours_is_written_for(address: str, within: str | None) -> None:
    found = TABLE.written_for(parse(address))
    assert (None if found is None else str(found)) == within


def test_a_refusal_says_what_to_do_and_names_nobody_else() -> None:
    text = TABLE.resolve(parse("smtp:anm@acme.example")).text
    assert "postmaster@acme.example" in text
    assert "ann" not in text.lower()
    assert TABLE.resolve(parse(f"smtp:{SIGNED.replace('joe', 'jim')}")).text == (
        "address was not issued by this gateway"
    )


@pytest.mark.parametrize(
    "recipient", ["postmaster", "PostMaster", "postmaster@acme.example", "Postmaster@gw.acme.example"]
)
def test_postmaster_is_always_there(recipient: str) -> None:
    found = TABLE.resolve(parse(f"smtp:{recipient}"))
    assert (found.verdict, str(found.address)) == (Verdict.KNOWN, "smtp:postmaster@merged.example")
    assert TABLE.is_ours(parse(f"smtp:{recipient}"))


def test_postmaster_may_be_somebody() -> None:
    table = compile_table(
        [Identity("Pat", addresses(parse("smtp:pat@acme.example"), parse("mhs:pat@hq")), home="oldmhs")],
        [],
        domains=["acme.example"],
        homes={"oldmhs": "mhs"},
        encapsulation=ENCAPSULATION,
        version=1,
        postmaster=parse("smtp:pat@acme.example"),
    )
    found = table.resolve(parse("smtp:postmaster"))
    assert (str(found.address), found.home, found.identity) == ("mhs:pat@hq", "oldmhs", "Pat")


def test_postmaster_elsewhere_is_not_ours() -> None:
    assert TABLE.resolve(parse("smtp:postmaster@far.example")).verdict is Verdict.FOREIGN


OUT, IN = Direction.OUTWARD, Direction.INWARD


@pytest.mark.parametrize(
    ("address", "network", "direction", "shown", "how"),
    [
        ("mhs:ann@sales", "smtp", OUT, "smtp:ann.lee@merged.example", "identity"),
        ("mhs:alee@old", "smtp", OUT, "smtp:ann.lee@merged.example", "identity"),
        ("smtp:ann.lee@merged.example", "mhs", IN, "mhs:ann@sales", "identity"),
        ("smtp:ann+x@acme.example", "mhs", IN, "mhs:ann@sales", "identity"),
        ("smtp:ann@acme.example", "smtp", OUT, "smtp:ann.lee@merged.example", "identity"),
        ("smtp:ann+x@acme.example", "smtp", OUT, "smtp:ann.lee@merged.example", "identity"),
        ("smtp:ann.lee+x@merged.example", "smtp", OUT, "smtp:ann.lee+x@merged.example", "same"),
        ("smtp:ann.lee@merged.example", "smtp", OUT, "smtp:ann.lee@merged.example", "same"),
        ("smtp:ann@acme.example", "smtp", IN, "smtp:ann@acme.example", "same"),
        ("smtp:al@acme.example", "smtp", IN, "smtp:ann.lee@merged.example", "identity"),
        ("smtp:al+x@acme.example", "smtp", IN, "smtp:ann.lee@merged.example", "identity"),
        ("mhs:alee@old", "mhs", IN, "mhs:ann@sales", "identity"),
        ("mhs:joe@far", "smtp", OUT, "smtp:joe@far.mhs.acme.example", "rule"),
        ("mhs:room7@hq", "smtp", OUT, "smtp:room7@hq.mhs.acme.example", "rule"),
        ("mhs:Joe Doe@far", "smtp", OUT, str(ENCAPSULATION.encapsulate(parse("mhs:Joe Doe@far"))), "encapsulated"),
        ("smtp:joe@far.mhs.acme.example", "mhs", IN, "mhs:joe@far", "rule"),
        ("smtp:joe@far.mhs.acme.example", "smtp", OUT, "smtp:joe@far.mhs.acme.example", "same"),
        (f"smtp:{SIGNED}", "mhs", IN, "mhs:joe@far", "encapsulated"),
        (f"smtp:{SIGNED}", "smtp", OUT, f"smtp:{SIGNED}", "same"),
        ("smtp:x@far.example", "smtp", OUT, "smtp:x@far.example", "same"),
        ("smtp:x@far.example", "mhs", IN, "mhs:GATE@GP {SMTP:x@far.example}", "encapsulated"),
        ("smtp:bob.ray@acme.example", "mhs", IN, "mhs:GATE@GP {SMTP:bob@merged.example}", "encapsulated"),
        ("mhs:gate@gp {SMTP:x@far.example}", "smtp", OUT, "smtp:x@far.example", "encapsulated"),
        ("mhs:gate@gp {SMTP:bob.ray@acme.example}", "smtp", OUT, "smtp:bob@merged.example", "identity"),
        ("mhs:joe@far", "mhs", OUT, "mhs:joe@far", "same"),
        ("smtp:x@far.example", "pigeon", OUT, "smtp:x@far.example", "same"),
    ],
)
def test_translate(address: str, network: str, direction: Direction, shown: str, how: str) -> None:
    found = TABLE.translate(parse(address), network, direction)
    assert (found.address.network, found.address.value, found.how) == (*shown.split(":", 1), how)


def test_without_a_gate_an_internet_address_stays_one() -> None:
    found = company(gates=False).translate(parse("smtp:x@far.example"), "mhs", IN)
    assert (str(found.address), found.how) == ("smtp:x@far.example", "same")


def test_too_long_to_be_carried_stays_and_says_why() -> None:
    long = parse("mhs:ann@far {" + "é" * 100 + "}")
    found = TABLE.translate(long, "smtp", OUT)
    assert (found.address, found.how) == (long, "same")
    assert "too long" in found.detail


def test_a_rule_never_shows_an_address_that_is_somebody_elses() -> None:
    """Joe has no smtp address, and the one the rule would give him belongs to Sam: a reply would go astray."""
    sam = Identity("Sam", addresses(parse("smtp:joe@far.mhs.acme.example"), parse("mhs:sam@hq")))
    found = company((*PEOPLE, sam)).translate(parse("mhs:joe@far"), "smtp", OUT)
    assert found.how == "encapsulated"


def test_the_ascii_address_of_a_person() -> None:
    def held(*texts: str, former: str = "smtp:old@acme.example") -> Identity:
        return Identity(texts[0], addresses(*(parse(text) for text in texts), former=(parse(former),)))

    people = [
        held("smtp:jö@acme.example", "smtp:jo@acme.example", "smtp:j@acme.example", former="smtp:joe@acme.example"),
        held("smtp:ann@acme.example", "smtp:änn@acme.example", "mhs:ann@sales", former="smtp:a@acme.example"),
        held("smtp:zü@acme.example", "mhs:zu@sales", former="smtp:zu@acme.example"),
    ]
    table = compile_table(people, [], domains=["acme.example"], homes={}, encapsulation=None, version=1)
    found = {text: table.in_ascii(parse(text)) for text in (
        "smtp:jö@acme.example", "smtp:änn@acme.example", "smtp:zü@acme.example", "smtp:nobody@far.example",
    )}  # fmt: skip
    assert [str(address) for address in found.values()] == [
        "smtp:jo@acme.example", "smtp:ann@acme.example", "None", "None",
    ]  # fmt: skip


def test_a_retired_person_keeps_receiving() -> None:
    """Where only former addresses are left on a network, mail to them goes to the primary elsewhere."""
    moved = Identity("Mo", addresses(parse("smtp:mo@far.example"), former=(parse("mhs:mo@gone"),)))
    table = company((*PEOPLE, moved))
    assert str(table.resolve(parse("mhs:mo@gone")).address) == "smtp:mo@far.example"
    assert str(table.translate(parse("mhs:mo@gone"), "mhs", IN).address) == "smtp:mo@far.example"
    assert str(table.translate(parse("mhs:mo@gone"), "smtp", OUT).address) == "smtp:mo@far.example"


held = st.sampled_from([h.address for who in PEOPLE for h in who.addresses])
tagged = st.builds(
    lambda a, tag: parse(f"smtp:{a.value.replace('@', '+' + tag + '@')}"),
    held.filter(lambda a: a.network == "smtp"),
    st.from_regex(r"[a-z]{1,4}", fullmatch=True),
)
ruled = st.one_of(
    st.from_regex(r"smtp:[a-z]{1,4}@(sales|hq|far)\.mhs\.acme\.example", fullmatch=True),
    st.from_regex(r"mhs:[a-z]{1,3}[ .]?[a-z]@(hq|sales|GP)", fullmatch=True),
).map(parse)
ours = st.sampled_from(["acme.example", "merged.example", "older.example", "gw.acme.example", "sales.mhs.acme.example"])
odd = st.builds(lambda local, d: parse(f"smtp:{local}@{d}"), st.sampled_from(["x%y", "x!y", '"a b"', '"a@b"']), ours)
everybody = st.one_of(any_address, held, tagged, ruled, odd)


@given(everybody, st.sampled_from(["smtp", "mhs"]), st.sampled_from(Direction))
def test_a_reply_to_any_shown_address_finds_the_originator(
    originator: Address, network: str, direction: Direction
) -> None:
    wanted = TABLE.resolve(originator)
    if wanted.code:  # such a sender is refused before anything is shown
        return
    shown = TABLE.translate(originator, network, direction)
    again = TABLE.translate(shown.address, "mhs" if network == "smtp" else "smtp", direction)
    for reply_to in (shown.address, again.address):
        found = TABLE.resolve(reply_to)
        assert not found.code, (originator, shown)
        if found.identity is not None:
            assert found.identity == wanted.identity
        else:
            assert found.address == wanted.address


@given(any_address, st.sampled_from(["smtp", "mhs"]), st.sampled_from(Direction))
def test_an_address_shown_twice_is_shown_alike(address: Address, network: str, direction: Direction) -> None:
    shown = TABLE.translate(address, network, direction)
    if shown.address.network == network:
        assert TABLE.translate(shown.address, network, direction).address == shown.address


def test_former_addresses_are_never_shown() -> None:
    former = {h.address for who in PEOPLE for h in who.addresses if h.role is Role.FORMER}
    for who in PEOPLE:
        for each in who.addresses:
            for network in ("smtp", "mhs"):
                for direction in Direction:
                    assert TABLE.translate(each.address, network, direction).address not in former


def problems(people: tuple[Identity, ...], rules: tuple[Rule, ...] = ()) -> str:
    with pytest.raises(MappingError) as raised:
        company(people, rules)
    return "\n".join(raised.value.problems)


def test_every_mistake_is_listed_at_once() -> None:
    ann = parse("smtp:ann@acme.example")
    found = problems(
        (
            Identity("A", addresses(ann)),
            Identity("B", addresses(parse("smtp:ANN@acme.example"))),
            Identity("C", addresses(parse("smtp:c@acme.example")), home="oldmhs"),
            Identity("D", addresses(parse("smtp:d@acme.example")), home="nowhere"),
            Identity("E", addresses(former=(parse("smtp:e@acme.example"),))),
            Identity("F", (Held(parse("smtp:f@acme.example"), Role.ALIAS),), Kind.GROUP),
        ),
        (
            Rule("smtp:{l}@a.example", "smtp:x{l}@a.example", Way.TO),
            Rule("smtp:{l}@b.example", "mhs:{x}@y", Way.TO),
        ),
    )
    assert "claimed by both 'A' and 'B'" in found
    assert "'C' has its home at 'oldmhs', which takes mhs addresses, and no mhs address" in found
    assert "'D' has the home 'nowhere', which is no configured connector; there are: net, oldmhs" in found
    assert "'E' has no current address" in found
    assert "'F' has 0 primary addresses on smtp" in found
    assert "rule 2" in found
    assert "mail to smtp:x@a.example would be translated without end" in found


def test_bad_domains_and_gates_are_mistakes() -> None:
    with pytest.raises(MappingError) as raised:
        compile_table(
            [],
            [],
            domains=["-bad-"],
            homes={},
            encapsulation=None,
            version=1,
            gates={"smtp": parse("smtp:x@y"), "mhs": parse("mhs:x@y {z}")},
        )
    assert len(raised.value.problems) == 3


def test_without_encapsulation_a_foreign_address_stays_in_its_network() -> None:
    table = compile_table([], [], domains=[], homes={}, encapsulation=None, version=1)
    assert table.translate(parse("mhs:joe@far"), "smtp", OUT).how == "same"
    assert table.resolve(parse("smtp:IMCEAMHS-joe+40far@gw.merged.example")).verdict is Verdict.FOREIGN
    assert table.resolve(parse("smtp:postmaster")).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("address", "is_ours"),
    [
        ("smtp:ann@acme.example", True),
        ("smtp:nobody@acme.example", True),
        ("smtp:x@gw.acme.example", True),
        ("smtp:x@sales.mhs.acme.example", True),
        ("smtp:x@mhs.acme.example", False),
        ("smtp:x@older.example", True),
        ("smtp:x@far.example", False),
        ("smtp:x@sub.merged.example", False),
        ("mhs:joe@far", True),
        ("mhs:gate@gp {x}", False),
        ("pigeon:x", False),
    ],
)
def test_is_ours(address: str, is_ours: bool) -> None:
    assert TABLE.is_ours(parse(address)) is is_ours


def test_explain_tells_the_whole_way() -> None:
    lines = "\n".join(TABLE.explain(parse("smtp:ann@older.example")))
    assert "smtp:ann@older.example by the rule smtp:{local}@older.example -> smtp:{local}@acme.example" in lines
    assert "is an address of Ann Lee" in lines
    assert "mail goes to mhs:ann@sales, by its home, connector oldmhs; anyone may write to it" in lines
    assert "refused: 5.1.1" in "\n".join(TABLE.explain(parse("smtp:nobody@acme.example")))
    assert "stays as it is" in "\n".join(TABLE.explain(parse("smtp:x@far.example")))


def test_the_table_gives_back_what_it_was_made_of() -> None:
    assert tuple(TABLE.identities()) == PEOPLE
    assert len(TABLE) == len(PEOPLE)
    assert len(list(TABLE.rules())) == 2
    assert TABLE.version == 1
    assert "xn--bcher-kva.example" in TABLE.domains


def test_rules_for_many_domains_keep_their_order() -> None:
    rules = (
        Rule("smtp:{l}@{d}.corp.example", "mhs:{l}@first", Way.TO),
        Rule("smtp:{l}@a.corp.example", "mhs:{l}@second", Way.TO),
        Rule("smtp:info@{d}.example", "mhs:info@third", Way.TO),
    )
    table = company(PEOPLE, rules)

    def goes(text: str) -> str:
        return str(table.resolve(parse(text)).address)

    assert goes("smtp:x@a.corp.example") == "mhs:x@first"
    assert goes("smtp:info@far.example") == "mhs:info@third"
    assert goes("smtp:x@far.example") == "smtp:x@far.example"


def test_rules_for_some_places_apply_there_and_are_shown_where_replies_come_back() -> None:
    rules = (
        Rule("smtp:{l}@desk.example", "mhs:{l}@partner", source=("connector:link",), destination=("connector:link",)),
        Rule("smtp:{l}@desk.example", "mhs:{l}@front", source=("smtp",)),
        Rule("smtp:{l}@other.example", "mhs:{l}@partner", destination=("smtp",)),
    )
    table = company(PEOPLE, rules)
    assert table.asks_for_places
    assert not TABLE.asks_for_places
    link, internet = Place("smtp", "link"), Place("smtp", "net")
    at_desk, partner = parse("smtp:joe@desk.example"), parse("mhs:joe@partner")
    assert table.resolve(at_desk, link).address == partner
    assert table.resolve(at_desk, internet).address == parse("mhs:joe@front")
    assert table.resolve(at_desk).code == "5.1.1"
    for place, shown in ((link, "smtp:joe@desk.example"), (internet, "smtp:joe@other.example")):
        found = table.translate(partner, "smtp", Direction.OUTWARD, place)
        assert (str(found.address), found.how) == (shown, "rule")
        assert table.resolve(found.address, place).address == partner
    assert table.translate(partner, "smtp", Direction.OUTWARD).how == "encapsulated"


def test_a_table_is_read_by_many_threads() -> None:
    table: Table = company()
    recipients = [h.address for who in PEOPLE for h in who.addresses] * 50
    expected = [table.resolve(r) for r in recipients]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(company().resolve, recipients)) == expected


def test_senders_of_a_renamed_domain_go_out_under_its_new_name() -> None:
    rules = [
        Rule("smtp:{local}@old.example", "smtp:{local}@new.example", Way.INWARD),
        Rule("smtp:{local}@shown.example", "smtp:{local}@within.example", Way.BOTH),
        Rule("smtp:{local}@all.example", "smtp:box@all.example", Way.INWARD),
        Rule("smtp:{local}@gone.example", "smtp:{local}@elsewhere.example", Way.OUTWARD),
    ]
    table = compile_table([], rules, domains=["old.example", "all.example"], homes={}, encapsulation=None, version=1)

    def shown(text: str, direction: Direction = OUT) -> str:
        return str(table.translate(parse(text), "smtp", direction).address)

    assert shown("smtp:x@old.example") == "smtp:x@new.example"
    assert shown("smtp:x@within.example") == "smtp:x@shown.example"
    assert shown("smtp:x@new.example") == "smtp:x@new.example"
    # Among ourselves it stays as it is; so does what an answer would not find, and a catch-all names nobody.
    assert shown("smtp:x@old.example", Direction.INWARD) == "smtp:x@old.example"
    assert shown("smtp:x@elsewhere.example") == "smtp:x@elsewhere.example"
    assert shown("smtp:x@all.example") == "smtp:x@all.example"


def test_the_percent_hack_is_for_those_who_may_relay() -> None:
    def found(percent_hack: bool, text: str) -> tuple[Verdict, str]:
        table = compile_table(
            [], [], domains=["gw.example"], homes={}, encapsulation=None, version=1, percent_hack=percent_hack
        )
        resolution = table.resolve(parse(text))
        return resolution.verdict, str(resolution.address)

    text = "smtp:u%h.example@gw.example"
    assert found(False, text) == (Verdict.UNKNOWN, text)
    assert found(True, text) == (Verdict.FOREIGN, "smtp:u@h.example")
    assert found(True, "smtp:u%h.example%gw.example@gw.example") == (Verdict.FOREIGN, "smtp:u@h.example")
    # Only at our own domains, never inside quotes, and what makes no address is nobody.
    assert found(True, "smtp:u%h.example@far.example") == (Verdict.FOREIGN, "smtp:u%h.example@far.example")
    for nobody in ('smtp:"u%h.example "@gw.example', "smtp:%h.example@gw.example", "smtp:u%-@gw.example"):
        assert found(True, nobody)[0] is Verdict.UNKNOWN


def test_what_a_peer_folds_is_shown_signed_where_its_case_counts() -> None:
    table = compile_table(
        [],
        [],
        domains=["gw.example"],
        homes={},
        encapsulation=Encapsulation(["gw.example"], [Key("a", b"secret")]),
        version=1,
        gates={"xmpp": parse("xmpp:gate@mail.gw.example"), "uucp": parse("uucp:hub!gw!gateway")},
    )
    for path, signed in (("alpha!beta!ann", False), ("Alpha!beta!ann", True)):
        named = parse(f"smtp:{path}@gw.example")
        shown = table.translate(named, "xmpp", Direction.OUTWARD).address
        assert shown.value.startswith("gpa") == signed
        assert table.resolve(shown).address == parse(f"uucp:{path}")
