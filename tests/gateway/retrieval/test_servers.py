"""What is done at a real server with messages that are in the spool, by IMAP; and what is refused."""

from __future__ import annotations

import asyncio
import imaplib
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from connectors.imap.config import ImapConfig
from connectors.pop.config import PopConfig
from gateway.contract import Status
from gateway.testing.peers import RecordingIntake
from tests.connectors.imap.kit import connector
from tests.peers.dovecot import PASSWORD, Dovecot

_USERS = itertools.count(1)
FETCH = {"recipients": ["ann@acme.example"]}


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    with Dovecot() as made:
        yield made


class Mailbox:
    """A user's mailbox, with a message or more put in by APPEND."""

    def __init__(self, server: Dovecot) -> None:
        self.user = f"ways{next(_USERS)}"
        self._client = imaplib.IMAP4("127.0.0.1", server.port, timeout=60)
        self._client.login(self.user, PASSWORD)

    def put(self, number: int, folder: str = "INBOX") -> None:
        self._client.create(folder)
        octets = b"Message-ID: <%d@x.example>\r\nX-Kit: %d\r\n\r\nx\r\n" % (number, number)
        self._client.append(folder, "", imaplib.Time2Internaldate(time.time()), octets)

    def counts(self, folder: str = "INBOX") -> tuple[int, int]:
        """Return how many messages are there, and how many of them are unseen."""
        if self._client.select(folder, readonly=True)[0] != "OK":
            return 0, 0
        found = [self._client.search(None, what)[1][0].split() for what in ("ALL", "UNSEEN")]
        return len(found[0]), len(found[1])


async def fetch(
    home: Path, server: Dovecot, user: str, done: Callable[[], bool], intake: RecordingIntake, **options: Any
) -> None:
    made = connector(home, server.port, poll_s=0.2, fetch=[FETCH | {"mailbox": user} | options])
    await made.start()
    task = asyncio.ensure_future(made.run(intake))
    try:
        async with asyncio.timeout(60):
            while not await asyncio.to_thread(done):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        task.cancel()
        await asyncio.wait((task,), timeout=20)
        await made.stop()


async def test_they_are_removed_for_good(server: Dovecot, tmp_path: Path) -> None:
    box, intake = Mailbox(server), RecordingIntake()
    box.put(0, "Trash")
    box.put(1)
    await fetch(tmp_path, server, box.user, lambda: box.counts() == (0, 0), intake)
    assert box.counts("Trash")[0] == 1
    assert intake.marks == [1]


async def test_they_are_moved(server: Dovecot, tmp_path: Path) -> None:
    box, intake = Mailbox(server), RecordingIntake()
    for number in range(20):
        box.put(number)
    done = lambda: box.counts("Done/2026")[0] == 20  # noqa: E731
    await fetch(tmp_path, server, box.user, done, intake, after="move", move_to="Done/2026")
    assert box.counts() == (0, 0)
    assert sorted(intake.marks) == list(range(20))


async def test_they_are_marked_and_come_once(server: Dovecot, tmp_path: Path) -> None:
    box, intake = Mailbox(server), RecordingIntake()
    box.put(1)
    await fetch(tmp_path, server, box.user, lambda: box.counts() == (1, 0), intake, after="mark")
    box.put(2)
    await fetch(tmp_path, server, box.user, lambda: box.counts() == (2, 0), intake, after="mark")
    assert intake.marks == [1, 2]


async def test_another_folder_is_fetched_from(server: Dovecot, tmp_path: Path) -> None:
    box, intake = Mailbox(server), RecordingIntake()
    box.put(1)
    box.put(2, "Lists/a")
    await fetch(tmp_path, server, box.user, lambda: box.counts("Lists/a") == (0, 0), intake, folder="Lists/a")
    assert intake.marks == [2]
    assert box.counts() == (1, 1)


async def test_what_nobody_takes_is_put_aside(server: Dovecot, tmp_path: Path) -> None:
    box, intake = Mailbox(server), RecordingIntake()
    intake.rejects = Status("5.1.1", "nobody")
    box.put(1)
    await fetch(tmp_path, server, box.user, lambda: box.counts("Refused")[0] == 1, intake, refused_to="Refused")
    assert box.counts() == (0, 0)


async def test_news_come_by_idle(server: Dovecot, tmp_path: Path) -> None:
    box, intake = Mailbox(server), RecordingIntake()
    made = connector(tmp_path, server.port, poll_s=600, fetch=[FETCH | {"mailbox": box.user}])
    await made.start()
    task = asyncio.ensure_future(made.run(intake))
    try:
        async with asyncio.timeout(60):
            for number in itertools.count():
                # The first may come before the server is asked to tell.
                await asyncio.to_thread(box.put, number)
                await asyncio.sleep(0.5)
                if len(intake.marks) > 2:
                    break
    finally:
        task.cancel()
        await asyncio.wait((task,), timeout=20)


@pytest.mark.parametrize(
    ("fetch", "says"),
    [
        ({"after": "move"}, "needs move_to"),
        ({"move_to": "Done"}, "needs move_to, and nothing else does"),
        ({"after": "move", "move_to": "INBOX"}, "another folder than it comes from"),
        ({"after": "burn"}, "after"),
    ],
)
def test_bad_options_are_told(fetch: dict[str, Any], says: str) -> None:
    told = {"host": "127.0.0.1", "tls": "none", "password": "x", "fetch": [FETCH | {"mailbox": "x"} | fetch]}
    with pytest.raises(ValidationError, match=says):
        ImapConfig.model_validate(told)


def test_by_pop_they_are_removed_or_kept_and_nothing_else() -> None:
    told = {"host": "127.0.0.1", "tls": "none", "password": "x", "fetch": [FETCH | {"mailbox": "x", "after": "mark"}]}
    with pytest.raises(ValidationError, match="after"):
        PopConfig.model_validate(told)
