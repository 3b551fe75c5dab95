"""What a configuration may say, and how a mistake is told."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from connectors.mqtt.config import MqttConfig, broker

SUB = {"topic": "alerts/{plant}", "recipients": ["smtp:ops@merged.example"]}
PUB = {"topic": "cmnd/{device}"}


def made(**more: Any) -> MqttConfig:
    return MqttConfig.model_validate({"brokers": ["localhost"], "subscribe": [SUB], **more})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mqtt://b.example", ("b.example", 1883, False)),
        ("mqtts://b.example", ("b.example", 8883, True)),
        ("mqtts://[2001:db8::1]:99/", ("2001:db8::1", 99, True)),
        ("b.example:1884", ("b.example", 1884, False)),
    ],
)
def test_brokers_are_read(text: str, expected: tuple[str, int, bool]) -> None:
    assert broker(text) == expected


@pytest.mark.parametrize("text", ["", "http://b", "mqtt://u:p@b", "mqtt://b:99999", "mqtt://b/topic", "mqtt://[::1"])
def test_other_brokers_are_told(text: str) -> None:
    with pytest.raises(ValueError, match="is not mqtt://host:port"):
        broker(text)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"subscribe": []}, "needs rules to subscribe, to publish, or both"),
        ({"brokers": []}, "at least one broker"),
        ({"password": "x"}, "needs a username"),
        ({"brokers": ["mqtt://b.example"], "username": "u", "password": "x"}, "in the clear"),
        ({"tls_key": "k"}, "tls_key needs tls_cert"),
        ({"share": True, "version": "3.1.1"}, "shared subscriptions"),
        ({"share_group": "a/b"}, "group's name"),
        ({"client_id": "a b"}, "client identifier"),
        ({"trusted_peers": ["10.0.0.1/8"]}, "host bits set"),
        ({"reply_key": "short"}, "at least 16"),
        ({"publish": [PUB | {"senders": ["smtp:*@a.example"]}]}, "auth_servers"),
        ({"publish": [PUB | {"senders": ["*@a.example"], "proof": "none"}]}, "no pattern of addresses"),
        ({"publish": [PUB | {"tokens": ["short"]}]}, "16 or more letters"),
        ({"publish": [PUB | {"topic": "a/{b}c"}]}, "whole level"),
        ({"publish": [PUB | {"payload": "template"}]}, "needs a table template"),
        ({"publish": [PUB | {"template": {}}]}, 'template is for payload = "template"'),
        ({"subscribe": [SUB, SUB]}, "give them a name each"),
        ({"subscribe": [SUB | {"recipients": []}]}, "recipients are needed"),
        ({"subscribe": [SUB | {"topic": "a/#/b"}]}, "comes last"),
        ({"subscribe": [SUB | {"payload": "rfc822", "calm": {}}]}, "calm is for events"),
        ({"subscribe": [SUB | {"payload": "rfc822", "reply": {"topic": "x"}}]}, "answered to its own sender"),
        ({"subscribe": [SUB | {"reply": {}}]}, "somewhere to go"),
        ({"subscribe": [SUB | {"calm": {"value": "state"}}]}, "JSON Pointer begins with /"),
        ({"subscribe": [SUB, SUB | {"topic": "{x}/p7"}]}, "neither holds all of the other"),
        ({"status": {"topic": "status/+"}}, "stands for many topics"),
        ({"status": {"topic": "alerts/status"}}, "would come back"),
        ({"will": {"topic": "alerts/x"}}, "would come back"),
        ({"will": {"topic": "a/#"}}, "stands for many topics"),
    ],
)
def test_mistakes_are_told(given: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        made(**given)
    assert text in str(caught.value)


def test_secrets_are_not_shown() -> None:
    config = made(username="u", password="hunter2hunter2", publish=[PUB | {"tokens": ["0123456789abcdef"]}])
    assert "hunter2" not in repr(config)
    assert "0123456789abcdef" not in repr(config)
