"""A company that is merged into another: two Dovecots with mail servers in front, a gateway between, and people."""

from __future__ import annotations

import itertools
import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from tests.integration.sync_pair import Box
from tests.peers.dovecot import PASSWORD, Dovecot
from tests.peers.gateway import Gateway
from tests.peers.maildrop import Maildrop
from tests.peers.process import wait_until
from tests.peers.raw import RawClient

DOMAIN: Final = "acme.example"
_FLOWS: Final = itertools.count(1)
_MORE: Final = """
[mapping]
domains = ["{domain}"{more_domains}]
tell_moved = true

[connector.oldmail]
type = "smtp"
smart_host = "127.0.0.1:{old_smtp}"

[connector.newmail]
type = "smtp"
smart_host = "127.0.0.1:{new_smtp}"

[connector.old]
type = "imap"
host = "127.0.0.1"
port = {old_imap}
tls = "none"
password = "{password}"

[connector.new]
type = "imap"
host = "127.0.0.1"
port = {new_imap}
tls = "none"
password = "{password}"

[sync.merger]
from = "old"
to = "new"
home = "newmail"
mailboxes = "people.csv"
mode = "{mode}"
"""


class Company:
    """Use it as a context: all is running then, and `people` have their homes at the old system."""

    def __init__(
        self,
        folder: Path,
        people: Sequence[str],
        *,
        mode: str = "copy",
        workers: int = 1,
        spool: str | None = None,
        table: str | None = None,
        more_domains: str = "",
    ) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.people = list(people)
        self.old, self.new = Dovecot(), Dovecot()
        self.old_smtp, self.new_smtp = Maildrop(self.old), Maildrop(self.new)
        self._stack = ExitStack()
        self._table = table
        more = _MORE.format(
            domain=DOMAIN,
            more_domains=more_domains,
            old_smtp=self.old_smtp.port,
            new_smtp=self.new_smtp.port,
            old_imap=self.old.port,
            new_imap=self.new.port,
            password=PASSWORD,
            mode=mode,
        )
        self.more = more
        self.gateway = Gateway(
            folder,
            self.old_smtp.port,
            workers=workers,
            spool=spool,
            gateway='retry_min = "1s"\nretry_max = "2s"\n',
            more=more,
        )

    def __enter__(self) -> Company:
        try:
            for each in (self.old, self.new, self.old_smtp, self.new_smtp):
                self._stack.enter_context(each)
            table = self._table or "from,identity,batch\n" + "".join(
                f"{name},smtp:{name}@{DOMAIN},{'one' if at % 2 else 'two'}\n" for at, name in enumerate(self.people)
            )
            (self.folder / "people.csv").write_text(table)
            (self.folder / "identities.csv").write_text(
                "name,home,smtp\n" + "".join(f"{name},oldmail,{name}@{DOMAIN}\n" for name in self.people)
            )
            self.gateway.cli("map", "import", str(self.folder / "identities.csv"))
            self._stack.enter_context(self.gateway)
            self._stack.callback(lambda: print(f"--- the gateway's log\n{self.gateway.said()[-4000:]}"))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def old_box(self, name: str) -> Box:
        return Box(self.old, name)

    def new_box(self, name: str) -> Box:
        return Box(self.new, name)

    def sync(self, *words: str, timeout_s: float = 240.0) -> dict[str, Any]:
        """Run `gatepost sync ...`, and return the last of the objects that it printed."""
        command = [self.gateway.command, "sync", *words, "-c", self.gateway.config, "--json"]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL)
        lines = ran.stdout.splitlines()
        assert lines, (words, ran.returncode, ran.stderr)
        told: dict[str, Any] = json.loads(lines[-1])
        assert told["ok"] is (ran.returncode == 0), ran.stderr
        return told

    def identity(self, name: str) -> dict[str, Any]:
        """Return the identity of somebody at the company."""
        (found,) = self.gateway.cli("map", "find", f"{name}@{DOMAIN}")["identities"]
        return found  # type: ignore[no-any-return]  # JSON

    def drained(self) -> bool:
        """Tell whether nothing waits in the queue."""
        return not self.gateway.queued()


def ids_in(box: Box) -> Counter[str]:
    """Return how often each Message-ID is in a mailbox."""
    found: Counter[str] = Counter()
    for each in box.shown():
        head = each.octets.split(b"\r\n\r\n", 1)[0]
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"message-id:"):
                found[line.partition(b":")[2].strip().decode().strip("<>")] += 1
    return found


class Flow:
    """Mail from outside to people in turn, so many a second, until the context ends; `sent` are those answered 250."""

    def __init__(self, gateway: Gateway, people: Iterable[str], per_s: float) -> None:
        self._gateway = gateway
        self._people = list(people)
        self._pause_s = 1 / per_s
        self._number = next(_FLOWS)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.sent: list[tuple[str, str]] = []
        """(person, Message-ID)"""
        self.refused: list[str] = []

    def _run(self) -> None:
        turns: Iterator[tuple[int, str]] = enumerate(itertools.cycle(self._people))
        with RawClient(self._gateway.port, timeout_s=120) as client:
            due = time.monotonic()
            while not self._stop.is_set():
                number, person = next(turns)
                id = f"flow-{self._number}-{number}-{person}@source.example"
                reply = client.message("pat@source.example", [f"{person}@{DOMAIN}"], flow_mail(id))
                if reply.code == 250:
                    self.sent.append((person, id))
                else:
                    self.refused.append(str(reply))
                due = max(due + self._pause_s, time.monotonic() - 1)
                self._stop.wait(max(0.0, due - time.monotonic()))

    def wait_for_more(self, count: int) -> None:
        """Wait until so many more were answered 250."""
        before = len(self.sent)
        wait_until(lambda: len(self.sent) >= before + count, 120, f"{count} more messages were taken")

    def __enter__(self) -> Flow:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(120)
        assert not self._thread.is_alive(), "the flow has ended"


def flow_mail(id: str) -> bytes:
    return f"From: pat@source.example\r\nMessage-ID: <{id}>\r\nSubject: {id}\r\n\r\nbody\r\n".encode()


@contextmanager
def company(folder: Path, people: Sequence[str], **options: Any) -> Iterator[Company]:
    """Give a company that runs."""
    with Company(folder, people, **options) as made:
        yield made
