"""What becomes of a message before it leaves: whose it is, which reverse-path it gets, who signs it, what From says.

What is ours is signed, if it came from one who may send for us. Where somebody else sent it, its reverse-path becomes
one of ours by SRS; where somebody else wrote it, it gets an ARC seal, and `unsigned_from` says what becomes of it where
no valid signature of its author's domain covers it as it leaves. What is done is noted, so that a trace tells of it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from connectors.smtp.authentication import dkim, dmarc, results
from connectors.smtp.authentication.canonical import Bodies, Fields
from connectors.smtp.authentication.dmarc import Proof
from connectors.smtp.authentication.keys import KeyCache
from connectors.smtp.authentication.lookup import LookupFault, Resolver
from connectors.smtp.outward_config import OutwardConfig
from connectors.smtp.signing import NOTHING, ArcStatus, SealPlan, Signing
from connectors.smtp.signing_keys import KeyRing, SigningKey
from connectors.smtp.srs import Srs, SrsError
from gateway.contract import (
    Address,
    Content,
    Deferred,
    Failed,
    Fate,
    Note,
    Outcome,
    Parcel,
    Scope,
    Status,
    memo,
)  # fmt: skip

NO_SIGNATURE: Final = Status("5.7.22", "no valid signature of the author's domain covers the message")
NO_DNS: Final = Status("4.4.3", "DNS gave no answer about the author's domain")
_RESULTS: Final = b"authentication-results"
_MAX_NAME: Final = 200
_FROM: Final = re.compile(rb"(?im)^from[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)")
_FOLD: Final = re.compile(rb"\r?\n(?=[ \t])")


@dataclass(frozen=True, slots=True)
class Plan:
    """A parcel, ready but for its signatures; with an `outcome` it does not go."""

    parcel: Parcel
    signing: Signing = NOTHING
    notes: tuple[Note, ...] = ()
    outcome: Outcome | None = None


class Forwarding:
    """Plans parcels under one set of options."""

    def __init__(
        self,
        config: OutwardConfig,
        server: str,
        is_ours: Callable[[Address], bool],
        clock: Callable[[], float],
        *,
        judge: str = "",
        judges: Iterable[str] = (),
        ring: KeyRing | None,
        srs: Srs | None,
        resolver: Resolver | None,
    ) -> None:
        """`server` is the name under which the arrival's results are read and told on.

        `judge` is the connector that looks at what comes in by it, and takes out what others say under that name; empty
        where none does. `judges` are others that do so, for what is sealed. `ring` is needed where keys are,
        `resolver` where `unsigned_from` is another than 'keep'.
        """
        self._config = config
        self._is_ours = is_ours
        self._clock = clock
        self._ring = ring
        self._srs = srs
        self._resolver = resolver
        self._keys = KeyCache()
        self._server = server
        self._judge = judge
        self._judges = frozenset((*judges, *((judge,) if judge else ())))
        self._servers = frozenset((server.lower(),))
        self._asks = config.unsigned_from != "keep" or config.arc is not None
        """Whether anything depends on whose a message is, beside its signature."""

    async def plan(self, parcel: Parcel) -> Plan:
        """Decide about a parcel. Raises: OSError where its content cannot be read."""
        notes: list[Note] = []
        leaves = any(not self._is_ours(item.address) for item in parcel.items)
        if self._srs is not None and leaves:
            parcel = self._rewritten(parcel, self._srs, notes)
        if self._ring is None and not self._asks:
            return Plan(parcel, notes=tuple(notes))
        if not parcel.content.is_inline:
            await asyncio.to_thread(lambda: parcel.content.head)
        content = parcel.content
        domains = dmarc.authors([_FOLD.sub(b"", value) for value in _FROM.findall(content.head)])
        author = domains[0] if domains is not None and len(domains) == 1 else ""
        keys = self._own_keys(author, parcel)
        if keys or not self._asks or not leaves or (author and self._is_ours(_at(author))):
            return Plan(parcel, Signing(keys), tuple(notes))
        return await self._forwarded(parcel, author, notes)

    def _rewritten(self, parcel: Parcel, srs: Srs, notes: list[Note]) -> Parcel:
        path = parcel.envelope.reverse_path
        if path is None or path.network != "smtp" or srs.is_ours(path.value) or self._is_ours(path):
            return parcel
        try:
            made = srs.forward(path.value, self._clock())
        except SrsError as fault:
            notes.append(Note(Fate.KEPT, f"reverse-path {path.value}", str(fault)))
            return parcel
        notes.append(Note(Fate.MAPPED, f"reverse-path {path.value} as {made}", "it is forwarded in our name (SRS)"))
        return replace(parcel, envelope=replace(parcel.envelope, reverse_path=_address(made)))

    def _own_keys(self, author: str, parcel: Parcel) -> tuple[SigningKey, ...]:
        """Return the keys that sign for what is ours: sent by one who may, or proved to be the author's own."""
        config = self._config.dkim
        if config is None or self._ring is None:
            return ()
        keys = self._ring.keys(author) if author else ()
        if parcel.envelope.origin.trusted:
            return keys or (self._ring.keys(config.default_domain) if config.default_domain else ())
        return keys if keys and self._is_proved(parcel, author) else ()

    def _is_proved(self, parcel: Parcel, author: str) -> bool:
        """Say whether DMARC has passed for an author's domain when the message came in, by our own word."""
        # Without this anybody could have their mail signed by writing one of ours into From and sending it to an
        # address that is forwarded. Nor is it our word where nobody took such fields out when the message came in.
        if not self._judge or parcel.envelope.origin.connector != self._judge:
            return False
        for result in self._arrival(parcel.content).results:
            if result.method == "dmarc" and result.properties.get("header.from", "").lower() == author:
                return result.verdict == "pass"
        return False

    def _arrival(self, content: Content) -> results.Results:
        """Return what was found out on arrival, nothing where nobody has looked."""
        return results.first_of(content.get_all(_RESULTS), self._servers) or results.Results(self._server)

    async def _forwarded(self, parcel: Parcel, author: str, notes: list[Note]) -> Plan:
        """Decide about a message that somebody else wrote."""
        arrived = results.Results(self._server)
        if parcel.envelope.origin.connector in self._judges:  # else a sender would have us seal what they have made up
            arrived = results.merged(parcel.content.get_all(_RESULTS), self._servers) or arrived
        keys: tuple[SigningKey, ...] = ()
        choice = self._config.unsigned_from
        if choice != "keep":
            try:
                covered, choice = await self._choice(parcel.content, author)
            except LookupFault as fault:
                return Plan(parcel, outcome=Deferred(NO_DNS.but(cause=str(fault)), Scope.MESSAGE))
            if not covered:
                parcel, keys = self._chosen(choice, parcel, author, notes)
                if choice == "refuse":
                    return Plan(parcel, outcome=Failed(NO_SIGNATURE.but(cause=author or "no author")))
        return Plan(parcel, Signing(keys, self._seal(arrived)), tuple(notes))

    def _chosen(
        self, choice: str, parcel: Parcel, author: str, notes: list[Note]
    ) -> tuple[Parcel, tuple[SigningKey, ...]]:
        """Do what was chosen for a message that no signature of its author covers."""
        config = self._config
        why = f"no valid signature of {author or 'its author'} covers it as it leaves"
        if choice == "wrap" and config.wrap_address is not None:
            content, before = wrapped(parcel.content, config.wrap_address)
            notes.append(Note(Fate.MAPPED, f"From: {before} as {config.wrap_address}", f"{why}; Reply-To leads back"))
            domain = config.wrap_address.rpartition("@")[2]
            return replace(parcel, content=content), self._ring.keys(domain) if self._ring is not None else ()
        if choice == "resign" and self._ring is not None and config.dkim is not None and config.dkim.default_domain:
            notes.append(Note(Fate.KEPT, "From", f"{why}; signed by {config.dkim.default_domain}"))
            return parcel, self._ring.keys(config.dkim.default_domain)
        notes.append(Note(Fate.KEPT, "From", why))
        return parcel, ()

    async def _choice(self, content: Content, author: str) -> tuple[bool, Any]:
        """Say whether a signature of the author's domain covers a content, and what is to be done where none does.

        Raises: LookupFault where DNS has to be asked again; OSError.
        """
        assert self._resolver is not None
        choice: Any = self._config.unsigned_from
        proof = await self._proof(content)
        if not author:
            return False, "keep" if choice == "auto" else choice
        judged = await dmarc.evaluate((author,), proof, self._resolver)
        if judged.verdict == "temperror":
            raise LookupFault(judged.reason)
        if judged.verdict == "pass":
            return True, choice
        if judged.verdict == "none" and any(_is_related(author, each) for each in proof.dkim):
            return True, choice  # there is no record to say more
        if choice == "auto":
            dkim_config = self._config.dkim
            if judged.policy in ("quarantine", "reject"):
                choice = "wrap"
            else:
                choice = "resign" if dkim_config is not None and dkim_config.default_domain else "keep"
        return False, choice

    async def _proof(self, content: Content) -> Proof:
        """Return the domains whose signatures cover a content as it is now. Raises: OSError."""
        assert self._resolver is not None
        bodies = Bodies()
        fields = Fields(content.head)
        verifier = dkim.Verifier(fields, bodies)
        if not len(verifier):
            return Proof()
        if content.is_inline:
            bodies.update(content.body())
        elif bodies:
            await asyncio.to_thread(_feed, bodies, content)
        found = await verifier.verify(self._resolver, self._keys, self._clock())
        return Proof(
            dkim=tuple(each.domain for each in found if each.verdict == "pass" and not each.partial),
            dkim_unknown=tuple(each.domain for each in found if each.verdict == "temperror"),
        )

    def _seal(self, arrived: results.Results) -> SealPlan | None:
        config = self._config.arc
        if config is None or self._ring is None:
            return None
        keys = self._ring.keys(config.domain)
        if not keys:
            return None
        # Verifiers that know Ed25519 are few yet, and a chain has one signature for all.
        key = next((each for each in keys if each.algorithm == "rsa-sha256"), keys[0])
        status: ArcStatus = "none"
        for result in reversed(arrived.results):  # the topmost field says what the chain is worth
            if result.method == "arc":
                status = {"pass": "pass", "fail": "fail", "none": "none"}.get(result.verdict, "temperror")  # type: ignore[assignment]
        return SealPlan(key, results.write(self._server, arrived.results), status)


def wrapped(content: Content, address: str) -> tuple[Content, str]:
    """Return a content whose From is `address` with the author's name, and the author as it was.

    The author goes into Reply-To, unless one is there, and as it stood into X-Original-From. Raises: OSError.
    """
    head = content.head
    boxes = memo(Content(head + b"\r\n")).mailboxes(b"from", ("smtp",))
    before = boxes[0].address.value if boxes else ""
    name = (boxes[0].name or before)[:_MAX_NAME] if boxes else ""
    domain = address.rpartition("@")[2]
    shown = f"{name} via {domain}" if name else domain
    lines: list[bytes] = []
    has_reply_to = any(field.name == b"reply-to" for field in content.fields)
    done = False
    for field in content.fields:
        octets = head[field.start : field.end]
        if field.name != b"from":
            lines.append(octets)
        elif not done:
            done = True
            lines.append(b"From: " + _phrase(shown) + b" <" + address.encode("ascii") + b">\r\n")
            if not has_reply_to and before:
                lines.append(b"Reply-To:" + head[field.value_start : field.end])
            lines.append(b"X-Original-From:" + head[field.value_start : field.end])
    if not done:
        lines.append(b"From: " + _phrase(shown) + b" <" + address.encode("ascii") + b">\r\n")
    return content.with_head(b"".join(lines)), before


def _phrase(text: str) -> bytes:
    """Return a display name as a header has it: quoted, or in encoded words."""
    from email.header import Header

    if text.isascii() and text.isprintable():
        return b'"' + text.replace("\\", "\\\\").replace('"', '\\"').encode("ascii") + b'"'
    printable = "".join(c if c.isprintable() else " " for c in text)
    return Header(printable, "utf-8", header_name="From", maxlinelen=70).encode(linesep="\r\n").encode("ascii")


def _is_related(author: str, signer: str) -> bool:
    """Say whether two domains are one, or one below the other, as relaxed alignment has it for most of them."""
    return author == signer or author.endswith("." + signer) or signer.endswith("." + author)


def _feed(bodies: Bodies, content: Content) -> None:
    for piece in content.body_chunks():
        bodies.update(piece)


def _at(domain: str) -> Address:
    return _address(f"postmaster@{domain}")


def _address(text: str) -> Address:
    return Address("smtp", text, text.lower())
