"""Which items are copied at all: terms that all have to hold. Pure.

seen, !seen, flagged, !answered ...   a flag of the contract, or its absence
keyword:WORD, !keyword:WORD           a word of the user's own
since:2024-01-31, before:2024-01-31   the day of receipt, in UTC: on it or later; earlier
larger:N, smaller:N                   octets
from:TEXT, to:, cc:, subject:, list-id: ...   the field's text holds TEXT, whatever the case; `!` in front: does not
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from typing import Final

from gateway.mailbox import FLAGS
from gateway.message import Content
from gateway.sync.values import Item

_FIELD_CHARS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


@dataclass(frozen=True, slots=True)
class _Term:
    name: str
    value: str
    is_not: bool
    number: float = 0.0


@dataclass(frozen=True, slots=True)
class Search:
    """Terms, parsed. An empty one takes everything."""

    listed: tuple[_Term, ...] = ()
    """Those that a listing answers."""
    read: tuple[_Term, ...] = ()
    """Those that take the header."""

    @staticmethod
    def parse(terms: Iterable[str]) -> Search:
        """Return what these terms ask for. Raises: ValueError with words for whoever wrote them."""
        made = [_parse(term) for term in terms]
        listed = tuple(term for term in made if term.name in _LISTED)
        return Search(listed, tuple(term for term in made if term.name not in _LISTED))

    def may_take(self, item: Item) -> bool:
        """Tell whether an item holds all that its listing answers; what a listing does not tell holds."""
        return all(_holds(term, item) for term in self.listed)

    def takes(self, content: Content) -> bool:
        """Tell whether a content holds all that its header answers."""
        return all((term.value in _text(content, term.name)) is not term.is_not for term in self.read)


_LISTED: Final = frozenset({"flag", "keyword", "since", "before", "larger", "smaller"})


def _parse(term: str) -> _Term:
    is_not = term.startswith("!")
    name, colon, value = term.removeprefix("!").partition(":")
    name, value = name.strip().lower(), value.strip()
    if not colon:
        if name not in FLAGS:
            raise ValueError(f"search term {term!r}: no such flag; flags are {', '.join(sorted(FLAGS))}")
        return _Term("flag", name, is_not)
    if not value:
        raise ValueError(f"search term {term!r}: nothing stands behind the colon")
    if name == "keyword":
        return _Term(name, value, is_not)
    if name in ("since", "before"):
        try:
            day = datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError:
            raise ValueError(f"search term {term!r}: a day is written 2024-01-31") from None
        return _Term(name, value, is_not, day.timestamp())
    if name in ("larger", "smaller"):
        if not (value.isascii() and value.isdigit()):
            raise ValueError(f"search term {term!r}: octets are a number")
        return _Term(name, value, is_not, float(value))
    if not set(name) <= _FIELD_CHARS:
        raise ValueError(f"search term {term!r}: {name!r} is no name of a header field")
    return _Term(name, value.casefold(), is_not)


def _holds(term: _Term, item: Item) -> bool:
    size, at = item.print.size, item.print.received_at
    if term.name in ("flag", "keyword"):
        return (term.value in item.words) is not term.is_not
    if term.name in ("since", "before"):
        return at is None or ((at >= term.number) is (term.name == "since")) is not term.is_not
    if size is None:
        return True
    return (size > term.number if term.name == "larger" else size < term.number) is not term.is_not


def _text(content: Content, name: str) -> str:
    """Return all fields of a name as they are read, in folded case; one that is broken as it is written."""
    texts: list[str] = []
    for value in content.get_all(name.encode("ascii")):
        written = value.decode("utf-8", "replace")
        try:
            texts.append(str(make_header(decode_header(written))))
        except (HeaderParseError, LookupError, ValueError):
            texts.append(written)
    return "\n".join(texts).casefold()
