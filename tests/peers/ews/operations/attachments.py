"""Attachments of what came as MIME: GetAttachment ([MS-OXWSATT])."""

from __future__ import annotations

import base64
from collections.abc import Callable
from email.message import Message
from typing import Final

from tests.peers.ews import ids, mime, shapes
from tests.peers.ews.call import Call, Payload
from tests.peers.ews.soap import Element, ItemError, M, T, element, truth, under


def get_attachment(call: Call) -> Element:
    wants_mime = truth(call.body.findtext(f"{M}AttachmentShape/{T}IncludeMimeContent"))

    def found(asked: Element) -> Payload:
        number, part = ids.number_of("attachment", asked.get("Id"))
        item = call.store.item(number)
        parts = mime.attachments_of(call.store.mime(number)) if item is not None else []
        if item is None or not 0 < part <= len(parts):
            raise ItemError("ErrorAttachmentNotFound", "The specified attachment was not found in the store.")
        call.check(item.mailbox)
        made = shapes.attachment(parts[part - 1], number, part)
        if made.tag == f"{T}FileAttachment":
            payload = parts[part - 1].get_payload(decode=True)
            made.append(
                element(f"{T}Content", base64.b64encode(payload if isinstance(payload, bytes) else b"").decode())
            )
        else:
            inner = parts[part - 1].get_payload(0)
            octets = inner.as_bytes() if isinstance(inner, Message) else b""
            message = element(f"{T}Message")
            if wants_mime:
                encoded = base64.b64encode(octets).decode()
                message.append(element(f"{T}MimeContent", encoded, CharacterSet="UTF-8"))
            message.append(element(f"{T}ItemId", Id=ids.identifier("attachment", number, part)))
            subject = inner.get("subject") if isinstance(inner, Message) else None
            if subject:
                message.append(element(f"{T}Subject", mime.decoded(str(subject))))
            made.append(message)
        return (under(element(f"{M}Attachments"), [made]),)

    return call.answer(call.need("m:AttachmentIds"), found, lambda: (element(f"{M}Attachments"),))


HANDLERS: Final[dict[str, Callable[[Call], Element]]] = {"GetAttachment": get_attachment}
