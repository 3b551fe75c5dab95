"""The configuration: what is right loads as documented; what is wrong is told whole, with its place and its mend.

A case of a broken configuration is a folder of `tests/data/bad_config` with its file and the expected words.
"""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from gateway import config as configuration
from gateway.config import KEY_FILE, Config, ConfigErrors, default_file, ensure_key, load, load_gateway, split_listen
from gateway.config_file import nearest, show_value
from mappings.network import NetworkError, parse
from mappings.table import Direction

BAD = Path(__file__).parents[1] / "data" / "bad_config"

GOOD = """\
[gateway]
name = "gw.merged.example"
spool = "sqlite:///var/gatepost"
expire_after = "3d"
keep_delivered = "1d12h"
min_free_bytes = "1GiB"

[mapping]
domains = ["merged.example", "acme.example"]
import = ["people.csv"]

[mapping.gates]
mhs = "mhs:mail@gate"

[[mapping.rule]]
match = "smtp:{local}@{wg}.mhs.acme.example"
to = "mhs:{local}@{wg}"
direction = "both"

[connector.internet]
type = "smtp"
smart_host = "${RELAY}:25"
auth_user = "gw"
auth_password = "file:secrets/relay"
auth_without_tls = true

[connector.oldmhs]
type = "filedrop"
network = "mhs"
inbox = "drop/in"
outbox = "drop/out"

[[route]]
match = "mhs:*"
to = "oldmhs"

[[route]]
match = "smtp:*@*.partner.example"
to = "internet"
next_hop = "mx.partner.example:25"

[[route]]
match = "smtp:*"
to = "internet"
"""
PEOPLE = "name,home,smtp,mhs\nAnn Lee,oldmhs,ann@merged.example,ann@sales\n"
PASSWORD = "correct horse"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "relay").write_text(PASSWORD + "\n")
    (tmp_path / "secrets" / "relay").chmod(0o600)
    (tmp_path / "people.csv").write_text(PEOPLE)
    (tmp_path / "gatepost.toml").write_text(GOOD)
    return tmp_path


def read(folder: Path, **given: object) -> Config:
    return load(folder / "gatepost.toml", environ={"RELAY": "relay.example"}, **given)  # type: ignore[arg-type]  # passed on as they come


def test_a_whole_configuration(folder: Path) -> None:
    config = read(folder)
    assert config.gateway.name == "gw.merged.example"
    assert config.gateway.expire_after == 3 * 86_400
    assert config.gateway.keep_delivered == 129_600
    assert config.gateway.min_free_bytes == 1 << 30
    assert config.spool_dir == folder / "var/gatepost"
    assert config.spool_url == f"sqlite:///{folder}/var/gatepost"
    assert config.state_dir == folder / "var/gatepost/state"
    assert str(config.postmaster) == "smtp:postmaster@gw.merged.example"
    assert config.homes == {"internet": "smtp", "oldmhs": "mhs"}
    assert [i.name for i in config.identities] == ["Ann Lee"]
    assert str(config.gates["mhs"]) == "mhs:mail@gate"
    assert config.warnings == ()
    smtp = config.connectors["internet"]
    assert (smtp.type, smtp.config.smart_host) == ("smtp", "relay.example:25")  # type: ignore[attr-defined]  # the connector's own
    choice = config.routes.find(parse("smtp:x@a.partner.example"))
    assert choice is not None
    assert choice.next_hop == "mx.partner.example:25"


JUDGING = """
[gateway]
name = "gw.example"
[connector.internet]
type = "smtp"
[connector.internet.authentication]
[connector.drop]
type = "filedrop"
inbox = "in"
outbox = "out"
format = "pickup"
"""


@pytest.mark.parametrize(("machine", "workers"), [(1, 1), (2, 2), (4, 4), (48, 4)])
def test_a_gateway_that_judges_mail_has_a_worker_a_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: int, workers: int
) -> None:
    monkeypatch.setattr(configuration, "processors", lambda: machine)
    path = tmp_path / "gatepost.toml"
    path.write_text(JUDGING)
    config = load(path, environ={})
    assert config.workers == workers
    path.write_text(JUDGING.replace("[connector.internet.authentication]\n", ""))
    assert load(path, environ={}).workers == 1
    path.write_text(JUDGING.replace('name = "gw.example"', 'name = "gw.example"\nworkers = 3'))
    assert load(path, environ={}).workers == 3
    monkeypatch.setattr(type(config.connectors["drop"].config), "needs_one_worker", property(lambda _: True))
    assert config.workers == 1


def test_the_table_is_ready(folder: Path) -> None:
    table = read(folder, version=7).table
    assert table is not None
    assert table.version == 7
    shown = table.translate(parse("mhs:ann@sales"), "smtp", Direction.OUTWARD)
    assert str(shown.address) == "smtp:ann@merged.example"


def test_without_mapping_no_identity_is_read(folder: Path) -> None:
    (folder / "people.csv").unlink()
    config = read(folder, mapping=False)
    assert config.table is None
    assert config.identities == ()


def test_the_defaults_of_the_smallest_file(tmp_path: Path) -> None:
    (tmp_path / "gatepost.toml").write_text('[gateway]\nname = "gw.example"\n')
    config = load(tmp_path / "gatepost.toml", environ={})
    assert config.workers == 1
    assert config.gateway.expire_after == 5 * 86_400
    assert (config.gateway.retry_min, config.gateway.retry_max) == (60, 3600)
    assert config.spool_dir == tmp_path / "spool"
    assert config.gateway.keep_delivered == 0


@pytest.mark.parametrize(
    ("spool", "folder", "url"),
    [
        ("sqlite:///a/b", "{base}/a/b", "sqlite:///{base}/a/b"),
        ("sqlite:////srv/spool", "/srv/spool", "sqlite:////srv/spool"),
        ("postgresql://gw@db/spool", None, "postgresql://gw@db/spool"),
    ],
)
def test_where_the_spool_is(tmp_path: Path, spool: str, folder: str | None, url: str) -> None:
    (tmp_path / "gatepost.toml").write_text(f'[gateway]\nname = "gw.example"\nspool = "{spool}"\n')
    config = load(tmp_path / "gatepost.toml", environ={}, dry=True)
    assert config.spool_dir == (None if folder is None else Path(folder.format(base=tmp_path)))
    assert config.spool_url == url.format(base=tmp_path)
    assert config.state_dir == (config.spool_dir or tmp_path) / "state"


# -- secrets


def test_a_password_is_known_as_a_secret_and_never_shown(folder: Path) -> None:
    config = read(folder)
    assert PASSWORD in config.secrets
    assert PASSWORD not in repr(config)


def test_the_password_of_the_spool_is_a_secret(tmp_path: Path) -> None:
    (tmp_path / "gatepost.toml").write_text(
        '[gateway]\nname = "gw.example"\nspool = "postgresql://gw:p%40ss-word@db/spool"\n'
    )
    config = load(tmp_path / "gatepost.toml", environ={}, dry=True)
    assert {"p%40ss-word", "p@ss-word"} <= config.secrets
    assert "ss-word" not in repr(config)


def test_a_wrong_value_of_a_secret_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "gatepost.toml").write_text(
        '[gateway]\nname = "gw.example"\n[mapping.encapsulation]\nkey = ["hunter2"]\n'
        '[connector.x]\ntype = "smtp"\nauth_password = "hunter2"\n'
    )
    with pytest.raises(ConfigErrors) as caught:
        load(tmp_path / "gatepost.toml", environ={}, dry=True)
    assert len(caught.value.mistakes) == 2
    assert "hunter2" not in str(caught.value)


def test_one_of_several_passwords_is_a_secret_too(tmp_path: Path) -> None:
    text = (
        '[gateway]\nname = "gw.example"\n[connector.fido]\ntype = "filedrop"\nformat = "ftn"\nnetwork = "ftn"\n'
        'inbox = "in"\ncreate_folders = true\n[connector.fido.ftn]\naka = "2:280/999"\n'
        'passwords = { "2:280/464" = "hunter2" }\n'
    )
    (tmp_path / "gatepost.toml").write_text(text)
    assert "hunter2" in load(tmp_path / "gatepost.toml", environ={}, dry=True).secrets
    (tmp_path / "gatepost.toml").write_text(text.replace("hunter2", "hunter2hunter2"))
    with pytest.raises(ConfigErrors, match="at most 8") as caught:
        load(tmp_path / "gatepost.toml", environ={}, dry=True)
    assert "hunter2" not in str(caught.value)


def test_a_secret_file_that_all_can_read_is_warned_of(folder: Path) -> None:
    (folder / "secrets" / "relay").chmod(0o644)
    (warning,) = read(folder).warnings
    assert "secrets/relay can be read by every user" in warning


def test_a_dollar_is_written_twice_to_stand_for_itself(tmp_path: Path) -> None:
    (tmp_path / "gatepost.toml").write_text(
        '[gateway]\nname = "gw.example"\n[connector.x]\ntype = "smtp"\nsmart_host = "h.example"\n'
        'auth_user = "$${HOME} ${HOME}"\nauth_password = "x"\n'
    )
    config = load(tmp_path / "gatepost.toml", environ={"HOME": "/h"}, dry=True)
    assert config.connectors["x"].config.auth_user == "${HOME} /h"  # type: ignore[attr-defined]  # the connector's own


# -- the encapsulation key


def test_the_key_is_made_once_and_kept(folder: Path) -> None:
    first = read(folder).table
    file = folder / "var/gatepost/state" / KEY_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = read(folder).table
    assert first is not None
    assert again is not None
    stranger = parse("mhs:zoe@far")
    shown = first.translate(stranger, "smtp", Direction.OUTWARD).address
    assert again.translate(stranger, "smtp", Direction.OUTWARD).address == shown
    assert again.resolve(shown).address == stranger


@pytest.mark.parametrize("percent", ["false", "true"])
def test_escapes_with_a_percent_sign_are_read_where_asked_for(folder: Path, percent: str) -> None:
    (folder / "gatepost.toml").write_text(GOOD + f"\n[mapping.encapsulation]\npercent = {percent}\n")
    table = read(folder).table
    assert table is not None
    inner = table.written_for(parse("smtp:IMCEAEX-_o=Acme_cn=Ann%20Lee@acme.example"))
    assert str(inner) == ("x500:/o=Acme/cn=Ann Lee" if percent == "true" else "x500:/o=Acme/cn=Ann%20Lee")


def test_a_dry_check_touches_nothing(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    read(folder, dry=True)
    assert sorted(folder.rglob("*")) == before


def test_workers_that_start_together_agree_on_one_key(tmp_path: Path) -> None:
    seen: list[str] = []

    def start() -> None:
        ensure_key(tmp_path)
        seen.append((tmp_path / KEY_FILE).read_text())

    threads = [threading.Thread(target=start) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert seen == [(tmp_path / KEY_FILE).read_text()] * 8
    assert [p.name for p in tmp_path.iterdir()] == [KEY_FILE]


# -- warnings


def test_a_rule_that_shows_what_nobody_can_answer_is_warned_of(folder: Path) -> None:
    text = GOOD.replace('direction = "both"', 'direction = "outward"')
    (folder / "gatepost.toml").write_text(text)
    (warning,) = read(folder, dry=True).warnings
    assert "gatepost.toml:15: rule 1" in warning
    assert "a reply to that would not come to mhs:x@x" in warning


def test_an_open_admin_port_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "gatepost.toml").write_text('[gateway]\nname = "gw.example"\nadmin_listen = "0.0.0.0:8025"\n')
    (warning,) = load(tmp_path / "gatepost.toml", environ={}, dry=True).warnings
    assert "open to whoever reaches this address" in warning


# -- mistakes


def test_rules_and_routes_are_proved_together(folder: Path) -> None:
    (folder / "gatepost.toml").write_text(GOOD.replace('match = "mhs:*"', 'match = "smtp:*"'))
    with pytest.raises(ConfigErrors) as caught:
        read(folder, dry=True)
    told = [str(mistake) for mistake in caught.value.mistakes]
    assert len(told) == 3
    assert "gatepost.toml:15: mapping.rule[0]: mail to smtp:x@x.mhs.acme.example ends nowhere" in told[0]
    assert "gatepost.toml:37: route[1]: no address comes to route 2 (smtp:*@*.partner.example -> internet)" in told[1]
    assert "gatepost.toml:42: route[2]: no address comes to route 3 (smtp:* -> internet)" in told[2]


@pytest.mark.parametrize("case", sorted(p.name for p in BAD.iterdir()))
def test_bad_configuration(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BAD / case)
    with pytest.raises(ConfigErrors) as caught:
        load("gatepost.toml", environ={"GATEPOST_TEST_HOST": "x"}, dry=True)
    assert str(caught.value) == Path("expected-error").read_text().rstrip("\n")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match=r"no readable file \(No such file or directory\)"):
        load(tmp_path / "none.toml", environ={})


def test_mistakes_as_json(tmp_path: Path) -> None:
    (tmp_path / "gatepost.toml").write_text('[gateway]\nname = "gw.example"\nworker = 2\n')
    with pytest.raises(ConfigErrors) as caught:
        load(tmp_path / "gatepost.toml", environ={}, dry=True)
    told = caught.value.mistakes[0].as_json()
    assert (told["line"], told["place"], told["nearest"]) == (3, "gateway.worker", "workers")


def test_commands_to_a_daemon_need_the_gateway_table_alone(folder: Path) -> None:
    (folder / "gatepost.toml").write_text(GOOD.replace('to = "oldmhs"', 'to = "nowhere"'))
    section, base = load_gateway(folder / "gatepost.toml", environ={})
    assert (section.name, base) == ("gw.merged.example", folder)


@pytest.mark.parametrize(
    ("word", "near"),
    [("nmae", "name"), ("log-level", "log_level"), ("Workers", "workers"), ("zzz", None), ("spol", "spool")],
)
def test_nearest(word: str, near: str | None) -> None:
    assert nearest(word, ["name", "log_level", "workers", "spool"]) == near


def test_a_password_in_a_url_is_not_shown() -> None:
    assert show_value("postgresq://gw:hunter2@db/x") == '"postgresq://gw:…@db/x"'


@pytest.mark.parametrize("text", ["localhost:1", "127.0.0.1", ":80", "127.0.0.1:x", "127.0.0.1:70000", ""])
def test_no_listening_address(text: str) -> None:
    with pytest.raises(ValueError, match="an IP address and a port"):
        split_listen(text)


def test_listening_addresses() -> None:
    assert split_listen("127.0.0.1:8025") == ("127.0.0.1", 8025)
    assert split_listen("[::1]:0") == ("::1", 0)


def test_the_default_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_file({}) == Path("gatepost.toml")
    assert default_file({"GATEPOST_CONFIG": "/x/y.toml"}) == Path("/x/y.toml")
    assert os.environ.get("GATEPOST_CONFIG") is None


def test_a_network_that_cannot_be_used_is_a_mistake_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise NetworkError("network 'mhs' is claimed by both a 1 and b 2; uninstall one of them")

    monkeypatch.setattr("gateway.config_check.registry", broken)
    with pytest.raises(ConfigErrors, match="claimed by both"):
        read(folder, dry=True)
