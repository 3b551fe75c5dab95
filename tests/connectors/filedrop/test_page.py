"""What the page shows of a reason and a status file is what the gateway writes; `UPDATE_DOCS=1` writes it anew."""

from __future__ import annotations

import os
import re
from pathlib import Path

from gateway.contract import Action
from gateway.testing import RecordingIntake
from tests.connectors.filedrop.folders import connector, put, running, until
from tests.connectors.filedrop.test_status import deliver, made, report, reporting

PAGE = Path(__file__).parents[3] / "docs" / "connectors" / "filedrop.md"


def block(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- example: {name} -->\n\n```text\n)(.*?)(```\n)", re.DOTALL)


def shown(name: str, text: str | None = None) -> str:
    """Return an example of the page; write it anew where the docs are made."""
    page = PAGE.read_text(encoding="utf-8")
    if text is not None and os.environ.get("UPDATE_DOCS"):
        page = block(name).sub(lambda match: match[1] + text + match[3], page)
        PAGE.write_text(page, encoding="utf-8")
    match = block(name).search(page)
    assert match is not None
    return match[2]


async def test_the_reason_on_the_page(tmp_path: Path) -> None:
    put(tmp_path, "order 7.eml", shown("bad file").encode())
    kept = tmp_path / "errors" / "order 7.eml"
    async with running(connector(tmp_path, errors="errors"), RecordingIntake()):
        await until(kept.exists)
    text = kept.with_name("order 7.eml.reason.txt").read_text()
    assert shown("reason", text) == text


async def test_the_status_file_on_the_page(tmp_path: Path) -> None:
    drop = made(tmp_path)
    await drop.start()
    await deliver(drop, reporting(1, report(Action.FAILED, text="no such mailbox here", key="")))
    await drop.stop()
    text = (tmp_path / "st" / "order 7.sts").read_text()
    assert shown("status", text) == text
