"""Dataclasses whose methods are made when one of them is first called.

The standard library compiles up to six methods of each dataclass as it is made, which takes a millisecond: a quarter of
the time in which a command starts, for classes most of which it makes no object of. Here the same methods, made by the
standard library from the same fields, take the place of stand-ins at their first call.

Promises: what is seen of a class and of its objects is the same, but for the signature of a method that was never
called, and for the docstring of a class that has none of its own. A class that is out of the ordinary, and each that is
not the gateway's own, is made by the standard library at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Final

_MAKE: Final = dataclasses.dataclass
_ORDINARY: Final = frozenset(("frozen", "slots"))
_PSEUDO: Final = ("InitVar", "KW_ONLY")
_OWN: Final = frozenset(("gateway", "mappings", "connectors"))
"""Packages whose classes nobody asks for what differs."""


def install() -> None:
    """Have the gateway's modules that are imported from now on make their dataclasses so."""
    dataclasses.dataclass = _dataclass


def _dataclass(cls: type[Any] | None = None, /, **given: Any) -> Any:
    """What `dataclasses.dataclass` is."""
    if cls is None:
        return lambda cls: _dataclass(cls, **given)
    make = make_late if cls.__module__.partition(".")[0] in _OWN else _MAKE
    return make(cls, **given)


def make_late(cls: type[Any], /, **given: Any) -> Any:
    """Return the class as a dataclass of these options, whose methods are made at their first call."""
    is_frozen = bool(given.get("frozen"))
    own = cls.__dict__
    fields = own.get("__annotations__", {})
    if (
        not given.keys() <= _ORDINARY
        or any(dataclasses.is_dataclass(base) for base in cls.__mro__[1:])
        or any(word in str(each) for each in fields.values() for word in _PSEUDO)
        or (is_frozen and ("__setattr__" in own or "__delattr__" in own))
    ):
        return _MAKE(cls, **given)
    names = {"__init__", "__repr__", "__eq__"} - own.keys()
    has_hash = own.get("__hash__") is not None or ("__hash__" in own and "__eq__" not in own)
    if not cls.__doc__:
        cls.__doc__ = cls.__name__  # else its signature is looked for, which takes as long as all the rest
    made = _MAKE(cls, init=False, repr=False, eq=False, slots=bool(given.get("slots")))
    params = made.__dataclass_params__
    params.init = params.repr = params.eq = True
    params.frozen = is_frozen
    if is_frozen:
        _freeze(made)
        if not has_hash:
            names |= {"__hash__"}
    elif not has_hash:
        made.__hash__ = None  # type: ignore[assignment]  # as the data model has it for what is compared by value
    _put_later(made, names, is_frozen)
    return made


def _freeze(cls: type[Any]) -> None:
    """Let no field of an object be assigned to; its state is taken and given back past that."""
    names = tuple(each.name for each in dataclasses.fields(cls))
    known = frozenset(names)

    def __setattr__(self: Any, name: str, value: Any) -> None:
        if type(self) is cls or name in known:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def __delattr__(self: Any, name: str) -> None:
        if type(self) is cls or name in known:
            raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    def __getstate__(self: Any) -> list[Any]:
        return [getattr(self, name) for name in names]

    def __setstate__(self: Any, state: list[Any]) -> None:
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    cls.__setattr__ = __setattr__  # type: ignore[assignment]
    cls.__delattr__ = __delattr__  # type: ignore[assignment]
    if "__slots__" in cls.__dict__ and "__getstate__" not in cls.__dict__ and "__setstate__" not in cls.__dict__:
        cls.__getstate__ = __getstate__  # type: ignore[assignment]
        cls.__setstate__ = __setstate__


def _put_later(cls: type[Any], names: set[str], is_frozen: bool) -> None:
    """Put stand-ins for methods into a class."""
    standing: dict[str, Callable[..., Any]] = {}
    made: dict[str, Any] = {}

    def make() -> None:
        made.update(_MAKE(_twin(cls), frozen=is_frozen).__dict__)
        for name, stand_in in standing.items():
            if cls.__dict__.get(name) is stand_in:  # not where somebody has put in another one since
                setattr(cls, name, made[name])

    def stand_in(name: str) -> Callable[..., Any]:
        def method(*args: Any, **given: Any) -> Any:
            if not made:
                make()
            return made[name](*args, **given)

        method.__name__, method.__qualname__ = name, f"{cls.__qualname__}.{name}"
        return method

    for name in names:
        standing[name] = stand_in(name)
        setattr(cls, name, standing[name])


def _twin(cls: type[Any]) -> type:
    """Return a class of the same fields, for its methods."""
    body: dict[str, Any] = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    body["__annotations__"] = {}
    for each in dataclasses.fields(cls):
        body["__annotations__"][each.name] = each.type
        body[each.name] = dataclasses.field(
            default=each.default,
            default_factory=each.default_factory,
            init=each.init,
            repr=each.repr,
            hash=each.hash,
            compare=each.compare,
            kw_only=each.kw_only,
        )
    if hasattr(cls, "__post_init__"):
        body["__post_init__"] = None
    return type(cls.__name__, (), body)
