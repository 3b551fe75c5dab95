"""Which checks a source has, in the order in which they are asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from connectors.smtp.checks import CheckMaker
from connectors.smtp.config import SmtpConfig
from gateway.contract import Context


def check_makers(
    name: str, config: SmtpConfig, context: Context, before: Sequence[CheckMaker] = (), same_dns: bool = True
) -> list[CheckMaker]:
    """Return the checks that the configuration of connector `name` asks for.

    Of those `before`, checks whose tables have not changed go on with what they know; `same_dns` where the name servers
    are the same too. Raises: OSError or ValueError with a text that names the option and its mend.
    """

    def kept(kind: type[Any], table: object) -> Any:
        return next((maker for maker in before if type(maker) is kind and getattr(maker, "table", None) == table), None)

    # What few need is imported where it is asked for: a start should not wait for it.
    makers: list[CheckMaker] = []
    if config.access is not None:
        from connectors.smtp.access import AccessMaker

        makers.append(kept(AccessMaker, config.access) or AccessMaker(config.access, context))
    if config.dns_lists is not None:
        from connectors.smtp.dns_lists import DnsListsMaker
        from connectors.smtp.dns_resolver import DnsResolver

        lists = kept(DnsListsMaker, config.dns_lists) if same_dns else None
        if lists is None:
            resolver = DnsResolver(config.nameservers, config.nameserver_port, timeout_s=config.dns_lists.timeout_s)
            lists = DnsListsMaker(config.dns_lists, resolver, context)
        makers.append(lists)
    if config.rate_limits:
        from connectors.smtp.rates import RateMaker

        for number, limit in enumerate(config.rate_limits, 1):
            makers.append(kept(RateMaker, limit) or RateMaker(number, limit, context))
    if config.greylist is not None:
        from connectors.smtp.greylist import GreylistMaker

        makers.append(kept(GreylistMaker, config.greylist) or GreylistMaker(config.greylist, context))
    if config.authentication is not None:
        # Before the milters, which may change what was signed, and look at the results.
        from connectors.smtp.authentication.check import AuthenticationMaker
        from connectors.smtp.authentication.dns_lookup import DnsLookup

        lookup = DnsLookup(config.nameservers, config.nameserver_port)
        makers.append(AuthenticationMaker(config.authentication, lookup, context))
    if config.milters:
        from connectors.smtp.milter import MilterMaker

        for table in config.milters:
            milter = kept(MilterMaker, table)
            if milter is None or milter.max_message_bytes != config.max_message_bytes:
                milter = MilterMaker(name, table, config.max_message_bytes, context)
            makers.append(milter)
    return makers
