"""SmtpConfig: the options of an SMTP connector, both sides under one table of the configuration."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from connectors.smtp.authentication.config import AuthenticationConfig
from connectors.smtp.client_config import ClientConfig
from connectors.smtp.login.config import LoginConfig
from connectors.smtp.server_config import ServerConfig


class SmtpConfig(ServerConfig, ClientConfig):
    """Options of the SMTP connector: those of its source and those of its destination."""

    login: LoginConfig | None = Field(
        None, description="Submission by those who log in; a table of its own. Absent: nobody can."
    )
    authentication: AuthenticationConfig | None = Field(
        None, description="SPF, DKIM, ARC and DMARC of what comes in; a table of its own. Absent: nothing is asked."
    )

    @property
    def fills_processors(self) -> bool:
        return self.authentication is not None

    @model_validator(mode="after")
    def _login_is_protected(self) -> Self:
        if self.login is not None:
            if self.protocol_in == "lmtp":
                raise ValueError("login is for protocol_in = 'smtp'")
            if self.tls_cert is None and not self.login.in_clear:
                raise ValueError("login needs tls_cert: passwords are taken under TLS, unless login.in_clear is true")
            if self.starttls == "off" and not self.tls_listen and not self.login.in_clear:
                raise ValueError("login with starttls = 'off' needs tls_listen, or nobody could log in")
        return self
