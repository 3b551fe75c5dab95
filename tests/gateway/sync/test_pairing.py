"""The table of people, as it leaves a spreadsheet, and the mailboxes that a command means."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config_sync import SyncSection
from gateway.sync.pairing import PairingErrors, Row, chosen, pairings, read_table


def section(**more: object) -> SyncSection:
    return SyncSection.model_validate({"from": "old", "to": "new", "mailboxes": "people.csv", **more})


@pytest.mark.parametrize(
    "octets",
    [
        b"from,to,identity,batch\nann,ann.lee,Ann Lee,one\nbob,,,\n",
        b"\xef\xbb\xbffrom;to;identity;batch\r\nann;ann.lee;Ann Lee;one\r\n\r\nbob\r\n",
        b"# people\nBatch , From,TO,identity\none, ann ,ann.lee,Ann Lee\n,bob,,\n",
    ],
    ids=["plain", "semicolons and a mark", "another order"],
)
def test_a_table_is_read_as_spreadsheets_write_it(octets: bytes) -> None:
    rows, mistakes = read_table(octets, "people.csv")
    assert mistakes == []
    assert [(row.left, row.right, row.identity, row.batch) for row in rows] == [
        ("ann", "ann.lee", "Ann Lee", "one"),
        ("bob", "bob", None, ""),
    ]


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (b"", "people.csv: the table is empty"),
        (b"name,to\nann,\n", "the first line must name the columns"),
        (b"from,from\nann,bob\n", "each once"),
        (b"from,to\n,ann\n", "people.csv:2: no mailbox under from"),
        (b"from,to\nann,bob,carl\n", "people.csv:2: 3 cells, and 2 columns are named"),
        (b"from,to\nann\xff,bob\n", "people.csv:2: the octet 0xff"),
        (b'from,to\nbob,\n"ann,bob\ncarl,\n', "people.csv:3: a quotation mark has no other one"),
    ],
)
def test_what_is_wrong_in_a_table_is_told_with_its_line(octets: bytes, said: str) -> None:
    _, mistakes = read_table(octets, "people.csv")
    assert len(mistakes) == 1
    assert said in mistakes[0]


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("from,to\nann,\n,x\nann,ann\n")
    with pytest.raises(PairingErrors) as caught:
        pairings("merger", section(), tmp_path)
    table = str(tmp_path / "people.csv")
    assert caught.value.mistakes == (
        f"{table}:3: no mailbox under from",
        f"{table}:4: ann to ann stands in {table}:2 already",
    )


def test_a_table_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(PairingErrors, match=r"people\.csv: No such file"):
        pairings("merger", section(), tmp_path)


def test_a_mailbox_is_not_copied_to_itself(tmp_path: Path) -> None:
    same = section(to="old", mailboxes=None, pair=[{"from": "ann"}, {"from": "ann", "to": "bob"}])
    with pytest.raises(PairingErrors, match="ann would be copied to itself"):
        pairings("merger", same, tmp_path)


def test_what_goes_both_ways_brings_nobodys_mail_to_others(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("from,to\nann,all\nbob,all\ncarl,carl\ncarl,old.carl\n")
    table = str(tmp_path / "people.csv")
    assert len(pairings("merger", section(), tmp_path)) == 4
    assert len(pairings("merger", section(mode="mirror"), tmp_path)) == 4
    with pytest.raises(PairingErrors) as caught:
        pairings("merger", section(mode="two-way"), tmp_path)
    assert caught.value.mistakes == (
        f"{table}:3: all stands under to in {table}:2 already, and this is two-way",
        f"{table}:5: carl stands under from in {table}:4 already, and this is two-way",
    )
    with pytest.raises(PairingErrors) as caught:
        pairings("merger", section(mode="mirror", strict=True), tmp_path)
    (told,) = caught.value.mistakes
    assert told == f"{table}:3: all stands under to in {table}:2 already, and this is a strict mirror"


def test_what_a_command_means() -> None:
    made = section(
        mailboxes=None,
        pair=[
            {"from": "ann", "to": "ann.lee", "batch": "one"},
            {"from": "bob", "identity": "Bob Ray", "batch": "two"},
            {"from": "carl", "batch": "two"},
        ],
    )
    everybody = pairings("merger", made, Path())

    def names(**which: list[str]) -> list[str]:
        return [each.left.mailbox for each in chosen(everybody, **which)[0]]

    assert names() == ["ann", "bob", "carl"]
    assert names(mailboxes=["ann.lee"]) == ["ann"]
    assert names(mailboxes=["Bob Ray", "c*"]) == ["bob", "carl"]
    assert names(batches=["two"]) == ["bob", "carl"]
    assert names(batches=["two"], mailboxes=["c*"]) == ["carl"]
    assert chosen(everybody, mailboxes=["zed"], batches=["one", "three"]) == ([], ["--batch three", "--mailbox zed"])
    assert chosen(everybody, mailboxes=["ann"], batches=["two"]) == ([], [])


def test_a_pairing_is_known_by_its_mailboxes_alone(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("from,to,batch\nann,,one\nbob,robert,two\n")
    before = [each.id for each in pairings("merger", section(), tmp_path)]
    (tmp_path / "people.csv").write_text("to,from,identity\nrobert,bob,B\n,ann,A\n")
    after = [each.id for each in pairings("merger", section(mode="mirror"), tmp_path)]
    assert before == ["merger/ann", "merger/bob>robert"]
    assert sorted(after) == before


def test_a_row_says_where_it_stands() -> None:
    rows, _ = read_table(b"from\nann\n", "people.csv")
    assert rows == [Row("people.csv:2", "ann", "ann", None, "")]
