"""AuthenticationCheck: who a message is from is asked while its client waits, told in its header, and acted upon.

Promises: a field of results that came with a message under a name of ours never stays, whoever sent it, but for our
own servers before this one; nothing is refused or held by what DNS did not answer, unless `no_answer` says so; what
somebody who may relay hands in is not judged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any, Final

from connectors.smtp.abreast import step_done
from connectors.smtp.authentication import results
from connectors.smtp.authentication.config import AuthenticationConfig
from connectors.smtp.authentication.dns_lookup import DnsLookup
from connectors.smtp.authentication.evaluation import Findings, Sender, ask_spf, evaluate, told
from connectors.smtp.authentication.keys import KeyCache
from connectors.smtp.authentication.lookup import Resolver
from connectors.smtp.authentication.spf import SpfResult
from connectors.smtp.checks import Check, Client, OnFault, Step, Transaction, Verdict, refuse
from gateway.contract import Content, Context

MAX_FIELDS: Final = 100
"""Fields of results of one message that are read."""


class AuthenticationMaker:
    """The check of one source, with what its connections share: answers of DNS, and keys."""

    name = "authentication"
    on_fault: OnFault = "tempfail"

    def __init__(self, config: AuthenticationConfig, lookup: DnsLookup, context: Context) -> None:
        self.config = config
        self.lookup = lookup
        self.context = context
        self.keys = KeyCache()
        self.server = (config.name or context.hostname).lower()
        self.servers = frozenset({self.server, *(name.lower() for name in config.other_names)})
        self.sealers = frozenset(config.arc_trusted)
        self.steps = Step.MAIL | Step.CONTENT if config.spf == "refuse" else Step.CONTENT
        # DNS has its own time; the rest of it is for a large body.
        self.timeout_s = config.timeout_s + 30.0
        networks = tuple(ip_network(each) for each in config.own_servers)
        self._is_own = lru_cache(4096)(lambda address: _is_in(address, networks)) if networks else _nobody

    def begin(self, client: Client) -> Check | None:
        return None if self._is_own(client.address) else AuthenticationCheck(self)

    def close(self) -> None:
        return


def _nobody(address: str) -> bool:
    return False


def _is_in(text: str, networks: tuple[Any, ...]) -> bool:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return any(address in network for network in networks)


class AuthenticationCheck(Check):
    """What one connection asks."""

    def __init__(self, maker: AuthenticationMaker) -> None:
        self._maker = maker
        self._spf: SpfResult | None = None

    def reset(self) -> None:
        self._spf = None

    async def mail(self, client: Client, transaction: Transaction) -> Verdict | None:
        if client.trusted:
            return None
        maker = self._maker
        self._spf = spf = await ask_spf(
            _sender(client, transaction), self._resolver(), receiver=maker.server, now=maker.context.clock()
        )
        if client.welcome or transaction.welcome:
            return None
        if spf.verdict == "fail":
            told = f": {spf.domain} says: {spf.explanation}" if spf.explanation else ""
            return refuse("5.7.23", f"{spf.domain} does not send from your address (SPF){told}")  # RFC 7372 §3.2
        if spf.verdict == "temperror" and maker.config.no_answer == "defer":
            return refuse("4.7.24", f"DNS gave no answer for the SPF record of {spf.domain}, try again later")
        return None

    async def content(self, client: Client, transaction: Transaction, content: Content) -> Verdict | None:
        if not content.is_inline:
            await asyncio.to_thread(lambda: content.head)  # from here on it is in memory
        return await self._judge(client, transaction, content, self._resolver())

    async def content_at_once(self, client: Client, transaction: Transaction, content: Content) -> Verdict | None:
        return await self._judge(client, transaction, content, self._maker.lookup.at_hand())

    async def _judge(
        self, client: Client, transaction: Transaction, content: Content, resolver: Resolver
    ) -> Verdict | None:
        maker = self._maker
        kept = without_ours(content, maker.servers)
        if client.trusted:
            return None if kept is content else Verdict(content=kept)
        sender = _sender(client, transaction)
        # The forged fields may have been signed, so what came is judged, not what stays.
        findings = await evaluate(
            content,
            sender,
            self._spf,
            resolver,
            maker.keys,
            trusted_sealers=maker.sealers,
            receiver=maker.server,
            now=maker.context.clock(),
        )
        await step_done()
        screens = not (client.welcome or transaction.welcome)
        disposition, verdict = self._decide(findings, content) if screens else ("none", None)
        self._count(findings, disposition)
        if verdict is not None:
            return verdict
        field = results.field_of(maker.server, told(findings, sender, disposition))
        hold = f"DMARC of {findings.dmarc.domain} asks for quarantine" if disposition == "hold" else ""
        return Verdict(content=kept.with_prefix(field), hold=hold)

    def _resolver(self) -> Any:
        maker = self._maker
        return maker.lookup.until(asyncio.get_running_loop().time() + maker.config.timeout_s)

    def _decide(self, findings: Findings, content: Content) -> tuple[str, Verdict | None]:
        """Return what is done about DMARC's result in a word, and the refusal if it is one. The header is in memory."""
        config, judged = self._maker.config, findings.dmarc
        if config.dmarc == "observe" or findings.vouched_by:
            return "none", None
        if judged.verdict == "temperror" and config.no_answer == "defer":
            why = f"whether this is from {judged.domain} cannot be told now ({judged.reason}), try again later"
            return "defer", refuse("4.7.26", why)
        if judged.verdict == "permerror" and any(b"@" in value for value in content.get_all(b"from")):
            # RFC 7489 §6.6.1: else a From of five addresses, or one that is cut, is a way past any domain's policy.
            why = "From names an author in a way that can be read as another one's (RFC 5322 section 3.6.2)"
            return "reject", refuse("5.7.26", why)
        if judged.verdict != "fail" or judged.policy == "none":
            return "none", None
        if judged.policy == "reject":
            why = f"it is not known that this is from {judged.domain}, which asks that such mail is rejected (DMARC)"
            return "reject", refuse("5.7.26", why)  # RFC 7372 §3.4
        return ("hold" if config.quarantine == "hold" else "quarantine"), None

    def _count(self, findings: Findings, disposition: str) -> None:
        count: Callable[..., None] = self._maker.context.count
        count("authentication_results", method="spf", result=findings.spf.verdict)
        for each in findings.dkim:
            count("authentication_results", method="dkim", result=each.verdict)
        if findings.arc.status != "none":
            count("authentication_results", method="arc", result=findings.arc.status)
        count("authentication_results", method="dmarc", result=findings.dmarc.verdict)
        if disposition != "none":
            count("dmarc_honoured", disposition=disposition)


def _sender(client: Client, transaction: Transaction) -> Sender:
    return Sender(client.address, client.helo, transaction.mail.path)


def without_ours(content: Content, servers: frozenset[str]) -> Content:
    """Return a content without the fields of results that claim to be of these servers; the same where there are none.

    Of more than MAX_FIELDS no further one stays. Of a content that is not inline the header must be in memory.
    """
    head = content.head
    if results.FIELD not in head.lower():
        return content
    kept = []
    seen = 0
    for field in content.fields:
        if field.name == results.FIELD:
            seen += 1
            if seen > MAX_FIELDS or results.is_ours(head[field.value_start : field.end], servers):
                continue
        kept.append(head[field.start : field.end])
    return content if len(kept) == len(content.fields) else content.with_head(b"".join(kept))
