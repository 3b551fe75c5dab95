"""Take one message in, whole: what a source that is stopped in the middle owes its peer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.contract import Intake, Receipt
    from gateway.message import Message


async def take(
    intake: Intake,
    message: Message,
    acknowledge: Callable[[Receipt], Awaitable[None]],
    *,
    within_s: float,
    report: bool = False,
) -> Receipt:
    """Await `intake.accept`, then `acknowledge` to the peer; both to their end, also where the source is cancelled.

    On cancellation what is being accepted has `within_s` seconds more, which a source makes of `context.stop_s`; then
    it is broken off, unacknowledged, so that the peer comes back with it. The cancellation goes on in any case.
    Raises: Rejected, Unavailable, and what `acknowledge` raises.
    """

    async def both() -> Receipt:
        receipt = await intake.accept(message, report=report)
        await acknowledge(receipt)
        return receipt

    task = asyncio.ensure_future(both())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,), timeout=within_s)
        task.cancel()  # nothing where it is done
        await asyncio.gather(task, return_exceptions=True)  # a refusal that comes now is told to nobody
        raise
