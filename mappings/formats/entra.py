"""entra: users of Microsoft Entra ID and Microsoft 365, as their admin centers download them. It is read only.

Two CSV files are known by their columns: that of Entra (userPrincipalName, displayName, mail, objectId, userType, …)
and that of Microsoft 365 (`User principal name`, `Display name`, `Object Id`, `Proxy addresses` joined by `+`).
A user principal name is a name to sign in with, and no address, unless the file has no other column of addresses:
then it is taken for one. Guests become contacts, known by the address that they were invited by.
Source: Microsoft Learn, "Download a list of users"; the Microsoft 365 admin center's export of active users.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mappings.formats import Format, Options, Reading, proxy
from mappings.formats.columns import Row, columns
from mappings.formats.people import (
    ANY,
    ENCODING,
    LIKELY,
    PHONES,
    Draft,
    People,
    check_options,
    text_of,
    unreadable,
    yes_or_no,
)
from mappings.identity import Kind
from mappings.network import Registry
from mappings.tabular import Unreadable

_UPN: Final = ("userprincipalname", "user principal name")
_MAIL: Final = ("mail", "email")
_PROXIES: Final = ("proxyaddresses", "proxy addresses")
_GUEST: Final = "#ext#"
_FACTS: Final = (
    ("first", ("givenname", "first name")),
    ("last", ("surname", "last name")),
    ("company", ("companyname", "company name")),
    ("department", ("department",)),
    ("title", ("jobtitle", "title")),
)
_PHONES: Final = (
    ("tel", ("telephonenumber", "businessphones", "phone number", "office phone")),
    ("tel", ("mobile", "mobilephone", "mobile phone")),
    ("fax", ("facsimiletelephonenumber", "fax")),
)


class Entra:
    """Entra and Microsoft 365 users as CSV."""

    name = "entra"
    suffixes: tuple[str, ...] = ()
    options: Mapping[str, str] = ENCODING | PHONES
    write = None

    def read(self, octets: bytes, options: Options, networks: Registry) -> Reading:
        check_options(options, self.options, self.name)
        people = People(networks, phones=yes_or_no(options, "phones", True))
        try:
            text = text_of(octets, options)
        except Unreadable as e:
            return unreadable(e)
        for row in columns(text, people.problems, ("userPrincipalName", "User principal name", "mail")):
            _read(row, people.draft(row.line), networks, upn_alone=not row.has(*_MAIL, *_PROXIES))
        return people.reading()


def _read(row: Row, draft: Draft, networks: Registry, *, upn_alone: bool) -> None:
    upn = row.text(*_UPN)
    is_guest = row.text("usertype", "user type").lower() == "guest" or _GUEST in upn.lower()
    draft.name = row.text("displayname", "display name")
    draft.kind = Kind.CONTACT if is_guest else Kind.PERSON
    for text in proxy.split(row.text(*_PROXIES)):
        # What a tenant writes for a guest is a mailbox that is not there.
        if not (is_guest and _GUEST in text.lower()):
            proxy.take(draft, text, "Proxy addresses", networks)
    proxy.one_primary(draft, "Proxy addresses")
    draft.add("smtp", row.text(*_MAIL), "mail", LIKELY)
    if upn_alone and not is_guest:
        draft.add("smtp", upn, "userPrincipalName", ANY)
    for network, names in _PHONES:
        draft.add_weak(network, row.text(*names), network)
    for attribute, headers in _FACTS:
        draft.attribute(attribute, row.text(*headers))
    draft.attribute("upn", upn)
    draft.attribute("ref", row.text("objectid", "object id", "id"))


FORMATS: Final[tuple[Format, ...]] = (Entra(),)
