"""What an operator can set for an IMAP connector; each description is the documentation."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from gateway.contract import ConnectorConfig
from gateway.retrieval.config import FetchConfig

LOCAL = frozenset(("localhost", "127.0.0.1", "::1"))


class ImapFetch(FetchConfig):
    """A mailbox whose messages are fetched, and for whom they are."""

    folder: str = Field("INBOX", min_length=1, description="The folder they are in, levels parted by /.")
    after: Literal["delete", "move", "mark", "keep"] = Field(
        "delete",
        description="What is done on the server with a message that is in the spool: it is removed for good, moved to "
        "`move_to`, marked as seen, or left as it is.",
    )
    move_to: str = Field("", description="The folder that they are moved to, with after = 'move'.")
    refused_to: str = Field(
        "", description="The folder that takes messages which nobody takes here; made where it is missing. Empty: none."
    )

    @model_validator(mode="after")
    def _moves(self) -> Self:
        if (self.after == "move") != bool(self.move_to):
            raise ValueError("after = 'move' needs move_to, and nothing else does")
        if self.folder in (self.move_to, self.refused_to):
            raise ValueError("what is moved has to go to another folder than it comes from")
        return self


class ImapConfig(ConnectorConfig):
    """An IMAP server whose mailboxes are read and written."""

    host: str = Field(description="Name or address of the server.")
    port: int = Field(0, ge=0, le=65535, description="Its port; 0: 993 with implicit TLS, else 143.")
    tls: Literal["implicit", "starttls", "none"] = Field(
        "implicit", description="TLS from the start, by STARTTLS, or none at all."
    )
    ca_file: str | None = Field(
        None, description="PEM file of the authorities that are trusted instead of the system's."
    )
    password_without_tls: bool = Field(
        False, description="Allow a password over a connection without TLS to another machine."
    )
    auth: Literal["auto", "plain", "login", "xoauth2", "oauthbearer"] = Field(
        "auto", description="How to log in. auto: PLAIN where the server has it, else LOGIN."
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
    token_file: str | None = Field(
        None,
        description="File with the token of OAuth, read at each log-in: whatever renews tokens writes it anew.",
    )
    max_connections: int = Field(4, ge=1, le=32, description="Connections to one mailbox, at most.")
    connect_timeout_s: float = Field(30.0, gt=0, le=600, description="Seconds to connect and to log in.")
    timeout_s: float = Field(120.0, gt=0, le=3600, description="Seconds in which the server must say something.")
    compress: bool = Field(True, description="Compress what goes over the wire, where the server can.")
    multiappend: bool = Field(True, description="Append several messages by one command, where the server can.")

    poll_s: float = Field(
        60.0, gt=0, le=1740, description="Seconds between two looks for changes that the server does not tell of."
    )
    fetch: tuple[ImapFetch, ...] = Field(
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
        if sum(each is not None for each in (self.password, self.passwords, self.token_file)) != 1:
            raise ValueError("name password, a file of passwords, or token_file, one of them")
        if self.token_file is not None and self.auth not in ("xoauth2", "oauthbearer"):
            raise ValueError("token_file needs auth = 'xoauth2' or 'oauthbearer'")
        if self.tls == "none" and self.host not in LOCAL and not self.password_without_tls:
            raise ValueError("the password would travel in the clear; use tls, or set password_without_tls = true")
        if self.act_as is not None and self.auth not in ("auto", "plain"):
            raise ValueError("act_as needs auth = 'plain'")
        return self
