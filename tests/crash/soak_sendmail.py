"""kill -9 of the gateway while programs call its sendmail: `python -m tests.crash.soak_sendmail`.

Several programs call `gatepost-sendmail` one message after the other, and the gateway is killed and started again at
random moments; what they call meanwhile goes into the drop folder. The next hop takes no mail before the end, so that a
message that is there twice was taken twice.

Lost is what the command had said 0 for and nobody has. Doubled is what came more than once: it may be nothing, since
each hand-over is known by its id, whichever way it came and how often.

Exit status 1 if anything was lost or doubled, or if fewer messages than FLOOR_PER_KILL a kill were accepted.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.peers.gateway import Gateway
from tests.peers.process import wait_until
from tests.peers.sink import Sink

COMMAND: Final = Path(sys.executable).parent / "gatepost-sendmail"
CALLERS: Final = 4
FLOOR_PER_KILL: Final = 5
MORE: Final = """
[connector.programs]
type = "sendmail"
folder = "local"
"""


@dataclass(frozen=True)
class Count:
    """What came of a run. `dropped` is how many went by the drop folder."""

    kills: int
    accepted: int
    dropped: int
    lost: int
    doubled: int

    @property
    def is_good(self) -> bool:
        return self.lost == self.doubled == 0 and self.accepted >= FLOOR_PER_KILL * self.kills

    def __str__(self) -> str:
        return (
            f"kills {self.kills}, accepted {self.accepted} (by the drop folder {self.dropped}), lost {self.lost}, "
            f"doubled {self.doubled} (in flight at kill at most 0)"
        )


class Callers:
    """Programs that call the command until they are told to stop; `accepted` are the numbers it had said 0 for."""

    def __init__(self, folder: Path) -> None:
        self.accepted: set[int] = set()
        self._env = {"GATEPOST_SENDMAIL": str(folder)}
        self._next = 0
        self._lock = threading.Lock()
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def _call(self) -> None:
        while not self._ends.is_set():
            with self._lock:
                number, self._next = self._next, self._next + 1
            text = f"Message-ID: <{number}@soak>\nSubject: {number}\n\n" + "x" * (number % 7) * 20_000
            done = subprocess.run(
                [COMMAND, "bob@peer.example"], input=text.encode(), capture_output=True, env=self._env, timeout=120
            )
            if done.returncode == 0:
                with self._lock:
                    self.accepted.add(number)

    def stop(self) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()


def soak(folder: Path, kills: int, seed: int) -> Count:
    """Do the whole in a folder of its own. Raises: TimeoutError where the gateway does not come to its end."""
    chance = random.Random(seed)
    dropped: set[str] = set()
    with Sink(folder) as sink:
        sink.behave(verbs={"MAIL": "451 4.3.0 not before the end"})
        gateway = Gateway(folder, sink.port, gateway='retry_min = "1s"', more=MORE).start()
        callers = Callers(folder / "local")
        try:
            for _ in range(kills):
                time.sleep(chance.uniform(0.2, 1.5))
                gateway.kill()
                time.sleep(chance.uniform(0.0, 0.5))
                dropped |= {path.name for path in (folder / "local/drop").glob("*.msg")}
                gateway.start(60.0)
        finally:
            callers.stop()
        try:
            places = [folder / "local" / name for name in ("drop", "claimed")]
            wait_until(lambda: not any(any(place.iterdir()) for place in places), 120, "the drop folder is empty")
            sink.behave()
            gateway.cli("queue", "requeue", "--all")
            wait_until(lambda: gateway.queued() == 0, 300, "the queue is empty")
            came = Counter(taken.id for taken in sink.taken())
        finally:
            gateway.kill()
    lost = [number for number in callers.accepted if f"{number}@soak" not in came]
    doubled = sum(n - 1 for n in came.values())
    return Count(kills, len(callers.accepted), len(dropped), len(lost), doubled)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.soak_sendmail", description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gatepost-soak-"))
    try:
        count = soak(folder, asked.kills, asked.seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"sendmail: {count}")
    return 0 if count.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
