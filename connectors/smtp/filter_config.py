"""The tables of the checks that a source asks: `[connector.NAME.…]`, below the options of the connector itself."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from connectors.smtp import patterns
from connectors.smtp.checks import OnFault
from connectors.smtp.patterns import read_network


class FilterTable(BaseModel):
    """The base of these tables: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _networks(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        try:
            ip_network(value)
        except ValueError as fault:
            raise ValueError(f"{fault}; write an address or a network such as '192.0.2.0/24'") from None
    return values


Networks = Annotated[tuple[str, ...], AfterValidator(_networks)]


def read_networks(values: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(value) for value in values)


def _place(value: str) -> str:
    if value.startswith("unix:/") and len(value) > 6:
        return value
    host, colon, port = value.rpartition(":")
    if colon and host and port.isascii() and port.isdigit() and 0 < int(port) <= 65535:
        return value
    raise ValueError(f"{value!r} is not 'host:port', '[IPv6]:port' or 'unix:/path/of/socket'")


def _patterns(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        patterns.check(value)
    return values


Patterns = Annotated[tuple[str, ...], AfterValidator(_patterns)]


class MilterTable(FilterTable):
    """`[[connector.NAME.milters]]`: one filter that speaks the milter protocol."""

    name: str = Field(min_length=1, max_length=40, description="How logs and metrics call it.")
    at: Annotated[str, AfterValidator(_place)] = Field(
        description="Where it listens: 'host:port', '[::1]:11332' or 'unix:/run/opendkim/opendkim.sock'."
    )
    on_fault: OnFault = Field(
        "tempfail",
        description="What becomes of mail while the filter is down, too slow or at fault: 'tempfail' (451, the client "
        "tries again), 'accept' (unfiltered) or 'reject' (554).",
    )
    timeout_s: float = Field(
        60.0, gt=0, le=600, description="Seconds that one step of the dialogue may take the filter, the content whole."
    )
    connect_timeout_s: float = Field(5.0, gt=0, le=60, description="Seconds to connect and agree on the protocol.")
    except_networks: Networks = Field((), description="Clients about which the filter is not asked.")
    client_names: bool = Field(
        True,
        description="Look up the client's name in DNS, forward-confirmed, for the filter; false: it gets '[address]'.",
    )
    quarantine: Literal["hold", "ignore"] = Field(
        "hold",
        description="What a filter's wish to quarantine does: 'hold' takes the message and holds its deliveries until "
        "an operator releases or drops them (`gatepost queue`); 'ignore' passes it on.",
    )
    max_idle_connections: int = Field(
        0,
        ge=0,
        le=100,
        description="Connections to the filter that are kept for the next client, for filters that can take one client "
        "after another, as rspamd; those made with libmilter (OpenDKIM, clamav-milter) can't, and need 0.",
    )
    macros: dict[str, str] = Field(
        {}, description="Further macros that the filter gets at the connection, by name: `{v = 'Gatepost'}`."
    )


def check_pattern(kind: str, text: str) -> None:
    """Raises: ValueError for what is neither a pattern nor, of a client, an address or network."""
    if kind == "client" and read_network(text) is not None:
        return
    if kind == "client" and (text[:1].isdigit() or ":" in text):
        raise ValueError(f"{text!r} is no address, no network such as '192.0.2.0/24', and no pattern of names")
    patterns.check(text)


AccessAction = Literal["accept", "reject", "tempfail", "drop", "discard", "hold"]


class AccessRule(FilterTable):
    """`[[connector.NAME.access.rules]]`: all conditions that are given must hold."""

    client: str = Field(
        "",
        description="The client: an address, a network such as '192.0.2.0/24', or a pattern of its confirmed name in "
        "DNS, '*.dynamic.example'.",
    )
    helo: str = Field("", description="What it calls itself; * stands for anything, as in '*.example'.")
    sender: str = Field("", description="The reverse-path, such as '*@spam.example'; '<>' is the null one.")
    recipient: str = Field("", description="A recipient, such as 'abuse@*'.")
    do: AccessAction = Field(
        description="'accept' (no further screening), 'reject' (5.7.1), 'tempfail' (4.7.1), 'drop' (and close), "
        "'discard' (take it and throw it away) or 'hold' (take it, and hold its deliveries for an operator)."
    )
    text: str = Field("", max_length=400, description="What the client is told, or why it is held.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        conditions = {kind: getattr(self, kind) for kind in ("client", "helo", "sender", "recipient")}
        for kind, text in conditions.items():
            if text:
                check_pattern(kind, text)
        if not any(conditions.values()):
            raise ValueError("a rule needs a condition: client, helo, sender or recipient")
        return self


class AccessTable(FilterTable):
    """`[connector.NAME.access]`: who may not, and who may without further screening."""

    rules: tuple[AccessRule, ...] = Field(
        (), description="Looked at in their order; the first that applies at a step decides."
    )
    table: str | None = Field(
        None,
        description="A file of more rules, read again when it changes: lines 'client|helo|sender|recipient PATTERN "
        "ACTION [TEXT]', # begins a comment.",
    )


def _zone(value: str) -> str:
    labels = value.rstrip(".").split(".")
    if len(value) > 200 or len(labels) < 2 or not all(0 < len(x) < 64 and x.isascii() and " " not in x for x in labels):
        raise ValueError(f"{value!r} is no DNS zone such as 'zen.dnsbl.example'")
    return value.rstrip(".").lower()


class DnsList(FilterTable):
    """`[[connector.NAME.dns_lists.lists]]`: one black or white list in DNS (RFC 5782)."""

    zone: Annotated[str, AfterValidator(_zone)] = Field(description="The zone below which it is asked.")
    weight: float = Field(
        1.0, ge=-100, le=100, description="What a client that it lists gets; below 0 for a white list."
    )
    answers: Networks = Field(
        ("127.0.0.0/9",),
        description="Answers that count. Answers in 127.255.255.0/24 say that the list does not answer you, and never "
        "count.",
    )


class DnsListsTable(FilterTable):
    """`[connector.NAME.dns_lists]`: black and white lists in DNS, asked about clients that may not relay."""

    lists: tuple[DnsList, ...] = Field(description="The lists, asked all at once; at most 32.")
    reject_at: float = Field(1.0, gt=0, description="A client whose weights come to this is refused (5.7.1).")
    accept_at: float = Field(
        -1.0, lt=0, description="A client whose weights come to this or less is screened no further."
    )
    timeout_s: float = Field(
        5.0, gt=0, le=60, description="Seconds to wait for the lists; one that does not answer counts nothing."
    )

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not 1 <= len(self.lists) <= 32:
            raise ValueError("give one to 32 lists")
        return self


class GreylistTable(FilterTable):
    """`[connector.NAME.greylist]`: what is sent for the first time is put off, as real servers try again."""

    delay_s: float = Field(
        300.0, gt=0, le=86400, description="Seconds after which a second try passes; an earlier one does not."
    )
    retry_s: float = Field(
        2 * 86400.0, gt=0, description="Seconds within which the second try must come; later it counts as a first."
    )
    keep_s: float = Field(
        36 * 86400.0, gt=0, description="Seconds that what has passed once is remembered after its last message."
    )
    ipv4_prefix: int = Field(24, ge=8, le=32, description="Addresses of one network of this size count as one client.")
    ipv6_prefix: int = Field(64, ge=16, le=128, description="The same for IPv6.")
    known_after: int = Field(
        5, ge=0, description="Messages that passed after which a client network is put off no more; 0: never so."
    )
    max_entries: int = Field(
        500_000, ge=1000, description="Most that is remembered; beyond it what was seen longest ago goes."
    )
    except_networks: Networks = Field((), description="Clients that are not put off.")
    except_recipients: Patterns = Field(
        ("postmaster", "postmaster@*", "abuse@*"), description="Recipients for whom nothing is put off, as patterns."
    )


class RateLimit(FilterTable):
    """`[[connector.NAME.rate_limits]]`: so much of something in so much time; beyond it the client is told to wait."""

    by: Literal["client", "sender", "destination", "recipient"] = Field(
        description="What is counted by: the client's address (IPv6: its /64), the sender (who has logged in, else the "
        "reverse-path), the recipients' domain, or each recipient."
    )
    of: Literal["messages", "recipients"] = Field(
        "messages", description="What is counted; for 'destination' and 'recipient' a message counts once for each."
    )
    limit: int = Field(ge=1, description="How many, within `per_s`.")
    per_s: float = Field(3600.0, ge=1, le=7 * 86400, description="Seconds; what was used comes back evenly over them.")
    trusted: bool = Field(False, description="Whether clients that may relay are limited too.")
    except_networks: Networks = Field((), description="Clients that are not limited.")
    text: str = Field("", max_length=400, description="What the client is told.")
