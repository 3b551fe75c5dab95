"""Target: one parser, the inputs to begin with, and how more are made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Generic, TypeVar

Input = TypeVar("Input", str, bytes)

REFUSED = "!"
"""Begins the outcome of an input that was refused as documented."""


@dataclass(frozen=True)
class Target(Generic[Input]):
    """What is fuzzed.

    `check` raises where the input breaks something, and returns its outcome in short; an input with a new outcome is
    taken as one to make others of. `read` gives an input of octets that were kept, and `octets` is its inverse.
    """

    name: str
    check: Callable[[Input], str]
    seeds: Callable[[], Sequence[Input]]
    mutated: Callable[[Input, Input, Random], Input]
    read: Callable[[bytes], Input]
    octets: Callable[[Input], bytes]
    limit_s: float = 1.0
    """The CPU time that no input may take."""
    longest: int = 200
    """Inputs up to this are taken to make others of."""

    def replay(self, octets: bytes) -> str:
        """Check one kept input."""
        return self.check(self.read(octets))


def text_of(octets: bytes) -> str:
    """Return any octets as text, as Python reads file names: a surrogate for each octet that is no UTF-8."""
    return octets.decode("utf-8", "surrogateescape")


def octets_of(text: str) -> bytes:
    """Return the inverse of `text_of`, and something for any other surrogate."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def same_octets(octets: bytes) -> bytes:
    return octets
