"""Two mailboxes compared: each way in which an item can fail to be the same is found, and told for what it is."""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from gateway.contract import Status, StoreFault
from gateway.mailbox import Folder
from gateway.outcome import Scope
from gateway.sync.report import COLUMNS, Table, as_csv, as_html
from gateway.sync.verify import MEANING, Checked
from tests.gateway.sync.memory import Memory
from tests.gateway.sync.rig import Rig, Store, mailbox, message, rig


async def ran(made: Rig) -> None:
    for pairing in made.pairings:
        await made.runner.one(pairing)


def lose_state(folder: Path) -> None:
    for file in folder.glob("sync.sqlite*"):
        file.unlink()


def words(checked: Checked) -> list[tuple[str, str | None, str]]:
    return [(each.what, each.message_id, each.text) for each in checked.findings]


async def test_mailboxes_in_step_are_complete(tmp_path: Path) -> None:
    old, new = Store(ann=mailbox(20)), Store(ann=Memory())
    old.boxes["ann"].list_folders["deep"] = Folder("deep", ("Projects", "Süd"))
    old.boxes["ann"].list_folders["up"] = Folder("up", ("Projects",))
    old.boxes["ann"].put(message(70), "deep", name="<70@example.org>")
    with rig(tmp_path, old, new) as made:
        await ran(made)
        before = new.boxes["ann"].calls.copy()
        checked = await made.runner.check(made.pairings[0])
    assert checked.is_done
    assert (checked.sum("left_items"), checked.sum("compared"), checked.sum("same")) == (21, 21, 21)
    assert [folder.path for folder in checked.folders] == ["Inbox", "Projects", "Projects/Süd"]
    assert {*new.boxes["ann"].calls[len(before) :]} == {"folders", "changes", "fetch"}  # nothing is written


async def test_what_is_not_the_same_is_found(tmp_path: Path) -> None:
    old, new = Store(ann=mailbox(8)), Store(ann=Memory())
    one, two = old.boxes["ann"], new.boxes["ann"]
    two.refuses = {b"<0@": Status("5.6.0", "it is refused")}
    with rig(tmp_path, old, new, mode="mirror", mend=False) as made:
        await ran(made)
        by_name = {held.octets.split(b">")[0]: id for id, held in two.items.items()}
        altered = two.items[by_name[b"Message-ID: <3@example.org"]]
        altered.octets = altered.octets.replace(b"text", b"TEXT")
        two.drop(by_name[b"Message-ID: <4@example.org"])
        one.put(message(50), "inbox", name="<50@example.org>")
        two.put(message(60), "inbox", name="<60@example.org>")
        checked = await made.runner.check(made.pairings[0])
    assert sorted(words(checked), key=str) == [
        ("differs", "<3@example.org>", ""),
        ("missing", "<4@example.org>", ""),
        ("not done", "<0@example.org>", "5.6.0 it is refused"),
        ("not yet", "<50@example.org>", ""),
    ]
    assert not checked.is_done
    folder = checked.folders[0]
    assert (folder.left_items, folder.right_items, folder.only_right, folder.same) == (9, 7, 1, 5)
    assert "NOT complete" in checked.told()


async def test_what_is_as_it_is_meant_to_be_leaves_it_complete(tmp_path: Path) -> None:
    old, new = Store(ann=mailbox(6)), Store(ann=Memory())
    one, two = old.boxes["ann"], new.boxes["ann"]
    one.put(message(20, "x" * 5000), "inbox", name="<20@example.org>")
    one.put(message(21), "inbox", at=1e8, name="<21@example.org>")
    with rig(tmp_path, old, new, max_size=4000, max_age="3650d") as made:
        made.runner._clock = lambda: 1.5e9 + 86400
        await ran(made)
        gone = next(id for id, held in two.items.items() if b"<2@" in held.octets)
        two.drop(gone)
        checked = await made.runner.check(made.pairings[0])
        assert sorted(words(checked), key=str) == [
            ("left out", "<20@example.org>", "larger than 3.9 KiB"),
            ("left out", "<21@example.org>", "older than the limit"),
            ("removed there", "<2@example.org>", "since the last pass"),
        ]
        assert checked.is_done
        await ran(made)
        again = await made.runner.check(made.pairings[0])
        assert ("removed there", "<2@example.org>", "") in words(again)


async def test_an_item_that_was_mended_is_told_with_what_was_changed(tmp_path: Path) -> None:
    old, new = Store(ann=mailbox(2)), Store(ann=Memory())
    old.boxes["ann"].put(b"Message-ID: <nul@example.org>\r\n\r\na\0b\r\n", "inbox", name="<nul@example.org>")
    new.boxes["ann"].refuses = {b"\0": Status("5.6.0", "NUL is not allowed")}
    with rig(tmp_path, old, new) as made:
        await ran(made)
        checked = await made.runner.check(made.pairings[0])
    found = [each for each in checked.findings if each.message_id == "<nul@example.org>"]
    assert [each.what for each in found] == ["changed"]
    assert found[0].text
    assert checked.is_done


async def test_a_lost_state_is_no_reason_to_find_it_incomplete(tmp_path: Path) -> None:
    old, new = Store(ann=mailbox(9)), Store(ann=Memory())
    old.boxes["ann"].put(b"no name\r\n\r\n1\r\n")
    with rig(tmp_path, old, new) as made:
        await ran(made)
    lose_state(tmp_path)
    with rig(tmp_path, old, new) as made:
        checked = await made.runner.check(made.pairings[0])
    assert (checked.is_done, checked.sum("same"), checked.sum("only_right")) == (True, 10, 0)


async def test_a_sample_is_chosen_by_its_seed(tmp_path: Path) -> None:
    old, new = Store(ann=mailbox(40)), Store(ann=Memory())
    with rig(tmp_path, old, new) as made:
        await ran(made)
        pairing, box = made.pairings[0], old.boxes["ann"]

        async def read(seed: int, sample: int) -> list[int]:
            asked: list[int] = []
            fetch = box.fetch

            async def fetched(ids: Any, form: str = "mime") -> Any:
                asked.extend(int(id.rsplit(".", 1)[1]) for id in ids)
                async for each in fetch(ids, form):
                    yield each

            box.fetch = fetched  # type: ignore[method-assign]
            checked = await made.runner.check(pairing, sample=sample, seed=seed)
            box.fetch = fetch  # type: ignore[method-assign]
            assert (checked.sum("matched"), checked.sum("compared"), checked.is_done) == (40, sample, True)
            return asked

        assert await read(1, 5) == await read(1, 5)
        assert await read(1, 5) != await read(2, 5)
        assert await read(1, 0) == []


async def test_flags_and_dates_that_differ_are_counted(tmp_path: Path) -> None:
    old, new = Store(ann=mailbox(4)), Store(ann=Memory())
    with rig(tmp_path, old, new) as made:
        await ran(made)
        first, second, *_ = new.boxes["ann"].items.values()
        new.boxes["ann"].mark(first.state.id, ["seen", "mine"])
        second.state = replace(second.state, received_at=1.4e9)
        checked = await made.runner.check(made.pairings[0])
    assert (checked.sum("flags"), checked.sum("dates"), checked.is_done) == (1, 1, True)


async def test_a_mailbox_that_cannot_be_compared_is_told_and_stops_no_other(tmp_path: Path) -> None:
    class Closed(Memory):
        async def folders(self) -> Any:
            raise StoreFault(Status("5.7.8", "wrong password"), Scope.HOP)

    old, new = Store(ann=Closed(), bob=mailbox(1)), Store(ann=Memory(), bob=Memory())
    with rig(tmp_path, old, new) as made:
        await ran(made)
        ann, bob = await made.runner.each(made.pairings, made.runner.check)
    assert (ann.fault, ann.is_done, bob.is_done) == ("5.7.8 at old: wrong password", False, True)


class _Page(HTMLParser):
    """What a page shows, and what it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.loads: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [value or "" for name, value in attrs if name in ("src", "href") and str(value)[:1] != "#"]
        self.loads += [tag] if tag in ("script", "link", "iframe", "img", "object") else []

    def handle_data(self, data: str) -> None:
        self.text += data


async def reported(tmp_path: Path) -> list[Checked]:
    old, new = Store(ann=mailbox(8), **{"<b>bob": mailbox(3)}), Store(ann=Memory(), **{"<b>bob": Memory()})
    one = old.boxes["ann"]
    one.put(b"no name\r\n\r\n1\r\n", "inbox", name="=HYPERLINK(1)<script>alert(1)</script>")
    new.boxes["ann"].refuses = {b"no name": Status("5.6.0", "<img src=x>")}
    with rig(tmp_path, old, new, mend=False) as made:
        await ran(made)
        return await made.runner.each(made.pairings, made.runner.check)


async def test_the_page_needs_nothing_but_itself_and_shows_others_words_as_text(tmp_path: Path) -> None:
    checks = await reported(tmp_path)
    table = as_csv(checks)
    octets = as_html(checks, table=Table.of("people.csv", table))
    page = _Page()
    page.feed(octets.decode())
    assert page.loads == []
    assert b"<script" not in octets.lower().replace(b"&lt;script", b"")
    assert "1 of 2 mailboxes is not complete" in page.text
    assert "=HYPERLINK(1)<script>alert(1)</script>" in page.text
    assert "5.6.0 <img src=x>" in page.text
    assert hashlib.sha256(table).hexdigest() in page.text
    assert all(text in page.text for text in MEANING.values())


async def test_the_table_has_a_line_for_each_mailbox_folder_and_item(tmp_path: Path) -> None:
    checks = await reported(tmp_path)
    rows = list(csv.DictReader(io.StringIO(as_csv(checks).decode("utf-8-sig"))))
    assert list(rows[0]) == list(COLUMNS)
    assert [(row["line"], row["from"], row["result"]) for row in rows] == [
        ("mailbox", "<b>bob", "complete"),
        ("folder", "<b>bob", "complete"),
        ("mailbox", "ann", "not complete"),
        ("folder", "ann", "not complete"),
        ("item", "ann", "not done"),
    ]
    assert (rows[0]["items"], rows[0]["same"]) == ("3", "3")
    assert rows[4]["message_id"].startswith("'=HYPERLINK")  # no spreadsheet takes it for a formula


@pytest.mark.parametrize("sample", [None, 2])
async def test_a_page_of_complete_mailboxes_says_so(tmp_path: Path, sample: int | None) -> None:
    old, new = Store(ann=mailbox(8)), Store(ann=Memory())
    with rig(tmp_path, old, new) as made:
        await ran(made)
        checks = [await made.runner.check(made.pairings[0], sample=sample, seed=9)]
    page = _Page()
    page.feed(as_html(checks).decode())
    assert "The mailbox is complete." in page.text
    assert ("seed 9" in page.text) == (sample is not None)
