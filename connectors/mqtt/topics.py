"""Topics: what may be published to, what a filter or a pattern matches, and which names the levels of a pattern have.

A pattern is how an operator writes a filter: `alerts/{plant}/{unit}` matches what `alerts/+/+` does, and gives the
levels names; `{rest...}` at the end matches what `#` does.
Promises: a topic that passes `check_topic` is one that every broker takes and that stands for itself alone; all takes
time that is linear in a topic's length. Pure.
Source: MQTT 5.0 §1.5.4 (characters), §4.7 (topic names and filters, `$` topics).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

MAX_OCTETS: Final = 65535  # MQTT 5.0 §1.5.4: the length of a string is two octets

# §1.5.4 forbids NUL and surrogates, and lets a receiver end the connection for the others: Mosquitto does.
UNFIT: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufdd0-\ufdef"
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000))
    + "]"
)
# What nearly every topic is: printable ASCII without a wildcard, and neither $ nor / where they would mean more.
_USUAL: Final = re.compile(r"(?![/$])[ -\"$-*,-~]{1,4096}(?<!/)")
_WILDCARD: Final = re.compile("[+#]")
_NAMED: Final = re.compile(r"\{([a-z][a-z0-9_]{0,31})(\.\.\.)?\}")
_HOLE: Final = re.compile(r"\{([a-z][a-z0-9_]{0,31})\}")
_LEVEL: Final = "[^/]*"


class TopicError(ValueError):
    """A topic, filter or pattern that is none: names the rule, the place and what is wrong there."""

    def __init__(self, rule: str, text: str, position: int, message: str) -> None:
        self.rule = rule
        self.text = text
        self.position = position
        self.message = message
        super().__init__(f"{message} [{rule}] at {position} in {text[:200]!r}")


def unfit_in(text: str) -> re.Match[str] | None:
    """Return the first character that may not stand in a topic, nor in a property."""
    return None if text.isascii() and text.isprintable() else UNFIT.search(text)


def check_topic(text: str, *, slashes: bool = False) -> str:
    """Return a topic that may be published to. `slashes` lets it begin or end with one. Raises: TopicError."""
    if _USUAL.fullmatch(text):
        return text
    _check_characters(text)
    wildcard = _WILDCARD.search(text)
    if wildcard is not None:
        message = f"{wildcard[0]!r} stands for many topics; name one"
        raise TopicError("topic.wildcard", text, wildcard.start(), message)
    if text.startswith("$"):
        raise TopicError("topic.reserved", text, 0, "topics that begin with $ are the broker's own")
    if not slashes and text.startswith("/"):
        raise TopicError("topic.slash", text, 0, "a / at the beginning makes another topic; leave it out")
    if not slashes and text.endswith("/"):
        raise TopicError("topic.slash", text, len(text) - 1, "a / at the end makes another topic; leave it out")
    return text


def check_filter(text: str) -> str:
    """Return a topic filter. Raises: TopicError."""
    _check_characters(text)
    at = 0
    levels = text.split("/")
    for n, level in enumerate(levels, 1):
        wildcard = _WILDCARD.search(level)
        if wildcard is not None and len(level) > 1:
            raise TopicError("topic.part-wildcard", text, at + wildcard.start(), "a wildcard stands for a whole level")
        if level == "#" and n < len(levels):
            raise TopicError("topic.hash-within", text, at, "# stands for all that follows, and comes last")
        at += len(level) + 1
    return text


def _check_characters(text: str) -> None:
    if not text:
        raise TopicError("topic.empty", text, 0, "a topic has at least one character")
    unfit = unfit_in(text)
    if unfit is not None:
        message = f"U+{ord(unfit[0]):04X} may not stand in a topic"
        raise TopicError("topic.character", text, unfit.start(), message)
    if len(text) > MAX_OCTETS or len(text.encode()) > MAX_OCTETS:
        raise TopicError("topic.too-long", text, MAX_OCTETS, f"a topic has at most {MAX_OCTETS} octets")


def matches(topic_filter: str, topic: str) -> bool:
    """Say whether a filter matches a topic. Raises: TopicError where the filter is none."""
    return _compiled(topic_filter).fullmatch(topic) is not None


@lru_cache(4096)
def _compiled(topic_filter: str) -> re.Pattern[str]:
    check_filter(topic_filter)
    return _expression([(level, "") for level in topic_filter.split("/")])


def _expression(levels: Iterable[tuple[str, str]]) -> re.Pattern[str]:
    """Return the expression of levels, each a wildcard or a text, with a name or none."""
    made = ""
    for n, (level, name) in enumerate(levels):
        group = f"?P<{name}>" if name else "?:"
        before = "/" if n else ""
        # §4.7.2: a wildcard at the beginning does not match what begins with $
        guard = "" if n else r"(?!\$)"
        if level == "+":
            made += f"{before}{guard}({group}{_LEVEL})"
        elif level == "#":
            # §4.7.1.2: it matches the level above it too
            made += f"(?:/({group}.*))?" if n else f"{guard}({group}.*)"
        else:
            made += before + re.escape(level)
    return re.compile(made, re.DOTALL)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A filter whose wildcards may have names.

    `filter` is what is subscribed to, `names` are those of its levels. Raises: TopicError.
    """

    text: str
    filter: str = field(init=False)
    names: tuple[str, ...] = field(init=False)
    _expression: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        levels = [self._level(level) for level in self.text.split("/")]
        names = [name for _, name in levels if name]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            at = self.text.rindex("{" + twice)
            raise TopicError("topic.name-twice", self.text, at, f"two levels are called {twice}")
        object.__setattr__(self, "filter", check_filter("/".join(level for level, _ in levels)))
        object.__setattr__(self, "names", tuple(names))
        object.__setattr__(self, "_expression", _expression(levels))

    def _level(self, level: str) -> tuple[str, str]:
        named = _NAMED.fullmatch(level)
        if named is not None:
            return ("#" if named[2] else "+"), named[1]
        if "{" in level or "}" in level:
            message = "a name in braces stands for a whole level: {plant}, or {rest...} at the end"
            raise TopicError("topic.part-name", self.text, self.text.find(level), message)
        return level, ""

    def matches(self, topic: str) -> bool:
        return self._expression.fullmatch(topic) is not None

    def values(self, topic: str) -> Mapping[str, str] | None:
        """Return what the named levels are in a topic; None where the pattern does not match it."""
        found = self._expression.fullmatch(topic)
        return None if found is None else {name: found[name] or "" for name in self.names}


@dataclass(frozen=True, slots=True)
class Filled:
    """A text with names of levels in braces, to be filled with what they are: `smtp:ops-{plant}@merged.example`."""

    text: str
    names: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", frozenset(_HOLE.findall(self.text)))

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the text; a name that there is no value for stays as it is written."""
        return _HOLE.sub(lambda hole: values.get(hole[1], hole[0]), self.text) if self.names else self.text


@dataclass(frozen=True, slots=True)
class Allowed:
    """A list of patterns; nothing is allowed where it is empty."""

    patterns: tuple[Pattern, ...] = ()

    def permits(self, topic: str) -> bool:
        return any(pattern.matches(topic) for pattern in self.patterns)
