"""Quickly made frozen values: in all but the time that they take, what the dataclass would have been."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, replace
from typing import Any

import pytest

from gateway.frozen import quickly_made
from gateway.message import Origin
from gateway.once import once


@quickly_made
@dataclass(frozen=True, slots=True)
class Quick:
    name: str
    number: int = 7
    rest: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plain:
    name: str
    number: int = 7
    rest: tuple[str, ...] = ()


@pytest.mark.parametrize("args", [("a",), ("a", 1), ("a", 1, ("b",))])
def test_is_made_as_the_plain_one_is(args: tuple[Any, ...]) -> None:
    quick, plain = Quick(*args), Plain(*args)
    assert type(quick) is Quick
    assert repr(quick) == repr(plain).replace("Plain", "Quick")
    assert quick == Quick(*args)
    assert hash(quick) == hash(plain)
    assert quick != Quick("other")
    assert Quick(rest=("b",), name="a") == Quick("a", 7, ("b",))


@pytest.mark.parametrize("change", ["number", "other"])
def test_takes_no_assignment(change: str) -> None:
    quick = Quick("a")
    with pytest.raises((FrozenInstanceError, TypeError)):
        setattr(quick, change, 1)
    with pytest.raises(FrozenInstanceError):
        del quick.number
    assert not hasattr(quick, "__dict__")
    assert quick == Quick("a")


def test_is_copied_pickled_and_replaced() -> None:
    origin = Origin("drop", peer="a.eml", trusted=True)
    assert pickle.loads(pickle.dumps(origin)) == origin
    assert copy.copy(origin) == copy.deepcopy(origin) == origin
    assert replace(origin, peer="b.eml") == Origin("drop", peer="b.eml", trusted=True)
    assert type(replace(origin, peer="b.eml")) is Origin


@pytest.mark.parametrize("args", [(), ("a", 1, (), 2)])
def test_wants_the_fields_it_has(args: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        Quick(*args)


def test_makes_defaults_anew_and_checks_what_it_was_given() -> None:
    @quickly_made
    @dataclass(frozen=True, slots=True)
    class Listed:
        most: int
        all: list[str] = field(default_factory=list)

        def __post_init__(self) -> None:
            if len(self.all) > self.most:
                raise ValueError("too many")

    first, second = Listed(1), Listed(1)
    first.all.append("a")
    assert (first.all, second.all, Listed(1, ["b"]).all) == (["a"], [], ["b"])
    with pytest.raises(ValueError, match="too many"):
        Listed(most=0, all=["a"])
    with pytest.raises(FrozenInstanceError):
        second.most = 2  # type: ignore[misc]  # what is tested


def test_once_computes_once_an_object() -> None:
    class Counted:
        asked = 0

        @once
        def answer(self) -> int:
            """Return how often it was asked for."""
            self.asked += 1
            return self.asked

    first, second = Counted(), Counted()
    assert (first.answer, first.answer, second.answer) == (1, 1, 1)
    assert isinstance(Counted.answer, once)
    assert Counted.answer.__doc__ == "Return how often it was asked for."
