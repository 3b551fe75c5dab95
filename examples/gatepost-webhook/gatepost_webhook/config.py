"""The options of a webhook connector."""

from __future__ import annotations

import base64
import binascii
import re
from ipaddress import ip_address
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from gateway.contract import ConnectorConfig

SECRET_PREFIX: Final = "whsec_"
_LEAST_SECRET: Final = 24
_CLIENT_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
MIB: Final = 1024 * 1024


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError('a web address, such as "https://app.example/mail"')
    if parts.username is not None or parts.fragment:
        raise ValueError("a web address without a user and without #; who sends is told by `secret` or `bearer`")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError("https: mail goes without encryption to this machine itself alone")
    return text


def _listen(text: str) -> str:
    split(text)
    return text


def split(listen: str) -> tuple[str, int]:
    """Return (IP address, port) of "127.0.0.1:8080" or "[::1]:8080". Raises: ValueError that names the right form."""
    host, colon, port = listen.rpartition(":")
    try:
        if not colon or not port.isdecimal() or int(port) > 65535:
            raise ValueError
        return str(ip_address(host.strip("[]") if host.startswith("[") else host)), int(port)
    except ValueError:
        raise ValueError('an IP address and a port, such as "127.0.0.1:8080"') from None


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine itself."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def secret_octets(secret: SecretStr) -> bytes:
    """Return the key that a secret names: what follows `whsec_` is base64, anything else is the key as it is.

    Raises: ValueError where it is too short to keep anybody out.
    """
    text = secret.get_secret_value()
    octets = text.encode()
    if text.startswith(SECRET_PREFIX):
        try:
            octets = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(f"what follows {SECRET_PREFIX} is base64") from None
    if len(octets) < _LEAST_SECRET:
        raise ValueError(f"a secret of at least {_LEAST_SECRET} octets: openssl rand -base64 32")
    return octets


def _secret(secret: SecretStr) -> SecretStr:
    secret_octets(secret)
    return secret


def _token(token: SecretStr) -> SecretStr:
    text = token.get_secret_value()
    if len(text) < _LEAST_SECRET or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"at least {_LEAST_SECRET} printable ASCII characters without blanks: openssl rand -base64 32")
    return token


Secret = Annotated[SecretStr, AfterValidator(_secret)]
Token = Annotated[SecretStr, AfterValidator(_token)]


class Client(BaseModel):
    """[[connector.NAME.client]]: one application that may hand mail over."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: str = Field(description="Its name in the log and in trace fields: letters, digits, - and _.")
    token: Token | None = Field(None, description="What it sends as `Authorization: Bearer ...`.")
    secret: Secret | None = Field(None, description="The key by which it signs its requests in place of a token.")
    senders: tuple[str, ...] = Field(
        alias="from",
        min_length=1,
        description="Whom it may send as: addresses, `*` stands for any characters, such as `smtp:*@app.example`.",
    )
    relay: bool = Field(False, description="It may send to strangers too; else to recipients of ours alone.")

    @model_validator(mode="after")
    def _can_be_known(self) -> Client:
        if not _CLIENT_NAME.fullmatch(self.name):
            raise ValueError("name is up to 32 letters, digits, - and _")
        if (self.token is None) == (self.secret is None):
            raise ValueError("a client has a token or a secret, one of them")
        if any(":" not in each for each in self.senders):
            raise ValueError('from holds addresses with their network, such as "smtp:*@app.example"')
        return self


class WebhookConfig(ConnectorConfig):
    """Options of a webhook connector: `url` for mail that goes to an application, `listen` for mail from it."""

    url: Annotated[str, AfterValidator(_url)] | None = Field(
        None, description="Where mail is posted to, https (http on this machine alone). Absent: nothing goes out."
    )
    secret: Secret | None = Field(
        None, description="Key that signs what is posted: `whsec_` and base64, or any text of 24 octets or more."
    )
    former_secrets: tuple[Secret, ...] = Field(
        (), description="Keys that sign as well while the application still knows a former one."
    )
    bearer: Token | None = Field(None, description="Sent as `Authorization: Bearer ...` with what is posted.")
    ca_file: str | None = Field(
        None, description="File of the authorities whose certificates are believed. Absent: those of the system."
    )
    networks: tuple[str, ...] = Field(
        ("smtp",), min_length=1, description="Networks whose addresses the application knows, the preferred one first."
    )
    parts: bool = Field(True, description="Tell subject, text and the list of files too, besides the whole message.")
    connections: int = Field(8, ge=1, le=100, description="Most requests to the application at once.")
    timeout_s: float = Field(30.0, gt=0, le=600, description="Longest time that the application may take to answer.")
    max_message_bytes: int = Field(25 * MIB, ge=1024, le=512 * MIB, description="Largest message, either way.")
    listen: Annotated[str, AfterValidator(_listen)] | None = Field(
        None, description='Address and port at which mail is taken, such as "127.0.0.1:8080". Absent: nothing comes in.'
    )
    path: str = Field("/messages", pattern=r"^/[!-~]*$", description="Path at which mail is taken.")
    tls_certificate: str | None = Field(None, description="Certificate chain of the listener, PEM.")
    tls_key: str | None = Field(None, description="Its private key, PEM.")
    behind_proxy: bool = Field(
        False, description="Listen beyond the loopback without TLS, since a proxy in front of it has it."
    )
    client: tuple[Client, ...] = Field((), description="Who may hand mail over.")
    max_at_once: int = Field(16, ge=1, le=1000, description="Most messages taken at once; further ones wait.")
    max_connections: int = Field(200, ge=1, le=10_000, description="Most connections of applications.")
    max_recipients: int = Field(100, ge=1, le=10_000, description="Most recipients of one message.")
    request_timeout_s: float = Field(60.0, gt=0, le=600, description="Longest time that a request may take to come.")

    @model_validator(mode="after")
    def _fits(self) -> WebhookConfig:
        if self.url is None and self.listen is None:
            raise ValueError("neither url nor listen is set; nothing would come in or go out")
        if self.url is not None and self.secret is None and self.bearer is None:
            raise ValueError("url needs a secret (or bearer), or the application cannot know who posts")
        if self.listen is None:
            return self
        if not self.client:
            raise ValueError("listen needs a client, or nobody may hand mail over")
        names = [each.name for each in self.client]
        if len(set(names)) < len(names):
            raise ValueError("two clients have one name")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together")
        if self.tls_certificate is None and not self.behind_proxy and not is_loopback(split(self.listen)[0]):
            raise ValueError("beyond the loopback listen needs tls_certificate and tls_key, or behind_proxy = true")
        return self
