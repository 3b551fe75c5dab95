"""The shapes of what is sent and answered: fields and their types, as Microsoft's CSDL for v1.0 has them; pure.

Only fields that the peer serves stand here. `test_shapes.py` compares the table with the models of msgraph-sdk, which
are generated from the same CSDL; what a client sends, or the peer answers, that is not in the table fails the test.
Source: microsoftgraph/msgraph-metadata clean_v10_metadata/cleanMetadata.xml.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any, Final

Type = str
"""`text`, `bool`, `int`, `time`, `bytes`, `enum:a|b`, the name of another shape, or any of these with `[]`."""

SHAPES: Final[dict[str, dict[str, Type]]] = {
    "message": {
        "id": "text",
        "attachments": "attachment[]",
        "bccRecipients": "recipient[]",
        "body": "itemBody",
        "bodyPreview": "text",
        "categories": "text[]",
        "ccRecipients": "recipient[]",
        "changeKey": "text",
        "conversationId": "text",
        "conversationIndex": "bytes",
        "createdDateTime": "time",
        "flag": "followupFlag",
        "from": "recipient",
        "hasAttachments": "bool",
        "importance": "enum:low|normal|high",
        "inferenceClassification": "enum:focused|other",
        "internetMessageHeaders": "internetMessageHeader[]",
        "internetMessageId": "text",
        "isDeliveryReceiptRequested": "bool",
        "isDraft": "bool",
        "isRead": "bool",
        "isReadReceiptRequested": "bool",
        "lastModifiedDateTime": "time",
        "parentFolderId": "text",
        "receivedDateTime": "time",
        "replyTo": "recipient[]",
        "sender": "recipient",
        "sentDateTime": "time",
        "singleValueExtendedProperties": "singleValueLegacyExtendedProperty[]",
        "subject": "text",
        "toRecipients": "recipient[]",
        "webLink": "text",
    },
    "recipient": {"emailAddress": "emailAddress"},
    "emailAddress": {"name": "text", "address": "text"},
    "itemBody": {"contentType": "enum:text|html", "content": "text"},
    "followupFlag": {"flagStatus": "enum:notFlagged|complete|flagged"},
    "internetMessageHeader": {"name": "text", "value": "text"},
    "singleValueLegacyExtendedProperty": {"id": "text", "value": "text"},
    "attachment": {
        "id": "text",
        "contentType": "text",
        "isInline": "bool",
        "lastModifiedDateTime": "time",
        "name": "text",
        "size": "int",
        "contentBytes": "bytes",
        "contentId": "text",
        "contentLocation": "text",
        "item": "message",
    },
    "attachmentItem": {
        "attachmentType": "enum:file|item|reference",
        "contentType": "text",
        "isInline": "bool",
        "name": "text",
        "size": "int",
        "contentId": "text",
    },
    "uploadSession": {"uploadUrl": "text", "expirationDateTime": "time", "nextExpectedRanges": "text[]"},
    "mailFolder": {
        "id": "text",
        "childFolderCount": "int",
        "displayName": "text",
        "isHidden": "bool",
        "parentFolderId": "text",
        "totalItemCount": "int",
        "unreadItemCount": "int",
    },
    "user": {
        "id": "text",
        "displayName": "text",
        "mail": "text",
        "userPrincipalName": "text",
        "proxyAddresses": "text[]",
    },
    "group": {
        "id": "text",
        "displayName": "text",
        "mail": "text",
        "mailEnabled": "bool",
        "securityEnabled": "bool",
        "groupTypes": "text[]",
        "proxyAddresses": "text[]",
    },
    "orgContact": {"id": "text", "displayName": "text", "mail": "text", "proxyAddresses": "text[]"},
    "subscription": {
        "id": "text",
        "applicationId": "text",
        "changeType": "text",
        "clientState": "text",
        "expirationDateTime": "time",
        "latestSupportedTlsVersion": "text",
        "notificationUrl": "text",
        "lifecycleNotificationUrl": "text",
        "resource": "text",
    },
    "convertIdResult": {"sourceId": "text", "targetId": "text"},
}
ANSWERS: Final[dict[str, str]] = {
    "GetUser": "user",
    "ListUsers": "user[]",
    "ListGroups": "group[]",
    "ListContacts": "orgContact[]",
    "ListFolders": "mailFolder[]",
    "ListChildFolders": "mailFolder[]",
    "FolderDelta": "mailFolder[]",
    "GetFolder": "mailFolder",
    "CreateFolder": "mailFolder",
    "UpdateFolder": "mailFolder",
    "ListMessages": "message[]",
    "Delta": "message[]",
    "GetMessage": "message",
    "CreateMime": "message",
    "CreateMessage": "message",
    "UpdateMessage": "message",
    "MoveMessage": "message",
    "CopyMessage": "message",
    "ListAttachments": "attachment[]",
    "GetAttachment": "attachment",
    "AddAttachment": "attachment",
    "CreateUploadSession": "uploadSession",
    "TranslateIds": "convertIdResult[]",
    "Subscribe": "subscription",
    "GetSubscription": "subscription",
    "RenewSubscription": "subscription",
    "ListSubscriptions": "subscription[]",
}
"""Operation -> the shape of its answer; `[]`: a collection."""
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,7})?Z")


def wrong(shape: str, value: Any, path: str = "") -> Iterator[str]:
    """Yield what is wrong with a value of a shape; annotations (`@…`) and null are always allowed."""
    here = path or shape
    if not isinstance(value, dict):
        yield f"{here} is not an object"
        return
    for name, each in value.items():
        if name.startswith("@") or "@odata." in name:
            continue
        kind = SHAPES[shape].get(name)
        if kind is None:
            yield f"{shape} has no property {name}"
        elif each is not None:
            yield from _wrong(kind, each, f"{here}.{name}")


def wrong_answer(operation: str, body: Any) -> Iterator[str]:
    """Yield what is wrong with the peer's own answer."""
    kind = ANSWERS.get(operation)
    if kind is None or not isinstance(body, dict) or "error" in body:
        return
    if not kind.endswith("[]"):
        yield from wrong(kind, body)
        if "@odata.context" not in body:
            yield "no @odata.context"
        return
    for at, each in enumerate(body.get("value", ())):
        yield from wrong(kind.removesuffix("[]"), each, f"value[{at}]")


def _wrong(kind: Type, value: Any, here: str) -> Iterator[str]:
    if kind.endswith("[]"):
        if not isinstance(value, list):
            yield f"{here} is not a list"
            return
        for at, each in enumerate(value):
            yield from _wrong(kind.removesuffix("[]"), each, f"{here}[{at}]")
    elif kind in SHAPES:
        yield from wrong(kind, value, here)
    elif not _fits(kind, value):
        yield f"{here} is not {kind}: {value!r:.60}"


def _fits(kind: Type, value: Any) -> bool:
    match kind:
        case "bool":
            return isinstance(value, bool)
        case "int":
            return isinstance(value, int) and not isinstance(value, bool)
        case "text":
            return isinstance(value, str)
        case "time":
            return isinstance(value, str) and _TIME.fullmatch(value) is not None
        case "bytes":
            return isinstance(value, str) and _is_base64(value)
    return isinstance(value, str) and value.lower() in [each.lower() for each in kind.removeprefix("enum:").split("|")]


def _is_base64(value: str) -> bool:
    try:
        base64.b64decode(value, validate=True)
    except ValueError:
        return False
    return True
