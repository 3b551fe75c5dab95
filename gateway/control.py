"""The control socket: how commands reach a running gateway. `<state>/worker-N.sock`, mode 0600, JSON lines.

A request is one line `{"do": name, "with": {...}}`, the answer one line `{"ok": true, "result": ...}` or
`{"ok": false, "error": text}`. Promises: only the gateway's own user gets in; a request is bounded in size and time;
a fault of one command is an answer and never ends the server. Known limit: one command per connection.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import stat
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from gateway.exchanges import Exchanges

MAX_REQUEST_OCTETS: Final = 1024 * 1024
MAX_ANSWER_OCTETS: Final = 256 * 1024 * 1024
REQUEST_TIMEOUT_S: Final = 5.0
ANSWER_TIMEOUT_S: Final = 60.0
_SOCKET: Final = re.compile(r"worker-(\d+)\.sock")
_MAX_PATH_OCTETS: Final = 100

Command = Callable[[Mapping[str, Any]], Awaitable[Any]]
"""Takes the request's `with`, returns plain JSON values. Raises ControlError with a text for the operator."""


class ControlError(Exception):
    """A command could not be done; the text is for the operator."""


class NotRunning(ControlError):
    """No gateway answers at this socket."""


def socket_path(state_dir: Path, worker: int) -> Path:
    """Return the place of a worker's control socket."""
    return state_dir / f"worker-{worker}.sock"


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Give a path that fits in a socket address, which holds 108 octets: long ones go by way of an open folder."""
    if len(os.fsencode(path)) <= _MAX_PATH_OCTETS:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class ControlServer:
    """Answers commands at one socket. `commands` are functions by name; the node gives them."""

    def __init__(self, path: Path, commands: Mapping[str, Command], on_fault: Callable[[str, Exception], None]) -> None:
        self.path = path
        self._commands = commands
        self._on_fault = on_fault
        refusal = _octets({"ok": False, "error": "too many commands at once; try again"})
        self._exchanges = Exchanges(self._exchange, refusal, write_timeout_s=ANSWER_TIMEOUT_S)

    async def start(self) -> None:
        """Listen. A socket left by a gateway that is gone is replaced.

        Raises: ControlError where another gateway answers there; OSError.
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.path.exists():
            if not stat.S_ISSOCK(self.path.lstat().st_mode):
                raise ControlError(f"{self.path} is in the way of the control socket; move it")
            if await asyncio.to_thread(_answers, self.path):
                raise ControlError(f"a gateway is running already with this state folder: {self.path} answers")
            self.path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _short(self.path) as short:
                listener.bind(short)
            self.path.chmod(0o600)  # before it listens, so that nobody else is ever let in
            await self._exchanges.start(
                lambda serve: asyncio.start_unix_server(serve, sock=listener, limit=MAX_REQUEST_OCTETS)
            )
        except BaseException:
            listener.close()
            raise

    async def stop(self) -> None:
        """Stop at once; commands that run are cancelled. Safe to call twice."""
        if await self._exchanges.stop():
            self.path.unlink(missing_ok=True)

    async def _exchange(self, reader: asyncio.StreamReader) -> bytes:
        return _octets(await self._answer(reader))

    async def _answer(self, reader: asyncio.StreamReader) -> dict[str, Any]:
        try:
            line = await asyncio.wait_for(reader.readline(), REQUEST_TIMEOUT_S)
            request = json.loads(line)
            name, arguments = request["do"], request.get("with", {})
            if not isinstance(name, str) or not isinstance(arguments, dict):
                raise TypeError
        except TimeoutError:
            return {"ok": False, "error": "no request came"}
        except (ValueError, TypeError, KeyError, RecursionError):
            return {"ok": False, "error": f"a request is one line of JSON of at most {MAX_REQUEST_OCTETS} octets"}
        command = self._commands.get(name)
        if command is None:
            known = ", ".join(sorted(self._commands))
            return {"ok": False, "error": f"no command {name!r}; there are: {known}"}
        try:
            return {"ok": True, "result": await command(arguments)}
        except ControlError as e:
            return {"ok": False, "error": str(e)}
        except Exception as e:  # noqa: BLE001  a fault of a command must not end the daemon, and the operator wants it told
            self._on_fault(name, e)
            return {"ok": False, "error": f"the gateway failed at this command: {type(e).__name__}: {e}"}


def _octets(answer: Mapping[str, Any]) -> bytes:
    return json.dumps(answer, ensure_ascii=False, default=str).encode("utf-8", "replace") + b"\n"


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2.0)
        try:
            with _short(path) as short:
                probe.connect(short)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True  # someone may be there and is only slow: never take the socket away from it
    return True


def running_workers(state_dir: Path) -> dict[int, Path]:
    """Return the sockets in a state folder, by worker; whether they answer is found by asking."""
    try:
        found = {int(m[1]): p for p in state_dir.iterdir() if (m := _SOCKET.fullmatch(p.name)) is not None}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return dict(sorted(found.items()))


async def ask(path: Path, command: str, arguments: Mapping[str, Any], timeout_s: float = 60.0) -> Any:
    """Ask one worker and return its result.

    Raises: NotRunning where nobody answers there; ControlError with the gateway's own reason.
    """
    try:
        with _short(path) as short:
            reader, writer = await asyncio.open_unix_connection(short, limit=MAX_ANSWER_OCTETS)
    except (FileNotFoundError, ConnectionRefusedError):
        raise NotRunning(f"no gateway answers at {path}") from None
    except PermissionError:
        raise ControlError(f"{path} belongs to another user; run this as the gateway's user") from None
    try:
        request = {"do": command, "with": dict(arguments)}
        writer.write(json.dumps(request, ensure_ascii=False).encode() + b"\n")
        line = await asyncio.wait_for(reader.readline(), timeout_s)
    except TimeoutError:
        raise ControlError(f"the gateway did not answer within {timeout_s:g} seconds") from None
    except OSError as e:
        raise ControlError(f"the gateway hung up: {e}") from None
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    if not line.endswith(b"\n"):
        raise ControlError("the gateway stopped while it was asked")
    answer = json.loads(line)
    if not answer["ok"]:
        raise ControlError(answer["error"])
    return answer["result"]


async def ask_all(
    state_dir: Path,
    command: str,
    arguments: Mapping[str, Any],
    timeout_s: float = 60.0,
    *,
    in_turn: bool = False,
    only_first: bool = False,
) -> list[Any]:
    """Ask every worker that runs and return their results, in the order of workers.

    At once, or one after the other where `in_turn`; `only_first` is content with one answer. Sockets whose worker is
    gone are passed over. Raises: NotRunning where none answers; ControlError.
    """
    paths = list(running_workers(state_dir).values())
    results = []
    if in_turn or only_first:
        for path in paths:
            with suppress(NotRunning):
                results.append(await ask(path, command, arguments, timeout_s))
                if only_first:
                    break
    else:
        asked = (ask(path, command, arguments, timeout_s) for path in paths)
        for answer in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(answer, NotRunning):
                continue
            if isinstance(answer, BaseException):
                raise answer
            results.append(answer)
    if not results:
        raise NotRunning(f"no gateway is running with the state folder {state_dir}")
    return results
