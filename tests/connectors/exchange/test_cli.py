"""`gatepost exchange`: the directory as a file, and the check of what the connector relies on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.peers.ews.process import EwsCompany
from tests.peers.graph.process import GraphCompany
from tests.peers.nursery import nursery

Company = EwsCompany | GraphCompany


@pytest.fixture(params=["ews", "graph"])
def organisation(request: pytest.FixtureRequest) -> tuple[str, Company]:
    peer = request.getfixturevalue(f"{request.param}_peer")
    return request.param, peer.organisation("ann", "bob")


def configured(folder: Path, kind: str, company: Company, **more: Any) -> Path:
    options = {"type": kind, **company.access(), **more}
    lines = [f"{key} = {json.dumps(value)}" for key, value in options.items()]
    path = folder / "gatepost.toml"
    text = '[gateway]\nname = "gw.example"\nspool = "sqlite:///spool"\n\n[connector.exchange]\n'
    path.write_text(text + "\n".join(lines) + '\n\n[[route]]\nmatch = "smtp:*"\nto = "exchange"\n')
    return path


def gatepost(*arguments: object) -> tuple[int, str, str]:
    done = nursery().run([*map(str, arguments)], {}, 120)
    return done.returncode, done.stdout, done.stderr


def test_all_that_is_relied_on_holds_and_nothing_is_left(organisation: tuple[str, Company], tmp_path: Path) -> None:
    kind, company = organisation
    config = configured(tmp_path, kind, company)
    ann = company.address("ann")
    status, out, err = gatepost("-c", config, "exchange", "check", "exchange", "--mailbox", ann, "--json")
    assert (status, err) == (0, "")
    found = {each["what"]: each for each in json.loads(out)["findings"]}
    assert all(each["ok"] is not False for each in found.values())
    assert found["it is found by its key at once"]["ok"] is True
    assert found["it has the date it was given"]["ok"] is True
    assert "made anew" in found["its MIME is given"]["text"]
    ids = {"ews": "it has another id there", "graph": "it keeps its id"}
    assert found["an item moves"]["text"] == ids[kind]
    assert ("the item is exported whole" in found) == (kind == "ews")
    assert [each for each in company.folders("ann") if "Check" in each] == []
    assert company.items("ann") == []
    assert company.outside() == []


def test_what_does_not_hold_is_said(organisation: tuple[str, Company], tmp_path: Path) -> None:
    kind, company = organisation
    config = configured(tmp_path, kind, company)
    company.disable("bob")
    status, out, _ = gatepost("-c", config, "exchange", "check", "exchange", "--mailbox", company.address("bob"))
    assert status == 1
    assert "NO  the mailbox opens: " in out


def test_a_mailbox_is_needed_and_a_connector(organisation: tuple[str, Company], tmp_path: Path) -> None:
    kind, company = organisation
    config = configured(tmp_path, kind, company)
    status, _, err = gatepost("-c", config, "exchange", "check", "exchange")
    assert (status, err) == (1, "no mailbox is configured; name one by --mailbox\n")
    status, _, err = gatepost("-c", config, "exchange", "check", "other")
    assert (status, err) == (1, "'other' is no configured connector of type ews or graph\n")


def test_the_directory_is_planned_into_the_mapping(organisation: tuple[str, Company], tmp_path: Path) -> None:
    kind, company = organisation
    company.contact("far", "far@elsewhere.example")
    company.group("team", "ann")
    watch = {} if kind == "graph" else {"send_as": company.address("ann"), "mode": "send"}
    config = configured(tmp_path, kind, company, **watch)
    written = tmp_path / "people.csv"
    status, out, err = gatepost("-c", config, "exchange", "directory", "exchange", "-o", written)
    assert (status, err) == (0, "")
    count = int(out.split()[0])
    lines = written.read_text().splitlines()
    assert count == len(lines) - 1 >= 3
    outside = ["far@elsewhere.example"] if kind == "ews" else []  # Graph's connector reads users and groups
    for address in (company.address("ann"), company.address("bob"), *outside):
        assert sum(address in line.split(",") for line in lines) == 1, address
    status, out, err = gatepost("-c", config, "map", "import", "--format", "exchange", written, "--dry-run")
    assert status == 0, out + err
    assert company.address("ann") in out
