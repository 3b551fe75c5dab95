"""All targets by name."""

from __future__ import annotations

from typing import Any, Final

from tests.fuzz import adaptation, files, mapping, networks, octets
from tests.fuzz.target import Target

_ALL: Final[tuple[Target[Any], ...]] = (
    *octets.TARGETS,
    *networks.TARGETS,
    *mapping.TARGETS,
    *files.TARGETS,
    *adaptation.TARGETS,
)
TARGETS: Final = {each.name: each for each in _ALL}
