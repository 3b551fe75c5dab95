"""A clean environment, as a developer elsewhere has one: gatepost installed from its wheel, and nothing of this tree.

What gatepost depends on is taken from this environment by a path, so that nothing is fetched: a `.pth` line that names
a folder adds it, and reads none of its own `.pth` files, by which this tree is installed here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import ClassVar

ROOT = Path(__file__).parents[2]
_SCRIPT = '#!/bin/sh\nexec {python} -m {module} "$@"\n'
_PARTS = ("gateway", "connectors", "mappings", "pyproject.toml", "README.md", "LICENSE")
MYPY_CACHE = ROOT / ".mypy_cache" / "outside"
"""What mypy knows of the dependencies, kept from run to run; a first one takes it a while."""


class CleanEnvironment:
    """An environment in `folder`, with gatepost in it; `run` calls its commands by name."""

    _wheels: ClassVar[list[Path]] = []

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        venv.create(folder, with_pip=False)
        self.bin = folder / "bin"
        (self.site / "dependencies.pth").write_text(self._dependencies())
        for module in ("pip", "pytest", "mypy"):
            script = self.bin / module
            script.write_text(_SCRIPT.format(python=self.bin / "python", module=module))
            script.chmod(0o755)
        self.pip("install", "--no-deps", str(self._wheel()))

    @property
    def site(self) -> Path:
        (found,) = (self.folder / "lib").glob("python*/site-packages")
        return found

    @property
    def environ(self) -> dict[str, str]:
        """What a shell of this environment has: pip fetches nothing, and builds with what is there."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))},
            "VIRTUAL_ENV": str(self.folder),
            "PATH": os.pathsep.join((str(self.bin), os.environ["PATH"])),
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip's way to say no by a variable
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_COMPILE": "1",
            "PIP_QUIET": "1",
            "MYPY_CACHE_DIR": str(MYPY_CACHE),
            # Of the tools here that an author's environment has not, the one that warns of settings it does not find.
            "PYTEST_ADDOPTS": "-p no:asyncio",
            "GATEPOST_KILL_POINTS": "4",
        }

    def pip(self, *words: str) -> None:
        self.run("pip", *words)

    def run(self, *words: str, cwd: Path | None = None, ok: bool = True, within_s: float = 280) -> str:
        """Run a command and return what it printed. Raises: AssertionError where it fails, and `ok`."""
        ran = subprocess.run(
            [str(self.bin / words[0]) if (self.bin / words[0]).exists() else words[0], *words[1:]],
            cwd=cwd or self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=within_s,
            check=False,
        )
        assert (ran.returncode == 0) == ok, f"{' '.join(words)}: {ran.returncode}\n{ran.stdout}"
        return ran.stdout

    def _dependencies(self) -> str:
        return "".join(f"{each}\n" for each in sys.path if each.endswith("site-packages"))

    def _wheel(self) -> Path:
        """Return this tree's wheel, built once in a process."""
        if not CleanEnvironment._wheels:
            CleanEnvironment._wheels.append(self._built())
        return CleanEnvironment._wheels[0]

    def _built(self) -> Path:
        """Build from a copy, as what a build leaves in a folder gets into the next one."""
        source = self.folder / "source"
        source.mkdir()
        for name in _PARTS:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, source / name)
        self.run("pip", "wheel", "--no-deps", "-w", str(self.folder / "wheels"), str(source))
        (wheel,) = (self.folder / "wheels").glob("gatepost-*.whl")
        return wheel
