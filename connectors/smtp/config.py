"""SmtpConfig: the options of an SMTP connector, both sides under one table of the configuration."""

from __future__ import annotations

from connectors.smtp.client_config import ClientConfig
from connectors.smtp.server_config import ServerConfig


class SmtpConfig(ServerConfig, ClientConfig):
    """Options of the SMTP connector: those of its source and those of its destination."""
