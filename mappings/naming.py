"""Naming: new internet addresses for everybody of several directories, by the patterns of a policy.

Promises: an address that is given is nobody else's, current or former, and given once; an address that somebody has in
the new domain stays; between two it goes by the order of the policy and of the directories. The same directories and
policy give the same addresses. Pure.
Source: RFC 2142 for the names that are kept from persons.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mappings.address import Address, AddressError
from mappings.identity import Identity, Kind, Role
from mappings.letters import in_ascii
from mappings.names import Name, name_of, slug
from mappings.network import Registry
from mappings.networks.smtp import domain_key

RESERVED: Final = frozenset(
    (
        *("abuse", "admin", "administrator", "ftp", "hostmaster", "info", "mailer-daemon", "marketing", "news"),
        *("nobody", "noc", "noreply", "no-reply", "postmaster", "root", "sales", "security", "support", "usenet"),
        *("uucp", "webmaster", "www"),
    )
)
"""Mailboxes that no person gets."""
SYSTEM: Final = frozenset({"mailer-daemon", "postmaster"})
"""Mailboxes that nobody gets: mail to them has an end of its own."""

_FIELD: Final = re.compile(r"\{([^{}]*)\}")
_FIELDS: Final = ("first", "middle", "last", "f", "m", "l", "local", "company", "n")
_NUMBER: Final = "\0"
"""Stands for a number in a mailbox."""
_LABEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_NOT_LOCAL: Final = re.compile(r"[^a-z0-9._-]+")
_MOST_NUMBERED: Final = 1_000_000
_LOCAL_OCTETS: Final = 64  # RFC 5321 §4.5.3.1.1
_SHOWN: Final = 3


class PolicyError(ValueError):
    """A policy that names nobody; the text says what to write."""


@dataclass(frozen=True, slots=True)
class Company:
    """One directory: `label` is letters, digits, `.`, `_` and `-`."""

    label: str
    identities: Sequence[Identity]


@dataclass(frozen=True, slots=True)
class Policy:
    """How everybody is named. Raises: PolicyError, when it is used.

    A pattern is a mailbox, with or without `@domain`, of text and {first}, {middle}, {last}, their initials {f}, {m}
    and {l}, the {local} part of the present address, the {company}, and a number {n}, from 2. One that asks for what
    somebody lacks is passed over. `others` are for groups, rooms and devices, and for whoever has no name.
    """

    domain: str
    patterns: tuple[str, ...] = ("{first}.{last}", "{first}.{m}.{last}", "{f}{last}", "{first}.{last}{n}")
    others: tuple[str, ...] = ("{local}", "{local}-{company}", "{local}{n}")
    german: bool = False
    """Write ä, ö and ü as ae, oe and ue."""
    reserved: frozenset[str] = RESERVED
    unit: str = "department"
    """The attribute that says to which of `units` somebody belongs."""
    units: tuple[tuple[str, str], ...] = ()
    """(value of that attribute, domain) of the parts of the organisation that have a domain of their own."""
    first: tuple[Address, ...] = ()
    """Addresses whose holders choose first, in this order."""
    old: Role = Role.ALIAS
    """What the old primary address becomes: ALIAS, or FORMER."""
    evidence: tuple[str, ...] = ("employee", "ref")
    """Attributes that show one person in two directories, where they are equal."""


@dataclass(frozen=True, slots=True)
class Collision:
    """One address that several would get by the policy: who has it, and what each of the others gets instead."""

    address: Address
    kept_by: str
    others: tuple[tuple[str, Address], ...]

    def __str__(self) -> str:
        mends = "; ".join(f"{who} gets {address.value}" for who, address in self.others[:_SHOWN])
        more = f"; and {len(self.others) - _SHOWN} more" if len(self.others) > _SHOWN else ""
        return f"{self.address.value} is for {self.kept_by}; {mends}{more}"


class Entry:
    """One identity of one company, on its way into the new table."""

    __slots__ = ("company", "identity", "key", "name", "place")

    def __init__(self, company: str, identity: Identity, key: str, place: int) -> None:
        self.company = company
        self.identity = identity
        self.key = key
        self.place = place
        self.name: Name = name_of(identity) if identity.kind is Kind.PERSON else Name()

    @property
    def current(self) -> Address | None:
        """The primary internet address that it has today."""
        return self.identity.primary("smtp")

    def __str__(self) -> str:
        return f"{self.identity.name!r} of {self.company}"


def entries_of(companies: Sequence[Company]) -> list[Entry]:
    """Return all identities in order, each with a key of its own: its number in the store, else its address.

    Raises: PolicyError on a company's label.
    """
    found: list[Entry] = []
    seen: set[str] = set()
    labels: set[str] = set()
    for company in companies:
        if not _LABEL.fullmatch(company.label) or company.label.lower() in labels:
            raise PolicyError(f"{company.label!r} cannot label a company: letters and digits, each its own")
        labels.add(company.label.lower())
        for identity in company.identities:
            address = identity.primary("smtp") or next((h.address for h in identity.addresses), None)
            what = identity.id or (address if address is not None else identity.name)
            base = key = f"{company.label} {what}"
            number = 2
            while key in seen:
                key, number = f"{base} #{number}", number + 1
            seen.add(key)
            found.append(Entry(company.label, identity, key, len(found)))
    return found


class Naming:
    """Gives everybody an address, those who have one in the new domain first."""

    def __init__(self, entries: Sequence[Entry], policy: Policy, networks: Registry) -> None:
        self._entries = entries
        self._policy = policy
        self._networks = networks
        self._patterns = _checked(policy, networks)
        self._others = tuple(_Pattern(text, policy) for text in policy.others)
        self._units = {value.casefold(): domain for value, domain in policy.units}
        self._next: dict[tuple[str, str], int] = {}
        self._holders: dict[str, list[Entry]] = defaultdict(list)
        for entry in entries:
            for held in entry.identity.of("smtp"):
                self._holders[held.address.key].append(entry)
        self._given_to: dict[str, Entry] = {}
        self._wanted: dict[str, tuple[Address, Entry | None, list[Entry]]] = {}
        self.given: dict[int, Address] = {}
        self.reasons: dict[int, str] = {}
        self.conflicts: dict[int, str] = {}

    def name_all(self) -> None:
        ranks = {(a.network, a.key): n for n, a in enumerate(self._policy.first)}

        def rank(entry: Entry) -> tuple[int, int]:
            places = (ranks.get((h.address.network, h.address.key), len(ranks)) for h in entry.identity.addresses)
            return min(places, default=len(ranks)), entry.place

        in_order = [entry for entry in sorted(self._entries, key=rank) if entry.identity.kind is not Kind.CONTACT]
        for keep in (self._keep_primary, self._keep_alias):
            for entry in in_order:
                if entry.place not in self.given:
                    keep(entry)
        for entry in in_order:
            if entry.place not in self.given:
                self._name(entry)

    def _give(self, entry: Entry, address: Address, reason: str) -> None:
        self._given_to[address.key] = entry
        self.given[entry.place] = address
        self.reasons[entry.place] = reason

    def _keep_primary(self, entry: Entry) -> None:
        current = entry.current
        if current is not None and current.key not in self._given_to:
            domain = current.key.rpartition("@")[2]
            if domain in self._domains(entry):
                self._give(entry, current, f"is at {domain} already")

    def _keep_alias(self, entry: Entry) -> None:
        for held in entry.identity.of("smtp"):
            address = held.address
            is_free = address.key not in self._given_to and self._holders[address.key] == [entry]
            if held.role is Role.ALIAS and held.until is None and is_free and self._fits(entry, address):
                self._give(entry, address, "has it already, as an alias")
                return

    def _domains(self, entry: Entry) -> list[str]:
        """Return the domains that an entry may have its address in, in comparison form."""
        unit = self._units.get((entry.identity.attribute(self._policy.unit) or "").casefold())
        patterns = (*self._patterns, *self._others)
        return list(dict.fromkeys([unit] if unit is not None else [pattern.domain for pattern in patterns]))

    def _fits(self, entry: Entry, address: Address) -> bool:
        local, _, domain = address.key.rpartition("@")
        return any(domain == at and _is_made_by(text, local) for _, text, at in self._texts(entry))

    def _texts(self, entry: Entry) -> Iterator[tuple[_Pattern, str, str]]:
        """Yield the mailboxes that the policy gives an entry, with a sign for the number, and their domains."""
        parts = self._parts(entry)
        unit = self._units.get((entry.identity.attribute(self._policy.unit) or "").casefold())
        is_named = entry.identity.kind is Kind.PERSON and bool(entry.name.first or entry.name.last)
        for pattern in (*(self._patterns if is_named else ()), *self._others):
            text = pattern.filled(parts)
            if text is not None:
                yield pattern, text, unit or pattern.domain

    def _parts(self, entry: Entry) -> dict[str, str]:
        german = self._policy.german
        first, middle, last = (slug(n, german=german) for n in (entry.name.first, entry.name.middle, entry.name.last))
        return {
            "first": first,
            "middle": middle,
            "last": last,
            "f": first[:1],
            "m": middle[:1],
            "l": last[:1],
            "local": _local_of(entry, german=german),
            "company": slug(entry.company),
            "n": _NUMBER,
        }

    def _name(self, entry: Entry) -> None:
        """Give an entry the first address of its patterns that is nobody else's."""
        refused: list[str] = []
        reserved = SYSTEM if entry.identity.kind is not Kind.PERSON else self._policy.reserved | SYSTEM
        for pattern, text, domain in self._texts(entry):
            for local, number in self._numbered(text, domain):
                address = self._address(local, domain)
                if address is None:
                    break
                if local in reserved:
                    refused.append(f"{address.value} is reserved")
                    continue
                holder = self._holder(address, entry)
                if holder is None:
                    if number:
                        self._next[text, domain] = number + 1
                    self._give(entry, address, str(pattern))
                    if refused:
                        some = ", ".join(refused[:_SHOWN]) + (" and so on" if len(refused) > _SHOWN else "")
                        self.conflicts[entry.place] = f"{some}; gets {address.value} by {pattern}"
                    return
                if not number:
                    refused.append(f"{address.value} is for {holder}")
                    self._wanted.setdefault(address.key, (address, holder, []))[2].append(entry)
        self.conflicts[entry.place] = "no pattern of the policy gives an address; write one"

    def _numbered(self, text: str, domain: str) -> Iterator[tuple[str, int]]:
        if _NUMBER not in text:
            yield text, 0
            return
        for number in range(self._next.get((text, domain), 2), _MOST_NUMBERED):
            yield text.replace(_NUMBER, str(number)), number

    def _address(self, local: str, domain: str) -> Address | None:
        if len(local) > _LOCAL_OCTETS:
            return None
        try:
            return self._networks.parse_in("smtp", f"{local}@{domain}")
        except AddressError:
            return None

    def _holder(self, address: Address, entry: Entry) -> Entry | None:
        """Return who has an address, or is to have it, beside an entry."""
        given = self._given_to.get(address.key)
        if given is not None:
            return given
        return next((other for other in self._holders.get(address.key, ()) if other is not entry), None)

    def collisions(self) -> list[Collision]:
        """Return the addresses that several wanted, in the order in which they did."""
        found = []
        for address, holder, entries in self._wanted.values():
            others = tuple((str(e), self.given[e.place]) for e in entries if e.place in self.given)
            found.append(Collision(address, str(holder), others))
        return found


def _is_made_by(text: str, local: str) -> bool:
    """Tell whether a mailbox is a text, with some number for the sign of one."""
    before, sign, after = text.partition(_NUMBER)
    if not sign:
        return local == text
    number = local[len(before) : len(local) - len(after)]
    return number.isdecimal() and local == before + number + after


class _Pattern:
    """One pattern of a policy. Raises: PolicyError."""

    def __init__(self, text: str, policy: Policy) -> None:
        self._text = text
        local, at, domain = text.rpartition("@")
        self._local = local if at else text
        self.domain = _domain(domain if at else policy.domain)
        self.fields = _FIELD.findall(self._local)
        for name in self.fields:
            if name not in _FIELDS:
                raise PolicyError(f"{{{name}}} in {text!r} is none of {', '.join(f'{{{f}}}' for f in _FIELDS)}")
        bare = _FIELD.sub("", self._local)
        if not self._local or not re.fullmatch(r"[a-z0-9._+-]*", bare):
            raise PolicyError(f"{text!r} makes no mailbox: small letters, digits, dots and hyphens beside the fields")

    def filled(self, parts: Mapping[str, str]) -> str | None:
        """Return the mailbox of some parts, None where one is empty."""
        if not all(parts[name] for name in self.fields):
            return None
        return _FIELD.sub(lambda found: parts[found[1]], self._local)

    def __str__(self) -> str:
        return self._text


def _domain(text: str) -> str:
    try:
        return domain_key(text)
    except AddressError as e:
        raise PolicyError(f"{text!r} is no domain for new addresses: {e.message}") from None


def _checked(policy: Policy, networks: Registry) -> tuple[_Pattern, ...]:
    """Return a policy's patterns. Raises: PolicyError."""
    if policy.old is Role.PRIMARY:
        raise PolicyError("the old primary address becomes an alias or a former one")
    for each in (policy.patterns, policy.others):
        found = [_Pattern(text, policy) for text in each]
        if not any("n" in pattern.fields for pattern in found):
            shown = " or ".join(repr(text) for text in each) or "a list of none"
            raise PolicyError(f"{shown} runs out of addresses: end with one that has a number, such as {{last}}{{n}}")
    for _, domain in policy.units:
        _domain(domain)
    return tuple(_Pattern(text, policy) for text in policy.patterns)


def _local_of(entry: Entry, *, german: bool) -> str:
    """Return the mailbox of today: of its internet address, else of its first one, else made of its name."""
    addresses = (entry.current, *(held.address for held in entry.identity.addresses))
    for address in filter(None, addresses):
        local = _NOT_LOCAL.sub("", in_ascii(address.value.rpartition("@")[0] or address.value, german=german))
        local = re.sub(r"\.{2,}", ".", local).strip(".-_")
        if local:
            return local[:_LOCAL_OCTETS]
    return slug(entry.identity.name, german=german) or entry.identity.kind.value
