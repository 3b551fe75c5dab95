"""The application's token: by secret and by certificate, one for all, renewed early, refused without a storm."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from connectors.exchange.graph.config import GraphConfig
from connectors.exchange.graph.token import EARLY_S, REFUSED_S, TokenSource, read
from connectors.exchange.graph.transport import open_blocking_client, open_client, tls_context
from connectors.exchange.organisation import Fault
from tests.connectors.exchange.graph.conftest import Opened
from tests.connectors.exchange.graph.kit import Tokens
from tests.peers.graph.process import GraphCompany


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


async def test_one_token_serves_until_it_is_about_to_end() -> None:
    ask, clock = Tokens(), Clock()
    source = TokenSource(ask, clock)
    assert [await source.get() for _ in range(3)] == ["t1", "t1", "t1"]
    clock.now += 3600 - EARLY_S - 1
    assert await source.get() == "t1"
    clock.now += 2
    assert await source.get() == "t2"
    assert ask.asked == [False, False]


async def test_many_at_once_ask_once() -> None:
    gate = threading.Event()
    asked: list[bool] = []

    def ask(anew: bool) -> dict[str, Any]:
        asked.append(anew)
        gate.wait(60)
        return {"access_token": "t", "expires_in": 3600}

    source = TokenSource(ask, time.time)
    waiting = [asyncio.ensure_future(source.get()) for _ in range(50)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*waiting[1:]) == ["t"] * 49
    assert asked == [False]


async def test_a_token_that_cannot_be_renewed_serves_to_its_end() -> None:
    refusal = {"error": "temporarily_unavailable", "error_description": "AADSTS90033"}
    ask, clock = Tokens({"access_token": "old", "expires_in": 3600}, refusal, refusal), Clock()
    source = TokenSource(ask, clock)
    await source.get()
    clock.now += 3600 - EARLY_S + 1
    assert await source.get() == "old"
    assert source.trouble is not None
    clock.now += EARLY_S
    with pytest.raises(Fault) as caught:
        await source.get()
    assert caught.value.why == "unreachable"
    clock.now += REFUSED_S + 1
    assert await source.get() == "t4"
    assert source.trouble is None


async def test_a_wrong_secret_is_no_storm() -> None:
    ask, clock = Tokens({"error": "invalid_client", "error_description": "AADSTS7000215: wrong\r\nTrace"}), Clock()
    source = TokenSource(ask, clock)
    for _ in range(10):
        with pytest.raises(Fault) as caught:
            await source.get()
    assert (caught.value.why, caught.value.everywhere) == ("denied", True)
    assert caught.value.retry_after_s == pytest.approx(REFUSED_S)
    assert "\r" not in str(caught.value)
    assert ask.asked == [False]
    clock.now += REFUSED_S + 1
    assert await source.get() == "t2"


async def test_a_token_that_was_not_taken_is_asked_for_anew_once() -> None:
    ask = Tokens()
    source = TokenSource(ask, Clock())
    old = await source.get()
    new = await asyncio.gather(*(source.refused(old) for _ in range(5)))
    assert set(new) == {"t2"}
    assert ask.asked == [False, True]


def test_an_answer_without_a_token_is_a_fault() -> None:
    with pytest.raises(Fault, match="no token"):
        read({}, 0.0)


async def test_an_authority_that_never_answers_holds_up_nothing() -> None:
    gate = threading.Event()
    source = TokenSource(lambda _: {"x": gate.wait(300)}, time.time)
    waiting = asyncio.ensure_future(source.get())
    await asyncio.sleep(0.05)
    source.close()
    began = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert time.monotonic() - began < 5
    assert all(t.daemon for t in threading.enumerate() if t.name == "graph-token")
    gate.set()


# -- against the peer, which checks what msal sends


async def test_by_secret(company: GraphCompany, opened: Opened) -> None:
    organisation = await opened()
    await organisation.folder(company.address("ann"), "inbox")
    assert organisation.trouble() is None
    assert len(company.log("Token")) == 1


async def test_by_certificate(company: GraphCompany, opened: Opened, tmp_path: Path) -> None:
    certificate, key = company.certificate(tmp_path)
    organisation = await opened(client_secret=None, certificate=str(certificate), certificate_key=str(key))
    await organisation.folder(company.address("ann"), "inbox")
    (asked,) = company.log("Token")
    assert b"client_assertion" in asked.body
    assert b"client_secret" not in asked.body
    assert key.read_bytes().split(b"\n")[1] not in asked.body


async def test_a_certificate_nobody_knows_is_refused(company: GraphCompany, opened: Opened, tmp_path: Path) -> None:
    from tests.peers.graph import tls

    certificate, key = tls.application_certificate(tmp_path)
    organisation = await opened(client_secret=None, certificate=str(certificate), certificate_key=str(key))
    with pytest.raises(Fault) as caught:
        await organisation.folder(company.address("ann"), "inbox")
    assert caught.value.why == "denied"


async def test_a_wrong_secret_is_told_and_no_part_of_it(
    company: GraphCompany, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    organisation = await opened(client_secret="Wr0ngAndSecret")
    with pytest.raises(Fault) as caught:
        await organisation.folder(company.address("ann"), "inbox")
    assert caught.value.code == "invalid_client"
    assert "AADSTS7000215" in str(organisation.trouble())
    for text in (str(caught.value), str(organisation.trouble()), repr(caught.value), caplog.text):
        assert "Wr0ngAndSecret" not in text


async def test_no_token_and_no_secret_is_logged(
    company: GraphCompany, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    organisation = await opened()
    await organisation.folder(company.address("ann"), "inbox")
    token = await organisation._tokens.get()  # type: ignore[union-attr]
    assert token not in caplog.text
    assert company.client_secret not in caplog.text
    assert "Bearer" not in caplog.text


async def test_a_withdrawn_token_is_replaced_within_the_request(company: GraphCompany, opened: Opened) -> None:
    organisation, ann = await opened(), company.address("ann")
    await organisation.folder(ann, "inbox")
    company.revoke()
    await organisation.folder(ann, "drafts")
    assert len(company.log("Token")) == 2


async def test_the_authority_of_a_private_ca_alone_is_trusted(company: GraphCompany, opened: Opened) -> None:
    organisation = await opened(ca_file=None)
    with pytest.raises(Fault) as caught:
        await organisation.folder(company.address("ann"), "inbox")
    assert caught.value.why == "unreachable"
    assert "CERTIFICATE" in str(caught.value).upper()


# -- options


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"client_secret": None}, "either client_secret or certificate"),
        ({"certificate": "c.pem"}, "either client_secret or certificate"),
        ({"certificate_key": "k.pem"}, "certificate_key belongs"),
        ({"url": "http://graph.example/v1.0"}, "in the clear"),
        ({"url": "https://u:p@graph.example/v1.0"}, "more than scheme"),
        ({"authority": "http://login.example"}, "in the clear"),
        ({"tenant": "a/b"}, "neither the id"),
        ({"per_mailbox": 5}, "per_mailbox"),
    ],
)
def test_options_that_cannot_be_meant(options: dict[str, Any], said: str) -> None:
    given = {"tenant": "t.example", "client_id": "c", "client_secret": "s", **options}
    with pytest.raises(ValueError, match=said):
        GraphConfig.model_validate({name: value for name, value in given.items() if value is not None})


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda folder: None, "readable PEM"),
        (lambda folder: (folder / "c.pem").write_text("nothing"), "must hold a certificate"),
    ],
)
async def test_a_file_that_cannot_be_used_is_named(
    opened: Opened, tmp_path: Path, made: Callable[[Path], object], said: str
) -> None:
    made(tmp_path)
    with pytest.raises(ValueError, match=said) as caught:
        await opened(client_secret=None, certificate="c.pem")
    assert "c.pem" in str(caught.value)


async def test_the_environment_has_no_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:1")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    config = GraphConfig(tenant="t.example", client_id="c", client_secret="s")
    context = tls_context(config, tmp_path)
    http = open_client(config, context)
    blocking = open_blocking_client(config, context)
    try:
        for client in (http, blocking):
            assert client.trust_env is False
            assert not any(client._mounts.values())  # proxies would be mounted
    finally:
        await http.aclose()
        blocking.close()
    assert isinstance(http, httpx.AsyncClient)
