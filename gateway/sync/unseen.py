"""Items that a pass put somewhere and that went again before any listing told them.

What came and went between two answers of a store is in neither of them, unless the store says that it tells such
things, too. So whatever is put somewhere is noted until a listing tells it; where one does not, it is asked for by its
id before it counts as gone, for a store may also be late to tell.
So it is with what something was made of: where a pass is cut before it has noted what it read, its source may go before
the next one reads the same again. It is noted until then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from gateway.status import Status
from gateway.sync.ends import End, Report
from gateway.sync.state import State
from gateway.sync.transfer import fetched, is_gone
from gateway.sync.values import SIDES, Item, Placed, Side


async def went_unseen(
    pairing: str,
    ends: Mapping[Side, End],
    state: State,
    report: Report,
    listed: Collection[tuple[Side, int]],
    items: Mapping[Side, Mapping[str, Item]],
    gone: Mapping[Side, set[str]],
    whole: Mapping[Side, Collection[int]],
) -> list[Placed]:
    """Add to `gone` what went unseen of the folders that were `listed`; returns what need not be noted any more.
    What is not in a folder that was listed as a `whole` is known to be gone.

    Raises: StoreFault.
    """
    if all(ends[side].mailbox.holds().tells_unseen for side in SIDES):
        return []
    placed = [each for each in await state.placed(pairing) if (each.side, each.folder) in listed]
    late: set[tuple[Side, str]] = set()
    for side in SIDES:
        known = items[side].keys() | gone[side]
        missing = [
            each.item
            for each in placed
            if each.side == side and each.item not in known and each.folder not in whole[side]
        ]
        async for id, content in fetched(ends[side], missing, report):
            if isinstance(content, Status) and is_gone(content):
                gone[side].add(id)
            else:
                late.add((side, id))
    return [each for each in placed if (each.side, each.item) not in late]


async def told_now(
    pairing: str, ends: Mapping[Side, End], state: State, seen: Mapping[Side, Mapping[str, Item]]
) -> list[Placed]:
    """Return what need not be noted any more once that is noted as read which was seen."""
    if all(ends[side].mailbox.holds().tells_unseen for side in SIDES):
        return []
    placed = await state.placed(pairing)
    return [each for each in placed if (item := seen[each.side].get(each.item)) and item.folder == each.folder]


def all_told(ends: Mapping[Side, End], folder: int, side: Side, ids: Iterable[str]) -> list[Placed]:
    """Return what need not be noted any more once these items of a folder are noted as read."""
    return [] if ends[side].mailbox.holds().tells_unseen else [Placed(side, folder, id) for id in ids]
