"""The file of watched mailboxes: CSV, for organisations with hundreds of them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from connectors.exchange.common_config import Watched

MOST: Final = 10_000
_TRUE: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def read(path: Path) -> list[Watched]:
    """Return what a file says is to be watched. Blocks.

    Raises: OSError, ValueError that names the line and the column, and what would be right.
    """
    with path.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.DictReader(lines, strict=True)
        names = rows.fieldnames or []
        unknown = [name for name in names if name not in Watched.model_fields]
        if unknown or "mailbox" not in names:
            found, known = ", ".join(names) or "none", ", ".join(Watched.model_fields)
            raise ValueError(f"{path}: line 1: found the columns {found}, expected mailbox and others of: {known}")
        try:
            watched = [_watched(path, rows.line_num, row) for row in rows]
        except csv.Error as e:
            raise ValueError(f"{path}: line {rows.line_num}: {e}") from None
    if len(watched) > MOST:
        raise ValueError(f"{path}: found {len(watched)} folders, expected at most {MOST}")
    return watched


def _watched(path: Path, line: int, row: dict[str | Any, Any]) -> Watched:
    if None in row or None in row.values():
        raise ValueError(f"{path}: line {line}: it has not as many columns as the first line")
    given: dict[str, Any] = {name: value.strip() for name, value in row.items() if value.strip()}
    for name, value in given.items():
        if Watched.model_fields[name].annotation is bool:
            given[name] = _TRUE.get(value.lower(), value)
        elif name == "recipients":
            given[name] = value.split()
    try:
        return Watched.model_validate(given)
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the line"
        raise ValueError(f"{path}: line {line}: {where}: {first['msg']}") from None
