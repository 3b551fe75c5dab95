"""TLS: what one connector trusts is its own affair, and nothing is trusted beside it."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.connectors.exchange.ews.canned import a_folder, canned
from tests.connectors.exchange.ews.kit import fault_of, organisation
from tests.peers.certificates import Authority, authority

BASIC: dict[str, Any] = {"auth": "basic", "username": "u", "password": "p"}


def served(folder: Path, by: Authority, name: str) -> ssl.SSLContext:
    certificate, key = by.issue(name)
    file = folder / f"{name}.pem"
    file.write_bytes(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


async def test_two_connectors_trust_an_authority_each(tmp_path: Path) -> None:
    one, other = authority(), authority()
    (tmp_path / "one.pem").write_bytes(one.certificate)
    (tmp_path / "other.pem").write_bytes(other.certificate)
    with (
        canned(a_folder, served(tmp_path, one, "localhost")) as first,
        canned(a_folder, served(tmp_path, other, "localhost")) as second,
    ):
        found: list[list[str]] = []
        for file in ("one.pem", "other.pem"):
            row: list[str] = []
            for server in (first, second):
                async with organisation(tmp_path, **BASIC, url=server.url, ca_file=file) as exchange:
                    try:
                        row.append(await exchange.folder("ann@acme.example", "inbox"))
                    except Exception as e:  # noqa: BLE001 - it is looked at
                        row.append(getattr(e, "why", repr(e)))
            found.append(row)
    assert found == [["F1", "unreachable"], ["unreachable", "F1"]]


async def test_a_private_authority_is_not_trusted_unasked_nor_the_systems_beside_one(tmp_path: Path) -> None:
    with canned(a_folder, served(tmp_path, authority(), "localhost")) as server:
        async with organisation(tmp_path, **BASIC, url=server.url) as exchange:
            told = await fault_of(exchange.folder("ann@acme.example", "inbox"))
            assert exchange.trouble() is not None
            # requests loads its own list into any context it is given; a file is taken alone
            (tmp_path / "ca.pem").write_bytes(authority().certificate)
    assert (told.code, told.why) == ("NotSent", "unreachable")
    assert "certificate" in told.text.lower()
    from connectors.exchange.ews.session import trusted
    from tests.connectors.exchange.ews.test_config import config

    assert trusted(config(), str(tmp_path / "ca.pem")) == str(tmp_path / "ca.pem")


async def test_a_certificate_for_another_name_is_refused_unless_told(tmp_path: Path) -> None:
    ours = authority()
    (tmp_path / "ca.pem").write_bytes(ours.certificate)
    with canned(a_folder, served(tmp_path, ours, "mail.acme.example")) as server:
        async with organisation(tmp_path, **BASIC, url=server.url, ca_file="ca.pem") as exchange:
            told = await fault_of(exchange.folder("ann@acme.example", "inbox"))
        async with organisation(tmp_path, **BASIC, url=server.url, tls_verify=False) as exchange:
            assert await exchange.folder("ann@acme.example", "inbox") == "F1"
    assert told.why == "unreachable"


async def test_the_environment_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = authority()
    (tmp_path / "ca.pem").write_bytes(ours.certificate)
    (tmp_path / "netrc").write_text("machine localhost login other password other\n")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("CURL_CA_BUNDLE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with canned(a_folder, served(tmp_path, ours, "localhost")) as server:
        async with organisation(tmp_path, **BASIC, url=server.url, ca_file="ca.pem") as exchange:
            assert await exchange.folder("ann@acme.example", "inbox") == "F1"
    assert server.asked[0].headers["authorization"] == "Basic dTpw"


async def test_a_file_that_is_not_there_stops_the_start_and_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"none\.pem"):
        async with organisation(tmp_path, **BASIC, url="https://localhost:1/", ca_file="none.pem"):
            pass


async def test_a_server_that_is_not_there_was_not_asked(tmp_path: Path) -> None:
    async with organisation(tmp_path, **BASIC, url="http://127.0.0.1:9/EWS/Exchange.asmx") as exchange:
        told = await fault_of(exchange.folder("ann@acme.example", "inbox"))
        assert "refused" in (exchange.trouble() or "")
    assert (told.code, told.why) == ("NotSent", "unreachable")
