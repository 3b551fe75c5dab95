"""Macros: the calls in a sendmail.mc, with m4's quotes taken off.

Promises: any text gives calls, never a fault; nothing is evaluated but quotes and comments, so that what stands under
an `ifdef` is read as if it held, and text outside calls is given line by line.
Source: sendmail's cf/README, m4(1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_DEPTH: Final = 50


@dataclass(frozen=True, slots=True)
class Call:
    """A macro with its arguments, without quotes. `name` is empty for a line that is no call: its one argument."""

    line: int
    name: str
    arguments: tuple[str, ...]


def calls(text: str) -> Iterator[Call]:
    """Yield the calls of a file."""
    at = 0

    while at < len(text):
        found = _WORD.match(text, at)
        if found is None:
            end = text.find("\n", at)
            end = len(text) if end < 0 else end
            if text[at] == "\n" or text[at].isspace():
                at += 1
                continue
            if text[at] != "#":
                yield Call(text.count("\n", 0, at) + 1, "", (text[at:end].strip(),))
            at = end
            continue
        line = text.count("\n", 0, at) + 1
        if found[0] == "dnl":
            at = _end_of_line(text, at)
        elif text[found.end() : found.end() + 1] == "(":
            arguments, at = _arguments(text, found.end() + 1)
            yield Call(line, found[0], tuple(arguments))
        elif found[0] in ("LOCAL_CONFIG", "LOCAL_RULESETS") or found[0].startswith("LOCAL_RULE_"):
            # What follows is copied into sendmail.cf as it is.
            yield Call(line, found[0], ())
            at = found.end()
        else:
            end = _end_of_line(text, at)
            words = text[at:end].partition("dnl")[0].strip()
            if words not in ("divert", "divert(-1)"):
                yield Call(line, "", (words,))
            at = end


def _end_of_line(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


def _arguments(text: str, at: int) -> tuple[list[str], int]:
    """Return the arguments that begin behind a bracket, and where the text goes on."""
    found: list[str] = []
    made: list[str] = []
    quotes = depth = 0
    while at < len(text):
        c = text[at]
        if c == "`":
            quotes += 1
            if quotes > 1:
                made.append(c)
        elif c == "'" and quotes:
            quotes -= 1
            if quotes:
                made.append(c)
        elif quotes:
            made.append(c)
        elif c == "(":
            depth += 1
            made.append(c)
        elif c == ")" and depth:
            depth -= 1
            made.append(c)
        elif c == ")":
            found.append("".join(made).strip())
            return found, at + 1
        elif c == "," and not depth:
            found.append("".join(made).strip())
            made = []
        else:
            made.append(c)
        at += 1
        if quotes > _MAX_DEPTH or depth > _MAX_DEPTH:
            break
    found.append("".join(made).strip())
    return found, at
