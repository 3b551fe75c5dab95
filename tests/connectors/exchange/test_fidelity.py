"""Exchange loses nothing of a mail silently; the page says what it keeps. `UPDATE_DOCS=1` writes its tables."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import cache

import pytest

from gateway.contract import Fate
from tests.connectors.exchange.fidelity import WAYS, Way, cell
from tests.connectors.filedrop.fidelity import Cell, Feature
from tests.connectors.filedrop.fidelity_features import FEATURES
from tests.connectors.filedrop.fidelity_page import fate_cell, shown, table, told
from tests.docs.sandbox import ROOT

# What a mail's way is found out once, and all of them look at it.
pytestmark = pytest.mark.xdist_group("exchange-fidelity")

PAGE = ROOT / "docs/connectors/exchange-fidelity.md"
BLOCK = re.compile(r"(<!-- fidelity: ([^>]+) -->\n)(.*?)(<!-- end of fidelity -->)", re.DOTALL)


@cache
def cells(way: Way) -> Mapping[Feature, Cell]:
    return {feature: cell(way, feature) for features in FEATURES.values() for feature in features}


@pytest.mark.parametrize("way", WAYS, ids=lambda one: one.title)
def test_nothing_is_lost_silently(way: Way) -> None:
    silent = {
        feature.name: f"{found.fate.value}: {found.before!r} became {found.after!r}"
        for feature, found in cells(way).items()
        if not found.is_told
    }
    assert silent == {}


def _fates() -> str:
    rows = []
    for group, features in FEATURES.items():
        rows.append([f"**{group}**", *[""] * len(WAYS)])
        rows += [[shown(f.name), *(fate_cell(cells(one)[f]) for one in WAYS)] for f in features]
    counts = [[sum(c.fate is fate for c in cells(one).values()) for one in WAYS] for fate in Fate]
    rows.append(["**of all**", *[""] * len(WAYS)])
    rows += [[fate.value, *map(str, row)] for fate, row in zip(Fate, counts, strict=True)]
    return table(["feature", *(one.title for one in WAYS)], rows)


_BLOCKS: dict[str, Callable[[], str]] = {
    "ways": _fates,
    "notes": lambda: told("ways", {one.title: cells(one) for one in WAYS}),
}


def test_the_page_is_what_the_ways_do() -> None:
    text = PAGE.read_text(encoding="utf-8")
    made = BLOCK.sub(lambda m: f"{m[1]}\n{_BLOCKS[m[2]]()}\n\n{m[4]}", text)
    assert len(BLOCK.findall(text)) == len(_BLOCKS)
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(made, encoding="utf-8")
    assert text == made or os.environ.get("UPDATE_DOCS"), "run the test with UPDATE_DOCS=1 and look at the change"
