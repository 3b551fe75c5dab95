"""What several calls name alike: folders, items and properties. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from connectors.exchange.ews.xml import Element, T, element
from connectors.exchange.organisation import Role
from connectors.exchange.properties import DELIVERY, PROPERTY_SET

ROLES: Final[dict[Role, str]] = {
    "inbox": "inbox",
    "sent": "sentitems",
    "drafts": "drafts",
    "outbox": "outbox",
    "trash": "deleteditems",
    "junk": "junkemail",
}
TOP: Final = "msgfolderroot"
ROOT: Final = "root"
DIRECTORY: Final = "directory"

RECEIVED: Final = ("0x0E06", "SystemTime")
"""PidTagMessageDeliveryTime (MS-OXPROPS §2.789)."""
FLAGS: Final = ("0x0E07", "Integer")
"""PidTagMessageFlags: 1 read, 8 unsent (MS-OXCMSG §2.2.1.6)."""
FOLLOW_UP: Final = ("0x1090", "Integer")
"""PidTagFlagStatus: 2 flagged (MS-OXOFLAG §2.2.1.1). The library knows no Flag element."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder: one that every mailbox has by its name, or any by its id. `mailbox` names whose the first is, where the
    service account acts as itself; under impersonation the header says it."""

    name: str = ""
    id: str = ""
    mailbox: str | None = None

    def element(self) -> Element:
        """Return the folder's id as a request names it."""
        if self.id:
            return element("t:FolderId", Id=self.id)
        owner = None if self.mailbox is None else element("t:Mailbox", element("t:EmailAddress", text=self.mailbox))
        return element("t:DistinguishedFolderId", owner, Id=self.name)


def item_ids(ids: Sequence[tuple[str, str]], name: str = "m:ItemIds") -> Element:
    """Return items by id and version; where the version is "" the newest is meant, which is enough to read."""
    return element(name, *(element("t:ItemId", Id=id, ChangeKey=version or None) for id, version in ids))


def field(uri: str) -> Element:
    """Return the path of a field of the schema."""
    return element("t:FieldURI", FieldURI=uri)


def tagged(tag: tuple[str, str]) -> Element:
    """Return the path of a property by its tag and type."""
    return element("t:ExtendedFieldURI", PropertyTag=tag[0], PropertyType=tag[1])


def delivery() -> Element:
    """Return the path of our own property."""
    return element("t:ExtendedFieldURI", PropertySetId=PROPERTY_SET, PropertyName=DELIVERY, PropertyType="String")


def valued(path: Element, value: str) -> Element:
    """Return a property with its value."""
    return element("t:ExtendedProperty", path, element("t:Value", text=value))


def shape(*paths: Element, mime: bool = False, name: str = "m:ItemShape") -> Element:
    """Return what is to be told of each item: its id, and what the paths name."""
    return element(
        name,
        element("t:BaseShape", text="IdOnly"),
        element("t:IncludeMimeContent", text="true") if mime else None,
        element("t:AdditionalProperties", *paths) if paths else None,
    )


def equals(path: Element, value: str) -> Element:
    """Return the restriction that a property has a value."""
    return element("t:IsEqualTo", path, element("t:FieldURIOrConstant", element("t:Constant", Value=value)))


def any_of(restrictions: Sequence[Element]) -> Element:
    """Return the restriction that one of several holds."""
    return restrictions[0] if len(restrictions) == 1 else element("t:Or", *restrictions)


def read_item_id(item: Element) -> tuple[str, str] | None:
    """Return an item's id and version; None where it has none."""
    found = item.find(f"{T}ItemId")
    if found is None or not found.get("Id"):
        return None
    return found.get("Id", ""), found.get("ChangeKey", "")


def read_delivery(item: Element) -> str | None:
    """Return the value of our own property."""
    for each in item.iterfind(f"{T}ExtendedProperty"):
        path = each.find(f"{T}ExtendedFieldURI")
        if path is None or path.get("PropertyName") != DELIVERY:
            continue
        if (path.get("PropertySetId") or "").lower() == PROPERTY_SET:
            value: str | None = each.findtext(f"{T}Value")
            return value
    return None
