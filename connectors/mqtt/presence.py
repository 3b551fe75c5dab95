"""Presence: what others at the broker are told of whether we are there, by the last will and by ourselves.

The will is the broker's to publish where the connection ends without a word (MQTT 5.0 §3.1.2.5); one that is ended in
order has none, so we say the same ourselves before we go.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import Final, Protocol

from connectors.mqtt.rules import Will
from connectors.mqtt.wire.values import Outgoing

LEAVE_S: Final = 0.5


class Broker(Protocol):
    """What is asked of a client."""

    def publish(self, out: Outgoing, key: str) -> asyncio.Future[int]: ...


class Presence:
    """One connection's. `client` is the one that has the will."""

    def __init__(self, will: Will | None) -> None:
        self._will = will
        self._numbers = itertools.count(1)
        self.client: Broker | None = None

    @property
    def will(self) -> Outgoing | None:
        """Return what the broker is to publish for us."""
        return None if self._will is None else self._out(self._will, self._will.payload)

    def arrive(self) -> None:
        """Say that we are there; called at each connection."""
        if self._will is not None and self._will.online and self.client is not None:
            self._publish(self._will, self._will.online)

    async def leave(self) -> None:
        """Say that we go, as the will would; wait for the broker's word, but not long."""
        if self._will is None or self.client is None:
            return
        with contextlib.suppress(Exception):  # gone already: then the will says it
            async with asyncio.timeout(LEAVE_S):
                await self._publish(self._will, self._will.payload)

    def _publish(self, will: Will, payload: str) -> asyncio.Future[int]:
        assert self.client is not None
        future = self.client.publish(self._out(will, payload), f"presence.{next(self._numbers)}")
        future.add_done_callback(_heard)
        return future

    @staticmethod
    def _out(will: Will, payload: str) -> Outgoing:
        return Outgoing(will.topic, payload.encode(), will.qos, will.retain)


def _heard(answer: asyncio.Future[int]) -> None:
    """A refusal or a lost connection is no fault here."""
    if not answer.cancelled():
        answer.exception()
