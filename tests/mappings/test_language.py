"""Languages of patterns: what they share, what lies outside, and what can be read in two ways, beside brute force."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings.language import (
    Chain,
    Language,
    Link,
    ambiguous,
    head_of,
    is_literal,
    literal,
    meeting,
    outside,
    run,
    tail_of,
)

ANY = run("@")
LABEL = run("@.")
STAR = run("@", optional=True)


def chain(*parts: Link | str) -> Chain:
    return tuple(link for part in parts for link in (literal(part) if isinstance(part, str) else (part,)))


def texts(alphabet: str, most: int) -> Iterator[str]:
    for length in range(most + 1):
        yield from map("".join, product(alphabet, repeat=length))


def reads(one: Chain, text: str) -> int:
    """Count the ways to read a text, by trying them all."""
    if not one:
        return not text
    link, rest = one[0], one[1:]
    most = len(text) if link.repeats else 1
    found = reads(rest, text) if link.optional else 0
    for n in range(1, most + 1):
        if n > len(text) or not link.takes(text[n - 1]):
            break
        found += reads(rest, text[n:])
    return found


LINKS = st.sampled_from([Link("a"), Link("b"), Link("."), run(), run("."), run("a")])
CHAINS = st.lists(LINKS, max_size=4).map(tuple)
OPTIONAL = st.lists(st.one_of(LINKS, st.just(run(".", optional=True))), max_size=4).map(tuple)


@given(OPTIONAL, OPTIONAL)
def test_has_and_meeting_are_those_of_brute_force(one: Chain, other: Chain) -> None:
    a, b = Language([one]), Language([other])
    shared = [t for t in texts("ab.x", 4) if reads(one, t) and reads(other, t)]
    assert [t for t in texts("ab.x", 4) if a.has(t) and b.has(t)] == shared
    found = meeting([a, b])
    assert (found is not None) or not shared
    if found is not None:
        assert a.has(found)
        assert b.has(found)
        assert not shared or len(found) == len(shared[0])


@given(OPTIONAL, st.lists(OPTIONAL, max_size=3))
def test_outside_is_that_of_brute_force(one: Chain, others: list[Chain]) -> None:
    language = Language(others)
    apart = [t for t in texts("ab.x", 4) if reads(one, t) and not any(reads(o, t) for o in others)]
    found = outside([one], language)
    assert (found is not None) or not apart
    if found is not None:
        assert Language([one]).has(found)
        assert not language.has(found)
    if language.covers(one):
        assert not apart


@given(CHAINS)
def test_ambiguous_is_that_of_brute_force(one: Chain) -> None:
    found = ambiguous(one)
    if found is None:
        assert all(reads(one, t) <= 1 for t in texts("ab.x", 5))
    else:
        assert reads(one, found) > 1


@pytest.mark.parametrize(
    ("one", "others", "text"),
    [
        (chain(ANY, "@a.example"), [chain(ANY, "@", LABEL, ".example")], None),
        (chain(ANY, "@", LABEL, ".example"), [chain(ANY, "@a.example")], "x@x.example"),
        (chain("ann@a.example"), [chain(STAR, "@b.example"), chain("ann@", STAR)], None),
        (chain(ANY, "@b"), [chain("x", ANY, "@b"), chain(run("x@"), "@b")], "x@b"),
        (chain(ANY, "@b"), [], "x@b"),
    ],
)
def test_outside(one: Chain, others: list[Chain], text: str | None) -> None:
    found = outside([one], Language(others))
    assert (found is None) == (text is None)
    assert found is None or len(found) == len(text or "")


def test_ends() -> None:
    assert head_of(chain("ab", ANY, "c")) == "ab"
    assert tail_of(chain("ab", ANY, "c")) == "c"
    assert head_of(chain("ab")) == tail_of(chain("ab")) == "ab"
    assert is_literal(chain("ab"))
    assert not is_literal(chain("a", STAR))
