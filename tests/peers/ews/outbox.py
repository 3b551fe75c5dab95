"""Sending: who may send as whom, delivery inside the organisation, and what leaves it."""

from __future__ import annotations

import re
import time
from email.utils import formatdate
from typing import Final

from tests.peers.ews import mime
from tests.peers.ews.call import Call
from tests.peers.ews.soap import ItemError
from tests.peers.ews.store import Full, NewItem, Store

OUTSIDE: Final = "outside"
"""The name of the mailbox that keeps what left an organisation."""


def recipients(item: NewItem) -> list[str]:
    """Return whom a message is for: To, Cc, Bcc of its header, and those that stand beside it."""
    header = mime.header_of(item.octets)
    values = [value for field in ("to", "cc", "bcc") for value in header.get(field, ())]
    return list(dict.fromkeys(address for _, address in mime.addresses([*values, *item.bcc])))


def check(call: Call, item: NewItem) -> None:
    """Say whether the mailbox may send this. Raises: ItemError."""
    to = recipients(item)
    if not to:
        raise ItemError("ErrorMissingRecipients", "At least one recipient is required.")
    if any(not re.fullmatch(r"[^@\s<>]+@[^@\s<>]+|/o=.+", each, re.IGNORECASE) for each in to):
        raise ItemError("ErrorInvalidRecipients", "At least one recipient isn't valid.")
    sender = call.check(call.mailbox)
    authors = mime.addresses(mime.header_of(item.octets).get("from", []))
    if authors and authors[0][1].lower() != sender and not may_send_as(call.store, sender, authors[0][1]):
        raise ItemError(
            "ErrorSendAsDenied",
            "The user account which was used to submit this request does not have the"
            " right to send mail on behalf of the specified sending account.",
        )


def may_send_as(store: Store, mailbox: str, author: str) -> bool:
    """Say whether a mailbox was given the right to send as an address, or as any (`*`)."""
    return bool(store.row("select 1 from grant_as where mailbox=? and author in (?, '*')", mailbox, author.lower()))


def send(call: Call, item: NewItem) -> None:
    """Deliver to the organisation's mailboxes and lists, lay out what leaves, and report who is unknown."""
    octets = stamped(_without_bcc(item.octets), call.mailbox, call.domain)
    unknown: list[str] = []
    seen: set[str] = set()
    todo = recipients(item)
    while todo:
        address = todo.pop(0)
        if address.lower() in seen:
            continue
        seen.add(address.lower())
        box = call.store.mailbox(address)
        if box is not None and box["domain"] == call.domain:
            deliver(call.store, box["address"], octets)
            continue
        person = call.store.person(call.domain, address)
        if person is not None and person["kind"] == "PublicDL":
            todo += person["members"]
        elif address.lower().endswith("@" + call.domain) and person is None:
            unknown.append(address)
        else:
            deliver(call.store, f"{OUTSIDE}@{call.domain}", octets, properties={"to": ("String", address)})
    for address in unknown:
        deliver(call.store, call.mailbox, _refusal(call, item.octets, address))


def deliver(store: Store, mailbox: str, octets: bytes, properties: dict[str, tuple[str, str]] | None = None) -> None:
    """Lay a message into an inbox; where that is full it is lost, as what Exchange would answer is not wanted here."""
    inbox = store.well_known(mailbox, "inbox")
    assert inbox is not None
    try:
        store.add(
            mailbox,
            inbox.id,
            NewItem(octets, received_at=float(int(time.time())), properties=properties or {}),
            kind="new",
        )
    except Full:
        return


def stamped(octets: bytes, sender: str, domain: str) -> bytes:
    """Return a message as transport hands it on: with a trace field, and who it came from."""
    received = f"Received: from mbx1.{domain} by mbx1.{domain} with mapi id 15.01.2507.057; {formatdate()}\r\n"
    return f"Return-Path: <{sender}>\r\n{received}".encode() + octets


def _without_bcc(octets: bytes) -> bytes:
    head, end, body = octets.partition(b"\r\n\r\n" if b"\r\n\r\n" in octets else b"\n\n")
    kept = re.sub(rb"(?im)^bcc:[^\n]*(?:\n[ \t][^\n]*)*(?:\n|\Z)", b"", head + b"\n")
    return kept.removesuffix(b"\n").removesuffix(b"\r") + end + body if end else kept


def _refusal(call: Call, original: bytes, address: str) -> bytes:
    head = original.split(b"\r\n\r\n", 1)[0].split(b"\n\n", 1)[0].replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    name = f"MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@{call.domain}"
    return (
        (
            f"From: Microsoft Outlook <{name}>\r\nTo: {call.mailbox}\r\nDate: {formatdate()}\r\n"
            f"Message-ID: <{time.time_ns():x}@{call.domain}>\r\nSubject: Undeliverable\r\nMIME-Version: 1.0\r\n"
            'Content-Type: multipart/report; report-type=delivery-status; boundary="ndr"\r\n\r\n--ndr\r\n'
            "Content-Type: text/plain\r\n\r\nThe e-mail address couldn't be found.\r\n\r\n--ndr\r\n"
            f"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns;mbx1.{call.domain}\r\n\r\n"
            f"Final-recipient: RFC822;{address}\r\nAction: failed\r\nStatus: 5.1.10\r\n"
            "Diagnostic-code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound\r\n\r\n--ndr\r\n"
            "Content-Type: text/rfc822-headers\r\n\r\n"
        ).encode()
        + head
        + b"\r\n\r\n--ndr--\r\n"
    )
