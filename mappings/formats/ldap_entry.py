"""LDAP entry: what an entry of a directory server says of a person, whether it comes from LDIF or from the server.

Taken are mail, proxyAddresses, mailAlternateAddress, mailLocalAddress, legacyExchangeDN, textEncodedORAddress,
targetAddress and mailRoutingAddress (where the directory sends mail on to), telephoneNumber, mobile,
facsimileTelephoneNumber, msRTCSIP-PrimaryUserAddress; of groups member, uniqueMember, rfc822MailMember,
mgrpRFC822MailMember, mgrpErrorsTo, managedBy and owner; names, company, department, title, uid, and the entry's
unique number. Attributes are known in any case, and with options such as `;lang-en` after them.
Source: RFC 4519, RFC 4524, RFC 2798; the inetLocalMailRecipient and mailGroup classes; [MS-ADA1] to [MS-ADA3].
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from mappings.formats import proxy
from mappings.formats.people import FIRST_CHOICE, LIKELY, Draft, People, guid
from mappings.identity import Kind
from mappings.tabular import quoted

_GROUPS: Final = frozenset(
    {
        "group",
        "groupofnames",
        "groupofuniquenames",
        "groupofmembers",
        "mailgroup",
        "nismailalias",
        "rfc822mailgroup",
        "distributionlist",
    }
)
_CONTACTS: Final = frozenset({"contact", "custom-recipient"})
_NAMES: Final = ("displayname", "cn", "name", "uid")
_ALIASES: Final = ("mailalternateaddress", "maillocaladdress", "mailequivalentaddress")
_TARGETS: Final = ("targetaddress", "mailroutingaddress")
_PHONES: Final = (
    ("tel", "telephonenumber", "tel"),
    ("tel", "mobile", "tel"),
    ("fax", "facsimiletelephonenumber", "fax"),
)
_FACTS: Final = (
    ("first", ("givenname",)),
    ("last", ("sn",)),
    ("company", ("company", "o")),
    ("department", ("department", "departmentnumber", "ou")),
    ("title", ("title",)),
    ("uid", ("uid", "samaccountname")),
    ("alias", ("mailnickname",)),
    ("upn", ("userprincipalname",)),
)
_REFS: Final = ("entryuuid", "objectguid", "nsuniqueid", "ipauniqueid", "guid")
_DN_MEMBERS: Final = ("member", "uniquemember")
_MAIL_MEMBERS: Final = ("rfc822mailmember", "mgrprfc822mailmember")
_GUID_OCTETS: Final = 16
_ROOM: Final = "7"
_EQUIPMENT: Final = "8"

Values = Mapping[str, Sequence[bytes]]
"""The values of an entry by the names of its attributes."""


def simplified(entry: Iterable[tuple[str, bytes]]) -> dict[str, list[bytes]]:
    """Return values by name in lower case, without the options after it."""
    found: dict[str, list[bytes]] = {}
    for name, value in entry:
        found.setdefault(name.partition(";")[0].lower(), []).append(value)
    return found


def take(people: People, line: int, dn: str, values: Values, encoding: str | None = None) -> Draft:
    """Make a draft of one entry. `values` have their names as `simplified` makes them.

    `encoding` is that of values that are not UTF-8.
    """
    return _Entry(people, people.draft(line), dn, values, encoding).read()


class _Entry:
    def __init__(self, people: People, draft: Draft, dn: str, values: Values, encoding: str | None) -> None:
        self._people = people
        self._draft = draft
        self._dn = dn
        self._values = values
        self._encoding = encoding

    def read(self) -> Draft:
        draft, networks = self._draft, self._people.networks
        self._people.named(self._dn, draft)
        draft.kind = self._kind()
        draft.name = self._first(*_NAMES) or " ".join((self._first("givenname"), self._first("sn")))
        for text in self._all("proxyaddresses"):
            proxy.take(draft, text, "proxyAddresses", networks)
        proxy.one_primary(draft, "proxyAddresses")
        for text in self._all("mail"):
            draft.add("smtp", _without_mailto(text), "mail", LIKELY)
        for name in _ALIASES:
            for text in self._all(name):
                draft.add("smtp", _without_mailto(text), name)
        draft.add("x500", self._first("legacyexchangedn"), "legacyExchangeDN", FIRST_CHOICE)
        for text in self._all("textencodedoraddress"):
            draft.add("x400", text, "textEncodedORAddress")
        draft.add("sip", self._first("msrtcsip-primaryuseraddress"), "msRTCSIP-PrimaryUserAddress")
        for name in _TARGETS:
            for text in self._all(name):
                proxy.target(draft, text, name, networks)
        for network, name, attribute in _PHONES:
            for text in self._all(name):
                draft.add_weak(network, text, attribute)
        for attribute, names in _FACTS:
            draft.attribute(attribute, self._first(*names))
        draft.attribute("dn", self._dn)
        draft.attribute("ref", self._ref())
        if draft.kind is Kind.GROUP:
            self._group()
        return draft

    def _group(self) -> None:
        draft = self._draft
        for name in _DN_MEMBERS:
            for dn in self._all(name):
                draft.member(dn, name, dn=True)
        for name in _MAIL_MEMBERS:
            for text in self._all(name):
                found = proxy.read(_without_mailto(text), self._people.networks)
                if isinstance(found, str):
                    draft.fault(name, f"{text[:200]!r}: {found}; the member is left out")
                else:
                    draft.members.append(found)
        for text in self._all("mgrperrorsto"):
            found = proxy.read(_without_mailto(text), self._people.networks)
            if isinstance(found, str):
                draft.fault("mgrpErrorsTo", f"{text[:200]!r}: {found}; the owner is left out")
            else:
                draft.owner = draft.owner or found
        for name in ("managedby", "owner"):
            for dn in self._all(name):
                draft.owned_by(dn)

    def _kind(self) -> Kind:
        classes = {text.lower() for text in self._all("objectclass")}
        shown_as = self._first("msexchrecipientdisplaytype")
        if classes & _GROUPS:
            return Kind.GROUP
        if "room" in classes or shown_as == _ROOM:
            return Kind.ROOM
        if "device" in classes or shown_as == _EQUIPMENT:
            return Kind.DEVICE
        return Kind.CONTACT if classes & _CONTACTS else Kind.PERSON

    def _ref(self) -> str:
        for name in _REFS:
            for value in self._values.get(name, ()):
                if name == "objectguid" and len(value) == _GUID_OCTETS:
                    return guid(f"X'{value.hex()}'")
                try:
                    return guid(value.decode())
                except UnicodeDecodeError:
                    return value.hex()
        return self._dn

    def _first(self, *names: str) -> str:
        for name in names:
            for text in self._all(name):
                return text
        return ""

    def _all(self, name: str) -> list[str]:
        """Return the texts of an attribute; a value that is no text is a fault of the person's entry."""
        found = []
        for value in self._values.get(name, ()):
            try:
                text = value.decode().strip()
            except UnicodeDecodeError:
                try:
                    text = value.decode(self._encoding or "ascii").strip()
                except UnicodeError:
                    self._draft.fault(name, f"{quoted(value)} is not UTF-8; it is left out")
                    continue
            if text:
                found.append(text)
        return found


def _without_mailto(text: str) -> str:
    return text[7:] if text[:7].lower() == "mailto:" else text
