"""The pages of the Exchange connectors: each configuration they show is one, and the check prints what they say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config import load
from tests.docs.sandbox import ROOT, blocks
from tests.peers.ews.process import EwsPeer

PAGES = [page for name in ("exchange", "graph") if (page := ROOT / f"docs/connectors/{name}.md").exists()]


def configurations() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for number, block in enumerate(blocks(page)):
            if block.language == "toml":
                yield f"{page.stem}-{number}", block.text


CONFIGURATIONS = dict(configurations())


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_each_configuration_is_one(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = CONFIGURATIONS[name]
    monkeypatch.setenv("EXCHANGE_PASSWORD", "secret")
    for file in re.findall(r'"file:([^"]+)"', text):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("secret\n")
        (tmp_path / file).chmod(0o600)
    whole = '[gateway]\nname = "gw.merged.example"\nspool = "sqlite:///spool"\n\n' + text
    if "[[route]]" not in text:
        connector = re.findall(r"^\[connector\.([a-z]+)\]$", text, re.MULTILINE)[0]
        whole += f'\n[[route]]\nmatch = "smtp:*"\nto = "{connector}"\n'
    path = tmp_path / "gatepost.toml"
    path.write_text(whole)
    config = load(path, dry=True)
    assert config.connectors


def test_the_check_prints_what_the_page_says(tmp_path: Path, ews_peer: EwsPeer) -> None:
    company = ews_peer.organisation("bridge")
    options = "\n".join(f"{key} = {json.dumps(value)}" for key, value in company.access().items())
    config = tmp_path / "gatepost.toml"
    config.write_text(
        f'[gateway]\nname = "gw.example"\nspool = "sqlite:///spool"\n\n[connector.exchange]\ntype = "ews"\n{options}\n'
    )
    command = [sys.executable, "-m", "gateway", "-c", str(config), "exchange", "check", "exchange"]
    mailbox = company.address("bridge")
    done = subprocess.run([*command, "--mailbox", mailbox], capture_output=True, text=True, timeout=120, check=False)
    shown = next(b.text for b in blocks(PAGES[0]) if b.language == "text" and "exchange check" in b.text)
    assert [_what(line) for line in done.stdout.splitlines()[1:]] == [
        _what(line) for line in shown.splitlines()[2:] if line
    ]
    assert done.returncode == 0


def _what(line: str) -> str:
    return line.partition(": ")[0]
