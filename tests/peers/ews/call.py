"""One request on its way: who asks, for which mailbox, and what the ids in it stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tests.peers.ews import ids
from tests.peers.ews.soap import Element, ItemError, M, SoapFault, T, element, failure, name, response, success
from tests.peers.ews.store import Folder, Item, Store
from tests.peers.ews.subscriptions import Subscriptions

Payload = Sequence[Element | None]


@dataclass(slots=True)
class Call:
    """`user` logged in, of the organisation `domain`; `mailbox` is acted for. `refused`: the code for every part."""

    store: Store
    domain: str
    user: str
    mailbox: str
    operation: str
    body: Element
    subscriptions: Subscriptions
    refused: str | None = None
    is_service: bool = False
    """The user may impersonate, and opens all mailboxes of its organisation."""
    codes: tuple[str, ...] = ()

    def find(self, path: str) -> Element | None:
        """Return the first element below the body: `m:Items`, `m:ItemShape/t:BaseShape`."""
        return self.body.find(path, {"m": M[1:-1], "t": T[1:-1]})

    def need(self, path: str) -> Element:
        found = self.find(path)
        if found is None:
            raise SoapFault("ErrorInvalidRequest", f"no {path}")
        return found

    def check(self, address: str, item_level: bool = True) -> str:
        """Return a mailbox's address that the user may act in. Raises: ItemError, or SoapFault."""
        raised = ItemError if item_level else SoapFault
        found = self.store.mailbox(address)
        if found is None or found["domain"] != self.domain:
            raise raised("ErrorNonExistentMailbox", "The SMTP address has no mailbox associated with it.")
        if found["disabled"]:
            raise raised("ErrorAccountDisabled", "Account is disabled.")
        if not self.is_service and found["address"] != self.user:
            raise raised("ErrorAccessDenied", "Access is denied. Check credentials and try again.")
        return str(found["address"])

    def folder(self, node: Element) -> Folder:
        """Return what a FolderId or DistinguishedFolderId stands for. Raises: ItemError."""
        if name(node) == "DistinguishedFolderId":
            named = node.findtext(f"{T}Mailbox/{T}EmailAddress")
            found = self.store.well_known(self.check(named or self.mailbox), node.get("Id", ""))
        else:
            number, _ = ids.number_of("folder", node.get("Id"))
            found = self.store.folder(number)
            if found is not None:
                self.check(found.mailbox)
        if found is None:
            raise ItemError("ErrorFolderNotFound", "The specified folder could not be found in the store.")
        return found

    def item(self, node: Element) -> Item:
        """Return what an ItemId stands for. Raises: ItemError."""
        number, _ = ids.number_of("item", node.get("Id"))
        found = self.store.item(number)
        if found is None:
            raise ItemError("ErrorItemNotFound", "The specified object was not found in the store.")
        self.check(found.mailbox)
        return found

    def answer(
        self, parts: Iterable[Element], done: Callable[[Element], Payload], empty: Callable[[], Payload] = tuple
    ) -> Element:
        """Do each part by itself and answer each: with what `done` returns, or with its error and what `empty` does."""
        messages: list[Element] = []
        codes: list[str] = []
        for part in parts:
            try:
                if self.refused:
                    raise ItemError(self.refused)
                messages.append(success(self.operation, *done(part)))
                codes.append("NoError")
            except ItemError as error:
                messages.append(failure(self.operation, error, *empty()))
                codes.append(error.code)
        self.codes = tuple(codes)
        return response(self.operation, messages)


def no_items() -> Payload:
    """Return what an error of an operation on items carries."""
    return (element(f"{M}Items"),)


def no_folders() -> Payload:
    return (element(f"{M}Folders"),)
