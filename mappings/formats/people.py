"""People: what the readers of directories share: a draft of each person, and what follows from all drafts together.

Promises: an address that cannot be read is a problem and is left out, where it is not the one that mail goes to; a
person without a usable address is left aside; of two that claim one address neither is taken. What is no address of
one person alone, such as a house's telephone number, is kept as an attribute.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from uuid import UUID

from mappings.address import Address, AddressError
from mappings.formats import OptionError, Options, Reading
from mappings.identity import Held, Identity, Kind, Role
from mappings.interchange import Entry, without_conflicts
from mappings.merged import GIVEN, REF, SOURCE
from mappings.network import Registry
from mappings.rule import Rule
from mappings.tabular import Problem, Problems, decode

ENCODING: Final = {"encoding": "the code page of a file that is neither UTF-8 nor UTF-16, such as cp1252"}
PHONES: Final = {"phones": "no leaves telephone and fax numbers out"}

FIRST_CHOICE: Final = 0
"""Ranks of an address among its network's: what the directory names as the one to use, what it marks as such, what is
likely to be, any other."""
MARKED: Final = 1
LIKELY: Final = 2
ANY: Final = 3

_MAX_ATTRIBUTE: Final = 4096
_GUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OCTETS: Final = re.compile(r"X'([0-9A-Fa-f]{32})'")


def check_options(options: Options, known: Mapping[str, str], name: str) -> None:
    """Raises: OptionError where a format does not take an option."""
    for option in options:
        if option not in known and not any(k.endswith("*") and option.startswith(k[:-1]) for k in known):
            there = ", ".join(known) or "none"
            raise OptionError(f"the format {name} takes no option {option!r}; there are: {there}")


def yes_or_no(options: Options, option: str, default: bool) -> bool:
    """Return an option that is yes or no. Raises: OptionError."""
    word = options.get(option)
    if word is None:
        return default
    if word.lower() not in ("yes", "no"):
        raise OptionError(f"the option {option} is yes or no, not {word!r}")
    return word.lower() == "yes"


def encoding_of(options: Options) -> str | None:
    """Return the option `encoding`. Raises: OptionError where there is no such encoding of text."""
    name = options.get("encoding")
    if name is None:
        return None
    try:
        "".encode(name)
    except (LookupError, ValueError):
        raise OptionError(f"there is no encoding {name!r}; such as cp1252, cp850, latin-1") from None
    return name


def text_of(octets: bytes, options: Options) -> str:
    """Return a file's text. Raises: Unreadable, OptionError."""
    return decode(octets, encoding_of(options))


def unreadable(message: object) -> Reading:
    """Return the reading of a file of which nothing can be read."""
    return Reading([], problems=[Problem(1, "", str(message))])


def foreign(attribute: str) -> bool:
    """Tell whether an attribute says something of a person, rather than of how it came here."""
    return attribute not in (SOURCE, REF) and not attribute.startswith(GIVEN)


def guid(text: str) -> str:
    """Return the number of an object of Active Directory as `Get-Recipient` shows it; other texts as they are."""
    octets = _OCTETS.fullmatch(text.strip())
    if octets is not None:
        return str(UUID(bytes_le=bytes.fromhex(octets[1])))
    bare = text.strip().strip("{}").lower()
    return bare if _GUID.fullmatch(bare) else text.strip()


class People:
    """All drafts of one reading."""

    def __init__(self, networks: Registry, *, phones: bool = True) -> None:
        self.networks = networks
        self.problems = Problems()
        self.phones = phones
        self._drafts: list[Draft] = []
        self._by_dn: dict[str, Draft] = {}
        self._notes: dict[str, int] = {}

    def draft(self, line: int) -> Draft:
        """Begin the next person."""
        made = Draft(line, self)
        self._drafts.append(made)
        return made

    def drop(self, draft: Draft) -> None:
        """Take back the draft that was begun last."""
        assert self._drafts[-1] is draft
        self._drafts.pop()

    def named(self, dn: str, draft: Draft) -> None:
        """Remember under which distinguished name members and owners refer to a draft."""
        self._by_dn.setdefault(_dn_key(dn), draft)

    def by_dn(self, dn: str) -> Address | None:
        """Return the address of the draft with a distinguished name."""
        draft = self._by_dn.get(_dn_key(dn))
        return None if draft is None else draft.address()

    def note(self, message: str) -> None:
        """Tell the operator of something that is no mistake; equal messages are counted."""
        self._notes[message] = self._notes.get(message, 0) + 1

    def reading(self) -> Reading:
        """Return what all drafts make together."""
        for draft in self._drafts:
            draft.resolve()
        self._leave_shared_numbers()
        entries = []
        for draft in self._drafts:
            identity = draft.identity()
            if identity is not None:
                entries.append(Entry(draft.line, identity))
        applied = without_conflicts(entries, self.problems)
        notes = [message if count == 1 else f"{message} ({count} times)" for message, count in self._notes.items()]
        return Reading(applied, problems=self.problems.in_order(), notes=notes)

    def _leave_shared_numbers(self) -> None:
        """Make attributes of the weak addresses that several drafts have: they are no one person's."""
        holders: dict[Address, Draft | None] = {}
        for draft in self._drafts:
            for address in draft.weak:
                holders[address] = draft if holders.get(address, draft) is draft else None
        for draft in self._drafts:
            for address in draft.claimed():
                if address in holders and holders[address] is not draft:
                    holders[address] = None
        for draft in self._drafts:
            for address in [a for a in draft.weak if holders[a] is None]:
                draft.weaken(address)
                self.note("an address of several people was kept as an attribute of each, since it is no one's own")


class Draft:
    """One person as a directory tells it, piece by piece."""

    __slots__ = (
        "_attributes",
        "_claims",
        "_is_bad",
        "_members",
        "_owner",
        "_people",
        "expand",
        "kind",
        "line",
        "members",
        "name",
        "owner",
        "weak",
    )

    def __init__(self, line: int, people: People) -> None:
        self.line = line
        self.name = ""
        self.kind = Kind.PERSON
        self.members: list[Address] = []
        self.owner: Address | None = None
        self.expand = True
        self.weak: dict[Address, str] = {}
        """Addresses that may turn out to be several people's, each with the attribute that it then becomes."""
        self._people = people
        self._attributes: set[tuple[str, str]] = set()
        self._claims: dict[Address, tuple[int, Role | None]] = {}
        self._members: list[tuple[str, str]] = []
        self._owner: str | None = None
        self._is_bad = False

    def mistake(self, column: str, message: str) -> None:
        """Report a mistake for which the person is not taken."""
        self._people.problems.add(self.line, column, message)
        self._is_bad = True

    def fault(self, column: str, message: str) -> None:
        """Report a mistake that costs one address and no more."""
        self._people.problems.add(self.line, column, message)

    def attribute(self, name: str, value: str) -> None:
        """Keep a fact, where there is one."""
        value = value.strip()
        if value:
            self._attributes.add((name, value[:_MAX_ATTRIBUTE]))

    def add(self, network: str, text: str, column: str, rank: int = ANY, role: Role | None = None) -> Address | None:
        """Add an address, without its network's prefix; return it, None where it cannot be read."""
        text = text.strip()
        if not text:
            return None
        try:
            address = self._people.networks.parse_in(network, text)
        except AddressError as e:
            told = f"{text[:200]!r}: {e.message} [{e.rule}]"
            if rank < ANY and network == "smtp":  # without it another would be shown in its place
                self.mistake(column, told)
            else:
                self.fault(column, f"{told}; the address is left out")
            return None
        self.claim(address, rank, role)
        return address

    def claim(self, address: Address, rank: int = ANY, role: Role | None = None) -> None:
        """Add an address; of two ranks the stronger one counts."""
        before = self._claims.get(address)
        if before is None or rank < before[0]:
            self._claims[address] = (rank, role)

    def add_weak(self, network: str, text: str, attribute: str) -> None:
        """Add an address that may be several people's, such as a telephone number.

        Where it cannot be read, or its network is not installed, it is an attribute alone.
        """
        text = text.strip()
        if not text:
            return
        if network in ("tel", "fax", "sms") and not self._people.phones:
            return
        if not self._people.networks.is_installed(network):
            self.attribute(attribute, text)
            return
        try:
            address = self._people.networks.parse_in(network, text)
        except AddressError:
            self.attribute(attribute, text)
            self._people.note(f"a text in the place of a {network} address is none, and was kept as an attribute")
            return
        if address not in self._claims:
            self.claim(address, LIKELY)
            self.weak[address] = attribute

    def weaken(self, address: Address) -> None:
        """Make an attribute of an address."""
        self._claims.pop(address, None)
        self.attribute(self.weak.pop(address), address.value)

    def has(self, network: str) -> bool:
        return any(address.network == network for address in self._claims)

    def holds(self, address: Address) -> bool:
        return address in self._claims

    def member(self, text: str, column: str, *, dn: bool = False) -> None:
        """Add a member of a group: an address with its network in front, or a distinguished name."""
        self._members.append((text, "" if dn else column))

    def owned_by(self, dn: str) -> None:
        """Name a group's owner by its distinguished name."""
        self._owner = self._owner or dn

    def resolve(self) -> None:
        """Replace the distinguished names of members and owner by their addresses."""
        for text, column in self._members:
            if not column:
                found = self._people.by_dn(text)
                if found is None:
                    self.attribute("member", text)
                    self._people.note("a member that is not in the file, or has no address, was kept as an attribute")
                else:
                    self.members.append(found)
                continue
            try:
                self.members.append(self._people.networks.parse(text))
            except AddressError as e:
                self.fault(column, f"{text[:200]!r}: {e.message} [{e.rule}]; the member is left out")
        if self._owner is not None and self.owner is None:
            self.owner = self._people.by_dn(self._owner)
            if self.owner is None:
                self.attribute("owner", self._owner)

    def address(self) -> Address | None:
        """Return the address by which others refer to this one: smtp's, or the first."""
        return _shown_as(self._held())

    def identity(self) -> Identity | None:
        """Return the person, None where it is not to be taken."""
        if self._is_bad:
            return None
        held = self._held()
        if not any(h.role is not Role.FORMER for h in held):
            self._people.note("an entry without an address was left aside")
            return None
        name = "".join(c if c.isprintable() else " " for c in self.name).strip()
        if not name:
            address = _shown_as(held)
            name = "" if address is None else address.value
        is_group = self.kind is Kind.GROUP
        return Identity(
            name,
            held,
            self.kind,
            attributes=tuple(sorted(self._attributes)),
            members=tuple(dict.fromkeys(self.members)) if is_group else (),
            owner=self.owner if is_group else None,
            expand=self.expand,
        )

    def _held(self) -> tuple[Held, ...]:
        """Give each address its role: of each network the one of the strongest rank is the primary."""
        best: dict[str, Address] = {}
        rank_of: dict[str, int] = {}
        for address, (rank, role) in self._claims.items():
            if role is None and rank < rank_of.get(address.network, ANY + 1):
                best[address.network] = address
                rank_of[address.network] = rank
        current = [a for a, (_, role) in self._claims.items() if role is None]
        current.sort(key=lambda a: best[a.network] is not a)
        former = [a for a, (_, role) in self._claims.items() if role is not None]
        return (
            *(Held(a, Role.PRIMARY if best[a.network] is a else Role.ALIAS) for a in current),
            *(Held(a, Role.FORMER) for a in former),
        )

    def claimed(self) -> Iterable[Address]:
        return self._claims.keys()

    def ranked(self, network: str, rank: int) -> list[Address]:
        """Return the addresses of a network that have a rank."""
        return [a for a, (its, _) in self._claims.items() if its == rank and a.network == network]


def _shown_as(held: Sequence[Held]) -> Address | None:
    primaries = {h.address.network: h.address for h in held if h.role is Role.PRIMARY}
    return primaries.get("smtp") or next(iter(primaries.values()), None)


class Losses:
    """What a form does not carry: each kind of loss once, with the first line and how often."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[int, int]] = {}

    def add(self, line: int, column: str, message: str) -> None:
        first, count = self._found.get((column, message), (line, 0))
        self._found[column, message] = (first, count + 1)

    def problems(self) -> list[Problem]:
        found = Problems()
        for (column, message), (line, count) in self._found.items():
            found.add(line, column, message if count == 1 else f"{message} ({count} in all)")
        return found.in_order()

    def of_rules(self, rules: Sequence[Rule]) -> None:
        """Add that rules for whole domains have no place in the form."""
        for rule in rules:
            self.add(1, "", f"the rule {rule} is not carried by this form")

    def of(self, identity: Identity, line: int, carried: Iterable[str] = ()) -> None:
        """Add what no foreign form carries of an identity, except what is in `carried`."""
        carried = set(carried)
        for field in ("home", "stage", "copy_home", "members", "owner"):
            if getattr(identity, field) and field not in carried:
                self.add(line, field, "is not carried by this form")
        if not identity.expand and "expand" not in carried:
            self.add(line, "expand", "is not carried by this form")
        if identity.is_timed:
            self.add(line, "", "the time in which an address is held is not carried by this form")
        for name, _ in identity.attributes:
            if foreign(name) and name not in carried:
                self.add(line, f"attribute {name}", "is not carried by this form")


def _dn_key(dn: str) -> str:
    return ",".join(part.strip() for part in dn.split(",")).casefold()
