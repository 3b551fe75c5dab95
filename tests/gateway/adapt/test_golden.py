"""Golden files: `tests/data/adapt/NAME/` holds `message.eml`, `want.json`, and the result, `result.eml`.

`want.json` names the Capabilities that differ from the default, the recipient, the notes, and any refusal. Adding a
case is adding a folder; `GATEPOST_WRITE_GOLDEN=1` writes the results of new ones, to be read before they are kept.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from gateway.adapt import Adapter
from gateway.contract import Capabilities

from .builders import TABLE, is_carried, message

CASES = sorted(p.parent for p in (Path(__file__).parents[2] / "data" / "adapt").glob("*/message.eml"))


def test_there_are_cases() -> None:
    assert len(CASES) >= 10


@pytest.mark.parametrize("folder", CASES, ids=lambda p: p.name)
def test_golden(folder: Path) -> None:
    want = json.loads((folder / "want.json").read_text())
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in want["capabilities"].items()}
    capabilities = Capabilities(**given)
    stored = message((folder / "message.eml").read_bytes(), to=want.get("to", "smtp:ann@far.example"))
    fitted = Adapter({"in": ("smtp",)}).adapt(stored, stored.deliveries, capabilities, TABLE)
    octets = fitted.content.octets()
    got = {"notes": fitted.fidelity.plain(), "refused": [f.status.code for _, f in fitted.refused]}
    if os.environ.get("GATEPOST_WRITE_GOLDEN") and not (folder / "result.eml").exists():
        (folder / "result.eml").write_bytes(octets)
        (folder / "want.json").write_text(json.dumps({**want, **got}, indent=1, ensure_ascii=False) + "\n")
    assert got == {"notes": want.get("notes", []), "refused": want.get("refused", [])}
    assert octets == (folder / "result.eml").read_bytes()
    if not got["refused"]:
        is_carried(octets, capabilities)
