"""What every connector promises, whatever its sides."""

from __future__ import annotations

import asyncio
import time

import pytest
from pydantic import ValidationError

from gateway.contract import CONTRACT_VERSION, Capabilities, Connector, Destination, Health, MailboxStore, Source
from gateway.testing.bench import Bench, promise


class ConnectorSuite:
    """Tests of `Connector`."""

    def test_it_has_a_side(self, connector: Bench) -> None:
        kind = connector.kind
        promise(issubclass(kind, Connector), "a connector is a subclass of Connector", f"is {kind!r}")
        made = connector.make()
        sides = isinstance(made, Source | Destination | MailboxStore)
        promise(
            sides,
            "a connector has a side: Source, Destination, MailboxStore",
            "has no run(), deliver() or open()",
        )
        found = kind.contract_version
        promise(
            found == CONTRACT_VERSION,
            f"this gateway speaks version {CONTRACT_VERSION} of the contract",
            f"was made for {found}",
        )

    def test_every_option_is_described(self, connector: Bench) -> None:
        bare = [name for name, info in connector.kind.Config.model_fields.items() if not info.description]
        promise(not bare, "the Config model documents every option", f"gives no description for {', '.join(bare)}")

    def test_unknown_options_are_errors(self, connector: Bench) -> None:
        given = connector.config.model_dump(exclude_unset=True) | {"no_such_option": 1}
        with pytest.raises(ValidationError) as caught:
            connector.kind.Config.model_validate(given)
        wrong = [error["loc"] for error in caught.value.errors() if error["type"] == "extra_forbidden"]
        promise(
            wrong == [("no_such_option",)],
            "a key that the Config does not know is an error",
            f"reported {caught.value.errors()!r} for it",
        )

    def test_capabilities_and_health_answer(self, connector: Bench) -> None:
        made = connector.make()
        promise(
            isinstance(made.capabilities, Capabilities) and bool(made.capabilities.header_networks),
            "capabilities names the networks whose addresses its headers can show",
            f"declares {made.capabilities!r}",
        )
        try:
            known = isinstance("".encode(made.capabilities.charset), bytes)
        except LookupError:
            known = False
        promise(known, "capabilities.charset names a codec of Python's", f"declares {made.capabilities.charset!r}")
        promise(isinstance(made.health(), Health), "health() answers at any time", f"returned {made.health()!r}")

    def test_stop_is_bounded_and_may_be_called_twice(self, connector: Bench) -> None:
        async def body() -> None:
            for started in (False, True):
                made = connector.make()
                if started:
                    await made.start()
                began = time.monotonic()
                async with asyncio.timeout(connector.stop_s + 1):
                    await made.stop()
                    await made.stop()
                took = time.monotonic() - began
                promise(
                    took <= connector.stop_s,
                    "stop() returns within context.stop_s, also called twice or before start()",
                    f"took {took:.1f} s of {connector.stop_s} s",
                )

        connector.run(body())
