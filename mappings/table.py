"""Table: the immutable snapshot of identities and rules that every message is mapped by.

Promises: any number of threads may read a Table; two calls with equal arguments give equal answers; an address that
`translate` shows on another network is resolved back to the one it stands for; nothing but an identity, a rule of
the operator's, the postmaster or an address signed by this gateway is open to strangers (Verdict.KNOWN).
An address known twice, a rule that cannot be undone and rules that feed each other are found when it is compiled.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from mappings.address import Address, AddressError
from mappings.checks import Checked, MappingError, check, check_identities
from mappings.directory import Directory, MemoryDirectory, Person
from mappings.encapsulation import Encapsulation, EncapsulationError
from mappings.identity import Identity, Kind, Stage
from mappings.mail_rules import RuleMistake, forwards_of
from mappings.network import Network, Registry, registry
from mappings.networks.smtp import domain_key
from mappings.resolution import Direction, Group, Resolution, Translation, Verdict
from mappings.rule import MAX_STEPS, Compiled, Place, Rule
from mappings.tokens import TokenBook

__all__ = [
    "MAX_STEPS",
    "Direction",
    "MappingError",
    "Resolution",
    "Table",
    "Translation",
    "Verdict",
    "compile_table",
]

_CARRIES: Final = "carries"
MAX_MEMBERS: Final = 10_000
"""The most members that a group is expanded to."""


class Table:
    """The compiled snapshot; made by `compile_table`."""

    def __init__(
        self,
        checked: Checked,
        directory: Directory,
        *,
        homes: Mapping[str, str],
        clock: Callable[[], float],
        encapsulation: Encapsulation | None,
        postmaster: Address | None,
        gates: Mapping[str, Address],
        shared: frozenset[str],
        tokens: TokenBook | None,
        percent_hack: bool,
        networks: Registry,
        version: int,
    ) -> None:
        self.tokens = tokens
        self._percent_hack = percent_hack
        self.version = version
        self._shared = shared
        self.domains = checked.domains
        self.directory = directory
        self._homes = dict(homes)
        self._clock = clock
        self._encapsulation = encapsulation
        self._own_domains = checked.domains | (encapsulation.domains if encapsulation is not None else frozenset())
        self._postmaster = postmaster
        self.gates: Mapping[str, Address] = dict(gates)
        self._networks = networks
        self._rules = tuple(checked.rules)
        self._smtp_rules: dict[str, list[Compiled]] = {}
        self._other_rules: dict[str, list[Compiled]] = {}
        self._back_rules: dict[tuple[str, str], list[Compiled]] = {}
        for rule in self._rules:
            if rule.forwards and rule.match.network == "smtp":
                self._smtp_rules.setdefault(rule.match.domain_end, []).append(rule)
            elif rule.forwards:
                self._other_rules.setdefault(rule.match.network, []).append(rule)
            if rule.backwards:
                self._back_rules.setdefault((rule.to.network, rule.match.network), []).append(rule)
        self.asks_for_places = any(rule.rule.source or rule.rule.destination for rule in self._rules)
        """Whether an answer may depend on where a message comes from or goes to."""

    def __len__(self) -> int:
        return len(self.directory)

    def identities(self) -> Iterator[Identity]:
        """Yield the identities in the order they were given."""
        return self.directory.identities()

    def rules(self) -> Iterator[Rule]:
        """Yield the rules in order."""
        return (compiled.rule for compiled in self._rules)

    def derived_key(self, purpose: str) -> bytes:
        """Return a key for another purpose than encapsulation; empty where no encapsulation is configured."""
        return b"" if self._encapsulation is None else self._encapsulation.derived_key(purpose)

    def resolve(self, recipient: Address, source: Place | None = None) -> Resolution:
        """Say where mail for a recipient goes, or how it is to be refused. `source` is where the message comes from,
        for the rules that ask for it. Raises nothing."""
        person = self._find(recipient)
        if person is not None:
            return self._known(person, recipient, ())
        if recipient.network == "smtp":
            _, domain = _split(recipient.key)
            if (
                domain
                and domain not in self._own_domains
                and not (self._smtp_rules and self._candidates(domain))
                and not (self._encapsulation is not None and self._encapsulation.is_below(domain))
            ):
                return Resolution(Verdict.FOREIGN, recipient)
        return self._follow(recipient, source)

    def is_ours(self, address: Address) -> bool:
        """Tell whether an address is an identity's, or in a space that this gateway answers for."""
        if self._find(address) is not None:
            return True
        if address.network == "smtp":
            return self._is_own_domain(_split(address.key)[1])
        # Loops, since this is asked of each address that is met for the first time.
        for rule in self._other_rules.get(address.network, ()):
            if rule.match.read(address) is not None:
                return True
        for (network, _), rules in self._back_rules.items():
            if network == address.network:
                for rule in rules:
                    if rule.to.read(address) is not None:
                        return True
        return False

    def written_for(self, address: Address) -> Address | None:
        """Return the address of another network that an smtp address at a domain of ours carries, signed here or as
        plain IMCEA; None where it carries none. It may be nobody's, and open to nobody. Raises nothing."""
        if address.network != "smtp" or self._encapsulation is None:
            return None
        if not self._is_own_domain(_split(address.key)[1]):
            return None
        try:
            return self._encapsulation.decapsulate(address, unsigned=_anybody) or self._encapsulation.unsigned(address)
        except EncapsulationError:
            return None

    def translate(
        self, address: Address, to_network: str, direction: Direction, destination: Place | None = None
    ) -> Translation:
        """Return the form under which `address` is shown on `to_network`, so that a reply finds the one it names.

        `destination` is where the message goes, and a reply comes from, for the rules that ask for it. Former
        addresses are never shown. Where the network has no form for it, the address stays in its own or in smtp.
        Raises nothing.
        """
        person = self._find(address)
        if address.network == to_network:
            if person is None:
                ruled = None if direction is Direction.INWARD else self._by_rule(address, to_network, destination)
                return ruled if ruled is not None and ruled.address != address else Translation(address, "same")
            return self._same_network(person, address, direction)
        if person is not None:
            shown = person.primary(to_network)
            if shown is not None:
                return Translation(shown, "identity", person.name)
        return self._across(person, address, to_network, destination)

    def identity_of(self, address: Address) -> Identity | None:
        """Return who has an address at this moment, None where nobody does."""
        person = self._find(address)
        return None if person is None else person.identity

    def in_ascii(self, address: Address) -> Address | None:
        """Return an all-ASCII address of the same person on the same network, None where there is none."""
        person = self._find(address)
        return None if person is None else person.identity.in_ascii(address.network, self._clock())

    def explain(self, address: Address) -> list[str]:
        """Return, in plain words, where mail for an address goes and how it is shown on every network."""
        found = self.resolve(address)
        lines = list(found.steps) or [f"{address} is nobody here and no rule matches: it stays as it is"]
        if found.code:
            lines.append(f"refused: {found.code} {found.text}")
        else:
            where = f"by its home, connector {found.home}" if found.home else "where the routes say"
            who = "anyone may write to it" if found.verdict is Verdict.KNOWN else "only clients that may relay reach it"
            lines.append(f"mail goes to {found.address}, {where}; {who}")
        for name in self._networks.names:
            shown = self.translate(address, name, Direction.OUTWARD)
            why = f" ({shown.how}{': ' if shown.detail else ''}{shown.detail})"
            lines.append(f"shown to people on {name} as {shown.address}{why}")
        return lines

    def _find(self, address: Address) -> Person | None:
        directory = self.directory
        network = address.network
        if not directory.has_network(network):
            return None
        now = self._clock()
        person = directory.find(network, address.key, now)
        if person is not None:
            return person
        for key in self._networks.get(network).lookup_keys(address):
            if key != address.key:
                person = directory.find(network, key, now)
                if person is not None:
                    return person
        return None

    def _known(self, person: Person, asked: Address, before: tuple[str, ...]) -> Resolution:
        step = f"{asked} is an address of {person.name}"
        steps = (*before, step)
        home = person.home
        target = person.primaries.get(self._homes.get(home, "")) if home is not None else None
        if target is None:
            if home is not None:
                text = "the mailbox's system takes no address that this person has; tell the postmaster"
                why = f"{person.name} has its home at {home}, and no address there"
                return Resolution(Verdict.REFUSED, asked, code="4.3.5", text=text, steps=(*steps, why))
            target = person.primaries.get(asked.network) or person.fallback()
        if person.kind is Kind.GROUP and person.identity.expand and person.identity.members:
            return self._group(person, target or asked, steps)
        if target is None:
            text = "the address is not in use at this time"
            return Resolution(Verdict.UNKNOWN, asked, code="5.1.6", text=text, steps=steps)
        now_shown = self._former(person, asked)
        if target.network == asked.network and self.directory.find(asked.network, asked.key, self._clock()) is None:
            target = self._networks.get(target.network).carry(target, asked)
        copies: tuple[tuple[str, Address], ...] = ()
        if person.copy_home is not None and person.copy_home != home:
            copy = person.primaries.get(self._homes.get(person.copy_home, ""))
            if copy is not None:
                copies = ((person.copy_home, copy),)
                steps = (*steps, f"a copy goes to {copy} at {person.copy_home}")
        forwards: tuple[Address, ...] = ()
        keeps = False
        if person.forward is not None:
            try:
                forwards, keeps = self._forwards(person)
            except RuleMistake as mistake:
                text = "the forwarding of this mailbox cannot be read; tell the postmaster"
                return Resolution(Verdict.REFUSED, asked, code="4.3.5", text=text, steps=(*steps, str(mistake)))
            there = ", ".join(map(str, forwards))
            beside = " besides" if keeps else ""
            steps = (*steps, f"its mail is forwarded to {there}{beside}") if forwards else steps
        is_cut = person.stage is Stage.CUTTING
        if is_cut:
            steps = (*steps, "the mailbox is being cut over: what comes waits here")
        return Resolution(
            Verdict.KNOWN, target, home, person.name, "", "", steps, copies, None, now_shown, None, person.is_timed,
            forwards=forwards, keeps=keeps, is_cut=is_cut,
        )  # fmt: skip

    def _forwards(self, person: Person) -> tuple[tuple[Address, ...], bool]:
        """Return where somebody's mail is forwarded, and whether their own mailbox has it, too: where one of their own
        addresses stands among them. Raises: RuleMistake."""
        named = forwards_of(person.forward or "", self._networks)
        found = [(address, self._find(address)) for address in named]
        # By value: a directory may make the object anew at each look.
        away = tuple(address for address, who in found if who is None or who.identity != person.identity)
        return away, len(away) < len(named)

    def _former(self, person: Person, asked: Address) -> Address | None:
        """Return the address that replaces the one asked for, None where that one is current."""
        if not person.former or not self._found_as_former(person, asked):
            return None
        return person.primaries.get(asked.network) or person.fallback()

    def _group(self, person: Person, target: Address, before: tuple[str, ...]) -> Resolution:
        """Expand a group whose members are on any network; a ring of groups is walked once."""
        members: dict[tuple[str, str], Address] = {}
        seen = [person.identity]  # by value: a directory may make the object anew at each look
        steps = list(before)
        waiting = deque([person])
        while waiting:
            outer = waiting.popleft()
            steps.append(f"the group {outer.name} has {len(outer.identity.members)} members")
            for member in outer.identity.members:
                who = self._find(member)
                if who is not None and who.kind is Kind.GROUP and who.identity.expand and who.identity.members:
                    if who.identity not in seen:
                        seen.append(who.identity)
                        waiting.append(who)
                    continue
                members.setdefault((member.network, member.key), member)
            if len(members) > MAX_MEMBERS:
                text = f"the group has over {MAX_MEMBERS} members; send to parts of it"
                return Resolution(Verdict.REFUSED, target, code="5.3.4", text=text, steps=tuple(steps))
        if not members:
            text = "the group has no members"
            return Resolution(Verdict.UNKNOWN, target, code="5.1.1", text=text, steps=tuple(steps))
        group = Group(person.name, tuple(members.values()), person.identity.owner)
        return Resolution(Verdict.KNOWN, target, None, person.name, steps=tuple(steps), group=group, is_timed=True)

    def _follow(self, recipient: Address, source: Place | None) -> Resolution:
        """Translate a recipient until it is somebody, or nothing more applies."""
        steps: list[str] = []
        address = recipient
        is_open = is_carried = False
        for _ in range(MAX_STEPS):
            person = self._find(address)
            if person is not None:
                return self._known(person, address, tuple(steps))
            try:
                after = self._next(address, source)
            except EncapsulationError as e:
                return Resolution(Verdict.REFUSED, address, code=e.code, text=e.text, steps=(*steps, f"{address}: {e}"))
            if after is None:
                return self._end(address, tuple(steps), is_open=is_open, is_carried=is_carried)
            following, is_open, why = after
            is_carried = is_carried or why == _CARRIES
            steps.append(f"{address} {why} {following}")
            if following == address:
                return Resolution(Verdict.KNOWN, following, steps=tuple(steps))
            address = following
        text = "the address is translated without end; tell the postmaster"
        return Resolution(Verdict.REFUSED, address, code="5.4.6", text=text, steps=tuple(steps))

    def _next(self, address: Address, source: Place | None) -> tuple[Address, bool, str] | None:
        """Return (next address, whether strangers may write to it, why) for one step; None at the end.

        Raises: EncapsulationError.
        """
        if address.network != "smtp":
            gate = self.gates.get(address.network)
            inner = None if gate is None else self._behind(gate, address)
            if inner is not None:
                # Whoever signed or ruled the outer address did not mean to open the whole internet behind it.
                return inner, False, "names, behind this gateway,"
            rules: Sequence[Compiled] = self._other_rules.get(address.network, ())
        else:
            if self._encapsulation is not None:
                inner = self._numbered(address)
                if inner is not None:
                    return inner, True, _CARRIES
                inner = self._encapsulation.decapsulate(address, unsigned=_anybody)
                if inner is not None and self._encapsulation.is_signed(address):
                    return inner, True, _CARRIES
                if inner is None:
                    inner = self._encapsulation.by_custom(address)
                if inner is not None:
                    # Nobody signed it, so it opens no network to strangers; people of ours may be named so.
                    return inner, self._is_somebody(inner), "names, unsigned,"
                inner = self.written_for(address)
                if inner is not None and self._is_somebody(inner):
                    # At another domain of ours, as a mail system that is gone wrote it: it may name people alone.
                    return inner, True, "names, unsigned,"
            local, domain = _split(address.key)
            # RFC 5321 §4.5.1: for every domain a host serves, and without any domain
            if local == "postmaster" and self._postmaster is not None and (not domain or domain in self._own_domains):
                return self._postmaster, True, "goes to the configured postmaster"
            inner = self._routed_by_percent(address) if self._percent_hack else None
            if inner is not None:
                # Whoever writes so is asking us to relay, which is for those alone who may.
                return inner, False, "asks to be sent on to"
            rules = self._candidates(domain) if self._smtp_rules else ()
        for rule in rules:
            made = rule.forward(address) if rule.takes_from(source) else None
            if made is not None:
                return made, True, f"by the rule {rule.rule} is"
        return None

    def _routed_by_percent(self, address: Address) -> Address | None:
        """Return `user@host` for `user%host` at a domain of ours: the last percent sign counts (RFC 1123 §5.2.16)."""
        local = address.value.rpartition("@")[0]
        user, sign, host = local.rpartition("%")
        if not (sign and user and host) or local.startswith('"') or _split(address.key)[1] not in self._own_domains:
            return None
        try:
            return self._networks.parse_in("smtp", f"{user}@{host}")
        except AddressError:
            return None

    def _end(self, address: Address, steps: tuple[str, ...], *, is_open: bool, is_carried: bool) -> Resolution:
        """Answer for an address that is nobody and that nothing translates."""
        if address.network == "smtp":
            domain = _split(address.key)[1]
            if domain in self._shared:
                steps = (*steps, f"{address} is in a shared domain, and nobody's here: another system may know it")
                return Resolution(Verdict.KNOWN, address, steps=steps, shared=domain)
            if self._is_own_domain(domain):
                steps = (*steps, f"{address} is in a domain of ours, and nobody's")
                return Resolution(Verdict.UNKNOWN, address, code="5.1.1", text=_nobody(domain), steps=steps)
        return Resolution(Verdict.KNOWN if is_open else Verdict.FOREIGN, address, steps=steps, is_carried=is_carried)

    def _is_own_domain(self, domain: str) -> bool:
        return not domain or domain in self._own_domains or self._in_rule_space(domain)

    def _is_somebody(self, address: Address) -> bool:
        return self._find(address) is not None

    def _candidates(self, domain: str) -> Sequence[Compiled]:
        """Return the smtp rules whose domain may match, in their order."""
        found = list(self._smtp_rules.get("", ()))
        while domain:
            found += self._smtp_rules.get(domain, ())
            domain = domain.partition(".")[2]
        if len(found) > 1:
            found.sort(key=lambda rule: rule.order)
        return found

    def _in_rule_space(self, domain: str) -> bool:
        """Tell whether a rule translates mail for this domain; a rule for any domain at all claims none."""
        return any(
            rule.match.domain_end and rule.match.domain is not None and rule.match.domain.fullmatch("@" + domain)
            for rule in self._candidates(domain)
        )

    def _same_network(self, person: Person, address: Address, direction: Direction) -> Translation:
        primary = person.primary(address.network)
        if primary is None:
            if not person.is_former(address):
                return Translation(address, "same")
            return Translation(person.fallback() or address, "identity", person.name)
        if primary.key in self._networks.get(address.network).lookup_keys(address):
            return Translation(address, "same")
        if direction is Direction.INWARD and not self._found_as_former(person, address):
            return Translation(address, "same")
        return Translation(primary, "identity", person.name)

    def _found_as_former(self, person: Person, address: Address) -> bool:
        return any(
            (address.network, key) in person.former for key in self._networks.get(address.network).lookup_keys(address)
        )

    def _across(
        self, person: Person | None, address: Address, to_network: str, destination: Place | None
    ) -> Translation:
        """Show an address on another network, where no identity has one of its own there."""
        inner = None if person is not None else self._within(address)
        if inner is not None:
            shown = self.translate(inner, to_network, Direction.OUTWARD, destination)
            return Translation(shown.address, "encapsulated" if shown.how == "same" else shown.how, shown.detail)
        if person is not None:
            primaries = person.primaries
            address = primaries.get("smtp") or primaries.get(address.network) or person.fallback() or address
        ruled = self._by_rule(address, to_network, destination)
        if ruled is not None:
            return ruled
        if address.network != "smtp":
            if self._encapsulation is None:
                return Translation(address, "same", "no encapsulation is configured")
            carried = self._carried(self._encapsulation, address)
            if isinstance(carried, AddressError):
                return Translation(address, "same", carried.message)
            if to_network == "smtp":
                return Translation(carried, "encapsulated", f"signed, and stands for {address}")
            address = carried
        gate = self.gates.get(to_network)
        if gate is not None:
            network = self._networks.get(to_network)
            through = network.through(gate, address)
            if through is not None and (named := self._folded(network, gate, through, address)) is not None:
                through = network.through(gate, named)
            if through is not None:
                return Translation(through, "encapsulated", f"through the gate {gate}")
            if self.tokens is not None and network.numbered(gate, 0) is not None:
                numbered = network.numbered(gate, self.tokens.number(address))
                if numbered is not None:
                    return Translation(numbered, "encapsulated", f"a number at the gate {gate} stands for {address}")
        return Translation(address, "same", f"{to_network} has no form for it")

    def _carried(self, encapsulation: Encapsulation, address: Address) -> Address | AddressError:
        """Return the signed smtp address that carries a foreign one, by a number where it is too long to be written."""
        try:
            return encapsulation.encapsulate(address)
        except AddressError as e:
            return e if self.tokens is None else encapsulation.numbered(self.tokens.number(address))

    def _folded(self, network: Network, gate: Address, through: Address, address: Address) -> Address | None:
        """Return the signed form of what `address` names by some network's custom, where the network that it is shown
        on folds its case so that it would name another; None where it can be shown as it is.

        Such is a path of UUCP, `Alpha!ann@gw.example`, whose hosts are names of their own case.
        """
        if self._encapsulation is None or (inner := self._encapsulation.by_custom(address)) is None:
            return None
        again = network.behind(gate, through)
        if again is not None and self._encapsulation.by_custom(again) == inner:
            return None
        carried = self._carried(self._encapsulation, inner)
        return None if isinstance(carried, AddressError) else carried

    def _within(self, address: Address) -> Address | None:
        """Return what an address carries that this gateway has shown, None where it carries nothing of ours."""
        if address.network != "smtp":
            gate = self.gates.get(address.network)
            return None if gate is None else self._behind(gate, address)
        if self._encapsulation is None:
            return None
        try:
            return self._numbered(address) or self._encapsulation.decapsulate(address, unsigned=self._is_somebody)
        except EncapsulationError:
            return None

    def _numbered(self, address: Address) -> Address | None:
        """Return what a number in an smtp address stands for. Raises: EncapsulationError."""
        if self.tokens is None or self._encapsulation is None:
            return None
        number = self._encapsulation.number_of(address)
        if number is None:
            return None
        inner = self.tokens.address(number)
        if inner is None:
            raise EncapsulationError("5.1.6", "address expired")
        return inner

    def _behind(self, gate: Address, address: Address) -> Address | None:
        """Return what an address names behind our own gate in its network: written out, or by a number."""
        network = self._networks.get(address.network)
        inner = network.behind(gate, address)
        if inner is not None or self.tokens is None:
            return inner
        number = network.number_of(gate, address)
        return None if number is None else self.tokens.address(number)

    def _by_rule(self, address: Address, to_network: str, destination: Place | None) -> Translation | None:
        """Return the form a rule gives, only where mail to it comes to the same address: else replies would stray."""
        if address.network == "smtp":
            forward = self._candidates(_split(address.key)[1]) if self._smtp_rules else ()
        else:
            forward = self._other_rules.get(address.network, ())
        backward = self._back_rules.get((address.network, to_network), ())
        if not forward and not backward:
            return None
        goes_to = self.resolve(address, destination).address
        if address.network == to_network:
            # A catch-all takes mail for many, and is not how any of them is shown.
            forward = [r for r in forward if r.match.names == r.to.names]
        for rule, made in (
            *((r, r.forward(address)) for r in forward if r.to.network == to_network and r.shows_to(destination)),
            *((r, r.backward(address)) for r in backward if r.shows_to(destination)),
        ):
            if made is not None and self._reaches(made, goes_to, destination):
                return Translation(made, "rule", str(rule.rule))
        return None

    def _reaches(self, shown: Address, wanted: Address, back_from: Place | None) -> bool:
        found = self.resolve(shown, back_from)
        return found.address == wanted and not found.code


def _anybody(address: Address) -> bool:
    return True


def _split(key: str) -> tuple[str, str]:
    """Return (local part, domain) of an smtp key; the domain of the bare `postmaster` is empty."""
    local, at, domain = key.rpartition("@")
    return (local, domain) if at else (key, "")


def _nobody(domain: str) -> str:
    """Say what to do, and nothing of who else is here."""
    ask = f"postmaster@{domain}" if domain else "the postmaster"
    return f"nobody has this address here; check its spelling, or ask {ask}"


def compile_table(
    identities: Iterable[Identity] | Directory,
    rules: Sequence[Rule],
    *,
    domains: Iterable[str],
    homes: Mapping[str, str],
    encapsulation: Encapsulation | None,
    version: int,
    postmaster: Address | None = None,
    gates: Mapping[str, Address] | None = None,
    shared: Iterable[str] = (),
    tokens: TokenBook | None = None,
    percent_hack: bool = False,
    networks: Registry | None = None,
    clock: Callable[[], float] = time.time,
) -> Table:
    """Check identities and rules against each other, and make the snapshot.

    `domains` are ours: who is not known there is unknown. `homes` gives each connector's network. `gates` gives, by
    network, this gateway's own address there, behind which that network reaches internet mail. In `shared` domains
    of ours another system may know whom we do not. `tokens` keeps the numbers of correspondents on networks that
    have no room for their addresses. `percent_hack` reads `user%host` at our domains as a wish to be sent on.
    `clock` says which addresses hold. The identities of a Directory have been checked when they were stored; only
    their homes are looked at.
    Raises: MappingError, with every mistake and collision.
    """
    networks = networks if networks is not None else registry()
    directory: Directory
    if isinstance(identities, Iterable):
        people = list(identities)
        problems = check_identities(people, homes)
        directory = MemoryDirectory(people)
    else:
        directory = identities
        known = ", ".join(sorted(homes)) or "none"
        problems = [
            f"identities have their home at {home!r}, which is no configured connector; there are: {known}"
            for home in sorted(directory.homes - homes.keys())
        ]
    checked, more = check(rules, domains=domains, gates=gates or {}, networks=networks)
    problems += more
    if problems:
        raise MappingError(problems)
    return Table(
        checked,
        directory,
        homes=homes,
        clock=clock,
        encapsulation=encapsulation,
        postmaster=postmaster,
        gates=gates or {},
        shared=frozenset(domain_key(domain) for domain in shared),
        tokens=tokens,
        percent_hack=percent_hack,
        networks=networks,
        version=version,
    )
