"""The directory: ResolveNames, ExpandDL, FindPeople ([MS-OXWSRSLNM], [MS-OXWSDLIST], [MS-OXWSPERS])."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.peers.ews import ids, shapes
from tests.peers.ews.call import Call, Payload
from tests.peers.ews.soap import Element, ItemError, M, SoapFault, T, element, failure, response, success, truth, under
from tests.peers.ews.store import Person

_MOST: Final = 100


def resolve_names(call: Call) -> Element:
    wanted = (call.need("m:UnresolvedEntry").text or "").strip()
    full = truth(call.body.get("ReturnFullContactData"))
    if call.refused:
        call.codes = (call.refused,)
        return response(call.operation, [failure(call.operation, ItemError(call.refused))])
    found = [each for each in call.store.people(call.domain) if _matches(each, wanted)]
    if not found:
        call.codes = ("ErrorNameResolutionNoResults",)
        raised = ItemError("ErrorNameResolutionNoResults", "No results were found.")
        return response(call.operation, [failure(call.operation, raised)])
    shown = found[:_MOST]
    made = element(
        f"{M}ResolutionSet",
        TotalItemsInView=str(len(shown)),
        IncludesLastItemInRange="true" if len(shown) == len(found) else "false",
    )
    for each in shown:
        parts = [_mailbox(each), _contact(each) if full else None]
        made.append(under(element(f"{T}Resolution"), parts))
    if len(found) == 1:
        call.codes = ("NoError",)
        return response(call.operation, [success(call.operation, made)])
    call.codes = ("ErrorNameResolutionMultipleResults",)
    raised = ItemError("ErrorNameResolutionMultipleResults", "Multiple results were found.")
    return response(call.operation, [failure(call.operation, raised, made, warning=True)])


def _matches(person: Person, wanted: str) -> bool:
    text = wanted.lower()
    if text.startswith(("smtp:", "x500:", "/o=")) or "@" in text:
        bare = text if text.startswith(("smtp:", "x500:")) else f"{'x500' if text.startswith('/') else 'smtp'}:{text}"
        known = [each.lower() for each in person.proxies]
        return bare in known or text in (person.legacy_dn.lower(), person.address)
    words = person.name.lower().split()
    starts = [person.name.lower(), person.address, *words]
    return any(each.startswith(text) for each in starts)


def _mailbox(person: Person, tag: str = f"{T}Mailbox") -> Element:
    parts = (
        ("Name", person.name),
        ("EmailAddress", person.address),
        ("RoutingType", "SMTP"),
        ("MailboxType", person.kind),
    )
    return under(element(tag), [element(f"{T}{each}", value) for each, value in parts])


def _contact(person: Person) -> Element:
    addresses = element(f"{T}EmailAddresses")
    for number, each in enumerate(person.proxies[:3], 1):
        addresses.append(element(f"{T}Entry", each, Key=f"EmailAddress{number}"))
    first, _, last = person.name.partition(" ")
    made = {
        "DisplayName": element(f"{T}DisplayName", person.name),
        "GivenName": element(f"{T}GivenName", first),
        "EmailAddresses": addresses,
        "ContactSource": element(f"{T}ContactSource", "ActiveDirectory"),
        "Alias": element(f"{T}Alias", person.address.partition("@")[0]),
    }
    if last:
        made["Surname"] = element(f"{T}Surname", last)
    return shapes.in_order("Contact", "ContactItemType", made)


def expand_dl(call: Call) -> Element:
    def expanded(mailbox: Element) -> Payload:
        address = mailbox.findtext(f"{T}EmailAddress") or ""
        known = {each.address: each for each in call.store.people(call.domain)}
        group = known.get(address.lower())
        if group is None or group.kind != "PublicDL":
            raise ItemError("ErrorNameResolutionNoResults", "No results were found.")
        members = [known.get(each.lower()) or Person(each, each, "OneOff", "", ()) for each in group.members]
        last = "true"
        total = str(len(members))
        made = element(f"{M}DLExpansion", TotalItemsInView=total, IncludesLastItemInRange=last)
        return (under(made, [_mailbox(each) for each in members]),)

    return call.answer([call.need("m:Mailbox")], expanded)


def find_people(call: Call) -> Element:
    """Page through the directory, or what its entries begin with: there is one answer, not one for each part."""
    view = call.need("m:IndexedPageItemView")
    wanted = call.find("m:QueryString")
    source = call.find("m:ParentFolderId")
    if source is None or source[0].get("Id") not in ("directory", "contacts"):
        raise SoapFault("ErrorInvalidOperation", "FindPeople is served for the directory")
    made = element(f"{M}FindPeopleResponse")
    if call.refused:
        call.codes = (call.refused,)
        return under(
            element(f"{M}FindPeopleResponse", ResponseClass="Error"),
            [element(f"{M}MessageText", call.refused), element(f"{M}ResponseCode", call.refused)],
        )
    found = call.store.people(call.domain) if source[0].get("Id") == "directory" else []
    if wanted is not None and (wanted.text or "").strip():
        found = [each for each in found if _matches(each, (wanted.text or "").strip())]
    start, most = int(view.get("Offset", "0")), min(1000, int(view.get("MaxEntriesReturned") or 1000))
    people = element(f"{M}People")
    for number, each in enumerate(found[start : start + most], start):
        people.append(_persona(each, number))
    made.set("ResponseClass", "Success")
    call.codes = ("NoError",)
    return under(
        made,
        [
            element(f"{M}ResponseCode", "NoError"),
            people,
            element(f"{M}TotalNumberOfPeopleInView", len(found)),
            element(f"{M}FirstMatchingRowIndex", "0"),
            element(f"{M}FirstLoadedRowIndex", start),
        ],
    )


def _persona(person: Person, number: int) -> Element:
    kinds = {"PublicDL": "DistributionList"}
    addresses = under(element(f"{T}EmailAddresses"), [_mailbox(person, f"{T}Address")])
    made = {
        "PersonaId": element(f"{T}PersonaId", Id=ids.identifier("persona", number)),
        "PersonaType": element(f"{T}PersonaType", kinds.get(person.kind, "Person")),
        "DisplayName": element(f"{T}DisplayName", person.name),
        "EmailAddress": _mailbox(person, f"{T}EmailAddress"),
        "EmailAddresses": addresses,
    }
    return shapes.in_order("Persona", "PersonaType", made)


HANDLERS: Final[dict[str, Callable[[Call], Element]]] = {
    "ResolveNames": resolve_names,
    "ExpandDL": expand_dl,
    "FindPeople": find_people,
}
