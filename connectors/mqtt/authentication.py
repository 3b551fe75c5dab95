"""Authentication-Results (RFC 8601): what our own mail server found out about who sent a mail. Pure.

Promises: any octets are taken, bounded in size and number; what cannot be read says nothing. A field counts only where
its authserv-id is one of ours: our server must remove those that came with a mail (RFC 8601 §5), and must write them
itself. `none`, `temperror` and every other result but `pass` prove nothing; a `dmarc` that is not `pass` takes back
what `dkim` and `spf` say of the same domain, so that a forged field beside a real one does not help.
Known limit: DKIM and SPF prove a domain, not a person; within a domain its own servers answer for their users.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gateway.contract import Address

MAX_FIELDS: Final = 50
MAX_OCTETS: Final = 16 * 1024
"""Of one field; a longer one says nothing."""

_COMMENT: Final = re.compile(r"\((?:[^()\\]|\\.)*+\)")
_MAX_DEPTH: Final = 8
_ID: Final = re.compile(r'[ \t]*(?:"([^"\\]{1,255})"|([^\s;"]{1,255}))(?:[ \t]+\d{1,3})?[ \t]*(?:;|$)')
_RESULT: Final = re.compile(
    r"[ \t]*([A-Za-z0-9-]{1,40})(?:[ \t]*/[ \t]*\d{1,3})?[ \t]*=[ \t]*([A-Za-z]{1,40})(?![^\s;])"
)
_PROPERTY: Final = re.compile(
    r'([A-Za-z]{1,20})[ \t]*\.[ \t]*([A-Za-z0-9_-]{1,40})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*+)"|([^\s;"]+))'
)


@dataclass(frozen=True, slots=True)
class Result:
    """One result: `properties` are by `ptype.property`, in lower case."""

    method: str
    result: str
    properties: dict[str, str]


def results(values: Iterable[bytes], servers: frozenset[str]) -> list[Result]:
    """Return what fields say that stand under one of these names (in lower case)."""
    found: list[Result] = []
    for number, value in enumerate(values):
        if number >= MAX_FIELDS:
            break
        if len(value) <= MAX_OCTETS:
            found += _read(value.decode("latin-1"), servers)
    return found


def _read(text: str, servers: frozenset[str]) -> list[Result]:
    text = _without_comments(text)
    named = _ID.match(text)
    if named is None or (named[1] or named[2]).lower() not in servers:
        return []
    found = []
    for part in _parts(text[named.end() :]):
        match = _RESULT.match(part)
        if match is None:
            continue
        properties: dict[str, str] = {}
        for each in _PROPERTY.finditer(part, match.end()):
            name = f"{each[1].lower()}.{each[2].lower()}"
            properties.setdefault(name, each[4] if each[3] is None else each[3])
        found.append(Result(match[1].lower(), match[2].lower(), properties))
    return found


def _without_comments(text: str) -> str:
    for _ in range(_MAX_DEPTH):
        less = _COMMENT.sub(" ", text)
        if less == text:
            break
        text = less
    # What is left of a comment that does not end, or is nested beyond reason, is not read as anything else.
    return text.partition("(")[0]


def _parts(text: str) -> list[str]:
    """Part a field at its semicolons, but for those within quotes."""
    return re.findall(r'(?:"(?:[^"\\]|\\.)*+"|[^;"])++', text)


def proves(found: Iterable[Result], sender: Address, reverse_path: Address | None) -> bool:
    """Say whether results prove that a mail is from `sender`'s domain, or from `sender` itself."""
    local, _, domain = sender.key.rpartition("@")
    if not local or not domain:
        return False
    passed = False
    for each in found:
        properties = each.properties
        if each.method == "dmarc" and _domain(properties.get("header.from", domain)) == domain:
            if each.result != "pass":
                return False
            passed = passed or "header.from" in properties
        elif each.result != "pass":
            continue
        elif each.method == "dkim":
            passed = passed or _is_within(domain, _domain(properties.get("header.d", properties.get("header.i", ""))))
        elif each.method == "spf":
            named = _domain(properties.get("smtp.mailfrom", ""))
            passed = passed or (named == domain and _domain_of(reverse_path) == domain)
        elif each.method == "auth":
            passed = passed or properties.get("smtp.auth", "").lower() == sender.key
    return passed


def _domain(text: str) -> str:
    return text.rpartition("@")[2].strip().rstrip(".").lower()


def _domain_of(address: Address | None) -> str:
    return "" if address is None or address.network != "smtp" else address.key.rpartition("@")[2]


def _is_within(domain: str, signer: str) -> bool:
    """RFC 7489 §3.1.1, relaxed: a signature of example.com speaks for mail.example.com too."""
    return domain == signer or ("." in signer and domain.endswith("." + signer))
