"""The spool: the durable store of messages and deliveries.

Promises: what `accept` returned for is on disk (message, content, deliveries, trace, in one transaction);
nothing leaves before its outcome is committed; a delivery is leased to one node at a time, and every
outcome commit is conditional on that lease. Transactions that wait together are committed together.
Refuses: a database of a newer schema; a PostgreSQL that runs without fsync; new mail below the free-space limit.
Known limits: an unclean stop may repeat what was in flight, never lose it; a crash in the middle of an adoption
may repeat one bite of it (50 messages).

`open.py` opens one, `durable.py` is what the node holds; below it the `writer.py` thread owns a `store.py`, which
is `sqlite.py` or `postgres.py`. `statements.py` has the SQL, `rows.py` the form of values in it. What is in
`sqlite_*.py` is one step of a statement each, for around every step the interpreter's lock is let go.
"""
