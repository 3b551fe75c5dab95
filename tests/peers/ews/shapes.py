"""Items and folders as elements, with the properties that a shape asks for, in the order of the schema."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from email.message import Message
from typing import Any, Final

from tests.peers.ews import honest, ids, mime, schema
from tests.peers.ews.properties import View, folder_value, key_of
from tests.peers.ews.soap import Element, T, element, name, parse, truth, under
from tests.peers.ews.store import Folder, Store

KINDS: Final = {
    "IPM.Appointment": ("CalendarItem", "CalendarItemType"),
    "IPM.Contact": ("Contact", "ContactItemType"),
    "IPM.DistList": ("DistributionList", "DistributionListType"),
    "IPM.Task": ("Task", "TaskType"),
    "IPM.Post": ("PostItem", "PostItemType"),
    "IPM.Schedule.Meeting.Request": ("MeetingRequest", "MeetingRequestMessageType"),
    "IPM.Schedule.Meeting.Canceled": ("MeetingCancellation", "MeetingCancellationMessageType"),
    "IPM.Schedule.Meeting.Resp": ("MeetingResponse", "MeetingResponseMessageType"),
}
_FOLDERS: Final = {
    "IPF.Appointment": ("CalendarFolder", "CalendarFolderType"),
    "IPF.Contact": ("ContactsFolder", "ContactsFolderType"),
    "IPF.Task": ("TasksFolder", "TasksFolderType"),
}
_DEFAULT: Final = (
    "item:Subject",
    "item:Sensitivity",
    "item:DateTimeReceived",
    "item:Size",
    "item:Importance",
    "item:IsDraft",
    "item:HasAttachments",
    "item:DateTimeSent",
    "item:DateTimeCreated",
    "message:From",
    "message:IsRead",
    "message:InternetMessageId",
)
_ALL: Final = (
    *_DEFAULT,
    "item:ParentFolderId",
    "item:ItemClass",
    "item:Categories",
    "item:InReplyTo",
    "item:IsSubmitted",
    "item:IsFromMe",
    "item:IsResend",
    "item:IsUnmodified",
    "item:DisplayCc",
    "item:DisplayTo",
    "item:Culture",
    "item:LastModifiedTime",
    "item:IsAssociated",
    "item:ReminderIsSet",
    "message:Sender",
    "message:ToRecipients",
    "message:CcRecipients",
    "message:BccRecipients",
    "message:ConversationTopic",
    "message:References",
    "message:ReplyTo",
    "message:IsReadReceiptRequested",
    "message:IsDeliveryReceiptRequested",
    "message:IsResponseRequested",
)
_WHOLE: Final = ("item:Body", "item:Attachments", "item:InternetMessageHeaders")
"""What AllProperties has beside, but only where the whole item is asked for (GetItem)."""


def kind_of(class_: str) -> tuple[str, str]:
    """Return the element and the schema type of a message class."""
    return next((kind for prefix, kind in KINDS.items() if class_.startswith(prefix)), ("Message", "MessageType"))


def item_id(number: int, version: int) -> Element:
    return element(f"{T}ItemId", Id=ids.identifier("item", number), ChangeKey=ids.change_key(version))


def folder_id(number: int, tag: str = "FolderId") -> Element:
    return element(f"{T}{tag}", Id=ids.identifier("folder", number), ChangeKey=ids.change_key(1))


def bare_item(store: Store, number: int) -> Element:
    """Return an item with its id alone, as what has made or changed one answers."""
    found = store.item(number)
    if found is None:
        return element(f"{T}Message")
    return under(element(f"{T}{kind_of(found.class_)[0]}"), [item_id(number, found.version)])


@dataclass(frozen=True, slots=True)
class Shape:
    """What is asked for: by names of the schema (`keys`), and by extended properties (`extended`: key and path)."""

    base: str
    keys: tuple[str, ...]
    extended: tuple[tuple[str, Element], ...]
    mime: bool
    body: str


def asked(shape: Element | None) -> Shape:
    """Read an ItemShape or FolderShape; None: the id alone."""
    if shape is None:
        return Shape("IdOnly", (), (), False, "Best")
    paths = [(key_of(each), each) for each in shape.iterfind(f"{T}AdditionalProperties/*")]
    keys = tuple(key for key, path in paths if name(path) == "FieldURI")
    return Shape(
        shape.findtext(f"{T}BaseShape") or "IdOnly",
        keys,
        tuple((key, path) for key, path in paths if name(path) == "ExtendedFieldURI"),
        truth(shape.findtext(f"{T}IncludeMimeContent")) or "item:MimeContent" in keys,
        shape.findtext(f"{T}BodyType") or "Best",
    )


def item(view: View, shape: Shape, *, whole: bool) -> Element:
    """Return an item as a shape asks for it; `whole`: MIME, body and attachments can be had (GetItem)."""
    base = shape.base
    tag, type_ = kind_of(view.item.class_)
    keys = list(_ALL if base == "AllProperties" else _DEFAULT if base == "Default" else ())
    keys += [*_WHOLE] if base == "AllProperties" and whole else []
    keys += shape.keys
    made: dict[str, Element] = {"ItemId": item_id(view.item.id, view.item.version)}
    if shape.mime and whole:
        octets = honest.shown(view.store, view.item)
        made["MimeContent"] = element(f"{T}MimeContent", base64.b64encode(octets).decode(), CharacterSet="UTF-8")
    kept = _kept(view)
    for key in dict.fromkeys(keys):
        field = key.partition(":")[2]
        if field in made or field == "MimeContent":
            continue
        if field in kept:
            made[field] = kept[field]
            continue
        built = _BUILT.get(key)
        if built is not None:
            part = built(view, shape) if whole or key not in _WHOLE else None
        else:
            value = view.value(key)
            part = element(f"{T}{field}", value) if value is not None else None
        if part is not None:
            made[field] = part
    if base == "AllProperties" and whole:
        for field, part in kept.items():
            made.setdefault(field, part)
    extended = [_extended(path, value) for key, path in shape.extended if (value := view.value(key)) is not None]
    return in_order(tag, type_, made, extended)


def folder(store: Store, of: Folder, shape: Shape) -> Element:
    """Return a folder as a shape asks for it."""
    base = shape.base
    tag, type_ = _FOLDERS.get(of.class_, ("Folder", "FolderType"))
    keys = list(shape.keys)
    if base != "IdOnly":
        keys += ["folder:DisplayName", "folder:TotalCount", "folder:ChildFolderCount"]
        keys += ["folder:UnreadCount"] if tag == "Folder" else []
    if base == "AllProperties":
        keys += ["folder:ParentFolderId", "folder:FolderClass", "folder:DistinguishedFolderId"]
    made = {"FolderId": folder_id(of.id)}
    known = schema.order(type_)
    for key in dict.fromkeys(keys):
        field = key.partition(":")[2]
        if field == "ParentFolderId":
            made[field] = folder_id(of.parent or of.id, "ParentFolderId")
        elif (not known or field in known) and (value := folder_value(store, of, key)) is not None:
            made[field] = element(f"{T}{field}", value)
    extended = [
        _extended(path, value) for key, path in shape.extended if (value := folder_value(store, of, key)) is not None
    ]
    return in_order(tag, type_, made, extended)


def in_order(tag: str, type_: str, made: dict[str, Element], extended: Iterable[Element] = ()) -> Element:
    """Return an element with its parts in the order of a schema type."""
    top = element(f"{T}{tag}")
    order = schema.order(type_)
    if not order:
        return under(under(top, made.values()), extended)
    for field in order:
        if field == "ExtendedProperty":
            under(top, extended)
        elif field in made:
            top.append(made[field])
    return top


def _extended(path: Element, value: Any) -> Element:
    made = element(f"{T}ExtendedProperty")
    made.append(element(f"{T}ExtendedFieldURI", **dict(path.attrib)))
    if isinstance(value, list):
        return under(made, [under(element(f"{T}Values"), [element(f"{T}Value", each) for each in value])])
    return under(made, [element(f"{T}Value", value)])


def _kept(view: View) -> dict[str, Element]:
    """Return the fields that an item of another kind than mail was made with."""
    if view.item.class_.startswith("IPM.Note"):
        return {}
    native = view.store.native(view.item.id)
    return {name(each): each for each in parse(native)} if native else {}


def mailbox(shown: str, address: str, tag: str = "Mailbox") -> Element:
    """Return a mailbox: an address of ours by SMTP, or an X.500 name as such."""
    routing = "EX" if address.startswith("/") else "SMTP"
    parts = (("Name", shown or address), ("EmailAddress", address), ("RoutingType", routing))
    return under(element(f"{T}{tag}"), [element(f"{T}{each}", value) for each, value in parts])


def _one(field: str, of: Callable[[View], tuple[str, str] | None]) -> Callable[[View, Shape], Element | None]:
    def built(view: View, shape: Shape) -> Element | None:
        found = of(view)
        return under(element(f"{T}{field}"), [mailbox(*found)]) if found else None

    return built


def _several(field: str, of: Callable[[View], list[tuple[str, str]]]) -> Callable[[View, Shape], Element | None]:
    def built(view: View, shape: Shape) -> Element | None:
        found = of(view)
        return under(element(f"{T}{field}"), [mailbox(*each) for each in found]) if found else None

    return built


def _body(view: View, shape: Shape) -> Element:
    kind, text = mime.body_of(view.octets)
    if shape.body in ("Text", "HTML"):
        kind = shape.body
    return element(f"{T}Body", _characters(text), BodyType=kind)


def _characters(text: str) -> str:
    """Return what XML can hold of a text."""
    return "".join(c for c in text if c >= " " or c in "\t\n\r").encode("utf-8", "replace").decode()


def _attachments(view: View, shape: Shape) -> Element | None:
    found = mime.attachments_of(view.octets)
    if not found:
        return None
    made = [attachment(part, view.item.id, number) for number, part in enumerate(found, 1)]
    return under(element(f"{T}Attachments"), made)


def attachment(part: Message, item: int, number: int) -> Element:
    """Return what is said of an attachment, without its content."""
    embedded = part.get_content_type() == "message/rfc822"
    made = element(f"{T}{'ItemAttachment' if embedded else 'FileAttachment'}")
    made.append(element(f"{T}AttachmentId", Id=ids.identifier("attachment", item, number)))
    title = part.get_filename()
    if title is None and embedded and isinstance(inner := part.get_payload(0), Message):
        title = str(inner.get("subject") or "")
    made.append(element(f"{T}Name", _characters(mime.decoded(title or "")) or "attachment"))
    made.append(element(f"{T}ContentType", part.get_content_type()))
    content_id = part.get("content-id")
    if content_id:
        made.append(element(f"{T}ContentId", content_id.strip("<> ")))
    made.append(element(f"{T}IsInline", "true" if part.get_content_disposition() == "inline" else "false"))
    return made


def _headers(view: View, shape: Shape) -> Element | None:
    fields = mime.fields_of(view.octets)
    made = [element(f"{T}InternetMessageHeader", _characters(mime.decoded(v)), HeaderName=k) for k, v in fields]
    return under(element(f"{T}InternetMessageHeaders"), made) if made else None


def _categories(view: View, shape: Shape) -> Element | None:
    found = view.item.categories
    return under(element(f"{T}Categories"), [element(f"{T}String", each) for each in found]) if found else None


def _flag(view: View, shape: Shape) -> Element:
    status = {"1": "Complete", "2": "Flagged"}.get(str(view.value("0x1090")), "NotFlagged")
    return under(element(f"{T}Flag"), [element(f"{T}FlagStatus", status)])


def _received_by(view: View) -> tuple[str, str] | None:
    found = view.store.mailbox(view.item.mailbox)
    return (found["display_name"], found["address"]) if found and not view.item.is_draft else None


_BUILT: Final[dict[str, Callable[[View, Shape], Element | None]]] = {
    "item:ParentFolderId": lambda v, s: folder_id(v.item.folder, "ParentFolderId"),
    "item:Body": _body,
    "item:TextBody": lambda v, s: element(f"{T}TextBody", _characters(mime.body_of(v.octets)[1]), BodyType="Text"),
    "item:Attachments": _attachments,
    "item:InternetMessageHeaders": _headers,
    "item:Categories": _categories,
    "item:Flag": _flag,
    "message:Sender": _one("Sender", View.sender),
    "message:From": _one("From", View.author),
    "message:ReceivedBy": _one("ReceivedBy", _received_by),
    "message:ReceivedRepresenting": _one("ReceivedRepresenting", _received_by),
    "message:ToRecipients": _several("ToRecipients", lambda v: v.people("to")),
    "message:CcRecipients": _several("CcRecipients", lambda v: v.people("cc")),
    "message:BccRecipients": _several("BccRecipients", View.hidden),
    "message:ReplyTo": _several("ReplyTo", lambda v: v.people("reply-to")),
}
