"""Digest: what a rule held back in one window, as the text of one mail. Pure.

Promises: the same digest gives the same text, so that what is handed over once more after a kill is the same mail; no
control character of a topic or of a message's line is in it; its size is bounded, whatever came.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

SHOWN_TOPICS: Final = 1000
"""Topics that are shown with their counts, those with the most first; the others are counted together."""
TOPIC_CHARS: Final = 200
LINE_CHARS: Final = 500
_CONTROLS: Final = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


@dataclass(frozen=True, slots=True)
class Line:
    """One message that was held back: when it came, by which topic, and what of it is shown."""

    at: float
    topic: str
    text: str


@dataclass(frozen=True, slots=True)
class Digest:
    """What was held back. `topics` are topics and counts as far as they were counted one by one, `others` the messages
    of further ones; `lines` are the first messages. `number` rises with every window of a rule."""

    rule: str
    number: int
    count: int
    first_at: float
    last_at: float
    topics: tuple[tuple[str, int], ...]
    others: int
    lines: tuple[Line, ...]

    @property
    def key(self) -> str:
        """The dedupe key of its hand-over, within one connector."""
        return f"digest:{self.number}:{sha256(self.rule.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"

    def message_id(self, hostname: str) -> str:
        """Give the mail's Message-ID, the same each time."""
        return f"<{self.key.replace(':', '.')}@{hostname}>"

    def subject(self) -> str:
        """Say how many there were, of how many topics."""
        if len(self.topics) == 1 and not self.others:
            return f"{_messages(self.count)} of {shown(self.topics[0][0], TOPIC_CHARS)}"
        more = " or more" if self.others else ""
        return f"{_messages(self.count)} of {len(self.topics)}{more} topics ({shown(self.rule, TOPIC_CHARS)})"

    def text(self) -> str:
        """Tell all that is known of them, lines ending in LF."""
        parts = [
            f"{_messages(self.count)} came from {when(self.first_at)} to {when(self.last_at)} by the rule "
            f"{shown(self.rule, TOPIC_CHARS)},\nmore than are sent one by one.\n",
            "\nTopics:\n",
            *self._topics(),
        ]
        if self.lines:
            rest = self.count - len(self.lines)
            parts.append("\nMessages:\n" if rest <= 0 else f"\nThe first {len(self.lines)} of them:\n")
            parts += [
                f"  {when(line.at)}  {shown(line.topic, TOPIC_CHARS)}  {shown(line.text, LINE_CHARS)}\n"
                for line in self.lines
            ]
        return "".join(parts)

    def _topics(self) -> list[str]:
        by_count = sorted(self.topics, key=lambda each: (-each[1], each[0]))
        rows = [f"{count:>9}  {shown(topic, TOPIC_CHARS)}\n" for topic, count in by_count[:SHOWN_TOPICS]]
        hidden = by_count[SHOWN_TOPICS:]
        rest = sum(count for _, count in hidden) + self.others
        if rest:
            rows.append(f"{rest:>9}  of other topics\n")
        return rows


def shown(text: str, most: int) -> str:
    """Bring a foreign text to one line of at most so many characters."""
    line = _CONTROLS.sub(" ", text[: 2 * most]).strip()
    cut = len(line) > most or len(text) > 2 * most
    return line[: most - 1] + "…" if cut else line


def when(at: float) -> str:
    """Write a time, in UTC and to the second; one that no calendar has as its number."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return str(at)


def _messages(count: int) -> str:
    return "1 message" if count == 1 else f"{count} messages"
