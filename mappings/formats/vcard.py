"""vcard: address book cards, versions 2.1, 3.0 and 4.0.

Taken are FN, N, EMAIL (of TYPE=X400 too), TEL (of TYPE=FAX too), IMPP, X-JABBER, X-SIP, ORG, TITLE, UID, KIND and
MEMBER. An address that is marked as preferred is the primary, else the first.
Written is 3.0, or with the option `version` 4.0, which says of a card that it is a group, a room or a device. What a
vCard has no property for is written in X-GATEPOST-ADDRESS, with the network in front: other programs pass over it.
Not carried: times, homes and stages; kinds in 3.0, except groups.
Source: RFC 6350, RFC 2426, RFC 4770 (IMPP), RFC 6869 (devices), vCard 2.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import quote, unquote

from mappings.address import Address, AddressError
from mappings.formats import Format, OptionError, Options, Reading, Written
from mappings.formats.people import (
    ENCODING,
    PHONES,
    Draft,
    Losses,
    People,
    check_options,
    encoding_of,
    unreadable,
    yes_or_no,
)
from mappings.formats.vcard_lines import Card, Property, cards, escaped, folded
from mappings.identity import Held, Identity, Kind, Role
from mappings.network import Registry
from mappings.rule import Rule
from mappings.tabular import Unreadable

_VERSION: Final = {"version": "3.0, the default, or 4.0: what is written"}
_KINDS: Final = {"group": Kind.GROUP, "location": Kind.ROOM, "device": Kind.DEVICE}
_KIND_WORDS: Final = {kind: word for word, kind in _KINDS.items()}
_ADDRESS: Final = "X-GATEPOST-ADDRESS"
_MEMBER: Final = "X-GATEPOST-MEMBER"
_PROXY: Final = "X-GATEPOST-PROXY"
_UUID: Final = "urn:uuid:"
_URIS: Final = {"mailto": "smtp", "xmpp": "xmpp", "sip": "sip", "tel": "tel"}
_SCHEMES: Final = {network: scheme for scheme, network in _URIS.items()}
_OLD_MAIL: Final = frozenset(
    {"aol", "applelink", "attmail", "cis", "eworld", "ibmmail", "mcimail", "powershare", "prodigy", "tlx"}
)
_SAFE: Final = "@/!$&'()*+,;=:~"


class Vcard:
    """vCards."""

    name = "vcard"
    suffixes = (".vcf", ".vcard")
    options: Mapping[str, str] = ENCODING | PHONES | _VERSION

    def read(self, octets: bytes, options: Options, networks: Registry) -> Reading:
        check_options(options, self.options, self.name)
        people = People(networks, phones=yes_or_no(options, "phones", True))
        encoding = encoding_of(options)
        try:
            for card in cards(octets, people.problems, encoding):
                _Card(card, people).read()
        except Unreadable as e:
            return unreadable(e)
        return people.reading()

    def write(
        self, identities: Iterable[Identity], options: Options, networks: Registry, rules: Sequence[Rule] = ()
    ) -> Written:
        check_options(options, self.options, self.name)
        version = options.get("version", "3.0")
        if version not in ("3.0", "4.0"):
            raise OptionError(f"the option version is 3.0 or 4.0, not {version!r}")
        made = _Writer(version, networks)
        made.losses.of_rules(rules)
        for identity in identities:
            made.card(identity)
        return Written(b"".join(made.out), made.losses.problems())


class _Card:
    """One card on its way to a draft."""

    def __init__(self, card: Card, people: People) -> None:
        self._properties = card.properties
        self._people = people
        self._draft: Draft = people.draft(card.line)

    def read(self) -> None:
        draft = self._draft
        draft.name = self._name()
        for prop in sorted(self._properties, key=Property.preference):
            self._address(prop)
        for prop in self._properties:
            match prop.name:
                case "KIND" | "X-ADDRESSBOOKSERVER-KIND":
                    draft.kind = _KINDS.get(prop.text().strip().lower(), Kind.PERSON)
                case "UID":
                    uid = prop.text().strip()
                    draft.attribute("ref", uid)
                    self._people.named(_bare(uid), draft)
                case "ORG":
                    for attribute, part in zip(("company", "department"), prop.parts(), strict=False):
                        draft.attribute(attribute, part)
                case "TITLE":
                    draft.attribute("title", prop.text())
                case "N":
                    for attribute, part in zip(("last", "first"), prop.parts(), strict=False):
                        draft.attribute(attribute, part)
                case name if name == _PROXY:
                    draft.attribute("proxy", prop.text())
        if draft.kind is Kind.GROUP:
            for prop in self._properties:
                self._member(prop)

    def _name(self) -> str:
        for wanted in ("FN", "N", "NICKNAME", "ORG"):
            for prop in self._properties:
                if prop.name != wanted:
                    continue
                parts = prop.parts() if wanted == "N" else []
                text = " ".join(part for part in (*parts[1:2], *parts[:1]) if part) if parts else prop.text()
                if text.strip():
                    return text.strip()
        return ""

    def _address(self, prop: Property) -> None:
        text = prop.text().strip()
        match prop.name:
            case "EMAIL":
                self._email(text, prop)
            case "TEL":
                number = text[4:] if text[:4].lower() == "tel:" else text
                types = prop.types()
                network = "fax" if "fax" in types and "voice" not in types else "tel"
                self._draft.add_weak(network, number, network)
            case "IMPP":
                scheme, _, rest = text.partition(":")
                network = _URIS.get(scheme.lower(), "")
                if network in ("xmpp", "sip"):
                    self._draft.add(network, unquote(rest), prop.name)
                else:
                    self._draft.attribute("impp", text)
            case "X-JABBER" | "X-SIP":
                self._draft.add("xmpp" if prop.name == "X-JABBER" else "sip", text, prop.name)
            case name if name == _ADDRESS:
                self._own(text, prop)

    def _email(self, text: str, prop: Property) -> None:
        types = prop.types()
        old = sorted(types & _OLD_MAIL)
        if "x400" in types:
            self._draft.add("x400", text, prop.name)
        elif old:
            self._draft.attribute("proxy", f"{old[0].upper()}:{text}")
        else:
            self._draft.add("smtp", unquote(text[7:]) if text[:7].lower() == "mailto:" else text, prop.name)

    def _own(self, text: str, prop: Property) -> None:
        try:
            address = self._people.networks.parse(text)
        except AddressError as e:
            self._draft.fault(prop.name, f"{text[:200]!r}: {e.message} [{e.rule}]; the address is left out")
            return
        former = "former" in prop.types()
        self._draft.claim(address, role=Role.FORMER if former else None)

    def _member(self, prop: Property) -> None:
        text = prop.text().strip()
        if prop.name == _MEMBER:
            self._draft.member(text, _MEMBER)
        elif prop.name in ("MEMBER", "X-ADDRESSBOOKSERVER-MEMBER"):
            scheme, _, rest = text.partition(":")
            network = _URIS.get(scheme.lower())
            if network is not None:
                self._draft.member(f"{network}:{unquote(rest)}", prop.name)
            else:
                self._draft.member(_bare(text), prop.name, dn=True)


def _bare(uid: str) -> str:
    return uid[len(_UUID) :] if uid.lower().startswith(_UUID) else uid


class _Writer:
    """Writes cards, one after the other."""

    def __init__(self, version: str, networks: Registry) -> None:
        self.out: list[bytes] = []
        self.losses = Losses()
        self._version = version
        self._is_4 = version == "4.0"
        self._networks = networks
        self._line = 0

    def card(self, identity: Identity) -> None:
        line = self._line + 1
        carried = {"first", "last", "company", "department", "title", "tel", "fax", "impp", "proxy", "members"}
        self.losses.of(identity, line, carried)
        if identity.kind is Kind.CONTACT or (identity.kind in (Kind.ROOM, Kind.DEVICE) and not self._is_4):
            self.losses.add(line, "kind", f"{identity.kind.value} is not carried by version {self._version}")
        self._put("BEGIN:VCARD")
        self._put(f"VERSION:{self._version}")
        self._put(f"FN:{escaped(identity.name)}")
        last, first = (self._one(identity, name, line) for name in ("last", "first"))
        self._put(f"N:{escaped(last)};{escaped(first)};;;")
        ref = identity.attribute("ref")
        if ref is not None:
            self._put(f"UID:{escaped(ref)}")
        company, department = (self._one(identity, name, line) for name in ("company", "department"))
        if company or department:
            self._put(f"ORG:{escaped(company)}" + (f";{escaped(department)}" if department else ""))
        if title := self._one(identity, "title", line):
            self._put(f"TITLE:{escaped(title)}")
        order = {Role.PRIMARY: 0, Role.ALIAS: 1, Role.FORMER: 2}
        for held in sorted(identity.addresses, key=lambda h: order[h.role]):
            self._address(held)
        for name, value in identity.attributes:
            if name in ("tel", "fax"):
                self._put(f"TEL;TYPE={'FAX' if name == 'fax' else 'VOICE'}:{escaped(value)}")
            elif name in ("impp", "proxy"):
                self._put(f"{'IMPP' if name == 'impp' else _PROXY}:{escaped(value)}")
        self._kind(identity)
        self._put("END:VCARD")

    def _one(self, identity: Identity, attribute: str, line: int) -> str:
        values = [value for name, value in identity.attributes if name == attribute]
        if len(values) > 1:
            self.losses.add(line, attribute, "has several values, of which one is written")
        return values[0] if values else ""

    def _address(self, held: Held) -> None:
        network, value = held.address.network, held.address.value
        preferred = held.role is Role.PRIMARY
        if held.role is Role.FORMER:
            self._put(f"{_ADDRESS};TYPE=former:{escaped(str(held.address))}")
        elif network == "smtp":
            self._put(f"{self._typed('EMAIL', '' if self._is_4 else 'INTERNET', preferred)}:{escaped(value)}")
        elif network == "x400":
            self._put(f"{self._typed('EMAIL', 'X400', preferred)}:{escaped(value)}")
        elif network in ("tel", "fax") and self._networks.is_installed(network):
            word = "FAX" if network == "fax" else "VOICE"
            self._put(f"{self._typed('TEL', word, preferred)}:{escaped(value)}")
        elif network in ("xmpp", "sip"):
            self._put(f"{self._typed('IMPP', '', preferred)}:{network}:{quote(value, safe=_SAFE)}")
        else:
            self._put(f"{self._typed(_ADDRESS, '', preferred)}:{escaped(str(held.address))}")

    def _typed(self, name: str, word: str, preferred: bool) -> str:
        """Return a property's name with its type and preference, as the version has them."""
        if self._is_4:
            return name + (f";TYPE={word}" if word else "") + (";PREF=1" if preferred else "")
        types = [each for each in (word, "PREF" if preferred else "") if each]
        return f"{name};TYPE={','.join(types)}" if types else name

    def _kind(self, identity: Identity) -> None:
        word = _KIND_WORDS.get(identity.kind)
        if self._is_4:
            self._put(f"KIND:{word or 'individual'}")
        elif identity.kind is Kind.GROUP:
            self._put("X-ADDRESSBOOKSERVER-KIND:group")
        for member in identity.members:
            self._put(self._member_line(member))

    def _member_line(self, member: Address) -> str:
        scheme = _SCHEMES.get(member.network)
        if self._is_4 and scheme is not None:
            return f"MEMBER:{scheme}:{quote(member.value, safe=_SAFE)}"
        return f"{_MEMBER}:{escaped(str(member))}"

    def _put(self, line: str) -> None:
        octets, lines = folded(line)
        self.out.append(octets)
        self._line += lines


FORMATS: Final[tuple[Format, ...]] = (Vcard(),)
