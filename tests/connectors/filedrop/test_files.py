"""Files appear whole or not at all, whatever the disk does at whatever call."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from connectors.filedrop.files import Changed, NotRegular, Occupied, OpenFile, claim, claimed, move, place
from gateway.mailbox_files import REAL, Operations

TEXT = b"one message\r\n" * 1000
CALLS = tuple(field.name for field in fields(Operations))


class Disk:
    """The real calls, counted; the one numbered `fail_at` fails with `code`; before `die_at` the process ends."""

    def __init__(self, fail_at: int = 0, code: int = errno.EIO, die_at: int = 0) -> None:
        self.calls: list[str] = []
        self._fail_at, self._code, self._die_at = fail_at, code, die_at
        self.operations = Operations(**{name: self._wrapped(name) for name in CALLS})

    def step(self, name: str) -> None:
        """Count a step, and end the process where it is the one to die before."""
        self.calls.append(name)
        if len(self.calls) == self._die_at:
            os._exit(9)

    def _wrapped(self, name: str) -> Callable[..., Any]:
        real = getattr(REAL, name)

        def call(*args: Any) -> Any:
            self.step(name)
            if len(self.calls) == self._fail_at:
                raise OSError(self._code, os.strerror(self._code))
            if name == "write":  # as little as write may take
                return real(args[0], args[1][:4096])
            return real(*args)

        return call


def pieces() -> list[bytes]:
    return [TEXT[:500], b"", TEXT[500:]]


def test_a_file_is_written_synced_named_and_its_folder_synced(tmp_path: Path) -> None:
    disk = Disk()
    assert place(tmp_path, "a.eml", pieces, ops=disk.operations) == "a.eml"
    assert disk.calls == ["open", "write", "write", "write", "write", "fsync", "rename_new", "open", "fsync"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.eml"]
    assert (tmp_path / "a.eml").read_bytes() == TEXT
    assert stat.S_IMODE((tmp_path / "a.eml").stat().st_mode) & 0o027 == 0


def test_a_failing_call_leaves_a_whole_file_or_none(tmp_path: Path) -> None:
    disk = Disk()
    place(tmp_path, "a.eml", pieces, ops=disk.operations)
    for number in range(1, len(disk.calls) + 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(OSError, match="Input/output error"):
            place(folder, "a.eml", pieces, ops=Disk(number).operations)
        found = sorted(path.name for path in folder.iterdir())
        # from the rename on the file is there, and only its name may be lost in a power cut
        assert found == (["a.eml"] if number > disk.calls.index("rename_new") + 1 else [])
        assert place(folder, "a.eml", pieces) == "a.eml"
        assert (folder / "a.eml").read_bytes() == TEXT


def test_a_kill_at_any_call_leaves_a_whole_file_or_none(tmp_path: Path) -> None:
    disk = Disk()
    place(tmp_path, "a.eml", pieces, ops=disk.operations)
    for number in range(1, len(disk.calls) + 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        pid = os.fork()
        if pid == 0:
            place(folder, "a.eml", pieces, ops=Disk(die_at=number).operations)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
        seen = [path for path in folder.iterdir() if not path.name.startswith(".")]
        assert all(path.read_bytes() == TEXT for path in seen)
        assert place(folder, "a.eml", pieces) == "a.eml"
        assert [path.name for path in folder.iterdir()] == ["a.eml"]


def test_a_retry_finds_its_own_file(tmp_path: Path) -> None:
    place(tmp_path, "a.eml", pieces)
    before = (tmp_path / "a.eml").stat()
    assert place(tmp_path, "a.eml", pieces) == "a.eml"
    assert (tmp_path / "a.eml").stat().st_ino == before.st_ino
    assert len(list(tmp_path.iterdir())) == 1


def test_another_s_file_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "a.eml").write_bytes(b"x" * len(TEXT))
    (tmp_path / "a-2.eml").mkdir()
    assert place(tmp_path, "a.eml", pieces) == "a-3.eml"
    assert (tmp_path / "a.eml").read_bytes() == b"x" * len(TEXT)
    for number in range(4, 10):
        (tmp_path / f"a-{number}.eml").write_bytes(b"taken")
    (tmp_path / "a-3.eml").write_bytes(b"taken")
    with pytest.raises(Occupied):
        place(tmp_path, "a.eml", pieces)


def test_a_temporary_name_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / ".a.eml.tmp").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic links"):
        place(tmp_path, "a.eml", pieces)
    assert (tmp_path / "secret").read_bytes() == b"secret"


def test_a_rename_whose_answer_was_lost_has_happened(tmp_path: Path) -> None:
    def rename(source: str, target: str) -> None:
        os.rename(source, target)
        raise OSError(errno.EIO, "the server does not answer")

    assert place(tmp_path, "a.eml", pieces, ops=Operations(rename_new=rename)) == "a.eml"
    assert (tmp_path / "a.eml").read_bytes() == TEXT


def test_one_of_many_claims_a_file(tmp_path: Path) -> None:
    claims = tmp_path / ".claimed"
    claims.mkdir()
    (tmp_path / "a.eml").write_bytes(TEXT)
    first, second = claim(tmp_path / "a.eml", "a.eml", claims), claim(tmp_path / "a.eml", "a.eml", claims)
    assert first is not None
    assert second is None
    assert first.path.read_bytes() == TEXT
    assert claimed(first.path) == first


def test_a_file_that_is_still_open_on_a_share_is_left(tmp_path: Path) -> None:
    (tmp_path / "a.eml").write_bytes(TEXT)
    claims = tmp_path / ".claimed"
    with pytest.raises(FileNotFoundError):
        claim(tmp_path / "a.eml", "a.eml", claims)  # no claim folder: a fault, not a file that another took
    claims.mkdir()
    for code in (errno.EACCES, errno.EBUSY, errno.ETXTBSY):
        assert claim(tmp_path / "a.eml", "a.eml", claims, Disk(1, code).operations) is None
    with pytest.raises(OSError, match="Read-only"):
        claim(tmp_path / "a.eml", "a.eml", claims, Disk(1, errno.EROFS).operations)


def test_a_name_of_any_length_is_claimed(tmp_path: Path) -> None:
    claims = tmp_path / ".claimed"
    claims.mkdir()
    name = "ä" * 125 + ".eml"
    (tmp_path / name).write_bytes(TEXT)
    one = claim(tmp_path / name, name, claims)
    assert one is not None
    assert one.path.name.endswith(".eml")
    assert len(os.fsencode(one.path.name)) <= 255


@pytest.mark.parametrize("name", ["a.eml", "0123456789abcdeg.a.eml", "0123456789abcdef", "0123456789abcdef."])
def test_what_lies_in_the_claim_folder_by_chance_is_no_claim(name: str) -> None:
    assert claimed(Path(name)) is None


def test_a_move_takes_a_free_name(tmp_path: Path) -> None:
    (tmp_path / "a.eml").write_bytes(b"old")
    source = tmp_path / "source"
    source.write_bytes(b"new")
    assert move(source, tmp_path, "a.eml") == str(tmp_path / "a-2.eml")
    assert (tmp_path / "a.eml").read_bytes() == b"old"


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(TEXT)
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("link", "pipe", "folder"):
        with pytest.raises(NotRegular):
            OpenFile(tmp_path / name)
    with OpenFile(tmp_path / "file") as file:
        assert file.size == len(TEXT)
        assert file.read(4, 7) == TEXT[4:11]
        file.check_unchanged()
        with open(tmp_path / "file", "ab") as more:
            more.write(b"more")
        with pytest.raises(Changed):
            file.check_unchanged()
