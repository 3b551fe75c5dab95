"""The options of an XMPP connector."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from gateway.contract import ConnectorConfig
from mappings.network import AddressError, network


def split(server: str) -> tuple[str, int]:
    """Return (host, port) of "127.0.0.1:5347". Raises: ValueError that names the right form."""
    host, colon, port = server.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError('a host and a port, such as "127.0.0.1:5347"')
    return host.strip("[]"), int(port)


def _server(text: str) -> str:
    split(text)
    return text


def _domain(text: str) -> str:
    try:
        found = network("xmpp").parse(text).value
    except AddressError as e:
        raise ValueError(f'a chat domain, such as "mail.chat.example" ({e.message})') from None
    if "@" in found:
        raise ValueError('a chat domain, such as "mail.chat.example", without a user')
    return found


class XmppConfig(ConnectorConfig):
    """Options of a component at a chat server."""

    domain: Annotated[str, AfterValidator(_domain)] = Field(
        description="The component's name, as the server knows it: mail addresses are JIDs below it."
    )
    secret: SecretStr = Field(description="The component's secret, as the server knows it.")
    server: Annotated[str, AfterValidator(_server)] = Field(
        "127.0.0.1:5347", description="Where the server takes components. The protocol has no TLS."
    )
    beyond_loopback: bool = Field(
        False, description="The server may be on another machine, since the way to it is secured otherwise."
    )
    relay_domains: tuple[str, ...] = Field(
        (),
        description="Chat domains whose users may write to any mail address, such as those of your own server. All "
        "others reach people of yours alone.",
    )
    receipts: Literal["delivered", "accepted", "never"] = Field(
        "delivered",
        description="When a chat user who asks for it gets a receipt: when the mail is `delivered` as far as anybody "
        "reports, or when the gateway has `accepted` it.",
    )
    receipt_wait_s: float = Field(
        5.0,
        ge=0,
        le=60,
        description="How long a chat client's receipt is waited for, for mail whose sender asks for a report.",
    )
    type: Literal["chat", "normal"] = Field("chat", description="The type of the messages that chat users get.")
    subject_in_text: bool = Field(
        True, description="A subject stands as first line of the text too, since many clients do not show it."
    )
    subject: str = Field("", max_length=200, description="Subject of mail from chat messages that have none.")
    headers: tuple[str, ...] = Field(
        ("message-id", "in-reply-to", "references"),
        description="Header fields that are taken along both ways (XEP-0131).",
    )
    max_text_bytes: int = Field(
        128 * 1024, ge=1024, le=4 * 1024 * 1024, description="Longest text; servers take no stanza of any size."
    )
    max_at_once: int = Field(16, ge=1, le=500, description="Most chat messages taken at once; further ones wait.")
    timeout_s: float = Field(20.0, gt=0, le=300, description="Longest time that the server may take to answer.")

    @property
    def needs_one_worker(self) -> bool:
        return True  # a component has one connection

    @field_validator("headers")
    @classmethod
    def _lower(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not name.isascii() or not name.replace("-", "").isalnum() or len(name) > 60:
                raise ValueError(f"{name!r} is no name of a header field")
            if name.lower() in _OURS:
                raise ValueError(f"{name} is told in its own way, and no header to take along")
        return tuple(name.lower() for name in names)

    @field_validator("relay_domains")
    @classmethod
    def _domains(cls, domains: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_domain(each) for each in domains)

    @model_validator(mode="after")
    def _is_near(self) -> XmppConfig:
        host = split(self.server)[0]
        try:
            near = ip_address(host).is_loopback
        except ValueError:
            near = host == "localhost"
        if not near and not self.beyond_loopback:
            raise ValueError(
                "server is on another machine, and the protocol of components has no TLS; secure the way "
                "(a tunnel, a network of your own) and set beyond_loopback = true"
            )
        return self


_OURS = frozenset(
    {"from", "to", "cc", "bcc", "subject", "date", "sender", "reply-to", "received", "return-path", "mime-version"}
    | {"content-type", "content-transfer-encoding", "content-disposition"}
)
