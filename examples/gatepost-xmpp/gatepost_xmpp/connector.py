"""The connector: both sides over one connection."""

from __future__ import annotations

from typing import Any, ClassVar

from gatepost_xmpp.config import XmppConfig
from gatepost_xmpp.link import Link
from gatepost_xmpp.sending import Ids, Sender
from gatepost_xmpp.stanzas import read
from gatepost_xmpp.taking import Taker
from gateway.contract import Address, Batch, Capabilities, Connector, ConnectorConfig, Context, Health, Intake


class Xmpp(Connector):
    """Carries mail to the users of a chat server, and from them."""

    Config: ClassVar[type[ConnectorConfig]] = XmppConfig
    contract_version: ClassVar[int] = 1
    singleton = True
    config: XmppConfig

    def __init__(self, name: str, config: XmppConfig, context: Context) -> None:
        super().__init__(name, config, context)
        self.takes_reports = True
        ids = Ids(config.secret.get_secret_value().encode() + b" of message ids")
        self._link = Link(config, context, self._arrived)
        self._sender = Sender(config, context, self._link, ids)
        self._taker = Taker(name, config, context, self._link, ids.is_ours)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            header_networks=("xmpp",),
            bare_newlines=True,
            nul=False,
            mime=False,
            tnef=False,
            html=False,
            attachments=False,
            max_size_bytes=self.config.max_text_bytes,
        )

    async def start(self) -> None:
        if self.context.workers > 1:
            raise ValueError(
                "a component has one connection, and this gateway has several workers; set workers = 1, or have a "
                "gateway of its own for the chat"
            )

    async def stop(self) -> None:
        await self._link.close()

    def health(self) -> Health:
        trouble = self._link.trouble
        return Health(False, trouble) if trouble else Health(True)

    def _arrived(self, stanza: Any) -> None:
        arrived = read(stanza.xml)
        if not self._sender.answered(arrived):
            self._taker.arrived(arrived)

    # -- mail from chat users

    async def run(self, intake: Intake) -> None:
        await self._taker.run(intake)

    # -- mail to chat users

    def next_hop(self, address: Address) -> str:
        return address.value.rpartition("@")[2]

    async def deliver(self, batch: Batch) -> None:
        await self._sender.deliver(batch)
