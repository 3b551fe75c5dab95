"""The quarantine: what is kept of a payload, on disk before anybody is told, and never more than there is room for."""

from __future__ import annotations

import os
import shlex
import threading
from pathlib import Path

import pytest

from connectors.mqtt.bad import BadPayload
from connectors.mqtt.quarantine import Quarantine
from tests.connectors.mqtt.payload_kit import AT, arrived

BAD = BadPayload("json.syntax", "no JSON: Expecting value", "octet 3, line 1", "write one JSON document", b"\xff\0")


def test_a_payload_and_why(tmp_path: Path) -> None:
    message = arrived(
        b"{x:\xff\0", "alerts/a b'c", [("unit", "mm; rm -rf")], content_type="application/json", response_topic="r/1",
        correlation_data=b"\1\xff",
    )  # fmt: skip
    path = Quarantine(tmp_path / "deep" / "q", 10, 10**6, lambda: AT).keep(message, BAD)
    assert path.read_bytes() == b"{x:\xff\0"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    text = path.with_name(path.name.removesuffix(".payload") + ".reason.txt").read_text(encoding="utf-8")
    for told in (
        "A message of the topic alerts/a b'c was not taken",
        f"kept as {path.name}, 5 octets.",
        "why:    no JSON: Expecting value",
        "rule:   json.syntax",
        "place:  octet 3, line 1",
        r"found:  '\xff\x00'",
        "mend:   write one JSON document",
        "came:   2026-11-24T01:02:03+00:00, QoS 1",
        "Content Type: application/json",
        r"Correlation Data: '\x01\xff'",
        "user property unit: mm; rm -rf",
    ):
        assert told in text
    command = next(line for line in text.splitlines() if "mosquitto_pub" in line)
    assert shlex.split(command) == [
        "mosquitto_pub", "-q", "1", "-t", "alerts/a b'c", "-f", str(path), "-V", "mqttv5",
        "-D", "publish", "content-type", "application/json", "-D", "publish", "response-topic", "r/1",
        "-D", "publish", "user-property", "unit", "mm; rm -rf",
    ]  # fmt: skip


def test_nothing_leaves_its_line(tmp_path: Path) -> None:
    evil = "a\r\nretry:  rm -rf /\x1b[2J\u2028"
    bad = BadPayload(evil.split("\r")[0], evil, evil, evil, evil.encode())
    message = arrived(b"x", f"../../{evil}", [(evil, evil)], content_type=evil, response_topic=evil)
    path = Quarantine(tmp_path, 10, 10**6).keep(message, bad)
    assert path.parent == tmp_path
    assert path.name.isascii()
    text = path.with_name(path.name.removesuffix(".payload") + ".reason.txt").read_text(encoding="utf-8")
    assert [line for line in text.split("\n") if line.startswith("retry:")] == [
        "retry:  mend the payload or the rule, and publish it again:"
    ]
    assert all(c.isprintable() or c == "\n" for c in text)
    assert "by a program" in text


def test_what_is_too_large_is_cut_and_says_so(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path, 10, 1000)
    for message, told in (
        (arrived(b"x" * 100, oversized=2**28), "the first 100 of its 268435456 octets"),
        (arrived(b"x" * 5000), "the first 1000 of its 5000 octets"),
    ):
        path = quarantine.keep(message, BAD)
        text = path.with_name(path.name.removesuffix(".payload") + ".reason.txt").read_text()
        assert told in text
        assert "publish it again from where it came" in text
        assert "mosquitto_pub" not in text


def stems(folder: Path) -> list[str]:
    return sorted(path.name.removesuffix(".payload") for path in folder.glob("*.payload"))


@pytest.mark.parametrize(("files", "octets", "left"), [(3, 10**6, 3), (100, 45, 4), (1, 5, 1)])
def test_the_oldest_go_first(tmp_path: Path, files: int, octets: int, left: int) -> None:
    now = iter(range(1000))
    quarantine = Quarantine(tmp_path, files, octets, lambda: AT + next(now))
    kept = [quarantine.keep(arrived(b"x" * 10), BAD).name.removesuffix(".payload") for _ in range(10)]
    assert stems(tmp_path) == kept[-left:]
    assert len([*tmp_path.iterdir()]) == 2 * left
    assert quarantine.removed == 10 - left


def test_what_was_there_before_counts(tmp_path: Path) -> None:
    first = Quarantine(tmp_path, 5, 10**6, lambda: AT)
    for _ in range(5):
        first.keep(arrived(b"x"), BAD)
    (tmp_path / "notes.txt").write_text("somebody's own")
    (tmp_path / "link.payload").symlink_to("/etc/passwd")
    second = Quarantine(tmp_path, 5, 10**6, lambda: AT + 60)
    newest = second.keep(arrived(b"y"), BAD)
    assert len(list(tmp_path.glob("2*.payload"))) == 5
    assert newest.exists()
    assert (tmp_path / "notes.txt").exists()
    assert (tmp_path / "link.payload").is_symlink()


def test_it_is_synced_before_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: (synced.append(os.fstat(descriptor).st_size), real(descriptor))[1]
    )
    Quarantine(tmp_path, 5, 10**6).keep(arrived(b"x" * 77), BAD)
    assert len(synced) == 3
    assert synced[0] == 77


def test_a_disk_without_room_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"exists|Not a directory"):
        Quarantine(tmp_path / "file", 5, 10**6).keep(arrived(b"x"), BAD)


def test_threads_may_keep_at_once(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path, 20, 10**6, lambda: AT)
    threads = [
        threading.Thread(target=lambda: [quarantine.keep(arrived(b"x"), BAD) for _ in range(10)]) for _ in range(4)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(stems(tmp_path)) == 20
    assert quarantine.removed == 20
