"""A kill at every call that changes the disk: the retry has each message there once, and whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from connectors.folders.local.boxes import Boxes, Letter
from connectors.folders.local.config import LocalConfig
from connectors.folders.local.places import Mailbox
from gateway.contract import Content, Outcome
from gateway.mailbox_files import REAL, Operations
from tests.connectors.filedrop.kill import run

ANN = Mailbox("ann@acme.example", "ann", "acme.example")
BODIES = [b"Delivered-To: ann@acme.example\r\n\r\n" + b"%d" % n * 3000 + b" the end\r\n" for n in range(3)]


def put(root: Path, format: str, first: int, ops: Operations = REAL) -> list[Outcome | None]:
    config = LocalConfig.model_validate(
        {"path": f"{root}/{{domain}}/{{user}}", "create": True, "format": format, "quota_bytes": 1_000_000}
    )
    letters = [
        Letter(f"20261124T010203000Z-m{n}-0", Content(BODIES[n]), "bob@else.example", 1_795_482_123.0, False)
        for n in range(first, 3)
    ]
    return Boxes(config, root, "gw.kit.example", ops).put(ANN, "", letters)


def there(root: Path) -> list[bytes]:
    """Return the messages that a reader sees, in order."""
    box = root / "acme.example" / "ann"
    if box.is_dir():
        octets = b"".join(path.read_bytes() for path in sorted((box / "new").iterdir()))
    else:
        octets = box.read_bytes()
    return re.findall(rb"Delivered-To: ann@acme.example\n\n(\d+) the end\n", octets)


@pytest.mark.parametrize("format", ["maildir", "mbox"])  # MMDF's files are appended to as those of mbox
def test_nothing_is_lost_doubled_or_half(tmp_path: Path, format: str) -> None:
    whole = [body.partition(b"\r\n\r\n")[2].removesuffix(b" the end\r\n") for body in BODIES]
    call = 0
    done = False
    while not done:
        call += 1
        assert call < 300
        root = tmp_path / f"{call}"
        root.mkdir()
        assert put(root, format, 2) == [None]  # there is one before
        done = run(lambda ops, root=root: put(root, format, 0, ops), call)  # type: ignore[misc]
        assert put(root, format, 0) == [None, None, None]
        assert sorted(there(root)) == sorted(whole), f"killed at call {call}"
        assert put(root, format, 0) == [None, None, None]
        assert len(there(root)) == 3
    assert call > 10
