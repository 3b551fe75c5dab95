"""Where each key of a TOML document stands: a mistake is told with its line, which `tomllib` does not give.

Promises: for a document that `tomllib` reads, every key, table and array element has its line, under the same path
by which it is found in the parsed value. For any other text it ends early with what it has found, and never raises.
Linear in the size of the text, but for brackets nested deeper than 100, where it stops.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

Path = tuple[str | int, ...]

_BLANKS: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACES: Final = re.compile(r"[ \t]*")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_BASIC: Final = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
_LITERAL: Final = re.compile(r"'([^'\n]*)'")
_LONG_BASIC: Final = re.compile(r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}', re.DOTALL)
_LONG_LITERAL: Final = re.compile(r"'''(?:[^']|'{1,2}(?!'))*'{3,5}", re.DOTALL)
_SCALAR: Final = re.compile(r"[^,\]}#\n]*")
_ESCAPE: Final = re.compile(r'\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(["\\bfnrt]))')
_SHORT: Final = {'"': '"', "\\": "\\", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_DEEPEST: Final = 100


class _Lost(Exception):
    """The text is no TOML from here on."""


class Places:
    """The lines of one document, from 1, by path: `("connector", "internet", "listen", 0)`."""

    def __init__(self, lines: Mapping[Path, int]) -> None:
        self._lines = lines

    def line(self, path: Path) -> int:
        """Return the line of a path, or of the nearest thing around it; 1 where there is none."""
        for end in range(len(path), 0, -1):
            found = self._lines.get(path[:end])
            if found is not None:
                return found
        return 1


def locate(text: str) -> Places:
    """Find the line of every key of a document."""
    # TOML 1.0: CRLF is a newline; tomllib reads it as LF too.
    finder = _Finder(text.replace("\r\n", "\n"))
    with suppress(_Lost):
        finder.document()
    return Places(finder.lines)


class _Finder:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Path, int] = {}
        self._counts: dict[Path, int] = {}
        self._line_at = 0
        self._line = 1

    def document(self) -> None:
        table: Path = ()
        while True:
            self._skip(_BLANKS)
            if self.at == len(self.text):
                return
            if self.text.startswith("[", self.at):
                table = self._header()
            else:
                self._pair(table, 0)

    def _header(self) -> Path:
        line = self._here()
        is_array = self.text.startswith("[[", self.at)
        self.at += 2 if is_array else 1
        keys = self._keys()
        self._expect("]]" if is_array else "]")
        path: Path = ()
        for i, key in enumerate(keys):
            path += (key,)
            self.lines.setdefault(path, line)
            is_last = i == len(keys) - 1
            if is_last and is_array:
                self._counts[path] = self._counts.get(path, 0) + 1
            if path in self._counts:  # a table under an array of tables belongs to its last element
                path += (self._counts[path] - 1,)
                self.lines.setdefault(path, line)
        return path

    def _pair(self, table: Path, depth: int) -> None:
        line = self._here()
        path = table
        for key in self._keys():
            path += (key,)
            self.lines.setdefault(path, line)
        self._expect("=")
        self._skip(_SPACES)
        self._value(path, depth)

    def _keys(self) -> list[str]:
        keys = [self._key()]
        while self.text.startswith(".", self.at):
            self.at += 1
            keys.append(self._key())
        return keys

    def _key(self) -> str:
        self._skip(_SPACES)
        if (bare := _BARE.match(self.text, self.at)) is not None:
            key = bare[0]
            self.at = bare.end()
        elif (basic := _BASIC.match(self.text, self.at)) is not None:
            key = _ESCAPE.sub(_unescape, basic[1])
            self.at = basic.end()
        elif (literal := _LITERAL.match(self.text, self.at)) is not None:
            key = literal[1]
            self.at = literal.end()
        else:
            raise _Lost
        self._skip(_SPACES)
        return key

    def _value(self, path: Path, depth: int) -> None:
        if depth > _DEEPEST:
            raise _Lost
        c = self.text[self.at : self.at + 1]
        if c == "[":
            self._array(path, depth)
        elif c == "{":
            self._inline_table(path, depth)
        elif c in ('"', "'"):
            long, short = (_LONG_BASIC, _BASIC) if c == '"' else (_LONG_LITERAL, _LITERAL)
            self._match(long if self.text.startswith(c * 3, self.at) else short)
        else:
            self._match(_SCALAR)

    def _array(self, path: Path, depth: int) -> None:
        self.at += 1
        index = 0
        while True:
            self._skip(_BLANKS)
            if self.text.startswith("]", self.at):
                self.at += 1
                return
            self.lines[(*path, index)] = self._here()
            self._value((*path, index), depth + 1)
            index += 1
            self._skip(_BLANKS)
            if not self.text.startswith("]", self.at):
                self._expect(",")

    def _inline_table(self, path: Path, depth: int) -> None:
        self.at += 1
        self._skip(_SPACES)
        while not self.text.startswith("}", self.at):
            self._pair(path, depth + 1)
            self._skip(_SPACES)
            if not self.text.startswith("}", self.at):
                self._expect(",")
                self._skip(_SPACES)
        self.at += 1

    def _here(self) -> int:
        self._line += self.text.count("\n", self._line_at, self.at)
        self._line_at = self.at
        return self._line

    def _skip(self, blanks: re.Pattern[str]) -> None:
        found = blanks.match(self.text, self.at)
        if found is not None:
            self.at = found.end()

    def _match(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise _Lost
        self.at = found.end()

    def _expect(self, sign: str) -> None:
        self._skip(_SPACES)
        if not self.text.startswith(sign, self.at):
            raise _Lost
        self.at += len(sign)


def _unescape(found: re.Match[str]) -> str:
    if found[3]:
        return _SHORT[found[3]]
    code = int(found[1] or found[2], 16)
    return chr(code) if code < 0x110000 else "\ufffd"
