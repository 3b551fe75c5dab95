"""What `gatepost map` tells of somebody's forwarding: where it ends, and where it ends nowhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli.app import app

CONFIG = """
[gateway]
name = "gw.acme.example"
spool = "sqlite:///spool"
postmaster = "postmaster@acme.example"

[mapping]
domains = ["acme.example"]
import = ["people.csv"]

[connector.boxes]
type = "local"
path = "mail/{user}"

[connector.internet]
type = "smtp"

[[route]]
match = "smtp:*"
to = "internet"
"""
PEOPLE = """\
name,home,smtp,attributes
Postmaster,boxes,postmaster@acme.example,
Ann,boxes,ann@acme.example,mail.forward=bob@acme.example
Bob,boxes,bob@acme.example,mail.forward=ann@acme.example
Carl,boxes,carl@acme.example,mail.forward=carl@acme.example\\; gone@acme.example\\; c@else.example
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gatepost.toml").write_text(CONFIG)
    (tmp_path / "people.csv").write_text(PEOPLE)
    (tmp_path / "mail").mkdir()
    monkeypatch.delenv("GATEPOST_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)


def told(*words: str) -> Any:
    return json.loads(CliRunner().invoke(app, ["map", *words, "--json"]).stdout)


def test_what_ends_nowhere_and_what_comes_round_is_found() -> None:
    found = [(each["kind"], each["example"]) for each in told("check")["findings"] if "forwarded" in each["text"]]
    assert found == [
        ("forward", "smtp:bob@acme.example"),
        ("forward", "smtp:ann@acme.example"),
        ("dangling", "smtp:gone@acme.example"),
    ]


def test_where_it_goes_is_explained() -> None:
    ends = told("explain", "smtp:carl@acme.example")["ends"]
    assert [(end["to"], end.get("connector")) for end in ends] == [
        ("smtp:carl@acme.example", "boxes"),
        ("smtp:gone@acme.example", None),
        ("smtp:c@else.example", "internet"),
    ]


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        ("program:sort", ""),
        ("folder:Lists", "a rule names a folder, and no place for folders is configured"),
        ("mailbox\\; program:sword", "a rule names a program that is not configured"),
    ],
)
def test_a_rule_that_its_connector_cannot_do_is_found(tmp_path: Path, rule: str, error: str) -> None:
    boxes = f'path = "{tmp_path}/mail/{{user}}"\nformat = "mbox"\nprograms = {{sort = {{command = ["/bin/cat"]}}}}'
    (tmp_path / "gatepost.toml").write_text(CONFIG.replace('path = "mail/{user}"', boxes))
    (tmp_path / "people.csv").write_text(PEOPLE + f"Dora,boxes,dora@acme.example,mail.deliver={rule}\n")
    found = [each for each in told("check")["findings"] if "Dora" in each["text"]]
    text = f"mail for Dora waits at boxes: {error}"
    expected = [("error", "dangling", text, "smtp:dora@acme.example")] if error else []
    assert [(each["severity"], each["kind"], each["text"], each["example"]) for each in found] == expected
