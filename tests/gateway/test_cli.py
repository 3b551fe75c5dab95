"""The command line, as an operator types it: beside a gateway that runs, and beside its spool when it does not."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gateway import ids
from gateway.cli.app import app
from gateway.spool.open import open_spool
from gateway.sync.state import State
from tests.gateway.spool.builders import Maker
from tests.peers.postgres import PostgresServer

GATEPOST = [sys.executable, "-m", "gateway"]

CONFIG = """\
[gateway]
name = "gw.merged.example"
admin_listen = "127.0.0.1:{port}"

[connector.oldmhs]
type = "filedrop"
network = "mhs"
inbox = "in"
outbox = "out"

[[mapping.rule]]
match = "smtp:{{local}}@{{wg}}.mhs.example"
to = "mhs:{{local}}@{{wg}}"

[[route]]
match = "mhs:*"
to = "oldmhs"
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    file = tmp_path / "gatepost.toml"
    file.write_text(CONFIG.format(port=free_port()))
    monkeypatch.delenv("GATEPOST_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    return file


def gatepost(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def said(*words: str) -> str:
    result = gatepost(*words)
    assert result.exit_code == 0, result.output
    return result.stdout


def told(*words: str) -> Any:
    return json.loads(said(*words, "--json"))


def stored(folder: Path, recipients: int = 1, url: str | None = None) -> str:
    """Put a message into the spool of a gateway that does not run; returns its shown id."""

    async def put() -> str:
        async with await open_spool(url or f"sqlite:///{folder}/spool", folder) as spool:
            message = Maker(time.time).message(recipients)  # type: ignore[arg-type]  # any clock does
            await spool.accept(message)
            return ids.text(message.id)

    return asyncio.run(put())


# -- without a gateway


def test_version() -> None:
    assert re.fullmatch(r"gatepost \d+\.\d+\.\d+\n", said("version"))
    assert set(told("version")) == {"version"}


def test_check_is_content(config: Path) -> None:
    expected = f"{config}: ok (1 connector, 1 route, 1 mapping rule, 0 identities)\n"
    assert said("check") == expected
    assert said("-c", str(config), "check") == expected
    assert said("check", "-c", str(config)) == expected
    assert told("check") == {"ok": True, "mistakes": [], "warnings": []}


def test_the_option_after_the_command_wins(config: Path, tmp_path: Path) -> None:
    assert gatepost("-c", str(tmp_path / "none.toml"), "check", "-c", str(config)).exit_code == 0


def test_check_tells_every_mistake(config: Path) -> None:
    config.write_text(CONFIG.format(port=0).replace("outbox", "outbocks").replace('to = "oldmhs"', 'to = "oldmsh"'))
    result = gatepost("check")
    assert result.exit_code == 1
    assert 'did you mean "outbox"' in result.stderr
    assert 'did you mean "oldmhs"' in result.stderr
    assert "2 mistakes in the configuration" in result.stderr
    as_json = gatepost("check", "--json")
    assert as_json.exit_code == 1
    assert [m["nearest"] for m in json.loads(as_json.stdout)["mistakes"]] == ["outbox", "oldmhs"]


def test_check_looks_whether_named_files_are_there(config: Path, tmp_path: Path) -> None:
    more = """
[connector.submission]
type = "smtp"
listen = ["127.0.0.1:0"]
tls_cert = "cert.pem"
login = {file = "accounts"}

[connector.old]
type = "imap"
host = "old.example"
passwords = "old.csv"

[connector.older]
type = "pop"
host = "old.example"
passwords = "."
"""
    config.write_text(config.read_text() + more)
    (tmp_path / "cert.pem").touch()
    result = gatepost("check")
    assert result.exit_code == 1
    assert f"connector.submission: login.file: there is no file {tmp_path}/accounts" in result.stderr
    assert f"connector.old: passwords: there is no file {tmp_path}/old.csv" in result.stderr
    assert f"connector.older: passwords: the file {tmp_path} cannot be read: Is a directory" in result.stderr
    assert "3 mistakes" in result.stderr
    (tmp_path / "accounts").touch()
    assert [m["rule"].partition(":")[0] for m in json.loads(gatepost("check", "--json").stdout)["mistakes"]] == [
        "passwords",
        "passwords",
    ]


def test_run_refuses_a_wrong_configuration(config: Path) -> None:
    config.write_text("[gateway]\n")
    result = gatepost("run")
    assert result.exit_code == 78
    assert "gateway.name: found no such key" in result.stderr


def test_connectors(config: Path) -> None:
    answer = told("connectors")
    assert {"smtp", "filedrop"} <= {t["type"] for t in answer["types"]}
    assert [(c["name"], c["type"], c["ok"]) for c in answer["connectors"]] == [("oldmhs", "filedrop", False)]
    assert "the gateway does not run" in said("connectors")
    assert "outbox" in said("connectors", "--options", "filedrop")
    assert gatepost("connectors", "--options", "pigeon").exit_code == 1


def test_no_spool_yet(config: Path) -> None:
    result = gatepost("queue")
    assert result.exit_code == 1
    assert "there is no spool yet" in result.stderr
    assert json.loads(gatepost("queue", "--json").stdout)["ok"] is False


def test_the_queue_of_a_gateway_that_does_not_run(config: Path) -> None:
    shown = stored(config.parent, 2)
    assert [r["delivery"] for r in told("queue", "list")["rows"]] == [f"{shown}/0", f"{shown}/1"]
    assert [lane["queued"] for lane in told("queue")["lanes"]] == [2]
    assert said("queue", "hold", f"{shown}/0") == f"1 delivery held\n  {shown}/0\n"
    assert "held" in said("queue", "list", "--state", "held")
    assert told("queue", "release", "--all")["changed"] == [f"{shown}/0"]
    assert "1 delivery rerouted" in said("queue", "reroute", f"{shown}/1", "--to-next-hop", "mx2.example")
    assert told("queue", "requeue", "--older", "0s", "--all")["ok"]
    assert said("queue", "drop", "--next-hop", "mx2.example").startswith("1 delivery dropped")
    assert "in the queue for connector internet" in said("why", shown)
    assert "dropped" in said("trace", shown)
    assert told("trace", "ann@acme.example")["messages"][0]["id"] == shown
    assert told("why", shown)["recipients"][1]["state"] == "dropped"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("queue", "drop"), "say which deliveries, or --all"),
        (("queue", "hold", "0000000000000"), "no delivery matches"),
        (("queue", "hold", "what"), "it has 13 characters"),
        (("queue", "list", "--older", "long"), "--older long: expected a duration"),
        (("queue", "list", "--state", "lost"), "no state 'lost'"),
        (("queue", "reroute", "--all"), "say where to"),
        (("why", "0000000000000"), "no message 0000000000000"),
        (("trace", "nobody@nowhere.example"), "no trace of nobody@nowhere.example"),
        (("trace", "x", "--last", "long"), "--last long: expected a duration"),
        (("db", "restore", "nothing"), "is not empty|is not the backup"),
    ],
)
def test_what_cannot_be_done_is_said_and_exits_with_1(config: Path, words: tuple[str, ...], reason: str) -> None:
    stored(config.parent)
    result = gatepost(*words)
    assert result.exit_code == 1
    assert re.search(reason, result.stderr)
    assert result.stdout == ""


def test_backup_restore_fsck_upgrade(config: Path, tmp_path: Path) -> None:
    shown = stored(tmp_path)
    said("check")
    assert told("db", "fsck") == {"findings": []} | {"ok": True}
    assert told("db", "upgrade")["ok"]
    assert said("db", "upgrade") == "nothing to upgrade\n"
    (tmp_path / "spool" / "state").mkdir(exist_ok=True)
    (tmp_path / "spool" / "state" / "encapsulation.key").write_text("the key\n")
    State(tmp_path / "spool" / "sync.sqlite").close()
    assert said("db", "backup", "saved") == f"the spool is backed up in {tmp_path}/saved\n"
    assert gatepost("db", "backup", "saved").exit_code == 1
    (tmp_path / "spool").rename(tmp_path / "lost")
    assert "everything in it is held" in said("db", "restore", "saved")
    assert [(r["delivery"], r["state"]) for r in told("queue", "list")["rows"]] == [(f"{shown}/0", "held")]
    assert (tmp_path / "spool" / "state" / "encapsulation.key").read_text() == "the key\n"
    assert (tmp_path / "spool" / "sync.sqlite").exists()


def test_a_shared_spool(config: Path) -> None:
    server = PostgresServer()
    try:
        server.start()
        url = server.new_database("cli")
        config.write_text(config.read_text().replace("admin_listen", f'spool = "{url}"\nadmin_listen'))
        shown = stored(config.parent, url=url)
        assert [r["delivery"] for r in told("queue", "list")["rows"]] == [f"{shown}/0"]
        assert told("queue", "hold", shown)["changed"] == [f"{shown}/0"]
        assert [lane["held"] for lane in told("queue")["lanes"]] == [1]
        assert told("db", "fsck")["ok"]
        assert told("db", "upgrade")["ok"]
        assert told("db", "backup", "saved")["ok"]
    finally:
        server.remove()


def test_help_of_every_command() -> None:
    for words in ([], ["run"], ["queue"], ["queue", "list"], ["trace"], ["why"], ["db"], ["db", "fsck"], ["check"]):
        assert "Usage" in said(*words, "--help")


# -- beside a gateway that runs


@pytest.fixture
def running(config: Path) -> Iterator[subprocess.Popen[str]]:
    log = (config.parent / "log").open("w")
    process = subprocess.Popen([*GATEPOST, "run"], stderr=log, text=True)
    sockets = config.parent / "spool" / "state"
    for _ in range(1200):
        if process.poll() is not None or "started" in (config.parent / "log").read_text():
            break
        time.sleep(0.05)
    assert (sockets / "worker-0.sock").exists(), (config.parent / "log").read_text()
    yield process
    process.kill()
    process.wait()
    log.close()


def port_of(config: Path) -> int:
    found = re.search(r"127\.0\.0\.1:(\d+)", config.read_text())
    assert found is not None
    return int(found[1])


def until(condition: Any, within_s: float = 60.0) -> Any:
    end = time.monotonic() + within_s
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def test_commands_reach_a_running_gateway(config: Path, running: subprocess.Popen[str]) -> None:
    (config.parent / "out").rmdir()
    (config.parent / "out").write_text("in the way")
    mail = b"From: zoe@far.example\r\nTo: ann@sales.mhs.example\r\nSubject: hello\r\n\r\nhello\r\n"
    (config.parent / "in" / "part").write_bytes(mail)
    (config.parent / "in" / "part").rename(config.parent / "in" / "a.eml")
    rows = until(lambda: [r for r in told("queue", "list")["rows"] if r["attempts"]])
    assert rows, (config.parent / "log").read_text()
    shown = rows[0]["delivery"].partition("/")[0]
    why = said("why", shown)
    assert "mhs:ann@sales" in why
    assert "route 1: mhs:* goes to oldmhs" in why
    assert said("queue", "hold", shown).startswith("1 delivery held")
    (config.parent / "out").unlink()
    (config.parent / "out").mkdir()
    assert said("queue", "release", shown).startswith("1 delivery released")
    assert until(lambda: list((config.parent / "out").glob("*.eml")))
    assert until(lambda: "delivered" in said("trace", shown))
    assert told("queue", "list")["rows"] == []
    assert told("db", "fsck") == {"ok": True, "findings": []}
    assert said("db", "backup", "saved")
    for words in (("db", "upgrade"), ("db", "restore", "saved")):
        result = gatepost(*words)
        assert (result.exit_code, result.stderr) == (1, "the gateway is running; stop it first\n")


def test_health_and_metrics(config: Path, running: subprocess.Popen[str]) -> None:
    base = f"http://127.0.0.1:{port_of(config)}"
    health = json.loads(urllib.request.urlopen(f"{base}/healthz").read())
    assert health == {"ok": True, "workers": 1, "expected": 1, "ill": [], "oldest_age_s": 0}
    assert b"gatepost_workers 1.0" in urllib.request.urlopen(f"{base}/metrics").read()
    assert told("connectors")["connectors"][0]["ok"]


def test_a_second_gateway_is_refused(config: Path, running: subprocess.Popen[str]) -> None:
    second = subprocess.run([*GATEPOST, "run"], capture_output=True, text=True, timeout=30, check=False)
    assert second.returncode in (1, 78)
    assert "the gateway cannot start" in second.stderr
    assert "Traceback" not in second.stderr
    assert running.poll() is None


def test_a_reload_takes_a_new_route_and_refuses_a_wrong_one(config: Path, running: subprocess.Popen[str]) -> None:
    log = config.parent / "log"
    text = config.read_text()
    config.write_text(text.replace('to = "oldmhs"', 'to = "nowhere"'))
    running.send_signal(signal.SIGHUP)
    assert until(lambda: "reload_refused" in log.read_text())
    config.write_text(text)
    running.send_signal(signal.SIGHUP)
    assert until(lambda: "reloaded" in log.read_text())


def test_a_stop_takes_the_socket_away(config: Path, running: subprocess.Popen[str]) -> None:
    os.kill(running.pid, signal.SIGTERM)
    assert running.wait(15) == 0
    assert not (config.parent / "spool" / "state" / "worker-0.sock").exists()
    assert "stopped" in (config.parent / "log").read_text()
