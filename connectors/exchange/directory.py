"""The organisation's directory as a table: recipients as `gatepost map import --format exchange` reads them.

Source: the columns of Get-Recipient (learn.microsoft.com "Get-Recipient").
"""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator, Callable
from typing import Final, TextIO

from connectors.exchange.organisation import Person

COLUMNS: Final = (
    "Name",
    "RecipientType",
    "RecipientTypeDetails",
    "PrimarySmtpAddress",
    "ExternalEmailAddress",
    "EmailAddresses",
    "LegacyExchangeDN",
)
_TYPES: Final = {
    "mailbox": ("UserMailbox", "UserMailbox"),
    "room": ("UserMailbox", "RoomMailbox"),
    "group": ("MailUniversalDistributionGroup", "MailUniversalDistributionGroup"),
    "contact": ("MailContact", "MailContact"),
}
_OTHER: Final = ("UserMailbox", "UserMailbox")


def row(person: Person) -> tuple[str, ...]:
    """Return a person's line of the table. Pure.

    The first of the addresses is the primary one, which Exchange marks by a type in capitals.
    """
    kinds = _TYPES.get(person.kind, _OTHER)
    addresses = [f"SMTP:{person.smtp}"]
    for each in person.addresses:
        kind, _, value = each.partition(":")
        if value and not (kind.lower() == "smtp" and value.lower() == person.smtp.lower()):
            addresses.append(f"{kind.lower()}:{value}" if kind.lower() == "smtp" else f"{kind.upper()}:{value}")
    outside = f"SMTP:{person.smtp}" if person.kind == "contact" else ""
    return (
        person.name or person.smtp,
        *kinds,
        person.smtp,
        outside,
        ";".join(each.replace(";", r"\;") for each in addresses),
        person.legacy_dn or "",
    )


async def write(people: AsyncIterator[Person], to: TextIO, told: Callable[[int], None] = lambda n: None) -> int:
    """Write the table; return the number of people. Who has no SMTP address is left out. Raises: Fault, OSError."""
    writer = csv.writer(to, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    async for person in people:
        if "@" in person.smtp:
            writer.writerow(row(person))
            count += 1
            told(count)
    return count
