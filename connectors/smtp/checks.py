"""Checks: what is asked about a client and its mail while the client waits for the answer.

A CheckMaker stands for one configured check of a source; for each connection it makes a Check, whose steps are awaited
in the order of the dialogue: `connect` before the greeting, `helo` and `mail` at MAIL (what a client calls itself is
of no use before), `rcpt` for each recipient that the gateway would take, `content` once the whole message is there and
before it is accepted. A step that a maker does not name in `steps` is never awaited, and where nothing is configured
the session has no chain at all.

Promises: the checks of one step are asked one after the other in the order of the configuration, each seeing what those
before it changed; each has its own time, after which, as for any exception, its `on_fault` says what becomes of the
mail; a client that goes away or a node that stops cancels the step that is under way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum, Flag, auto, unique
from typing import Final, Literal, Protocol, runtime_checkable

from connectors.smtp.abreast import MustWait
from connectors.smtp.commands import Mail
from connectors.smtp.header_edits import Edit
from gateway.contract import Address, Content, ContentWriter, Recipient, Status, quickly_made

OnFault = Literal["accept", "tempfail", "reject"]
"""What becomes of mail that a check could not judge."""


class Step(Flag):
    """Where in the dialogue a check is asked."""

    __hash__ = object.__hash__  # there is one of each; the hash that enum gives them is a call of Python

    CONNECT = auto()
    HELO = auto()
    MAIL = auto()
    RCPT = auto()
    CONTENT = auto()


@unique
class Action(Enum):
    """What a check wants done."""

    GO_ON = "ask the next"
    REFUSE = "say no to this command, by the status: for good (5) or for now (4)"
    DROP = "say no and close the connection"
    DISCARD = "say yes, and throw the message away"


@quickly_made
@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one step says. A step that has nothing to say returns None, which costs nothing.

    `hold` is why a message is to wait for an operator. `reverse_path`, `add`, `remove` and `content` are heeded at the
    content, `edits` at every step of a transaction. `replaced_path` tells that `reverse_path` is meant, which may be
    None for the null one.
    """

    action: Action = Action.GO_ON
    status: Status | None = None
    edits: tuple[Edit, ...] = ()
    hold: str = ""
    reverse_path: Address | None = None
    replaced_path: bool = False
    add: tuple[Recipient, ...] = ()
    remove: tuple[Address, ...] = ()
    content: Content | None = None
    """The content from here on, in place of the one that was asked about."""


GO_ON: Final = Verdict()


def refuse(code: str, text: str, *, cause: str = "") -> Verdict:
    """Return the verdict that refuses by an enhanced code of class 4 or 5; `cause` is for the log alone."""
    return Verdict(action=Action.REFUSE, status=Status(code, text, cause=cause))


def drop(code: str, text: str, *, cause: str = "") -> Verdict:
    """Return the verdict that ends the connection."""
    return Verdict(action=Action.DROP, status=Status(code, text, cause=cause))


async def _no_name() -> str:
    return ""


@dataclass(slots=True, kw_only=True)
class Client:
    """What is known of the peer; `helo`, `tls` and `user` change as the dialogue goes on."""

    address: str
    """An IP address; empty where the connection has none."""
    port: int = 0
    local: tuple[str, int] = ("", 0)
    """Where it came to."""
    helo: str = ""
    tls: str = ""
    """Version and cipher; empty in clear."""
    user: str = ""
    """Who has logged in by AUTH."""
    mechanism: str = ""
    """The SASL mechanism by which it did."""
    trusted: bool = False
    """It is one of `relay_networks`, or has logged in."""
    welcome: bool = False
    """Some check has said that this client is not to be screened; milters are asked all the same."""
    find_name: Callable[[], Awaitable[str]] = _no_name
    _name: str | None = None

    async def name(self) -> str:
        """Return the name whose addresses hold this address, found by its reverse record; empty where there is none.

        Asks DNS at the first call. Raises: LookupFault where DNS gave no answer.
        """
        if self._name is None:
            self._name = await self.find_name()
        return self._name


@dataclass(slots=True)
class Transaction:
    """One message under way, as the checks see and change it."""

    mail: Mail
    reverse_path: Address | None
    recipients: list[Recipient] = field(default_factory=list)
    """Those that were taken so far."""
    edits: list[Edit] = field(default_factory=list)
    """Changes of the header that were asked for before there was one."""
    hold: str = ""
    welcome: bool = False
    """Some check has said that this message is not to be screened; milters are asked all the same."""
    welcome_to: str = ""
    """The recipient for whom nothing is to be screened: the last one that a check has said so of."""
    new_content: Callable[[], ContentWriter] | None = None
    """Gives a writer for a content over the inline limit that a check puts in the place of what came."""


class Check:
    """What one connection asks of one maker; a subclass overrides the steps that its maker names.

    Every step may raise anything, which is a fault of the check. It may be cancelled at every await.
    """

    async def connect(self, client: Client) -> Verdict | None:
        return None

    async def helo(self, client: Client) -> Verdict | None:
        return None

    async def mail(self, client: Client, transaction: Transaction) -> Verdict | None:
        return None

    async def rcpt(self, client: Client, transaction: Transaction, recipient: Recipient) -> Verdict | None:
        """Judge a recipient, which is in `transaction.recipients` only once all checks have said yes to it."""
        return None

    async def content(self, client: Client, transaction: Transaction, content: Content) -> Verdict | None:
        """Judge a whole message. A content that is not inline is read by `content.stream()`."""
        return None

    async def content_at_once(self, client: Client, transaction: Transaction, content: Content) -> Verdict | None:
        """Judge an inline content as `content` does, but without waiting, side by side with others (see `abreast`).

        Raises: MustWait, which asks for `content`; nothing must have been done by then.
        """
        raise MustWait

    def reset(self) -> None:
        """The transaction is over: accepted, refused, or given up. Called before the next MAIL at the latest."""

    def close(self) -> None:
        """The connection is over; called once, perhaps while no step was ever asked."""


class CheckMaker(Protocol):
    """One configured check."""

    @property
    def name(self) -> str:
        """How the check is called in logs and metrics."""
        ...

    @property
    def steps(self) -> Step: ...

    @property
    def timeout_s(self) -> float:
        """Seconds that one step may take."""
        ...

    @property
    def on_fault(self) -> OnFault: ...

    def begin(self, client: Client) -> Check | None:
        """Return the check of one connection, or None where it is not to be asked about this client."""
        ...

    def close(self) -> None:
        """Keep nothing open from here on; checks that are under way may end in their time."""
        ...


@runtime_checkable
class CanBeDown(Protocol):
    """A CheckMaker that depends on something which may not be there."""

    @property
    def trouble(self) -> str:
        """What is down, in words for an operator; empty where nothing is."""
        ...

    def look(self, now: float) -> None:
        """Begin to look whether it is there, if it is time to, by the loop's clock; called about once a second."""
        ...
