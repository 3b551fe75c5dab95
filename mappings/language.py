"""Language: the set of texts that a pattern matches, and what can be said of such sets without trying texts one by one.

A pattern is a chain of links: a character, or a run of characters of a class. A language is the union of some chains.
Promises: `meeting`, `outside` and `ambiguous` return a shortest text that shows what they look for, and None only
where there is none, or where the search was given up (`GaveUp`); the answers are exact for these chains. Pure.
Characters that stand in no pattern differ in nothing, so one of them stands for all.
Source: K. Thompson, "Regular expression search algorithm" (1968), run on bits as in R. Baeza-Yates and G. Gonnet, "A
new approach to text searching" (1992).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

MAX_STATES: Final = 20_000
"""How many states a search looks at before it gives up; patterns people write need some hundreds."""
_FRESH_LETTERS: Final = "xqzjkvwyabcdefghilmnoprstuéüøñçåłđæþ"
_FRESH_DIGITS: Final = "1726354890"


class GaveUp(Exception):
    """A search that would take too long; patterns of very many variables next to each other may do that."""


@dataclass(frozen=True, slots=True)
class Link:
    """One character, or with `repeats` one or more of them, with `optional` also none.

    `char` is the character itself; where it is empty, any is taken that does not stand in `without`.
    """

    char: str = ""
    without: frozenset[str] = frozenset()
    repeats: bool = False
    optional: bool = False

    def takes(self, char: str) -> bool:
        return char == self.char if self.char else char not in self.without


Chain = tuple[Link, ...]


def literal(text: str) -> Chain:
    """Return the chain of one text."""
    return tuple(map(_character, text))


@cache
def _character(char: str) -> Link:
    return Link(char)


def run(without: Iterable[str] = (), *, optional: bool = False) -> Link:
    """Return a run of one or more characters that do not stand in `without`; with `optional` it may be empty."""
    return Link(without=frozenset(without), repeats=True, optional=optional)


def head_of(chain: Chain) -> str:
    """Return the characters that every text of a chain begins with."""
    found = []
    for link in chain:
        if not link.char or link.repeats or link.optional:
            break
        found.append(link.char)
    return "".join(found)


def tail_of(chain: Chain) -> str:
    """Return the characters that every text of a chain ends with."""
    return head_of(chain[::-1])[::-1]


def is_literal(chain: Chain) -> bool:
    """Tell whether a chain has one text alone."""
    return all(link.char and not link.repeats and not link.optional for link in chain)


class Language:
    """The union of some chains, run as bits: bit i of a state says that the first i links may have been read.

    The chains lie one after another in one number, with a bit between them that nothing leads out of.
    """

    def __init__(self, chains: Iterable[Chain]) -> None:
        self.chains = tuple(chains)
        self._links: list[Link | None] = []
        self.start = 0
        self.final = 0
        repeats = optional = 0
        literals: dict[str, int] = {}
        classes: dict[frozenset[str], int] = {}
        for chain in self.chains:
            self.start |= 1 << len(self._links)
            for link in chain:
                bit = 1 << len(self._links)
                if link.char:
                    literals[link.char] = literals.get(link.char, 0) | bit
                else:
                    classes[link.without] = classes.get(link.without, 0) | bit
                repeats |= bit if link.repeats else 0
                optional |= bit if link.optional else 0
                self._links.append(link)
            self.final |= 1 << len(self._links)
            self._links.append(None)
        self._repeats, self._optional = repeats, optional
        self._literals, self._classes = literals, classes
        self._taking: dict[str, int] = {}
        self.start = self._skip(self.start)

    @property
    def letters(self) -> frozenset[str]:
        """The characters that differ from others in some chain."""
        return frozenset(self._literals).union(*self._classes)

    def step(self, state: int, char: str) -> int:
        """Return the state after one more character."""
        taking = self._taking.get(char)
        if taking is None:
            taking = self._literals.get(char, 0)
            for without, bits in self._classes.items():
                if char not in without:
                    taking |= bits
            self._taking[char] = taking
        return self._advance(state, taking)

    def step_run(self, state: int, run: Link) -> int:
        """Return the state after every run of these characters, where the chains take all of them as one run."""
        taking = 0
        for without, bits in self._classes.items():
            if without <= run.without:
                taking |= bits
        return self._advance(state, taking & self._repeats)

    def _advance(self, state: int, taking: int) -> int:
        stay = state & (taking & self._repeats) << 1  # a link that repeats is read again from behind it
        return self._skip((state & taking) << 1 | stay)

    def _skip(self, state: int) -> int:
        """Return the state with what optional links may leave out."""
        while more := ((state & self._optional) << 1) & ~state:
            state |= more
        return state

    def next_letters(self, state: int) -> set[str]:
        """Return the characters that could make a difference as the next one."""
        found: set[str] = set()
        waiting = state
        while waiting:
            low = waiting & -waiting
            at = low.bit_length() - 1
            waiting ^= low
            for link in (self._links[at], self._links[at - 1] if at else None):
                if link is None:
                    continue
                if link.char:
                    found.add(link.char)
                else:
                    found |= link.without
        return found

    def has(self, text: str) -> bool:
        """Tell whether a text is of the language."""
        state = self.start
        for char in text:
            state = self.step(state, char)
            if not state:
                return False
        return bool(state & self.final)

    def covers(self, chain: Chain) -> bool:
        """Tell quickly that every text of a chain is of this language; False where that is not seen at once."""
        state = self.start
        for link in chain:
            after = self.step(state, link.char) if link.char else self.step_run(state, link)
            state = state & after if link.optional else after
            if not state:
                return False
        return bool(state & self.final)


def meeting(languages: Sequence[Language], without: Language | None = None) -> str | None:
    """Return a shortest text that is of all languages and not of `without`; None where there is none.

    Raises: GaveUp.
    """
    fresh = _fresh(*languages, *(() if without is None else (without,)))
    outer = Language(()) if without is None else without
    start = (*(language.start for language in languages), outer.start)
    waiting = deque([(start, "")])
    seen = {start}
    while waiting:
        states, text = waiting.popleft()
        if all(s & one.final for s, one in zip(states, languages, strict=False)) and not states[-1] & outer.final:
            plain = text.translate(dict.fromkeys(map(ord, fresh[:1]), "x"))
            is_same = all(one.has(plain) for one in languages) and not outer.has(plain)
            return plain if is_same else text
        for char in (*fresh, *sorted(_worth_trying(states, (*languages, outer)).difference(fresh))):
            after = tuple(one.step(s, char) for s, one in zip(states, (*languages, outer), strict=True))
            if all(after[:-1]) and after not in seen:
                if len(seen) > MAX_STATES:
                    raise GaveUp
                seen.add(after)
                waiting.append((after, text + char))
    return None


def outside(chains: Iterable[Chain], language: Language) -> str | None:
    """Return a shortest text of some chains that is not of a language; None where they are all within it.

    Raises: GaveUp.
    """
    for chain in chains:
        if not language.covers(chain):
            found = meeting([Language([chain])], language)
            if found is not None:
                return found
    return None


def ambiguous(chain: Chain) -> str | None:
    """Return a shortest text that a chain without optional links can be read from in two ways; None for no such text.

    Raises: GaveUp.
    """
    whole = Language([chain])
    letters = (*_fresh(whole), *sorted(whole.letters))
    end = len(chain)
    waiting = deque([(0, 0, False, "")])
    seen = {(0, 0, False)}
    while waiting:
        one, other, differ, text = waiting.popleft()
        if differ and one == other == end:
            return text
        for char in letters:
            for a in _ways(chain, one, char):
                for b in _ways(chain, other, char):
                    after = (min(a, b), max(a, b), differ or a != b)
                    if after not in seen:
                        if len(seen) > MAX_STATES:
                            raise GaveUp
                        seen.add(after)
                        waiting.append((*after, text + char))
    return None


def _ways(chain: Chain, at: int, char: str) -> tuple[int, ...]:
    """Return the places after a character: a run may go on after it, or be over."""
    if at == len(chain) or not chain[at].takes(char):
        return ()
    return (at + 1, at) if chain[at].repeats else (at + 1,)


def _worth_trying(states: Sequence[int], languages: Sequence[Language]) -> set[str]:
    return set().union(*(one.next_letters(s) for s, one in zip(states, languages, strict=True)))


def _fresh(*languages: Language) -> tuple[str, ...]:
    """Return a letter and a digit that stand in none of the languages, in place of all such characters."""
    letters = frozenset[str]().union(*(language.letters for language in languages))
    found = (next((c for c in some if c not in letters), "") for some in (_FRESH_LETTERS, _FRESH_DIGITS))
    return tuple(c for c in found if c)
