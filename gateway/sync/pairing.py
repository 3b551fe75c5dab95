"""Which mailboxes go together: by the configuration, and by the table of people that it names.

Promises: the whole table is read before any mailbox is, and each of its mistakes is told with its line.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.sync.values import Pairing, Place

if TYPE_CHECKING:
    from gateway.config_sync import SyncSection

COLUMNS: Final = ("from", "to", "identity", "batch", "address")
MOST_OCTETS: Final = 64 * 1024 * 1024
MOST_PAIRINGS: Final = 200_000


class PairingErrors(Exception):
    """The mailboxes cannot be paired; `mistakes` are all reasons, in the order of the table."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(self.mistakes))


@dataclass(frozen=True, slots=True)
class Row:
    """Two mailboxes as they are written; `where` says where that is."""

    where: str
    left: str
    right: str
    identity: str | None
    batch: str
    address: str | None = None


def pairing_id(set: str, left: str, right: str) -> str:
    """Return what a pairing is known by: its state is found by it, so it does not change with how it is kept."""
    return f"{set}/{left}" if left == right else f"{set}/{left}>{right}"


def pairings(name: str, section: SyncSection, base: Path) -> list[Pairing]:
    """Return the pairings of [sync.NAME], in the order of their lines. Raises: PairingErrors."""
    mistakes: list[str] = []
    rows = [
        Row(f"[[sync.{name}.pair]] {n}", each.from_, each.to or each.from_, each.identity, each.batch, each.address)
        for n, each in enumerate(section.pair, 1)
    ]
    if section.mailboxes is not None:
        path = base / section.mailboxes
        try:
            with path.open("rb") as file:
                octets = file.read(MOST_OCTETS + 1)
        except OSError as e:
            raise PairingErrors([f"{path}: {e.strerror}; [sync.{name}] has its mailboxes from there"]) from None
        found, told = read_table(octets, str(path))
        rows += found
        mistakes += told
    made: list[Pairing] = []
    seen: dict[str, str] = {}
    for row in rows:
        id = pairing_id(name, row.left, row.right)
        if id in seen:
            mistakes.append(f"{row.where}: {row.left} to {row.right} stands in {seen[id]} already")
        seen[id] = row.where
        left, right = Place(section.from_, row.left), Place(section.to, row.right)
        if left == right:
            mistakes.append(f"{row.where}: {row.left} would be copied to itself")
        made.append(Pairing(id, name, left, right, row.identity, row.batch, section.mode, row.address))
    mistakes += _shared(rows, section)
    if mistakes:
        raise PairingErrors(mistakes)
    return made


def _shared(rows: Iterable[Row], section: SyncSection) -> list[str]:
    """Return what is wrong where a mailbox stands in several rows: several may be copied into one, but what goes both
    ways would bring each other's mail to their owners, and what removes what the left has not would remove it."""
    if section.mode == "copy" or (section.mode == "mirror" and not section.strict):
        return []
    mistakes: list[str] = []
    seen: dict[tuple[str, str], str] = {}
    for row in rows:
        for side, mailbox in (("from", row.left), ("to", row.right)):
            before = seen.setdefault((side, mailbox), row.where)
            if before != row.where and not (side == "from" and section.mode == "mirror"):
                how = "two-way" if section.mode == "two-way" else "a strict mirror"
                mistakes.append(f"{row.where}: {mailbox} stands under {side} in {before} already, and this is {how}")
    return mistakes


def read_table(octets: bytes, where: str) -> tuple[list[Row], list[str]]:
    """Return the rows of a table of people, and what is wrong in it, each with its line."""
    if len(octets) > MOST_OCTETS:
        return [], [f"{where}: more than {MOST_OCTETS} octets"]
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = octets.count(b"\n", 0, e.start) + 1
        return [], [f"{where}:{line}: the octet 0x{octets[e.start]:02x}; the table must be text in UTF-8"]
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=_delimiter(text))
    rows: list[Row] = []
    mistakes: list[str] = []
    heads: list[str] = []
    begun = 1
    try:
        for cells in reader:
            begun = reader.line_num + 1
            cells = [cell.strip() for cell in cells]
            if not any(cells) or cells[0].startswith("#"):
                continue
            at = f"{where}:{reader.line_num}"
            if not heads:
                heads = [cell.lower() for cell in cells]
                unknown = [cell for cell in heads if cell not in COLUMNS]
                if unknown or "from" not in heads or len(set(heads)) != len(heads):
                    return [], [
                        f"{at}: the first line must name the columns, from and any of to, identity, batch, address, "
                        f"each once; it is: {', '.join(heads)}"
                    ]
                continue
            if len(cells) > len(heads):
                mistakes.append(f"{at}: {len(cells)} cells, and {len(heads)} columns are named")
                continue
            values = dict(zip(heads, cells, strict=False))
            left = values["from"]
            if not left:
                mistakes.append(f"{at}: no mailbox under from")
                continue
            if len(rows) >= MOST_PAIRINGS:
                mistakes.append(f"{at}: more than {MOST_PAIRINGS} mailboxes")
                break
            rows.append(
                Row(
                    at,
                    left,
                    values.get("to") or left,
                    values.get("identity") or None,
                    values.get("batch", ""),
                    values.get("address") or None,
                )
            )
    except csv.Error as e:
        is_open = "end of data" in str(e)
        line = begun if is_open else reader.line_num
        mistakes.append(f"{where}:{line}: {'a quotation mark has no other one that ends it' if is_open else e}")
    if not heads and not mistakes:
        mistakes.append(f"{where}: the table is empty")
    return rows, mistakes


def _delimiter(text: str) -> str:
    """Return what parts the cells; spreadsheets of half of Europe write semicolons."""
    first = next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
    return ";" if first.count(";") > first.count(",") else ","


def chosen(
    all: Iterable[Pairing], *, mailboxes: Sequence[str] = (), batches: Sequence[str] = ()
) -> tuple[list[Pairing], list[str]]:
    """Return those that are asked for, and the words that ask for none.

    A mailbox is meant by its name on either side, its identity, or a shell pattern of them; without any word all are.
    """
    some = list(all)
    unmet = {("--mailbox", word) for word in mailboxes} | {("--batch", word) for word in batches}
    found: list[Pairing] = []
    for pairing in some:
        names = [pairing.left.mailbox, pairing.right.mailbox, pairing.identity or ""]
        by_name = [word for word in mailboxes if any(name and fnmatchcase(name, word) for name in names)]
        by_batch = [word for word in batches if fnmatchcase(pairing.batch, word)]
        unmet -= {("--mailbox", word) for word in by_name} | {("--batch", word) for word in by_batch}
        if (mailboxes and not by_name) or (batches and not by_batch):
            continue
        found.append(pairing)
    return found, [f"{option} {word}" for option, word in sorted(unmet)]
