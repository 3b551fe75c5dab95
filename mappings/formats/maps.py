"""Maps: rows of keys and values as they are written, and rules as rows for whole domains."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from mappings.formats import Written
from mappings.identity import Identity
from mappings.mail_rules import FORWARD, RuleMistake, forwards_of
from mappings.network import Registry
from mappings.rule import Rule, Way
from mappings.tabular import Problems

_PATTERN: Final = re.compile(r"!?/.*/[A-Za-z]*")
_WHOLE: Final = re.compile(r"smtp:\{([a-z][a-z0-9_]*)\}@([^{}@]+)")
_FIXED: Final = re.compile(r"smtp:[^{}]+")


def is_pattern(key: str, value: str) -> bool:
    """Tell whether a row is of a `regexp:` or `pcre:` table."""
    if key.lower() in ("if", "endif"):
        return value.startswith(("/", "!")) or not value
    return _PATTERN.fullmatch(key) is not None


class Map:
    """Rows as they are written; `line` is that of the next."""

    def __init__(self, write_row: Callable[[str, str], str] = "{}\t{}\n".format) -> None:
        self.problems = Problems()
        self._rows: dict[str, str] = {}
        self._write_row = write_row

    @property
    def line(self) -> int:
        return len(self._rows) + 1

    def row(self, key: str, value: str) -> None:
        """Add a row; one whose key has a row already, or would be read as a comment, is a problem."""
        if key.startswith("#") or is_pattern(key, value):
            self.problems.add(
                self.line, "key", f"{key} begins with a sign that a map takes for its own; it is left out"
            )
        elif key.lower() in self._rows:
            self.problems.add(self.line, "key", f"{key} has a row already; a map can say one thing of it")
        else:
            self._rows[key.lower()] = self._write_row(key, value)

    def members_of(self, identity: Identity) -> list[str]:
        """Return the smtp members of a group; what else there is of it is a problem."""
        members = [m.value for m in identity.members if m.network == "smtp"]
        others = [str(m) for m in identity.members if m.network != "smtp"]
        if others:
            shown = ", ".join(others[:5]) + (" and others" if len(others) > 5 else "")
            self.problems.add(self.line, "members", f"{identity.name!r} has members on other networks: {shown}")
        if not identity.members:
            self.problems.add(self.line, "members", f"the group {identity.name!r} has no members")
        if len(members) == 1:
            self.problems.add(
                self.line, "members", f"{identity.name!r} has one member alone, and is read again as its alias"
            )
        return members

    def forwards_of(self, identity: Identity, networks: Registry) -> list[str]:
        """Return the smtp addresses that somebody's mail is forwarded to; what else there is of them is a problem."""
        value = identity.attribute(FORWARD)
        if value is None:
            return []
        try:
            found = forwards_of(value, networks)
        except RuleMistake as e:
            self.problems.add(self.line, "attributes", f"{identity.name!r}: {e}")
            return []
        for address in found:
            if address.network != "smtp":
                message = f"{identity.name!r} has mail forwarded to {address}, which has no form in a map"
                self.problems.add(self.line, "attributes", message)
        return [address.value for address in found if address.network == "smtp"]

    def refuse_rules(self, rules: Iterable[Rule], name: str) -> None:
        for rule in rules:
            self.problems.add(self.line, "", f"the rule {rule} has no form in {name}")

    def written(self) -> Written:
        return Written("".join(self._rows.values()).encode(), self.problems.in_order())


def turned(rule: Rule) -> Rule:
    """Return the rule that shows what another translates, or translates what it shows."""
    ways = {Way.INWARD: Way.OUTWARD, Way.OUTWARD: Way.INWARD, Way.BOTH: Way.BOTH}
    return Rule(rule.to, rule.match, ways[rule.way], rule.tables, rule.destination, rule.source)


def row_of(rule: Rule, way: Way) -> tuple[str, str] | None:
    """Return the row that says what a rule says in one direction, None where none does."""
    if rule.way not in (way, Way.BOTH) or rule.tables or rule.source or rule.destination:
        return None
    key, value = (rule.match, rule.to) if way is Way.INWARD else (rule.to, rule.match)
    whole = _WHOLE.fullmatch(key)
    if whole is None:
        return None
    to = _WHOLE.fullmatch(value)
    if to is not None:
        return (f"@{whole[2]}", f"@{to[2]}") if to[1] == whole[1] else None
    return (f"@{whole[2]}", value.removeprefix("smtp:")) if _FIXED.fullmatch(value) else None
