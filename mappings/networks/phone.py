"""tel, fax, sms: telephone numbers and what they are called for, `+3585551234`, `+3585551234;t33s=1387`.

Promises: a number is kept as E.164 writes it, `+` and 7 to 15 digits, whatever signs parted them; the same number
has the same address, and what is added to it stands in one order. A number that only dials inside a country or a
house is refused, unless the country is configured. Read are the forms of a tel URI and of an internet mailbox
(`FAX=+358.5.551234/T33S=1387`). Parameters that change nothing of who is called, such as a name for the cover page,
are left out; those that must be understood are refused.
Source: RFC 3966 (tel URI), RFC 3191 (a number in a mailbox), RFC 3192 (FAX, T33S), RFC 2846 (ISUB), ITU-T E.164.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final

from mappings.network import Address, AddressError, Network, clean
from mappings.networks.smtp import unquote

_SEPARATORS: Final = re.compile(r"[-. ()]+")
_PARTS: Final = re.compile(r"[;/]")
_DIGITS: Final = re.compile(r"[0-9]+")
_DIALLED_ZERO: Final = re.compile(r"\( *0+ *\)")
_MIN_DIGITS: Final = 7
_MAX_DIGITS: Final = 15
_ADDED_DIGITS: Final = 40
_NUMBER_DIGITS: Final = 8
_SYNONYMS: Final = {"isub": "sub"}
_MAIL_KEYWORDS: Final = {"sub": "ISUB", "t33s": "T33S"}


class _Telephone(Network):
    """The reader that all services of the telephone network share.

    `country` is the calling code that local numbers are completed by, and `trunk` what is dialled before them
    inside that country and left out from abroad.
    """

    selector: ClassVar[str]
    """How a mailbox names the service."""
    added: ClassVar[tuple[str, ...]] = ("ext", "sub")
    """What an address may add to the number, in the order it is written."""
    numbered_by: ClassVar[str] = "sub"
    """What carries the number of a correspondent behind the gateway's own line."""
    takes_name: ClassVar[bool] = False
    """Whether `name@number` is read, the name left out."""

    def __init__(self, country: str | None = None, trunk: str = "0") -> None:
        self._country = country
        self._trunk = trunk

    def parse(self, text: str) -> Address:
        value = clean(text)
        start = value.rfind("@") + 1
        if start and not (self.takes_name and value.startswith("+", start)):
            raise self._error("domain", value, start - 1, "leave the @ and the domain out")
        whole = value
        value = value[start:]
        if value.startswith("/"):
            start, value = start + 1, value[1:]
        first, *rest = _PARTS.split(value)
        selector, sign, number = first.partition("=")
        if not sign:
            number = first
        elif selector.strip().upper() != self.selector:
            message = f"write {self.selector}= or the number alone; {selector.strip()[:32]!r} is another service"
            raise self._error("service", whole, start, message)
        made = self._number(number, whole, start + len(first) - len(number))
        added: dict[str, str] = {}
        at = start + len(first) + 1
        for part in rest:
            self._add(part, added, whole, at)
            at += len(part) + 1
        made += "".join(f";{key}={added[key]}" for key in self.added if key in added)
        return Address(self.name, made, made)

    def at_gateway(self, address: Address, domain: str) -> str | None:
        number, *rest = address.value.split(";")
        local = f"{self.selector}={number}"
        for part in rest:
            key, _, digits = part.partition("=")
            if key not in _MAIL_KEYWORDS:  # no keyword for an extension is registered
                return None
            local += f"/{_MAIL_KEYWORDS[key]}={digits}"
        return f"{local}@{domain}"

    def from_gateway(self, local: str, below: str) -> Address | None:
        text = unquote(local)
        if below or not text.lstrip("/").upper().startswith(f"{self.selector}="):
            return None
        try:
            return self.parse(text)
        except AddressError:
            return None

    def numbered(self, gate: Address, number: int) -> Address | None:
        if gate.network != self.name or f";{self.numbered_by}=" in gate.value:
            return None
        return self.parse(f"{gate.value};{self.numbered_by}={number:08d}")

    def number_of(self, gate: Address, address: Address) -> int | None:
        line, sign, digits = address.value.rpartition(f";{self.numbered_by}=")
        if not sign or line != gate.value or len(digits) != _NUMBER_DIGITS:
            return None
        return int(digits)

    def _number(self, text: str, whole: str, at: int) -> str:
        number = text.strip()
        for i, c in enumerate(text):
            if c.isalpha():
                raise self._error("letters", whole, at + i, "write the number in digits")
            if c not in "0123456789-. ()" and not (c == "+" and text[:i].strip() == ""):
                raise self._error("bad-char", whole, at + i, "a number has digits, and blanks - . ( ) between them")
        if _DIALLED_ZERO.search(number) and number.startswith("+"):
            raise self._error("trunk-zero", whole, at, "leave out (0): it is not dialled after the country's code")
        digits = _SEPARATORS.sub("", number).removeprefix("+")
        if not number.startswith("+"):
            national = digits.removeprefix(self._trunk)
            if self._country is None or not national or national.startswith("0"):
                message = "write the number with + and the country's code, as in +3585551234"
                raise self._error("local-number", whole, at, message)
            digits = self._country + national
        if len(digits) < _MIN_DIGITS:
            raise self._error("too-short", whole, at, f"a number has at least {_MIN_DIGITS} digits with its country")
        if len(digits) > _MAX_DIGITS:
            raise self._error("too-long", whole, at, f"a number has at most {_MAX_DIGITS} digits with its country")
        if digits.startswith("0"):
            raise self._error("no-country", whole, at, "no country's code begins with 0")
        return f"+{digits}"

    def _add(self, part: str, added: dict[str, str], whole: str, at: int) -> None:
        """Read one parameter; leave out what does not change who is called."""
        if not part.strip():
            return
        key, _, text = part.partition("=")
        key = key.strip().lower()
        key = _SYNONYMS.get(key, key)
        if key.startswith("m-"):  # RFC 3966 §5.3
            raise self._error("parameter", whole, at, f"{key[:32]!r} must be understood, and is not known here")
        if key not in self.added:
            return
        digits = _SEPARATORS.sub("", text)
        if len(digits) > _ADDED_DIGITS or not _DIGITS.fullmatch(digits):
            raise self._error(f"{key}-digits", whole, at, f"what follows {key} is 1 to {_ADDED_DIGITS} digits")
        if key in added:
            raise self._error(f"{key}-twice", whole, at, f"write one address for each {key}")
        added[key] = digits

    def _error(self, rule: str, text: str, at: int, message: str) -> AddressError:
        return AddressError(f"{self.name}.{rule}", text, at, message)


class Tel(_Telephone):
    """Voice telephones."""

    name = "tel"
    imcea_type = "TEL"
    selector = "VOICE"


class Fax(_Telephone):
    """Facsimile machines, perhaps with the sub-address of a mailbox behind one."""

    name = "fax"
    imcea_type = "FAX"
    selector = "FAX"
    added = ("ext", "sub", "t33s")
    numbered_by = "t33s"
    takes_name = True


class Sms(_Telephone):
    """Short messages to telephones."""

    name = "sms"
    imcea_type = "SMS"
    selector = "SMS"
