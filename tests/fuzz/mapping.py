"""Targets of the mapping beyond single networks: carried addresses, wrapped return paths, and the table."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final
from zlib import crc32

from mappings.encapsulation import EncapsulationError
from mappings.envelope_tags import Batv, EnvelopeTagError, Own, Srs, Verp, recognised, unwrapped
from mappings.identity import Identity, Kind, addresses
from mappings.network import Address, AddressError, network, parse, registry
from mappings.rule import Lookup, Rule, Way
from mappings.table import Direction, Table, Verdict, compile_table
from mappings.tokens import TokenBook
from tests.fuzz import networks
from tests.fuzz.mutate import Texts, examples_in
from tests.fuzz.networks import ENCAPSULATION, GATEWAY, refusal
from tests.fuzz.target import REFUSED, Target, octets_of, text_of
from tests.mappings.matrix import GATES, STRANGERS, company

_TESTS: Final = Path(__file__).parents[1] / "mappings"
DAY: Final = 86400.0
NOW: Final = 20_000.25 * DAY


# -- carried addresses


def check_encapsulation(text: str) -> str:
    """Check what a stranger writes to the gateway's own domain: a carried address, a number, or another's custom."""
    try:
        outside = parse(f"smtp:{text}@{GATEWAY}")
    except AddressError as e:
        return refusal(e)
    outcome = "nothing"
    for is_open in (False, True):
        try:
            found = ENCAPSULATION.decapsulate(outside, unsigned=_anybody if is_open else None)
        except EncapsulationError as e:
            outcome = f"{REFUSED}{e.code} {e.text}"[:30]
            continue
        if found is not None:
            assert found.network != "smtp"
            assert parse(str(found)) == found
            outcome = f"{found.network} {is_open}"
    with suppress(EncapsulationError):
        number = ENCAPSULATION.number_of(outside)
        assert number is None or ENCAPSULATION.numbered(number) == outside
    custom = ENCAPSULATION.by_custom(outside)
    if custom is not None:
        assert parse(str(custom)) == custom
        outcome += f" {custom.network}"
    return outcome


def _anybody(address: Address) -> bool:
    return True


def seeds_of_encapsulation() -> list[str]:
    made = [ENCAPSULATION.encapsulate(parse(f"{name}:{text}")) for name, text in STRANGERS.items() if name != "smtp"]
    made += [ENCAPSULATION.numbered(number) for number in (0, 7, 99_999_999)]
    local_parts = [address.value.rpartition("@")[0] for address in made]
    unsigned = [f"IMCEA{part.partition('-')[2]}" for part in local_parts if part.startswith("GPa")]
    customs = [
        shown.rpartition("@")[0]
        for name, text in STRANGERS.items()
        if (shown := network(name).at_gateway(parse(f"{name}:{text}"), GATEWAY)) is not None
    ]
    return [*local_parts, *unsigned, *customs, "Ann.Lee@f464.n280.z2"]


# -- wrapped return paths


SRS: Final = Srs("fwd.example", [b"key", b"older"])
BATV: Final = Batv(["acme.example", "bücher.example"], {3: b"key", 1: b"older"})
OWN: Final = Own(
    frozenset({"acme.example"}),
    (
        Verp("news-bounces", "lists.example"),
        Verp("shop-return", "lists.example", separator="-", numbered=True),
        Verp("plain", "lists.example", separator="-", at="-at-"),
    ),
)


def check_tags(text: str) -> str:
    """Check a reverse-path: read whatever it is wrapped in, and wrapped in our own tags and back."""
    found = recognised(text, own=OWN)
    assert unwrapped(text, own=OWN) == (None if found is None else found[1])
    outcome = "" if found is None else found[0].name
    if found is not None:
        assert parse(f"smtp:{found[1]}").value == found[1]
    for tags in (SRS, BATV):
        try:
            inside = tags.unwrap(text, NOW)
            outcome += "" if inside is None else " ours"
        except EnvelopeTagError as e:
            outcome += f" {e}"
        try:
            wrapped = tags.wrap(text, NOW)
        except AddressError as e:
            return refusal(e)
        if wrapped == text or wrapped == parse(f"smtp:{text}").value:
            continue
        back = tags.unwrap(wrapped, NOW)
        assert back is not None
        if not back.lstrip('"').lower().startswith("srs"):  # of those, what lies between is left out
            assert parse(f"smtp:{back}") == parse(f"smtp:{text}"), f"{wrapped} is {back}"
        assert tags.unwrap(wrapped.lower(), NOW) is not None
    return outcome


def seeds_of_tags() -> list[str]:
    texts, _ = examples_in(_TESTS / "test_envelope_tags.py", 300)
    paths = ["ann@acme.example", "bob@far.example", '"ann lee"@bücher.example', "postmaster", ""]
    return [
        *(text for text in texts if "@" in text),
        *paths,
        *(tags.wrap(path, NOW) for tags in (SRS, BATV) for path in paths),
        *(SRS.wrap(SRS.wrap(path, NOW).replace("fwd.", "other."), NOW) for path in paths),
    ]


# -- the table


_RULES: Final = (
    Rule("smtp:{local}@{wg}.mhs.acme.example", "mhs:{local}@{wg}", Way.BOTH),
    Rule("smtp:{local}@older.example", "smtp:{local}@acme.example", Way.INWARD),
    Rule("smtp:{user}@{node}.decnet.acme.example", "decnet:{node}::{user}", Way.BOTH),
    Rule("smtp:{name}@notes.acme.example", "notes:CN={name}/O=Acme@AcmeNet", Way.BOTH),
    Rule("smtp:{s}@x400.acme.example", "x400:C=us;ADMD=att;PRMD=acme;O=Acme;S={s}", Way.BOTH),
    Rule("smtp:{line}.{plant}@mqtt.acme.example", "mqtt:{plant}/{line}", Way.BOTH),
    Rule("smtp:{n}@fax.acme.example", "fax:+{n}", Way.BOTH),
    Rule(
        "smtp:{p}.{u}@office.acme.example",
        "msmail:NET/{p|table:offices}/{u|upper}",
        Way.BOTH,
        (Lookup("offices", (("hq", "HEADQ"), ("plant", "PLANT1"))),),
    ),
    Rule("smtp:{any}@{sub*}.catch.example", "smtp:catch@acme.example", Way.INWARD),
)
_STAFF: Final = Identity(
    "Staff",
    addresses(parse("smtp:staff@acme.example"), parse("mhs:staff@sales")),
    Kind.GROUP,
    members=(parse("smtp:ann.lee@merged.example"), parse("smtp:bob@far.example"), parse("mhs:carla@plant")),
    owner=parse("smtp:bob@acme.example"),
)
_MOST_NUMBERS: Final = 20_000


def _ruled() -> Table:
    bob = Identity(
        "Bob",
        addresses(
            parse("smtp:bob@acme.example"),
            parse("notes:CN=Bob Ray/O=Acme@AcmeNet"),
            former=(parse("smtp:robert@acme.example"), parse("mhs:bray@old")),
        ),
    )
    return compile_table(
        [bob, _STAFF],
        _RULES,
        domains=["acme.example", "older.example"],
        homes={},
        encapsulation=ENCAPSULATION,
        version=1,
        postmaster=parse("smtp:postmaster@acme.example"),
        gates={name: parse(f"{name}:{GATES[name]}") for name in ("mhs", "notes", "x400", "mqtt", "ccmail", "uucp")},
        shared=["acme.example"],
        tokens=TokenBook(b"fuzz"),
    )


class _Tables:
    """The tables that addresses are asked of; made anew before their numbers fill the memory."""

    def __init__(self) -> None:
        self._made: tuple[Table, ...] = ()

    def __call__(self) -> tuple[Table, ...]:
        if not self._made or any(t.tokens is not None and len(t.tokens) > _MOST_NUMBERS for t in self._made):
            self._made = (company(), _ruled())
        return self._made


_tables: Final = _Tables()


def check_table(text: str) -> str:
    """Check an address with its network in front: where mail for it goes, and how it is shown elsewhere."""
    try:
        address = parse(text)
    except AddressError as e:
        return refusal(e)
    chance = crc32(octets_of(text))
    names = registry().names
    outcome = address.network
    for table in _tables():
        wanted = table.resolve(address)
        assert (wanted.verdict in (Verdict.UNKNOWN, Verdict.REFUSED)) == bool(wanted.code)
        assert table.resolve(address) == wanted
        table.is_ours(address)
        table.in_ascii(address)
        for to, way in ((names[chance % len(names)], Direction.OUTWARD), (address.network, Direction.INWARD)):
            shown = table.translate(address, to, way)
            again = parse(str(shown.address))
            assert (again, again.value) == (shown.address, shown.address.value)
            outcome += f" {to if to != address.network else ''}{shown.how}"
            if shown.how != "same" and registry().is_installed(address.network):
                _is_reached(table, address, again)
        outcome += f" {wanted.verdict.value}"
    return outcome


def _is_reached(table: Table, address: Address, shown: Address) -> None:
    """Check that an answer to what was shown comes to whom it stands for."""
    wanted, found = table.resolve(address), table.resolve(shown)
    assert found.address in (address, wanted.address) or (
        found.identity is not None and found.identity == wanted.identity
    ), f"{address} is shown as {shown}, which goes to {found.address}"


def seeds_of_table() -> list[str]:
    found = [f"{name}:{text}" for name in registry().names for text in networks.seeds(name) if len(text) < 100]
    found += [f"smtp:{part}@{GATEWAY}" for part in seeds_of_encapsulation()]
    found += [str(held.address) for table in _tables() for who in table.identities() for held in who.addresses]
    for name, text in (*STRANGERS.items(), *GATES.items()):
        for table in _tables():
            for to in registry().names:
                found.append(str(table.translate(parse(f"{name}:{text}"), to, Direction.OUTWARD).address))
    found += [
        "smtp:ann@sales.mhs.acme.example",
        "smtp:smith+tag@vaxa.decnet.acme.example",
        "smtp:lee@x400.acme.example",
        "smtp:alarm.plant7@mqtt.acme.example",
        "smtp:3585551234@fax.acme.example",
        "smtp:plant.ann@office.acme.example",
        "smtp:x@a.b.catch.example",
        "smtp:postmaster@acme.example",
    ]
    return found


TARGETS: Final = (
    Target(
        "encapsulation",
        check_encapsulation,
        seeds_of_encapsulation,
        Texts(seeds_of_encapsulation()),
        text_of,
        octets_of,
    ),
    Target("tags", check_tags, seeds_of_tags, Texts(seeds_of_tags()), text_of, octets_of),
    Target("table", check_table, seeds_of_table, Texts(seeds_of_table()), text_of, octets_of),
)
