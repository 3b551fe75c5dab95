"""Chain: how the checks of one connection are asked, one after the other, and what comes of what they say.

Where checks need not wait for an answer a content goes through the chain abreast with others (see `abreast`); from the
first that must, it goes on in a task of its own.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any, Final

from connectors.smtp import refusals
from connectors.smtp.abreast import MustWait
from connectors.smtp.checks import Action, CanBeDown, Check, CheckMaker, Client, Step, Transaction, Verdict
from connectors.smtp.header_edits import edited
from gateway.contract import Content, Recipient, Status

_NO_ANSWER: Final = Status("4.7.1", "a check of this mail gave no answer, try again later")
_NO_ANSWER_EVER: Final = Status("5.7.1", "a check of this mail gave no answer")
_AT_MAIL: Final = frozenset((Step.HELO, Step.MAIL))


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
                waits = check.send(None)
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
