"""The receiving side with other people's clients: smtp-source, swaks, aiosmtplib, smtplib; and how much it can hold."""

from __future__ import annotations

import asyncio
import os
import smtplib
from collections.abc import Sequence
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import pytest

from tests.peers import smtp_source
from tests.peers.swaks import swaks

from .server_kit import MemoryIntake, certificate, serving, settled


@pytest.mark.parametrize("reuse", [True, False])
@pytest.mark.parametrize("size", [4096, 300_000])
async def test_smtp_source(reuse: bool, size: int) -> None:
    async with serving() as served:
        command = smtp_source.args(served.port, messages=200, size=size, sessions=20, reuse=reuse)
        await asyncio.to_thread(smtp_source.send, command)
        assert len(served.intake.messages) == 200
        assert len(set(served.intake.bodies)) == 200  # each has a Message-ID of its own
        assert all(len(body) >= size for body in served.intake.bodies)


async def test_smtp_source_speaks_lmtp() -> None:
    async with serving(protocol_in="lmtp") as served:
        command = smtp_source.args(served.port, messages=20)
        await asyncio.to_thread(smtp_source.send, [command[0], "-L", "-r", "3", *command[1:]])
        assert [len(m.envelope.recipients) for m in served.intake.messages] == [3] * 20


@pytest.mark.parametrize(
    "options",
    [[], ["--pipeline"], ["--tls"], ["--tls", "--pipeline"], ["--data", "From: a@b.example\\n\\n.\\n..dots\\n.x\\n"]],
    ids=["plain", "pipelined", "tls", "tls pipelined", "dots"],
)
async def test_swaks(options: Sequence[str], tmp_path: Path) -> None:
    cert, key, _ = certificate(tmp_path)
    async with serving(tmp_path, tls_cert=str(cert), tls_key=str(key)) as served:
        said = await asyncio.to_thread(swaks, served.port, *options, to="bob@acme.example,cy@acme.example")
        assert said.status == 0, said.dialog
        assert served.intake.paths == [("ann@source.example", ["bob@acme.example", "cy@acme.example"])]
        if "--data" in options:
            assert b"\r\n\r\n.\r\n..dots\r\n.x\r\n" in served.intake.bodies[0]


async def test_swaks_is_told_why(tmp_path: Path) -> None:
    async with serving(relay_networks=()) as served:
        said = await asyncio.to_thread(swaks, served.port, to="bob@far.example")
        assert said.status == 24  # swaks(1): no recipient was accepted
        assert "550 5.7.1 relaying denied" in said.dialog
        assert served.intake.messages == []


async def test_aiosmtplib_and_smtplib(tmp_path: Path) -> None:
    cert, key, trust = certificate(tmp_path)
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "jörg@other.example", "bob@acme.example", "ä"
    mail.set_content("Grüße\n.\n..\n")
    async with serving(tmp_path, tls_cert=str(cert), tls_key=str(key), tls_listen=("127.0.0.1:0",)) as served:
        clear, protected = served.ports
        await aiosmtplib.send(mail, hostname="127.0.0.1", port=clear, start_tls=False)
        trust.check_hostname = False
        await aiosmtplib.send(mail, hostname="127.0.0.1", port=protected, use_tls=True, tls_context=trust)

        def send() -> None:
            with smtplib.SMTP("127.0.0.1", clear, "client.example") as client:
                client.starttls(context=trust)
                client.send_message(mail)
                client.verify("bob")

        await asyncio.to_thread(send)
        assert [m.envelope.smtputf8 for m in served.intake.messages] == [True] * 3
        assert {p for p, _ in served.intake.paths} == {"jörg@other.example"}


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_an_idle_connection_is_small() -> None:
    """Both ends are in this process, so that a connection costs a client besides; and still it is under 30 KiB."""
    many = 1500
    async with serving() as served:
        held = [await served.dial() for _ in range(10)]
        before = resident_bytes()
        for _ in range(many):
            held.append(await (await served.dial()).greeted())
        assert (resident_bytes() - before) / many < 50 * 1024
        live = await (await served.dial()).ready()
        await live.send(b"x\r\n.\r\n")
        assert await live.code() == 250
        for c in held:
            c.writer.transport.abort()
        await settled(lambda: served.source.health().text == "1 connections")


async def test_a_message_of_50_megabytes_is_never_in_memory_whole() -> None:
    class Forgetful(MemoryIntake):
        def content(self):  # type: ignore[no-untyped-def]  # the writer below is enough of one
            writer = super().content()
            writer.total, writer.most = 0, 0
            taken = writer.write

            def write(piece: bytes) -> bool:
                writer.total += len(piece)
                writer.most = max(writer.most, len(piece))
                taken(piece)
                writer.octets.clear()
                return False

            writer.write = write
            return writer

    async with serving(intake=Forgetful()) as served:
        command = smtp_source.args(served.port, messages=4, size=50_000_000, sessions=4)
        before = resident_bytes()
        await asyncio.to_thread(smtp_source.send, command)
        assert len(served.intake.messages) == 4
        assert all(writer.total > 50_000_000 for writer in served.intake.writers)  # type: ignore[attr-defined]
        assert all(writer.most <= 1024 * 1024 for writer in served.intake.writers)  # type: ignore[attr-defined]
        assert resident_bytes() - before < 40 * 1024 * 1024
