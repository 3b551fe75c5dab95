"""The desk at which clients log in: mechanisms asked, accounts looked up, guesses held back, all of it told.

Promises: a password is looked at after the wait that earlier failures cost; whoever fails reads the same words
whatever was wrong; nothing of a password, token or key is told to anyone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from connectors.smtp.login.accounts import Account, Accounts, PasswordFile, TableAccounts, Unready, folded
from connectors.smtp.login.config import MECHANISMS, LoginConfig
from connectors.smtp.login.dovecot import Dovecot, Exchange
from connectors.smtp.login.ldap import Ldap
from connectors.smtp.login.oauth import Tokens
from connectors.smtp.login.sasl import SIMPLE
from connectors.smtp.login.scram import Scram, usual_form
from connectors.smtp.login.steps import (
    Bearer,
    Challenge,
    Keys,
    Mechanism,
    Password,
    Proven,
    Question,
    Refused,
    ScramKeys,
)
from connectors.smtp.login.throttle import Throttle
from connectors.smtp.tally import Tally
from gateway.contract import Context

WRONG: Final = b"535 5.7.8 the name or the password is wrong\r\n"
MALFORMED: Final = b"501 5.5.2 the mechanism has another form\r\n"
UNREADY: Final = b"454 4.7.0 it cannot be looked up at the moment, try again later\r\n"
BUSY: Final = b"454 4.7.0 one log-in at a time from your address after some that failed, try again later\r\n"

_SCRAM: Final = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")
_PASSWORD: Final = ("PLAIN", "LOGIN")
_OAUTH: Final = ("OAUTHBEARER", "XOAUTH2")
_BINDING: Final = ("SCRAM-SHA-256-PLUS",)
_SECRET_OCTETS: Final = 32


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The client has proven to be this account's."""

    account: Account
    mechanism: str


@dataclass(frozen=True, slots=True)
class NotLoggedIn:
    """It has not; the answer says so. `is_error` counts against it."""

    answer: bytes
    is_error: bool = True


Said = Challenge | LoggedIn | NotLoggedIn


class LoginDesk:
    """What the sessions of one source log in by."""

    def __init__(self, config: LoginConfig, context: Context, tally: Tally | None = None) -> None:
        self.config = config
        self.context = context
        self.throttle = Throttle(tally=tally)
        self.dovecot: Dovecot | None = None
        self.accounts: Accounts | None = None
        self.tokens: Tokens | None = None
        self.secret = b""
        """Makes up the keys of those who do not exist: the same over starts and in all workers, since those of others
        are."""
        self._present: dict[str, tuple[Account, int]] = {}
        """The accounts of the sessions under way, and how many each has."""
        if config.file is not None:
            self.accounts = PasswordFile(context.base_dir / config.file, context.log)
        elif config.table:
            self.accounts = TableAccounts(context)
        elif config.ldap is not None:
            self.accounts = Ldap(config.ldap, context.base_dir)
        elif config.dovecot is not None:
            self.dovecot = Dovecot(str(context.base_dir / config.dovecot), context.log)
        if config.oauth is not None:
            self.tokens = Tokens(config.oauth, context.base_dir, context.clock, context.log)

    async def start(self) -> None:
        """Make ready. Raises: OSError or ValueError that names the option and its mend."""
        self.secret = await asyncio.to_thread(kept_secret, self.context.state_dir / "login-secret")
        for part in (self.dovecot, self.accounts, self.tokens):
            if part is not None:
                await part.start()
        wanted = set(self.config.mechanisms)
        if impossible := sorted(wanted - set(self._possible())):
            raise ValueError(f"login.mechanisms: these accounts cannot serve {', '.join(impossible)}")

    async def stop(self) -> None:
        for part in (self.dovecot, self.accounts):
            if part is not None:
                await part.stop()

    def mechanisms(self, *, binds: bool) -> tuple[str, ...]:
        """Return what is offered, the best first; `binds` where there is something of TLS to bind it to."""
        wanted = self.config.mechanisms
        return tuple(
            name for name in self._possible() if (not wanted or name in wanted) and (binds or name not in _BINDING)
        )

    def _possible(self) -> tuple[str, ...]:
        if self.dovecot is not None:
            # What a channel is bound by would have to be told to Dovecot, too.
            return tuple(name for name in MECHANISMS if name in self.dovecot.mechanisms and name not in _BINDING)
        found: tuple[str, ...] = ()
        if self.accounts is not None:
            found += (_SCRAM if self.accounts.scram else ()) + _PASSWORD
        if self.tokens is not None:
            found += _OAUTH
        return tuple(name for name in MECHANISMS if name in found)

    def begin(self, mechanism: str, peer: str, client: str, bindings: Mapping[str, bytes], *, tls: bool) -> LogIn:
        """Begin a log-in by a mechanism that is offered. `client` is the peer as limits see it."""
        return LogIn(self, mechanism, peer, client, bindings, tls=tls)

    def counted_as(self, login: str) -> str:
        """Return by what tries for an account are counted."""
        return folded(login) if self.accounts is None else self.accounts.counted_as(login)

    # Who is here

    def enter(self, account: Account) -> None:
        """Note a session of an account."""
        _, sessions = self._present.get(account.name, (account, 0))
        self._present[account.name] = (account, sessions + 1)

    def leave(self, name: str) -> None:
        account, sessions = self._present[name]
        if sessions > 1:
            self._present[name] = (account, sessions - 1)
        else:
            del self._present[name]

    def present(self, name: str) -> Account | None:
        """Return an account that a session has logged in as."""
        found = self._present.get(name)
        return None if found is None else found[0]


class LogIn:
    """One log-in under way."""

    def __init__(
        self, desk: LoginDesk, mechanism: str, peer: str, client: str, bindings: Mapping[str, bytes], *, tls: bool
    ) -> None:
        self._desk = desk
        self._name = mechanism
        self._peer = peer
        self._client = client
        self._login = self._counted = ""
        self._account: Account | None = None
        self._exchange: Exchange | None = None
        self._mechanism: Mechanism | None = None
        if desk.dovecot is not None:
            self._exchange = desk.dovecot.exchange(mechanism, peer, tls=tls)
        elif mechanism in _SCRAM:
            # What is offered is what a client can have seen: -PLUS or not.
            offered = desk.mechanisms(binds=bool(bindings))
            binding = bindings if "SCRAM-SHA-256-PLUS" in offered else {}
            form = usual_form if desk.accounts is None else desk.accounts.scram_form
            self._mechanism = Scram(secret=desk.secret, plus=mechanism in _BINDING, bindings=binding, form=form)
        else:
            self._mechanism = SIMPLE[mechanism]()

    async def step(self, response: bytes | None) -> Said:
        """Take the client's response, None for no initial one. Raises nothing but cancellation."""
        try:
            if self._exchange is not None:
                return await self._by_dovecot(self._exchange, response)
            assert self._mechanism is not None
            step = self._mechanism.step(response)
            while isinstance(step, Password | Keys | Bearer):
                known = await self._look_up(step)
                if isinstance(known, NotLoggedIn):
                    return known
                step = self._mechanism.answer(known)
        except Unready as e:
            self._desk.context.log.error("login_unready", peer=self._peer, mechanism=self._name, reason=str(e))
            return NotLoggedIn(UNREADY, is_error=False)
        except asyncio.CancelledError:
            raise
        except Exception:
            self._desk.context.log.exception("login_fault", peer=self._peer, mechanism=self._name)
            return NotLoggedIn(UNREADY, is_error=False)
        if isinstance(step, Challenge):
            return step
        if isinstance(step, Proven) and self._account is not None:
            return self._succeed(self._account)
        return self._fail(step.why if isinstance(step, Refused) else "", MALFORMED if _is_malformed(step) else WRONG)

    async def _look_up(self, question: Question) -> bool | ScramKeys | NotLoggedIn | None:
        """Ask the accounts, after the wait that earlier failures cost."""
        desk, throttle = self._desk, self._desk.throttle
        self._login = question.login
        self._counted = desk.counted_as(question.login)
        if not throttle.enter(self._client, time.monotonic()):
            desk.context.count("login_refusals")
            return NotLoggedIn(BUSY)
        try:
            await asyncio.sleep(throttle.delay_s(self._client, self._counted, time.monotonic()))
            if isinstance(question, Bearer):
                self._account = await self._by_token(question)
            elif desk.accounts is None:
                return None
            elif isinstance(question, Password):
                self._account = await desk.accounts.check(question.login, question.password)
            else:
                found = await desk.accounts.keys(question.login)
                if found is None:
                    return None
                keys, self._account = found
                return keys
            return self._account is not None
        finally:
            throttle.leave(self._client)

    async def _by_token(self, question: Bearer) -> Account | None:
        desk = self._desk
        if desk.tokens is None:
            return None
        named = await desk.tokens.check(question.token)
        if named is None or (question.login and folded(question.login) != folded(named)):
            return None
        self._login, self._counted = named, desk.counted_as(named)
        # Where accounts are kept beside, who has none there is nobody here, and what they say of its addresses holds.
        return Account(named) if desk.accounts is None else await desk.accounts.find(named)

    async def _by_dovecot(self, exchange: Exchange, response: bytes | None) -> Said:
        throttle = self._desk.throttle
        if not throttle.enter(self._client, time.monotonic()):
            return NotLoggedIn(BUSY)
        try:
            await asyncio.sleep(throttle.delay_s(self._client, "", time.monotonic()))
            word, value = await exchange.step(response)
        finally:
            throttle.leave(self._client)
        if word == "CONT":
            return Challenge(value if isinstance(value, bytes) else value.encode())
        self._login = str(value)
        self._counted = folded(self._login)
        return self._succeed(Account(self._login)) if word == "OK" else self._fail("refused by Dovecot", WRONG)

    def _succeed(self, account: Account) -> LoggedIn:
        desk = self._desk
        desk.throttle.succeeded(self._client, self._counted)
        desk.context.count("logins", mechanism=self._name)
        desk.context.log.info("logged_in", user=account.name, peer=self._peer, mechanism=self._name)
        return LoggedIn(account, self._name)

    def _fail(self, why: str, answer: bytes) -> NotLoggedIn:
        desk = self._desk
        desk.throttle.failed(self._client, self._counted, time.monotonic())
        desk.context.count("login_failures", mechanism=self._name)
        desk.context.log.warning(
            "login_failed", user=self._login[:256], peer=self._peer, mechanism=self._name, reason=why
        )
        return NotLoggedIn(answer)


def kept_secret(path: Path) -> bytes:
    """Return the secret of a file, made where there is none; several processes agree on one. Raises: OSError."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        if len(octets := path.read_bytes()) == _SECRET_OCTETS:
            return octets
        path.unlink()
    except FileNotFoundError:
        pass
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(handle, "wb") as file:
            file.write(secrets.token_bytes(_SECRET_OCTETS))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another was first
            os.link(fresh, path)
        return path.read_bytes()
    finally:
        fresh.unlink()


def _is_malformed(step: Any) -> bool:
    return isinstance(step, Refused) and step.is_malformed
