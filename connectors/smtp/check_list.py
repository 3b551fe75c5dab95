"""Which checks a source has, in the order in which they are asked."""

from __future__ import annotations

from connectors.smtp.checks import CheckMaker
from connectors.smtp.config import SmtpConfig
from gateway.contract import Context


def check_makers(name: str, config: SmtpConfig, context: Context) -> list[CheckMaker]:
    """Return the checks that the configuration of connector `name` asks for.

    Raises: OSError or ValueError with a text that names the option and its mend.
    """
    # What few need is imported where it is asked for: a start should not wait for it.
    makers: list[CheckMaker] = []
    if config.access is not None:
        from connectors.smtp.access import AccessMaker

        makers.append(AccessMaker(config.access, context))
    if config.dns_lists is not None:
        from connectors.smtp.dns_lists import DnsListsMaker
        from connectors.smtp.dns_resolver import DnsResolver

        resolver = DnsResolver(config.nameservers, config.nameserver_port, timeout_s=config.dns_lists.timeout_s)
        makers.append(DnsListsMaker(config.dns_lists, resolver, context))
    if config.rate_limits:
        from connectors.smtp.rates import RateMaker

        makers += [RateMaker(number, table, context) for number, table in enumerate(config.rate_limits, 1)]
    if config.greylist is not None:
        from connectors.smtp.greylist import GreylistMaker

        makers.append(GreylistMaker(config.greylist, context))
    if config.authentication is not None:
        # Before the milters, which may change what was signed, and look at the results.
        from connectors.smtp.authentication.check import AuthenticationMaker
        from connectors.smtp.authentication.dns_lookup import DnsLookup

        lookup = DnsLookup(config.nameservers, config.nameserver_port)
        makers.append(AuthenticationMaker(config.authentication, lookup, context))
    if config.milters:
        from connectors.smtp.milter import MilterMaker

        makers += [MilterMaker(name, table, config.max_message_bytes, context) for table in config.milters]
    return makers
