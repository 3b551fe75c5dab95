"""Accounts kept elsewhere: a directory (OpenLDAP), and Dovecot."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from connectors.smtp.login.accounts import Account, Unready
from connectors.smtp.login.config import LdapAccounts
from connectors.smtp.login.dovecot import Dovecot as AuthService
from connectors.smtp.login.ldap import Ldap
from gateway.log import get_log
from tests.connectors.smtp.login.test_submission import curl, mail_by, submission
from tests.peers.dovecot import Dovecot
from tests.peers.slapd import ADMIN, PASSWORD, SUFFIX, Slapd

PEOPLE = f"ou=people,{SUFFIX}"


def directory(server: Slapd, **more: Any) -> LdapAccounts:
    given = {"url": server.tls_url, "base": SUFFIX, "user": ADMIN, "password": PASSWORD,
             "ca_file": str(server.folder / "ca.pem"), **more}  # fmt: skip
    return LdapAccounts(**given)


async def test_a_directory() -> None:
    with Slapd() as server:
        await asyncio.to_thread(fill, server)
        accounts = Ldap(directory(server), Path("/"))
        await accounts.start()
        try:
            ann = await accounts.check("ann", "secret")
            assert ann == Account("ann", ("ann@acme.example", "lee@acme.example"))
            assert await accounts.check("ann@acme.example", "secret") is not None, "by the address, too"
            assert await accounts.check(" ann  ", "secret") == ann, "to a directory it is the same name"
            assert accounts.counted_as(" Ann  ") == "ann"
            assert await accounts.check("ann", "wrong") is None
            assert await accounts.check("ann", "") is None, "an empty password is an anonymous bind"
            assert await accounts.check("nobody", "secret") is None
            assert await accounts.check("twin", "secret") is None, "two entries are nobody"
            assert await accounts.check("*", "secret") is None, "what a client gives is no pattern"
            assert await accounts.check("ann)(uid=*", "secret") is None
            assert await accounts.find("ann") == ann
        finally:
            await accounts.stop()
        clear = Ldap(directory(server, url=server.url.replace("127.0.0.1", "localhost")), Path("/"))
        await clear.start()
        assert await clear.check("ann", "secret") is not None, "StartTLS before the password"
        await clear.stop()
        for wrong in (
            {"password": "wrong"},
            {"ca_file": None},
            {"url": server.tls_url.replace("localhost", "127.0.0.1")},
        ):
            broken = Ldap(directory(server, **wrong), Path("/"))
            await broken.start()
            with pytest.raises(Unready) as caught:
                await broken.check("ann", "secret")
            assert "secret" not in str(caught.value).replace(PASSWORD, "")
            await broken.stop()
    down = Ldap(directory(server, timeout_s=2.0, ca_file=None), Path("/"))
    await down.start()
    with pytest.raises(Unready):
        await down.check("ann", "secret")
    await down.stop()


def fill(server: Slapd) -> None:
    person = ["inetOrgPerson", "addressed"]
    server.add(SUFFIX, ["dcObject", "organization"], dc="acme", o="Acme")
    server.add(PEOPLE, ["organizationalUnit"], ou="people")
    held = ["SMTP:ann@acme.example", "smtp:lee@acme.example", "x500:/o=x"]
    ann = {"cn": "Ann", "sn": "Lee", "mail": "ann@acme.example", "proxyAddresses": held}
    server.add(f"uid=ann,{PEOPLE}", person, uid="ann", userPassword="secret", **ann)
    for n in (1, 2):
        server.add(f"cn=twin{n},{PEOPLE}", person, cn=f"twin{n}", uid="twin", sn="Twin", userPassword="secret")


AUTH = """
auth_mechanisms = plain login scram-sha-256
auth_failure_delay = 1 secs
service auth {{
  unix_listener {folder}/auth-client {{
    mode = 0600
  }}
}}
"""


async def test_dovecot(tmp_path: Path) -> None:
    dovecot = Dovecot(settings="SETTINGS")
    text = dovecot._config.read_text().replace("SETTINGS", AUTH.format(folder=dovecot.folder).replace("{{", "{"))
    dovecot._config.write_text(text)
    path = str(dovecot.folder / "auth-client")
    try:
        await asyncio.to_thread(dovecot.start)
        login = {"file": None, "dovecot": path, "senders": "any"}
        async with submission(tmp_path, login=login) as served:
            desk = served.source._login
            assert desk is not None
            assert desk.mechanisms(binds=True) == ("SCRAM-SHA-256", "PLAIN", "LOGIN")
            done = await asyncio.to_thread(curl, served.port, tmp_path, "--user", "carl:secret")
            assert done.returncode == 0, done.stderr
            done = await asyncio.to_thread(curl, served.port, tmp_path, "--user", "carl:wrong")
            assert done.returncode == 67
            await asyncio.gather(
                *(asyncio.to_thread(mail_by, served.port, tmp_path, f"u{n}", "x@acme.example") for n in range(4))
            )
            users = sorted(m.envelope.origin.user for m in served.intake.messages)
            assert users == ["carl", "u0", "u1", "u2", "u3"]
            await asyncio.to_thread(dovecot.kill)
            done = await asyncio.to_thread(curl, served.port, tmp_path, "--user", "carl:secret")
            assert done.returncode == 67, "it says 454: try again later"
            await asyncio.to_thread(dovecot.start)
            done = await asyncio.to_thread(curl, served.port, tmp_path, "--user", "carl:secret")
            assert done.returncode == 0, "and goes on when Dovecot is back"
    finally:
        await asyncio.to_thread(dovecot.stop)
        import shutil

        shutil.rmtree(dovecot.folder, ignore_errors=True)


async def test_no_dovecot_is_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"login\.dovecot .*auth client socket"):
        await AuthService(str(tmp_path / "nothing"), get_log("test")).start()


async def test_something_else_at_its_socket(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"VERSION\t2\t0\nDONE\n")

    path = str(tmp_path / "s")
    server = await asyncio.start_unix_server(answer, path)
    with pytest.raises(OSError, match="version 1"):
        await AuthService(path, get_log("test")).start()
    server.close()
