"""What an operator can set for a Graph connector; each description is the documentation."""

from __future__ import annotations

from pydantic import Field

from connectors.exchange.common_config import ExchangeConfig


class GraphConfig(ExchangeConfig):
    """Mailboxes of Exchange Online that are reached by Microsoft Graph."""

    tenant: str = Field(description="Directory (tenant) id, or a domain of the tenant.")
    client_id: str = Field(description="Application (client) id.")
    client_secret: str | None = Field(
        None, repr=False, description="Client secret; best as '${VARIABLE}' or 'file:path'."
    )
    url: str = Field("https://graph.microsoft.com/v1.0", description="Where Graph answers.")
