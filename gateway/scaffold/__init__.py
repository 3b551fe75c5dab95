"""Write the package of a new connector, made of the templates beside this file.

What is written works and passes the conformance kit as it is; its author replaces one part after the other.
"""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Final

_NAME: Final = re.compile(r"[a-z][a-z0-9]{0,31}")


class ScaffoldError(Exception):
    """The package cannot be written; the text says why, and the mend."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be written: a connector type's name, and whether it brings a network of addresses."""

    name: str
    network: bool

    @property
    def distribution(self) -> str:
        return f"gatepost-{self.name}"

    @property
    def module(self) -> str:
        return f"gatepost_{self.name}"

    @property
    def class_name(self) -> str:
        return self.name.capitalize()

    def files(self) -> dict[str, str]:
        """Return the template of each file, by its path in the package."""
        source = f"src/{self.module}"
        found = {
            "pyproject.toml": "pyproject.toml",
            "README.md": "README.md",
            ".gitignore": "gitignore",
            f"{source}/__init__.py": "init.py",
            f"{source}/connector.py": "connector.py",
            f"tests/test_{self.name}.py": "test.py",
        }
        if self.network:
            found[f"{source}/network.py"] = "network.py"
        return found


def plan(name: str, *, network: bool) -> Plan:
    """Return what is to be written under this name. Raises: ScaffoldError where it cannot be a connector's."""
    from gateway.registry import connectors
    from mappings.network import registry

    if not _NAME.fullmatch(name):
        raise ScaffoldError(f"{name!r} is no name for a connector: at most 32 letters a-z and digits, a letter first")
    if keyword.iskeyword(name.capitalize()):
        raise ScaffoldError(f"{name!r} is a word of Python's; choose another name")
    entry = connectors().get(name)
    if entry is not None:
        raise ScaffoldError(f"connector type {name!r} is there already, of {entry.distribution}; choose another name")
    if network and registry().is_installed(name):
        raise ScaffoldError(
            f"there is a network {name!r} already; choose another name, or leave --network out and use its addresses"
        )
    return Plan(name, network)


def write(what: Plan, into: Path) -> Path:
    """Write the package into a new folder of its distribution's name below `into`, and return that.

    Raises: ScaffoldError where the folder has something in it; OSError.
    """
    from jinja2 import Environment, StrictUndefined

    from mappings.contract_version import CONTRACT_VERSION

    target = into / what.distribution
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ScaffoldError(f"{target} is there already; remove it, or choose another name or --into")
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
    )
    values = {
        "name": what.name,
        "network": what.network,
        "distribution": what.distribution,
        "module": what.module,
        "class": what.class_name,
        "title": f"The connector {what.name}",
        "contract": CONTRACT_VERSION,
        "gatepost": version("gatepost"),
    }
    templates = files("gateway.scaffold") / "templates"
    for path, template in what.files().items():
        made = environment.from_string((templates / f"{template}.jinja").read_text(encoding="utf-8")).render(values)
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_text(made, encoding="utf-8")
    (target / "src" / what.module / "py.typed").touch()
    return target
