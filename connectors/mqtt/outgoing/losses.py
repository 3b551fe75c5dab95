"""What a publication does not tell of a mail, as notes for its trace: so that nothing is lost without a word."""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Final

from connectors.mqtt.outgoing.values import Letter, each_of
from gateway.contract import Address, AddressError, Content, Fate, Mailbox, Memo, Note, Notify

NETWORKS: Final = ("smtp", "mqtt")
_UNSET: Final = Notify.UNSET
_SHOWN: Final = 40
_REMEMBERED: Final = 1000
"""Octets of a field whose addresses are remembered."""
_SEVERAL: Final = re.compile(r"[,:;@<(\"\\]")
_SIGNATURES: Final = frozenset((
    "application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature",
))  # fmt: skip
_MIME: Final = frozenset((
    b"mime-version", b"content-type", b"content-transfer-encoding", b"content-disposition", b"content-language",
))  # fmt: skip
"""Fields that say how the content is written, and go with that."""


def titled(name: bytes) -> str:
    """Return a field's name as it is most often written."""
    return name.decode("latin-1").title().replace("Message-Id", "Message-ID")


def people(letter: Letter, name: bytes) -> tuple[Mailbox, ...]:
    """Return the addresses of a field; what no network reads of it is noted."""
    values = letter.written(name)
    if not values:
        return ()
    attributes = tuple(letter.parcel.content.attributes.items())
    is_short = sum(map(len, values)) <= _REMEMBERED and len(attributes) <= 1
    boxes, unread = (_read if is_short else _read.__wrapped__)(name, values, attributes)
    if unread is not None:
        letter.drop(f"{titled(name)}: {unread[:200]}", "no network here reads this address")
    return boxes


@lru_cache(maxsize=1024)
def _read(
    name: bytes, values: tuple[bytes, ...], attributes: tuple[tuple[str, str], ...]
) -> tuple[tuple[Mailbox, ...], str | None]:
    """Return the addresses of a field's values, and what no network reads of it; who writes to things does so again."""
    octets = b"".join(name + b":" + value.rstrip(b"\r\n") + b"\r\n" for value in values)
    found = Memo(Content(octets, attributes=dict(attributes)), "")
    try:
        return found.mailboxes(name, NETWORKS, strict=True), None
    except AddressError as e:
        return found.mailboxes(name, NETWORKS), e.text


def note_envelope(letter: Letter, why: str) -> None:
    """Note what of the envelope is not told: the topic is the recipient, and nothing else is."""
    envelope, item = letter.parcel.envelope, letter.item
    if item.notify is not _UNSET:
        letter.drop("envelope NOTIFY", why)
    if item.orcpt:
        letter.drop("envelope ORCPT", why)
    if envelope.ret is not None:
        letter.drop("envelope RET", why)
    if envelope.envid is not None:
        letter.drop("envelope ENVID", why)
    if envelope.priority:
        letter.drop("envelope priority", why)


def note_path(letter: Letter, shown: Callable[[], Address | None], why: str) -> None:
    """Note a reverse-path that is another than the sender that a payload shows."""
    path = letter.parcel.envelope.reverse_path
    if path is None:
        letter.drop("null reverse-path", why)
    elif not _is_author(letter, path) and path != shown():
        letter.drop(f"reverse-path {path.value}", why)


def _is_author(letter: Letter, path: Address) -> bool:
    """Say whether the one author is at first sight this address, as is so of nearly all mail."""
    values = letter.values(b"from")
    if len(values) != 1 or path.network != "smtp":
        return False
    return values[0] == path.value or (
        values[0].endswith(f" <{path.value}>")
        and not _SEVERAL.search(values[0], 0, len(values[0]) - len(path.value) - 2)
    )


def sender(letter: Letter) -> Address | None:
    """Return the one address of From, or of Sender where From has several; None where that is not one."""
    memo = letter.memo
    boxes = memo.mailboxes(b"from", NETWORKS)
    if len(boxes) != 1:
        boxes = memo.mailboxes(b"sender", NETWORKS)
    return boxes[0].address if len(boxes) == 1 else None


def note_fields(letter: Letter, is_carried: Callable[[str], bool], why: str) -> None:
    """Note the header fields that are not carried."""
    note = fields_note(each_of(letter.names), is_carried, why)
    if note is not None:
        letter.notes.append(note)


def fields_note(names: Iterable[bytes], is_carried: Callable[[str], bool], why: str) -> Note | None:
    """Return the note of header fields that are not carried; None where all are."""
    lost: dict[bytes, str] = {}
    for name in names:
        lower = name.lower()
        if lower not in _MIME and not is_carried(lower.decode("latin-1")):
            lost.setdefault(lower, name.decode("latin-1"))
    if not lost:
        return None
    more = f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
    return Note(Fate.DROPPED, "header fields " + ", ".join([*lost.values()][:_SHOWN]) + more, why)


def note_files(letter: Letter, why: str) -> None:
    """Note that no file is carried."""
    for one in letter.files:
        letter.drop(f"attachment {one.name}", why)


def note_octets(letter: Letter) -> None:
    """Note what hangs on the octets of a text, of which the characters alone are carried."""
    for one in letter.files:
        if one.type in _SIGNATURES:
            letter.drop(f"signature {one.name}", "it is of octets that the JSON does not hold")
    content = letter.parcel.content
    if content.traits.eight_bit and not _is_utf8(content.chunks()):
        letter.note(Fate.MAPPED, "8-bit octets that are no UTF-8", "the JSON has the characters they stand for")


def _is_utf8(pieces: Iterator[bytes]) -> bool:
    decoder = getincrementaldecoder("utf-8")()
    try:
        for piece in pieces:
            decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def note_left_out(letter: Letter) -> None:
    """Note user properties that had no room."""
    if letter.user.left_out:
        names = ", ".join(letter.user.left_out[:_SHOWN])
        letter.drop(f"user properties {names}", "they are more than a packet has room for")


def note_page(letter: Letter, why: str) -> None:
    """Note a page of HTML that is not carried."""
    if letter.memo.page is not None:
        letter.note(Fate.MAPPED if letter.memo.text else Fate.DROPPED, "HTML", why)
