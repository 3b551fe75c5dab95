"""The rows of a SELECT as one row, and so two steps of the statement, however many they are.

Around every step of a statement the interpreter's lock is let go and must be won back from the event loop, which is
busy under load: of the time in which 256 deliveries were claimed, a row a step, nearly all went by in that. Here SQLite
puts the rows into one JSON text, and octets, which have no place in JSON, one behind the other into one blob.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import orjson

from gateway.spool.rows import DELIVERY_COLUMNS, MESSAGE_COLUMNS, Row
from gateway.spool.statements import Statements

_REALS: Final = frozenset({"next_attempt_at", "expires_at", "arrived_at"})
_BLOBS: Final = frozenset({"prefix", "content"})

_COLUMNS: Final[Mapping[str, Sequence[str]]] = {
    "claim_window": ("message_id", "n", "priority", "sender", "next_attempt_at"),
    "per_sender": ("message_id", "n", "priority", "sender", "next_attempt_at"),
    "siblings": ("message_id", "n"),
    "weigh": ("id", "size"),
    "leasable": DELIVERY_COLUMNS,
    "ended": ("message_id", "n"),
    "left": ("id", "content_ref"),
    "messages": MESSAGE_COLUMNS,
}
"""The statements that give many rows, and what is in these."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """A statement that gives the rows of another one, of the same parameters, as one row."""

    sql: str
    reals: tuple[int, ...]
    blobs: tuple[int, ...]

    @property
    def width(self) -> int:
        """How many columns its one row has."""
        return 2 if self.blobs else 1

    def rows(self, row: Sequence[Any]) -> list[Row]:
        """Return the rows that are in the one row of this statement."""
        rows: list[Any] = orjson.loads(row[0])
        for at in self.reals:
            for one in rows:
                one[at] = float(one[at])
        if self.blobs and rows:
            octets, end = row[1], 0
            for one in rows:
                for at in self.blobs:
                    begin, end = end, end + one[at]
                    one[at] = octets[begin:end]
        return rows


def gather(sql: str, columns: Sequence[str]) -> Gathered:
    """Return how the rows of a SELECT with these columns come as one."""
    shown: list[str] = []
    octets: list[str] = []
    for column in columns:
        if column in _REALS:
            # JSON has 15 digits of a number; so many give each back as it is.
            shown.append(f"printf('%!.17g', {column})")
        elif column in _BLOBS:
            shown.append(f"length({column})")
            octets.append(column)
        else:
            shown.append(column)
    # Both aggregates see the rows in one order.
    together = f", CAST(group_concat({' || '.join(octets)}, '') AS BLOB)" if octets else ""
    each = f"WITH each({', '.join(columns)}) AS (\n{sql}\n)"
    return Gathered(
        f"{each}\nSELECT json_group_array(json_array({', '.join(shown)})){together} FROM each",
        tuple(at for at, column in enumerate(columns) if column in _REALS),
        tuple(at for at, column in enumerate(columns) if column in _BLOBS),
    )


@cache
def together(*forms: Gathered) -> str:
    """Return a statement that gives what several do, with the parameters of all of them in this order."""
    if len(forms) == 1:
        return forms[0].sql
    return f"SELECT * FROM {', '.join(f'({form.sql})' for form in forms)}"


def rows(forms: Sequence[Gathered], row: Sequence[Any]) -> list[list[Row]]:
    """Return the rows of each that are in the one row of `together`."""
    made, at = [], 0
    for form in forms:
        made.append(form.rows(row[at:]))
        at += form.width
    return made


@cache
def gathered(statements: Statements) -> Mapping[str, Gathered]:
    """Return, by their own SQL, how the statements that give many rows are put instead."""
    made = {}
    for name, columns in _COLUMNS.items():
        sql = getattr(statements, name).sql
        made[sql] = gather(sql, columns)
    return made
