"""Sending: a draft, or a message that comes with the request; and delivery within the organisation.

The answer is 202, which says no more than that it was taken. What was sent lies in the outbox for a while, then as
another item in Sent Items; each mailbox among the recipients gets its own copy without Bcc, in the same instant.
Source: learn.microsoft.com "message: send", "user: sendMail"; microsoft-graph-docs issue 1533 (another id when sent).
"""

from __future__ import annotations

import json
import time
from typing import Any

from tests.peers.graph import mapi, messages
from tests.peers.graph import message as mail
from tests.peers.graph.call import Answer, Call, operation
from tests.peers.graph.outbox import settle
from tests.peers.graph.service import Service
from tests.peers.graph.store import Item, Mailbox, now
from tests.peers.graph.trouble import Trouble


@operation("SendMessage", "POST", "users/{user}/messages/{id}/send")
def send_message(call: Call, owner: Mailbox, id: str) -> Answer:
    """Send a draft."""
    item = call.item(owner, id)
    if not item.is_draft:
        raise Trouble("ErrorInvalidOperation", "The message has been sent already.", status=400)
    _post(call, owner, item, keep=True)
    return Answer(202)


@operation("SendMail", "POST", "users/{user}/sendMail")
def send_mail(call: Call, owner: Mailbox) -> Answer:
    """Send a message given as JSON or MIME; the MIME form always keeps a copy."""
    drafts = call.folder(owner, "drafts")
    if call.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/plain":
        _post(call, owner, messages.from_mime(call, owner, drafts, messages.decoded(call.body)), keep=True)
        return Answer(202)
    body = call.json()
    given = {name.lower(): value for name, value in body.items()}
    if set(given) - {"message", "savetosentitems"} or not isinstance(given.get("message"), dict):
        raise Trouble("ErrorInvalidRequest", "sendMail takes message and saveToSentItems.")
    item = messages.from_json(call, owner, drafts, given["message"])
    _post(call, owner, item, keep=given.get("savetosentitems") is not False)
    return Answer(202)


def _post(call: Call, owner: Mailbox, item: Item, *, keep: bool) -> None:
    service, store = call.service, call.service.store
    people = mail.recipients(item.resource)
    author = item.resource.get("from", {}).get("emailAddress", {}).get("address", owner.address).lower()
    try:
        if not people:
            raise Trouble("ErrorInvalidRecipients", "At least one recipient is not valid.")
        if bad := next((each for each in people if "@" not in each), None):
            raise Trouble("ErrorInvalidRecipients", f"At least one recipient is not valid: {bad}")
        if not service.may_send(owner, author):
            text = (
                "The user account which was used to submit this request does not have the right to send mail on behalf"
            )
            raise Trouble("ErrorSendAsDenied", f"{text} of the specified sending account.")
    except Trouble:
        if call.operation == "SendMail":
            store.remove(item)
        raise
    octets = messages.mime(call, item)
    with store.whole():
        for each in people:
            _deliver(call, owner, each, octets)
        outbox = store.folder(owner.id, known="outbox")
        assert outbox is not None
        if not keep:
            store.remove(item)
            return
        item.is_draft, item.due = False, time.time() + service.sent_after_s.get(call.company, 0.0)
        store.update(item)
        store.move(item, outbox)
    settle(store)


def _deliver(call: Call, owner: Mailbox, address: str, octets: bytes, depth: int = 0) -> None:
    store = call.service.store
    found = store.mailbox(call.company, address) or next(
        (each for each in store.directory(call.company) if f"smtp:{address}" in [p.lower() for p in each.proxies]), None
    )
    if found is None:
        domain = (store.one("select domain from company where id=?", call.company) or ("",))[0]
        if address.endswith("@" + domain):
            _bounce(call, owner, address, octets)
        else:
            store.send_out(call.company, address, octets)
    elif found.kind == "group" and depth < 8:
        for each in found.members:
            _deliver(call, owner, each, octets, depth + 1)
    elif found.kind == "contact":
        store.send_out(call.company, found.members[0], octets)
    else:
        lay(call.service, call.company, found, "inbox", mail.without(octets, b"Bcc"), sender=owner.address)


def lay(
    service: Service, company: int, owner: Mailbox, place: str, octets: bytes, *, sender: str = "", **how: Any
) -> Item:
    """Lay a message into a mailbox as delivery does. `how`: as the tests' face has it (`Company.put`)."""
    store, at = service.store, float(how.get("received_at") or now())
    shown = octets
    if domain := service.honest(company):
        shown = mapi.regenerated(octets, domain, is_draft=bool(how.get("is_draft")))
    made, attached = mail.resource(shown, at, f"<{json.dumps(at)}@peer.prod.outlook.com>")
    made["categories"] = list(how.get("categories") or ())
    made["bccRecipients"] = [{"emailAddress": {"name": each, "address": each}} for each in how.get("bcc") or ()]
    extended = mapi.internet_headers(made)
    for key, value in (how.get("extended") or {}).items():
        extended[key] = (f"String {key}", str(value))
    item = Item(
        0, 0, 0, 0, 1, octets, shown, made, str(how.get("item_class") or mapi.item_class(octets)),
        bool(how.get("is_read", False)), bool(how.get("is_draft", False)), at, now(), len(octets), None, sender,
    )  # fmt: skip
    with store.whole():
        store.add(store.place(owner.id, place), item, extended)
        for meta, content in attached:
            store.attach(item.id, meta, content)
    return item


def _bounce(call: Call, owner: Mailbox, address: str, octets: bytes) -> None:
    head = octets.partition(b"\r\n\r\n")[0]
    text = (
        f"From: Microsoft Outlook <postmaster@peer.example>\r\nTo: {owner.address}\r\nSubject: Undeliverable\r\n"
        "MIME-Version: 1.0\r\nAuto-Submitted: auto-replied\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        f"--b\r\nContent-Type: text/plain\r\n\r\n{address} was not found.\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns;peer.example\r\n\r\n"
        f"Final-Recipient: rfc822;{address}\r\nAction: failed\r\nStatus: 5.1.10\r\n"
        "--b\r\nContent-Type: text/rfc822-headers\r\n\r\n"
    )
    lay(call.service, call.company, owner, "inbox", text.encode() + head + b"\r\n\r\n--b--\r\n")
