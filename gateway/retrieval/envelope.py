"""The envelope of a message that lies in a mailbox: from whom and for whom it was, as far as its header tells. Pure.

Promises: no field that the sender may have written decides where those of the server can; one field decides alone, and
where it names several of ours in different places, that is told and not guessed; the look is bounded.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import suppress
from email.utils import getaddresses
from typing import Final

from gateway.contract import Address, AddressError, Content
from gateway.retrieval.config import EnvelopeField, FetchConfig
from mappings.network import network

_MOST_FIELDS: Final = 500
_MOST_OCTETS: Final = 64 * 1024
_SEVERAL: Final = frozenset(("envelope-to", "x-envelope-to"))
"""Fields in which one delivery names all its recipients (Exim's, and what providers write)."""
_FOR: Final = re.compile(r"\bfor\s+<?([^\s<>;()]{1,320})>?(?=[\s;(]|$)", re.IGNORECASE)
_LASTING: Final = frozenset((b"received", b"message-id", b"date", b"from", b"subject"))
_DROPPED: Final = frozenset((b"return-path", b"delivered-to"))
_TELLS_OF_SEVERAL: Final = "the field {} names several people here"


class Unclear(Exception):
    """For whom a message is cannot be told, in words."""


def reverse_path(content: Content) -> Address | None:
    """Return whom a report goes to: who stands in the first Return-Path; None for nobody."""
    value = content.get(b"return-path")
    if value is None:
        return None
    text = value.decode("utf-8", "replace").strip().removeprefix("<").removesuffix(">").strip()
    try:
        return network("smtp").parse(text) if text else None
    except AddressError:
        return None


def fingerprint(content: Content) -> str:
    """Return what tells a message from another, by fields that no server changes once it has the message."""
    made = hashlib.blake2b(digest_size=8)
    for name, value in content.named:
        if name.lower() in _LASTING:
            made.update(name.lower() + b":" + value.strip() + b"\n")
    return made.hexdigest()


def recipients(content: Content, fetch: FetchConfig) -> tuple[Address, ...]:
    """Return for whom a message in a mailbox of many people is. Raises: Unclear."""
    fields = list(_of_the_server(content, fetch.hops))
    for name in fetch.fields:
        found = _ours(_named(fields, name), name, fetch)
        if not found:
            continue
        if len(found) > 1 and name not in _SEVERAL:
            if name == "received":
                return (next(iter(found.values())),)  # the nearest to this mailbox
            raise Unclear(_TELLS_OF_SEVERAL.format(name))
        return tuple(found.values())
    raise Unclear(f"no field of {', '.join(fetch.fields)} names anybody of {', '.join(fetch.domains)}")


def _of_the_server(content: Content, hops: int) -> Iterator[tuple[str, str]]:
    """Yield the fields, in lower case with their values, that do not stand below the last Received field believed."""
    seen = octets = 0
    for n, (name, value) in enumerate(content.named):
        octets += len(value)
        if n >= _MOST_FIELDS or octets > _MOST_OCTETS:
            return
        lower = name.lower().decode("ascii", "replace")
        if lower == "received":
            seen += 1
            if seen > hops:
                return
        elif seen >= hops:
            return
        yield lower, " ".join(value.decode("utf-8", "replace").split())


def _named(fields: list[tuple[str, str]], wanted: EnvelopeField) -> Iterator[str]:
    for name, value in fields:
        if name != wanted:
            continue
        if wanted == "received":
            found = _FOR.search(value.partition(";")[0])
            if found is not None:
                yield found[1]
        elif wanted in _SEVERAL:
            with suppress(RecursionError):  # colons without end, which name nobody
                yield from [address for _, address in getaddresses([value])]
        else:
            yield value.strip("<> ")


def _ours(texts: Iterator[str], name: EnvelopeField, fetch: FetchConfig) -> dict[str, Address]:
    """Return addresses of these domains by their keys, each once, in order."""
    found: dict[str, Address] = {}
    for text in texts:
        if name == "delivered-to" and fetch.strip_prefix:
            text = text.removeprefix(fetch.strip_prefix)
        try:
            address = network("smtp").parse(text)
        except AddressError:
            continue
        if address.key.rpartition("@")[2] in fetch.domains:
            found.setdefault(address.key, address)
    return found


def without_traces(content: Content, *, delivered_to: bool) -> Content:
    """Return a content without the fields that a final delivery wrote: what they told is in the envelope."""
    gone = _DROPPED if delivered_to else frozenset((b"return-path",))
    if not any(field.name in gone for field in content.fields):
        return content
    head = content.head
    return content.with_head(b"".join(head[f.start : f.end] for f in content.fields if f.name not in gone))
