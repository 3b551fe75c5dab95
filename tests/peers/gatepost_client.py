"""Stands for `gatepost` on the PATH where GATEPOST_NURSERY names the socket of a nursery: asks there, and ends alike.

Run by an interpreter without the site's packages, for speed is all it is for.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence

VARIABLE = "GATEPOST_NURSERY"


def asked_for(
    path: str, args: Sequence[str], env: Mapping[str, str], streams: list[int], module: str = ""
) -> socket.socket:
    """Ask for `gatepost ARGS` in this folder; the socket tells its process's number, and in the end its status.

    `module`: for `python -m MODULE ARGS` instead.
    """
    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    line.connect(path)
    request = {"args": list(args), "env": dict(env), "cwd": os.getcwd(), "module": module}
    socket.send_fds(line, [json.dumps(request).encode()], streams)
    return line


def main() -> None:
    env = dict(os.environ)
    line = asked_for(env.pop(VARIABLE), sys.argv[1:], env, [0, 1, 2])
    pid = int(line.recv(64))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: os.kill(pid, number))
    status = int(line.recv(64))
    sys.exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main()
