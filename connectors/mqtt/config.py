"""What an operator can set for an MQTT connector; each description is the documentation."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from connectors.mqtt.rules import MIB, PublishRule, StatusTopic, SubscribeRule, Will
from connectors.mqtt.subscriptions import subscriptions
from connectors.mqtt.topics import Filled, Pattern
from gateway.contract import ConnectorConfig

_CLIENT_ID: Final = re.compile(r"[\x21-\x7e]{1,200}")
_GROUP: Final = re.compile(r"[^/+#\x00-\x20\x7f]{1,100}")
_CONNECTOR: Final = "connector:"
_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}

Version = Literal["auto", "5", "3.1.1"]


class MqttConfig(ConnectorConfig):
    """A broker, what is subscribed to there, and what may be published."""

    brokers: list[str] = Field(
        description="The broker: mqtt://host, mqtts://host (TLS), each with :port if it is not 1883 or 8883. Of "
        "several the first one that answers is used.",
    )
    version: Version = Field(
        "auto",
        description="MQTT's version. auto: 5, and 3.1.1 where the broker does not speak it, or says nothing to "
        "it for 3 seconds.",
    )
    client_id: str = Field(
        "",
        description="Our name at the broker, which keeps messages for it while we are away: no other client may have "
        "it, and it must not change. None: the gateway's name and the connector's.",
    )
    username: str | None = Field(None, description="User at the broker.")
    password: str | None = Field(None, repr=False, description="Password; best as '${VARIABLE}' or 'file:path'.")
    password_without_tls: bool = Field(
        False, description="Allow a password over a connection without TLS to another machine."
    )
    ca_file: str | None = Field(
        None, description="PEM file of the authorities that are trusted instead of the system's."
    )
    tls_cert: str | None = Field(None, description="PEM file of our own certificate, where the broker asks for one.")
    tls_key: str | None = Field(None, description="PEM file of its key. None: the key is in `tls_cert`.")
    tls_verify: bool = Field(True, description="The broker's certificate must be valid for its host's name.")

    keep_alive_s: int = Field(
        30, ge=5, le=65535, description="Seconds of silence after which each side looks whether the other is there."
    )
    connect_timeout_s: float = Field(10.0, gt=0, le=300, description="Seconds to connect to one broker.")
    retry_min_s: float = Field(0.5, gt=0, le=60, description="Seconds to the first try to connect anew.")
    retry_max_s: float = Field(60.0, gt=0, le=3600, description="Seconds between tries, at most.")
    session_expiry_s: int = Field(
        7 * 86400,
        ge=0,
        le=0xFFFFFFFF,
        description="Seconds for which the broker keeps messages while we are away (version 5); 4294967295: for good.",
    )
    receive_maximum: int = Field(
        2000,
        ge=1,
        le=65535,
        description="Messages that are handed over and not yet acknowledged, at most: the broker waits then. Version "
        "3.1.1 cannot say so; there we stop reading.",
    )
    in_flight: int = Field(
        100, ge=1, le=65535, description="Messages that are published and not yet acknowledged, at most."
    )
    will: Will | None = Field(None, description="What tells others at the broker whether we are there.")

    share: bool = Field(
        False,
        description="All workers subscribe at once, and the broker gives each message to one of them (shared "
        "subscriptions, version 5). Off: one worker at a time subscribes, and another takes over when it is gone.",
    )
    share_group: str = Field("gatepost", description="The group's name, the same on all nodes.")
    subscribe: list[SubscribeRule] = Field([], description="Topics that come in. The first rule that matches counts.")
    max_per_minute: int | None = Field(
        None, ge=1, description="Messages taken a minute, at most; the rest waits at the broker. None: no bound."
    )
    publish: list[PublishRule] = Field(
        [], description="Topics that may be published to. The first rule that matches counts; others are refused."
    )
    auth_servers: list[str] = Field(
        [],
        description="Names (authserv-id, RFC 8601) of our own mail servers, whose Authentication-Results fields are "
        "believed. They must remove such fields of others that claim their name.",
    )
    trusted_peers: list[str] = Field(
        ["127.0.0.0/8", "::1/128"],
        description="The mail servers that hand mail over to us, as addresses or networks, and connectors, as "
        "connector:NAME; what others bring proves nothing.",
    )
    reply_key: str | None = Field(
        None,
        repr=False,
        description="The key that signs what can be answered, at least 16 characters; the same on all nodes. None: "
        "one is made and kept with the gateway's state.",
    )
    status: StatusTopic | None = Field(
        None,
        description="Where it is told what became of messages that came in. None: reports go as mail to the sender.",
    )
    quarantine: str | None = Field(
        None,
        description="Folder for payloads that cannot be taken, each with a text that says why. None: one with the "
        "gateway's state.",
    )
    quarantine_files: int = Field(1000, ge=1, le=1_000_000, description="Payloads kept there; the oldest go first.")
    quarantine_bytes: int = Field(256 * MIB, ge=1024, description="Octets kept there; the oldest go first.")

    @field_validator("brokers")
    @classmethod
    def _are_brokers(cls, value: list[str]) -> list[str]:
        if not value:
            raise ValueError("name at least one broker, such as mqtt://localhost")
        for text in value:
            broker(text)
        return value

    @field_validator("client_id")
    @classmethod
    def _is_client_id(cls, value: str) -> str:
        if value and not _CLIENT_ID.fullmatch(value):
            raise ValueError("a client identifier is up to 200 printable ASCII characters without blanks")
        return value

    @field_validator("share_group")
    @classmethod
    def _is_group(cls, value: str) -> str:
        if not _GROUP.fullmatch(value):  # MQTT 5.0 §4.8.2: at least one character, none of / + #
            raise ValueError("a group's name has no /, + or # and no blanks")
        return value

    @field_validator("trusted_peers")
    @classmethod
    def _are_networks(cls, value: list[str]) -> list[str]:
        peers(value)
        return value

    @field_validator("reply_key")
    @classmethod
    def _is_long(cls, value: str | None) -> str | None:
        if value is not None and len(value) < 16:
            raise ValueError("a key of at least 16 characters; `openssl rand -hex 32` makes one")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.subscribe and not self.publish:
            raise ValueError("an MQTT connector needs rules to subscribe, to publish, or both")
        if self.retry_max_s < self.retry_min_s:
            raise ValueError("retry_max_s is less than retry_min_s")
        if self.password is not None and self.username is None:
            raise ValueError("a password needs a username")
        if self.password is not None and not self.password_without_tls:
            for text in self.brokers:
                host, _, is_tls = broker(text)
                if not is_tls and host not in ("localhost", "127.0.0.1", "::1"):
                    raise ValueError(
                        f"the password would go to {host} in the clear: write mqtts://, or set password_without_tls"
                    )
        if self.tls_key is not None and self.tls_cert is None:
            raise ValueError("tls_key needs tls_cert")
        if self.share and self.version == "3.1.1":
            raise ValueError('share needs shared subscriptions, which version = "3.1.1" does not have')
        ways = [(f"publish to {rule.topic}", rule) for rule in self.publish]
        ways += [(f"reply of {rule.label}", rule.reply.as_rule()) for rule in self.subscribe if rule.reply is not None]
        for what, each in ways:
            if "*" not in each.senders and each.senders and each.proof == "results" and not self.auth_servers:
                raise ValueError(
                    f"{what}: who a sender is, is known by auth_servers, and none is named; name your "
                    'mail server there, or set proof = "peer"'
                )
        filters = [Pattern(rule.topic) for rule in self.subscribe]
        for name, topic in (("status", self.status and self.status.topic), ("will", self.will and self.will.topic)):
            if topic and any(each.values(Filled(topic).fill({"topic": "x"})) is not None for each in filters):
                raise ValueError(
                    f"what is published to the {name} topic {topic} would come back by a rule to subscribe"
                )
        subscriptions(self.subscribe)
        labels = [rule.label for rule in self.subscribe]
        twice = {label for label in labels if labels.count(label) > 1}
        if twice:
            raise ValueError(f"two rules to subscribe are called {min(twice)}; give them a name each")
        return self


def broker(text: str) -> tuple[str, int, bool]:
    """Return host, port and whether TLS is used. Raises: ValueError that names the right form."""
    try:
        url = urlsplit(text if "://" in text else f"mqtt://{text}")
        port = url.port
    except ValueError:
        url, port = urlsplit(""), None
    if url.scheme not in _PORTS or not url.hostname or url.path not in ("", "/") or url.query or url.username:
        raise ValueError(f"{text!r} is not mqtt://host:port or mqtts://host:port; user and password stand apart")
    return url.hostname, port or _PORTS[url.scheme], url.scheme == "mqtts"


def peers(values: list[str]) -> tuple[tuple[IPv4Network | IPv6Network, ...], frozenset[str]]:
    """Return networks in CIDR form and names of connectors. Raises: ValueError that names the wrong one."""
    names = frozenset(value[len(_CONNECTOR) :] for value in values if value.startswith(_CONNECTOR))
    return tuple(ip_network(value) for value in values if not value.startswith(_CONNECTOR)), names
