"""Who is parted by batches, and whose addresses are of domains that are not ours."""

from __future__ import annotations

import pytest

from gateway.sync.apart import foreign, parted
from gateway.sync.values import Pairing, Place


def pairing(name: str, batch: str = "", set: str = "merger") -> Pairing:
    return Pairing(f"{set}/{name}", set, Place("old", name), Place("new", name), batch=batch)


def told(rights: dict[str, list[str]], *pairings: Pairing) -> dict[str, list[str]]:
    return {id.partition("/")[2]: lines for id, lines in parted(pairings, rights).items()}


ANN, BOB, CARL = pairing("ann@old.example", "1"), pairing("bob@old.example", "2"), pairing("carl@old.example", "1")


@pytest.mark.parametrize(
    "line", ["INBOX: bob@old.example lrs", "INBOX: bob lrs", "INBOX: BOB lr", "INBOX: user=bob lrswipkxtea"]
)
def test_who_has_rights_and_goes_with_another_batch_is_told(line: str) -> None:
    (text,) = told({ANN.id: [line]}, ANN, BOB, CARL)["ann@old.example"]
    assert text.startswith("bob@old.example has rights in it (INBOX) and goes with batch 2")


@pytest.mark.parametrize(
    "line",
    ["INBOX: carl lrs", "INBOX: ann lrswipkxtea", "INBOX: anyone l", "INBOX: stranger lr", "INBOX: (own) lr", ""],
)
def test_who_goes_along_or_is_nobody_of_these_is_not(line: str) -> None:
    assert told({ANN.id: [line]}, ANN, BOB, CARL) == {}


def test_folders_are_counted_and_a_name_of_two_is_nobodys() -> None:
    lines = [f"Folder: {number}: bob lrs" for number in range(5)]
    (text,) = told({ANN.id: lines}, ANN, BOB)["ann@old.example"]
    assert "(Folder: 0, Folder: 1, Folder: 2 and 2 more folders)" in text
    other = pairing("bob@second.example", "3")
    assert told({ANN.id: ["INBOX: bob lrs"]}, ANN, BOB, other) == {}
    assert told({ANN.id: ["INBOX: bob lrs"]}, ANN, pairing("bob", set="other")) == {}


def test_addresses_of_others_domains() -> None:
    addresses = ["ann@old.example", "ann@partner.example", "Ann@OLD.example"]
    (text,) = foreign(addresses, ["old.example", "new.example"])
    assert text.startswith("its address ann@partner.example is of a domain that is not ours")
    assert foreign(addresses, []) == []
