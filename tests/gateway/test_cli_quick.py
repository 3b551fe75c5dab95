"""`gatepost sync run` by what was kept of its configuration: it tells what the whole command tells, or leaves it so."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from gateway.cli import quick
from gateway.sync.checked import FILE
from tests.gateway.sync.test_dovecot import login, message
from tests.peers.dovecot import PASSWORD, Dovecot

_PROGRAM: Final = """
import atexit, sys
atexit.register(lambda: print("whole" if "typer" in sys.modules else "quick", file=sys.stderr))
from gateway.cli import main
main()
"""
_SECONDS: Final = re.compile(r"in \d+:\d\d")


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    with Dovecot() as one:
        yield one


@pytest.fixture(scope="module")
def folder(server: Dovecot, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quick")
    options = f'type = "imap"\nhost = "127.0.0.1"\nport = {server.port}\ntls = "none"\n'
    (folder / "secret").write_text(PASSWORD)
    (folder / "gatepost.toml").write_text(
        f'[gateway]\nname = "gw.example"\n[connector.old]\n{options}password = "file:secret"\n'
        f'[connector.new]\n{options}password = "{PASSWORD}"\n[sync.merger]\nfrom = "old"\nto = "new"\n'
        'mailboxes = "people.csv"\n'
    )
    (folder / "people.csv").write_text("from,to\nann,ben\ncarl,dora\n")
    return folder


@pytest.fixture
def file(folder: Path) -> Path:
    """Return a configuration whose mailboxes are in step and known to be."""
    path = folder / "gatepost.toml"
    settle(path)
    return path


def settle(path: Path) -> None:
    assert any(run(path)[0] == "quick" for _ in range(5))


def run(path: Path, *more: str, code: int = 0) -> tuple[str, str]:
    """Return which command it was, and what it printed, without times."""
    argv = [sys.executable, "-c", _PROGRAM, "sync", "run", "merger", "-c", str(path), *more]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    *said, which = done.stderr.splitlines()
    return which, _SECONDS.sub("in a while", "\n".join([done.stdout, *said]))


def test_it_tells_what_the_whole_command_tells(file: Path) -> None:
    which, told = run(file)
    assert which == "quick"
    (file.parent / "spool/state" / FILE).unlink()
    assert run(file) == ("whole", told)
    assert run(file) == ("quick", told)
    assert run(file, "--mailbox", "*")[0] == "whole"
    assert run(file, "--json")[0] == "whole"


def test_what_has_changed_is_left_to_the_whole_command_which_does_that_alone(server: Dovecot, file: Path) -> None:
    login(server, "ann").append("INBOX", "", None, message(1))
    which, told = run(file)
    assert which == "whole"
    assert "1 copied" in told
    assert "carl → dora: in step already" in told
    settle(file)
    with (file.parent / "people.csv").open("a") as people:
        people.write("emil,fay\n")
    which, told = run(file)
    assert which == "whole"
    assert "3 of 3 mailboxes in step" in told


def test_a_secret_that_is_another_one_now_is_what_is_logged_in_by(file: Path) -> None:
    (file.parent / "secret").write_text("")
    which, told = run(file, code=1)
    assert which == "whole"
    assert "in step already" not in told
    (file.parent / "secret").write_text(PASSWORD)
    settle(file)


def test_a_server_that_is_silent_or_down_is_nothing_that_is_waited_for_in_vain(tmp_path: Path) -> None:
    with Dovecot() as server:
        path = tmp_path / "gatepost.toml"
        options = f'type = "imap"\nhost = "127.0.0.1"\nport = {server.port}\ntls = "none"\npassword = "{PASSWORD}"\n'
        path.write_text(
            f'[gateway]\nname = "gw.example"\n[connector.old]\n{options}[connector.new]\n{options}'
            '[sync.merger]\nfrom = "old"\nto = "new"\npatience = "1s"\n[[sync.merger.pair]]\nfrom = "a"\nto = "b"\n'
        )
        settle(path)
    with socket.create_server(("127.0.0.1", server.port)) as silent:
        argv = [sys.executable, "-c", _PROGRAM, "sync", "run", "-c", str(path)]
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            held = [silent.accept()[0] for _ in range(2)]
            process.send_signal(signal.SIGTERM)
            assert process.stderr.read() == "stopped; run it again, and it goes on from here\nquick\n"
        assert process.returncode == 128 + signal.SIGTERM
        for each in held:
            each.close()
    which, told = run(path, code=1)
    assert which == "whole"
    assert "refused" in told.lower()


def test_a_configuration_that_is_wrong_now_is_told_of(file: Path) -> None:
    right = file.read_text()
    file.write_text(f"{right}nothing = 1\n")
    which, told = run(file, code=1)
    file.write_text(right)
    assert which == "whole"
    assert "nothing" in told


def test_on_a_terminal_it_is_the_whole_command(file: Path) -> None:
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-c", _PROGRAM, "sync", "run", "-c", str(file)]
    with subprocess.Popen(argv, stdout=theirs, stderr=subprocess.PIPE, text=True) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # what Linux says where the other end is closed
            while octets := os.read(ours, 4096):
                shown += octets
        assert process.stderr is not None
        assert process.stderr.read() == "whole\n"
    os.close(ours)
    assert process.returncode == 0
    assert b"mailboxes in step" in shown


def test_where_nobody_reads_it_ends_as_the_whole_command_does(file: Path) -> None:
    argv = [sys.executable, "-c", _PROGRAM, "sync", "run", "-c", str(file)]
    for which in ("quick", "whole"):
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            assert process.stderr.read() == f"{which}\n"
        assert process.returncode == 1
        (file.parent / "spool/state" / FILE).unlink()


@pytest.mark.parametrize(
    ("args", "meant"),
    [
        ("sync run", (None, None)),
        ("sync run merger", ("merger", None)),
        ("sync run merger -c f", ("merger", Path("f"))),
        ("sync run --config f merger", ("merger", Path("f"))),
        ("-c f sync run", (None, Path("f"))),
        ("sync -c f run", None),
        ("sync run -c", None),
        ("sync run -c f -c g", None),
        ("sync run -c -x", None),
        ("sync run -cf", None),
        ("sync run merger --json", None),
        ("sync run one two", None),
        ("sync run --help", None),
        ("sync retry", None),
        ("sync", None),
    ],
)
def test_it_is_the_everyday_form_alone(args: str, meant: tuple[str | None, Path | None] | None) -> None:
    assert quick._meant(args.split()) == meant
