"""The reference of the contract is what its docstrings say, and they say something of every name."""

from __future__ import annotations

import os

from tests.docs import reference
from tests.docs.sandbox import ROOT

PAGE = ROOT / "docs" / "contract.md"


def test_the_page_is_what_the_docstrings_say() -> None:
    """`UPDATE_DOCS=1` writes it anew."""
    made = reference.page()
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(made, encoding="utf-8")
    shown = PAGE.read_text(encoding="utf-8")
    assert shown == made, "docs/contract.md is not current; UPDATE_DOCS=1 writes it"


def test_every_name_of_the_contract_is_documented() -> None:
    assert list(reference.undocumented()) == []
