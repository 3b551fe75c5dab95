"""What an operator can set for an EWS connector; each description is the documentation."""

from __future__ import annotations

from pydantic import Field

from connectors.exchange.common_config import ExchangeConfig


class EwsConfig(ExchangeConfig):
    """An Exchange organisation that is reached by EWS."""

    url: str = Field(description="Where EWS answers, e.g. https://mail.example.com/EWS/Exchange.asmx.")
    username: str = Field(description="User name, as DOMAIN\\\\user or user@example.com.")
    password: str = Field(repr=False, description="Password; best as '${VARIABLE}' or 'file:path'.")
