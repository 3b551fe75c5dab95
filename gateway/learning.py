"""Learning: what a bounce tells of a person's name in the directory of a mail system that is gone. Pure.

A reply to old mail may go to `IMCEAEX-…`, an Exchange directory name in the form of an internet address. Where nobody
has the name any more it fails, though the person is still here. What is read here says which name failed, of which
message of ours, and how the table would know the person.

Promises: a bounce that does not bear an envelope identifier made here tells nothing; any octets are taken; a report is
read in pieces, and no more than a few times its size. Whom a name means is decided by one exact match or not at all.
Sources: RFC 3464 §2 (report), RFC 3463 §3.2 (status), RFC 3461 §4.4 (ENVID), MS-OXCMAIL §2.1.3.1.8 (IMCEA).
"""

from __future__ import annotations

import hmac
import re
from base64 import b32encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from gateway import dsn, ids, mime
from gateway.message import Content
from gateway.octets import no_controls
from gateway.report import Action, RecipientReport
from gateway.spool.api import TraceEvent
from mappings.address import Address, AddressError
from mappings.identity import Identity, Kind
from mappings.network import registry
from mappings.networks.smtp import quote
from mappings.table import Table

SENT_ON: Final = "sent_on"
"""The kind of the trace event of a message that was sent on; its detail's `names` are the keys of those it was for."""
MAX_NAMES: Final = 10
"""A bounce of more recipients is nobody's reply to old mail."""
MAX_STATUS: Final = 64 * 1024
"""The most octets of a delivery status that are read."""

_ENVID: Final = re.compile(r"gp-([0-9a-hjkmnp-tv-z]{13})-([a-z2-7]{20})")
_TAIL: Final = 4096
_LEAST_READ: Final = 32 * 1024 * 1024
_TIMES_READ: Final = 4
# RFC 3463 §3.2: 7 and 8 are about the sender's address.
_UNKNOWN: Final = re.compile(r"5\.1\.(?![78]$)\d{1,3}")
# Exchange Online puts 128 random bits before the alias that the person has there.
_RANDOM: Final = re.compile(r"[0-9a-f]{32}-", re.IGNORECASE)
_MAILBOXES: Final = frozenset({Kind.PERSON, Kind.ROOM, Kind.DEVICE})

NameOf = Callable[[Address], Address | None]
"""Returns the directory name that an address is, or is written for; None where it is none of ours."""


# -- the envelope identifier


def envid(key: bytes, message_id: int) -> str:
    """Return the ENVID by which a report about a message of ours is known for one: 37 characters of `a-z0-9-`.

    RFC 3461 §5.2.1 (a) lets a relay supply none where the sender gave none. This one is supplied all the same, within
    bounds: the operator has switched it on; the message goes to a directory name, which no mail system could deliver to
    by what the address says; it goes to nobody but systems of ours; the sender's own ENVID is never replaced; and our
    own reports, which the sender gets, leave it out. Those it passes through give it no meaning (§4.4).
    """
    shown = ids.text(message_id)
    return f"gp-{shown}-{_proof(key, shown)}"


def message_of(key: bytes, text: str | None) -> int | None:
    """Return the id of the message that an ENVID was made for, None where it was not made with this key."""
    found = _ENVID.fullmatch((text or "").strip().lower())
    if not key or found is None or not hmac.compare_digest(_proof(key, found[1]), found[2]):
        return None
    return ids.parse(found[1])


def _proof(key: bytes, shown: str) -> str:
    return b32encode(hmac.digest(key, shown.encode("ascii"), "sha256"))[:20].decode("ascii").lower()


# -- names


def name_of(table: Table, address: Address) -> Address | None:
    """Return the directory name (`x500`) that an address is, or carries at a domain of ours; None for any other."""
    if address.network == "x500":
        return address
    if address.network != "smtp" or "ex-" not in address.key[:20]:
        return None
    name = table.written_for(address)
    return name if name is not None and name.network == "x500" else None


def local_part(name: Address) -> str | None:
    """Return what stands in a directory name for the person: its last `cn`, without what Exchange Online put before."""
    attribute, _, value = name.value.rpartition("/")[2].partition("=")
    return _RANDOM.sub("", value, count=1) or None if attribute == "cn" else None


def keys(name: Address, domains: Iterable[str]) -> list[str]:
    """Return the comparison keys of the internet addresses that the person of a directory name may have at domains."""
    local = local_part(name)
    found = []
    for domain in sorted(domains) if local is not None else ():
        try:
            found.append(registry().parse_in("smtp", f"{quote(local or '')}@{domain}").key)
        except AddressError:
            return []
    return found


def the_one(found: Iterable[Identity], network: str, keys: Iterable[str], now: float) -> Identity | None:
    """Return the person, room or device that alone has one of these addresses; None for none or two, or for a group.

    A former address counts like any other: mail to it still goes to that identity and to nobody else.
    """
    wanted = set(keys)
    those = {i.id: i for i in found if any(h.address.key in wanted and h.holds_at(now) for h in i.of(network))}
    if len(those) != 1:
        return None
    (only,) = those.values()
    return only if only.kind in _MAILBOXES else None


# -- the report


@dataclass(frozen=True, slots=True)
class Original:
    """The whole message in a bounce: where it stands, its Message-ID, and whether its own MIME structure is closed."""

    start: int
    end: int
    message_id: str
    is_closed: bool


@dataclass(frozen=True, slots=True)
class Bounce:
    """What a bounce tells: of which message of ours, by its id, and which directory names nobody had where it went."""

    message_id: int
    names: tuple[Address, ...]
    is_all: bool
    """It tells of nothing else."""
    by: str
    """The system that could not deliver it, by its own word."""
    original: Original | None


def is_report(content: Content) -> bool:
    """Tell by its header whether a content is a delivery status notification."""
    kind, parameters = mime.content_type(content.get(b"content-type") or b"")
    return _is_report(kind, parameters.get("report-type", b""))


def _is_report(kind: str, report_type: bytes) -> bool:
    return kind == "multipart/report" and report_type.lower() == b"delivery-status"


def read(source: mime.Octets, key: bytes, name_of: NameOf) -> Bounce | None:
    """Return what a bounce tells; None where it is none of a message of ours to a directory name.

    Blocks where the source does, and raises what it raises.
    """
    limited = _Limited(source)
    try:
        # Down to the header of the message that is returned; what is within that is nobody's report to us.
        whole = mime.parse(limited, levels=2)
        if not _is_report(whole.type, whole.parameters.get("report-type", b"")):
            return None
        status = next((p for p in whole.children if p.type in dsn.STATUS_TYPES), None)
        if status is None or status.end - status.body > MAX_STATUS:
            return None
        told = dsn.read_status(limited.read(status.body, status.end - status.body))
        message_id = None if told is None else message_of(key, told.envid)
        if told is None or message_id is None or len(told.recipients) > MAX_NAMES:
            return None
        names = [_unknown(recipient, name_of) for recipient in told.recipients]
        found = {name.key: name for name in names if name is not None}
        if not found:
            return None
        original = next((p for p in whole.children if p.type in dsn.WHOLE_TYPES and p.children), None)
        return Bounce(
            message_id,
            tuple(found.values()),
            is_all=None not in names,
            by=no_controls(told.reporting_mta)[:255],
            original=None if original is None else _original(limited, original.children[0]),
        )
    except _TooMuchRead:
        return None


def _unknown(recipient: dsn.RecipientStatus, name_of: NameOf) -> Address | None:
    """Return the directory name that a recipient was, where it failed for being nobody's."""
    if recipient.action is not Action.FAILED or not _UNKNOWN.fullmatch(recipient.code):
        return None
    for given in (recipient.final, recipient.original):
        if given is None or given[0] not in ("rfc822", "utf-8"):
            continue
        try:
            name = name_of(registry().parse_in("smtp", given[1].strip().removeprefix("<").removesuffix(">")))
        except AddressError:
            continue
        if name is not None:
            return name
    return None


def failed_name(recipient: RecipientReport, name_of: NameOf) -> Address | None:
    """Return the directory name that a recipient of ours was, where the next hop says that it is nobody's."""
    if recipient.action is not Action.FAILED or not _UNKNOWN.fullmatch(recipient.status.code):
        return None
    return name_of(recipient.final)


def _original(source: mime.Octets, part: mime.Part) -> Original | None:
    if not part.fields:
        return None
    tail = source.read(max(part.body, part.end - _TAIL), min(_TAIL, part.end - part.body))
    boundary = part.parameters.get("boundary", b"") if part.type.startswith("multipart/") else b""
    is_closed = bool(boundary) and b"\n--" + boundary + b"--" in tail
    message_id = (part.get(b"message-id") or b"")[:998].decode(errors="replace")
    return Original(part.start, part.end, message_id, is_closed)


class _TooMuchRead(Exception):
    pass


class _Limited:
    """Octets that may be read a few times over and no more, however their boundaries are laid out."""

    def __init__(self, source: mime.Octets) -> None:
        self._source = source
        self.size = source.size
        self._left = _LEAST_READ + _TIMES_READ * source.size

    def read(self, offset: int, length: int) -> bytes:
        octets = self._source.read(offset, length)
        self._left -= len(octets)
        if self._left < 0:
            raise _TooMuchRead
        return octets


# -- the message that it is about


@dataclass(frozen=True, slots=True)
class Sent:
    """A message of ours as its trace knows it; `names` gives, by key, how the sender wrote each directory name that it
    went out to."""

    sender: Address
    names: dict[str, Address]
    size: int
    message_id: str
    done: frozenset[str]
    """The keys of names for which it was sent on already."""

    def is_whole(self, original: Original) -> bool:
        """Tell whether what a bounce returns is this message, and all of it: some systems cut what they return."""
        is_same = bool(self.message_id) and original.message_id == self.message_id
        return is_same and (original.is_closed or original.end - original.start >= self.size)


def sent(events: Sequence[TraceEvent], name_of: NameOf) -> Sent | None:
    """Return what a trace says of its message; None where it has no sender, or its beginning is not there."""
    detail = next((e.detail for e in events if e.kind == "accepted"), None)
    if detail is None or not detail.get("from"):
        return None
    sender = _address(detail["from"])
    if sender is None:
        return None
    names: dict[str, Address] = {}
    for texts in detail.get("to", ()):
        wrote, address = _address(texts[0]), _address(texts[1])
        name = None if address is None else name_of(address)
        if wrote is not None and name is not None:
            names.setdefault(name.key, wrote)
    done = frozenset(key for e in events if e.kind == SENT_ON for key in e.detail.get("names", ()))
    return Sent(sender, names, int(detail.get("size", 0)), str(detail.get("message_id", "")), done)


def _address(text: str) -> Address | None:
    try:
        return registry().parse(text)
    except AddressError:
        return None
