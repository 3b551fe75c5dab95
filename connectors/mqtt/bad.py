"""BadPayload: what is wrong with a message that cannot become a mail."""

from __future__ import annotations

from typing import Final

SHOWN: Final = 200
"""Octets of what was found that are told."""


class BadPayload(Exception):
    """A payload, topic or property that nothing can be made of: which rule it breaks, where, what is there, the mend.

    `rule` is a stable id such as `json.syntax`; `place` is for people: an octet, a JSON Pointer, a template's line.
    """

    def __init__(self, rule: str, text: str, place: str, mend: str = "", found: bytes = b"") -> None:
        self.rule = rule
        self.text = text
        self.place = place
        self.mend = mend
        self.found = found[:SHOWN]
        super().__init__(f"{text} [{rule}] at {place}")


def at_octet(octets: bytes, offset: int) -> str:
    """Return a place in octets: from 0, in a line from 1."""
    line = octets.count(b"\n", 0, offset) + 1
    return f"octet {offset}, line {line}"
