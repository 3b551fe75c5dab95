"""msgraph-sdk in an environment of its own, for it is 400 MB that nothing else needs: `make graph-sdk` makes it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.peers.graph.process import GraphCompany

ROOT: Final = Path(__file__).parents[3]
PYTHON: Final = ROOT / "build" / "graph-sdk" / "bin" / "python"
LOCK: Final = Path(__file__).with_name("sdk.lock")
_BOUND_S: Final = 200.0


class Sdk:
    """Runs the stories of `sdk_client.py`."""

    def tell(self, story: str, company: GraphCompany, **more: Any) -> Any:
        """Run a story in Ann's mailbox and return what came of it. Raises: AssertionError with what it printed."""
        given = {
            "origin": company.peer.origin, "ca_file": str(company.peer.ca_file), "tenant": company.tenant,
            "client_id": company.client_id, "client_secret": company.client_secret, "user": company.address("ann"),
            **more,
        }  # fmt: skip
        return self._run(story, given)

    def shapes(self, names: list[str]) -> dict[str, dict[str, str]]:
        """Return the fields and types of the SDK's models."""
        found: dict[str, dict[str, str]] = self._run("shapes", {"names": names})
        return found

    def _run(self, story: str, given: dict[str, Any]) -> Any:
        unwanted = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
        env = {name: value for name, value in os.environ.items() if name not in unwanted}
        script = Path(__file__).with_name("sdk_client.py")
        done = subprocess.run(
            [PYTHON, "-I", script, story], input=json.dumps(given).encode(), capture_output=True, timeout=_BOUND_S,
            env=env, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()[-4000:]
        return json.loads(done.stdout)


@pytest.fixture(scope="session")
def graph_sdk() -> Sdk:
    """The SDK; where it is not installed, a failure that says how to mend it."""
    if not PYTHON.exists():
        pytest.fail(f"msgraph-sdk is not installed in {PYTHON.parents[1]}: run `make graph-sdk`")
    return Sdk()
