"""What an application posts, made into a message: JSON, or a whole message as `message/rfc822`. Pure.

Promises: whatever the octets are, the answer is a value or BadRequest with a text for whoever wrote the client; nothing
of a value can make a header field.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, Final

from gatepost_webhook.config import Client
from gateway.contract import Address, AddressError, Mailbox, compose
from mappings.network import network, parse

KEYS: Final = frozenset({"from", "to", "raw", "subject", "text", "html", "cc", "reply_to", "headers", "attachments"})
MAX_FILES: Final = 100
MAX_HEADERS: Final = 50
_HEADER: Final = re.compile(r"(?i)x-[a-z0-9-]{1,60}|in-reply-to|references|keywords|auto-submitted|list-[a-z-]{1,30}")
_WITH_NETWORK: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{0,31}:")


class BadRequest(Exception):
    """The request cannot be used; the text says why, and `status` is HTTP's."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Letter:
    """Who sends what to whom; `octets` is the message."""

    sender: Address | None
    recipients: tuple[Address, ...]
    octets: bytes


def read_json(octets: bytes, networks: Sequence[str], *, hostname: str, message_id: str, now: float) -> Letter:
    """Return what a JSON document says. Raises: BadRequest."""
    try:
        told = json.loads(octets)
    except (ValueError, RecursionError):
        raise BadRequest("the body is no JSON") from None
    if not isinstance(told, dict):
        raise BadRequest("the body is no JSON object")
    unknown = sorted(told.keys() - KEYS)
    if unknown:
        raise BadRequest(f"unknown key {unknown[0][:60]!r}; there are: {', '.join(sorted(KEYS))}")
    sender = sender_of(told.get("from"), networks)
    recipients = recipients_of(_texts(told, "to"), networks)
    if "raw" in told:
        beside = sorted(told.keys() - {"from", "to", "raw"})
        if beside:
            raise BadRequest(f"raw is the whole message; {beside[0]} cannot stand beside it")
        return Letter(sender, recipients, _decoded(told["raw"], "raw"))
    return Letter(sender, recipients, _composed(told, sender, recipients, networks, hostname, message_id, now))


def sender_of(text: object, networks: Sequence[str]) -> Address | None:
    """Return the sender; None is the null reverse-path. Raises: BadRequest."""
    if text is None or text == "":
        return None
    if not isinstance(text, str):
        raise BadRequest("from is an address as a text")
    return address_of(text, "from", networks)


def recipients_of(texts: Sequence[str], networks: Sequence[str]) -> tuple[Address, ...]:
    """Return the recipients, each once. Raises: BadRequest."""
    if not texts:
        raise BadRequest("to: there is no recipient")
    return tuple(dict.fromkeys(address_of(text, "to", networks) for text in texts))


def address_of(text: str, key: str, networks: Sequence[str]) -> Address:
    """Return an address; one without its network is of the first. Raises: BadRequest."""
    try:
        return parse(text) if _WITH_NETWORK.match(text) else network(networks[0]).parse(text)
    except (AddressError, ValueError) as e:
        reason = e.message if isinstance(e, AddressError) else str(e)
        raise BadRequest(f"{key}: {text[:200]!r} is no address ({reason})", 422) from None


def may_send_as(client: Client, sender: Address | None) -> bool:
    """Tell whether a client may use a sender's address; the null reverse-path is for whom `*` allows everything."""
    shown = str(sender).lower() if sender is not None else ""
    return any(_glob(pattern).fullmatch(shown) is not None for pattern in client.senders)


def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.lower().split("*"))), re.DOTALL)


def _texts(told: Mapping[str, Any], key: str) -> list[str]:
    value = told.get(key)
    if isinstance(value, str):
        return [value]
    if value is None:
        return []
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return value
    raise BadRequest(f"{key} is a text or a list of texts")


def _text(told: Mapping[str, Any], key: str) -> str:
    value = told.get(key)
    if value is None:
        return ""
    if isinstance(value, str):
        return _sane(value)
    raise BadRequest(f"{key} is a text")


def _sane(text: str) -> str:
    return text.encode("utf-8", "replace").decode()  # JSON may hold halves of characters, which no mail can


def _decoded(text: object, key: str) -> bytes:
    if not isinstance(text, str):
        raise BadRequest(f"{key} is base64 in a text")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(f"{key} is no base64") from None


def _composed(
    told: Mapping[str, Any],
    sender: Address | None,
    recipients: tuple[Address, ...],
    networks: Sequence[str],
    hostname: str,
    message_id: str,
    now: float,
) -> bytes:
    def boxes(key: str) -> list[Mailbox]:
        return [Mailbox("", address_of(text, key, networks)) for text in _texts(told, key)]

    fields: list[tuple[str, str | Sequence[Mailbox]]] = [
        ("From", [Mailbox("", sender)] if sender is not None else f"<postmaster@{hostname}>"),
        ("To", [Mailbox("", address) for address in recipients]),
        ("Cc", boxes("cc")),
        ("Reply-To", boxes("reply_to")),
        ("Subject", _text(told, "subject")),
        ("Date", formatdate(now)),
        ("Message-ID", f"<{message_id}>"),
        *_headers(told.get("headers")),
    ]
    files = _files(told.get("attachments"))
    html = _text(told, "html")
    pieces = compose(
        fields,
        _text(told, "text").replace("\r\n", "\n"),
        files,
        hostname=hostname,
        html=html.replace("\r\n", "\n") if html else None,
    )
    return b"".join(pieces)


def _headers(value: object) -> list[tuple[str, str]]:
    if value is None:
        return []
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise BadRequest("headers is an object of texts")
    if len(value) > MAX_HEADERS:
        raise BadRequest(f"headers has more than {MAX_HEADERS} fields")
    for name in value:
        if not _HEADER.fullmatch(name):
            raise BadRequest(f"headers: {name[:60]!r} is not for an application to set; X-... is")
    return [(name, _sane(text)) for name, text in value.items()]


def _files(value: object) -> list[tuple[str, str, bytes]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise BadRequest("attachments is a list of objects")
    if len(value) > MAX_FILES:
        raise BadRequest(f"there are more than {MAX_FILES} attachments")
    found = []
    for each in value:
        unknown = sorted(each.keys() - {"name", "type", "content"})
        if unknown:
            raise BadRequest(f"attachments: unknown key {unknown[0][:60]!r}; there are: name, type, content")
        octets = _decoded(each.get("content"), "attachments: content")
        lines = base64.encodebytes(octets).replace(b"\n", b"\r\n")
        kind = _text(each, "type") or "application/octet-stream"
        found.append((_text(each, "name") or "file", kind, lines))
    return found
