"""What an application meets at the listener: who it is, what may be posted, what is answered."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from application import post
from gatepost_webhook import Webhook
from gatepost_webhook.config import WebhookConfig
from gatepost_webhook.signature import sign

from gateway.contract import Context, Status
from gateway.testing import KitLog, RecordingIntake

TOKEN = "a-token-of-24-characters"
SECRET = "a secret of 24 octets, or more"
BEARER = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
HEAD = f"POST /messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
LETTER = json.dumps({"from": "shop@app.example", "to": ["ann@target.example"], "subject": "x", "text": "y"}).encode()


@asynccontextmanager
async def serving(tmp_path: Path, **more: Any) -> AsyncIterator[tuple[int, RecordingIntake]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    clients = [
        {"name": "shop", "token": TOKEN, "from": ["smtp:*@app.example"]},
        {"name": "signer", "secret": SECRET, "from": ["smtp:*@app.example"], "relay": True},
    ]
    config = WebhookConfig.model_validate({"listen": f"127.0.0.1:{port}", "client": clients, **more})
    made = Webhook("hook", config, Context("gw.example", tmp_path, tmp_path, KitLog(), time.time, 3.0))
    intake = RecordingIntake()
    await made.start()
    running = asyncio.create_task(made.run(intake))
    try:
        yield port, intake
    finally:
        running.cancel()
        await asyncio.wait((running,))
        await made.stop()


async def ask(port: int, octets: bytes = LETTER, **given: Any) -> tuple[int, dict[str, Any], dict[str, str]]:
    return await asyncio.to_thread(post, port, octets, **given)


async def test_a_letter_is_taken_once_by_its_key(tmp_path: Path) -> None:
    async with serving(tmp_path) as (port, intake):
        status, told, _ = await ask(port, headers={**BEARER, "Idempotency-Key": "order-5"})
        assert (status, told["duplicate"]) == (201, False)
        status, again, _ = await ask(port, headers={**BEARER, "Idempotency-Key": "order-5"})
        assert (status, again) == (200, {"id": told["id"], "duplicate": True})
        one, other = intake.accepted
        assert one.octets.partition(b"Date: ")[0] == other.octets.partition(b"Date: ")[0], "with one Message-ID"
        origin = one.message.envelope.origin
        assert (origin.user, origin.trusted, origin.protocol) == ("shop", False, "HTTP")


async def test_two_clients_may_use_one_key(tmp_path: Path) -> None:
    async with serving(tmp_path) as (port, intake):
        await ask(port, headers={**BEARER, "Idempotency-Key": "1"})
        at = int(time.time())
        signed = {
            "Content-Type": "application/json",
            "webhook-id": "1",
            "webhook-timestamp": str(at),
            "webhook-signature": sign([SECRET.encode()], "1", at, LETTER),
        }
        status, told, _ = await ask(port, headers=signed)
        assert (status, told["duplicate"]) == (201, False)
        assert [one.message.envelope.origin.trusted for one in intake.accepted] == [False, True]
        status, _, _ = await ask(port, LETTER + b" ", headers=signed)
        assert status == 401, "another body is not what was signed"


async def test_a_signed_request_is_no_other_under_another_key(tmp_path: Path) -> None:
    at = int(time.time())
    signed = {
        "Content-Type": "application/json",
        "webhook-id": "a1",
        "webhook-timestamp": str(at),
        "webhook-signature": sign([SECRET.encode()], "a1", at, LETTER),
    }
    async with serving(tmp_path) as (port, intake):
        for more in ({}, {"Idempotency-Key": "b2"}, {"Idempotency-Key": ""}):
            status, told, _ = await ask(port, headers={**signed, **more})
            assert (status, told["duplicate"]) == ((201, False) if not more else (200, True))
        assert len({one.message.envelope.dedupe_key for one in intake.accepted}) == 1


async def test_strangers_who_say_that_they_sign_hold_up_nobody_with_a_token(tmp_path: Path) -> None:
    async with serving(tmp_path, max_at_once=4) as (port, _):
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
        for _, writer in slow:
            writer.write(
                b"POST /messages HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"webhook-signature: v1,x\r\nContent-Length: 100\r\n\r\n{"
            )
        async with asyncio.timeout(10):
            assert (await ask(port, headers=BEARER))[0] == 201
        for _, writer in slow:
            writer.close()


async def test_who_is_not_known_is_refused_before_the_body(tmp_path: Path) -> None:
    async with serving(tmp_path) as (port, intake):
        for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic eDp5"}):
            status, _, fields = await ask(port, headers=headers)
            assert (status, "www-authenticate" in fields) == (401, True)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /messages HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        async with asyncio.timeout(60):
            assert b" 401 " in await reader.readline(), "without a word of it"
        writer.close()
        assert intake.calls == 0


async def test_what_may_not_be_posted(tmp_path: Path) -> None:
    spoofed = json.dumps({"from": "boss@target.example", "to": ["ann@target.example"]}).encode()
    many = json.dumps({"from": "a@app.example", "to": [f"u{n}@target.example" for n in range(6)]}).encode()
    async with serving(tmp_path, max_message_bytes=2048, max_recipients=5) as (port, intake):
        cases: list[tuple[int, dict[str, Any]]] = [
            (404, {"path": "/other"}),
            (415, {"headers": {**BEARER, "Content-Type": "text/plain"}}),
            (415, {"headers": {**BEARER, "Content-Encoding": "gzip"}}),
            (400, {"octets": b"{", "headers": BEARER}),
            (400, {"headers": {**BEARER, "Idempotency-Key": "x" * 300}}),
            (403, {"octets": spoofed, "headers": BEARER}),
            (422, {"octets": many, "headers": BEARER}),
            (413, {"octets": b" " * 200_000, "headers": BEARER}),
        ]
        for expected, given in cases:
            status, told, _ = await ask(port, **given)
            assert status == expected, told
            assert told["error"]
        whole = {**BEARER, "Content-Type": "message/rfc822"}
        path = "/messages?from=a@app.example&to=ann@target.example"
        assert (await ask(port, b"x" * 3000, path=path, headers=whole))[0] == 413
        assert intake.accepted == []
        assert all(writer.abandoned for writer in intake.writers)


async def test_a_content_is_kept_while_its_message_is_being_accepted(tmp_path: Path) -> None:
    whole = {**BEARER, "Content-Type": "message/rfc822"}
    path = "/messages?from=a@app.example&to=ann@target.example"
    async with serving(tmp_path, request_timeout_s=0.5) as (port, intake):
        intake.gate.clear()
        assert (await ask(port, b"Subject: x\r\n\r\ny\r\n", path=path, headers=whole))[0] == 408
        intake.gate.set()
        async with asyncio.timeout(60):
            while not intake.accepted:  # noqa: ASYNC110  the kit's intake tells nobody
                await asyncio.sleep(0.01)
        assert not any(writer.abandoned for writer in intake.writers)


async def test_refusals_and_faults_are_told_as_what_they_are(tmp_path: Path) -> None:
    async with serving(tmp_path) as (port, intake):
        intake.check_answer = Status("5.1.1", "no such mailbox here")
        status, told, _ = await ask(port, headers=BEARER)
        assert (status, told) == (422, {"error": "smtp:ann@target.example: no such mailbox here", "status": "5.1.1"})
        intake.check_answer = None
        intake.rejects = Status("4.7.1", "too many for now")
        status, _, fields = await ask(port, headers=BEARER)
        assert (status, fields["retry-after"]) == (503, "10")
        intake.rejects = None
        intake.unavailable = 1
        assert (await ask(port, headers=BEARER))[0] == 503
        intake.faults = 1
        assert (await ask(port, headers=BEARER))[0] == 500
        assert (await ask(port, headers=BEARER))[0] == 201


async def test_a_connection_that_says_nothing_is_closed(tmp_path: Path) -> None:
    async with serving(tmp_path, request_timeout_s=0.3, max_connections=2) as (port, _):
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        async with asyncio.timeout(60):
            for reader, _ in silent:
                assert await reader.read() == b""
        assert (await ask(port, headers=BEARER))[0] == 201
        for _, writer in silent:
            writer.close()


async def test_a_request_that_does_not_come_is_given_up(tmp_path: Path) -> None:
    async with serving(tmp_path, request_timeout_s=0.3) as (port, intake):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{HEAD}Content-Length: 100\r\n\r\n{{".encode())
        async with asyncio.timeout(60):
            assert b" 408 " in await reader.readline()
        writer.close()
        assert intake.calls == 0


async def test_who_expects_a_word_first_gets_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{HEAD}Expect: 100-continue\r\nContent-Length: {len(LETTER)}\r\n\r\n".encode())
        async with asyncio.timeout(60):
            assert b" 100 " in await reader.readline()
            await reader.readline()
            writer.write(LETTER)
            assert b" 201 " in await reader.readline()
        writer.close()
