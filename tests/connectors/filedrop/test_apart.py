"""The reading process: what is said on the line, and what becomes of files and contents when either end fails."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.filedrop import FileDrop
from connectors.filedrop.apart import parent
from connectors.filedrop.apart.note import Note, new_note, read_note
from connectors.filedrop.apart.parent import environment, how_ended
from connectors.filedrop.apart.wire import (
    MAX_FRAME,
    Frames,
    content_out,
    envelope_in,
    envelope_out,
    fault_in,
    fault_out,
    frame,
    inline_content,
    message_in,
)
from gateway.contract import (
    Address,
    Content,
    Envelope,
    Message,
    Notify,
    Origin,
    Receipt,
    Recipient,
    Rejected,
    Status,
    Unavailable,
)
from gateway.testing import RecordingIntake
from gateway.testing.peers import MemoryWriter
from tests.connectors.filedrop.folders import GOOD, connector, left, peers, put, running, until
from tests.connectors.filedrop.poison import CRASH, EAT, LOOP, RAISE, SLEEP, poisoned

LARGE = GOOD + b"x" * 76 * 20_000
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
TEXT = st.text(max_size=20)
ADDRESSES = st.builds(Address, st.sampled_from(["smtp", "mhs", "ftn"]), TEXT, TEXT)
STATUSES = st.builds(Status, st.sampled_from(["4.3.0", "5.1.1"]), TEXT, TEXT, TEXT)
ENVELOPES = st.builds(
    Envelope,
    st.none() | ADDRESSES,
    st.lists(
        st.builds(Recipient, ADDRESSES, st.sampled_from([*Notify, Notify.FAILURE | Notify.DELAY]), st.none() | TEXT)
    ).map(tuple),
    st.builds(Origin, TEXT, TEXT, TEXT, TEXT, TEXT, TEXT, st.booleans()),
    priority=st.integers(-9, 9),
    expires_at=st.none() | st.floats(0, 1e10),
    ret=st.sampled_from([None, "full", "hdrs"]),
    envid=st.none() | TEXT,
    smtputf8=st.booleans(),
    dedupe_key=st.none() | TEXT,
)

# -- the line


@given(st.lists(VALUES.map(lambda value: (1, value)), max_size=5), st.data())
def test_frames_come_whole_whatever_pieces_they_travel_in(said: list[Any], data: st.DataObject) -> None:
    octets = b"".join(map(frame, said))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=8)))
    frames = Frames()
    got = []
    for start, end in zip([0, *cuts], [*cuts, len(octets)], strict=True):
        got += list(frames.feed(octets[start:end]))
    assert got == said


def test_a_frame_that_is_none_of_ours_is_refused() -> None:
    with pytest.raises(ValueError, match="a frame of"):
        list(Frames().feed((MAX_FRAME + 1).to_bytes(4, "little")))


@given(ENVELOPES)
def test_an_envelope_arrives_as_it_was(envelope: Envelope) -> None:
    [(got,)] = Frames().feed(frame((envelope_out(envelope),)))
    assert envelope_in(got) == envelope


def test_an_envelopes_fields_are_all_known_to_the_line() -> None:
    # One more, and it would be lost on its way: `to_members` is the core's own, and `hold` is said by checks of mail
    # that a peer waits for.
    assert {f.name for f in fields(Envelope)} - {"to_members", "hold"} == {
        "reverse_path", "recipients", "origin", "priority", "expires_at", "ret", "envid", "smtputf8", "dedupe_key",
    }  # fmt: skip
    # `returning` is said of addresses that a source has made, and files hold none.
    assert {f.name for f in fields(Origin)} - {"returning"} == {
        "connector", "peer", "helo", "protocol", "user", "tls", "trusted",
    }  # fmt: skip
    assert len(fields(Recipient)) == 3
    assert len(fields(Status)) == len(fault_out(1, Rejected(Status("5.1.1", "x")))) - 2


@given(st.binary(max_size=300), st.dictionaries(TEXT, TEXT, max_size=3))
def test_a_content_arrives_with_what_is_known_of_it(octets: bytes, attributes: dict[str, str]) -> None:
    content = Content(octets, attributes=attributes)
    [got] = Frames().feed(frame(content_out(content, None)))
    source, named, traits = got
    message = message_in(envelope_out(Envelope(None, (), Origin("in"))), inline_content(source, traits), named)
    assert message.content.octets() == octets
    assert message.content.traits == content.traits
    assert dict(message.content.attributes) == attributes


@settings(max_examples=50)
@given(STATUSES, st.sampled_from([Rejected, Unavailable]))
def test_a_refusal_is_raised_as_it_was(status: Status, kind: type[Rejected | Unavailable]) -> None:
    [values] = Frames().feed(frame(fault_out(7, kind(status))))
    fault = fault_in(values)
    assert type(fault) is kind
    assert fault.status == status


def test_another_fault_is_told_in_words() -> None:
    [values] = Frames().feed(frame(fault_out(7, KeyError("x"))))
    assert values[1] == 7
    assert str(fault_in(values)) == "KeyError('x')"


def test_a_note_keeps_the_last_word() -> None:
    note = new_note()
    try:
        assert read_note(note) is None
        ours = Note(note)
        ours.write("0123456789abcdef")
        assert read_note(note) == "0123456789abcdef"
        ours.write("")
        assert read_note(note) is None
    finally:
        os.close(note)


def test_the_process_is_told_no_secrets() -> None:
    got = environment({"PATH": "/bin", "PGPASSWORD": "x", "LC_ALL": "C", "NOTIFY_SOCKET": "/run/x", "PYTHONPATH": "/a"})
    assert {"PATH", "LC_ALL", "PYTHONPATH"} == got.keys()
    assert str(Path(parent.__file__).parents[3]) in got["PYTHONPATH"].split(os.pathsep)


def test_an_end_is_told_in_words() -> None:
    assert how_ended(1) == "ended with status 1"
    assert how_ended(-signal.SIGKILL) == "was ended by SIGKILL"
    assert how_ended(-signal.SIGPROF) == "used the processor for too long over one call"
    assert how_ended(-250) == "was ended by signal 250"


# -- the process


def apart(tmp: Path, **options: Any) -> FileDrop:
    return connector(tmp, **{"isolate": True, "network": "mhs", **options})


def children() -> list[int]:
    """Return our reading processes, dead ones that nobody has waited for too."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parts = path.read_text().rpartition(")")[2].split()
            if int(parts[1]) == os.getpid():
                found.append(int(path.parent.name))
        except (OSError, ValueError):
            continue
    return [pid for pid in found if _is_reader(pid) or _state(pid) == "Z"]


def _is_reader(pid: int) -> bool:
    try:
        return b"connectors.filedrop.apart.child" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def environ_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


async def reader() -> int:
    """Return the pid of the one process that runs."""
    await until(lambda: [pid for pid in children() if _state(pid) != "Z"])
    [pid] = [pid for pid in children() if _state(pid) != "Z"]
    return pid


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parent, "RESTART_MIN_S", 0.05)
    monkeypatch.setattr(parent, "RESTART_MAX_S", 0.1)


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def bound(**bounds: Any) -> None:
        spec = FileDrop.spec
        monkeypatch.setattr(FileDrop, "spec", lambda self: poisoned(spec(self), **bounds))

    return bound


async def test_what_the_process_is_given_and_what_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SECRET", "hunter2")
    intake = RecordingIntake()
    other = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(other, True)
    put(tmp_path, "a.eml")
    async with running(apart(tmp_path), intake):
        await until(lambda: left(tmp_path) == [])
        pid = await reader()
        names = [os.readlink(f"/proc/{pid}/fd/{handle}") for handle in os.listdir(f"/proc/{pid}/fd")]
        assert str(tmp_path) not in names
        assert sum(name.startswith("socket:") for name in names) <= 4, names  # the line, and the loop's own pair
        assert b"hunter2" not in environ_of(pid)
        assert os.getsid(pid) == pid
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(pid, number)
        put(tmp_path, "b.eml")
        await until(lambda: left(tmp_path) == [])
        assert await reader() == pid
    os.close(other)
    assert peers(intake) == ["a.eml", "b.eml"]
    assert children() == []


async def test_a_killed_process_is_started_anew_and_health_recovers(tmp_path: Path) -> None:
    intake = RecordingIntake()
    made = apart(tmp_path)
    async with running(made, intake):
        put(tmp_path, "a.eml")
        await until(lambda: left(tmp_path) == [])
        os.kill(await reader(), signal.SIGKILL)
        await until(lambda: not made.health().ok)
        assert "was ended by SIGKILL; it is started anew" in made.health().text
        put(tmp_path, "b.eml")
        await until(lambda: left(tmp_path) == [] and made.health().ok)
    assert peers(intake) == ["a.eml", "b.eml"]
    assert children() == []


async def test_a_folder_that_was_missing_is_no_trouble_once_it_is_there(tmp_path: Path) -> None:
    made = apart(tmp_path, create_folders=False)
    async with running(made, RecordingIntake()):
        assert not made.health().ok
        await reader()
        (tmp_path / "in").mkdir()
        await until(lambda: made.health().ok)


async def test_a_kill_while_messages_are_accepted_takes_none_twice(tmp_path: Path) -> None:
    intake = RecordingIntake()
    for number in range(60):
        put(tmp_path, f"{number}.eml")
    async with running(apart(tmp_path), intake):
        intake.gate.clear()
        await until(lambda: intake.in_flight >= 10)
        os.kill(await reader(), signal.SIGKILL)
        await until(lambda: any(_state(pid) == "Z" for pid in children()) or not children())
        intake.gate.set()
        await until(lambda: left(tmp_path) == [])
    first = [one for one in intake.accepted if not one.receipt.duplicate]
    assert len(first) == 60


async def test_a_kill_while_a_content_is_streamed_leaves_none_behind(tmp_path: Path) -> None:
    intake = RecordingIntake()
    hold = asyncio.Event()
    drain = MemoryWriter.drain

    async def drain_later(self: MemoryWriter) -> None:
        await hold.wait()
        await drain(self)

    put(tmp_path, "large.eml", GOOD + b"x" * 12_000_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryWriter, "drain", drain_later)
        async with running(apart(tmp_path), intake):
            await until(lambda: intake.writers and intake.writers[0].size >= 1_000_000)
            await asyncio.sleep(0.1)
            assert intake.writers[0].size < 4_000_000  # the process waits for room
            os.kill(await reader(), signal.SIGKILL)
            await until(lambda: intake.writers[0].abandoned)
            hold.set()
            await until(lambda: left(tmp_path) == [])
    assert len(intake.accepted) == 1
    assert [writer.abandoned for writer in intake.writers] == [True, False]


@pytest.mark.parametrize("what", ["rejected", "unavailable", "fault", "duplicate"])
async def test_a_written_content_is_kept_where_it_may_be_in_use_and_nowhere_else(tmp_path: Path, what: str) -> None:
    intake = RecordingIntake()
    if what == "rejected":
        intake.rejects = Status("5.1.1", "nobody")
    elif what == "unavailable":
        intake.unavailable = 1
    elif what == "fault":
        intake.faults = 1
    else:
        intake._known["oldmhs:0123456789abcdef:0"] = 7
    claims = tmp_path / "in" / ".claimed" / "w0"
    claims.mkdir(parents=True)
    (claims / "0123456789abcdef.large.eml").write_bytes(LARGE)
    async with running(apart(tmp_path), intake):
        await until(lambda: intake.calls >= 1)
        if what == "rejected":
            await until(lambda: "large.eml.bad" in left(tmp_path))
        elif what != "fault":
            await until(lambda: left(tmp_path) == [])
        else:
            await asyncio.sleep(0.2)
    assert intake.writers[0].abandoned is (what != "fault")
    if what == "unavailable":
        assert not intake.writers[1].abandoned
        assert len(intake.accepted) == 1


async def test_a_fault_over_one_message_stops_no_other(tmp_path: Path) -> None:
    class Faulty(RecordingIntake):
        def submit(self, message: Message, *, report: bool = False) -> asyncio.Future[Receipt]:
            if message.envelope.origin.peer == "bad.eml":
                raise TypeError("a fault of the core")
            return super().submit(message, report=report)

    intake = Faulty()
    put(tmp_path, "bad.eml")
    for number in range(3):
        put(tmp_path, f"{number}.eml")
    async with running(apart(tmp_path), intake):
        pid = await reader()
        await until(lambda: len(intake.accepted) == 3)
        await asyncio.sleep(0.1)
        assert await reader() == pid
        assert left(tmp_path) == ["bad.eml"]  # tried again later


@pytest.mark.parametrize(
    ("mark", "bounds"), [(CRASH, {}), (LOOP, {"cpu_limit_s": 0.6}), (EAT, {"data_octets": 300 * 1024 * 1024})]
)
async def test_poison_is_set_aside_and_the_rest_is_taken(
    tmp_path: Path, poison: Callable[..., None], monkeypatch: pytest.MonkeyPatch, mark: bytes, bounds: dict[str, Any]
) -> None:
    poison(**bounds)
    intake = RecordingIntake()
    for number in range(5):
        put(tmp_path, f"{number}.eml")
    put(tmp_path, "2a.eml", mark + b"\r\n" + GOOD)
    made = apart(tmp_path)
    async with running(made, intake):
        if mark == EAT:  # tried again in a minute, and kept apart then: here it is enough that all others go on
            await until(lambda: left(tmp_path) == ["2a.eml"], 20)
            put(tmp_path, "after.eml")
            await until(lambda: len(intake.accepted) == 6)
        else:
            await until(lambda: left(tmp_path) == ["2a.eml.bad", "2a.eml.reason.txt"], 20)
            text = (tmp_path / "in" / "2a.eml.reason.txt").read_text()
            assert "filedrop.ends-reader" in text
        await until(lambda: made.health().ok)
    assert sorted(set(peers(intake))) == sorted([f"{n}.eml" for n in range(5)] + ["after.eml"] * (mark == EAT))
    assert len([one for one in intake.accepted if not one.receipt.duplicate]) == 5 + (mark == EAT)


async def test_a_decoder_that_raises_is_told_with_its_traceback(tmp_path: Path, poison: Callable[..., None]) -> None:
    poison()
    intake = RecordingIntake()
    put(tmp_path, "a.eml", RAISE + b"\r\n" + GOOD)
    put(tmp_path, "b.eml")
    made = apart(tmp_path)
    async with running(made, intake):
        await until(lambda: peers(intake) == ["b.eml"])
        await until(lambda: any("traceback" in values for _, _, values in made.context.log.lines))
    [values] = [values for _, _, values in made.context.log.lines if "traceback" in values]
    assert "_decode_poison" in values["traceback"]
    assert values["file"] == "a.eml"


async def test_a_process_that_hangs_is_told_and_stops_in_time(
    tmp_path: Path, poison: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parent, "_LOOK_S", 0.2)
    monkeypatch.setattr(parent, "_SILENT_LOOKS", 8)
    poison()
    put(tmp_path, "a.eml", SLEEP + b"\r\n" + GOOD)
    made = apart(tmp_path)
    async with running(made, RecordingIntake()):
        await until(lambda: "does not answer" in made.health().text)
        stopping = time.monotonic()
    assert time.monotonic() - stopping < 3.0  # what the context allows
    await until(lambda: children() == [])  # it was killed, and is waited for when its end is told
    assert left(tmp_path) == ["a.eml"]


async def test_a_process_ends_with_its_gateway_while_a_call_blocks_it(
    tmp_path: Path, poison: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[Any] = []

    async def watch(self: Any) -> None:
        lines.append(self.line)
        await self.line.ended

    monkeypatch.setattr("connectors.filedrop.apart.parent._Child.watch", watch)
    poison()
    put(tmp_path, "a.eml", SLEEP + b"\r\n" + GOOD)
    async with running(apart(tmp_path), RecordingIntake()):
        pid = await reader()
        await until(lambda: (tmp_path / "in" / ".claimed").exists() and not (tmp_path / "in" / "a.eml").exists())
        await asyncio.sleep(0.1)
        lines[0].close()  # as the kernel does when the gateway is killed
        await until(lambda: _state(pid) == "", 2.0)
    assert left(tmp_path) == ["a.eml"]


async def test_a_process_that_was_held_up_is_healthy_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parent, "_LOOK_S", 0.2)
    monkeypatch.setattr(parent, "_SILENT_LOOKS", 8)
    made = apart(tmp_path)
    async with running(made, RecordingIntake()):
        pid = await reader()
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: not made.health().ok)
        os.kill(pid, signal.SIGCONT)
        await until(lambda: made.health().ok)


@pytest.mark.parametrize("after_s", [0.0, 0.3])
async def test_a_stop_right_after_the_start_is_quick(tmp_path: Path, after_s: float) -> None:
    put(tmp_path, "a.eml")
    intake = RecordingIntake()
    async with running(apart(tmp_path), intake):
        await asyncio.sleep(after_s)
        stopping = time.monotonic()
    assert time.monotonic() - stopping < 2.4, "it had to be killed"
    assert children() == []
    assert len(intake.accepted) + len(left(tmp_path)) == 1


async def test_a_blocked_loop_of_the_gateway_loses_nothing(tmp_path: Path) -> None:
    intake = RecordingIntake()
    async with running(apart(tmp_path), intake):
        await reader()
        for number in range(200):
            put(tmp_path, f"{number}.eml")
            if number == 100:
                time.sleep(1.5)  # noqa: ASYNC251  what is tried here
        await until(lambda: left(tmp_path) == [])
    assert len(intake.accepted) == 200
    assert intake.in_flight_peak <= 256
    assert children() == []


async def test_a_process_that_cannot_be_started_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = asyncio.create_subprocess_exec
    failures = [2]

    async def fail_at_first(*args: Any, **more: Any) -> Any:
        if failures[0]:
            failures[0] -= 1
            raise OSError(errno.EAGAIN, "no more processes")
        return await start(*args, **more)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", fail_at_first)
    intake = RecordingIntake()
    put(tmp_path, "a.eml")
    made = apart(tmp_path)
    async with running(made, intake):
        await until(lambda: "cannot be started: no more processes" in made.health().text)
        await until(lambda: left(tmp_path) == [])
        await until(lambda: made.health().ok)
    assert peers(intake) == ["a.eml"]


async def test_it_runs_where_there_is_no_uvloop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "uvloop.py").write_text("raise ImportError('not made for this platform')\n")
    monkeypatch.syspath_prepend(tmp_path / "first")
    intake = RecordingIntake()
    put(tmp_path, "a.eml")
    put(tmp_path, "b.eml", LARGE)
    async with running(apart(tmp_path), intake):
        await until(lambda: left(tmp_path) == [])
    assert sorted(peers(intake)) == ["a.eml", "b.eml"]
    assert children() == []
