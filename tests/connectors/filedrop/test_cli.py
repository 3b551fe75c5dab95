"""`gatepost filedrop`, as an operator types it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from connectors.filedrop.formats import FORMATS
from gateway.cli import commands
from gateway.cli.app import app

EXAMPLES = Path(__file__).parents[3] / "examples/legacy-formats"
DATA = Path(__file__).parents[2] / "data/filedrop"
ALARMS = [str(EXAMPLES / "alarms.csv"), "--describe", str(EXAMPLES / "alarms.toml")]


def gatepost(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GATEPOST_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)


def test_formats() -> None:
    told = json.loads(gatepost("filedrop", "formats", "--json").stdout)
    assert [row["format"] for row in told] == list(FORMATS)
    lines = gatepost("filedrop", "formats").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["format", *FORMATS]


def test_a_file_is_shown_field_by_field() -> None:
    result = gatepost("filedrop", "try", "records", *ALARMS)
    assert result.exit_code == 0
    for line in ("  id       0   4711", "    from        smtp:press-3@plant7.example", "    | Limit is 2.0 bar."):
        assert any(shown.startswith(line) for shown in result.stdout.splitlines()), line
    assert result.stdout.endswith("alarms.csv: 2 messages, 0 bad\n")


def test_what_is_bad_is_told_and_fails(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes((EXAMPLES / "alarms.csv").read_bytes().replace(b";20261129083000;", b";yesterday;"))
    words = ("filedrop", "try", "records", str(file), "--describe", str(EXAMPLES / "alarms.toml"))
    result = gatepost(*words)
    assert result.exit_code == 1
    assert "records.date at octet 49, line 1: date: 'yesterday' is in none of the forms %Y%m%d%H%M%S" in result.stdout
    assert "  found  yesterday" in result.stdout
    assert "  mend   mend the date, or add its form to formats" in result.stdout
    told = json.loads(gatepost(*words, "--json").stdout)
    assert (told["ok"], told["messages"], told["bad"]) == (False, 1, 1)
    assert told["items"][0]["bad"]["found"] == b"yesterday".hex()


def test_any_format(tmp_path: Path) -> None:
    file = tmp_path / "a.eml"
    file.write_bytes(b"From: ann@a.example\r\nTo: bob@b.example\r\nSubject: Hi\r\n\r\nText\x1b[2J\r\n")
    result = gatepost("filedrop", "try", "pickup", str(file))
    assert result.exit_code == 0, result.output
    assert "    recipient  smtp:bob@b.example" in result.stdout
    assert "    subject" in result.stdout
    assert "\x1b" not in result.stdout  # a file must not write to the operator's terminal as it likes
    file.write_bytes(b"no header\r\n")
    assert gatepost("filedrop", "try", "pickup", str(file)).exit_code == 1


def test_a_format_has_a_network_of_its_own() -> None:
    offer = str(DATA / "smf70/offer")
    shown = gatepost("filedrop", "try", "smf70", offer).stdout
    assert "    sender     mhs:ann@hq {SMTP:ann@acme.example}" in shown
    assert "    from        mhs:ann@hq {SMTP:ann@acme.example}" in shown
    assert gatepost("filedrop", "try", "smf70", offer, "--network", "smtp").exit_code == 1


def test_a_configured_connector(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    description = (EXAMPLES / "alarms.toml").read_text()
    (tmp_path / "mine.toml").write_text(description.replace("plant7", "plant8"))
    (tmp_path / "gatepost.toml").write_text(
        '[gateway]\nname = "gw.example"\n[connector.plant]\ntype = "filedrop"\nformat = "records"\n'
        'inbox = "in"\n[connector.plant.records]\ndescribe = "mine.toml"\n'
    )
    result = gatepost("filedrop", "try", "plant", ALARMS[0], "-c", "gatepost.toml")
    assert result.exit_code == 0, result.output
    assert "smtp:gate@plant8.example" in result.stdout
    assert gatepost("filedrop", "try", "plant", *ALARMS).stdout.count("smtp:gate@plant7.example") > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("records", "none.csv", *ALARMS[1:]), "none.csv cannot be read: No such file or directory"),
        (("records", "/tmp", *ALARMS[1:]), "/tmp cannot be read: it is no regular file"),
        (("nonsense", ALARMS[0]), "'nonsense' is neither a format (pickup, "),
        (("records", ALARMS[0]), "give --describe DESCRIPTION.toml"),
        (("records", ALARMS[0], "--describe", "none.toml"), "none.toml: found no readable file"),
        (("ftn", ALARMS[0]), "name a configured connector in its place"),
        (("pickup", ALARMS[0], "--network", "mars"), "no network 'mars' is installed"),
    ],
)
def test_what_cannot_be_done_says_why(words: tuple[str, ...], said: str) -> None:
    result = gatepost("filedrop", "try", *words)
    assert result.exit_code == 1
    assert said in result.output


def test_other_commands_do_not_load_it() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom gateway.cli.app import app\n"
        "assert CliRunner().invoke(app, ['version']).exit_code == 0\n"
        "print(sorted(n for n in sys.modules if n.startswith('connectors')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_it_is_listed() -> None:
    assert "filedrop" in gatepost("--help").stdout
    assert "try" in gatepost("filedrop", "--help").stdout


def test_a_command_that_cannot_be_imported_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    points = {
        "broken": EntryPoint("broken", "no_such_module:app", commands.GROUP),
        "odd": EntryPoint("odd", "json:dumps", commands.GROUP),
    }
    monkeypatch.setattr(commands, "points", lambda: points)
    for name, why in (("broken", "No module named 'no_such_module'"), ("odd", "json:dumps is no typer.Typer")):
        result = gatepost(name, "anything", "--at-all")
        assert result.exit_code == 1
        assert f"the command {name} of" in result.output
        assert why in result.output
    assert gatepost("--help").exit_code == 0
    assert gatepost("version").exit_code == 0
