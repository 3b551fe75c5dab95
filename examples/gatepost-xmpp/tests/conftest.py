import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from prosody import Prosody  # the peers lie beside the tests

pytest_plugins = ["gateway.testing"]


@pytest.fixture(scope="session", autouse=True)
def prosody() -> Iterator[Prosody]:
    """One chat server for all tests; each has users of its own."""
    with Prosody() as server:
        yield server
