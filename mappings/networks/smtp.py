"""smtp: the addresses of internet mail, with SMTPUTF8 local parts and internationalised domains.

Promises: the local part is sent as it was written (unquoted where it may be); the domain compares by its A-labels
(UTS 46, non-transitional), the local part without case; a source route is refused, and a percent, a bang or an at
sign in a local part is that mailbox's name and nothing more.
Source: RFC 5321 §4.1.2 and §4.5.3.1, RFC 5322 §3.4.1, RFC 6531 §3.3, RFC 5891, UTS 46.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Final

import idna

from mappings.network import MAX_OCTETS, Address, AddressError, Network, Style, clean

_ATEXT: Final = r"A-Za-z0-9!#$%&'*+\-/=?^_`{|}~"
_PLAIN: Final = re.compile(
    rf"([{_ATEXT}]+(?:\.[{_ATEXT}]+)*)@"
    r"([A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*)"
)
# The same and all beyond ASCII (RFC 6532 §3.2), by what it is not: `re` makes a set that names a million characters
# of a map of them all, which takes milliseconds of each start.
_UTF8_ATEXT: Final = r'[^\x00- "(),.:;<>@\[\\\]\x7f]'
_DOT_ATOM: Final = re.compile(rf"{_UTF8_ATEXT}+(?:\.{_UTF8_ATEXT}+)*")
_ATOM: Final = re.compile(rf"{_UTF8_ATEXT}+")
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_COMMENT_PART: Final = re.compile(r"\\.|[()]|[^()\\]+", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(.)")
_LOCAL_OCTETS: Final = 64
_DOMAIN_OCTETS: Final = 255
_PATH_OCTETS: Final = 254
_LABEL_OCTETS: Final = 63


class Smtp(Network):
    """Internet mail. `subaddress` is the sign that sets a tag off from the mailbox, empty for none."""

    name = "smtp"
    imcea_type = "SMTP"

    def __init__(self, subaddress: str = "+") -> None:
        self._sign = subaddress

    def parse(self, text: str) -> Address:
        """Read `local@domain`, or the bare `postmaster` that every host takes (RFC 5321 §4.5.1)."""
        plain = _PLAIN.fullmatch(text)
        if plain is not None and len(text) <= _DOMAIN_OCTETS:
            key = text.lower()
            if key == text:
                return Address("smtp", text, text)
            return Address("smtp", plain[1] + "@" + plain[2].lower(), key)
        return _parse(text)

    def format(self, address: Address, style: Style = "canonical") -> str:
        if style == "canonical" or address.value.isascii():
            return address.value
        local, _, domain = address.value.rpartition("@")
        if style == "display":
            return address.value
        if not local.isascii():
            raise AddressError("smtp.not-ascii", address.value, 0, "this mailbox can only be written with SMTPUTF8")
        return f"{local}@{domain_key(domain)}"

    def lookup_keys(self, address: Address) -> Iterator[str]:
        key = address.key
        yield key
        at = self._tag_start(key)
        if at > 0 and key[at - 1] != ".":  # a mailbox ends in no dot, so what it is without a tag is none
            yield key[:at] + key[key.rindex("@") :]

    def carry(self, target: Address, asked: Address) -> Address:
        """Return `target` with the tag of `asked`, except where it has one of its own."""
        start = self._tag_start(asked.value)
        if start <= 0 or asked.network != "smtp" or target.network != "smtp" or self._tag_start(target.value) > 0:
            return target
        tag = asked.value[start : asked.value.rindex("@")]
        local, _, domain = target.value.rpartition("@")
        if local.startswith('"'):
            return target
        try:
            return self.parse(f"{local}{tag}@{domain}")
        except AddressError:  # too long with it
            return target

    def from_addr_spec(self, local: str, domain: str) -> Address | None:
        try:
            return self.parse(f"{local}@{domain}")
        except AddressError:
            return None

    def to_addr_spec(self, address: Address) -> str | None:
        return address.value if "@" in address.value else None  # the bare postmaster is one in an envelope alone

    def warnings(self, address: Address) -> tuple[str, ...]:
        local, _, domain = address.value.rpartition("@")
        found = []
        if len(local.encode()) > _LOCAL_OCTETS:  # RFC 5321 §4.5.3.1.1
            found.append(f"the local part is over {_LOCAL_OCTETS} octets; some systems refuse it")
        if len(address.value.encode()) > _PATH_OCTETS:  # RFC 5321 §4.5.3.1.3, without the angle brackets
            found.append(f"the address is over {_PATH_OCTETS} octets; some systems refuse it")
        if not local.isprintable():  # RFC 6531 §3.3 allows them, and people cannot tell such addresses apart
            found.append("the local part has characters that cannot be seen; some systems refuse it")
        if "_" in domain and not domain.startswith("["):
            found.append("the domain has an underscore; some systems refuse it")
        return tuple(found)

    def _tag_start(self, value: str) -> int:
        """Return where a tag starts, with its sign; not above 0 where there is none (a quoted part has none)."""
        if not self._sign or value.startswith('"'):
            return -1
        return value.find(self._sign, 0, value.rfind("@"))


def domain_key(domain: str) -> str:
    """Return the comparison form of a domain: A-labels in lower case, no trailing dot; literals normalised.

    Raises: AddressError (`smtp.no-domain`, `smtp.bad-label`, `smtp.label-too-long`, `smtp.domain-too-long`,
    `smtp.bad-literal`).
    """
    return _domain(domain, domain, 0)[1]


def unquote(local: str) -> str:
    """Return the text of a local part: a quoted-string without its quotes and escapes."""
    return _ESCAPE.sub(r"\1", local[1:-1]) if local.startswith('"') else local


def quote(text: str) -> str:
    """Return a local part that stands for `text`: a dot-atom where it is one, else a quoted-string."""
    if _DOT_ATOM.fullmatch(text):
        return text
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def _parse(text: str) -> Address:
    if len(text) > 2 * MAX_OCTETS:
        raise AddressError("addr.too-long", text[:80] + "…", MAX_OCTETS, f"an address has at most {MAX_OCTETS} octets")
    if "\r" in text or "\n" in text or "\t" in text:
        # RFC 5322 §3.2.2: folding and tabs are white space; what is left of CR and LF is refused below.
        text = re.sub(r"\r?\n(?=[ \t])", "", text).replace("\t", " ")
    value = clean(text)
    if value.lower() == "postmaster":
        return Address("smtp", value, "postmaster")
    if value[0] == "@":
        raise AddressError("smtp.source-route", text, 0, "source routes are not followed; give the last address alone")
    local, at = _local(value)
    domain, key = _domain(value[at + 1 :], value, at + 1)
    made = f"{local}@{domain}"
    if len(made.encode()) > MAX_OCTETS:
        raise AddressError("addr.too-long", made[:80] + "…", MAX_OCTETS, f"an address has at most {MAX_OCTETS} octets")
    return Address("smtp", made, f"{unicodedata.normalize('NFC', local.lower())}@{key}")


def _local(value: str) -> tuple[str, int]:
    """Read `word *("." word)` with comments between; return it and the place of the @ (RFC 5322 §4.4)."""
    parts: list[str] = []
    quoted = False
    wants_word = True
    at = 0
    while True:
        at = _skip(value, at)
        c = value[at : at + 1]
        if c == "@":
            break
        if not c:
            raise AddressError("smtp.no-domain", value, at, "write mailbox@domain")
        if c == ".":
            if wants_word:
                raise _empty_atom(value, at)
            wants_word = True
            at += 1
            continue
        if not wants_word:
            raise AddressError("smtp.space", value, at, "a blank must stand inside quotes")
        if c == '"':
            string = _QUOTED.match(value, at)
            if string is None:
                raise AddressError("smtp.open-quote", value, at, "the quote is not closed")
            parts.append(_ESCAPE.sub(r"\1", string[1]))
            quoted = True
            at = string.end()
        else:
            atom = _ATOM.match(value, at)
            if atom is None:
                raise AddressError("smtp.bad-char", value, at, f"{c!r} must stand inside quotes")
            parts.append(atom[0])
            at = atom.end()
        wants_word = False
    if wants_word:
        if not parts:
            raise AddressError("smtp.no-local", value, at, "there is no mailbox before the @")
        raise _empty_atom(value, at)
    text = ".".join(parts)
    if not text.isascii():
        # A letter and an accent that an escape or a comment stood between come together here.
        text = unicodedata.normalize("NFC", text)
    return (quote(text) if quoted else text), at


def _empty_atom(value: str, at: int) -> AddressError:
    message = "a dot at the start or end of the mailbox, or two dots in a row; put the part in quotes"
    return AddressError("smtp.empty-atom", value, at, message)


def _skip(value: str, at: int) -> int:
    """Return the place after blanks and comments (RFC 5322 §3.2.2), which nest."""
    while True:
        while value[at : at + 1] == " ":
            at += 1
        if value[at : at + 1] != "(":
            return at
        start, depth = at, 0
        for part in _COMMENT_PART.finditer(value, at):
            depth += {"(": 1, ")": -1}.get(part[0], 0)
            if depth == 0:
                at = part.end()
                break
        else:
            raise AddressError("smtp.open-comment", value, start, "the comment is not closed")


def _domain(text: str, whole: str, offset: int) -> tuple[str, str]:
    """Return (shown form, key) of a domain with comments around it."""
    start = _skip(text, 0)
    if text[start : start + 1] == "[":
        end = text.find("]", start) + 1
        literal = _literal(text[start:end], whole, offset + start)
        if _skip(text, end) != len(text):
            raise AddressError("smtp.after-domain", whole, offset + end, "nothing may follow the domain")
        return literal, literal.lower()
    domain = "".join(_domain_pieces(text, whole, offset)).lower()
    if not domain.isascii():
        try:
            domain = idna.uts46_remap(domain, std3_rules=False, transitional=False)
        except (idna.IDNAError, ValueError) as e:
            raise AddressError("smtp.bad-label", whole, offset, f"not a domain: {e}") from None
    domain = domain.removesuffix(".")
    if not domain:
        raise AddressError("smtp.no-domain", whole, offset, "write mailbox@domain")
    labels = [_label(label, whole, offset) for label in domain.split(".")]
    key = ".".join(labels)
    if len(key) > _DOMAIN_OCTETS:
        raise AddressError("smtp.domain-too-long", whole, offset, f"a domain has at most {_DOMAIN_OCTETS} octets")
    return domain, key


def _domain_pieces(text: str, whole: str, offset: int) -> Iterator[str]:
    """Yield labels and dots without the comments and blanks that may stand around each dot (obs-domain)."""
    at = _skip(text, 0)
    after_dot = True
    while at < len(text):
        piece = re.compile(r"\.|[^.\s()\[\]<>,;:@\\\"]+").match(text, at)
        if piece is None:
            raise AddressError("smtp.bad-char", whole, offset + at, f"{text[at]!r} cannot stand in a domain")
        if piece[0] != "." and not after_dot:
            raise AddressError("smtp.space", whole, offset + at, "a domain has no blanks")
        after_dot = piece[0] == "."
        yield piece[0]
        at = _skip(text, piece.end())


def _label(label: str, whole: str, offset: int) -> str:
    if not label.isascii():
        try:
            return idna.alabel(label).decode("ascii")
        except (idna.IDNAError, ValueError) as e:
            raise AddressError("smtp.bad-label", whole, offset, f"not a domain: {e}") from None
    if len(label) > _LABEL_OCTETS:
        message = f"a part of a domain has at most {_LABEL_OCTETS} octets"
        raise AddressError("smtp.label-too-long", whole, offset, message)
    if not _LABEL.fullmatch(label):
        what = "two dots in a row" if not label else f"{label!r}"
        raise AddressError("smtp.bad-label", whole, offset, f"not a domain: {what}")
    return label


def _literal(text: str, whole: str, offset: int) -> str:
    """Normalise `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 §4.1.3)."""
    inner = text[1:-1].strip(" ")
    try:
        if inner[:5].lower() == "ipv6:" and "%" not in inner:
            return f"[IPv6:{IPv6Address(inner[5:])}]"
        return f"[{IPv4Address(inner)}]"
    except ValueError:
        message = "a domain literal is [192.0.2.1] or [IPv6:2001:db8::1]"
        raise AddressError("smtp.bad-literal", whole, offset, message) from None
