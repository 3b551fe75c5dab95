"""What a configuration may not say, and what the folders may not be."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from connectors.filedrop import FileDrop
from connectors.filedrop.config import FileDropConfig
from gateway.contract import Context
from gateway.testing import KitLog


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "an inbox, an outbox, or both"),
        ({"inbox": "drop", "outbox": "./drop"}, "are one folder"),
        ({"inbox": "drop", "errors": "drop"}, "are one folder"),
        ({"inbox": "drop", "network": "carrier-pigeon"}, "is installed"),
        ({"inbox": "drop", "extension": "eml"}, "a dot and letters"),
        ({"inbox": "drop", "extension": ".tmp"}, "a dot and letters"),
        ({"inbox": "drop", "format": "smf72"}, "pickup"),
        ({"inbox": "drop", "poll_s": 0}, "greater than 0"),
    ],
)
def test_a_wrong_configuration_is_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FileDropConfig.model_validate(options)


def test_an_alias_names_the_network() -> None:
    assert FileDropConfig.model_validate({"inbox": "in", "network": "MHS"}).network == "mhs"


def made(tmp: Path, **options: Any) -> FileDrop:
    return FileDrop("x", FileDropConfig.model_validate(options), Context("gw", tmp, tmp, KitLog(), time.time))


async def test_two_names_of_one_folder_are_found_at_start(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").symlink_to("in")
    with pytest.raises(ValueError, match="are one folder"):
        await made(tmp_path, inbox="in", outbox="out").start()


async def test_an_archive_beyond_the_file_system_is_told_at_start(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(ValueError, match="another file system"):
        await made(tmp_path, inbox="in", archive="/proc").start()


async def test_folders_are_made_only_where_told(tmp_path: Path) -> None:
    drop = made(tmp_path, inbox="in", outbox="out")
    await drop.start()
    assert "does not exist" in drop.health().text
    assert os.listdir(tmp_path) == []
    drop = made(tmp_path, inbox="in", outbox="out", create_folders=True)
    await drop.start()
    assert drop.health().ok
    assert (tmp_path / "in").is_dir()
