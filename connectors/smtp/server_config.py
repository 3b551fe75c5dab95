"""The options of the receiving side: where it listens, whom it serves, and how much of one client it bears."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from connectors.smtp.border import BorderConfig
from connectors.smtp.filter_config import AccessTable, DnsListsTable, GreylistTable, MilterTable, RateLimit

_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|\*|[^\s:\[\]]+):(\d{1,5})")


class ServerConfig(BorderConfig):
    """Options of an SMTP or LMTP source. Without `listen` and `tls_listen` there is no source."""

    listen: tuple[str, ...] = Field(
        (),
        description="Where to listen: 'host:port', '[2001:db8::1]:25' or '*:25' for every address; port 0 takes any.",
    )
    tls_listen: tuple[str, ...] = Field((), description="The same, with TLS from the first octet (RFC 8314, port 465).")
    protocol_in: Literal["smtp", "lmtp"] = Field(
        "smtp", description="'lmtp' gives one answer per recipient at the end of data (RFC 2033); never on port 25."
    )
    tls_cert: str | None = Field(None, description="PEM file of the certificate with its chain.")
    tls_key: str | None = Field(None, description="PEM file of its key. Absent: the key is in `tls_cert`.")
    starttls: Literal["offer", "require", "off"] = Field(
        "offer", description="STARTTLS where there is a certificate: offered, demanded before MAIL, or never."
    )
    relay_networks: tuple[str, ...] = Field(
        ("127.0.0.0/8", "::1/128"),
        description="Clients that may send to recipients of others, as addresses or networks. They are exempt from "
        "`max_connections_per_client` and `max_messages_per_minute`.",
    )
    fix_bare_newlines_from: tuple[str, ...] = Field(
        (),
        description="Clients whose lines may end with LF alone: it becomes CR LF, but never ends a message. From all "
        "others a message with a CR or LF of its own is refused, since such line ends let a second message be "
        "smuggled in.",
    )

    max_message_bytes: int = Field(100 * 1024 * 1024, ge=65536, description="Octets of one message (RFC 1870).")
    max_recipients: int = Field(
        1000, ge=100, description="Recipients of one transaction; at least 100 (RFC 5321 §4.5.3.1.8)."
    )
    max_connections: int = Field(10_000, ge=1, description="Connections at once; further ones get 421.")
    max_connections_per_client: int = Field(100, ge=1, description="Connections at once from one address (IPv6: /64).")
    max_messages_per_minute: int = Field(
        1000, ge=1, description="Transactions that one address (IPv6: /64) may begin in a minute; then 450."
    )
    max_errors: int = Field(
        20, ge=1, description="Errors of one connection since its last accepted message, after which it is closed."
    )
    client_timeout_s: float = Field(
        300.0, gt=0, description="Seconds that a client may take for a command, or be silent within a message."
    )
    receive_timeout_s: float = Field(600.0, gt=0, description="Seconds that one message may take to come in.")
    greet_delay_s: float = Field(
        0.0,
        ge=0,
        le=60,
        description="Seconds before the greeting, but for `relay_networks`; who speaks before it is cut off.",
    )

    access: AccessTable | None = Field(
        None, description="A table of its own: who may not send, and who may without further screening."
    )
    dns_lists: DnsListsTable | None = Field(
        None, description="A table of its own: black and white lists in DNS that are asked about clients."
    )
    greylist: GreylistTable | None = Field(
        None, description="A table of its own: what is sent for the first time is put off."
    )
    rate_limits: tuple[RateLimit, ...] = Field(
        (), description="Tables of their own: how much one client or sender may send, or one destination may get."
    )
    milters: tuple[MilterTable, ...] = Field(
        (), description="Tables of their own: filters that are asked over the milter protocol, in this order."
    )

    @field_validator("listen", "tls_listen")
    @classmethod
    def _places(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            listen_at(value)
        return values

    @field_validator("relay_networks", "fix_bare_newlines_from")
    @classmethod
    def _networks(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        networks(values)
        return values

    @model_validator(mode="after")
    def _whole_tls(self) -> Self:
        if self.tls_listen and self.tls_cert is None:
            raise ValueError("tls_listen needs tls_cert")
        if self.starttls == "require" and self.tls_cert is None:
            raise ValueError("starttls = 'require' needs tls_cert")
        if self.tls_key is not None and self.tls_cert is None:
            raise ValueError("tls_key needs tls_cert")
        return self


def listen_at(text: str) -> tuple[str | None, int]:
    """Split `host:port` or `[v6]:port`; the host is None for `*`.

    Raises: ValueError that names the right form.
    """
    found = _HOST_PORT.fullmatch(text)
    if not found or int(found[2]) > 65535:
        raise ValueError(f"{text!r} is not 'host:port', '[IPv6]:port' or '*:port'")
    return (None if found[1] == "*" else found[1].strip("[]")), int(found[2])


def networks(values: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    """Read addresses and networks in CIDR form.

    Raises: ValueError that names the wrong one, as where bits are set beyond the prefix.
    """
    return tuple(ip_network(value) for value in values)
