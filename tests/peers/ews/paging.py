"""Pages of FindItem and FindFolder ([MS-OXWSSRCH]), and the order of what is found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeVar

from tests.peers.ews.call import Call
from tests.peers.ews.properties import key_of
from tests.peers.ews.soap import Element, ItemError, M, T, element

_T = TypeVar("_T")
MOST: Final = 1000
"""How many are found at once where nothing is said: the default of the policy EwsFindCountLimit."""


def page(call: Call, found: Sequence[_T], indexed: str, fractional: str) -> tuple[Sequence[_T], int]:
    """Return the page that is asked for, and the offset behind it. Raises: ItemError."""
    view = call.find(f"m:{indexed}")
    part = call.find(f"m:{fractional}")
    start = 0
    if view is not None:
        start = int(view.get("Offset", "0"))
        if view.get("BasePoint") == "End":
            start = max(0, len(found) - start - int(view.get("MaxEntriesReturned") or MOST))
    elif part is not None:
        view = part
        if int(part.get("Denominator", "1")) == 0:
            raise ItemError("ErrorInvalidFractionalPagingParameters")
        start = len(found) * int(part.get("Numerator", "0")) // int(part.get("Denominator", "1"))
    most = min(MOST, int(view.get("MaxEntriesReturned") or MOST) if view is not None else MOST)
    return found[start : start + most], min(len(found), start + most)


def root_folder(total: int, offset: int, of: int) -> Element:
    """Return the element around what was found: where the next page begins, how many there are, and if that is all."""
    return element(
        f"{M}RootFolder",
        IndexedPagingOffset=str(offset),
        TotalItemsInView=str(total),
        IncludesLastItemInRange="true" if offset >= of else "false",
    )


def natural_order(call: Call) -> Literal["came", "came last", "newest"] | None:
    """Return the order that is asked for where the database has it: none is said, or that of PidTagImapId."""
    order = call.find("m:SortOrder")
    if order is None:
        return "newest"
    if len(order) != 1 or key_of(order[0].find(f"{T}*")) != "0xe23":
        return None
    return "came last" if order[0].get("Order") == "Descending" else "came"


def ordered(call: Call, found: list[_T], value: Callable[[_T, str], Any], default: Callable[[_T], Any]) -> list[_T]:
    """Return what was found as SortOrder says; where it says nothing, the newest first."""
    order = call.find("m:SortOrder")
    if order is None:
        return sorted(found, key=default, reverse=True)
    for each in reversed(order):
        key = key_of(each.find(f"{T}*"))
        found = sorted(
            found, key=lambda one, key=key: _sortable(value(one, key)), reverse=each.get("Order") == "Descending"
        )
    return found


def _sortable(value: Any) -> tuple[int, float, str]:
    text = "" if value is None else str(value)
    return (0, 0.0, "") if value is None else (1, float(text), "") if text.isdigit() else (2, 0.0, text.lower())
