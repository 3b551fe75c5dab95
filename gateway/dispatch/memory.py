"""What is in memory, over all lanes, and what may still come in. Pure counting.

Promises: deliveries and content octets in memory stay within the settings' bounds, and a quarter more for lanes that
hold next to nothing, so that a full memory never shuts a small lane out.
"""

from __future__ import annotations

from gateway.dispatch.live import LiveLane
from gateway.dispatch.queue import Entry
from gateway.dispatch.settings import Settings


class Memory:
    """The two sums: queued, or being sent and not settled."""

    __slots__ = ("_settings", "count", "octets")

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.count = 0
        self.octets = 0

    @property
    def is_full(self) -> bool:
        return self.count >= self._settings.memory_deliveries or self.octets >= self._settings.memory_bytes

    def push(self, live: LiveLane, entry: Entry, *, fresh: bool) -> list[Entry]:
        """Put an entry into its lane's queue; return what has to go back to the spool, itself perhaps.

        Of a lane that has older mail in the spool, `fresh` mail gets half of the queue.
        """
        queue = live.queue
        settings = self._settings
        if self.count >= settings.memory_deliveries or self.octets + entry.octets > settings.memory_bytes:
            small = not queue.count or queue.count + len(entry.deliveries) <= settings.small_lane
            over = self.count >= 1.25 * settings.memory_deliveries
            if not small or over or self.octets + entry.octets > 1.25 * settings.memory_bytes:
                live.backlog = True
                return [entry]
        out = queue.push(entry, live.fresh_room if fresh else queue.max_count)
        self.count += len(entry.deliveries)
        self.octets += entry.octets
        if out:
            live.backlog = True
            for left in out:
                self.count -= len(left.deliveries)
                self.octets -= left.octets
        return out

    def done(self, entry: Entry) -> None:
        """Count one delivery of a taken entry as settled."""
        self.count -= 1
        entry.left -= 1
        if not entry.left:
            self.octets -= entry.octets

    def emptied(self, live: LiveLane) -> list[Entry]:
        """Take everything out of a lane's queue."""
        entries = list(live.queue)
        live.queue.clear()
        for entry in entries:
            self.count -= len(entry.deliveries)
            self.octets -= entry.octets
        return entries

    def clear(self) -> None:
        self.count = self.octets = 0
