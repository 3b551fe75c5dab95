"""What the destination keeps for DANE, MTA-STS and TLS reports, over changes of its options."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import cast
from urllib.parse import urlsplit

from connectors.smtp import dane
from connectors.smtp.client_config import ClientConfig
from connectors.smtp.dns_resolver import DnsResolver
from connectors.smtp.https import Https
from connectors.smtp.mta_sts import Fetch, Policies
from connectors.smtp.mx import Finder, Resolver
from connectors.smtp.tls import TlsOptions, build, unverified
from connectors.smtp.tls_guard import GuardedFinder
from connectors.smtp.tls_reports import Reports, TxtResolver
from gateway.contract import Address, Content, Context, Envelope, Intake, Message, Origin, Recipient
from mappings.network import network


class DomainTls:
    """Makes the guard of each set of options; `fetch` replaces HTTPS, for tests."""

    def __init__(self, context: Context, *, fetch: Fetch | None = None) -> None:
        self._context = context
        self._fetch = fetch
        self._policies: Policies | None = None
        self._reports: Reports | None = None
        self._https: Https | None = None

    def guard(
        self, finder: Finder, config: ClientConfig, tls: TlsOptions, resolver: Resolver | None = None
    ) -> GuardedFinder:
        """Return a finder that heeds what domains ask of TLS. Blocks on the disk.

        `resolver` is asked in place of DNS; it must know TXT and TLSA, too.
        Raises: OSError, ValueError.
        """
        context = self._context
        dns = resolver or DnsResolver(config.nameservers, config.nameserver_port, validated=config.dane)
        verified = build("verify", context.base_dir / config.ca_file if config.ca_file else None).context
        assert verified is not None
        # The web's authorities, whatever those of mail hosts are.
        self._https = Https(dns, ssl.create_default_context())
        txt = cast(TxtResolver, dns)
        if config.mta_sts:
            if self._policies is None:
                self._policies = Policies(context.state_dir / "mta-sts", txt, self._get, context.clock)
                self._policies.start()
            self._policies.resolver = txt
        if config.tls_reports_from is not None:
            if self._reports is None:
                self._reports = Reports(
                    context.state_dir / "tls-reports", context.hostname, config.tls_reports_from, txt,
                    context.clock, context.log, worker=context.worker,
                )  # fmt: skip
                self._reports.start()
            self._reports.resolver, self._reports.sender = txt, config.tls_reports_from
        return GuardedFinder(
            finder,
            config,
            tls,
            plain=unverified(),
            verified=verified,
            resolver=cast(dane.SecureResolver, dns) if config.dane else None,
            policies=self._policies if config.mta_sts else None,
            reports=self._reports if config.tls_reports_from is not None else None,
            count=context.count,
        )

    async def _get(self, domain: str) -> bytes:
        if self._fetch is not None:
            return await self._fetch(domain)
        assert self._https is not None
        return await self._https.policy(domain)

    async def report(self, intake: Intake, connector: str) -> None:
        """Send what is due each day; until cancelled."""

        async def send(sender: str, to: str, octets: bytes) -> None:
            recipient = Recipient(network("smtp").parse(to))  # what stands in DNS is anybody's text
            origin = Origin(connector, protocol="report", trusted=True)
            await intake.accept(Message(Envelope(_address(sender), (recipient,), origin), Content(octets)))

        if self._reports is not None:
            await self._reports.run(send, self._post)

    async def _post(self, url: str, packed: bytes) -> None:
        """Give a report to a web server (RFC 8460 §5.4). Raises: ValueError, HttpFault."""
        assert self._https is not None
        parts = urlsplit(url)
        if not parts.hostname or parts.port not in (None, 443):
            raise ValueError("an address of another kind than https://host/path")
        target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        got = await self._https.request(
            "POST", parts.hostname, target, packed, {"Content-Type": "application/tlsrpt+gzip"}
        )
        if not 200 <= got.status < 300:
            raise ValueError(f"{parts.hostname} answered {got.status}")

    async def stop(self) -> None:
        """Keep the counts."""
        if self._reports is not None:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(self._reports.save)


def _address(text: str) -> Address:
    return Address("smtp", text, text.lower())
