"""The outbound of a mailer: names, flavours, joining, locks, lists, and faults at every call that changes the disk."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from connectors.filedrop import bso
from connectors.filedrop.bso import BsoLayout
from connectors.filedrop.files import Occupied
from connectors.filedrop.formats.ftn.codec import Ftn
from connectors.filedrop.formats.ftn.packets import HEADER_OCTETS
from connectors.filedrop.layouts import Sheet
from gateway.mailbox_files import REAL, Operations
from tests.connectors.filedrop.ftn_kit import STEM, codec, encode, packed, packet, parcel
from tests.connectors.filedrop.test_ftn_outward import MIXED, mail


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "outbound"
    made.mkdir()
    return made


def sheet(made: Ftn, number: int, to: str = "Bob Ray@2:280/464", text: str = "Hi\n", more: str = "") -> Sheet:
    stem = f"{STEM}{number}"
    return Sheet(stem, encode(made, parcel(mail(f"{number}: {text}", more=more), f"ftn:{to}"), stem))


def texts(path: Path) -> list[bytes]:
    """Return the numbers that the messages of a packet begin with."""
    return [line for m in packed(path.read_bytes()) for line in m.text.split(b"\r") if line[:1].isdigit()]


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder.parent)) for p in folder.parent.rglob("*") if p.is_file())


def put(layout: BsoLayout, sheets: list[Sheet]) -> None:
    for group in layout.groups(sheets):
        layout.put([sheets[index] for index in group])
    layout.sync()


def test_each_nodes_packet_has_its_place(folder: Path) -> None:
    made = codec(layout="bso")
    layout = made.layout(folder)
    assert isinstance(layout, BsoLayout)
    sheets = [
        sheet(made, 1),
        sheet(made, 2, "Bob@2:280/464.9"),
        sheet(made, 3, "Eve@2:280/999.7"),
        sheet(made, 4, "Ann@88:1/2"),
        sheet(made, 5, more="Priority: urgent\n"),
    ]
    assert layout.groups(sheets) == [[0, 1], [2], [3], [4]]
    put(layout, sheets)
    assert files(folder) == [
        "outbound.058/00010002.out",
        "outbound/011801d0.cut",
        "outbound/011801d0.out",
        "outbound/011803e7.pnt/00000007.out",
    ]
    assert texts(folder / "011801d0.out") == [b"1: Hi", b"2: Hi"]
    assert layout.count(100) == 4
    assert layout.count(2) == 3
    assert codec().layout(folder) is None


@pytest.mark.parametrize(("flavour", "name"), [("hold", "011801d0.hut"), ("direct", "011801d0.dut")])
def test_a_flavour_can_be_set(folder: Path, flavour: str, name: str) -> None:
    made = codec(layout="bso", flavour=flavour)
    put(BsoLayout(folder, made), [sheet(made, 1)])
    assert files(folder) == [f"outbound/{name}"]


def test_what_comes_later_joins_what_waits(folder: Path) -> None:
    made = codec()
    layout = BsoLayout(folder, made)
    put(layout, [sheet(made, 1)])
    header = (folder / "011801d0.out").read_bytes()[:HEADER_OCTETS]
    put(layout, [sheet(made, 2), sheet(made, 3)])
    path = folder / "011801d0.out"
    assert texts(path) == [b"1: Hi", b"2: Hi", b"3: Hi"]
    assert path.read_bytes()[:HEADER_OCTETS] == header
    assert path.read_bytes().endswith(b"\0\0\0")


def test_a_retry_puts_nothing_again(folder: Path) -> None:
    made = codec()
    put(BsoLayout(folder, made), [sheet(made, 1), sheet(made, 2)])
    octets = (folder / "011801d0.out").read_bytes()
    put(BsoLayout(folder, made), [sheet(made, 2)])
    assert (folder / "011801d0.out").read_bytes() == octets
    put(BsoLayout(folder, made), [sheet(made, 1), sheet(made, 3)])
    assert texts(folder / "011801d0.out") == [b"1: Hi", b"2: Hi", b"3: Hi"]


@pytest.mark.parametrize("waiting", [b"not a packet", b"\0" * 58, "cut off", "other password"])
def test_what_cannot_be_joined_stays_and_a_packet_is_put_beside(folder: Path, waiting: bytes | str) -> None:
    made = codec(passwords={"2:280/464": "secret"})
    whole = packet(made, sheet(made, 1).encoded)
    octets = {"cut off": whole[:-9], "other password": packet(codec(), sheet(codec(), 1).encoded)}.get(str(waiting))
    octets = waiting if isinstance(waiting, bytes) else octets or b""
    (folder / "011801d0.out").write_bytes(octets)
    put(BsoLayout(folder, made), [sheet(made, 2)])
    assert (folder / "011801d0.out").read_bytes() == octets
    name = f"{made.file_stem(STEM + '2')}.pkt"
    assert (folder / "011801d0.flo").read_bytes() == b"^%s\r\n" % os.fsencode(folder / name)
    assert texts(folder / name) == [b"2: Hi"]
    put(BsoLayout(folder, made), [sheet(made, 2)])
    assert files(folder) == sorted(["outbound/011801d0.flo", "outbound/011801d0.out", f"outbound/{name}"])
    assert (folder / "011801d0.flo").read_bytes().count(b"^") == 1


def test_a_packet_that_grew_large_is_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bso, "MAX_JOINED", 1000)
    made = codec()
    layout = BsoLayout(folder, made)
    put(layout, [sheet(made, 1, text="x" * 2000)])
    put(layout, [sheet(made, 2)])
    assert len(files(folder)) == 3
    assert len(texts(folder / "011801d0.out")) == 1


def test_an_empty_packet_is_written_over(folder: Path) -> None:
    (folder / "011801d0.out").touch()
    made = codec()
    put(BsoLayout(folder, made), [sheet(made, 1)])
    assert texts(folder / "011801d0.out") == [b"1: Hi"]


def test_files_are_listed_before_their_message_waits(folder: Path) -> None:
    made = codec()
    (folder / "011801d0.flo").write_bytes(b"^/elsewhere/a.zip")
    one = Sheet(STEM, encode(made, parcel(MIXED)))
    put(BsoLayout(folder, made), [one])
    put(BsoLayout(folder, made), [one])
    names = [enclosure.name for enclosure in one.encoded.enclosures]
    lines = (folder / "011801d0.flo").read_text().split("\n")
    assert [line.strip() for line in lines] == ["^/elsewhere/a.zip", *(f"^{folder / name}" for name in names), ""]
    assert [(folder / name).read_bytes() for name in names] == [b"hello", b"world"]
    assert len(packed((folder / "011801d0.out").read_bytes())) == 3


def test_a_mailer_may_know_the_folder_by_another_name(folder: Path) -> None:
    made = codec(outbound_path="C:\\OUT")
    one = Sheet(STEM, encode(made, parcel(MIXED)))
    put(BsoLayout(folder, made), [one])
    assert (folder / "011801d0.flo").read_text().startswith(f"^C:\\OUT\\{one.encoded.enclosures[0].name}\n")


def test_a_lock_of_others_is_left_alone(folder: Path) -> None:
    made = codec()
    lock = folder / "011801d0.bsy"
    lock.write_bytes(b"mailer\n")
    with pytest.raises(Occupied, match=r"011801d0\.bsy"):
        BsoLayout(folder, made, wait_s=0.05).put([sheet(made, 1)])
    assert files(folder) == ["outbound/011801d0.bsy"]
    BsoLayout(folder, made, wait_s=0.05).put([sheet(made, 2, "Eve@2:280/465")])
    assert (folder / "011801d1.out").exists()


def test_a_lock_that_is_given_back_in_time_is_waited_for(folder: Path) -> None:
    made = codec()
    lock = folder / "011801d0.bsy"
    lock.touch()
    threading.Timer(0.2, lock.unlink).start()
    BsoLayout(folder, made, wait_s=10).put([sheet(made, 1)])
    assert texts(folder / "011801d0.out") == [b"1: Hi"]
    assert not lock.exists()


def test_a_lock_is_left_over_where_its_maker_is_gone(folder: Path) -> None:
    made = codec()
    lock = folder / "011801d0.bsy"
    host = socket.gethostname().encode()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for number, octets in enumerate(
        (b"gatepost %s %d\n" % (host, ended.pid), b"gatepost %s %d\n" % (host, os.getpid()))
    ):
        lock.write_bytes(octets)
        BsoLayout(folder, made, wait_s=0.05).put([sheet(made, number)])
    alive = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        lock.write_bytes(b"gatepost %s %d\n" % (host, alive.pid))
        with pytest.raises(Occupied):
            BsoLayout(folder, made, wait_s=0.05).put([sheet(made, 3)])
    finally:
        alive.communicate()
    lock.write_bytes(b"gatepost elsewhere 1\n")
    with pytest.raises(Occupied):
        BsoLayout(folder, made, wait_s=0.05).put([sheet(made, 3)])
    old = time.time() - 4000
    os.utime(lock, (old, old))
    BsoLayout(folder, made, wait_s=0.05).put([sheet(made, 3)])
    assert texts(folder / "011801d0.out") == [b"0: Hi", b"1: Hi", b"3: Hi"]
    assert files(folder) == ["outbound/011801d0.out"]


def test_many_threads_lose_nothing(folder: Path) -> None:
    made = codec()
    layout, other = BsoLayout(folder, made, wait_s=30), BsoLayout(folder, made, wait_s=30)
    sheets = [sheet(made, number) for number in range(40)]
    failed: list[BaseException] = []

    def work(numbers: Iterable[int], by: BsoLayout) -> None:
        try:
            for number in numbers:
                by.put([sheets[number]])
        except BaseException as e:  # noqa: BLE001 - told by the test
            failed.append(e)

    threads = [
        threading.Thread(target=work, args=(range(n, 40, 4), (layout, layout, layout, other)[n])) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert sorted(texts(folder / "011801d0.out")) == sorted(b"%d: Hi" % n for n in range(40))


def failing(at: int) -> tuple[Operations, list[str]]:
    """Return operations of which call number `at` fails, and where the name of that call is put."""
    calls = 0
    failed: list[str] = []

    def wrapped(real: Any) -> Any:
        def call(*args: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == at:
                failed.append(real.__name__)
                raise OSError(errno.EIO, "fault")
            return real(*args)

        return call

    names = ("open", "write", "fsync", "rename", "rename_new", "unlink", "mkdir", "link")
    return replace(REAL, **{name: wrapped(getattr(REAL, name)) for name in names}), failed


def test_a_fault_at_any_call_leaves_whole_packets_and_a_retry_completes_them(tmp_path: Path) -> None:
    made = codec()
    one = sheet(made, 1)
    two = Sheet(f"{STEM}2", encode(made, parcel(MIXED), f"{STEM}2"))
    failed = ["once"]
    faults = at = 0
    while failed:
        at += 1
        folder = tmp_path / str(at) / "outbound"
        folder.mkdir(parents=True)
        put(BsoLayout(folder, made), [one])
        ops, failed = failing(at)
        try:
            put(BsoLayout(folder, made, ops, wait_s=0.05), [two])
        except OSError:
            faults += 1
        seen = packed((folder / "011801d0.out").read_bytes())
        assert len(seen) in (1, 4)
        put(BsoLayout(folder, made, wait_s=0.05), [two])
        assert len(packed((folder / "011801d0.out").read_bytes())) == 4
        assert (folder / "011801d0.flo").read_bytes().count(b"^") == 2
        assert failed == ["unlink"] or not list(folder.glob(".*"))
        assert not (folder / "011801d0.bsy").exists()
    assert faults > 15


KILLED = """
import os, sys
from pathlib import Path
from dataclasses import replace
from connectors.filedrop.bso import BsoLayout
from gateway.mailbox_files import REAL
from connectors.filedrop.layouts import Sheet
from tests.connectors.filedrop.ftn_kit import STEM, codec, encode, parcel
from tests.connectors.filedrop.test_ftn_outward import MIXED

calls = 0
at = 0

def wrapped(real):
    def call(*args):
        global calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), 9)
        return real(*args)
    return call

names = ("open", "write", "fsync", "rename", "rename_new", "unlink", "mkdir", "link")
ops = replace(REAL, **{name: wrapped(getattr(REAL, name)) for name in names})
made = codec()
stem = f"{STEM}2"
sheet = Sheet(stem, encode(made, parcel(MIXED), stem))
first, last = int(sys.argv[2]), int(sys.argv[3])
for at in range(first, last):
    calls = 0
    folder = Path(sys.argv[1]) / str(at) / "outbound"
    pid = os.fork()
    if pid == 0:
        layout = BsoLayout(folder, made, ops)
        layout.put([sheet])
        layout.sync()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    print(at, os.WIFSIGNALED(status), flush=True)
"""


def test_a_kill_at_any_call_leaves_whole_packets_and_a_retry_doubles_nothing(tmp_path: Path) -> None:
    made = codec()
    one = sheet(made, 1)
    two = Sheet(f"{STEM}2", encode(made, parcel(MIXED), f"{STEM}2"))
    for at in range(1, 40):
        folder = tmp_path / str(at) / "outbound"
        folder.mkdir(parents=True)
        put(BsoLayout(folder, made), [one])
    root = Path(__file__).parents[3]
    ran = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), "1", "40"], cwd=root, capture_output=True, text=True, check=True
    )
    killed = [int(line.split()[0]) for line in ran.stdout.splitlines() if line.endswith("True")]
    assert len(killed) > 15
    assert killed == list(range(1, len(killed) + 1))
    for at in killed:
        folder = tmp_path / str(at) / "outbound"
        assert len(packed((folder / "011801d0.out").read_bytes())) in (1, 4)
        put(BsoLayout(folder, made, wait_s=0.05), [two])
        assert len(packed((folder / "011801d0.out").read_bytes())) == 4
        assert (folder / "011801d0.flo").read_bytes().count(b"^") == 2
        assert not (folder / "011801d0.bsy").exists()
