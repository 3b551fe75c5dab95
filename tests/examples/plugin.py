"""A connector of `examples/` in the environment that `make plugins` made for it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
FEW, MANY = 6, 60
"""Steps at which the kit kills: in an ordinary run, and in `make soak`."""


class Plugin:
    """One of them, by the end of its name: `webhook` is `examples/gatepost-webhook`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = ROOT / "examples" / f"gatepost-{name}"
        self.python = ROOT / "build" / "plugins" / name / "bin" / "python"
        assert self.python.exists(), f"there is no {self.python}; mend: make plugins"

    def run(self, *words: str) -> str:
        """Run a module in its environment and folder; return what it prints. Fails with that where it fails."""
        # Where the gateway's own sources are: an editable install of them is no place that mypy looks at.
        env = {**os.environ, "MYPYPATH": str(ROOT)}
        timeout_s = 1700.0
        if int(env.get("GATEPOST_KILL_POINTS") or FEW) < MANY:
            env["GATEPOST_KILL_POINTS"], timeout_s = str(FEW), 280.0
        done = subprocess.run(
            [self.python, "-m", *words],
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr
