"""What netmail does not carry is told: of the envelope, of people, of the header, of the text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.contract import Fate, Item, Notify
from mappings.network import parse
from tests.connectors.filedrop.ftn_kit import codec, encode, parcel

HEAD = "From: IMCEAFTN-Ann+20Lee+402+3A280_999+2E3@gw.example\nTo: bob@fido.example\n"
ANN = parse("ftn:Ann Lee@2:280/999.3")
TO = parse("ftn:Bob Ray@2:280/464")


def told(head: str = "", text: str = "Hi\n", *, notify: Notify = Notify.UNSET, priority: int = 0) -> set[str]:
    sent = parcel(HEAD + head + "\n" + text, notify=notify, priority=priority)
    sent = replace(sent, envelope=replace(sent.envelope, reverse_path=ANN))
    return {f"{note.fate.value} {note.what}" for note in encode(codec(), sent).notes}


def test_what_netmail_holds_needs_no_word() -> None:
    assert (
        told("Subject: x\nMessage-ID: <1@a.example>\nIn-Reply-To: <0@a.example>\nReferences: <0@a.example>\n") == set()
    )


@pytest.mark.parametrize(
    ("head", "notes"),
    [
        (
            "List-Id: <l.example>\nX-Own: 1\nSensitivity: Private\n",
            {"dropped header fields List-Id, X-Own, Sensitivity"},
        ),
        ("X-FTN-Kludge: MYOWN: x\nPriority: normal\n", set()),
        ("Importance: high\n", {"mapped Priority, Importance or X-Priority"}),
        ("Importance: low\n", {"dropped header fields Importance"}),
        ("References: <1@a.example> <0@a.example>\n", {"mapped References"}),
        ("Disposition-Notification-To: ann@a.example\n", {"mapped Disposition-Notification-To"}),
        ("Reply-To: ann@a.example\n", set()),
        ("Reply-To: Desk <ann@a.example>\n", {"mapped Reply-To"}),
        ("Reply-To: ann@a.example, eve@a.example\n", {"dropped Reply-To"}),
    ],
)
def test_the_header(head: str, notes: set[str]) -> None:
    assert told(head) == notes


@pytest.mark.parametrize(
    ("notify", "priority", "notes"),
    [
        (Notify.SUCCESS, 4, {"mapped envelope NOTIFY", "mapped envelope priority 4"}),
        (Notify.NEVER, -4, {"dropped envelope NOTIFY", "dropped envelope priority -4"}),
    ],
)
def test_the_envelope(notify: Notify, priority: int, notes: set[str]) -> None:
    assert told(notify=notify, priority=priority) == notes


def test_paths_and_authors() -> None:
    made = codec()
    item = Item((7, 0), TO, TO, Notify.UNSET, "rfc822;bob@x.example")
    sent = parcel("From: ann@acme.example, eve@acme.example\n\nHi\n")
    sent = replace(sent, items=(item,), envelope=replace(sent.envelope, reverse_path=None, ret="full", envid="e"))
    notes = encode(made, sent).notes
    assert [note.what for note in notes] == [
        "envelope ORCPT", "envelope RET", "envelope ENVID", "null reverse-path", "From: ann@acme.example",
        "further authors",
    ]  # fmt: skip
    assert notes[4].fate is Fate.MAPPED


def test_control_characters_are_counted() -> None:
    assert told(text="a\x01b\x1bc\n") == {"dropped control characters: 2"}
