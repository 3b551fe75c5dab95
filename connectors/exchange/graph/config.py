"""What an operator can set for a Graph connector; each description is the documentation."""

from __future__ import annotations

import re
from typing import Final, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, field_validator, model_validator

from connectors.exchange.common_config import ExchangeConfig

_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class GraphConfig(ExchangeConfig):
    """Mailboxes of Exchange Online that are reached by Microsoft Graph."""

    tenant: str = Field(description="Directory (tenant) id, or a domain of the tenant.")
    client_id: str = Field(description="Application (client) id of the app registration.")
    client_secret: str | None = Field(
        None,
        repr=False,
        description="Client secret; best as '${VARIABLE}' or 'file:path'. Either this or `certificate`.",
    )
    certificate: str | None = Field(
        None, description="PEM file of the certificate that the app registration knows; instead of a secret."
    )
    certificate_key: str | None = Field(
        None, description="PEM file of its key, unencrypted. None: the key is in `certificate`."
    )
    url: str = Field(
        "https://graph.microsoft.com/v1.0",
        description="Where Graph answers; another for a national cloud, such as https://graph.microsoft.us/v1.0.",
    )
    authority: str = Field(
        "https://login.microsoftonline.com",
        description="Where tokens are given; the tenant is added where no path is named. Another for a national cloud, "
        "such as https://login.microsoftonline.us.",
    )
    ca_file: str | None = Field(
        None, description="PEM file of the authorities that are trusted instead of the system's."
    )
    per_mailbox: int = Field(
        3, ge=1, le=4, description="Requests at once for one mailbox; Exchange Online takes four of an application."
    )
    max_connections: int = Field(16, ge=1, le=200, description="Requests at once for all mailboxes together.")
    large: Literal["upload", "fail"] = Field(
        "upload",
        description="What happens to a mail that does not fit into one request of 4 MB. upload: its attachments follow "
        "one by one. fail: it is refused as too large.",
    )
    notify_url: str | None = Field(
        None,
        description="Where Graph can post to us that something has changed, as https://host/path: an address that "
        "leads from the internet to `notify_listen`, by a proxy that ends TLS. None: folders are looked at each "
        "`poll_s`.",
    )
    notify_listen: str = Field(
        "127.0.0.1:8480", description="Address and port at which that is listened for, without TLS."
    )
    connect_timeout_s: float = Field(10.0, gt=0, le=300, description="Seconds to connect.")
    timeout_s: float = Field(120.0, gt=0, le=3600, description="Seconds without a sign of an answer.")

    @field_validator("tenant")
    @classmethod
    def _is_tenant(cls, value: str) -> str:
        if not _TENANT.fullmatch(value):
            raise ValueError(f"{value!r} is neither the id of a directory nor a domain, such as example.com")
        return value

    @field_validator("url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        parts = _url(value)
        # A token is as good as a password: it may not leave this machine in the clear.
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise ValueError(f"{value} sends tokens in the clear; use https://")
        return value.rstrip("/")

    @field_validator("authority")
    @classmethod
    def _is_authority(cls, value: str) -> str:
        if _url(value).scheme != "https":
            raise ValueError(f"{value} sends the client's secret in the clear; use https://")
        return value.rstrip("/")

    @field_validator("notify_url")
    @classmethod
    def _is_notify_url(cls, value: str | None) -> str | None:
        if value is not None:
            parts = _url(value)
            if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
                raise ValueError(f"{value}: Graph posts to https:// alone")
        return value

    @field_validator("notify_listen")
    @classmethod
    def _is_listen(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"{value!r} is no address and port, such as 127.0.0.1:8480")
        return value

    @property
    def authority_of_tenant(self) -> str:
        """Return the authority as msal takes it, with the tenant."""
        return self.authority if urlsplit(self.authority).path else f"{self.authority}/{self.tenant}"

    @model_validator(mode="after")
    def _proves_itself(self) -> Self:
        if (self.client_secret is None) == (self.certificate is None):
            raise ValueError("give either client_secret or certificate")
        if self.certificate is None and self.certificate_key is not None:
            raise ValueError("certificate_key belongs to a certificate; name it in `certificate`")
        return self


def _url(value: str) -> SplitResult:
    """Read an http or https URL without user, query or fragment. Raises: ValueError."""
    parts = urlsplit(value)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError(f"{value!r} is not a URL such as https://graph.microsoft.com/v1.0")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"{value!r} holds more than scheme, host and path")
    return parts
