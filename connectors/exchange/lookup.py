"""Look-up: what an earlier try has done, found by the key that each created item carries. Pure but for the questions.

Promises: a result that isn't known is settled by what lies in the mailbox, never by hope; what one draft was addressed
to is read from the draft, so that no recipient is sent a second copy since the message's others were taken apart.
Source: MS-OXWSXPROP (extended properties), MS-OXWSSRCH (restrictions over them).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, unique
from typing import Final

from connectors.exchange.organisation import Fault, Organisation, Ref, Where
from gateway.contract import Item, id_text

ASKED_AT_ONCE: Final = 20
RECIPIENTS: Final = 500
"""Of one mail that is sent: what Exchange allows where nobody has changed it."""
GONE: Final = "ErrorItemNotFound"
SENT: Final[Where] = ("Gatepost", "Sent")
"""Where the copies of what was sent are kept: without one, nobody could tell whether an unanswered send was done."""
MOVED_TO: Final[tuple[Where, ...]] = ("trash", "junk")
"""Where people and rules move mail that has just come."""


def key(item: tuple[int, int]) -> str:
    """Return what the property of a recipient's item holds."""
    return f"{id_text(item[0])}.{item[1]}"


@unique
class Step(Enum):
    """What is left to do for a mail that is sent in two steps."""

    CREATE = "create a draft"
    SEND = "send the draft"
    DONE = "nothing"


@unique
class Place(Enum):
    """Where a mail of ours was found."""

    DRAFTS = "drafts"
    GONE_OUT = "the outbox, or the copies of what was sent"


def next_step(found: Iterable[Place]) -> Step:
    """Return what is left to do: what has left the drafts was sent, whatever else lies there."""
    places = set(found)
    if Place.GONE_OUT in places:
        return Step.DONE
    return Step.SEND if Place.DRAFTS in places else Step.CREATE


@dataclass(frozen=True, slots=True)
class Found:
    """A mail of ours in the sending mailbox: where, and for which of those that were asked for.

    `strangers`: it is addressed to others too.
    """

    ref: Ref
    places: frozenset[Place]
    addresses: frozenset[str]
    strangers: bool


async def delivered(organisation: Organisation, mailbox: str, folder: Where, keys: Sequence[str]) -> frozenset[str]:
    """Return those of `keys` that lie where they were created, or where people move mail. Raises: Fault."""
    places = tuple(dict.fromkeys((folder, *MOVED_TO)))
    found: set[str] = set()
    for chunk in _chunks(keys):
        found.update(await organisation.find(mailbox, places, chunk))
    return frozenset(found)


async def sent(
    organisation: Organisation, mailbox: str, message_id: int, items: Mapping[str, Sequence[Item]]
) -> tuple[Found, ...]:
    """Return what earlier tries made of a message for any of these recipients, `items` by lower-case SMTP address.

    A mail has the key of its lowest recipient's number, so those before these are asked for too, as far back as one
    mail can reach; drafts first, since a mail moves from there by the outbox to the sent ones, and must not slip by.
    Raises: Fault.
    """
    asked = {item.id[1]: address for address, each in items.items() for item in each}
    first = max(0, min(asked) - RECIPIENTS)
    keys = {key((message_id, number)): number for number in range(first, max(asked) + 1)}
    refs, places = await _places(organisation, mailbox, list(keys))
    if not refs:
        return ()
    to = await _addresses(organisation, list(refs.values()))
    found = []
    for each, ref in refs.items():
        addresses = to[ref] & set(items)
        if keys[each] in asked:
            addresses |= {asked[keys[each]]}
        found.append(Found(ref, frozenset(places[each]), addresses, strangers=bool(to[ref] - set(items))))
    return tuple(found)


async def step(organisation: Organisation, mailbox: str, key: str) -> tuple[Step, Ref | None]:
    """Return what is left to do for the mail of one key, and its draft. Raises: Fault."""
    refs, places = await _places(organisation, mailbox, [key])
    return next_step(places.get(key, ())), refs.get(key)


async def _places(
    organisation: Organisation, mailbox: str, keys: Sequence[str]
) -> tuple[dict[str, Ref], dict[str, set[Place]]]:
    refs: dict[str, Ref] = {}
    places: dict[str, set[Place]] = {}
    ways: tuple[tuple[Place, tuple[Where, ...]], ...] = (
        (Place.DRAFTS, ("drafts",)),
        (Place.GONE_OUT, ("outbox", SENT)),
    )
    for place, folders in ways:
        for chunk in _chunks(keys):
            for each, (ref, _) in (await organisation.find(mailbox, folders, chunk)).items():
                refs[each] = ref
                places.setdefault(each, set()).add(place)
    return refs, places


async def _addresses(organisation: Organisation, refs: Sequence[Ref]) -> dict[Ref, frozenset[str]]:
    """Return the SMTP addresses that mails are to; of those that are gone meanwhile none."""
    parties = {}
    for ref, told in (await organisation.addressed(refs)).items():
        if not isinstance(told, Fault):
            parties[ref] = told.to + told.cc + told.bcc
        elif told.code != GONE:
            raise told
    others = {p.address for each in parties.values() for p in each if p.routing.upper() != "SMTP"}
    known = await organisation.resolve(sorted(others)) if others else {}
    found: dict[Ref, frozenset[str]] = {}
    for ref in refs:
        addresses = set()
        for party in parties.get(ref, ()):
            person = None if party.routing.upper() == "SMTP" else known.get(party.address)
            addresses.add((party.address if person is None else person.smtp).lower())
        found[ref] = frozenset(addresses)
    return found


def _chunks(keys: Sequence[str]) -> Iterable[Sequence[str]]:
    return (keys[at : at + ASKED_AT_ONCE] for at in range(0, len(keys), ASKED_AT_ONCE))
