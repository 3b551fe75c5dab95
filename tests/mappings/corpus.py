"""The outside corpus of test mail, where `GATEPOST_CORPUS` names it: read in place, never copied."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def corpus(folder: str) -> Path:
    """Return a folder of the corpus. Where it is absent the test says so, and in CI fails."""
    place = os.environ.get("GATEPOST_CORPUS")
    if place is not None and (Path(place) / folder).is_dir():
        return Path(place) / folder
    message = f"the corpus folder {folder!r} is absent; GATEPOST_CORPUS names where it lies"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
