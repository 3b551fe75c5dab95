"""Files that break who decodes them: a Spec that brings a reading process a decoder which does what a file tells it.

Unpickling the Spec imports this module; in the process, and only there, the decoder is changed.
"""

from __future__ import annotations

import ctypes
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Final

from connectors.filedrop.apart.spec import Spec
from connectors.filedrop.formats import Bad, Part, Stamp
from connectors.filedrop.formats.pickup import Pickup

CRASH: Final = b"X-Poison: crash"
LOOP: Final = b"X-Poison: loop"
EAT: Final = b"X-Poison: eat"
RAISE: Final = b"X-Poison: raise"
SLEEP: Final = b"X-Poison: sleep"


@dataclass(frozen=True)
class PoisonSpec(Spec):
    pass


def poisoned(spec: Spec, **bounds: Any) -> PoisonSpec:
    """Return a spec whose process knows the poisons; `bounds` are fields of it."""
    return PoisonSpec(**{**{f.name: getattr(spec, f.name) for f in fields(spec)}, **bounds})


_decode = Pickup.decode


def _decode_poison(self: Pickup, file: Any, stamp: Stamp) -> Iterator[Part | Bad]:
    head = file.read(0, 4096)
    if CRASH in head:
        ctypes.string_at(0)
    if LOOP in head:
        re.match(r"(a+)+$", "a" * 64 + "b")  # keeps the interpreter for longer than anybody waits
    if EAT in head:
        eaten: list[bytes] = []
        while True:
            eaten.append(b"x" * (8 * 1024 * 1024 + len(eaten)))
    if RAISE in head:
        raise RuntimeError("a fault of the decoder")
    if SLEEP in head:
        time.sleep(1000)
    yield from _decode(self, file, stamp)


_main = getattr(sys.modules["__main__"], "__spec__", None)
if _main is not None and _main.name == "connectors.filedrop.apart.child":
    Pickup.decode = _decode_poison  # type: ignore[method-assign]
