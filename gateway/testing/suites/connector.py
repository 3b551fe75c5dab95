"""What every connector promises, whatever its sides."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from gateway.contract import CONTRACT_VERSION, Capabilities, Connector, Destination, Health, MailboxStore, Source
from gateway.testing.bench import Bench, promise


class Suite:
    """What all suites are: classes of tests, of which a subclass may take a few only.

        class TestOldProtocol(SourceSuite, only=("test_back_pressure_is_the_await",)):

    leaves out all tests but these.
    """

    def __init_subclass__(cls, *, only: tuple[str, ...] | None = None, **more: Any) -> None:
        super().__init_subclass__(**more)
        if only is None:
            return
        tests = {name for name in dir(cls) if name.startswith("test_")}
        unknown = set(only) - tests
        if unknown:
            raise ValueError(f"{cls.__name__} has no tests {', '.join(sorted(unknown))}")
        for name in tests - set(only) - vars(cls).keys():
            setattr(cls, name, None)  # what is None is no test


class ConnectorSuite(Suite):
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
        bare = list(undescribed(connector.kind.Config))
        promise(not bare, "the Config model documents every option", f"gives no description for {', '.join(bare)}")

    def test_unknown_options_are_errors(self, connector: Bench) -> None:
        given = connector.config.model_dump(exclude_unset=True) | {"no_such_option": 1}
        says = "a key that the Config does not know is an error"
        try:
            connector.kind.Config.model_validate(given)
        except ValidationError as caught:
            errors = caught.errors()
        else:
            errors = []
            promise(False, says, "took the option no_such_option = 1")
        wrong = [error["loc"] for error in errors if error["type"] == "extra_forbidden"]
        promise(wrong == [("no_such_option",)], says, f"reported {errors!r} for it")

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
        says = "stop() returns within context.stop_s, also called twice or before start()"

        async def body() -> None:
            for started in (False, True):
                made = connector.make()
                if started:
                    await made.start()
                began = time.monotonic()
                try:
                    async with asyncio.timeout(connector.stop_s + 1):
                        await made.stop()
                        await made.stop()
                except TimeoutError:
                    promise(False, says, f"had not returned after {connector.stop_s + 1:.1f} s")
                took = time.monotonic() - began
                promise(took <= connector.stop_s, says, f"took {took:.1f} s of {connector.stop_s} s")

        connector.run(body())

    def test_the_same_options_may_be_given_again(self, connector: Bench) -> None:
        async def body() -> None:
            made = connector.make()
            await made.start()
            try:
                taken = made.reconfigure(connector.config)
                promise(
                    isinstance(taken, bool),
                    "reconfigure() says whether it takes changed options while running",
                    f"returned {taken!r} for those it has",
                )
                promise(isinstance(made.health(), Health), "health() answers at any time", "does not when reconfigured")
            finally:
                await made.stop()

        connector.run(body())


def undescribed(model: type[BaseModel], at: str = "", seen: frozenset[type] = frozenset()) -> Iterator[str]:
    """Yield the options of a model, and of those that its options are made of, that have no description."""
    for name, info in model.model_fields.items():
        if not info.description:
            yield f"{at}{name}"
        for inner in _models(info.annotation):
            if inner not in seen:
                yield from undescribed(inner, f"{at}{name}.", seen | {model, inner})


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for each in get_args(annotation):
        yield from _models(each)
