"""The receiving side beside an independent server, aiosmtpd: the same dialog, the same kind of answer.

Where the two differ on purpose is a row of its own, with the reason.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiosmtpd.smtp import SMTP

from .server_kit import Dial, serving

BODY = "Subject: x\r\n\r\n..dot\r\n."

SAME = [
    ["EHLO a.example", "MAIL FROM:<a@b.example>", "RCPT TO:<c@acme.example>", "DATA", BODY, "QUIT"],
    ["HELO a.example", "MAIL FROM:<>", "RCPT TO:<c@acme.example>", "RCPT TO:<d@acme.example>", "DATA", BODY, "QUIT"],
    ["EHLO a.example", "MAIL FROM:<a@b.example> SIZE=100 BODY=8BITMIME", "RSET", "NOOP", "QUIT"],
    ["EHLO a.example", "MAIL FROM:<a@b.example> SIZE=999999999", "QUIT"],
    ["EHLO a.example", "MAIL FROM:<jörg@b.example> SMTPUTF8", "RCPT TO:<c@acme.example>", "QUIT"],
    ["EHLO a.example", "MAIL FROM:<a@b.example> FOO=BAR", "QUIT"],
    ["MAIL FROM:<a@b.example>", "QUIT"],
    ["EHLO a.example", "RCPT TO:<c@acme.example>", "DATA", "QUIT"],
    ["EHLO a.example", "MAIL FROM:<a@b.example>", "DATA", "MAIL FROM:<a@b.example>", "QUIT"],
    ["EHLO", "HELO", "FOO", "VRFY ann@acme.example", "EXPN all", "HELP", "NOOP", "QUIT"],
    ["EHLO a.example", "MAIL FROM:<@one.example:a@b.example>", "RCPT TO:<c@acme.example>", "QUIT"],
]

DIFFERENT = [
    # RFC 5321 §4.1.1.11: no arguments are demanded of us, and nobody loses by a QUIT that is understood
    (["QUIT now"], [221], [501]),
    # the empty path is a reverse-path, never a recipient (RFC 5321 §4.1.2)
    (["EHLO a.example", "MAIL FROM:<a@b.example>", "RCPT TO:<>"], [250, 250, 501], [250, 250, 250]),
    # brackets are part of the grammar (RFC 5321 §4.1.2)
    (["EHLO a.example", "MAIL FROM:a@b.example"], [250, 501], [250, 250]),
]


class Taker:
    async def handle_DATA(self, server: object, session: object, envelope: object) -> str:
        return "250 taken"


@contextlib.asynccontextmanager
async def aiosmtpd() -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()

    def made() -> SMTP:
        return SMTP(Taker(), hostname="gw.example", enable_SMTPUTF8=True, loop=loop)

    server = await loop.create_server(made, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def codes(port: int, lines: list[str]) -> list[int]:
    c = await Dial.to(port)
    assert await c.code() == 220
    said = [(await c.say(line))[0] for line in lines]
    await c.close()
    return said


@pytest.mark.parametrize("lines", SAME, ids=lambda lines: " / ".join(lines)[:60])
async def test_the_same_kind_of_answer(lines: list[str]) -> None:
    async with serving() as served, aiosmtpd() as port:
        ours, theirs = await codes(served.port, lines), await codes(port, lines)
        assert [code // 100 for code in ours] == [code // 100 for code in theirs], (ours, theirs)


@pytest.mark.parametrize(("lines", "ours", "theirs"), DIFFERENT)
async def test_another_answer_on_purpose(lines: list[str], ours: list[int], theirs: list[int]) -> None:
    async with serving() as served, aiosmtpd() as port:
        assert await codes(served.port, lines) == ours
        assert await codes(port, lines) == theirs
