"""sendmail: the tables virtusertable, genericstable and mailertable, as text before `makemap`; and aliases.

virtusertable: a row is an alias, of which the table has one result; `@old.example %1%3@new.example` is a rule for
recipients. `%1` stands for the user, `%2` for the detail of `user+detail`, `%3` for it with its sign; a key `user+*@…`
or `+*@…` matches such users alone. A row `error:…` refuses mail, and is reported.
genericstable: a row says how an address is shown to the world, which is then its identity's primary address.
mailertable: a row is a route, which a note spells out for the configuration; domains alone have one.

A row is `key`, a blank, `value`, in one line. What rows come to is told in `mappings.formats.forwarding`; beyond that:
- a detail is kept, where sendmail drops it unless the value has `%3`;
- a detail begins at the last sign of several, where sendmail takes the first;
- a row `user+*@…` beside one for `user@…` is reported, since the identity that this makes keeps details itself.
Promises: what is written, `makemap` takes, and sendmail then rewrites each address of the identities as the table does.
Source: sendmail's cf/README (virtusertable, genericstable, mailertable) and its rulesets, makemap(8).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from mappings.address import Address, AddressError
from mappings.formats import Format, Options, Reading, Writer, Written
from mappings.formats.aliases import Aliases
from mappings.formats.forwarding import HERE, LOCAL, Forwarding, Here, held_on_smtp, is_usable, literal
from mappings.formats.lines import is_text, text_of
from mappings.formats.maps import Map, row_of
from mappings.formats.people import ENCODING, check_options, unreadable
from mappings.formats.routes import HOMES, Homes, Hops
from mappings.identity import Identity, Kind
from mappings.network import Registry
from mappings.networks.smtp import domain_key
from mappings.rule import Rule, Way
from mappings.tabular import Problems, Unreadable

_PARAMETER: Final = re.compile(r"%[0-9]")
_DETAIL_KEY: Final = re.compile(r"([^@]*)\+[+*]@([^@]+)")
_ERROR: Final = "error:"


def rows_of(octets: bytes, options: Options, problems: Problems) -> Iterator[tuple[int, str, str]]:
    """Yield (line, key, value) of each row. Raises: Unreadable, OptionError."""
    for line, raw in enumerate(text_of(octets, options).split("\n"), 1):
        text = raw.rstrip()
        if not text or text[0] == "#" or not is_text(line, text, problems):
            continue
        key, *rest = text.split(None, 1)
        if text[0].isspace():
            problems.add(line, "", "the line begins with a blank; a row is: key, blank, value, and cannot be continued")
        elif not rest:
            problems.add(line, "value", f"{key[:200]!r} has no value; a row is: key, blank, value")
        else:
            yield line, key, rest[0].strip()


class VirtUserTable:
    """virtusertable."""

    name = "virtusertable"
    suffixes: tuple[str, ...] = ("virtusertable",)
    options: Mapping[str, str] = ENCODING | HERE

    def read(self, octets: bytes, options: Options, networks: Registry) -> Reading:
        check_options(options, self.options, self.name)
        here = Here.of(options)
        problems = Problems()
        forwarding = Forwarding(networks, here, problems)
        details: list[_Detail] = []
        try:
            for line, key, value in rows_of(octets, options, problems):
                row = _Row(line, key, value, here, networks, problems)
                if value.lower().startswith(_ERROR):
                    message = (
                        f"mail for {key[:200]!r} is refused ({value[:200]!r}); leave it out, so that it is unknown"
                    )
                    problems.add(line, "value", message)
                elif _DETAIL_KEY.fullmatch(key):
                    details += row.detail(Way.INWARD, user="%1", detail="%2", signed="%3")
                elif key.startswith("@"):
                    row.whole(forwarding)
                elif "@" in key:
                    row.exact(forwarding, user="%1", signed="%3")
                else:
                    problems.add(line, "key", f"{key[:200]!r} is never looked up; a key is user@domain or @domain")
        except Unreadable as e:
            return unreadable(e)
        entries = forwarding.entries()
        rules = [*_in_order(details, forwarding, problems), *forwarding.rules(Way.INWARD)]
        return Reading(entries, rules, problems.in_order())

    def write(
        self, identities: Iterable[Identity], options: Options, networks: Registry, rules: Sequence[Rule] = ()
    ) -> Written:
        check_options(options, self.options, self.name)
        out = Map()
        covered = _write_rules(rules, Way.INWARD, "%1%3", out, self.name)
        for identity in identities:
            found = held_on_smtp(out.line, identity, out.problems)
            if found is None:
                continue
            primary, others = found
            if identity.kind is Kind.GROUP:
                message = f"the members of {identity.name!r} have no place in {self.name}; write them as aliases"
                out.problems.add(out.line, "members", message)
            if primary.key.rpartition("@")[2] in covered:
                # A row that gives an address itself would be looked up without end.
                message = f"{primary.value} would be taken by the row for its domain; a table has no row against that"
                out.problems.add(out.line, "smtp", message)
            for held in others:
                _write_row(held.address, primary, out)
        return out.written()


class GenericsTable:
    """genericstable."""

    name = "genericstable"
    suffixes: tuple[str, ...] = ("genericstable",)
    options: Mapping[str, str] = ENCODING | HERE

    def read(self, octets: bytes, options: Options, networks: Registry) -> Reading:
        check_options(options, self.options, self.name)
        here = Here.of(options)
        problems = Problems()
        forwarding = Forwarding(networks, here, problems, follows=False, users_last=True)
        details: list[_Detail] = []
        try:
            for line, key, value in rows_of(octets, options, problems):
                row = _Row(line, key, value, here, networks, problems)
                if _DETAIL_KEY.fullmatch(key):
                    details += row.detail(Way.OUTWARD, user="", detail="%1", signed="")
                elif key.startswith("@"):
                    row.whole(forwarding)
                else:
                    row.exact(forwarding, user="", signed="")
        except Unreadable as e:
            return unreadable(e)
        entries = forwarding.entries(groups=False)
        rules = [*_in_order(details, forwarding, problems), *forwarding.rules(Way.OUTWARD)]
        return Reading(entries, rules, problems.in_order())

    def write(
        self, identities: Iterable[Identity], options: Options, networks: Registry, rules: Sequence[Rule] = ()
    ) -> Written:
        check_options(options, self.options, self.name)
        out = Map()
        _write_rules(rules, Way.OUTWARD, "%1", out, self.name)
        for identity in identities:
            found = held_on_smtp(out.line, identity, out.problems)
            if found is None:
                continue
            primary, others = found
            if identity.kind is Kind.GROUP:
                message = f"the members of {identity.name!r} have no place in {self.name}; write them as aliases"
                out.problems.add(out.line, "members", message)
            # Without a row of its own a domain's row would take it.
            _write_row(primary, primary, out)
            for held in others:
                _write_row(held.address, primary, out)
        return out.written()


class MailerTable:
    """mailertable; it has no place for identities, so that it is read only."""

    name = "mailertable"
    suffixes: tuple[str, ...] = ("mailertable",)
    options: Mapping[str, str] = ENCODING | HERE | HOMES
    write: Writer | None = None

    def read(self, octets: bytes, options: Options, networks: Registry) -> Reading:
        check_options(options, self.options, self.name)
        here = Here.of(options)
        problems = Problems()
        hops = Hops(Homes.of(options), networks, problems)
        rules: list[Rule] = []
        try:
            for line, key, value in rows_of(octets, options, problems):
                mailer, colon, host = value.partition(":")
                mailer, host = mailer.strip().lower(), host.strip()
                if not colon or "@" in key:
                    message = f"{key[:200]!r} {value[:200]!r} is no row of a mailertable: domain, blank, mailer:host"
                    problems.add(line, "", message)
                elif mailer == "error":
                    hops.refused(line, key, mailer, host)
                elif mailer == "discard":
                    hops.refused(line, key, mailer, "")
                elif _PARAMETER.search(value):
                    message = f"the next hop {value[:200]!r} is made of the domain; write a row for each domain"
                    problems.add(line, "value", message)
                elif mailer == "local" and host:
                    rules += _catch_all(line, key, host, here, networks, problems)
                else:
                    user, at, machine = host.rpartition("@")
                    if at:
                        message = (
                            f"all mail for {key[:200]!r} goes to the one user {user[:200]!r}; make a rule for that"
                        )
                        problems.add(line, "value", message)
                    hops.domain(line, key, mailer, machine)
        except Unreadable as e:
            return unreadable(e)
        found = hops.reading()
        return Reading(found.entries, rules, found.problems, found.notes, routes=found.routes)


class _Detail:
    """A row for users with a detail, as a rule; `rank` is its place among those for one domain."""

    __slots__ = ("line", "rank", "rule", "user")

    def __init__(self, line: int, rank: int, rule: Rule, user: Address | None) -> None:
        self.line = line
        self.rank = rank
        self.rule = rule
        self.user = user


class _Row:
    """One row, which adds itself where it belongs."""

    __slots__ = ("_here", "_key", "_line", "_networks", "_problems", "_value")

    def __init__(self, line: int, key: str, value: str, here: Here, networks: Registry, problems: Problems) -> None:
        self._line = line
        self._key = key
        self._value = value
        self._here = here
        self._networks = networks
        self._problems = problems

    def exact(self, forwarding: Forwarding, *, user: str, signed: str) -> None:
        """Take a row for one address, or for a bare user; `user` and `signed` are what stands for user and detail."""
        local = self._key.rpartition("@")[0] or self._key
        value = self._value
        if user:
            value = value.replace(user, local)
        if signed:
            value = value.replace(signed, "")  # the detail is kept anyway
        target = self._address(value)
        if target is None:
            return
        if "@" not in self._key:
            forwarding.add_user(self._line, self._key, (target,))
            return
        try:
            forwarding.add(self._line, self._networks.parse_in("smtp", self._key), (target,))
        except AddressError as e:
            self._fault("key", self._key, e)

    def whole(self, forwarding: Forwarding) -> None:
        """Take a row for a domain."""
        local, at, domain = self._value.rpartition("@")
        if not at:
            local, domain = self._value, self._here.origin or ""
        local = local.replace("%1%3", "%1")
        before, user, after = local.partition("%1")
        try:
            key = domain_key(self._key[1:])
            if not user:
                target = self._address(self._value)
                if target is not None:
                    forwarding.add_whole(self._line, key, (target,))
            elif not domain:
                self._problems.add(
                    self._line, "value", f"{self._value!r} is of the host; say its domain in the option origin"
                )
            elif _PARAMETER.search(before + after) or "{" in local or '"' in local:
                self._no_form()
            else:
                forwarding.add_whole(self._line, key, (domain_key(domain),), before, after)
        except AddressError as e:
            self._fault("key", self._key, e)

    def detail(self, way: Way, *, user: str, detail: str, signed: str) -> Iterator[_Detail]:
        """Yield the rule of a row for users with a detail; what stands for its parts in the value is given."""
        found = _DETAIL_KEY.fullmatch(self._key)
        local, at, domain = self._value.rpartition("@")
        if not at:
            local, domain = self._value, self._here.origin or ""
        if found is None or not domain:
            self._problems.add(
                self._line, "value", f"{self._value!r} is of the host; say its domain in the option origin"
            )
            return
        if any("{" in text or '"' in text for text in (found[1], local, domain)):
            self._no_form()
            return
        if user:
            local = local.replace(user, found[1] or "{user}")
        if signed:
            local = local.replace(signed, "+{detail}")
        local = local.replace(detail, "{detail}")
        if _PARAMETER.search(local):
            self._no_form()
            return
        try:
            old = f"smtp:{found[1] or '{user}'}+{{detail}}@{domain_key(found[2])}"
            new = f"smtp:{local}@{domain_key(domain)}"
            one = self._networks.parse_in("smtp", f"{found[1]}@{found[2]}") if found[1] else None
        except AddressError as e:
            self._fault("key", self._key, e)
            return
        rule = Rule(old, new, way) if way is Way.INWARD else Rule(new, old, way)
        if is_usable(rule, self._line, self._networks, self._problems):
            # user++ comes before user+*, and both before ++ and +*, which are of all users.
            yield _Detail(self._line, 2 * (one is None) + ("+*@" in self._key), rule, one)

    def _address(self, value: str) -> Address | None:
        if _PARAMETER.search(value):
            self._no_form()
            return None
        if "@" not in value and self._here.origin is None:
            message = f"{value[:200]!r} is a user of the host; say its domain in the option origin"
            self._problems.add(self._line, "value", message)
            return None
        try:
            return self._networks.parse_in("smtp", value if "@" in value else f"{value}@{self._here.origin}")
        except AddressError as e:
            self._fault("value", value, e)
            return None

    def _no_form(self) -> None:
        message = (
            f"{self._key[:200]!r} {self._value[:200]!r}: the table has no rule that makes the same; write the rows out"
        )
        self._problems.add(self._line, "value", message)

    def _fault(self, column: str, text: str, e: AddressError) -> None:
        self._problems.add(self._line, column, f"{text[:200]!r}: {e.message} [{e.rule}]")


def _in_order(details: Iterable[_Detail], forwarding: Forwarding, problems: Problems) -> Iterator[Rule]:
    """Yield the rules of rows for details in the order of their right, without those that an identity comes before."""
    seen: dict[str, int] = {}
    for each in sorted(details, key=lambda detail: detail.rank):
        key = each.rule.match if each.rule.way is Way.INWARD else each.rule.to
        if each.user is not None and forwarding.has_row(each.user):
            message = (
                f"{each.user} has a row too, whose identity keeps details itself, so that this one would never match"
            )
            problems.add(each.line, "key", message)
        elif seen.setdefault(key, each.line) != each.line:
            problems.add(each.line, "key", f"line {seen[key]} is for the same details; that one is in force")
        else:
            yield each.rule


def _catch_all(line: int, key: str, user: str, here: Here, networks: Registry, problems: Problems) -> Iterator[Rule]:
    """Yield the rule that gives all mail of a domain to one user of the host."""
    if key.startswith(".") or here.origin is None:
        message = f"all mail for {key[:200]!r} goes to the user {user[:200]!r}; make a rule for that"
        problems.add(line, "value", message)
        return
    try:
        address = networks.parse_in("smtp", f"{user}@{here.origin}")
        domain = domain_key(key)
    except AddressError as e:
        problems.add(line, "value", f"{key[:200]!r} {user[:200]!r}: {e.message} [{e.rule}]")
        return
    to = literal(address)
    if to is not None:
        rule = Rule(f"smtp:{LOCAL}@{domain}", to, Way.INWARD)
        if is_usable(rule, line, networks, problems):
            yield rule


def _write_rules(rules: Iterable[Rule], way: Way, user: str, out: Map, name: str) -> set[str]:
    """Write the rules for whole domains, and return their domains."""
    covered = set()
    for rule in rules:
        row = row_of(rule, way)
        if row is None:
            out.problems.add(out.line, "", f"the rule {rule} has no form in {name}")
            continue
        key, value = row
        out.row(key, user + value if value.startswith("@") else value)
        covered.add(key[1:])
    return covered


def _write_row(address: Address, target: Address, out: Map) -> None:
    if any(c in text for text in (address.value, target.value) for c in " %"):
        out.problems.add(
            out.line, "smtp", f"{address.value} or {target.value} has a blank or % that a table cannot hold"
        )
    elif re.search(r"\+[+*]@", address.value):
        out.problems.add(out.line, "smtp", f"{address.value} would be taken for a row of details; it is left out")
    else:
        out.row(address.value, target.value)


FORMATS: Final[tuple[Format, ...]] = (Aliases(), VirtUserTable(), GenericsTable(), MailerTable())
