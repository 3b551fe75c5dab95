"""The disk model's own rules, and the short form of `make soak-power`."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.crash.disk import Disk, Record
from tests.crash.soak_power import soak

ROOT, FILE = 1, 7


def step(kind: str, inode: int = FILE, data: bytes = b"", offset: int = 0, path: str = "") -> Record:
    return Record(kind, 1, 0.0, inode, offset, path, data)


def states(tmp_path: Path, steps: list[Record], tries: int = 60) -> set[frozenset[tuple[str, bytes]]]:
    """Return every state of the folder that lost power leaves after these steps."""
    root = tmp_path / "root"
    root.mkdir()
    disk = Disk(root, ROOT)
    for each in steps:
        disk.take(Record(each.kind, each.tid, each.at, each.inode, each.offset, each.path.format(root=root), each.data))
    found = set()
    for n in range(tries):
        target = tmp_path / f"target-{n}"
        target.mkdir()
        disk.lose_power(target, Random(n))
        found.add(frozenset((str(p.relative_to(target)), p.read_bytes()) for p in target.rglob("*") if p.is_file()))
    return found


CREATE = step("C", path="{root}/a")
WRITE = step("W", data=b"x" * 600)
SYNC = [step("B"), step("E")]
SYNC_FOLDER = [step("B", ROOT), step("E", ROOT)]


def test_nothing_is_certain_without_a_sync(tmp_path: Path) -> None:
    found = states(tmp_path, [CREATE, WRITE])
    assert frozenset() in found
    assert frozenset({("a", b"")}) in found
    assert frozenset({("a", b"x" * 600)}) in found
    assert any(0 < len(dict(each)["a"]) != 600 or b"\0" in dict(each)["a"] for each in found if each), "a torn write"


def test_a_synced_file_without_its_name_may_be_gone(tmp_path: Path) -> None:
    found = states(tmp_path, [CREATE, WRITE, *SYNC])
    assert found == {frozenset(), frozenset({("a", b"x" * 600)})}


def test_file_and_name_are_certain_once_both_are_synced(tmp_path: Path) -> None:
    assert states(tmp_path, [CREATE, WRITE, *SYNC, *SYNC_FOLDER]) == {frozenset({("a", b"x" * 600)})}


def test_a_write_after_the_begin_of_a_sync_is_not_covered(tmp_path: Path) -> None:
    found = states(tmp_path, [CREATE, *SYNC_FOLDER, step("B"), WRITE, step("E")])
    assert frozenset({("a", b"")}) in found


def test_a_rename_needs_its_folder_synced(tmp_path: Path) -> None:
    steps = [CREATE, WRITE, *SYNC, *SYNC_FOLDER, step("R", path="{root}/a\0{root}/b")]
    whole = b"x" * 600
    assert states(tmp_path, steps) == {frozenset({("a", whole)}), frozenset({("b", whole)})}


def test_a_truncation_is_a_write_like_others(tmp_path: Path) -> None:
    steps = [CREATE, WRITE, *SYNC, *SYNC_FOLDER, step("T", offset=0)]
    assert states(tmp_path, steps) == {frozenset({("a", b"x" * 600)}), frozenset({("a", b"")})}


@pytest.mark.timeout(400)
def test_the_plug_is_pulled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A few points; the control, whose fsync does nothing, must lose messages."""
    status = soak(tmp_path, points=6, control_points=4, messages=300, seed=5)
    assert status == 0, capsys.readouterr().out
