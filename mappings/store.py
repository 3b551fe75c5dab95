"""Store: the identities in a database, as revisions, on a Connection that the caller opens, commits and closes.

Promises: a revision is stored whole or not at all, by the caller's transaction; its number is one more than the last
one's, and numbers of identities are never used again. No two identities hold one address at one time. What a revision
changed can be read, compared and undone as long as the database stands; undoing is a revision too. A reader learns
with one small query whether anything changed. Works on SQLite and PostgreSQL.

Writers wait for each other from the first statement of `apply` or `rollback` until the caller's commit.
The tables are in `mappings.schema`, and made by `mappings.migrations`. Nothing else reads or writes them.
"""

from __future__ import annotations

from mappings.revisions import (
    Change,
    ClaimedTwice,
    NoSuchRevision,
    Overtaken,
    Put,
    Remove,
    Revision,
    StaleMapping,
    apply,
    diff,
    log,
    rollback,
)
from mappings.schema import metadata
from mappings.stored import (
    Delta,
    Facts,
    Head,
    Records,
    by_ref,
    changes_since,
    count_addresses,
    count_since,
    facts,
    find,
    get,
    head,
    holders_between,
    is_past,
    load,
    records_after,
    records_since,
    revision,
    search,
)

__all__ = [
    "Change",
    "ClaimedTwice",
    "Delta",
    "Facts",
    "Head",
    "NoSuchRevision",
    "Overtaken",
    "Put",
    "Records",
    "Remove",
    "Revision",
    "StaleMapping",
    "apply",
    "by_ref",
    "changes_since",
    "count_addresses",
    "count_since",
    "diff",
    "facts",
    "find",
    "get",
    "head",
    "holders_between",
    "is_past",
    "load",
    "log",
    "metadata",
    "records_after",
    "records_since",
    "revision",
    "rollback",
    "search",
]
