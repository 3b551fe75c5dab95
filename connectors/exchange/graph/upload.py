"""Attachments that follow a message: small ones by a request, large ones by an upload session, resumed where it broke.

Promises: the octets go in pieces of multiples of 320 KiB, each told with its place; after a piece whose answer was lost
the session itself is asked what it has, and goes on from there; a session that is gone is a Fault, and nothing of the
attachment is there then. The upload's link is its own permission and carries no token.

Sources: learn.microsoft.com "attachment: createUploadSession", "Attach large files to Outlook messages or events".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from connectors.exchange.graph.answers import Malformed
from connectors.exchange.graph.client import Client, Request, origin
from connectors.exchange.organisation import Fault
from gateway.contract import Scope

STEP: Final = 320 * 1024
PIECE: Final = 10 * STEP
"""Octets of one piece: at most 4 MB, and a multiple of 320 KiB but for the last."""
FROM: Final = 2_900_000
"""From this size on an upload session is tried first, and a request where Graph finds the file too small for one: its
documents say 3 MB for both bounds, and not which megabytes."""
LEAST: Final = 3 * 1024 * 1024
TOO_SMALL: Final = "ErrorAttachmentSizeShouldNotBeLessThanMinimumSize"
TRIES: Final = 4
"""Pieces that may be lost one after the other before an upload is given up."""
_STALLED: Final = Fault("no progress", "an upload session takes no more", "unknown", scope=Scope.HOP)
_RANGE: Final = re.compile(r"(\d{1,15})(?:-\d*)?")


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of a message. `cid`: the name by which its text shows it (without brackets); `inline`: it does."""

    name: str
    content_type: str
    octets: bytes
    cid: str | None = None
    inline: bool = False

    def told(self) -> dict[str, Any]:
        """Return what Graph is told of it, but for the octets."""
        found: dict[str, Any] = {"name": self.name, "contentType": self.content_type, "isInline": self.inline}
        if self.cid is not None:
            found["contentId"] = self.cid
        return found


class Uploads:
    """Uploads of one connector."""

    def __init__(self, client: Client, base: str) -> None:
        self._client = client
        self._origin = origin(base)

    async def put(self, mailbox: str, message: str, attachment: Attachment) -> None:
        """Attach a file of FROM octets or more to a message (its path). Raises: Fault."""
        told = {"attachmentType": "file", "size": len(attachment.octets), **attachment.told()}
        answer = await self._client.ask(
            Request("POST", f"{message}/attachments/createUploadSession", mailbox, json={"AttachmentItem": told})
        )
        link = answer.get("uploadUrl")
        if not isinstance(link, str) or not self._may_be(link):
            raise Fault("malformed answer", "an upload session has no link that is safe", "unknown", scope=Scope.HOP)
        await self._pieces(mailbox, link, attachment.octets)

    def _may_be(self, link: str) -> bool:
        """The link leads to another server in Microsoft's cloud; only in the clear it may not, but to where we are."""
        return urlsplit(link).scheme == "https" or origin(link) == self._origin

    async def _pieces(self, mailbox: str, link: str, octets: bytes) -> None:
        start, lost, size = 0, 0, len(octets)
        while start < size:
            fault = _STALLED
            going_on: int | None = None
            try:
                answer = await self._client.send(_piece(mailbox, link, octets, start))
                if answer.status == 201:
                    return
                going_on = expected(answer.json(), size)
            except Malformed:
                pass  # the session itself is asked
            except Fault as e:
                if e.why not in ("unknown", "unreachable"):
                    raise
                fault = e
            if going_on is None:
                going_on = expected(await self._state(mailbox, link), size)
            if going_on is None:
                raise Fault("malformed answer", "an upload session does not say what it expects", "unknown")
            lost = 0 if going_on > start else lost + 1
            if lost >= TRIES:
                raise Fault(fault.code, fault.text, "unknown", scope=Scope.HOP)
            start = going_on
        # All pieces were taken, and the answer that says so was lost or never came.
        raise Fault("no answer", "the end of an upload was not confirmed", "unknown", scope=Scope.HOP)

    async def _state(self, mailbox: str, link: str) -> dict[str, Any]:
        """Ask a session what it has."""
        return await self._client.ask(Request("GET", link, mailbox, tokenless=True))


def _piece(mailbox: str, link: str, octets: bytes, start: int) -> Request:
    end = min(start + PIECE, len(octets))
    return Request(
        "PUT",
        link,
        mailbox,
        octets=octets[start:end],
        content_type="application/octet-stream",
        fields={"Content-Range": f"bytes {start}-{end - 1}/{len(octets)}"},
        tokenless=True,
    )


def expected(told: Mapping[str, Any], size: int) -> int | None:
    """Return the octet that a session wants next; `size` where it wants none, None where it does not say."""
    ranges = told.get("nextExpectedRanges")
    if isinstance(ranges, str):  # shown so in some of Microsoft's examples
        ranges = [ranges]
    if not isinstance(ranges, list):
        return None
    if not ranges:
        return size
    match = _RANGE.match(str(ranges[0]))
    start = int(match[1]) if match else -1
    return start if 0 <= start <= size else None
