"""What users of other tools for moving mailboxes complain of, before the move and while it goes on: by the command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.app import app
from tests.integration.sync_pair import Box, mail, user
from tests.peers.dovecot import PASSWORD, Dovecot

ACL = "mail_plugins = acl\nprotocol imap {\n  mail_plugins = acl imap_acl\n}\nplugin {\n  acl = vfile\n}"

CONFIG = """\
[gateway]
name = "gw.merged.example"

[mapping]
domains = ["old.example", "merged.example"]

[connector.old]
type = "imap"
host = "127.0.0.1"
port = {old}
tls = "none"
password = "{password}"

[connector.new]
type = "imap"
host = "127.0.0.1"
port = {new}
tls = "none"
password = "{password}"

[sync.merger]
from = "old"
to = "new"
mailboxes = "people.csv"
"""


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Dovecot, Dovecot]]:
    with Dovecot(settings=ACL) as one, Dovecot() as two:
        yield one, two


@pytest.fixture
def folder(servers: tuple[Dovecot, Dovecot], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gatepost.toml").write_text(CONFIG.format(old=servers[0].port, new=servers[1].port, password=PASSWORD))
    return tmp_path


def gatepost(*args: str) -> str:
    told = CliRunner().invoke(app, list(args), env={"COLUMNS": "300"})
    assert told.exit_code == 0, told.output
    return told.stdout


@pytest.mark.parametrize(("batch", "told"), [("two", True), ("one", False)])
def test_who_may_read_anothers_mailbox_may_no_more_once_one_of_them_is_moved(
    servers: tuple[Dovecot, Dovecot], folder: Path, batch: str, told: bool
) -> None:
    """Microsoft's documentation of moves between tenants: rights are lost unless both move in one batch."""
    ann, bob = user(), user()
    (folder / "people.csv").write_text(f"from,to,identity,batch\n{ann},,,one\n{bob},,,{batch}\n")
    box = Box(servers[0], ann)
    box.put(mail(1))
    box.put(mail(2), folder="Projects")
    Box(servers[0], bob).put(mail(3))
    with box.client() as client:
        for name in ("INBOX", "Projects"):
            assert client.setacl(name, bob, "lrs")[0] == "OK"
    said = gatepost("sync", "plan", "merger", "--batch", "one")
    warning = f"before it is moved: {bob} has rights in it (INBOX, Projects) and goes with batch two"
    assert (warning in said) is told
    (found,) = [each for each in json.loads(gatepost("sync", "plan", "--json"))["mailboxes"] if each["from"] == ann]
    assert bool(found["before"]) is told


def test_an_address_of_a_domain_of_others_blocks_the_move(servers: tuple[Dovecot, Dovecot], folder: Path) -> None:
    """Microsoft's documentation of moves between tenants: told before anything is moved, with who has it."""
    ann = user()
    Box(servers[0], ann).put(mail(1))
    (folder / "people.csv").write_text(f"from,to,identity,batch\n{ann},,smtp:ann@old.example,\n")
    assert "its identity cannot be found" in gatepost("sync", "plan")
    gatepost("map", "add", "Ann", "smtp:ann@old.example", "smtp:ann@merged.example", "smtp:ann@partner.example")
    said = gatepost("sync", "plan")
    assert "its address ann@partner.example is of a domain that is not ours" in said
    assert "ann@merged.example is" not in said


def test_two_watchers_at_one_mailbox_handle_each_mail_twice(servers: tuple[Dovecot, Dovecot], folder: Path) -> None:
    """n8n #30179, n8n #30275: started several times over, one of them works at a mailbox, and each mail comes once."""
    ann = user()
    left, right = Box(servers[0], ann), Box(servers[1], ann)
    left.put(*(mail(n) for n in range(60)))
    (folder / "people.csv").write_text(f"from,to,identity,batch\n{ann},,,\n")
    command = [sys.executable, "-m", "gateway", "sync", "run", "merger"]
    some = [
        subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    said = [each.communicate(timeout=240)[0] for each in some]
    assert any(each.returncode == 0 for each in some), said
    gatepost("sync", "run", "merger")
    assert right.octets() == left.octets()
