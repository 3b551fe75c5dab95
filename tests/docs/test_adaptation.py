"""The example of the page on adaptation is what the adapter makes of it. `UPDATE_DOCS=1` writes it anew."""

from __future__ import annotations

import json
import os
import re

from gateway.adapt import Adapter
from gateway.contract import Capabilities, memo
from tests.docs.sandbox import ROOT
from tests.gateway.adapt.builders import TABLE, message

PAGE = ROOT / "docs" / "adaptation.md"
CASE = ROOT / "tests" / "data" / "adapt" / "plain-text-and-files"
_EXAMPLE = re.compile(r"(<!-- example: (\w+) -->\n)(.*?)(<!-- end of example -->)", re.DOTALL)


def _shown() -> dict[str, str]:
    octets = (CASE / "message.eml").read_bytes()
    stored = message(octets)
    capabilities = Capabilities(**json.loads((CASE / "want.json").read_text())["capabilities"])
    fitted = Adapter().adapt(stored, stored.deliveries, capabilities, TABLE)
    found = memo(fitted.content)
    files = [f"{a.name} ({a.type}, {sum(map(len, a.octets()))} octets)" for a in found.attachments]
    return {
        "message": octets.decode(),
        "subject": found.subject,
        "text": found.text,
        "files": "\n".join(files),
        "notes": "\n".join(f"{n.fate.value}: {n.what}: {n.why}" for n in fitted.fidelity.notes),
    }


def test_the_example_is_what_comes_out() -> None:
    shown = {name: text.replace("\r\n", "\n").rstrip("\n") for name, text in _shown().items()}
    text = PAGE.read_text(encoding="utf-8")
    fresh = _EXAMPLE.sub(lambda m: f"{m[1]}```text\n{shown[m[2]]}\n```\n{m[4]}", text)
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(fresh, encoding="utf-8")
    assert {m[2] for m in _EXAMPLE.finditer(text)} == set(shown)
    assert text == fresh or os.environ.get("UPDATE_DOCS"), "run the test with UPDATE_DOCS=1 and look at the change"


def test_every_capability_is_told() -> None:
    told = set(re.findall(r"`(\w+)(?:=False)?`", PAGE.read_text(encoding="utf-8").partition("## Without")[0]))
    assert set(Capabilities.__dataclass_fields__) - {"delivery_reports"} <= told
