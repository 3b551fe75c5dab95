"""How a store of mailboxes logs in to a server: with one secret for all, or with each mailbox's own of a table."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

MOST_PASSWORDS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Login:
    """Who logs in, how, and whose mailbox is opened then."""

    name: str
    secret: str = field(repr=False)
    act_as: str = ""
    way: str = "auto"


def read_passwords(path: Path) -> dict[str, str]:
    """Return the passwords of a CSV file with the columns mailbox and password, by mailbox.

    Raises: OSError; ValueError that names the file and its fault, and shows no password.
    """
    found: dict[str, str] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, strict=True)
            if rows.fieldnames is None or not {"mailbox", "password"} <= set(rows.fieldnames):
                raise ValueError(f"{path}: its first line must name the columns mailbox,password")
            for row in rows:
                if len(found) >= MOST_PASSWORDS:
                    raise ValueError(f"{path}: more than {MOST_PASSWORDS} mailboxes")
                found[(row["mailbox"] or "").strip()] = row["password"] or ""
    except UnicodeDecodeError:  # its own words show octets of passwords
        raise ValueError(f"{path}: it must be text in UTF-8") from None
    except csv.Error as fault:
        raise ValueError(f"{path}: {fault}; a quotation mark may be without another one") from None
    return found
