"""What a start loads: most of its time is imports, so what a command can do without is not imported for it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.peers.dovecot import PASSWORD, Dovecot
from tests.peers.process import free_port

SELDOM: Final = (
    "psycopg", "sqlalchemy.dialects.postgresql", "alembic", "mako", "pygments", "rich", "jinja2", "ldap3",
    "cryptography",
    "watchfiles", "prometheus_client", "dns.asyncresolver", "connectors.filedrop", "connectors.mqtt",
    "mappings.networks.x400", "mappings.networks.ftn",
)  # fmt: skip
"""No gateway needs these that has a SQLite spool of this release, a smart host, and no connector but SMTP."""
UNCHANGED: Final = (
    "sqlalchemy", "psycopg", "alembic", "httpx", "rich", "jinja2", "cryptography", "exchangelib",
    "gateway.adapt", "gateway.spool", "gateway.dispatch", "gateway.node", "gateway.planner", "mappings.prove",
    "mappings.interchange", "gateway.sync.state", "gateway.sync.engine", "gateway.sync.runner",
    "gateway.sync.telling", "connectors.smtp", "connectors.exchange", "connectors.filedrop", "connectors.mqtt",
)  # fmt: skip
"""No run needs these that finds two IMAP mailboxes in step."""
BY_HEART: Final = ("pydantic", "typer", "click", "gateway.config", "gateway.contract", "connectors.imap.connector")
"""Nor these, where the configuration is the one that was checked last."""
CORE: Final = ("pydantic", "sqlalchemy", "asyncio", "gateway.node", "gateway.config")
_PROGRAM: Final = """
import atexit, sys
atexit.register(lambda: print("\\nloaded:", *sys.modules, flush=True))
from gateway.cli import main
main()
"""


def command(*args: str | Path) -> list[str | Path]:
    return [sys.executable, "-c", _PROGRAM, *args]


def loaded(output: str) -> set[str]:
    """Return the modules that a command had loaded at its end, by what `_PROGRAM` printed."""
    return set(output.rpartition("\nloaded:")[2].split())


def loaded_by(*args: str | Path) -> set[str]:
    done = subprocess.run(command(*args), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return loaded(done.stdout)


def of(modules: Collection[str], names: Sequence[str]) -> list[str]:
    """Return which of the named packages and modules are among the loaded ones."""
    return [name for name in names if name in modules]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a gateway that has run once: its first start makes the tables, which takes Alembic."""
    folder = tmp_path_factory.mktemp("start")
    path = folder / "gatepost.toml"
    path.write_text(
        f"""
        [gateway]
        name = "gw.example"
        spool = "sqlite:///{folder}/spool"
        postmaster = "postmaster@gw.example"
        [mapping]
        domains = ["merged.example"]
        [connector.net]
        type = "smtp"
        listen = ["127.0.0.1:{free_port()}"]
        smart_host = "127.0.0.1:9"
        [[route]]
        match = "smtp:*"
        to = "net"
        """
    )
    run_once(path)
    return path


def run_once(config: Path) -> set[str]:
    """Start a gateway, stop it when it has greeted, and return what it has loaded."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command("run", "-c", config), stdout=pipe, stderr=pipe, text=True) as gateway:
        assert gateway.stdout is not None
        assert gateway.stderr is not None
        for line in gateway.stderr:
            if "node: started" in line:
                break
        gateway.send_signal(signal.SIGTERM)
        output = gateway.stdout.read()
    assert gateway.returncode == 0
    return loaded(output)


@pytest.mark.parametrize("args", [["version"], ["--help"]])
def test_what_needs_no_configuration_loads_no_part_of_the_gateway(args: list[str]) -> None:
    modules = loaded_by(*args)
    assert "typer" in modules
    assert of(modules, [*CORE, "gateway.contract", "connectors.filedrop.connector"]) == []


def test_a_group_of_commands_is_loaded_where_it_is_called(config: Path) -> None:
    modules = loaded_by("queue", "-c", config)
    assert "gateway.cli.queue" in modules
    assert of(modules, ["gateway.cli.mapping", "gateway.cli.db"]) == []


def test_a_start_loads_what_is_configured(config: Path) -> None:
    modules = run_once(config)
    assert of(modules, CORE) == list(CORE)
    assert "connectors.smtp.source" in modules
    assert of(modules, SELDOM) == []


@pytest.mark.parametrize("args", [["map", "explain", "smtp:ann@merged.example"], ["queue", "list"]])
def test_a_command_beside_no_gateway_loads_what_is_configured(config: Path, args: list[str]) -> None:
    modules = loaded_by("-c", config, *args)
    assert of(modules, ["gateway.config", "sqlalchemy"]) == ["gateway.config", "sqlalchemy"]
    assert of(modules, SELDOM) == []


def test_without_configuration_a_connector_that_is_asked_about_is_the_only_one_loaded() -> None:
    modules = loaded_by("connectors", "--options", "smtp")
    assert "connectors.smtp.connector" in modules
    assert of(modules, ["connectors.filedrop", "connectors.mqtt", "sqlalchemy"]) == []


def test_a_run_that_finds_mailboxes_in_step_loads_little(tmp_path: Path) -> None:
    with Dovecot() as server:
        path = tmp_path / "gatepost.toml"
        server_options = f'type = "imap"\nhost = "127.0.0.1"\nport = {server.port}\ntls = "none"\n'
        server_options += f'password = "{PASSWORD}"\n'
        path.write_text(
            f'[gateway]\nname = "gw.example"\n[connector.old]\n{server_options}[connector.new]\n{server_options}'
            '[sync.merger]\nfrom = "old"\nto = "new"\n[[sync.merger.pair]]\nfrom = "anna"\nto = "ben"\n'
        )
        run = ("sync", "run", "merger", "-c", path)
        assert "gateway.sync.engine" in loaded_by(*run)
        loaded_by(*run)
        assert of(loaded_by(*run), [*UNCHANGED, *BY_HEART]) == []
        modules = loaded_by(*run, "--mailbox", "*")
    assert "connectors.imap.connector" in modules
    assert of(modules, UNCHANGED) == []
