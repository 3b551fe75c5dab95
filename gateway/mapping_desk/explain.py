"""Explain: what happens to mail for an address, and how people elsewhere see it, with the source of every step.

Promises: the answer is that of the table and the planner that the gateway itself would use; nothing is guessed anew.
A source is a rule or route with its line in the configuration, or an identity with the revision that set it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from sqlalchemy import Connection

from gateway.config import KEY_FILE
from gateway.config_file import Document
from gateway.mapping_desk.desk import Desk, DeskError
from gateway.mapping_desk.directory import StoredDirectory
from gateway.mapping_desk.parts import capabilities_of, planner_of
from gateway.mapping_desk.words import called, held_in_words, told_as
from gateway.planned import Elsewhere, Found, Members, Target
from gateway.planner import Planner
from gateway.status import Status
from gateway.toml_places import Path
from mappings import store
from mappings.address import Address
from mappings.identity import Identity
from mappings.resolution import Direction, Translation
from mappings.rule import Place
from mappings.table import Table

_MOST_MEMBERS: Final = 20


@dataclass(frozen=True, slots=True)
class Source:
    """Who or what decided: a rule or route by its number and line, or an identity and its revision."""

    text: str
    rule: int | None = None
    route: int | None = None
    identity: int | None = None
    revision: int | None = None
    file: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what happened, and by whom; None where nothing but the address itself decided."""

    text: str
    source: Source | None = None


@dataclass(frozen=True, slots=True)
class End:
    """Where mail for an address goes: connector, next hop and the address there, or the code and text of a refusal."""

    to: str
    source: Source | None = None
    connector: str | None = None
    next_hop: str | None = None
    code: str | None = None
    text: str = ""
    copies: tuple[End, ...] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """How an address is shown on a network: `how` is identity, rule, encapsulated or same."""

    network: str
    address: str
    how: str
    text: str
    source: Source | None = None
    connector: str | None = None
    """Only in mail that leaves by this connector."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole answer. `notes` are sentences about what it depends on."""

    address: str
    steps: tuple[Step, ...] = ()
    ends: tuple[End, ...] = ()
    members: int | None = None
    """How many members the group has that it is; their ends are those of the first ones."""
    who_may_write: str = ""
    shown: tuple[Shown, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def explain(
    desk: Desk,
    text: str,
    *,
    network: str | None = None,
    connector: str | None = None,
    inward: bool = True,
    outward: bool = True,
) -> Explanation:
    """Explain an address.

    `inward` says where mail to it goes that comes by `connector`, `outward` how it is shown on `network`, or on all.
    """
    address = desk.address(text)
    if network is not None and not desk.networks.is_installed(network):
        raise DeskError(f"there is no network {network!r}; there are: {', '.join(desk.networks.names)}")
    if connector is not None and connector not in desk.config.homes:
        known = ", ".join(sorted(desk.config.homes)) or "none"
        raise DeskError(f"there is no connector {connector!r}; there are: {known}")
    is_begun = desk.is_begun
    with desk.reading() as connection:
        table, directory = desk.stored_table(connection)
        sources = _Sources(desk, connection, directory)
        notes = list(_other_times(desk, connection, address))
        told = Explanation(str(address))
        if inward:
            told = _inward(desk, planner_of(desk.config, table, desk.clock), address, connector, sources)
        shown: tuple[Shown, ...] = ()
        if outward:
            shown = tuple(_outward(desk, table, address, network, sources))
        # An internet address is never signed, whatever it is shown behind.
        if address.network != "smtp" and any(one.how == "encapsulated" for one in shown) and not _has_key(desk):
            notes.append(
                "the key that signs addresses is made at the gateway's first start, so that signed ones will be others"
            )
        if not is_begun:
            notes.append("nothing is stored yet: this is what the files under `import` would give")
        return Explanation(told.address, told.steps, told.ends, told.members, told.who_may_write, shown, tuple(notes))


def _has_key(desk: Desk) -> bool:
    return desk.config.mapping.encapsulation.key is not None or (desk.config.state_dir / KEY_FILE).exists()


def _other_times(desk: Desk, connection: Connection, address: Address) -> Iterator[str]:
    """Yield who has the address at other times than now."""
    for who in store.find(connection, address.network, address.key):
        for held in who.of(address.network):
            if held.address == address and not held.holds_at(desk.clock()):
                yield f"{called(who)} has {held_in_words(held)}, and not at this time"


# -- where mail goes


def _inward(desk: Desk, planner: Planner, address: Address, connector: str | None, sources: _Sources) -> Explanation:
    found = planner.target(address, connector or "")
    place = Place(desk.config.homes[connector], connector) if connector is not None else None
    resolution = planner.table.resolve(address, place)
    steps = [Step(text, sources.of_step(text)) for text in resolution.steps]
    if not steps:
        steps.append(Step(f"{address} is nobody's here, and no rule translates it: it stays as it is"))
    if resolution.former is not None:
        steps.append(Step(f"{address} is a former address; the one to use now is {resolution.former}"))
    if isinstance(found, Members):
        group = found.group
        ends = tuple(_end(planner.target(m), m, sources) for m in group.members[:_MOST_MEMBERS])
        reports = str(group.owner) if group.owner is not None else "the sender"
        steps.append(Step(f"reports about its members go to {reports}"))
        return Explanation(str(address), tuple(steps), ends, len(group.members), _may_write(desk, found))
    if isinstance(found, Elsewhere):
        line = sources.of_shared(found.domain)
        ends = tuple(
            End(str(found.address), line, connector=system, text=f"offered to the system behind {system}")
            for system in found.systems
        )
        return Explanation(str(address), tuple(steps), ends, None, _may_write(desk, found))
    ends = (_end(found, address, sources),)
    if isinstance(found, Target) and found.forwards:
        there = tuple(_end(planner.target(each), each, sources) for each in found.forwards)
        ends = (*ends, *there) if found.keeps else there
    return Explanation(str(address), tuple(steps), ends, None, _may_write(desk, found))


def _end(found: Found, asked: Address, sources: _Sources) -> End:
    match found:
        case Target():
            connector, hop = found.lane
            copies = tuple(_end(copy, asked, sources) for copy in found.copies)
            source = sources.of_lane(found.why)
            return End(str(found.address), source, connector, hop, copies=copies)
        case Status():
            return End(str(asked), code=found.code, text=found.text)
        case Members():
            return End(str(asked), text=f"the group {found.group.name} of {len(found.group.members)}")
        case Elsewhere():
            return End(str(found.address), text=f"offered to {', then '.join(found.systems)}")


def _may_write(desk: Desk, found: Found) -> str:
    if isinstance(found, Status):
        return ""
    if isinstance(found, Target):
        mapping = desk.config.mapping
        if found.foreign:
            return "only clients that may relay reach it"
        if found.address.network in mapping.paid_networks:
            return "it costs money: only clients that may relay, and the `paid_senders`, may write to it"
        if found.carried:
            return f"anyone may write to it, {mapping.encapsulation.per_hour:g} times an hour"
    return "anyone may write to it"


# -- how it is shown


def _outward(desk: Desk, table: Table, address: Address, network: str | None, sources: _Sources) -> Iterator[Shown]:
    carried = {name for each in capabilities_of(desk.config).values() for name in each.header_networks}
    names = [desk.networks.canonical_name(network)] if network is not None else desk.networks.names
    for name in names:
        found = table.translate(address, name, Direction.OUTWARD)
        # On networks that nothing here speaks and where nobody would see it, there is nothing to tell.
        if network is None and name not in carried and found.address.network != name:
            continue
        source = sources.of_translation(found)
        yield Shown(name, str(found.address), found.how, _how(found, address, name), source)
        for connector, where in desk.config.homes.items() if table.asks_for_places else ():
            there = table.translate(address, name, Direction.OUTWARD, Place(where, connector))
            if where == name and there != found:
                source = sources.of_translation(there)
                yield Shown(name, str(there.address), there.how, _how(there, address, name), source, connector)


def _how(found: Translation, address: Address, network: str) -> str:
    match found.how:
        case "identity":
            return f"the primary address of {found.detail}"
        case "rule":
            return f"by the rule {found.detail}"
        case "encapsulated":
            return found.detail or "the address that it carries"
        case _ if found.address.network != network:
            return found.detail or f"{network} has no form for it"
        case _:
            return "as it is" if found.address == address else found.detail


# -- sources


class _Sources:
    """Names what decided, with its place: lines are those of the configuration on disk."""

    def __init__(self, desk: Desk, connection: Connection, directory: StoredDirectory) -> None:
        self._config = desk.config
        self._connection = connection
        self._directory = directory
        self._document = Document(desk.config.path)
        self._rules = {str(rule): n for n, rule in reversed(list(enumerate(desk.config.rules)))}
        self._identities: dict[int, Source] = {}

    def of_step(self, text: str) -> Source | None:
        rules = [shown for shown in self._rules if shown in text]
        if rules:
            return self._rule(self._rules[max(rules, key=len)])
        for (network, _), who in self._directory.found.items():
            if text == f"the group {who.name} has {len(who.members)} members":
                return self._identity(who)
            if text.startswith(f"{network}:") and text.endswith(f" is an address of {who.name}"):
                return self._identity(who)
        return None

    def of_translation(self, found: Translation) -> Source | None:
        if found.how == "rule" and found.detail in self._rules:
            return self._rule(self._rules[found.detail])
        if found.how == "identity":
            return next(
                (self._identity(who) for who in self._directory.found.values() if who.name == found.detail), None
            )
        if found.how == "encapsulated" and found.address.network in self._config.mapping.gates:
            return self._placed(("mapping", "gates", found.address.network), f"gate of {found.address.network}")
        return None

    def of_lane(self, why: str) -> Source | None:
        """Return the source of a target: its reasons end with the route, or the identity's home."""
        last = why.rpartition("; ")[2]
        if last.startswith("route "):
            n = int(last.removeprefix("route ").partition(":")[0]) - 1
            return self._placed(("route", n), last, route=n + 1)
        home = last.partition("home of the identity: ")[2]
        return self._placed(("connector", home), last) if home else None

    def of_shared(self, domain: str) -> Source | None:
        for n, shared in enumerate(self._config.mapping.shared):
            if shared.domain == domain:
                return self._placed(("mapping", "shared", n), f"{domain} is a shared domain")
        return None

    def _rule(self, n: int) -> Source:
        return self._placed(("mapping", "rule", n), f"rule {n + 1}", rule=n + 1)

    def _placed(self, path: Path, text: str, **numbers: int) -> Source:
        return Source(text, file=self._config.path.name, line=self._document.line(path), **numbers)

    def _identity(self, who: Identity) -> Source:
        known = self._identities.get(who.id)
        if known is None:
            log = store.log(self._connection, limit=1, identity=who.id)
            by = f", set by {told_as(log[0])}" if log else ""
            known = Source(f"identity {who.id}{by}", identity=who.id, revision=log[0].number if log else None)
            self._identities[who.id] = known
        return known


def lines(told: Mapping[str, Any]) -> Iterator[str]:
    """Yield an explanation as lines for people."""
    if told["steps"]:
        yield f"Mail to {told['address']}"
        for n, step in enumerate(told["steps"], 1):
            yield f"  {n}. {step['text']}"
            yield from _source_line(step["source"], "       ")
        if told["members"] is None:
            for end in told["ends"]:
                yield from _end_lines(end)
        else:
            yield from _member_lines(told["members"], told["ends"])
        if told["who_may_write"]:
            yield f"  {told['who_may_write']}"
    if told["shown"]:
        yield f"{told['address']} is shown"
        width = max(len(one["network"]) for one in told["shown"])
        for one in told["shown"]:
            by = f" in mail by {one['connector']}" if one["connector"] else ""
            yield f"  on {one['network']:{width}}  as {one['address']}{by}"
            yield f"  {'':{width}}       {one['text']}{_in_brackets(one['source'])}"
    yield from (f"Note: {note}" for note in told["notes"])


def _member_lines(count: int, ends: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield f"  goes to its {count} member{'s' if count != 1 else ''}:"
    for end in ends:
        first, *_ = _end_lines(end)
        yield f"    {first.strip().removeprefix('goes to ')}"
    if count > len(ends):
        yield f"    and {count - len(ends)} more"


def _end_lines(end: Mapping[str, Any]) -> Iterator[str]:
    if end["code"]:
        yield f"  is refused: {end['to']}: {end['code']} {end['text']}"
    elif end["connector"] is None or end["next_hop"] is None:
        yield f"  goes to {end['to']}: {end['text']}"
    else:
        yield f"  goes to {end['to']} by connector {end['connector']}, next hop {end['next_hop']}"
    yield from _source_line(end["source"], "       ")


def _source_line(source: Mapping[str, Any] | None, indent: str) -> Iterator[str]:
    if source is not None:
        yield f"{indent}{source['text']}{_place(source)}"


def _in_brackets(source: Mapping[str, Any] | None) -> str:
    if source is None:
        return ""
    if source["identity"] is not None:
        return f" (identity {source['identity']}, revision {source['revision']})"
    return f" ({source['text']}{_place(source)})"


def _place(source: Mapping[str, Any]) -> str:
    return f", {source['file']}:{source['line']}" if source["line"] is not None else ""
