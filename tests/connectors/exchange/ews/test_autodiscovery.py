"""Autodiscovery: found where it should be, and no password given to who should not have it."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from connectors.exchange.ews.answer import HttpFault, NotSent
from connectors.exchange.ews.autodiscovery import Autodiscovery, read_reply
from connectors.exchange.ews.config import EwsConfig
from tests.connectors.exchange.ews.canned import Asked, Canned, canned, http
from tests.connectors.exchange.ews.kit import context
from tests.peers.certificates import authority

RESPONSE = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
FOUND = "https://mail.acme.example/EWS/Exchange.asmx"


def reply(account: str) -> bytes:
    return (
        '<?xml version="1.0"?><Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006">'
        f'<Response xmlns="{RESPONSE}"><Account>{account}</Account></Response></Autodiscover>'
    ).encode()


def protocol(kind: str, url: str, name: str = "EwsUrl") -> str:
    return f"<Protocol><Type>{kind}</Type><{name}>{url}</{name}></Protocol>"


FINDS = reply(protocol("EXCH", "https://inner.acme.example/EWS") + protocol("EXPR", FOUND))


class Here(Autodiscovery):
    """Every host is our server, whose paths begin with the host."""

    server: Canned
    clear: Canned | None = None
    record: str | None = None

    def place(self, host: str) -> str:
        return f"https://localhost:{self.server.port}/{host}"

    def service(self, domain: str) -> str | None:
        return self.record

    def redirected(self, url: str) -> str | None:
        return None if self.clear is None else super().redirected(f"http://127.0.0.1:{self.clear.port}/")


@contextmanager
def looking(
    folder: Path, replies: dict[str, Callable[[Asked], bytes] | bytes], clear: bytes | None = None
) -> Iterator[Here]:
    ours = authority()
    (folder / "ca.pem").write_bytes(ours.certificate)
    certificate, key = ours.issue("localhost")
    (folder / "server.pem").write_bytes(certificate + key)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "server.pem")

    def said(asked: Asked) -> bytes:
        found = replies.get(asked.path.lstrip("/"), http(404))
        return found if isinstance(found, bytes) else found(asked)

    config = EwsConfig(
        autodiscover="ann@acme.example", auth="basic", username="svc", password="secret", ca_file="ca.pem",
        connect_timeout_s=5, timeout_s=5,
    )  # fmt: skip
    with canned(said, tls) as server, canned(lambda _: clear) as open_server:
        made = Here(config, context(folder), lambda path: folder / path)
        made.server, made.clear = server, open_server
        yield made


def test_the_domain_is_asked_first_and_what_was_found_is_kept(tmp_path: Path) -> None:
    with looking(tmp_path, {"acme.example": http(200, FINDS)}) as autodiscovery:
        assert autodiscovery.find() == FOUND
        assert autodiscovery.find() == FOUND
        assert len(autodiscovery.server.asked) == 1
        assert b"<EMailAddress>ann@acme.example</EMailAddress>" in autodiscovery.server.asked[0].body
        autodiscovery.forget()
        assert autodiscovery.find() == FOUND
        assert len(autodiscovery.server.asked) == 2
    assert (tmp_path / "autodiscovered").read_text() == f"ann@acme.example {FOUND}\n"


def test_then_autodiscover_in_it(tmp_path: Path) -> None:
    with looking(tmp_path, {"autodiscover.acme.example": http(200, FINDS)}) as autodiscovery:
        assert autodiscovery.find() == FOUND
        assert [each.path for each in autodiscovery.server.asked] == ["/acme.example", "/autodiscover.acme.example"]


def test_another_address_and_other_places_are_followed(tmp_path: Path) -> None:
    replies: dict[str, Any] = {
        "acme.example": http(302, Location="/moved"),
        "moved": http(200, reply("<RedirectAddr>ann@cloud.example</RedirectAddr>")),
        "autodiscover.cloud.example": lambda asked: http(
            200, reply(f"<RedirectUrl>https://{asked.headers['host']}/last</RedirectUrl>")
        ),
        "last": http(200, FINDS),
    }
    with looking(tmp_path, replies) as autodiscovery:
        assert autodiscovery.find() == FOUND
        assert b"ann@cloud.example" in autodiscovery.server.asked[-1].body


@pytest.mark.parametrize(
    "place", ["https://autodiscover.evil.example/autodiscover/autodiscover.xml", "http://mail.acme.example/", ""]
)
def test_who_answers_in_the_clear_gets_no_password_for_another_domain(tmp_path: Path, place: str) -> None:
    with looking(tmp_path, {}, http(302, Location=place)) as autodiscovery:
        assert list(autodiscovery._places())[2:] == []
        assert autodiscovery.clear is not None
        asked = autodiscovery.clear.asked
        assert [each.headers.get("authorization") for each in asked] == [None]


def test_a_redirection_in_the_clear_within_the_domain_is_followed(tmp_path: Path) -> None:
    place = "https://mail.acme.example/autodiscover/autodiscover.xml"
    with looking(tmp_path, {}, http(302, Location=place)) as autodiscovery:
        assert list(autodiscovery._places())[2:] == [place]


@pytest.mark.parametrize(
    ("record", "taken"),
    [
        ("https://mail.acme.example:8443/a", True),
        ("https://acme.example/a", True),
        ("https://evilacme.example/a", False),
    ],
)
def test_a_record_of_the_dns_counts_within_the_domain(tmp_path: Path, record: str, taken: bool) -> None:
    with looking(tmp_path, {}) as autodiscovery:
        autodiscovery.record = record
        assert list(autodiscovery._places())[2:] == [record] * taken


@pytest.mark.parametrize("place", ["http://localhost/", "https://u:p@localhost/", "ftp://localhost/"])
def test_no_redirection_leads_out_of_tls(tmp_path: Path, place: str) -> None:
    with looking(tmp_path, {"acme.example": http(302, Location=place)}) as autodiscovery:
        with pytest.raises(NotSent):
            autodiscovery.find()
        assert len(autodiscovery.server.asked) == 2, "neither asks there"


def test_circles_end(tmp_path: Path) -> None:
    round_and_round = {"acme.example": http(302, Location="/b"), "b": http(302, Location="/acme.example")}
    with looking(tmp_path, round_and_round) as autodiscovery, pytest.raises(NotSent):
        autodiscovery.find()


def test_a_login_that_is_refused_is_told_for_what_it_is(tmp_path: Path) -> None:
    with looking(tmp_path, {"acme.example": http(401)}) as autodiscovery, pytest.raises(HttpFault) as told:
        autodiscovery.find()
    assert told.value.status == 401


def test_a_reply_without_end_is_not_read(tmp_path: Path) -> None:
    long = {"acme.example": http(200, b"x" * 2_000_000)}
    with looking(tmp_path, long) as autodiscovery, pytest.raises(NotSent, match="too long"):
        autodiscovery.find()


def test_what_is_kept_of_another_mailbox_or_without_tls_is_not_used(tmp_path: Path) -> None:
    for kept in (f"bob@acme.example {FOUND}\n", "ann@acme.example http://mail.acme.example/\n", "\xff"):
        (tmp_path / "autodiscovered").write_bytes(kept.encode("latin-1"))
        with looking(tmp_path, {"acme.example": http(200, FINDS)}) as autodiscovery:
            assert autodiscovery.find() == FOUND
            assert len(autodiscovery.server.asked) == 1


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (FINDS, ("url", FOUND)),
        (reply(protocol("EXCH", FOUND)), ("url", FOUND)),
        (reply(protocol("EXCH", FOUND, "ASUrl")), ("url", FOUND)),
        (reply(protocol("WEB", "")), ("error", "the reply names no service")),
        (reply(protocol("EXCH", "http://mail.acme.example/EWS")), ("error", "the reply names no service")),
        (reply("<RedirectAddr>b@c.example</RedirectAddr>"), ("redirect_address", "b@c.example")),
        (reply("<RedirectUrl>https://c.example/</RedirectUrl>"), ("redirect_url", "https://c.example/")),
        (b"<a><Error><Message>The email address can't be found.</Message></Error></a>",
         ("error", "The email address can't be found.")),
        (b"<html>", ("error", "the reply is no XML")),
        (b"", ("error", "the reply is no XML")),
        (b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', ("error", "the reply has a document type")),
    ],
)  # fmt: skip
def test_replies(octets: bytes, said: tuple[str, str]) -> None:
    assert read_reply(octets) == said
