"""The configurations that the pages of IMAP and POP3 show are taken as they stand."""

from __future__ import annotations

import re
import tomllib

import pytest

from gateway.registry import connectors
from tests.docs.sandbox import ROOT


@pytest.mark.parametrize("page", ["imap", "pop", "local", "folders"])
def test_what_a_page_shows_is_taken(page: str) -> None:
    text = (ROOT / "docs" / "connectors" / f"{page}.md").read_text(encoding="utf-8")
    shown = 0
    for block in re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for section in tomllib.loads(block).get("connector", {}).values():
            kind = section.pop("type", None)
            if kind is None:  # a part of one that is shown above
                kind, section = page, {"path": "mail/{user}", **section}
            connectors()[kind].load().Config.model_validate(section)
            shown += 1
    assert shown
