"""postfix: the maps virtual, canonical, generic, relocated and transport, as text before `postmap`.

virtual: a row is an alias, with several results a group; `@old @new` is a rule for recipients.
canonical: as virtual, for the addresses of senders too; one result a row. `sender_canonical_maps` are read as generic,
`recipient_canonical_maps` as virtual.
generic: a row says how an address is shown to the world, which is then its identity's primary address.
relocated: the key is a former address. Postfix refuses its mail with 5.1.6 and the new address; here the mail goes on.
transport: a row for an address is its home, where the option `homes` names the connector; one for a domain is a route,
which a note spells out for the configuration.

A row is `key value`; lines that begin with a blank continue it. Keys compare without case, and the first of two equal
ones is in force. Rows of `regexp:` and `pcre:` tables are reported. What rows come to is told in
`mappings.formats.forwarding`, with the differences from Postfix.
Promises: what is written, `postmap` takes, and Postfix then rewrites each address of the identities as the table does.
Source: virtual(5), canonical(5), generic(5), relocated(5), transport(5), postmap(1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from mappings.address import AddressError
from mappings.formats import Format, Options, Reading, Written
from mappings.formats.forwarding import HERE, Forwarding, Here, held_on_smtp, parse_all
from mappings.formats.lines import addresses_in, key_and_value, logical_lines, parts_of, text_of
from mappings.formats.maps import Map, is_pattern, row_of, turned
from mappings.formats.people import ENCODING, check_options, unreadable
from mappings.formats.routes import HOMES, Homes, Hops
from mappings.identity import Identity, Kind, Role
from mappings.network import Registry
from mappings.networks.smtp import domain_key
from mappings.rule import Rule, Way
from mappings.tabular import Problems, Unreadable

_MAX_NOTED: Final = 1000


def rows_of(octets: bytes, options: Options, problems: Problems) -> Iterator[tuple[int, str, str]]:
    """Yield (line, key, value) of each row. Raises: Unreadable, OptionError."""
    for line, text in logical_lines(text_of(octets, options), problems):
        key, value = key_and_value(text)
        if is_pattern(key, value):
            problems.add(line, "key", f"{key[:200]!r} is of a regexp or pcre table; write the rows out, or make a rule")
        elif not value:
            problems.add(line, "value", f"{key[:200]!r} has no value; a row is: key, blank, value")
        else:
            yield line, key, value


class Rewriting:
    """virtual, canonical and generic.

    `way` is that of the rules for whole domains, both ways where it is None. `follows` says that a result is looked up
    again; `groups`, that a row may have several.
    """

    options: Mapping[str, str] = ENCODING | HERE

    def __init__(self, name: str, way: Way | None, *, follows: bool, groups: bool) -> None:
        self.name = name
        self.suffixes: tuple[str, ...] = (name.removeprefix("postfix-"),)
        self._ways = (Way.INWARD, Way.OUTWARD) if way is None else (way,)
        self._follows = follows
        self._groups = groups

    def read(self, octets: bytes, options: Options, networks: Registry) -> Reading:
        check_options(options, self.options, self.name)
        problems = Problems()
        here = Here.of(options)
        forwarding = Forwarding(networks, here, problems, follows=self._follows)
        declared: dict[str, int] = {}
        try:
            for line, key, value in rows_of(octets, options, problems):
                if "@" not in value and len(value.split()) == 1 and _is_domain(key):
                    declared.setdefault(key.lower(), line)  # virtual(5): a domain's own row, whose value means nothing
                else:
                    _take(forwarding, line, key, value, here, networks, problems)
        except Unreadable as e:
            return unreadable(e)
        entries = forwarding.entries(groups=self._groups)
        rules = [rule for way in self._ways for rule in forwarding.rules(way)]
        notes = [f"line {line}: {domain} is declared as a domain of ours; it belongs in [mapping] domains"
                 for domain, line in list(declared.items())[:_MAX_NOTED]]  # fmt: skip
        return Reading(entries, rules, problems.in_order(), notes)

    def write(
        self, identities: Iterable[Identity], options: Options, networks: Registry, rules: Sequence[Rule] = ()
    ) -> Written:
        check_options(options, self.options, self.name)
        out = Map()
        for identity in identities:
            self._write_one(identity, networks, out)
        for rule in rules:
            self._write_rule(rule, rules, out)
        return out.written()

    def _write_one(self, identity: Identity, networks: Registry, out: Map) -> None:
        found = held_on_smtp(out.line, identity, out.problems)
        if found is None:
            return
        primary, others = found
        if identity.kind is Kind.GROUP:
            if self._groups and identity.expand:
                members = out.members_of(identity)
                if members:
                    out.row(primary.value, ", ".join(members))
            else:
                out.problems.add(out.line, "members", f"the members of {identity.name!r} have no place in {self.name}")
        else:
            # Without a row of its own a domain's row would take it, and reading would not find it again.
            forwards = out.forwards_of(identity, networks) if self._groups else []
            out.row(primary.value, ", ".join(forwards or [primary.value]))
        for held in others:
            out.row(held.address.value, primary.value)

    def _write_rule(self, rule: Rule, rules: Sequence[Rule], out: Map) -> None:
        row = row_of(rule, self._ways[0])
        if row is not None and (len(self._ways) == 1 or turned(rule) in rules):
            out.row(*row)
        elif not (len(self._ways) > 1 and turned(rule) in rules and row_of(turned(rule), self._ways[0])):
            out.problems.add(out.line, "", f"the rule {rule} has no form in {self.name}")


class Relocated:
    """relocated: former addresses, and the new one of each."""

    name = "postfix-relocated"
    suffixes: tuple[str, ...] = ("relocated",)
    options: Mapping[str, str] = ENCODING | HERE

    def read(self, octets: bytes, options: Options, networks: Registry) -> Reading:
        check_options(options, self.options, self.name)
        problems = Problems()
        here = Here.of(options)
        forwarding = Forwarding(networks, here, problems)
        try:
            for line, key, value in rows_of(octets, options, problems):
                texts = [text for part in parts_of(value) for text in addresses_in(part)]
                if key.startswith("@"):
                    message = (
                        f"mail to all of {key[:200]!r} is refused with {value[:200]!r}; for a new domain make a rule"
                    )
                    problems.add(line, "key", message)
                elif len(texts) != 1 or texts[0].find("@") < 1:
                    message = (
                        f"mail to {key[:200]!r} is refused with 5.1.6 and the text {value[:200]!r}, which is no "
                        "address to send it on to; leave it out, so that it is unknown"
                    )
                    problems.add(line, "value", message)
                else:
                    _take(forwarding, line, key, value, here, networks, problems)
        except Unreadable as e:
            return unreadable(e)
        entries = forwarding.entries(Role.FORMER)
        notes = []
        if entries:
            notes.append("mail to a relocated address is sent on to the new one, where Postfix refuses it with 5.1.6")
        return Reading(entries, [], problems.in_order(), notes)

    def write(
        self, identities: Iterable[Identity], options: Options, networks: Registry, rules: Sequence[Rule] = ()
    ) -> Written:
        check_options(options, self.options, self.name)
        out = Map()
        for identity in identities:
            found = held_on_smtp(out.line, identity, out.problems)
            for held in found[1] if found is not None else ():
                if held.role is Role.FORMER and found is not None:
                    out.row(held.address.value, found[0].value)
        out.refuse_rules(rules, self.name)
        return out.written()


class Transport:
    """transport: homes of addresses, and routes of domains."""

    name = "postfix-transport"
    suffixes: tuple[str, ...] = ("transport",)
    options: Mapping[str, str] = ENCODING | HOMES

    def read(self, octets: bytes, options: Options, networks: Registry) -> Reading:
        check_options(options, self.options, self.name)
        problems = Problems()
        hops = Hops(Homes.of(options), networks, problems)
        try:
            for line, key, value in rows_of(octets, options, problems):
                where, nexthop = _transport(value)
                if where in ("error", "retry", "discard"):
                    hops.refused(line, key, where, nexthop)
                elif key.startswith("@"):
                    problems.add(line, "key", f"{key[:200]!r} is never looked up; a domain's row has no @")
                elif "@" in key:
                    hops.address(line, key, where, nexthop)
                else:
                    hops.domain(line, key, where, nexthop)
        except Unreadable as e:
            return unreadable(e)
        return hops.reading()

    def write(
        self, identities: Iterable[Identity], options: Options, networks: Registry, rules: Sequence[Rule] = ()
    ) -> Written:
        check_options(options, self.options, self.name)
        homes = Homes.of(options)
        out = Map()
        for identity in identities:
            if identity.home is None:
                continue
            hop = homes.hop(identity.home)
            if hop is None:
                message = (
                    f"{identity.name!r} has its home at {identity.home}; say in the option homes how mail gets there"
                )
                out.problems.add(out.line, "home", message)
                continue
            found = held_on_smtp(out.line, identity, out.problems)
            if found is not None:
                out.row(found[0].value, hop)
                for held in found[1]:
                    out.row(held.address.value, hop)
        out.refuse_rules(rules, self.name)
        return out.written()


def _is_domain(text: str) -> bool:
    """Tell whether a text is a domain of at least two labels, and so hardly a bare user."""
    try:
        return "." in text and "@" not in text and bool(domain_key(text))
    except AddressError:
        return False


def _take(
    forwarding: Forwarding, line: int, key: str, value: str, here: Here, networks: Registry, problems: Problems
) -> None:
    """Add one row to those that are followed."""
    texts = [text for part in parts_of(value) for text in addresses_in(part)]
    targets = parse_all(texts, here, networks, line, problems)
    try:
        address = networks.parse_in("smtp", key) if "@" in key[1:] else None
        domain = domain_key(key[1:]) if key.startswith("@") else ""
    except AddressError as e:
        problems.add(line, "key", f"{key[:200]!r}: {e.message} [{e.rule}]")
        return
    if not targets:
        if not texts:
            problems.add(line, "value", f"{key[:200]!r} has no address after it")
        return
    if domain:
        forwarding.add_whole(line, domain, targets)
        return
    local = address.value.rpartition("@")[0] if address is not None else key
    found = []
    for target in targets:
        try:  # a result that is a domain alone takes over the mailbox of the key
            found.append(networks.parse_in("smtp", f"{local}@{target}") if isinstance(target, str) else target)
        except AddressError as e:
            problems.add(line, "value", f"'{local}@{target}': {e.message} [{e.rule}]")
    if not found:
        return
    if address is not None:
        forwarding.add(line, address, found)
    else:
        forwarding.add_user(line, key, found)


def _transport(value: str) -> tuple[str, str]:
    """Return (transport, next hop); both may be empty, for Postfix's own choice."""
    where, _, nexthop = value.partition(":")
    return where.strip().lower(), nexthop.strip()


FORMATS: Final[tuple[Format, ...]] = (
    Rewriting("postfix-virtual", Way.INWARD, follows=True, groups=True),
    Rewriting("postfix-canonical", None, follows=True, groups=False),
    Rewriting("postfix-generic", Way.OUTWARD, follows=False, groups=False),
    Transport(),
    Relocated(),
)
