"""Operations on attachments: of a message that is there, singly and small; large ones are in uploads.py.

Source: learn.microsoft.com "attachment resource type", "Add attachment"; limit of 3 MB: "Attach large files".
"""

from __future__ import annotations

import base64
from typing import Any

from tests.peers.graph import ids, shapes
from tests.peers.graph.call import Answer, Call, operation
from tests.peers.graph.message import Attached, rendered, resource
from tests.peers.graph.message import moment as written
from tests.peers.graph.paging import page
from tests.peers.graph.store import Item, Mailbox, now
from tests.peers.graph.trouble import Trouble


def view(attachment: tuple[int, dict[str, Any], bytes]) -> dict[str, Any]:
    """Return an attachment as a client gets it; of an embedded message, not its content."""
    number, meta, content = attachment
    shown = {
        "@odata.type": meta["@odata.type"],
        "@odata.mediaContentType": meta.get("contentType"),
        "id": ids.attachment(number),
        "lastModifiedDateTime": written(now()),
        "name": meta["name"],
        "contentType": meta.get("contentType"),
        "size": len(content),
        "isInline": bool(meta.get("isInline")),
    }
    if meta["@odata.type"].endswith("fileAttachment"):
        shown.update(
            contentId=meta.get("contentId"), contentLocation=None, contentBytes=base64.b64encode(content).decode()
        )
    return shown


def read(body: dict[str, Any]) -> Attached:
    """Return what a client has sent. Raises: Trouble."""
    kind = str(body.get("@odata.type", ""))
    meta = {
        "@odata.type": kind,
        "name": body.get("name") or "attachment",
        "contentType": body.get("contentType"),
        "isInline": bool(body.get("isInline")),
        "contentId": body.get("contentId"),
    }
    if kind == "#microsoft.graph.fileAttachment":
        try:
            return meta, base64.b64decode(body["contentBytes"], validate=True)
        except (KeyError, ValueError):
            raise Trouble("ErrorInvalidArgument", "The contentBytes are no base64.") from None
    if kind == "#microsoft.graph.itemAttachment":
        inner = {key: value for key, value in (body.get("item") or {}).items() if not key.startswith("@")}
        empty, _ = resource(b"\r\n", now(), "<item@peer.prod.outlook.com>")
        inner_attached = [read(each) for each in inner.pop("attachments", None) or ()]
        return {**meta, "contentType": "message/rfc822"}, rendered({**empty, **inner}, inner_attached)
    raise Trouble("ErrorInvalidArgument", f"The type of the attachment, '{kind}', is not known.")


@operation("ListAttachments", "GET", "users/{user}/messages/{id}/attachments", "$select", "$top", "$skip")
def list_attachments(call: Call, owner: Mailbox, id: str) -> Answer:
    """List a message's attachments with their content."""
    found = call.service.store.attachments(call.item(owner, id).id)
    return page(call, "attachments", [view(each) for each in found], 100)


@operation("GetAttachment", "GET", "users/{user}/messages/{id}/attachments/{attachment}", "$select", "$expand")
def get_attachment(call: Call, owner: Mailbox, id: str, attachment: str) -> Answer:
    """Return one attachment."""
    found = _find(call, call.item(owner, id), attachment)
    return Answer(200, {"@odata.context": f"{call.base}/$metadata#attachments/$entity", **view(found)})


@operation("GetAttachmentContent", "GET", "users/{user}/messages/{id}/attachments/{attachment}/$value")
def get_content(call: Call, owner: Mailbox, id: str, attachment: str) -> Answer:
    """Return the octets of an attachment; of an embedded message, its MIME."""
    _, meta, content = _find(call, call.item(owner, id), attachment)
    return Answer(200, content, kind=meta.get("contentType") or "application/octet-stream")


@operation("AddAttachment", "POST", "users/{user}/messages/{id}/attachments")
def add_attachment(call: Call, owner: Mailbox, id: str) -> Answer:
    """Add an attachment to a message."""
    item, body = call.item(owner, id), call.json()
    for each in shapes.wrong("attachment", body):
        call.service.violation(f"AddAttachment: {each}")
        raise Trouble("RequestBodyRead", f"The request body is not valid: {each}")
    number = attach(call, owner, item, *read(body))
    found = _find(call, item, ids.attachment(number))
    return Answer(201, {"@odata.context": f"{call.base}/$metadata#attachments/$entity", **view(found)})


@operation("DeleteAttachment", "DELETE", "users/{user}/messages/{id}/attachments/{attachment}")
def delete_attachment(call: Call, owner: Mailbox, id: str, attachment: str) -> Answer:
    """Take an attachment off a message."""
    item = call.item(owner, id)
    number, _, content = _find(call, item, attachment)
    call.service.store.do("delete from attachment where id=?", number)
    _changed(call, item, -len(content))
    return Answer(204)


def attach(call: Call, owner: Mailbox, item: Item, meta: dict[str, Any], content: bytes) -> int:
    """Add an attachment to an item, whose MIME is generated anew then. Raises: Trouble."""
    store = call.service.store
    if owner.quota is not None and store.used(owner.id) + len(content) > owner.quota:
        raise Trouble("ErrorQuotaExceeded", "The mailbox has exceeded its storage limit.")
    with store.whole():
        number = store.attach(item.id, meta, content)
        item.resource["hasAttachments"] = item.resource["hasAttachments"] or not meta.get("isInline")
        _changed(call, item, len(content))
    return number


def _changed(call: Call, item: Item, octets: int) -> None:
    item.shown, item.size = None, item.size + octets
    call.service.store.do("update item set received=null where id=?", item.id)
    call.service.store.update(item)


def _find(call: Call, item: Item, attachment: str) -> tuple[int, dict[str, Any], bytes]:
    number = ids.parse(attachment, ids.ATTACHMENT)
    for each in call.service.store.attachments(item.id):
        if each[0] == number:
            return each
    raise Trouble("ErrorItemNotFound", "The specified object was not found in the store.")
