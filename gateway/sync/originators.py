"""Exchange's X.500 originators, found in the mapping: who has such a name, or had it, is written to at an address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mappings.network import AddressError, registry
from mappings.resolution import Direction

if TYPE_CHECKING:
    from gateway.config import Config
    from mappings.table import Table


class Originators:
    """The people of the mapping by their X.500 names. It is read when the first one is asked for, since most mailboxes
    hold none; where it can't be, that is logged, and nobody is known."""

    def __init__(self, config: Config, log: Any) -> None:
        self._config = config
        self._log = log
        self._table: Table | None = None
        self._is_read = False

    def address(self, name: str) -> str | None:
        """Return the internet address of who has or had an X.500 name; None where the mapping knows nobody of it."""
        try:
            address = registry().parse_in("x500", name)
        except AddressError:
            return None
        if not self._is_read:
            self._is_read = True
            self._table = self._read()
        if self._table is None or self._table.identity_of(address) is None:
            return None
        shown = self._table.translate(address, "smtp", Direction.OUTWARD).address
        return shown.value if shown.network == "smtp" else None

    def _read(self) -> Table | None:
        from gateway.config import ConfigErrors, load
        from gateway.mapping_desk.desk import Desk, DeskError

        try:
            desk = Desk(load(self._config.path, mapping=True, identities=False, dry=True))
            return desk.table(desk.directory())
        except (ConfigErrors, DeskError) as e:
            self._log.warning("mapping_unread", error=str(e), text="originators of Exchange stay as they are")
            return None
