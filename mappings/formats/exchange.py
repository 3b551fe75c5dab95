"""exchange: recipients of Exchange and Active Directory as CSV, from `Get-Recipient | Export-Csv` and from `csvde`.

Read are the columns of both, in any case and order: DisplayName or Name; PrimarySmtpAddress, EmailAddresses or
proxyAddresses (joined by `;`, by blanks as a plain Export-Csv does, or by `+`), mail, LegacyExchangeDN, also of
contacts; ExternalEmailAddress or targetAddress; RecipientType and RecipientTypeDetails or objectClass; Guid or
objectGUID, DistinguishedName or DN; Alias or mailNickname, FirstName, LastName, Company, Department, Title, Phone, Fax.
A `#TYPE` line is skipped. LegacyExchangeDN and `EX:` are the primary x500 address, `X500:` another one.

Written is one CSV of recipients, with the columns that `New-MailContact`, `New-MailUser` and their `Set-` commands
take from `Import-Csv`; `as = contacts` writes everybody as a contact that points at its address here.
Not carried: former addresses (they become aliases), times, homes and stages, members of groups.
Source: the Exchange documentation of these commands; the documentation of csvde.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from mappings.formats import Format, OptionError, Options, Reading, Written
from mappings.formats import proxy as proxies
from mappings.formats.columns import Row, columns
from mappings.formats.people import (
    ENCODING,
    FIRST_CHOICE,
    LIKELY,
    PHONES,
    Draft,
    Losses,
    People,
    check_options,
    guid,
    text_of,
    unreadable,
    yes_or_no,
)
from mappings.identity import Held, Identity, Kind, Role
from mappings.network import Registry
from mappings.rule import Rule
from mappings.tabular import Unreadable

_AS: Final = {"as": "contacts writes everybody as a mail contact; recipients, the default, as what they are"}
_FACTS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("first", ("firstname", "givenname")),
    ("last", ("lastname", "sn")),
    ("company", ("company",)),
    ("department", ("department",)),
    ("title", ("title",)),
    ("alias", ("alias", "mailnickname")),
    ("upn", ("userprincipalname",)),
    ("uid", ("samaccountname",)),
)
_REFS: Final = ("guid", "objectguid", "externaldirectoryobjectid")
_DNS: Final = ("distinguishedname", "dn")
_NAMES: Final = ("displayname", "name", "cn")
_ADDRESSES: Final = ("emailaddresses", "proxyaddresses")
_TARGETS: Final = ("externalemailaddress", "targetaddress")
_PHONES: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("tel", ("phone", "telephonenumber")),
    ("fax", ("fax", "facsimiletelephonenumber")),
)
_NUMBERED: Final = re.compile(r"(?<!\\);")
_GUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_NEEDED: Final = (
    "EmailAddresses",
    "PrimarySmtpAddress",
    "ExternalEmailAddress",
    "proxyAddresses",
    "targetAddress",
    "mail",
)

_TYPES: Final = {
    Kind.PERSON: ("UserMailbox", "UserMailbox"),
    Kind.GROUP: ("MailUniversalDistributionGroup", "MailUniversalDistributionGroup"),
    Kind.ROOM: ("UserMailbox", "RoomMailbox"),
    Kind.DEVICE: ("UserMailbox", "EquipmentMailbox"),
    Kind.CONTACT: ("MailContact", "MailContact"),
}
_WRITTEN: Final = (
    "Name",
    "DisplayName",
    "RecipientType",
    "RecipientTypeDetails",
    "Alias",
    "FirstName",
    "LastName",
    "Company",
    "Department",
    "Title",
    "PrimarySmtpAddress",
    "ExternalEmailAddress",
    "EmailAddresses",
    "LegacyExchangeDN",
    "Guid",
    "DistinguishedName",
    "UserPrincipalName",
    "SamAccountName",
    "Phone",
    "Fax",
)
_SINGLE: Final = ("first", "last", "company", "department", "title", "alias", "upn", "uid", "dn", "forward")
_CARRIED: Final = (*_SINGLE, "proxy", "tel", "fax")


class Exchange:
    """Recipients as CSV."""

    name = "exchange"
    suffixes: tuple[str, ...] = ()
    options: Mapping[str, str] = ENCODING | PHONES | _AS

    def read(self, octets: bytes, options: Options, networks: Registry) -> Reading:
        check_options(options, self.options, self.name)
        phones = yes_or_no(options, "phones", True)
        try:
            text = text_of(octets, options)
        except Unreadable as e:
            return unreadable(e)
        people = People(networks, phones=phones)
        for row in columns(text, people.problems, _NEEDED):
            _Recipient(people.draft(row.line), row, people).read()
        return people.reading()

    def write(
        self, identities: Iterable[Identity], options: Options, networks: Registry, rules: Sequence[Rule] = ()
    ) -> Written:
        check_options(options, self.options, self.name)
        kind_as = options.get("as", "recipients")
        if kind_as not in ("recipients", "contacts"):
            raise OptionError(f"the option as is recipients or contacts, not {kind_as!r}")
        losses = Losses()
        losses.of_rules(rules)
        out = io.StringIO(newline="")
        writer = csv.writer(out, lineterminator="\r\n", quoting=csv.QUOTE_ALL)
        writer.writerow(_WRITTEN)
        line = 1
        for identity in identities:
            line += 1
            row = [_writable(cell) for cell in _row(identity, kind_as == "contacts", networks, line, losses)]
            writer.writerow(row)
        # A byte order mark, since without it Windows PowerShell's Import-Csv takes UTF-8 for the system's code page.
        return Written(out.getvalue().encode("utf-8-sig"), losses.problems())


class _Recipient:
    """One row on its way to a draft."""

    def __init__(self, draft: Draft, row: Row, people: People) -> None:
        self._draft = draft
        self._text = row.text
        self._people = people

    def read(self) -> None:
        draft, networks = self._draft, self._people.networks
        draft.name = self._text(*_NAMES)
        draft.kind = self._kind()
        draft.add("smtp", self._text("primarysmtpaddress"), "PrimarySmtpAddress", FIRST_CHOICE)
        for name in _ADDRESSES:
            for text in proxies.split(self._text(name)):
                proxies.take(draft, text, "EmailAddresses", networks)
        draft.add("smtp", self._text("mail"), "mail", LIKELY)
        proxies.one_primary(draft, "EmailAddresses")
        draft.add("x500", self._text("legacyexchangedn"), "LegacyExchangeDN", FIRST_CHOICE)
        proxies.target(draft, self._text(*_TARGETS), "ExternalEmailAddress", networks)
        for network, headers in _PHONES:
            draft.add_weak(network, self._text(*headers), network)
        for attribute, headers in _FACTS:
            draft.attribute(attribute, self._text(*headers))
        dn = self._text(*_DNS)
        draft.attribute("dn", dn)
        draft.attribute("ref", guid(self._text(*_REFS)) or dn)
        if dn:
            self._people.named(dn, draft)
        if draft.kind is Kind.GROUP:
            for member in _NUMBERED.split(self._text("member", "members")):
                if member.strip():
                    draft.member(member.strip().replace("\\;", ";"), "", dn=True)
            if owner := self._text("managedby"):
                draft.owned_by(owner)

    def _kind(self) -> Kind:
        types = f"{self._text('recipienttype')} {self._text('recipienttypedetails')}".lower()
        classes = self._text("objectclass").lower().split(";")
        if "group" in types or "group" in classes:
            return Kind.GROUP
        if "room" in types or self._text("msexchrecipientdisplaytype") == "7":
            return Kind.ROOM
        if "equipment" in types or self._text("msexchrecipientdisplaytype") == "8":
            return Kind.DEVICE
        if "contact" in types or "contact" in classes or "guest" in types:
            return Kind.CONTACT
        return Kind.PERSON


def _row(identity: Identity, as_contact: bool, networks: Registry, line: int, losses: Losses) -> list[str]:
    ref = identity.attribute("ref") or ""
    dn = identity.attribute("dn") or ""
    losses.of(identity, line, _CARRIED)
    for name in _SINGLE:
        if sum(each == name for each, _ in identity.attributes) > 1:
            losses.add(line, name, "has several values, of which one is written")
    rest, numbers = proxies.without_numbers(identity, networks, each=1)
    for network, values in numbers.items():
        if len(values) > 1:
            losses.add(line, network, "has several values, of which one is written")
    smtp, x500 = identity.primary("smtp"), identity.primary("x500")
    target = identity.attribute("forward") or ""
    contact = as_contact or identity.kind is Kind.CONTACT
    written = proxies.write(rest, networks, line, "EmailAddresses", losses)
    if target:
        target = proxies.prefixed(target, networks)
    elif contact:
        target = next((proxies.of(h, networks) for h in (*identity.of("smtp"), *rest.addresses) if _is_primary(h)), "")
        if not target:
            losses.add(line, "ExternalEmailAddress", "there is no address that a contact can point at")
    types = _TYPES[Kind.CONTACT if as_contact else identity.kind]
    if as_contact and identity.kind is not Kind.CONTACT:
        losses.add(line, "RecipientType", "is written as a contact")
    facts = {name: identity.attribute(name) or "" for name in _SINGLE}
    return [
        identity.name,
        identity.name,
        *types,
        *(facts[name] for name in ("alias", "first", "last", "company", "department", "title")),
        smtp.value if smtp is not None else "",
        target,
        proxies.join(
            [part for part in written if x500 is None or part != f"X500:{x500.value}"], line, "EmailAddresses", losses
        ),
        x500.value if x500 is not None else "",
        ref if _GUID.fullmatch(ref) else "",
        dn,
        facts["upn"],
        facts["uid"],
        *(numbers[network][0] if numbers[network] else "" for network in ("tel", "fax")),
    ]


def _is_primary(held: Held) -> bool:
    return held.role is Role.PRIMARY


def _writable(cell: str) -> str:
    return cell.encode("utf-8", "replace").decode()


FORMATS: Final[tuple[Format, ...]] = (Exchange(),)
