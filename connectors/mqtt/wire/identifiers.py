"""Packet identifiers of what we send: which are free, and which the broker may hold although we are done with them.

Promises: an identifier is given to one message at a time, and few are ever used: one that is free again is the next
that is given. So few that all of them can be cleared when a broker comes back with an older state of its own, in which
exchanges of QoS 2 are open that have come to their end since: it would take what is published next under such an
identifier for what it has (§4.3.3), or find its window full with them.
Limit: what is under way when such a broker is killed is sent again under its identifier; a broker that still holds a
former message under that, and does not compare the two as Mosquitto does, takes the one for the other.

Source: OASIS MQTT 5.0 §2.2.1, §4.3.3, §4.4.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from connectors.mqtt.wire.octets import WireError
from connectors.mqtt.wire.reasons import PROTOCOL_ERROR

MOST: Final = 65_535
SUSPECTS: Final = 1_000
"""So many are asked about, at least, where a broker says that it is full: more than it would hold for one client."""


class Identifiers:
    """Those of one session, over any number of connections."""

    def __init__(self, used: Collection[int] = (), ended: Collection[int] = ()) -> None:
        """`used` are those of messages under way; under `ended` exchanges of QoS 2 came to their end."""
        taken = set(used)
        self._top = max((*taken, *ended), default=0)
        self._free = [each for each in range(self._top, 0, -1) if each not in taken]
        self._ended = set(ended) - taken
        self._asked: set[int] = set()
        """PUBREL went out for them, and PUBCOMP has not come."""
        self._unasked: set[int] = set()
        """Those to ask about that were in use when this connection was made."""

    @property
    def has_ended(self) -> bool:
        """Whether any exchange of QoS 2 came to its end."""
        return bool(self._ended)

    @property
    def is_any_left(self) -> bool:
        return bool(self._free) or self._top < MOST

    def take(self) -> int:
        """Return one that nothing uses. Raises: WireError."""
        if self._free:
            return self._free.pop()
        if self._top >= MOST:
            raise WireError("all packet identifiers are in use", PROTOCOL_ERROR)
        self._top += 1
        return self._top

    def give_back(self, packet_id: int, *, was_exact: bool = False) -> bool:
        """It is free again; `was_exact` where an exchange of QoS 2 came to its end under it. True where it is to be
        asked about before, and is free at PUBCOMP."""
        if was_exact:
            self._ended.add(packet_id)
            self._unasked.discard(packet_id)
        elif packet_id in self._unasked:
            self._unasked.discard(packet_id)
            self._asked.add(packet_id)
            return True
        self._free.append(packet_id)
        return False

    def ask(self, packet_id: int) -> None:
        """PUBREL goes out for one that was in use: it is free at PUBCOMP."""
        self._asked.add(packet_id)

    def ended(self) -> Iterator[int]:
        """Give those that the broker may hold in an older state of its own, to be asked about: they are free at their
        PUBCOMP."""
        free = self._ended.intersection(self._free)
        self._unasked = self._ended - free
        return self._suspect(free)

    def all_free(self) -> Iterator[int]:
        """Give all that are free, and others that a former run may have used, to be asked about likewise."""
        most = min(MOST, max(self._top, SUSPECTS))
        self._free += range(most, self._top, -1)
        self._top = most
        return self._suspect(set(self._free))

    def answered(self, packet_id: int) -> bool:
        """Take a PUBCOMP; False where it was not asked for here."""
        if packet_id not in self._asked:
            return False
        self._asked.discard(packet_id)
        self._free.append(packet_id)
        return True

    def disconnected(self) -> None:
        """No answer comes any more: what was asked about is free, and may be asked about again."""
        self._ended |= self._asked
        self._free += sorted(self._asked, reverse=True)
        self._asked.clear()
        self._unasked.clear()

    def forget(self) -> None:
        """The broker has no session of ours, and holds nothing."""
        self._top = 0
        self._free.clear()
        self._ended.clear()
        self._asked.clear()
        self._unasked.clear()

    def _suspect(self, found: set[int]) -> Iterator[int]:
        if found:
            self._free = [each for each in self._free if each not in found]
            self._asked |= found
        return iter(sorted(found))
