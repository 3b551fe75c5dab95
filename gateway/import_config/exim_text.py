"""The text of an Exim configuration: macros put in, lines joined, sections and their blocks taken apart; and its lists.

Promises: any text gives options and blocks, never a fault; expansion of macros is bounded.
Source: Exim's specification, chapters 6 (the run time configuration file), 10 (lists) and 15 (routers).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

_MACRO: Final = re.compile(r"([A-Z][A-Za-z0-9_]*)[ \t]*=[ \t]*(.*)", re.DOTALL)
_OPTION: Final = re.compile(r"(?:hide[ \t]+)?((?:no_|not_)?[a-z0-9_]+)(?:[ \t]*=[ \t]*(.*))?", re.DOTALL)
_LIST: Final = re.compile(
    r"(domainlist|hostlist|addresslist|localpartlist)(?:_cache)?[ \t]+(\w+)[ \t]*=[ \t]*(.*)", re.DOTALL
)
_LOOKUP: Final = re.compile(
    r"\$\{lookup\s*\{(?P<key>(?:[^{}]|\{[^{}]*\})*)\}\s*(?P<kind>[a-z0-9@*!,_.=-]+)\s*\{(?P<file>(?:[^{}]|\{[^{}]*\})*)\}"
)
_MAX_EXPANDED: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Option:
    """An option with its place; its value is `true` or `false` where it has none written."""

    line: int
    value: str


@dataclass(slots=True)
class Block:
    """A router or transport."""

    line: int
    name: str
    options: dict[str, Option] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        found = self.options.get(name)
        return found.value if found is not None else ""


@dataclass(slots=True)
class Parsed:
    """A configuration: the main options, the named lists, and the blocks of each section."""

    options: dict[str, Option] = field(default_factory=dict)
    lists: dict[str, Option] = field(default_factory=dict)
    """By kind and name, as `domainlist local_domains`."""
    routers: list[Block] = field(default_factory=list)
    transports: list[Block] = field(default_factory=list)
    others: dict[str, int] = field(default_factory=dict)
    """Further sections, with the number of lines in each."""


def parse(text: str) -> Parsed:
    """Take a configuration apart."""
    made = Parsed()
    macros: dict[str, str] = {}
    section = ""
    block: Block | None = None
    for line, logical in _logical(text):
        logical = _expanded(logical, macros)
        macro = _MACRO.fullmatch(logical)
        if macro is not None:
            macros[macro[1]] = macro[2].strip()
        elif logical.startswith("begin "):
            section = logical.split(None, 1)[1].strip()
            block = None
        elif logical.startswith("."):
            continue  # .ifdef and the like: all branches are read
        elif section in ("routers", "transports"):
            head = re.fullmatch(r"([A-Za-z0-9_.-]+):(.*)", logical, re.DOTALL)
            if head is not None and "=" not in head[1]:
                block = Block(line, head[1])
                (made.routers if section == "routers" else made.transports).append(block)
                logical = head[2].strip()
            if block is not None and logical:
                _option(block.options, line, logical)
        elif section:
            made.others[section] = made.others.get(section, 0) + 1
        else:
            named = _LIST.fullmatch(logical)
            if named is not None:
                made.lists[f"{named[1]} {named[2]}"] = Option(line, _unquoted(named[3]))
            else:
                _option(made.options, line, logical)
    return made


def _option(options: dict[str, Option], line: int, text: str) -> None:
    found = _OPTION.fullmatch(text.strip())
    if found is None:
        return
    name, value = found[1], found[2]
    if value is None:
        bare = re.sub(r"^no_|^not_", "", name)
        options[bare] = Option(line, "true" if bare == name else "false")
    else:
        options[name] = Option(line, _unquoted(value))


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def _expanded(text: str, macros: dict[str, str]) -> str:
    for name, value in sorted(macros.items(), key=lambda each: -len(each[0])):
        if name in text and not text.startswith(name):
            text = text.replace(name, value)[:_MAX_EXPANDED]
    return text


def _logical(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number of its first line, text) of each line, with those that a backslash at the end continues it by."""
    start, parts = 0, list[str]()
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line[0] == "#":
            continue
        start = start or number
        if line.endswith("\\"):
            parts.append(line[:-1].rstrip())
            continue
        parts.append(line)
        yield start, " ".join(parts) if len(parts) > 1 else parts[0]
        start, parts = 0, []


def items(text: str) -> list[str]:
    """Split a list at its separator: a colon, which is written twice to stand for itself, or the one after `<`."""
    text = text.strip()
    separator = ":"
    if text.startswith("<") and len(text) > 1:
        separator, text = text[1], text[2:]
    found = [""]
    at = 0
    while at < len(text):
        if text[at] == separator:
            if text[at + 1 : at + 2] == separator:
                found[-1] += separator
                at += 1
            else:
                found.append("")
        else:
            found[-1] += text[at]
        at += 1
    return [item.strip() for item in found if item.strip()]


@dataclass(frozen=True, slots=True)
class Lookup:
    """`${lookup{key}kind{file}...}`."""

    key: str
    kind: str
    file: str


def lookups(text: str) -> list[Lookup]:
    """Return the look-ups in a string."""
    return [Lookup(found["key"], found["kind"], found["file"]) for found in _LOOKUP.finditer(text)]
