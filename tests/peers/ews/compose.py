"""A message made of its properties, for clients that give no MIME, and a message with one property changed."""

from __future__ import annotations

import email
import email.policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Final

from tests.peers.ews.call import Call
from tests.peers.ews.soap import Element, ItemError, T

_FIELDS: Final = {
    "item:Subject": "Subject",
    "item:InReplyTo": "In-Reply-To",
    "message:References": "References",
    "message:InternetMessageId": "Message-ID",
    "item:Importance": "Importance",
}
_PEOPLE: Final = {
    "message:From": "From",
    "message:Sender": "Sender",
    "message:ToRecipients": "To",
    "message:CcRecipients": "Cc",
    "message:ReplyTo": "Reply-To",
}


def message(call: Call, new: Element) -> bytes:
    """Return the MIME of a Message that is given by its properties; its Bcc is apart (`hidden`)."""
    made = EmailMessage(policy=email.policy.SMTP)
    for key, field in _PEOPLE.items():
        people = _people(new.find(f"{T}{key.partition(':')[2]}"))
        if people:
            made[field] = people
    if "From" not in made:
        own = call.store.mailbox(call.mailbox)
        made["From"] = _address(own["display_name"] if own else "", call.mailbox)
    for key, field in _FIELDS.items():
        value = new.findtext(f"{T}{key.partition(':')[2]}")
        if value and field != "Importance":
            made[field] = value
    made["Date"] = formatdate()
    if "Message-ID" not in made:
        made["Message-ID"] = make_msgid(domain=call.domain)
    body = new.find(f"{T}Body")
    text = (body.text or "") if body is not None else ""
    made.set_content(text, subtype="html" if body is not None and body.get("BodyType") == "HTML" else "plain")
    return made.as_bytes()


def hidden(new: Element) -> tuple[str, ...]:
    """Return the addresses in BccRecipients."""
    return tuple(each.addr_spec for each in _people(new.find(f"{T}BccRecipients")))


def with_field(octets: bytes, key: str, value: Element | None) -> bytes:
    """Return a message with a property set or taken away. Raises: ItemError for one that cannot be."""
    made = email.message_from_bytes(octets, policy=email.policy.SMTP.clone(refold_source="none"))
    field = _FIELDS.get(key) or _PEOPLE.get(key)
    if key == "item:Body":
        text = (value.text or "") if value is not None else ""
        made.set_content(text, subtype="html" if value is not None and value.get("BodyType") == "HTML" else "plain")
        return made.as_bytes()
    if field is None:
        raise ItemError("ErrorInvalidPropertySet", f"{key} cannot be set")
    del made[field]
    if value is not None:
        made[field] = _people(value) if key in _PEOPLE else value.text or ""
    return made.as_bytes()


def _people(node: Element | None) -> tuple[Address, ...]:
    if node is None:
        return ()
    return tuple(
        _address(each.findtext(f"{T}Name") or "", each.findtext(f"{T}EmailAddress") or "")
        for each in node.iter(f"{T}Mailbox")
    )


def _address(shown: str, address: str) -> Address:
    try:
        return Address(shown, addr_spec=address)
    except (ValueError, IndexError) as error:
        raise ItemError("ErrorInvalidRecipients", str(error)) from None
