"""TLS from the start and by STLS: verified, never left out, and no password without."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from connectors.pop import Pop
from gateway.contract import Scope, StoreFault
from tests.connectors.folders.into_dovecot import made
from tests.connectors.pop.test_servers import Server
from tests.peers.certificates import authority
from tests.peers.dovecot import PASSWORD, Dovecot
from tests.peers.process import free_port


class Secured:
    """A Dovecot with a certificate for `localhost`."""

    def __init__(self, folder: Path) -> None:
        by = authority()
        certificate, key = by.issue("localhost")
        for name, octets in (("ca.pem", by.certificate), ("cert.pem", certificate), ("key.pem", key)):
            (folder / name).write_bytes(octets)
        self.ca_file, self.port = str(folder / "ca.pem"), free_port()
        settings = (
            f"ssl = yes\nssl_cert = <{folder}/cert.pem\nssl_key = <{folder}/key.pem\n"
            f"service pop3-login {{\n  inet_listener pop3s {{\n    port = {self.port}\n    ssl = yes\n  }}\n}}\n"
        )
        self.server = Dovecot(settings=settings)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    made = Secured(tmp_path_factory.mktemp("tls"))
    with made.server:
        yield made


def opens(config: dict[str, Any], folder: Path) -> None:
    async def body() -> None:
        connector = made(Pop, {"host": "localhost", "password": PASSWORD} | config, folder)
        await connector.start()
        async with connector.open("anna") as mailbox:
            assert (await mailbox.folders())[0].total == 0

    asyncio.run(body())


def test_tls_from_the_start_and_by_stls(secured: Secured, tmp_path: Path) -> None:
    opens({"port": secured.port, "ca_file": secured.ca_file}, tmp_path)
    opens({"port": secured.server.pop_port, "tls": "starttls", "ca_file": secured.ca_file}, tmp_path)


@pytest.mark.parametrize("wrong", [{}, {"host": "127.0.0.1", "ca_file": "its"}])
def test_a_certificate_that_is_not_to_be_trusted_ends_it(
    secured: Secured, wrong: dict[str, Any], tmp_path: Path
) -> None:
    config = wrong | ({"ca_file": secured.ca_file} if "ca_file" in wrong else {})
    for port, tls in ((secured.port, "implicit"), (secured.server.pop_port, "starttls")):
        with pytest.raises(StoreFault) as caught:
            opens({"port": port, "tls": tls} | config, tmp_path)
        assert (caught.value.status.code, caught.value.scope) == ("4.7.5", Scope.HOP)


@pytest.mark.parametrize("answer", [b"-ERR no TLS here\r\n", b"+OK\r\n+OK\r\n", b"+OK\r\n+OK what comes behind"])
def test_no_password_is_sent_where_stls_is_refused_or_followed_by_others_words(tmp_path: Path, answer: bytes) -> None:
    server = Server([], [], answers={"STLS": answer})

    async def body() -> None:
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        config = {"host": "127.0.0.1", "port": port, "tls": "starttls", "password": PASSWORD}
        connector = made(Pop, config, tmp_path)
        await connector.start()
        with pytest.raises(StoreFault) as caught:
            async with connector.open("anna"):
                pass
        assert caught.value.status.code == ("4.2.0" if answer.startswith(b"-") else "4.5.0"), "no TLS was begun"
        listening.close()

    asyncio.run(body())
    assert [line for line in server.asked if line.startswith(("USER", "PASS", "AUTH"))] == []


def test_a_password_goes_without_tls_to_this_machine_alone() -> None:
    with pytest.raises(ValidationError, match="in the clear"):
        Pop.Config.model_validate({"host": "pop.example.org", "tls": "none", "password": "x"})
    Pop.Config.model_validate({"host": "localhost", "tls": "none", "password": "x"})
