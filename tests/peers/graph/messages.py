"""Operations on messages: list, read, create from JSON or MIME, change, move, copy, delete.

Source: learn.microsoft.com "Create message", "Update message", "message: move", "message: copy", "Delete message",
"Get MIME content of a message"; what is not said there stands in EVIDENCE.md as assumed.
"""

from __future__ import annotations

import base64
import re
import urllib.parse
import uuid
from collections.abc import Iterable
from typing import Any, Final

from tests.peers.graph import attachments, ids, mapi, odata, shapes
from tests.peers.graph import message as mail
from tests.peers.graph.call import Answer, Call, operation
from tests.peers.graph.paging import page
from tests.peers.graph.store import Folder, Item, Mailbox, now
from tests.peers.graph.trouble import Trouble

_LIST: Final = ("$top", "$skip", "$filter", "$select", "$expand", "$orderby", "$count")
_READ_ONLY: Final = frozenset(
    ("id", "bodyPreview", "changeKey", "conversationId", "conversationIndex", "createdDateTime", "hasAttachments",
     "lastModifiedDateTime", "parentFolderId", "receivedDateTime", "sentDateTime", "webLink", "isDraft")
)  # fmt: skip
"""Taken in a body without complaint and without effect."""
_ALWAYS: Final = frozenset(
    ("categories", "flag", "importance", "inferenceClassification", "isRead", "singleValueExtendedProperties",
     "isDeliveryReceiptRequested", "isReadReceiptRequested", "toRecipients", "ccRecipients", "bccRecipients", "from",
     "sender")
)  # fmt: skip
"""What may be changed of a message that is not a draft."""


def view(call: Call, item: Item, expand: dict[str, str] | None = None) -> dict[str, Any]:
    """Return an item as a client gets it, all fields."""
    id = ids.item(item.id, item.moves, call.form)
    key = base64.b64encode(b"CQAAAB" + item.id.to_bytes(8) + item.version.to_bytes(6)).decode()
    shown: dict[str, Any] = {
        "@odata.etag": f'W/"{key}"',
        "id": id,
        "changeKey": key,
        **item.resource,
        "receivedDateTime": mail.moment(item.received_at),
        "parentFolderId": ids.folder(item.folder),
        "isRead": item.is_read,
        "isDraft": item.is_draft,
        "webLink": f"https://outlook.office365.com/owa/?ItemID={urllib.parse.quote(id)}&exvsurl=1&viewmodel=ReadMessageItem",
    }
    for name, options in (expand or {}).items():
        if name == "attachments":
            shown["attachments"] = [attachments.view(each) for each in call.service.store.attachments(item.id)]
        elif name == "singleValueExtendedProperties":
            test = odata.predicate(options.removeprefix("$filter=")) if options else lambda _: True
            found = [{"id": kind, "value": value} for kind, value in properties(call, item).values()]
            if kept := [each for each in found if test(each)]:
                shown["singleValueExtendedProperties"] = kept
        else:
            raise Trouble("BadRequest", f"Parsing OData Select and Expand failed: '{name}'.")
    return shown


def properties(call: Call, item: Item) -> dict[str, tuple[str, str]]:
    """Return the extended properties of an item, those that it has by itself included."""
    kept = call.service.store.properties(item.id)
    return {**kept, **mapi.computed(item, kept)}


@operation("ListMessages", "GET", "users/{user}/messages", *_LIST)
def list_messages(call: Call, owner: Mailbox) -> Answer:
    """List the messages of a whole mailbox, Deleted Items included."""
    return _list(call, owner, None)


@operation("ListMessages", "GET", "users/{user}/mailFolders/{folder}/messages", *_LIST)
def list_folder(call: Call, owner: Mailbox, folder: str) -> Answer:
    """List the messages of a folder."""
    return _list(call, owner, call.folder(owner, folder))


@operation("GetMessage", "GET", "users/{user}/messages/{id}", "$select", "$expand")
@operation("GetMessage", "GET", "users/{user}/mailFolders/{folder}/messages/{id}", "$select", "$expand")
def get_message(call: Call, owner: Mailbox, id: str, folder: str = "") -> Answer:
    """Return one message."""
    return entity(call, 200, owner, call.item(owner, id))


@operation("GetMime", "GET", "users/{user}/messages/{id}/$value")
def get_mime(call: Call, owner: Mailbox, id: str) -> Answer:
    """Return a message's MIME content."""
    return Answer(200, mime(call, call.item(owner, id)), kind="text/plain")


@operation("CreateMessage", "POST", "users/{user}/messages")
@operation("CreateMessage", "POST", "users/{user}/mailFolders/{folder}/messages")
def create_message(call: Call, owner: Mailbox, folder: str = "drafts") -> Answer:
    """Make a message from JSON or MIME: a draft, unless its message flags (0x0E07) say otherwise from the start."""
    place = call.folder(owner, folder)
    if call.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/plain":
        call.operation = "CreateMime"
        octets = decoded(call.body)
        return entity(call, 201, owner, from_mime(call, owner, place, octets))
    return entity(call, 201, owner, from_json(call, owner, place, call.json()))


@operation("UpdateMessage", "PATCH", "users/{user}/messages/{id}")
def update_message(call: Call, owner: Mailbox, id: str) -> Answer:
    """Change a message; one that is not a draft in a few fields only."""
    item, body = call.item(owner, id), call.json()
    _check(call, body)
    expected = call.headers.get("if-match")
    if expected not in (None, "*", view(call, item)["@odata.etag"]):
        raise Trouble("ErrorIrresolvableConflict", "The change key is not the current one.", status=412)
    changes = {name: value for name, value in body.items() if name not in _READ_ONLY and "@" not in name}
    if "attachments" in changes:
        raise Trouble("ErrorInvalidPropertySet", "Attachments are added by requests of their own.")
    if not item.is_draft and (refused := set(changes) - _ALWAYS):
        raise Trouble("ErrorInvalidPropertySet", f"The property {min(refused)} can be set on a draft only.")
    extended = _extended(changes.pop("singleValueExtendedProperties", None))
    extended.pop("0xe07", None)
    item.is_read = bool(changes.pop("isRead", item.is_read))
    if set(changes) - {"categories", "flag", "inferenceClassification"}:
        item.shown = None
    item.resource.update({**changes, "lastModifiedDateTime": mail.moment(now())})
    item.received_at = mapi.received(extended, item.received_at)
    call.service.store.set_properties(item.id, extended)
    call.service.store.update(item)
    return entity(call, 200, owner, item)


@operation("DeleteMessage", "DELETE", "users/{user}/messages/{id}")
def delete_message(call: Call, owner: Mailbox, id: str) -> Answer:
    """Delete a message: it goes to the folder of recoverable items."""
    return _gone(call, owner, id, "recoverableitemsdeletions")


@operation("PurgeMessage", "POST", "users/{user}/messages/{id}/permanentDelete")
def purge_message(call: Call, owner: Mailbox, id: str) -> Answer:
    """Delete a message for good."""
    return _gone(call, owner, id, "")


@operation("MoveMessage", "POST", "users/{user}/messages/{id}/move")
def move_message(call: Call, owner: Mailbox, id: str) -> Answer:
    """Move a message; its default id is another one afterwards."""
    item = call.item(owner, id)
    call.service.store.move(item, _destination(call, owner))
    return entity(call, 201, owner, item)


@operation("CopyMessage", "POST", "users/{user}/messages/{id}/copy")
def copy_message(call: Call, owner: Mailbox, id: str) -> Answer:
    """Copy a message, its properties and attachments included."""
    store, item = call.service.store, call.item(owner, id)
    extended, attached = store.properties(item.id), store.attachments(item.id)
    item.due = None
    room(call, owner, item.size)
    with store.whole():
        copied = store.add(_destination(call, owner), item, extended)
        for _, meta, content in attached:
            store.attach(copied.id, meta, content)
    return entity(call, 201, owner, copied)


def entity(call: Call, status: int, owner: Mailbox, item: Item) -> Answer:
    """Answer one message."""
    expand = odata.expansions(call.query.get("$expand"))
    select = call.query.get("$select")
    shown = odata.selected(view(call, item), select)
    shown.update({name: value for name, value in view(call, item, expand).items() if name in expand})
    context = f"{call.base}/$metadata#users('{owner.guid}')/messages/$entity"
    location = {"Location": f"{call.base}/users('{owner.guid}')/messages('{shown['id']}')"} if status == 201 else {}
    return Answer(status, {"@odata.context": context, **shown}, location)


def decoded(body: bytes) -> bytes:
    """Return the MIME of a text/plain body. Raises: Trouble."""
    text = re.sub(rb"\s+", b"", body)
    try:
        if len(text) % 4:
            raise ValueError(body)
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise Trouble("ErrorMimeContentInvalidBase64String", "Invalid base64 string for MIME content.") from None


def from_mime(
    call: Call, owner: Mailbox, folder: Folder, octets: bytes, *, is_draft: bool = True, sender: str = ""
) -> Item:
    """Store a message made from MIME."""
    at = now()
    room(call, owner, len(octets))
    shown = octets
    if domain := call.service.honest(call.company):
        shown = mapi.regenerated(octets, domain, is_draft=is_draft)
    made, attached = mail.resource(shown, at, f"<{uuid.uuid4().hex}@peer.prod.outlook.com>")
    item = Item(
        0, 0, 0, 0, 1, octets, shown, made, mapi.item_class(octets), is_draft, is_draft, at, at, len(octets), None,
        sender,
    )  # fmt: skip
    return _stored(call, folder, item, mapi.internet_headers(made), attached)


def from_json(call: Call, owner: Mailbox, folder: Folder, body: dict[str, Any]) -> Item:
    """Store a message made from its resource."""
    _check(call, body)
    at = now()
    extended = _extended(body.get("singleValueExtendedProperties"))
    for each in body.get("internetMessageHeaders") or ():
        if not str(each.get("name", "")).lower().startswith("x-"):
            text = f"The internet message header name '{each.get('name')}' should start with 'x-' or 'X-'."
            raise Trouble("InvalidInternetMessageHeader", text)
    attached = [attachments.read(each) for each in body.get("attachments") or ()]
    empty, _ = mail.resource(b"\r\n", at, f"<{uuid.uuid4().hex}@peer.prod.outlook.com>")
    taken = {name: value for name, value in body.items() if name in empty or name in ("from", "sender")}
    made = {**empty, **{name: value for name, value in taken.items() if name not in _READ_ONLY and value is not None}}
    _normalise(made, owner, attached)
    mapi.apply(made, extended)
    flags = mapi.flags(extended)
    is_draft = flags is None or bool(flags & mapi.UNSENT)
    by_flags = flags is None or flags & mapi.READ != 0
    is_read = bool(body["isRead"]) if body.get("isRead") is not None else by_flags
    size = len(call.body)
    room(call, owner, size)
    item = Item(
        0, 0, 0, 0, 1, None, None, made, mapi.message_class(extended), is_read, is_draft,
        mapi.received(extended, at), at, size, None, "",
    )  # fmt: skip
    return _stored(call, folder, item, extended, attached)


def mime(call: Call, item: Item) -> bytes:
    """Return the MIME of an item, generated now where there is none."""
    if item.shown is None:
        store = call.service.store
        attached = [(meta, content) for _, meta, content in store.attachments(item.id)]
        item.shown = mapi.generated(item, store.properties(item.id), attached)
        store.do("update item set shown=?, received=coalesce(received, ?) where id=?", item.shown, item.shown, item.id)
    return item.shown


def room(call: Call, owner: Mailbox, octets: int) -> None:
    """Check that a mailbox may hold so much more. Raises: Trouble."""
    if owner.quota is not None and call.service.store.used(owner.id) + octets > owner.quota:
        raise Trouble("ErrorQuotaExceeded", "The mailbox has exceeded its storage limit.")


def _stored(
    call: Call, folder: Folder, item: Item, extended: dict[str, tuple[str, str]], attached: Iterable[mail.Attached]
) -> Item:
    store = call.service.store
    with store.whole():
        store.add(folder, item, extended)
        for meta, content in attached:
            store.attach(item.id, meta, content)
    return item


def _list(call: Call, owner: Mailbox, folder: Folder | None) -> Answer:
    store, text = call.service.store, call.query.get("$filter", "")
    key = mapi.looked_up(text)
    if key is not None:
        found = store.all("select item from property where key=? and value=?", *key)
        items = [each for (number,) in found if (each := store.item(owner.id, number))]
        dumpster = store.folder(owner.id, known="recoverableitemsdeletions")
        assert dumpster is not None
        items = [each for each in items if each.folder == folder.id] if folder else [
            each for each in items if each.folder != dumpster.id
        ]  # fmt: skip
    else:
        items = store.items(folder.id) if folder else store.items_of(owner.id)
    expand = odata.expansions(call.query.get("$expand"))
    if "singleValueExtendedProperties" in text:
        expand.setdefault("singleValueExtendedProperties", "")
    shown = [view(call, each, expand) for each in items]
    if "$orderby" not in call.query:
        shown.sort(key=lambda each: str(each["receivedDateTime"]), reverse=True)
    select = call.query.get("$select")
    wanted = odata.expansions(call.query.get("$expand"))
    if select and wanted:
        call.query["$select"] = ",".join((select, *wanted))
    answer = page(call, f"users('{owner.guid}')/messages", shown, 10)
    if not select and wanted and isinstance(answer.body, dict):
        by_id = {each["id"]: each for each in shown}
        for each in answer.body["value"]:
            each.update({name: by_id[each["id"]][name] for name in wanted if name in by_id[each["id"]]})
    return answer


def _gone(call: Call, owner: Mailbox, id: str, known: str) -> Answer:
    store, item = call.service.store, call.item(owner, id)
    to = store.folder(owner.id, known=known) if known else None
    if to is not None and item.folder == to.id:
        raise Trouble("ErrorCannotDeleteObject", "Object cannot be deleted.")
    if to is None:
        store.remove(item)
    else:
        store.move(item, to)
    return Answer(204)


def _destination(call: Call, owner: Mailbox) -> Folder:
    body = {name[:1].lower() + name[1:]: value for name, value in call.json().items()}
    if set(body) != {"destinationId"} or not isinstance(body["destinationId"], str):
        raise Trouble("BadRequest", "The destinationId is missing.")
    return call.folder(owner, body["destinationId"])


def _check(call: Call, body: dict[str, Any]) -> None:
    for each in shapes.wrong("message", body):
        call.service.violation(f"{call.operation}: {each}")
        raise Trouble("RequestBodyRead", f"The request body is not valid: {each}")


def _extended(given: Any) -> dict[str, tuple[str, str]]:
    return {odata.property_key(each["id"]): (each["id"], str(each["value"])) for each in given or ()}


def _normalise(made: dict[str, Any], owner: Mailbox, attached: list[mail.Attached]) -> None:
    """Fill in what the service derives: names of people, preview, the mailbox itself as author."""
    for name in ("toRecipients", "ccRecipients", "bccRecipients", "replyTo"):
        for each in made[name]:
            each["emailAddress"].setdefault("name", each["emailAddress"].get("address", ""))
    if "from" not in made:
        made["from"] = {"emailAddress": {"name": owner.name, "address": owner.address}}
    made.setdefault("sender", made["from"])
    made["body"] = {"contentType": "text", "content": "", **(made.get("body") or {})}
    made["body"]["contentType"] = made["body"]["contentType"].lower()
    made["importance"] = str(made["importance"]).lower()
    made["hasAttachments"] = any(not meta["isInline"] for meta, _ in attached)
    made["bodyPreview"] = mail.preview(made["body"])
