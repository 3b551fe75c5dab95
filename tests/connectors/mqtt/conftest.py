"""The kit of the connector's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.connectors.mqtt.kit import Kit


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Callable[..., Kit]]:
    """Make connectors with options, each with a broker of its own that ends with the test."""
    made: list[Kit] = []

    def make(**options: Any) -> Kit:
        made.append(Kit(tmp_path, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()
