"""The tables of the checks that a source asks: `[connector.NAME.…]`, below the options of the connector itself."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from connectors.smtp.checks import OnFault


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
