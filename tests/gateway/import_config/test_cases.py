"""Whole configurations of others: what becomes of each, as files beside it; every result is one that can be used."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from connectors.smtp.access import read_table
from gateway.config import load
from gateway.import_config import read
from gateway.import_config.files import FilesError
from gateway.import_config.writer import make
from mappings.network import registry

DATA = Path(__file__).parents[2] / "data" / "import_config"
CASES = sorted(path.name for path in DATA.iterdir() if path.is_dir())


def made_of(case: str, root: Path | None = None) -> dict[str, bytes]:
    outline = read(case.partition("-")[0], root or DATA / case, None, "host.acme.example")
    return make(outline, registry()).files


@pytest.mark.parametrize("case", CASES)
def test_a_configuration(case: str, tmp_path: Path) -> None:
    # Messages name where a file lies, so that the case lies at a fixed place.
    root = Path("/tmp") / f"gatepost-import-{os.getpid()}-{case}"
    shutil.copytree(DATA / case, root)
    try:
        files = made_of(case, root)
    finally:
        shutil.rmtree(root)
    shown = "".join(f"--- {name}\n{files[name].decode()}" for name in sorted(files)).replace(str(root), "ROOT")
    expected = DATA / f"{case}.expected"
    if os.environ.get("UPDATE_GOLDEN"):
        expected.write_text(shown)
    assert shown == expected.read_text()


@pytest.mark.parametrize("case", CASES)
def test_what_is_made_can_be_used(case: str, tmp_path: Path) -> None:
    for name, octets in made_of(case).items():
        (tmp_path / name).write_bytes(octets)
        (tmp_path / name).chmod(0o600)
    config = load(tmp_path / "gatepost.toml", mapping=True, dry=True)
    assert config.identities
    assert [route.match for route in config.routes.routes][-1] == "smtp:*"


@pytest.mark.parametrize("case", CASES)
def test_the_rules_of_access_can_be_read(case: str, tmp_path: Path) -> None:
    rules = made_of(case).get("access-rules", b"")
    (tmp_path / "rules").write_bytes(rules)
    read_table(tmp_path / "rules")
    assert bool(rules) is (case in ("postfix", "postfix-border", "sendmail"))


@pytest.mark.parametrize("case", CASES)
def test_it_relays_for_nobody_but_the_networks_that_are_named(case: str, tmp_path: Path) -> None:
    for name, octets in made_of(case).items():
        (tmp_path / name).write_bytes(octets)
    config = load(tmp_path / "gatepost.toml", mapping=True, dry=True)
    given = {net for each in config.connectors.values() for net in getattr(each.config, "relay_networks", ())}
    assert "0.0.0.0/0" not in given
    assert "::/0" not in given


@pytest.mark.parametrize(
    ("system", "text"),
    [
        ("postfix", "main.cf cannot be read: No such file or directory"),
        ("sendmail", "there is neither sendmail.mc nor sendmail.cf in"),
        ("exim", "there is no exim4.conf, exim.conf, configure or update-exim4.conf.conf in"),
    ],
)
def test_where_there_is_no_configuration(system: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(FilesError, match=text):
        read(system, tmp_path, None, "host.acme.example")


def test_a_password_is_in_a_file_of_its_own() -> None:
    files = made_of("postfix")
    assert files.pop("relay-password") == b"s3cret\n"
    assert all(b"s3cret" not in octets for octets in files.values())


@pytest.mark.parametrize("octets", [b"", b"\xff\xfe\x00", b"=" * 1000, b"a = ${a}\nmydestination = $a", b"\\\n" * 99])
@pytest.mark.parametrize(
    ("system", "name"),
    [
        ("postfix", "etc/postfix/main.cf"),
        ("sendmail", "etc/mail/sendmail.mc"),
        ("sendmail", "etc/mail/sendmail.cf"),
        ("exim", "etc/exim4/exim4.conf"),
        ("exim", "etc/exim4/update-exim4.conf.conf"),
    ],
)
def test_any_octets_give_a_configuration(system: str, name: str, octets: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_bytes(octets)
    files = make(read(system, tmp_path, None, "host.acme.example"), registry()).files
    assert b"[gateway]" in files["gatepost.toml"]
