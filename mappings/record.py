"""Record: one identity as a line of text, the form in which it is stored, logged and mapped from a file.

Its fields are parted by tabs: number, name, home, what few identities have (JSON), and then three an address: the
role's sign and the network, the value, the comparison key. A field is empty where there is nothing to say, and the
key where it equals the value. No field holds a control character below the blank: a name with one stands in the JSON.

    7	Ann Lee	oldmhs		Psmtp	Ann@acme.example	ann@acme.example	Amhs	ann@sales

Promises: `decode(encode(i, n))` is `i` in every field, with the number `n`. A look-up in the record of an identity
needs one split of its octets and decodes no more than what is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
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
FIRST: Final = 4
"""Where the first address begins; each takes WIDTH fields: sign and network, value, key."""
WIDTH: Final = 3

TAB: Final = b"\t"
PRIMARY: Final = "P"
ALIAS: Final = "A"
FORMER: Final = "F"
"""The roles' signs, in front of the network."""
TIMED: Final = b'{"times":'
"""What MORE begins with where an address is bounded in time."""

FINGERPRINT_BITS: Final = 31
"""So that a fingerprint fits the signed integers of every database."""

_MASK: Final = (1 << FINGERPRINT_BITS) - 1
_SIGN: Final = {Role.PRIMARY: PRIMARY, Role.ALIAS: ALIAS, Role.FORMER: FORMER}
_ROLE: Final = {sign: role for role, sign in _SIGN.items()}
_CONTROL: Final = re.compile(r"[\x00-\x1f]")
_CONTROL_BUT_TAB: Final = re.compile(r"[\x00-\x08\x0a-\x1f]")
_MOST_OCTETS: Final = 64 * 1024 * 1024


class Unstorable(ValueError):
    """An identity that cannot be written down, said in words with its name."""


@lru_cache(64)
def seed(network: str) -> int:
    """Return what the fingerprints of a network's keys start from."""
    return crc32(network.encode("utf-8", "surrogatepass") + b":")


def fingerprint(network: str, key: str) -> int:
    """Return a number that an address is looked up by; another address may have it too, though seldom."""
    return crc32(key.encode("utf-8", "surrogatepass"), seed(network)) & _MASK


def fingerprints(identity: Identity) -> set[int]:
    """Return those of all addresses that an identity holds at any time."""
    return {fingerprint(h.address.network, h.address.key) for h in identity.addresses}


def fingerprints_in(record: str) -> set[int]:
    """Return those of all addresses in a record."""
    fields = record.split("\t")
    return {fingerprint(fields[at][1:], fields[at + 2] or fields[at + 1]) for at in range(FIRST, len(fields), WIDTH)}


def encode(identity: Identity, number: int) -> str:
    """Return the record of an identity under a number.

    Raises: Unstorable where a text holds half a surrogate pair, an address or a home a control character, or a time is
    no number.
    """
    fields = [str(number), identity.name, identity.home or "", ""]
    times = []
    for place, held in enumerate(identity.addresses):
        address = held.address
        fields += (
            _SIGN[held.role] + address.network,
            address.value,
            "" if address.key == address.value else address.key,
        )
        if held.since is not None or held.until is not None:
            times.append((place, held.since, held.until))
            if not all(isfinite(time) for time in (held.since, held.until) if time is not None):
                raise Unstorable(f"{identity.name!r} holds {address} from or until a time that is no number")
    more = _more(identity, times)
    if _CONTROL.search(identity.name):
        more["name"], fields[NAME] = identity.name, ""
    if identity.home == "":
        more["home"] = ""
    try:
        if more:
            fields[MORE] = orjson.dumps(more).decode()
        record = "\t".join(fields)
        size = len(record.encode())
    except (orjson.JSONEncodeError, UnicodeEncodeError) as e:
        raise Unstorable(f"{identity.name!r} cannot be stored: {e}") from None
    if size > _MOST_OCTETS:
        raise Unstorable(f"{identity.name!r} cannot be stored: it takes more than {_MOST_OCTETS >> 20} MiB")
    if record.count("\t") != len(fields) - 1 or _CONTROL_BUT_TAB.search(record):
        raise Unstorable(f"{identity.name!r} cannot be stored: an address or home of it holds a control character")
    if identity.copy_home is not None and _CONTROL.search(identity.copy_home):
        raise Unstorable(f"{identity.name!r} cannot be stored: the name of a home holds a control character")
    if not all(held.address.key for held in identity.addresses):
        raise Unstorable(f"{identity.name!r} cannot be stored: an address of it has an empty key")
    return record


def _more(identity: Identity, times: list[tuple[int, float | None, float | None]]) -> dict[str, Any]:
    more: dict[str, Any] = {}
    if times:
        more["times"] = times  # the first of all; see TIMED
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
    return more


def decode(record: str) -> Identity:
    """Return the identity of a record. Raises: ValueError where it is none."""
    fields = record.split("\t")
    try:
        more = orjson.loads(fields[MORE]) if fields[MORE] else {}
        times = {place: (since, until) for place, since, until in more.get("times", ())}
        return Identity(
            more.get("name", fields[NAME]),
            tuple(
                Held(Address(network, value, key), _ROLE[sign], *times.get(place, (None, None)))
                for place, (sign, network, value, key) in enumerate(_addresses(fields))
            ),
            Kind(more.get("kind", Kind.PERSON)),
            fields[HOME] or more.get("home"),
            Stage(more["stage"]) if "stage" in more else None,
            more.get("copy_home"),
            tuple((name, value) for name, value in more.get("attributes", ())),
            tuple(Address(*member) for member in more.get("members", ())),
            Address(*more["owner"]) if "owner" in more else None,
            more.get("expand", True),
            id=int(fields[NUMBER]),
        )
    except (TypeError, LookupError, AttributeError) as e:
        raise ValueError(f"not an identity's record: {e!r}") from e


def _addresses(fields: Sequence[str]) -> Iterator[tuple[str, str, str, str]]:
    for at in range(FIRST, len(fields), WIDTH):
        tag, value, key = fields[at : at + WIDTH]
        yield tag[0], tag[1:], value, key or value


def _plain(address: Address) -> tuple[str, str, str]:
    return address.network, address.value, address.key
