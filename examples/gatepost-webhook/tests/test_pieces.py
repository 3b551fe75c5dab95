"""What is decided without a connection: signatures, outcomes, documents, requests, options."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from email.utils import format_datetime, formatdate
from typing import Any

import pytest
from gatepost_webhook.config import Client, WebhookConfig, secret_octets
from gatepost_webhook.document import body, common, delivery_id
from gatepost_webhook.outcomes import outcome_of, seconds
from gatepost_webhook.request import BadRequest, may_send_as, read_json
from gatepost_webhook.signature import TOLERANCE_S, is_signed, sign
from pydantic import SecretStr, ValidationError

from gateway.contract import Content as Octets
from gateway.contract import Deferred, Delivered, Failed, Scope, memo
from gateway.testing import parcel
from mappings.network import parse

KEY = b"0123456789abcdef01234567"
NOW = 1_795_000_000.0
TOKEN = "a-token-of-24-characters"


# -- signatures


def test_the_signature_is_that_of_the_standard() -> None:
    """The example of the Standard Webhooks specification's own libraries."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    value = sign([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert value == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_signature_is_known_by_any_of_its_keys() -> None:
    value = sign([b"another key of some length", KEY], "id", int(NOW), b"body")
    assert is_signed(KEY, "id", str(int(NOW)), value, b"body", NOW)
    assert is_signed(KEY, "id", str(int(NOW)), "v2,x v1,!! " + value, b"body", NOW)


@pytest.mark.parametrize(
    ("id", "at", "octets", "now"),
    [
        ("other", str(int(NOW)), b"body", NOW),
        ("id", str(int(NOW)), b"Body", NOW),
        ("id", str(int(NOW) + 1), b"body", NOW),
        ("id", str(int(NOW)), b"body", NOW + TOLERANCE_S + 1),
        ("id", str(int(NOW)), b"body", NOW - TOLERANCE_S - 1),
        ("id", "yesterday", b"body", NOW),
        ("id", "9" * 400, b"body", NOW),
        ("", str(int(NOW)), b"body", NOW),
    ],
)
def test_what_was_not_signed_so_is_not(id: str, at: str, octets: bytes, now: float) -> None:
    assert not is_signed(KEY, id, at, sign([KEY], "id", int(NOW), b"body"), octets, now)


# -- outcomes


@pytest.mark.parametrize(
    ("status", "kind", "code", "scope"),
    [
        (200, Delivered, "2.0.0", None),
        (204, Delivered, "2.0.0", None),
        (301, Deferred, "4.4.4", Scope.HOP),
        (400, Failed, "5.7.1", None),
        (401, Deferred, "4.7.0", Scope.HOP),
        (403, Failed, "5.7.1", None),
        (404, Failed, "5.1.1", None),
        (408, Deferred, "4.3.2", Scope.MESSAGE),
        (409, Deferred, "4.3.2", Scope.MESSAGE),
        (410, Failed, "5.1.1", None),
        (413, Failed, "5.3.4", None),
        (422, Failed, "5.7.1", None),
        (425, Deferred, "4.3.2", Scope.MESSAGE),
        (429, Deferred, "4.3.2", Scope.HOP),
        (500, Deferred, "4.3.2", Scope.MESSAGE),
        (502, Deferred, "4.3.2", Scope.HOP),
        (503, Deferred, "4.3.2", Scope.HOP),
        (599, Deferred, "4.3.2", Scope.MESSAGE),
        (101, Deferred, "4.5.0", Scope.HOP),
    ],
)
def test_each_status_has_its_outcome(status: int, kind: type, code: str, scope: Scope | None) -> None:
    outcome = outcome_of(status, None, "no such list", NOW)
    assert type(outcome) is kind
    assert outcome.status.code == code
    assert str(status) in outcome.status.text
    if isinstance(outcome, Deferred):
        assert outcome.scope is scope
    if not isinstance(outcome, Delivered):
        assert "no such list" in outcome.status.cause


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (None, None),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("99999999999999999999", 86_400.0),
        (formatdate(NOW + 90, usegmt=True), 90.0),
        (format_datetime(datetime.fromtimestamp(NOW - 90, UTC)), 0.0),
        ("soon", None),
        ("-5", None),
        ("٣", None),
        ("Mon, 99 Foo 20000000 00:00:00 GMT", None),
    ],
)
def test_retry_after(said: str | None, found: float | None) -> None:
    assert seconds(said, NOW) == found


# -- what is posted


def test_the_document_tells_the_whole_message_and_its_parts() -> None:
    octets = (
        b"From: Ann Lee <ann@origin.example>\r\nTo: x@y.example\r\nSubject: =?utf-8?q?J=C3=BCrgen?=\r\n"
        b"Message-ID: <1@origin.example>\r\n\r\nhello\r\n"
    )
    one = parcel(5, [parse("smtp:shop@app.example")], octets, sender=parse("smtp:ann@origin.example"))
    told = json.loads(body(common(one, parts=True), one.items[0]))
    assert base64.b64decode(told["raw"]) == octets
    assert (told["version"], told["from"], told["to"]) == (1, "smtp:ann@origin.example", "smtp:shop@app.example")
    assert told["delivery"] == delivery_id(one.items[0]) == f"{told['message']}-0"
    assert told["parts"] == {
        "subject": "Jürgen",
        "from": "Ann Lee <ann@origin.example>",
        "to": "x@y.example",
        "message_id": "<1@origin.example>",
        "text": "hello\n",
        "text_is_cut": False,
        "files": [],
    }
    assert "parts" not in common(one, parts=False)


def test_octets_that_are_no_text_make_no_bad_json() -> None:
    one = parcel(5, [parse("smtp:shop@app.example")], b"Subject: \xff\xed\xa0\x80\r\n\r\n\xff\x00\xed\xb0\x80\r\n")
    assert json.loads(body(common(one, parts=True), one.items[0]).decode())["parts"]["text"]


# -- what is taken


def read(told: Any) -> Any:
    octets = told if isinstance(told, bytes) else json.dumps(told).encode()
    return read_json(octets, ("smtp",), hostname="gw.example", message_id="1@gw.example", now=NOW)


def test_a_letter_is_composed() -> None:
    letter = read(
        {
            "from": "shop@app.example",
            "to": ["ann@target.example", "smtp:bob@target.example", "ann@target.example"],
            "subject": "Your order\r\nBcc: all@target.example",
            "text": "thank you\n",
            "html": "<p>thank you</p>",
            "headers": {"X-Order": "5\r\nX-Evil: 1", "In-Reply-To": "<0@target.example>"},
            "attachments": [
                {"name": "bill.pdf", "type": "application/pdf", "content": base64.b64encode(b"%PDF").decode()}
            ],
        }
    )
    assert str(letter.sender) == "smtp:shop@app.example"
    assert [str(each) for each in letter.recipients] == ["smtp:ann@target.example", "smtp:bob@target.example"]
    found = memo(Octets(letter.octets))
    assert found.subject == "Your order Bcc: all@target.example"
    assert found.get(b"x-order") == "5 X-Evil: 1"
    assert not found.get(b"bcc")
    assert not found.get(b"x-evil")
    assert found.get(b"message-id") == "<1@gw.example>"
    assert found.text == "thank you\n"
    assert {each.name: b"".join(each.octets()) for each in found.attachments if each.name == "bill.pdf"} == {
        "bill.pdf": b"%PDF"
    }


def test_a_raw_message_stays_as_it_is() -> None:
    octets = b"Subject: x\r\n\r\n\xff\x00"
    letter = read({"from": None, "to": "ann@target.example", "raw": base64.b64encode(octets).decode()})
    assert (letter.sender, letter.octets) == (None, octets)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (b"{", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "no JSON object"),
        ({"to": []}, "no recipient"),
        ({"to": "nobody"}, "is no address"),
        ({"to": "x400:"}, "is no address"),
        ({"to": 5}, "a text or a list of texts"),
        ({"to": "a@b.example", "form": "x"}, "unknown key 'form'"),
        ({"to": "a@b.example", "from": 7}, "from is an address"),
        ({"to": "a@b.example", "raw": "x", "subject": "y"}, "subject cannot stand beside it"),
        ({"to": "a@b.example", "raw": "not base64!"}, "raw is no base64"),
        ({"to": "a@b.example", "subject": ["x"]}, "subject is a text"),
        ({"to": "a@b.example", "headers": {"Received": "x"}}, "not for an application"),
        ({"to": "a@b.example", "headers": {"X-A:B": "x"}}, "not for an application"),
        ({"to": "a@b.example", "headers": ["x"]}, "an object of texts"),
        ({"to": "a@b.example", "headers": {f"X-{n}": "x" for n in range(60)}}, "more than 50"),
        ({"to": "a@b.example", "attachments": [{}]}, "content is base64"),
        ({"to": "a@b.example", "attachments": [{"path": "/etc/passwd"}]}, "unknown key 'path'"),
        ({"to": "a@b.example", "attachments": [{"content": ""}] * 101}, "more than 100"),
    ],
)
def test_a_bad_request_is_told_why(told: Any, said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        read(told)


def test_halves_of_characters_become_question_marks() -> None:
    letter = read(b'{"to": "a@b.example", "subject": "\\ud800", "text": "\\udc00"}')
    assert memo(Octets(letter.octets)).subject == "?"


@pytest.mark.parametrize(
    ("patterns", "sender", "may"),
    [
        (["smtp:*@app.example"], "smtp:Shop@APP.example", True),
        (["smtp:*@app.example"], "smtp:shop@app.example.evil.example", False),
        (["smtp:*@app.example"], "smtp:shop@b.app.example", False),
        (["smtp:shop@app.example"], "smtp:shop@app.example", True),
        (["smtp:*@app.example"], None, False),
        (["smtp:*example"], "mhs:app@example", False),
    ],
)
def test_whom_a_client_may_send_as(patterns: list[str], sender: str | None, may: bool) -> None:
    client = Client.model_validate({"name": "x", "token": TOKEN, "from": patterns})
    assert may_send_as(client, None if sender is None else parse(sender)) is may


# -- options

SENDS = {"url": "https://app.example/mail", "secret": "0123456789abcdef01234567"}
TAKES = {"listen": "127.0.0.1:8080", "client": [{"name": "x", "token": TOKEN, "from": ["smtp:*"]}]}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "neither url nor listen"),
        ({"url": "https://app.example/"}, "needs a secret"),
        ({**SENDS, "url": "http://app.example/"}, "https"),
        ({**SENDS, "url": "ftp://app.example/"}, "a web address"),
        ({**SENDS, "url": "https://me:pw@app.example/"}, "without a user"),
        ({**SENDS, "secret": "short"}, "at least 24 octets"),
        ({**SENDS, "secret": "whsec_###"}, "base64"),
        ({"listen": "127.0.0.1:8080"}, "listen needs a client"),
        ({**TAKES, "listen": "localhost:8080"}, "an IP address and a port"),
        ({**TAKES, "listen": "0.0.0.0:8080"}, "behind_proxy"),
        ({**TAKES, "tls_key": "x"}, "belong together"),
        ({**TAKES, "client": [*TAKES["client"], *TAKES["client"]]}, "two clients"),
        ({**TAKES, "client": [{"name": "x", "from": ["smtp:*"]}]}, "a token or a secret"),
        ({**TAKES, "client": [{"name": "x y", "token": TOKEN, "from": ["smtp:*"]}]}, "letters, digits"),
        ({**TAKES, "client": [{"name": "x", "token": TOKEN, "from": ["app.example"]}]}, "with their network"),
        ({**TAKES, "client": [{"name": "x", "token": "short", "from": ["smtp:*"]}]}, "at least 24 printable"),
    ],
)
def test_bad_options_are_told_with_their_mend(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        WebhookConfig.model_validate(given)


def test_secrets_are_not_shown() -> None:
    shown = repr(WebhookConfig.model_validate({**SENDS, **TAKES}))
    assert TOKEN not in shown
    assert SENDS["secret"] not in shown
    assert secret_octets(SecretStr("whsec_" + base64.b64encode(KEY).decode())) == KEY
