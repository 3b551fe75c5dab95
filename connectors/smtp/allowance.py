"""Allowance: so much of something in so much time, by key, given out by all worker processes of a machine together.

Each key has a bucket of `limit` tokens, which fills again evenly in `per_s`. One worker alone counts in memory. Several
keep what is used in a database of the connector's own: a worker that is asked again within HOLD_S draws a slice of what
is left, at last single tokens, and gives out of that, so that most questions ask no database; what it gave to nobody
for HOLD_S goes back.
Promises: workers together give out the limit and what comes back to it meanwhile, never more; but what a worker holds
while its bucket fills up comes on top, at most an eighth of the limit. Memory and database are bounded by MOST_KEYS:
what would be full again first goes, and begins full. Where the database can't be used, each worker gives its share.
Limit: machines count each for itself, also where they share a spool.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from connectors.smtp.shared_database import opened, transaction
from gateway.contract import Context

MOST_KEYS: Final = 65_536
HOLD_S: Final = 5.0
"""How long a worker holds tokens that it gives to nobody; and how long, where there were too few, it says no by itself,
since no others come back sooner than these."""
SLICES: Final = 8
"""Into so many parts for each worker is what is left of a bucket cut."""
CLEAN_EVERY: Final = 1000
"""Withdrawals after which buckets that are full again, or too many, are removed."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS buckets (key BLOB PRIMARY KEY, used REAL NOT NULL, at REAL NOT NULL, full REAL NOT NULL)
    WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS buckets_by_end ON buckets (full);
"""


class Buckets:
    """Tokens by key, in memory. Pure."""

    def __init__(self, limit: float, per_s: float, most_keys: int = MOST_KEYS) -> None:
        self._limit = limit
        self._rate = limit / per_s
        self._most = most_keys
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Tokens left, and when that was."""

    def __len__(self) -> int:
        return len(self._left)

    def wait_for(self, key: str, now: float, tokens: float = 1.0) -> float:
        """Return the seconds until there are so many tokens; 0 where there are."""
        left = self._now_left(key, now)
        return 0.0 if left >= tokens else (tokens - left) / self._rate

    def take(self, key: str, now: float, tokens: float = 1.0) -> float:
        """Take tokens, and return 0; or, where there are too few, take none and return the seconds until there are."""
        left = self._now_left(key, now)
        wait = 0.0 if left >= tokens else (tokens - left) / self._rate
        self._left[key] = (left if wait else left - tokens, now)
        self._left.move_to_end(key)
        if len(self._left) > self._most:
            self._left.popitem(last=False)
        return wait

    def give_back(self, key: str, now: float, tokens: float) -> None:
        """Take back what was taken in vain."""
        if key in self._left:
            self._left[key] = (min(self._limit, self._now_left(key, now) + tokens), now)

    def _now_left(self, key: str, now: float) -> float:
        left, then = self._left.get(key, (self._limit, now))
        return min(self._limit, left + max(0.0, now - then) * self._rate)


@dataclass(frozen=True, slots=True)
class _Slice:
    """Tokens of one bucket on their way back."""

    key: bytes
    tokens: float
    rate: float


class Ledger:
    """What is used of all buckets, in a database that workers share. All methods block, and belong in one thread."""

    def __init__(self, path: Path, most_keys: int = MOST_KEYS) -> None:
        """Raises: sqlite3.Error."""
        self._most = most_keys
        self._drawn = 0
        self._db = opened(path, _SCHEMA)

    def draw(
        self, key: bytes, tokens: float, parts: float, limit: float, rate: float, now: float
    ) -> tuple[float, float]:
        """Take at least so many tokens, or a part of what is left where that is more; return them, and 0.

        Where there are too few, it is 0 tokens and the seconds until there are enough. Raises: sqlite3.Error.
        """
        with transaction(self._db):
            used = self._used(key, rate, now)
            left = limit - used
            given, wait = (max(tokens, left // parts), 0.0) if left >= tokens else (0.0, (tokens - left) / rate)
            if given:
                self._put(key, used + given, rate, now)
            self._drawn += 1
            if self._drawn % CLEAN_EVERY == 0:
                self._clean(now)
        return given, wait

    def put_back(self, slices: Sequence[_Slice], now: float) -> None:
        """Raises: sqlite3.Error."""
        with transaction(self._db):
            for each in slices:
                self._put(each.key, max(0.0, self._used(each.key, each.rate, now) - each.tokens), each.rate, now)

    def _used(self, key: bytes, rate: float, now: float) -> float:
        found = self._db.execute("SELECT used, at FROM buckets WHERE key = ?", (key,)).fetchone()
        if found is not None and found[1] > now:  # the clock was set back: it fills from here on
            self._put(key, found[0], rate, now)
        return 0.0 if found is None else max(0.0, found[0] - max(0.0, now - found[1]) * rate)

    def _put(self, key: bytes, used: float, rate: float, now: float) -> None:
        self._db.execute("INSERT OR REPLACE INTO buckets VALUES (?, ?, ?, ?)", (key, used, now, now + used / rate))

    def _clean(self, now: float) -> None:
        self._db.execute("DELETE FROM buckets WHERE full <= ?", (now,))
        over = self.count() - self._most
        if over > 0:
            self._db.execute(
                "DELETE FROM buckets WHERE key IN (SELECT key FROM buckets ORDER BY full LIMIT ?)", (over,)
            )

    def count(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM buckets").fetchone()[0])

    def close(self) -> None:
        self._db.close()


@dataclass(slots=True)
class _Held:
    """What a worker holds of a bucket, and when it last gave of it."""

    tokens: float
    at: float


class Allowance:
    """One limit. `name` tells it from other limits of the same connector; `clock` gives wall-clock seconds."""

    def __init__(
        self, name: str, limit: float, per_s: float, context: Context, clock: Callable[[], float] | None = None
    ) -> None:
        self._name = name.encode()
        self._limit = limit
        self._per_s = per_s
        self._parts = float(SLICES * context.workers)
        self._clock = clock or context.clock
        self._log: Any = context.log
        self._own = Buckets(max(1.0, limit / context.workers), per_s)
        """All there is of one worker; this one's share where the database can't be used."""
        self._shares = context.workers > 1
        self._path = context.state_dir / "allowances.db"
        self._ledger: Ledger | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._held: dict[str, _Held] = {}
        self._refused: dict[str, tuple[float, float, float]] = {}
        """Where there was nothing: until when that is believed, how much was asked for, and when there is as much."""
        self._sweep_at: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._is_at_fault = False

    def wait_for(self, key: str, tokens: float = 1.0) -> float:
        """Return the seconds until there are so many tokens, as far as is known without asking; 0 where it is not."""
        now = self._clock()
        if not self._shares or self._is_at_fault:
            return self._own.wait_for(key, now, tokens)
        if tokens > self._limit:
            return self._per_s
        until, asked, there_at = self._refused.get(key, (0.0, 0.0, 0.0))
        # Where the clock was set back, what was believed by the other time is asked anew.
        return there_at - now if now < until <= now + HOLD_S and tokens >= asked else 0.0

    async def take(self, key: str, tokens: float = 1.0) -> float:
        """Take tokens, and return 0; or, where there are too few, take none and return the seconds until there are."""
        now = self._clock()
        if not self._shares:
            return self._own.take(key, now, tokens)
        held = self._held.get(key)
        if held is not None and held.tokens >= tokens:
            held.tokens -= tokens
            held.at = now
            return 0.0
        if (wait := self.wait_for(key, tokens)) > 0:
            return wait
        missing = tokens - (held.tokens if held is not None else 0.0)
        # Most keys are asked about once in a while: for those there is nothing to be held, and to be given back.
        parts = self._parts if held is not None and not self._is_closed else math.inf
        try:
            given, wait = await self._in_thread(self._draw, self._digest(key), missing, parts, now)
        except (sqlite3.Error, OSError) as fault:
            self._at_fault(fault)
            return self._own.take(key, now, tokens)
        self._is_at_fault = False
        if wait:
            self._refused[key] = (now + min(wait, HOLD_S), tokens, now + wait)
            if len(self._refused) > MOST_KEYS:
                self._refused.clear()
            return wait
        # What was held may have gone to another, or back, meanwhile: then it is asked again.
        self._hold(key, given, now)
        held = self._held[key]
        if held.tokens < tokens:
            return await self.take(key, tokens)
        held.tokens -= tokens
        return 0.0

    def give_back(self, key: str, tokens: float) -> None:
        """Take back what was taken in vain."""
        now = self._clock()
        if self._shares:
            self._hold(key, tokens, now)
        else:
            self._own.give_back(key, now, tokens)

    def close(self) -> None:
        """Give back what is held, and let go of the database; who asks yet is answered all the same."""
        self._is_closed = True
        if self._sweep_at is not None:
            self._sweep_at.cancel()
            self._sweep_at = None
        if self._thread is not None:
            self._put_back(self._taken_from(list(self._held)))

    # What is held

    def _hold(self, key: str, tokens: float, now: float) -> None:
        held = self._held.get(key)
        if held is None:
            if len(self._held) >= MOST_KEYS:
                self._put_back(self._taken_from(list(self._held)))
            self._held[key] = _Held(tokens, now)
        else:
            held.tokens += tokens
            held.at = now
        if self._sweep_at is None and not self._is_closed:
            self._sweep_at = asyncio.get_running_loop().call_later(HOLD_S, self._sweep)

    def _sweep(self) -> None:
        """Give back what nobody wanted for a while."""
        self._sweep_at = None
        now = self._clock()
        stale = [key for key, held in self._held.items() if held.at + HOLD_S <= now or held.at > now]
        if slices := self._taken_from(stale):
            self._put_back(slices)
        if self._held:
            self._sweep_at = asyncio.get_running_loop().call_later(HOLD_S, self._sweep)

    def _taken_from(self, keys: Sequence[str]) -> list[_Slice]:
        rate = self._limit / self._per_s
        return [
            _Slice(self._digest(key), held.tokens, rate) for key in keys if (held := self._held.pop(key)).tokens > 0
        ]

    def _put_back(self, slices: list[_Slice]) -> None:
        self._executor().submit(self._give, slices, self._clock())

    def _at_fault(self, fault: Exception) -> None:
        if not self._is_at_fault:
            self._log.warning("allowance_not_shared", file=str(self._path), error=str(fault), then="its share is given")
        self._is_at_fault = True

    # In the thread

    def _executor(self) -> ThreadPoolExecutor:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="allowance")
        return self._thread

    async def _in_thread(self, call: Callable[..., tuple[float, float]], *given: Any) -> tuple[float, float]:
        return await asyncio.get_running_loop().run_in_executor(self._executor(), call, *given)

    def _opened(self) -> Ledger:
        if self._ledger is None:
            self._ledger = Ledger(self._path)
        return self._ledger

    def _draw(self, key: bytes, tokens: float, parts: float, now: float) -> tuple[float, float]:
        try:
            return self._opened().draw(key, tokens, parts, self._limit, self._limit / self._per_s, now)
        finally:
            self._close_where_closed()

    def _give(self, slices: Sequence[_Slice], now: float) -> None:
        try:
            if slices:
                self._opened().put_back(slices, now)
        except sqlite3.Error as fault:  # they come back by time alone
            self._log.warning("allowance_not_given_back", file=str(self._path), error=str(fault))
        finally:
            self._close_where_closed()

    def _close_where_closed(self) -> None:
        if self._is_closed and self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    def _digest(self, key: str) -> bytes:
        """What a bucket is called in the database, which tells nobody who sends to whom."""
        return hashlib.blake2b(self._name + b"\0" + key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
