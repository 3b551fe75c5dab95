"""People: the users and tables of an outline as identities, rules and routes.

Several tables may speak of one person: whose address ends at somebody known is one more address of theirs, as an
import into the mapping does it (`mappings.merge`). Tables that say how somebody is shown come first, since the first
one to name a person says which address is the primary one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from gateway.import_config.outline import Local, Outline, Table
from mappings.address import Address, AddressError
from mappings.formats import Entry, OptionError, Reading, RouteRow, by_name
from mappings.formats.forwarding import MAX_DOMAINS
from mappings.formats.lines import key_and_value, logical_lines
from mappings.identity import Held, Identity, Kind, Role
from mappings.mail_rules import MAILBOX
from mappings.merge import InMemory, merge
from mappings.merged import GIVEN, REF, SOURCE
from mappings.network import Registry
from mappings.rule import Rule
from mappings.tabular import Problems

_SHOWN: Final = ("postfix-generic", "genericstable")
_ORDER: Final = (*_SHOWN, "postfix-canonical")
_OWN_LISTS: Final = ("users", "mailboxes")


@dataclass(slots=True)
class People:
    """What the tables come to."""

    identities: list[Identity] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    routes: list[RouteRow] = field(default_factory=list)
    open_domains: set[str] = field(default_factory=set)
    """Domains of others in which everybody is known, though there is a table of recipients."""


def people_of(outline: Outline, connectors: Mapping[str, str], networks: Registry) -> People:
    """Return what the tables of an outline come to; what they do not is added to its `left`.

    `connectors` names the connector of each of `outline.hops`, and that of mailboxes under `local` and `mailboxes`.
    """
    return _Gatherer(outline, connectors, networks).gather()


class _Gatherer:
    def __init__(self, outline: Outline, connectors: Mapping[str, str], networks: Registry) -> None:
        self._outline = outline
        self._connectors = connectors
        self._networks = networks
        self._by_id: dict[int, Identity] = {}
        self._made = People()
        self._users_by_key = {user.lower(): user for user, _ in outline.users}

    def gather(self) -> People:
        outline = self._outline
        tables = sorted(outline.tables, key=lambda each: _ORDER.index(each.format) if each.format in _ORDER else 9)
        shown = [each for each in tables if each.format in _ORDER]
        for table in shown:
            self._take(table, self._read(table))
        self._take(Table("users", "the users of this machine", b""), self._users())
        for table in tables[len(shown) :]:
            self._take(table, self._read(table))
        for table in outline.relay_recipients or ():
            self._take(table, self._keys(table, home=None))
        self._made.identities = [_clean(self._with_mailbox(self._named(who))) for who in self._by_id.values()]
        return self._made

    # Reading

    def _read(self, table: Table) -> Reading:
        if table.format == "mailboxes":
            return self._keys(table, home=self._connectors.get("mailboxes"))
        format = by_name(table.format)
        options = dict(table.options)
        if "destinations" in format.options and "destinations" not in options:
            options["destinations"] = " ".join(list(self._outline.local_domains)[:MAX_DOMAINS])
            if self._outline.origin:
                options["origin"] = self._outline.origin
        if "homes" in format.options:
            options["homes"] = " ".join(f"{hop}={name}" for hop, name in self._connectors.items() if ":" in hop)
        try:
            return format.read(table.octets, options, self._networks)
        except OptionError as e:
            self._outline.leave(table.place, "the whole table", str(e))
            return Reading()

    def _users(self) -> Reading:
        """Return the users of the machine, each known in all of its domains."""
        outline = self._outline
        origin = outline.origin if outline.origin in outline.local_domains else next(iter(outline.local_domains), None)
        reading = Reading()
        if origin is None:
            return reading
        problems = Problems()
        domains = dict.fromkeys((origin, *outline.local_domains))
        for user, full in dict(outline.users).items():
            held: list[Held] = []
            for domain in domains:
                address = self._parsed(f"{user}@{domain}", 0, problems)
                if address is not None:
                    held.append(Held(address, Role.ALIAS if held else Role.PRIMARY))
            if held:
                name = full if full and full.isprintable() else user
                who = Identity(name, tuple(held), attributes=((REF, held[0].address.key),))
                reading.entries.append(Entry(0, who))
        reading.problems.extend(problems.in_order())
        return reading

    def _keys(self, table: Table, *, home: str | None) -> Reading:
        """Return whoever is a key of a table."""
        reading = Reading()
        problems = Problems()
        for line, text in logical_lines(table.octets.decode("utf-8", "replace"), problems):
            key, value = key_and_value(text)
            if key.startswith("@") and table.format == "users":
                self._made.open_domains.add(key[1:].lower())
                continue
            if "@" not in key[1:]:
                message = f"{key[:200]!r} is no address of one person; who is not named is refused"
                problems.add(line, "key", message)
                continue
            address = self._parsed(key, line, problems)
            if address is not None:
                held = (Held(address, Role.PRIMARY),)
                attributes = [(REF, address.key)]
                if table.format == "mailboxes" and not self._is_at_its_place(address, value):
                    problems.add(line, "value", f"{key[:200]!r} has its mailbox at {value[:200]!r}; see `mail.mailbox`")
                who = Identity(address.value, held, home=home, attributes=tuple(attributes))
                reading.entries.append(Entry(line, who))
        reading.problems.extend(problems.in_order())
        return reading

    def _is_at_its_place(self, address: Address, value: str) -> bool:
        """Tell whether a virtual mailbox lies where the connector will look for it."""
        place = self._outline.mailboxes
        if not isinstance(place, Local):
            return True
        local, _, domain = address.value.rpartition("@")
        shown = place.path.replace("{mailbox}", address.value).replace("{user}", local).replace("{domain}", domain)
        return shown.lower().endswith(f"/{value.strip('/').lower()}")

    def _parsed(self, text: str, line: int, problems: Problems) -> Address | None:
        try:
            return self._networks.parse_in("smtp", text)
        except AddressError as e:
            problems.add(line, "key", f"{text[:200]!r}: {e.message} [{e.rule}]")
            return None

    # Merging

    def _take(self, table: Table, reading: Reading) -> None:
        made = self._made
        plan = merge(reading, InMemory(self._by_id.values()), source=table.place, remove_missing=False, strict=False)
        for put in plan.added:
            number = len(self._by_id) + 1
            self._by_id[number] = replace(put.identity, id=number)
        for old, put in plan.changed:
            self._by_id[old.id] = put.identity
        made.rules += reading.rules
        made.routes += reading.routes
        for problem in plan.refused:
            place = f"{table.place}:{problem.line}" if problem.line else table.place
            self._outline.leave(place, "row", problem.message)

    def _named(self, who: Identity) -> Identity:
        """Return an identity by the full name of its user, where a table called it by its address."""
        if all(who.name != held.address.value for held in who.of("smtp")):
            return who
        locals_ = {
            held.address.key.rpartition("@")[0]
            for held in who.of("smtp")
            if held.address.key.rpartition("@")[2] in self._outline.local_domains
        }
        found = [full for user, full in self._outline.users if full and full.isprintable() and user.lower() in locals_]
        return replace(who, name=found[0]) if len(found) == 1 else who

    def _with_mailbox(self, who: Identity) -> Identity:
        """Return an identity of this machine with its home, and what its mailbox is called, if not by its address."""
        if who.home is not None or who.kind is Kind.GROUP:
            return who
        user = self._user_of(who)
        home = self._connectors.get("local")
        if user is None or home is None:
            return who
        attributes = who.attributes
        primary = next((held.address.key for held in who.of("smtp") if held.role is Role.PRIMARY), "")
        if isinstance(self._outline.local, Local) and primary.rpartition("@")[0] != user:
            attributes = (*attributes, (MAILBOX, user))
        return replace(who, home=home, attributes=attributes)

    def _user_of(self, who: Identity) -> str | None:
        """Return the user of this machine that an identity is: one with an address that is a login name here."""
        for held in who.of("smtp"):
            local, _, domain = held.address.key.rpartition("@")
            if domain in self._outline.local_domains and local.lower() in self._users_by_key:
                return self._users_by_key[local.lower()]
        return None


def _clean(who: Identity) -> Identity:
    """Return an identity without the marks by which an import knows it again: the new table has no past."""
    kept = tuple(
        (name, value) for name, value in who.attributes if name not in (REF, SOURCE) and not name.startswith(GIVEN)
    )
    return replace(who, attributes=kept, id=0)
