"""Address lists of header fields, as far as an envelope needs them: the addr-specs, not the names.

Reads groups, comments, quoted strings, domain literals, blanks around dots and at signs; a route before an address
is dropped. Linear in the field's length. Source: RFC 5322 §3.4 and §4.4.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from mappings.network import Address, AddressError, network, parse, registry

_TOKEN: Final = re.compile(
    r"(?P<blank>[ \t\r\n]+)"
    r'|(?P<quoted>"(?:[^"\\]|\\.)*")'
    r"|(?P<literal>\[(?:[^\[\]\\]|\\.)*\])"
    r"|(?P<special>[(),:;<>@])"
    r"|(?P<atom>[^\s\"\[\](),:;<>@]+)",
    re.DOTALL,
)
_ATEXT: Final = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
_PLAIN: Final = rf"([{_ATEXT}][{_ATEXT}.]*)@([A-Za-z0-9][A-Za-z0-9.-]*)"
_SIMPLE: Final = re.compile(rf"{_PLAIN}|[{_ATEXT}. ]*<{_PLAIN}>")
"""What nearly every field holds: one address, perhaps with a plain name before it."""

_IMCEA: Final = re.compile(r"imcea([a-z0-9]+)-(.+)@[^@]+", re.IGNORECASE | re.ASCII)
_IMCEA_KEPT: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-=")
_ESCAPE: Final = re.compile(rb"\+([0-9A-Fa-f]{2})")
_BAD_ESCAPE: Final = re.compile(rb"\+(?![0-9A-Fa-f]{2})")
_NOT_CARRIED: Final = frozenset(("SMTP", "X500"))
"""Exchange refuses these types: an internet address in an internet address would be a relay for whoever writes one."""

_PREFIX: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*:")
_COMMENT: Final = re.compile(r"\\.|[()]|[^()\\]+", re.DOTALL)


class ListError(ValueError):
    """An address list that cannot be read; `offset` is in the text handed in."""

    def __init__(self, offset: int, message: str) -> None:
        self.offset = offset
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Spec:
    """One addr-spec as written: a quoted local part keeps its quotes. `offset` is where it starts."""

    local: str
    domain: str
    offset: int


Token = tuple[str, str, int]


def read_list(text: str) -> list[Spec]:
    """Return the addr-specs of a field's value, in order.

    Raises: ListError.
    """
    simple = _SIMPLE.fullmatch(text)
    if simple is not None:
        local, domain = simple[1] or simple[3], simple[2] or simple[4]
        return [Spec(local, domain, simple.start(1) if simple[1] else simple.start(3))]
    found: list[Spec] = []
    current: list[Token] = []
    in_angle = in_group = False
    for token in [*_tokens(text), ("special", ",", len(text))]:
        kind, sign, at = token
        if kind != "special" or sign in "<>@" or (in_angle and sign in ":,"):
            if kind == "special" and sign in "<>":
                in_angle = sign == "<"
            current.append(token)
        elif sign == ":":
            if in_group:
                raise ListError(at, "a group inside a group")
            in_group, current = True, []
        else:  # a comma, or the semicolon that ends a group; some programs part addresses by it too
            if current:
                found.append(_spec(current))
            in_group = in_group and sign != ";"
            current = []
    if in_angle:
        raise ListError(current[0][2], "an angle bracket that is not closed")
    return found


def _tokens(text: str) -> list[Token]:
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            closed = {'"': "a quotation mark that is not closed", "[": "a bracket that is not closed"}
            raise ListError(at, closed.get(text[at], f"the character {text[at]!r} has no meaning here"))
        kind = str(match.lastgroup)
        if match[0] == "(":
            at = _after_comment(text, at)
            continue
        if match[0] == ")":
            raise ListError(at, "a closing parenthesis without its opening one")
        if kind != "blank":
            tokens.append((kind, match[0], at))
        at = match.end()
    return tokens


def _after_comment(text: str, start: int) -> int:
    depth = 0
    for match in _COMMENT.finditer(text, start):
        if match[0] == "(":
            depth += 1
        elif match[0] == ")":
            depth -= 1
            if depth == 0:
                return match.end()
    raise ListError(start, "a comment that is not closed")


def _spec(tokens: list[Token]) -> Spec:
    opening = [i for i, t in enumerate(tokens) if t[:2] == ("special", "<")]
    closing = [i for i, t in enumerate(tokens) if t[:2] == ("special", ">")]
    if opening or closing:
        if len(opening) != 1 or closing != [len(tokens) - 1]:
            raise ListError(tokens[0][2], "angle brackets that do not pair around one address")
        inner = tokens[opening[0] + 1 : -1]
        colon = next((i for i, t in enumerate(inner) if t[:2] == ("special", ":")), None)
        if colon is not None:  # RFC 5322 §4.4: obs-route, to be ignored
            inner = inner[colon + 1 :]
    else:
        inner = tokens
    start = inner[0][2] if inner else tokens[0][2]
    ats = [i for i, t in enumerate(inner) if t[:2] == ("special", "@")]
    if len(ats) != 1 or ats[0] == 0 or ats[0] == len(inner) - 1:
        raise ListError(start, "an address without one @ between its user and its domain")
    if any(t[0] == "special" for t in inner if t[1] != "@"):
        raise ListError(start, "an address with a sign that does not belong there")
    local, domain = inner[: ats[0]], inner[ats[0] + 1 :]
    if not (_dotted(local) and _dotted(domain)):
        raise ListError(start, "two words where one address was expected; names go before <address>")
    return Spec("".join(t[1] for t in local), "".join(t[1] for t in domain), start)


def _dotted(words: list[Token]) -> bool:
    """Tell whether words that blanks parted are one: joined by dots (RFC 5322 §4.4, obs-local-part)."""
    return all(
        one[1].endswith(".") or other[1].startswith(".") or one[2] + len(one[1]) == other[2]
        for one, other in pairwise(words)
    )


def in_network(spec: Spec, name: str) -> Address:
    """Return the Address of an addr-spec: of the named network where it is one of its, else of internet mail.

    Raises: AddressError.
    """
    own = network(name).from_addr_spec(spec.local, spec.domain)
    return own if own is not None else network("smtp").parse(f"{spec.local}@{spec.domain}")


def read_one(text: str, name: str) -> Address:
    """Read one address by itself, as it stands in an envelope line: an addr-spec, the network's own form where it
    has no addr-spec, or `network:address`. `write_one` is its inverse.

    Raises: AddressError.
    """
    if _PREFIX.match(text):
        return parse(text)
    try:
        specs = read_list(text)
    except ListError:
        specs = []
    if len(specs) == 1 and f"{specs[0].local}@{specs[0].domain}" == text:
        return in_network(specs[0], name)
    return registry().parse_in(name, text)


def write_one(address: Address, name: str) -> str:
    """Return the shortest text that `read_one` reads back as the same address."""
    own = network(address.network)
    for text in (own.to_addr_spec(address), own.format(address)):
        if text is not None:
            try:
                back = read_one(text, name)
            except AddressError:
                continue
            if back == address and back.value == address.value:
                return text
    return f"{address.network}:{own.format(address)}"


def from_imcea(address: Address) -> Address | None:
    """Return the address that an internet address of the form `IMCEA<type>-...` carries, whatever its domain; None
    where it has no such form, or no installed network reads it. Source: MS-OXCMAIL, "IMCEA".
    """
    found = _IMCEA.match(address.value) if address.network == "smtp" else None
    if found is None or found[1].upper() in _NOT_CARRIED:
        return None
    carried = registry().by_type(found[1])
    if carried is None:
        return None
    octets = found[2].encode().replace(b"_", b"/")
    if _BAD_ESCAPE.search(octets):
        return None
    try:
        text = _ESCAPE.sub(lambda m: bytes((int(m[1], 16),)), octets).decode()
        inner = registry().parse_in(carried.name, text)
    except (UnicodeDecodeError, AddressError):
        return None
    return None if inner.network == "smtp" else inner


def to_imcea(address: Address, domain: str) -> str:
    """Return the internet address that carries one of another network; `from_imcea` is its inverse."""
    octets = address.value.encode()
    encoded = "".join(
        "_" if octet == 0x2F else chr(octet) if octet in _IMCEA_KEPT else f"+{octet:02X}" for octet in octets
    )
    return f"IMCEA{network(address.network).imcea_type.upper()}-{encoded}@{domain}"
