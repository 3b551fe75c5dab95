"""No payload loses anything of a mail silently; the page says what each keeps. `UPDATE_DOCS=1` writes its tables."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cache, partial

import pytest

from connectors.mqtt.rules import PayloadOut
from gateway.contract import Fate
from tests.connectors.filedrop.fidelity import Cell, Feature
from tests.connectors.filedrop.fidelity_features import FEATURES
from tests.connectors.filedrop.fidelity_page import fate_cell, shown, table, told
from tests.connectors.mqtt.fidelity import KINDS, THINGS, Kind, cell, thing_fate
from tests.docs.sandbox import ROOT

PAGE = ROOT / "docs/connectors/mqtt-fidelity.md"
BLOCK = re.compile(r"(<!-- fidelity: ([^>]+) -->\n)(.*?)(<!-- end of fidelity -->)", re.DOTALL)
READ = tuple(kind for kind in KINDS if kind.title in ("rfc822", "json", "text"))
KEPT_AS_IT_IS = frozenset({
    "topic", "Correlation Data", "Response Topic", "Content Type", "Retain", "user property subject",
    "user property in-reply-to", "user property x-plant", "another user property",
})  # fmt: skip
"""What a whole message has no field for, since it stays octet for octet; the page says so."""


@cache
def cells(kind: Kind) -> Mapping[Feature, Cell]:
    return {feature: cell(kind, feature) for features in FEATURES.values() for feature in features}


def test_every_payload_is_looked_at() -> None:
    made_by_hand = {"template"}
    assert {kind.payload for kind in KINDS} | made_by_hand == set(PayloadOut.__args__)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", KINDS, ids=lambda one: one.title)
def test_nothing_is_lost_silently(kind: Kind) -> None:
    silent = {
        feature.name: f"{found.fate.value}: {found.before!r} became {found.after!r}"
        for feature, found in cells(kind).items()
        if not found.is_told
    }
    assert silent == {}


@pytest.mark.parametrize("kind", [one for one in KINDS if one.mime], ids=lambda one: one.title)
def test_whole_mails_and_json_keep_what_people_read(kind: Kind) -> None:
    lost = {f.name for group in ("Text", "Parts") for f in FEATURES[group] if cells(kind)[f].fate is Fate.DROPPED}
    assert lost <= {"signed with PGP", "DKIM: the signature holds"}
    assert kind.payload != "rfc822" or not lost


@pytest.mark.parametrize("thing", THINGS, ids=lambda one: one.name)
def test_nothing_of_a_message_is_lost_but_what_the_page_says(thing: object) -> None:
    fates = {kind.title: thing_fate(kind, thing) for kind in READ}  # type: ignore[arg-type]  # pytest's parameter
    dropped = {title for title, fate in fates.items() if fate is Fate.DROPPED}
    assert dropped == ({"rfc822"} if thing.name in KEPT_AS_IT_IS else set())  # type: ignore[attr-defined]


def _out(kinds: tuple[Kind, ...]) -> str:
    rows = []
    for group, features in FEATURES.items():
        rows.append([f"**{group}**", *[""] * len(kinds)])
        rows += [[shown(f.name), *(fate_cell(cells(one)[f]) for one in kinds)] for f in features]
    counts = [[sum(c.fate is fate for c in cells(one).values()) for one in kinds] for fate in Fate]
    rows.append(["**of all**", *[""] * len(kinds)])
    rows += [[fate.value, *map(str, row)] for fate, row in zip(Fate, counts, strict=True)]
    return table(["feature", *(one.title for one in kinds)], rows)


def _in() -> str:
    rows = [
        [thing.name, *(f"*{fate.value}*" if fate is Fate.DROPPED else fate.value for fate in fates)]
        for thing in THINGS
        for fates in [[thing_fate(kind, thing) for kind in READ]]
    ]
    return table(["of the message", *(kind.title for kind in READ)], rows)


_BLOCKS = {
    "version 5": partial(_out, tuple(kind for kind in KINDS if kind.has_properties)),
    "version 3.1.1": partial(_out, tuple(kind for kind in KINDS if not kind.has_properties)),
    "notes": lambda: told("payloads", {one.title: cells(one) for one in KINDS}),
    "in": _in,
}


def test_the_page_is_that_of_the_payloads() -> None:
    text = PAGE.read_text(encoding="utf-8")
    made = BLOCK.sub(lambda m: f"{m[1]}\n{_BLOCKS[m[2]]()}\n\n{m[4]}", text)
    assert len(BLOCK.findall(text)) == len(_BLOCKS)
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(made, encoding="utf-8")
    assert text == made or os.environ.get("UPDATE_DOCS"), "run the test with UPDATE_DOCS=1 and look at the change"
