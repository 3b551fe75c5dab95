"""A payload that is a mail's text: UTF-8, or what its Content Type says; a page where that is text/html."""

from __future__ import annotations

import re
from typing import Final, Literal

from connectors.mqtt.bad import BadPayload
from connectors.mqtt.incoming.case import Case, text_of, without_nul
from connectors.mqtt.incoming.opening import Opening, between
from connectors.mqtt.incoming.values import Incoming
from connectors.mqtt.wire.values import Arrived

_CHARSET: Final = re.compile(r";[ \t]*charset[ \t]*=[ \t]*\"?([A-Za-z0-9._:+-]{1,40})", re.IGNORECASE)
_PLAIN: Final = b"\t\n" + bytes(range(0x20, 0x7F))
_PLAIN_OCTETS: Final = 990
"""So much of that stands in a mail as it is, whatever its lines (RFC 5322 §2.1.1)."""
_UTF8: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_CHARSETS: Final = {
    "iso-8859-1": "latin-1", "latin1": "latin-1", "iso-8859-15": "iso8859-15", "windows-1252": "cp1252",
    "iso-8859-2": "iso8859-2", "windows-1250": "cp1250", "windows-1251": "cp1251", "koi8-r": "koi8-r",
    "shift_jis": "cp932", "gb18030": "gb18030", "utf-16": "utf-16",
}  # fmt: skip
"""Charsets beside UTF-8 that machines are met with; each is read in linear time."""


def read(case: Case) -> Incoming:
    """Return the mail. Raises: BadPayload."""
    kind = case.arrived.properties.content_type or ""
    text = _decoded(case.arrived.payload, kind)
    message_id, thread = case.identifiers("")
    subtype: Literal["plain", "html"] = "html" if kind.strip().lower().startswith("text/html") else "plain"
    fields = [*case.people(), ("Subject", case.subject()), ("Date", case.date), *thread, *case.others()]
    return case.incoming(case.opening.author[0].address, (), case.content(fields, text, subtype=subtype), message_id)


def read_plain(opening: Opening, arrived: Arrived, hostname: str, date: bytes, identifier: str) -> Incoming | None:
    """Return the mail that `read` makes of plain ASCII that has nothing to tell beside it, a line of which may be as
    long as it is; None where the payload is more than that. `date` is the line of its Date, `identifier` the Message-ID
    in brackets. Raises: BadPayload.
    """
    payload = arrived.payload
    if len(payload) > _PLAIN_OCTETS or payload.translate(None, _PLAIN):
        return None
    before, after = opening.plain or opening.make_plain(hostname)
    line = f"Message-ID{between(identifier)}{identifier}\r\n".encode("ascii")
    text = payload.replace(b"\n", b"\r\n")
    content = b"".join((before, date, line, after, text))
    body = len(content) - len(text)
    author, recipients = opening.author[0].address, opening.recipients
    return Incoming(author, recipients, (content,), identifier, True, header=(body - 2, body))


def _decoded(payload: bytes, kind: str) -> str:
    found = _CHARSET.search(kind)
    name = "utf-8" if found is None else found[1].lower()
    if name in _UTF8:
        return text_of(payload)
    codec = _CHARSETS.get(name)
    if codec is None:
        known = ", ".join(("utf-8", *_CHARSETS))
        raise BadPayload(
            "payload.charset", f"no charset {name!r} is known", "Content Type", f"use {known}", name.encode()
        )
    try:
        return without_nul(payload.decode(codec), payload)
    except UnicodeDecodeError as e:
        found_octets = payload[e.start : e.start + 16]
        raise BadPayload(
            "payload.charset", f"no {name}: {e.reason}", f"octet {e.start}", "write UTF-8", found_octets
        ) from None
