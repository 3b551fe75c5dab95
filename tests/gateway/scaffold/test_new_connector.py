"""What `gatepost new-connector` writes works: it is built, installed and type-checked in a clean environment.

The one with a network is run there, by the kit and by a gateway, where the tutorial is followed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.app import app
from gateway.scaffold import ScaffoldError, plan, write
from gateway.testing import Bench, DestinationSuite, SourceSuite
from tests.docs.sandbox import ROOT, blocks
from tests.peers.clean import CleanEnvironment

pytestmark = pytest.mark.xdist_group("clean environment")


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> CleanEnvironment:
    """An environment with two connectors installed, one of them with a network."""
    made = CleanEnvironment(tmp_path_factory.mktemp("clean"))
    made.run("gatepost", "new-connector", "pager")
    made.run("gatepost", "new-connector", "telegraph", "--network")
    made.pip("install", "./gatepost-pager", "./gatepost-telegraph")
    return made


def test_they_are_installed_from_wheels_of_their_own(clean: CleanEnvironment) -> None:
    told = json.loads(clean.run("gatepost", "connectors", "--json"))
    found = {each["type"]: each for each in told["types"]}
    assert found["pager"]["from"] == "gatepost-pager 0.1.0"
    assert found["telegraph"]["trouble"] is None
    assert {"inbox", "outbox", "poll_s", "max_size_bytes"} <= set(found["telegraph"]["options"])
    assert (clean.site / "gatepost_pager" / "py.typed").exists()
    assert (clean.site / "gateway" / "py.typed").exists()


def test_they_are_typed_to_the_strictest_from_outside(clean: CleanEnvironment) -> None:
    """mypy reads the types of the gatepost that is installed, by its py.typed."""
    for name in ("pager", "telegraph"):
        package = clean.folder / f"gatepost-{name}"
        said = clean.run("mypy", "--strict", f"src/gatepost_{name}", f"tests/test_{name}.py", cwd=package)
        assert "Success: no issues found" in said
    (pigeon,) = [block.text for block in blocks(ROOT / "docs" / "plugins.md") if block.title == "pigeon.py"]
    (clean.folder / "pigeon.py").write_text(pigeon)
    assert "Success: no issues found" in clean.run("mypy", "--strict", "pigeon.py")
    wrong = clean.folder / "wrong.py"
    wrong.write_text("from gateway.contract import Delivered, Status\n\nDelivered(status=Status(5))\n")
    said = clean.run("mypy", "--strict", str(wrong), ok=False)
    assert 'Argument 1 to "Status" has incompatible type "int"; expected "str"' in said


class TestPager(
    SourceSuite,
    DestinationSuite,
    only=(
        "test_acknowledges_after_the_commit_alone",
        "test_rejected_is_told_for_good",
        "test_delivers_and_settles_each",
        "test_carries_utf8_addresses_as_declared",
        "test_a_broken_next_hop_defers_as_a_whole",
        "test_source_killed_at_every_step_loses_nothing",
    ),
):
    """The one without a network, here, as it is written: what differs from the other."""

    @pytest.fixture
    def connector(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
        folder = write(plan("pager", network=False), tmp_path)
        monkeypatch.syspath_prepend(folder / "src")
        monkeypatch.syspath_prepend(folder / "tests")
        suite = import_module("test_pager")
        bench = Bench(
            suite.Pager, {"inbox": "{tmp}/in", "outbox": "{tmp}/out", "poll_s": 0.01}, suite.PagerDriver, tmp_path
        )
        yield bench
        bench.driver.close()
        for name in ("test_pager", "gatepost_pager.connector", "gatepost_pager"):
            sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("name", "network", "said"),
    [
        ("Pager", False, "no name for a connector"),
        ("two-words", False, "no name for a connector"),
        ("none", False, "a word of Python's"),
        ("smtp", False, "is there already, of gatepost"),
        ("xmpp", True, "there is a network 'xmpp' already"),
    ],
)
def test_a_name_that_does_not_do_is_refused_with_the_mend(name: str, network: bool, said: str) -> None:
    with pytest.raises(ScaffoldError, match=said):
        plan(name, network=network)


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "gatepost-pager").mkdir()
    write(plan("pager", network=False), tmp_path)  # an empty folder is none of anyone's
    with pytest.raises(ScaffoldError, match="is there already; remove it"):
        write(plan("pager", network=False), tmp_path)


def test_the_command_tells_what_it_wrote(tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["new-connector", "pager", "--network", "--into", str(tmp_path), "--json"])
    assert ran.exit_code == 0
    told = json.loads(ran.output)
    assert told["folder"] == str(tmp_path / "gatepost-pager")
    assert told["files"] == [
        ".gitignore",
        "README.md",
        "pyproject.toml",
        "src/gatepost_pager/__init__.py",
        "src/gatepost_pager/connector.py",
        "src/gatepost_pager/network.py",
        "src/gatepost_pager/py.typed",
        "tests/test_pager.py",
    ]
    again = CliRunner().invoke(app, ["new-connector", "pager", "--into", str(tmp_path)])
    assert again.exit_code == 1
    assert "is there already" in again.output
