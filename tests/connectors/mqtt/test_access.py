"""Who may publish by mail: by default nobody; what proves a sender, and what only looks as if it did."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.mqtt.access import AUTOMATIC, NOT_ALLOWED, UNPROVEN, Access, Granted, Pace, glob, without_tokens
from connectors.mqtt.authentication import results
from connectors.mqtt.config import MqttConfig
from gateway.contract import Content, Envelope, Item, Origin, Parcel, Status
from mappings.network import network

TOKEN = "0123456789abcdef0123"
PASSED = "mx.merged.example; dmarc=pass header.from=merged.example"


def judged(
    fields: str = "",
    *,
    peer: str = "127.0.0.1",
    path: str = "ann@merged.example",
    protocol: str = "ESMTPS",
    connector: str = "internet",
    trusted: list[str] | None = None,
    **rule: Any,
) -> Any:
    config = MqttConfig.model_validate(
        {
            "brokers": ["localhost"],
            "auth_servers": ["mx.merged.example"],
            "publish": [{"topic": "cmnd/{device}", **rule}],
            **({} if trusted is None else {"trusted_peers": trusted}),
        }
    )
    octets = b"From: Ann <ann@merged.example>\r\nSubject: on\r\n" + fields.encode() + b"\r\non\r\n"
    topic = network("mqtt").parse("cmnd/lamp")
    envelope = Envelope(network("smtp").parse(path), (), Origin(connector, peer=peer, protocol=protocol))
    parcel = Parcel(1, envelope, Content(octets), (Item((1, 0), topic, topic),), 0.0)
    return Access(config).judge(config.publish[0], parcel)


def test_nobody_may_by_default() -> None:
    assert judged() is NOT_ALLOWED


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ("dmarc=pass header.from=merged.example", Granted),
        ("dmarc=pass (p=reject; dis=none) header.from=Merged.Example", Granted),
        ("spf=none; dmarc=pass policy.dmarc=none header.from=merged.example", Granted),
        ("dkim=pass header.d=merged.example header.s=x", Granted),
        ("dkim=pass header.i=@merged.example", Granted),
        ("dkim=pass header.d=example", Status),
        ("dkim=pass header.d=evil.example", Status),
        ("dkim=pass header.d=notmerged.example", Status),
        ("dkim=fail header.d=merged.example", Status),
        ("dkim=passed header.d=merged.example", Status),
        ("spf=pass smtp.mailfrom=ann@merged.example", Granted),
        ("spf=pass smtp.mailfrom=evil.example", Status),
        ("auth=pass smtp.auth=ann@merged.example", Granted),
        ("auth=pass smtp.auth=eve@merged.example", Status),
        ("none", Status),
        ("dmarc=fail header.from=merged.example; dkim=pass header.d=merged.example", Status),
        ('dkim=fail reason="x; dkim=pass header.d=merged.example"', Status),
        ("dkim=fail (dkim=pass header.d=merged.example)", Status),
        ("dkim=fail (a (b) dkim=pass header.d=merged.example", Status),
        ("; dkim=pass header.d=merged.example", Granted),
    ],
)
def test_results_prove_a_sender(results: str, expected: type) -> None:
    fields = f"Authentication-Results: mx.merged.example; {results}\r\n"
    assert isinstance(judged(fields, senders=["smtp:*@merged.example"]), expected)


def test_results_of_others_prove_nothing() -> None:
    for server in ("mx.evil.example", "xmx.merged.example", '"mx.merged.example.evil"'):
        fields = f"Authentication-Results: {server}; dmarc=pass header.from=merged.example\r\n"
        assert judged(fields, senders=["smtp:*@merged.example"]) is UNPROVEN


def test_a_forged_field_beside_a_real_one_does_not_help() -> None:
    fields = "Authentication-Results: mx.merged.example; dmarc=fail header.from=merged.example\r\n"
    forged = "Authentication-Results: mx.merged.example; dkim=pass header.d=merged.example\r\n"
    assert judged(fields + forged, senders=["smtp:*@merged.example"]) is UNPROVEN


def test_what_a_stranger_brings_proves_nothing() -> None:
    fields = f"Authentication-Results: {PASSED}\r\n"
    assert judged(fields, senders=["smtp:*@merged.example"], peer="203.0.113.9") is UNPROVEN
    assert judged(fields, senders=["smtp:*@merged.example"], peer="a file.eml") is UNPROVEN


def test_a_topic_or_a_file_named_like_an_address_proves_nothing() -> None:
    for protocol in ("MQTT", "file", ""):
        assert judged(senders=["smtp:*@merged.example"], proof="peer", protocol=protocol) is UNPROVEN
    for protocol in ("SMTP", "ESMTP", "LMTP", "ESMTPSA", "UTF8SMTPS", "UTF8LMTP"):
        assert isinstance(judged(senders=["smtp:*@merged.example"], proof="peer", protocol=protocol), Granted)


def test_a_connector_may_be_trusted_by_its_name() -> None:
    given_ = {"senders": ["smtp:*@merged.example"], "proof": "peer", "protocol": "file", "peer": "a.eml"}
    assert judged(**given_, connector="oldmhs") is UNPROVEN
    assert isinstance(judged(**given_, connector="oldmhs", trusted=["connector:oldmhs"]), Granted)


def test_a_proven_stranger_is_still_none_of_the_senders() -> None:
    assert judged(f"Authentication-Results: {PASSED}\r\n", senders=["smtp:bob@merged.example"]) is NOT_ALLOWED


def test_a_peer_may_stand_for_its_users() -> None:
    assert isinstance(judged(senders=["smtp:*@merged.example"], proof="peer"), Granted)
    assert judged(senders=["smtp:*@merged.example"], proof="peer", peer="203.0.113.9") is UNPROVEN


def test_two_senders_are_nobody() -> None:
    fields = "From: Eve <eve@merged.example>\r\n"
    assert judged(fields, senders=["smtp:*@merged.example"], proof="none") is NOT_ALLOWED


def test_an_automatic_mail_publishes_nothing() -> None:
    fields = "Auto-Submitted: auto-replied\r\n"
    assert judged(fields, senders=["smtp:*@merged.example"], proof="none") is AUTOMATIC


@pytest.mark.parametrize(
    "fields",
    [
        f"X-Gatepost-Token: {TOKEN}\r\n",
        f"Comments: x\r\nx-gatepost-token:\r\n {TOKEN}\r\n",
    ],
)
def test_a_token_in_a_field_lets_through_and_is_taken_out(fields: str) -> None:
    found = judged(fields, tokens=[TOKEN])
    assert isinstance(found, Granted)
    assert TOKEN.encode() not in found.content.octets()
    assert found.content.octets().endswith(b"\r\n\r\non\r\n")


def test_a_wrong_token_does_not() -> None:
    assert judged(f"X-Gatepost-Token: {TOKEN[:-1]}\r\n", tokens=[TOKEN]) is NOT_ALLOWED
    assert judged("", tokens=[TOKEN]) is NOT_ALLOWED


@pytest.mark.parametrize(
    ("subject", "left"),
    [
        (f"[token:{TOKEN}]", b"Subject: \r\n"),
        (f"on [token:{TOKEN}]", b"Subject: on\r\n"),
        (f"=?utf-8?q?an_=C3=A4_=5Btoken=3A{TOKEN}=5D?=", b"Subject: =?utf-8?"),
    ],
)
def test_a_token_in_the_subject_is_taken_out(subject: str, left: bytes) -> None:
    content = Content(f"Subject: {subject}\r\nX: y\r\n\r\nbody\r\n".encode())
    octets = without_tokens(content).octets()
    assert octets.startswith(left)
    assert TOKEN.encode() not in octets
    assert octets.endswith(b"X: y\r\n\r\nbody\r\n")


def test_a_pattern_is_matched_as_a_whole() -> None:
    assert glob("smtp:*@a.example").fullmatch("smtp:ann@A.example")
    assert not glob("smtp:*@a.example").fullmatch("smtp:ann@a.example.evil")


@given(st.binary(max_size=300))
def test_any_octets_are_taken(octets: bytes) -> None:
    for value in (octets, b"mx.merged.example; " + octets):
        results([value], frozenset(["mx.merged.example"]))


def test_reading_takes_linear_time() -> None:
    for octets in (b"(" * 16000, b'"' * 16000, b"a=b;" * 4000, b"\\" * 16000, b"x=pass " + b"a." * 7000):
        results([b"mx.merged.example; " + octets], frozenset(["mx.merged.example"]))


def test_a_pace_is_kept() -> None:
    now = [0.0]
    pace = Pace(60, lambda: now[0])
    taken = sum(pace.take() == 0 for _ in range(100))
    assert taken == 10
    assert 0 < pace.take() <= 1
    now[0] += 5
    assert sum(pace.take() == 0 for _ in range(100)) == 5
