"""Record: one identity as a line of text, the form in which it is stored, logged and mapped from a file.

A record is a JSON array without a line break in it: number, name, home, what few identities have, and then three items
an address: role and network, value, comparison key. 0 stands for what is absent, and for a key that equals its value.

    [7,"Ann Lee","oldmhs",0,"Psmtp","Ann@acme.example","ann@acme.example","Amhs","ann@sales",0]

Promises: `decode(encode(i, n))` is `i` in every field, with the number `n`. The array is short, since a million of them
are kept in memory, and its items stand where a look-up needs no more than one pass over them.
"""

from __future__ import annotations

from math import isfinite
from typing import Any, Final
from zlib import crc32

import orjson

from mappings.address import Address
from mappings.identity import Held, Identity, Kind, Role, Stage

NUMBER: Final = 0
NAME: Final = 1
HOME: Final = 2
MORE: Final = 3
"""A dict of what few identities have, by name; 0 where there is nothing of it."""
FIRST: Final = 4
"""Where the first address begins; each takes WIDTH items."""
WIDTH: Final = 3

FINGERPRINT_BITS: Final = 31
"""So that a fingerprint fits the signed integers of every database."""

_MASK: Final = (1 << FINGERPRINT_BITS) - 1
_SIGN: Final = {Role.PRIMARY: "P", Role.ALIAS: "A", Role.FORMER: "F"}
_ROLE: Final = {sign: role for role, sign in _SIGN.items()}
_LARGEST: Final = 64 * 1024 * 1024


class Unstorable(ValueError):
    """An identity that cannot be written down, said in words with its name."""


def seed(network: str) -> int:
    """Return what the fingerprints of a network's keys start from."""
    return crc32(network.encode("utf-8", "surrogatepass") + b":")


def fingerprint(network: str, key: str) -> int:
    """Return a number that an address is looked up by; another address may have it too, though seldom."""
    return crc32(key.encode("utf-8", "surrogatepass"), seed(network)) & _MASK


def fingerprints(identity: Identity) -> set[int]:
    """Return those of all addresses that an identity holds at any time."""
    return {fingerprint(h.address.network, h.address.key) for h in identity.addresses}


def encode(identity: Identity, number: int) -> str:
    """Return the record of an identity under a number.

    Raises: Unstorable where a text holds a NUL or half a surrogate pair, or a time is not finite.
    """
    more: dict[str, Any] = {}
    if identity.kind is not Kind.PERSON:
        more["kind"] = identity.kind.value
    if identity.stage is not None:
        more["stage"] = identity.stage.value
    if identity.copy_home is not None:
        more["copy_home"] = identity.copy_home
    if identity.attributes:
        more["attributes"] = identity.attributes
    if identity.members:
        more["members"] = [_plain(member) for member in identity.members]
    if identity.owner is not None:
        more["owner"] = _plain(identity.owner)
    if not identity.expand:
        more["expand"] = False
    items: list[Any] = [number, identity.name, 0 if identity.home is None else identity.home, 0]
    times = []
    for place, held in enumerate(identity.addresses):
        address = held.address
        items += (
            _SIGN[held.role] + address.network,
            address.value,
            0 if address.key == address.value else address.key,
        )
        if held.since is not None or held.until is not None:
            if not all(isfinite(time) for time in (held.since, held.until) if time is not None):
                raise Unstorable(f"{identity.name!r} holds {address} from or until a time that is no number")
            times.append((place, held.since, held.until))
    if times:
        more["times"] = times
    items[MORE] = more or 0
    try:
        octets = orjson.dumps(items)
    except (orjson.JSONEncodeError, TypeError) as e:
        raise Unstorable(f"{identity.name!r} cannot be stored: {e}") from None
    if b"\\u0000" in octets and _has_nul(items):
        raise Unstorable(f"{identity.name!r} cannot be stored: a text of it holds a NUL character; remove it")
    if len(octets) > _LARGEST:
        raise Unstorable(f"{identity.name!r} cannot be stored: it takes more than {_LARGEST >> 20} MiB")
    return octets.decode()


def decode(record: str | bytes) -> Identity:
    """Return the identity of a record. Raises: ValueError where it is none."""
    return from_items(orjson.loads(record))


def from_items(items: Any) -> Identity:
    """Return the identity of a record's items. Raises: ValueError where they are none."""
    try:
        more = items[MORE] or {}
        times = {place: (since, until) for place, since, until in more.get("times", ())}
        return Identity(
            items[NAME],
            tuple(
                Held(
                    address_at(items, at),
                    _ROLE[items[at][0]],
                    *times.get((at - FIRST) // WIDTH, (None, None)),
                )
                for at in range(FIRST, len(items), WIDTH)
            ),
            Kind(more.get("kind", Kind.PERSON)),
            None if items[HOME] == 0 else items[HOME],
            Stage(more["stage"]) if "stage" in more else None,
            more.get("copy_home"),
            tuple((name, value) for name, value in more.get("attributes", ())),
            tuple(Address(*member) for member in more.get("members", ())),
            Address(*more["owner"]) if "owner" in more else None,
            more.get("expand", True),
            id=items[NUMBER],
        )
    except (TypeError, LookupError, AttributeError) as e:
        raise ValueError(f"not an identity's record: {e!r}") from e


def address_at(items: Any, at: int) -> Address:
    """Return the address whose three items begin at `at`."""
    value, key = items[at + 1], items[at + 2]
    return Address(items[at][1:], value, value if key == 0 else key)


def _plain(address: Address) -> tuple[str, str, str]:
    return address.network, address.value, address.key


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(map(_has_nul, value.values()))
    return isinstance(value, list | tuple) and any(map(_has_nul, value))
