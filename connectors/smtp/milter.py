"""Milter: a check that asks a filter over the milter protocol, as sendmail and Postfix do.

A filter hears of the client, its HELO, each transaction, and the whole message, and may refuse at every step, change
header, body and envelope at the end, throw the message away or have it held. A connection to the filter serves all
messages of a client, and where `max_idle_connections` says so, one client after another.
Limits: filters hear of recipients that the gateway itself takes, not of those that it refuses; parameters of a
recipient or sender that a filter names are passed over. A recipient that a filter adds is taken under the same rules
as any: a client that may not relay does not by a filter.
"""

from __future__ import annotations

import asyncio
import math
import re
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final

from connectors.smtp import milter_wire as wire
from connectors.smtp.checks import Action, Check, Client, OnFault, Step, Transaction, Verdict, drop, refuse
from connectors.smtp.filter_config import MilterTable, read_networks
from connectors.smtp.header_edits import Edit
from connectors.smtp.milter_connection import Ending, MilterConnection, open_milter
from connectors.smtp.milter_wire import Answer, MilterError, ReplyCode, Stage, Wishes
from connectors.smtp.mx import LookupFault
from connectors.smtp.reception import address
from gateway.contract import Address, AddressError, Content, ContentWriter, Context, Recipient, Status

IDLE_S: Final = 60.0
"""How long an unused connection to a filter is kept."""

RETRY_S: Final = 1.0
"""How long a filter that could not be reached is not tried again."""

LOOK_S: Final = 10.0
"""How often it is looked for while it is down, whether or not mail comes."""

_THEN: Final[dict[OnFault, str]] = {
    "accept": "mail passes without it",
    "tempfail": "mail is put off",
    "reject": "mail is refused",
}
_VERSION_OF_DATA: Final = 4
_CODE: Final = re.compile(r"([45]\d\d)[ -](?:([45]\.\d{1,3}\.\d{1,3})[ ]?)?(.*)", re.DOTALL)
_PREFIX: Final = re.compile(r"(?m)^[45]\d\d[ -](?:[45]\.\d{1,3}\.\d{1,3} ?)?")


class MilterMaker:
    """One configured filter; see CheckMaker."""

    steps = Step.CONNECT | Step.HELO | Step.MAIL | Step.RCPT | Step.CONTENT

    def __init__(self, connector: str, table: MilterTable, max_message_bytes: int, context: Context) -> None:
        self.table = table
        self.name = table.name
        self.timeout_s = table.timeout_s
        self.on_fault: OnFault = table.on_fault
        self.context = context
        self.max_message_bytes = max_message_bytes
        self.known = {"j": context.hostname, "{daemon_name}": connector} | table.macros
        """Macros that are the same for all clients."""
        self._except: tuple[IPv4Network | IPv6Network, ...] = read_networks(table.except_networks)
        self._idle: list[tuple[float, MilterConnection]] = []
        self._is_closed = False
        self._down_until = 0.0
        self._fault = ""
        """Why it could not be reached the last time; empty where it could."""
        self._look_at = math.inf
        """When to look whether it is there again, by the loop's clock."""
        self._looking: asyncio.Task[None] | None = None

    def begin(self, client: Client) -> Check | None:
        if self._except and client.address:
            peer = ip_address(client.address.partition("%")[0])
            if any(peer in network for network in self._except):
                return None
        return Milter(self)

    @property
    def trouble(self) -> str:
        """What is wrong with the filter, and what that does to mail; empty where nothing is."""
        return f"{self.name} is down: {self._fault}; {_THEN[self.on_fault]}" if self._fault else ""

    def look(self, now: float) -> None:
        """Look in the background whether a filter that was down is there again, though no mail asks for it."""
        if now >= self._look_at and not self._is_closed:
            self._look_at = math.inf
            self._looking = asyncio.get_running_loop().create_task(self._look(), name=f"look for milter {self.name}")

    async def _look(self) -> None:
        with suppress(MilterError):
            self.give_back(await self._opened())

    def close(self) -> None:
        self._is_closed = True
        if self._looking is not None:
            self._looking.cancel()
        for _, connection in self._idle:
            connection.close()
        self._idle.clear()

    async def connection(self) -> MilterConnection:
        """Return a connection that has no client: one that has served another, or a new one.

        Raises: OSError, TimeoutError, MilterError.
        """
        now = asyncio.get_running_loop().time()
        while self._idle:
            since, connection = self._idle.pop()
            if now - since <= IDLE_S and connection.may_go_on:
                connection.is_reused = True
                return connection
            connection.close()
        if now < self._down_until:
            raise MilterError("it could not be reached a moment ago")
        return await self._opened()

    async def _opened(self) -> MilterConnection:
        """Return a new connection. Raises: MilterError."""
        try:
            made = await open_milter(self.table.at, self.table.connect_timeout_s)
        except (OSError, MilterError) as fault:
            now = asyncio.get_running_loop().time()
            self._down_until, self._look_at = now + RETRY_S, now + LOOK_S
            was, self._fault = self._fault, f"{self.table.at}: {str(fault) or 'it did not answer'}"
            if not was:
                self.context.log.warning("milter_down", milter=self.name, reason=self._fault)
            raise MilterError(self._fault) from fault
        if self._fault:
            self.context.log.info("milter_back", milter=self.name)
            self._fault = ""
        self._look_at = math.inf
        self.context.count("milter_connections", milter=self.name)
        return made

    def give_back(self, connection: MilterConnection) -> None:
        """Take a connection whose client is gone."""
        if self._is_closed or len(self._idle) >= self.table.max_idle_connections or not connection.may_go_on:
            connection.close()
            return
        connection.say(wire.QUIT_NEXT)
        self._idle.append((asyncio.get_running_loop().time(), connection))


class Milter(Check):
    """What one client asks of one filter."""

    def __init__(self, maker: MilterMaker) -> None:
        self._maker = maker
        self._connection: MilterConnection | None = None
        self._client_is_done = False
        """The filter wants to hear no more of this client."""
        self._message_is_done = False
        """… of this message."""
        self._in_message = False
        """It has heard of a message, and not of its end."""
        self._was_lost = False
        """The filter failed within this transaction, whose other steps fail with it."""
        self._in_step = False
        self._known = dict(maker.known)

    async def connect(self, client: Client) -> Verdict | None:
        with self._whole(in_transaction=False):
            return await self._connect(client)

    async def helo(self, client: Client) -> Verdict | None:
        with self._whole(in_transaction=False):
            return await self._helo(client)

    async def mail(self, client: Client, transaction: Transaction) -> Verdict | None:
        with self._whole():
            if self._connection is None and not self._client_is_done:
                # The filter was lost before, and may be there again.
                verdict = await self._helo(client)
                if verdict is not None:
                    return verdict
            if self._client_is_done:
                return None
            return await self._mail(client, transaction)

    async def rcpt(self, client: Client, transaction: Transaction, recipient: Recipient) -> Verdict | None:
        if self._client_is_done or self._message_is_done:
            return None
        with self._whole():
            connection = self._open()
            if not connection.wants(Wishes.NO_RCPT):
                return None
            path = recipient.address.value
            self._known |= {"{rcpt_addr}": path, "{rcpt_host}": path.rpartition("@")[2], "{rcpt_mailer}": "smtp"}
            self._in_message = True
            told = connection.macros(Stage.RCPT, self._known) + wire.rcpt(path)
            return self._verdict(await connection.step(told, Wishes.NR_RCPT))

    async def content(self, client: Client, transaction: Transaction, content: Content) -> Verdict | None:
        if self._client_is_done or self._message_is_done:
            return None
        with self._whole():
            self._in_message = True
            said = await self._tell(self._open(), content)
            if said is not Answer.CONTINUE:
                return self._verdict(said)
            return await self._end(self._open(), transaction, content)

    def reset(self) -> None:
        if self._in_message and self._connection is not None:
            self._connection.say(wire.ABORT)
        self._in_message = self._message_is_done = self._was_lost = False

    def close(self) -> None:
        if self._in_step and self._connection is not None:
            # The client went while the filter was asked: its answer is still to come, and is nobody's.
            self._connection.abort()
            self._connection = None
        self.reset()
        connection, self._connection = self._connection, None
        if connection is not None:
            self._maker.give_back(connection)

    # The parts of a step

    @contextmanager
    def _whole(self, *, in_transaction: bool = True) -> Iterator[None]:
        """Let go of a connection on which a step came to no end: nobody knows what the filter will say next."""
        if self._was_lost:
            raise MilterError("it was lost within this transaction")
        self._in_step = True
        try:
            yield
        except BaseException:
            self._was_lost = in_transaction
            self._in_message = False
            lost, self._connection = self._connection, None
            if lost is not None:
                lost.abort()
            raise
        finally:
            self._in_step = False

    def _open(self) -> MilterConnection:
        if self._connection is None:
            raise MilterError("it was lost")
        return self._connection

    async def _connect(self, client: Client) -> Verdict | None:
        await self._describe(client)
        while True:
            self._connection = connection = await self._maker.connection()
            if not connection.wants(Wishes.NO_CONNECT):
                return None
            told = wire.connect(self._known["{client_name}"], client.address, client.port)
            try:
                said = await connection.step(connection.macros(Stage.CONNECT, self._known) + told, Wishes.NR_CONNECT)
            except (OSError, MilterError):
                if not connection.is_reused:
                    raise
                connection.abort()  # the filter has closed it since the last client: there may be a new one
            else:
                return self._verdict(said, of_client=True)

    async def _describe(self, client: Client) -> None:
        shown = name = f"[{client.address}]"
        if self._maker.table.client_names and client.address:
            with suppress(LookupFault):
                name = await client.name() or name
            shown = f"{name} {shown}" if name != shown else shown
        self._known |= {
            "_": shown,
            "{client_name}": name,
            "{client_addr}": client.address,
            "{client_port}": str(client.port),
            "{daemon_addr}": client.local[0],
            "{daemon_port}": str(client.local[1]),
        }

    async def _helo(self, client: Client) -> Verdict | None:
        if self._connection is None and not self._client_is_done:
            verdict = await self._connect(client)
            if verdict is not None:
                return verdict
        if self._client_is_done:
            return None
        connection = self._open()
        version, _, cipher = client.tls.partition(" ")
        self._known |= {"{tls_version}": version, "{cipher}": cipher}
        if not connection.wants(Wishes.NO_HELO):
            return None
        told = connection.macros(Stage.HELO, self._known) + wire.helo(client.helo)
        return self._verdict(await connection.step(told, Wishes.NR_HELO), of_client=True)

    async def _mail(self, client: Client, transaction: Transaction) -> Verdict | None:
        connection, mail = self._open(), transaction.mail
        self._known |= {
            "i": secrets.token_hex(5).upper(),
            "{auth_authen}": client.user,
            "{auth_type}": client.mechanism,
            "{mail_addr}": mail.path,
            "{mail_host}": mail.path.rpartition("@")[2],
            "{mail_mailer}": "smtp",
        }
        if not connection.wants(Wishes.NO_MAIL):
            return None
        parameters = [f"SIZE={mail.size}"] if mail.size else []
        if mail.smtputf8:
            parameters.append("SMTPUTF8")
        self._in_message = True
        told = connection.macros(Stage.MAIL, self._known) + wire.mail(mail.path, parameters)
        return self._verdict(await connection.step(told, Wishes.NR_MAIL))

    async def _tell(self, connection: MilterConnection, content: Content) -> Ending:
        """Tell the filter the whole content; return CONTINUE, or what it says before the end."""
        if connection.options.version >= _VERSION_OF_DATA and connection.wants(Wishes.NO_DATA):
            told = connection.macros(Stage.DATA, self._known) + wire.DATA
            if (said := await connection.step(told, Wishes.NR_DATA)) is not Answer.CONTINUE:
                return said
        if connection.wants(Wishes.NO_HEADERS):
            said = await self._tell_header(connection, content)
            if said is not Answer.CONTINUE:
                return said
        if connection.wants(Wishes.NO_EOH):
            told = connection.macros(Stage.END_OF_HEADER, self._known) + wire.END_OF_HEADER
            if (said := await connection.step(told, Wishes.NR_EOH)) is not Answer.CONTINUE:
                return said
        if connection.wants(Wishes.NO_BODY):
            async for piece in _body(content):
                said = await connection.step(wire.body(piece), Wishes.NR_BODY)
                if said is Answer.SKIP:
                    break
                if said is not Answer.CONTINUE:
                    return said
        return Answer.CONTINUE

    async def _tell_header(self, connection: MilterConnection, content: Content) -> Ending:
        keeps_blank = bool(connection.options.wishes & Wishes.LEADING_SPACE)
        # Within a value a line ends with LF, as sendmail has it.
        packets = [
            wire.header(name, value if keeps_blank else value.lstrip(b" \t"))
            for name, value in ((name, value.rstrip(b"\r").replace(b"\r\n", b"\n")) for name, value in content.named)
        ]
        if connection.options.wishes & Wishes.NR_HEADER:
            return await connection.step(b"".join(packets), Wishes.NR_HEADER)
        for packet in packets:
            said = await connection.step(packet)
            if said is Answer.SKIP:
                break
            if said is not Answer.CONTINUE:
                return said
        return Answer.CONTINUE

    async def _end(self, connection: MilterConnection, transaction: Transaction, content: Content) -> Verdict | None:
        body = _NewBody(content, transaction, self._maker.max_message_bytes)
        told = connection.macros(Stage.END, self._known) + wire.END
        changes, said = await connection.end(told, body.add)
        self._in_message = False
        verdict = self._verdict(said)
        if verdict is not None:
            return verdict
        replaced = await body.finish()
        if not changes and replaced is None:
            return None
        return self._changes(changes, replaced)

    def _changes(self, changes: Sequence[wire.Change], content: Content | None) -> Verdict:
        edits: list[Edit] = []
        add: list[Recipient] = []
        remove: list[Address] = []
        hold = ""
        path: tuple[Address | None] | None = None
        for each in changes:
            match each:
                case wire.AddHeader():
                    edits.append(Edit(each.name, each.value))
                case wire.InsertHeader():
                    # 0 is above the server's trace field and 1 below it; ours is put on top later.
                    edits.append(Edit(each.name, each.value, at=max(0, each.index - 1)))
                case wire.ChangeHeader():
                    edits.append(Edit(each.name, each.value or None, nth=max(1, each.index)))
                case wire.AddRecipient():
                    add.append(Recipient(_address(each.address)))
                case wire.DeleteRecipient():
                    remove.append(_address(each.address))
                case wire.ChangeFrom():
                    path = (_address(each.address) if each.address.strip("<>") else None,)
                case wire.Quarantine():
                    if self._maker.table.quarantine == "hold":
                        hold = f"{self._maker.name}: {each.reason[:200] or 'quarantined'}"
        return Verdict(
            edits=tuple(edits),
            hold=hold,
            reverse_path=path[0] if path else None,
            replaced_path=path is not None,
            add=tuple(add),
            remove=tuple(remove),
            content=content,
        )

    def _verdict(self, said: Ending, *, of_client: bool = False) -> Verdict | None:
        """Return what an answer means for the SMTP client."""
        if isinstance(said, ReplyCode):
            return _coded(said.text)
        match said:
            case Answer.ACCEPT:
                if of_client:
                    self._client_is_done = True
                else:
                    self._message_is_done = True
            case Answer.REJECT:
                return refuse("5.7.1", "refused by a filter")
            case Answer.TEMPFAIL:
                return refuse("4.7.1", "a filter asks to try again later")
            case Answer.DISCARD if not of_client:
                self._message_is_done = True
                return Verdict(action=Action.DISCARD)
            case Answer.SHUTDOWN | Answer.FAIL:
                return drop("4.7.0", "a filter ends this connection")
        return None


class _NewBody:
    """The body that a filter puts in the place of what came, piece by piece."""

    def __init__(self, content: Content, transaction: Transaction, limit: int) -> None:
        self._content = content
        self._transaction = transaction
        self._limit = limit
        self._writer: ContentWriter | None = None

    async def add(self, octets: bytes) -> None:
        if self._writer is None:
            assert self._transaction.new_content is not None
            self._writer = self._transaction.new_content()
            head = self._content.head
            self._writer.write(head + b"\r\n" if not head or head.endswith(b"\n") else head + b"\r\n\r\n")
        if self._writer.size + len(octets) > self._limit:
            raise MilterError(f"a body over the limit of {self._limit} octets")
        if not self._writer.write(octets):
            await self._writer.drain()

    async def finish(self) -> Content | None:
        return None if self._writer is None else await self._writer.finish()


async def _body(content: Content) -> AsyncIterator[bytes]:
    """Yield a body in pieces of at most CHUNK; one that is not in memory is read in a thread."""
    if content.is_inline:
        octets = memoryview(content.body())
        for start in range(0, len(octets), wire.CHUNK):
            yield bytes(octets[start : start + wire.CHUNK])
        return
    pieces = content.body_chunks(wire.CHUNK)
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece


def _address(text: str) -> Address:
    try:
        return address(text.strip().removeprefix("<").removesuffix(">"))
    except AddressError as fault:
        raise MilterError(f"the address {text[:100]!r}: {fault.message}") from fault


def _coded(text: str) -> Verdict:
    """Return the verdict that a reply in SMTP's own form stands for. Raises: MilterError."""
    first = _CODE.fullmatch(text)
    if first is None or (first[2] is not None and first[2][0] != first[1][0]):
        raise MilterError(f"the reply {text[:100]!r}")
    lines = [_PREFIX.sub("", line, count=1) for line in text.splitlines()]
    status = Status(first[2] or f"{first[1][0]}.7.1", "\n".join(lines).replace("%%", "%"))
    return Verdict(action=Action.DROP if first[1] == "421" else Action.REFUSE, status=status)
