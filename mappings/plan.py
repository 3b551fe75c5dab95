"""Plan: the merged table of several companies' directories as a naming policy makes it. It proposes, and does nothing.

Everybody gets a primary internet address in the new domain (`mappings.naming`); their old ones stay theirs. Who is in
two directories is shown side by side, with what says so, and joined by nobody but the operator. Rows are written for
review and read back by `mappings.plan_sheet`; `decide` makes of them what is to be stored.

Promises: no two in the outcome hold one address at one time; the same directories give the same plan, and a plan of
what was made by one, with the same policy, changes nothing. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, unique

from mappings.address import Address
from mappings.checks import mistakes_of, overlap
from mappings.conflicts import Conflicts, find_conflicts
from mappings.identity import Held, Identity, Kind, Role
from mappings.letters import without_accents
from mappings.naming import Collision, Company, Entry, Naming, Policy, PolicyError, entries_of
from mappings.network import Registry, registry
from mappings.reach import Gap, Shown, find_gaps
from mappings.store import Change, Put, Remove

__all__ = [
    "Action",
    "Collision",
    "Company",
    "Decision",
    "Plan",
    "Policy",
    "PolicyError",
    "Row",
    "Trouble",
    "companies_of",
    "decide",
    "propose",
]


@unique
class Action(Enum):
    """KEEP: as it is. RENAME: the new primary, the old one kept. JOIN: into another row. DROP: not in the table."""

    KEEP = "keep"
    RENAME = "rename"
    JOIN = "join"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Row:
    """What is proposed, or decided, for one identity. `key` names it, and `join_with` another row's identity."""

    key: str
    action: Action
    name: str
    company: str = ""
    kind: Kind = Kind.PERSON
    old: tuple[Held, ...] = ()
    new_primary: Address | None = None
    """None where it keeps what it has, or has none."""
    reason: str = ""
    conflict: str = ""
    join_with: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is proposed: a row for each identity in the order of the companies, and who would then be in the table."""

    rows: Sequence[Row]
    collisions: Sequence[Collision]
    outcome: Sequence[Identity]

    def conflicts(self) -> Conflicts:
        """Return what would still look alike in the new table."""
        return find_conflicts(lambda: self.outcome)

    def unreachable(self, networks: Sequence[str], shown: Shown) -> list[Gap]:
        """Return who could not be answered from which network; see `mappings.reach`."""
        return find_gaps(self.outcome, networks, shown)


@dataclass(frozen=True, slots=True)
class Trouble:
    """A row that cannot be done: `row` is its place among the rows, `column` what in it is wrong."""

    row: int
    column: str
    message: str


@dataclass
class Decision:
    """What the rows come to: who is in the table, in place of whom, and what cannot be done."""

    made: list[tuple[Entry, Identity]] = field(default_factory=list)
    gone: list[tuple[Entry, Entry | None]] = field(default_factory=list)
    """Who is not in the table any more, and whom they were joined with."""
    troubles: list[Trouble] = field(default_factory=list)
    lost: dict[int, list[tuple[Address, Entry]]] = field(default_factory=dict)
    """By an entry's place, the addresses that another one gets."""

    def changes(self) -> Iterator[Change]:
        """Yield what is to be changed, for one revision; nothing where everybody is as stored."""
        for entry, _ in self.gone:
            if entry.identity.id:
                yield Remove(entry.identity.id)
        for entry, identity in self.made:
            if not entry.identity.id or identity != entry.identity:
                yield Put(identity)


def companies_of(identities: Iterable[Identity], attribute: str = "source", rest: str = "other") -> list[Company]:
    """Return identities by an attribute that says which directory they are of, in the order they first appear."""
    found: dict[str, list[Identity]] = {}
    for identity in identities:
        found.setdefault(identity.attribute(attribute) or rest, []).append(identity)
    return [Company(label, some) for label, some in found.items()]


def propose(companies: Sequence[Company], policy: Policy, networks: Registry | None = None) -> Plan:
    """Return the plan of some directories. Raises: PolicyError."""
    networks = networks if networks is not None else registry()
    entries = entries_of(companies)
    naming = Naming(entries, policy, networks)
    naming.name_all()
    alike = _the_same(entries, policy)
    drafts = [_draft(entry, naming, alike) for entry in entries]
    decision = decide(drafts, companies, policy)
    troubles: dict[int, list[str]] = defaultdict(list)
    for trouble in decision.troubles:
        troubles[trouble.row].append(trouble.message)
    rows = []
    for entry, row in zip(entries, drafts, strict=True):
        said = [row.conflict] if row.conflict else []
        for address, winner in decision.lost.get(entry.place, ()):
            said.append(f"{address} is {winner}'s too, who keeps it; join the two if they are one")
        said += troubles[entry.place]
        rows.append(replace(row, conflict="; ".join(said)))
    return Plan(rows, naming.collisions(), [identity for _, identity in decision.made])


def _draft(entry: Entry, naming: Naming, alike: Mapping[int, tuple[Entry, str]]) -> Row:
    identity = entry.identity
    new = naming.given.get(entry.place)
    twin, evidence = alike.get(entry.place, (None, ""))
    conflict, join_with = "", ""
    action = Action.KEEP if new is None or new == entry.current else Action.RENAME
    reason = naming.reasons.get(entry.place, "")
    if twin is not None and identity.kind is Kind.CONTACT and twin.identity.kind is not Kind.CONTACT:
        action, new, reason = Action.DROP, None, f"stands for {twin}, who is in the table: {evidence}"
    elif twin is not None:
        join_with = twin.key
        conflict = f"perhaps the same as {twin}: {evidence}; write join as the action if so"
    collision = naming.conflicts.get(entry.place)
    if collision:
        conflict = f"{collision}{'; ' if conflict else ''}{conflict}"
    return Row(
        entry.key, action, identity.name, entry.company, identity.kind, identity.addresses,
        new if action is Action.RENAME else None, reason, conflict, join_with,
    )  # fmt: skip


def _the_same(entries: Sequence[Entry], policy: Policy) -> dict[int, tuple[Entry, str]]:
    """Return, by an entry's place, an earlier one of another company that may be the same, and what says so."""
    by_fact: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    found: dict[int, tuple[int, Entry, str]] = {}
    # Contacts last, so that it is they who are told to stand for somebody.
    for entry in sorted(entries, key=lambda e: e.identity.kind is Kind.CONTACT):
        for weight, fact, words in _facts(entry, policy):
            others = by_fact[fact]
            is_contact = entry.identity.kind is Kind.CONTACT and weight == 0
            other = next((e for e in others if is_contact or e.company != entry.company), None)
            if other is not None and (entry.place not in found or weight < found[entry.place][0]):
                found[entry.place] = (weight, other, words)
            if len(others) < 2 and all(e.company != entry.company for e in others):
                others.append(entry)
    return {place: (other, words) for place, (_, other, words) in found.items()}


def _facts(entry: Entry, policy: Policy) -> Iterator[tuple[int, tuple[str, str], str]]:
    """Yield what may show an identity in two directories: how weak it is, the fact, and its words."""
    identity = entry.identity
    for held in identity.addresses:
        yield 0, (held.address.network, held.address.key), f"both have {held.address}"
    for name in policy.evidence:
        value = identity.attribute(name)
        if value:
            yield 1, (f"={name}", value), f"both have {name} {value}"
    name = " ".join(filter(None, (entry.name.first, entry.name.last)))
    if identity.kind is Kind.PERSON and entry.name.first and entry.name.last:
        yield 2, ("=name", without_accents(name)), f"both are called {name}"


def decide(rows: Sequence[Row], companies: Sequence[Company], policy: Policy) -> Decision:
    """Return what rows come to, each in place of the identity that its key names; whoever has no row stays as it is.

    An address that several hold goes to the one who uses it today, and of these to the first; but what a row gives as
    the new primary is given to that row alone, or it is a trouble. Raises: PolicyError.
    """
    return _Decider(rows, entries_of(companies), policy).decide()


class _Decider:
    """Works on entries by their places."""

    def __init__(self, rows: Sequence[Row], entries: Sequence[Entry], policy: Policy) -> None:
        self._rows = rows
        self._entries = entries
        self._policy = policy
        self._by_key = {entry.key: entry for entry in entries}
        self._row_of: dict[int, int] = {}
        self._decision = Decision()

    def _trouble(self, row: int, column: str, message: str) -> None:
        self._decision.troubles.append(Trouble(row, column, message))

    def decide(self) -> Decision:
        for n, row in enumerate(self._rows):
            entry = self._by_key.get(row.key)
            if entry is None and row.action in (Action.JOIN, Action.DROP):
                continue  # as it is meant to be: the sheet was applied before
            if entry is None:
                self._trouble(
                    n, "key", f"nobody in the directories has the key {row.key!r}; was the plan made of others?"
                )
            elif entry.place in self._row_of:
                self._trouble(n, "key", f"{row.key!r} stands in two rows")
            else:
                self._row_of[entry.place] = n
        with_whom = self._joins()
        self._check_primaries()
        made: dict[int, Identity] = {}
        for entry in self._entries:
            if entry.place in with_whom:
                self._decision.gone.append((entry, with_whom[entry.place]))
            elif self._action(entry) is Action.DROP:
                self._decision.gone.append((entry, None))
            else:
                made[entry.place] = self._made(entry)
        for entry in self._entries:  # in their order, whoever they join
            if entry.place in with_whom:
                other = with_whom[entry.place]
                made[other.place] = self._joined(made[other.place], entry.identity)
        self._share_out(made)
        for place, identity in made.items():
            entry = self._entries[place]
            if identity != entry.identity:
                for mistake in mistakes_of(identity):
                    self._trouble(self._row_of.get(place, 0), "", mistake)
            self._decision.made.append((entry, identity))
        return self._decision

    def _action(self, entry: Entry) -> Action:
        n = self._row_of.get(entry.place)
        return Action.KEEP if n is None else self._rows[n].action

    def _joins(self) -> dict[int, Entry]:
        """Return, by an entry's place, whom it is joined with."""
        direct: dict[int, Entry] = {}
        for place, n in self._row_of.items():
            row = self._rows[n]
            if row.action is not Action.JOIN:
                continue
            other = self._by_key.get(row.join_with)
            if other is None or other.place == place:
                what = "nobody" if other is None else "itself"
                self._trouble(n, "join with", f"{row.join_with!r} names {what}; write another row's key")
            elif self._action(other) is Action.DROP:
                self._trouble(n, "join with", f"{other} is dropped; join it the other way round")
            else:
                direct[place] = other
        found: dict[int, Entry] = {}
        for place in direct:
            seen = {place}
            other = direct[place]
            while other.place in direct and other.place not in seen:
                seen.add(other.place)
                other = direct[other.place]
            if other.place in direct:
                self._trouble(
                    self._row_of[place], "join with", "these rows are joined with each other; keep one of them"
                )
            else:
                found[place] = other
        return found

    def _check_primaries(self) -> None:
        given: dict[str, int] = {}
        for place, n in self._row_of.items():
            row, entry = self._rows[n], self._entries[place]
            if row.action is Action.RENAME:
                if row.new_primary is None:
                    self._trouble(n, "new primary", "there is no new address; write one, or keep as the action")
                    continue
                other = given.setdefault(row.new_primary.key, n)
                if other != n:
                    taken = f"{row.new_primary.value} is given to {self._rows[other].name!r} too"
                    self._trouble(n, "new primary", f"{taken}; write another")
            elif row.action is Action.KEEP and row.new_primary not in (None, entry.current):
                self._trouble(n, "action", "a new address is written, and the action is keep; write rename")

    def _made(self, entry: Entry) -> Identity:
        """Return an entry's identity as its row makes it."""
        n = self._row_of.get(entry.place)
        identity = entry.identity
        if n is None:
            return identity
        row = self._rows[n]
        name = row.name if row.name and row.name != identity.name.strip() else identity.name
        if row.action is not Action.RENAME or row.new_primary is None or row.new_primary == entry.current:
            return identity if name == identity.name else replace(identity, name=name)
        rest = tuple(
            replace(held, role=self._policy.old)
            if held.role is Role.PRIMARY and held.address.network == "smtp"
            else held
            for held in identity.addresses
            if held.address != row.new_primary
        )
        return replace(identity, name=name, addresses=(Held(row.new_primary, Role.PRIMARY), *rest))

    def _joined(self, one: Identity, other: Identity) -> Identity:
        """Return an identity with what another has beside it. Its own home, primaries and facts stay."""
        mine = {(held.address.network, held.address.key) for held in one.addresses}
        primaries = {held.address.network for held in one.addresses if held.role is Role.PRIMARY}
        addresses = list(one.addresses)
        for held in other.addresses:
            network = held.address.network
            if (network, held.address.key) in mine:
                continue
            role = held.role
            if role is Role.PRIMARY and network in primaries:
                role = self._policy.old if network == "smtp" else Role.ALIAS
            addresses.append(replace(held, role=role))
        facts = dict(other.attributes) | dict(one.attributes)
        members = dict.fromkeys((*one.members, *other.members))
        return replace(
            one,
            addresses=tuple(addresses),
            home=one.home or other.home,
            copy_home=one.copy_home or other.copy_home,
            stage=one.stage or other.stage,
            attributes=tuple(sorted(facts.items())),
            members=tuple(members),
            owner=one.owner or other.owner,
        )

    def _share_out(self, made: dict[int, Identity]) -> None:
        """Take each address that several hold from all but one of them."""
        claims: dict[tuple[str, str], list[tuple[int, Held]]] = defaultdict(list)
        for place, identity in made.items():
            for held in identity.addresses:
                claims[held.address.network, held.address.key].append((place, held))
        lost: dict[int, set[Held]] = defaultdict(set)
        for claimants in claims.values():
            if len({place for place, _ in claimants}) < 2:
                continue
            kept: list[tuple[int, Held]] = []
            for place, held in sorted(claimants, key=lambda claim: self._weakness(*claim)):
                winner = next((p for p, h in kept if p != place and overlap(h, held)), None)
                if winner is None:
                    kept.append((place, held))
                    continue
                lost[place].add(held)
                self._decision.lost.setdefault(place, []).append((held.address, self._entries[winner]))
                if self._is_new(winner, held.address) and not self._is_new(place, held.address):
                    text = f"{held.address.value} is {self._entries[place]}'s; write another, or join or drop that row"
                    self._trouble(self._row_of[winner], "new primary", text)
        for place, some in lost.items():
            made[place] = _without(made[place], some)

    def _weakness(self, place: int, held: Held) -> tuple[int, int]:
        """Return how weak a claim is: what a row gives is the strongest, then what is used today, then the first.

        Contacts, who stand for others, come after all.
        """
        if self._is_new(place, held.address):
            return 0, place
        is_contact = self._entries[place].identity.kind is Kind.CONTACT
        return {Role.PRIMARY: 1, Role.ALIAS: 2, Role.FORMER: 3}[held.role] + 3 * is_contact, place

    def _is_new(self, place: int, address: Address) -> bool:
        n = self._row_of.get(place)
        return n is not None and self._rows[n].action is Action.RENAME and self._rows[n].new_primary == address


def _without(identity: Identity, lost: set[Held]) -> Identity:
    """Return an identity without some addresses; of each network an alias becomes the primary where that is lost."""
    left = [held for held in identity.addresses if held not in lost]
    for network in {held.address.network for held in lost if held.role is Role.PRIMARY}:
        there = [n for n, held in enumerate(left) if held.address.network == network and held.role is not Role.FORMER]
        if there and not any(left[n].role is Role.PRIMARY for n in there):
            left[there[0]] = replace(left[there[0]], role=Role.PRIMARY)
    return replace(identity, addresses=tuple(left))
