"""A crowd of made-up people with three addresses each, the same at every call: the mapping's load.

Half have their home at `oldmhs`, half at `internet`. As after an import, each has its key in the old directory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mappings.address import Address
from mappings.identity import Held, Identity, Role

FIRST: Final = [
    *("ann", "bob", "carl", "dora", "emil", "fay", "gus", "hal", "ida", "jon"),
    *("kim", "lee", "max", "ned", "ola", "pia", "ron", "sue", "tim", "uma"),
]
LAST: Final = [
    *("adams", "baker", "clark", "davis", "evans", "ford", "green", "hall", "irwin", "jones"),
    *("king", "lopez", "moore", "nash", "owens", "price", "reed", "smith", "trent", "young"),
]
HOMES: Final = ("internet", "oldmhs")


def names(number: int) -> tuple[str, str]:
    return FIRST[number % len(FIRST)], LAST[number // len(FIRST) % len(LAST)]


def primary(number: int) -> Address:
    first, last = names(number)
    return _address("smtp", f"{first}.{last}{number}@merged.example")


def alias(number: int) -> Address:
    """The address in the company of before; its number leads, as in those that `smtp-source -N` makes."""
    return _address("smtp", f"{number}load@acme.example")


def old(number: int) -> Address:
    first, last = names(number)
    return _address("mhs", f"{first[0]}{last}{number}@wg{number % 97}")


def person(number: int) -> Identity:
    first, last = names(number)
    return Identity(
        f"{first.title()} {last.title()}",
        (
            Held(primary(number), Role.PRIMARY),
            Held(alias(number), Role.ALIAS),
            Held(old(number), Role.PRIMARY),
        ),
        home=HOMES[number % len(HOMES)],
        attributes=(("ref", f"cn={first}{number},ou=people"), ("source", "hq")),
    )


def crowd(size: int) -> Iterator[Identity]:
    return map(person, range(1, size + 1))


def _address(network: str, text: str) -> Address:
    return Address(network, text, text)
