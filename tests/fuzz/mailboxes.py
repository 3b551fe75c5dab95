"""Targets for what reads mailboxes below the file drop: places in them, filters of their octets, names of Maildirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Final

from connectors.filedrop.files import InMemory
from gateway.formats import maildir, mbox, mh, mmdf
from gateway.formats.flags import from_info, from_status, to_info, to_status
from gateway.formats.from_line import read, write
from gateway.formats.lines import Filter, cr_to_crlf, to_crlf, to_lf
from gateway.message import Content
from tests.fuzz import dropped_files
from tests.fuzz.dropped_files import MAILBOX, MAX_SEED, TOKENS
from tests.fuzz.mutate import Octets
from tests.fuzz.target import Target, same_octets, text_of

_NAMES: Final = (
    b":2,", b";2,", b"!2,", b",S=12", b",W=12", b",S=", b"S", b"T", b"D", b"F", b"1795482123.M1P2.host", b".Sent",
    b"&AOk-", b"&", b"-", b"/", b"\\072", b"..", b"unseen: 1-3 7\n", b"cur: 4\n", b"99999999999999999999", b"\n", b" ",
)  # fmt: skip


def check_mbox(octets: bytes) -> str:
    """Check that the places of a mailbox's messages tile it, in every dialect, and that each can be written back."""
    told = []
    for dialect in mbox.Dialect:
        at = None
        found = list(mbox.scan(InMemory(octets), dialect))
        for one in found:
            assert at is None or one.start == at, "messages do not tile the file"
            if isinstance(one, mbox.Junk):
                assert one.start <= one.end <= len(octets)
                at = one.end
            else:
                assert one.start <= one.head <= one.end <= one.next <= len(octets), one
                assert one.head <= one.body <= one.end, one
                at = one.next
                _check_filter(one.filter, octets[one.head : one.end])
        assert at is None or at == len(octets), "the last message does not end with the file"
        told.append(str(min(len(found), 4)))
    _check_written(octets)
    return " ".join(told)


def _check_written(octets: bytes) -> None:
    """Check that a message comes back out of a mailbox of two, in the dialects that lose nothing."""
    line = write("ann@acme.example", 1_795_482_123.0)
    octets = octets.replace(b"\r\n", b"\n").replace(b"\r", b"")  # the core hands no bare CR over
    content = Content(b"Subject: s\n\n" + octets)
    for dialect in (mbox.Dialect.MBOXRD, mbox.Dialect.MBOXCL2):
        one = b"".join(mbox.written(content, line, dialect)())
        file = one + mbox.joint(one[-3:]) + one
        found = [each for each in mbox.scan(InMemory(file), dialect) if isinstance(each, mbox.Entry)]
        assert len(found) == 2, f"two messages became {len(found)} ({dialect})"
        wanted = _plain(_filtered(to_crlf, octets))
        for each in found:
            got = _filtered(each.filter, file[each.body : each.end])
            assert _plain(got) == wanted, f"another message comes back ({dialect})"


def _plain(octets: bytes) -> bytes:
    """Return octets with all line ends alike, and none at the end."""
    return octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").rstrip(b"\n")


def check_mmdf(octets: bytes) -> str:
    """Check that the frames of a mailbox are in order, and that a message comes back out of one."""
    at = 0
    found = list(mmdf.scan(InMemory(octets)))
    for one in found:
        assert at <= one.start, "frames overlap"
        assert not octets[at : one.start].strip(b"\r\n"), "text between frames is passed over"
        at = one.next if isinstance(one, mmdf.Frame) else one.end
        if isinstance(one, mmdf.Frame):
            assert one.start <= one.head <= one.end <= one.next <= len(octets), one
    assert not octets[at:].strip(b"\r\n"), "text behind the last frame is passed over"
    one_file = b"".join(mmdf.written(Content(b"Subject: s\n\n" + octets))())
    written = [each for each in mmdf.scan(InMemory(one_file * 2)) if isinstance(each, mmdf.Frame)]
    assert len(written) == 2, f"two messages became {len(written)}"
    return f"{min(len(found), 6)} {sum(isinstance(one, mmdf.Junk) for one in found)}"


def check_names(octets: bytes) -> str:
    """Check the names of Maildir's and MH's files, and their small files, as any text."""
    text = text_of(octets)
    name = maildir.read_name(text)
    assert maildir.read_name(name.text()) == name
    assert name.with_marks(name.marks).marks == name.marks
    maildir.folder_path(text)
    if max(text, default="") <= "\ud7ff":
        assert maildir.from_utf7(maildir.to_utf7(text)) == text
    marks = from_info(text)
    assert from_info(to_info(marks)) == marks
    marks = from_status(text, text)
    assert from_status(*to_status(marks)) & marks == from_status(*to_status(marks))
    line = read(octets)
    if line is not None and line.sender and line.at is not None:
        assert b"\n" not in write(line.sender, line.at)[:-1]
    assert write(text, 0.0).count(b"\n") == 1, "a sender makes a line"
    return f"{name.flags is not None} {name.size is not None} {line is not None} {mh.number(text) is not None}"


def check_lines(octets: bytes) -> str:
    """Check that filters of lines give the same however their octets are cut."""
    for each in (to_crlf, to_lf, cr_to_crlf):
        _check_filter(each, octets)
    return ""


def _check_filter(change: Filter, octets: bytes) -> None:
    whole = _filtered(change, octets)
    assert len(whole) <= 2 * len(octets) + 2
    sizes = (1, 3, 64) if len(octets) < 2000 else (509,)
    for size in sizes:
        pieces = (octets[at : at + size] for at in range(0, len(octets), size))
        assert b"".join(change(pieces)) == whole, f"in pieces of {size} another"


def _filtered(change: Filter, octets: bytes) -> bytes:
    return b"".join(change(iter((octets,))))


def _targets() -> Iterator[Target[bytes]]:
    boxes = cache(partial(dropped_files.seeds, ("mbox", "mmdf", "mailboxes")))
    folders = cache(partial(dropped_files.seeds, ("maildir", "mh", "mail_folders", "mailboxes"), _NAMES))
    mutated = Octets((*TOKENS, *MAILBOX))
    checks: tuple[tuple[str, Callable[[bytes], str]], ...] = (
        ("scan-mbox", check_mbox),
        ("scan-mmdf", check_mmdf),
        ("scan-lines", check_lines),
    )
    for name, check in checks:
        yield Target(name, check, boxes, mutated, same_octets, same_octets, 5.0, MAX_SEED)
    yield Target("scan-names", check_names, folders, Octets((*TOKENS, *_NAMES)), same_octets, same_octets, 5.0, 500)


TARGETS: Final = tuple(_targets())
