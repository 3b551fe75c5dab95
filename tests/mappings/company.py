"""Two merged companies in one table: the cast of the mapping tests."""

from __future__ import annotations

from mappings.encapsulation import Encapsulation, Key
from mappings.identity import Identity, Kind, addresses
from mappings.network import parse
from mappings.rule import Rule, Way
from mappings.table import Table, compile_table

OLD_KEY = Key("b", b"an older secret of this gateway", retired=True)
KEY = Key("a", b"the secret this gateway signs by")
ENCAPSULATION = Encapsulation(["gw.merged.example", "gw.acme.example"], [OLD_KEY, KEY])

ANN = Identity(
    "Ann Lee",
    addresses(
        parse("smtp:ann.lee@merged.example"),
        parse("smtp:ann@acme.example"),
        parse("mhs:ann@sales"),
        former=(parse("smtp:al@acme.example"), parse("mhs:alee@old")),
    ),
    home="oldmhs",
)
BOB = Identity("Bob Ray", addresses(parse("smtp:bob@merged.example"), parse("smtp:bob.ray@acme.example")), home="net")
ROOM = Identity("Room 7", addresses(parse("mhs:room7@hq")), Kind.ROOM)
KÄTHE = Identity("Käthe", addresses(parse("smtp:käthe@bücher.example"), parse("mhs:kaethe@hq")))
PEOPLE = (ANN, BOB, ROOM, KÄTHE)

RULES = (
    Rule("smtp:{local}@{wg}.mhs.acme.example", "mhs:{local}@{wg}", Way.BOTH),
    Rule("smtp:{local}@older.example", "smtp:{local}@acme.example", Way.TO),
)


def company(people: tuple[Identity, ...] = PEOPLE, rules: tuple[Rule, ...] = RULES, *, gates: bool = True) -> Table:
    return compile_table(
        people,
        rules,
        domains=["merged.example", "acme.example", "bücher.example"],
        homes={"oldmhs": "mhs", "net": "smtp"},
        encapsulation=ENCAPSULATION,
        version=1,
        postmaster=parse("smtp:postmaster@merged.example"),
        gates={"mhs": parse("mhs:GATE@GP")} if gates else {},
    )
