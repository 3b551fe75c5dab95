"""Greylisting: what a client network sends for the first time from one sender to one recipient is put off.

A server that tries again after a while passes, and its network is known after some messages; programs that never try
again do not. Who may relay, or was let past screening, is not put off.
Promises: what is remembered is in a database of the connector's own, which its worker processes share, and survives a
stop; it is bounded in entries, and of a message nothing is in it but a digest.
Source: RFC 6647.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from connectors.smtp.checks import Check, Client, OnFault, Step, Transaction, Verdict, refuse
from connectors.smtp.filter_config import GreylistTable, read_networks
from connectors.smtp.patterns import PatternRules, read_address
from connectors.smtp.shared_database import opened, transaction
from gateway.contract import Context, Recipient

CLEAN_EVERY: Final = 1000
"""Questions after which what is too old, or too much, is removed."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS triplets (
    key BLOB PRIMARY KEY, first REAL NOT NULL, last REAL NOT NULL, passed INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS triplets_by_age ON triplets (last);
CREATE TABLE IF NOT EXISTS networks (
    network TEXT PRIMARY KEY, passed INTEGER NOT NULL, last REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS networks_by_age ON networks (last);
"""


class GreylistStore:
    """What was seen. All methods block, and belong in one thread."""

    def __init__(self, path: Path, table: GreylistTable) -> None:
        """Raises: sqlite3.Error."""
        self._table = table
        self._asked = 0
        self._db = opened(path, _SCHEMA)

    def wait_for(self, network: str, sender: str, recipient: str, now: float, *, counts: bool = True) -> float:
        """Note a try; return 0 where it passes, else the seconds until a next one does. Raises: sqlite3.Error.

        `counts`: where it passes, its network has one message more behind it.
        """
        table = self._table
        key = hashlib.blake2b("\0".join((network, sender, recipient)).encode("utf-8", "surrogatepass"), digest_size=16)
        with transaction(self._db):
            wait = self._look(network, key.digest(), now, counts)
            self._asked += 1
            if self._asked % CLEAN_EVERY == 1:
                self._clean(now)
        return min(wait, table.delay_s)

    def _look(self, network: str, key: bytes, now: float, counts: bool) -> float:
        table = self._table
        known = self._db.execute("SELECT passed, last FROM networks WHERE network = ?", (network,)).fetchone()
        if known is not None and table.known_after and known[0] >= table.known_after and now - known[1] <= table.keep_s:
            self._db.execute("UPDATE networks SET last = ? WHERE network = ?", (now, network))
            return 0.0
        found = self._db.execute("SELECT first, last, passed FROM triplets WHERE key = ?", (key,)).fetchone()
        if found is not None:
            first, last, passed = found
            is_of_future = first > now and not passed  # the clock was put back: else it would be put off until then
            if is_of_future or now - last > (table.keep_s if passed else table.retry_s):
                found = None
        if found is None:
            self._db.execute("INSERT OR REPLACE INTO triplets VALUES (?, ?, ?, 0)", (key, now, now))
            return table.delay_s
        if not passed and now - first < table.delay_s:
            return float(table.delay_s - (now - first))
        self._db.execute("UPDATE triplets SET last = ?, passed = passed + 1 WHERE key = ?", (now, key))
        if counts:
            self._db.execute(
                "INSERT INTO networks VALUES (?, 1, ?) "
                "ON CONFLICT (network) DO UPDATE SET passed = passed + 1, last = ?",
                (network, now, now),
            )
        return 0.0

    def _clean(self, now: float) -> None:
        table = self._table
        self._db.execute("DELETE FROM triplets WHERE last < ?", (now - table.keep_s,))
        self._db.execute("DELETE FROM triplets WHERE passed = 0 AND last < ?", (now - table.retry_s,))
        self._db.execute("DELETE FROM networks WHERE last < ?", (now - table.keep_s,))
        for name in ("triplets", "networks"):
            (count,) = self._db.execute(f"SELECT count(*) FROM {name}").fetchone()
            over = count - table.max_entries
            if over > 0:
                key = "key" if name == "triplets" else "network"
                self._db.execute(
                    f"DELETE FROM {name} WHERE {key} IN (SELECT {key} FROM {name} ORDER BY last LIMIT ?)", (over,)
                )

    def count(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM triplets").fetchone()[0])

    def close(self) -> None:
        self._db.close()


class GreylistMaker:
    """The greylist of one source; see CheckMaker."""

    name = "greylist"
    steps = Step.RCPT
    timeout_s = 30.0
    on_fault: OnFault = "accept"

    def __init__(self, table: GreylistTable, context: Context, clock: Callable[[], float] | None = None) -> None:
        self.table = table
        self._clock = clock or context.clock
        self._path = context.state_dir / "greylist.db"
        self._store: GreylistStore | None = None
        self._is_closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="greylist")
        self._except = read_networks(table.except_networks)
        self._spared = PatternRules((each, True) for each in table.except_recipients)

    def begin(self, client: Client) -> Check | None:
        address = read_address(client.address)
        if address is None or client.trusted or any(address in network for network in self._except):
            return None
        size = self.table.ipv4_prefix if address.version == 4 else self.table.ipv6_prefix
        return _Asked(self, str(ip_network((address, size), strict=False)))

    def spares(self, path: str) -> bool:
        return self._spared.find(path) is not None

    async def wait_for(self, network: str, sender: str, recipient: str, *, counts: bool = True) -> float:
        """Return the seconds for which a message is put off; 0 where it passes. `counts` is as in GreylistStore."""
        now = self._clock()
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self._ask, network, sender, recipient, now, counts
        )

    def _ask(self, network: str, sender: str, recipient: str, now: float, counts: bool) -> float:
        if self._store is None:
            self._store = GreylistStore(self._path, self.table)
        try:
            return self._store.wait_for(network, sender, recipient, now, counts=counts)
        finally:
            if self._is_closed:  # a connection that began before the configuration changed
                self._close_store()

    def close(self) -> None:
        self._is_closed = True
        self._thread.submit(self._close_store)

    def _close_store(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None


class _Asked(Check):
    """The greylist as one connection meets it."""

    def __init__(self, maker: GreylistMaker, network: str) -> None:
        self._maker = maker
        self._network = network
        self._has_passed = False
        """A recipient of the message under way has; its network is known by messages, however many each is for."""

    def reset(self) -> None:
        self._has_passed = False

    async def rcpt(self, client: Client, transaction: Transaction, recipient: Recipient) -> Verdict | None:
        path = recipient.address.value
        spared = client.trusted or client.welcome or transaction.welcome or transaction.welcome_to == path
        if spared or self._maker.spares(path):
            return None
        sender, counts = transaction.mail.path.lower(), not self._has_passed
        wait = await self._maker.wait_for(self._network, sender, recipient.address.key, counts=counts)
        if not wait:
            self._has_passed = True
            return None
        return refuse("4.7.1", f"greylisted, try again in {max(1, round(wait))} seconds", cause=self._network)
