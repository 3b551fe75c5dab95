"""Which checks a source has, in the order in which they are asked."""

from __future__ import annotations

from connectors.smtp.checks import CheckMaker
from connectors.smtp.config import SmtpConfig
from connectors.smtp.milter import MilterMaker
from gateway.contract import Context


def check_makers(name: str, config: SmtpConfig, context: Context) -> list[CheckMaker]:
    """Return the checks that the configuration of connector `name` asks for.

    Raises: OSError or ValueError with a text that names the option and its mend.
    """
    makers: list[CheckMaker] = []
    if config.authentication is not None:
        # Before the milters, which may change what was signed, and look at the results. Slow to import.
        from connectors.smtp.authentication.check import AuthenticationMaker
        from connectors.smtp.authentication.dns_lookup import DnsLookup

        lookup = DnsLookup(config.nameservers, config.nameserver_port)
        makers.append(AuthenticationMaker(config.authentication, lookup, context))
    makers += [MilterMaker(name, table, config.max_message_bytes, context) for table in config.milters]
    return makers
