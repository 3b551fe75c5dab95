"""The peer by hand: an organisation to try, told on standard output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from tests.peers.process import Process, answers, free_port, wait_until

ROOT = Path(__file__).parents[3]


def test_it_can_be_tried_by_hand(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.peers.graph", "--port", str(free_port()), "--try", "try.example"]
    process = Process(command, tmp_path / "log", env={"PYTHONPATH": str(ROOT)})
    try:
        wait_until(lambda: process.said().endswith("\n") or not process.is_alive, 60, "it says how it is reached")
        told = json.loads(process.said())
        origin = told["url"].removesuffix("/v1.0")
        form = {
            "grant_type": "client_credentials", "client_id": told["client_id"], "client_secret": told["client_secret"],
            "scope": f"{origin}/.default",
        }  # fmt: skip
        with httpx.Client(trust_env=False, timeout=60) as http:
            token = http.post(f"{origin}/{told['tenant']}/oauth2/v2.0/token", data=form).json()["access_token"]
            users = http.get(f"{told['url']}/users", headers={"Authorization": f"Bearer {token}"}).json()["value"]
        assert [each["mail"] for each in users] == ["ann@try.example", "bob@try.example"]
    finally:
        process.kill()


def test_it_ends_with_the_tests_that_started_it(tmp_path: Path) -> None:
    """A run of tests that is killed leaves no server behind."""
    port, control = free_port(), free_port()
    start = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-m', 'tests.peers.graph', '--port', '{port}', '--control', '{control}'])\n"
        "time.sleep(600)"
    )
    tests = subprocess.Popen([sys.executable, "-c", start], env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=tmp_path)
    try:
        wait_until(lambda: answers(control), 60, "it listens")
    finally:
        tests.send_signal(signal.SIGKILL)
        tests.wait()
    wait_until(lambda: not answers(control), 60, "it has ended")
