"""What next hops take, learnt from their answers to EHLO: the weakest of a next hop's hosts, for an hour.

A message is adapted before it is known which host it meets, so what one host of a next hop can't carry is not sent to
the others either. The limit of SIZE is not kept here: no adaptation makes a message smaller, and a host that was not
asked may take more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

from connectors.smtp.client_config import ClientConfig
from connectors.smtp.client_wire import Extensions
from gateway.contract import Capabilities

_KEPT_S: Final = 3600.0
_MOST: Final = 10_000
"""Next hops; the one learnt first is forgotten for a further one, and learnt anew when it is met."""


class _Known(NamedTuple):
    capabilities: Capabilities
    until: float


class Offers:
    """What is known of each next hop, under one configuration."""

    def __init__(self, config: ClientConfig, clock: Callable[[], float]) -> None:
        self._assume_8bit = config.assume_8bit
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self.most = Capabilities(
            header_networks=("smtp",),
            eight_bit=True,
            utf8_addresses=True,
            bare_newlines=False,
            nul=True,
            max_line_octets=998,
            tnef=not config.unpack_tnef,
            # With DSN the peer reports; without it the outcome says `relayed`. An LMTP server delivers for good.
            delivery_reports=config.protocol_out == "smtp",
        )
        """What any peer may carry."""

    def of(self, peer: Extensions) -> Capabilities:
        """Return what one peer carries."""
        return replace(
            self.most,
            eight_bit=peer.eight_bit or self._assume_8bit,
            utf8_addresses=peer.utf8,
            max_size_bytes=peer.size,
        )

    def known(self, next_hop: str) -> Capabilities:
        """Return what every host of a next hop carries that was met within the hour; all there is where none was."""
        held = self._held(next_hop)
        return self.most if held is None else held.capabilities

    def learn(self, next_hop: str, peer: Extensions) -> None:
        """Take over what a host of a next hop offers."""
        held = self._held(next_hop) or _Known(self.most, self._clock() + _KEPT_S)
        before = held.capabilities
        eight_bit = before.eight_bit and (peer.eight_bit or self._assume_8bit)
        utf8 = before.utf8_addresses and peer.utf8
        if (eight_bit, utf8) == (before.eight_bit, before.utf8_addresses):
            return
        self._known[next_hop] = _Known(replace(before, eight_bit=eight_bit, utf8_addresses=utf8), held.until)
        if len(self._known) > _MOST:
            self._known.popitem(last=False)

    def _held(self, next_hop: str) -> _Known | None:
        held = self._known.get(next_hop)
        if held is not None and held.until <= self._clock():
            # A host that was mended, or is the next hop's no more: all is asked for again.
            del self._known[next_hop]
            return None
        return held
