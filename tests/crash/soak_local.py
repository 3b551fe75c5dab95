"""The whole way in from a provider's mailboxes to those of this machine, the gateway killed again and again under it.

Mail is fetched by IMAP and by POP3, and put into a Maildir and an mbox file; each message is counted at the end.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

from tests.peers.dovecot import PASSWORD, Dovecot
from tests.peers.gateway import Gateway
from tests.peers.process import free_port, wait_until
from tests.scratch import SCRATCH

MORE: Final = """
[mapping]
domains = ["acme.example"]
import = ["people.csv"]

[connector.maildirs]
type = "local"
path = "mail/{{user}}"
create = true

[connector.files]
type = "local"
format = "mbox"
path = "spool-mail/{{user}}"
create = true

[connector.by-imap]
type = "imap"
host = "127.0.0.1"
port = {imap}
tls = "none"
password = "{password}"
poll_s = 0.2

[[connector.by-imap.fetch]]
mailbox = "many"
domains = ["acme.example"]

[connector.by-pop]
type = "pop"
host = "127.0.0.1"
port = {pop}
tls = "none"
password = "{password}"
poll_s = 0.2

[[connector.by-pop.fetch]]
mailbox = "popped"
domains = ["acme.example"]
"""
PEOPLE: Final = "name,home,smtp\nAnn,maildirs,ann@acme.example\nBob,files,bob@acme.example\n"
_NUMBER: Final = re.compile(rb"^X-Number: (\d+)\r?$", re.MULTILINE)


def course(kills: int, messages: int, seed: int) -> tuple[int, int]:
    """Fetch and deliver so many messages under so many kills; return how many were lost, and how many doubled."""
    chance = random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="gatepost-killed-", dir=SCRATCH))
    try:
        with Dovecot() as provider:
            for each in ("mail", "spool-mail"):
                (folder / each).mkdir()
            (folder / "people.csv").write_text(PEOPLE)
            more = MORE.format(imap=provider.port, pop=provider.pop_port, password=PASSWORD)
            numbers = itertools.count()
            gateway = Gateway(folder, free_port(), gateway='retry_min = "1s"\nretry_max = "2s"', more=more)
            for n in range(kills):
                _put(provider, "many", [next(numbers) for _ in range(messages)])
                _put(provider, "popped", [next(numbers) for _ in range(messages)])
                gateway.start()
                time.sleep(chance.uniform(0.0, 0.6) if n else 0.2)
                assert gateway.process is not None
                gateway.process.kill()
            gateway.start()
            try:
                total = next(numbers)
                left = lambda: list((provider.folder / "mail").glob("*/Maildir/???/*.kit*"))  # noqa: E731
                wait_until(lambda: not left(), 120, "all is fetched")
                wait_until(lambda: len(set(_there(folder))) == total, 120, "all is delivered")
                wait_until(lambda: not gateway.rows(), 60, "nothing waits")
            except TimeoutError as late:
                print(f"{late}\n{gateway.said()[-4000:]}")
            finally:
                gateway.process.kill()
            found = Counter(_there(folder))
            return total - len(found), sum(found.values()) - len(found)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put(provider: Dovecot, user: str, numbers: list[int]) -> None:
    maildir = provider.folder / "mail" / user / "Maildir"
    for name in ("cur", "new", "tmp"):
        (maildir / name).mkdir(parents=True, exist_ok=True)
    for number in numbers:
        to = "ann" if number % 2 else "bob"
        path = maildir / "tmp" / f"{number}.kit"
        path.write_bytes(b"Delivered-To: %s@acme.example\nX-Number: %d\n\n%s\n" % (to.encode(), number, b"x" * 2000))
        if os.geteuid() == 0:
            shutil.chown(path, "nobody", "nogroup")
        path.rename(maildir / "new" / path.name)
    if os.geteuid() == 0:
        for each in (maildir.parent, maildir, *maildir.iterdir()):
            shutil.chown(each, "nobody", "nogroup")


def _there(folder: Path) -> list[int]:
    """Return the numbers of all messages that were delivered."""
    paths = [
        *(folder / "mail").glob("*/new/*"),
        *(path for path in (folder / "spool-mail").iterdir() if path.suffix == ""),
    ]
    octets = [path.read_bytes() for path in paths if not path.name.startswith(".")]
    return [int(number) for each in octets for number in _NUMBER.findall(each)]


def main() -> None:
    """Run a course of so many kills; exit 1 where a message was lost or came twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--messages", type=int, default=30, help="in each of the two mailboxes before each kill")
    asked = parser.parse_args()
    lost, doubled = course(asked.kills, asked.messages, int(time.time()))
    accepted = 2 * asked.kills * asked.messages - lost
    print(f"kills {asked.kills}, accepted {accepted}, lost {lost}, doubled {doubled} (in flight at kill at most 0)")
    sys.exit(bool(lost or doubled))


if __name__ == "__main__":
    main()
