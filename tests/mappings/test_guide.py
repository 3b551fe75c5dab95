"""The mapping guide says what is so: its examples are read, and its tables tried row by row."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from mappings.encapsulation import Encapsulation, Key
from mappings.interchange import read_csv
from mappings.network import network, parse
from mappings.rule import Rule, Way
from mappings.table import Direction, Table, compile_table

GUIDE = (Path(__file__).parents[2] / "docs" / "mapping.md").read_text()


def block(kind: str) -> str:
    found = re.search(rf"```{kind}\n(.*?)```", GUIDE, re.DOTALL)
    assert found is not None
    return found[1]


def rows(header: str) -> list[list[str]]:
    """Return the cells of the table under a header line, without their back-quotes."""
    table = GUIDE[GUIDE.index(header) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip().strip("`") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table]


def guide_table() -> Table:
    people, problems = read_csv(block("csv"))
    assert problems == []
    mapping: dict[str, Any] = tomllib.loads(block("toml"))["mapping"]
    return compile_table(
        people,
        [Rule(rule["match"], rule["to"], Way(rule["direction"])) for rule in mapping["rule"]],
        domains=mapping["domains"],
        homes={"oldmhs": "mhs"},
        encapsulation=Encapsulation(["gw.merged.example"], [Key("a", b"the guide's key")]),
        version=1,
        gates={name: parse(address) for name, address in mapping["gates"].items()},
    )


@pytest.mark.parametrize(("recipient", "target", "by"), rows("| mail to | goes to | by |"))
def test_where_mail_goes(recipient: str, target: str, by: str) -> None:
    found = guide_table().resolve(parse(recipient))
    if target == "refused":
        assert found.code == by
    else:
        assert (str(found.address), found.home or "routes") == (target, by)


@pytest.mark.parametrize(("address", "on", "shown", "how"), rows("| address | shown on | as | because |"))
def test_how_addresses_are_shown(address: str, on: str, shown: str, how: str) -> None:
    found = guide_table().translate(parse(address), on, Direction.OUTWARD)
    assert (str(found.address), found.how) == (shown, how)


@pytest.mark.parametrize(("name", "written", "normal"), rows("| network | as written | is |"))
def test_normal_forms(name: str, written: str, normal: str) -> None:
    assert network(name).parse(written).value == normal.partition("`")[0]


def test_the_shown_encapsulated_address() -> None:
    shown = guide_table().translate(parse("mhs:Joe Doe@stores"), "smtp", Direction.OUTWARD)
    wanted = re.search(r"`(GPa)…(-MHS-\S+)`", GUIDE)
    assert wanted is not None
    assert shown.address.value.startswith(wanted[1])
    assert shown.address.value.endswith(wanted[2])
