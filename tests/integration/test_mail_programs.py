"""People's mail programs, each at a terminal: it sends by `gatepost-sendmail`, and reads what came of that.

alpine (PINE's heir), mutt (ELM's), bsd-mailx (Mail), s-nail and nmh. Their mailboxes are those that the gateway
delivers to: mbox files that some open themselves, and others by IMAP and POP from a Dovecot that `gatepost local
dovecot` set up.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pytest

from tests.peers.dovecot import PASSWORD
from tests.peers.local_mail import local_gateway, mail_folder, served
from tests.peers.process import wait_until
from tests.peers.raw import send
from tests.peers.sink import Sink

COMMAND = Path(sys.executable).parent / "gatepost-sendmail"
WAIT_S = 60
PEOPLE = ("alpine", "mutt", "mailx", "nail", "nmh")
MORE = """
[mapping]
domains = ["ours.example"]
import = ["people.csv"]

[connector.programs]
type = "sendmail"
folder = "s"
domain = "ours.example"

[connector.mailboxes]
type = "local"
format = "mbox"
path = "mail/{{user}}"
create = true

[connector.mailboxes.programs.mail]
command = ["/usr/bin/bsd-mailx", "-s", "for {{user}}", "nmh@ours.example"]
environment = {{ MAILRC = "{folder}/mailrc", GATEPOST_SENDMAIL = "{folder}/s" }}
"""
SETTINGS = f"set sendmail={COMMAND}\nset dot\nset PAGER=cat\nset ask\n"

pytestmark = pytest.mark.xdist_group("mail programs")


@dataclass
class Site:
    folder: Path
    port: int
    imap: int
    pop: int

    def mailbox(self, who: str) -> Path:
        return self.folder / "mail" / who

    def at_terminal(self, who: str, *words: str | Path, **env: str) -> pexpect.spawn[str]:
        """Start a program at a terminal of 80 by 24, in a home of its own."""
        home = self.folder / "home" / who
        home.mkdir(parents=True, exist_ok=True)
        environment = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "TERM": "xterm",
            "LC_ALL": "C.UTF-8",
            "USER": who,
            "LOGNAME": who,
            "EMAIL": f"{who}@ours.example",
            "GATEPOST_SENDMAIL": str(self.folder / "s"),
        }
        command, *rest = [str(word) for word in words]
        return pexpect.spawn(
            command, rest, env={**environment, **env}, cwd=home, timeout=WAIT_S, encoding="utf-8", dimensions=(24, 80),
            codec_errors="replace",
        )  # fmt: skip

    def arrives(self, who: str, text: str) -> str:
        """Wait for a message with this text in somebody's mailbox file, and return the file."""
        mailbox = self.mailbox(who)
        wait_until(
            lambda: mailbox.exists() and text in mailbox.read_text(errors="replace"), WAIT_S, f"{who} has {text}"
        )
        return mailbox.read_text(errors="replace")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with mail_folder("gp-") as folder, Sink(folder, keep=True) as sink:
        rows = "".join(f"{who},mailboxes,{who}@ours.example,\n" for who in PEOPLE)
        rows += "desk,mailboxes,desk@ours.example,mail.deliver=program:mail\n"
        (folder / "people.csv").write_text(f"name,home,smtp,attributes\n{rows}")
        (folder / "mailrc").write_text(SETTINGS)
        people = [f"{who}@ours.example" for who in PEOPLE]
        with (
            local_gateway(folder, sink.port, more=MORE.format(folder=folder)) as gateway,
            served(folder, "mailboxes", people) as there,
        ):
            yield Site(folder, gateway.port, there.imap, there.pop)


def shown(terminal: pexpect.spawn[str]) -> str:
    """Return what was last expected and found, without the terminal's control sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|[\x00\x0e\x0f]", "", f"{terminal.before}{terminal.after}")


def end(terminal: pexpect.spawn[str]) -> None:
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0, terminal.before


def test_bsd_mailx(site: Site) -> None:
    settings = site.folder / "mailrc"
    writing = site.at_terminal("mailx", "bsd-mailx", "mailx@ours.example", MAILRC=str(settings))
    writing.expect("Subject: ")
    writing.sendline("By Mail")
    writing.sendline("From the oldest of them.")
    writing.sendline(".")
    writing.expect("Cc: ")
    writing.sendline("")
    end(writing)
    assert "\n>From the oldest" in site.arrives("mailx", "the oldest of them")
    reading = site.at_terminal("mailx", "bsd-mailx", "-f", site.mailbox("mailx"), MAILRC=str(settings))
    reading.expect("By Mail")
    reading.sendline("print 1")
    reading.expect("the oldest of them")
    reading.sendline("exit")
    end(reading)


def test_s_nail(site: Site) -> None:
    basic = ("-:/", "-S", "v15-compat=yes", "-S", "screen=0", "-S", "ttycharset=utf-8")
    writing = site.at_terminal("nail", "s-nail", *basic, "-S", f"mta={COMMAND}", "-s", "By nail ä", "nail@ours.example")
    writing.sendline("Grüße vom Nagel")
    writing.sendline("~.")
    end(writing)
    site.arrives("nail", "=?utf-8?")
    place = f"pop3://nail%40ours.example:{PASSWORD}@127.0.0.1:{site.pop}"
    reading = site.at_terminal("nail", "s-nail", *basic, "-S", "nopop3-use-starttls", "-f", place)
    reading.expect("By nail ä")
    reading.sendline("type 1")
    reading.expect("Grüße vom Nagel")
    reading.sendline("exit")
    end(reading)


def test_mutt(site: Site) -> None:
    editor = site.folder / "editor"
    editor.write_text('#!/bin/sh\nprintf "A line of mutt.\\n" >> "$1"\n')
    editor.chmod(0o755)
    settings = site.folder / "muttrc"
    settings.write_text(
        f'set sendmail="{COMMAND} -oem -oi" editor="{editor}" folder=~ from=mutt@ours.example\n'
        "set use_from=yes envelope_from=yes copy=no sig_dashes=no abort_unmodified=no wait_key=no mark_old=no\n"
        "set ssl_starttls=no ssl_force_tls=no\n"
        f'set imap_user="mutt@ours.example" imap_pass="{PASSWORD}" imap_authenticators="plain:login"\n'
    )
    writing = site.at_terminal("mutt", "mutt", "-n", "-F", settings, "-s", "By mutt", "mutt@ours.example")
    writing.expect("To:")
    writing.send("\r")
    writing.expect("Subject:")
    writing.send("\r")
    writing.expect("y:Send")
    writing.send("y")
    end(writing)
    assert "\nReturn-Path: <mutt@ours.example>" in site.arrives("mutt", "A line of mutt.")
    reading = site.at_terminal("mutt", "mutt", "-n", "-F", settings, "-f", f"imap://127.0.0.1:{site.imap}/INBOX")
    reading.expect("By mutt")
    reading.send("\r")
    reading.expect("A line of mutt")
    reading.send("q")
    reading.expect("q:Quit")
    reading.send("q")
    end(reading)


def test_nmh(site: Site) -> None:
    home = site.folder / "home" / "nmh"
    (home / "Mail" / "inbox").mkdir(parents=True)
    profile = home / ".mh_profile"
    profile.write_text(
        f"Path: Mail\nWelcome: disable\nsend: -mts sendmail/pipe -sendmail {COMMAND}\nLocal-Mailbox: nmh@ours.example\n"
    )
    editor = site.folder / "mh-editor"
    draft = "From: nmh@ours.example\\nTo: nmh@ours.example\\nSubject: By nmh\\n--------\\nA line of nmh.\\n"
    editor.write_text(f'#!/bin/sh\nprintf "{draft}" >"$1"\n')
    editor.chmod(0o755)
    tools = {"PATH": f"/usr/bin/mh:{os.environ['PATH']}"}
    writing = site.at_terminal("nmh", "comp", "-editor", editor, **tools)
    writing.expect("What now")
    writing.sendline("send")
    end(writing)
    site.arrives("nmh", "A line of nmh.")
    fetched = site.at_terminal("nmh", "inc", "-file", site.mailbox("nmh"), "-notruncate", **tools)
    fetched.expect("By nmh")
    end(fetched)
    reading = site.at_terminal("nmh", "show", "-noshowproc", "1", **tools)
    reading.expect("A line of nmh")
    end(reading)


def test_alpine(site: Site) -> None:
    settings = site.folder / "pinerc"
    place = f"{{127.0.0.1:{site.imap}/imap/notls/novalidate-cert/user=alpine@ours.example}}INBOX"
    settings.write_text(
        f"personal-name=Al Pine\nuser-domain=ours.example\ninbox-path={place}\n"
        f'sendmail-path={COMMAND} -oem -t -oi\nlast-version-used=6.26\ndefault-fcc=""\n'
        "feature-list=quell-folder-internal-msg,quit-without-confirm,no-quell-empty-directories\n"
    )
    writing = site.at_terminal(
        "alpine", "alpine", "-p", settings, "-url", "mailto:alpine@ours.example?subject=By%20alpine"
    )
    seen = writing.expect(["Message Text", "PASSWORD", "[Ee]xit this greeting"])
    assert seen == 0, shown(writing)
    writing.send("A line of alpine.\x18")
    writing.expect("Send message")
    writing.send("y")
    end(writing)
    site.arrives("alpine", "A line of alpine.")
    reading = site.at_terminal("alpine", "alpine", "-p", settings, "-i")
    reading.expect("PASSWORD")
    reading.sendline(PASSWORD)
    reading.expect("Preserve password")
    reading.send("n")
    reading.expect("By alpine")
    reading.send("\r")
    reading.expect("A line of alpine")
    reading.send("q")
    reading.send("y")
    end(reading)


def test_mail_as_the_program_that_mail_is_given_to(site: Site) -> None:
    """/usr/bin/mail gets a message on its standard input, and mails it on by `gatepost-sendmail`."""
    content = b"From: ann@far.example\r\nTo: desk@ours.example\r\nSubject: a question\r\n\r\nHow many towers?\r\n"
    assert send(site.port, "ann@far.example", ["desk@ours.example"], content).code == 250
    assert "Subject: for desk\n" in site.arrives("nmh", "How many towers?")
