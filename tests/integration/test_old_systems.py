"""The old ones, each by what it hands over: smail's batches, bang paths, MMDF's mailboxes, Eudora's and MS Mail's mail.

One gateway stands between them and the internet, which is a sink here.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from base64 import encodebytes
from collections.abc import Iterator
from contextlib import ExitStack
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.peers.gateway import Gateway
from tests.peers.mail_programs import MailPrograms
from tests.peers.process import wait_until
from tests.peers.raw import send
from tests.peers.sink import Sink, Taken
from tests.scratch import SCRATCH

WAIT_S = 60
MORE = """
[mapping]
domains = ["merged.example"]
import = ["people.csv"]

[[mapping.rule]]
match = "smtp:{local}@{wg}.mhs.merged.example"
to = "mhs:{local}@{wg}"
direction = "both"

[connector.smail]
type = "filedrop"
format = "bsmtp"
inbox = "smail-in"
outbox = "smail-out"
create_folders = true
poll_s = 0.2

[connector.uucp]
type = "filedrop"
format = "uucp"
network = "uucp"
inbox = "uucp-in"
outbox = "uucp-out"
create_folders = true
ready = "rename"
poll_s = 0.2

[connector.uucp.uucp]
system = "gate"
neighbor = "beta"

[connector.mmdf]
type = "local"
format = "mmdf"
path = "mmdf/{user}"
create = true

[connector.plain]
type = "smtp"
smart_host = "127.0.0.1:SINK"
unpack_tnef = true

[connector.oldmhs]
type = "filedrop"
format = "smf71"
network = "mhs"
outbox = "mhs/out"
outbox_attachments = "mhs/parcel"
create_folders = true


[[route]]
match = "mhs:*"
to = "oldmhs"

[[route]]
match = "uucp:*"
to = "uucp"
"""
ROUTES = """
[[route]]
match = "smtp:*@smail.example"
to = "smail"

[[route]]
match = "smtp:*@plain.example"
to = "plain"
"""
PEOPLE = "name,home,smtp\nMaud,mmdf,maud@merged.example\n"


@pytest.fixture(scope="module")
def site() -> Iterator[tuple[Path, Gateway, Sink]]:
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="gatepost-old-", dir=SCRATCH))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        (folder / "people.csv").write_text(PEOPLE)
        for name in ("mmdf", "mhs", "mhs/parcel"):
            (folder / name).mkdir()
        sink = stack.enter_context(Sink(folder, keep=True))
        gateway = Gateway(folder, sink.port, connector=ROUTES, more=MORE.replace("SINK", str(sink.port)))
        stack.callback(lambda: print(f"--- log\n{gateway.said()[-6000:]}"))
        yield folder, stack.enter_context(gateway), sink


def to(sink: Sink, recipient: str) -> Taken:
    """Wait for the message to a recipient, and return it."""
    found: list[Taken] = []

    def there() -> bool:
        found[:] = [each for each in sink.taken() if recipient in each.recipients]
        return bool(found)

    wait_until(there, WAIT_S, f"mail for {recipient} is at the sink")
    return found[0]


def message(octets: bytes | None) -> EmailMessage:
    assert octets is not None
    made = message_from_bytes(octets, policy=policy.default)
    assert isinstance(made, EmailMessage)
    return made


def test_smail_hands_its_mail_to_the_smart_host_in_batches(site: tuple[Path, Gateway, Sink]) -> None:
    folder, gateway, sink = site
    batch = (
        "HELO smail.example\nMAIL FROM:<root@smail.example>\nRCPT TO:<ann@far.example>\nDATA\n"
        "From: root@smail.example\nTo: ann@far.example\nSubject: by batch\n\n..dot\n.\n"
        "MAIL FROM:<root@smail.example>\nRCPT TO:<zoe@far.example>\nDATA\nSubject: the second\n\nx\n.\nQUIT\n"
    )
    (folder / "smail-in" / "b.tmp").write_text(batch)
    (folder / "smail-in" / "b.tmp").rename(folder / "smail-in" / "b.bsmtp")
    first = to(sink, "ann@far.example")
    assert first.sender == "root@smail.example"
    assert message(first.octets).get_content().split() == [".dot"]
    to(sink, "zoe@far.example")
    content = b"From: ann@far.example\r\nTo: joe@smail.example\r\nSubject: back\r\n\r\n.a dot\r\n"
    assert send(gateway.port, "ann@far.example", ["joe@smail.example"], content).code == 250
    out = folder / "smail-out"
    wait_until(lambda: any(each.suffix != ".tmp" for each in out.iterdir()), WAIT_S, "a batch for smail")
    (made,) = out.iterdir()
    lines = made.read_text().splitlines()
    assert lines[:4] == ["HELO gw.example", "MAIL FROM:<ann@far.example>", "RCPT TO:<joe@smail.example>", "DATA"]
    assert "..a dot" in lines


def test_mail_by_bang_path_reaches_the_internet(site: tuple[Path, Gateway, Sink]) -> None:
    folder, gateway, sink = site
    content = b"From: ann@far.example\r\nSubject: far away\r\n\r\nx\r\n"
    assert send(gateway.port, "ann@far.example", ["uucp+3Abeta!gamma!joe@merged.example"], content).code == 550
    job = "U root smail\nR root\nF D.smail1\nI D.smail1\nC rmail bea@far.example\n"
    mail = "From root Mon Nov 30 10:00:00 2026 remote from smail\nFrom: root@smail.example\nSubject: by rmail\n\nx\n"
    (folder / "uucp-in" / "D.smail1").write_text(mail)
    (folder / "uucp-in" / ".job").write_text(job)
    (folder / "uucp-in" / ".job").rename(folder / "uucp-in" / "X.smail1")
    assert message(to(sink, "bea@far.example").octets)["Subject"] == "by rmail"


def test_an_mmdf_mailbox_is_read_by_mutt(site: tuple[Path, Gateway, Sink], tmp_path: Path) -> None:
    folder, gateway, _ = site
    content = (
        b"From: ann@far.example\r\nTo: maud@merged.example\r\nSubject: MMDF\r\n\r\nFrom the start\r\n\x01\x01x\r\n"
    )
    for _ in range(2):
        assert send(gateway.port, "ann@far.example", ["maud@merged.example"], content).code == 250
    mailbox = folder / "mmdf" / "maud"
    frame = b"\x01\x01\x01\x01\n"
    wait_until(lambda: mailbox.exists() and mailbox.read_bytes().count(frame) == 4, WAIT_S, "both are there")
    assert mailbox.read_bytes().startswith(frame)
    (tmp_path / "box").mkdir()
    for name in ("cur", "new", "tmp"):
        (tmp_path / "box" / name).mkdir()
    MailPrograms(tmp_path).mutt_copy(mailbox, tmp_path / "box", "Maildir")
    copies = [each.read_bytes() for name in ("cur", "new") for each in (tmp_path / "box" / name).iterdir()]
    assert len(copies) == 2
    assert all(b"From the start\n" in each for each in copies)


EUDORA = (
    b"X-Sender: ann@far.example\r\nX-Mailer: QUALCOMM Windows Eudora Version 4.3.2\r\nFrom: Ann <ann@far.example>\r\n"
    b"To: bob@sales.mhs.merged.example\r\nSubject: the budget\r\nMime-Version: 1.0\r\n"
    b"X-Attachments: C:\\DOCS\\BUDGET.XLS; C:\\DOCS\\NOTE;\r\n"
    b'Content-Type: multipart/mixed;\r\n boundary="=====================_1=="\r\n'
    b'\r\n--=====================_1==\r\nContent-Type: text/plain; charset="us-ascii"\r\n\r\nSee attached.\r\n'
    b'--=====================_1==\r\nContent-Type: application/octet-stream; name="BUDGET.XLS";\r\n'
    b' x-mac-type="584C5338"; x-mac-creator="5843454C"\r\nContent-Transfer-Encoding: base64\r\n'
    b'Content-Disposition: attachment; filename="BUDGET.XLS"\r\n\r\n'
    + encodebytes(b"10 towers").replace(b"\n", b"\r\n")
    + b"--=====================_1==--\r\n"
)


def test_eudoras_attachments_cross_to_a_system_without_mime(site: tuple[Path, Gateway, Sink]) -> None:
    """Its note of the sender's own paths goes to nobody as a file to be opened; what is attached, does."""
    folder, gateway, sink = site
    for who in ("bob@sales.mhs.merged.example", "carl@far.example"):
        assert send(gateway.port, "ann@far.example", [who], EUDORA).code == 250
    assert to(sink, "carl@far.example").octets is not None
    assert (to(sink, "carl@far.example").octets or b"").endswith(EUDORA.partition(b"\r\n")[2])
    out = folder / "mhs" / "out"
    wait_until(lambda: any(out.iterdir()), WAIT_S, "the message for MHS")
    (made,) = [each for each in out.iterdir() if each.is_file()]
    text = made.read_text("cp437")
    assert "Attachment-name: BUDGET.XLS\n" in text.replace("\r\n", "\n")
    assert text.count("Attachment-name:") == 1
    assert [each.read_bytes() for each in (folder / "mhs" / "parcel").iterdir()] == [b"10 towers"]


def test_ms_mails_winmail_dat_is_taken_apart_where_asked(site: tuple[Path, Gateway, Sink]) -> None:
    _, gateway, sink = site
    corpus = os.environ.get("GATEPOST_CORPUS")
    if corpus is None:
        pytest.skip("GATEPOST_CORPUS names no corpus: there is no winmail.dat to send")
    packed = (Path(corpus) / "tnef/tests/files/datafiles/two-files.tnef").read_bytes()
    made = EmailMessage(policy.SMTP)
    made["From"], made["To"], made["Subject"] = "ann@far.example", "bob@plain.example", "RE: two files"
    made["X-MS-TNEF-Correlator"] = "<1@far.example>"
    made.set_content("Two files.")
    made.add_attachment(packed, "application", "ms-tnef", filename="winmail.dat")
    for who in ("bob@plain.example", "dora@far.example"):
        assert send(gateway.port, "ann@far.example", [who], bytes(made)).code == 250
    names = [part.get_filename() for part in message(to(sink, "bob@plain.example").octets).iter_attachments()]
    assert names == ["AUTHORS", "README"]
    untouched = message(to(sink, "dora@far.example").octets)
    assert [part.get_filename() for part in untouched.iter_attachments()] == ["winmail.dat"]
