"""The supervisor: the parent of several worker processes, each a node.

It starts a child per worker, restarts one that ends by itself with back-off, and hands signals on. It opens no
spool and no listening socket of a connector, so that nothing of it stands between a message and its worker.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import Process
from typing import TYPE_CHECKING, Final

from gateway.log import get_log

if TYPE_CHECKING:
    from gateway.config import Config

_RESTART_MIN_S: Final = 0.5
_RESTART_MAX_S: Final = 30.0
_KILL_GRACE_S: Final = 10.0
_UNUSABLE: Final = 78
"""A worker's exit code (EX_CONFIG of sysexits.h) where starting it again would not help."""


class Supervisor:
    """Keeps as many children running as there are workers, until it is told to stop."""

    def __init__(self, config: Config, workers: int) -> None:
        self._config = config
        self._workers = workers
        self._log = get_log("supervisor")
        self._children: dict[int, Process] = {}
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT, then until every child has ended.

        Raises: RuntimeError where a worker says that it cannot be started until an operator acts.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._signal_all, signal.SIGHUP)
        async with asyncio.TaskGroup() as tasks:
            for worker in range(self._workers):
                tasks.create_task(self._keep(worker), name=f"worker {worker}")
            await self._stop.wait()
            self._signal_all(signal.SIGTERM)

    def _signal_all(self, number: int) -> None:
        for child in self._children.values():
            if child.returncode is None:
                child.send_signal(number)

    async def _keep(self, worker: int) -> None:
        delay = _RESTART_MIN_S
        loop = asyncio.get_running_loop()
        while not self._stop.is_set():
            began = loop.time()
            # All of them go by one number, whatever the configuration has become when one is started again.
            which = ("--worker", str(worker), "--workers", str(self._workers))
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway", "run", "-c", str(self._config.path), *which
            )
            self._children[worker] = child
            code = await self._wait(child)
            if self._stop.is_set():
                return
            self._log.error("worker_ended", worker=worker, code=code)
            if code == _UNUSABLE:
                self._stop.set()
                raise RuntimeError(f"worker {worker} cannot run; its own lines above say why")
            if loop.time() - began > _RESTART_MAX_S:
                delay = _RESTART_MIN_S
            await asyncio.wait((asyncio.ensure_future(self._stop.wait()),), timeout=delay)
            delay = min(_RESTART_MAX_S, delay * 2)

    async def _wait(self, child: Process) -> int:
        """Wait for a child; after a stop was asked for, no longer than its own bound and some grace."""
        ended = asyncio.ensure_future(child.wait())
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((ended, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                limit = 2 * self._config.gateway.stop_after + _KILL_GRACE_S
                done, _ = await asyncio.wait((ended,), timeout=limit)
                if not done:
                    child.kill()
            return await ended
        finally:
            stopping.cancel()
