"""The control socket: who gets in, what a request may be, and what the asking side is told."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.control import (
    MAX_REQUEST_OCTETS,
    ControlError,
    ControlServer,
    NotRunning,
    ask,
    ask_all,
    running_workers,
    socket_path,
)
from gateway.exchanges import MAX_CONNECTIONS

faults: list[tuple[str, Exception]] = []


async def echo(given: Mapping[str, Any]) -> Any:
    return {"given": dict(given)}


async def refuse(given: Mapping[str, Any]) -> Any:
    raise ControlError("not like this")


async def fail(given: Mapping[str, Any]) -> Any:
    raise RuntimeError("a bug")


async def hang(given: Mapping[str, Any]) -> Any:
    await asyncio.Event().wait()


COMMANDS = {"echo": echo, "refuse": refuse, "fail": fail, "hang": hang}


def made(path: Path) -> ControlServer:
    return ControlServer(path, COMMANDS, lambda name, fault: faults.append((name, fault)))


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[Path]:
    faults.clear()
    server = made(socket_path(tmp_path / "state", 0))
    await server.start()
    yield server.path
    await server.stop()


async def raw(path: Path, octets: bytes) -> Any:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(octets)
    writer.write_eof()
    answer = json.loads(await reader.readline())
    writer.close()
    await writer.wait_closed()
    return answer


async def test_ask(path: Path) -> None:
    assert await ask(path, "echo", {"a": "ä\n", "b": [1, None]}) == {"given": {"a": "ä\n", "b": [1, None]}}


async def test_only_the_owner_gets_in(path: Path) -> None:
    modes = [stat.S_IMODE(os.stat(p).st_mode) for p in (path, path.parent)]
    assert modes == [0o600, 0o700]


async def test_a_refusal_is_told_in_its_own_words(path: Path) -> None:
    with pytest.raises(ControlError, match=r"^not like this$"):
        await ask(path, "refuse", {})
    assert faults == []


async def test_a_fault_is_an_answer_and_ends_nothing(path: Path) -> None:
    with pytest.raises(ControlError, match="failed at this command: RuntimeError: a bug"):
        await ask(path, "fail", {})
    assert faults[0][0] == "fail"
    assert await ask(path, "echo", {})


async def test_an_unknown_command_names_those_there_are(path: Path) -> None:
    with pytest.raises(ControlError, match="no command 'x'; there are: echo, fail, hang, refuse"):
        await ask(path, "x", {})


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\n",
        b"{}\n",
        b"[]\n",
        b"null\n",
        b'{"do": 1}\n',
        b'{"do": "echo", "with": 1}\n',
        b"\xff\xfe\n",
        b"[" * 9999,
    ],
)
async def test_garbage_is_refused(path: Path, octets: bytes) -> None:
    answer = await raw(path, octets)
    assert not answer["ok"]
    assert "one line of JSON" in answer["error"]


async def test_a_request_is_bounded(path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b"x" * (MAX_REQUEST_OCTETS + 10))
    assert "at most" in json.loads(await reader.readline())["error"]
    writer.close()


async def test_commands_at_once_are_bounded(path: Path) -> None:
    waiting = [asyncio.ensure_future(ask(path, "hang", {})) for _ in range(MAX_CONNECTIONS)]
    await asyncio.sleep(0.3)
    with pytest.raises(ControlError, match="too many commands at once"):
        await ask(path, "echo", {})
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await asyncio.sleep(0.1)


async def test_a_long_answer(tmp_path: Path) -> None:
    async def long(given: Mapping[str, Any]) -> Any:
        return "x" * 5_000_000

    server = ControlServer(tmp_path / "s", {"long": long}, lambda *_: None)
    await server.start()
    assert len(await ask(tmp_path / "s", "long", {})) == 5_000_000
    await server.stop()


async def test_a_silent_gateway_is_given_up(path: Path) -> None:
    with pytest.raises(ControlError, match=r"did not answer within 0\.2 seconds"):
        await ask(path, "hang", {}, timeout_s=0.2)


async def test_stop_ends_commands_and_takes_the_socket_away(tmp_path: Path) -> None:
    server = made(tmp_path / "s")
    await server.start()
    asking = asyncio.ensure_future(ask(tmp_path / "s", "hang", {}))
    await asyncio.sleep(0.1)
    await asyncio.wait_for(server.stop(), 2)
    await server.stop()
    with pytest.raises(ControlError):
        await asking
    assert not (tmp_path / "s").exists()


async def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(NotRunning):
        await ask(tmp_path / "worker-0.sock", "echo", {})
    with pytest.raises(NotRunning, match="no gateway is running"):
        await ask_all(tmp_path / "none", "echo", {})


async def test_a_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "s"))
    left.close()
    server = made(tmp_path / "s")
    await server.start()
    assert await ask(tmp_path / "s", "echo", {})
    await server.stop()


async def test_a_second_gateway_is_refused(path: Path) -> None:
    with pytest.raises(ControlError, match="a gateway is running already"):
        await made(path).start()
    assert await ask(path, "echo", {})


async def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("mine")
    with pytest.raises(ControlError, match="in the way"):
        await made(tmp_path / "s").start()
    assert (tmp_path / "s").read_text() == "mine"


async def test_a_path_too_long_for_a_socket_address(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    server = made(socket_path(deep, 3))
    await server.start()
    assert len(os.fsencode(server.path)) > 108
    assert await ask(server.path, "echo", {})
    assert running_workers(deep) == {3: server.path}
    await server.stop()


async def test_all_workers_are_asked_and_those_gone_passed_over(tmp_path: Path) -> None:
    servers = []
    for worker in (0, 2):

        async def who(given: Mapping[str, Any], worker: int = worker) -> Any:
            return worker

        servers.append(ControlServer(socket_path(tmp_path, worker), {"who": who}, lambda *_: None))
        await servers[-1].start()
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(socket_path(tmp_path, 1)))
    left.close()
    assert await ask_all(tmp_path, "who", {}) == [0, 2]
    for server in servers:
        await server.stop()
