"""LoginSession: a connection whose client can log in; who has is judged by the submission's check, as any client is."""

from __future__ import annotations

from typing import Any

from connectors.smtp.checked_session import CheckedSession
from connectors.smtp.commands import Mail
from connectors.smtp.login.desk import LoggedIn, LogIn, NotLoggedIn, Said
from connectors.smtp.login.steps import Challenge
from connectors.smtp.server_events import Auth, AuthLine, Event
from gateway.contract import Origin


class LoginSession(CheckedSession):
    """One connection to a source with accounts."""

    __slots__ = ("_account", "_login")

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._login: LogIn | None = None
        self._account = ""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._login = None
        if self._account:
            desk = self._shared.login
            assert desk is not None
            desk.leave(self._account)
            self._account = ""

    def _act(self, event: Event) -> None:
        if isinstance(event, Auth):
            desk, layer = self._shared.login, self._layer
            assert desk is not None
            bindings = {} if layer is None else {**self._shared.bindings, **layer.bindings}
            tls = layer is not None
            self._login = desk.begin(event.mechanism, self._peer, self._client, bindings, tls=tls)
            self._ask(self._login.step, self._answered, event.initial)
        elif isinstance(event, AuthLine):
            assert self._login is not None
            self._ask(self._login.step, self._answered, event.octets)
        else:
            super()._act(event)

    def _answered(self, said: Said) -> None:
        wire, desk = self._wire, self._shared.login
        assert desk is not None
        match said:
            case Challenge(octets=octets):
                wire.challenge(octets)
            case LoggedIn(account=account, mechanism=mechanism):
                self._login = None
                self._origin = None
                if self._transport is not None:
                    self._account = account.name
                    desk.enter(account)
                if self._chain is not None:
                    self._chain.client.mechanism = mechanism
                wire.auth_done(account.name)
            case NotLoggedIn(answer=answer, is_error=is_error):
                self._login = None
                wire.auth_failed(answer, is_error=is_error)
        if self._transport is not None:
            self._go_on()

    def _origin_for(self, mail: Mail) -> Origin:
        origin, desk = super()._origin_for(mail), self._shared.login
        if desk is not None and self._account and origin.user != self._account:
            hides = desk.config.hide_client
            self._origin = origin = Origin(
                origin.connector,
                peer="" if hides else origin.peer,
                helo="" if hides else origin.helo,
                protocol=origin.protocol,
                user=self._account,
                tls=origin.tls,
                trusted=origin.trusted,
            )
        return origin
