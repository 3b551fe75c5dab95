"""What local delivery puts where, what it adds, and what becomes of what cannot be put."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from connectors.folders.local.places import mailbox_of
from gateway.contract import Deferred, Delivered, Failed, MailRules, MailTarget, Outcome, RuleMistake, Scope
from tests.connectors.folders.local.kit import MESSAGE, Place, smtp


def files(place: Place, user: str = "ann", folder: str = "") -> list[bytes]:
    return [path.read_bytes() for path in sorted((place.mail / user / folder / "new").glob("*"))]


def code(outcomes: list[Outcome]) -> str:
    (outcome,) = outcomes
    return outcome.status.code


def rules(*places: MailTarget, mailbox: str = "") -> MailRules:
    return MailRules("Ann", (smtp("ann@acme.example"),), mailbox, places)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    (made.mail / "ann").mkdir()
    return made


# -- what is added


def test_the_envelope_stands_on_top(place: Place) -> None:
    place.deliver(original="sales@acme.example")
    (found,) = files(place)
    assert found.startswith(
        b"Return-Path: <bob@else.example>\nX-Original-To: sales@acme.example\nDelivered-To: ann@acme.example\n"
    )
    assert found.endswith(MESSAGE.replace(b"\r\n", b"\n"))


def test_the_null_reverse_path_is_told(place: Place) -> None:
    place.deliver(sender=None)
    assert files(place)[0].startswith(b"Return-Path: <>\nDelivered-To: ")


def test_there_is_one_return_path(place: Place) -> None:
    place.deliver(message=b"Return-Path: <forged@x.example>\r\n" + MESSAGE)
    assert files(place)[0].lower().count(b"return-path") == 1


def test_what_comes_round_is_stopped(place: Place) -> None:
    assert code(place.deliver(message=b"Delivered-To: ANN@acme.example\r\n" + MESSAGE)) == "5.4.6"
    assert code(place.deliver(message=b"Delivered-To: carl@acme.example\r\n" + MESSAGE)) == "2.1.5"
    assert len(files(place)) == 1


@pytest.mark.parametrize("to", ["\u00c4nn@acme.example", "ann@b\u00fccher.example", "\u00c4nn@B\u00dcCHER.example"])
def test_what_comes_round_to_an_address_beyond_ascii_is_stopped(tmp_path: Path, to: str) -> None:
    place = Place(tmp_path, create=True)
    assert code(place.deliver(to=to)) == "2.1.5"
    (put,) = [path.read_bytes() for path in place.mail.rglob("new/*")]
    assert code(place.deliver(to=to, message=put.replace(b"\n", b"\r\n"))) == "5.4.6"


def test_a_sender_marks_nothing_as_read_in_an_mbox(tmp_path: Path) -> None:
    place = Place(tmp_path, format="mbox", create=True)
    (outcome,) = place.deliver(message=b"Status: RO\r\nX-Status: D\r\nContent-Length: 1\r\n" + MESSAGE)
    assert isinstance(outcome, Delivered)
    assert [note.what for note in outcome.notes] == ["field status", "field x-status", "field content-length"]
    octets = (place.mail / "ann").read_bytes()
    assert octets.startswith(b"From bob@else.example ")
    assert b"Status" not in octets


# -- where it is put


def test_a_tag_and_the_case_are_none_of_the_mailbox(place: Place) -> None:
    place.deliver(["ann+lists@acme.example", "Ann@acme.example"])
    assert len(files(place)) == 2


def test_a_rule_names_the_mailbox(place: Place) -> None:
    place.rules["sales.desk@acme.example"] = rules(mailbox="ann")
    place.deliver("sales.desk@acme.example")
    assert len(files(place)) == 1


def test_a_rule_names_folders(place: Place) -> None:
    place.rules["ann@acme.example"] = rules(MailTarget("mailbox"), MailTarget("folder", "Lists/Ünit"))
    assert code(place.deliver()) == "2.1.5"
    assert len(files(place)) == len(files(place, folder=".Lists.&ANw-nit")) == 1
    assert (place.mail / "ann" / ".Lists.&ANw-nit" / "maildirfolder").exists()


def test_a_folder_beside_a_mailbox_file(tmp_path: Path) -> None:
    place = Place(tmp_path, format="mmdf", create=True, folders="mail/{user}.d")
    place.rules["ann@acme.example"] = rules(MailTarget("folder", "Lists/x"))
    assert code(place.deliver()) == "2.1.5"
    octets = (place.mail / "ann.d" / "Lists" / "x").read_bytes()
    assert octets.startswith(b"\1\1\1\1\nReturn-Path: ")
    assert not (place.mail / "ann").exists()


@pytest.mark.parametrize(
    ("config", "target"),
    [
        ({}, MailTarget("program", "gone")),
        ({}, MailTarget("folder", "Lists/v1.2")),
        ({"format": "mbox"}, MailTarget("folder", "Lists")),
    ],
)
def test_rules_that_ask_for_what_cannot_be_keep_the_mail(
    tmp_path: Path, config: dict[str, str], target: MailTarget
) -> None:
    place = Place(tmp_path, create=True, **config)
    place.rules["ann@acme.example"] = rules(MailTarget("mailbox"), target)
    (outcome,) = place.deliver()
    assert isinstance(outcome, Deferred)
    assert outcome.status.code == "4.3.5"
    assert outcome.status.text.startswith("a rule names a ")
    assert not list(place.mail.iterdir())


def test_rules_that_cannot_be_read_keep_the_mail(place: Place) -> None:
    def unreadable(address: object) -> MailRules:
        raise RuleMistake("what?")

    made = place.make()
    object.__setattr__(made.context, "rules", unreadable)
    place.make = lambda: made  # type: ignore[method-assign]
    assert code(place.deliver()) == "4.3.5"
    assert not files(place)


@pytest.mark.parametrize(
    "local",
    [
        '"../bob"',
        '"/etc/passwd"',
        '"a/b"',
        '".."',
        '"a\\\\b"',
        '".bob"',
        '"bob\\"x"',
        "a" * 64 + "b" * 200,
    ],
)
def test_no_address_leads_elsewhere(place: Place, local: str) -> None:
    outcomes = place.deliver(f"{local}@acme.example")
    assert code(outcomes) == "5.1.1"
    assert isinstance(outcomes[0], Failed)
    assert sorted(path.name for path in place.mail.iterdir()) == ["ann"]


@pytest.mark.parametrize("name", ["..", "../ann", "/ann", "a/../b", ".ann", "a\0b", "a\nb", '"ann"', "x" * 300])
def test_no_name_of_a_rule_leads_elsewhere(name: str) -> None:
    assert mailbox_of(smtp("ann@acme.example"), "+", name) is None


def test_a_name_that_reads_like_a_place_is_a_name(tmp_path: Path) -> None:
    place = Place(tmp_path, path="mail/{mailbox}", create=True)
    assert place.deliver("{domain}@acme.example")[0].status.code == "2.1.5"
    assert [each.name for each in place.mail.iterdir()] == ["{domain}@acme.example"]


def test_a_bare_postmaster_has_a_mailbox(place: Place) -> None:
    (place.mail / "postmaster").mkdir()
    assert code(place.deliver("postmaster")) == "2.1.5"


# -- what cannot be put


def test_a_mailbox_that_is_not_there_fails_or_waits(tmp_path: Path) -> None:
    (outcome,) = Place(tmp_path).deliver()
    assert isinstance(outcome, Failed)
    assert outcome.status.code == "5.1.1"
    (outcome,) = Place(tmp_path, missing="defer").deliver()
    assert isinstance(outcome, Deferred)
    assert outcome.status.code == "4.2.1"
    assert code(Place(tmp_path, create=True).deliver()) == "2.1.5"


def test_a_store_that_is_gone_concerns_all(tmp_path: Path) -> None:
    place = Place(tmp_path, create=True)

    class Gone(dict[str, MailRules]):
        def get(self, *_: object) -> None:  # type: ignore[override]
            place.mail.rmdir()

    place.rules = Gone()
    (outcome,) = place.deliver()
    assert isinstance(outcome, Deferred)
    assert outcome.scope is Scope.HOP


@pytest.mark.parametrize("format", ["maildir", "mbox", "mmdf"])
def test_a_full_mailbox_waits_or_fails(tmp_path: Path, format: str) -> None:
    limits = {"format": format, "create": True, "quota_bytes": 450}
    assert code(Place(tmp_path, **limits).deliver(number=1)) == "2.1.5"
    assert code(Place(tmp_path, **limits).deliver(number=2)) == "2.1.5"
    (waits,) = Place(tmp_path, **limits).deliver(number=3)
    assert isinstance(waits, Deferred)
    assert (waits.status.code, waits.scope) == ("4.2.2", Scope.RECIPIENT)
    (fails,) = Place(tmp_path, **limits, over_quota="fail").deliver(number=3)
    assert isinstance(fails, Failed)
    assert fails.status.code == "5.2.2"
    assert code(Place(tmp_path, **limits).deliver(number=4, message=MESSAGE + b"x" * 600)) == "5.2.3"


def test_a_maildirs_quota_is_what_is_configured_now(place: Place) -> None:
    (place.mail / "ann" / "maildirsize").write_text("100S,3C\n50 1\n")
    assert code(place.deliver()) == "4.2.2"
    place.config = place.config.model_copy(update={"quota_bytes": 10_000})
    assert code(place.deliver()) == "2.1.5"
    assert (place.mail / "ann" / "maildirsize").read_text().startswith("10000S\n0 0\n")


def test_a_locked_mailbox_waits_alone(tmp_path: Path) -> None:
    place = Place(tmp_path, format="mbox", create=True, lock_wait_s=0.1)
    place.deliver(number=1)
    (place.mail / "ann.lock").touch()
    ann, bob = place.deliver(["ann@acme.example", "bob@acme.example"], number=2)
    assert isinstance(ann, Deferred)
    assert (ann.status.code, ann.scope) == ("4.2.0", Scope.RECIPIENT)
    assert isinstance(bob, Delivered)
    (place.mail / "ann.lock").unlink()
    pid = os.fork()
    if not pid:
        with (place.mail / "ann").open("r+b") as file:  # as a reader with fcntl alone does
            fcntl.lockf(file, fcntl.LOCK_EX)
            (place.folder / "locked").touch()
            while not (place.folder / "over").exists():
                os.sched_yield()
        os._exit(0)
    try:
        while not (place.folder / "locked").exists():
            os.sched_yield()
        assert code(place.deliver(number=3)) == "4.2.0"
    finally:
        (place.folder / "over").touch()
        os.waitpid(pid, 0)
    assert code(place.deliver(number=3)) == "2.1.5"
    assert (place.mail / "ann").read_bytes().count(b"\nDelivered-To: ") == 2


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    place = Place(tmp_path, format="mbox", create=True)
    (tmp_path / "other").touch()
    (place.mail / "ann").symlink_to(tmp_path / "other")
    assert code(place.deliver()) == "4.3.5"
    assert not (tmp_path / "other").read_bytes()


@pytest.mark.parametrize("link", ["ann", "ann/new", "ann/tmp", "ann/cur"])
def test_no_link_leads_out_of_a_maildir(tmp_path: Path, link: str) -> None:
    """Somebody who may write into their Maildir could have a message put into another connector's inbox."""
    place = Place(tmp_path, create=True)
    for each in ("new", "tmp", "cur"):
        (tmp_path / "inbox" / each).mkdir(parents=True)
    at = place.mail / link
    at.parent.mkdir(exist_ok=True)
    at.symlink_to(tmp_path / "inbox")
    assert code(place.deliver()) == "4.3.5"
    assert not [each for each in (tmp_path / "inbox").rglob("*") if each.is_file()]
    at.unlink()
    assert code(place.deliver()) == "2.1.5"


@pytest.mark.parametrize("format", ["mbox", "mmdf"])
def test_no_link_leads_to_a_mailbox_file(tmp_path: Path, format: str) -> None:
    place = Place(tmp_path, format=format, create=True, path=f"{tmp_path}/mail/{{domain}}/{{user}}")
    (tmp_path / "other").mkdir()
    (place.mail / "acme.example").symlink_to(tmp_path / "other")
    assert code(place.deliver()) == "4.3.5"
    assert not list((tmp_path / "other").iterdir())


@pytest.mark.parametrize("format", ["mbox", "mmdf"])
def test_nobodys_mailbox_is_the_lock_of_anothers(tmp_path: Path, format: str) -> None:
    place = Place(tmp_path, format=format, create=True)
    assert code(place.deliver(to="ann.lock@acme.example")) == "5.1.1"
    assert not list(place.mail.iterdir())
    assert code(Place(tmp_path, create=True).deliver(to="ann.lock@acme.example")) == "2.1.5"


# -- once


@pytest.mark.parametrize("format", ["maildir", "mbox", "mmdf"])
def test_a_retry_finds_what_was_put(tmp_path: Path, format: str) -> None:
    place = Place(tmp_path, format=format, create=True)
    for _ in range(3):
        assert code(place.deliver()) == "2.1.5"
    path = place.mail / "ann"
    octets = b"".join(files(place)) if format == "maildir" else path.read_bytes()
    assert octets.count(b"Delivered-To") == 1


def test_a_retry_finds_what_was_read_meanwhile(place: Place) -> None:
    place.deliver()
    (path,) = (place.mail / "ann" / "new").iterdir()
    path.rename(place.mail / "ann" / "cur" / f"{path.name}:2,RS")
    assert code(place.deliver()) == "2.1.5"
    assert not files(place)


def test_a_short_write_leaves_no_half_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path, format="mbox", create=True)
    place.deliver(number=1)
    before = (place.mail / "ann").read_bytes()

    def full(handle: int, octets: memoryview, at: int) -> int:
        if at > len(before) + 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.pwrite(handle, octets[:30], at)

    made = place.make()
    operations = made._boxes._ops
    object.__setattr__(operations, "pwrite", full)
    try:
        (outcome,) = place.deliver(number=2)
    finally:
        object.__setattr__(operations, "pwrite", os.pwrite)
    assert isinstance(outcome, Deferred)
    assert (outcome.status.code, outcome.scope) == ("4.3.1", Scope.HOP)
    assert (place.mail / "ann").read_bytes() == before
    assert code(place.deliver(number=2)) == "2.1.5"
