"""The tours behind `make run`: they pass as they are, and fail where a message would not arrive as it should."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.peers.gatepost_client import VARIABLE
from tests.peers.nursery import CLIENT, nursery

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"
INSTALLED = 'GATEPOST = Path(sys.executable).parent / "gatepost"'


def copied(folder: Path) -> dict[str, str]:
    """Copy the tours into a folder, and have them call `gatepost` ready made; return what is to be in the environment.

    That it starts as it is installed, the tours as they are show.
    """
    shutil.copytree(QUICKSTART, folder, ignore=shutil.ignore_patterns("var", "__pycache__"))
    quick = folder / "gatepost-ready-made"
    quick.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {CLIENT} "$@"\n')
    quick.chmod(0o755)
    program = (folder / "run.py").read_text()
    assert INSTALLED in program
    (folder / "run.py").write_text(program.replace(INSTALLED, f"GATEPOST = Path({str(quick)!r})"))
    return {VARIABLE: str(nursery().ready())}


def tour(
    folder: Path, program: str = "run.py", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a tour; `env`: what it finds besides in its environment."""
    return subprocess.run(
        [sys.executable, folder / program, "--once"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**os.environ, **(env or {})},
    )


def test_every_message_of_the_tour_arrives() -> None:
    ended = tour(QUICKSTART)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "All 13 arrived as they should." in ended.stdout


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        # Ann is shown under another address than the tour expects
        ("people.csv", "ann.lee@merged.example;ann@acme.example", "ann@acme.example"),
        # a mistake in the configuration: the gateway does not start
        ("gatepost.toml", 'to = "oldmhs"', 'to = "oldmsh"'),
        # an answer goes to another topic than the machine listens to
        ("gatepost.toml", 'topic = "cmnd/{plant}/{unit}"', 'topic = "cmnd/{unit}"'),
    ],
)
def test_it_fails_where_a_message_would_not_arrive(tmp_path: Path, file: str, old: str, new: str) -> None:
    folder = tmp_path / "quickstart"
    env = copied(folder)
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1))
    ended = tour(folder, env=env)
    assert ended.returncode == 1, ended.stdout + ended.stderr


def test_it_fails_where_a_stranger_s_mail_is_published(tmp_path: Path) -> None:
    folder = tmp_path / "quickstart"
    env = copied(folder)
    anybody = '\n[[connector.machines.publish]]\ntopic = "alerts/{plant}/{unit}"\nsenders = ["*"]\nproof = "none"\n'
    with (folder / "gatepost.toml").open("a") as file:
        file.write(anybody)
    ended = tour(folder, env=env)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "what the stranger's mail published" in " ".join(ended.stdout.replace("│", " ").split())
    assert "1 of 13 did not arrive as they should." in ended.stdout


def test_every_message_of_the_tour_with_an_exchange_arrives() -> None:
    ended = tour(QUICKSTART, "exchange.py")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "All 4 arrived as they should." in ended.stdout


def test_without_davmail_the_tour_with_an_exchange_says_so(tmp_path: Path) -> None:
    ended = tour(QUICKSTART, "exchange.py", {"PATH": str(tmp_path)})
    assert ended.returncode == 1
    assert "there is no DavMail here (Debian: apt-get install davmail-server libjna-jni)" in ended.stderr


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        # a mistake in the configuration: the gateway does not start
        ('to = "office"', 'to = "offise"', "the gateway did not start"),
        # what Eve writes goes back to the mailbox that it was taken from
        ('envelope = "headers"', 'envelope = "mailbox"', "1 of 4 did not arrive as they should."),
    ],
)
def test_the_tour_with_an_exchange_fails_where_a_message_would_not_arrive(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    # As deep as the checkout has it, since the tour finds the peer of the tests from there.
    folder = tmp_path / "examples" / "quickstart"
    env = copied(folder)
    (tmp_path / "tests").symlink_to(QUICKSTART.parents[1] / "tests")
    text = (folder / "exchange.toml").read_text()
    assert old in text
    (folder / "exchange.toml").write_text(text.replace(old, new))
    program = (folder / "run.py").read_text()
    assert "PATIENCE_S = 60.0" in program
    (folder / "run.py").write_text(program.replace("PATIENCE_S = 60.0", "PATIENCE_S = 25.0"))
    ended = tour(folder, "exchange.py", env)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert said in ended.stdout
