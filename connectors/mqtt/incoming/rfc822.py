"""A payload that is a whole message: it stays octet for octet, but for fields that it must have and lacks.

The sender is the rule's, or else the one address of From, or of Sender where From has several; the recipients are the
rule's, or else those of To, Cc and Bcc. Bcc is taken out. Source: RFC 5322 §3.6.
"""

from __future__ import annotations

from typing import Final

from connectors.mqtt.bad import SHOWN, BadPayload, at_octet
from connectors.mqtt.incoming.case import Case
from connectors.mqtt.incoming.values import Incoming
from gateway.contract import Address, AddressError, Content, Mailbox, Memo, compose

NETWORKS: Final = ("smtp", "mqtt")
MAX_HEAD: Final = 2 * 1024 * 1024
MAX_RECIPIENTS: Final = 1000


def read(case: Case) -> Incoming:
    """Return the mail. Raises: BadPayload."""
    payload = case.arrived.payload
    content = Content(payload)
    head = content.head
    _check(payload, head, content)
    memo = Memo(content, "")
    sender = case.opening.sender if case.opening.sender is not None else _sender(memo)
    named = () if case.opening.addresses else _recipients(memo)
    said = (content.get(b"message-id") or b"").strip().decode("latin-1")
    pieces = _completed(case, content, sender, has_id=bool(said))
    return case.incoming(sender, named, pieces, said or case.own_id or case.made_id, names_author=True)


def _check(payload: bytes, head: bytes, content: Content) -> None:
    if not head.strip() or not content.fields[0].name:
        mend = "begin with From: and To: lines, then an empty line, then the text"
        text = "the payload does not begin with a header field"
        raise BadPayload("rfc822.no-header", text, "octet 0", mend, payload[:SHOWN].split(b"\n")[0])
    if len(head) > MAX_HEAD:
        mend = "put an empty line between header and text"
        raise BadPayload("rfc822.header-too-long", f"a header of {len(head)} octets", at_octet(payload, MAX_HEAD), mend)
    nul = head.find(b"\0")
    if nul >= 0:
        raise BadPayload("rfc822.nul", "NUL in a header", at_octet(payload, nul), "leave it out", head[nul : nul + 20])


def _mailboxes(memo: Memo, name: bytes) -> list[Address]:
    try:
        return [box.address for box in memo.mailboxes(name, NETWORKS, strict=True)]
    except AddressError as e:
        place = f"the field {name.decode().title()}"
        raise BadPayload("rfc822.bad-address", str(e), place, "mend the address", e.text.encode()) from None


def _sender(memo: Memo) -> Address:
    senders = _mailboxes(memo, b"from")
    if len(senders) != 1:
        senders = _mailboxes(memo, b"sender")
    if len(senders) != 1:
        mend = "write one address in From, or say who sent it in Sender; or set a sender in the rule"
        raise BadPayload("rfc822.no-sender", "no From field with one address", "the field From", mend)
    return senders[0]


def _recipients(memo: Memo) -> list[Address]:
    found = list(dict.fromkeys(one for name in (b"to", b"cc", b"bcc") for one in _mailboxes(memo, name)))
    if len(found) > MAX_RECIPIENTS:
        text = f"{len(found)} recipients, the limit is {MAX_RECIPIENTS}"
        raise BadPayload("rfc822.too-many-recipients", text, "the fields To, Cc and Bcc", "write several messages")
    return found


def _completed(case: Case, content: Content, sender: Address, *, has_id: bool) -> tuple[bytes, ...]:
    """Return the payload, or its header without Bcc and with what it lacks, and its body."""
    payload, head = case.arrived.payload, content.head
    names = {one.name for one in content.fields}
    has_end = len(head) < len(payload)
    added = _missing(case, names, sender, has_id=has_id)
    if not added and has_end and b"bcc" not in names:
        return (payload,)
    newline = b"\n" if b"\n" in head and b"\r\n" not in head else b"\r\n"
    kept = [one for one in content.fields if one.name != b"bcc"]
    # A line that is no field would end the header if it came to stand first.
    first = next((n for n, one in enumerate(kept) if one.name), len(kept))
    ordered = (*kept[first : first + 1], *kept[:first], *kept[first + 1 :])
    lines = [head[one.start : one.end] for one in ordered]
    lines.insert(0 if first == len(kept) else len(lines), added.replace(b"\r\n", newline))
    made = b"".join(line if line.endswith(b"\n") or not line else line + newline for line in lines)
    return (made if has_end else made + newline, payload[len(head) :])


def _missing(case: Case, names: set[bytes], sender: Address, *, has_id: bool) -> bytes:
    """Return the fields to add, as whole lines."""
    added = b""
    if b"from" not in names:
        [octets] = compose([("From", [Mailbox("", sender)])], "", hostname=case.hostname)
        added += bytes(octets).partition(b"MIME-Version:")[0]
    if not has_id:
        added += f"Message-ID: {case.own_id or case.made_id}\r\n".encode()
    if b"date" not in names:
        added += f"Date: {case.date}\r\n".encode()
    if not names & {b"to", b"cc"}:
        added += b"To: undisclosed-recipients:;\r\n"  # RFC 5322 §3.4: a group without members
    return added
