"""ews-javascript-api, Microsoft's Managed API in JavaScript, against the peer: each step with the value it has to have.

Its packages are pinned by package-lock.json and laid into build/ews-js once.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.peers.ews.asking import letter
from tests.peers.ews.auth import PASSWORD
from tests.peers.ews.process import EwsCompany, EwsPeer

_HERE: Final = Path(__file__).parent / "ews_js"
_BUILT: Final = Path(__file__).parents[4] / "build" / "ews-js"


def _installed() -> Path:
    """Return the folder with the client's packages, as the lock names them; npm is asked where they are others."""
    lock, done = (_HERE / "package-lock.json").read_bytes(), _BUILT / "installed.json"
    if not done.is_file() or done.read_bytes() != lock:
        if shutil.which("npm") is None or shutil.which("node") is None:
            pytest.fail("there is no npm here (Debian: apt-get install nodejs npm)")
        _BUILT.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_HERE / name, _BUILT / name)
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        made = subprocess.run(command, cwd=_BUILT, capture_output=True, text=True, timeout=280, check=False)
        if made.returncode:
            pytest.fail(f"npm ci did not get the packages of {_HERE / 'package-lock.json'}:\n{made.stderr[-2000:]}")
        done.write_bytes(lock)
    shutil.copy(_HERE / "steps.js", _BUILT / "steps.js")
    return _BUILT


@pytest.fixture
def here(ews_peer: EwsPeer) -> EwsCompany:
    made = ews_peer.organisation("ann", "bob")
    made.put("ann", letter("First"), received_at=1795428000)
    made.put("ann", letter("Second", sender="Jan <jan@outside.example>"), received_at=1795428060)
    return made


def test_every_step_has_its_value(here: EwsCompany) -> None:
    folder = _installed()
    command = ["node", "steps.js", here.peer.url, here.address("ann"), PASSWORD, here.address("bob")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    message = said.pop("message")
    shown = next(each.shown for each in here.items("ann") if each.subject == "Second")
    assert base64.b64decode(message.pop("mime")) == shown
    assert message == {
        "subject": "Second",
        "from": "jan@outside.example",
        "sender": "jan@outside.example",
        "to": ["ann@acme.example"],
        "id": "<Second@outside.example>",
        "read": False,
        "body": "Body",
        "received": "2026-11-23T10:01:00.000Z",
    }
    folders = said.pop("folders")
    assert {"Inbox", "Sent Items", "Deleted Items", "Drafts", "Junk Email", "Calendar"} <= set(folders)
    assert said.pop("gone")["text"] == "The specified object was not found in the store."
    assert said == {
        "inbox": ["Inbox", 2, 2],
        "find": ["Second", "First"],
        "search": [1, False, ["Second"]],
        "read": True,
        "send": True,
        "sync": [2, False, 1, "Delete"],
        "resolve": [["Bob", here.address("bob"), "SMTP"]],
        "folder": "By JavaScript",
    }
    (got,) = here.items("bob")
    assert (got.subject, b"hello" in got.octets) == ("by JavaScript", True)
    assert [each.subject for each in here.items("ann", "sentitems")] == ["by JavaScript"]
    assert [each.subject for each in here.items("ann", "junkemail")] == ["First"]
