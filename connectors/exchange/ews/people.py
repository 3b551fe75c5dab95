"""People: the organisation's directory, name by name or as a whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Final

from connectors.exchange.ews.answer import refusal
from connectors.exchange.ews.calls.names import (
    NO_RESULT,
    SEVERAL,
    FindPeople,
    FindPeopleAsItself,
    ResolveNames,
    ResolveNamesAsItself,
    read_people,
    read_resolutions,
    read_total,
)
from connectors.exchange.ews.calls.paths import DIRECTORY, Place
from connectors.exchange.ews.config import EwsConfig
from connectors.exchange.ews.places import Ask
from connectors.exchange.organisation import Fault, Person

_PAGE: Final = 200
_MOST: Final = 2_000_000


class People:
    """Asks the directory as one of the configuration's mailboxes: a service account need not have one, and an
    application is nobody by itself. As the service account where none is configured."""

    def __init__(self, ask: Ask, config: EwsConfig) -> None:
        self._ask = ask
        self._mailbox = _mailbox(config)
        self._account = config.username if config.username is not None and "@" in config.username else None

    async def resolve(self, names: Sequence[str]) -> dict[str, Person | None]:
        """Look addresses up, one by one: EWS takes one a request. Raises: Fault."""
        return {name: await self._resolve(name) for name in dict.fromkeys(names)}

    async def _resolve(self, name: str) -> Person | None:
        service = ResolveNames if self._mailbox is not None else ResolveNamesAsItself
        answer = (await self._ask(self._asker(), service, name if name.startswith("/") else f"smtp:{name}"))[0]
        if answer.code == NO_RESULT:
            return None
        if not answer.ok and answer.code != SEVERAL:
            raise refusal(answer)
        people = read_resolutions(answer.element)
        if name.startswith("/"):  # a legacy DN: the server finds the one whose it is, or was
            found = people[0] if len(people) == 1 else next((p for p in people if _is(p.legacy_dn, name)), None)
            return None if found is None else replace(found, legacy_dn=found.legacy_dn or name)
        # The server finds by how an address begins, too.
        wanted = f"smtp:{name}".lower()
        return next((p for p in people if _is(p.smtp, name) or wanted in (a.lower() for a in p.addresses)), None)

    async def all(self) -> AsyncIterator[Person]:
        """Yield the directory's entries, each once. Raises: Fault."""
        place = Place(name=DIRECTORY)
        service = FindPeople if self._mailbox is not None else FindPeopleAsItself
        offset = 0
        seen: set[str] = set()
        while offset < _MOST:
            answer = (await self._ask(self._asker(), service, place, offset, _PAGE))[0]
            if not answer.ok:
                raise refusal(answer)
            people = read_people(answer.element)
            for each in people:
                key = (each.smtp or each.legacy_dn or "").lower()
                if key not in seen:  # a list that changes while it is read shows an entry twice
                    seen.add(key)
                    yield each
            offset += max(len(people), 0)
            if not people or offset >= read_total(answer.element):
                return

    def _asker(self) -> str:
        asker = self._mailbox or self._account
        if asker is None:
            raise Fault("NoMailbox", "no mailbox is configured by which the directory can be asked")
        return asker


def _is(one: str | None, other: str) -> bool:
    return one is not None and one.lower() == other.lower()


def _mailbox(config: EwsConfig) -> str | None:
    named = [config.autodiscover, config.send_as, *(each.mailbox for each in config.watch)]
    if config.access == "delegate" and config.username is not None and "@" in config.username:
        named.insert(0, config.username.lower())  # a delegate is itself in any case
    return next((each for each in named if each is not None), None)
