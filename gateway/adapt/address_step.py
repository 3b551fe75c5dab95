"""Step: the addresses of header and reverse-path shown as the destination's network can answer them; Bcc taken out.

The work on octets is `mappings.rewrite`'s; here is which translation applies, and the memory of header fields that
need none, since most mail of a gateway repeats its addresses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from gateway.contract import Capabilities
from gateway.fidelity import Fate, Note
from mappings.address import Address
from mappings.encapsulation import named_unsigned, unsigned_spec
from mappings.network import Network
from mappings.rewrite import rewrite_head
from mappings.rule import Place
from mappings.table import Direction, Table, Translation

# The address fields of a header, with a line end put in front: its literal makes the search skip whole lines.
_FIELDS: Final = re.compile(rb"\n((?i:[fsrtcb](?:esent-\w+|rom|ender|eply-to|o|c|cc)[ \t]*:)[^\n]*(?:\n[ \t][^\n]*)*)")
_REMEMBERED: Final = 8192
_REMEMBERED_OCTETS: Final = 1024


_NEW: Final = object()


def address_fields(head: bytes) -> bytes:
    """Return the fields of a header that hold addresses: what else stands there changes nothing about them."""
    return b"\n".join(_FIELDS.findall(b"\n" + head))


def is_same(one: Address, other: Address) -> bool:
    """Say whether two addresses are written alike, too."""
    return one is other or (one.value, one.network) == (other.value, other.network)


class AddressStep:
    """Rewrites by one table; a new table needs a new AddressStep.

    An address that has no addr-spec of its own stands in headers as `unsigned_spec` at `hostname`, our own name: so a
    connector of its network writes it, and so one without MIME gets it. Nobody else is shown that form.
    """

    def __init__(self, table: Table, network: Callable[[str], Network], hostname: str = "") -> None:
        self.table = table
        self._network = network
        self._hostname = hostname.lower()
        self._unchanged: set[tuple[bytes, tuple[str, ...], tuple[str, ...], bool, Direction, Place | None]] = set()
        self._ours: dict[tuple[str, str], bool] = {}
        self._paths: dict[tuple[str, str, tuple[str, ...], Direction, Place | None], Address] = {}
        self._plain: dict[tuple[object, ...], bool | None] = {}
        """Of what was asked once, None; of what was asked again, whether it is so."""

    def is_plain(
        self,
        head: bytes,
        fields: bytes,
        path: Address | None,
        sources: tuple[str, ...],
        capabilities: Capabilities,
        place: Place | None = None,
    ) -> bool:
        """Say whether it is known that `head` and `reverse_path` change nothing, whichever the direction: then nobody
        need ask for that, which costs more where each message goes to somebody else.

        It is found out where the same addresses come again, so that those of one message cost next to nothing more.
        """
        named = None if path is None else (path.network, path.value)
        key = (fields, named, sources, capabilities.header_networks, capabilities.mime, place)
        known = self._plain.get(key, _NEW)
        if known is _NEW:
            if len(fields) <= _REMEMBERED_OCTETS:
                if len(self._plain) >= _REMEMBERED:
                    self._plain.clear()
                self._plain[key] = None
            return False
        if known is None:
            known = self._plain[key] = all(
                self.head(head, sources, capabilities, direction, place, fields) == (head, [])
                and (path is None or is_same(path, self.reverse_path(path, capabilities, direction, place)))
                for direction in Direction
            )
        return bool(known)

    def direction(self, recipients: Sequence[Address]) -> Direction:
        """Say whether a message goes to people of ours alone."""
        for address in recipients:
            key = (address.network, address.value)
            ours = self._ours.get(key)
            if ours is None:
                if len(self._ours) >= _REMEMBERED:
                    self._ours.clear()
                ours = self._ours[key] = self.table.is_ours(address)
            if not ours:
                return Direction.OUTWARD
        return Direction.INWARD

    def reverse_path(
        self, address: Address, capabilities: Capabilities, direction: Direction, place: Place | None = None
    ) -> Address:
        """Return the reverse-path as the destination's network can answer it. `place` is the destination, for the
        rules that ask for it."""
        networks = capabilities.header_networks
        key = (address.network, address.value, networks, direction, place)
        known = self._paths.get(key)
        if known is None:
            if len(self._paths) >= _REMEMBERED:
                self._paths.clear()
            known = self._paths[key] = self._translate(address, networks, direction, place).address
        return known

    def head(
        self,
        head: bytes,
        sources: tuple[str, ...],
        capabilities: Capabilities,
        direction: Direction,
        place: Place | None = None,
        fields: bytes | None = None,
    ) -> tuple[bytes, list[Note]]:
        """Return the header block as the destination can show it, and notes; the same object where nothing changed.

        `sources` are the networks whose addresses the header may hold, as the message's source writes them; `fields`
        what `address_fields` returns.
        """
        networks = capabilities.header_networks
        if fields is None:
            fields = address_fields(head)
        key = (fields, sources, networks, capabilities.mime, direction, place)
        if key in self._unchanged:
            return head, []
        read_by = [self._network(name) for name in sources]

        carried: dict[str, str] = {}
        """How people know the addresses that stand in the header as IMCEA addresses on the way alone."""

        def read(local: str, domain: str) -> Address | None:
            if local[:5].upper() == "IMCEA" and domain.lower() == self._hostname:
                named = named_unsigned(local)
                if named is not None and named.network in sources and named.network != "smtp":
                    carried[f"{local}@{domain}"] = str(named)
                    return named
            for network in read_by:
                address = network.from_addr_spec(local, domain)
                if address is not None:
                    return address
            return None

        def write(address: Address) -> str | None:
            spec = self._network(address.network).to_addr_spec(address)
            if spec is None and not capabilities.mime and self._hostname:
                spec = unsigned_spec(address, self._hostname)
                carried[spec] = str(address)
            return spec

        def translate(address: Address) -> Translation:
            return self._translate(address, networks, direction, place)

        rewritten = rewrite_head(head, translate, read=read, write=write)
        if not rewritten.changes and not rewritten.left:
            if len(fields) <= _REMEMBERED_OCTETS:
                if len(self._unchanged) >= _REMEMBERED:
                    self._unchanged.clear()
                self._unchanged.add(key)
            return head, []
        notes = []
        for change in rewritten.changes:
            name = change.field.title()
            if change.field.endswith("bcc"):
                notes.append(Note(Fate.DROPPED, name, "blind recipients are never shown"))
            else:
                before, after = (carried.get(each, each) for each in (change.before, change.after))
                notes.append(Note(Fate.MAPPED, f"{name}: {before} as {after}", "so that a reply finds the way back"))
        notes += [
            Note(Fate.KEPT, f.title(), "the field is too large for its addresses to be read") for f in rewritten.left
        ]
        return rewritten.head, notes

    def _translate(
        self, address: Address, networks: tuple[str, ...], direction: Direction, place: Place | None
    ) -> Translation:
        to = address.network if address.network in networks else networks[0]
        return self.table.translate(address, to, direction, place)
