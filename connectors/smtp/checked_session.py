"""CheckedSession: a connection whose client and mail are judged by checks, where checks are configured.

Promises: as Session; while a check is awaited nothing else of the dialogue is worked off, so that pipelined commands
keep their order; a client that goes, or a node that stops, gives the check up, and the client is told to come back.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from connectors.smtp.check_chain import Chain
from connectors.smtp.checked_reception import CheckedReception
from connectors.smtp.checks import Action, Client, Step, Verdict
from connectors.smtp.commands import Mail
from connectors.smtp.reception import Reception
from connectors.smtp.replies import refusal, reply
from connectors.smtp.server_events import End
from connectors.smtp.session import HANDED_OVER, STOPPING, Session
from gateway.contract import Message

Asked = Callable[..., Coroutine[Any, Any, Any]]
Then = Callable[[Any], None]


class CheckedSession(Session):
    """One connection. Its chain is made at the greeting, once per connection."""

    __slots__ = ("_chain",)

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._chain: Chain | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_asked:
            self._give_up()
        super().connection_lost(exc)
        if self._chain is not None:
            self._chain.close()

    def stop(self) -> None:
        if self._is_asked:
            self._give_up()
            self._abandon()
            self._stops = True
            self._wire.close(STOPPING)
            self._flush(lingers=False)
        else:
            super().stop()

    def _welcome(self, delay_s: float) -> None:
        if delay_s:
            super()._welcome(delay_s)
            return
        checks = self._shared.checks
        assert checks is not None
        self._chain = chain = checks.begin(self._facts())
        if chain is not None and Step.CONNECT in chain.steps:
            self._ask(chain.connect, self._connect_judged)
        else:
            self._greet()

    def _connect_judged(self, verdict: Verdict | None) -> None:
        if verdict is None or verdict.status is None:
            self._greet()
        else:
            # RFC 5321 §3.1: 554 in the greeting's place; 421 where it is for now
            status = verdict.status
            self._wire.close(reply(554 if status.is_permanent else 421, status.code, status.text))
            self._flush()

    def _facts(self) -> Client:
        transport, shared, peer = self._transport, self._shared, self._peer
        assert transport is not None
        far, near = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        return Client(
            address=peer,
            port=far[1] if far else 0,
            local=(near[0], near[1]) if near else ("", 0),
            tls=self._tls,
            trusted=self._wire.trusted,
            find_name=lambda: shared.find_name(peer),
        )

    # One step after the other

    def _ask(self, work: Asked, then: Then, *of: Any) -> None:
        """Await a check in a task of its own; the wire waits until `then` has answered."""
        self._is_asked = True
        self._task = self._shared.spawn(self._asked(work, then, *of))

    async def _asked(self, work: Asked, then: Then, *of: Any) -> None:
        verdict = await work(*of)
        self._is_asked = False
        self._task = None
        then(verdict)

    def _give_up(self) -> None:
        """Cancel the check under way: nobody waits for what it says."""
        task, self._task = self._task, None
        self._is_asked = False
        if task is not None:
            task.cancel()

    def _begin(self, mail: Mail) -> None:
        shared, wire, chain = self._shared, self._wire, self._chain
        if chain is None:
            super()._begin(mail)
            return
        client, origin = chain.client, self._origin_for(mail)
        if client.tls != origin.tls:
            chain.begin_anew()
        client.helo, client.tls, client.trusted = origin.helo, origin.tls, origin.trusted
        client.user = wire.user
        self._reception = reception = CheckedReception(
            shared.intake, shared.context.log, mail, origin, chain, self._at_content
        )
        if chain.begin(reception.transaction):
            self._ask(chain.mail, self._judged, reception.transaction)
        else:
            wire.take()

    def _take_rcpt(self, reception: Reception) -> None:
        chain = self._chain
        if chain is None or not isinstance(reception, CheckedReception):
            super()._take_rcpt(reception)
            return
        recipient = reception.take_back()
        if Step.RCPT in chain.steps:
            then = partial(self._judged, keep=partial(reception.keep, recipient))
            self._ask(chain.rcpt, then, recipient)
        else:
            reception.keep(recipient)
            self._wire.take()

    def _judged(self, verdict: Verdict | None, keep: Callable[[], None] | None = None) -> None:
        """Answer a MAIL, or the RCPT that `keep` takes."""
        wire, reception = self._wire, self._reception
        assert isinstance(reception, CheckedReception)
        status = None if verdict is None else verdict.status
        if verdict is None or status is None:
            reception.discards = reception.discards or (verdict is not None and verdict.action is Action.DISCARD)
            if keep is not None:
                keep()
            wire.take()
        elif verdict.action is Action.DROP:
            wire.close(reply(521 if status.is_permanent else 421, status.code, status.text))
        else:
            wire.refuse(refusal(status), is_error=status.is_permanent and not wire.trusted)
        if self._transport is not None:
            self._go_on()

    def _end(self, end: End) -> None:
        reception = self._reception
        if isinstance(reception, CheckedReception) and (work := reception.at_once(end)) is not None:
            self._task = HANDED_OVER
            self._shared.abreast.add(work, partial(self._content_judged, reception, end))
        else:
            super()._end(end)

    def _content_judged(self, reception: Reception, end: End, message: Message | None, fault: Exception | None) -> None:
        """Hand the message over; answer, where it is refused; wait, where a check has to."""
        if self._transport is None:  # whoever has gone without an answer comes again
            self._task = None
            self._abandon()
        elif message is not None:
            self._shared.intake.take(message, partial(self._taken, reception))
        elif fault is not None:
            self._taken(reception, None, fault)
        else:
            self._task = self._shared.spawn(self._complete(reception, end))

    def _at_content(self, asks: bool) -> None:
        self._is_asked = asks

    def _finish(self, reception: Reception, answer: bytes, accepted: bool) -> None:
        drops = reception.drops if isinstance(reception, CheckedReception) else None
        if drops is not None:
            # RFC 5321 §3.8: 421 says that the connection is closed, whatever it answers.
            self._wire.close(answer if drops.is_permanent else reply(421, drops.code, drops.text))
        else:
            super()._finish(reception, answer, accepted)
