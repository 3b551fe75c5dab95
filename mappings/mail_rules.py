"""What an identity's attributes say of its mail: where it is forwarded, how it is delivered, who answers meanwhile.

    mail.forward        addresses, parted by `;`: mail goes there instead. The identity's own address among them keeps
                        a copy in its mailbox.
    mail.mailbox        what the mailbox is called where mail is delivered, other than by the address
    mail.deliver        where mail is put, parted by `;`: `mailbox`, `folder:NAME`, `program:NAME` (one that the
                        configuration has); `mailbox` where there is none
    mail.vacation       the text that whoever writes is answered with, once in a while
    mail.vacation.subject, .since, .until, .days    its subject, the time in which it is sent, and how many days pass
                        before the same sender is answered again

Pure. An attribute that begins with `mail.` and is none of these is a mistake; others are nobody's business here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from mappings.address import Address, AddressError
from mappings.identity import Identity
from mappings.network import Registry

PREFIX: Final = "mail."
FORWARD: Final = "mail.forward"
MAILBOX: Final = "mail.mailbox"
_DELIVER: Final = "mail.deliver"
_VACATION: Final = "mail.vacation"
_NAMES: Final = (
    FORWARD,
    MAILBOX,
    _DELIVER,
    _VACATION,
    *(f"{_VACATION}.{each}" for each in ("subject", "since", "until", "days")),
)
MOST_FORWARDS: Final = 100
_MOST_DAYS: Final = 366
_MOST_TEXT: Final = 20_000

_Kind = Literal["mailbox", "folder", "program"]


class RuleMistake(ValueError):
    """An attribute that says nothing that can be done, in words for an operator."""


@dataclass(frozen=True, slots=True)
class MailTarget:
    """One place that a message is put to; `name` is a folder's, with levels parted by `/`, or a program's."""

    kind: _Kind
    name: str = ""


@dataclass(frozen=True, slots=True)
class Vacation:
    """The answer to whoever writes. `since` and `until` are seconds since 1970, None where unbounded; `days` is None
    where the connector says how often."""

    text: str
    subject: str = ""
    since: float | None = None
    until: float | None = None
    days: int | None = None

    def holds_at(self, now: float) -> bool:
        """Tell whether it is in force at a time, in seconds since 1970."""
        return (self.since is None or self.since <= now) and (self.until is None or now < self.until)


@dataclass(frozen=True, slots=True)
class MailRules:
    """What somebody's mail is to be done with. `addresses` are all that they have, the one to show first."""

    name: str
    addresses: tuple[Address, ...]
    mailbox: str = ""
    deliver: tuple[MailTarget, ...] = ()
    vacation: Vacation | None = None


def rules_of(identity: Identity) -> MailRules:
    """Return the rules of an identity. Raises: RuleMistake."""
    facts = dict(identity.attributes)
    return MailRules(
        identity.name,
        tuple(held.address for held in sorted(identity.addresses, key=lambda held: held.role.value != "primary")),
        _mailbox(facts.get(MAILBOX, "")),
        _targets(facts.get(_DELIVER, "")),
        _vacation(facts),
    )


def forwards_of(value: str, networks: Registry) -> tuple[Address, ...]:
    """Return the addresses that a value of `mail.forward` names, each once. Raises: RuleMistake."""
    found: dict[tuple[str, str], Address] = {}
    for text in _parts(value):
        try:
            address = networks.parse(text) if re.match(r"[a-z0-9]+:", text) else networks.parse_in("smtp", text)
        except AddressError as e:
            raise RuleMistake(f"{FORWARD}: {text!r}: {e.message}; part several addresses by ;") from None
        found.setdefault((address.network, address.key), address)
    if not found:
        raise RuleMistake(f"{FORWARD} names no address")
    if len(found) > MOST_FORWARDS:
        raise RuleMistake(f"{FORWARD} names more than {MOST_FORWARDS} addresses; make a group of them")
    return tuple(found.values())


def mistakes_in(identity: Identity, networks: Registry) -> list[str]:
    """Return what is wrong with the attributes that begin with `mail.`, each in words that name the identity."""
    ours = {name: value for name, value in identity.attributes if name.startswith(PREFIX)}
    if not ours:
        return []
    found = []
    for name in ours:
        if name not in _NAMES:
            from difflib import get_close_matches  # for a mistake alone; what starts a gateway needs none of it

            near = get_close_matches(name, _NAMES, 1)
            found.append(f"there is no attribute {name!r}; {f'did you mean {near[0]}?' if near else _known(_NAMES)}")
    try:
        rules_of(identity)
        if FORWARD in ours:
            forwards_of(ours[FORWARD], networks)
    except RuleMistake as e:
        found.append(str(e))
    return [f"{identity.name!r}: {text}" for text in found]


def _known(names: Iterable[str]) -> str:
    return f"there are: {', '.join(names)}"


def _parts(value: str) -> list[str]:
    return [part for each in re.split(r"[;\n]", value) if (part := each.strip())]


def _mailbox(value: str) -> str:
    if value and (value.startswith(".") or not value.isprintable() or re.search(r"[/\\]", value)):
        raise RuleMistake(f"{MAILBOX}: {value!r} can be no mailbox's name; it has no / and begins with no dot")
    return value


def _targets(value: str) -> tuple[MailTarget, ...]:
    found: list[MailTarget] = []
    for text in _parts(value):
        kind, _, name = text.partition(":")
        name = name.strip()
        if kind == "mailbox" and not name:
            found.append(MailTarget("mailbox"))
        elif kind == "folder" and name:
            if any(not part or part.startswith(".") or not part.isprintable() for part in name.split("/")):
                raise RuleMistake(f"{_DELIVER}: {name!r} can be no folder's name")
            found.append(MailTarget("folder", name))
        elif kind == "program" and re.fullmatch(r"[a-z0-9_-]+", name):
            found.append(MailTarget("program", name))
        else:
            raise RuleMistake(f"{_DELIVER}: {text!r} is none of mailbox, folder:NAME and program:NAME")
    if sum(each.kind == "program" for each in found) > 1:
        raise RuleMistake(f"{_DELIVER} names several programs; one message goes to one at most")
    return tuple(dict.fromkeys(found))


def _vacation(facts: Mapping[str, str]) -> Vacation | None:
    text = facts.get(_VACATION, "")
    if not text.strip():
        return None
    if len(text) > _MOST_TEXT:
        raise RuleMistake(f"{_VACATION} is longer than {_MOST_TEXT} characters")
    subject = facts.get(f"{_VACATION}.subject", "")
    if not subject.isprintable() or len(subject) > 200:
        raise RuleMistake(f"{_VACATION}.subject is to be one line of at most 200 characters")
    days = facts.get(f"{_VACATION}.days", "")
    if days and not (days.isascii() and days.isdigit() and 1 <= int(days[:6]) <= _MOST_DAYS):
        raise RuleMistake(f"{_VACATION}.days is {days!r}, and a number of days from 1 to {_MOST_DAYS} is expected")
    return Vacation(
        text,
        subject,
        _moment(facts, f"{_VACATION}.since"),
        _moment(facts, f"{_VACATION}.until"),
        int(days) if days else None,
    )


def _moment(facts: Mapping[str, str], name: str) -> float | None:
    text = facts.get(name, "")
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise RuleMistake(f"{name} is {text!r}; write 2026-07-01 or 2026-07-01T12:30:00Z") from None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
