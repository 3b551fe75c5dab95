"""The quarantine: payloads that nothing can be made of, each with a text that says why, and how to publish it again.

Promises: what `keep` returns for is on disk, with its text, before it returns; the folder holds at most so many
payloads and octets, the oldest go first and are counted; no name of a file is a stranger's. Several threads and several
processes may keep into one folder.
"""

from __future__ import annotations

import os
import re
import shlex
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from connectors.mqtt.bad import BadPayload
from connectors.mqtt.wire.values import Arrived

PAYLOAD: Final = ".payload"
REASON: Final = ".reason.txt"
_PLAIN: Final = re.compile(r"[^A-Za-z0-9_.-]+")
_LOOK_AGAIN: Final = 100
"""After so many payloads the folder is read anew, for what others put there and took away."""
_MAX_SHOWN: Final = 2000


class Quarantine:
    """A folder of at most `max_files` payloads and `max_octets` octets of them; made where it is not there.

    `removed` counts the payloads that had to go for others. `clock` gives seconds since 1970.
    """

    def __init__(self, folder: Path, max_files: int, max_octets: int, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self.removed = 0
        self._max_files = max_files
        self._max_octets = max_octets
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[str, int] = {}
        self._since_look = _LOOK_AGAIN
        self._number = 0

    def keep(self, arrived: Arrived, bad: BadPayload) -> Path:
        """Keep a payload and why it is bad; return its path. Blocks. Durable when this returns.

        A payload of more octets than the folder holds is cut. Raises: OSError.
        """
        payload = arrived.payload[: self._max_octets]
        with self._lock:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._number += 1
            number = self._number
        at = datetime.fromtimestamp(self._clock(), UTC)
        topic = _PLAIN.sub("-", arrived.topic)[:60].strip("-.") or "topic"
        stem = f"{at:%Y%m%dT%H%M%S.%f}-{os.getpid()}-{number:06d}-{topic}"
        path = self.folder / (stem + PAYLOAD)
        _write(path, payload)
        _write(self.folder / (stem + REASON), _explain(arrived, bad, path, len(payload), at))
        _sync(self.folder)
        with self._lock:
            self._kept[stem] = len(payload)
            self._make_room()
        return path

    def _make_room(self) -> None:
        """Remove the oldest, which are those whose names come first, until the others fit."""
        self._since_look += 1
        if self._since_look >= _LOOK_AGAIN:
            self._kept = dict(self._found())
            self._since_look = 0
        octets = sum(self._kept.values())
        while len(self._kept) > 1 and (len(self._kept) > self._max_files or octets > self._max_octets):
            oldest = min(self._kept)
            octets -= self._kept.pop(oldest)
            self.removed += 1
            for end in (PAYLOAD, REASON):
                (self.folder / (oldest + end)).unlink(missing_ok=True)

    def _found(self) -> Iterator[tuple[str, int]]:
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.endswith(PAYLOAD) and entry.is_file(follow_symlinks=False):
                    yield entry.name.removesuffix(PAYLOAD), entry.stat(follow_symlinks=False).st_size


def _write(path: Path, octets: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as file:
        file.write(octets)
        file.flush()
        os.fsync(descriptor)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _explain(arrived: Arrived, bad: BadPayload, path: Path, kept: int, at: datetime) -> bytes:
    """Return the text for people: what came, why it was not taken, and how to have it taken."""
    whole = max(arrived.oversized, len(arrived.payload))
    cut = f"; the first {kept} of its {whole} octets" if kept < whole else f", {kept} octets"
    lines = [
        f"A message of the topic {_shown(arrived.topic)} was not taken, and no mail made of it.",
        f"Its payload is kept as {path.name}{cut}.",
        "",
        f"why:    {_shown(bad.text)}",
        f"rule:   {bad.rule}",
        f"place:  {_shown(bad.place)}",
    ]
    if bad.found:
        lines.append(f"found:  {_quoted(bad.found)}")
    if bad.mend:
        lines.append(f"mend:   {_shown(bad.mend)}")
    lines += [
        "",
        f"came:   {at.isoformat(timespec='seconds')}, QoS {arrived.qos}{', retained' if arrived.retain else ''}",
        *_told(arrived),
        "",
    ]
    if kept < whole:
        lines.append("retry:  publish it again from where it came.")
    else:
        lines += ["retry:  mend the payload or the rule, and publish it again:", f"        {_command(arrived, path)}"]
    lines.append("        Delete both files then.")
    return ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")


def _told(arrived: Arrived) -> Iterator[str]:
    """Yield a line for each property."""
    properties = arrived.properties
    named = {
        "Payload Format Indicator": properties.payload_format,
        "Message Expiry Interval": properties.message_expiry_s,
        "Content Type": properties.content_type,
        "Response Topic": properties.response_topic,
        "Correlation Data": None if properties.correlation_data is None else _quoted(properties.correlation_data),
    }
    yield from (f"{name}: {_shown(str(value))}" for name, value in named.items() if value is not None)
    yield from (f"user property {_shown(name)}: {_shown(value)}" for name, value in properties.user)


def _command(arrived: Arrived, path: Path) -> str:
    """Return what publishes the payload again, by Mosquitto's client."""
    properties = arrived.properties
    words = ["mosquitto_pub", "-q", str(max(1, arrived.qos)), "-t", arrived.topic, "-f", str(path)]
    given: list[list[str]] = []
    if properties.content_type:
        given.append(["content-type", properties.content_type])
    if properties.response_topic:
        given.append(["response-topic", properties.response_topic])
    given += [["user-property", name, value] for name, value in properties.user]
    if given:
        words += ["-V", "mqttv5"]
    for one in given:
        words += ["-D", "publish", *one]
    line = " ".join(shlex.quote(word) for word in words)
    if not line.isprintable() or len(line) > _MAX_SHOWN:
        return "by a program: its topic or properties do not fit on a command line."
    return line


def _quoted(octets: bytes) -> str:
    """Return octets in quotes: as text where they are text, else with each that is none in hexadecimal."""
    try:
        return _shown(repr(octets.decode()))
    except UnicodeDecodeError:
        return _shown(repr(octets)[1:])


def _shown(text: str) -> str:
    """Return text on one line, controls escaped, bounded."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text[:_MAX_SHOWN])
    return text if len(text) < _MAX_SHOWN else text + "…"
