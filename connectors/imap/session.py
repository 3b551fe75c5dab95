"""A session: a connection that is logged in, and the folder it has selected.

Promises: the password is sent only once TLS is on, where TLS is asked for; STARTTLS is never left out since the server
does not offer it; what the server offers is asked for again after each step that may change it. A folder is selected
once, and stays so until another one is.
Source: RFC 9051 §6.2, §6.3.1 (ENABLE), §6.3.2; RFC 4616 (PLAIN), RFC 4959 (SASL-IR), RFC 7628 (OAUTHBEARER),
RFC 7162 (QRESYNC), RFC 6855 (UTF8=ACCEPT), RFC 2971 (ID).
"""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from connectors.imap.connection import Closed, Connection, NotLoggedIn, Refused
from connectors.imap.wire.commands import Piece, astring, command, folder, joined
from connectors.imap.wire.dialogue import Untagged
from connectors.imap.wire.responses import Data, Said, as_number
from connectors.imap.wire.tokens import Limits, Spill
from gateway.mailbox_login import Login

_PREAUTH: Final = "PREAUTH"
OF_REV2: Final = frozenset(
    ("ENABLE", "ESEARCH", "IDLE", "LIST-EXTENDED", "LIST-STATUS", "MOVE", "NAMESPACE", "UIDPLUS", "UNSELECT")
)
"""What IMAP4rev2 has without saying so (RFC 9051, appendix E)."""


@dataclass(slots=True)
class Selected:
    """A folder as SELECT told it, and as the server keeps telling it."""

    name: bytes
    is_readonly: bool
    exists: int = 0
    uidvalidity: int = 0
    uidnext: int | None = None
    modseq: int | None = None
    """The highest; None where the server keeps none for this folder."""
    flags: frozenset[bytes] = frozenset()
    permanent: frozenset[bytes] | None = None
    """Flags that are kept; None where the server does not say: all that it knows."""

    @property
    def takes_keywords(self) -> bool:
        return self.permanent is None or b"\\*" in self.permanent


class Session:
    """A connection that is logged in. `utf8`: folders' names are UTF-8."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.selected: Selected | None = None
        self.utf8 = False
        self.qresync = False
        self.rev2 = False
        """IMAP4rev2 is spoken: it was enabled, or the server knows nothing else."""
        self.greeted = ""
        connection.unasked = self._unasked

    def has(self, name: str) -> bool:
        """Say whether the server offers something, or has it as a part of IMAP4rev2."""
        return name in self.connection.capabilities or (self.rev2 and name in OF_REV2)

    def name(self, of: bytes | str) -> Piece:
        """Return a folder's name for a command."""
        return folder(of, utf8=self.utf8)

    async def select(self, name: bytes, *, readonly: bool = False, anew: bool = False) -> Selected:
        """Return the folder, selected. One that is selected already stays so, unless it is to be told of `anew`.

        Raises: Refused, Closed.
        """
        now = self.selected
        if now is not None and not anew and now.name == name and (readonly or not now.is_readonly):
            if not self.has("CONDSTORE"):
                # Courier does not know a message that came meanwhile, by whichever way, until it may tell of it.
                self.connection.put(command(b"NOOP"), lambda said: None)
            return now
        self.selected = None
        found = Selected(name, readonly)

        def takes(what: Untagged) -> bool:
            return _learn(found, what)

        verb = b"EXAMINE " if readonly else b"SELECT "
        condstore = b" (CONDSTORE)" if self.has("CONDSTORE") and not self.qresync else b""
        said = await self.connection.ask(joined(verb, self.name(name), condstore), takes, alone=True)
        if said.code is not None and said.code.name == "READ-ONLY":
            found.is_readonly = True
        if not self.has("CONDSTORE") and not self.has("QRESYNC"):
            found.modseq = None  # told, and not to be asked by
        if found.uidnext is None:
            await self._ask_uidnext(found)
        self.selected = found
        return found

    async def unselect(self) -> None:
        """Let go of the selected folder without expunging anything. Raises: Refused, Closed."""
        if self.selected is None:
            return
        if not self.has("UNSELECT"):
            await self.select(self.selected.name, readonly=True, anew=True)  # CLOSE expunges nothing then
            await self.connection.ask(command(b"CLOSE"), alone=True)
        else:
            await self.connection.ask(command(b"UNSELECT"), alone=True)
        self.selected = None

    def _unasked(self, what: Untagged) -> None:
        if self.selected is not None:
            _learn(self.selected, what)

    async def _ask_uidnext(self, folder: Selected) -> None:
        """Ask for a selected folder's next UID: Courier tells it by STATUS alone."""

        def takes(what: Untagged) -> bool:
            if not isinstance(what, Data) or what.name != "STATUS" or len(what.values) < 2:
                return False
            told = what.values[1]
            if isinstance(told, list) and len(told) == 2:
                folder.uidnext = as_number(told[1])
            return True

        try:
            await self.connection.ask(joined(b"STATUS ", self.name(folder.name), b" (UIDNEXT)"), takes)
        except Refused:
            return

    async def logout(self) -> None:
        """Say goodbye; the connection is over then."""
        try:
            async with asyncio.timeout(5):
                await self.connection.ask(command(b"LOGOUT"))
        except (Refused, Closed, TimeoutError):
            pass
        self.connection.end("logged out")


def _learn(folder: Selected, what: Untagged) -> bool:
    if isinstance(what, Data):
        if what.name == "EXISTS" and what.number is not None:
            folder.exists = what.number
        elif what.name == "EXPUNGE":
            folder.exists = max(0, folder.exists - 1)
        elif what.name == "FLAGS" and what.values and isinstance(what.values[0], list):
            folder.flags = frozenset(each for each in what.values[0] if isinstance(each, bytes))
        else:
            return False
        return True
    if not isinstance(what, Said) or what.code is None:
        return False
    code = what.code
    if code.name == "UIDVALIDITY":
        folder.uidvalidity = code.number() or 0
    elif code.name == "UIDNEXT":
        folder.uidnext = code.number()
    elif code.name == "HIGHESTMODSEQ":
        folder.modseq = code.number()
    elif code.name == "NOMODSEQ":
        folder.modseq = None
    elif code.name == "PERMANENTFLAGS" and code.values and isinstance(code.values[0], list):
        folder.permanent = frozenset(each for each in code.values[0] if isinstance(each, bytes))
    else:
        return False
    return True


async def open_session(
    host: str,
    port: int,
    login: Login,
    *,
    tls: ssl.SSLContext | None,
    starttls: bool,
    connect_timeout_s: float,
    timeout_s: float,
    compress: bool = True,
    spill: Callable[[bytes, int], Spill | None] | None = None,
    limits: Limits | None = None,
) -> Session:
    """Connect, log in, and turn on what the server offers and we use.

    Raises: Closed, Refused, OSError (also of TLS), TimeoutError.
    """
    loop = asyncio.get_running_loop()
    connection: Connection | None = None
    try:
        async with asyncio.timeout(connect_timeout_s):
            _, connection = await loop.create_connection(
                lambda: Connection(timeout_s=timeout_s, spill=spill, limits=limits or Limits()),
                host,
                port,
                ssl=None if starttls else tls,
                server_hostname=host if tls and not starttls else None,
            )
            session = Session(connection)
            said = await connection.greeting()
            session.greeted = said.text
            if starttls and tls is not None:
                if said.word == _PREAUTH:
                    raise Closed("the server logs us in before TLS can begin")
                await connection.ask(command(b"STARTTLS"), alone=True)
                await connection.start_tls(tls, host)
            if not connection.capabilities:
                await connection.ask(command(b"CAPABILITY"))
            if said.word != _PREAUTH:
                await _log_in(connection, login)
            await _prepare(session, compress=compress)
    except BaseException as fault:
        if connection is not None:
            connection.end(f"not logged in: {fault}")
        raise
    return session


async def _log_in(connection: Connection, login: Login) -> None:
    """Log in. Raises: NotLoggedIn, Closed."""
    before = connection.capabilities
    way = login.way
    if way == "auto":
        way = "plain" if "AUTH=PLAIN" in before or login.act_as else "login"
    try:
        if way == "login":
            pieces = (b"LOGIN ", astring(login.name.encode()), b" ", astring(login.secret.encode()))
            said = await connection.ask(joined(*pieces), alone=True)
        else:
            said = await _authenticate(connection, way, first_answer(way, login))
    except Refused as refused:
        raise NotLoggedIn(refused.said) from None
    if said.code is None or said.code.name != "CAPABILITY":
        await connection.ask(command(b"CAPABILITY"))


def first_answer(way: str, login: Login) -> bytes:
    """Return what a SASL mechanism says first (RFC 4616 §2, RFC 7628 §3.1, and Google's description of XOAUTH2)."""
    name, secret = login.name, login.secret
    if way == "plain":
        return f"{login.act_as}\0{name}\0{secret}".encode()
    if way == "xoauth2":
        return f"user={name}\x01auth=Bearer {secret}\x01\x01".encode()
    escaped = name.replace("=", "=3D").replace(",", "=2C")
    return f"n,a={escaped},\x01auth=Bearer {secret}\x01\x01".encode()


async def _authenticate(connection: Connection, way: str, first: bytes) -> Said:
    """Run a mechanism of one step. Raises: Refused with what the server told of it."""
    answer = b64encode(first)
    told: list[bytes] = []
    sent = bool(connection.capabilities & {"SASL-IR", "IMAP4REV2"})

    def goes(text: bytes) -> bytes:
        nonlocal sent
        if not sent:
            sent = True
            return answer + b"\r\n"
        told.append(text)  # an error in JSON, which an empty answer makes the server say NO to
        return b"\r\n"

    name = way.upper().encode()
    pieces = (b"AUTHENTICATE ", name, b" " + answer if sent else b"")
    return await connection.ask(joined(*pieces), goes=goes, alone=True)


async def _prepare(session: Session, *, compress: bool) -> None:
    """Turn on what is used where it is there; a server that refuses it goes without."""
    connection = session.connection
    session.rev2 = session.has("IMAP4REV2") and not session.has("IMAP4REV1")
    session.utf8 = session.rev2
    wanted = [each for each in ("QRESYNC", "UTF8=ACCEPT") if session.has(each)]
    if session.has("IMAP4REV2") and session.has("IMAP4REV1"):
        wanted.append("IMAP4rev2")
    if "QRESYNC" not in wanted and session.has("CONDSTORE"):
        wanted.append("CONDSTORE")
    if wanted and session.has("ENABLE"):
        enabled: set[str] = set()

        def takes(what: Untagged) -> bool:
            if not isinstance(what, Data) or what.name != "ENABLED":
                return False
            enabled.update(each.decode("ascii", "replace").upper() for each in what.values if isinstance(each, bytes))
            return True

        try:
            await connection.ask(command(b"ENABLE", *(each.encode() for each in wanted)), takes)
        except Refused:
            enabled.clear()
        session.qresync = "QRESYNC" in enabled
        session.rev2 = session.rev2 or "IMAP4REV2" in enabled
        session.utf8 = session.rev2 or "UTF8=ACCEPT" in enabled
    if compress and session.has("COMPRESS=DEFLATE"):
        try:
            await connection.ask(command(b"COMPRESS", b"DEFLATE"), alone=True)
        except Refused:
            return
        connection.compress()
