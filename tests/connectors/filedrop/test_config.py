"""What a configuration may not say, and what the folders may not be."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from connectors.filedrop import FileDrop
from connectors.filedrop.config import FileDropConfig, table_name
from connectors.filedrop.formats import FormatName, codec_class
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ftn": {"aka": "2:280/464"}}, 'set format = "ftn", or take the table away'),
        ({"format": "smf70", "pickup": {}}, "the table pickup is for another format"),
        ({"format": "ftn"}, "needs a table ftn with aka"),
        ({"format": "records"}, "needs a table records with describe"),
        ({"format": "mbox", "mbox": {"no_such_option": 1}}, "Extra inputs"),
        ({"recipients": ["bob"]}, "recipients: "),
        ({"trigger": "{name}"}, "what comes after it"),
        ({"trigger": "../{name}.done"}, "what comes after it"),
        ({"extension": ".done"}, "must not end in the extension"),
        ({"name_style": "dos83", "extension": ".mail"}, "at most three characters"),
        ({"status": "in"}, "are one folder"),
    ],
)
def test_options_must_fit_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FileDropConfig.model_validate({"inbox": "in", "outbox": "out", **options})


@pytest.mark.parametrize("format", get_args(FormatName))
def test_every_format_has_a_table_of_its_settings(format: FormatName) -> None:
    settings = codec_class(format).Settings
    field = FileDropConfig.model_fields[table_name(format)]
    assert settings in get_args(field.annotation)
    assert [name for name, one in settings.model_fields.items() if not one.description] == []


def test_formats_of_a_family_share_a_table() -> None:
    for format in ("smf70", "smf71"):
        config = FileDropConfig.model_validate({"inbox": "in", "format": format, "smf": {"charset": "cp850"}})
        assert config.format_settings() == config.smf
    assert FileDropConfig.model_validate({"inbox": "in", "format": "foreign", "replay": {}}).replay is not None


def test_recipients_are_addresses_of_the_network_first() -> None:
    config = FileDropConfig.model_validate(
        {"inbox": "in", "network": "mhs", "recipients": ["ann@sales", "smtp:bob@acme.example"]}
    )
    assert [str(address) for address in config.addresses()] == ["mhs:ann@sales", "smtp:bob@acme.example"]


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
