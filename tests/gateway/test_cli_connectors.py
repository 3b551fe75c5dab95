"""`gatepost connectors`: what it tells of each connector and of each installed type."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli.app import app
from gateway.cli.connectors import in_words
from gateway.contract import CONTRACT_VERSION, Capabilities
from gateway.registry import ConnectorUnavailable

CONFIG = """\
[gateway]
name = "gw.merged.example"

[connector.internet]
type = "smtp"
smart_host = "127.0.0.1:2526"

[connector.oldmhs]
type = "filedrop"
network = "mhs"
inbox = "in"
"""


class _Broken:
    distribution = "gatepost-broken 0.3"

    class point:
        dist = None

    def load(self) -> type:
        raise ConnectorUnavailable("connector type 'broken' cannot be imported: No module named 'vendor'")


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "gatepost.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    from gateway import registry

    known = registry.connectors()
    monkeypatch.setattr(registry, "connectors", lambda: {**known, "broken": _Broken()})
    ran = CliRunner().invoke(app, ["connectors", "--json"])
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)


def test_of_each_configured_one_where_it_stands_and_what_it_carries(told: Any) -> None:
    internet, oldmhs = told["connectors"]
    assert (internet["name"], internet["type"], internet["at"]) == ("internet", "smtp", "gatepost.toml:4")
    assert (internet["ok"], internet["health"]) == (False, "the gateway does not run")
    assert internet["capabilities"]["header_networks"] == ["smtp"]
    assert (oldmhs["at"], oldmhs["takes"]) == ("gatepost.toml:8", "mhs")


def test_of_each_type_who_brings_it_and_where_it_is_used(told: Any) -> None:
    types = {each["type"]: each for each in told["types"]}
    smtp = types["smtp"]
    assert (smtp["distribution"], smtp["version"]) == ("gatepost", version("gatepost"))
    assert (smtp["contract"], smtp["sides"], smtp["configured"]) == (CONTRACT_VERSION, ["in", "out"], ["internet"])
    assert types["ews"]["sides"] == ["in", "out", "mailboxes"]
    assert types["ews"]["configured"] == []
    broken = types["broken"]
    assert "No module named 'vendor'" in broken["trouble"]
    assert (broken["contract"], broken["sides"], broken["from"]) == (None, [], "gatepost-broken 0.3")


@pytest.mark.parametrize(
    ("able", "said"),
    [
        (Capabilities(), "all of a message"),
        (Capabilities(html=False, attachments=False), "no HTML, attachments"),
        (Capabilities(tnef=False, wants_tnef=True), "all of a message"),
        (
            Capabilities(charset="cp437", max_subject_chars=40),
            "all of a message; the characters of cp437; subjects of 40",
        ),
        (Capabilities(wrap_columns=78, max_line_octets=998), "lines of 78 columns; lines of 998 octets"),
        (Capabilities(max_size_bytes=1000), "up to 1000 octets"),
        (Capabilities(max_size_bytes=64 << 20), "up to 64 MiB"),
        (Capabilities(max_size_bytes=3 << 30), "up to 3 GiB"),
        (Capabilities(max_size_bytes=(1 << 20) + 1024), "up to 1025 KiB"),
    ],
)
def test_capabilities_in_words(able: Capabilities, said: str) -> None:
    assert said in in_words(able)
