"""Target for what a reading process and the gateway say to each other: frames cut anywhere, envelopes, faults."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, Final

import pytest

from connectors.filedrop.apart.wire import (
    MAX_FRAME,
    Ask,
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
from gateway.contract import Address, Content, Envelope, Notify, Origin, Recipient, Rejected, Status, Unavailable
from tests.fuzz import adaptation
from tests.fuzz.mutate import Octets
from tests.fuzz.target import Target, same_octets, text_of

_TOKENS: Final = (b"\0", b"\xff", b"\n", b"\r\n", b"a@b.example", b"<>", b"\xc3\xa9", b"\xed\xa0\x80", b"\x00" * 300)


def check_frames(octets: bytes) -> str:
    """Check that what one side says comes to the other as it was, however the stream is cut."""
    chance = Random(octets)
    said = list(_said(octets, chance))
    stream = b"".join(map(frame, said))
    frames = Frames()
    heard: list[tuple[Any, ...]] = []
    at = 0
    while at < len(stream):
        size = chance.choice((1, 3, 4, 5, 100, 5000))
        heard += frames.feed(stream[at : at + size])
        at += size
    assert heard == said
    _check_too_long(octets, chance)
    return str(len(said))


def _said(octets: bytes, chance: Random) -> Iterator[tuple[Any, ...]]:
    text = text_of(octets)
    words = text.split() or [""]
    for n in range(chance.randint(1, 4)):
        word = chance.choice(words)
        address = Address("smtp", word, word.lower())
        recipients = tuple(
            Recipient(Address("smtp", each, each), Notify(chance.randrange(16)), each or None) for each in words[:50]
        )
        envelope = Envelope(
            chance.choice((None, address)), recipients, Origin("in", peer=word, trusted=n == 1), chance.randint(-9, 9),
            chance.choice((None, 17.5)), chance.choice((None, "full", "hdrs")), chance.choice((None, word)),
            dedupe_key=word,
        )  # fmt: skip
        packed = envelope_out(envelope)
        assert envelope_in(packed) == envelope
        content = Content(octets, attributes={word: text} if n else {})
        source, attributes, traits = content_out(content, None)
        back = message_in(packed, inline_content(source, traits), attributes)
        assert back.content.octets() == octets
        assert back.content.traits == content.traits
        assert back.content.attributes == content.attributes
        yield Ask.ACCEPT.value, n, packed, (source, attributes, traits), False
        yield Ask.WRITE.value, n, octets
        status = Status("5.1.1", text, reply=text[:100])
        for kind in (Rejected, Unavailable):
            answer = fault_out(n, kind(status))
            found = fault_in(answer)
            assert isinstance(found, kind)
            assert found.status == status
            yield answer


def _check_too_long(octets: bytes, chance: Random) -> None:
    """Check that a length over the bound is refused before anything is held for it."""
    length = MAX_FRAME + 1 + chance.randrange(2**32 - MAX_FRAME - 1)
    with pytest.raises(ValueError, match="a frame of"):
        list(Frames().feed(length.to_bytes(4, "little") + octets))


TARGETS: Final = (
    Target("frames", check_frames, adaptation.messages, Octets(_TOKENS), same_octets, same_octets, 3.0, 5000),
)
