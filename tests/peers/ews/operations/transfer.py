"""Items as Exchange keeps them: ExportItems and UploadItems ([MS-OXWSBTRF]).

What is exported is a stream of this peer's own, not [MS-OXCFXICS]; to a client it is opaque, as the real one is.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Final

import orjson

from tests.peers.ews import shapes
from tests.peers.ews.call import Call, Payload
from tests.peers.ews.soap import Element, ItemError, M, T, element
from tests.peers.ews.store import Full, NewItem

_MARK: Final = b"\x01\x00\x00\x00peer"


def export_items(call: Call) -> Element:
    def exported(item_id: Element) -> Payload:
        item = call.item(item_id)
        native = call.store.native(item.id)
        said = {
            "mime": base64.b64encode(call.store.mime(item.id)).decode(),
            "native": base64.b64encode(native).decode() if native is not None else None,
            "class_": item.class_,
            "received_at": item.received_at,
            "is_read": item.is_read,
            "is_draft": item.is_draft,
            "categories": item.categories,
            "bcc": item.bcc,
            "properties": call.store.properties(item.id),
        }
        octets = orjson.dumps(said, option=orjson.OPT_SORT_KEYS)
        data = _MARK + hashlib.sha256(octets).digest() + octets
        return (
            _id(shapes.item_id(item.id, item.version)),
            element(f"{M}Data", base64.b64encode(data).decode()),
        )

    return call.answer(call.need("m:ItemIds"), exported)


def upload_items(call: Call) -> Element:
    def uploaded(new: Element) -> Payload:
        folder = call.folder(new[0])
        data = base64.b64decode(new.findtext(f"{T}Data") or "")
        octets = data[len(_MARK) + 32 :]
        if not data.startswith(_MARK) or hashlib.sha256(octets).digest() != data[len(_MARK) : len(_MARK) + 32]:
            raise ItemError("ErrorCorruptData", "The exported data is not valid.")
        said = orjson.loads(octets)
        made = NewItem(
            base64.b64decode(said["mime"]),
            said["class_"],
            said["received_at"],
            said["is_read"],
            said["is_draft"],
            said["categories"],
            said["bcc"],
            {key: (type_, value) for key, (type_, value) in said["properties"].items()},
            base64.b64decode(said["native"]) if said["native"] is not None else None,
        )
        old = new.find(f"{T}ItemId")
        if new.get("CreateAction") == "Update" and old is None:
            raise ItemError("ErrorInvalidRequest", "Update is of an item.")
        if new.get("CreateAction") != "CreateNew" and old is not None:
            call.store.remove(call.item(old).id)
        try:
            number = call.store.add(folder.mailbox, folder.id, made)
        except Full:
            raise ItemError("ErrorQuotaExceeded", "The mailbox has exceeded its quota.") from None
        return (_id(shapes.item_id(number, 1)),)

    return call.answer(call.need("m:Items"), uploaded)


def _id(made: Element) -> Element:
    made.tag = f"{M}ItemId"
    return made


HANDLERS: Final[dict[str, Callable[[Call], Element]]] = {"ExportItems": export_items, "UploadItems": upload_items}
