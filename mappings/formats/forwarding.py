"""Forwarding: what rows `address -> addresses` come to, as identities, groups and rules.

Every address is followed through the rows to where it ends, in the order of look-ups that Postfix has: the address
with its sub-address, the address without it (which then goes on to the result), the bare user of this host, and the
whole domain. All addresses that end at one are an identity: the end is its primary address. A row with several
results is a group, and what ends there are its aliases. A row for a whole domain is a rule.

    ann@old.example  ann.lee@acme.example      Ann: primary ann.lee@acme.example, alias ann@old.example
    al@old.example   ann@old.example           and alias al@old.example
    all@acme.example ann@old.example, bob      a group of two
    @old.example     @acme.example             smtp:{local}@old.example -> smtp:{local}@acme.example

Promises: `Table.resolve` of the result gives what following the rows gives, with these differences, which are ours:
- a sub-address is kept wherever the network can carry it: also where the row's result has a sub-address of its own
  (then that one alone), and for an alias that ends in a domain's catch-all;
- a name in quotes matches no rule for a whole domain;
- a row that keeps the mail and copies it too is an identity whose mail is forwarded and kept (`mappings.mail_rules`).
Time and memory are linear in the number of rows and results.
Source: virtual(5), canonical(5), generic(5), relocated(5), aliases(5), ADDRESS_REWRITING_README.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from mappings.address import Address, AddressError
from mappings.formats import Entry, OptionError, Options
from mappings.identity import Held, Identity, Kind, Role
from mappings.mail_rules import FORWARD
from mappings.network import Registry
from mappings.networks.smtp import domain_key, unquote
from mappings.rule import Rule, RuleError, Way, compile_rule
from mappings.tabular import Problems

MAX_DOMAINS: Final = 100
LOCAL: Final = "{local}"
HERE: Final = {
    "origin": "the domain of users that are named without one, as in Postfix's myorigin",
    "destinations": "all domains in which such users have their mail, parted by blanks, as in mydestination",
}
"""The options of formats that name users without a domain."""

_WORDS: Final = re.compile(r"[\s,]+")


@dataclass(frozen=True, slots=True)
class Here:
    """The domains of the host that a map belongs to: `origin` completes a bare user, who is known in all of them."""

    origin: str | None
    domains: tuple[str, ...]

    @classmethod
    def of(cls, options: Options) -> Here:
        """Read the options `origin` and `destinations`. Raises: OptionError."""
        domains = [_domain(word, "destinations") for word in _WORDS.split(options.get("destinations", "")) if word]
        if len(domains) > MAX_DOMAINS:
            raise OptionError(f"the option destinations has {len(domains)} domains, at most {MAX_DOMAINS} are taken")
        origin = _domain(options["origin"], "origin") if "origin" in options else next(iter(domains), None)
        return cls(origin, tuple(dict.fromkeys(domains if origin is None else (origin, *domains))))


def _domain(text: str, option: str) -> str:
    try:
        return domain_key(text.strip())
    except AddressError as e:
        raise OptionError(f"the option {option} has {text!r}, which is no domain: {e.message}") from None


@dataclass(frozen=True, slots=True)
class Row:
    """One row for one address."""

    line: int
    address: Address
    targets: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Whole:
    """One row for a domain: `to` is the address that all of it goes to, else `to_domain` is the domain.

    A mailbox then is the same there, but for `before` and `after` around it.
    """

    line: int
    domain: str
    to: Address | None
    to_domain: str = ""
    before: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class End:
    """Where an address ends: at an address, or at a group (`is_group`)."""

    address: Address
    is_group: bool


@dataclass(slots=True)
class _Person:
    line: int
    address: Address
    others: list[Address] = field(default_factory=list)


class Forwarding:
    """Gathers rows, and makes entries and rules of them.

    `follows` says that a result is looked up again. Where `users_last` a bare user counts after the whole domain.
    """

    def __init__(
        self, networks: Registry, here: Here, problems: Problems, *, follows: bool = True, users_last: bool = False
    ) -> None:
        self._networks = networks
        self._smtp = networks.get("smtp")
        self._here = here
        self._problems = problems
        self._follows = follows
        self._users_last = users_last
        self._rows: dict[str, Row] = {}
        self._users: list[tuple[int, str, tuple[Address, ...]]] = []
        self._seen_users: dict[str, int] = {}
        self._wholes: dict[str, Whole] = {}
        self._owners: dict[str, Address] = {}
        self._forwards: dict[str, tuple[int, tuple[Address, ...]]] = {}
        """By key of an address that keeps its mail and has it copied: the line, and all that get it."""

    def add(self, line: int, address: Address, targets: Sequence[Address]) -> None:
        """Take a row for an address; of two for one, the first counts, as it does for postmap."""
        first = self._rows.get(address.key)
        if first is not None:
            self._problems.add(line, "", f"{address} has a row already, on line {first.line}; that one is in force")
            return
        self._rows[address.key] = Row(line, address, tuple(dict.fromkeys(targets)))

    def add_user(self, line: int, user: str, targets: Sequence[Address]) -> None:
        """Take a row for a bare user of this host: a local part, quoted where it must be."""
        if not self._here.domains:
            self._problems.add(line, "", f"{user!r} is a user of the host; say its domain in the option origin")
            return
        first = self._seen_users.setdefault(user.lower(), line)
        if first != line:
            self._problems.add(line, "", f"{user!r} has a row already, on line {first}; that one is in force")
            return
        self._users.append((line, user, tuple(dict.fromkeys(targets))))

    def add_whole(
        self, line: int, domain: str, targets: Sequence[Address | str], before: str = "", after: str = ""
    ) -> None:
        """Take a row for a whole domain; a target that is a text is a domain, in comparison form.

        There a mailbox gets `before` and `after` around it.
        """
        first = self._wholes.get(domain)
        if first is not None:
            self._problems.add(line, "", f"@{domain} has a row already, on line {first.line}; that one is in force")
        elif len(targets) > 1:
            self._problems.add(
                line,
                "",
                f"@{domain} goes to {len(targets)} addresses; make a group of them, and let @{domain} go there",
            )
        elif isinstance(targets[0], str):
            self._wholes[domain] = Whole(line, domain, None, targets[0], before, after)
        else:
            self._wholes[domain] = Whole(line, domain, targets[0])

    def add_owner(self, user: str, owner: Address) -> None:
        """Say who gets the reports about the group of a bare user."""
        for domain in self._here.domains:
            self._owners[f"{user.lower()}@{domain}"] = owner

    def has_row(self, address: Address) -> bool:
        """Tell whether an address has a row of its own."""
        return address.key in self._rows

    def rules(self, way: Way) -> Iterator[Rule]:
        """Yield the rules for whole domains: INWARD for recipients, OUTWARD for the addresses that are shown."""
        for whole in self._wholes.values():
            if whole.to is None and whole.to_domain == whole.domain and not whole.before + whole.after:
                continue  # it only keeps the domain from other rows, and no rule is needed for that
            new: str | None = f"smtp:{whole.before}{LOCAL}{whole.after}@{whole.to_domain}"
            if whole.to is not None:
                new = literal(whole.to)
            old = f"smtp:{LOCAL}@{whole.domain}"
            if new is None:
                self._problems.add(whole.line, "value", f"{whole.to} has braces, which a rule takes for its own")
                continue
            rule = Rule(old, new, Way.INWARD) if way is Way.INWARD else Rule(new, old, Way.OUTWARD)
            if is_usable(rule, whole.line, self._networks, self._problems):
                yield rule

    def entries(self, role: Role = Role.ALIAS, *, groups: bool = True) -> list[Entry]:
        """Return the identities and groups; `role` is how they hold what ends at them.

        Without `groups` a row with several results is a problem.
        """
        self._spread_users()
        ends = self._ends()
        people: dict[str, _Person] = {}
        lists: dict[str, _Person] = {}
        for row in self._rows.values():
            end = ends.get(row.address.key)
            if end is None:
                continue
            if end.is_group and not groups:
                self._problems.add(
                    row.line, "value", f"{row.address} becomes several addresses; here it can be one alone"
                )
                continue
            person = (lists if end.is_group else people).setdefault(end.address.key, _Person(row.line, end.address))
            person.line = min(person.line, row.line)
            if row.address != end.address:
                person.others.append(row.address)
        looping = self._looping(lists, ends) if lists else set()
        if not groups:
            for key, (line, targets) in self._forwards.items():
                message = f"{people[key].address} becomes {len(targets)} addresses; here it can be one alone"
                self._problems.add(line, "value", message)
            self._forwards.clear()
        found = []
        for key, person in (*people.items(), *lists.items()):
            if key in looping:
                message = f"{person.address} has itself among its members, through other groups; break the ring"
                self._problems.add(person.line, "value", message)
                continue
            found.append(self._entry(person, self._rows[key].targets if key in lists else (), role))
        found.sort(key=lambda entry: entry.line)
        return found

    def _entry(self, person: _Person, members: tuple[Address, ...], role: Role) -> Entry:
        address = person.address
        held = (Held(address, Role.PRIMARY), *(Held(other, role) for other in person.others))
        name = unquote(address.value.rpartition("@")[0]).strip() if members else address.value
        attributes = [("ref", address.key)]
        if address.key in self._forwards:
            _, targets = self._forwards[address.key]
            attributes.insert(0, (FORWARD, ";".join(str(target) for target in targets)))
        identity = Identity(
            name if name and name.isprintable() else ascii(address.value),
            held,
            Kind.GROUP if members else Kind.PERSON,
            attributes=tuple(attributes),
            members=members,
            owner=self._owners.get(address.key) if members else None,
        )
        return Entry(person.line, identity)

    def _spread_users(self) -> None:
        """Make a row in every domain of the host for each bare user, where nothing with more right stands there."""
        # With a sub-address before without: the one with it has more right, and must not find the other there.
        for line, user, targets in sorted(self._users, key=lambda each: not self._has_tag(each[1])):
            first: Address | None = None
            for domain in self._here.domains:
                try:
                    address = self._smtp.parse(f"{user}@{domain}")
                except AddressError as e:
                    self._problems.add(line, "key", f"{user!r} is no mailbox: {e.message} [{e.rule}]")
                    break
                if self._users_last and domain in self._wholes:
                    continue
                if all(key not in self._rows for key in self._smtp.lookup_keys(address)):
                    # One group, known in all domains of the host, and not one in each.
                    if first is None:
                        first = address
                    elif len(targets) > 1:
                        targets = (first,)
                    self._rows[address.key] = Row(line, address, targets)
        self._users.clear()

    def _has_tag(self, user: str) -> bool:
        try:
            return len(tuple(self._smtp.lookup_keys(self._smtp.parse(f"{user}@localhost")))) > 1
        except AddressError:
            return False

    def _row_of(self, address: Address) -> Row | None:
        return next((row for key in self._smtp.lookup_keys(address) if (row := self._rows.get(key)) is not None), None)

    def results(self, address: Address) -> tuple[Address, ...] | None:
        """Return the results for one address, None where no row matches."""
        row = self._row_of(address)
        if row is not None:
            if row.address == address:
                return row.targets
            return tuple(self._smtp.carry(target, address) for target in row.targets)
        local = address.value.rpartition("@")[0]
        whole = self._wholes.get(address.key.rpartition("@")[2])
        if whole is None:
            return None
        if whole.to is not None:
            return (whole.to,)
        try:
            return (self._smtp.parse(f"{whole.before}{local}{whole.after}@{whole.to_domain}"),)
        except AddressError:
            return None

    def _ends(self) -> dict[str, End]:
        """Follow every row's address to its end; what goes in a ring is a problem, and has none."""
        ends: dict[str, End | None] = {}
        for row in self._rows.values():
            way: list[str] = []
            address = row.address
            end: End | None = None
            on_way: set[str] = set()
            while True:
                if self._follows and address.key in ends:
                    end = ends[address.key]
                    break
                if address.key in on_way:
                    break
                way.append(address.key)
                on_way.add(address.key)
                targets = self.results(address) if self._follows or len(way) == 1 else None
                if targets is None or targets == (address,):
                    end = End(address, is_group=False)
                    break
                if address in targets:
                    self._forwards[address.key] = (row.line, targets)
                    end = End(address, is_group=False)
                    break
                if len(targets) > 1:
                    group = self._row_of(address)
                    end = None if group is None else End(group.address, is_group=True)
                    break
                address = targets[0]
            if self._follows:
                ends |= dict.fromkeys(way, end)
            else:
                ends[row.address.key] = end
            if end is None:
                self._problems.add(row.line, "value", f"{row.address} is forwarded in a ring, and so goes nowhere")
        if not self._follows:
            self._refuse_chains(ends)
        return {key: end for key, end in ends.items() if end is not None}

    def _refuse_chains(self, ends: dict[str, End | None]) -> None:
        """Where results are not looked up again, one that has a row of its own would be two identities'."""
        for row in self._rows.values():
            end = ends.get(row.address.key)
            if end is None or end.is_group or end.address == row.address:
                continue
            other = self._rows.get(end.address.key)
            if other is not None and other.targets != (other.address,):
                ends[row.address.key] = None
                self._problems.add(
                    row.line,
                    "value",
                    f"{row.address} becomes {end.address}, which line {other.line} makes into another; "
                    "name the last one here",
                )

    def _looping(self, lists: Mapping[str, _Person], ends: Mapping[str, End]) -> set[str]:
        """Return the groups whose members lead back to them, and those that hold such groups."""
        holders: dict[str, list[str]] = {}
        waits: dict[str, int] = {}
        for key in lists:
            inner = set()
            for member in self._rows[key].targets:
                end = self._end_of(member, ends)
                if end is not None and end.is_group and end.address.key in lists:
                    inner.add(end.address.key)
            waits[key] = len(inner)
            for each in inner:
                holders.setdefault(each, []).append(key)
        free = [key for key, count in waits.items() if not count]
        while free:
            key = free.pop()
            waits.pop(key)
            for holder in holders.get(key, ()):
                waits[holder] -= 1
                if not waits[holder]:
                    free.append(holder)
        return set(waits)

    def _end_of(self, address: Address, ends: Mapping[str, End]) -> End | None:
        seen: set[str] = set()
        while address.key not in seen:
            if address.key in ends:
                return ends[address.key]
            seen.add(address.key)
            targets = self.results(address)
            if targets is None or len(targets) != 1 or targets[0] == address:
                return None
            address = targets[0]
        return None


def literal(address: Address) -> str | None:
    """Return the pattern that matches one address alone, None where it would be read as one with variables."""
    return None if "{" in address.value else str(address)


def is_usable(rule: Rule, line: int, networks: Registry, problems: Problems) -> bool:
    """Tell whether a rule can be compiled; where not, add the reason as a problem."""
    try:
        compile_rule(rule, 0, networks)
    except RuleError as e:
        problems.add(line, "", f"no rule can be made of it: {e}")
        return False
    return True


def held_on_smtp(number: int, identity: Identity, problems: Problems) -> tuple[Address, list[Held]] | None:
    """Return the primary smtp address of an identity and the others that it holds at all times, None without one."""
    held = list(identity.of("smtp"))
    lasting = [h for h in held if h.since is None and h.until is None]
    problems_before = len(held) - len(lasting)
    if problems_before:
        problems.add(
            number,
            "smtp",
            f"{identity.name!r} holds {problems_before} addresses for a time only, which has no form here",
        )
    primary = next((h.address for h in lasting if h.role is Role.PRIMARY), None)
    if primary is None:
        if lasting:
            problems.add(number, "smtp", f"{identity.name!r} has no primary smtp address to point at")
        return None
    return primary, [h for h in lasting if h.role is not Role.PRIMARY]


def parse_all(
    texts: Iterable[str], here: Here, networks: Registry, line: int, problems: Problems
) -> list[Address | str]:
    """Return the addresses of texts; a text `@domain` comes back as the domain's comparison form, a bare user whole.

    What is none is a problem, and left out.
    """
    smtp = networks.get("smtp")
    found: list[Address | str] = []
    for text in texts:
        try:
            if text.startswith("@"):
                found.append(domain_key(text[1:]))
            elif "@" in text:
                found.append(smtp.parse(text))
            elif here.origin is None:
                problems.add(line, "value", f"{text!r} is a user of the host; say its domain in the option origin")
            else:
                found.append(smtp.parse(f"{text}@{here.origin}"))
        except AddressError as e:
            problems.add(line, "value", f"{text[:200]!r}: {e.message} [{e.rule}]")
    return found
