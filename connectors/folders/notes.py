"""What mailbox files say of a message in fields of its header: read, written, and kept apart from the message's own.

Status, X-Status and X-Keywords as mutt, c-client and Dovecot have them; X-Mozilla-Status and its kin of Thunderbird;
X-Gmail-Labels of Google's Takeout, which is read alone. A message that came with such fields of its own keeps them
under names with `X-Kept-` before, which go again in reading; so does `X-Kept-Headerless`, which says that the
message had no header. Pure.
Sources: mbox(5) of mutt; c-client's docs/mailbox.txt; nsMsgMessageFlags.idl of Thunderbird.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from typing import Final

from connectors.folders.words import keywords_of, marks_of, plain, told
from gateway.contract import Flag
from gateway.formats.flags import STATUS_FIELDS, Mark, from_status, to_status

NAMES: Final = STATUS_FIELDS | {b"x-mozilla-status", b"x-mozilla-status2", b"x-mozilla-keys"}
_KEPT: Final = b"X-Kept-"
_HEADERLESS: Final = b"x-kept-headerless"
_KEPT_NAME: Final = re.compile(rb"(?:x-kept-)+(?:" + b"|".join(sorted(NAMES)) + rb"|headerless)")
"""A message's own field, as it is kept; in lower case."""
_FIELD: Final = re.compile(rb"([!-9;-~]+)[ \t]*:([^\n]*\n?(?:[ \t]+[^\n]*\n?)*)")
_LINE: Final = re.compile(rb"[^\r\n][^\n]*\n?")
_LETTERS: Final = Mark.SEEN | Mark.ANSWERED | Mark.FLAGGED | Mark.DELETED | Mark.DRAFT
_MOZILLA: Final[tuple[tuple[int, Flag], ...]] = (
    (0x1, "seen"),
    (0x2, "answered"),
    (0x4, "flagged"),
    (0x1000, "forwarded"),
)
_EXPUNGED: Final = 0x8
_RECEIPT_SENT: Final = 0x0080_0000
_LABEL_FLAGS: Final[dict[str, Flag]] = {"starred": "flagged", "drafts": "draft", "spam": "junk"}
_MOST_LABELS: Final = 16 * 1024
_LABELS: Final = frozenset(("inbox", "opened", "unread", "sent", "archived", "trash", "chat", *_LABEL_FLAGS))
"""Google's own labels, which are no words of the user's."""


@dataclass(frozen=True, slots=True)
class Note:
    """What a header says. `is_gone`: the program has removed the message, and left it for its next tidying up;
    `is_internal`: it is no message but the mailbox's own data."""

    flags: frozenset[Flag]
    keywords: frozenset[str]
    message_id: str | None
    is_gone: bool = False
    is_internal: bool = False


def fields(header: bytes) -> Iterable[tuple[bytes, bytes, int, int]]:
    """Yield name in lower case, value, start and end of each field of a header, and lines that are none by no name."""
    at = 0
    while at < len(header):
        match = _FIELD.match(header, at)
        if match is not None:
            yield match[1].lower(), match[2], at, match.end()
            at = match.end()
            continue
        line = _LINE.match(header, at)
        if line is None:
            return
        yield b"", line[0], at, line.end()
        at = line.end()


def read(header: bytes) -> tuple[Note, bytes]:
    """Return what a header says of its message, and the header of the message itself.

    Empty where the message has none, not even the line that ends it.
    """
    said: dict[bytes, str] = {}
    rest: list[bytes] = []
    end = 0
    is_headerless = False
    for name, value, start, end in fields(header):
        if name == _HEADERLESS:
            is_headerless = True
        elif name in NAMES:
            said.setdefault(name, _text(value))
        else:
            kept = _KEPT_NAME.fullmatch(name) is not None
            rest.append(header[start + len(_KEPT) : end] if kept else header[start:end])
            if name in (b"message-id", b"subject", b"x-gmail-labels"):
                said.setdefault(name, _text(value))
    own = b"" if is_headerless else b"".join(rest) + header[end:]
    return _note(said), own


def _text(value: bytes) -> str:
    return " ".join(value.decode("utf-8", "replace").split())


def _note(said: dict[bytes, str]) -> Note:
    marks = from_status(said.get(b"status", ""), said.get(b"x-status", ""))
    flags, keywords = told(marks, frozenset(said.get(b"x-keywords", "").replace(",", " ").split()))
    one, two = _number(said.get(b"x-mozilla-status")), _number(said.get(b"x-mozilla-status2"))
    if b"status" not in said:
        flags |= {flag for bit, flag in _MOZILLA if one & bit}
        _, words = told(Mark.NONE, frozenset(said.get(b"x-mozilla-keys", "").split()))
        keywords |= words
        if two & _RECEIPT_SENT:
            flags |= {"mdn_sent"}
    if b"x-gmail-labels" in said and not {b"status", b"x-mozilla-status"} & said.keys():
        labels = _labels(said[b"x-gmail-labels"])
        flags |= {_LABEL_FLAGS[label.lower()] for label in labels if label.lower() in _LABEL_FLAGS}
        if "unread" not in map(str.lower, labels):
            flags |= {"seen"}
        keywords |= {plain(label) for label in labels if label.lower() not in _LABELS}
    match = re.search(r"<[^<>]+>", said.get(b"message-id", ""))
    is_internal = b"x-imap" in said and said.get(b"subject", "").startswith("DON'T DELETE THIS MESSAGE")
    return Note(flags, keywords, match[0] if match else None, bool(one & _EXPUNGED), is_internal)


def _number(text: str | None) -> int:
    try:
        return int(text or "0", 16) & 0xFFFF_FFFF
    except ValueError:
        return 0


def _labels(text: str) -> list[str]:
    with suppress(LookupError, UnicodeError, ValueError, HeaderParseError):
        text = str(make_header(decode_header(text[:_MOST_LABELS])))
    return [label.strip().strip('"') for label in text.split(",") if label.strip()]


def write(header: bytes, words: frozenset[str], others: bytes = b"", *, headerless: bool = False) -> bytes:
    """Return a message's own header, without the line that ends it, as a mailbox file has it: with flags and keywords,
    and `others`, whole fields of the mailbox's own. `headerless`: the message has not even the line that ends one."""
    own: list[bytes] = []
    end = 0
    for name, _, start, end in fields(header):
        is_note = name in NAMES or _KEPT_NAME.fullmatch(name) is not None
        own.append((_KEPT if is_note else b"") + header[start:end])
    text = b"".join(own) + header[end:]
    if text and not text.endswith(b"\n"):
        text += b"\n"
    status, x_status = to_status(marks_of(words) | Mark.OLD)
    keywords = sorted(keywords_of(words, letters=_LETTERS))
    said = b"Status: %s\n" % status.encode()
    if x_status:
        said += b"X-Status: %s\n" % x_status.encode()
    if keywords:
        said += b"X-Keywords: %s\n" % " ".join(keywords).encode("utf-8", "replace")
    return text + (b"X-Kept-Headerless: yes\n" if headerless else b"") + said + others


def others_of(header: bytes) -> bytes:
    """Return the fields of a mailbox's own that are no flags: where programs count their messages."""
    keep = (b"x-uid", b"x-imap", b"x-imapbase")
    return b"".join(header[start:end] for name, _, start, end in fields(header) if name in keep)
