"""What is kept of a configuration that was checked: the same as it says, and nothing once anything is otherwise."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Config, load
from gateway.sync import checked
from gateway.sync.checked import FILE, NotKept, keep, read
from gateway.sync.pairing import pairings

PASSWORD = "s3cret-of-old"
NEW = "s3cret-of-new"
TEXT = """
[gateway]
name = "gw.example"
spool = "sqlite:///held"
log_format = "json"

[connector.old]
type = "imap"
host = "old.example"
tls = "starttls"
password = "${OLD_PASSWORD}"

[connector.new]
type = "imap"
host = "new.example"
username = "{mailbox}*master"
password = "file:new.secret"
timeout_s = 7

[connector.internet]
type = "smtp"
listen = ["127.0.0.1:0"]
auth_password = "file:relay.secret"
auth_user = "gw"
smart_host = "relay.example"

[mapping.encapsulation]
key = "file:key.secret"

[sync.merger]
from = "old"
to = "new"
mode = "two-way"
mailboxes = "people.csv"
mailboxes_at_once = 3
max_size = "10MiB"
max_age = "4w"
folders = ["!Junk", "Sent"]
search = ["!seen"]

[[sync.merger.pair]]
from = "anna"
to = "ben"
batch = "one"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OLD_PASSWORD", PASSWORD)
    (tmp_path / "new.secret").write_text(f"{NEW}\n")
    (tmp_path / "relay.secret").write_text("s3cret-of-the-relay\n")
    (tmp_path / "key.secret").write_text("k3y" * 11)
    (tmp_path / "people.csv").write_text("from,to\ncarl,carla\n")
    path = tmp_path / "gatepost.toml"
    path.write_text(TEXT)
    return path


def kept(path: Path) -> Config:
    config = load(path, mapping=False, dry=True)
    keep(config)
    return config


def options(path: Path, name: str) -> Any:
    return read(path).looking(name)._sessions._options  # type: ignore[attr-defined]


def test_it_is_what_the_configuration_says(file: Path) -> None:
    config = kept(file)
    known = read(file)
    assert (known.base_dir, known.spool_dir, known.state_dir) == (config.base_dir, config.spool_dir, config.state_dir)
    assert known.log_format == "json"
    section = config.syncs["merger"]
    assert known.policies == {"merger": section.policy()}
    assert known.policies["merger"].limits == section.policy().limits
    assert known.syncs["merger"].mailboxes_at_once == 3
    found = pairings("merger", known.syncs["merger"], known.base_dir)
    assert found == pairings("merger", section, config.base_dir)
    assert len(found) == 2
    assert known.secrets >= {PASSWORD, NEW, "s3cret-of-the-relay"}
    assert known.secrets <= config.secrets
    for name in ("old", "new"):
        made: Any = config.connectors[name].config
        for option, value in vars(options(file, name)).items():
            assert getattr(made, option) == value, option
        assert options(file, name).password == made.password


def test_it_is_for_its_user_alone_and_holds_no_secret(file: Path) -> None:
    config = kept(file)
    place = config.state_dir / FILE
    assert place.stat().st_mode & 0o777 == 0o600
    told = place.read_text()
    assert not [secret for secret in config.secrets if secret in told]
    assert [each.name for each in place.parent.iterdir()] == [FILE]
    assert {each.stat().st_mode & 0o777 for each in (place.parent, place.parent.parent)} == {0o700}


def test_secrets_are_read_anew(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(file)
    monkeypatch.setenv("OLD_PASSWORD", "another")
    (file.parent / "new.secret").write_text("and another\n")
    assert options(file, "old").password == "another"
    assert options(file, "new").password == "and another"


def test_a_table_of_people_is_read_anew(file: Path) -> None:
    config = kept(file)
    (file.parent / "people.csv").write_text("from,to\ncarl,carla\ndora,dora\n")
    known = read(file)
    found = pairings("merger", known.syncs["merger"], known.base_dir)
    assert [each.left.mailbox for each in found] == ["anna", "carl", "dora"]
    assert found == pairings("merger", config.syncs["merger"], config.base_dir)


def _octet(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(TEXT.replace("old.example", "odd.example"))


def _comment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(TEXT + "#")


def _tls_in_what_is_kept(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = file.parent / "held/state" / FILE
    place.write_text(place.read_text().replace('"starttls"', '"none"'))


def _cut_short(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = file.parent / "held/state" / FILE
    place.write_bytes(place.read_bytes()[:300])


def _of_others(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file.parent / "held/state" / FILE).chmod(0o620)


def _by_a_link(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = file.parent / "held/state" / FILE
    place.rename(place.with_name("elsewhere"))
    place.symlink_to("elsewhere")


def _is_installed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file.parent / "installed" / "another-1.0.dist-info").mkdir()


def _release(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file.parent / "sources" / "config_sync.py").write_text("is = 'of another release'")


def _python(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version", "3.99")


def _no_variable(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OLD_PASSWORD")


def _no_file_of_a_connector_that_is_not_asked(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file.parent / "relay.secret").unlink()


@pytest.mark.parametrize(
    "act",
    [
        _octet, _comment, _tls_in_what_is_kept, _cut_short, _of_others, _by_a_link, _is_installed, _release, _python,
        _no_variable, _no_file_of_a_connector_that_is_not_asked,
    ],
)  # fmt: skip
def test_nothing_is_kept_of_what_is_otherwise(
    file: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[Path, pytest.MonkeyPatch], None]
) -> None:
    for name in ("installed", "sources"):
        (file.parent / name).mkdir()
    (file.parent / "sources" / "config_sync.py").touch()
    monkeypatch.syspath_prepend(file.parent / "installed")
    monkeypatch.setattr(checked, "_SOURCES", (str(file.parent / "sources"),))
    kept(file)
    read(file)
    act(file, monkeypatch)
    with pytest.raises((NotKept, OSError, ValueError)):
        read(file)


def test_another_file_of_the_same_octets_is_another_configuration(file: Path) -> None:
    config = kept(file)
    other = file.parent / "other"
    other.mkdir()
    shutil.copy(file, other)
    (other / "held/state").mkdir(parents=True)
    shutil.copy(config.state_dir / FILE, other / "held/state" / FILE)
    with pytest.raises(NotKept):
        read(other / file.name)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('host = "old.example"', 'host = "${OLD_HOST}"'),
        ('spool = "sqlite:///held"', 'spool = "sqlite:///${OLD_HOST}"'),
        ('from = "anna"', 'from = "${OLD_HOST}"'),
    ],
)
def test_what_depends_on_variables_is_not_kept(
    file: Path, monkeypatch: pytest.MonkeyPatch, before: str, after: str
) -> None:
    monkeypatch.setenv("OLD_HOST", "held")
    file.write_text(TEXT.replace(before, after))
    kept(file)
    with pytest.raises((NotKept, OSError)):
        read(file)


def test_where_nothing_can_be_written_nothing_is_kept(file: Path) -> None:
    (file.parent / "held").touch()
    kept(file)
    with pytest.raises(NotADirectoryError):
        read(file)


def test_what_is_the_same_is_not_written_again(file: Path) -> None:
    place = kept(file).state_dir / FILE
    os.utime(place, (1, 1))
    kept(file)
    assert place.stat().st_mtime == 1
