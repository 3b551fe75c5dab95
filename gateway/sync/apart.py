"""What is to be known before mailboxes are moved in batches: who is parted from whom, and which addresses stay behind.

Whoever has rights in another's mailbox has them in one system. Once one of the two is cut over and the other is not,
they are without effect, so both go in one batch. An address whose domain is not ours is reached by others' routes:
cutting its mailbox over does not turn them, and a system may refuse a mailbox that has one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from gateway.sync.pairing import pairings as pairings_of
from gateway.sync.values import Pairing

if TYPE_CHECKING:
    from gateway.config import Config

_EVERYBODY: Final = frozenset(("anyone", "anonymous", "authenticated", "owner", "(own)", "default"))


def parted(pairings: Sequence[Pairing], rights: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Return, by the id of a pairing, in words, who has rights in its mailbox and is not of its batch.

    `pairings`: all that are configured. `rights`: lines as `Facts.rights`, by the id of the pairing whose mailbox they
    are of; whom they name by no mailbox's name is nobody of these.
    """
    called: dict[str, list[Pairing]] = {}
    for each in pairings:
        for name in _names(each.left.mailbox):
            called.setdefault(name, []).append(each)
    by_name = {name: some[0] for name, some in called.items() if len(some) == 1}
    found: dict[str, list[str]] = {}
    for pairing in pairings:
        folders: dict[str, list[str]] = {}
        batch: dict[str, str] = {}
        for line in rights.get(pairing.id, ()):
            folder, _, rest = line.rpartition(": ")
            who = rest.split(" ")[0].removeprefix("user=").casefold()
            there = by_name.get(who)
            if who in _EVERYBODY or there is None or there.set != pairing.set or there.batch == pairing.batch:
                continue
            if there.id != pairing.id:
                folders.setdefault(there.left.mailbox, []).append(folder)
                batch[there.left.mailbox] = f"with batch {there.batch}" if there.batch else "with no batch"
        lines = [
            f"{who} has rights in it ({_some(sorted(where))}) and goes {batch[who]}: move both together, or the rights "
            "are without effect in between"
            for who, where in sorted(folders.items())
        ]
        if lines:
            found[pairing.id] = lines
    return found


def foreign(addresses: Iterable[str], domains: Iterable[str]) -> list[str]:
    """Return, in words, the internet addresses of domains that are not ours; none where none is said to be ours."""
    ours = {domain.casefold() for domain in domains}
    if not ours:
        return []
    return [
        f"its address {each} is of a domain that is not ours: mail there goes on to where that domain's is taken, and "
        "the new system may refuse a mailbox that has it"
        for each in sorted(set(addresses))
        if each.rpartition("@")[2].casefold() not in ours
    ]


def before(config: Config, some: Sequence[Pairing], rights: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Return all of that for some pairings, by their ids. Reads the list of mailboxes and the mapping; blocks."""
    from gateway.mapping_desk.desk import Desk, DeskError

    every: list[Pairing] = []
    for name in {each.set for each in some}:
        every += pairings_of(name, config.syncs[name], config.base_dir)
    found = parted(every, rights)
    desk = Desk(config)
    for pairing in some:
        if pairing.identity is None:
            continue
        try:
            with desk.changing(dry=True) as connection:
                who = desk.one(connection, pairing.identity)
        except DeskError as fault:
            lines = [f"its identity cannot be found: {fault}"]
        else:
            lines = foreign((held.address.value for held in who.of("smtp")), config.mapping.domains)
        if lines:
            found.setdefault(pairing.id, []).extend(lines)
    return found


def _names(mailbox: str) -> tuple[str, ...]:
    name = mailbox.casefold()
    local = name.partition("@")[0]
    return (name, local) if local != name else (name,)


def _some(folders: Sequence[str]) -> str:
    shown = ", ".join(folders[:3])
    return f"{shown} and {len(folders) - 3} more folders" if len(folders) > 3 else shown
