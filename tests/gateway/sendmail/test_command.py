"""Reading of standard input, and what the command does without a daemon."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import threading
from functools import partial
from pathlib import Path

import pytest

from gateway.sendmail import command, options
from gateway.sendmail.command import read_message
from gateway.sendmail.dialogue import converse
from gateway.sendmail.dropped import Bad, Dropped, Folder
from gateway.sendmail.lines import ToCrlf
from gateway.sendmail.way import Kept
from tests.gateway.sendmail.kit import COMMAND

INPUTS: list[tuple[bytes, bytes]] = [
    (b"a\nb\n", b"a\nb\n"),
    (b"a\n.\nb\n", b"a\n"),
    (b".\nb\n", b""),
    (b"a\r\n.\r\nb", b"a\r\n"),
    (b"a\n.b\n", b"a\n.b\n"),
    (b"a\n..\n", b"a\n..\n"),
    (b"a.\n", b"a.\n"),
    (b"a\n.", b"a\n"),
    (b"", b""),
    (b"no end", b"no end"),
    (b"a\n\n.\n", b"a\n\n"),
    (b"\xff\0\n.\n", b"\xff\0\n"),
]


@pytest.mark.parametrize(("came", "expected"), INPUTS)
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_the_message_ends_at_a_single_dot(came: bytes, expected: bytes, size: int) -> None:
    assert read(came, size, ends_at_dot=True) == expected
    assert read(came, size, ends_at_dot=False) == came


def read(came: bytes, size: int, *, ends_at_dot: bool) -> bytes:
    """Read octets that come in pieces of a size."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, other:

        def write() -> None:
            for at in range(0, len(came), size):
                other.send(came[at : at + size])
            other.shutdown(socket.SHUT_WR)

        writer = threading.Thread(target=write)
        writer.start()
        kept = Kept()
        read_message(kept, ends_at_dot=ends_at_dot, file=one.fileno())
        writer.join()
        return b"".join(kept.pieces())


def test_what_is_long_is_kept_in_a_file() -> None:
    kept = Kept()
    piece = os.urandom(300_000)
    for _ in range(10):
        kept.add(piece)
    assert b"".join(kept.pieces()) == piece * 10 == b"".join(kept.pieces())
    assert len(kept._octets) <= Kept.MOST


def test_no_room_for_what_is_long_is_no_fault_of_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Kept) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Kept, "_spill", full)
    for words, said, expected in (
        ((), b"x" * 2_000_000, 75),
        (("-bs",), b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n" + b"QUIT\r\n" * 300_000 + b".\r\nQUIT\r\n", 0),
    ):
        came, answers = os.memfd_create("in"), os.memfd_create("out")
        view = memoryview(said)
        while view:
            view = view[os.write(came, view) :]
        os.lseek(came, 0, os.SEEK_SET)
        if words:
            assert converse(options.parse(list(words)), "/nowhere", came, answers) == expected
            assert b"\r\n452 4.3.1 there is no room" in os.pread(answers, 10_000, 0)
            assert os.pread(answers, 10_000, 0).endswith(b"\r\n221 2.0.0 bye\r\n")
        else:
            real = command.read_message
            monkeypatch.setattr(command, "read_message", partial(real, file=came))
            assert command.run(["bob@x.example"], "sendmail") == expected
        os.close(came)
        os.close(answers)


@pytest.mark.parametrize("pieces", [[b"a\nb\r\nc"], [b"a\n", b"b\r", b"\nc"], [b"a", b"\n", b"b", b"\r\n", b"c"]])
def test_lines_end_with_cr_lf(pieces: list[bytes]) -> None:
    made = ToCrlf()
    assert b"".join([*(made.add(piece) for piece in pieces), made.end()]) == b"a\r\nb\r\nc"
    bare = ToCrlf()
    assert bare.add(b"a\r") + bare.add(b"b\r") + bare.end() == b"a\rb\r"


def sendmail(where: Path, *options: str, text: str = "Subject: x\n\nx\n") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *options],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        env={"GATEPOST_SENDMAIL": str(where)},
    )


def test_without_a_daemon_it_is_left_in_the_drop_folder(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "drop", 10_000)
    folder.make()
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o3733
    done = sendmail(tmp_path, "-f", "ann@x.example", "bob@x.example")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (left,) = folder.path.iterdir()
    assert stat.S_IMODE(left.stat().st_mode) == 0o640
    assert left.stat().st_gid == folder.path.stat().st_gid
    (claimed,) = folder.claim()
    assert isinstance(claimed, Dropped)
    assert claimed.uid == os.getuid()
    assert b"sender ann@x.example\nto bob@x.example" in claimed.head()
    assert claimed.read(1000) == b"Subject: x\n\nx\n"
    claimed.close()
    assert list(folder.path.iterdir()) == []
    (again,) = folder.claim()
    assert isinstance(again, Dropped), "what a crash left claimed is taken up"
    again.close()
    folder.remove(again.name)
    assert folder.claim() == []


def test_without_anything_it_is_put_off(tmp_path: Path) -> None:
    done = sendmail(tmp_path, "bob@x.example")
    assert done.returncode == 75
    assert "cannot take it now" in done.stderr
    assert sendmail(tmp_path, "-bp").returncode == 75
    assert sendmail(tmp_path).returncode == 64
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_hand_over_is_put_aside(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "drop", 10_000)
    folder.make()
    drop = folder.path
    secret = tmp_path / "secret"
    secret.write_text("of another")
    good = "0" * 32
    (drop / f"{good[:-1]}1.msg").symlink_to(secret)
    os.link(secret, drop / f"{good[:-1]}2.msg")
    (drop / f"{good[:-1]}3.msg").mkdir()
    os.mkfifo(drop / f"{good[:-1]}4.msg")
    (drop / f"{good[:-1]}5.msg").write_bytes(b"x" * 10_001)
    (drop / "..evil.msg").write_bytes(b"x")
    (drop / f"{good[:-1]}6.new").write_bytes(b"x")
    old = drop / f"{good[:-1]}7.new"
    old.write_bytes(b"x")
    os.utime(old, (0, 0))
    found = folder.claim()
    assert len(found) == 6
    assert all(isinstance(each, Bad) for each in found), found
    assert [each.name for each in drop.iterdir()] == [f"{good[:-1]}6.new"], "what is begun may yet be finished"
    assert len(list(folder.bad.iterdir())) == 6
    assert secret.read_text() == "of another"


@pytest.mark.parametrize("answer", [b"75 the database is down\n", b"", b"nonsense\n"])
@pytest.mark.parametrize("reads", [True, False])
def test_a_daemon_that_cannot_take_it_now(tmp_path: Path, answer: bytes, reads: bool) -> None:
    """What it was told, or not told, is left in the drop folder under the very id that it was handed over by."""
    Folder(tmp_path / "drop", 10_000_000).make()
    heard: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()

        def serve() -> None:
            end, _ = listener.accept()
            with end:
                while reads and (octets := end.recv(65536)):
                    heard.append(octets)
                end.sendall(answer)

        server = threading.Thread(target=serve)
        server.start()
        done = sendmail(tmp_path, "bob@x.example", text="x\n" * 500_000)
        server.join()
    assert (done.returncode, done.stderr) == (0, "")
    (left,) = (tmp_path / "drop").iterdir()
    octets = left.read_bytes()
    assert f"\nid {left.stem}\n".encode() in octets
    assert octets.endswith(b"x\n" * 500_000)
    assert not reads or b"".join(heard) == octets


@pytest.mark.parametrize("size", [1, 500_000])
def test_a_daemon_that_says_no(tmp_path: Path, size: int) -> None:
    Folder(tmp_path / "drop", 10_000).make()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()

        def serve() -> None:
            end, _ = listener.accept()
            with end:
                end.sendall(b"77 ann may not send as boss@acme.example\n")

        server = threading.Thread(target=serve)
        server.start()
        done = sendmail(tmp_path, "bob@x.example", text="x\n" * size)
        server.join()
    assert (done.returncode, done.stderr) == (77, "gatepost-sendmail: ann may not send as boss@acme.example\n")
    assert not any((tmp_path / "drop").iterdir())
