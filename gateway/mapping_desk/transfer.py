"""Transfer: identities taken from the files of other systems, and written for them.

An import of several files is one revision, as is that of one. A dry run does the same and takes all of it back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection

from gateway.mapping_desk import ldap
from gateway.mapping_desk.desk import Desk, DeskError
from gateway.mapping_desk.edit import Author
from gateway.mapping_desk.history import MOST_SHOWN, Pairs
from gateway.mapping_desk.words import change_as_json, refused_as_json
from mappings import store
from mappings.checks import mistakes_of
from mappings.directory import Directory
from mappings.formats import FORMATS, Format, OptionError, Reading, Written, by_name, guess
from mappings.identity import Identity, Kind, Stage
from mappings.merge import Existing, InMemory, Merge, Stored, merge
from mappings.rule import Rule
from mappings.store import Change, Put, Remove
from mappings.tabular import MAX_OCTETS, Problem

_FEW: Final = 20_000
_MOST_UNREACHED: Final = 20
_RULES_IN: Final = re.compile(r"postfix-(?:virtual|canonical|generic)|virtusertable|genericstable")


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be imported, and how.

    `source` names the directory that the file is of, by which a later import of it knows its people again; absent it is
    the file's name without its end. `home` and `stage` are for those that the file gives none.
    """

    files: Sequence[str]
    format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    source: str | None = None
    home: str | None = None
    stage: Stage | None = None
    remove_missing: bool = False
    strict: bool = False
    dry: bool = False


@dataclass(slots=True)
class Imported:
    """What an import did, or would do. `changes` are the first of them; `refused` are problems with their files."""

    revision: int | None = None
    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    changes: Pairs = field(default_factory=list)
    refused: list[tuple[str, Problem]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    """Rules that the files hold: they belong into the configuration."""

    @property
    def is_change(self) -> bool:
        return self.added + self.changed + self.removed > 0

    def as_json(self) -> dict[str, Any]:
        return {
            "revision": self.revision,
            "added": self.added,
            "changed": self.changed,
            "removed": self.removed,
            "unchanged": self.unchanged,
            "changes": [change_as_json(*pair) for pair in self.changes],
            "refused": refused_as_json(self.refused),
            "notes": self.notes,
            "rules": [{"match": rule.match, "to": rule.to, "direction": rule.way.value} for rule in self.rules],
        }


@dataclass(frozen=True, slots=True)
class _Read:
    """One file or directory, read."""

    name: str
    source: str
    reading: Reading
    fetched: ldap.Fetched | None = None


def import_(desk: Desk, author: Author, request: Request) -> Imported:
    """Import files, or directories by their URLs."""
    _check(desk, request)
    done = Imported()
    read = [_read(desk, name, request) for name in request.files]
    for one in read:
        done.rules += one.reading.rules
        done.notes += [f"{one.name}: {note}" for note in one.reading.notes]
    ahead = _planned_ahead(desk, read, request)
    with desk.changing(dry=request.dry) as connection:
        if len(read) > 1:
            made = _import_all(desk, connection, author, read, request, done)
        else:
            is_new = ahead is None or ahead[1] != store.revision(connection)
            plan = _plan(read[0], _existing(connection, read[0]), request) if ahead is None or is_new else ahead[0]
            made = _store(desk, connection, author, read[0], plan, done)
        if done.is_change and not request.dry:
            done.revision = made
        head = store.head(connection)
    if not request.dry and not done.refused:
        for one in read:
            if one.fetched is not None:
                ldap.remember(desk, one.name, one.fetched.state, head, removes=request.remove_missing)
    return done


def _check(desk: Desk, request: Request) -> None:
    if request.source is not None and len(request.files) > 1:
        raise DeskError("--source names the directory of one file; import the files one by one, or leave it out")
    if request.home is not None and request.home not in desk.config.homes:
        known = ", ".join(sorted(desk.config.homes)) or "none"
        raise DeskError(f"there is no connector {request.home!r} to be their home; there are: {known}")


def _import_all(
    desk: Desk, connection: Connection, author: Author, read: Sequence[_Read], request: Request, done: Imported
) -> int:
    """Import one after the other, each on what the last one made, and make a single revision of it all."""
    before = store.revision(connection)
    attempt = connection.begin_nested()
    sums = Imported()
    for one in read:
        plan = _plan(one, _existing(connection, one), request)
        last = _store(desk, connection, author, one, plan, sums)
    pairs = store.diff(connection, before, last)
    attempt.rollback()
    done.refused, done.unchanged = sums.refused, sums.unchanged
    done.notes += sums.notes
    changes: list[Change] = [Remove(was.id) for was, now in pairs if was is not None and now is None]
    changes += [Put(now) for was, now in pairs if was is not None and now is not None]
    changes += [Put(replace(now, id=0)) for was, now in pairs if was is None and now is not None]
    done.added = sum(was is None for was, _ in pairs)
    done.removed = sum(now is None for _, now in pairs)
    done.changed = len(pairs) - done.added - done.removed
    done.changes = pairs[:MOST_SHOWN]
    if request.strict and done.refused:
        done.added = done.changed = done.removed = 0
        done.changes = []
        return before
    return store.apply(connection, changes, who=author.who, why=author.why or _why(read), at=desk.clock())


def _planned_ahead(desk: Desk, read: Sequence[_Read], request: Request) -> tuple[Merge, int] | None:
    """Plan a large import before anybody has to wait for it: return the plan, and the revision that it is for."""
    if len(read) > 1 or len(read[0].reading.entries) <= _FEW or not desk.is_begun:
        return None
    directory, revision = desk.snapshot()
    return _plan(read[0], InMemory(directory.identities()), request), revision


def _existing(connection: Connection, one: _Read) -> Existing:
    """Return the stored identities: looked up one by one where few are asked for."""
    if store.facts(connection).size == 0:
        return InMemory(())
    return Stored(connection) if len(one.reading.entries) <= _FEW else InMemory(store.load(connection))


def _plan(one: _Read, existing: Existing, request: Request) -> Merge:
    """Return what the import of one file would do."""
    fetched = one.fetched
    is_whole = fetched is None or fetched.is_whole
    removes = request.remove_missing and is_whole
    made = merge(one.reading, existing, source=one.source, remove_missing=removes, strict=request.strict)
    if request.remove_missing and fetched is not None and not is_whole and not (request.strict and made.refused):
        made.removed.extend(ldap.gone(fetched, made, existing, one.source))
    return made


def _store(desk: Desk, connection: Connection, author: Author, one: _Read, plan: Merge, done: Imported) -> int:
    """Store a plan as a revision; add to `done` what it came to."""
    done.refused += [(one.name, problem) for problem in plan.refused]
    done.notes += plan.notes
    done.unchanged += plan.unchanged
    done.added += len(plan.added)
    done.changed += len(plan.changed)
    done.removed += len(plan.removed)
    room = MOST_SHOWN - len(done.changes)
    if room > 0:
        done.changes += _shown(connection, plan, room)
    done.notes += _unreached(desk, plan)
    return store.apply(connection, plan.changes(), who=author.who, why=author.why or _why([one]), at=desk.clock())


def _shown(connection: Connection, plan: Merge, room: int) -> Pairs:
    pairs: Pairs = [(store.get(connection, each.id), None) for each in plan.removed[:room]]
    pairs += [(was, put.identity) for was, put in plan.changed[: room - len(pairs)]]
    return pairs + [(None, put.identity) for put in plan.added[: max(0, room - len(pairs))]]


def _unreached(desk: Desk, plan: Merge) -> Iterator[str]:
    """Yield whom mail does not reach at the home that they are given."""
    found = 0
    for put in (*(put for _, put in plan.changed), *plan.added):
        if put.identity.home is not None or put.identity.copy_home is not None:
            for mistake in mistakes_of(put.identity, desk.config.homes):
                found += 1
                if found <= _MOST_UNREACHED:
                    yield mistake
    if found > _MOST_UNREACHED:
        yield f"and {found - _MOST_UNREACHED} more such; `gatepost map check` lists them"


def _why(read: Sequence[_Read]) -> str:
    return f"import of {', '.join(one.name for one in read)}"[:500]


# -- reading


def _read(desk: Desk, name: str, request: Request) -> _Read:
    if name.startswith(("ldap://", "ldaps://")):
        source = request.source or ldap.source_of(name)
        fetched = ldap.fetch(desk, name, request.options, removes=request.remove_missing)
        return _Read(name, source, _with_homes(desk, fetched.reading, request), fetched)
    source = request.source or Path(name).name.partition(".")[0] or name
    return _Read(name, source, read_people(desk, name, request))


def read_people(desk: Desk, name: str, request: Request) -> Reading:
    """Read a file, with the homes and stages that are asked for."""
    if request.home is not None and request.home not in desk.config.homes:
        known = ", ".join(sorted(desk.config.homes)) or "none"
        raise DeskError(f"there is no connector {request.home!r} to be their home; there are: {known}")
    return _with_homes(desk, read_file(desk, name, request.format, request.options), request)


def read_file(desk: Desk, name: str, format: str | None, options: Mapping[str, str]) -> Reading:
    """Read a file in a form, or in the one that it seems to have."""
    path = Path(name)
    octets = _octets(path)
    try:
        return _format(path, octets, format).read(octets, options, desk.networks)
    except OptionError as e:
        raise DeskError(f"{name}: {e}") from None


def _octets(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            octets = file.read(MAX_OCTETS + 1)
    except OSError as e:
        raise DeskError(f"{path} cannot be read: {e.strerror}") from None
    if len(octets) > MAX_OCTETS:
        raise DeskError(f"{path} has more than {MAX_OCTETS} octets; split it")
    return octets


def _format(path: Path, octets: bytes, name: str | None) -> Format:
    try:
        form = by_name(name) if name is not None else guess(path, octets)
    except OptionError as e:
        raise DeskError(str(e)) from None
    if form is None:
        raise DeskError(f"{path}: its form cannot be told; name it by --format, one of: {', '.join(FORMATS)}")
    return form


def _with_homes(desk: Desk, reading: Reading, request: Request) -> Reading:
    """Return a reading with homes and stages given; an entry whose own home is no connector becomes a problem."""
    homes = desk.config.homes
    entries, problems = [], list(reading.problems)
    left = 0
    for entry in reading.entries:
        who = entry.identity
        unknown = next((h for h in (who.home, who.copy_home) if h is not None and h not in homes), None)
        if unknown is not None:
            known = ", ".join(sorted(homes)) or "none"
            problems.append(Problem(entry.line, "home", f"{unknown!r} is no configured connector; there are: {known}"))
            continue
        given = _with_home(who, request, homes)
        left += given is who and request.home is not None and who.home is None
        entries.append(entry if given is who else replace(entry, identity=given))
    notes = list(reading.notes)
    if left:
        notes.append(
            f"{left} got no home: they are contacts, or have no address on {homes[request.home or '']}, "
            f"which {request.home} takes"
        )
    return replace(reading, entries=entries, problems=problems, notes=notes)


def _with_home(who: Identity, request: Request, homes: Mapping[str, str]) -> Identity:
    if who.kind is Kind.CONTACT:
        return who
    home, stage = who.home, who.stage or request.stage
    if home is None and request.home is not None and who.primary(homes[request.home]) is not None:
        home = request.home
    return who if (home, stage) == (who.home, who.stage) else replace(who, home=home, stage=stage)


# -- writing


@dataclass(frozen=True, slots=True)
class Choice:
    """Whom to write: everybody, or those of some homes or kinds. An empty home is that of those who have none."""

    homes: frozenset[str] = frozenset()
    not_homes: frozenset[str] = frozenset()
    kinds: frozenset[Kind] = frozenset()

    def has(self, who: Identity) -> bool:
        home = who.home or ""
        return (
            (not self.homes or home in self.homes)
            and home not in self.not_homes
            and (not self.kinds or who.kind in self.kinds)
        )


class _Chosen:
    """Those of a directory whom a choice takes, anew each time they are gone through."""

    def __init__(self, directory: Directory, choice: Choice) -> None:
        self._directory = directory
        self._choice = choice

    def __iter__(self) -> Iterator[Identity]:
        return (who for who in self._directory.identities() if self._choice.has(who))


def export(desk: Desk, format: str, options: Mapping[str, str], choice: Choice) -> Written:
    """Write identities in another system's form; rules too, where the form has a place for them."""
    try:
        form = by_name(format)
        if form.write is None:
            raise DeskError(f"the form {form.name} is read only; there are: {', '.join(_writable())}")
        for home in (choice.homes | choice.not_homes) - desk.config.homes.keys() - {""}:
            known = ", ".join(sorted(desk.config.homes)) or "none"
            raise DeskError(f"there is no connector {home!r}; there are: {known}")
        chosen = _Chosen(desk.directory(), choice)
        rules = desk.config.rules if _RULES_IN.fullmatch(form.name) else ()
        return form.write(chosen, options, desk.networks, rules)
    except OptionError as e:
        raise DeskError(str(e)) from None


def _writable() -> Iterator[str]:
    return (name for name, form in FORMATS.items() if form.write is not None)
