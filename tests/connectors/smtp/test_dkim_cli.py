"""`gatepost dkim`: what it prints, and what it refuses in words that name the mend."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from connectors.smtp.dkim_cli import app
from connectors.smtp.signing_keys import KeyStore
from tests.peers.zone_dns import ZoneDns


def run(folder: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*words, "--keys", str(folder)])
    return done.exit_code, done.output


def rows(folder: Path, *words: str) -> list[dict[str, Any]]:
    code, said = run(folder, *words, "--json")
    assert code == 0, said
    found: list[dict[str, Any]] = json.loads(said)
    assert "PRIVATE" not in said
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "dkim"


def test_from_the_first_key_to_the_last(folder: Path) -> None:
    assert "make some with `gatepost dkim new DOMAIN`" in run(folder, "list")[1]
    (made,) = rows(folder, "new", "acme.example", "--kind", "ed25519", "--after", "0", "--selector", "one")
    assert (made["name"], made["state"]) == ("one._domainkey.acme.example", "signing")
    assert made["record"].startswith("v=DKIM1; k=ed25519; p=")
    (following,) = rows(folder, "rotate", "acme.example", "--after", "0", "--keep", "0")
    assert [row["state"] for row in rows(folder, "list")] == ["over", "signing"]
    assert [row["selector"] for row in rows(folder, "record", "acme.example")] == [following["selector"]]
    code, said = run(folder, "list")
    assert code == 0
    assert "take it out of DNS, then `gatepost dkim remove acme.example one`" in said
    assert run(folder, "remove", "acme.example", "one") == (0, "removed one._domainkey.acme.example\n")
    assert not (folder / "acme.example" / "one.pem").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("new", "acme.example"), "gatepost dkim rotate acme.example"),
        (("new", "other.example", "--kind", "dsa"), "rsa, ed25519 or both"),
        (("new", "other.example", "--selector", "s"), "--selector names one key"),
        (("new", "Other.example", "--kind", "rsa"), "no domain in lower-case ASCII"),
        (("record", "other.example"), "gatepost dkim new other.example"),
        (("rotate", "other.example"), "gatepost dkim new other.example"),
        (("rotate", "acme.example"), "no key that signs"),
        (("remove", "acme.example", "x"), "has no key 'x'"),
        (("list", "--connector", "internet"), "not both"),
    ],
)
def test_what_is_refused(folder: Path, words: tuple[str, ...], said: str) -> None:
    folder.mkdir()
    KeyStore(folder).make("acme.example", "ed25519", 4e9, 4e9)  # it is published, and does not sign yet
    code, output = run(folder, *words)
    assert code == 1
    assert said in output


def test_what_dns_holds_is_compared(folder: Path) -> None:
    (made,) = rows(folder, "new", "acme.example", "--kind", "ed25519", "--selector", "s")
    name = "s._domainkey.acme.example"
    blanks = made["record"].replace("; ", ";").replace("p=", "p= ")
    for record, code, said in (
        ([made["record"]], 0, f"ok  {name}\n"),
        (["v=spf1 -all", blanks], 0, f"ok  {name}\n"),
        ([made["record"][:-5] + "AAAA="], 1, "another key stands there"),
        (["v=DKIM1; k=ed25519; p="], 1, "another key stands there"),
        ([], 1, "nothing stands there: publish what `gatepost dkim record` prints"),
        (None, 1, "no answer"),
    ):
        with ZoneDns({(name, "TXT"): record}) as dns:
            got, output = run(folder, "check", "acme.example", "--nameserver", f"127.0.0.1:{dns.port}")
        assert (got, said in output) == (code, True), output


def test_a_connector_that_is_none() -> None:
    done = CliRunner().invoke(app, ["list", "--connector", "internet"])
    assert done.exit_code == 1
    assert "no configured connector of type smtp with a table dkim" in done.output
