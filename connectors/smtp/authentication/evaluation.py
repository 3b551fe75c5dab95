"""Evaluation: all that is asked about one message, in the order in which the answers need each other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

from connectors.smtp.abreast import step_done
from connectors.smtp.authentication import dmarc, results
from connectors.smtp.authentication.arc import ArcResult, Validator
from connectors.smtp.authentication.canonical import Bodies, Fields
from connectors.smtp.authentication.dkim import DkimResult, Verifier
from connectors.smtp.authentication.dmarc import DmarcResult, Proof
from connectors.smtp.authentication.keys import KeyCache
from connectors.smtp.authentication.lookup import Resolver
from connectors.smtp.authentication.results import Result
from connectors.smtp.authentication.spf import SpfResult, check_host, client_address
from gateway.contract import Content

_NO_ADDRESS: Final = SpfResult("none", "", "no address")


class Sender(NamedTuple):
    """Who hands a message over: the client's address and what it calls itself, and the envelope's sender."""

    address: str
    helo: str
    reverse_path: str
    """`local@domain`, empty for the null one."""

    @property
    def spf_domain(self) -> str:
        """The domain that SPF asks about; of the null reverse-path it is what the client calls itself (§2.4)."""
        return dmarc.host(self.reverse_path.rpartition("@")[2] or self.helo)


class Findings(NamedTuple):
    """What was found out about one message."""

    spf: SpfResult
    dkim: Sequence[DkimResult]
    arc: ArcResult
    dmarc: DmarcResult
    vouched_by: str = ""
    """The forwarder whose seal is believed, where DMARC fails here and passed there."""


async def ask_spf(sender: Sender, resolver: Resolver, *, receiver: str, now: float) -> SpfResult:
    """Ask SPF about the envelope's sender."""
    if client_address(sender.address) is None:
        return _NO_ADDRESS  # a socket of this machine
    domain = sender.spf_domain
    local = sender.reverse_path.rpartition("@")[0]
    return await check_host(
        sender.address, domain, f"{local}@{domain}", sender.helo, resolver, receiver=receiver, now=now
    )


async def evaluate(
    content: Content,
    sender: Sender,
    spf: SpfResult | None,
    resolver: Resolver,
    keys: KeyCache,
    *,
    trusted_sealers: frozenset[str],
    receiver: str,
    now: float,
) -> Findings:
    """Judge one message. `spf` is what `ask_spf` has said already, if it was asked."""
    if not content.is_inline:
        await asyncio.to_thread(lambda: content.head)  # from here on it is in memory
    fields, bodies = Fields(content.head), Bodies()
    verifier, validator = Verifier(fields, bodies), Validator(fields, bodies)
    if bodies and content.is_inline:
        await step_done()
        bodies.update(content.body())
        await step_done()
    elif bodies:
        await asyncio.to_thread(_feed, content, bodies)
    if spf is None:
        spf = await ask_spf(sender, resolver, receiver=receiver, now=now)
    signatures = await verifier.verify(resolver, keys, now) if len(verifier) else ()
    await step_done()
    chain = await validator.validate(resolver, keys, now)
    found = await dmarc.evaluate(dmarc.authors(fields.values(b"from")), _proof(spf, signatures), resolver)
    vouched = ""
    if trusted_sealers and found.verdict in ("fail", "temperror"):
        vouched = vouching(chain, trusted_sealers, found.domain)
    return Findings(spf, signatures, chain, found, vouched)


def _feed(content: Content, bodies: Bodies) -> None:
    for piece in content.body_chunks():
        bodies.update(piece)


def _proof(spf: SpfResult, signatures: Sequence[DkimResult]) -> Proof:
    return Proof(
        spf=spf.domain if spf.verdict == "pass" else "",
        dkim=tuple([each.domain for each in signatures if each.verdict == "pass" and not each.partial]),
        spf_unknown=spf.domain if spf.verdict == "temperror" else "",
        dkim_unknown=tuple([each.domain for each in signatures if each.verdict == "temperror"]),
    )


def vouching(chain: ArcResult, trusted: frozenset[str], author: str) -> str:
    """Return the trusted sealer that says DMARC passed for `author` where it got the message; empty where none does.

    From the newest on every one must be trusted: who is not can have made up the message and a chain for it.
    """
    if chain.status != "pass":
        return ""
    for each in reversed(chain.chain.sets):
        if each.seal.domain not in trusted:
            return ""
        said = results.read(each.claims)
        for one in () if said is None else said.results:
            of = one.properties.get("header.from", author)
            if one.method == "dmarc" and one.verdict == "pass" and dmarc.host(of) == author:
                return each.seal.domain
    return ""


def told(findings: Findings, sender: Sender, disposition: str) -> list[Result]:
    """Return the results to write into the field; `disposition` is what was done about a DMARC failure."""
    spf = findings.spf
    identity = {"smtp.mailfrom": sender.reverse_path} if sender.reverse_path else {"smtp.helo": sender.helo}
    found = [Result("spf", spf.verdict, identity, comment=spf.reason if spf.verdict != "pass" else "")]
    found += [_told_signature(each) for each in findings.dkim] or [Result("dkim", "none")]
    chain = findings.arc
    if chain.status != "none":
        comment = f"i={len(chain.chain.sets)} {chain.domains[0]}" if chain.status == "pass" else chain.reason
        found.append(Result("arc", chain.status, comment=comment))
    judged = findings.dmarc
    comment = judged.reason
    if judged.verdict == "fail":
        comment = f"p={judged.policy} dis={disposition}"
    if findings.vouched_by:
        comment += f" arc={findings.vouched_by}"
    found.append(Result("dmarc", judged.verdict, {"header.from": judged.domain}, comment=comment))
    return found


def _told_signature(each: DkimResult) -> Result:
    properties = {
        "header.d": each.domain,
        "header.i": each.identity,
        "header.s": each.selector,
        "header.a": each.algorithm,
        "header.b": each.mark,
    }
    notes = [each.reason] if each.reason else []
    if each.testing:
        notes.append("test key")
    if each.partial:
        notes.append("the end of the body is not signed")
    return Result("dkim", each.verdict, properties, comment=", ".join(notes))
