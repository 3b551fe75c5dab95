"""Who may publish to a device by mail: by default nobody.

Promises: a topic is published to only where a rule names it; a mail is let through only where its From is one of the
rule's senders and is known to be so, or where it holds a token of the rule; tokens are compared in constant time and
taken out before anything is published; an automatic mail (RFC 3834) publishes nothing.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from connectors.mqtt.authentication import proves, results
from connectors.mqtt.config import MqttConfig, peers
from connectors.mqtt.rules import PublishRule
from gateway.contract import Address, Content, Parcel, Status, compose, memo, quickly_made

TOKEN_FIELD: Final = b"x-gatepost-token"
ANYBODY: Final = "*"
_IN_SUBJECT: Final = re.compile(r"\s*\[token:([A-Za-z0-9]{16,200})\]", re.IGNORECASE)
_MAIL_PROTOCOL: Final = re.compile(r"(?:UTF8)?(?:E?SMTP|LMTP)S?A?")
"""RFC 3848, RFC 6531 §4.3."""
_MAX_FROM: Final = 2000
_MAX_TOKENS: Final = 20

NOT_ALLOWED: Final = Status("5.7.1", "you may not publish to this topic by mail")
AUTOMATIC: Final = Status("5.7.1", "an automatic mail is not published to a topic")
UNPROVEN: Final = Status("5.7.1", "it is not known that this mail is from its sender; you may not publish by it")


@quickly_made
@dataclass(frozen=True, slots=True)
class Granted:
    """It may be published: `content` is the mail without its tokens."""

    content: Content


class Access:
    """The rules of one configuration about who may publish."""

    def __init__(self, config: MqttConfig) -> None:
        self._servers = frozenset(name.lower().rstrip(".") for name in config.auth_servers)
        self._networks, self._connectors = peers(config.trusted_peers)
        self._patterns: dict[str, re.Pattern[str]] = {}

    def judge(self, rule: PublishRule, parcel: Parcel) -> Granted | Status:
        """Say whether a mail may be published by this rule."""
        content = parcel.content
        if ANYBODY in rule.senders:
            return Granted(content)
        if is_automatic(content):
            return AUTOMATIC
        given = list(_tokens(content)) if rule.tokens else []
        if any(hmac.compare_digest(one.encode(), token.encode()) for one in given for token in rule.tokens):
            return Granted(without_tokens(content))
        if not rule.senders:
            return NOT_ALLOWED
        sender = sender_of(content)
        if sender is None or not self._is_one_of(sender, rule.senders):
            return NOT_ALLOWED
        if rule.proof != "none" and not self._is_proven(rule, parcel, sender):
            return UNPROVEN
        return Granted(content)

    def _is_one_of(self, sender: Address, patterns: list[str]) -> bool:
        text = f"{sender.network}:{sender.key}"
        return any(self._pattern(each).fullmatch(text) for each in patterns)

    def _pattern(self, text: str) -> re.Pattern[str]:
        found = self._patterns.get(text)
        if found is None:
            found = self._patterns[text] = glob(text)
        return found

    def _is_proven(self, rule: PublishRule, parcel: Parcel, sender: Address) -> bool:
        if not self._is_trusted(parcel):
            return False
        if rule.proof == "peer":
            return True
        values = parcel.content.get_all(b"authentication-results")
        return proves(results(values, self._servers), sender, parcel.envelope.reverse_path)

    def _is_trusted(self, parcel: Parcel) -> bool:
        origin = parcel.envelope.origin
        if origin.connector in self._connectors:
            return True
        if not _MAIL_PROTOCOL.fullmatch(origin.protocol):
            return False  # elsewhere the peer is a topic or a file's name, which may look like an address
        try:
            address = ip_address(origin.peer)
        except ValueError:
            return False
        return any(address in network for network in self._networks)


def glob(pattern: str) -> re.Pattern[str]:
    """Return what matches `network:key`: a star stands for any characters."""
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")), re.DOTALL | re.IGNORECASE)


def sender_of(content: Content) -> Address | None:
    """Return the one address in From; None where there are none or several, or fields (RFC 5322 §3.6.2)."""
    values = list(content.get_all(b"from"))
    return _one_address(values[0]) if len(values) == 1 and len(values[0]) <= _MAX_FROM else None


@lru_cache(4096)
def _one_address(value: bytes) -> Address | None:
    boxes = memo(Content(b"From: " + value + b"\r\n\r\n")).mailboxes(b"from", ("smtp", "mqtt"))
    return boxes[0].address if len(boxes) == 1 else None


def is_automatic(content: Content) -> bool:
    """Say whether a program wrote it (RFC 3834 §5); a bounce is of none of the senders anyhow."""
    value = content.get(b"auto-submitted")
    return value is not None and not value.lower().startswith(b"no")


def _tokens(content: Content) -> Iterator[str]:
    for number, value in enumerate(content.get_all(TOKEN_FIELD)):
        if number >= _MAX_TOKENS:
            return
        yield value.decode("latin-1").strip()[:200]
    if b"subject" in (field.name for field in content.fields):
        for found in list(_IN_SUBJECT.finditer(_subject(content)))[:_MAX_TOKENS]:
            yield found[1]


def _subject(content: Content) -> str:
    return memo(Content(content.head + b"\r\n")).subject


def without_tokens(content: Content) -> Content:
    """Return a content without its tokens; all other fields and the body stay octet for octet."""
    head, kept = content.head, []
    for field in content.fields:
        if field.name == TOKEN_FIELD:
            continue
        octets = head[field.start : field.end]
        if field.name == b"subject":
            text = memo(Content(octets + b"\r\n")).subject
            if _IN_SUBJECT.search(text):
                octets = _subject_field(_IN_SUBJECT.sub("", text).strip())
        kept.append(octets)
    return content.with_head(b"".join(kept))


def _subject_field(text: str) -> bytes:
    if not text:
        return b"Subject: \r\n"
    whole = compose([("Subject", text)], "", hostname="")[0]
    return whole[: whole.index(b"MIME-Version:")]


class Pace:
    """A bound on how many a minute: a bucket that is full after a second's rest of its own rate."""

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._per_s = per_minute / 60.0
        self._most = max(1.0, min(float(per_minute), self._per_s * 10))
        self._left = self._most
        self._clock = clock
        self._at = clock()

    def take(self) -> float:
        """Take one; return 0, or in how many seconds one is there, and nothing was taken."""
        now = self._clock()
        self._left = min(self._most, self._left + max(0.0, now - self._at) * self._per_s)
        self._at = now
        if self._left >= 1.0:
            self._left -= 1.0
            return 0.0
        return (1.0 - self._left) / self._per_s
