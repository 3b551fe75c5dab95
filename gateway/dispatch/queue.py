"""The deliveries of one lane that wait in memory: bounded, by priority, fair between senders.

Promises: never more than its room in deliveries or octets; a higher priority goes first; senders of one priority
take turns, one message each; a sender with little in the queue finds room in a full one, at the expense of the sender
with the most. What finds no room is handed back to the caller, and waits in the spool.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Iterator

from gateway.spool.api import Delivery, DeliveryId, Stored

ENTRY_OCTETS = 2048
"""What a message costs in memory beside its content, roughly."""


class Entry:
    """One message with those of its deliveries that wait here."""

    __slots__ = ("deliveries", "fresh", "inline", "left", "message", "octets", "priority", "sender")

    def __init__(self, message: Stored, deliveries: tuple[Delivery, ...], *, fresh: bool = False) -> None:
        first = deliveries[0]
        self.message = message
        self.deliveries = deliveries
        self.left = len(deliveries)
        """Deliveries without an outcome, once it is being sent."""
        self.fresh = fresh
        """Accepted by this process, and not shown to a destination yet."""
        self.sender = first.sender
        self.priority = first.priority
        source = message.content.source
        self.inline = type(source) is bytes
        # A content that is not in memory costs nothing here.
        self.octets = ENTRY_OCTETS + (len(source) if type(source) is bytes else 0)

    @property
    def ids(self) -> list[DeliveryId]:
        return [d.id for d in self.deliveries]


_Senders = OrderedDict[str, deque[Entry]]


class LaneQueue:
    """What waits in memory for one lane."""

    __slots__ = ("_even", "_fattest", "_levels", "_sizes", "_top", "count", "max_count", "max_octets", "octets")

    def __init__(self, max_count: int, max_octets: int) -> None:
        self.max_count = max_count
        self.max_octets = max_octets
        self.count = 0
        """Deliveries, not messages."""
        self.octets = 0
        self._levels: dict[int, _Senders] = {}
        self._top = -100
        self._sizes: dict[str, int] = {}
        self._fattest = ""
        self._even = 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Entry]:
        for senders in self._levels.values():
            for entries in senders.values():
                yield from entries

    def push(self, entry: Entry, room: int | None = None) -> list[Entry]:
        """Add a message; return what has to wait in the spool for it: nothing, the message itself, or others.

        `room` is a narrower bound in deliveries than `max_count`, for this message alone.
        """
        n = len(entry.deliveries)
        limit = self.max_count if room is None else min(room, self.max_count)
        out: list[Entry] = []
        if self.count and (self.count + n > limit or self.octets + entry.octets > self.max_octets):
            out = self._make_room(entry, n, limit)
            if out and out[0] is entry:
                return out
        self._add(entry, n)
        return out

    def peek(self) -> Entry:
        """Return what `pop` would take. Raises: KeyError where nothing waits."""
        return next(iter(self._levels[self._top].values()))[0]

    def pop(self) -> Entry:
        """Take the next message: of the highest priority, of the sender whose turn it is, the oldest.

        Raises: KeyError where nothing waits.
        """
        senders = self._levels[self._top]
        sender, entries = next(iter(senders.items()))
        entry = entries.popleft()
        if not entries:
            del senders[sender]
            if not senders:
                del self._levels[self._top]
                self._top = max(self._levels, default=-100)
        elif len(senders) > 1:
            senders.move_to_end(sender)
        self._forget(entry)
        return entry

    def remove(self, ids: Collection[DeliveryId]) -> list[DeliveryId]:
        """Take deliveries out, wherever they stand; return those that were here. Costs a walk over the queue."""
        removed = [d.id for entry in self for d in entry.deliveries if d.id in ids]
        if not removed:
            return removed
        kept = []
        for entry in self:
            rest = tuple(d for d in entry.deliveries if d.id not in ids)
            if len(rest) == len(entry.deliveries):
                kept.append(entry)
            elif rest:
                kept.append(Entry(entry.message, rest))
        self.clear()
        for entry in kept:
            self._add(entry, len(entry.deliveries))
        return removed

    def clear(self) -> None:
        """Forget everything."""
        self._levels.clear()
        self._sizes.clear()
        self._top = -100
        self._fattest = ""
        self._even = 0
        self.count = self.octets = 0

    def _add(self, entry: Entry, n: int) -> None:
        senders = self._levels.get(entry.priority)
        if senders is None:
            senders = self._levels[entry.priority] = OrderedDict()
            self._top = max(self._top, entry.priority)
        sender = entry.sender
        entries = senders.get(sender)
        if entries is None:
            senders[sender] = deque((entry,))
        else:
            entries.append(entry)
        sizes = self._sizes
        size = sizes[sender] = sizes.get(sender, 0) + n
        if size > sizes.get(self._fattest, 0):
            self._fattest = sender
        self.count += n
        self.octets += entry.octets

    def _forget(self, entry: Entry) -> None:
        n = len(entry.deliveries)
        self.count -= n
        self.octets -= entry.octets
        left = self._sizes[entry.sender] - n
        if left:
            self._sizes[entry.sender] = left
        else:
            del self._sizes[entry.sender]

    def _make_room(self, entry: Entry, n: int, limit: int) -> list[Entry]:
        """Return what must leave for `entry`: the newest of the sender with the most, or `entry` itself.

        A sender may push others out until it has an equal share, so a flood of one sender leaves room for every
        other one, and an even crowd is left alone.
        """
        share = self._share(entry.sender, limit)
        may_push = self._sizes.get(entry.sender, 0) + n <= share
        out: list[Entry] = []
        while self.count + n > limit or self.octets + entry.octets > self.max_octets:
            victim = self._newest_of_fattest(share, entry) if may_push else None
            if victim is None:
                # What has been pushed out stays out: a rare case (one large against several small), and harmless.
                return [entry, *out]
            out.append(victim)
        return out

    def makes_room_for(self, sender: str, n: int, limit: int) -> bool:
        """Say whether others may have to leave a full queue for so many deliveries of a sender."""
        return self._sizes.get(sender, 0) + n <= self._share(sender, limit)

    def _share(self, sender: str, limit: int) -> int:
        """Return how many places each sender has in a full queue, this one included."""
        return max(1, limit // (len(self._sizes) + (sender not in self._sizes)))

    def _newest_of_fattest(self, share: int, entry: Entry) -> Entry | None:
        if self._sizes.get(self._fattest, 0) <= share:
            if self._even > 0:  # it was looked at lately, and nobody had more than a share
                self._even -= 1
                return None
            self._fattest = max(self._sizes, key=self._sizes.__getitem__, default="")
            if self._sizes.get(self._fattest, 0) <= share:
                self._even = len(self._sizes)  # so that the walk costs a full, even queue O(1) a message
                return None
        fattest = self._fattest
        if fattest == entry.sender:
            return None
        for priority in sorted(self._levels):
            if priority > entry.priority:
                return None
            senders = self._levels[priority]
            entries = senders.get(fattest)
            if entries is not None:
                victim = entries.pop()
                if not entries:
                    del senders[fattest]
                    if not senders:
                        del self._levels[priority]
                        self._top = max(self._levels, default=-100)
                self._forget(victim)
                return victim
        return None
