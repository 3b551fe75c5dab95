"""Connectors that do what they may not, as distributions in a folder that a gateway finds by PYTHONPATH.

Each of the types is what its name says; where `folder/NAME.mended` exists, it behaves.
"""

from __future__ import annotations

from pathlib import Path

TYPES = ("unimportable", "stumbling", "crashing", "exiting", "blocking")

_COMMON = '''\
"""Made by a test."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from pydantic import Field

from gateway.contract import Connector, ConnectorConfig, Delivered

HERE = Path(__file__).parent


def mended(name):
    return (HERE / f"{name}.mended").exists()


class Options(ConnectorConfig):
    outbox: str = Field("out", description="Where a line is written for each delivery.")


class Behaves(Connector):
    Config = Options

    def next_hop(self, address):
        return "there"

    async def deliver(self, batch):
        for parcel in batch.parcels:
            octets = b"".join(parcel.content.chunks())
            for item in parcel.items:
                self.take(item, octets)
                batch.settle(item.id, Delivered())

    def take(self, item, octets):
        with open(HERE / f"{self.name}.got", "ab") as file:
            file.write(f"{item.address}\\n".encode())
'''
_OWN = {
    "unimportable": """\
from gone_wrong_common import Behaves, mended

if not mended("unimportable"):
    import no_such_module_here  # what it needs is not installed


class Bad(Behaves):
    pass
""",
    "stumbling": """\
from gone_wrong_common import Behaves, mended


class Bad(Behaves):
    async def start(self):
        if not mended("stumbling"):
            raise KeyError("a bug in start")
""",
    "crashing": """\
import asyncio

from gone_wrong_common import Behaves, mended


class Bad(Behaves):
    async def run(self, intake):
        await asyncio.sleep(0.1)
        raise ZeroDivisionError("a bug in run")

    async def deliver(self, batch):
        if not mended("crashing"):
            raise RuntimeError("a bug in deliver")
        await super().deliver(batch)
""",
    "exiting": """\
import asyncio
import sys

from gone_wrong_common import Behaves


class Bad(Behaves):
    async def run(self, intake):
        sys.exit("a library that thinks that it is the program")

    async def deliver(self, batch):
        sys.exit(3)
""",
    "blocking": """\
import time

from gone_wrong_common import Behaves


def ask_the_vendor():
    time.sleep(2.5)  # the line that blocks


class Bad(Behaves):
    def take(self, item, octets):
        ask_the_vendor()
        super().take(item, octets)
""",
}


def write(folder: Path) -> None:
    """Write the distributions into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gone_wrong_common.py").write_text(_COMMON)
    for name in TYPES:
        (folder / f"bad_{name}.py").write_text(_OWN[name])
        info = folder / f"bad_{name}-0.{len(name)}.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: bad-{name}\nVersion: 0.{len(name)}\n")
        (info / "entry_points.txt").write_text(f"[gatepost.connectors]\n{name} = bad_{name}:Bad\n")


def mend(folder: Path, name: str) -> None:
    """Let one behave from now on."""
    (folder / f"{name}.mended").touch()


def got(folder: Path, name: str) -> list[str]:
    """Return whom a connector of this name delivered to, in order."""
    path = folder / f"{name}.got"
    return path.read_text().split() if path.exists() else []


def tables() -> str:
    """Return the tables of a configuration with one of each, named as its type, and routes to them by domain."""
    found = []
    for name in TYPES:
        found.append(f'[[route]]\nmatch = "smtp:*@{name}.example"\nto = "{name}"\n')
    for name in TYPES:
        found.append(f'[connector.{name}]\ntype = "{name}"\n')
    return "\n".join(found)
