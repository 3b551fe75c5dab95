"""Log-ins at real servers: TLS that is verified, passwords, an administrator who logs in for everybody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from connectors.imap.config import ImapConfig
from connectors.imap.sessions import port_of
from gateway.contract import Scope, StoreFault
from tests.connectors.imap.kit import connector, opened
from tests.connectors.imap.mailboxes import cyrus, dovecot
from tests.connectors.imap.without import Without
from tests.peers.certificates import authority
from tests.peers.dovecot import Dovecot
from tests.peers.imap_filter import ImapFilter
from tests.peers.process import free_port

pytestmark = pytest.mark.xdist_group("imap-cyrus")
_TLS: Final = """
ssl = yes
ssl_cert = <{folder}/cert.pem
ssl_key = <{folder}/key.pem
disable_plaintext_auth = yes
service imap-login {{
  inet_listener imaps {{
    port = {port}
  }}
}}
passdb {{
  driver = static
  master = yes
  args = password=of-the-admin
}}
"""


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Dovecot, int, Path]]:
    """A Dovecot with TLS, its port of implicit TLS, and the file of its authority."""
    folder = tmp_path_factory.mktemp("tls")
    folder.chmod(0o755)
    signs = authority()
    certificate, key = signs.issue("localhost")
    (folder / "cert.pem").write_bytes(certificate)
    (folder / "key.pem").write_bytes(key)
    (folder / "ca.pem").write_bytes(signs.certificate)
    port = free_port()
    with Dovecot(settings=_TLS.format(folder=folder, port=port)) as server:
        yield server, port, folder / "ca.pem"


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
async def test_tls_is_verified(secure: tuple[Dovecot, int, Path], tls: str, tmp_path: Path) -> None:
    server, implicit, ca = secure
    port = implicit if tls == "implicit" else server.port
    async with opened(tmp_path, port, host="localhost", tls=tls, ca_file=str(ca)) as mailbox:
        assert (await mailbox.folders())[0].role == "inbox"
    # The machine's own authorities know nothing of it; and it is another host's.
    for more in ({"host": "localhost"}, {"host": "127.0.0.1", "ca_file": str(ca)}):
        with pytest.raises(StoreFault, match=r"4\.4\.1 .*verify failed") as told:
            async with opened(tmp_path, port, "eve", tls=tls, **more):
                pass
        assert told.value.scope is Scope.HOP
    assert "<eve>" not in server.log()


async def test_starttls_is_not_left_out(tmp_path: Path) -> None:
    with ImapFilter(dovecot().port) as between:
        with pytest.raises(StoreFault):
            async with opened(tmp_path, between.port, host="localhost", tls="starttls"):
                pass
        assert between.verbs() == ["STARTTLS"]


async def test_a_wrong_password(tmp_path: Path) -> None:
    made = connector(tmp_path, cyrus().port, password="not-this-one")
    await made.start()
    with pytest.raises(StoreFault) as told:
        async with made.open("nobody"):
            pass
    assert told.value.status.code == "4.7.8"
    assert told.value.scope is Scope.RECIPIENT
    assert "not-this-one" not in f"{told.value!r} {told.value.__cause__!r} {made.config!r}"
    assert made.health().ok


@pytest.mark.parametrize("auth", ["auto", "plain", "login"])
async def test_a_password_of_its_own(auth: str, tmp_path: Path) -> None:
    (tmp_path / "who.csv").write_text("mailbox,password\nann,secret\n", encoding="utf-8")
    more: dict[str, Any] = {"password": None, "passwords": "who.csv", "auth": auth}
    with Without(dovecot().port, ["SASL-IR"]) as server:
        async with opened(tmp_path, server.port, **more) as mailbox:
            assert await mailbox.folders()
        with pytest.raises(StoreFault, match=r"4\.7\.8 who\.csv has nothing"):
            async with opened(tmp_path, server.port, "bob", **more):
                pass


async def test_a_master_user(secure: tuple[Dovecot, int, Path], tmp_path: Path) -> None:
    _, port, ca = secure
    ways: list[dict[str, Any]] = [{"username": "{mailbox}*boss"}, {"username": "boss", "act_as": "{mailbox}"}]
    for number, way in enumerate(ways):
        more = {"host": "localhost", "tls": "implicit", "ca_file": str(ca), "password": "of-the-admin", **way}
        async with opened(tmp_path, port, "carl", **more) as mailbox:
            await mailbox.create_folder((f"Made {number}",))
        async with opened(tmp_path, port, "carl", host="localhost", tls="implicit", ca_file=str(ca)) as mailbox:
            assert (f"Made {number}",) in [folder.path for folder in await mailbox.folders()]


async def test_an_administrator_of_cyrus(tmp_path: Path) -> None:
    cyrus().user("dora")
    async with opened(tmp_path, cyrus().port, "dora", username="cyrus", act_as="{mailbox}") as mailbox:
        made = await mailbox.create_folder(("Hers",))
    async with opened(tmp_path, cyrus().port, "dora") as mailbox:
        assert made in await mailbox.folders()


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"host": "mail.example"}, "name password"),
        ({"host": "mail.example", "password": "x", "passwords": "y.csv"}, "one of them"),
        ({"host": "mail.example", "password": "x", "tls": "none"}, "in the clear"),
        ({"host": "mail.example", "password": "x", "act_as": "{mailbox}", "auth": "login"}, "act_as needs"),
        ({"host": "mail.example", "password": "x", "username": "{user}"}, "in braces"),
        ({"host": "mail.example", "token_file": "t"}, "token_file needs"),
    ],
)
def test_what_cannot_be_meant(config: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ImapConfig.model_validate(config)


def test_ports() -> None:
    told = {"host": "mail.example", "password": "x"}
    assert port_of(ImapConfig.model_validate(told)) == 993
    assert port_of(ImapConfig.model_validate(told | {"tls": "starttls"})) == 143
    assert port_of(ImapConfig.model_validate(told | {"port": 1143})) == 1143
