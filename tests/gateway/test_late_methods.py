"""Dataclasses whose methods are made at their first call are what the standard library makes."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, field
from typing import Any, ClassVar

import pytest

from gateway import late_methods


def late(**given: bool) -> Any:
    return lambda cls: late_methods.make_late(cls, **given)


class Plain:
    a: int
    b: str = "b"
    c: tuple[int, ...] = field(default_factory=tuple)
    d: int = field(default=4, compare=False, repr=False)
    kind: ClassVar[str] = "x"


class Posted:
    a: int
    sum: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sum", self.a + 1)


class Own:
    a: int

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 7

    def __repr__(self) -> str:
        return "own"


class Empty:
    """Has nothing."""


SHAPES: tuple[dict[str, bool], ...] = ({}, {"frozen": True}, {"slots": True}, {"frozen": True, "slots": True})


def _copy(cls: type) -> type:
    return type(cls.__name__, (), {k: v for k, v in vars(cls).items() if k not in ("__dict__", "__weakref__")})


@pytest.mark.parametrize("given", SHAPES, ids=str)
@pytest.mark.parametrize(("cls", "args"), [(Plain, (1,)), (Posted, (2,)), (Own, (3,)), (Empty, ())])
def test_objects_are_the_same(cls: type, args: tuple[Any, ...], given: dict[str, bool]) -> None:
    one: Any = late(**given)(_copy(cls))
    two: Any = dataclasses.dataclass(**given)(_copy(cls))
    assert set(vars(one)) == set(vars(two))
    for key in ("frozen", "eq", "repr", "init", "order"):
        assert getattr(one.__dataclass_params__, key) == getattr(two.__dataclass_params__, key)
    assert (one.__hash__ is None) == (two.__hash__ is None)
    assert one.__match_args__ == two.__match_args__
    made, theirs = one(*args), two(*args)
    assert repr(made) == repr(theirs)
    assert dataclasses.asdict(made) == dataclasses.asdict(theirs)
    assert made == one(*args)
    assert made != theirs or cls is Own
    if one.__hash__ is not None:
        assert hash(made) == hash(theirs)
    if args:
        assert dataclasses.replace(made, a=9).a == 9
        for act in (lambda it: setattr(it, "a", 5), lambda it: delattr(it, "a")):
            outcomes = [_raised(act, each) for each in (one(*args), two(*args))]
            assert outcomes[0] == outcomes[1]
    with pytest.raises(TypeError):
        one(*args, 1, 2, 3, 4, 5)


def _raised(act: Any, it: Any) -> str:
    try:
        act(it)
    except FrozenInstanceError as fault:
        return str(fault)
    return ""


@late(frozen=True, slots=True)
class Pickled:
    a: int
    b: str = ""


def test_a_frozen_one_goes_through_pickle() -> None:
    made: Any = Pickled
    assert pickle.loads(pickle.dumps(made(1, "x"))) == made(1, "x")


def test_each_method_may_be_called_first() -> None:
    for name in ("__eq__", "__hash__", "__repr__"):
        made = late(frozen=True)(_copy(Plain))
        it = object.__new__(made)
        it.__dict__.update(a=1, b="b", c=(), d=4)
        assert getattr(it, name)(*([it] if name == "__eq__" else [])) is not None


def test_what_derives_from_one_and_what_is_out_of_the_ordinary() -> None:
    base = late(frozen=True)(_copy(Plain))

    class Derived(base):  # type: ignore[misc,valid-type]
        e: int = 5

    made = late(frozen=True)(Derived)
    assert made(1, e=6) == made(1, e=6) != made(1)
    with pytest.raises(TypeError, match="frozen"):
        late()(type("Loose", (base,), {"__annotations__": {"f": int}}))
    ordered = late(order=True)(_copy(Posted))
    assert ordered(1) < ordered(2)


def test_a_method_that_was_put_in_since_stays() -> None:
    made = late(frozen=True)(_copy(Plain))
    before = made.__init__

    def init(self: Any, a: int) -> None:
        before(self, a + 1)

    made.__init__ = init
    assert made(1).a == 2
    assert made(1).a == 2
    assert repr(made(1)).endswith("Plain(a=2, b='b', c=())")
    assert made.__init__ is init


WHOLE = """
from gateway.late_methods import install
install()
import dataclasses, importlib, pkgutil, sys
import connectors.imap, gateway, mappings, gateway.cli.app
for package in (gateway, mappings, connectors.imap):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if "migrations" not in module.name and "__main__" not in module.name:
            importlib.import_module(module.name)
seen = 0
for name, module in list(sys.modules.items()):
    if name.startswith(("gateway", "mappings", "connectors")):
        for cls in list(vars(module).values()):
            if isinstance(cls, type) and dataclasses.is_dataclass(cls) and cls.__module__ == name:
                late = cls.__dict__.get("__repr__")
                if late is not None and late.__code__.co_name == "method":
                    seen += 1
                    try:
                        late(None)
                    except AttributeError:
                        pass
                    assert cls.__dict__["__repr__"] is not late, cls
print(seen)
"""


def test_all_of_ours_can_be_made() -> None:
    done = subprocess.run([sys.executable, "-c", WHOLE], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 200


def test_classes_of_others_are_the_standard_library_s_at_once() -> None:
    made = late_methods._dataclass(_copy(Plain))
    assert made.__repr__.__code__.co_name == dataclasses.dataclass(_copy(Plain)).__repr__.__code__.co_name
    assert late()(_copy(Plain)).__repr__.__code__.co_name == "method"
