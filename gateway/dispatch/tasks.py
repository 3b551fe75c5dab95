"""An owner of tasks whose end is bounded, which a TaskGroup's is not: it waits for a task that refuses to end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Tasks:
    """Owns every task started through it, until it ends or is left behind by `close`."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, None], name: str | None = None) -> asyncio.Task[None]:
        """Run `work` in a task of this owner. What it raises is logged."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def close(self, grace_s: float) -> int:
        """Cancel what runs and wait up to `grace_s` for it; return how many tasks did not end and were left behind."""
        running = {t for t in self._tasks if t is not asyncio.current_task()}
        for task in running:
            task.cancel()
        if not running:
            return 0
        _, left = await asyncio.wait(running, timeout=max(grace_s, 0.001))
        if left:
            self._log.error("tasks_left_behind", count=len(left))
        return len(left)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._log.error("task_fault", exc_info=fault)
