"""The wire: arrays as the server reads them, all or none, and what a group leaves behind."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.spool.postgres_wire import Wire, array_writer

_BIGINT = st.integers(-(2**63), 2**63 - 1)
_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "bigint": _BIGINT,
    "integer": st.integers(-(2**31), 2**31 - 1),
    "smallint": st.integers(-(2**15), 2**15 - 1),
    "float8": st.floats(allow_nan=False),
    "text": _TEXT,
    "bytea": st.binary(max_size=30),
}


@pytest.mark.parametrize("kind", VALUES)
def test_the_server_reads_what_is_written(postgres_url: str, kind: str) -> None:
    write = array_writer(kind)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        wire = Wire(connection, {"x": f"SELECT md5(coalesce(v::text, 'none')) FROM unnest($1::{kind}[]) AS v"})

        @settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
        @given(st.lists(st.none() | VALUES[kind], max_size=8))
        def check(values: list[Any]) -> None:
            (answers,) = wire.run([("x", [write(values)])])
            told = connection.execute(
                f"SELECT md5(coalesce(v::text, 'none')) FROM unnest(%s::{kind}[]) AS v".encode(), [values]
            ).fetchall()
            assert [a.decode() for a in answers if a is not None] == [row[0] for row in told]

        check()


def test_a_fault_undoes_all_and_leaves_the_connection_usable(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE t (x bigint PRIMARY KEY)")
        wire = Wire(
            connection,
            {
                "add": "INSERT INTO t SELECT unnest($1::bigint[])",
                "all": "SELECT x FROM t ORDER BY x",
                "divide": "SELECT 1 / count(*) FROM t WHERE x = 99",
            },
        )
        bigints = array_writer("bigint")
        with pytest.raises(psycopg.errors.UniqueViolation):
            wire.run([("add", [bigints([1, 2])]), ("add", [bigints([2])]), ("add", [bigints([3])])])
        with pytest.raises(psycopg.errors.DivisionByZero):
            wire.run([("add", [bigints([1, 2])]), ("divide", [])])
        assert wire.run([("all", [])]) == [[]]
        added, seen = wire.run([("add", [bigints([1, 2])]), ("all", [])])
        assert added == []
        assert [int.from_bytes(x) for x in seen if x is not None] == [1, 2]
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (2,)


def test_a_large_group_does_not_stall(postgres_url: str) -> None:
    """More than the sockets hold in both directions at once."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        wire = Wire(connection, {"echo": "SELECT x FROM unnest($1::bytea[]) AS x"})
        block = array_writer("bytea")([b"x" * 1_000_000] * 4)
        answers = wire.run([("echo", [block])] * 10)
        assert sum(len(x) for answer in answers for x in answer if x is not None) == 40_000_000
