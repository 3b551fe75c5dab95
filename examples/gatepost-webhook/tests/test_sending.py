"""What an application gets, and how its answers are taken."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from application import Application, Asked
from gatepost_webhook import Webhook
from gatepost_webhook.config import WebhookConfig
from gatepost_webhook.signature import is_signed

from gateway.contract import Context, Deferred, Delivered, Outcome, Scope
from gateway.testing import KitLog, ListBatch, parcel
from mappings.network import parse

SECRET, FORMER, BEARER = (
    "a secret of 24 octets, or more",
    "another one, which was before it",
    "a-token-of-24-characters",
)
ANN = parse("smtp:ann@app.example")


@asynccontextmanager
async def sending(tmp_path: Path) -> AsyncIterator[tuple[Webhook, Application]]:
    application = Application()
    config = WebhookConfig.model_validate(
        {
            "url": f"http://127.0.0.1:{application.port}/mail",
            "secret": SECRET,
            "former_secrets": [FORMER],
            "bearer": BEARER,
            "timeout_s": 1.0,
        }
    )
    made = Webhook("hook", config, Context("gw.example", tmp_path, tmp_path, KitLog(), time.time, 3.0))
    await made.start()
    try:
        yield made, application
    finally:
        await made.stop()
        await asyncio.to_thread(application.close)


async def deliver(made: Webhook, *numbers: int) -> dict[tuple[int, int], Outcome]:
    batch = ListBatch([parcel(n, [ANN], b"Subject: x\r\n\r\ny\r\n") for n in numbers])
    async with asyncio.timeout(60):
        await made.deliver(batch)
    return batch.settled


async def test_a_request_is_signed_by_both_keys_and_has_one_name(tmp_path: Path) -> None:
    async with sending(tmp_path) as (made, application):
        answers = iter([503, 204])
        seen: list[Asked] = []

        def answer(asked: Asked) -> tuple[int, dict[str, str]]:
            seen.append(asked)
            return next(answers), {}

        application.answer = answer
        assert isinstance((await deliver(made, 1))[1, 0], Deferred)
        assert isinstance((await deliver(made, 1))[1, 0], Delivered)
        first, second = seen
        assert first.headers["idempotency-key"] == second.headers["idempotency-key"] == second.told["delivery"]
        for key in (SECRET, FORMER):
            headers = second.headers
            assert is_signed(
                key.encode(), headers["webhook-id"], headers["webhook-timestamp"], headers["webhook-signature"],
                second.octets, time.time(),
            )  # fmt: skip
        assert second.headers["authorization"] == f"Bearer {BEARER}"


async def test_a_pause_that_is_asked_for_holds_for_the_whole_application(tmp_path: Path) -> None:
    async with sending(tmp_path) as (made, application):
        application.answer = lambda asked: (429, {"Retry-After": "17"})
        settled = await deliver(made, *range(1, 41))
        assert len(settled) == 40
        for outcome in settled.values():
            assert isinstance(outcome, Deferred)
            assert (outcome.scope, outcome.retry_after_s) == (Scope.HOP, 17.0)
        assert made.health().text == "the application asks for a pause (429)"
        application.answer = lambda asked: (200, {})
        await deliver(made, 1)
        assert made.health().ok


async def test_one_that_says_nothing_is_not_waited_for_long(tmp_path: Path) -> None:
    async with sending(tmp_path) as (made, application):

        def silent(asked: Asked) -> tuple[int, dict[str, str]]:
            time.sleep(3)
            return 204, {}

        application.answer = silent
        (outcome,) = (await deliver(made, 1)).values()
        assert isinstance(outcome, Deferred)
        assert outcome.status.text == "the application does not answer"


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    async with sending(tmp_path) as (made, application):
        application.answer = lambda asked: (307, {"Location": f"http://127.0.0.1:{application.port}/elsewhere"})
        (outcome,) = (await deliver(made, 1)).values()
        assert isinstance(outcome, Deferred)
        assert "set url anew" in outcome.status.text
        assert application.asked == []


async def test_a_connection_that_was_closed_meanwhile_is_made_anew(tmp_path: Path) -> None:
    async with sending(tmp_path) as (made, application):
        assert isinstance((await deliver(made, 1))[1, 0], Delivered)
        await asyncio.to_thread(application.close)
        await asyncio.to_thread(application.open_again)
        assert isinstance((await deliver(made, 2))[2, 0], Delivered)
