"""No format loses anything of a message silently; the page says what each keeps. `UPDATE_DOCS=1` writes its tables."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import get_args

import pytest

from connectors.filedrop.formats import FormatName
from gateway.contract import Fate, Note
from tests.connectors.filedrop.fidelity import FORMATS, Cell, Format
from tests.connectors.filedrop.fidelity_features import FEATURES
from tests.connectors.filedrop.fidelity_page import BLOCK, cells, fresh, report_of
from tests.docs.sandbox import ROOT

PAGE = ROOT / "docs/connectors/filedrop/fidelity.md"


def test_every_format_is_looked_at() -> None:
    assert {one.name for one in FORMATS} == set(get_args(FormatName))


def test_no_feature_is_named_twice() -> None:
    names = [feature.name for features in FEATURES.values() for feature in features]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("format", FORMATS, ids=lambda one: one.title)
def test_nothing_is_lost_silently(format: Format) -> None:
    silent = {
        feature.name: f"{found.fate.value}: {found.before!r} became {found.after!r}"
        for feature, found in cells(format).items()
        if not found.is_told
    }
    assert silent == {}


def test_a_loss_without_its_note_is_silent() -> None:
    gone = Cell(Fate.DROPPED, (), "a", "")
    assert not gone.is_told
    assert not replace(gone, notes=(Note(Fate.MAPPED, "x", "y"),)).is_told
    assert replace(gone, notes=(Note(Fate.DROPPED, "x", "y"),)).is_told
    assert not replace(gone, fate=Fate.MAPPED, notes=(Note(Fate.KEPT, "x", "y"),)).is_told
    assert replace(gone, fate=Fate.MAPPED, notes=(Note(Fate.MAPPED, "x", "y"),)).is_told


@pytest.mark.parametrize("format", [one for one in FORMATS if one.mime], ids=lambda one: one.title)
def test_formats_with_mime_keep_what_people_read(format: Format) -> None:
    lost = {f.name for group in ("Text", "Parts") for f in FEATURES[group] if cells(format)[f].fate is Fate.DROPPED}
    assert lost == set()


@pytest.mark.parametrize("format", FORMATS, ids=lambda one: one.title)
def test_a_report_tells_who_and_why(format: Format) -> None:
    facts = report_of(format).facts
    assert facts["the recipient"]
    assert facts["what became of it"]
    assert facts["the code"]
    assert facts["the reason"]


def test_the_page_is_that_of_the_formats() -> None:
    text = PAGE.read_text(encoding="utf-8")
    made = fresh(text)
    assert len(BLOCK.findall(text)) == 4
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(made, encoding="utf-8")
    assert text == made or os.environ.get("UPDATE_DOCS"), "run the test with UPDATE_DOCS=1 and look at the change"
