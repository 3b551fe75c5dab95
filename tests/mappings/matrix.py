"""The reply-ability matrix: every network's people write to every network's, and the answers find them.

`python -m tests.mappings.matrix` (`make matrix`) prints it; a cell tells how the originator was shown:

    =  their own address there    r  by a rule    g  behind our gate    n  by a number    e  encapsulated, signed

For each pair: an originator of one network, whom no table knows, is shown to a recipient of the other; the recipient's
system takes what it was shown as one of its addresses, or as an internet address where it writes those as they are; the
answer is resolved, and must name the originator. The same again for people of ours with an address on both networks.
`exchange` is no network: its rows and columns go through what a mailbox of Exchange keeps of an address.
Exit status 1 where a pair fails.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final

from mappings.encapsulation import Encapsulation, Key
from mappings.identity import Held, Identity, Role
from mappings.network import Address, network, parse, registry
from mappings.table import Direction, Table, Verdict, compile_table
from mappings.tokens import TokenBook
from tests.mappings import exchange_pair

STRANGERS: Final = {
    "smtp": "Carla.Nowak+list@far.example",
    "x500": "/o=Acme/ou=First Administrative Group/cn=Recipients/cn=carla",
    "x400": "C=us;ADMD=att;PRMD=acme;O=Acme;OU1=Sales;S=Lee;G=Ann",
    "ldap": "cn=Carla Nowak,ou=Sales,dc=far,dc=example",
    "notes": "CN=Carla Nowak/OU=Sales/O=Far@FarNet",
    "gwise": "FAR.PO1.CNowak",
    "mhs": "carla@plant",
    "ccmail": "Nowak, Carla at PLANT",
    "msmail": "FARNET/PLANT/CNOWAK",
    "profs": "PLANT/CNOWAK",
    "snads": "PLANT.CNOWAK",
    "bitnet": "CNOWAK@FARVM",
    "decnet": "PLANT::CNOWAK",
    "uucp": "alpha!plant!carla",
    "ftn": "Carla Nowak@2:280/464.1",
    "tel": "+3585551234",
    "fax": "+3585551235;t33s=12",
    "sms": "+3585551236",
    "xmpp": "carla@chat.far.example",
    "sip": "Carla@sip.far.example",
    "mqtt": "Plant7/line 2/Übersicht",
}
"""One correspondent on each network whom no table knows."""

EXCHANGE: Final = "exchange"
"""Mailboxes of Exchange: no network of their own, but a way that addresses have to survive."""

GATES: Final = {
    "x400": "C=us;ADMD=gold;PRMD=gw;O=Gateway;DD.RFC-822=postmaster(a)gw.example",
    "notes": "CN=Gateway@Internet",
    "gwise": "inet:postmaster",
    "mhs": "MAIL@GATE",
    "ccmail": "Gateway at INTERNET",
    "msmail": "NET/GATE/GW",
    "profs": "GATE/MAIL",
    "snads": "GATE.MAIL",
    "bitnet": "MAILER@GATEVM",
    "decnet": "GATE::MAIL",
    "uucp": "hub!gw!postmaster",
    "ftn": "Gateway@2:280/1",
    "tel": "+3585550001",
    "fax": "+3585550002",
    "sms": "+3585550003",
    "xmpp": "gateway@mail.gw.example",
    "sip": "gateway@sip.gw.example",
    "mqtt": "mail",
}
"""What stands for this gateway on each network that needs it."""

WRITES_INTERNET: Final = frozenset({"smtp", "x500", "ldap", "notes", "ftn"})
"""Networks whose systems write internet addresses as they are: their own directories hold them beside their names."""

PEOPLE: Final = {name: f"ann-{name}@merged.example" for name in STRANGERS}


@dataclass(frozen=True, slots=True)
class Cell:
    """How one pair fared. `mark` tells how the originator was shown; "!" where the answer went astray."""

    mark: str
    shown: Address
    found: Address | None

    @property
    def is_right(self) -> bool:
        return self.mark != "!"


def company() -> Table:
    """Return a table of one person with an address on every network."""
    ann = [Held(parse("smtp:ann.lee@merged.example"), Role.PRIMARY)]
    for name, text in STRANGERS.items():
        if name != "smtp":
            ann.append(Held(_ours(name, text), Role.PRIMARY))
    return compile_table(
        [Identity("Ann Lee", tuple(ann))],
        [],
        domains=["merged.example"],
        homes={},
        encapsulation=Encapsulation(["gw.example"], [Key("a", b"matrix")]),
        version=1,
        gates={name: parse(f"{name}:{text}") for name, text in GATES.items() if _has_gate(name)},
        tokens=TokenBook(b"matrix"),
    )


def _has_gate(name: str) -> bool:
    gate, probe = parse(f"{name}:{GATES[name]}"), parse("smtp:x@far.example")
    there = network(name)
    return there.through(gate, probe) is not None or there.numbered(gate, 1) is not None


def _ours(name: str, text: str) -> Address:
    """Return another address of a network, for the person whom the table knows."""
    for old, new in (("Carla", "Ann"), ("carla", "ann"), ("CNowak", "ALee"), ("CNOWAK", "ALEE"), ("5551", "5559")):
        text = text.replace(old, new)
    return parse(f"{name}:{text.replace('Plant7', 'Plant8').replace('G=Ann', 'G=Anne')}")


def strangers_pair(table: Table, origin: str, other: str) -> Cell:
    """Show a correspondent of `origin` to the people of `other`, and answer."""
    if origin == EXCHANGE:
        return _pair(table, exchange_pair.stranger(), other)
    return _pair(table, parse(f"{origin}:{STRANGERS[origin]}"), other)


def own_pair(table: Table, origin: str, other: str) -> Cell:
    """Show our person's address of `origin` to the people of `other`, and answer; any address of theirs will do."""
    network_of = "smtp" if origin == EXCHANGE else origin
    address = next(h.address for h in next(table.identities()).addresses if h.address.network == network_of)
    return _pair(table, address, other)


def _pair(table: Table, originator: Address, other: str) -> Cell:
    in_a_mailbox, other = other == EXCHANGE, "smtp" if other == EXCHANGE else other
    translation = table.translate(originator, other, Direction.OUTWARD)
    shown = translation.address
    if shown.network != other and not (shown.network == "smtp" and other in WRITES_INTERNET):
        return Cell("!", shown, None)
    # What they answer to is a text that their system keeps, and that is read again when it comes.
    answered = exchange_pair.answered(shown) if in_a_mailbox else parse(str(shown))
    found = table.resolve(answered)
    wanted = table.resolve(originator)
    right = found.verdict in (Verdict.KNOWN, Verdict.FOREIGN) and (
        found.address == originator or (found.identity is not None and found.identity == wanted.identity)
    )
    if not right:
        return Cell("!", shown, found.address)
    if translation.how in ("same", "identity"):
        mark = "="
    elif translation.how == "rule":
        mark = "r"
    elif shown.network == "smtp":
        mark = "e"
    else:
        gate = table.gates.get(other)
        mark = "n" if gate is not None and network(other).number_of(gate, shown) is not None else "g"
    return Cell(mark, shown, found.address)


def names() -> list[str]:
    """Return what has a row and a column: every network, and mailboxes of Exchange."""
    return sorted([*registry().names, EXCHANGE])


def matrix() -> dict[tuple[str, str, bool], Cell]:
    """Return every pair: (origin, other, whether the originator is one of ours)."""
    table = company()
    cells = {}
    for origin in names():
        for other in names():
            cells[origin, other, False] = strangers_pair(table, origin, other)
            cells[origin, other, True] = own_pair(table, origin, other)
    return cells


def text_of(cells: dict[tuple[str, str, bool], Cell]) -> str:
    """Return the table for people: strangers first, our own behind it."""
    shown = {name: max(6, len(name)) for name in names()}
    lines = [f"{'from / to':<10}{' '.join(f'{name:>{wide}}' for name, wide in shown.items())}"]
    for origin in shown:
        row = [(f"{cells[origin, o, False].mark} {cells[origin, o, True].mark}", wide) for o, wide in shown.items()]
        lines.append(f"{origin:<10}{' '.join(f'{marks:>{wide}}' for marks, wide in row)}")
    return "\n".join(lines)


def main() -> int:
    cells = matrix()
    print(text_of(cells))
    print("each pair: an unknown correspondent, then one of ours")
    print("=  their own address there   r  by a rule   g  behind our gate   n  by a number   e  encapsulated, signed")
    wrong = {key: cell for key, cell in cells.items() if not cell.is_right}
    for (origin, other, ours), cell in wrong.items():
        print(f"{origin} to {other}{' (ours)' if ours else ''}: shown as {cell.shown}, answered to {cell.found}")
    print(f"reply-ability {len(cells) - len(wrong)} of {len(cells)} pairs")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
