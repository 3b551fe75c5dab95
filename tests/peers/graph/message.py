"""A message as MIME and as Graph's resource, and the way from each to the other; pure.

From MIME to the resource much is lost, so that a message that was copied by its resource is another message: fields
but the known ones and those beginning with `x-`, the text beside the HTML, parts that are neither text nor attachment.
Source: learn.microsoft.com "message resource type"; microsoft-graph-docs issue 14843 (headers are rewritten).
"""

from __future__ import annotations

import base64
import email.header
import email.message
import email.policy
import email.utils
import hashlib
import html
import re
from datetime import UTC, datetime
from typing import Any, Final

Attached = tuple[dict[str, Any], bytes]
"""What is known of an attachment, and its octets."""
_ADDRESSES: Final = {"toRecipients": "To", "ccRecipients": "Cc", "bccRecipients": "Bcc", "replyTo": "Reply-To"}
_OPAQUE: Final = ("multipart/signed", "application/pkcs7-mime", "application/x-pkcs7-mime")


def moment(at: float) -> str:
    """Return a time as Graph writes it, in whole seconds."""
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(text: str) -> float:
    """Read a time, fractions dropped. Raises: ValueError."""
    at = datetime.fromisoformat(re.sub(r"\.\d+", "", text.strip()))
    return float(int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()))


def resource(octets: bytes, created_at: float, message_id: str) -> tuple[dict[str, Any], list[Attached]]:
    """Return what Graph makes of MIME, and its attachments. `message_id`: for one that has none of its own."""
    parsed = email.message_from_bytes(octets, policy=email.policy.compat32)
    body, attached = _taken_apart(parsed)
    subject = _text(parsed, "Subject")
    sent = _date(parsed) or created_at
    author = _people(parsed, "From")[:1] or _people(parsed, "Sender")[:1]
    sender = _people(parsed, "Sender")[:1] or author
    thread = re.sub(r"^(?:(?:re|fwd?|aw|wg):\s*)+", "", subject.lower())
    made: dict[str, Any] = {
        "createdDateTime": moment(created_at),
        "lastModifiedDateTime": moment(created_at),
        "categories": [],
        "sentDateTime": moment(sent),
        "hasAttachments": any(not meta["isInline"] for meta, _ in attached),
        "internetMessageId": _text(parsed, "Message-ID").strip() or message_id,
        "subject": subject,
        "bodyPreview": preview(body),
        "importance": _importance(parsed),
        "conversationId": _opaque(thread),
        "conversationIndex": base64.b64encode(hashlib.sha256(thread.encode()).digest()[:22]).decode(),
        "isDeliveryReceiptRequested": None if "Return-Receipt-To" not in parsed else True,
        "isReadReceiptRequested": "Disposition-Notification-To" in parsed,
        "inferenceClassification": "focused",
        "body": body,
        "flag": {"flagStatus": "notFlagged"},
        "internetMessageHeaders": [
            {"name": name, "value": re.sub(r"\r?\n(?=[ \t])", "", str(value)).strip()} for name, value in parsed.items()
        ],
    }
    if author:
        made["from"], made["sender"] = author[0], sender[0]
    made.update({key: _people(parsed, name) for key, name in _ADDRESSES.items()})
    return made, attached


def rendered(made: dict[str, Any], attached: list[Attached]) -> bytes:
    """Return the MIME that is generated for a resource."""
    people = [made.get("from"), made.get("sender"), *(each for key in _ADDRESSES for each in made.get(key) or ())]
    is_ascii = all(each["emailAddress"]["address"].isascii() for each in people if each)
    message = email.message.EmailMessage(policy=email.policy.SMTP if is_ascii else email.policy.SMTPUTF8)
    for name, key in (("From", "from"), ("Sender", "sender")):
        if made.get(key) and (key == "from" or made[key] != made.get("from")):
            message[name] = _written([made[key]])
    for key, name in _ADDRESSES.items():
        if made.get(key):
            message[name] = _written(made[key])
    message["Subject"] = re.sub(r"[\r\n\0]+", " ", made.get("subject") or "")
    message["Date"] = email.utils.format_datetime(datetime.fromtimestamp(seconds(made["sentDateTime"]), UTC))
    message["Message-ID"] = re.sub(r"[\r\n\0]+", "", made["internetMessageId"])
    if made.get("importance", "normal") != "normal":
        message["Importance"] = made["importance"]
    if made.get("isReadReceiptRequested") and made.get("from"):
        message["Disposition-Notification-To"] = _written([made["from"]])
    for each in made.get("internetMessageHeaders") or ():
        if each["name"].lower().startswith("x-") and each["name"] not in message:
            message[each["name"]] = re.sub(r"[\r\n\0]+", " ", each["value"])
    body = made.get("body") or {"contentType": "text", "content": ""}
    if body["contentType"] == "html":
        message.set_content(_plain(body["content"]))
        message.add_alternative(body["content"], subtype="html")
    else:
        message.set_content(body["content"])
    for meta, content in attached:
        _attach(message, meta, content)
    return message.as_bytes()


def recipients(made: dict[str, Any]) -> list[str]:
    """Return the addresses that a message is sent to, each once."""
    keys = ("toRecipients", "ccRecipients", "bccRecipients")
    found = [each["emailAddress"]["address"].lower() for key in keys for each in made.get(key) or ()]
    return list(dict.fromkeys(found))


def without(octets: bytes, name: bytes) -> bytes:
    """Return a message without the header fields of this name, all else as it is."""
    head, gap, body = octets.partition(b"\r\n\r\n")
    kept = re.sub(rb"(?im)^" + re.escape(name) + rb"[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*\n?", b"", head + b"\r\n")
    return kept.removesuffix(b"\r\n") + gap + body


def _taken_apart(parsed: email.message.Message) -> tuple[dict[str, str], list[Attached]]:
    texts: dict[str, list[str]] = {"text": [], "html": []}
    attached: list[Attached] = []

    def walk(part: email.message.Message) -> None:
        kind = part.get_content_type()
        if kind in _OPAQUE:
            attached.append(_attachment(part, part.as_bytes(policy=part.policy.clone(linesep="\r\n")), "smime.p7m"))
        elif kind == "message/rfc822":
            inner = part.get_payload(0) if part.is_multipart() else None
            octets = inner.as_bytes(policy=part.policy.clone(linesep="\r\n")) if inner is not None else b""  # type: ignore[union-attr]
            attached.append(_attachment(part, octets, "message.eml", "#microsoft.graph.itemAttachment"))
        elif part.is_multipart():
            for each in part.get_payload():
                walk(each)  # type: ignore[arg-type]
        elif kind in ("text/plain", "text/html") and not part.get_filename() and _disposition(part) != "attachment":
            texts["html" if kind == "text/html" else "text"].append(_decoded(part))
        else:
            attached.append(_attachment(part, part.get_payload(decode=True) or b"", "attachment"))  # type: ignore[arg-type]

    walk(parsed)
    kind = "html" if texts["html"] else "text"
    return {"contentType": kind, "content": "".join(texts[kind])}, attached


def _attachment(
    part: email.message.Message, octets: bytes, name: str, kind: str = "#microsoft.graph.fileAttachment"
) -> Attached:
    filename = part.get_filename()
    meta = {
        "@odata.type": kind,
        "name": _decode(filename) if filename else name,
        "contentType": part.get_content_type(),
        "isInline": _disposition(part) == "inline" and part.get("Content-ID") is not None,
        "contentId": (str(part["Content-ID"]).strip().strip("<>") if part.get("Content-ID") else None),
    }
    return meta, octets


def _attach(message: email.message.EmailMessage, meta: dict[str, Any], content: bytes) -> None:
    if meta["@odata.type"].endswith("itemAttachment"):
        inner = email.message_from_bytes(content, policy=email.policy.SMTP)
        message.add_attachment(inner, filename=meta["name"])
        return
    main, _, sub = (meta.get("contentType") or "application/octet-stream").partition("/")
    if main in ("multipart", "message") or not sub:
        main, sub = "application", "octet-stream"
    cid = f"<{meta['contentId']}>" if meta.get("contentId") else None
    disposition = "inline" if meta.get("isInline") else "attachment"
    message.add_attachment(content, main, sub, filename=meta["name"], cid=cid, disposition=disposition)


def _disposition(part: email.message.Message) -> str:
    return (part.get_content_disposition() or "").lower()


def _decoded(part: email.message.Message) -> str:
    octets = part.get_payload(decode=True)
    assert isinstance(octets, bytes)
    try:
        return octets.decode(part.get_content_charset() or "utf-8", "replace")
    except LookupError:
        return octets.decode("latin-1")


def _text(parsed: email.message.Message, name: str) -> str:
    return _decode(re.sub(r"\r?\n(?=[ \t])", "", str(parsed.get(name, "")))).strip()


def _decode(text: str) -> str:
    try:
        return str(email.header.make_header(email.header.decode_header(text)))
    except (ValueError, LookupError):
        return text


def _people(parsed: email.message.Message, name: str) -> list[dict[str, Any]]:
    values = [re.sub(r"\r?\n(?=[ \t])", "", str(each)) for each in parsed.get_all(name, [])]
    return [
        _person(_decode(shown), address) for shown, address in email.utils.getaddresses(values, strict=False) if address
    ]


def _person(name: str, address: str) -> dict[str, Any]:
    return {"emailAddress": {"name": name or address, "address": address}}


def _written(people: list[dict[str, Any]]) -> str:
    return ", ".join(_one(each["emailAddress"].get("name") or "", each["emailAddress"]["address"]) for each in people)


def _one(name: str, address: str) -> str:
    if not address.isascii():  # formataddr refuses it; quoting is all that a name needs where UTF-8 goes
        return f'"{name.translate({34: None, 92: None})}" <{address}>'
    return email.utils.formataddr(("" if name == address else name, address), "utf-8")


def _date(parsed: email.message.Message) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(str(parsed["Date"])).timestamp() if "Date" in parsed else None
    except (ValueError, TypeError, OverflowError):
        return None


def _importance(parsed: email.message.Message) -> str:
    said = str(parsed.get("Importance", "")).strip().lower()
    return said if said in ("low", "high") else "normal"


def _plain(content: str) -> str:
    return html.unescape(re.sub(r"(?s)<(?:style|script)\b.*?</(?:style|script)>|<[^>]*>", "", content))


def preview(body: dict[str, str]) -> str:
    """Return the first characters of a body as text."""
    text = _plain(body["content"]) if body["contentType"] == "html" else body["content"]
    return re.sub(r"\s+", " ", text).strip()[:255]


def _opaque(text: str) -> str:
    return "AAQkAG" + base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
