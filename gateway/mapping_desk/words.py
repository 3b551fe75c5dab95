"""Words: identities, changes and revisions as values that print as JSON, and as lines for people. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

from gateway.telling import clock_time
from mappings.identity import Held, Identity, Role
from mappings.merged import GIVEN
from mappings.rule import Rule
from mappings.store import Revision
from mappings.tabular import Problem

_FIELDS: Final = ("name", "kind", "home", "stage", "copy_home", "owner", "expand")


def identity_as_json(who: Identity | None) -> dict[str, Any] | None:
    if who is None:
        return None
    return {
        "id": who.id,
        "name": who.name,
        "kind": who.kind.value,
        "home": who.home,
        "stage": who.stage.value if who.stage is not None else None,
        "copy_home": who.copy_home,
        "addresses": [_held_as_json(held) for held in who.addresses],
        "attributes": _attributes_as_json(who),
        "members": [str(member) for member in who.members],
        "owner": str(who.owner) if who.owner is not None else None,
        "expand": who.expand,
    }


def _attributes_as_json(who: Identity) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in _shown(who):
        found.setdefault(name, []).append(value)
    return found


def _shown(who: Identity) -> Iterator[tuple[str, str]]:
    """Yield the attributes for people: not the marks by which an import knows again what it gave."""
    return ((name, value) for name, value in who.attributes if not name.startswith(GIVEN))


def _held_as_json(held: Held) -> dict[str, Any]:
    return {"address": str(held.address), "role": held.role.value, "since": held.since, "until": held.until}


def revision_as_json(one: Revision) -> dict[str, Any]:
    return {name: getattr(one, name) for name in Revision.__slots__}


def change_as_json(before: Identity | None, after: Identity | None) -> dict[str, Any]:
    return {
        "id": (after or before or _NOBODY).id,
        "name": (after or before or _NOBODY).name,
        "before": identity_as_json(before),
        "after": identity_as_json(after),
        "changes": list(changes_of(before, after)),
    }


_NOBODY: Final = Identity("", ())


def called(who: Identity) -> str:
    """Return a name with what tells it from others of that name."""
    return f"{who.name} (identity {who.id})" if who.id else who.name


def held_in_words(held: Held) -> str:
    """Return an address with its role and time."""
    return f"{held.address} ({_role(held)})"


def _role(held: Held) -> str:
    words = [held.role.value]
    words += [f"{word} {_day(at)}" for word, at in (("since", held.since), ("until", held.until)) if at is not None]
    return " ".join(words)


def _day(at: float) -> str:
    """Return a time as addresses are marked with it."""
    try:
        text = datetime.fromtimestamp(at, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return f"@{at!r}"
    return text.replace("+00:00", "Z").removesuffix("T00:00:00Z")


def told_as(revision: Revision) -> str:
    """Return which revision it was, when and by whom."""
    why = f": {revision.why}" if revision.why else ""
    return f"revision {revision.number} of {clock_time(revision.at)} by {revision.who}{why}"


def identity_lines(who: Identity) -> Iterator[str]:
    """Yield all of an identity, line by line."""
    yield called(who)
    facts = [("kind", who.kind.value), ("home", who.home or "where the routes say")]
    facts += [(name, text) for name, text in _facts(who) if name in ("stage", "copy_home", "owner", "expand")]
    yield from (f"  {name}: {text}" for name, text in facts)
    yield from (f"  {held_in_words(held)}" for held in who.addresses)
    yield from (f"  member {member}" for member in who.members)
    yield from (f"  {name} = {value}" for name, value in _shown(who))


def _facts(who: Identity) -> Iterator[tuple[str, str]]:
    for name in _FIELDS:
        value = getattr(who, name)
        if name == "expand":
            text = "" if value else "no"
        else:
            text = "" if value is None else value.value if isinstance(value, Enum) else str(value)
        if text:
            yield name, text


def changes_of(before: Identity | None, after: Identity | None) -> Iterator[str]:
    """Yield what became of an identity, a short text for each change; of a new or removed one its addresses."""
    if before is None or after is None:
        sign, one = ("+", after or _NOBODY) if before is None else ("-", before)
        yield from (f"{sign} {held_in_words(held)}" for held in one.addresses)
        yield from (f"{sign} member {member}" for member in one.members)
        return
    if before != after and _visible(before) == _visible(after):
        yield "what its source gives of it is marked, to be known again"
    was, now = dict(_facts(before)), dict(_facts(after))
    for name in _FIELDS:
        if was.get(name) != now.get(name):
            yield f"{name}: {was.get(name, 'none')} -> {now.get(name, 'none')}"
    yield from _addresses(before.addresses, after.addresses)
    yield from _lists([f"member {m}" for m in before.members], [f"member {m}" for m in after.members])
    yield from _lists([f"{n} = {v}" for n, v in _shown(before)], [f"{n} = {v}" for n, v in _shown(after)])


def _visible(who: Identity) -> Identity:
    return replace(who, attributes=tuple(_shown(who)))


def _addresses(before: Sequence[Held], after: Sequence[Held]) -> Iterator[str]:
    gone = [held for held in before if held not in after]
    come = [held for held in after if held not in before]
    for held in gone:
        # One that is held in another way is told as such, where that is plain.
        same = [other for other in come if other.address == held.address]
        if len(same) == 1 and same[0].address.value == held.address.value:
            come.remove(same[0])
            yield f"{held.address}: {_role(held)} -> {_role(same[0])}"
        else:
            yield f"- {held_in_words(held)}"
    yield from (f"+ {held_in_words(held)}" for held in come)
    if not gone and not come and tuple(before) != tuple(after):
        yield f"order: {', '.join(str(held.address) for held in after)}"


def _lists(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    was, now = set(before), set(after)
    yield from (f"- {text}" for text in before if text not in now)
    yield from (f"+ {text}" for text in after if text not in was)
    if was == now and list(before) != list(after):
        yield f"order: {', '.join(after)}"


def change_lines(before: Identity | None, after: Identity | None) -> Iterator[str]:
    """Yield a change, line by line."""
    one = after or before or _NOBODY
    what = "added" if before is None else "removed" if after is None else "changed"
    yield f"{what} {called(one)}"
    yield from (f"  {text}" for text in changes_of(before, after))


def short(who: Identity) -> str:
    """Return the addresses to know somebody by: the primary ones, or all where there is none."""
    primary = [str(held.address) for held in who.addresses if held.role is Role.PRIMARY]
    return ", ".join(primary or [str(held.address) for held in who.addresses])


def made_line(made: Revision) -> str:
    """Return how much a revision changed."""
    counts = [f"{made.added} added", f"{made.changed} changed", f"{made.removed} removed"]
    return f"revision {made.number}: {', '.join(counts)}"


def rule_as_toml(rule: Rule) -> str:
    """Return a rule as it stands in the configuration."""
    pairs = (("match", rule.match), ("to", rule.to), ("direction", rule.way.value))
    return "\n".join(["[[mapping.rule]]", *(f"{key} = {json.dumps(text, ensure_ascii=False)}" for key, text in pairs)])


def refused_as_json(refused: Iterable[tuple[str, Problem]]) -> list[dict[str, Any]]:
    """Return which rows of which files were not taken, and why."""
    return [{"file": file, "line": p.line, "column": p.column, "reason": p.message} for file, p in refused]
