"""Which rule a topic falls under, inward and outward: the first that matches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from connectors.mqtt.access import Pace
from connectors.mqtt.incoming import Reader
from connectors.mqtt.rules import PublishRule, SubscribeRule
from connectors.mqtt.topics import Pattern

AT_ONCE_OCTETS: Final = 32 * 1024
REMEMBERED: Final = 20_000
"""Topics whose rule is remembered; with more of them it is looked up anew."""


@dataclass(frozen=True, slots=True)
class Inward:
    """A rule about messages that come in, made ready."""

    rule: SubscribeRule
    label: str
    reader: Reader
    is_calm: bool
    is_slow: bool
    """Its messages take a task each: they are calmed, or made in a thread since a template may take its time."""
    at_once_octets: int
    """A longer payload takes a task, too."""


@dataclass(frozen=True, slots=True)
class Outward:
    """A rule about what may be published, with its pace."""

    rule: PublishRule
    pace: Pace


class InwardBook:
    """All rules to subscribe of one configuration."""

    def __init__(self, rules: Sequence[SubscribeRule], hostname: str, clock: Callable[[], float]) -> None:
        self.rules = tuple(
            (
                Pattern(rule.topic),
                Inward(
                    rule,
                    rule.label,
                    Reader(rule, hostname, clock),
                    is_calm=rule.calm is not None,
                    is_slow=rule.calm is not None or rule.payload == "template",
                    at_once_octets=min(AT_ONCE_OCTETS, rule.max_payload_bytes),
                ),
            )
            for rule in rules
        )
        self._known: dict[str, Inward | None] = {}

    def find(self, topic: str) -> Inward | None:
        """Return the rule of a topic; None where none matches it."""
        try:
            return self._known[topic]
        except KeyError:
            found = next((each for pattern, each in self.rules if pattern.matches(topic)), None)
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[topic] = found
            return found

    def named(self, label: str) -> Inward | None:
        """Return a rule by its name."""
        return next((each for _, each in self.rules if each.label == label), None)


class OutwardBook:
    """All rules to publish of one configuration."""

    def __init__(self, rules: Sequence[PublishRule], clock: Callable[[], float]) -> None:
        self._rules = tuple((Pattern(rule.topic), Outward(rule, Pace(rule.max_per_minute, clock))) for rule in rules)
        self._clock = clock
        self._replies: dict[str, Outward] = {}

    def find(self, topic: str) -> Outward | None:
        """Return the rule of a topic; None where nobody may publish to it."""
        for pattern, each in self._rules:
            if pattern.matches(topic):
                return each
        return None

    def reply(self, label: str, rule: PublishRule) -> Outward:
        """Return the rule by which answers to a rule's mails are published."""
        found = self._replies.get(label)
        if found is None or found.rule is not rule:
            found = self._replies[label] = Outward(rule, Pace(rule.max_per_minute, self._clock))
        return found
