"""What an operator can set for a POP3 connector; each description is the documentation."""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from gateway.contract import ConnectorConfig
from gateway.retrieval.config import FetchConfig

LOCAL: Final = frozenset(("localhost", "127.0.0.1", "::1"))


class PopFetch(FetchConfig):
    """A mailbox whose messages are fetched, and for whom they are."""

    after: Literal["delete", "keep"] = Field(
        "delete", description="What is done on the server with a message that is in the spool."
    )


class PopConfig(ConnectorConfig):
    """A POP3 server whose mailboxes are read."""

    host: str = Field(description="Name or address of the server.")
    port: int = Field(0, ge=0, le=65535, description="Its port; 0: 995 with implicit TLS, else 110.")
    tls: Literal["implicit", "starttls", "none"] = Field(
        "implicit", description="TLS from the start, by STLS, or none at all."
    )
    ca_file: str | None = Field(
        None, description="PEM file of the authorities that are trusted instead of the system's."
    )
    password_without_tls: bool = Field(
        False, description="Allow a password over a connection without TLS to another machine."
    )
    auth: Literal["auto", "plain", "user", "xoauth2", "oauthbearer"] = Field(
        "auto", description="How to log in. auto: SASL PLAIN where the server has it, else USER and PASS."
    )
    username: str = Field(
        "{mailbox}",
        description="The name to log in by; `{mailbox}` stands for the mailbox, such as in '{mailbox}*master'.",
    )
    act_as: str | None = Field(
        None,
        description="Whose mailbox to open once logged in, as PLAIN's authorization identity; '{mailbox}' where an "
        "administrator logs in for everybody.",
    )
    password: str | None = Field(
        None, repr=False, description="The password, or the token of OAuth; best as '${VARIABLE}' or 'file:path'."
    )
    passwords: str | None = Field(
        None,
        repr=False,
        json_schema_extra={"secret": False},
        description="CSV file with the columns mailbox and password, where each mailbox has its own.",
    )
    pipelining: bool = Field(True, description="Send commands without waiting for each answer, where the server can.")
    connect_timeout_s: float = Field(30.0, gt=0, le=600, description="Seconds to connect and to log in.")
    timeout_s: float = Field(120.0, gt=0, le=3600, description="Seconds in which the server must say something.")
    poll_s: float = Field(60.0, gt=0, le=86400, description="Seconds between two looks for new messages.")

    fetch: tuple[PopFetch, ...] = Field(
        (), description="Mailboxes whose mail is fetched, each a table `[[connector.NAME.fetch]]`."
    )

    @field_validator("username", "act_as")
    @classmethod
    def _template(cls, value: str | None) -> str | None:
        if value is not None and ("{" in value.replace("{mailbox}", "") or "}" in value.replace("{mailbox}", "")):
            raise ValueError("the only thing in braces is {mailbox}")
        return value

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if (self.password is None) == (self.passwords is None):
            raise ValueError("name password, or a file of passwords, one of them")
        if self.tls == "none" and self.host not in LOCAL and not self.password_without_tls:
            raise ValueError("the password would travel in the clear; use tls, or set password_without_tls = true")
        if self.act_as is not None and self.auth not in ("auto", "plain"):
            raise ValueError("act_as needs auth = 'plain'")
        return self

    @property
    def port_to_use(self) -> int:
        return self.port or (995 if self.tls == "implicit" else 110)
