"""Two mail systems behind one table: copies, groups, a domain that both have, and people who moved, with real peers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from tests.integration.conftest import StartGateway
from tests.peers.gateway import Gateway
from tests.peers.process import free_port, wait_until
from tests.peers.raw import RawClient, Reply, send, stuffed
from tests.peers.sink import Sink, Taken

PEOPLE = """\
name,home,kind,copy_home,members,owner,smtp,mhs
Ann Lee,oldmhs,person,,,,ann@merged.example;ann.lee@old.example;former:al@old.example,ann@sales
Bob Ray,new,person,old,,,bob@merged.example,bob@hq
Carl,new,person,,,,carl@merged.example,
Dora,old,person,,,,dora@merged.example,
Staff,,group,,smtp:carl@merged.example;smtp:dora@merged.example;mhs:ann@sales,smtp:carl@merged.example,\
staff@merged.example,
"""

MORE = """
[mapping]
domains = ["merged.example", "old.example"]
import = ["people.csv"]
tell_moved = true

[[mapping.shared]]
domain = "merged.example"
systems = ["new", "old"]

[connector.new]
type = "smtp"
listen = ["127.0.0.1:{new}"]
relay_networks = ["127.0.0.0/8"]
smart_host = "127.0.0.1:{new_sink}"

[connector.old]
type = "smtp"
listen = ["127.0.0.1:{old}"]
relay_networks = ["127.0.0.0/8"]
smart_host = "127.0.0.1:{old_sink}"

[connector.oldmhs]
type = "filedrop"
network = "mhs"
inbox = "drop/in"
outbox = "drop/out"
create_folders = true

[[route]]
match = "mhs:*"
to = "oldmhs"
"""


@dataclass
class Company:
    """The gateway between the internet, the two systems and a folder of MHS; each sink is the far side of one."""

    gateway: Gateway
    internet: Sink
    new: Sink
    old: Sink
    ports: dict[str, int]

    @property
    def outbox(self) -> Path:
        return self.gateway.folder / "drop" / "out"

    def send(self, to: str, *, sender: str = "pat@peer.example", by: str = "internet", notify: str = "") -> Reply:
        """Send one message into the gateway by one of its connectors. Returns: the last reply."""
        text = f"From: <{sender}>\r\nTo: <{to}>\r\nSubject: hello\r\nMessage-Id: <1@{by}>\r\n\r\ntext\r\n"
        return self.send_octets(text.encode(), [to], sender=sender, by=by, notify=notify)

    def send_octets(
        self, content: bytes, to: list[str], *, sender: str = "pat@peer.example", by: str, notify: str = ""
    ) -> Reply:
        with RawClient(self.ports[by]) as client:
            reply = client.say(f"MAIL FROM:<{sender}>".encode())
            for each in to:
                assert reply.code == 250, reply
                reply = client.say(f"RCPT TO:<{each}>{f' NOTIFY={notify}' if notify else ''}".encode())
            if reply.code != 250:
                return reply
            assert client.say(b"DATA").code == 354
            client.send(stuffed(content))
            return client.reply()

    def files(self) -> list[Message]:
        """Return what lies in the outbox of MHS, oldest first."""
        return [message_from_bytes(path.read_bytes()) for path in sorted(self.outbox.glob("*.eml"))]

    def wait_for_files(self, count: int) -> list[Message]:
        wait_until(lambda: len(self.files()) >= count, 60, f"the outbox has {count} files")
        return self.files()

    def is_done(self) -> None:
        """Wait until nothing is under way."""
        wait_until(lambda: self.gateway.queued() == 0, 60, "the queue is empty")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    folder = tmp_path_factory.mktemp("merged")
    with ExitStack() as stack:
        internet, new, old = (stack.enter_context(Sink(folder, keep=True)) for _ in range(3))
        ports = {"new": free_port(), "old": free_port()}
        (folder / "people.csv").write_text(PEOPLE)
        more = MORE.format(**ports, new_sink=new.port, old_sink=old.port)
        gateway = Gateway(folder, internet.port, gateway='retry_min = "1s"\nretry_max = "2s"', more=more)
        stack.enter_context(gateway)
        yield Company(gateway, internet, new, old, {**ports, "internet": gateway.port})


@pytest.fixture
def company(running: Company) -> Iterator[Company]:
    """The company with all sinks empty and well, and the outbox fetched."""
    for sink in (running.internet, running.new, running.old):
        sink.reset()
        sink.behave()
    for path in running.outbox.glob("*.eml"):
        path.unlink()
    yield running
    print(f"--- log\n{running.gateway.said()[-4000:]}")


def text_of(taken: Taken) -> str:
    """Return a message as text on one line, parts of a report and all: whatever was folded or wrapped is whole."""
    assert taken.octets is not None
    return " ".join(taken.octets.decode().split())


def test_both_mailboxes_get_a_copy(company: Company) -> None:
    assert company.send("bob@merged.example").code == 250
    company.new.wait_for(1)
    company.old.wait_for(1)
    company.is_done()
    (there,), (copy,) = company.new.taken(), company.old.taken()
    for each in (there, copy):
        assert (each.sender, each.recipients) == ("pat@peer.example", ["bob@merged.example"])
    assert there.body == copy.body
    assert company.internet.count == 0


def test_a_copy_that_is_refused_is_nothing_to_tell_the_sender(company: Company) -> None:
    company.old.behave(recipients={"*": "550 5.1.1 gone"})
    assert company.send("bob@merged.example", notify="SUCCESS,FAILURE").code == 250
    company.new.wait_for(1)
    company.is_done()
    assert company.old.count == 0
    # That the mailbox took it, its server was asked to say; the copy is nobody's business.
    assert company.internet.count == 0


def test_a_group_goes_out_under_its_owners_name(company: Company) -> None:
    company.old.behave(recipients={"dora@merged.example": "550 5.1.1 no such user"})
    assert company.send("staff@merged.example", notify="SUCCESS,FAILURE").code == 250
    company.new.wait_for(2)
    company.internet.wait_for(1)
    (file,) = company.wait_for_files(1)
    company.is_done()

    to_carl, failed = company.new.taken()
    if to_carl.sender == "":
        to_carl, failed = failed, to_carl
    assert (to_carl.sender, to_carl.recipients) == ("carl@merged.example", ["carl@merged.example"])
    assert "From: <pat@peer.example>" in text_of(to_carl)
    assert file["X-Receiver"] == "<ann@sales>"
    assert file["X-Sender"] == "<carl@merged.example>"
    assert company.old.count == 0

    # That Dora's mailbox is gone is the owner's to know.
    assert (failed.sender, failed.recipients) == ("", ["carl@merged.example"])
    assert "Action: failed" in text_of(failed)
    assert "dora@merged.example" in text_of(failed)
    assert "no such user" in text_of(failed)

    # The sender asked for success, and hears that the list took it; nothing of its members.
    (success,) = company.internet.taken()
    assert (success.sender, success.recipients) == ("", ["pat@peer.example"])
    assert "Action: failed" not in text_of(success)
    assert "Final-Recipient: rfc822; staff@merged.example" in text_of(success)
    assert "Status: 2.1.5" in text_of(success)
    assert not re.search("dora|carl|ann@", text_of(success))


def test_a_group_reports_nothing_that_was_not_asked_for(company: Company) -> None:
    assert company.send("staff@merged.example").code == 250
    company.new.wait_for(1)
    company.old.wait_for(1)
    company.wait_for_files(1)
    company.is_done()
    assert company.internet.count == 0
    assert company.old.taken()[0].sender == "carl@merged.example"


@pytest.mark.parametrize(("by", "goes_to"), [("internet", "new"), ("new", "old"), ("old", "new")])
def test_whom_the_table_does_not_know_may_be_known_to_the_other_system(company: Company, by: str, goes_to: str) -> None:
    assert company.send("zed@merged.example", by=by).code == 250
    sink = {"new": company.new, "old": company.old}[goes_to]
    sink.wait_for(1)
    company.is_done()
    assert sink.taken()[0].recipients == ["zed@merged.example"]
    assert company.new.count + company.old.count == 1
    assert company.internet.count == 0


def test_nobody_of_a_domain_that_is_not_shared_is_refused(company: Company) -> None:
    reply = company.send("zed@old.example", by="new")
    assert (reply.code, reply.text[4:9]) == (550, "5.1.1")


def test_a_refusal_by_the_other_system_is_reported_in_its_words(company: Company) -> None:
    company.old.behave(recipients={"*": "550 5.1.1 zed is unknown to both"})
    assert company.send("zed@merged.example", by="new").code == 250
    company.internet.wait_for(1)
    company.is_done()
    (report,) = company.internet.taken()
    assert report.recipients == ["pat@peer.example"]
    assert "zed is unknown to both" in text_of(report)


MISCONFIGURED = "shared by new and old, and each of them sends this address on as the other's: create the mailbox"


def test_a_ring_of_two_systems_is_found_at_its_first_turn(company: Company) -> None:
    assert company.send("ghost@merged.example", by="new").code == 250
    company.old.wait_for(1)
    (offered,) = company.old.taken()
    assert offered.octets is not None
    assert b"ghost" not in offered.octets.partition(b"\r\nFrom:")[0]
    # The other system thinks that the mailbox is the first one's, and sends it back.
    reply = company.send_octets(offered.octets, ["ghost@merged.example"], by="old")
    assert (reply.code, reply.text[4:9]) == (554, "5.4.6")
    assert MISCONFIGURED in reply.text
    company.is_done()
    assert (company.new.count, company.old.count) == (0, 1)


def test_a_ring_that_began_outside_is_found_when_both_have_had_it(company: Company) -> None:
    assert company.send("ghost@merged.example").code == 250
    company.new.wait_for(1)
    once = company.new.taken()[0].octets
    assert once is not None
    assert company.send_octets(once, ["ghost@merged.example"], by="new").code == 250
    company.old.wait_for(1)
    twice = company.old.taken()[0].octets
    assert twice is not None
    reply = company.send_octets(twice, ["ghost@merged.example"], by="old")
    assert MISCONFIGURED in reply.text


def test_a_ring_keeps_nobody_else_from_their_mail(company: Company) -> None:
    assert company.send("ghost@merged.example", by="new").code == 250
    company.old.wait_for(1)
    offered = company.old.taken()[0].octets
    assert offered is not None
    to = ["ghost@merged.example", "carl@merged.example"]
    assert company.send_octets(offered, to, by="old").code == 250
    company.new.wait_for(1)
    company.internet.wait_for(1)
    company.is_done()
    assert company.new.taken()[0].recipients == ["carl@merged.example"]
    (report,) = company.internet.taken()
    assert (report.sender, report.recipients) == ("", ["pat@peer.example"])
    assert "Final-Recipient: rfc822; ghost@merged.example" in text_of(report)
    assert "Status: 5.4.6" in text_of(report)
    assert MISCONFIGURED in text_of(report)


def test_a_sender_is_told_of_a_new_address_once(company: Company) -> None:
    for _ in range(2):
        assert company.send("al@old.example", sender="kim@far.example").code == 250
    files = company.wait_for_files(2)
    assert [file["X-Receiver"] for file in files] == ["<ann@sales>", "<ann@sales>"]
    company.internet.wait_for(1)
    company.is_done()
    (told,) = company.internet.taken()
    assert (told.sender, told.recipients) == ("", ["kim@far.example"])
    assert "Subject: New address of al@old.example" in text_of(told)
    assert "Please write to ann@merged.example from now on" in text_of(told)
    assert "Auto-Submitted: auto-replied" in text_of(told)
    # Another sender is told too, a list is not, and whoever writes to a current address has nothing to learn.
    assert company.send("al@old.example", sender="lou@far.example").code == 250
    assert company.send("al@old.example", sender="news-bounces+al@lists.example").code == 250
    assert company.send("ann.lee@old.example", sender="max@far.example").code == 250
    company.wait_for_files(5)
    company.internet.wait_for(2)
    company.is_done()
    assert [taken.recipients for taken in company.internet.taken()] == [["kim@far.example"], ["lou@far.example"]]


def test_a_sender_is_told_once_by_all_workers_together(tmp_path: Path, start_gateway: StartGateway, sink: Sink) -> None:
    (tmp_path / "people.csv").write_text("name,smtp\nAnn Lee,ann@merged.example;former:al@old.example\n")
    more = '[mapping]\ndomains = ["merged.example", "old.example"]\nimport = ["people.csv"]\ntell_moved = true\n'
    gateway = start_gateway(sink.port, folder=tmp_path, workers=2, more=more)
    content = b"From: <kim@far.example>\r\n\r\ntext\r\n"
    for _ in range(12):  # each by a connection of its own, which the kernel gives to either
        assert send(gateway.port, "kim@far.example", ["al@old.example"], content).code == 250
    sink.wait_for(13)
    wait_until(lambda: gateway.queued() == 0, 60, "the queue is empty")
    assert [taken.recipients for taken in sink.taken() if taken.sender == ""] == [["kim@far.example"]]


def test_a_person_is_reached_under_every_address_of_theirs(company: Company) -> None:
    # Ann's mailbox is on MHS, whichever of her internet addresses was written to.
    for to in ("ann@merged.example", "Ann.Lee+tag@old.example", "al@old.example"):
        assert company.send(to, sender="ida@far.example").code == 250
    files = company.wait_for_files(3)
    assert {file["X-Receiver"] for file in files} == {"<ann@sales>"}
    assert {file["X-Sender"] for file in files} == {"<ida@far.example>"}


def test_people_of_two_networks_write_to_each_other(company: Company) -> None:
    # On MHS, Bob has a name too; his mailbox is with the new system, and a copy goes to the old one.
    inbox = company.gateway.folder / "drop" / "in"
    text = "X-Sender: ann@sales\r\nX-Receiver: bob@hq\r\nFrom: Ann <ann@sales>\r\nTo: Bob <bob@hq>\r\n\r\ntext\r\n"
    (inbox / "1.tmp").write_text(text)
    (inbox / "1.tmp").rename(inbox / "1.eml")
    company.new.wait_for(1)
    company.old.wait_for(1)
    for sink in (company.new, company.old):
        (taken,) = sink.taken()
        assert (taken.sender, taken.recipients) == ("ann@merged.example", ["bob@merged.example"])
        assert "From: Ann <ann@merged.example>" in text_of(taken)
        assert "To: Bob <bob@merged.example>" in text_of(taken)
    # And his answer, from either system, comes to Ann under the names that MHS knows.
    for by in ("new", "old"):
        assert company.send("ann@merged.example", sender="bob@merged.example", by=by).code == 250
    for file in company.wait_for_files(2):
        assert (file["X-Sender"], file["X-Receiver"], file["From"]) == ("<bob@hq>", "<ann@sales>", "<bob@hq>")
