"""MQTT keeps the connector contract, both ways: at QoS 1 and 2, in MQTT 5.0 and 3.1.1."""

from __future__ import annotations

from typing import Any

from connectors.mqtt import Mqtt
from gateway.testing import DestinationSuite, SourceSuite, fixture_of
from tests.connectors.mqtt.driver import ExactlyOnceDriver, MqttDriver

MIB = 1024 * 1024


def config(qos: int, **more: Any) -> dict[str, Any]:
    return {
        "brokers": ["mqtt://127.0.0.1:{peer_port}"],
        "client_id": "kit",
        "receive_maximum": 20,
        "connect_timeout_s": 2,
        "retry_min_s": 0.05,
        "retry_max_s": 0.2,
        "quarantine": "bad",
        "subscribe": [
            {
                "topic": "kit/in/{number}",
                "payload": "rfc822",
                "qos": qos,
                "recipients": ["smtp:ann@target.example"],
                "max_payload_bytes": 8 * MIB,
            }
        ],
        "publish": [
            {
                "topic": "kit/out/{name}",
                "payload": "rfc822",
                "qos": qos,
                "senders": ["*"],
                "max_payload_bytes": 8 * MIB,
                "max_per_minute": 1_000_000,
            }
        ],
        **more,
    }


class TestAtLeastOnce(DestinationSuite, SourceSuite):
    connector = fixture_of(Mqtt, config=config(1), driver=MqttDriver)


class TestExactlyOnce(DestinationSuite, SourceSuite):
    connector = fixture_of(Mqtt, config=config(2), driver=ExactlyOnceDriver)


class TestOldVersion(
    DestinationSuite,
    SourceSuite,
    only=(
        "test_acknowledges_after_the_commit_alone",
        "test_back_pressure_is_the_await",
        "test_a_stop_finishes_what_is_being_accepted",
        "test_a_broken_next_hop_defers_as_a_whole",
    ),
):
    """What depends on the version alone."""

    connector = fixture_of(Mqtt, config=config(2, version="3.1.1"), driver=ExactlyOnceDriver)
