"""No statement of the daily work walks through the queue, however long it is and whatever a planner believes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine

from gateway.spool.migrations import upgrade
from gateway.spool.postgres import connect_arguments, engine_url
from gateway.spool.rows import DELIVERY_COLUMNS
from gateway.spool.schema import metadata
from gateway.spool.statements import Prepared, Statements, statements

# These read a whole table, seldom, or piece by piece.
WHOLE = {
    "count_states", "free_all", "kept_oldest", "kept_size", "lanes_down", "lanes_prune", "let_go", "not_withdrawn",
    "oldest", "trace_piece", "trace_prune",
}  # fmt: skip

LONG = 20_000
VALUES: dict[str, Any] = {
    "lane": "internet\tone", "now": 1e9, "window": 513, "priority": 0, "after": "s3", "depth": 200, "each": 1, "me": 1,
    "most": 400,
}  # fmt: skip


def daily() -> Iterator[tuple[str, Prepared]]:
    prepared = statements("sqlite")
    for f in fields(Statements):
        if f.name not in WHOLE:
            yield f.name, getattr(prepared, f.name)


@pytest.mark.parametrize(("name", "statement"), list(daily()))
def test_sqlite_searches(name: str, statement: Prepared, tmp_path: Any) -> None:
    path = tmp_path / "plan.db"
    engine = create_engine(f"sqlite:///{path}")
    metadata.create_all(engine)
    engine.dispose()
    connection = sqlite3.connect(path)
    plan = connection.execute(f"EXPLAIN QUERY PLAN {statement.sql}", [None] * len(statement.names)).fetchall()
    connection.close()
    scans = [detail for *_, detail in plan if detail.startswith("SCAN") and "json_each" not in detail]
    # Of a scan by index only the first entry is read (the first lane), and the recursive rows are few.
    assert [s for s in scans if s.split()[1] in metadata.tables and "COVERING INDEX" not in s] == []


def row(i: int) -> tuple[Any, ...]:
    sender = f"s{i % 1000}" if i % 2 else "s0"
    values = {
        "message_id": i << 22, "n": 0, "lane": "internet\tone", "sender": sender, "priority": 0,
        "next_attempt_at": 1000.0 + i, "expires_at": 1e10, "state": "queued", "attempts": 0, "delay_reported": 0,
        "notify": 0, "address": "smtp:bob@x.example", "reason": "",
    }  # fmt: skip
    return tuple(values.get(c) for c in DELIVERY_COLUMNS)


@pytest.mark.parametrize(
    "name", ["claim_window", "next_priority", "senders", "per_sender", "siblings", "due", "lease", "done", "give_back"]
)
def test_postgres_searches_a_table_that_it_takes_for_empty(name: str, postgres_url: str) -> None:
    engine = create_engine(engine_url(postgres_url))
    with engine.connect() as made:
        upgrade(made)
    engine.dispose()
    statement: Prepared = getattr(statements("postgresql"), name)
    ids = [i << 22 for i in range(100)]
    values = {**VALUES, "ids": ids, "pairs": ids, "pairs_n": [0] * 100, "senders": [f"s{i}" for i in range(1, 201, 2)]}
    if name == "next_priority":
        values["priority"] = 5
    with psycopg.connect(postgres_url, autocommit=True, **connect_arguments("test")) as connection:
        columns = ", ".join(DELIVERY_COLUMNS)
        with connection.cursor().copy(f"COPY deliveries ({columns}) FROM STDIN".encode()) as copy:
            for i in range(LONG):
                copy.write_row(row(i))
        explained = connection.execute(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.sql}".encode(), statement.args(values)
        ).fetchone()
    assert explained is not None
    assert max(read(explained[0][0]["Plan"])) < 1500, json.dumps(explained[0], indent=1)


def read(plan: dict[str, Any]) -> Iterator[float]:
    """Yield how many rows each node of a plan has read, those filtered out too."""
    rows = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Join Filter", 0)
    yield rows * plan["Actual Loops"]
    for part in plan.get("Plans", ()):
        yield from read(part)
