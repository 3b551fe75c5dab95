"""The pages of the plugins: their tables are those of the models (`UPDATE_DOCS=1` writes them), and their configuration
is one that the gateway takes."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.docs.sandbox import ROOT, blocks
from tests.examples.plugin import Plugin

MODELS = {
    "webhook": "gatepost_webhook.config:WebhookConfig",
    "webhook client": "gatepost_webhook.config:Client",
    "xmpp": "gatepost_xmpp.config:XmppConfig",
}
_TABLE = re.compile(r"(<!-- options: ([^>]+) -->\n)(.*?)(<!-- end of options -->)", re.DOTALL)
_PROGRAM = """
import importlib, json, sys
from gateway.config_model import option_table
found = []
for each in sys.argv[1:]:
    module, _, name = each.partition(":")
    model = getattr(importlib.import_module(module), name)
    assert [key for key, field in model.model_fields.items() if not field.description] == []
    found.append(option_table(model))
print(json.dumps(found))
"""


def tables(plugin: Plugin) -> dict[str, str]:
    names = [each for each in MODELS if each.split()[0] == plugin.name]
    words = [plugin.python, "-c", _PROGRAM, *(MODELS[each] for each in names)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return dict(zip(names, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("name", ["webhook", "xmpp"])
def test_tables_are_those_of_the_models(name: str) -> None:
    page = ROOT / "docs" / "connectors" / f"{name}.md"
    told = tables(Plugin(name))
    text = page.read_text(encoding="utf-8")
    fresh = _TABLE.sub(lambda m: f"{m[1]}\n{told[m[2]]}\n\n{m[4]}", text)
    if os.environ.get("UPDATE_DOCS"):
        page.write_text(fresh, encoding="utf-8")
    assert text == fresh or os.environ.get("UPDATE_DOCS"), "run the test with UPDATE_DOCS=1 and look at the change"
    assert {m[2] for m in _TABLE.finditer(text)} == told.keys()


@pytest.mark.parametrize("name", ["webhook", "xmpp"])
def test_the_configuration_of_the_page_is_taken(name: str, tmp_path: Path) -> None:
    page = ROOT / "docs" / "connectors" / f"{name}.md"
    (text,) = [block.text for block in blocks(page) if block.title == "gatepost.toml"]
    (tmp_path / "gatepost.toml").write_text(text)
    for secret in re.findall(r'"file:([^"]+)"', text):
        (tmp_path / secret).write_text("a-secret-of-24-octets-or-more\n")
    said = Plugin(name).run("gateway", "check", "-c", str(tmp_path / "gatepost.toml"))
    assert "ok (2 connectors, 2 routes" in said
