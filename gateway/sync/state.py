"""What both sides held last, in a database: pairs of folders and items, appends under way, and what went wrong.

One thread has the database, so the event loop never waits for a disk. Each method is one transaction, durable when it
returns. Rows of a folder are read a page at a time.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Row, Table, bindparam, delete, func, insert, or_, select, update
from sqlalchemy.dialects import sqlite

from gateway.sync.database import locking_engine, open_database
from gateway.sync.many import Many
from gateway.sync.schema import FOLDER, INTENT, ITEM, JOURNAL, NOTE, OWED, PAIRING, PLACED, PROBLEM
from gateway.sync.values import FolderPair, Intent, Noted, Pair, Pairing, Place, Placed, Print, Problem, Seen, Side

T = TypeVar("T")
_MANY: Final = 400
"""Ids that one statement looks for; SQLite once took no more than 999 parameters."""


_ROW: Final = [column.name for column in ITEM.c if column.name != "id"]
_NEW: Final = Many(insert(ITEM), _ROW)
_REWRITE: Final = Many(update(ITEM).where(ITEM.c.id == bindparam("row")), ["row", *_ROW])
_FORGET: Final = Many(delete(ITEM).where(ITEM.c.id == bindparam("row")), ["row"])
_INTEND: Final = Many(insert(INTENT), [column.name for column in INTENT.c])
_OVER: Final = Many(delete(INTENT).where(INTENT.c.key == bindparam("which")), ["which"])
_SOLVE: Final = Many(
    delete(PROBLEM).where(
        PROBLEM.c.pairing == bindparam("of"), PROBLEM.c.side == bindparam("from"), PROBLEM.c.item == bindparam("which")
    ),
    ["of", "from", "which"],
)
_PUT: Final = Many(insert(PLACED), [column.name for column in PLACED.c])
_TOLD: Final = Many(
    delete(PLACED).where(
        PLACED.c.pairing == bindparam("of"), PLACED.c.side == bindparam("from"), PLACED.c.item == bindparam("which")
    ),
    ["of", "from", "which"],
)
# Made once: to make a statement of SQLAlchemy's takes several times as long as SQLite takes to do it.
_ANY_PROBLEM: Final = select(PROBLEM.c.item).where(PROBLEM.c.pairing == bindparam("of")).limit(1)


@lru_cache(maxsize=256)  # most of a mailbox's items have the same few
def _words(words: frozenset[str]) -> str:
    return json.dumps(sorted(words), ensure_ascii=False) if words else ""


def _read_words(text: str) -> frozenset[str]:
    return frozenset(json.loads(text)) if text else frozenset()


def _print(row: Row[Any]) -> Print:
    return Print(row.size, row.message_id, row.digest, row.received_at, None, row.kind, row.version)


def _print_columns(print: Print) -> dict[str, Any]:
    return {
        "size": print.size,
        "message_id": print.message_id,
        "digest": print.digest,
        "received_at": print.received_at,
        "kind": print.kind,
        "version": print.version,
    }


def _pair(row: Row[Any]) -> Pair:
    return Pair(
        row.id,
        row.left,
        row.right,
        row.left_folder,
        row.right_folder,
        _read_words(row.left_words),
        _read_words(row.right_words),
        _print(row),
        row.right_digest,
        row.left_object,
        row.right_object,
        row.right_version,
    )


def _pair_columns(pairing: str, pair: Pair) -> dict[str, Any]:
    return {
        "pairing": pairing,
        "left": pair.left,
        "right": pair.right,
        "left_folder": pair.left_folder,
        "right_folder": pair.right_folder,
        "left_words": _words(pair.left_words),
        "right_words": _words(pair.right_words),
        "right_digest": pair.right_digest,
        "left_object": pair.left_object,
        "right_object": pair.right_object,
        "right_version": pair.right_version,
        **_print_columns(pair.print),
    }


def _intent_columns(pairing: str, intent: Intent) -> dict[str, Any]:
    return {
        "key": intent.key,
        "pairing": pairing,
        "folder": intent.folder,
        "side": intent.side,
        "source": intent.source,
        "pair": intent.pair,
        "words": _words(intent.words),
        "appended": intent.appended,
        "replaces": intent.replaces,
        **_print_columns(intent.print),
    }


def _some(ids: Iterable[str]) -> Iterator[list[str]]:
    some = list(ids)
    for start in range(0, len(some), _MANY):
        yield some[start : start + _MANY]


def upsert(connection: Connection, table: Table, key: dict[str, Any], values: dict[str, Any], **new: Any) -> None:
    """Write a row by its key: `values`, and `new` besides where it was not there."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # a tenth of a second to import, and most have a SQLite file

        there = postgresql.insert(table).values(**key, **(values | new))
        connection.execute(there.on_conflict_do_update(index_elements=list(key), set_=values))
        return
    put = sqlite.insert(table).values(**key, **(values | new))
    connection.execute(put.on_conflict_do_update(index_elements=list(key), set_=values))


class State:
    """The state in a SQLite file, made where it is not there, or in a PostgreSQL database by its URL.

    Assumes: one process at a time works on a pairing. Raises: StateUnusable.
    """

    def __init__(self, where: Path | str, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._engine = open_database(where)
        self._locking = locking_engine(where) if isinstance(where, str) else self._engine
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sync-state")

    def close(self) -> None:
        """Close the database, once what is under way has ended."""
        self._thread.shutdown()
        self._engine.dispose()
        self._locking.dispose()

    async def do(self, work: Callable[[Connection], T]) -> T:
        """Do `work` in a transaction of its own, in the thread that has the database."""

        def act() -> T:
            with self._engine.begin() as connection:
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(self._thread, act)

    # -- pairings

    @asynccontextmanager
    async def locked(self, pairing: str) -> AsyncIterator[bool]:
        """Have a pairing to oneself among all that share the database; False where another has it. It is given back by
        a process that dies, too. A SQLite file is one machine's, and whoever works on it locks a file beside it."""
        if self._engine.dialect.name != "postgresql":
            yield True
            return
        connection = await asyncio.to_thread(self._locking.connect)
        try:
            number = int.from_bytes(hashlib.blake2b(pairing.encode(), digest_size=8).digest(), signed=True)
            asked = select(func.pg_try_advisory_lock(number))
            yield bool(await asyncio.to_thread(lambda: connection.execute(asked).scalar_one()))
        finally:
            await asyncio.to_thread(connection.close)

    async def add_pairing(self, pairing: Pairing) -> None:
        """Note a pairing; one that is there gets what is configured now, and keeps its stage."""
        values = {
            "config": pairing.set,
            "left_connector": pairing.left.connector,
            "left_mailbox": pairing.left.mailbox,
            "right_connector": pairing.right.connector,
            "right_mailbox": pairing.right.mailbox,
            "identity": pairing.identity,
            "batch": pairing.batch,
            "mode": pairing.mode,
        }
        await self.do(lambda connection: upsert(connection, PAIRING, {"id": pairing.id}, values))

    async def pairings(self) -> list[tuple[Pairing, str]]:
        """Return all pairings, each with its stage."""

        def read(connection: Connection) -> list[tuple[Pairing, str]]:
            found: list[tuple[Pairing, str]] = []
            for row in connection.execute(select(PAIRING).order_by(PAIRING.c.id)):
                left, right = (
                    Place(row.left_connector, row.left_mailbox),
                    Place(row.right_connector, row.right_mailbox),
                )
                made = Pairing(row.id, row.config, left, right, row.identity, row.batch, row.mode)
                found.append((made, row.stage))
            return found

        return await self.do(read)

    async def set_stage(self, pairing: str, stage: str, detail: str = "") -> None:
        """Put a pairing at a stage of its course, with a line in its journal."""

        def act(connection: Connection) -> None:
            connection.execute(update(PAIRING).where(PAIRING.c.id == pairing).values(stage=stage))
            line = {"pairing": pairing, "step": stage, "detail": detail, "at": self._clock()}
            connection.execute(insert(JOURNAL).values(line))

        await self.do(act)

    async def journal(self, pairing: str) -> list[tuple[str, str, float]]:
        """Return the steps of a pairing's course: step, detail, seconds since 1970."""
        asked = select(JOURNAL).where(JOURNAL.c.pairing == pairing).order_by(JOURNAL.c.seq)
        return await self.do(lambda connection: [(r.step, r.detail, r.at) for r in connection.execute(asked)])

    # -- folders

    async def folders(self, pairing: str) -> list[FolderPair]:
        """Return the pairs of folders."""

        def read(connection: Connection) -> list[FolderPair]:
            asked = select(FOLDER).where(FOLDER.c.pairing == pairing).order_by(FOLDER.c.id)
            return [
                FolderPair(
                    row.id,
                    row.left,
                    row.right,
                    tuple(json.loads(row.path)),
                    row.left_token,
                    row.right_token,
                    row.left_mark,
                    row.right_mark,
                    row.is_known,
                    row.limits,
                    row.kind,
                )
                for row in connection.execute(asked)
            ]

        return await self.do(read)

    async def put_folder(self, pairing: str, folder: FolderPair) -> int:
        """Write a pair of folders, a new one where its id is 0; returns its id."""
        values = {
            "pairing": pairing,
            "left": folder.left,
            "right": folder.right,
            "path": json.dumps(folder.path),
            "left_token": folder.left_token,
            "right_token": folder.right_token,
            "left_mark": folder.left_mark,
            "right_mark": folder.right_mark,
            "is_known": folder.is_known,
            "limits": folder.limits,
            "kind": folder.kind,
        }

        def act(connection: Connection) -> int:
            if folder.id:
                connection.execute(update(FOLDER).where(FOLDER.c.id == folder.id).values(values))
                return folder.id
            made = connection.execute(insert(FOLDER).values(values)).inserted_primary_key
            assert made is not None
            return int(made[0])

        return await self.do(act)

    async def drop_folder(self, folder: int) -> None:
        """Forget a pair of folders in which nothing is left."""
        await self.do(lambda connection: connection.execute(delete(FOLDER).where(FOLDER.c.id == folder)))

    # -- items

    async def base(self, pairing: str, folder: int) -> AsyncIterator[list[Pair]]:
        """Yield the rows that have a side in a folder, in pages."""
        after = 0
        while True:
            asked = (
                select(ITEM)
                .where(ITEM.c.pairing == pairing, ITEM.c.id > after)
                .where(or_(ITEM.c.left_folder == folder, ITEM.c.right_folder == folder))
                .order_by(ITEM.c.id)
                .limit(2000)
            )
            page = await self.do(lambda connection, asked=asked: [_pair(r) for r in connection.execute(asked)])  # type: ignore[misc]  # mypy takes no default of a lambda
            if not page:
                return
            yield page
            after = page[-1].id

    async def pairs(self, pairing: str, left: Iterable[str], right: Iterable[str]) -> list[Pair]:
        """Return the rows that have one of these ids, each once."""

        def read(connection: Connection) -> list[Pair]:
            found: dict[int, Pair] = {}
            for column, ids in ((ITEM.c.left, left), (ITEM.c.right, right)):
                for some in _some(ids):
                    asked = select(ITEM).where(ITEM.c.pairing == pairing, column.in_(some))
                    for row in connection.execute(asked):
                        found.setdefault(row.id, _pair(row))
            return list(found.values())

        return await self.do(read)

    async def rows_of(self, pairing: str, left: Seen, right: Seen) -> list[Pair]:
        """Return the rows of what was seen, and of all in folders that were seen whole."""
        rows = await self.pairs(pairing, [*left.items, *left.gone], [*right.items, *right.gone])
        found = {pair.id: pair for pair in rows}
        for number in left.whole | right.whole:
            async for page in self.base(pairing, number):
                found |= {pair.id: pair for pair in page}
        return list(found.values())

    async def count(self, pairing: str, folder: int | None = None) -> int:
        """Return how many rows there are, of the mailbox or of one folder."""
        asked = select(func.count()).select_from(ITEM).where(ITEM.c.pairing == pairing)
        if folder is not None:
            asked = asked.where(or_(ITEM.c.left_folder == folder, ITEM.c.right_folder == folder))
        return await self.do(lambda connection: int(connection.execute(asked).scalar_one()))

    async def placed(self, pairing: str) -> list[Placed]:
        """Return the items that were put somewhere and that no listing has told yet."""
        asked = select(PLACED).where(PLACED.c.pairing == pairing)
        return await self.do(lambda connection: [Placed(r.side, r.folder, r.item) for r in connection.execute(asked)])

    async def owed(self, pairing: str) -> list[tuple[Side, str]]:
        """Return what was replaced and is still to be removed, by side and item."""
        asked = select(OWED).where(OWED.c.pairing == pairing)
        return await self.do(lambda connection: [(r.side, r.item) for r in connection.execute(asked)])

    async def has_digest(self, pairing: str, folder: int, digest: bytes) -> bool:
        """Tell whether something with this digest is paired in a folder."""
        asked = select(ITEM.c.id).where(ITEM.c.pairing == pairing, ITEM.c.right_folder == folder)
        asked = asked.where(ITEM.c.digest == digest, ITEM.c.right.is_not(None)).limit(1)
        return await self.do(lambda connection: connection.execute(asked).first() is not None)

    async def intend(self, pairing: str, intents: Sequence[Intent]) -> None:
        """Note what is about to be appended. It must be durable before the first octet of it is sent."""
        await self.settle(pairing, intended=intents)

    async def intents(self, pairing: str) -> list[Intent]:
        """Return the appends of which it is not known whether they were done."""
        asked = select(INTENT).where(INTENT.c.pairing == pairing).order_by(INTENT.c.key)

        def read(connection: Connection) -> list[Intent]:
            return [
                Intent(
                    r.key, r.folder, r.side, r.source, _read_words(r.words), _print(r), r.pair, r.appended, r.replaces
                )
                for r in connection.execute(asked)
            ]

        return await self.do(read)

    async def settle(
        self,
        pairing: str,
        rows: Sequence[Pair] = (),
        *,
        intended: Sequence[Intent] = (),
        forget: Iterable[int] = (),
        intents: Iterable[str] = (),
        problems: Iterable[Problem] = (),
        solved: Iterable[tuple[Side, str]] = (),
        notes: Iterable[Noted] = (),
        placed: Sequence[Placed] = (),
        told: Sequence[Placed] = (),
        folders: Iterable[FolderPair] = (),
        owed: Sequence[tuple[Side, str]] = (),
        paid: Sequence[tuple[Side, str]] = (),
    ) -> None:
        """Write what is done, in one transaction: rows, what is about to be appended (as `intend` does), rows to
        forget, intents by their keys that are known to be done or not, problems met and solved (by side and item),
        notes, items that were put where no listing told them yet and those that one has told by now, folders as far as
        they are read, and what is still to be removed or was by now, by side and item."""
        new = [_pair_columns(pairing, pair) for pair in rows if pair.id == 0]
        old = [{"row": pair.id, **_pair_columns(pairing, pair)} for pair in rows if pair.id != 0]
        ahead = [_intent_columns(pairing, intent) for intent in intended]
        gone = [{"row": id} for id in forget]
        known = [{"which": key} for key in intents]
        over = [{"of": pairing, "from": side, "which": item} for side, item in solved]

        def act(connection: Connection) -> None:
            if new:
                _NEW.run(connection, new)
            if old:
                _REWRITE.run(connection, old)
            if gone:
                _FORGET.run(connection, gone)
            if known:
                _OVER.run(connection, known)
            if ahead:
                _INTEND.run(connection, ahead)
            if over and connection.execute(_ANY_PROBLEM, {"of": pairing}).first() is not None:
                _SOLVE.run(connection, over)
            if told or placed:
                met = [{"of": pairing, "from": each.side, "which": each.item} for each in (*told, *placed)]
                _TOLD.run(connection, met)
            if placed:
                last = {(each.side, each.item): each.folder for each in placed}
                put = [
                    {"pairing": pairing, "side": side, "item": item, "folder": folder}
                    for (side, item), folder in last.items()
                ]
                _PUT.run(connection, put)
            for side, item in (*owed, *paid):
                of_it = OWED.c.pairing == pairing, OWED.c.side == side, OWED.c.item == item
                connection.execute(delete(OWED).where(*of_it))
            for side, item in owed:
                connection.execute(insert(OWED).values(pairing=pairing, side=side, item=item))
            for problem in problems:
                self._put_problem(connection, pairing, problem)
            for note in notes:
                key = {"pairing": pairing, "side": note.side, "item": note.item}
                values: dict[str, Any] = {"folder": note.folder, "text": note.text, "at": self._clock()}
                upsert(connection, NOTE, key, values)
            for folder in folders:
                values = {
                    "left_token": folder.left_token,
                    "right_token": folder.right_token,
                    "left_mark": folder.left_mark,
                    "right_mark": folder.right_mark,
                    "is_known": folder.is_known,
                    "limits": folder.limits,
                }
                connection.execute(update(FOLDER).where(FOLDER.c.id == folder.id).values(values))

        await self.do(act)

    # -- what went wrong

    def _put_problem(self, connection: Connection, pairing: str, problem: Problem) -> None:
        values = {
            "code": problem.code,
            "text": problem.text,
            "at": self._clock(),
            "words": _words(problem.words),
            **_print_columns(problem.print),
        }
        key = {"pairing": pairing, "folder": problem.folder, "side": problem.side, "item": problem.item}
        upsert(connection, PROBLEM, key, values | {"tries": PROBLEM.c.tries + 1}, tries=1)

    async def notes(self, pairing: str) -> list[Noted]:
        """Return what got across, but not as it was."""
        asked = select(NOTE).where(NOTE.c.pairing == pairing).order_by(NOTE.c.folder, NOTE.c.item)
        return await self.do(
            lambda connection: [Noted(r.folder, r.side, r.item, r.text, r.at) for r in connection.execute(asked)]
        )

    async def problems(self, pairing: str) -> list[Problem]:
        """Return what did not get across."""
        asked = select(PROBLEM).where(PROBLEM.c.pairing == pairing).order_by(PROBLEM.c.folder, PROBLEM.c.item)

        def read(connection: Connection) -> list[Problem]:
            return [
                Problem(r.folder, r.side, r.item, r.code, r.text, r.tries, r.at, _read_words(r.words), _print(r))
                for r in connection.execute(asked)
            ]

        return await self.do(read)
