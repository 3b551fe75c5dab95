r"""Dialogues with IMAP servers, kept in files, and played again: a server that says what it said, octet by octet.

A file has a line for each line of the dialogue: `C: ` what the client said, `S: ` what the server said, in Python's
escapes, with a CRLF at each end unless `\` ends the line. What begins with `#` says where it is from. A client that
says anything else is hung up on, and `Player.trouble` tells where.

    python -m tests.connectors.imap.courses NAME

writes those of the real servers anew: `record` is a man in the middle that keeps what goes by.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).with_name("dialogues")


@dataclass
class Player:
    """Plays turns: (who, octets), of which each is as much as one says before the other does."""

    turns: list[tuple[str, bytes]]
    port: int = 0
    trouble: list[str] = field(default_factory=list)
    is_over: bool = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for number, (who, octets) in enumerate(self.turns):
                if who == "S":
                    writer.write(octets)
                    await writer.drain()
                    continue
                said = b""
                while octets.startswith(said) and len(said) < len(octets):
                    more = await reader.read(len(octets) - len(said))
                    if not more:
                        break
                    said += more
                if said != octets:
                    self.trouble.append(f"turn {number}: expected {octets!r}, heard {said!r}")
                    return
            self.is_over = True
        except OSError as fault:
            self.trouble.append(str(fault))
        finally:
            writer.close()


def read(text: str) -> list[tuple[str, bytes]]:
    """Return the turns of a dialogue."""
    turns: list[tuple[str, bytes]] = []
    for line in text.splitlines():
        if line.startswith("#") or not line:
            continue
        who, said = line[0], line[3:]
        goes_on = said.endswith("\\") and not said.endswith("\\\\")
        octets = said.removesuffix("\\") if goes_on else said
        made = octets.encode("latin-1").decode("unicode_escape").encode("latin-1") + (b"" if goes_on else b"\r\n")
        if turns and turns[-1][0] == who:
            turns[-1] = who, turns[-1][1] + made
        else:
            turns.append((who, made))
    return turns


def written(turns: list[tuple[str, bytes]]) -> str:
    """Return turns as a file has them."""
    lines = []
    for who, octets in turns:
        for line in octets.split(b"\r\n")[:-1]:
            lines.append(f"{who}: {_escaped(line)}")
        if rest := octets.split(b"\r\n")[-1]:
            lines.append(f"{who}: {_escaped(rest)}\\")
    return "\n".join(lines) + "\n"


def _escaped(octets: bytes) -> str:
    return octets.decode("latin-1").encode("unicode_escape").decode("ascii")


@asynccontextmanager
async def played(name: str) -> AsyncIterator[Player]:
    """Play a dialogue to the first client, and hold that it was gone through to its end."""
    player = Player(read((FOLDER / f"{name}.txt").read_text(encoding="utf-8")))
    server = await asyncio.start_server(player.serve, "127.0.0.1", 0)
    player.port = server.sockets[0].getsockname()[1]
    try:
        yield player
    except Exception as fault:
        raise AssertionError(f"{fault}; {player.trouble}") from fault
    finally:
        server.close()
    assert not player.trouble, player.trouble
    assert player.is_over, "the dialogue was not gone through to its end"


async def record(behind: int, course: Callable[[int], Awaitable[None]]) -> list[tuple[str, bytes]]:
    """Run something against the port of a man in the middle, and return what was said."""
    turns: list[tuple[str, bytes]] = []

    def keep(who: str, octets: bytes) -> None:
        if turns and turns[-1][0] == who:
            turns[-1] = who, turns[-1][1] + octets
        else:
            turns.append((who, octets))

    async def pump(who: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while octets := await reader.read(1 << 16):
            keep(who, octets)
            writer.write(octets)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, there_writer = await asyncio.open_connection("127.0.0.1", behind)
        await asyncio.gather(pump("C", reader, there_writer), pump("S", there, writer), return_exceptions=True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        await course(server.sockets[0].getsockname()[1])
        await asyncio.sleep(0.5)
    finally:
        server.close()
    return turns
