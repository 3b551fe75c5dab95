"""The rows of a SELECT that come as one are those that it gives."""

from __future__ import annotations

import sqlite3

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.spool.sqlite_rows import gather

COLUMNS = ("id", "arrived_at", "size", "content_ref", "prefix", "content")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ROWS = st.lists(
    st.tuples(
        st.integers(-1, 2**51).map(lambda n: n / 2**20),  # a time, to a microsecond
        st.integers(-(2**63), 2**63 - 1),
        st.none() | TEXTS,
        st.binary(max_size=8),
        st.binary(max_size=8),
    ),
    max_size=5,
)


@settings(max_examples=30)
@given(ROWS)
def test_rows_come_as_they_are(rows: list[tuple[object, ...]]) -> None:
    raw = sqlite3.connect(":memory:")
    raw.execute(f"CREATE TABLE t (id INTEGER PRIMARY KEY, {', '.join(COLUMNS[1:])})")
    raw.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)", [(n, *row) for n, row in enumerate(rows)])
    sql = f"SELECT {', '.join(COLUMNS)} FROM t WHERE id >= ? ORDER BY id"
    gathered = gather(sql, COLUMNS)
    for first in (0, 1):
        wanted = raw.execute(sql, (first,)).fetchall()
        assert [tuple(row) for row in gathered.rows(raw.execute(gathered.sql, (first,)).fetchone())] == wanted
    raw.close()
