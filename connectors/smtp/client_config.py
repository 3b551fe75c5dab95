"""The options of the sending side: where mail goes, how safely, how hard, and how long an answer is awaited."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from connectors.smtp.outward_config import OutwardConfig

_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+)(?::(\d{1,5}))?")


class ClientConfig(OutwardConfig):
    """Options of an SMTP or LMTP destination."""

    smart_host: str | None = Field(
        None,
        description="Send everything to this host: 'host:port', '[2001:db8::1]:25' or 'unix:/path/of/socket'. "
        "Absent: each domain's MX hosts.",
    )
    protocol_out: Literal["smtp", "lmtp"] = Field(
        "smtp", description="'lmtp' speaks LMTP (one answer per recipient) to the smart host, which is then needed."
    )
    port: int = Field(25, ge=1, le=65535, description="Port of MX hosts, and of a smart host without one.")
    tls: Literal["opportunistic", "require", "verify", "none", "implicit"] = Field(
        "opportunistic",
        description="'opportunistic': STARTTLS where offered, unverified, else plain text. 'require': never without "
        "TLS. 'verify': and the certificate must be valid for the host's name. 'implicit': TLS from the first octet "
        "(port 465), verified. 'none': never TLS.",
    )
    ca_file: str | None = Field(
        None, description="PEM file of the authorities that are trusted instead of the system's."
    )
    auth_user: str | None = Field(None, description="User for AUTH (PLAIN or LOGIN) at the smart host.")
    auth_password: str | None = Field(
        None, repr=False, description="Password for AUTH; best as '${VARIABLE}' or 'file:path'."
    )
    auth_without_tls: bool = Field(False, description="Allow AUTH over a connection without TLS.")
    ignore_offers: tuple[Literal["PIPELINING", "8BITMIME", "SIZE", "SMTPUTF8", "DSN", "STARTTLS"], ...] = Field(
        (), description="Extensions not to use though a peer offers them, for one that offers what it cannot do."
    )
    ehlo_name: str | None = Field(None, description="Name given in EHLO. Absent: the gateway's own name.")

    prefer: Literal["ipv4", "ipv6"] = Field(
        "ipv6", description="Family that is tried first where a host has both; the other one is tried too."
    )
    nameservers: tuple[str, ...] = Field((), description="Addresses of DNS servers. Absent: those of the system.")
    nameserver_port: int = Field(53, ge=1, le=65535, description="Port of `nameservers`.")
    own_names: tuple[str, ...] = Field(
        (),
        description="Further host names of this gateway: an MX record that names one of them, or a worse one, is not "
        "used, so that mail cannot loop (RFC 5321 §5.1).",
    )
    own_addresses: tuple[str, ...] = Field(
        (), description="IP addresses of this gateway, for the same check as `own_names`."
    )

    max_connections_per_hop: int = Field(20, ge=1, le=1000, description="Most connections to one next hop at once.")
    max_messages_per_connection: int = Field(1000, ge=1, description="Messages after which a connection is ended.")
    max_recipients_per_message: int = Field(
        100, ge=1, le=10000, description="Most recipients in one transaction; the rest go in a further one."
    )
    idle_timeout_s: float = Field(10.0, ge=0, description="Seconds that an unused connection is kept; 0 keeps none.")
    assume_8bit: bool = Field(
        False,
        description="Send 8-bit content as it is to a host that does not offer 8BITMIME, so that signatures stay "
        "whole; false encodes it for such a host (RFC 6152 §3).",
    )
    unpack_tnef: bool = Field(
        False,
        description="Take apart what Outlook packs for itself (winmail.dat) to text, files, messages and meetings that "
        "every mail program reads. False sends it as it came, so that signatures stay whole.",
    )

    # RFC 5321 §4.5.3.2 gives the least values of the time-outs below.
    connect_timeout_s: float = Field(30.0, gt=0, description="Seconds to connect to one address, TLS included.")
    greeting_timeout_s: float = Field(300.0, gt=0, description="Seconds to wait for the greeting.")
    command_timeout_s: float = Field(300.0, gt=0, description="Seconds to wait for the answer to EHLO, MAIL, RCPT.")
    data_timeout_s: float = Field(120.0, gt=0, description="Seconds to wait for the answer to DATA.")
    block_timeout_s: float = Field(180.0, gt=0, description="Seconds in which the peer must take a block of content.")
    dot_timeout_s: float = Field(600.0, gt=0, description="Seconds to wait for the answer to the end of content.")
    message_timeout_s: float = Field(
        7200.0, gt=0, description="Seconds that one message may take in all, from MAIL to the last answer."
    )

    @field_validator("smart_host")
    @classmethod
    def _smart_host(cls, text: str | None) -> str | None:
        if text is not None:
            host_port(text, 25)
        return text

    @field_validator("own_addresses", "nameservers")
    @classmethod
    def _addresses(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            ip_address(value)
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.protocol_out == "lmtp" and self.smart_host is None:
            raise ValueError("protocol_out = 'lmtp' needs a smart_host: LMTP has no MX look-up")
        if (self.auth_user is None) != (self.auth_password is None):
            raise ValueError("auth_user and auth_password belong together")
        if self.auth_user is not None and self.smart_host is None:
            raise ValueError("auth_user needs a smart_host: a password is for one host, not for every MX")
        if self.auth_user is not None and self.tls == "none" and not self.auth_without_tls:
            raise ValueError("auth_user with tls = 'none' sends the password in the clear: set auth_without_tls = true")
        if self.dane and not self.nameservers:
            raise ValueError("dane = true needs nameservers that validate DNSSEC, such as ['127.0.0.1']")
        if self.tls == "none" and (self.dane or self.mta_sts or self.tls_reports_from is not None):
            raise ValueError("dane, mta_sts and tls_reports_from need TLS: take another tls than 'none'")
        if self.tls == "implicit" and (self.dane or self.mta_sts):
            raise ValueError("tls = 'implicit' is verified by authorities: dane and mta_sts are for STARTTLS")
        if self.mta_sts and self.smart_host is not None:
            raise ValueError("mta_sts is for MX hosts: with a smart_host take tls = 'verify'")
        return self


def host_port(text: str, default_port: int) -> tuple[str, int]:
    """Split `host:port`, `[v6]:port` or `unix:/path` (whose port is 0).

    Raises: ValueError that names the right form.
    """
    if text.startswith("unix:/"):
        return text, 0
    found = _HOST_PORT.fullmatch(text)
    port = int(found[2]) if found and found[2] else default_port
    if not found or not 1 <= port <= 65535:
        raise ValueError(f"{text!r} is not 'host:port', '[IPv6]:port' or 'unix:/path'")
    return found[1].strip("[]"), port
