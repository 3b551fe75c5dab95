"""Dovecot's auth service as the place of accounts: it speaks the mechanisms, and this carries them to and fro.

One connection for all log-ins, made when it is needed; requests are told apart by their numbers. Promises: a line is
bounded; an answer has its time; a log-in whose connection breaks may be tried again and lets nobody in.
Source: Dovecot's "Authentication Protocol", version 1.1 and 1.2.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from base64 import b64decode, b64encode
from typing import Any, Final

from connectors.smtp.login.accounts import Unready

ANSWER_S: Final = 60.0
"""Dovecot itself holds a refusal back for some seconds."""
CONNECT_S: Final = 10.0
LINE: Final = 64 * 1024
MOST_WAITING: Final = 1024
_UNFIT: Final = str.maketrans({"\t": " ", "\r": " ", "\n": " ", "\0": " "})


class Dovecot:
    """The auth client socket at `path`."""

    def __init__(self, path: str, log: Any) -> None:
        self._path = path
        self._log = log
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._connecting = asyncio.Lock()
        self._waiting: dict[int, asyncio.Future[list[str]]] = {}
        self._last_id = 0
        self.mechanisms: tuple[str, ...] = ()
        """What it offers, in its order; known once it was reached."""

    async def start(self) -> None:
        """Reach it, to know what it offers. Raises: OSError that names the socket and the mend."""
        try:
            await self._connect()
        except (Unready, OSError) as e:
            raise OSError(
                f"login.dovecot {self._path}: {e}; it must be the auth client socket of a running Dovecot"
            ) from e

    async def stop(self) -> None:
        writer, self._writer = self._writer, None
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading
        if writer is not None:
            writer.close()

    def exchange(self, mechanism: str, peer: str, *, tls: bool) -> Exchange:
        """Begin a log-in."""
        return Exchange(self, mechanism, peer, tls=tls)

    async def ask(self, words: list[str], number: int) -> list[str]:
        """Send one line and return the words of its answer. Raises: Unready."""
        await self._connect()
        writer = self._writer
        if writer is None or len(self._waiting) >= MOST_WAITING:
            raise Unready("Dovecot's auth service does not answer")
        waiting: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        try:
            writer.write(("\t".join(word.translate(_UNFIT) for word in words) + "\n").encode())
            return await asyncio.wait_for(waiting, ANSWER_S)
        except (OSError, TimeoutError) as e:
            raise Unready(f"Dovecot's auth service: {str(e) or 'no answer'}") from None
        finally:
            self._waiting.pop(number, None)

    def new_number(self) -> int:
        self._last_id = self._last_id % 0x7FFFFFFF + 1
        return self._last_id

    async def _connect(self) -> None:
        async with self._connecting:
            if self._writer is not None:
                return
            try:
                async with asyncio.timeout(CONNECT_S):
                    reader, writer = await asyncio.open_unix_connection(self._path, limit=LINE)
                    try:
                        self.mechanisms = await self._shake_hands(reader, writer)
                    except BaseException:
                        writer.close()
                        raise
            except (OSError, ValueError, asyncio.IncompleteReadError, TimeoutError) as e:
                raise Unready(str(e) or "no answer") from None
            self._writer = writer
            self._reading = asyncio.create_task(self._read(reader, writer))

    async def _shake_hands(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, ...]:
        writer.write(f"VERSION\t1\t1\nCPID\t{os.getpid()}\n".encode("ascii"))
        found = []
        for _ in range(1000):
            words = (await reader.readuntil(b"\n")).decode("utf-8", "replace").rstrip("\n").split("\t")
            if words[0] == "VERSION" and words[1:2] != ["1"]:
                raise ValueError(f"it speaks version {words[1:2]} of its protocol, and this is version 1")
            if words[0] == "MECH" and len(words) > 1 and "private" not in words[2:]:
                found.append(words[1].upper())
            if words[0] == "DONE":
                return tuple(found)
        raise ValueError("it does not come to the end of its greeting")

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                words = line.decode("utf-8", "replace").rstrip("\n").split("\t")
                if len(words) > 1 and words[0] in ("OK", "FAIL", "CONT") and words[1].isdecimal():
                    waiting = self._waiting.get(int(words[1]))
                    if waiting is not None and not waiting.done():
                        waiting.set_result(words)
        except (OSError, ValueError) as e:
            self._log.warning("dovecot_auth_lost", error=str(e))
        finally:
            self._writer = None
            writer.close()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(ConnectionError("the connection broke off"))


class Exchange:
    """One log-in that Dovecot conducts."""

    def __init__(self, dovecot: Dovecot, mechanism: str, peer: str, *, tls: bool) -> None:
        self._dovecot = dovecot
        self._mechanism = mechanism
        self._peer = peer
        self._tls = tls
        self._number = 0

    async def step(self, response: bytes | None) -> tuple[str, str | bytes]:
        """Return ("CONT", challenge), ("OK", user) or ("FAIL", user). Raises: Unready."""
        coded = None if response is None else b64encode(response).decode("ascii")
        if self._number:
            words = ["CONT", str(self._number), coded or ""]
        else:
            self._number = self._dovecot.new_number()
            words = ["AUTH", str(self._number), self._mechanism, "service=smtp", f"rip={self._peer}"]
            words += ["secured"] if self._tls else []
            words += [] if coded is None else [f"resp={coded}"]  # it must be the last one
        answer = await self._dovecot.ask(words, self._number)
        if answer[0] == "CONT":
            try:
                return "CONT", b64decode(answer[2], validate=True) if len(answer) > 2 else b""
            except ValueError:
                raise Unready("Dovecot's challenge is not base64") from None
        given = dict(word.partition("=")[::2] for word in answer[2:])
        if answer[0] == "FAIL" and ("temp" in given or given.get("code") == "temp_fail"):
            raise Unready("Dovecot can't tell now")
        if answer[0] == "OK" and not given.get("user"):
            raise Unready("Dovecot names no user")
        return answer[0], given.get("user", "")
