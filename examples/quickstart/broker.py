"""A stand-in for the machines of a plant: an MQTT broker (amqtt) and a client of it, which reports and is commanded.

    python broker.py 127.0.0.1:2883     is the broker alone, until Ctrl-C

amqtt speaks MQTT 3.1.1. It reads a CONNECT of version 5 as one of 3.1.1 and waits for octets that never come, instead
of refusing it; after three seconds of that the gateway asks in 3.1.1. `version = "3.1.1"` in gatepost.toml saves them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from dataclasses import dataclass

from amqtt.broker import Broker
from amqtt.client import MQTTClient
from amqtt.errors import BrokerError, ClientError

logging.getLogger("amqtt").setLevel(logging.CRITICAL)  # what matters of it, the tour sees by itself
QOS_1 = 1


@dataclass(frozen=True, slots=True)
class Command:
    """One message that the machines got."""

    topic: str
    payload: bytes

    def __str__(self) -> str:
        return f"{self.topic}: {self.payload.decode(errors='replace')}"


class Machines:
    """The broker, and one client that stands for all machines: what is published below `commands` is in `got`, what is
    published below `reports`, by themselves or whoever may, in `reported`."""

    def __init__(self, commands: str, reports: str) -> None:
        self.got: list[Command] = []
        self.reported: list[Command] = []
        self._commands = commands
        self._reports = reports
        self._broker: Broker | None = None
        self._client: MQTTClient | None = None
        self._listener: asyncio.Task[None] | None = None

    async def start(self, address: str) -> None:
        """Listen on HOST:PORT, and connect the machines. Raises: OSError."""
        try:
            self._broker = await start_broker(address)
            self._client = MQTTClient("machines", {"auto_reconnect": False, "plugins": {}})
            await self._client.connect(f"mqtt://{address}", cleansession=True)
            await self._client.subscribe([(f"{each}/#", QOS_1) for each in (self._commands, self._reports)])
        except (BrokerError, ClientError) as error:
            raise OSError(f"the broker of this tour does not start: {error}") from error
        self._listener = asyncio.create_task(self._listen(self._client))

    async def stop(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
        with contextlib.suppress(BrokerError, ClientError, OSError):
            if self._client is not None:
                await self._client.disconnect()
            if self._broker is not None:
                await self._broker.shutdown()

    def is_heard(self, topics: str) -> bool:
        """Say whether somebody has subscribed to these topics; what is reported before that, nobody gets."""
        return self._broker is not None and bool(self._broker.subscriptions.get(topics))

    async def report(self, topic: str, payload: str) -> None:
        """Publish, and wait until the broker has it. Raises: OSError."""
        if self._client is None:
            raise OSError("the machines are not connected")
        try:
            await self._client.publish(topic, payload.encode(), qos=QOS_1)
        except (BrokerError, ClientError) as error:
            raise OSError(f"the broker of this tour did not take it: {error}") from error

    async def _listen(self, client: MQTTClient) -> None:
        while True:
            message = await client.deliver_message()
            if message is not None:
                came = self.got if message.topic.startswith(f"{self._commands}/") else self.reported
                came.append(Command(message.topic, bytes(message.data or b"")))


async def start_broker(address: str) -> Broker:
    """Start a broker that lets everybody in. Raises: BrokerError."""
    anybody = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    broker = Broker({"listeners": {"default": {"type": "tcp", "bind": address}}, "plugins": anybody})
    await broker.start()
    return broker


async def serve(address: str) -> None:
    """Be a broker until cancelled."""
    broker = await start_broker(address)
    print(f"an MQTT broker has started on {address}; Ctrl-C ends it", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        await broker.shutdown()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:2883"))
