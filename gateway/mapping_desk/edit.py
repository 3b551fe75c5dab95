"""Edit: one identity added, changed or removed as an operator writes it, each as a revision.

An address is written as in a cell of the CSV of identities, with its network: `smtp:ann@acme.example`,
`former: smtp:al@acme.example`, `alias until 2026-07-01: mhs:ann@sales`. What is changed is written as

    home=exchange   stage=moved   attribute.room=7      a field; nothing after the = takes it away
    +smtp:ann@acme.example   +former:smtp:al@acme.example    an address, or another role for one that is held
    -smtp:ann@acme.example                              an address less
    +member:mhs:bob@hq   -member:mhs:bob@hq             of a group
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import Enum
from typing import Any, Final, TypeVar

from sqlalchemy import Connection

from gateway.mapping_desk.desk import Desk, DeskError
from mappings import store
from mappings.cells import read_mark
from mappings.checks import mistakes_of, overlap
from mappings.identity import Held, Identity, Kind, Role, Stage

_FIELD: Final = re.compile(r"([a-z_]+(?:\.[^=]+)?)=(.*)", re.DOTALL)
_FIELDS: Final = ("name", "home", "kind", "stage", "copy_home", "owner", "expand", "attribute.NAME")
_MEMBER: Final = "member:"
_FORM: Final = "write field=value, +ADDRESS or -ADDRESS"
_Choice = TypeVar("_Choice", bound=Enum)


@dataclass(frozen=True, slots=True)
class Author:
    """Who changes the mapping, and why."""

    who: str
    why: str


@dataclass(frozen=True, slots=True)
class Done:
    """A change: the revision that it is, the newest one where nothing changed, and what was and is."""

    revision: int
    before: Identity | None
    after: Identity | None

    @property
    def is_change(self) -> bool:
        return self.before != self.after


def add(desk: Desk, author: Author, changes: Iterable[str]) -> Done:
    """Add an identity, described by changes to an empty one: `name=Ann Lee`, `+smtp:ann@acme.example`."""
    made = _changed(desk, Identity("", ()), changes)
    if not made.name:
        raise DeskError("the identity has no name")
    _refuse_mistakes(desk, [made])
    with desk.changing() as connection:
        number = _apply(desk, connection, author, [store.Put(made)], f"added {made.name}")
        address = made.addresses[0].address
        (after,) = (
            who for who in store.find(connection, address.network, address.key) if who.name == made.name and who == made
        )
        return Done(number, None, after)


def change(desk: Desk, author: Author, which: str, changes: Sequence[str]) -> Done:
    """Change the identity of a number or address."""
    if not changes:
        raise DeskError(f"nothing is to be changed; {_FORM}")
    with desk.changing() as connection:
        before = desk.one(connection, which)
        after = _changed(desk, before, changes)
        _refuse_mistakes(desk, [after])
        number = _apply(desk, connection, author, [store.Put(after)], f"changed {after.name}: {' '.join(changes)}")
        return Done(number, before, after)


def remove(desk: Desk, author: Author, which: Sequence[str]) -> list[Done]:
    """Remove the identities of some numbers or addresses, all in one revision."""
    with desk.changing() as connection:
        found = {who.id: who for who in (desk.one(connection, each) for each in which)}
        names = ", ".join(who.name for who in found.values())
        number = _apply(desk, connection, author, [store.Remove(id) for id in found], f"removed {names}")
        return [Done(number, who, None) for who in found.values()]


def _apply(desk: Desk, connection: Connection, author: Author, changes: Iterable[store.Change], otherwise: str) -> int:
    why = author.why or otherwise[:500]
    return store.apply(connection, changes, who=author.who, why=why, at=desk.clock())


def _refuse_mistakes(desk: Desk, people: Iterable[Identity]) -> None:
    """Refuse what the store takes by itself, and the configuration does not fit: a home that is no connector."""
    mistakes = [mistake for who in people for mistake in mistakes_of(who, desk.config.homes)]
    if mistakes:
        raise DeskError(*mistakes)


def _changed(desk: Desk, who: Identity, changes: Iterable[str]) -> Identity:
    """Return an identity with changes made, which may be wrong as a whole."""
    for text in changes:
        sign, rest = text[:1], text[1:].strip()
        if sign in ("+", "-") and rest.startswith(_MEMBER):
            who = _with_member(desk, who, rest.removeprefix(_MEMBER), taken=sign == "-")
        elif sign == "+":
            who = _with_address(desk, who, rest)
        elif sign == "-":
            who = _without_address(desk, who, rest)
        elif (field := _FIELD.fullmatch(text)) is not None:
            who = _with_field(desk, who, field[1], field[2].strip(), text)
        else:
            raise DeskError(f"{text!r} is no change; {_FORM}")
    return who


def _with_address(desk: Desk, who: Identity, text: str) -> Identity:
    try:
        mark, bare = read_mark(text)
    except ValueError as e:
        raise DeskError(f"{text!r}: {e}") from None
    address = desk.address(bare)
    current = [h for h in who.addresses if h.address.network == address.network and h.role is not Role.FORMER]
    role = mark.role or (Role.ALIAS if any(h.role is Role.PRIMARY for h in current) else Role.PRIMARY)
    made = Held(address, role, mark.since, mark.until)
    same = [h for h in who.addresses if h.address == address and overlap(h, made)]
    if same and mark.role is None and mark.since is mark.until is None:
        raise DeskError(f"{who.name!r} has {address} already; to change how, write its role, as in +former:{address}")
    rest = [h for h in who.addresses if h not in same]
    if role is Role.PRIMARY:
        rest = [
            replace(h, role=Role.ALIAS)
            if h.role is Role.PRIMARY and h.address.network == address.network and overlap(h, made)
            else h
            for h in rest
        ]
    at = min((who.addresses.index(h) for h in same), default=len(rest))
    return replace(who, addresses=(*rest[:at], made, *rest[at:]))


def _without_address(desk: Desk, who: Identity, text: str) -> Identity:
    address = desk.address(text)
    kept = tuple(h for h in who.addresses if h.address != address)
    if len(kept) == len(who.addresses):
        raise DeskError(f"{who.name!r} has no address {address}")
    return replace(who, addresses=kept)


def _with_member(desk: Desk, who: Identity, text: str, *, taken: bool) -> Identity:
    member = desk.address(text)
    if taken != (member in who.members):
        raise DeskError(f"{member} is {'no' if taken else 'already a'} member of {who.name!r}")
    return replace(who, members=tuple(m for m in who.members if m != member) if taken else (*who.members, member))


def _with_field(desk: Desk, who: Identity, name: str, value: str, text: str) -> Identity:
    made: Any
    match name:
        case "name":
            if not value or not value.isprintable():
                raise DeskError("a name is needed, without control characters")
            made = value
        case "home" | "copy_home":
            made = value or None
        case "kind":
            made = kind_of(value)
        case "stage":
            made = stage_of(value)
        case "owner":
            made = desk.address(value) if value else None
        case "expand":
            if value not in ("yes", "no"):
                raise DeskError(f"expand is yes or no, not {value!r}")
            made = value == "yes"
        case _ if name.startswith("attribute."):
            key = name.removeprefix("attribute.")
            rest = {pair for pair in who.attributes if pair[0] != key}
            name, made = "attributes", tuple(sorted(rest | ({(key, value)} if value else set())))
        case _:
            near = get_close_matches(name, _FIELDS, 1)
            mend = f"did you mean {near[0]}?" if near else f"there are: {', '.join(_FIELDS)}"
            raise DeskError(f"there is no field {name!r} ({text!r}); {mend}")
    return replace(who, **{name: made})


def kind_of(word: str) -> Kind:
    return _one_of(Kind, "kind", word)


def stage_of(word: str | None) -> Stage | None:
    return _one_of(Stage, "stage", word) if word else None


def _one_of(choices: type[_Choice], name: str, word: str) -> _Choice:
    try:
        return choices(word.lower())
    except ValueError:
        known = ", ".join(choice.value for choice in choices)
        raise DeskError(f"{word!r} is no {name}; there are: {known}") from None
