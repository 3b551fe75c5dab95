"""The configuration: what is wrong is named before anything is asked."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from connectors.exchange.ews.config import EwsConfig

WHOLE: dict[str, Any] = {
    "url": "https://mail.acme.example/EWS/Exchange.asmx",
    "username": "ACME\\svc",
    "password": "secret",
}


def config(**changed: Any) -> EwsConfig:
    return EwsConfig(**{**WHOLE, **changed})


@pytest.mark.parametrize(
    ("changed", "service"),
    [
        ({}, "https://mail.acme.example/EWS/Exchange.asmx"),
        ({"url": None, "server": "mail.acme.example"}, "https://mail.acme.example/EWS/Exchange.asmx"),
        ({"url": None, "autodiscover": "Ann@acme.example"}, None),
        ({"url": "http://127.0.0.1:8080/EWS"}, "http://127.0.0.1:8080/EWS"),
        ({"url": "http://mail.acme.example/EWS", "password_without_tls": True}, "http://mail.acme.example/EWS"),
        ({"auth": "oauth", "username": None, "password": None, "tenant": "t", "client_id": "c", "client_secret": "s"},
         "https://mail.acme.example/EWS/Exchange.asmx"),
    ],
)  # fmt: skip
def test_these_are_taken(changed: dict[str, Any], service: str | None) -> None:
    assert config(**changed).service == service


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"url": None}, "name one of url, server and autodiscover"),
        ({"server": "mail.acme.example"}, "name one of url, server and autodiscover"),
        ({"url": "mail.acme.example"}, "the address is such as"),
        ({"url": "https://u:p@mail.acme.example/"}, "the address is such as"),
        ({"url": None, "server": "https://mail"}, "an address goes into `url`"),
        ({"password": None}, "ntlm needs username and password"),
        ({"auth": "basic", "username": None}, "basic needs username and password"),
        ({"auth": "oauth"}, "oauth needs client_id"),
        ({"auth": "oauth", "client_id": "c", "client_secret": "s", "certificate": "x"}, "client_secret or certificate"),
        ({"auth": "oauth", "client_id": "c", "client_secret": "s"}, "oauth needs the tenant"),
        ({"url": "http://mail.acme.example/EWS"}, "in the clear"),
        ({"autodiscover": "ann", "url": None}, "not the SMTP address of a mailbox"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_these_are_refused_with_their_reason(changed: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError) as refused:
        config(**changed)
    assert text in str(refused.value)


def test_no_secret_is_shown() -> None:
    shown = repr(config(password="hush hush"))
    assert "hush hush" not in shown
