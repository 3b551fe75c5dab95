"""What an operator can set for an EWS connector; each description is the documentation."""

from __future__ import annotations

from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from connectors.exchange.common_config import ExchangeConfig, mailbox

Version = Literal["auto", "2013", "2013_SP1", "2016"]
_LOCAL = {"localhost", "127.0.0.1", "::1"}


class EwsConfig(ExchangeConfig):
    """An Exchange organisation that is reached by EWS (2013 to Subscription Edition)."""

    url: str | None = Field(
        None, description="Address of the service, such as https://mail.example.com/EWS/Exchange.asmx."
    )
    server: str | None = Field(
        None, description="Name of the server, where the address is https://NAME/EWS/Exchange.asmx."
    )
    autodiscover: str | None = Field(
        None,
        description="Address of a mailbox whose autodiscovery finds the service. What is found is kept, and looked for "
        "anew where the server is not reached any more.",
    )
    auth: Literal["basic", "ntlm", "oauth"] = Field("ntlm", description="How the service account logs in.")
    username: str | None = Field(None, description="The service account: DOMAIN\\user or an address (basic, ntlm).")
    password: str | None = Field(
        None, repr=False, description="Its password; best as '${VARIABLE}' or 'file:path' (basic, ntlm)."
    )
    tenant: str | None = Field(None, description="The tenant's name or id (oauth).")
    client_id: str | None = Field(None, description="Id of the registered application (oauth).")
    client_secret: str | None = Field(None, repr=False, description="Its secret (oauth).")
    certificate: str | None = Field(
        None, description="PEM file of the application's certificate, in place of a secret (oauth)."
    )
    certificate_key: str | None = Field(None, description="PEM file of its key. None: the key is in `certificate`.")
    authority: str | None = Field(
        None,
        description="Who issues tokens, such as https://adfs.example.com/adfs. None: "
        "https://login.microsoftonline.com and the tenant.",
    )
    access: Literal["impersonation", "delegate"] = Field(
        "impersonation",
        description="How the service account opens mailboxes: as their owner (role ApplicationImpersonation), or by "
        "the rights that it was given on each.",
    )
    version: Version = Field(
        "auto",
        description="The version of the service that is asked for. auto: 2013_SP1, which later ones speak too, and "
        "2013 where the server does not know that.",
    )
    ca_file: str | None = Field(
        None, description="PEM file of the authorities that are trusted instead of the system's."
    )
    tls_verify: bool = Field(True, description="The server's certificate must be valid for its name.")
    password_without_tls: bool = Field(
        False, description="Allow a password over a connection without TLS to another machine."
    )
    max_connections: int = Field(4, ge=1, le=64, description="Requests at once, streams apart.")
    max_streams: int = Field(
        3, ge=0, le=10, description="Streams of notifications; Exchange allows 3 an account. 0: folders are polled."
    )
    stream_group: int = Field(200, ge=1, le=200, description="Mailboxes of one stream, at most.")
    stream_minutes: int = Field(10, ge=1, le=30, description="Minutes after which a stream is opened anew.")
    connect_timeout_s: float = Field(10.0, gt=0, le=120, description="Seconds to connect.")
    timeout_s: float = Field(120.0, gt=0, le=600, description="Seconds in which the server must say something.")
    requests_per_s: float = Field(20.0, gt=0, le=1000, description="Subscriptions that are made a second, at most.")

    @field_validator("url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is not None:
            parts = urlsplit(value)
            if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
                raise ValueError("the address is such as https://mail.example.com/EWS/Exchange.asmx")
        return value

    @field_validator("server")
    @classmethod
    def _server(cls, value: str | None) -> str | None:
        if value is not None and (not value or set(value) & set("/@ ?#")):
            raise ValueError("a server is a name, such as mail.example.com; an address goes into `url`")
        return value

    @field_validator("autodiscover")
    @classmethod
    def _autodiscover(cls, value: str | None) -> str | None:
        return None if value is None else mailbox(value)

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if sum(each is not None for each in (self.url, self.server, self.autodiscover)) != 1:
            raise ValueError("name one of url, server and autodiscover")
        if self.auth == "oauth":
            if self.client_id is None or (self.client_secret is None) == (self.certificate is None):
                raise ValueError("oauth needs client_id, and client_secret or certificate")
            if self.tenant is None and self.authority is None:
                raise ValueError("oauth needs the tenant, or the authority that issues tokens")
        elif self.username is None or self.password is None:
            raise ValueError(f"{self.auth} needs username and password")
        if not self.password_without_tls and is_open(self.url or ""):
            raise ValueError(
                "the password or token would travel in the clear; use https, or set password_without_tls = true"
            )
        return self

    @property
    def service(self) -> str | None:
        """The address of the service, None where it is to be discovered."""
        return self.url or (f"https://{self.server}/EWS/Exchange.asmx" if self.server is not None else None)


def is_open(url: str) -> bool:
    """Say whether what goes to this address can be read on the way."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in _LOCAL
