"""Fixtures and plugins for all tests."""

import os
import sys

from hypothesis import settings

from tests import scratch

pytest_plugins = ["gateway.testing", "tests.peers.ews.process", "tests.peers.graph.process"]

scratch.use()

# Thirty connectors and forms of them are killed step by step; `make soak` does it at the kit's own number of steps.
os.environ.setdefault("GATEPOST_KILL_POINTS", "16")

# Else each gateway that a test starts compiles all its modules anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# The same examples each time, so that a run says something of what was changed since the last one; `make thorough`
# draws others, and more. No deadline: how long an example takes says more of the machine's other work than of the
# code, and what has to be linear is measured by tests of its own, by the processor's time.
settings.register_profile("steady", derandomize=True, deadline=None, max_examples=60, print_blob=True)
settings.register_profile("thorough", deadline=None, max_examples=2000, print_blob=True)
settings.load_profile(os.environ.get("GATEPOST_EXAMPLES", "steady"))
