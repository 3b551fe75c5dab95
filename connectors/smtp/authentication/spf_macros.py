"""Macros of SPF records: `%{ir}.%{v}._spf.%{d2}`. Source: RFC 7208 §7."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final
from urllib.parse import quote

IpAddress = IPv4Address | IPv6Address
MAX_NAME: Final = 253

_PART: Final = re.compile(r"%\{([A-Za-z])(\d{0,3})([rR]?)([.\-+,/_=]*)\}|(%%|%_|%-)|([^%]+)|(%)")
_LETTERS: Final = frozenset("slodiphv")
_EXPLAINING: Final = frozenset("slodiphvcrt")
_ESCAPES: Final = {"%%": "%", "%_": " ", "%-": "%20"}
_TOP: Final = re.compile(r"(?![0-9]+\Z)[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")


class SyntaxFault(ValueError):
    """A record that is not as RFC 7208 §12 says; the text names the place, bounded."""


@dataclass(frozen=True, slots=True)
class Macro:
    """One macro: `letter` in lower case, escaped for a URL where it stood in upper case."""

    letter: str
    digits: int | None
    reverse: bool
    delimiters: str
    escape: bool


Spec = Sequence[str | Macro]
"""A text with macros, read."""


def read(text: str, *, explains: bool = False) -> Spec:
    """Read a macro-string (§7.1); `explains` lets in what only an explanation may have. Raises: SyntaxFault."""
    allowed = _EXPLAINING if explains else _LETTERS
    found: list[str | Macro] = []
    for match in _PART.finditer(text):
        letter, digits, reverse, delimiters, escaped, literal, _ = match.groups()
        if literal is not None:
            found.append(literal)
        elif escaped is not None:
            found.append(_ESCAPES[escaped])
        elif letter is not None and letter.lower() in allowed:
            number = int(digits) if digits else None
            if number == 0:
                raise SyntaxFault("a macro of no labels")
            found.append(Macro(letter.lower(), number, bool(reverse), delimiters or ".", letter.isupper()))
        else:
            raise SyntaxFault("a % without a macro")
    return found


def read_domain(text: str) -> Spec:
    """Read a domain-spec (§7.1): it ends in a macro or a top label. Raises: SyntaxFault."""
    if not text or not all("!" <= c <= "~" for c in text):
        raise SyntaxFault("no domain")
    found = read(text)
    if not text.endswith(("}", "%%", "%_", "%-")):
        # A name may end in a dot; what stands before the top label may be anything, macros too.
        _, dot, top = text.removesuffix(".").rpartition(".")
        if not dot or not _TOP.fullmatch(top):
            raise SyntaxFault("a domain without a top label")
    elif not text.endswith("}"):
        raise SyntaxFault("a domain without a top label")
    return found


@dataclass(slots=True)
class Values:
    """What macros stand for; `validated` finds the name of `p`."""

    ip: IpAddress
    local: str
    sender_domain: str
    domain: str
    helo: str
    receiver: str
    now: float
    validated: Callable[[], Awaitable[str]]

    async def of(self, letter: str) -> str:
        match letter:
            case "s":
                return f"{self.local}@{self.sender_domain}"
            case "l":
                return self.local
            case "o":
                return self.sender_domain
            case "d":
                return self.domain
            case "i":
                return dotted(self.ip)
            case "p":
                return await self.validated()
            case "v":
                return "in-addr" if self.ip.version == 4 else "ip6"
            case "h":
                return self.helo
            case "c":
                return str(self.ip)
            case "r":
                return self.receiver
            case _:
                return str(int(self.now))


def dotted(ip: IpAddress) -> str:
    """Return an address as `i` shows it: an IPv6 one in nibbles (§7.3)."""
    return str(ip) if isinstance(ip, IPv4Address) else ".".join(ip.exploded.replace(":", "").upper())


def reverse_name(ip: IpAddress) -> str:
    return ip.reverse_pointer


async def expand(spec: Spec, values: Values) -> str:
    """Return a text with its macros filled in."""
    parts = []
    for each in spec:
        if isinstance(each, str):
            parts.append(each)
            continue
        text = await values.of(each.letter)
        if each.digits is not None or each.reverse or each.delimiters != ".":
            labels = re.split(f"[{re.escape(each.delimiters)}]", text)
            if each.reverse:
                labels.reverse()
            if each.digits is not None:
                labels = labels[-each.digits :]
            text = ".".join(labels)
        parts.append(quote(text, safe="-._~") if each.escape else text)
    return "".join(parts)


async def expand_domain(spec: Spec, values: Values) -> str:
    """Return a name, from which labels are taken at the left where it is too long (§7.3)."""
    name = (await expand(spec, values)).removesuffix(".")
    while len(name) > MAX_NAME:
        _, dot, name = name.partition(".")
        if not dot:
            return ""
    return name
