"""The page of the Graph connector: the check prints what it says, and its files are what it says."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

from connectors.exchange.common_config import Watched
from tests.docs.sandbox import ROOT, blocks
from tests.peers.graph.process import GraphPeer

PAGE = ROOT / "docs/connectors/graph.md"


def test_the_check_prints_what_the_page_says(tmp_path: Path, graph_peer: GraphPeer) -> None:
    company = graph_peer.organisation("bridge")
    options = "\n".join(f"{key} = {json.dumps(value)}" for key, value in company.access().items())
    config = tmp_path / "gatepost.toml"
    config.write_text(
        f'[gateway]\nname = "gw.example"\nspool = "sqlite:///spool"\n\n[connector.online]\ntype = "graph"\n{options}\n'
    )
    command = [sys.executable, "-m", "gateway", "-c", str(config), "exchange", "check", "online"]
    mailbox = company.address("bridge")
    done = subprocess.run([*command, "--mailbox", mailbox], capture_output=True, text=True, timeout=180, check=False)
    shown = next(b.text for b in blocks(PAGE) if b.language == "text" and "exchange check" in b.text)
    assert [_what(line) for line in done.stdout.splitlines()[1:]] == [
        _what(line) for line in shown.splitlines()[2:] if line
    ], done.stderr
    assert done.returncode == 0


def test_the_list_of_mailboxes_is_one() -> None:
    shown = next(b.text for b in blocks(PAGE) if b.language == "text" and b.text.startswith("mailbox,folder"))
    rows = list(csv.DictReader(io.StringIO(shown)))
    assert len(rows) == 2
    for row in rows:
        watched = Watched.model_validate({**row, "recipients": row["recipients"].split()})
        assert watched.folder == "Bridge/Out"


def _what(line: str) -> str:
    return line.partition(": ")[0]
