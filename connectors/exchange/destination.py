"""The destination side: mails into mailboxes, or sent by one, each once.

Promises: Delivered only for what Exchange has by its own word, `relayed` where it only took it over to send; every
fault is an outcome, an unknown one a deferral; while the server wants to be left alone nothing is asked.
"""

from __future__ import annotations

import asyncio

from connectors.exchange.common_config import ExchangeConfig
from connectors.exchange.creating import Creating
from connectors.exchange.desk import Desk
from connectors.exchange.organisation import Organisation
from connectors.exchange.sending import Sending
from connectors.exchange.sweep import Sweeper
from gateway.contract import Batch, Context


class ExchangeDestination:
    """Delivers what a batch holds."""

    def __init__(
        self, name: str, config: ExchangeConfig, organisation: Organisation, context: Context, desk: Desk | None = None
    ) -> None:
        self._name = name
        self._log = context.log
        self._desk = desk or Desk(config, organisation, context)
        self._tasks: set[asyncio.Task[None]] = set()
        self._sender = config.send_as if config.mode == "send" else None
        self._sweeper = Sweeper(self._desk, self._sender, keep_sent=config.keep_sent) if self._sender else None

    def trouble(self) -> str | None:
        """Say in words for an operator what does not work."""
        return self._desk.trouble()

    async def stop(self) -> None:
        """End what is under way besides deliveries."""
        tasks = [task for task in self._tasks if not task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=self._desk.context.stop_s * 0.2)

    async def deliver(self, batch: Batch) -> None:
        """Try every item once; raises nothing but cancellation. What is left unsettled is deferred by the core."""
        try:
            if self._sender is None:
                await Creating(self._desk, batch).run()
                return
            await Sending(self._desk, batch, self._sender).run()
            if self._sweeper is not None and self._sweeper.is_due:
                task = asyncio.get_running_loop().create_task(self._sweeper.run())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        except Exception as e:  # noqa: BLE001 - an unknown fault is a deferral of what is not settled
            self._log.error("deliver failed", cause=repr(e), exc_info=e)
