"""Which topic filters are subscribed to for a list of rules: each message comes once, whatever rules match it. Pure.

A broker may deliver a message once for each subscription that matches it (MQTT 5.0 §3.3.4). So a filter that another
one covers is not subscribed to, and two that overlap in part only are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from connectors.mqtt.rules import Retained, SubscribeRule
from connectors.mqtt.topics import Pattern
from connectors.mqtt.wire.values import Subscription

_HANDLING: Final[dict[Retained, int]] = {"take": 0, "once": 1, "ignore": 2}
"""MQTT 5.0 §3.8.3.1, Retain Handling."""


def subscriptions(rules: Sequence[SubscribeRule], group: str | None = None) -> list[Subscription]:
    """Return what to subscribe to, shared by a group where one is named.

    Raises: ValueError where the filters of two rules overlap and neither covers the other.
    """
    filters = [(Pattern(rule.topic).filter, rule) for rule in rules]
    for n, (one, rule) in enumerate(filters):
        for other, its in filters[:n]:
            if overlap(one, other) and not covers(one, other) and not covers(other, one):
                raise ValueError(
                    f"the topics of the rules {its.label} and {rule.label} overlap, and neither holds all of the "
                    "other: a broker would deliver some messages twice; make one of them wider, or narrower"
                )
    made = []
    widest = [one for one, _ in filters if not any(other != one and covers(other, one) for other, _ in filters)]
    for one in dict.fromkeys(widest):
        within = [rule for other, rule in filters if covers(one, other)]
        made.append(
            Subscription(
                f"$share/{group}/{one}" if group is not None else one,
                qos=max(rule.qos for rule in within),
                retain_as_published=False,  # so that the flag says: this one had been kept (§3.3.1.3)
                retain_handling=min(_HANDLING[rule.retained] for rule in within),
            )
        )
    return made


def covers(general: str, special: str) -> bool:
    """Say whether each topic that `special` matches is matched by `general`."""
    wide, narrow = general.split("/"), special.split("/")
    if narrow[0].startswith("$") != wide[0].startswith("$"):
        return False  # §4.7.2
    for n, level in enumerate(wide):
        if level == "#":
            return True
        if n >= len(narrow) or narrow[n] == "#" or (level != "+" and level != narrow[n]):
            return False
    # `a/#` matches `a` too (§4.7.1.2), and `a` does not match all of `a/#`.
    return len(wide) == len(narrow)


def overlap(one: str, other: str) -> bool:
    """Say whether some topic is matched by both."""
    left, right = one.split("/"), other.split("/")
    if left[0].startswith("$") != right[0].startswith("$"):
        return False
    for n in range(max(len(left), len(right))):
        a, b = (each[n] if n < len(each) else None for each in (left, right))
        if a == "#" or b == "#":
            return True
        if a is None or b is None or ("+" not in (a, b) and a != b):
            return False
    return True
