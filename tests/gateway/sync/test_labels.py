"""Labels: which folder is a message's home, and what becomes of its further labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.contract import Folder
from gateway.mailbox import FolderRole
from gateway.sync.labels import keywords_at_home, label_of
from gateway.sync.values import Policy
from tests.gateway.sync.memory import HOLDS, Memory, mail
from tests.gateway.sync.test_engine import step

KNOWN = frozenset(("\\Inbox", "\\Sent", "", "Clients/North", "Work"))


@pytest.mark.parametrize(
    ("own", "role", "labels", "keywords"),
    [
        ("\\Inbox", "inbox", [], []),
        ("\\Inbox", "inbox", ["Work", "\\Important", "\\Starred"], ["Work", "$Important"]),
        ("", "archive", ["\\Inbox"], None),
        ("", "archive", ["\\Starred"], []),
        ("", "archive", ["\\Important"], ["$Important"]),
        ("Work", None, [], []),
        ("Work", None, ["\\Inbox"], None),
        ("Work", None, ["Clients/North"], None),
        ("Clients/North", None, ["Work"], ["Work"]),
        ("Work", None, ["\\Sent"], []),
        ("\\Sent", "sent", ["Work"], None),
        ("\\Sent", "sent", ["Not wanted"], ["Not wanted"]),
        ("", "archive", ["Not wanted"], ["Not wanted"]),
        ("", "archive", ["\\Draft"], None),
        ("Drafts", "drafts", ["Work"], ["Work"]),
        ("Trash", "trash", [], []),
    ],
)
def test_home_and_keywords(own: str, role: FolderRole | None, labels: list[str], keywords: list[str] | None) -> None:
    found = keywords_at_home(own, role, labels, KNOWN)
    assert found == (None if keywords is None else frozenset(keywords))


@pytest.mark.parametrize(
    ("path", "role", "label"),
    [
        (("INBOX",), "inbox", "\\Inbox"),
        (("[Gmail]", "All Mail"), "archive", ""),
        (("[Gmail]", "Gesendet"), "sent", "\\Sent"),
        (("[Gmail]", "Starred"), None, None),
        (("Clients", "North"), None, "Clients/North"),
    ],
)
def test_the_label_that_a_folder_is(path: tuple[str, ...], role: FolderRole | None, label: str | None) -> None:
    assert label_of(Folder("id", path, role=role)) == label


class Labelled(Memory):
    """A mailbox whose folders are labels, as Gmail's are."""

    def __init__(self) -> None:
        super().__init__(holding=replace(HOLDS, labels=True))
        self.list_folders |= {
            "all": Folder("all", ("[Gmail]", "All Mail"), role="archive"),
            "starred": Folder("starred", ("[Gmail]", "Starred")),
            "work": Folder("work", ("Work",)),
            "north": Folder("north", ("Clients", "North")),
        }

    def add(self, number: int, *labels: str) -> None:
        """Put in a message under folders' ids."""
        names = {"inbox": "\\Inbox", "starred": "\\Starred", "work": "Work", "north": "Clients/North"}
        for folder in ("all", *labels):
            id = self.put(
                mail(number), folder, *(["flagged"] if "starred" in labels else []), name=f"<{number}@example.org>"
            )
            said = frozenset(names[each] for each in labels if each != folder)
            held = self.items[id]
            held.state = replace(held.state, labels=said, object=str(number))


def filled() -> Labelled:
    left = Labelled()
    left.add(1, "inbox", "work", "north")
    left.add(2, "work", "north")
    left.add(3)
    left.add(4, "starred")
    left.add(5, "inbox", "starred")
    return left


def test_one_body_and_as_many_keywords(tmp_path: Path) -> None:
    left, right = filled(), Memory()
    report = step(tmp_path, left, right).report
    assert (report.copied, report.problems) == (5, 0)
    assert right.shown() == sorted(
        [
            (("Inbox",), mail(1), ("Clients/North", "Work")),
            (("Clients", "North"), mail(2), ("Work",)),
            (("[Gmail]", "All Mail"), mail(3), ()),
            (("[Gmail]", "All Mail"), mail(4), ("flagged",)),
            (("Inbox",), mail(5), ("flagged",)),
        ]
    )
    assert not any(folder.path[-1] == "Starred" for folder in right.list_folders.values())
    assert step(tmp_path, left, right).report.copied == 0
    (tmp_path / "sync.sqlite").unlink()
    again = step(tmp_path, left, right).report
    assert (again.copied, again.adopted) == (0, 5)


def test_a_label_that_is_not_wanted_is_no_home(tmp_path: Path) -> None:
    left, right = filled(), Memory()
    step(tmp_path, left, right, Policy(folders=("!INBOX", "!Inbox", "!Clients/*")))
    assert {(path, octets) for path, octets, _ in right.shown()} == {
        (("Work",), mail(1)),
        (("Work",), mail(2)),
        (("[Gmail]", "All Mail"), mail(3)),
        (("[Gmail]", "All Mail"), mail(4)),
        (("[Gmail]", "All Mail"), mail(5)),
    }


@pytest.mark.parametrize("policy", [Policy(labels="folders"), Policy(mode="mirror")])
def test_each_label_a_folder(tmp_path: Path, policy: Policy) -> None:
    left, right = filled(), Memory()
    assert step(tmp_path, left, right, policy).report.copied == len(left.items)
    assert right.shown() == left.shown()


def test_what_is_archived_moves_and_what_loses_a_label_loses_a_keyword(tmp_path: Path) -> None:
    left, right = filled(), Memory()
    step(tmp_path, left, right)
    for id, held in list(left.items.items()):
        if held.octets == mail(5) and held.folder == "inbox":
            left.drop(id)
        elif held.octets == mail(5) and held.folder == "all":
            held.state = replace(held.state, labels=held.state.labels - {"\\Inbox"})
            left.mark(id)
        elif held.octets == mail(2) and held.folder == "work":
            left.drop(id)
        elif held.octets == mail(2):
            held.state = replace(held.state, labels=held.state.labels - {"Work"})
            left.mark(id)
    report = step(tmp_path, left, right).report
    assert (report.moved, report.flagged, report.copied) == (1, 1, 0)
    assert (("[Gmail]", "All Mail"), mail(5), ("flagged",)) in right.shown()
    assert (("Clients", "North"), mail(2), ()) in right.shown()


def test_a_view_of_other_folders_is_left_out(tmp_path: Path) -> None:
    left, right = Memory(), Memory()
    left.list_folders["all"] = Folder("all", ("All",), role="view")
    for folder in ("inbox", "all"):
        left.put(mail(1), folder)
    assert step(tmp_path, left, right).left_out == ["All: it shows what is in other folders"]
    assert len(right.items) == 1


def test_between_two_that_have_labels_each_label_is_set(tmp_path: Path) -> None:
    left, right = filled(), Labelled()
    assert step(tmp_path, left, right).report.copied == len(left.items)
    assert right.shown() == left.shown()
