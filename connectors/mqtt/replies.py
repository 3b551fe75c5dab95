"""Replies: a mail that came from a topic can be answered, and the answer finds its way back.

Such a mail's Message-ID is signed and says where an answer goes: the topic and the Correlation Data, or, where these
are long, the name of a file in the gateway's state that holds them. An answer is known by its In-Reply-To and
References, which every mail program copies; nothing else of it is believed.
Promises: without our key nobody can make a Message-ID that leads to a topic; one leads to the topic that its mail's
rule allowed when it was made and still allows when it is answered, for as long as the rule says; a file is durable
before its mail is accepted. Known limits: whoever has a mail holds its signature, unless the rule names who may
answer; nodes on several machines need `reply_key`, and do not see one another's files for long topics.
Sources: RFC 5322 §3.6.4; MQTT 5.0 §4.10 (request and response).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import re
import struct
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connectors.mqtt.rules import PublishRule, SubscribeRule
from connectors.mqtt.topics import Allowed, Filled, Pattern, TopicError, check_topic
from connectors.mqtt.wire.values import Arrived
from gateway.contract import Content, Item

MAX_SHORT: Final = 150
"""Octets of topic and Correlation Data that fit into a Message-ID; its line then has under 400."""
MAX_IDS: Final = 100
KEY_OCTETS: Final = 32
_VERSION: Final = 1
_SHORT: Final = 0
_STORED: Final = 1
_HEAD: Final = struct.Struct(">BBI6s6s")
"""Version, kind, day of making, rule, what makes it the only one."""
_MAC: Final = 15
_ID: Final = re.compile(rb"<gpr\.([A-Za-z0-9_-]{40,400})@([A-Za-z0-9.-]{1,255})>")
_NAME: Final = re.compile(r"[0-9a-f]{32}")
_DAY: Final = 86400.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where an answer goes."""

    topic: str
    correlation: bytes | None


@dataclass(frozen=True, slots=True)
class Minted:
    """A Message-ID, in its brackets, and what has to be written before its mail is accepted, if anything."""

    message_id: str
    write: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a mail of ours: where it goes, and how it is published."""

    target: Target
    rule: PublishRule
    label: str


@dataclass(frozen=True, slots=True)
class _Way:
    """What a rule says of answers, made ready."""

    label: str
    valid_s: float
    mapped: Filled
    has_mapped: bool
    allowed: Allowed
    publish: PublishRule
    bound: bool
    """Answers come addressed to the mail's own topic."""

    def target(self, arrived: Arrived, values: Mapping[str, str]) -> Target | None:
        """Return where answers to a message go; None where it cannot be answered."""
        properties = arrived.properties
        asked = properties.response_topic
        if asked is not None and self._is_fit(asked) and self.allowed.permits(asked):
            return Target(asked, properties.correlation_data)
        topic = self.mapped.fill(values)
        if self.has_mapped and self._is_fit(topic):
            return Target(topic, properties.correlation_data)
        return None

    def permits(self, target: Target) -> bool:
        """Say whether answers still go there."""
        if not self._is_fit(target.topic):
            return False
        return self.allowed.permits(target.topic) or (self.has_mapped and self._is_mapped(target.topic))

    def _is_mapped(self, topic: str) -> bool:
        levels = self.mapped.text.split("/")
        pattern = "/".join("+" if "{" in level else level for level in levels)
        return Pattern(pattern).matches(topic)

    @staticmethod
    def _is_fit(topic: str) -> bool:
        try:
            check_topic(topic)
        except TopicError:
            return False
        return True


class Replies:
    """Makes Message-IDs that can be answered, and knows them again."""

    def __init__(
        self, rules: Sequence[SubscribeRule], key: bytes, folder: Path, hostname: str, clock: Callable[[], float]
    ) -> None:
        self._key = hmac.digest(key, b"mqtt replies", "sha256")
        self._files = _Files(folder)
        self._hostname = hostname
        self._clock = clock
        self._ways = {_rule_id(rule.label): _way(rule) for rule in rules if rule.reply is not None}

    def __bool__(self) -> bool:
        """Say whether any rule lets its mails be answered."""
        return bool(self._ways)

    @property
    def longest_s(self) -> float:
        """Return for how long any mail may be answered."""
        return max((way.valid_s for way in self._ways.values()), default=0.0)

    def mint(self, label: str, arrived: Arrived, values: Mapping[str, str]) -> Minted | None:
        """Return the Message-ID of the mail that a message becomes; None where nobody may answer it.

        The same for one hand-over that comes twice on a day.
        """
        way = self._ways.get(_rule_id(label))
        target = None if way is None else way.target(arrived, values)
        if way is None or target is None:
            return None
        only = hashlib.sha256(arrived.key.encode()).digest()[:6] if arrived.key else os.urandom(6)
        packed = _packed(target)
        write = None
        kind = _SHORT
        if len(packed) > MAX_SHORT:
            name = hmac.digest(self._key, only + packed, "sha256").hex()[:32]
            octets, packed, kind = packed, bytes.fromhex(name), _STORED
            write = self._writer(name, octets)
        head = _HEAD.pack(_VERSION, kind, int(self._clock() / _DAY), _rule_id(label), only)
        signed = head + packed
        mac = self._mac(signed, arrived.topic if way.bound else "")
        return Minted(f"<gpr.{_text(signed + mac)}@{self._hostname}>", write)

    def _writer(self, name: str, octets: bytes) -> Callable[[], None]:
        return lambda: self._files.put(name, octets)

    async def find(self, content: Content, item: Item) -> Answer | None:
        """Return where an answer goes; None where it is none to a mail of ours, or not this recipient's.

        Raises: OSError where the state cannot be read.
        """
        if not self._ways:
            return None
        for signed, mac in _candidates(content):
            found = self._read(signed, mac, item)
            if found is None:
                continue
            way, packed, kind = found
            if kind == _STORED:
                octets = await asyncio.to_thread(self._files.get, packed.hex())
                if octets is None:
                    continue
                packed = octets
            target = _unpacked(packed)
            if target is not None and way.permits(target):
                return Answer(target, way.publish, way.label)
        return None

    def _read(self, signed: bytes, mac: bytes, item: Item) -> tuple[_Way, bytes, int] | None:
        version, kind, day, rule, _ = _HEAD.unpack_from(signed)
        way = self._ways.get(rule)
        if way is None or version != _VERSION or kind not in (_SHORT, _STORED):
            return None
        topic = item.address.value if way.bound else ""
        if not hmac.compare_digest(mac, self._mac(signed, topic)):
            return None
        age_s = self._clock() - day * _DAY
        return (way, signed[_HEAD.size :], kind) if age_s <= way.valid_s + _DAY else None

    def _mac(self, signed: bytes, topic: str) -> bytes:
        return hmac.digest(self._key, signed + b"\0" + topic.encode(), "sha256")[:_MAC]

    def sweep(self) -> int:
        """Remove files that no answer may use any more; return how many. Blocks."""
        return self._files.sweep(self._clock() - self.longest_s - _DAY)


def _way(rule: SubscribeRule) -> _Way:
    reply = rule.reply
    assert reply is not None
    return _Way(
        rule.label,
        reply.valid_days * _DAY,
        Filled(reply.topic),
        bool(reply.topic),
        Allowed(tuple(Pattern(text) for text in reply.response_topics)),
        reply.as_rule(),
        bound=not rule.sender,
    )


def _rule_id(label: str) -> bytes:
    return hashlib.sha256(label.encode()).digest()[:6]


def _packed(target: Target) -> bytes:
    topic = target.topic.encode()
    has = target.correlation is not None
    return struct.pack(">BH", has, len(topic)) + topic + (target.correlation or b"")


def _unpacked(octets: bytes) -> Target | None:
    if len(octets) < 3:
        return None
    has, length = struct.unpack_from(">BH", octets)
    try:
        topic = octets[3 : 3 + length].decode()
    except UnicodeDecodeError:
        return None
    return Target(topic, octets[3 + length :] if has else None)


def _text(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def _candidates(content: Content) -> Iterator[tuple[bytes, bytes]]:
    """Yield what an answer's fields name that looks like an id of ours: In-Reply-To first, then the latest ones."""
    named: list[bytes] = []
    for field, backwards in ((b"in-reply-to", False), (b"references", True)):
        for value in content.get_all(field):
            ids = [found[1] for found in _ID.finditer(value[-64 * 1024 :])]
            named += reversed(ids) if backwards else ids
    for text in list(dict.fromkeys(named))[:MAX_IDS]:
        try:
            octets = urlsafe_b64decode(text + b"=" * (-len(text) % 4))
        except ValueError:
            continue
        if len(octets) > _HEAD.size + _MAC:
            yield octets[:-_MAC], octets[-_MAC:]


class _Files:
    """What is too long for a Message-ID: a file each, under a name that only we can know. Calls block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, name: str, octets: bytes) -> None:
        """Write a file; it and its name are durable when this returns. Raises: OSError."""
        folder = self._folder / name[:2]
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / name
        temporary = folder / f".{name}.{os.getpid()}"
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        for each in (folder, self._folder):
            _sync_folder(each)

    def get(self, name: str) -> bytes | None:
        """Return what was put under a name; None where it is gone. Raises: OSError."""
        if not _NAME.fullmatch(name):
            return None
        try:
            return (self._folder / name[:2] / name).read_bytes()
        except FileNotFoundError:
            return None

    def sweep(self, before: float) -> int:
        """Remove files of before a time; return how many."""
        count = 0
        for path in self._folder.glob("[0-9a-f][0-9a-f]/*"):
            try:
                if path.stat().st_mtime < before:
                    path.unlink()
                    count += 1
            except OSError:
                continue  # another worker was first
        return count


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def own_key(path: Path) -> bytes:
    """Return the key that is kept in a file, made at the first call. Blocks. Raises: OSError, ValueError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    if not path.exists():
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(os.urandom(KEY_OCTETS).hex().encode())
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)  # of several workers one is first
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
        _sync_folder(path.parent)
    key = path.read_bytes().strip()
    if len(key) < KEY_OCTETS:
        raise ValueError(f"{path} holds no key; remove it, and mails sent until now can no longer be answered")
    return key
