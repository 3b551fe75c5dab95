"""The command and the daemon together, called as programs of a machine call sendmail."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from gateway.sendmail import handover
from gateway.sendmail.way import ask, drop
from tests.gateway.sendmail.kit import COMMAND
from tests.peers.gateway import Gateway
from tests.peers.process import AS_ROOT, wait_until
from tests.peers.sink import Sink, Taken

ME = pwd.getpwuid(os.getuid()).pw_name
MORE = """
[connector.programs]
type = "sendmail"
folder = "local"
domain = "acme.example"
trusted_users = ["daemon"]
max_message_bytes = 3000000

[mapping]
domains = ["merged.example"]
"""


class Machine:
    """A gateway with its sink, and the command."""

    def __init__(self, folder: Path) -> None:
        self.sink = Sink(folder, keep=True)
        self.gateway = Gateway(folder, self.sink.port, more=MORE)
        self.where = folder / "local"
        self.env = {"GATEPOST_SENDMAIL": str(self.where), "PATH": os.environ["PATH"], "HOME": str(folder)}

    def run(
        self,
        *options: str,
        text: str | bytes = "Subject: x\n\nx\n",
        wrapper: Sequence[str] = (),
        program: str = COMMAND,
    ) -> subprocess.CompletedProcess[str]:
        octets = text.encode() if isinstance(text, str) else text
        command = [*wrapper, program, *options]
        done = subprocess.run(command, input=octets, capture_output=True, timeout=90, env=self.env)
        return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())

    def sent(self, *options: str, text: str | bytes = "Subject: x\n\nx\n", wrapper: Sequence[str] = ()) -> Taken:
        """Call the command, and return what the sink got of it."""
        before = self.sink.count
        done = self.run(*options, text=text, wrapper=wrapper)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        return self.next(before)

    def next(self, before: int) -> Taken:
        self.sink.wait_for(before + 1)
        return self.sink.taken(before)[0]


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    folder = Path(tempfile.mkdtemp(prefix="gatepost-sendmail-"))  # not pytest's own, which other users cannot enter
    folder.chmod(0o755)
    made = Machine(folder)
    try:
        with made.gateway:
            yield made
    finally:
        made.sink.stop()
        shutil.rmtree(folder, ignore_errors=True)


def fields(taken: Taken) -> dict[str, str]:
    head = (taken.octets or b"").partition(b"\r\n\r\n")[0].decode()
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head.split("\r\n"))}


def test_a_message_of_a_script(machine: Machine) -> None:
    text = "To: Zoe <zoe@far.example>,\n bob@far.example\nBcc: eve@far.example\nSubject: höllo\n\nä.\n..\n.\nnot this\n"
    taken = machine.sent("-t", "-F", "The Script", text=text)
    assert taken.sender == f"{ME}@acme.example"
    assert sorted(taken.recipients) == ["bob@far.example", "eve@far.example", "zoe@far.example"]
    octets = taken.octets or b""
    assert octets.endswith("\r\nSubject: höllo\r\n\r\nä.\r\n..\r\n".encode())
    assert b"eve" not in octets
    found = fields(taken)
    assert found["from"] == f"The Script <{ME}@acme.example>"
    assert found["received"] == f"from userid-{os.getuid()}"
    assert found["message-id"].endswith("@gw.example>")
    assert "date" in found
    assert "x-authentication-warning" not in found


def test_options_that_go_along(machine: Machine) -> None:
    taken = machine.sent("-i", "-N", "success,delay", "-R", "hdrs", "-V", "job-1", "zoe@far.example", text="a\n.\nb\n")
    assert (taken.octets or b"").endswith(b"\r\n\r\na\r\n.\r\nb\r\n")
    assert "RET=HDRS ENVID=job-1" in taken.options
    assert machine.sent("-f", "<>", "zoe@far.example").sender == ""
    assert machine.sent("zoe@far.example", "-v").recipients == ["zoe@far.example", "-v@acme.example"]


def test_who_names_another_sender_is_on_record(machine: Machine) -> None:
    taken = machine.sent("-f", "boss@acme.example", "zoe@far.example")
    assert taken.sender == "boss@acme.example"
    assert fields(taken)["x-authentication-warning"] == f"gw.example: {ME} set sender to boss@acme.example using -f"
    assert fields(taken)["from"] == "boss@acme.example"
    told = machine.gateway.cli("trace", "boss@acme.example")
    assert f'"user": "{ME}"' in json.dumps(told)


def test_a_user_without_any_privilege(machine: Machine) -> None:
    """What a user hands in bears their number, and they get at nothing that others have handed in."""
    as_nobody = [*AS_ROOT, "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "env"]
    as_nobody += [f"{name}={value}" for name, value in machine.env.items()]
    taken = machine.sent("zoe@far.example", wrapper=as_nobody)
    assert taken.sender == "nobody@acme.example"
    assert fields(taken)["received"] == f"from userid-{pwd.getpwnam('nobody').pw_uid}"
    as_daemon = [word.replace("--reuid=nobody", "--reuid=daemon") for word in as_nobody]
    taken = machine.sent("-f", "boss@acme.example", "zoe@far.example", wrapper=as_daemon)
    assert "x-authentication-warning" not in fields(taken), "daemon is trusted here"

    secret = "0" * 32 + ".new"
    (machine.where / "drop" / secret).write_text("of another")
    (machine.where / "drop" / secret).chmod(0o640)
    for command in (
        "ls {drop}",
        "cat {drop}/{secret}",
        "rm -f {drop}/{secret}",
        "mv {drop}/{secret} {drop}/x",
        "ls {where}/claimed",
    ):
        words = command.format(drop=machine.where / "drop", where=machine.where, secret=secret)
        assert machine.run("-c", words, wrapper=as_nobody, program="/bin/sh").returncode != 0, words
    (machine.where / "drop" / secret).unlink()


def test_addresses_are_explained(machine: Machine) -> None:
    done = machine.run("-bv", "zoe@far.example", "nobody@merged.example", "a b")
    assert done.returncode == 67
    first, second, third = done.stdout.splitlines()
    assert first.startswith("zoe@far.example... deliverable: mailer internet, host ")
    assert second.startswith("nobody@merged.example... 5.1.1 ")
    assert third.startswith("a b... 5.1.3 ")
    assert machine.run("-bv", "zoe@far.example").returncode == 0


def test_the_own_queue_is_listed(machine: Machine) -> None:
    assert "the queue is empty" in machine.run("-bp").stdout
    machine.sink.behave(verbs={"MAIL": "451 4.3.0 later"})
    try:
        machine.run("zoe@far.example")
        machine.run("-f", "other@acme.example", "zoe@far.example")
        wait_until(lambda: machine.run("-bp").stdout.count("451") >= 1, 60, "it waits")
        listed = machine.run("-bp").stdout
        assert f"{ME}@acme.example" in listed
        assert ("other@acme.example" in listed) is (os.getuid() == 0), "root sees all of it"
    finally:
        machine.sink.behave()
    before = machine.sink.count
    machine.gateway.cli("queue", "requeue", "--all")
    machine.sink.wait_for(before + 2)


def test_smtp_on_standard_input(machine: Machine) -> None:
    before = machine.sink.count
    talk = (
        "EHLO x\nMAIL FROM:<ann@acme.example> RET=HDRS\nRCPT TO:<nobody@merged.example>\n"
        "RCPT TO:<zoe@far.example> NOTIFY=NEVER\nDATA\nSubject: spoken\n\n..dot\n.\n"
        "NOOP\nDATA\nFOO\nMAIL FROM:<>\nRSET\nQUIT\nMAIL FROM:<late@x.example>\n"
    )
    done = machine.run("-bs", text=talk)
    assert done.returncode == 0
    codes = [line[:3] for line in done.stdout.splitlines() if line[3:4] == " "]
    assert codes == ["220", "250", "250", "550", "250", "354", "250", "250", "503", "500", "250", "250", "221"]
    taken = machine.next(before)
    assert (taken.sender, taken.recipients) == ("ann@acme.example", ["zoe@far.example"])
    assert (taken.octets or b"").endswith(b"Subject: spoken\r\n\r\n.dot\r\n")


def test_what_nobody_here_has_is_reported(machine: Machine) -> None:
    assert machine.run("nobody@merged.example").returncode == 0, "the sender gets a report"
    assert machine.run("-f", "<>", "nobody@merged.example").returncode == 67, "nobody would"
    assert machine.run("no address@", "-x").returncode == 65
    assert machine.run("-t", text="Subject: to nobody\n\nx\n").returncode == 65
    done = machine.run("zoe@far.example", text="x" * 5_000_000)
    assert (done.returncode, "over the limit of 3000000 octets" in done.stderr) == (69, True), done.stderr


def test_mail_programs(machine: Machine) -> None:
    rc = machine.where.parent / "rc"
    rc.write_text(f"set sendmail={COMMAND}\n")
    machine.env["MAILRC"] = str(rc)
    before = machine.sink.count
    done = machine.run("-s", "by mail", "zoe@far.example", text="hello\n", program="mail")
    assert done.returncode == 0, done.stderr
    taken = machine.next(before)
    assert fields(taken)["subject"] == "by mail"
    assert taken.recipients == ["zoe@far.example"]

    before = machine.sink.count
    muttrc = machine.where.parent / "muttrc"
    muttrc.write_text(
        f'set sendmail="{COMMAND} -oem -oi"\nset copy=no\nset from="mutt@acme.example"\nset use_envelope_from=yes\n'
    )
    done = machine.run("-F", str(muttrc), "-s", "by mutt", "zoe@far.example", text="hällo\n", program="mutt")
    assert done.returncode == 0, done.stderr + done.stdout
    taken = machine.next(before)
    assert fields(taken)["subject"] == "by mutt"
    assert taken.sender == "mutt@acme.example"


def test_in_the_place_of_sendmail(machine: Machine) -> None:
    """`mail` with no setting at all, as cron and everybody else call /usr/sbin/sendmail."""
    machine.env.pop("MAILRC", None)
    before = machine.sink.count
    mount = f"mount --bind {COMMAND} /usr/sbin/sendmail && echo hello | mail -s cron zoe@far.example"
    apart = [*AS_ROOT, "env", *(f"{name}={value}" for name, value in machine.env.items())]
    done = machine.run("--mount", "sh", "-c", mount, wrapper=apart, program="unshare")
    assert done.returncode == 0, done.stderr
    assert fields(machine.next(before))["subject"] == "cron"


def test_what_comes_while_the_daemon_is_down_is_taken_once(machine: Machine) -> None:
    before = machine.sink.count
    id = os.urandom(16).hex()
    head = handover.write([("do", "mail"), ("id", id), ("to", "twice@far.example")])
    assert ask(str(machine.where), [head, b"Subject: twice\n\nx\n"])[0] == 0
    machine.sink.wait_for(before + 1)
    wait_until(lambda: machine.gateway.queued() == 0, 60, "its outcome is in the spool")
    machine.gateway.kill()
    # Its answer was lost on the way, say: the command leaves the same hand-over in the folder.
    drop(str(machine.where), id, [head, b"Subject: twice\n\nx\n"])
    large = "Subject: large\n\n" + "0123456789abcdef\n" * 100_000
    for n in range(3):
        done = machine.run(f"n{n}@far.example", text=large if n == 0 else "Subject: x\n\nx\n")
        assert (done.returncode, done.stderr) == (0, "")
    assert len(list((machine.where / "drop").iterdir())) == 4
    machine.gateway.start()
    machine.sink.wait_for(before + 4)
    wait_until(lambda: not any((machine.where / "claimed").iterdir()), 60, "all is taken")
    got = sorted(taken.recipients[0] for taken in machine.sink.taken(before))
    assert got == ["n0@far.example", "n1@far.example", "n2@far.example", "twice@far.example"]
    assert not any((machine.where / "drop").iterdir())
    assert not any((machine.where / "bad").iterdir())
    sizes = [taken.size for taken in machine.sink.taken(before) if taken.recipients == ["n0@far.example"]]
    assert sizes[0] > 1_800_000


def test_large_messages_and_many_at_once(machine: Machine) -> None:
    before = machine.sink.count
    text = "Subject: large\n\n" + "0123456789abcdef\n" * 100_000
    assert machine.sent("zoe@far.example", text=text).size > 1_800_000
    callers = [
        subprocess.Popen([COMMAND, f"n{n}@far.example"], stdin=subprocess.PIPE, env=machine.env) for n in range(30)
    ]
    for caller in callers:
        caller.communicate(b"Subject: x\n\nx\n", timeout=90)
        assert caller.returncode == 0
    machine.sink.wait_for(before + 31)
    assert len({taken.recipients[0] for taken in machine.sink.taken(before + 1)}) == 30
