"""A mailbox file altered in its place: whole or not at all, wherever it is cut, with what others append kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from connectors.folders.journal import Journal

BEFORE = b"first\n" + b"old " * 300 + b"\nlast\n"
CASES = [
    ("grows", 6, b"new " * 500 + b"\nlast\n"),
    ("shrinks", 6, b"n\nlast\n"),
    ("is as long", 6, b"new " * 300 + b"\nlast\n"),
    ("is appended to", len(BEFORE), b"more\n" * 200),
    ("is emptied", 0, b""),
]


class Cut(BaseException):
    """The power goes."""


class Disk:
    """The calls that change a file; the one that is reached is cut, after `part` of what it writes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, part: float) -> None:
        self.left = at
        self._part = part
        self._pwrite = os.pwrite
        monkeypatch.setattr(os, "pwrite", self.pwrite)
        for name in ("ftruncate", "rename", "unlink", "fsync"):
            monkeypatch.setattr(os, name, self._counted(getattr(os, name)))

    def _counted(self, call: Callable[..., None]) -> Callable[..., None]:
        def counted(*args: object) -> None:
            self.left -= 1
            if self.left < 0:
                raise Cut
            call(*args)

        return counted

    def pwrite(self, handle: int, octets: memoryview, at: int) -> int:
        self.left -= 1
        if self.left < 0:
            self._pwrite(handle, octets[: int(len(octets) * self._part)], at)
            raise Cut
        return self._pwrite(handle, octets[:600], at)  # in small pieces, as a disk may


def _alter(file: Path, folder: Path, start: int, new: bytes) -> None:
    handle = os.open(file, os.O_RDWR)
    try:
        Journal(folder, file).alter(handle, start, lambda: [new[:3], new[3:]])
    finally:
        os.close(handle)


@pytest.mark.parametrize("part", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("appended", [b"", b"From another program\n"])
@pytest.mark.parametrize(("name", "start", "new"), CASES)
def test_cut_anywhere_it_is_done_or_not_begun(
    name: str, start: int, new: bytes, appended: bytes, part: float, tmp_path: Path
) -> None:
    file, folder = tmp_path / "box", tmp_path / "ours"
    folder.mkdir()
    after = BEFORE[:start] + new
    for at in range(10_000):
        file.write_bytes(BEFORE)
        with pytest.MonkeyPatch.context() as patched:
            disk = Disk(patched, at, part)
            with suppress(Cut):
                _alter(file, folder, start, new)
        is_done = disk.left >= 0
        if is_done:
            assert file.read_bytes() == after
            assert list(folder.iterdir()) == []
            return
        with file.open("ab") as box:
            box.write(appended)
        handle = os.open(file, os.O_RDWR)
        Journal(folder, file).recover(handle)
        os.close(handle)
        assert file.read_bytes() in (BEFORE + appended, after + appended), f"cut at {at}"
        for left in folder.iterdir():
            assert left.suffix == ".new"
            left.unlink()
    raise AssertionError("it has no end")


def test_another_file_of_that_name_is_left_alone(tmp_path: Path) -> None:
    file, folder = tmp_path / "box", tmp_path / "ours"
    folder.mkdir()
    for at in range(100):
        file.write_bytes(BEFORE)
        with pytest.MonkeyPatch.context() as patched, suppress(Cut):
            Disk(patched, at, 0.5)
            _alter(file, folder, 6, b"new " * 500)
        if [each.suffix for each in folder.iterdir()] == [".altered"]:
            break
    assert file.read_bytes() != b"first\n" + b"new " * 500
    file.rename(tmp_path / "old")
    file.write_bytes(b"another one\n")
    handle = os.open(file, os.O_RDWR)
    Journal(folder, file).recover(handle)
    os.close(handle)
    assert file.read_bytes() == b"another one\n"
    assert list(folder.iterdir()) == []
