"""What is done to a message on its way, where it can't go as it is: as little as the destination takes.

Each function keeps everything that it does not name, octet by octet. What was done is told in notes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from email.utils import parsedate_to_datetime
from typing import Final, Literal

from gateway.contract import Capabilities
from gateway.fidelity import Fate, Note
from gateway.message import Content
from gateway.octets import MAX_LINE
from gateway.sync.values import OLDEST_S
from mappings.encapsulation import named_unsigned
from mappings.fields import scan

AddressOf = Callable[[str], str | None]
"""An X.500 address, `/o=Acme/ou=HQ/cn=Recipients/cn=ann`, to the internet address of who has or had it."""

Mend = Literal["nul", "newlines", "fields", "head", "lines", "eight bit"]
MENDS: Final[tuple[Mend, ...]] = ("nul", "newlines", "fields", "head", "lines", "eight bit")
"""From what changes least to what changes most."""

_ALL: Final = Capabilities(bare_newlines=True, nul=True, eight_bit=True)
_WITHOUT: Final[dict[Mend, Capabilities]] = {
    "nul": Capabilities(bare_newlines=True, nul=False),
    "newlines": Capabilities(bare_newlines=False, nul=True),
    "lines": Capabilities(bare_newlines=True, nul=True, max_line_octets=MAX_LINE),
    "eight bit": Capabilities(bare_newlines=True, nul=True, eight_bit=False),
}
_HINTS: Final[tuple[tuple[re.Pattern[str], Mend], ...]] = (
    (re.compile(r"\bnul|null|\\0|0x00", re.I), "nul"),
    (re.compile(r"bare|newline|crlf|line end", re.I), "newlines"),
    (re.compile(r"header|empty|zero.?length", re.I), "fields"),
    (re.compile(r"header", re.I), "head"),
    (re.compile(r"line.*(?:long|length)|long.*line", re.I), "lines"),
    (re.compile(r"8.?bit|ascii|encoding", re.I), "eight bit"),
)
_ADDRESS_FIELDS: Final = frozenset((b"from", b"sender", b"reply-to", b"to", b"cc", b"resent-from", b"resent-sender"))
_EXCHANGE: Final = re.compile(
    rb"(IMCEAEX-[!-;=?A-~]*?)@([A-Za-z0-9.-]+)"  # encapsulated, as Exchange shows it to others
    rb"|<[ \t]*\"?(/o=[^<>\"@]*)\"?(?:@[^<>]*)?>",  # as it is
    re.I,
)
_FIELD: Final = re.compile(rb"[!-9;-~]+:|[ \t]")
_NAME: Final = re.compile(rb"[!-9;-~]+")
_FOLD: Final = re.compile(rb"\r?\n(?=[ \t])")


def mends_for(content: Content, refusal: str) -> list[Mend]:
    """Return what may be mended in a content that was refused, in the order to try it. Blocks on a Blob."""
    found = [each for each in MENDS if _may_help(content, each)]
    hinted = [mend for words, mend in _HINTS if words.search(refusal) and mend in found]
    return hinted + [each for each in found if each not in hinted]


def _may_help(content: Content, mend: Mend) -> bool:
    traits = content.traits
    if mend == "nul":
        return traits.nul
    if mend == "newlines":
        return not traits.crlf_only
    if mend == "fields":
        return bool(_with_fields(content)[1])
    # What mends is loaded when there is something to be mended: a pass over a mailbox without changes is to start fast.
    from gateway.adapt.body_step import fit_body
    from gateway.adapt.head_step import fit_head

    if mend == "head":
        return bool(fit_head(content.head, seven_bit=True)[1])
    return fit_body(content, traits, _WITHOUT[mend])[0] is not content


def tries_of(mends: Sequence[Mend]) -> list[tuple[Mend, ...]]:
    """Return what to mend at once, try by try: each alone, then ever more together."""
    ordered = [each for each in MENDS if each in mends]
    return [(each,) for each in mends] + [tuple(ordered[:count]) for count in range(2, len(ordered) + 1)]


def mended(content: Content, mends: Sequence[Mend]) -> tuple[Content, list[Note]]:
    """Return a content with all of these mended, and notes. The same octets always make the same. Blocks on a Blob."""
    from gateway.adapt.body_step import fit_body
    from gateway.adapt.head_step import fit_head
    from gateway.adapt.octet_step import mend_octets

    notes: list[Note] = []
    for each in MENDS:
        if each not in mends:
            continue
        more: list[Note] = []
        if each == "fields":
            content, more = _with_fields(content)
        elif each == "head":
            head, more = fit_head(content.head, seven_bit=True)
            if more:
                content = content.with_head(head)
        else:
            content, more = fit_body(content, content.traits, _WITHOUT[each])
            if each in ("nul", "newlines"):
                content, rest = mend_octets(content, _WITHOUT[each])
                more += rest
        notes += more
    return content, notes


def _with_fields(content: Content) -> tuple[Content, list[Note]]:
    """Return a content whose header is one (RFC 5322 §2.2): its end is there, and each line is a field's."""
    head = content.head
    if not head:
        if next(iter(content.chunks()), b"")[:2] in (b"\r\n", b"\n"):
            return content, []
        return content.with_head(b""), [Note(Fate.MAPPED, "an empty line in front", "there is no header at all")]
    notes: list[Note] = []
    lines = [line for line in re.split(rb"(?<=\n)", head) if line]
    for at, line in enumerate(lines):
        if _FIELD.match(line):
            continue
        name, blanks, rest = line.partition(b":")
        if blanks and _NAME.fullmatch(name.rstrip(b" \t")):
            lines[at] = name.rstrip(b" \t") + b":" + rest
            notes.append(Note(Fate.MAPPED, name.decode("latin-1").strip(), "there were blanks before its colon"))
        elif at:
            lines[at] = b" " + line
            notes.append(Note(Fate.MAPPED, "a line of the header", "it is no field, and goes on the one before now"))
    return (content.with_head(b"".join(lines)), notes) if notes else (content, [])


def variants(content: Content, address_of: AddressOf | None) -> Iterator[Content]:
    """Yield what may have become of a content on its way, in the order in which it is tried."""
    if address_of is not None:
        content, notes = replyable(content, address_of)
        if notes:
            yield content
    for each in tries_of(mends_for(content, "")):
        yield mended(content, each)[0]


def told(notes: Sequence[Note]) -> str:
    """Return notes as one line for a report."""
    return "; ".join(dict.fromkeys(f"{note.what}: {note.fate.value}, {note.why}" for note in notes))


def asks_for_receipt(content: Content) -> bool:
    """Tell whether whoever opens a message sends its author a receipt (RFC 8098 §2.1)."""
    name = b"disposition-notification-to"
    return name in content.head.lower() and content.get(name) is not None  # hardly any does, and all are asked


def date_of(content: Content) -> tuple[float, str] | None:
    """Return when a message was received, in seconds since 1970, and the field that says so, where the store does not
    know: by the last server that took it in, else by its author. None where neither is a date."""
    received = content.get(b"received")
    for name, text in (
        ("Received", received.rpartition(b";")[2] if received is not None else None),
        ("Date", content.get(b"date")),
    ):
        if not text:
            continue
        try:
            at = parsedate_to_datetime(text.decode("ascii", "replace")).timestamp()
        except (ValueError, TypeError, OverflowError, OSError):
            continue
        if at >= OLDEST_S:
            return at, name
    return None


def replyable(content: Content, address_of: AddressOf) -> tuple[Content, list[Note]]:
    """Return a content whose X.500 addresses are written as the internet addresses that `address_of` knows, and notes;
    what it does not know stays."""
    head = content.head
    if b"IMCEAEX-" not in head.upper() and b"/O=" not in head.upper():
        return content, []
    notes: list[Note] = []

    def replaced(found: re.Match[bytes]) -> bytes:
        value = _x500(found)
        address = address_of(value) if value is not None else None
        if address is None or not address.isascii():
            return found[0]
        notes.append(Note(Fate.MAPPED, f"{value} as {address}", "so that it can be replied to"))
        return address.encode() if found[1] is not None else b"<%s>" % address.encode()

    pieces: list[bytes] = []
    for field in scan(head):
        octets = head[field.start : field.end]
        if field.name in _ADDRESS_FIELDS and _EXCHANGE.search(_FOLD.sub(b"", octets)):
            made = _EXCHANGE.sub(replaced, octets)
            # An address that is folded is read on one line; then the field is written so.
            octets = made if made != octets else _EXCHANGE.sub(replaced, _FOLD.sub(b"", octets))
        pieces.append(octets)
    return (content.with_head(b"".join(pieces)), notes) if notes else (content, [])


def _x500(found: re.Match[bytes]) -> str | None:
    if found[3] is not None:
        return _FOLD.sub(b"", found[3]).decode("utf-8", "replace").strip()
    named = named_unsigned(found[1].decode("ascii", "replace"))
    return named.value if named is not None and named.network == "x500" else None
