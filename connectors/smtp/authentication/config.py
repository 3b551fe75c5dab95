"""The options of asking who a message is from: [connector.NAME.authentication]."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,253}")
_DOMAIN: Final = re.compile(r"(?:[a-z0-9_-]{1,63}\.)+[a-z0-9-]{1,63}")


class AuthenticationConfig(BaseModel):
    """[connector.NAME.authentication]: SPF, DKIM, ARC and DMARC of what comes in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        "",
        description="The name under which results are written into Authentication-Results (authserv-id, RFC 8601). "
        "Absent: the gateway's `hostname`.",
    )
    other_names: tuple[str, ...] = Field(
        (), description="Further names of your servers: fields under them that come with a message are removed too."
    )
    own_servers: tuple[str, ...] = Field(
        (),
        description="Your servers before this one, as addresses or networks: their mail was judged there, and their "
        "fields stay.",
    )
    spf: Literal["refuse", "observe"] = Field(
        "observe",
        description="What an SPF `fail` of the envelope's sender does: 'refuse' at MAIL, before DKIM and DMARC can "
        "speak for a forwarded message; 'observe' only tells it, and DMARC decides.",
    )
    dmarc: Literal["honour", "observe"] = Field(
        "observe",
        description="'honour' does what the domain in From asks for where neither SPF nor DKIM prove it: reject or "
        "quarantine. 'observe' only tells it.",
    )
    quarantine: Literal["mark", "hold"] = Field(
        "mark",
        description="How quarantine is honoured: 'mark' delivers it with the result in Authentication-Results, for "
        "the mailbox's rules; 'hold' keeps it until an operator lets it go.",
    )
    arc_trusted: tuple[str, ...] = Field(
        (),
        description="Domains of forwarders and mailing lists whose ARC seals are believed: where an unbroken chain of "
        "them says that DMARC passed, its failure here does nothing.",
    )
    no_answer: Literal["accept", "defer"] = Field(
        "accept",
        description="What to do where DNS gives no answer that a policy to be honoured depends on: 'accept' the "
        "message, or have it come again ('defer', 451).",
    )
    timeout_s: float = Field(20.0, ge=1, le=120, description="Seconds that DNS may take for one message in all.")

    @field_validator("name", "other_names")
    @classmethod
    def _names(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for each in (value,) if isinstance(value, str) else value:
            if each and not _ID.fullmatch(each):
                raise ValueError(f"{each!r} is no name of a server, such as 'mx.example.com'")
        return value

    @field_validator("own_servers")
    @classmethod
    def _networks(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            ip_network(value)
        return values

    @field_validator("arc_trusted")
    @classmethod
    def _domains(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            if not _DOMAIN.fullmatch(value):
                raise ValueError(f"{value!r} is no domain in lower case, such as 'lists.example.org'")
        return values
