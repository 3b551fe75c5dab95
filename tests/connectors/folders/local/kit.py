"""Local delivery for tests that are about one thing: a connector over a folder, and one message delivered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvloop

from connectors.folders.local import Local
from connectors.folders.local.config import LocalConfig
from gateway.contract import Address, Context, MailRules, Outcome, Parcel
from gateway.testing.peers import KitLog, ListBatch, RecordingIntake, parcel
from mappings.network import network

MESSAGE = (
    b"From: bob@else.example\r\nTo: ann@acme.example\r\nMessage-ID: <1@else.example>\r\nSubject: hi\r\n\r\ntext\r\n"
)
NOW = 1_795_482_123.0


def smtp(text: str) -> Address:
    return network("smtp").parse(text)


class Place:
    """A connector over `folder`/mail. `rules` are by address; `made` is what runs while `deliver` does."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self.folder = folder
        self.mail = folder / "mail"
        self.mail.mkdir(exist_ok=True)
        (folder / "state").mkdir(exist_ok=True)
        self.rules: dict[str, MailRules] = {}
        self.log = KitLog()
        self.intake = RecordingIntake()
        self.now = NOW
        self.loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
        self.config = LocalConfig.model_validate({"path": "mail/{user}", **config})

    def make(self) -> Local:
        context = Context(
            hostname="gw.kit.example",
            state_dir=self.folder / "state",
            base_dir=self.folder,
            log=self.log,
            clock=lambda: self.now,
            stop_s=3.0,
            rules=lambda address: self.rules.get(address.key),
        )
        return Local("kit", self.config, context)

    def deliver(
        self,
        to: str | Sequence[str] = "ann@acme.example",
        message: bytes = MESSAGE,
        *,
        number: int = 1,
        sender: str | None = "bob@else.example",
        fresh: bool = False,
        original: str | None = None,
    ) -> list[Outcome]:
        """Deliver one message, as the dispatcher does, and return the outcomes."""
        addresses = [smtp(text) for text in ([to] if isinstance(to, str) else to)]
        made = parcel(number, addresses, message)
        items = tuple(
            replace(item, fresh=fresh, original=smtp(original) if original else item.original) for item in made.items
        )
        envelope = replace(made.envelope, reverse_path=None if sender is None else smtp(sender))
        with asyncio.Runner(loop_factory=self.loop) as runner:
            return runner.run(self._deliver(replace(made, items=items, envelope=envelope)))

    async def _deliver(self, made: Parcel) -> list[Outcome]:
        connector = self.make()
        await connector.start()
        running = asyncio.ensure_future(connector.run(self.intake))
        try:
            await asyncio.sleep(0)
            batch = ListBatch([made], connector.next_hop(made.items[0].address))
            async with asyncio.timeout(60):
                await connector.deliver(batch)
            return [batch.outcomes[item.id] for item in made.items]
        finally:
            running.cancel()
            await asyncio.wait((running,))
            await connector.stop()
