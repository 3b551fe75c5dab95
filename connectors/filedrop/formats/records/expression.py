"""Expressions over the fields of a record: `{name|pipe:argument|pipe}` between texts, and patterns with `*` and `?`.

No code, no regular expression and no loop can be written in them, so that whatever a record holds, an expression
takes time linear in it. `{{` and `}}` stand for braces. A pipe's last argument takes everything up to the next `|`,
so that a colon may stand in it; before a `|`, a `}` or a colon in an earlier argument a backslash is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final

Values = Sequence[str]
Lookup = Callable[[str], Values]
"""Gives the values of a name, none where there is no such field."""

_PART: Final = re.compile(r"\{\{|\}\}|\{((?:[^{}\\]|\\.)*)\}|[^{}]+|.", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_TOKEN: Final = re.compile(r"\\.|.", re.DOTALL)


class ExpressionError(ValueError):
    """An expression that cannot be read: what is wrong with it, and what is meant to stand there."""


@dataclass(frozen=True, slots=True)
class Pipe:
    name: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reference:
    """One `{name|…}`: the name as it is compared, and as it is written."""

    name: str
    pipes: tuple[Pipe, ...] = ()
    shown: str = ""


_ARITY: Final[Mapping[str, int]] = {
    "lower": 0,
    "upper": 0,
    "strip": 0,
    "rstrip": 0,
    "first": 0,
    "last": 0,
    "join": 1,
    "truncate": 1,
    "zero": 1,
    "default": 1,
    "before": 1,
    "after": 1,
    "part": 2,
    "replace": 2,
    "date": 1,
    "map": 1,
    "unmap": 1,
}
PIPES: Final = tuple(_ARITY)
_NUMBERED: Final = {"truncate": 0, "zero": 0, "part": 1}
"""Which of a pipe's arguments is a number."""
MAX_WIDTH: Final = 100_000


@dataclass(frozen=True, slots=True)
class Tables:
    """What pipes look into: tables of values by name, and the zone in which `date` shows a time."""

    values: Mapping[str, Mapping[str, str]]
    zone: tzinfo = UTC

    def there(self, name: str, value: str) -> str:
        """Return what a table gives for a value: that of `*` where it is not there, the value itself without one."""
        table = self.values[name]
        return table.get(value, table.get("*", value))

    def back(self, name: str, value: str) -> str:
        """Return the first value for which a table gives this one, itself where there is none."""
        return next((key for key, given in self.values[name].items() if given == value and key != "*"), value)


NO_TABLES: Final = Tables({})


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression: texts and references in turn."""

    parts: tuple[str | Reference, ...]
    source: str = ""

    @property
    def names(self) -> frozenset[str]:
        return frozenset(part.name for part in self.parts if isinstance(part, Reference))

    @property
    def tables(self) -> frozenset[str]:
        """Return the names of the tables that its pipes look into."""
        pipes = (pipe for part in self.parts if isinstance(part, Reference) for pipe in part.pipes)
        return frozenset(pipe.arguments[0] for pipe in pipes if pipe.name in ("map", "unmap"))

    @property
    def leading(self) -> str:
        """Return the text before the first reference."""
        return self.parts[0] if self.parts and isinstance(self.parts[0], str) else ""

    def one(self, lookup: Lookup, tables: Tables = NO_TABLES) -> str:
        """Return its value; of a field with several values the first counts, unless they are joined."""
        return "".join(
            part if isinstance(part, str) else next(iter(_value(part, lookup(part.name), tables)), "")
            for part in self.parts
        )

    def each(self, lookup: Lookup, tables: Tables = NO_TABLES) -> list[str]:
        """Return one value for each value of the fields in it; none where all its fields are empty or absent."""
        columns = [part if isinstance(part, str) else _value(part, lookup(part.name), tables) for part in self.parts]
        several = [column for column in columns if not isinstance(column, str)]
        if not several:
            return [self.source_text] if self.source_text else []
        rows = max(len(column) for column in several)
        found = []
        for row in range(rows):
            cells = [c if isinstance(c, str) else (c[row] if row < len(c) else "") for c in columns]
            if any(cell for cell, column in zip(cells, columns, strict=True) if not isinstance(column, str)):
                found.append("".join(cells))
        return found

    @property
    def source_text(self) -> str:
        """Return the text of an expression without references."""
        return "".join(part for part in self.parts if isinstance(part, str))

    def simple(self) -> tuple[str, Reference, str] | None:
        """Return (text before, the one reference, text after); None where there are more, or pipes without inverse."""
        references = [part for part in self.parts if isinstance(part, Reference)]
        if len(references) != 1 or any(pipe.name not in _INVERTIBLE for pipe in references[0].pipes):
            return None
        at = self.parts.index(references[0])
        before, after = self.parts[:at], self.parts[at + 1 :]
        return "".join(map(str, before)), references[0], "".join(map(str, after))


_INVERTIBLE: Final = frozenset(
    ("strip", "rstrip", "first", "last", "map", "truncate", "default", "join", "lower", "upper")
)
"""Pipes whose outcome may stand in the field itself, so that what is written is read as the same."""


def parse(text: str) -> Expression:
    """Read an expression. Raises: ExpressionError."""
    parts: list[str | Reference] = []
    for match in _PART.finditer(text):
        if match[1] is not None:
            parts.append(_reference(match[1]))
        elif match[0] in ("{{", "}}"):
            parts.append(match[0][0])
        elif match[0] in ("{", "}"):
            raise ExpressionError(
                f"a {match[0]} without its other half in {text!r}; a brace in a text is written twice"
            )
        else:
            parts.append(match[0])
    return Expression(tuple(_merged(parts)), text)


def _merged(parts: list[str | Reference]) -> Iterator[str | Reference]:
    held = ""
    for part in parts:
        if isinstance(part, str):
            held += part
            continue
        if held:
            yield held
        held = ""
        yield part
    if held:
        yield held


def _reference(text: str) -> Reference:
    shown, *pipes = _split(text, "|")
    name = normal_name(shown)
    if not name:
        raise ExpressionError(f"{{{text}}} names no field")
    return Reference(name, tuple(_pipe(pipe) for pipe in pipes), shown.strip())


def _split(text: str, sign: str, most: int = -1) -> list[str]:
    """Split at a sign that has no backslash before it, at most so many times."""
    parts: list[list[str]] = [[]]
    for token in _TOKEN.findall(text):
        if token == sign and most != len(parts) - 1:
            parts.append([])
        else:
            parts[-1].append(token)
    return ["".join(part) for part in parts]


def normal_name(name: str) -> str:
    """Return a field's name as it is compared: in lower case, without blanks around it and without `[]`."""
    return name.strip().lower().replace("[]", "")


def _pipe(text: str) -> Pipe:
    name, colon, rest = text.partition(":")
    name = name.strip()
    arity = _ARITY.get(name)
    if arity is None:
        raise ExpressionError(f"no pipe is called {name!r}; there are {', '.join(PIPES)}")
    if arity and not colon:
        raise ExpressionError(f"the pipe {name} needs {'an argument' if arity == 1 else f'{arity} arguments'}")
    if not arity and colon:
        raise ExpressionError(f"the pipe {name} takes no argument")
    arguments = _split(rest, ":", arity - 1) if arity else []
    if len(arguments) < arity:
        raise ExpressionError(f"the pipe {name} needs {arity} arguments, parted by colons")
    pipe = Pipe(name, tuple(_ESCAPED.sub(lambda m: m[1], a) for a in arguments))
    _check(pipe)
    return pipe


def _check(pipe: Pipe) -> None:
    if pipe.name in _NUMBERED:
        text = pipe.arguments[_NUMBERED[pipe.name]]
        if not re.fullmatch(r"-?\d{1,6}", text) or not -MAX_WIDTH <= int(text) <= MAX_WIDTH or int(text) == 0:
            raise ExpressionError(f"{pipe.name}:{text}: expected a number up to {MAX_WIDTH}")
        if pipe.name != "part" and int(text) < 0:
            raise ExpressionError(f"{pipe.name}:{text}: expected a number of 1 or more")
    if pipe.name in ("before", "after", "part", "replace") and not pipe.arguments[0]:
        raise ExpressionError(f"the pipe {pipe.name} needs a text to look for")


def _value(reference: Reference, values: Values, tables: Tables) -> list[str]:
    found = list(values)
    for pipe in reference.pipes:
        found = _ON_ALL[pipe.name](found, pipe) if pipe.name in _ON_ALL else [_on_one(v, pipe, tables) for v in found]
    return found


_ON_ALL: Final[Mapping[str, Callable[[list[str], Pipe], list[str]]]] = {
    "first": lambda values, pipe: values[:1],
    "last": lambda values, pipe: values[-1:],
    "join": lambda values, pipe: [pipe.arguments[0].join(values)] if values else [],
    "default": lambda values, pipe: [value or pipe.arguments[0] for value in values or [""]],
}


def _on_one(value: str, pipe: Pipe, tables: Tables) -> str:
    if pipe.name in ("map", "unmap"):
        return (tables.there if pipe.name == "map" else tables.back)(pipe.arguments[0], value)
    if pipe.name == "date":
        return _shown(value, pipe.arguments[0], tables.zone)
    return _TEXT[pipe.name](value, pipe.arguments)


def _part(value: str, arguments: tuple[str, ...]) -> str:
    parts = value.split(arguments[0])
    n = int(arguments[1])
    at = n - 1 if n > 0 else len(parts) + n
    return parts[at] if 0 <= at < len(parts) else ""


_TEXT: Final[Mapping[str, Callable[[str, tuple[str, ...]], str]]] = {
    "lower": lambda value, arguments: value.lower(),
    "upper": lambda value, arguments: value.upper(),
    "strip": lambda value, arguments: value.strip(),
    "rstrip": lambda value, arguments: value.rstrip(),
    "truncate": lambda value, arguments: value[: int(arguments[0])],
    "zero": lambda value, arguments: value.zfill(int(arguments[0])),
    "before": lambda value, arguments: value.partition(arguments[0])[0],
    "after": lambda value, arguments: value.partition(arguments[0])[2] if arguments[0] in value else value,
    "part": _part,
    "replace": lambda value, arguments: value.replace(arguments[0], arguments[1]),
}


def _shown(value: str, form: str, zone: tzinfo) -> str:
    """Return a time, as `iso` gives it, in the form of strftime; any other text as it is."""
    try:
        return datetime.fromisoformat(value).astimezone(zone).strftime(form)
    except (ValueError, OverflowError):
        return value


def iso(at: float | None) -> str:
    """Return a time in seconds since 1970 as expressions handle it; empty where it is None or no time of ours."""
    if at is None:
        return ""
    try:
        return datetime.fromtimestamp(at, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return ""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text to be recognised: `*` stands for any text, `?` for one character, `{count}` for a number.

    It matches from the beginning; what follows it on the line does not matter. Linear in the text for each `*`.
    """

    source: str
    _compiled: re.Pattern[str]

    @property
    def literal(self) -> str | None:
        """Return the text that it is, None where it has a wildcard."""
        return None if _WILD.search(self.source) else self.source

    def matches(self, text: str) -> bool:
        return self._compiled.match(text) is not None

    def count(self, text: str) -> tuple[int, int, int] | None:
        """Return (the number, where it begins, where it ends); None where the pattern has none, or does not match."""
        match = self._compiled.match(text)
        if match is None or not self._compiled.groups:
            return None
        return int(match[1]), match.start(1), match.end(1)


_WILD: Final = re.compile(r"\{count\}|[*?]")
_SIGN: Final = re.compile(r"\{count\}|\?|[^?{]+|\{")


def pattern(text: str) -> Pattern:
    """Read a pattern. Raises: ExpressionError."""
    if not text:
        raise ExpressionError("a pattern is not empty")
    if text.count("{count}") > 1:
        raise ExpressionError("{count} stands in a pattern once")
    # What stands between two stars is looked for once, at its first place: the groups are not entered again, so that
    # a match stays linear.
    first, *others = [_segment(segment) for segment in text.split("*")]
    made = first + "".join(f"(?>.*?{segment})" for segment in others if segment)
    return Pattern(text, re.compile(made, re.DOTALL))


def _segment(text: str) -> str:
    """Return a text without stars as a regular expression."""
    return "".join(
        {"{count}": "[ ]*([0-9]{1,18})", "?": "."}.get(sign) or re.escape(sign) for sign in _SIGN.findall(text)
    )
