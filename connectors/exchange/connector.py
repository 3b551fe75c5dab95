"""The connector class of both ways into an Exchange organisation: two sides over one Organisation, and their life."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import ClassVar, Final

from connectors.exchange import mailboxes_file
from connectors.exchange.common_config import ExchangeConfig, Watched
from connectors.exchange.destination import ExchangeDestination
from connectors.exchange.organisation import Fault, Organisation
from connectors.exchange.source import ExchangeSource
from connectors.exchange.tokens import Tokens
from gateway.contract import Address, Batch, Capabilities, Connector, Context, Health, Intake

STOP_SHARE: Final = 0.5
"""Of the time to stop in, for requests that are under way."""


class Exchange(Connector):
    """Mailboxes of an Exchange organisation. Subclasses say by which protocol."""

    singleton = True
    protocol: ClassVar[str]
    """What the trace calls the way in."""

    def __init__(self, name: str, config: ExchangeConfig, context: Context) -> None:
        super().__init__(name, config, context)
        self._organisation: Organisation | None = None
        self._destination: ExchangeDestination | None = None
        self._source: ExchangeSource | None = None
        self._watched: list[Watched] = []

    @abstractmethod
    def organisation(self) -> Organisation:
        """Return the organisation, not yet started."""

    # -- what is told

    @property
    def capabilities(self) -> Capabilities:
        """Return what MIME content in base64 carries: all octets as they are, up to a size."""
        config: ExchangeConfig = self.config
        return Capabilities(
            header_networks=("smtp",),
            eight_bit=True,
            utf8_addresses=False,
            bare_newlines=True,
            nul=True,
            max_size_bytes=config.max_message_bytes,
            tnef=config.tnef != "unpack",
            wants_tnef=config.tnef == "make",
        )

    def next_hop(self, address: Address) -> str:
        """Return the mailbox, for Exchange throttles each of them; or the one that sends."""
        config: ExchangeConfig = self.config
        if config.mode == "send" and config.send_as is not None:
            return config.send_as
        return address.value.lower()

    def health(self) -> Health:
        sides = (self._organisation, self._destination, self._source)
        found = [side.trouble() for side in sides if side is not None]
        told = list(dict.fromkeys(text for text in found if text))
        return Health(False, "; ".join(told)) if told else Health(True)

    # -- life

    async def start(self) -> None:
        """Make the way to the server ready; one that is away is told by `health`.

        Raises: OSError or ValueError that names what is wrong.
        """
        self._watched = await asyncio.to_thread(self._all_watched)
        self._organisation = organisation = self.organisation()
        try:
            await organisation.start()
        except Fault as e:
            self.context.log.warning("the server did not answer at the start", cause=str(e))
        self._destination = ExchangeDestination(self.name, self.config, organisation, self.context)

    def _all_watched(self) -> list[Watched]:
        config: ExchangeConfig = self.config
        if config.mailboxes_file is None:
            return config.watch
        watched = [*config.watch, *mailboxes_file.read(self.context.base_dir / config.mailboxes_file)]
        config.model_validate({**config.model_dump(exclude_unset=True), "watch": watched})
        return watched

    async def stop(self) -> None:
        """End every request and stream, within the bound."""
        destination, self._destination = self._destination, None
        if destination is not None:
            await destination.stop()
        organisation, self._organisation = self._organisation, None
        if organisation is not None:
            try:
                async with asyncio.timeout(self.context.stop_s * STOP_SHARE):
                    await organisation.stop()
            except TimeoutError:
                self.context.log.warning("requests to the server did not end in time")

    # -- the two sides

    async def run(self, intake: Intake) -> None:
        assert self._organisation is not None, "run() comes after start()"
        config: ExchangeConfig = self.config
        tokens = Tokens(self.context.state_dir / "tokens.db", self.context)
        self._source = ExchangeSource(
            self.name, config, self._watched, self._organisation, tokens, self.context, self.protocol
        )
        try:
            await self._source.run(intake)
        finally:
            self._source = None
            await tokens.close()

    async def deliver(self, batch: Batch) -> None:
        assert self._destination is not None, "deliver() comes after start()"
        await self._destination.deliver(batch)
