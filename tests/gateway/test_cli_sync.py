"""`gatepost sync` as an operator types it, between two Dovecots."""

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

from gateway.cli.app import app
from gateway.control import ask_all
from gateway.sync.state import State
from tests.gateway.sync.test_dovecot import fill, login, message, shown
from tests.peers.dovecot import PASSWORD, Dovecot
from tests.peers.process import free_port, wait_until

GATEPOST = [sys.executable, "-m", "gateway"]
BOUND_S = 60

CONFIG = """\
[gateway]
name = "gw.merged.example"
admin_listen = "127.0.0.1:{admin}"

[connector.old]
type = "imap"
host = "127.0.0.1"
port = {old}
tls = "none"
passwords = "passwords.csv"

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
    with Dovecot() as old, Dovecot(separator=".") as new:
        yield old, new


@pytest.fixture
def config(servers: tuple[Dovecot, Dovecot], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    old, new = servers
    file = tmp_path / "gatepost.toml"
    file.write_text(CONFIG.format(admin=free_port(), old=old.port, new=new.port, password=PASSWORD))
    return file


def people(folder: Path, *rows: str, passwords: tuple[str, ...] = ()) -> None:
    (folder / "people.csv").write_text("\n".join(("from,to,identity,batch", *rows)) + "\n")
    names = passwords or tuple(row.split(",")[0] for row in rows)
    (folder / "passwords.csv").write_text(
        "\n".join(("mailbox,password", *(f"{name},{PASSWORD}" for name in names))) + "\n"
    )


def gatepost(*args: str) -> Result:
    return CliRunner().invoke(app, ["sync", *args], env={"COLUMNS": "200"})


def done(*args: str) -> str:
    told = gatepost(*args)
    assert told.exit_code == 0, told.output
    return told.stdout


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_mailbox_from_the_first_look_to_the_report(
    servers: tuple[Dovecot, Dovecot], config: Path, tmp_path: Path
) -> None:
    old, new = servers
    fill(old, "amy", 24)
    people(tmp_path, "amy,amelia,,one")
    planned = done("plan", "merger", "--folders")
    assert "amy → amelia: 27 to copy" in planned
    assert re.search(r"Süd: 6 items, to be made, 6 to copy", planned)
    assert "nothing was written" in planned
    assert shown(new, "amelia") == []
    assert "no pass yet" in done("status")

    assert "amy → amelia: 27 copied" in done("run", "merger")
    assert shown(new, "amelia") == shown(old, "amy")
    assert "1 of 1 mailboxes in step, 0 items copied" in done("run", "-b", "one")
    assert "amy → amelia: in step already" in done("plan")
    assert "nothing is left to be tried again" in done("retry")

    standing = json.loads(done("status", "--json"))["mailboxes"][0]
    assert (standing["stage"], standing["items"], standing["not_done"]) == ("coexisting", 27, 0)
    assert (standing["passes"], standing["copied_in_all"], standing["last_pass"]["ok"]) == (2, 27, True)

    told = done("verify", "--html", "report.html", "--csv", "report.csv")
    assert "amy → amelia: complete: 27 items" in told
    assert "27 of 27 compared are the same" in told
    assert "The mailbox is complete." in (tmp_path / "report.html").read_text()
    assert len((tmp_path / "report.csv").read_text().splitlines()) == 6  # heads, the mailbox, four folders

    client = login(new, "amelia")
    client.select("Sent")
    client.store("1", "+FLAGS", "\\Deleted")
    client.expunge()
    client.logout()
    assert "1 removed there" in done("verify")


def test_one_mailbox_that_cannot_be_had_stops_no_other_and_is_told(
    servers: tuple[Dovecot, Dovecot], config: Path, tmp_path: Path
) -> None:
    fill(servers[0], "ben", 4)
    people(tmp_path, "ann,,,", "ben,,,", passwords=("ben",))
    told = gatepost("run")
    assert told.exit_code == 1
    assert re.search(r"ann: 4\.7\.8 .*passwords\.csv has nothing to log in to ann by", told.stdout)
    assert "ben: 7 copied" in told.stdout
    assert "1 of 2 mailboxes in step" in told.stdout
    assert "has nothing to log in to ann by" in done("status")
    assert gatepost("plan").exit_code == 1


def test_json_is_a_line_for_each_event_and_ends_with_all(
    servers: tuple[Dovecot, Dovecot], config: Path, tmp_path: Path
) -> None:
    fill(servers[0], "cid", 4)
    people(tmp_path, "cid,,Cid Ray,two")
    told = events(done("run", "--json"))
    assert [each["event"] for each in told if each["event"] != "progress"] == ["begin", "done", "end"]
    assert told[-1]["ok"] is True
    assert (told[-1]["mailboxes"][0]["copied"], told[-1]["mailboxes"][0]["identity"]) == (7, "Cid Ray")
    assert events(done("verify", "--json", "--sample", "1"))[-1]["mailboxes"][0]["folders"][0]["compared"] == 1
    assert json.loads(done("plan", "--json"))["mailboxes"][0]["copies"] == 0


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("run", "elsewhere"), 2, r"there is no \[sync\.elsewhere\]; there are: merger"),
        (("run", "-m", "zed*"), 2, r"no mailbox is meant by: --mailbox zed\*"),
        (("run", "-m", "dan", "-b", "two"), 2, "no mailbox is meant by both"),
        (("cutover", "-m", "dan"), 1, "1 mailboxes would be cut over: dan; say --yes"),
        (("cutover", "-m", "eve", "--yes"), 1, "it was not copied yet"),
        (("rollback", "-m", "eve", "--yes"), 1, "it was not cut over"),
        (("close", "-m", "eve", "--yes"), 1, "only what is cut over is closed"),
        (("verify", "--html", "elsewhere/report.html"), 1, "written to elsewhere/report.html: no such folder"),
        (("verify", "-m", "dan", "--csv", "/dev/full"), 1, "cannot be written to /dev/full: No space left on device"),
    ],
)
def test_what_cannot_be_done_is_told(config: Path, tmp_path: Path, args: tuple[str, ...], code: int, said: str) -> None:
    people(tmp_path, "dan,,,one", "eve,,,two")
    told = gatepost(*args)
    assert (told.exit_code, bool(re.search(said, told.output))) == (code, True), told.output


def test_a_table_of_nobody_is_told(config: Path, tmp_path: Path) -> None:
    people(tmp_path)
    told = gatepost("run")
    assert (told.exit_code, told.output) == (1, "no mailbox stands in the tables of [sync.merger]\n")


def test_a_mailbox_that_cannot_be_opened_is_told_with_where(config: Path, tmp_path: Path) -> None:
    config.write_text(config.read_text().replace(f'"{PASSWORD}"', '"wrong"'))
    people(tmp_path, "joe,,,")
    told = gatepost("plan")
    assert (told.exit_code, "joe: cannot be read: 4.7.8 at new: NO" in told.output) == (1, True), told.output


def test_what_is_closed_is_left_alone_and_is_no_failure(
    servers: tuple[Dovecot, Dovecot], config: Path, tmp_path: Path
) -> None:
    people(tmp_path, "hal,,,", "ida,,,")
    done("run")
    state = State(tmp_path / "spool" / "sync.sqlite")
    asyncio.run(state.set_stage("merger/hal", "closed"))
    state.close()
    fill(servers[0], "hal", 4)
    fill(servers[0], "ida", 4)
    assert "1 of 1 mailboxes in step, 7 items copied" in done("run")
    assert shown(servers[1], "hal") == []
    assert done("run", "-m", "hal") == "all of them are closed\n"


def test_every_mistake_in_the_table_of_people_is_told(config: Path, tmp_path: Path) -> None:
    people(tmp_path, ",x,,", "dan,,,", "dan,,,")
    told = gatepost("run")
    assert told.exit_code == 1
    assert "people.csv:2: no mailbox under from" in told.output
    assert "people.csv:4: dan to dan stands in" in told.output
    checked = CliRunner().invoke(app, ["check", "--json"])
    assert checked.exit_code == 1
    mistakes = json.loads(checked.stdout)["mistakes"]
    assert [each["place"] for each in mistakes] == ["sync.merger.mailboxes"] * 2
    assert "people.csv:2: no mailbox under from" in mistakes[0]["rule"]


def test_a_configuration_is_checked_with_its_syncs(config: Path, tmp_path: Path) -> None:
    wrong = 'from = "olld"\nhome = "new"\nmaxsize = "1MB"\nsearch = ["seenn"]\n'
    config.write_text(config.read_text().replace('from = "old"\n', wrong))
    told = CliRunner().invoke(app, ["check"])
    assert told.exit_code == 1
    for said in (
        r'sync\.merger\.maxsize: found an unknown key.*did you mean "max_size"',
        r"sync\.merger\.search\[0\]",
    ):
        assert re.search(said, told.output), told.output
    config.write_text(re.sub("maxsize.*\nsearch.*\n", "", config.read_text()))
    told = CliRunner().invoke(app, ["check"])
    for said in (r'from: found "olld".*did you mean "old"', r"home: connector new takes mail in and cannot send any"):
        assert re.search(said, told.output), told.output


def test_a_command_that_is_told_to_stop_ends_and_says_how_to_go_on(config: Path, tmp_path: Path) -> None:
    people(tmp_path, "dan,,,")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and says nothing
        config.write_text(re.sub(r"port = \d+\ntls", f"port = {silent.getsockname()[1]}\ntls", config.read_text()))
        command = subprocess.Popen([*GATEPOST, "sync", "run"], stderr=subprocess.PIPE, text=True, env=_environment())
        try:
            silent.settimeout(BOUND_S)
            connection, _ = silent.accept()
            command.send_signal(signal.SIGTERM)
            _, told = command.communicate(timeout=BOUND_S)
            connection.close()
        finally:
            command.kill()
            command.wait()
    assert (command.returncode, told) == (143, "stopped; run it again, and it goes on from here\n")


def test_a_running_gateway_keeps_mailboxes_in_step(
    servers: tuple[Dovecot, Dovecot], config: Path, tmp_path: Path
) -> None:
    old, new = servers
    fill(old, "fay", 4)
    people(tmp_path, "fay,,,")
    done("run")
    port = re.search(r'admin_listen = "127.0.0.1:(\d+)"', config.read_text())
    assert port is not None
    gateway = subprocess.Popen([*GATEPOST, "run"], stderr=subprocess.DEVNULL, env=_environment())
    try:
        client = login(old, "fay")
        client.append("INBOX", "", None, message(900))
        client.logout()
        wait_until(lambda: any(b"<900@" in bytes(row[1]) for row in shown(new, "fay")), BOUND_S, "it is there")  # type: ignore[arg-type]
        wait_until(lambda: "in step" in done("status") or "1 copied" in done("status"), BOUND_S, "the pass is told")
        page = urllib.request.urlopen(f"http://127.0.0.1:{port[1]}/metrics", timeout=BOUND_S).read().decode()
        assert 'gatepost_sync_mailboxes{stage="coexisting",sync="merger"} 1.0' in page
        assert 'gatepost_sync_items{sync="merger"} 8.0' in page
        told = asyncio.run(ask_all(tmp_path / "spool" / "state", "sync.status", {}))
        assert [(each["from"], each["items"]) for each in told[0]["mailboxes"]] == [("fay", 8)]
        children = _children(gateway.pid)
    finally:
        gateway.kill()  # the process that keeps them in step ends with it, however it ends
        gateway.wait()
    assert len(children) == 1
    wait_until(lambda: not Path(f"/proc/{children[0]}").exists(), BOUND_S, "its child is gone")


def _children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def _environment() -> dict[str, str]:
    return {**os.environ, "GATEPOST_CONFIG": str(Path("gatepost.toml").absolute())}


def test_the_watching_command_ends_well_when_it_is_told_to(
    servers: tuple[Dovecot, Dovecot], config: Path, tmp_path: Path
) -> None:
    old, new = servers
    fill(old, "gus", 4)
    people(tmp_path, "gus,,,")
    command = subprocess.Popen(
        [*GATEPOST, "sync", "watch"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_environment()
    )
    try:
        wait_until(lambda: len(shown(new, "gus")) == 7, BOUND_S, "it is copied")
        time.sleep(0.5)
        command.send_signal(signal.SIGINT)
        told, errors = command.communicate(timeout=BOUND_S)
    finally:
        command.kill()
        command.wait()
    assert (command.returncode, errors) == (0, "")
    assert told.startswith("gus: 7 copied")
