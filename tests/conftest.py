"""Fixtures and plugins for all tests."""

import os
import sys

from tests import scratch

pytest_plugins = ["gateway.testing"]

scratch.use()

# Else each gateway that a test starts compiles all its modules anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
