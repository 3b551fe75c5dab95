"""Step: addresses beyond ASCII brought to ASCII, for destinations without SMTPUTF8.

An envelope address keeps its mailbox where only its domain is beyond ASCII (A-labels say the same), or where the person
has another address that is ASCII; else nothing means the same, and the recipient fails with 5.6.7. In a header such an
address becomes an encoded, empty group, so that a person still reads it.
Sources: RFC 6531 §3.2, RFC 5891, RFC 6857 §3.1.8, §3.2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from gateway.adapt.head_step import ADDRESS_FIELDS
from gateway.fidelity import Fate, Note
from gateway.octets import encode_words
from gateway.outcome import Failed
from gateway.spool.api import Delivery, DeliveryId
from gateway.status import Status
from mappings.address import Address
from mappings.fields import scan

NEEDS_UTF8: Final = Failed(Status("5.6.7", "the destination takes no addresses beyond ASCII"))

_ADDR: Final = re.compile(
    rb"<([^<>\s]*[\x80-\xff][^<>\s]*)>|([^\s<>(),:;\"]*[\x80-\xff][^\s<>(),:;\"]*@[^\s<>(),:;\"]+"
    rb"|[^\s<>(),:;\"]+@[^\s<>(),:;\"]*[\x80-\xff][^\s<>(),:;\"]*)"
)

Ascii = Callable[[Address], Address | None]
"""Return an address in ASCII for the same mailbox, None where there is none."""


def plain_recipients(
    deliveries: Sequence[Delivery], ascii_form: Ascii
) -> tuple[dict[DeliveryId, Address], list[tuple[DeliveryId, Failed]]]:
    """Return the addresses that have an ASCII form, and the deliveries whose address has none."""
    addresses: dict[DeliveryId, Address] = {}
    refused: list[tuple[DeliveryId, Failed]] = []
    for delivery in deliveries:
        if delivery.address.value.isascii():
            continue
        plain = ascii_form(delivery.address)
        if plain is None:
            refused.append((delivery.id, NEEDS_UTF8))
        else:
            addresses[delivery.id] = plain
    return addresses, refused


def downgrade_head(head: bytes, ascii_spec: Callable[[str], str | None]) -> tuple[bytes, list[Note]]:
    """Return the header with no address beyond ASCII in its address fields, and notes. `ascii_spec` writes an addr-spec
    in ASCII, None where that can't be."""
    pieces: list[bytes] = []
    notes: list[Note] = []
    at = 0
    for field in scan(head):
        if field.name not in ADDRESS_FIELDS:
            continue
        octets = head[field.start : field.end]
        if octets.isascii():
            continue
        name = field.name.decode("latin-1").title()

        def plain(match: re.Match[bytes], name: str = name) -> bytes:
            spec = match[1] if match[1] is not None else match[2]
            try:
                written = ascii_spec(spec.decode())
            except UnicodeDecodeError:
                written = None
            shown = spec.decode("utf-8", "replace")
            if written is not None:
                notes.append(
                    Note(Fate.MAPPED, f"{name}: {shown} as {written}", "the destination takes ASCII addresses")
                )
                return b"<" + written.encode("ascii") + b">" if match[1] is not None else written.encode("ascii")
            notes.append(
                Note(Fate.DROPPED, f"{name}: {shown}", "the destination takes ASCII addresses; kept as a name")
            )
            return encode_words(spec) + b" :;"

        made = _ADDR.sub(plain, octets)
        if made != octets:
            pieces += [head[at : field.start], made]
            at = field.end
    if not pieces:
        return head, notes
    return b"".join([*pieces, head[at:]]), notes
