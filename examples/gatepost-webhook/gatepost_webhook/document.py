"""The JSON of a delivery, as it is posted to an application. Pure, but for reading a large content."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any, Final

from gateway.contract import Address, Item, Parcel, Report, id_text, memo

VERSION: Final = 1
MAX_TEXT: Final = 1024 * 1024
"""Characters of a text that are told beside the whole message; a longer one is cut there."""


def delivery_id(item: Item) -> str:
    """Return the name of one delivery: the same at each attempt, and of no other delivery."""
    return f"{id_text(item.id[0])}-{item.id[1]}"


def common(parcel: Parcel, *, parts: bool) -> dict[str, Any]:
    """Return what is the same for all recipients of a message. Reads the content. Raises: OSError."""
    envelope = parcel.envelope
    told: dict[str, Any] = {
        "version": VERSION,
        "message": id_text(parcel.message_id),
        "arrived_at": datetime.fromtimestamp(parcel.arrived_at, UTC).isoformat(timespec="seconds"),
        "from": _shown(envelope.reverse_path),
        "priority": envelope.priority,
    }
    if parts:
        told["parts"] = _parts(parcel)
    if parcel.report is not None:
        told["report"] = _report(parcel.report)
    told["raw"] = base64.b64encode(b"".join(parcel.content.chunks())).decode()
    return told


def body(told: dict[str, Any], item: Item) -> bytes:
    """Return the octets of one delivery's request."""
    own = {"delivery": delivery_id(item), "to": str(item.address), "original_to": str(item.original)}
    return json.dumps({**own, **told}, ensure_ascii=False).encode("utf-8", "surrogateescape")


def _shown(address: Address | None) -> str | None:
    return None if address is None else str(address)


def _parts(parcel: Parcel) -> dict[str, Any]:
    found = memo(parcel.content)
    files = [{"name": each.name, "type": each.type} for each in found.attachments if each is not found.page]
    return {
        "subject": _sane(found.subject),
        "from": _sane(found.get(b"from")),
        "to": _sane(found.get(b"to")),
        "message_id": _sane(found.get(b"message-id")),
        "text": _sane(found.text[:MAX_TEXT]),
        "text_is_cut": len(found.text) > MAX_TEXT,
        "files": [{key: _sane(value) for key, value in each.items()} for each in files],
    }


def _sane(text: str) -> str:
    """Return a text without what UTF-8 cannot hold: foreign octets may decode to lone surrogates."""
    return text.encode("utf-8", "replace").decode()


def _report(report: Report) -> dict[str, Any]:
    return {
        "about": id_text(report.message_id),
        "envid": report.envid,
        "hand_over": report.hand_over,
        "recipients": [
            {
                "action": each.action.value,
                "to": str(each.original),
                "status": each.status.code,
                "text": _sane(each.status.text),
            }
            for each in report.recipients
        ],
    }
