"""What a pass would do, how mailboxes stand, and who an X.500 name is: in words."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.config import load
from gateway.mailbox import Facts
from gateway.sync.originators import Originators
from gateway.sync.passes import Counts, Told
from gateway.sync.preview import FolderPreview, Preview
from gateway.sync.telling import COLUMNS, Standing, preview_as_json, preview_lines, problem_lines, standing_row
from gateway.sync.transfer import Report
from gateway.sync.values import Noted, Pairing, Place, Print, Problem, Refusal

ANN = Pairing("merger/ann", "merger", Place("old", "ann"), Place("new", "ann.lee"), None, "one")


def preview() -> Preview:
    return Preview(
        folders=[
            FolderPreview(("Inbox",), ("INBOX",), items=9, copies=4, octets=4096, adopted=3, skipped=1, too_large=1),
            FolderPreview(("Empty",), ("Empty",), is_new=True),
        ],
        collisions=["Alpha and alpha differ in case alone"],
        left_out=["Diary: calendar"],
        cannot={"flag or keyword forwarded": 12},
        refused=Refusal(30, 10, 40),
        facts=(Facts(1024, None, ("INBOX: bob lr",)), Facts(5 << 20, 6 << 20)),
        short_bytes=2048,
    )


def test_a_plan_is_told_in_words() -> None:
    lines = list(preview_lines([(ANN, preview()), (ANN, "5.7.8 no")], {ANN.id: ["bob goes first"]}, folders=True))
    assert lines == [
        "ann → ann.lee: 4 to copy (4 KiB), 1 folders to make, 3 there already, 1 left out by the limits, 1 too large; "
        "about 0 s",
        "  30 of 40 items would go, and at most 10 may: a run removes none without --allow-removal",
        "  the destination's quota lacks 2 KiB for it",
        "  names collide: Alpha and alpha differ in case alone",
        "  left out: Diary: calendar",
        "  cannot be carried: flag or keyword forwarded, 12 times",
        "  source's quota: 1 KiB used",
        "  source's rights: INBOX: bob lr",
        "  destination's quota: 5 MiB of 6 MiB used",
        "  before it is moved: bob goes first",
        "  Inbox → INBOX: 9 items, 4 to copy (4 KiB), 3 there already, 1 left out by the limits, 1 too large",
        "  Empty: to be made",
        "ann → ann.lee: cannot be read: 5.7.8 no",
        "in all 2 mailboxes, 4 items to copy (4 KiB), about 0 s one after the other; 1 cannot be read; "
        "nothing was written",
    ]
    values = preview_as_json(ANN, preview())
    assert (values["copies"], values["refused"]["removals"], values["facts"]["to"]["limit_bytes"]) == (4, 30, 6 << 20)
    assert preview_as_json(ANN, "5.7.8 no")["error"] == "5.7.8 no"


def told(**more: Any) -> Told:
    values = {"ended_at": 990.0, "is_done": True, "fault": "", "report": Report()} | more
    return Told("here:1", 900.0, 990.0, values.pop("ended_at"), **values, passes=1, copied=0, octets=0)


@pytest.mark.parametrize(
    ("last", "now", "said"),
    [
        (None, 1000.0, "no pass yet"),
        (told(), 1000.0, "in step already"),
        (told(report=Report(copied=2, octets=10)), 1000.0, "2 copied (10 B)"),
        (told(fault="5.7.8 no", is_done=False), 1000.0, "5.7.8 no"),
        (told(ended_at=None, report=Report(passed=5, expected=9, folder="Sent")), 1000.0, "under way: 5 of 9, Sent"),
        (told(ended_at=None, report=Report(passed=5, expected=9)), 1000.0, "under way: 5 of 9"),
        (told(ended_at=None), 2000.0, "was cut; the next pass goes on from there"),
    ],
)
def test_how_a_mailbox_stands_is_a_row(last: Told | None, now: float, said: str) -> None:
    row = standing_row(Standing(ANN, "coexisting", Counts(1200, 3, 1), last), now)
    assert len(row) == len(COLUMNS)
    assert (row[:3], row[4:]) == (["ann → ann.lee", "one", "coexisting"], ["1,200", "3", said])


def test_what_did_not_get_across_is_told_by_what_one_can_find_it_by() -> None:
    problems = (
        Problem(1, "left", "a.1", "5.6.0", "no", 2, print=Print(2048, "<1@example.org>", None, 1.6e9)),
        Problem(1, "left", "a.2", "5.6.0", "no"),
        Problem(2, "left", "", "5.7.1", "Süd: not yours"),
    )
    notes = (Noted(1, "left", "a.3", "NUL became 0x80"),)
    standing = Standing(ANN, "seeding", Counts(), None, problems, notes, {1: "Inbox", 2: "Süd"})
    lines = list(problem_lines([standing, Standing(ANN, "seeding", Counts(), None)]))
    assert lines[:2] == ["", "ann → ann.lee:"]
    assert lines[2].startswith("  Inbox: <1@example.org>, of 2020-09-1")
    assert lines[2].endswith(", 2 KiB: 5.6.0 no, tried 2 times")
    assert lines[3:] == [
        "  Inbox: without a Message-ID: 5.6.0 no",
        "  folder Süd: 5.7.1 Süd: not yours",
        "  Inbox: got across changed: NUL became 0x80",
    ]


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append(event)


def test_who_has_or_had_an_x500_name_is_found_in_the_mapping(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text(
        "name,smtp,x500\nAnn Lee,smtp:ann@acme.example,x500:/o=Acme/ou=HQ/cn=Recipients/cn=alee\n"
    )
    file = tmp_path / "gatepost.toml"
    file.write_text('[gateway]\nname = "gw.acme.example"\n[mapping]\nimport = ["people.csv"]\n')
    config = load(file, mapping=False, dry=True)
    log = Log()
    people = Originators(config, log)
    assert people.address("/o=Acme/ou=HQ/cn=Recipients/cn=alee") == "ann@acme.example"
    assert people.address("/O=ACME/OU=HQ/CN=RECIPIENTS/CN=ALEE") == "ann@acme.example"
    assert people.address("/o=Acme/ou=HQ/cn=Recipients/cn=nobody") is None
    assert people.address("no name at all") is None
    assert log.lines == []


def test_a_mapping_that_cannot_be_read_is_told_once_and_stops_nothing(tmp_path: Path) -> None:
    log = Log()
    people = Originators(cast(Any, SimpleNamespace(path=tmp_path / "none.toml")), log)
    for _ in range(2):
        assert people.address("/o=Acme/ou=HQ/cn=Recipients/cn=alee") is None
    assert log.lines == ["mapping_unread"]
