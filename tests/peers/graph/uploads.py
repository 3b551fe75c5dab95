"""Upload sessions for attachments from 3 to 150 MB.

Source: learn.microsoft.com "Attach large files to Outlook messages or events": ranges in order, without Authorization,
200 with `nextExpectedRanges` while more is to come, 201 with `Location` after the last.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Final

from tests.peers.graph import attachments, ids, shapes
from tests.peers.graph.call import Answer, Call, operation
from tests.peers.graph.message import moment
from tests.peers.graph.store import Mailbox
from tests.peers.graph.trouble import Trouble

SMALLEST: Final = 3 * 1024 * 1024
LARGEST: Final = 150 * 1024 * 1024
LASTS_S: Final = 3600.0
_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass(slots=True)
class Session:
    """An attachment on its way."""

    company: int
    owner: Mailbox
    item: str
    meta: dict[str, Any]
    size: int
    expires: float
    octets: bytearray = field(default_factory=bytearray)


_sessions: dict[str, Session] = {}
_lock = threading.Lock()


@operation("CreateUploadSession", "POST", "users/{user}/messages/{id}/attachments/createUploadSession")
def create(call: Call, owner: Mailbox, id: str) -> Answer:
    """Begin an upload."""
    call.item(owner, id)
    body = call.json()
    given = body.get("AttachmentItem") or body.get("attachmentItem") or {}
    for each in shapes.wrong("attachmentItem", given):
        call.service.violation(f"CreateUploadSession: {each}")
        raise Trouble("RequestBodyRead", f"The request body is not valid: {each}")
    size = given.get("size") or 0
    if str(given.get("attachmentType")).lower() != "file" or not given.get("name"):
        raise Trouble("ErrorInvalidArgument", "An AttachmentItem has attachmentType file, a name and a size.")
    if size < SMALLEST:
        code = "ErrorAttachmentSizeShouldNotBeLessThanMinimumSize"
        raise Trouble(code, "Attachment size must be greater than the minimum size.")
    if size > LARGEST:
        raise Trouble("ErrorAttachmentSizeLimitExceeded", "Attachment size exceeds the limit.")
    meta = {
        "@odata.type": "#microsoft.graph.fileAttachment",
        "name": given["name"],
        "contentType": given.get("contentType") or "application/octet-stream",
        "isInline": bool(given.get("isInline")),
        "contentId": given.get("contentId"),
    }
    token, expires = secrets.token_urlsafe(24), time.time() + LASTS_S
    with _lock:
        _sessions[token] = Session(call.company, owner, id, meta, size, expires)
    url = f"{call.base.removesuffix('/v1.0')}/upload/{token}"
    context = f"{call.base}/$metadata#microsoft.graph.uploadSession"
    told = {"uploadUrl": url, "expirationDateTime": moment(expires), "nextExpectedRanges": ["0-"]}
    return Answer(201, {"@odata.context": context, **told})


def name(call: Call, token: str) -> None:
    """Note whose upload a request is of, so that a fault which is ordered for it can meet it."""
    call.operation = "Upload"
    with _lock:
        session = _sessions.get(token)
    if session is not None:
        call.company, call.mailbox = session.company, session.owner.address


def put(call: Call, token: str) -> Answer:
    """Take a range, tell how far it is, or end a session; the address alone gives the right to it."""
    with _lock:
        session = _sessions.get(token)
    if session is None or session.expires < time.time():
        raise Trouble("ErrorUploadSessionNotFound", "The upload session was not found.", status=404)
    if "authorization" in call.headers:
        call.service.violation("Upload: an Authorization header goes to an address that is authenticated already")
        raise Trouble("InvalidAudience", "Do not specify an Authorization header.", status=401)
    if call.method == "DELETE":
        with _lock:
            _sessions.pop(token, None)
        return Answer(204)
    if call.method == "GET":
        return _so_far(session)
    found = _RANGE.fullmatch(call.headers.get("content-range", ""))
    if call.method != "PUT" or found is None:
        raise Trouble("ErrorInvalidRequest", "The Content-Range header is missing or malformed.")
    first, last, whole = (int(each) for each in found.groups())
    if whole != session.size or last - first + 1 != len(call.body) or last >= whole:
        raise Trouble("ErrorInvalidRequest", "The Content-Range does not fit the content or the session.")
    if first != len(session.octets):
        raise Trouble("ErrorInvalidRange", "The range is not the next expected one.", status=416)
    session.octets += call.body
    if len(session.octets) < session.size:
        return _so_far(session)
    with _lock:
        _sessions.pop(token, None)
    item = call.item(session.owner, session.item)
    number = attachments.attach(call, session.owner, item, session.meta, bytes(session.octets))
    at = f"{call.base}/Users('{session.owner.guid}')/Messages('{session.item}')/Attachments('{ids.attachment(number)}')"
    return Answer(201, None, {"Location": at})


def _so_far(session: Session) -> Answer:
    at = [str(len(session.octets)) + ("" if session.octets else "-")]
    return Answer(
        200, {"expirationDateTime": moment(session.expires), "nextExpectedRanges": at}, kind="application/json"
    )
