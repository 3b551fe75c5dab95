"""Check: the stored identities, the rules and the routes looked at together, with everything that is wrong.

Promises: who is found wrong is told with the number and the mend; an error is what keeps mail from somebody. All
identities are looked at, one after the other, in little memory, and while nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import Enum, unique
from typing import Any

from gateway.config_file import Document
from gateway.contract import Connector
from gateway.mapping_desk.desk import Desk
from gateway.mapping_desk.parts import capabilities_of, connectors_of, planner_of
from gateway.mapping_desk.words import called
from gateway.planned import Target
from gateway.planner import Planner
from gateway.status import Status
from gateway.toml_places import Path
from mappings.address import Address
from mappings.checks import mistakes_of
from mappings.directory import Directory
from mappings.identity import Identity, Kind, Role, Stage
from mappings.mail_rules import FORWARD, PREFIX, RuleMistake, rules_of
from mappings.networks.smtp import domain_key
from mappings.prove import Finding as Proof
from mappings.prove import RouteLike, prove
from mappings.reach import find_gaps
from mappings.resolution import Direction
from mappings.rule import Place, Way, compile_rule


@unique
class Severity(Enum):
    """ERROR keeps mail from somebody; WARNING may; NOTE is good to know."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    `kind` is dangling, unreachable, unanswerable, leftover, group, or what a proof or a rule is about.
    """

    severity: Severity
    kind: str
    text: str
    identity: int | None = None
    file: str | None = None
    line: int | None = None
    example: str | None = None
    way: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "severity": self.severity.value}

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.line is not None else ""
        return f"{where}{self.severity.value}: {self.text}"


def check(desk: Desk) -> Iterator[Finding]:
    """Yield all that is wrong, of the rules and routes first. What keeps the configuration from loading is told there.

    Raises: DeskError.
    """
    directory = desk.directory()
    table = desk.table(directory)
    connectors = connectors_of(desk.config)
    planner = planner_of(desk.config, table, desk.clock, connectors)
    document = Document(desk.config.path)
    proofs = list(_proofs(desk, directory, document))
    for warning in desk.config.warnings:
        if not any(warning.endswith(proof.text) for proof in proofs):
            yield Finding(Severity.WARNING, "configuration", warning)
    yield from proofs
    yield from _not_reversible(desk, document)
    yield from _identities(desk, directory, planner, connectors)
    for gap in find_gaps(
        directory.identities(),
        sorted(set(desk.config.homes.values())),
        lambda address, network: table.translate(address, network, Direction.OUTWARD).address,
    ):
        yield Finding(Severity.WARNING, "unanswerable", str(gap))


# -- rules and routes


def _proofs(desk: Desk, directory: Directory, document: Document) -> Iterator[Finding]:
    config, networks = desk.config, desk.networks
    carried = {name: each.header_networks for name, each in capabilities_of(config).items()}

    def is_somebody(address: Address) -> bool:
        keys = networks.get(address.network).lookup_keys(address)
        now = desk.clock()
        return any(directory.find(address.network, key, now) is not None for key in keys)

    found = prove(
        [compile_rule(rule, n) for n, rule in enumerate(config.rules)],
        [
            RouteLike(network, pattern, route.to, carried.get(route.to, ()))
            for route, (network, pattern) in zip(config.routes.routes, config.routes.patterns(), strict=True)
        ],
        domains=[domain_key(domain) for domain in config.mapping.domains],
        gates=config.gates,
        places=[Place(network, name) for name, network in config.homes.items()],
        ours=() if is_somebody(config.postmaster) else (config.postmaster,),
        is_somebody=is_somebody,
    )
    for one in found:
        severity = Severity.ERROR if one.refuses else Severity.WARNING
        example = None if one.example is None else str(one.example)
        line = document.line(_path(one))
        yield Finding(severity, one.kind.value, one.text, None, config.path.name, line, example, one.way)


def _path(proof: Proof) -> Path:
    if proof.rule is not None:
        return ("mapping", "rule", proof.rule)
    return ("route", proof.route) if proof.route is not None else ("mapping",)


def _not_reversible(desk: Desk, document: Document) -> Iterator[Finding]:
    """Yield the rules by which an address need not come back as it was."""
    for n, rule in enumerate(desk.config.rules):
        why = compile_rule(rule, n).why_not_reversible()
        if not why:
            continue
        # One that is meant for one direction is told too, since nothing else shows that replies need another way.
        severity = Severity.WARNING if rule.way is Way.BOTH else Severity.NOTE
        line = document.line(("mapping", "rule", n))
        text = f"rule {n + 1} ({rule}) is not reversible: {why}"
        yield Finding(severity, "not-reversible", text, None, desk.config.path.name, line)


# -- identities


def _identities(
    desk: Desk, directory: Directory, planner: Planner, connectors: Mapping[str, Connector]
) -> Iterator[Finding]:
    within: dict[int, set[int]] = {}
    names: dict[int, str] = {}
    now = desk.clock()
    for who in directory.identities():
        for mistake in mistakes_of(who, desk.config.homes):
            yield Finding(Severity.ERROR, "dangling", f"identity {who.id}: {mistake}", who.id)
        yield from _unreachable(who, planner, now)
        yield from _forwarding(who, planner, now)
        yield from _undeliverable(who, planner, connectors, now)
        if who.copy_home is not None and who.stage not in (Stage.BEFORE, Stage.COEXISTING):
            stage = "no stage of a merger" if who.stage is None else f"the stage {who.stage.value}"
            text = (
                f"{called(who)} still gets copies at {who.copy_home} and has {stage}: end the copies with "
                f"`gatepost map set {who.id} copy_home=`, or set the stage to coexisting"
            )
            yield Finding(Severity.WARNING, "leftover", text, who.id)
        if who.kind is Kind.GROUP:
            names[who.id] = called(who)
            within[who.id] = set()
            yield from _group(who, planner, directory, now, within[who.id])
    for ring in _rings(within):
        shown = " holds ".join(names.get(id, f"identity {id}") for id in (*ring, ring[0]))
        text = f"groups hold each other: {shown}; each is expanded once"
        yield Finding(Severity.WARNING, "group", text, ring[0])


def _unreachable(who: Identity, planner: Planner, now: float) -> Iterator[Finding]:
    """Yield whether mail for somebody ends nowhere: all current addresses lead the same way."""
    current = [h for h in who.addresses if h.role is not Role.FORMER and h.holds_at(now)]
    if not current:
        return
    best = min(current, key=lambda held: held.role is not Role.PRIMARY).address
    if told := _refused(planner, best):
        text = f"mail for {called(who)} at {best} is refused: {told}"
        yield Finding(Severity.ERROR, "unreachable", text, who.id, example=str(best))


def _undeliverable(
    who: Identity, planner: Planner, connectors: Mapping[str, Connector], now: float
) -> Iterator[Finding]:
    """Yield what somebody's rules ask for that the connector which delivers their mail cannot do."""
    if not any(name.startswith(PREFIX) for name, _ in who.attributes):
        return
    own = next((h.address for h in who.addresses if h.role is not Role.FORMER and h.holds_at(now)), None)
    found = None if own is None else planner.target(own)
    if not isinstance(found, Target) or (found.forwards and not found.keeps):
        return
    try:
        rules = rules_of(who)
    except RuleMistake:  # told with the identity's other mistakes
        return
    name = found.lane[0]
    for told in connectors[name].cannot(rules) if name in connectors else ():
        yield Finding(
            Severity.ERROR, "dangling", f"mail for {called(who)} waits at {name}: {told}", who.id, example=str(own)
        )


def _forwarding(who: Identity, planner: Planner, now: float) -> Iterator[Finding]:
    """Yield where somebody's mail is forwarded to nobody, or comes round to them again."""
    if who.attribute(FORWARD) is None:
        return
    own = next((h.address for h in who.addresses if h.role is not Role.FORMER and h.holds_at(now)), None)
    found = None if own is None else planner.target(own)
    if not isinstance(found, Target):
        return
    for address in found.forwards:
        if told := _refused(planner, address):
            text = f"mail for {called(who)} is forwarded to {address}, and mail to it is refused: {told}"
            yield Finding(Severity.ERROR, "dangling", text, who.id, example=str(address))
        elif not found.keeps and _comes_round(planner, address, found):
            text = (
                f"mail for {called(who)} is forwarded to {address}, which leads back: it stays in the mailbox of "
                "whoever it comes round to"
            )
            yield Finding(Severity.WARNING, "forward", text, who.id, example=str(address))


def _comes_round(planner: Planner, address: Address, start: Target) -> bool:
    """Tell whether what is forwarded to an address goes on to the mailbox that it comes from."""
    waiting, seen = [address], set()
    while waiting:
        found = planner.target(waiting.pop())
        if not isinstance(found, Target) or (key := (found.lane, found.address.key)) in seen:
            continue
        if key == (start.lane, start.address.key):
            return True
        seen.add(key)
        waiting += found.forwards
    return False


def _refused(planner: Planner, address: Address) -> str:
    """Return why mail for an address is refused, empty where it is not."""
    found = planner.target(address)
    if not isinstance(found, Status):
        return ""
    return f"{found.code} {found.text}{f' ({found.cause})' if found.cause else ''}"


def _group(who: Identity, planner: Planner, directory: Directory, now: float, inner: set[int]) -> Iterator[Finding]:
    """Yield what is wrong with a group's members and owner; add the groups within it to `inner`."""
    if not who.members and who.expand:
        yield Finding(Severity.WARNING, "group", f"the group {called(who)} has no members", who.id)
    for member in who.members:
        person = directory.find(member.network, member.key, now)
        if person is not None and person.kind is Kind.GROUP:
            inner.add(person.identity.id)
        if told := _refused(planner, member):
            text = f"the group {called(who)} has the member {member}, and mail to it is refused: {told}"
            yield Finding(Severity.ERROR, "dangling", text, who.id, example=str(member))
    if who.owner is not None and (told := _refused(planner, who.owner)):
        text = f"the group {called(who)} is owned by {who.owner}, and mail to it is refused: {told}"
        yield Finding(Severity.ERROR, "dangling", text, who.id, example=str(who.owner))


def _rings(within: Mapping[int, set[int]]) -> Iterator[list[int]]:
    """Yield a shortest ring through each group that is in one, each ring once."""
    done: set[int] = set()
    for start in within:
        if start in done:
            continue
        ways = [[start]]
        seen: set[int] = set()
        for way in ways:
            after = within.get(way[-1], ())
            if start in after:
                done.update(way)
                yield way
                break
            fresh = [id for id in sorted(after) if id not in seen]
            seen.update(fresh)
            ways += [[*way, id] for id in fresh]


def counts_of(findings: Mapping[Severity, int]) -> str:
    """Return how many were found of each severity."""
    numbers = [(findings.get(one, 0), one.value) for one in Severity]
    return ", ".join(f"{n} {word}{'' if n == 1 else 's'}" for n, word in numbers)
