"""Interchange writer: identities as CSV, checked so that each cell is read back as it was.

The form is described in `mappings.interchange`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from mappings.cells import FIXED, escaped, is_split, mark_of, pairs_of, parse_cell, parts_of, read_mark
from mappings.identity import Held, Identity, Role
from mappings.network import Registry, registry
from mappings.tabular import Problem, Problems

_ALWAYS: Final = ("name", "home", "kind")
_AFTER: Final = tuple(name for name in FIXED if name not in _ALWAYS)


def write_csv(identities: Iterable[Identity], *, networks: Registry | None = None) -> str:
    """Return identities as CSV, with a column for each network that any of them has an address on, smtp first.

    Raises: ValueError where something of an identity could not be read back.
    """
    text, problems = write_table(identities, networks if networks is not None else registry())
    if problems:
        raise ValueError(str(problems[0]))
    return text


def write_table(identities: Iterable[Identity], networks: Registry) -> tuple[str, list[Problem]]:
    """Return identities as CSV, and what of them was left out since it could not be read back.

    The lines of the problems are those of the CSV. The identities are gone through twice, and are kept meanwhile only
    where they come from an iterator.
    """
    people = list(identities) if isinstance(identities, Iterator) else identities
    there: set[str] = set()
    needed: set[str] = set()
    for identity in people:
        there.update(h.address.network for h in identity.addresses)
        needed.update(name for name in _AFTER if name not in needed and _has(identity, name))
    columns = sorted((n for n in there if networks.is_installed(n)), key=lambda n: (n != "smtp", n))
    if len(columns) < len(there):
        needed.add("other")
    optional = [name for name in _AFTER if name in needed]
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    made = _Writer(networks, set(columns))
    writer.writerow((*_ALWAYS, *columns, *optional))
    for identity in people:
        made.line += 1
        cells = (made.cell(identity, column) for column in (*_ALWAYS, *columns, *optional))
        row = list(cells)
        writer.writerow(row)
        made.line += sum(cell.count("\n") for cell in row)
    return out.getvalue(), made.problems.in_order()


def _has(identity: Identity, column: str) -> bool:
    """Tell whether an identity has something to say in a column that may be left out; `other` is told by networks."""
    if column == "other":
        return False
    return not identity.expand if column == "expand" else bool(getattr(identity, column))


class _Writer:
    """Makes the cells of one identity after the other, and checks that each is read back as it was."""

    def __init__(self, networks: Registry, columns: set[str]) -> None:
        self.line = 1
        self.problems = Problems()
        self._networks = networks
        self._columns = columns

    def cell(self, identity: Identity, column: str) -> str:
        match column:
            case "name":
                return self._word(identity.name, column)
            case "home" | "copy_home":
                return self._word(getattr(identity, column) or "", column)
            case "kind":
                return identity.kind.value
            case "stage":
                return identity.stage.value if identity.stage is not None else ""
            case "members":
                return self._joined([str(member) for member in identity.members], column)
            case "owner":
                return self._joined([str(identity.owner)] if identity.owner is not None else [], column)
            case "expand":
                return "" if identity.expand else "no"
            case "attributes":
                return self._attributes(identity)
            case "other":
                return self._held([h for h in identity.addresses if h.address.network not in self._columns], column)
            case _:
                return self._held(list(identity.of(column)), column)

    def _word(self, text: str, column: str) -> str:
        made = "".join(c if c.isprintable() else " " for c in text).strip()
        if made != text or (not made and column == "name"):
            self._left_out(column, f"{text!r} has blanks at an end or control characters, and is written as {made!r}")
        return made

    def _joined(self, texts: Sequence[str], column: str) -> str:
        kept = []
        for text in texts:
            if _stays_whole(text):
                kept.append(_part(text))
            else:
                self._left_out(column, f"{text!r} cannot be written so that it is read back, and is left out")
        return ";".join(kept)

    def _held(self, held: Sequence[Held], column: str) -> str:
        order = {Role.PRIMARY: 0, Role.ALIAS: 1, Role.FORMER: 2}
        texts = []
        started: set[str] = set()
        for one in sorted(held, key=lambda h: order[h.role]):
            network = one.address.network
            expected = Role.ALIAS if network in started else Role.PRIMARY
            try:
                mark = mark_of(one, expected)
            except ValueError as e:
                self._left_out(column, f"{one.address} is left out: {e}")
                continue
            text = mark + (str(one.address) if column == "other" else one.address.value)
            if ":" in one.address.value and column != "other":
                text = f"{mark}{one.address}"  # what stands before a colon could be taken for a mark or a network
            if _stays_whole(text) and self._is_read_back(text, one, expected, None if column == "other" else column):
                texts.append(text)
                if one.role is not Role.FORMER:
                    started.add(network)
            else:
                self._left_out(column, f"{one.address} cannot be written so that it is read back, and is left out")
        return self._joined(texts, column)

    def _is_read_back(self, text: str, held: Held, expected: Role, network: str | None) -> bool:
        if ":" not in text:
            return True
        try:
            mark, bare = read_mark(text)
            address = parse_cell(bare, network, self._networks)
        except ValueError:
            return False
        return (address, address.value) == (held.address, held.address.value) and (
            mark.role or expected,
            mark.since,
            mark.until,
        ) == (held.role, held.since, held.until)

    def _attributes(self, identity: Identity) -> str:
        kept = []
        for name, value in identity.attributes:
            pair = f"{escaped(name, '=')}={escaped(value)}"
            if [read for _, read in pairs_of(pair.strip())] == [(name, value)] and not is_split(pair):
                kept.append(pair)
            else:
                self._left_out("attributes", f"{name!r} has no name, or odd blanks or characters, and is left out")
        return ";".join(kept)

    def _left_out(self, column: str, message: str) -> None:
        self.problems.add(self.line, column, message)


def _part(text: str) -> str:
    return text.replace(";", "\\;")


def _stays_whole(text: str) -> bool:
    """Tell whether a part is read back as it was: not so with a blank at an end, or a backslash at its last."""
    return parts_of(f"{_part(text)};x") == [text, "x"]
