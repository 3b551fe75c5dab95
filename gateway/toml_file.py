"""A TOML file of a connector's own, read into a model: every mistake is told at once, with its place and its mend."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from gateway.config_file import ConfigErrors, Document

M = TypeVar("M", bound=BaseModel)
Broken = tuple[tuple[str | int, ...], str]
"""Where a rule is broken, and the rule, as a sentence."""


def read_toml(path: Path, model: type[M], wanted: str, checks: Callable[[M], Iterable[Broken]] = lambda made: ()) -> M:
    """Return what a file says. `wanted` tells what is missing where there is none: "a description of records".

    `checks` tells what is wrong between the keys of a file in which each by itself is right.
    `${NAME}` and `file:` mean nothing here: what stands in the file is what it says.
    Raises: ConfigErrors, with all that is wrong.
    """
    document = Document(path, expands=False, wanted=wanted)
    found = None if document.mistakes else document.model((), model, document.data, "a key of this file")
    for place, rule in () if found is None else checks(found):
        document.broken_rule(_written(document, place), rule)
    document.finish()
    if found is None:
        raise ConfigErrors(document.mistakes)
    return found


def _written(document: Document, place: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """Return the part of a place that stands in the file: a model may make a table of a single value."""
    while place and document.raw(place) is None:
        place = place[:-1]
    return place
