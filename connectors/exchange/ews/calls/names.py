"""The directory: names looked up (MS-OXWSRSLNM), and all of it listed (MS-OXWSPERS §3.1.4.1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from connectors.exchange.ews.answer import Answer
from connectors.exchange.ews.call import Single
from connectors.exchange.ews.calls.paths import Place, field
from connectors.exchange.ews.xml import Element, M, T, element
from connectors.exchange.organisation import Person

NO_RESULT: Final = "ErrorNameResolutionNoResults"
SEVERAL: Final = "ErrorNameResolutionMultipleResults"

_KINDS: Final = {
    "Mailbox": "mailbox",
    "PublicDL": "group",
    "PrivateDL": "group",
    "GroupMailbox": "group",
    "Contact": "contact",
    "OneOff": "contact",
    "PublicFolder": "other",
}
_PERSONS: Final = {"Person": "mailbox", "Room": "room", "DistributionList": "group", "Modern Group": "group"}


class ResolveNames(Single):
    """Looks an address or a name up in the directory; one answer. An address is asked for with its prefix."""

    SERVICE_NAME = "ResolveNames"

    def ask(self, name: str) -> list[Answer]:
        return self._answers(
            element(
                "m:ResolveNames",
                element("m:UnresolvedEntry", text=name),
                ReturnFullContactData="true",
                SearchScope="ActiveDirectory",
                ContactDataShape="AllProperties",
            )
        )


class FindPeople(Single):
    """Lists the directory; one answer."""

    SERVICE_NAME = "FindPeople"

    def ask(self, directory: Place, offset: int, most: int, query: str | None = None) -> list[Answer]:
        fields = ("persona:DisplayName", "persona:EmailAddress", "persona:EmailAddresses", "persona:PersonaType")
        return self._answers(
            element(
                "m:FindPeople",
                element(
                    "m:PersonaShape",
                    element("t:BaseShape", text="IdOnly"),
                    element("t:AdditionalProperties", *(field(each) for each in fields)),
                ),
                element(
                    "m:IndexedPageItemView", MaxEntriesReturned=str(most), Offset=str(offset), BasePoint="Beginning"
                ),
                element("m:ParentFolderId", directory.element()),
                None if query is None else element("m:QueryString", text=query),
            )
        )


class _AsItself:
    """Asks as the service account itself, which impersonates nobody."""

    @property
    def _account_to_impersonate(self) -> None:
        return None


class ResolveNamesAsItself(_AsItself, ResolveNames):
    """ResolveNames, for an account that may read the directory."""


class FindPeopleAsItself(_AsItself, FindPeople):
    """FindPeople, for an account that has a mailbox."""


def read_resolutions(message: Element) -> list[Person]:
    """Return what a name was resolved to."""
    found = (_resolved(each) for each in message.iterfind(f"{M}ResolutionSet/{T}Resolution"))
    return [each for each in found if each is not None]


def _resolved(resolution: Element) -> Person | None:
    mailbox = resolution.find(f"{T}Mailbox")
    if mailbox is None:
        return None
    address = (mailbox.findtext(f"{T}EmailAddress") or "").strip()
    is_smtp = (mailbox.findtext(f"{T}RoutingType") or "SMTP").upper() == "SMTP"
    addresses = tuple(dict.fromkeys(_proxies(resolution)))
    smtp = address if is_smtp else next((_value(each) for each in addresses if each.startswith("SMTP:")), "")
    if not smtp:
        smtp = next((_value(each) for each in addresses if each.startswith("smtp:")), "")
    if not smtp and is_smtp is False and not address:
        return None
    return Person(
        name=mailbox.findtext(f"{T}Name") or "",
        smtp=smtp,
        addresses=addresses,
        legacy_dn=None if is_smtp else address or None,
        kind=_KINDS.get(mailbox.findtext(f"{T}MailboxType") or "Mailbox", "other"),
    )


def _proxies(resolution: Element) -> Iterator[str]:
    """Addresses as the directory keeps them: SMTP: the first, smtp: the others, X500: old ones."""
    for entry in resolution.iterfind(f"{T}Contact/{T}EmailAddresses/{T}Entry"):
        text = (entry.text or "").strip()
        if text:
            yield text if ":" in text.split("@", 1)[0] else f"SMTP:{text}"


def _value(proxy: str) -> str:
    return proxy.partition(":")[2]


def read_people(message: Element) -> list[Person]:
    """Return a part of the directory."""
    return [person for each in message.iterfind(f"{M}People/{T}Persona") if (person := _persona(each)) is not None]


def read_total(message: Element) -> int:
    """Return how many there are in all; 0 where the server doesn't say."""
    text = message.findtext(f"{M}TotalNumberOfPeopleInView") or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0


def _persona(persona: Element) -> Person | None:
    smtp: list[str] = []
    legacy: str | None = None
    kind = _PERSONS.get(persona.findtext(f"{T}PersonaType") or "Person", "other")
    for box in [*persona.iterfind(f"{T}EmailAddress"), *persona.iterfind(f"{T}EmailAddresses/{T}Address")]:
        address = (box.findtext(f"{T}EmailAddress") or "").strip()
        routing = (box.findtext(f"{T}RoutingType") or "SMTP").upper()
        if not address:
            continue
        if routing == "SMTP":
            smtp.append(address)
        elif routing == "EX":
            legacy = legacy or address
        told = box.findtext(f"{T}MailboxType")
        if told is not None and kind == "mailbox":
            kind = _KINDS.get(told, "other")
    if not smtp and legacy is None:
        return None
    return Person(
        name=persona.findtext(f"{T}DisplayName") or "",
        smtp=smtp[0] if smtp else "",
        addresses=tuple(
            dict.fromkeys(f"{'smtp' if n else 'SMTP'}:{each}" for n, each in enumerate(dict.fromkeys(smtp)))
        ),
        legacy_dn=legacy,
        kind=kind,
    )
