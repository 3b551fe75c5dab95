"""Restrictions of FindItem and FindFolder ([MS-OXWSSRCH]): which items they hold for.

Comparisons are typed by the property: xs:boolean in both spellings, whole numbers, times; text without regard to case.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from tests.peers.ews.properties import key_of, seconds_of
from tests.peers.ews.soap import Element, SoapFault, T, name, truth

Values = Callable[[str], Any]
_ORDER: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "IsGreaterThan": lambda a, b: a > b,
    "IsGreaterThanOrEqualTo": lambda a, b: a >= b,
    "IsLessThan": lambda a, b: a < b,
    "IsLessThanOrEqualTo": lambda a, b: a <= b,
}


def holds(node: Element, values: Values) -> bool:
    """Say whether a search expression holds. Raises: SoapFault for one that is not known here."""
    kind = name(node)
    if kind == "And":
        return all(holds(each, values) for each in node)
    if kind == "Or":
        return any(holds(each, values) for each in node)
    if kind == "Not":
        return not holds(node[0], values)
    value = values(key_of(node[0]))
    if kind == "Exists":
        return value is not None
    if kind == "Contains":
        return _contains(node, value)
    if kind == "Excludes":
        mask = int(node.find(f"{T}Bitmask").get("Value"), 0)
        return not int(value or 0) & mask
    other = _other(node, values)
    each_value = value if isinstance(value, list) else [value]
    if kind == "IsEqualTo":
        return any(_same(each, other) for each in each_value)
    if kind == "IsNotEqualTo":
        return not any(_same(each, other) for each in each_value)
    if kind in _ORDER:
        if value is None or other is None:
            return False
        left, right = _typed(str(value)), _typed(str(other))
        return type(left) is type(right) and _ORDER[kind](left, right)
    raise SoapFault("ErrorUnsupportedPathForQuery", f"no {kind} here")


def equals(node: Element) -> tuple[str, list[str]] | None:
    """Return (key, values) of an IsEqualTo, or of an Or of such over one extended property: a look-up by index."""
    parts = list(node) if name(node) == "Or" else [node]
    found: dict[str, list[str]] = {}
    for each in parts:
        if name(each) != "IsEqualTo" or name(each[0]) != "ExtendedFieldURI" or each[0].get("PropertyTag"):
            return None
        constant = each.find(f"{T}FieldURIOrConstant/{T}Constant")
        if constant is None:
            return None
        found.setdefault(key_of(each[0]), []).append(constant.get("Value", ""))
    return next(iter(found.items())) if len(found) == 1 else None


def _other(node: Element, values: Values) -> str | None:
    said = node.find(f"{T}FieldURIOrConstant")[0]
    if name(said) == "Constant":
        return str(said.get("Value", ""))
    found = values(key_of(said))
    return None if found is None else str(found)


def _typed(text: str) -> float | str:
    if re.fullmatch(r"-?\d+", text):
        return float(text)
    try:
        return seconds_of(text)
    except ValueError:
        return text.lower()


def _same(value: Any, other: str | None) -> bool:
    if value is None or other is None:
        return False
    if value in ("true", "false"):
        return truth(other) == (value == "true")
    return _typed(str(value)) == _typed(other)


def _contains(node: Element, value: Any) -> bool:
    wanted = node.find(f"{T}Constant").get("Value", "")
    mode = node.get("ContainmentMode", "Substring")
    exact = node.get("ContainmentComparison", "Exact") == "Exact"
    for each in value if isinstance(value, list) else [value]:
        if each is None:
            continue
        text, looked_for = (str(each), wanted) if exact else (str(each).lower(), wanted.lower())
        if mode == "FullString" and text == looked_for:
            return True
        if mode == "Prefixed" and text.startswith(looked_for):
            return True
        if mode in ("PrefixOnWords", "ExactPhrase") and re.search(
            rf"(?<!\w){re.escape(looked_for)}" + ("" if mode == "PrefixOnWords" else r"(?!\w)"), text
        ):
            return True
        if mode == "Substring" and looked_for in text:
            return True
    return False
