"""The lock of a shared mailbox: all or none, against others and against itself, and what a crash leaves."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gateway.mailbox_files import Operations
from gateway.mailbox_lock import STALE_S, Locking, MailboxLock
from tests.connectors.filedrop.kill import run

ALL: tuple[Locking, ...] = ("fcntl", "flock", "dotlock")


@pytest.fixture
def box(tmp_path: Path) -> Path:
    path = tmp_path / "box"
    path.write_bytes(b"x")
    return path


def is_locked(box: Path, kind: Locking) -> bool:
    """Ask as another process would: fcntl's locks keep only other processes out."""
    if kind == "dotlock":
        return Path(f"{box}.lock").exists()
    call = "lockf" if kind == "fcntl" else "flock"
    code = f"import fcntl, sys; fcntl.{call}(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    return subprocess.run([sys.executable, "-c", code, box], check=False, capture_output=True).returncode != 0


@pytest.mark.parametrize("locks", [("fcntl",), ("flock",), ("dotlock",), ALL])
def test_what_is_asked_for_is_locked_and_given_back(box: Path, locks: tuple[Locking, ...]) -> None:
    with MailboxLock(box, locks) as lock:
        assert os.pread(lock.handle, 9, 0) == b"x"
        assert [kind for kind in ALL if is_locked(box, kind)] == list(locks)
    assert not any(is_locked(box, kind) for kind in ALL)
    assert sorted(path.name for path in box.parent.iterdir()) == ["box"]


def test_all_is_given_back_where_one_is_taken(box: Path) -> None:
    Path(f"{box}.lock").write_text("0")
    with pytest.raises(BlockingIOError), MailboxLock(box, ALL):
        pass
    assert not is_locked(box, "fcntl")
    assert not is_locked(box, "flock")
    assert sorted(path.name for path in box.parent.iterdir()) == ["box", "box.lock"]


def test_it_waits_as_long_as_it_is_told_to(box: Path) -> None:
    lock = Path(f"{box}.lock")
    lock.write_text("0")
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if now[0] > 2:
            lock.unlink(missing_ok=True)

    with pytest.raises(BlockingIOError), MailboxLock(box, ALL, 1.0, clock=lambda: now[0], sleep=sleep):
        pass
    assert now == [pytest.approx(1.0)]
    with MailboxLock(box, ALL, 3.0, clock=lambda: now[0], sleep=sleep):
        assert 2 < now[0] < 4


def test_another_thread_of_ours_is_kept_out(box: Path) -> None:
    with MailboxLock(box, ("fcntl",)):
        found: list[BaseException] = []

        def other() -> None:
            try:
                with MailboxLock(box, ("fcntl",)):
                    pass
            except BlockingIOError as e:
                found.append(e)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert len(found) == 1
        assert is_locked(box, "fcntl")


def test_many_threads_take_turns(box: Path) -> None:
    inside, most = [0], [0]

    def work() -> None:
        for _ in range(10):
            with MailboxLock(box, ALL, 30.0):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.001)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_a_mailbox_that_is_missing_a_link_or_a_folder(tmp_path: Path, box: Path) -> None:
    with pytest.raises(FileNotFoundError), MailboxLock(tmp_path / "none", ALL):
        pass
    (tmp_path / "link").symlink_to(box)
    with pytest.raises(OSError, match="symbolic links"), MailboxLock(tmp_path / "link", ALL):
        pass
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"), MailboxLock(tmp_path / "pipe", ALL):
        pass
    with MailboxLock(tmp_path / "new", ALL, create=True):
        assert (tmp_path / "new").exists()
    assert not list(tmp_path.glob("*.lock*"))


def test_a_mailbox_taken_away_while_it_is_opened_is_opened_anew(box: Path) -> None:
    opened: list[int] = []

    def opening(path: str, flags: int, mode: int) -> int:
        handle = os.open(path, flags, mode)
        if path == str(box) and not opened:
            box.rename(box.with_name("taken"))
            box.write_bytes(b"new")
            opened.append(handle)
        return handle

    with MailboxLock(box, ALL, 5.0, Operations(open=opening)) as lock:
        assert os.pread(lock.handle, 9, 0) == b"new"


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


DEAD = 2**22 + 1  # above the most that Linux gives


@pytest.mark.parametrize(
    ("text", "seconds", "is_stale"),
    [
        ("", 10, False),
        (f"{DEAD}\n", 10, False),
        ("", STALE_S + 60, True),
        ("0", STALE_S + 60, True),
        (f"{DEAD}\n", STALE_S + 60, True),
        ("{alive}\n", STALE_S + 60, False),
        (f"{DEAD}\n{{here}} boot 1 gatepost\n", 0, True),
        (f"{DEAD}\nelsewhere boot 1 gatepost\n", 10**6, False),
        ("{alive}\n{here} another-boot 1 gatepost\n", 0, True),
    ],
)
def test_locks_that_were_left_behind(box: Path, text: str, seconds: float, is_stale: bool) -> None:
    lock = Path(f"{box}.lock")
    text = text.format(alive=os.getpid(), here=socket.gethostname())
    lock.write_text(text)
    age(lock, seconds)
    try:
        with MailboxLock(box, ("dotlock",)):
            assert is_stale
    except BlockingIOError:
        assert not is_stale
        assert lock.read_text() == text
    assert sorted(path.name for path in box.parent.iterdir()) == (["box"] if is_stale else ["box", "box.lock"])


def test_a_process_that_died_with_the_lock_holds_up_nobody(box: Path) -> None:
    def hold(ops: Operations) -> None:
        MailboxLock(box, ALL, 0, ops).__enter__()
        os._exit(9)

    assert not run(hold, 10**9)
    assert Path(f"{box}.lock").exists()
    with MailboxLock(box, ALL):
        pass
    assert sorted(path.name for path in box.parent.iterdir()) == ["box"]


def test_a_kill_at_any_call_leaves_nothing_that_holds_up_the_next(box: Path) -> None:
    def hold(ops: Operations) -> None:
        with MailboxLock(box, ALL, 0, ops):
            pass

    call = 1
    while not run(hold, call):
        with MailboxLock(box, ALL):
            pass
        call += 1
    assert call > 5


def test_a_lock_that_comes_back_while_a_stale_one_is_taken_is_left(box: Path) -> None:
    lock = Path(f"{box}.lock")
    lock.write_text("0")
    age(lock, STALE_S + 60)

    def rename(source: str, target: str) -> None:
        if source == str(lock):
            lock.unlink()
            lock.write_text("fresh")
        os.rename(source, target)

    with pytest.raises(BlockingIOError), MailboxLock(box, ("dotlock",), 0, Operations(rename=rename)):
        pass
    assert lock.read_text() == "fresh"


def test_over_nfs_the_answer_of_a_link_may_be_lost(box: Path) -> None:
    def link(source: str, target: str) -> None:
        os.link(source, target)
        raise FileExistsError(errno.EEXIST, "it was made all the same")

    with MailboxLock(box, ("dotlock",), 0, Operations(link=link)):
        assert Path(f"{box}.lock").exists()


def test_a_folder_that_takes_no_lock_file_is_told(box: Path) -> None:
    def link(source: str, target: str) -> None:
        raise OSError(errno.EROFS, "read-only")

    with pytest.raises(OSError, match="read-only"), MailboxLock(box, ALL, 0, Operations(link=link)):
        pass
    assert not is_locked(box, "fcntl")
    fcntl.lockf(os.open(box, os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
