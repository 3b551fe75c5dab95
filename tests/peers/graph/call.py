"""One request on its way: what was asked, and what is answered; and the table of all operations."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tests.peers.graph import ids
from tests.peers.graph.store import Folder, Item, Mailbox
from tests.peers.graph.trouble import Trouble

if TYPE_CHECKING:
    from tests.peers.graph.service import Service


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; `body` None has no content."""

    status: int = 200
    body: dict[str, Any] | bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    kind: str = ""

    def octets(self) -> tuple[bytes, str]:
        """Return the content and its type."""
        if self.body is None:
            return b"", ""
        if isinstance(self.body, bytes):
            return self.body, self.kind or "application/octet-stream"
        return json.dumps(self.body).encode(), "application/json; odata.metadata=minimal; charset=utf-8"


@dataclass(slots=True)
class Call:
    """A request whose sender is known. `base`: the address of the service, up to and with `/v1.0`."""

    service: Service
    company: int
    user: str
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    base: str
    operation: str = ""
    mailbox: str = ""
    codes: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.time)

    @property
    def form(self) -> ids.Form:
        """Which form of ids is asked for."""
        return "immutable" if re.search(r'idtype\s*=\s*"?immutableid"?', self._prefer(), re.IGNORECASE) else "default"

    def page_size(self, usual: int) -> int:
        """Return how many entries a page of the answer may hold."""
        asked = re.search(r"odata\.maxpagesize\s*=\s*(\d+)", self._prefer(), re.IGNORECASE)
        text = self.query.get("$top") or (asked[1] if asked else "")
        if text and not text.isdigit():
            raise Trouble("BadRequest", "Invalid $top.")
        return max(1, min(int(text or usual), 1000))

    def json(self) -> dict[str, Any]:
        """Return the body as an object. Raises: Trouble."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Trouble("RequestBodyRead", f"The content type '{kind}' is not application/json.")
        try:
            found = json.loads(self.body)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise Trouble("BadRequest", "Unable to read JSON request payload.")
        return found

    def owner(self, name: str) -> Mailbox:
        """Return the mailbox that the request is about. Raises: Trouble."""
        found = self.service.store.mailbox(self.company, name)
        if found is None:
            raise Trouble("ErrorInvalidUser", f"The requested user '{name}' is invalid.")
        if found.disabled or found.kind != "mailbox":
            raise Trouble(
                "MailboxNotEnabledForRESTAPI",
                "The mailbox is either inactive, soft-deleted, or is hosted on-premise.",
            )
        return found

    def folder(self, owner: Mailbox, name: str) -> Folder:
        """Return a folder by id or well-known name. Raises: Trouble."""
        number = ids.parse(name, ids.FOLDER)
        found = self.service.store.folder(owner.id, number, "" if number is not None else name)
        if found is None:
            raise Trouble("ErrorItemNotFound", "The specified object was not found in the store.")
        return found

    def item(self, owner: Mailbox, text: str) -> Item:
        """Return an item by an id of either form; a default id is void once its item has moved. Raises: Trouble."""
        parsed = ids.parse_item(text)
        if parsed is None:
            raise Trouble("ErrorInvalidIdMalformed", "Id is malformed.")
        found = self.service.store.item(owner.id, parsed.number)
        if found is None or parsed.moves not in (None, found.moves):
            raise Trouble("ErrorItemNotFound", "The specified object was not found in the store.")
        return found

    def _prefer(self) -> str:
        return self.headers.get("prefer", "")


Handler = Callable[..., Answer]


@dataclass(frozen=True, slots=True)
class Operation:
    """A row of the table: `name` is what faults and logs call it, `query` the options that it understands."""

    name: str
    method: str
    pattern: re.Pattern[str]
    handler: Handler
    query: frozenset[str]


OPERATIONS: Final[list[Operation]] = []


def operation(name: str, method: str, path: str, *query: str) -> Callable[[Handler], Handler]:
    """Enter a handler into the table; `{x}` in the path is handed to it by name, `{user}` by mailbox.

    Paths match without regard to letter case, as Graph's do, but for what stands in the braces.
    """
    parts = [
        f"(?P<{each[1:-1]}>[^/]+)" if each.startswith("{") else f"(?i:{re.escape(each)})" for each in path.split("/")
    ]

    def enter(handler: Handler) -> Handler:
        pattern = re.compile("/".join(parts).replace(r"/\(\)", ""))
        OPERATIONS.append(Operation(name, method, pattern, handler, frozenset(query)))
        return handler

    return enter


def find(method: str, path: str) -> tuple[Operation, dict[str, str]] | None:
    """Return the operation that serves a path below the service's root, and what stood in the braces.

    Of several, the one with the most words of its own: `messages/delta` is no message called delta.
    """
    fits = [(each, found) for each in OPERATIONS if each.method == method and (found := each.pattern.fullmatch(path))]
    if not fits:
        return None
    each, found = min(fits, key=lambda fit: len(fit[1].groups()))
    return each, found.groupdict()
