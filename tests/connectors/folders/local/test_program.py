"""Mail to a program: what it gets, what its end means, and that it cannot outstay its bounds."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from connectors.folders.local.config import LocalConfig
from connectors.folders.local.program import outcome_of
from gateway.contract import Deferred, Delivered, Failed, MailRules, MailTarget, Outcome
from tests.connectors.folders.local.kit import MESSAGE, Place, smtp


class Desk(Place):
    """A place with the program `it`, a script that `body` is; all mail goes to it."""

    def __init__(self, folder: Path, body: str, *, deliver: tuple[str, ...] = ("program:it",), **options: Any) -> None:
        script = folder / "script"
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(0o755)
        self.out = folder / "out"
        program = {"command": [str(script), str(self.out), *options.pop("words", ())], **options}
        super().__init__(folder, create=True, deliver=deliver, programs={"it": program})


def one(outcomes: list[Outcome]) -> Outcome:
    (outcome,) = outcomes
    return outcome


def test_it_reads_the_message_and_the_envelope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEPOST_SECRET", "x")
    desk = Desk(
        tmp_path, 'cat > "$1"; env >> "$1"; echo "$0 $@" >> "$1"; pwd >> "$1"', words=["-d", "{user}", "{sender}"]
    )
    outcome = one(desk.deliver("ann+x@acme.example", original="sales@acme.example"))
    assert outcome.status.code == "2.0.0"
    said = desk.out.read_text()
    assert said.startswith("Return-Path: <bob@else.example>\nX-Original-To: sales@acme.example\nDelivered-To: ann+x@")
    assert MESSAGE.decode().replace("\r\n", "\n") in said
    variables = set(said.partition("text\n")[2].split("\n"))
    assert {
        "USER=ann",
        "LOGNAME=ann",
        "DOMAIN=acme.example",
        "SENDER=bob@else.example",
        "RECIPIENT=ann+x@acme.example",
        "ORIGINAL_RECIPIENT=sales@acme.example",
        f"HOME={desk.mail}/ann",
        f"{tmp_path}/script {tmp_path}/out -d ann bob@else.example",
    } <= variables
    names = {each.partition("=")[0] for each in variables if "=" in each}
    shells_own = {"PWD", "_", "SHLVL", "OLDPWD"}
    assert names - shells_own == {
        "PATH", "LANG", "HOME", "USER", "LOGNAME", "SENDER", "RECIPIENT", "ORIGINAL_RECIPIENT", "DOMAIN",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["$(touch out)", "`touch out`", "touch${IFS}out", "|touch", "a&b"])
def test_no_shell_reads_an_address(tmp_path: Path, name: str) -> None:
    desk = Desk(tmp_path, 'printf %s "$2" > "$1"', words=["{user}"])
    if " " in name:
        name = f'"{name}"'
        assert one(desk.deliver(f"{name}@acme.example")).status.code == "5.1.1"
        return
    assert isinstance(one(desk.deliver(f"{name}@acme.example")), Delivered)
    assert desk.out.read_text() == name.lower()


def test_no_address_is_an_option(tmp_path: Path) -> None:
    desk = Desk(tmp_path, 'touch "$1"', words=["{user}"])
    outcome = one(desk.deliver("-rf@acme.example"))
    assert isinstance(outcome, Failed)
    assert outcome.status.code == "5.1.3"
    assert not desk.out.exists()
    assert one(Desk(tmp_path, ":", words=["--user={user}"]).deliver("-rf@acme.example")).status.code == "2.0.0"


def test_what_an_address_holds_is_filled_in_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path, 'printf %s "$2" > "$1"', words=["{user}/{domain}"])
    desk.deliver("{domain}@acme.example")
    assert desk.out.read_text() == "{domain}/acme.example"


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (0, Delivered, "2.0.0"),
        (1, Deferred, "4.3.0"),
        (64, Deferred, "4.3.5"),
        (65, Failed, "5.6.0"),
        (66, Deferred, "4.3.0"),
        (67, Failed, "5.1.1"),
        (68, Failed, "5.1.2"),
        (69, Failed, "5.3.0"),
        (70, Deferred, "4.3.0"),
        (71, Deferred, "4.3.0"),
        (72, Deferred, "4.3.5"),
        (73, Deferred, "4.2.0"),
        (74, Deferred, "4.3.0"),
        (75, Deferred, "4.3.0"),
        (76, Failed, "5.5.0"),
        (77, Failed, "5.7.1"),
        (78, Deferred, "4.3.5"),
        (127, Deferred, "4.3.5"),
        (-9, Deferred, "4.3.0"),
        (-250, Deferred, "4.3.0"),
    ],
)
def test_what_its_end_means(status: int, kind: type[Outcome], code: str) -> None:
    outcome = outcome_of("it", status, "words")
    assert isinstance(outcome, kind)
    assert outcome.status.code == code


def test_its_words_are_told_to_the_operator_alone(tmp_path: Path) -> None:
    outcome = one(Desk(tmp_path, "echo no disk >&2; exit 75").deliver())
    assert isinstance(outcome, Deferred)
    assert outcome.status.cause == "no disk"
    assert "disk" not in outcome.status.text


def test_at_the_bound_all_that_it_started_is_killed(tmp_path: Path) -> None:
    desk = Desk(tmp_path, 'sh -c "echo \\$\\$ > $1; exec sleep 300" & sleep 300', timeout_s=1.0)
    began = time.monotonic()
    outcome = one(desk.deliver())
    assert isinstance(outcome, Deferred)
    assert "it took longer than 1 s" in outcome.status.text
    assert time.monotonic() - began < 30
    assert _is_gone(int(desk.out.read_text()))


def test_what_it_leaves_behind_does_not_stay(tmp_path: Path) -> None:
    desk = Desk(tmp_path, 'sh -c "echo \\$\\$ > $1; exec sleep 300" & while [ ! -s "$1" ]; do :; done')
    assert isinstance(one(desk.deliver()), Delivered)
    assert _is_gone(int(desk.out.read_text()))


def _is_gone(pid: int) -> bool:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


def test_its_memory_is_bounded(tmp_path: Path) -> None:
    body = "exec python3 -c \"b'x' * (200 << 20)\""
    assert isinstance(one(Desk(tmp_path, body, memory_bytes=400 << 20).deliver()), Delivered)
    assert isinstance(one(Desk(tmp_path, body, memory_bytes=100 << 20).deliver()), Deferred)


def test_its_processor_time_and_files_are_bounded(tmp_path: Path) -> None:
    outcome = one(Desk(tmp_path, "while :; do :; done", cpu_s=1).deliver())
    assert isinstance(outcome, Deferred)
    outcome = one(Desk(tmp_path, 'exec head -c 5000 /dev/zero > "$1"', file_bytes=1024).deliver())
    assert isinstance(outcome, Deferred)


def test_one_that_does_not_read_its_input_may_have_seen_enough(tmp_path: Path) -> None:
    message = MESSAGE + b"x" * 500_000 + b"\r\n"
    assert isinstance(one(Desk(tmp_path, "exec true").deliver(message=message)), Delivered)


def test_one_that_is_gone_keeps_the_mail(tmp_path: Path) -> None:
    desk = Desk(tmp_path, ":")
    made = desk.make()
    (tmp_path / "script").chmod(0o644)
    with pytest.raises(FileNotFoundError, match="the program it is not there, or may not be run"):
        desk.deliver()
    del made


def test_a_program_gets_it_last_and_once_beside_the_mailbox(tmp_path: Path) -> None:
    desk = Desk(tmp_path, 'echo x >> "$1"; exit 75', deliver=("mailbox", "program:it"))
    for _ in range(2):
        assert isinstance(one(desk.deliver()), Deferred)
    assert len(list((desk.mail / "ann" / "new").iterdir())) == 1
    (tmp_path / "script").write_text("#!/bin/sh\nexit 0\n")
    assert isinstance(one(desk.deliver()), Delivered)
    assert len(list((desk.mail / "ann" / "new").iterdir())) == 1


def test_a_rule_calls_what_the_configuration_has_and_nothing_else(tmp_path: Path) -> None:
    desk = Desk(tmp_path, 'touch "$1"', deliver=("mailbox",))
    ann = smtp("ann@acme.example")
    desk.rules["ann@acme.example"] = MailRules("Ann", (ann,), deliver=(MailTarget("program", "sh"),))
    outcome = one(desk.deliver())
    assert isinstance(outcome, Deferred)
    assert outcome.status.cause == "program:sh"
    desk.rules["ann@acme.example"] = MailRules("Ann", (ann,), deliver=(MailTarget("program", "it"),))
    assert isinstance(one(desk.deliver()), Delivered)
    assert desk.out.exists()


def test_procmail_delivers_with_a_from_line(tmp_path: Path) -> None:
    if not os.access("/usr/bin/procmail", os.X_OK):
        raise RuntimeError("there is no procmail here (Debian: apt-get install procmail)")
    (tmp_path / "rc").write_text(f"DEFAULT={tmp_path}/got\nLOGFILE={tmp_path}/log\n")
    program = {"command": ["/usr/bin/procmail", "-f", "{sender}", f"{tmp_path}/rc"], "from_line": True}
    place = Place(tmp_path, create=True, deliver=("program:procmail",), programs={"procmail": program})
    assert isinstance(one(place.deliver()), Delivered)
    octets = (tmp_path / "got").read_bytes()
    assert octets.startswith(b"From bob@else.example ")
    assert b"\nDelivered-To: ann@acme.example\n" in octets


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"path": "mail/all"}, "everybody would have the same mailbox"),
        ({"path": "{user}"}, "has to begin with a folder"),
        ({"path": "mail/{home}"}, "the only things in braces"),
        ({"deliver": ["program:x"]}, "neither mailbox nor the program:NAME"),
        ({"deliver": ["mailbox", "mailbox"]}, "each once"),
        ({"dialect": "mboxo"}, "dialect is an option of mbox, not of maildir"),
        ({"programs": {"X Y": {"command": ["/bin/true"]}}}, "no name of a-z"),
        ({"programs": {"x": {"command": ["procmail"]}}}, "whole path"),
        ({"programs": {"x": {"command": ["/bin/{user}"]}}}, "for you to say"),
        ({"programs": {"x": {"command": ["/bin/true", "{home}"]}}}, "the only things in braces"),
        ({"programs": {"x": {"command": ["/bin/true"], "environment": {"A B": ""}}}}, "no name of a variable"),
    ],
)
def test_bad_options_are_told(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        LocalConfig.model_validate({"path": "mail/{user}"} | options)
