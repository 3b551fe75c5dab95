r"""ldap: distinguished names of directories, `cn=Ann Lee,ou=Sales,dc=acme,dc=example`.

Promises: the names of attributes are kept in lower case, blanks around separators are removed, parts of one level
stand in the order of their attributes, and only what must be escaped is. Compares without case and with blanks
folded. The older forms with `;` between the levels, with a value in quotes and with `OID.` are read.
A name is who somebody is, seldom where mail goes, so nothing is reached through it.
Source: RFC 4514 §2-§4, RFC 2253 §4 (older forms), RFC 4518 §2.6 (insignificant blanks).
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final, NamedTuple

from mappings.network import Address, AddressError, Network, clean

_ATTRIBUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)+")
_OID_PREFIX: Final = re.compile(r"oid\.(?=[0-9])", re.IGNORECASE | re.ASCII)
_BLANKS: Final = re.compile(" +")
_HEX_STRING: Final = re.compile(r"#(?:[0-9A-Fa-f]{2})+")
_HEX_PAIRS: Final = re.compile(r"(?:\\[0-9A-Fa-f]{2})+")
_SIGN: Final = re.compile("[=,;+]")
_ENDS: Final = ("", ",", ";", "+")
_PLAIN: Final = re.compile(r"[^\\\",+;<>]+")
_QUOTED_PLAIN: Final = re.compile(r"[^\\\"]+")
_ESCAPABLE: Final = frozenset(' "#+,;<=>\\')
# RFC 4514 lets = stand in a value; many readers do not.
_MUST_ESCAPE: Final = frozenset('"+,;<=>\\')


class Ldap(Network):
    """Distinguished names."""

    name = "ldap"
    imcea_type = "LDAP"

    def parse(self, text: str) -> Address:
        value = clean(text)
        if _ends_in_escape(value) and text[len(text.rstrip(" \t")) :].startswith(" "):
            value += " "  # the escaped blank that ends the last value
        levels = _Reader(value).levels()
        made = ",".join("+".join(f"{part.attribute}={part.written}" for part in level) for level in levels)
        key = ",".join("+".join(f"{part.attribute}={part.key}" for part in level) for level in levels)
        return Address("ldap", clean(made), key)


class _Part(NamedTuple):
    """One attribute with its value as it is written and as it compares, both escaped. Sorts by what compares first."""

    attribute: str
    key: str
    written: str


class _Reader:
    """Reads a name from its start; `at` is how far it has come."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def levels(self) -> list[list[_Part]]:
        """Return the levels from the lowest to the top, the parts of each sorted."""
        levels: list[list[_Part]] = []
        while self._at <= len(self._text):
            level = [self._part()]
            while self._sign() == "+":
                level.append(self._part())
            levels.append(sorted(level))
        return levels

    def _next(self) -> str:
        """Return the next character, "" at the end."""
        return self._text[self._at : self._at + 1]

    def _sign(self) -> str:
        """Step over the sign between two parts and return it, "" at the end."""
        sign = self._next()
        self._at += 1
        return sign

    def _part(self) -> _Part:
        start = self._at
        sign = _SIGN.search(self._text, start)
        self._at = len(self._text) if sign is None else sign.start()
        name = self._text[start : self._at].strip(" ")
        if not name and not self._next() and start and self._text[start - 1] in ",;":
            raise self._error("trailing-comma", start - 1, "take the last comma out, or write what follows it")
        if not name and self._next() != "=":
            raise self._error("empty-rdn", start, "there is nothing here; write attribute=value")
        if self._next() != "=":
            raise self._error("no-attribute", start, "write attribute=value, as in cn=Ann Lee")
        self._at += 1
        attribute = _OID_PREFIX.sub("", name).lower()
        if not _ATTRIBUTE.fullmatch(attribute):
            raise self._error("no-attribute", start, "before the = stands an attribute, such as cn, ou or dc")
        self._skip_blanks()
        if self._next() == "#":
            octets = self._hex_string()
            return _Part(attribute, octets, octets)
        value = unicodedata.normalize("NFC", self._quoted() if self._next() == '"' else self._plain())
        folded = _BLANKS.sub(" ", value).strip(" ").casefold()
        return _Part(attribute, _escaped(unicodedata.normalize("NFC", folded)), _escaped(value))

    def _skip_blanks(self) -> None:
        while self._next() == " ":
            self._at += 1

    def _plain(self) -> str:
        pieces: list[str] = []
        while self._next() not in _ENDS:
            plain = _PLAIN.match(self._text, self._at)
            if plain is not None:
                self._at = plain.end()
                pieces.append(plain[0].rstrip(" ") if self._next() in _ENDS else plain[0])
            elif self._next() == "\\":
                pieces.append(self._escape())
            elif self._next() == '"':
                raise self._error("bare-quote", self._at, 'write \\" for a quote, or put the whole value in quotes')
            else:
                raise self._error("bad-char", self._at, f"write \\{self._next()} for a {self._next()} in a value")
        return "".join(pieces)

    def _quoted(self) -> str:
        start = self._at
        self._at += 1
        pieces: list[str] = []
        while self._next() != '"':
            plain = _QUOTED_PLAIN.match(self._text, self._at)
            if plain is not None:
                self._at = plain.end()
                pieces.append(plain[0])
            elif self._next():
                pieces.append(self._escape())
            else:
                raise self._error("open-quote", start, "the quote is not closed")
        self._at += 1
        self._skip_blanks()
        if self._next() not in _ENDS:
            raise self._error("bare-quote", self._at, 'put the whole value in quotes, or write \\" for a quote')
        return "".join(pieces)

    def _hex_string(self) -> str:
        """Read a value that is given by the octets of its BER encoding."""
        start = self._at
        found = _HEX_STRING.match(self._text, start)
        if found is not None:
            self._at = found.end()
            self._skip_blanks()
        if found is None or self._next() not in _ENDS:
            message = "after # stand pairs of hexadecimal digits; write \\# for a value that begins with #"
            raise self._error("bad-hex", start, message)
        return found[0].lower()

    def _escape(self) -> str:
        pairs = _HEX_PAIRS.match(self._text, self._at)
        if pairs is not None:
            try:
                made = bytes.fromhex(pairs[0].replace("\\", "")).decode()
            except UnicodeDecodeError:
                raise self._error("bad-escape", self._at, "the escaped octets are not UTF-8") from None
            self._at = pairs.end()
            return made
        following = self._text[self._at + 1 : self._at + 2]
        if not following:
            raise self._error("open-escape", self._at, "nothing follows the last \\; write \\\\ for a \\")
        if following not in _ESCAPABLE:
            raise self._error("bad-escape", self._at, "after \\ stands a special character or two hexadecimal digits")
        self._at += 2
        return following

    def _error(self, rule: str, at: int, message: str) -> AddressError:
        return AddressError(f"ldap.{rule}", self._text, at, message)


def _ends_in_escape(text: str) -> bool:
    return (len(text) - len(text.rstrip("\\"))) % 2 == 1


def _escaped(value: str) -> str:
    """Write a value with the escapes that it needs (RFC 4514 §2.4)."""
    pieces: list[str] = []
    last = len(value) - 1
    open_to_marks = True
    for i, c in enumerate(value):
        # A combining mark after =, or after the digits of an escape, would become one character with it. A blank at
        # the end of a text does not survive what strips lines, so it is written in digits too.
        by_digits = open_to_marks and unicodedata.combining(c)
        if by_digits or unicodedata.category(c) in ("Cc", "Zl", "Zp") or (c == " " and i in (0, last)):
            pieces += [f"\\{octet:02X}" for octet in c.encode()]
            open_to_marks = True
        else:
            pieces.append(f"\\{c}" if c in _MUST_ESCAPE or (c == "#" and i == 0) else c)
            open_to_marks = False
    return "".join(pieces)
