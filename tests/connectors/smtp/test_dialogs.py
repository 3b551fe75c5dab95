"""The dialogs of tests/dialogs, played against a running source."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.contract import Status

from .server_kit import MemoryIntake, serving

FOLDER = Path(__file__).parents[2] / "dialogs"
_ESCAPE = re.compile(r"\\(r|n|0|\\|x[0-9a-f]{2})|\{(\d+)\*([^}]*)\}")
_NAMED = {"r": "\r", "n": "\n", "0": "\0", "\\": "\\"}


@dataclass
class Dialog:
    """One file: options, steps of (kind, text), and what the intake should have at the end."""

    options: dict[str, Any] = field(default_factory=dict)
    steps: list[tuple[str, str]] = field(default_factory=list)
    arrived: list[tuple[str, list[str], bytes]] = field(default_factory=list)


def octets(text: str) -> bytes:
    """Resolve escapes; everything else is UTF-8."""
    out = b""
    at = 0
    for match in _ESCAPE.finditer(text):
        out += text[at : match.start()].encode()
        if match[2]:
            out += match[3].encode() * int(match[2])
        else:
            out += (_NAMED.get(match[1]) or chr(int(match[1][1:], 16))).encode("latin-1")
        at = match.end()
    return out + text[at:].encode()


def read(path: Path) -> Dialog:
    made = Dialog()
    for n, line in enumerate(path.read_text().splitlines(), 1):
        kind, text = line[:2], line[3:]
        if kind in ("C:", "C~", "S:", "S|"):
            made.steps.append((kind, text))
        elif kind == "= ":
            made.options |= tomllib.loads(line[2:])
        elif kind == "I:":
            paths, _, content = text.partition(": ")
            sender, _, recipients = paths.partition(" -> ")
            made.arrived.append((sender.strip(), recipients.split(", "), octets(content)))
        elif kind not in ("# ", ""):
            raise ValueError(f"{path.name}:{n}: a line begins with one of # = C: C~ S: S| I:")
    return made


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.txt")), ids=lambda path: path.stem)
async def test_dialog(path: Path) -> None:
    dialog = read(path)
    if dialog.options.pop("stranger", False):
        dialog.options["relay_networks"] = ()
    intake = MemoryIntake(
        refused={
            "nobody@acme.example": Status("5.1.1", "no such mailbox here"),
            "busy@acme.example": Status("4.2.1", "busy"),
        }
    )
    async with serving(intake=intake, **dialog.options) as served:
        c = await served.dial()
        said: list[str] = []
        waiting = b""
        for kind, text in dialog.steps:
            if kind[0] == "C":
                waiting += octets(text) if kind == "C~" else f"{text}\r\n".encode()
                continue
            if waiting:
                await c.send(waiting)
                waiting = b""
            if kind == "S|":
                assert await c.is_closed(), path.name
                continue
            if not said:
                said = await c.reply()
            assert said, f"closed, instead of {text!r}"
            line = said.pop(0)
            assert line.startswith(text), f"{path.name}: {line!r} instead of {text!r}"
        assert said == []
        got = [(*paths, body) for paths, body in zip(intake.paths, intake.bodies, strict=True)]
        assert got == dialog.arrived
