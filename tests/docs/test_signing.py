"""The page on mail that others accept: each configuration it shows is one that starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.smtp.signing_keys import KeyStore
from gateway.config import load
from gateway.contract import Context
from gateway.log import get_log
from tests.docs.sandbox import ROOT, blocks

PAGE = ROOT / "docs/connectors/signing.md"
CONFIGURATIONS = [block.text for block in blocks(PAGE) if block.language == "toml"]


@pytest.mark.parametrize("text", CONFIGURATIONS, ids=range(len(CONFIGURATIONS)))
async def test_each_configuration_is_one(text: str, tmp_path: Path) -> None:
    (tmp_path / "srs.secret").write_text("secret\n")
    (tmp_path / "dkim").mkdir()
    KeyStore(tmp_path / "dkim").make("acme.example", "ed25519", 0, 0)
    path = tmp_path / "gatepost.toml"
    path.write_text(
        '[gateway]\nname = "gw.acme.example"\nspool = "sqlite:///spool"\n\n'
        + text.replace("*:25", "127.0.0.1:0")
        + '\n[[route]]\nmatch = "smtp:*"\nto = "internet"\n'
    )
    section = load(path, dry=True).connectors["internet"]
    context = Context(
        hostname="gw.acme.example",
        state_dir=tmp_path / "state",
        base_dir=tmp_path,
        log=get_log("test"),
        clock=lambda: 1.0,
    )
    connector = section.cls("internet", section.config, context)
    await connector.start()
    await connector.stop()


def test_the_page_shows_them() -> None:
    assert len(CONFIGURATIONS) == 3
