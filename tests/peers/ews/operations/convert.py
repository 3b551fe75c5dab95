"""ConvertId: one id in another form ([MS-OXWSCVTID]), and the time zones that clients ask for (GetServerTimeZones)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Final

from tests.peers.ews import ids
from tests.peers.ews.call import Call, Payload
from tests.peers.ews.soap import XSI, Element, ItemError, M, T, element


def convert_id(call: Call) -> Element:
    wanted = call.body.get("DestinationFormat", "EwsId")

    def converted(asked: Element) -> Payload:
        kind, number = _known(asked.get("Format", ""), asked.get("Id", ""))
        entry = ids.entry_id(kind, number)
        said = {
            "EwsId": ids.identifier(kind, number),
            "EwsLegacyId": ids.identifier(kind, number),
            "EntryId": base64.b64encode(entry).decode(),
            "HexEntryId": entry.hex().upper(),
            "StoreId": base64.b64encode(entry).decode(),
            "OwaId": ids.identifier(kind, number).replace("/", "-").replace("+", "_"),
        }[wanted]
        # The mailbox is the one that was asked of; DavMail learns its address from this.
        made = element(f"{M}AlternateId", Format=wanted, Id=said, Mailbox=call.check(call.mailbox))
        made.set(f"{{{XSI}}}type", "t:AlternateIdType")
        return (made,)

    return call.answer(call.need("m:SourceIds"), converted)


def _known(form: str, text: str) -> tuple[ids.Kind, int]:
    try:
        if form in ("EntryId", "StoreId"):
            return ids.of_entry_id(base64.b64decode(text, validate=True))
        if form == "HexEntryId":
            return ids.of_entry_id(bytes.fromhex(text))
    except (ValueError, binascii.Error):
        raise ItemError("ErrorInvalidIdMalformed", "Id is malformed.") from None
    said = text.replace("-", "/").replace("_", "+") if form == "OwaId" else text
    try:
        return "item", ids.number_of("item", said)[0]
    except ItemError:
        return "folder", ids.number_of("folder", said)[0]


def get_server_time_zones(call: Call) -> Element:
    def found(_: Element) -> Payload:
        made = element(f"{M}TimeZoneDefinitions")
        made.append(element(f"{T}TimeZoneDefinition", Id="UTC", Name="(UTC) Coordinated Universal Time"))
        return (made,)

    return call.answer([call.body], found)


HANDLERS: Final[dict[str, Callable[[Call], Element]]] = {
    "ConvertId": convert_id,
    "GetServerTimeZones": get_server_time_zones,
}
