"""msgraph-sdk in an environment of its own, for it is 400 MB that nothing else needs: `make graph-sdk` makes it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.peers.graph.process import GraphCompany

ROOT: Final = Path(__file__).parents[3]
PYTHON: Final = ROOT / "build" / "graph-sdk" / "bin" / "python"
LOCK: Final = Path(__file__).with_name("sdk.lock")
_BOUND_S: Final = 200.0


class Sdk:
    """Runs the stories of `sdk_client.py`, all in one process, each with a client of its own."""

    def __init__(self) -> None:
        unwanted = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._process = subprocess.Popen(
            [PYTHON, "-I", Path(__file__).with_name("sdk_client.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._errors, env={name: value for name, value in os.environ.items() if name not in unwanted},
        )  # fmt: skip

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

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
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([story, given]).encode() + b"\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], _BOUND_S)
        line = self._process.stdout.readline() if ready else b""
        self._errors.seek(0)
        assert line, f"no answer: {self._errors.read().decode()[-4000:]}"
        answer = json.loads(line)
        assert "told" in answer, answer["failed"][-4000:]
        return answer["told"]


@pytest.fixture(scope="session")
def graph_sdk() -> Iterator[Sdk]:
    """The SDK; where it is not installed, a failure that says how to mend it."""
    if not PYTHON.exists():
        pytest.fail(f"msgraph-sdk is not installed in {PYTHON.parents[1]}: run `make graph-sdk`")
    sdk = Sdk()
    yield sdk
    sdk.close()
