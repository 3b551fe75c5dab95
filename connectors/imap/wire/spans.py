"""Sets of UIDs as runs of numbers, which cost by their gaps and not by how many they are. Pure.

A folder of a million messages is a few runs as a rule, so that a token of it is short, and a page of it costs the same
wherever in the folder it is.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Final

_FORM: Final = re.compile(r"(?:[0-9]{1,10}(?::[0-9]{1,10})?(?:,[0-9]{1,10}(?::[0-9]{1,10})?)*)?")


class Spans:
    """An immutable set of numbers."""

    __slots__ = ("_runs",)

    def __init__(self, runs: Iterable[tuple[int, int]] = ()) -> None:
        """`runs`: (first, last), in order, with a gap between each two."""
        self._runs = tuple(runs)

    @classmethod
    def of(cls, numbers: Iterable[int]) -> Spans:
        """Return a set of numbers, in any order."""
        return cls(_merged((each, each) for each in sorted(numbers)))

    @classmethod
    def read(cls, text: str) -> Spans:
        """Return what a sequence set such as `1:7,9` names. Raises: ValueError."""
        if not _FORM.fullmatch(text):
            raise ValueError(f"{text[:40]!r} is no sequence set")
        runs = []
        for each in text.split(",") if text else ():
            first, colon, last = each.partition(":")
            begin, end = int(first), int(last) if colon else int(first)
            runs.append((min(begin, end), max(begin, end)))
        return cls(_merged(sorted(runs)))

    @property
    def runs(self) -> int:
        """How many runs it has, which is what it costs."""
        return len(self._runs)

    def text(self) -> str:
        """Return it as a sequence set; empty for none."""
        return ",".join(f"{first}:{last}" if last > first else f"{first}" for first, last in self._runs)

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self._runs)

    def __bool__(self) -> bool:
        return bool(self._runs)

    def __iter__(self) -> Iterator[int]:
        for first, last in self._runs:
            yield from range(first, last + 1)

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._runs, (number, 1 << 62)) - 1
        return at >= 0 and self._runs[at][0] <= number <= self._runs[at][1]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spans) and self._runs == other._runs

    def __hash__(self) -> int:
        return hash(self._runs)

    def __repr__(self) -> str:
        return f"Spans({self.text()[:60]!r})"

    def __or__(self, other: Spans) -> Spans:
        if not self or not other:
            return self if self else other
        return Spans(_merged(sorted((*self._runs, *other._runs))))

    def __sub__(self, other: Spans) -> Spans:
        if not self or not other:
            return self
        return Spans(_without(self._runs, other._runs))

    def __and__(self, other: Spans) -> Spans:
        return self - (self - other)

    def taken(self, count: int) -> tuple[Spans, Spans]:
        """Return the first `count` numbers, and the others."""
        left = count
        for at, (first, last) in enumerate(self._runs):
            size = last - first + 1
            if size > left:
                cut = [(first, first + left - 1)] if left else []
                return Spans((*self._runs[:at], *cut)), Spans(((first + left, last), *self._runs[at + 1 :]))
            left -= size
        return self, Spans()


NONE: Final = Spans()


def _merged(runs: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield runs, which come by their beginnings, without overlaps and those that touch as one."""
    held: tuple[int, int] | None = None
    for first, last in runs:
        if held is None:
            held = first, last
        elif first <= held[1] + 1:
            held = held[0], max(held[1], last)
        else:
            yield held
            held = first, last
    if held is not None:
        yield held


def _without(runs: tuple[tuple[int, int], ...], cuts: tuple[tuple[int, int], ...]) -> Iterator[tuple[int, int]]:
    at = 0
    for first, last in runs:
        while at < len(cuts) and cuts[at][1] < first:
            at += 1
        begin, look = first, at
        while look < len(cuts) and cuts[look][0] <= last:
            if cuts[look][0] > begin:
                yield begin, cuts[look][0] - 1
            begin = max(begin, cuts[look][1] + 1)
            look += 1
        if begin <= last:
            yield begin, last
