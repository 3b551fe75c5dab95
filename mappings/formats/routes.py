"""Routes: rows that say how mail for an address or a domain is carried, as homes of identities and notes of routes.

Which connector is meant is for the operator to say, in the option `homes`: `smtp:[mx.acme.example]=exchange` names it
for one transport and next hop, `smtp:=internet` for the transport with every other.
A route belongs to the configuration, which is the operator's; so a note spells it out, in the order that routes need:
exact domains first, then the domains below one, then all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mappings.address import AddressError
from mappings.formats import Entry, OptionError, Options, Reading, RouteRow
from mappings.identity import Held, Identity, Role
from mappings.network import Registry
from mappings.networks.smtp import domain_key
from mappings.tabular import Problems

HOMES: Final = {"homes": "the connector of each transport, as smtp:[mx.acme.example]=exchange, parted by blanks"}

_MAX_NOTES: Final = 1000
_NO_CONNECTOR: Final = "CONNECTOR"
_HOP: Final = re.compile(r"[A-Za-z0-9_-]*:[^\s=]*")
_MX: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Homes:
    """The option `homes`: connectors by `transport:nexthop`, in small letters."""

    connectors: Mapping[str, str]

    @classmethod
    def of(cls, options: Options) -> Homes:
        """Read the option. Raises: OptionError."""
        found: dict[str, str] = {}
        for word in options.get("homes", "").replace(",", " ").split():
            hop, equals, connector = word.rpartition("=")
            if not equals or not connector or not _HOP.fullmatch(hop):
                raise OptionError(f"the option homes has {word!r}; write transport:nexthop=connector")
            found[hop.lower()] = connector
        return cls(found)

    def connector(self, transport: str, nexthop: str, *, any_hop: bool) -> str | None:
        """Return the connector of a transport and next hop; with `any_hop` also the one named for all next hops."""
        found = self.connectors.get(f"{transport}:{nexthop}".lower())
        return found if found is not None or not any_hop else self.connectors.get(f"{transport}:".lower())

    def hop(self, connector: str) -> str | None:
        """Return the transport and next hop by which a connector is reached."""
        return next((hop for hop, name in self.connectors.items() if name == connector), None)


class Hops:
    """Gathers the rows of a table of transports."""

    def __init__(self, homes: Homes, networks: Registry, problems: Problems) -> None:
        self._homes = homes
        self._networks = networks
        self._problems = problems
        self._entries: dict[str, Entry] = {}
        self._domains: dict[str, int] = {}
        self._notes: list[tuple[int, int, str]] = []
        self._routes: list[tuple[int, int, RouteRow]] = []

    def address(self, line: int, text: str, transport: str, nexthop: str) -> None:
        """Take a row for one address: its home."""
        try:
            address = self._networks.parse_in("smtp", text)
        except AddressError as e:
            self._problems.add(line, "key", f"{text[:200]!r}: {e.message} [{e.rule}]")
            return
        first = self._entries.get(address.key)
        if first is not None:
            self._problems.add(line, "key", f"{address} has a row already, on line {first.line}; that one is in force")
            return
        connector = self._homes.connector(transport, nexthop, any_hop=False)
        if connector is None:
            hop = f"{transport}:{nexthop}"[:200]
            message = f"{address.value} has its mailbox behind {hop!r}; name its connector in the option homes"
            self._problems.add(line, "value", message)
            return
        held = (Held(address, Role.PRIMARY),)
        identity = Identity(address.value, held, home=connector, attributes=(("ref", address.key),))
        self._entries[address.key] = Entry(line, identity)

    def domain(self, line: int, key: str, transport: str, nexthop: str) -> None:
        """Take a row for a domain, for those below one (with a dot in front), or for all (`*` or `.`)."""
        try:
            if key in ("*", "."):
                rank, match = 1 << 20, "smtp:*"
            elif key.startswith("."):
                domain = domain_key(key[1:])
                rank, match = (1 << 10) - domain.count("."), f"smtp:*@*.{domain}"
            else:
                rank, match = 0, f"smtp:*@{domain_key(key)}"
        except AddressError as e:
            self._problems.add(line, "key", f"{key[:200]!r} is no domain: {e.message} [{e.rule}]")
            return
        first = self._domains.setdefault(match, line)
        if first != line:
            self._problems.add(line, "key", f"{key[:200]!r} has a row already, on line {first}; that one is in force")
            return
        connector = self._homes.connector(transport, nexthop, any_hop=True)
        hop: str | None = None
        if connector and _MX.fullmatch(nexthop) and self._homes.connector(transport, nexthop, any_hop=False) is None:
            hop = nexthop
        self._routes.append((rank, line, RouteRow(line, match, connector, hop)))
        lines = [f"line {line}: a route for the configuration:", "[[route]]", f"match = {json.dumps(match)}"]
        lines.append(f"to = {json.dumps(connector or _NO_CONNECTOR)}")
        if hop is not None:
            lines.append(f"next_hop = {json.dumps(hop)}")
        if connector is None:
            lines[0] = (
                f"line {line}: a route for the configuration; {_NO_CONNECTOR} is the one that stands for "
                f"{f'{transport}:{nexthop}'[:200]!r}:"
            )
        self._notes.append((rank, line, "\n".join(lines)))

    def refused(self, line: int, key: str, transport: str, text: str) -> None:
        """Take a row that carries mail nowhere."""
        said = f" ({text[:200]!r})" if text else ""
        meaning = {
            "error": f"mail for it is refused{said}; leave it out of the table and the routes, so that it is unknown",
            "retry": f"mail for it is deferred{said}; there is no route for that",
            "discard": "mail for it is thrown away without a word, which this gateway never does",
        }[transport]
        self._problems.add(line, "value", f"{key[:200]!r}: {meaning}")

    def reading(self) -> Reading:
        """Return what all rows say together."""
        self._notes.sort()
        notes = [text for _, _, text in self._notes[:_MAX_NOTES]]
        if len(self._notes) > _MAX_NOTES:
            notes.append(f"and {len(self._notes) - _MAX_NOTES} more routes")
        routes = [row for _, _, row in sorted(self._routes, key=lambda each: each[:2])]
        return Reading(list(self._entries.values()), [], self._problems.in_order(), notes, routes=routes)
