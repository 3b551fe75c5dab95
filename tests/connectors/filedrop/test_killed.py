"""Killed before every call that changes or reads a disk, and around every commit: none lost, none doubled, none left.

The connector runs in a process of its own that ends without any clean-up before step N of its way; then it is started
anew over what is on the disk, and all must be where it would be had nothing happened. N runs over all steps.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from connectors.filedrop.formats import Enclosure, Encoded
from connectors.filedrop.inbox import Inbox
from connectors.filedrop.layouts import FilesLayout, Put, Sheet
from connectors.filedrop.source import InboxSource
from gateway.testing import Journal, RecordingIntake
from tests.connectors.filedrop.folders import connector, put, running, until
from tests.connectors.filedrop.slips import Slips, slip
from tests.connectors.filedrop.test_files import Disk

EVERY = 1 if os.environ.get("GATEPOST_KILLS") == "every" else 3
"""Of how many steps one has a kill where the way is the plain one's but for a few steps; `make soak` kills at all."""
OPTIONS = {"archive": "done", "errors": "bad", "poll_s": 0.05, "attachment_grace_s": 0.0}


def died(body: Callable[[], Any]) -> bool:
    """Run it in a process of its own; tell whether it was killed, rather than got to its end."""
    pid = os.fork()
    if pid == 0:
        faulthandler.dump_traceback_later(20, exit=True)
        try:
            body()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - whatever it is, the test must not go on in the child
            traceback.print_exc()
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, 9)
    return code == 9


class Stepping(Journal):
    """A journal whose disk counts a step before and after each commit."""

    def __init__(self, path: Path, disk: Disk) -> None:
        super().__init__(path)
        self._disk = disk

    def add(self, line: dict[str, Any]) -> None:
        self._disk.step("before commit")
        super().add(line)
        self._disk.step("after commit")


def take_all(tmp: Path, disk: Disk, **options: Any) -> None:
    """Take what is in the inbox, with every call counted."""
    made = connector(tmp, **options)
    inbox: Inbox = made.inbox(partial(Inbox, ops=disk.operations))  # type: ignore[arg-type]  # a class in effect

    async def body() -> None:
        await made.start()
        source = InboxSource(made.name, made.config, made.context, inbox, made.readers(), lambda trouble: None)
        task = asyncio.create_task(source.run(RecordingIntake(Stepping(tmp / "journal", disk))))
        await until(lambda: waiting(tmp) == [])
        task.cancel()
        await asyncio.wait((task,))

    asyncio.run(body())


def restarted(tmp: Path, **options: Any) -> None:
    async def body() -> None:
        async with running(connector(tmp, **options), RecordingIntake(Journal(tmp / "journal"))):
            await until(lambda: waiting(tmp) == [])

    asyncio.run(body())


def waiting(tmp: Path) -> list[str]:
    """Return what is claimed and what waits in the inbox, but for attachments that no message there names."""
    # The inbox before what is claimed: what is being claimed between the two looks is seen by one of them.
    there = [name for name in os.listdir(tmp / "in") if not name.endswith((".pdf", ".claimed"))]
    return there + [path.name for path in (tmp / "in" / ".claimed").glob("*/*")]


def stored(tmp: Path) -> list[int]:
    """Return the numbers of the messages that are in the spool, each as often as it is there."""
    return sorted(mark for mark, _ in {(line["mark"], line["id"]) for line in Journal(tmp / "journal").lines()})


def contents(folder: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in folder.glob("*") if not path.name.endswith(".reason.txt"))


def plain(tmp: Path) -> dict[str, Any]:
    put(tmp, "a.slip", slip(1))
    put(tmp, "b.slip", slip(2))
    return {}


def with_attachments(tmp: Path) -> dict[str, Any]:
    put(tmp, "a.pdf", b"a")
    put(tmp, "b.pdf", b"b")
    put(tmp, "m.slip", slip(1, attach="a.pdf") + slip(2, attach="a.pdf,b.pdf"))
    return {}


def with_triggers(tmp: Path) -> dict[str, Any]:
    put(tmp, "a.slip", slip(1))
    put(tmp, "a.slip.done", b"%d" % len(slip(1)))
    put(tmp, "b.slip", slip(2, rotten="1"))
    put(tmp, "b.slip.done", b"%d" % len(slip(2, rotten="1")))
    return {"ready": "trigger", "trigger_check": "size"}


def with_locks(tmp: Path) -> dict[str, Any]:
    put(tmp, "a.slip", slip(1))
    return {"ready": "lock"}


def with_a_bad_item(tmp: Path) -> dict[str, Any]:
    put(tmp, "m.slip", slip(1) + slip(2, bad="1") + slip(3))
    return {}


def bad_with_an_attachment(tmp: Path) -> dict[str, Any]:
    put(tmp, "a.pdf", b"a")
    put(tmp, "m.slip", slip(1, attach="a.pdf", keep="never.pdf"))
    return {}


def large(tmp: Path) -> dict[str, Any]:
    put(tmp, "m.slip", slip(1, b"x" * 200_000) + slip(2, b"y" * 300_000) + slip(3, bad="1"))
    return {}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("scene", "marks", "done", "bad"),
    [
        (plain, [1, 2], 2, []),
        (with_attachments, [1, 2], 3, []),
        (with_triggers, [1], 1, [slip(2, rotten="1")]),
        (with_locks, [1], 1, []),
        (with_a_bad_item, [1, 3], 1, [slip(2, bad="1")]),
        (bad_with_an_attachment, [], 0, [slip(1, attach="a.pdf", keep="never.pdf")]),
        (large, [1, 2], 1, [slip(3, bad="1")]),
    ],
)
def test_taken_once_wherever_it_dies(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scene: Callable[[Path], dict[str, Any]],
    marks: list[int],
    done: int,
    bad: list[bytes],
) -> None:
    monkeypatch.setattr("connectors.filedrop.connector.codec_class", lambda name: Slips)
    every = 1 if scene in (with_attachments, with_triggers) else EVERY
    for at in range(1, 500, every):
        tmp = tmp_path / str(at)
        tmp.mkdir()
        options = {**OPTIONS, **scene(tmp)}

        def body(tmp: Path = tmp, at: int = at, options: dict[str, Any] = options) -> None:
            take_all(tmp, Disk(die_at=at), **options)

        if not died(body):
            break
        restarted(tmp, **options)
        assert stored(tmp) == marks, f"killed at {at}"
        assert len(list((tmp / "done").iterdir())) == done, f"killed at {at}"
        assert contents(tmp / "bad") == bad, f"killed at {at}"
        reasons = [path for path in (tmp / "bad").glob("*") if path.name.endswith(".reason.txt")]
        assert len(reasons) == len(bad), f"killed at {at}"
    print(f"{scene.__name__}: {at - 1} steps at most")
    assert at > 5


@pytest.mark.parametrize("put", [Put(), Put("trigger", "{name}.done", "size"), Put("lock", "{name}.lck")])
def test_put_once_wherever_it_dies(tmp_path: Path, put: Put) -> None:
    enclosures = (Enclosure("a-1.pdf", lambda: (b"pdf",)),)
    sheets = [Sheet("a", Encoded(lambda: (b"text" * 10_000,), enclosures)), Sheet("b", Encoded(lambda: (b"b",)))]

    def deliver(folder: Path, disk: Disk) -> None:
        layout = FilesLayout(folder, None, ".msg", put=put, ops=disk.operations)
        for group in layout.groups(sheets):
            layout.put([sheets[n] for n in group])
        layout.sync()

    expected = {"a.msg", "b.msg", "a-1.pdf"} | ({"a.msg.done", "b.msg.done"} if put.way == "trigger" else set())
    for at in range(1, 100):
        folder = tmp_path / str(at)
        folder.mkdir()
        killed = died(partial(deliver, folder, Disk(die_at=at)))
        seen = [name for name in os.listdir(folder) if not name.startswith(".")]
        for name in seen:
            whole = {"a.msg": b"text" * 10_000, "b.msg": b"b", "a-1.pdf": b"pdf"}.get(name)
            assert whole is None or (folder / name).read_bytes() == whole, "a reader never sees a part"
            if name.endswith(".done"):
                assert name.removesuffix(".done") in seen
        deliver(folder, Disk())
        assert set(os.listdir(folder)) == expected, f"killed at {at}"
        if not killed:
            break
    assert at > 10
