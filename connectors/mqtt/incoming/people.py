"""Who a mail is from and to, as a rule says it: texts with names of levels, filled from a topic.

A level of a topic is a stranger's word. In an internet address, and in those of all networks but MQTT's own, only
letters, digits and `_ . + -` of it are taken, so that it can name a mailbox and never another domain.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from connectors.mqtt.bad import BadPayload
from connectors.mqtt.topics import Filled
from gateway.contract import Address, AddressError
from mappings.network import network, parse

_SAFE: Final = re.compile(r"[\w.+-]{1,200}")
_REMEMBERED: Final = 4096


class Addresses:
    """Addresses with names of levels in them; each is parsed once for the same levels."""

    __slots__ = ("_made", "_names", "_texts")

    def __init__(self, texts: tuple[str, ...]) -> None:
        self._texts = tuple(Filled(text) for text in texts)
        self._names = tuple(sorted(frozenset().union(*(text.names for text in self._texts))))
        self._made = lru_cache(_REMEMBERED)(self._filled)

    def __bool__(self) -> bool:
        return bool(self._texts)

    def of(self, values: Mapping[str, str]) -> tuple[Address, ...]:
        """Return the addresses, each once. Raises: BadPayload."""
        return self._made(tuple([values.get(name, "") for name in self._names]))

    def _filled(self, levels: tuple[str, ...]) -> tuple[Address, ...]:
        values = dict(zip(self._names, levels, strict=True))
        return tuple(dict.fromkeys(_address(text, values) for text in self._texts))


def _address(text: Filled, values: Mapping[str, str]) -> Address:
    for name in text.names if not text.text.startswith("mqtt:") else ():
        if not _SAFE.fullmatch(values.get(name, "")):
            raise BadPayload(
                "topic.level-in-address", f"the level {name} can't stand in the address {text.text}",
                f"the topic, level {name}", "use letters, digits and _ . + - in such a level",
                values.get(name, "").encode("utf-8", "replace"),
            )  # fmt: skip
    filled = text.fill(values)
    try:
        return parse(filled)
    except AddressError as e:
        mend = "mend the rule, or the topic"
        raise BadPayload("topic.bad-address", str(e), "an address of the rule", mend, filled.encode()) from None


def topic_address(topic: str) -> Address:
    """Return a topic as the address it is. Raises: BadPayload."""
    try:
        return network("mqtt").parse(topic)
    except AddressError as e:
        mend = "set a sender for topics that are no addresses"
        raise BadPayload("topic.no-address", str(e), "the topic", mend, topic.encode("utf-8", "replace")) from None
