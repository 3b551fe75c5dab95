"""Statements that are done for many rows at once, at a third of what SQLAlchemy takes for each of these.

A statement is compiled by SQLAlchemy, once for a kind of database; its rows go to the driver as they are. That asks for
columns whose values the driver takes as they are: texts, numbers and octets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Delete, Insert, Update


class Many:
    """A statement with parameters of these names."""

    def __init__(self, statement: Insert | Update | Delete, names: Sequence[str]) -> None:
        self._statement = statement
        self._names = list(names)
        self._made: dict[str, tuple[str, Callable[[Mapping[str, Any]], Any]]] = {}

    def run(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Do it for each of these rows."""
        text, parameters = self._made.get(connection.dialect.name) or self._compiled(connection)
        connection.exec_driver_sql(text, [parameters(row) for row in rows])

    def _compiled(self, connection: Connection) -> tuple[str, Callable[[Mapping[str, Any]], Any]]:
        compiled = self._statement.compile(dialect=connection.dialect, column_keys=self._names)
        order = compiled.positiontup
        parameters: Callable[[Mapping[str, Any]], Any] = dict
        if order is not None:
            parameters = itemgetter(*order) if len(order) > 1 else lambda row: (row[order[0]],)
        made = compiled.string, parameters
        self._made[connection.dialect.name] = made
        return made
