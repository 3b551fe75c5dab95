"""Reply-ability: people of every network can answer those of every other one."""

from __future__ import annotations

import re
from pathlib import Path

from tests.mappings.matrix import matrix, text_of

PAGE = Path(__file__).parents[2] / "docs" / "reply-ability.md"


def test_every_pair_can_answer() -> None:
    cells = matrix()
    wrong = {key: (str(cell.shown), str(cell.found)) for key, cell in cells.items() if not cell.is_right}
    assert not wrong
    assert len(cells) == 2 * 22 * 22


def test_the_page_shows_the_matrix() -> None:
    shown = re.search(r"```text\n(.*?)\n```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert shown is not None
    assert shown[1] == text_of(matrix())
