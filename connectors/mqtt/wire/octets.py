"""The data types of MQTT (5.0 §1.5), each in both directions, and the one fault that octets of a peer can be.

Promises: reading never goes beyond the end it was given, and raises WireError alone; writing raises ValueError where
the value cannot be said in MQTT.
"""

from __future__ import annotations

from typing import Final

from connectors.mqtt.wire.reasons import MALFORMED

MAX_TEXT: Final = 0xFFFF
MAX_VARINT: Final = 268_435_455
_SHORT_TEXT: Final = [bytes((0, length)) for length in range(0x100)]
"""The lengths that stand in front of short texts."""


class WireError(Exception):
    """The peer broke the protocol; `code` is what a DISCONNECT is to say."""

    def __init__(self, text: str, code: int = MALFORMED) -> None:
        self.text = text
        self.code = code
        super().__init__(text)


class Reader:
    """Reads one packet's octets from `at` to `end`."""

    __slots__ = ("at", "end", "octets")

    def __init__(self, octets: bytes, at: int, end: int) -> None:
        self.octets = octets
        self.at = at
        self.end = end

    @property
    def left(self) -> int:
        return self.end - self.at

    def take(self, size: int) -> bytes:
        begin, stop = self.at, self.at + size
        if stop > self.end:
            raise WireError("a packet ends within a field")
        self.at = stop
        return self.octets[begin:stop]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def varint(self) -> int:
        """§1.5.5: seven bits an octet, the least first; four octets at most, and no more than are needed."""
        value = 0
        for shift in (0, 7, 14, 21):
            octet = self.number(1)
            value |= (octet & 0x7F) << shift
            if octet < 0x80:
                if not octet and shift:
                    raise WireError("a variable byte integer is longer than it needs to be")
                return value
        raise WireError("a variable byte integer has more than four octets")

    def binary(self) -> bytes:
        return self.take(self.number(2))

    def text(self) -> str:
        return text_of(self.binary())

    def expect_end(self) -> None:
        if self.at != self.end:
            raise WireError("a packet goes on after its last field")


def text_of(octets: bytes) -> str:
    """§1.5.4: UTF-8 without surrogates and without U+0000. Other control characters and U+FEFF stay as they are."""
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        raise WireError("a string is no UTF-8") from None
    if "\0" in text:
        raise WireError("a string holds U+0000")
    return text


def number_out(value: int, size: int) -> bytes:
    try:
        return value.to_bytes(size, "big")
    except OverflowError:
        raise ValueError(f"{value} does not fit into {size} octets") from None


def varint_out(value: int) -> bytes:
    if not 0 <= value <= MAX_VARINT:
        raise ValueError(f"{value} is no variable byte integer")
    if value < 0x80:
        return value.to_bytes(1, "big")
    if value < 0x4000:
        return bytes((value & 0x7F | 0x80, value >> 7))
    octets = bytearray()
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def binary_out(octets: bytes) -> bytes:
    if len(octets) > MAX_TEXT:
        raise ValueError(f"{len(octets)} octets are more than a field can hold")
    return len(octets).to_bytes(2, "big") + octets


def text_out(text: str) -> bytes:
    if "\0" in text:
        raise ValueError("a string with U+0000 cannot be sent")
    octets = text.encode()  # UnicodeEncodeError, for a surrogate, is a ValueError
    return _SHORT_TEXT[len(octets)] + octets if len(octets) < 0x100 else binary_out(octets)
