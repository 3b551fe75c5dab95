"""Proxy addresses: `PREFIX:value` as Exchange and Active Directory write the addresses of all networks.

A prefix in capitals marks the address to use on its network, in small letters another one.
Promises: what cannot be told to be an address of a network is kept, and written again as it was.
Source: [MS-OXLDAP] §2.2.3.2 (proxyAddresses), the Exchange documentation on e-mail address types, and the free-form
address formats of MS Mail gateways (`Ann Lee [MHS:ann@sales]`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from mappings.address import Address, AddressError
from mappings.formats.people import ANY, FIRST_CHOICE, LIKELY, MARKED, Draft, Losses
from mappings.identity import Held, Identity, Role
from mappings.network import Registry

NETWORKS: Final = {
    "SMTP": "smtp",
    "X500": "x500",
    "EX": "x500",
    "X400": "x400",
    "NOTES": "notes",
    "GWISE": "gwise",
    "MS": "msmail",
    "PCM": "msmail",
    "CCMAIL": "ccmail",
    "MHS": "mhs",
    "SIP": "sip",
    "PROFS": "profs",
    "SNADS": "snads",
    "FAX": "fax",
    "SMS": "sms",
}
"""The network of each prefix; of two prefixes the first is written."""

_PREFIXES: Final = {network: prefix for prefix, network in reversed(NETWORKS.items())}
_ONE_OFF: Final = re.compile(r"(?:[^\[\]]*[ \t])?\[([A-Za-z0-9]{1,32}):([^\[\]]*)\]")
# In an X.400 value `;dda:` and `;dd1:` begin a domain-defined attribute, and no other address.
_START: Final = r"(?!dd[a1-4]?:)[A-Za-z0-9]{1,32}:"
_AFTER_SEMICOLON: Final = re.compile(rf"(?<!\\);(?={_START})", re.IGNORECASE)
_AFTER_BLANK: Final = re.compile(rf"[ \t\r\n](?={_START})", re.IGNORECASE)
_AFTER_PLUS: Final = re.compile(rf"\+(?={_START})", re.IGNORECASE)
_X400_KEYS: Final = {"C": "c", "ADMD": "a", "PRMD": "p", "O": "o", "S": "s", "G": "g", "I": "i", "GQ": "q", "CN": "cn"}


def split(cell: str) -> list[str]:
    """Return the proxy addresses that a cell joins by `;`, by blanks, or by `+`, each with its prefix.

    A `;` or blank parts two addresses only where a prefix follows, so that those inside an X.400 address do not.
    """
    cell = cell.strip()
    for joint in (_AFTER_SEMICOLON, _AFTER_BLANK, _AFTER_PLUS):
        found = joint.split(cell)
        if len(found) > 1:
            break
    return [part for text in found if (part := text.replace("\\;", ";").strip(" \t\r\n"))]


def network_of(prefix: str, networks: Registry) -> str | None:
    """Return the network of a prefix in any case, None where it is none of ours."""
    known = NETWORKS.get(prefix.upper())
    if known is not None:
        return known
    found = networks.by_type(prefix)
    return None if found is None else found.name


def take(draft: Draft, text: str, column: str, networks: Registry) -> None:
    """Add one proxy address to a draft; one of an unknown kind becomes the attribute `proxy`."""
    prefix, value = _parted(text)
    network = network_of(prefix, networks) if prefix else "smtp"
    if network is None:
        draft.attribute("proxy", f"{prefix}:{value}")
        return
    if prefix.upper() == "EX":
        draft.add(network, value, column, FIRST_CHOICE)
    else:
        draft.add(network, value, column, MARKED if prefix.isupper() or not prefix else ANY)


def one_primary(draft: Draft, column: str) -> None:
    """Report where several smtp addresses are marked as the one to use, and nothing else tells which is."""
    marked = draft.ranked("smtp", MARKED)
    if len(marked) > 1 and not draft.ranked("smtp", FIRST_CHOICE):
        shown = " and ".join(address.value for address in marked[:3])
        draft.mistake(column, f"{shown} are both marked SMTP: as the primary; write smtp: before one of them")


def target(draft: Draft, text: str, column: str, networks: Registry) -> None:
    """Add the address that a directory sends mail on to.

    It is the person's own where there is no other on its network; else it is the attribute `forward`.
    """
    text = text.strip()
    if not text:
        return
    address = read(text, networks)
    if isinstance(address, str):
        draft.fault(column, f"{text[:200]!r}: {address}; it is left out")
    elif draft.holds(address):
        return
    elif draft.has(address.network):
        draft.attribute("forward", str(address))
    else:
        draft.claim(address, LIKELY)


def read(text: str, networks: Registry) -> Address | str:
    """Return the address of a proxy address, smtp's where it has no prefix; or in words what is wrong."""
    prefix, value = _parted(text)
    network = network_of(prefix, networks) if prefix else "smtp"
    if network is None:
        return f"{prefix} is no network here"
    try:
        return networks.parse_in(network, value)
    except AddressError as e:
        return f"{e.message} [{e.rule}]"


def _parted(text: str) -> tuple[str, str]:
    one_off = _ONE_OFF.fullmatch(text) if text.endswith("]") else None
    if one_off is not None:
        return one_off[1].upper(), one_off[2]
    prefix, colon, value = text.partition(":")
    if not colon or not prefix.isalnum() or not prefix.isascii():
        return "", text
    return prefix, value


# -- writing


def write(identity: Identity, networks: Registry, line: int, column: str, losses: Losses) -> list[str]:
    """Return the proxy addresses of an identity, those to use first; add what they do not tell to `losses`."""
    order = {Role.PRIMARY: 0, Role.ALIAS: 1, Role.FORMER: 2}
    found = []
    for held in sorted(identity.addresses, key=lambda h: (order[h.role], h.address.network != "smtp")):
        found.append(of(held, networks))
        if held.role is Role.FORMER:
            losses.add(line, column, "a former address is written as an alias, since the form has no former ones")
        if network_of(found[-1].partition(":")[0], networks) != held.address.network:
            losses.add(line, column, f"an address on {held.address.network}, which is not installed, is read as text")
    found += [value for name, value in identity.attributes if name == "proxy"]
    return found


def join(parts: Sequence[str], line: int, column: str, losses: Losses) -> str:
    """Return a cell that `split` takes apart again; an address that it would take apart too is a loss."""
    kept = []
    for part in parts:
        if split(part) == [part] and split(f"{part};X:y") == [part, "X:y"]:
            kept.append(part)
        else:
            losses.add(line, column, "an address that holds what looks like the beginning of another one is left out")
    return ";".join(kept)


def without_numbers(
    identity: Identity, networks: Registry, *, each: int | None = None
) -> tuple[Identity, dict[str, list[str]]]:
    """Return an identity without its telephone and fax numbers, and these by network; those that are no address last.

    `each` is how many of a network there is room for; addresses beyond it stay with the identity.
    """
    numbers: dict[str, list[str]] = {}
    taken: set[Held] = set()
    order = {Role.PRIMARY: 0, Role.ALIAS: 1}
    for network in ("tel", "fax"):
        held = [h for h in identity.of(network) if h.role in order and networks.is_installed(network)]
        held = sorted(held, key=lambda h: order[h.role])[:each]
        taken |= set(held)
        numbers[network] = [h.address.value for h in held]
        numbers[network] += [value for name, value in identity.attributes if name == network]
    return replace(identity, addresses=tuple(h for h in identity.addresses if h not in taken)), numbers


def of(held: Held, networks: Registry) -> str:
    """Return one proxy address."""
    address = held.address
    prefix = _prefix_of(address.network, networks)
    prefix = prefix.upper() if held.role is Role.PRIMARY else prefix.lower()
    return f"{prefix}:{_exchange_x400(address, networks) if address.network == 'x400' else address.value}"


def text_of(address: Address, networks: Registry) -> str:
    """Return an address as `read` reads it: smtp's as it is, another one with its prefix."""
    return address.value if address.network == "smtp" else f"{_prefix_of(address.network, networks)}:{address.value}"


def prefixed(target: str, networks: Registry) -> str:
    """Return the attribute `forward` as directories write it."""
    network, _, value = target.partition(":")
    return f"{_prefix_of(network, networks)}:{value}"


def _prefix_of(network: str, networks: Registry) -> str:
    """Return the prefix of a network, in capitals; what is not the name of any stands for itself."""
    known = _PREFIXES.get(network)
    if known is not None:
        return known
    return networks.get(network).imcea_type if networks.is_installed(network) else network.upper()


def _exchange_x400(address: Address, networks: Registry) -> str:
    """Return an X.400 address with the keys that Exchange knows, where it is read back the same."""
    made = ""
    for part in address.value.split(";"):
        key, _, value = part.partition("=")
        if key.startswith("DD."):
            key = f"dda:{key[3:]}"
        made += f"{_X400_KEYS.get(key, key.lower())}={value};"
    try:
        read_back = networks.parse_in("x400", made)
    except AddressError:
        return address.value
    return made if read_back == address and networks.is_installed("x400") else address.value
