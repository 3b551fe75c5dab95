"""A started gateway in a plugin's environment, and the modules that lie beside the plugin's tests."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.examples.plugin import Plugin
from tests.peers.gateway import Gateway


def peer(plugin: Plugin, name: str) -> Any:
    """Return a module that lies beside a plugin's tests."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, plugin.folder / "tests" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


class PluginGateway(Gateway):
    """The gateway in a plugin's environment."""

    def __init__(self, plugin: Plugin, folder: Path, next_hop: int, **options: Any) -> None:
        self._plugin = plugin
        super().__init__(folder, next_hop, wrapper=[str(plugin.python)], **options)

    def stop(self, timeout_s: float = 30.0) -> int:
        assert self.process is not None
        return self.process.stop(timeout_s)

    def cli(self, *args: str, timeout_s: float = 60.0) -> Any:
        words = [str(self._plugin.python), str(self.command), *args, "-c", str(self.config), "--json"]
        ran = subprocess.run(words, capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL)
        if ran.returncode != 0:
            raise RuntimeError(f"gatepost {' '.join(args)}: {ran.returncode}\n{ran.stdout}{ran.stderr}")
        return json.loads(ran.stdout)
