"""Delivery by LMTP into Dovecot and Cyrus: an answer for each recipient, and what a quota and a missing mailbox are."""

from __future__ import annotations

import imaplib
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from connectors.folders.local.config import LocalConfig
from connectors.folders.local.dovecot import Serving, configuration
from tests.connectors.imap.mailboxes import cyrus
from tests.connectors.smtp.client_kit import RecordingBatch, config, deliver, parcel
from tests.peers.cyrus import ADMIN
from tests.peers.cyrus import PASSWORD as CYRUS_PASSWORD
from tests.peers.dovecot import program
from tests.peers.process import Process, answers, free_port, wait_until
from tests.scratch import SCRATCH

pytestmark = pytest.mark.xdist_group("imap-cyrus")  # the one that takes long to start is started once
MESSAGE = b"From: zoe@else.example\r\nTo: ann@acme.example\r\nSubject: by lmtp\r\n\r\n" + b"x" * 70 + b"\r\n"
LARGE = MESSAGE + (b"y" * 70 + b"\r\n") * 3000
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module", params=["wait", "fail"])
def dovecot(request: pytest.FixtureRequest) -> Iterator[tuple[str, int, Path]]:
    """Run a Dovecot by the configuration that Gatepost writes, with LMTP; what a full mailbox is there differs."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="gatepost-lmtp-", dir=SCRATCH))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        (folder / "mail").mkdir()
        user, group = ("nobody", "nogroup") if os.geteuid() == 0 else (str(os.geteuid()), str(os.getegid()))
        if os.geteuid() == 0:
            shutil.chown(folder / "mail", user, group)
        (folder / "passwords").write_text("ann@acme.example:{PLAIN}secret\nbob@acme.example:{PLAIN}secret\n")
        (folder / "passwords").chmod(0o644)
        local = LocalConfig(path="mail/{domain}/{user}", quota_bytes=100_000)
        port = free_port()
        serving = Serving(
            folder / "passwords", folder / "run", user, group, imap=0, pop=0, lmtp=port, rootless=os.geteuid() != 0
        )
        waits = "yes" if request.param == "wait" else "no"
        more = f"quota_full_tempfail = {waits}\nprotocol lmtp {{\n  mail_plugins = quota\n}}\n"
        (folder / "dovecot.conf").write_text(configuration("mailboxes", local, folder, serving) + more)
        served = Process([program("dovecot"), "-c", str(folder / "dovecot.conf"), "-F"], folder / "out")
        stack.callback(served.kill)
        wait_until(lambda: answers(port, b"220"), 60, "Dovecot answers")
        yield request.param, port, folder / "mail"


async def test_dovecot_answers_for_each(dovecot: tuple[str, int, Path]) -> None:
    full, port, mail = dovecot
    batch = RecordingBatch(
        [
            parcel(1, ["ann@acme.example", "gone@acme.example", "bob@acme.example"], content=MESSAGE),
            parcel(2, ["ann@acme.example", "bob@acme.example"], content=LARGE),
        ]
    )
    await deliver(batch, config(port, protocol_out="lmtp", tls="none"))
    over = "failed 5.2.2" if full == "fail" else "deferred 4.2.2 recipient"
    assert batch.codes() == ["delivered 2.0.0", "failed 5.1.1", "delivered 2.0.0", over, over]
    delivered = sorted(path.parent.parent.name for path in mail.glob("acme.example/*/new/*"))
    assert delivered == ["ann", "bob"]


async def test_cyrus_answers_for_each() -> None:
    server = cyrus()
    ann, full = (server.user(f"lmtp{next(_NUMBERS)}") for _ in range(2))
    for user in (ann, full):
        with imaplib.IMAP4("127.0.0.1", server.port, timeout=60) as client:
            client.login(user, CYRUS_PASSWORD)
            client.select("INBOX")
    with imaplib.IMAP4("127.0.0.1", server.port, timeout=60) as client:
        client.login(ADMIN, CYRUS_PASSWORD)
        client.setquota(f"user/{full}", "(STORAGE 1)")
    to = [f"{name}@cyrus.peer.example" for name in (ann, "gone", full)]
    settings = config(server.lmtp_port, protocol_out="lmtp", tls="none")
    await deliver(RecordingBatch([parcel(3, [to[2]], content=LARGE)]), settings)  # as shipped it takes one too many
    batch = RecordingBatch([parcel(1, to[:2], content=MESSAGE), parcel(2, [to[0], to[2]], content=MESSAGE)])
    await deliver(batch, settings)
    codes = batch.codes()
    assert codes[0].startswith("delivered 2.")
    assert codes[1] == "failed 5.1.1"
    assert codes[2:] == [codes[0], "deferred 4.2.2 recipient"]
    with imaplib.IMAP4("127.0.0.1", server.port, timeout=60) as client:
        client.login(ann, CYRUS_PASSWORD)
        assert client.select("INBOX")[1] == [b"2"]
