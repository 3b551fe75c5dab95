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

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass, field
from enum import Enum, Flag, auto, unique
from typing import Any, Final, Literal, Protocol, runtime_checkable

from connectors.smtp import refusals
from connectors.smtp.abreast import MustWait
from connectors.smtp.commands import Mail
from connectors.smtp.header_edits import Edit, edited
from gateway.contract import Address, Content, ContentWriter, Recipient, Status

OnFault = Literal["accept", "tempfail", "reject"]
"""What becomes of mail that a check could not judge."""

_NO_ANSWER: Final = Status("4.7.1", "a check of this mail gave no answer, try again later")
_NO_ANSWER_EVER: Final = Status("5.7.1", "a check of this mail gave no answer")


class Step(Flag):
    """Where in the dialogue a check is asked."""

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
_AT_MAIL: Final = frozenset((Step.HELO, Step.MAIL))


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


class Chain:
    """The checks of one connection."""

    __slots__ = (
        "_asked_about",
        "_checks",
        "_count",
        "_helo",
        "_is_asked_at_mail",
        "_judged",
        "_log",
        "client",
        "judges_at_once",
        "steps",
        "transaction",
    )

    def __init__(
        self,
        checks: Sequence[tuple[CheckMaker, Check, frozenset[Step]]],
        client: Client,
        log: Any,
        count: Callable[..., None],
    ) -> None:
        self._checks = checks
        self._log = log
        self._count = count
        self._helo: str | None = None
        self._asked_about: Recipient | None = None
        """The recipient that the checks look at."""
        self._judged = 0
        """How many checks have said what they have to say of the content."""
        self.client = client
        self.transaction: Transaction | None = None
        self.steps: frozenset[Step] = frozenset().union(*[steps for _, _, steps in checks])
        self._is_asked_at_mail = not self.steps.isdisjoint(_AT_MAIL)
        first = next((type(check) for _, check, steps in checks if Step.CONTENT in steps), Check)
        self.judges_at_once = first.content_at_once is not Check.content_at_once
        """What `content_at_once` does is worth its while."""

    async def connect(self) -> Verdict | None:
        client = self.client
        return await self._ask(Step.CONNECT, lambda check: check.connect(client))

    def begin(self, transaction: Transaction) -> bool:
        """Begin a transaction, and say whether `mail` is to be awaited."""
        self.reset()
        self.transaction = transaction
        return self._is_asked_at_mail

    async def mail(self, transaction: Transaction) -> Verdict | None:
        """Judge a MAIL, after `begin`; what the client calls itself is judged before it where it is new."""
        client = self.client
        if client.helo != self._helo:
            if Step.HELO in self.steps:
                verdict = await self._ask(Step.HELO, lambda check: check.helo(client))
                if verdict is not None and verdict.action is not Action.GO_ON:
                    return verdict
            self._helo = client.helo
        return await self._ask(Step.MAIL, lambda check: check.mail(client, transaction))

    async def rcpt(self, recipient: Recipient) -> Verdict | None:
        client, transaction = self.client, self._begun()
        self._asked_about = recipient
        verdict = await self._ask(Step.RCPT, lambda check: check.rcpt(client, transaction, recipient))
        self._asked_about = None
        return verdict

    async def content(self, content: Content) -> tuple[Verdict | None, Content]:
        """Judge the content; return what was decided, and the content with all that was changed.

        After `content_at_once` it goes on from where that has come, with the content that it returned.
        """
        client, transaction = self.client, self._begun()
        if transaction.edits:
            content = await edited(content, transaction.edits)
            transaction.edits.clear()
        for maker, check, steps in self._checks[self._judged :]:
            if Step.CONTENT not in steps:
                continue
            verdict = await self._one(maker, Step.CONTENT, check.content(client, transaction, content))
            if verdict is None:
                continue
            if verdict.action is not Action.GO_ON:
                return verdict, content
            content = await _applied(verdict, transaction, content)
        return None, content

    async def content_at_once(self, content: Content) -> tuple[Verdict | None, Content, bool]:
        """Judge an inline content as far as that needs no waiting, abreast with others.

        Returns what `content` would, and whether that is all there is to say; if not, `content` goes on from here.
        """
        client, transaction = self.client, self._begun()
        if transaction.edits:
            return None, content, False
        for maker, check, steps in self._checks:
            if Step.CONTENT in steps:
                try:
                    verdict = await self._one_at_once(maker, check.content_at_once(client, transaction, content))
                except MustWait:
                    return None, content, False
                if verdict is not None:
                    if verdict.action is not Action.GO_ON:
                        return verdict, content, True
                    content = await _applied(verdict, transaction, content)
            self._judged += 1
            if not content.is_inline:
                return None, content, False
        return None, content, True

    def reset(self) -> None:
        """The transaction is over."""
        self._asked_about = None
        self._judged = 0
        if self.transaction is not None:
            self.transaction = None
            for _, check, _ in self._checks:
                check.reset()

    def begin_anew(self) -> None:
        """TLS has begun: the client has not said who it is (RFC 3207 §4.2)."""
        self.reset()
        self._helo = None
        self.client.helo = ""

    def close(self) -> None:
        for _, check, _ in self._checks:
            check.close()
        self._checks = ()

    def _begun(self) -> Transaction:
        assert self.transaction is not None
        return self.transaction

    async def _ask(self, step: Step, call: Callable[[Check], Coroutine[Any, Any, Verdict | None]]) -> Verdict | None:
        transaction = self.transaction
        for maker, check, steps in self._checks:
            if step in steps:
                verdict = await self._one(maker, step, call(check))
                if verdict is None:
                    continue
                if verdict.action is not Action.GO_ON:
                    return verdict
                if transaction is not None:
                    transaction.edits += verdict.edits
                    transaction.hold = transaction.hold or refusals.printable(verdict.hold)
        return None

    async def _one(self, maker: CheckMaker, step: Step, check: Coroutine[Any, Any, Verdict | None]) -> Verdict | None:
        try:
            try:
                # Most checks have nothing to wait for most of the time; those cost no timer.
                while (waits := check.send(None)) is None:
                    pass  # between two steps of what can go abreast
            except StopIteration as stop:
                verdict: Verdict | None = stop.value
            else:
                async with asyncio.timeout(maker.timeout_s):
                    verdict = await _gone_on(check, waits)
        except TimeoutError:
            return self._fault(maker, step, f"no answer in {maker.timeout_s:g} s")
        except Exception as fault:  # noqa: BLE001  whatever it is, it must not end the client's connection
            return self._fault(maker, step, str(fault) or type(fault).__name__)
        return self._said(maker, step, verdict)

    async def _one_at_once(self, maker: CheckMaker, check: Coroutine[Any, Any, Verdict | None]) -> Verdict | None:
        """Raises: MustWait."""
        try:
            verdict = await check
        except MustWait:
            raise
        except Exception as fault:  # noqa: BLE001  as in `_one`
            return self._fault(maker, Step.CONTENT, str(fault) or type(fault).__name__)
        return self._said(maker, Step.CONTENT, verdict)

    def _said(self, maker: CheckMaker, step: Step, verdict: Verdict | None) -> Verdict | None:
        if verdict is not None and verdict.action is not Action.GO_ON:
            self._tell(maker, step, verdict)
        return verdict

    def _fault(self, maker: CheckMaker, step: Step, why: str) -> Verdict | None:
        self._count("check_faults", check=maker.name)
        why = refusals.printable(why)
        self._log.warning("check_failed", check=maker.name, step=_word(step), reason=why, then=maker.on_fault)
        if maker.on_fault == "accept":
            return None
        status = _NO_ANSWER if maker.on_fault == "tempfail" else _NO_ANSWER_EVER
        verdict = Verdict(action=Action.REFUSE, status=status.but(cause=why))
        self._tell(maker, step, verdict)
        return verdict

    def _tell(self, maker: CheckMaker, step: Step, verdict: Verdict) -> None:
        """Leave in the log why a client was told no; the counter has the check and the step."""
        status, transaction = verdict.status, self.transaction
        self._count("checks_refused", check=maker.name, step=_word(step))
        asked = () if transaction is None else transaction.recipients
        refusals.line(
            self._log,
            "refused" if verdict.action is not Action.DISCARD else "discarded",
            maker.name,
            _word(step),
            peer=self.client.address,
            helo=self.client.helo,
            user=self.client.user,
            sender="" if transaction is None else f"<{transaction.mail.path}>",
            recipients=refusals.named([self._asked_about] if self._asked_about is not None else asked),
            status=status,
        )


@types.coroutine
def _gone_on(check: Coroutine[Any, Any, Verdict | None], waits: Any) -> Generator[Any, Any, Verdict | None]:
    """Await what a coroutine that has begun waits for, and then the rest of it."""
    while True:
        try:
            sent = yield waits
        except BaseException as fault:  # noqa: BLE001  cancellation too belongs to it
            try:
                waits = check.throw(fault)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]  # its Verdict
        else:
            try:
                waits = check.send(sent)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]  # as above


def _word(step: Step) -> str:
    return (step.name or "").lower()


async def _applied(verdict: Verdict, transaction: Transaction, content: Content) -> Content:
    """Do what a check of the content asked for, and return the content from here on."""
    if verdict.content is not None:
        content = verdict.content
    if verdict.edits:
        content = await edited(content, verdict.edits)
    transaction.hold = transaction.hold or refusals.printable(verdict.hold)
    if verdict.replaced_path:
        transaction.reverse_path = verdict.reverse_path
    if verdict.remove:
        gone = set(verdict.remove)  # whichever way a filter spells them
        transaction.recipients = [r for r in transaction.recipients if r.address not in gone]
    if verdict.add:
        there = {recipient.address for recipient in transaction.recipients}
        transaction.recipients += [r for r in verdict.add if r.address not in there]
    return content


class CheckSet:
    """All checks of a source, in the order in which they are asked."""

    def __init__(self, makers: Sequence[CheckMaker], log: Any, count: Callable[..., None]) -> None:
        self._makers = tuple(makers)
        # Apart, since to ask a Flag what is in it costs more than what most steps do.
        self._steps = tuple(frozenset(step for step in Step if step in maker.steps) for maker in makers)
        self._may_be_down = tuple(maker for maker in makers if isinstance(maker, CanBeDown))
        self._log = log
        self._count = count

    def begin(self, client: Client) -> Chain | None:
        """Return the chain of one connection; None where nothing is to be asked about it."""
        made = [
            (maker, check, steps)
            for maker, steps in zip(self._makers, self._steps, strict=True)
            if (check := maker.begin(client)) is not None
        ]
        return Chain(made, client, self._log, self._count) if made else None

    def look(self, now: float) -> None:
        """See CanBeDown."""
        for maker in self._may_be_down:
            maker.look(now)

    @property
    def trouble(self) -> str:
        """What is down of all that is asked; empty where nothing is."""
        return "; ".join(maker.trouble for maker in self._may_be_down if maker.trouble)

    @property
    def makers(self) -> Sequence[CheckMaker]:
        return self._makers

    def close(self, kept: Sequence[CheckMaker] = ()) -> None:
        """Close the makers, but those that another set has `kept`."""
        for maker in self._makers:
            if not any(maker is each for each in kept):
                maker.close()
