"""The tour behind `make run`: it passes as it is, and fails where a message would not arrive as it should."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"


def tour(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, folder / "run.py", "--once"], capture_output=True, text=True, timeout=110, check=False
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
    shutil.copytree(QUICKSTART, folder, ignore=shutil.ignore_patterns("var", "__pycache__"))
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1))
    ended = tour(folder)
    assert ended.returncode == 1, ended.stdout + ended.stderr


def test_it_fails_where_a_stranger_s_mail_is_published(tmp_path: Path) -> None:
    folder = tmp_path / "quickstart"
    shutil.copytree(QUICKSTART, folder, ignore=shutil.ignore_patterns("var", "__pycache__"))
    anybody = '\n[[connector.machines.publish]]\ntopic = "alerts/{plant}/{unit}"\nsenders = ["*"]\nproof = "none"\n'
    with (folder / "gatepost.toml").open("a") as file:
        file.write(anybody)
    ended = tour(folder)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "what the stranger's mail published" in " ".join(ended.stdout.replace("│", " ").split())
    assert "1 of 13 did not arrive as they should." in ended.stdout
