"""Fitted: what comes out of an adaptation as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.fidelity import INTACT, Fidelity
from gateway.frozen import quickly_made
from gateway.message import Content, Envelope
from gateway.outcome import Failed
from gateway.spool.api import DeliveryId
from mappings.address import Address


@quickly_made
@dataclass(frozen=True, slots=True)
class Fitted:
    """A message made to fit a destination. `refused` are deliveries that no form of it fits; with all of them refused,
    `content` is not to be sent."""

    content: Content
    envelope: Envelope
    fidelity: Fidelity = INTACT
    refused: tuple[tuple[DeliveryId, Failed], ...] = ()
    addresses: Mapping[DeliveryId, Address] = field(default_factory=dict)
    """Where a recipient's address had to be written in another way for this destination."""
