"""Gatepost at the border: for each recipient it decides as an MTA does, keeps what is local, and people read it.

One gateway of an unprivileged user, with the mailboxes it delivers to; a Dovecot that `gatepost local dovecot` set up,
by which people read them; another one as a provider's, from which mail is fetched; and the sink for all that goes on.
"""

from __future__ import annotations

import imaplib
import os
import poplib
import shutil
import smtplib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.peers.dovecot import PASSWORD, Dovecot
from tests.peers.gateway import Gateway
from tests.peers.local_mail import GROUP, USER, local_gateway, mail_folder, served
from tests.peers.process import wait_until
from tests.peers.sink import Sink

MORE = """
[mapping]
domains = ["acme.example"]
import = ["people.csv"]

[connector.mailboxes]
type = "local"
path = "mail/{{domain}}/{{user}}"
create = true
quota_bytes = 200000

[connector.mailboxes.programs.archive]
command = ["/bin/sh", "-c", "cat >> $0", "{folder}/archive/{{user}}"]

[connector.partner]
type = "smtp"
smart_host = "127.0.0.1:{sink}"
port = {sink}

[connector.provider]
type = "imap"
host = "127.0.0.1"
port = {provider}
tls = "none"
password = "{password}"
poll_s = 1

[[connector.provider.fetch]]
mailbox = "acme"
domains = ["acme.example"]
otherwise = "postmaster@acme.example"

[connector.provider2]
type = "pop"
host = "127.0.0.1"
port = {provider_pop}
tls = "none"
password = "{password}"
poll_s = 1

[[connector.provider2.fetch]]
mailbox = "ann-at-provider"
recipients = ["ann@acme.example"]
"""
PEOPLE = """\
name,home,smtp,attributes
Ann Lee,mailboxes,ann@acme.example; ann.lee@acme.example,
Bob Ray,mailboxes,bob@acme.example,mail.forward=bob@acme.example\\; bob@phone.example
Carl,partner,carl@acme.example,
Dora,mailboxes,dora@acme.example,mail.vacation=I am away.; mail.deliver=mailbox\\; folder:Copies\\; program:archive
Postmaster,mailboxes,postmaster@acme.example,
"""


@dataclass
class Border:
    folder: Path
    gateway: Gateway
    sink: Sink
    provider: Dovecot
    imap: int
    pop: int

    def send(self, *to: str, text: str = "text", sender: str = "zoe@else.example", head: str = "") -> dict[str, int]:
        """Send a message, and return the code of each recipient who was refused."""
        with smtplib.SMTP("127.0.0.1", self.gateway.port, timeout=60) as client:
            message = f"From: {sender}\r\nTo: {', '.join(to)}\r\nSubject: {text}\r\n{head}\r\n{text}\r\n"
            try:
                refused = client.sendmail(sender, to, message.encode())
            except smtplib.SMTPRecipientsRefused as all_of_them:
                refused = all_of_them.recipients
        return {name: code for name, (code, _) in refused.items()}

    def by_imap(self, user: str, folder: str = "INBOX") -> list[bytes]:
        with imaplib.IMAP4("127.0.0.1", self.imap, timeout=60) as client:
            client.login(f"{user}@acme.example", PASSWORD)
            client.select(folder, readonly=True)
            _, (numbers,) = client.search(None, "ALL")
            return [client.fetch(n, "(BODY.PEEK[])")[1][0][1] for n in numbers.split()]  # type: ignore[index,misc]

    def by_pop(self, user: str) -> list[bytes]:
        client = poplib.POP3("127.0.0.1", self.pop, timeout=60)
        try:
            client.user(f"{user}@acme.example")
            client.pass_(PASSWORD)
            return [b"\r\n".join(client.retr(n + 1)[1]) for n in range(client.stat()[0])]
        finally:
            client.quit()

    def has(self, user: str, text: str, folder: str = "INBOX") -> bytes:
        """Wait for a message with this subject, and return it."""
        found: list[bytes] = []

        def there() -> bool:
            found[:] = [each for each in self.by_imap(user, folder) if f"Subject: {text}\r\n".encode() in each]
            return bool(found)

        wait_until(there, 60, f"{user} has {text!r}")
        (one,) = found
        return one


@pytest.fixture(scope="module")
def border() -> Iterator[Border]:
    with ExitStack() as stack:
        folder = stack.enter_context(mail_folder("gatepost-local-"))
        (folder / "archive").mkdir()
        provider = stack.enter_context(Dovecot())
        sink = stack.enter_context(Sink(folder, keep=True))
        (folder / "people.csv").write_text(PEOPLE)
        more = MORE.format(
            folder=folder, sink=sink.port, provider=provider.port, provider_pop=provider.pop_port, password=PASSWORD
        )
        gateway = stack.enter_context(local_gateway(folder, sink.port, gateway='retry_min = "1s"', more=more))
        people = [f"{who}@acme.example" for who in ("ann", "bob", "dora", "postmaster")]
        there = stack.enter_context(served(folder, "mailboxes", people))
        yield Border(folder, gateway, sink, provider, there.imap, there.pop)


def test_local_is_stored_elsewhere_is_forwarded_and_the_rest_is_relayed(border: Border) -> None:
    border.sink.reset()
    refused = border.send(
        "ann.lee@acme.example", "carl@acme.example", "x@far.example", "nobody@acme.example", text="three ways"
    )
    assert refused == {"nobody@acme.example": 550}
    message = border.has("ann", "three ways")
    assert message.startswith(
        b"Return-Path: <zoe@else.example>\r\nX-Original-To: ann.lee@acme.example\r\nDelivered-To: ann@acme.example\r\n"
    )
    wait_until(lambda: len(border.sink.taken()) == 2, 60, "the others have theirs")
    assert {to for one in border.sink.taken() for to in one.recipients} == {"carl@acme.example", "x@far.example"}


def test_people_read_by_pop_too(border: Border) -> None:
    border.send("postmaster@acme.example", text="by pop")
    border.has("postmaster", "by pop")
    assert any(b"Subject: by pop" in each for each in border.by_pop("postmaster"))


def test_a_copy_is_kept_of_what_is_sent_on(border: Border) -> None:
    border.sink.reset()
    border.send("bob@acme.example", text="both ways")
    border.has("bob", "both ways")
    wait_until(lambda: len(border.sink.taken()) == 1, 60, "it is sent on")
    assert list(border.sink.taken()[0].recipients) == ["bob@phone.example"]


def test_rules_put_it_into_a_folder_and_a_program_and_answer(border: Border) -> None:
    border.sink.reset()
    border.send("dora@acme.example", text="much to do")
    border.has("dora", "much to do")
    border.has("dora", "much to do", "Copies")
    archived = border.folder / "archive" / "dora"
    wait_until(lambda: archived.exists() and b"much to do" in archived.read_bytes(), 60, "it is archived")
    wait_until(lambda: len(border.sink.taken()) == 1, 60, "the sender is told")
    (answer,) = border.sink.taken()
    assert answer.sender == ""
    assert list(answer.recipients) == ["zoe@else.example"]
    assert b"Auto-Submitted: auto-replied" in (answer.octets or b"")
    border.send("dora@acme.example", text="once more")
    border.has("dora", "once more")
    assert len(border.sink.taken()) == 1


def test_a_full_mailbox_waits_and_is_counted_by_both(border: Border) -> None:
    border.send("postmaster@acme.example", text="large", head="X: y\r\n" + f"X-Pad: {'x' * 900}\r\n" * 150)
    border.has("postmaster", "large")
    border.send("postmaster@acme.example", text="too much", head=f"X-Pad: {'x' * 900}\r\n" * 150)
    wait_until(lambda: "status=4.2.2" in border.gateway.said(), 60, "it waits")
    with imaplib.IMAP4("127.0.0.1", border.imap, timeout=60) as client:
        client.login("postmaster@acme.example", PASSWORD)
        _, (_, (usage,)) = client.getquotaroot("INBOX")  # type: ignore[misc]
        assert int(usage.split()[-2]) > 100
        client.select("INBOX")
        _, (numbers,) = client.search(None, "ALL")
        client.store(numbers.replace(b" ", b",").decode(), "+FLAGS", "\\Deleted")
        client.expunge()
    border.has("postmaster", "too much")


def _put(border: Border, user: str, octets: bytes) -> Path:
    maildir = border.provider.folder / "mail" / user / "Maildir"
    for folder in ("cur", "new", "tmp"):
        (maildir / folder).mkdir(parents=True, exist_ok=True)
    path = maildir / "new" / f"1.{abs(hash(octets))}.kit"
    path.write_bytes(octets)
    if os.geteuid() == 0:
        for each in (maildir.parent, maildir, *maildir.iterdir(), path):
            shutil.chown(each, USER, GROUP)
    return path


def test_what_lies_at_a_provider_is_fetched_for_whom_it_is(border: Border) -> None:
    trace = b"Received: from mx by pop.provider.example for <%s>; Tue, 24 Nov 2026 01:02:03 +0000\n"
    head = b"Return-Path: <y@far.example>\nDelivered-To: acme@provider.example\n"
    ann = _put(border, "acme", head + trace % b"Ann@acme.example" + b"Subject: for ann\n\nx\n")
    lost = _put(border, "acme", head + trace % b"list@far.example" + b"Subject: for whom\n\nx\n")
    gone = _put(border, "acme", head + trace % b"gone@acme.example" + b"Subject: for nobody\n\nx\n")
    own = _put(border, "ann-at-provider", head + b"Delivered-To: ann@acme.example\nSubject: all hers\n\nx\n")
    message = border.has("ann", "for ann")
    assert message.startswith(b"Return-Path: <y@far.example>\r\nDelivered-To: ann@acme.example\r\nReceived: ")
    assert b"acme@provider.example" not in message
    border.has("postmaster", "for whom")
    border.has("postmaster", "for nobody")
    border.has("ann", "all hers")
    left = lambda: [each for path in (ann, lost, gone, own) for each in path.parent.parent.glob("*/1.*")]  # noqa: E731
    wait_until(lambda: not left(), 60, "the provider's mailboxes are empty")
