"""Whom the mail of an item is from and to: what a mailbox keeps of an envelope is brought back. Pure.

A mailbox has no envelope any more. What is known is, in this order: a journal report's own lines, the recipients that
the operator names, the item's recipients where the folder's rule says so (hidden ones from the item's properties), and
the mailbox in which the item lies.
Sources: RFC 5321 §4.4 (Return-Path), RFC 5322 §3.6.2, RFC 3834 §2 (what must not be answered), MS-OXOMSG §2.2.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from connectors.exchange.common_config import Watched
from connectors.exchange.journal_report import Journaled, bare
from connectors.exchange.organisation import Addressed, Party, Person
from gateway.contract import Address, AddressError, Content, Memo, Recipient, Status
from mappings.network import network

SMTP: Final = ("smtp",)
TO: Final = (b"to", b"cc", b"bcc")
REPORT: Final = "REPORT."
"""How the class of a report begins: delivery reports, and what tells that a message was read."""

NO_RECIPIENTS: Final = Status("5.1.3", "the message names no recipient that can be written to")
NO_REPORT: Final = Status("5.6.0", "this is no journal report that can be read")


class BadItem(Exception):
    """An item that no mail can be made of; the status says why, for the operator who finds it."""

    def __init__(self, status: Status) -> None:
        self.status = status
        super().__init__(str(status))


@dataclass(frozen=True, slots=True)
class Recovered:
    """An envelope as far as it is known."""

    reverse_path: Address | None
    recipients: tuple[Recipient, ...]


def of_item(
    content: Content,
    item_class: str,
    rule: Watched,
    addressed: Addressed | None = None,
    known: Mapping[str, Person | None] | None = None,
) -> Recovered:
    """Return the envelope of an item.

    `addressed` are its parties, needed where the rule asks for the headers; `known` what the directory says of those
    whose address is a legacy DN. Raises: BadItem where nobody can be written to.
    """
    if rule.recipients:
        recipients = _fixed(tuple(rule.recipients))
    elif rule.envelope == "headers":
        recipients = _named(content, addressed, known or {})
    else:
        recipients = (Recipient(network("smtp").parse(rule.mailbox)),)
    if not recipients:
        raise BadItem(NO_RECIPIENTS)
    return Recovered(reverse_path(content, item_class, addressed, known or {}), recipients)


def of_report(
    sender: str, recipients: tuple[Journaled, ...], known: Mapping[str, Person | None] | None = None
) -> Recovered:
    """Return the envelope that a journal report tells. Raises: BadItem where it tells none that can be read."""
    found: dict[Address, Recipient] = {}
    for each in recipients:
        address = party(Party("", *_routed(each.address)), known or {})
        if address is None:
            raise BadItem(NO_REPORT)
        original = each.group or each.original
        found.setdefault(address, Recipient(address, orcpt=f"rfc822;{original}" if original else None))
    if not found:
        raise BadItem(NO_REPORT)
    if sender in ("", "<>"):
        return Recovered(None, tuple(found.values()))
    return Recovered(party(Party("", *_routed(sender)), known or {}), tuple(found.values()))


def legacy_dns(parties: Addressed) -> list[str]:
    """Return the legacy DNs among them, for which the directory has to be asked."""
    each = (parties.sender, *parties.to, *parties.cc, *parties.bcc)
    return list(dict.fromkeys(one.address for one in each if one is not None and one.routing.upper() == "EX"))


def reverse_path(
    content: Content, item_class: str, addressed: Addressed | None, known: Mapping[str, Person | None]
) -> Address | None:
    """Return whom failures are reported to: nobody for what a program wrote."""
    given = content.get(b"return-path")
    if given is not None:
        path = given.decode("utf-8", "replace").strip()
        return None if path == "<>" else _parsed(bare(path))
    if item_class.upper().startswith(REPORT) or is_automatic(content):
        return None
    taken = Memo(content, "")
    for name in (b"sender", b"from"):
        boxes = taken.mailboxes(name, SMTP)
        if boxes:
            return boxes[0].address
    if addressed is not None and addressed.sender is not None:
        return party(addressed.sender, known)
    return None


def is_automatic(content: Content) -> bool:
    """Say whether a program wrote this, so that no other may answer it."""
    submitted = (content.get(b"auto-submitted") or b"no").split(b";")[0].strip().lower()
    kind = (content.get(b"content-type") or b"").split(b";")[0].strip().lower()
    return submitted != b"no" or kind == b"multipart/report"


def party(one: Party, known: Mapping[str, Person | None]) -> Address | None:
    """Return a party's address: by SMTP where the directory knows it, else as X.500 name; None for any other."""
    routing = one.routing.upper()
    if routing == "SMTP":
        return _parsed(one.address)
    if routing != "EX":
        return None
    person = known.get(one.address)
    found = _parsed(person.smtp) if person is not None and person.smtp else None
    return found if found is not None else _parsed(one.address, "x500")


def _named(content: Content, addressed: Addressed | None, known: Mapping[str, Person | None]) -> tuple[Recipient, ...]:
    found: list[Address] = []
    if addressed is not None:
        for one in (*addressed.to, *addressed.cc, *addressed.bcc):
            address = party(one, known)
            if address is not None:
                found.append(address)
    if not found:
        taken = Memo(content, "")
        found = [box.address for name in TO for box in taken.mailboxes(name, SMTP)]
    return tuple(Recipient(address) for address in dict.fromkeys(found))


@lru_cache(1024)
def _fixed(addresses: tuple[str, ...]) -> tuple[Recipient, ...]:
    """Return the recipients that a folder's rule names: the same for each of its items."""
    return tuple(Recipient(network("smtp").parse(each)) for each in addresses)


def _routed(text: str) -> tuple[str, str]:
    """Return an address of a report and how it is routed."""
    routing, colon, rest = text.partition(":")
    if colon and routing.upper() in ("SMTP", "EX", "X500"):
        return rest, "SMTP" if routing.upper() == "SMTP" else "EX"
    return text, "EX" if text[:3].lower() == "/o=" else "SMTP"


def _parsed(text: str, name: str = "smtp") -> Address | None:
    try:
        return network(name).parse(text)
    except AddressError:
        return None
