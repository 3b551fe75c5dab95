"""Sendmail: the connector that takes what `gatepost-sendmail` hands over, by its socket and by its drop folder.

Promises: an exit status of 0 is told once the message is in the spool; who handed it in is told by the kernel; what
lies in the drop folder is claimed by a rename, taken once by the hand-over's id, and removed once it is in the spool;
what cannot be taken is put aside for an operator; a caller that says nothing more is dropped after a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import struct
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from pydantic import Field

from gateway.contract import (
    AddressError,
    Connector,
    ConnectorConfig,
    Content,
    ContentWriter,
    Context,
    Envelope,
    Health,
    Intake,
    Origin,
    Recipient,
    Rejected,
    Status,
    Unavailable,
    id_text,
)
from gateway.sendmail import handover, options
from gateway.sendmail.dropped import Bad, Dropped, Folder
from gateway.sendmail.lines import ToCrlf, without_from_line
from gateway.sendmail.queue import explained, listed
from gateway.sendmail.taken import Desk, Senders, User, Words
from gateway.sendmail.way import DROP, FOLDER, SOCKET
from mappings.network import network

INLINE: Final = 128 * 1024
SILENT_S: Final = 60.0
MOST_AT_ONCE: Final = 64
MOST_OF_ONE: Final = 16
"""Callers of one user at once; root's own are not counted."""
MOST_PATH: Final = 107
LOOK_S: Final = 1.0
AGAIN_S: Final = 60.0
_CREDENTIALS: Final = struct.Struct("3i")

_EX_NOUSER, _EX_UNAVAILABLE, _EX_TEMPFAIL, _EX_NOPERM, _EX_DATAERR = 67, 69, 75, 77, 65
_CUT: Final = Status("5.6.0", "the hand-over ended before the message did")
_EXITS: Final = {"5.1.1": _EX_NOUSER, "5.1.3": _EX_DATAERR, "5.7.1": _EX_NOPERM, "5.5.4": options.USAGE}


class SendmailConfig(ConnectorConfig):
    """Options of the sendmail connector."""

    folder: str = Field(
        FOLDER,
        description="Folder of the socket and the drop folder, as `gatepost-sendmail` looks for it.",
    )
    domain: str | None = Field(
        None, description="Domain of names without one, and of the users themselves. Absent: the gateway's name."
    )
    senders: Senders = Field(
        "warn",
        description="Who may name another sender by -f: 'any': everybody; 'warn': everybody, and a header field says "
        "who did; 'own': nobody but `trusted_users`.",
    )
    trusted_users: tuple[str, ...] = Field(
        ("root", "daemon", "uucp", "www-data"),
        description="Users who may name any sender, and of whom nothing is told.",
    )
    max_message_bytes: int = Field(100 * 1024 * 1024, ge=65536, description="Octets of one message.")


class Sendmail(Connector):
    """The daemon's side of `gatepost-sendmail`."""

    Config = SendmailConfig

    def __init__(self, name: str, config: SendmailConfig, context: Context) -> None:
        super().__init__(name, config, context)
        self._config = config
        self._place = context.base_dir / config.folder
        self._desk = Desk(
            name,
            context.hostname,
            config.domain or context.hostname,
            config.senders,
            frozenset(config.trusted_users),
        )
        self._folder = Folder(self._place / DROP, config.max_message_bytes + handover.MOST_HEAD)
        self._callers: Counter[int] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._later: dict[str, float] = {}
        """Claimed files that were refused for now, or at which something failed, and when they are tried again."""
        self._serves = False
        self._trouble = ""

    @property
    def _is_first(self) -> bool:
        return self.context.worker == 0  # one worker serves each machine: a socket has one owner

    async def start(self) -> None:
        """Make the folders. Raises: OSError or ValueError that names the folder and the mend."""
        if not self._is_first:
            return
        try:
            network("smtp").parse(f"root@{self._desk.domain}")
        except AddressError as e:
            raise ValueError(f"domain {self._desk.domain!r}: {e.message}") from None
        if len(os.fsencode(self._place / SOCKET)) > MOST_PATH:
            raise ValueError(f"folder {self._place}: a socket's path holds {MOST_PATH} octets; choose a shorter one")
        try:
            await asyncio.to_thread(self._folder.make)
            await asyncio.to_thread(_free, self._place / SOCKET)
        except OSError as fault:
            raise OSError(
                fault.errno,
                f"folder {self._place}: {fault.strerror}; make it for the gateway's user, and for one gateway alone: "
                f"install -d -o USER -g GROUP -m 0755 {self._place}",
            ) from fault

    async def run(self, intake: Intake) -> None:
        """Serve until cancelled; see the contract's Source."""
        if not self._is_first:
            await asyncio.Event().wait()
        server = await self._listen(intake)
        try:
            self._serves = True
            while True:
                # In a task of its own, so that a stop lets it finish what it accepts.
                taking = asyncio.create_task(self._take_dropped(intake))
                self._tasks.add(taking)
                taking.add_done_callback(self._tasks.discard)
                await asyncio.shield(taking)
                await asyncio.sleep(LOOK_S)
        finally:
            self._serves = False
            (self._place / SOCKET).unlink(missing_ok=True)
            server.close()
            await self._finish()

    async def _finish(self) -> None:
        """Let the callers who are being served be answered, within the time that the node gives."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self.context.stop_s * 0.8)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=self.context.stop_s * 0.1)

    def health(self) -> Health:
        if self._is_first and not self._serves:
            return Health(False, "not serving")
        return Health(not self._trouble, self._trouble or "ok")

    # -- the socket

    async def _listen(self, intake: Intake) -> asyncio.Server:
        path = self._place / SOCKET
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            await asyncio.to_thread(_free, path)
            listener.bind(str(path))
            path.chmod(0o666)  # everybody may write to the gateway; it knows who it is
        except OSError as fault:
            listener.close()
            raise OSError(fault.errno, f"{path}: {fault.strerror}") from fault

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            try:
                await self._serve(intake, reader, writer)
            except (OSError, asyncio.CancelledError):
                pass  # the caller is gone, or the node stops: what was not answered is dropped or tried again by it
            finally:
                writer.close()

        return await asyncio.start_unix_server(serve, sock=listener, limit=handover.MOST_HEAD)

    async def _serve(self, intake: Intake, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("socket")
        _, uid, _ = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        if self._callers.total() >= MOST_AT_ONCE or (uid != 0 and self._callers[uid] >= MOST_OF_ONE):
            status, text = _EX_TEMPFAIL, "too many at once"
        else:
            self._callers[uid] += 1
            try:
                status, text = await self._answer(intake, User.of(uid), reader)
            finally:
                self._callers[uid] -= 1
                self._callers += Counter()  # without those that are at zero
        writer.write(f"{status} {text.rstrip()}\n".encode("utf-8", "replace"))
        await asyncio.wait_for(writer.drain(), SILENT_S)

    async def _answer(self, intake: Intake, user: User, reader: asyncio.StreamReader) -> tuple[int, str]:
        try:
            async with asyncio.timeout(SILENT_S):
                head = await reader.readuntil(b"\n\n")
            words = Words(handover.read(head[:-2]))
            if words.do == options.QUEUE:
                return 0, await listed(self.context.state_dir.parent, self._desk, user)
            if words.do == options.VERIFY:
                return explained(intake, self._envelope(user), [(s, self._read(s)) for s in words.recipients])
            return await self._accept(intake, user, words, _of_reader(reader))
        except (handover.Malformed, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as fault:
            return _EX_DATAERR, f"it is no hand-over: {fault}"
        except TimeoutError:
            return _EX_TEMPFAIL, "nothing came for too long"
        except (Rejected, Unavailable) as no:
            return _exit(no.status), no.status.text or str(no.status)
        except Exception:
            self.context.log.exception("handover_fault", user=user.login)
            return _EX_TEMPFAIL, "a fault of this system"

    def _read(self, spec: str) -> Recipient | Status:
        try:
            return Recipient(self._desk.address(spec))
        except Rejected as no:
            return no.status

    def _envelope(self, user: User) -> Envelope:
        origin = Origin(self.name, peer=f"userid-{user.uid}", protocol="local", user=user.login, trusted=True)
        return Envelope(self._desk.address(self._desk.own_address(user)), (), origin)

    async def _accept(self, intake: Intake, user: User, words: Words, octets: AsyncIterator[bytes]) -> tuple[int, str]:
        """Take a message; return exit status and words. Raises: Rejected, Unavailable, TimeoutError."""
        writer: ContentWriter | None = None
        to_crlf, held, size = ToCrlf(), bytearray(), 0
        is_offered = False
        try:
            async for piece in octets:
                size += len(piece)
                if size > self._config.max_message_bytes:
                    limit = self._config.max_message_bytes
                    raise Rejected(Status("5.3.4", f"the message is over the limit of {limit} octets"))
                held += to_crlf.add(piece)
                if len(held) >= INLINE:
                    if writer is None:
                        without_from_line(held)
                    writer = writer or intake.content()
                    if not writer.write(bytes(held)):
                        await writer.drain()
                    held.clear()
            if words.size is not None and size != words.size:
                raise Rejected(_CUT.but(cause=f"{size} octets of {words.size}"))
            held += to_crlf.end()
            if writer is None:
                without_from_line(held)
                content = Content(bytes(held))
                message = self._desk.message(user, words, content, self.context.clock())
            else:
                writer.write(bytes(held))
                content = await writer.finish()
                message = await asyncio.to_thread(self._desk.message, user, words, content, self.context.clock())
            is_offered = True
            receipt = await intake.accept(message, report=True)
        except BaseException as fault:
            # Of what was offered to the intake a fault that it does not tell of may have come after the commit.
            if writer is not None and (not is_offered or isinstance(fault, (Rejected, Unavailable))):
                await writer.abandon()
            raise
        if receipt.duplicate and writer is not None:
            await writer.abandon()
        return 0, f"queued as {id_text(receipt.message_id)}"

    # -- the drop folder

    async def _take_dropped(self, intake: Intake) -> None:
        """Take what lies there; what the spool cannot take now is left for the next look."""
        now = asyncio.get_running_loop().time()
        put_off = {name for name, until in self._later.items() if until > now}
        try:
            found = await asyncio.to_thread(self._folder.claim, put_off)
        except OSError as fault:
            self._trouble = f"{self._place / DROP}: {fault.strerror}"
            return
        self._trouble = ""
        try:
            for each in found:
                if isinstance(each, Bad):
                    self.context.log.error("handover_bad", file=each.name, reason=each.why, kept=str(each.kept))
                    self.context.count("handovers_bad")
                elif self._serves:
                    await self._take_one(intake, each)
        except (Unavailable, OSError) as fault:
            self._trouble = f"the drop folder waits: {fault}"
        finally:
            for each in found:
                if isinstance(each, Dropped):
                    each.close()

    async def _take_one(self, intake: Intake, dropped: Dropped) -> None:
        user = User.of(dropped.uid)
        try:
            words = Words(handover.read(await asyncio.to_thread(dropped.head)))
            words.id = dropped.id
            _, text = await self._accept(intake, user, words, _of_file(dropped))
        except (Rejected, handover.Malformed) as no:
            if isinstance(no, Rejected) and not no.status.is_permanent:
                self._put_off(dropped.name)
                return
            why = no.status.text if isinstance(no, Rejected) else str(no)
            self._later.pop(dropped.name, None)
            kept = await asyncio.to_thread(self._folder.put_aside, dropped.name)
            self.context.log.error("handover_refused", user=user.login, file=dropped.name, reason=why, kept=str(kept))
            self.context.count("handovers_bad")
            return
        except (Unavailable, OSError):
            raise
        except Exception:
            # A fault of ours with this one must not keep the others; it is tried again.
            self.context.log.exception("handover_fault", user=user.login, file=dropped.name)
            self._put_off(dropped.name)
            return
        self._later.pop(dropped.name, None)
        await asyncio.to_thread(self._folder.remove, dropped.name)
        self.context.log.info("handover_taken", user=user.login, text=text)

    def _put_off(self, name: str) -> None:
        self._later[name] = asyncio.get_running_loop().time() + AGAIN_S


async def _of_reader(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        async with asyncio.timeout(SILENT_S):
            piece = await reader.read(65536)
        if not piece:
            return
        yield piece


async def _of_file(dropped: Dropped) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(dropped.read, 1 << 18):
        yield piece


def _exit(status: Status) -> int:
    """Return the exit status of sysexits.h that says a status."""
    if not status.is_permanent:
        return _EX_TEMPFAIL
    return _EXITS.get(status.code, _EX_NOUSER if status.code.startswith("5.1.") else _EX_UNAVAILABLE)


def _free(path: Path) -> None:
    """Take away the socket of a gateway that is gone. Raises: OSError where another one answers there."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise OSError(0, "it is in the way of the socket; move it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2.0)
        with contextlib.suppress(ConnectionRefusedError, FileNotFoundError):
            probe.connect(str(path))
            raise OSError(0, "another gateway answers there")
    os.unlink(path)
