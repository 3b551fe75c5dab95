"""The Dovecot that Gatepost sets up: what it serves, and what it does not."""

from __future__ import annotations

import imaplib
import os
import poplib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from connectors.folders.local.config import LocalConfig
from connectors.folders.local.dovecot import Serving, Unfit, configuration
from gateway.cli.app import app
from tests.connectors.folders.local.kit import Place
from tests.peers.dovecot import program
from tests.peers.process import Process, answers, free_port, wait_until
from tests.scratch import SCRATCH

OWNER = ("nobody", "nogroup") if os.geteuid() == 0 else (str(os.geteuid()), str(os.getegid()))


def serving(folder: Path, **options: Any) -> Serving:
    return Serving(folder / "passwords", folder / "run", *OWNER, **options)


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="gatepost-dovecot-", dir=SCRATCH))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


def test_mbox_files_are_read_and_shared(folder: Path) -> None:
    place = Place(folder, format="mbox", create=True)
    (folder / "passwords").write_text("ann@acme.example:{PLAIN}secret\n")
    (folder / "passwords").chmod(0o644)
    place.deliver(number=1)
    if os.geteuid() == 0:
        for path in (place.mail, *place.mail.iterdir()):
            shutil.chown(path, *OWNER)
    port = free_port()
    text = configuration("x", place.config, folder, serving(folder, imap=port, pop=0, rootless=os.geteuid() != 0))
    (folder / "dovecot.conf").write_text(text)
    served = Process([program("dovecot"), "-c", str(folder / "dovecot.conf"), "-F"], folder / "out")
    try:
        wait_until(lambda: answers(port, b"* OK"), 30, "Dovecot answers")
        with imaplib.IMAP4("127.0.0.1", port, timeout=30) as client:
            client.login("ann@acme.example", "secret")
            assert client.select("INBOX")[1] == [b"1"]
            client.store("1", "+FLAGS", "\\Flagged")
            place.deliver(number=2)  # while it is open there
            client.noop()
            assert client.select("INBOX")[1] == [b"2"]
            assert client.search(None, "FLAGGED")[1] == [b"1"]
            client.create("Archive")
            assert client.copy("2", "Archive")[0] == "OK"
            client.store("1", "+FLAGS", "\\Deleted")
            client.expunge()
        octets = (place.mail / "ann").read_bytes()
        assert octets.count(b"\nDelivered-To: ") == 1
        assert octets.startswith(b"From bob@else.example ")
    finally:
        served.kill()


def test_it_runs_without_root(folder: Path) -> None:
    place = Place(folder, create=True, path="mail/{domain}/{user}")
    (folder / "passwords").write_text("ann@acme.example:{PLAIN}secret\n")
    place.deliver(number=1)
    imap, pop = free_port(), free_port()
    text = configuration("x", place.config, folder, serving(folder, imap=imap, pop=pop, rootless=True))
    (folder / "dovecot.conf").write_text(text)
    wrapper = []
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, *OWNER)
        wrapper = ["setpriv", f"--reuid={OWNER[0]}", f"--regid={OWNER[1]}", "--clear-groups"]
    command = [*wrapper, program("dovecot"), "-c", str(folder / "dovecot.conf"), "-F"]
    served = Process(command, folder / "out")
    try:
        wait_until(lambda: answers(imap, b"* OK") and answers(pop, b"+OK"), 30, f"Dovecot answers: {served.said()}")
        with imaplib.IMAP4("127.0.0.1", imap, timeout=30) as client:
            client.login("ann@acme.example", "secret")
            assert client.select("INBOX")[1] == [b"1"]
            with pytest.raises(imaplib.IMAP4.error):
                imaplib.IMAP4("127.0.0.1", imap, timeout=30).login("ann@acme.example", "wrong")
        reader = poplib.POP3("127.0.0.1", pop, timeout=30)
        reader.user("ann@acme.example")
        reader.pass_("secret")
        assert reader.stat()[0] == 1
        reader.quit()
    finally:
        served.kill()


@pytest.mark.parametrize(
    ("local", "options", "says"),
    [
        ({"format": "mmdf"}, {}, "reads no MMDF"),
        ({"info_mark": ";"}, {}, "no other info_mark"),
        ({}, {"listen": ("0.0.0.0",)}, "in the clear"),
        ({}, {"rootless": True}, "below 1024"),
        ({}, {"imap": 0, "pop": 0}, "nothing to serve"),
    ],
)
def test_what_cannot_be_served_is_told(
    tmp_path: Path, local: dict[str, Any], options: dict[str, Any], says: str
) -> None:
    config = LocalConfig.model_validate({"path": "mail/{user}"} | local)
    with pytest.raises(Unfit, match=says):
        configuration("x", config, tmp_path, serving(tmp_path, **options))


def test_a_certificate_requires_tls_everywhere(tmp_path: Path) -> None:
    config = LocalConfig(path="/srv/mail/{domain}/{user}", quota_bytes=1000)
    made = serving(tmp_path, listen=("0.0.0.0",), imap=993, pop=110, certificate=tmp_path / "cert.pem")
    text = configuration("x", config, tmp_path, made)
    assert "mail_location = maildir:/srv/mail/%Ld/%Ln\n" in text
    assert "ssl = required\n" in text
    assert "disable_plaintext_auth = no" not in text
    assert "  inet_listener imap {\n    port = 0\n  }\n  inet_listener imaps {\n    port = 993\n    ssl = yes\n" in text
    assert "  inet_listener pop3 {\n    port = 110\n  }\n  inet_listener pop3s {\n    port = 0\n" in text
    assert "quota_rule = *:bytes=1000" in text


def test_the_command_tells_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "gatepost.toml").write_text(
        '[gateway]\nname = "gw.acme.example"\nspool = "sqlite:///spool"\n'
        '[connector.in]\ntype = "smtp"\n[connector.boxes]\ntype = "local"\npath = "mail/{user}"\n'
        '[[route]]\nmatch = "smtp:*"\nto = "in"\n'
    )

    def told(*words: str) -> tuple[int, str]:
        ran = CliRunner().invoke(app, ["-c", str(tmp_path / "gatepost.toml"), "local", "dovecot", *words])
        return ran.exit_code, ran.output

    code, said = told("in", "--passwords", "x")
    assert (code, said) == (1, "gatepost: 'in' is no configured connector of type local\n")
    code, said = told("boxes", "--passwords", "x")
    assert code == 1
    assert "make it first" in said
    (tmp_path / "mail").mkdir()
    if os.geteuid() == 0:
        assert "serves no mailboxes of root's" in told("boxes", "--passwords", "x")[1]
        shutil.chown(tmp_path / "mail", *OWNER)
    code, said = told("boxes", "--passwords", "x", "--imap", "1143", "--pop", "0", "-o", str(tmp_path / "conf"))
    assert (code, said) == (0, "")
    assert f"mail_location = maildir:{tmp_path}/mail/%Ln\n" in (tmp_path / "conf").read_text()
