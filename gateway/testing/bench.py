"""The bench a connector is tested on: its class, a configuration, a driver that stands for its foreign peer.

    class TestPigeon(SourceSuite, DestinationSuite):
        connector = fixture_of(Pigeon, config={"loft": "{tmp}/loft"}, driver=PigeonDriver)

`{tmp}` in a configured text is a folder of the test's own, `{port}` and `{peer_port}` are free ports on 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest

from gateway.contract import Address, Connector, Context
from gateway.testing.calls import Calls
from gateway.testing.crash import pause_s
from gateway.testing.peers import KitLog
from gateway.testing.samples import MARK, body_of, number_in
from gateway.testing.stall import StallWatch

T = TypeVar("T")

PATIENCE_S = 20.0
"""How long anything that must happen may take."""


class Broken(AssertionError):
    """A sentence of the contract does not hold."""


def promise(held: bool, says: str, found: str, *, who: str = "the connector") -> None:
    """Raise Broken, in words, unless a sentence of the contract `held`."""
    __tracebackhide__ = True
    if not held:
        raise Broken(f"\n  the contract promises: {says}\n  {who + ':':22} {found}")


class SourceDriver(ABC):
    """Stands for the foreign peer that sends to a source. Called from outside of the connector's event loop.

    It behaves as its network's peers do: where one tries again after a temporary refusal or a lost connection, it
    does, every 0.2 s or so.
    """

    in_flight_bound: ClassVar[int]
    """The most messages that the source, configured as it is here, may hand over at once."""

    flood: ClassVar[int] = 50
    """How many messages are sent at once to see whether that bound is kept: more than it."""

    mark: ClassVar[bytes] = MARK
    """The field, in lower case, in which the number of a message comes; another one where the network renames it."""

    def number(self, octets: bytes) -> int | None:
        """Return the number of a message that was handed over, None where it has none; for networks without fields."""
        return number_in(octets, self.mark)

    @abstractmethod
    def submit(self, number: int, octets: bytes) -> None:
        """Begin to hand over a message, for one recipient; return at once. Also where no connector runs yet."""

    @abstractmethod
    def acknowledged(self) -> set[int]:
        """Return the numbers of the messages that the peer was told are taken."""

    @abstractmethod
    def refused(self) -> set[int]:
        """Return the numbers of those that were refused for good, in the form the peer or an operator sees."""

    def body_carried(self, body: bytes) -> bytes:
        """Return the body that the network itself makes of one, where it can't carry it as it is."""
        return body

    def carried(self, sent: bytes, got: bytes) -> bool:
        """Tell whether `got`, which was handed over, is what the network makes of `sent`; for one that carries text."""
        return got.endswith(self.body_carried(body_of(sent)))

    def close(self) -> None:
        """Let go of everything."""
        return


@dataclass(frozen=True, slots=True)
class Got:
    """One message as a destination's peer has it: for whom, and its octets."""

    recipients: frozenset[str]
    octets: bytes


class DestinationDriver(ABC):
    """Stands for the next hop of a destination. Called from outside of the connector's event loop."""

    together: ClassVar[int] = 200
    """How many messages are sent in one call to see that each is settled as it is known; few where each costs much."""

    @abstractmethod
    def recipient(self, number: int) -> Address:
        """Return the address of a recipient whom the peer takes mail for."""

    @abstractmethod
    def utf8_recipient(self) -> Address | None:
        """Return one whose address is not ASCII, whom the peer takes mail for if it can be reached at all; None where
        the network has no such addresses."""

    def refused_recipient(self) -> Address | None:
        """Return one whom the peer refuses for good; None where it can't refuse anybody."""
        return None

    def has_number(self, got: Got, number: int) -> bool:
        """Tell whether this is the kit's message of a number: by its field, or by its subject where it has none."""
        return MARK + b": %d\r\n" % number in got.octets.lower()

    @abstractmethod
    def received(self) -> list[Got]:
        """Return what the peer has taken responsibility for so far."""

    def made_anew(self, sent: bytes, got: bytes) -> bool:
        """Tell whether `got` is what the network makes of `sent`, for one that carries no octets.

        An outcome's notes then have to say what it altered; not so where the Capabilities say `mime=False`, which tells
        it beforehand: there `sent` is what the core has made of a message for them, one text and files.
        """
        return False

    @abstractmethod
    def break_peer(self) -> None:
        """Make the whole next hop unusable."""

    @abstractmethod
    def mend_peer(self) -> None:
        """Undo `break_peer`."""

    def close(self) -> None:
        """Let go of everything."""
        return


class MailboxDriver(ABC):
    """Stands for the server of a mailbox store. Called from outside of the connector's event loop."""

    @abstractmethod
    def mailbox(self) -> str:
        """Return the name of a mailbox with nothing in it, a new one each time."""

    def put(self, mailbox: str, items: Sequence[bytes]) -> None:
        """Have items come into a mailbox's inbox as they do from elsewhere; for a store that is not `writable`."""
        raise NotImplementedError

    def forget_tokens(self) -> None:
        """Let no change token be known that was given out so far; for a store that gives any."""
        raise NotImplementedError

    def carried(self, sent: bytes, got: bytes) -> bool:
        """Tell whether what came back is what the store makes of what was put in; for one that is not exact."""
        return sent == got

    @abstractmethod
    def break_peer(self) -> None:
        """Make the whole store unusable."""

    @abstractmethod
    def mend_peer(self) -> None:
        """Undo `break_peer`."""

    def close(self) -> None:
        """Let go of everything."""
        return


class Bench:
    """One connector under test: `make` builds it anew as a restart does, `driver` is its peer."""

    stop_s = 3.0

    def __init__(
        self, kind: type[Connector], config: Mapping[str, Any], driver: Callable[[Bench], Any], tmp: Path
    ) -> None:
        self.kind = kind
        self.tmp = tmp
        self.port, self.peer_port = _free_ports(2)
        self.log = KitLog()
        self.counted: dict[str, int] = {}
        (tmp / "state").mkdir(exist_ok=True)
        self.calls = Calls()
        self.driver: Any = driver(self)  # before the configuration: it may have chosen `peer_port` itself
        self.calls.watch_peer(self.driver)
        self.config = kind.Config.model_validate(self._filled(config))

    def make(self) -> Any:
        """Return a new instance over the same folders, ports and peer."""
        context = Context(
            hostname="gw.kit.example",
            state_dir=self.tmp / "state",
            base_dir=self.tmp,
            log=self.log,
            clock=time.time,
            stop_s=self.stop_s,
            count=self._count,
        )
        return self.calls.watch(self.kind("kit", self.config, context))

    def run(self, body: Coroutine[Any, Any, T]) -> T:
        """Run one test's coroutine: it has an end, and nothing blocks the loop meanwhile. Raises: Broken."""
        __tracebackhide__ = True
        watch = StallWatch(self.kind, type(self.driver))

        async def bounded() -> T:
            watch.start()
            try:
                async with asyncio.timeout(4 * PATIENCE_S):
                    return await body
            finally:
                watch.stop()

        try:
            result = asyncio.run(bounded())
        except TimeoutError:
            self._not_blocked(watch)
            promise(False, "every call comes to an end", f"was still busy with one after {4 * PATIENCE_S:.0f} s")
            raise
        except Broken:
            self._not_blocked(watch)
            raise
        self._not_blocked(watch)
        return result

    def _not_blocked(self, watch: StallWatch) -> None:
        found = watch.found
        promise(found is None, "nothing blocks the event loop: what takes long is awaited, or in a thread", f"{found}")

    async def until(self, done: Callable[[], bool], says: str, found: Callable[[], str] | str) -> None:
        """Wait until `done`; where that takes too long, the contract is broken."""
        __tracebackhide__ = True
        began = time.monotonic()
        while not done():
            waited = time.monotonic() - began
            if waited > PATIENCE_S:
                told = found if isinstance(found, str) else found()
                logged = f"; the last it logged is {self.log.lines[-1]}" if self.log.lines else ""
                promise(False, says, f"{told}{logged}")
            await asyncio.sleep(pause_s(waited))

    def _filled(self, value: Any) -> Any:
        if isinstance(value, str):
            filled = value.replace("{tmp}", str(self.tmp))
            return filled.replace("{port}", str(self.port)).replace("{peer_port}", str(self.peer_port))
        if isinstance(value, Mapping):
            return {key: self._filled(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self._filled(each) for each in value]
        return value

    def _count(self, name: str, value: int = 1, **labels: Any) -> None:
        self.counted[name] = self.counted.get(name, 0) + value


def fixture_of(kind: type[Connector], *, config: Mapping[str, Any], driver: Callable[[Bench], Any]) -> Any:
    """Return the fixture that a suite takes its connector from."""

    @pytest.fixture
    def connector(self: object, tmp_path: Path) -> Iterator[Bench]:
        bench = Bench(kind, config, driver, tmp_path)
        try:
            yield bench
        finally:
            bench.driver.close()

    connector.gatepost_kind = kind  # type: ignore[attr-defined]  # so that a connector's suites can be told from others
    return connector


def _free_ports(count: int) -> tuple[int, ...]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = tuple(each.getsockname()[1] for each in sockets)
    for each in sockets:
        each.close()
    return ports
