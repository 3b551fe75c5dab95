"""A stream of octets to control packets, as they come.

Promises: each octet is looked at, and copied, a bounded number of times, however the stream is cut; of a packet that
has not come whole no more is held than `Limits` allow, and of an oversized PUBLISH no more than its beginning. Packets
before a fault are still given.
"""

from __future__ import annotations

from typing import Final

from connectors.mqtt.wire.decode import MAX_PROPERTIES, Limits, decode, decode_publish
from connectors.mqtt.wire.octets import MAX_TEXT, WireError
from connectors.mqtt.wire.packets import V5, Connect, Packet, Puback
from connectors.mqtt.wire.reasons import PACKET_TOO_LARGE

_MAX_HEAD: Final = 2 + MAX_TEXT + 2 + 4 + MAX_PROPERTIES
"""Octets in front of a PUBLISH's payload, at most."""
_MAX_LENGTH_OCTETS: Final = 4
_PUBLISH: Final = 3
_PUBACK: Final = 0x40


class Decoder:
    """Decodes one connection. `fault` says why nothing comes any more. A CONNECT sets the version of what follows."""

    def __init__(self, version: int = V5, limits: Limits | None = None) -> None:
        self.version = version
        self.limits = limits or Limits()
        self.fault: WireError | None = None
        self._rest = b""
        self._gathered = bytearray()
        """The beginning of a packet whose length is known."""
        self._wanted = 0
        """Octets still to be gathered, and after them those to be passed over."""
        self._passed = 0

    def feed(self, data: bytes) -> list[Packet]:
        """Take octets, and return the packets that have come whole with them. Raises nothing: see `fault`."""
        packets: list[Packet] = []
        if self.fault is None:
            try:
                if self._gathered:
                    data = self._gather(data, packets)
                    if self._gathered:
                        return packets
                elif self._rest:
                    data = self._rest + data
                self._rest = b""
                self._decode(data, packets)
            except WireError as fault:
                self.fault = fault
                self._gathered, self._rest = bytearray(), b""
        return packets

    def _decode(self, data: bytes, packets: list[Packet]) -> None:
        at, have = 0, len(data)
        version, limits = self.version, self.limits
        while have - at >= 2:
            first, length, begin = data[at], data[at + 1], at + 2
            if length >= 0x80:
                found = _length(data, at + 1, strict=version == V5)
                if found is None:
                    break
                length, begin = found
            end = begin + length
            if first >> 4 == _PUBLISH:
                if end > have:
                    is_over = length > _MAX_HEAD + limits.payload
                    self._begin(data, at, end, begin + _MAX_HEAD + limits.head if is_over else end)
                    return
                packets.append(decode_publish(first, data, begin, end, version, limits))
            elif length > limits.other:
                raise WireError(f"a packet of {length} octets", PACKET_TOO_LARGE)
            elif end > have:
                self._begin(data, at, end, end)
                return
            elif first == _PUBACK and length == 2 and (data[begin] or data[begin + 1]):
                packets.append(Puback(data[begin] << 8 | data[begin + 1]))
            else:
                packet = decode(first, data[begin:end], version)
                if isinstance(packet, Connect):
                    self.version = version = packet.version
                packets.append(packet)
            at = end
        self._rest = data[at:] if at else data

    def _begin(self, data: bytes, at: int, end: int, most: int) -> None:
        """Keep what has come of a packet from `at` to `end`, up to `most`."""
        most = min(most, end)
        self._gathered = bytearray(data[at:most])
        self._wanted = max(0, most - len(data))
        self._passed = end - max(most, len(data))

    def _gather(self, data: bytes, packets: list[Packet]) -> bytes:
        """Add to the gathered packet; once it is whole, append it and return the octets after it."""
        kept = data[: self._wanted]
        self._gathered += kept
        self._wanted -= len(kept)
        passed = min(self._passed, len(data) - len(kept))
        self._passed -= passed
        if self._wanted or self._passed:
            return b""
        whole, self._gathered = bytes(self._gathered), bytearray()
        self._finish(whole, packets)
        return data[len(kept) + passed :]

    def _finish(self, whole: bytes, packets: list[Packet]) -> None:
        found = _length(whole, 1, strict=self.version == V5)
        assert found is not None, "a packet was gathered whose length had not come"
        length, begin = found
        missing = length - (len(whole) - begin)
        if whole[0] >> 4 == _PUBLISH:
            end = len(whole)
            packets.append(decode_publish(whole[0], whole, begin, end, self.version, self.limits, missing))
            return
        packet = decode(whole[0], whole[begin:], self.version)
        if isinstance(packet, Connect):
            self.version = packet.version
        packets.append(packet)


def _length(data: bytes, at: int, *, strict: bool) -> tuple[int, int] | None:
    """§2.1.4: a Remaining Length at `at` and where it ends; None where it has not come whole. Raises: WireError."""
    length = 0
    for number, octet in enumerate(data[at : at + _MAX_LENGTH_OCTETS]):
        length |= (octet & 0x7F) << 7 * number
        if octet < 0x80:
            if strict and not octet and number:
                raise WireError("a variable byte integer is longer than it needs to be")
            return length, at + number + 1
    if len(data) - at >= _MAX_LENGTH_OCTETS:
        raise WireError("a variable byte integer has more than four octets")
    return None
