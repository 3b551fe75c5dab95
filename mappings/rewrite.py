"""Rewriting of the address fields in a header block, on its octets.

Promises: outside the addr-specs that change, and the Bcc fields, which are taken out, every octet stays: display
names, encoded words, quoted strings, comments, groups, folding, 8-bit octets. Where nothing changes the very same
object is returned. What cannot be read as an address is left alone. A changed field whose line would pass 998 octets
is folded. Linear in the size of the header, whatever stands in it; of one header at most 256 KiB of address fields
are read, and the fields beyond are named and left alone.
Source: RFC 5322 §3.4, §3.6.2, §3.6.3, §3.6.6 and the obsolete forms of §4.4; RFC 6532.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from mappings.address import Address
from mappings.resolution import Translation

MAX_LINE: Final = 998  # RFC 5322 §2.1.1
MAX_READ: Final = 256 * 1024
"""Octets of address fields read in one header: what a list of 5,000 people takes; a bound on the time for one mail."""

_MAX_WORDS: Final = 64

_NAMES: Final = rb"((?i:(?:resent-)?(?:from|sender|reply-to|to|b?cc)))[ \t]*:"
_VALUE: Final = rb"([^\n]*(?:\n[ \t][^\n]*)*)"
_FIELD: Final = re.compile(rb"\n" + _NAMES + _VALUE)  # the literal in front makes the search skip whole lines
_FIRST: Final = re.compile(_NAMES + _VALUE)

_LOCAL: Final = rb"([A-Za-z0-9!#$%&'*+\-/=?^_`{|}~.]++)"
_DOMAIN: Final = rb"([A-Za-z0-9.-]++)"
# One mailbox as nearly all mail writes it, and the comma after it. No repetition here ever gives octets back.
_MAILBOX: Final = re.compile(
    rb"[ \t\r\n]*+"
    rb'(?:(?:"[^"\\]*+"[ \t\r\n]*+|[^"(),:;<>@\\\[\]]*+)<' + _LOCAL + rb"@" + _DOMAIN + rb">"
    rb"|" + _LOCAL + rb"@" + _DOMAIN + rb")[ \t\r\n]*+(,|\Z)"
)
_TOKEN: Final = re.compile(
    rb'[ \t\r\n]++|"(?:[^"\\]|\\.)*+"|\[[^\]\\\r\n]*+\]|[^\x00- ()<>\[\]:;@\\,"]++|.',
    re.DOTALL,
)
_COMMENT_PART: Final = re.compile(rb"\\.|[()]|[^()\\]++|\\\Z", re.DOTALL)
# All beyond ASCII is taken, which a set says best by what it is not: one that names it is slow to compile.
SAFE_SPEC: Final = re.compile(
    r'(?:[^\x00- "(),:;<>@\[\\\]\x7f]+|"(?:[^"\\\x00-\x1f\x7f]|\\[ -~])*")'
    r"@(?:[^\x00-,/:-@\[-^`{-\x7f]+|\[[A-Za-z0-9.:]+\])"
)

Read = Callable[[str, str], Address | None]
Write = Callable[[Address], str | None]
Translate = Callable[[Address], Translation | None]


@dataclass(frozen=True, slots=True)
class Change:
    """One address rewritten, `field` in lower case. Of a Bcc field that was taken out nothing else is told."""

    field: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The header block after rewriting; the same object that came in where `changes` is empty.

    `left` names the address fields that were not read for their size.
    """

    head: bytes
    changes: tuple[Change, ...] = ()
    left: tuple[str, ...] = ()


class _Mailbox(NamedTuple):
    """One addr-spec in a field: its span, its two parts, the comments inside it, and where a line may break after."""

    start: int
    end: int
    local: bytes
    domain: bytes
    comments: bytes
    after: int
    name: tuple[int, int] = (0, 0)


class _Edit(NamedTuple):
    start: int
    end: int
    octets: bytes
    after: int


@dataclass(frozen=True, slots=True)
class Named:
    """A mailbox as an address field has it: two parts of an addr-spec as written, and the octets of the name beside it:
    words, quoted strings and encoded words, or a comment with its brackets."""

    local: str
    domain: str
    name: bytes
    at: int
    """Where the name begins in the value."""


def mailboxes(value: bytes) -> Iterator[Named]:
    """Yield the mailboxes of an address field's value, those of groups too, in order; what is none is passed over."""
    for box in _mailboxes(value, 0, len(value)):
        try:
            yield Named(box.local.decode(), box.domain.decode(), value[slice(*box.name)], box.name[0])
        except UnicodeDecodeError:
            continue


def rewrite_head(head: bytes, translate: Translate, *, read: Read, write: Write) -> Rewritten:
    """Rewrite the addresses in From, Sender, Reply-To, To, Cc and their Resent- forms; take Bcc fields out.

    `head` is whole lines without the empty line. `read` makes an Address of an addr-spec's two parts as written, None
    where it is no address of the source's networks. `translate` gives the form to show, None to leave it. `write`
    gives the addr-spec to put there, None where there is none: the old one stays then.
    """
    pieces: list[bytes] = []
    changes: list[Change] = []
    left: list[str] = []
    done = 0
    budget = MAX_READ
    field = _FIRST.match(head) or _FIELD.search(head)
    while field is not None:
        start, end = field.span(2)
        name = field[1].lower()
        if name.endswith(b"bcc"):
            from_ = field.start(1)
            pieces.append(head[done:from_])
            done = min(end + 1, len(head))  # with its line end
            changes.append(Change(name.decode("ascii"), "", ""))
        elif (budget := budget - (end - start)) < 0:
            left.append(name.decode("ascii"))
        else:
            edits = _edits(head, start, end, name, translate, read, write, changes)
            if edits:
                from_ = field.start(1)
                pieces += [head[done:from_], _apply(head, from_, end, edits)]
                done = end
        field = _FIELD.search(head, end)
    if not changes:
        return Rewritten(head, (), tuple(left))
    pieces.append(head[done:])
    return Rewritten(b"".join(pieces), tuple(changes), tuple(left))


def _edits(
    head: bytes,
    start: int,
    end: int,
    name: bytes,
    translate: Translate,
    read: Read,
    write: Write,
    changes: list[Change],
) -> list[_Edit]:
    edits: list[_Edit] = []
    for box in _plain_mailboxes(head, start, end) or _mailboxes(head, start, end):
        try:
            local, domain = box.local.decode(), box.domain.decode()
        except UnicodeDecodeError:
            continue
        address = read(local, domain)
        if address is None:
            continue
        shown = translate(address)
        if shown is None or (shown.address.network == address.network and shown.address.value == address.value):
            continue
        written = write(shown.address)
        if written is None or not SAFE_SPEC.fullmatch(written):
            continue
        octets = written.encode()
        if octets != head[box.start : box.end]:
            edits.append(_Edit(box.start, box.end, octets + box.comments, box.after))
            changes.append(Change(name.decode("ascii"), f"{local}@{domain}", written))
    return edits


def _plain_mailboxes(head: bytes, start: int, end: int) -> list[_Mailbox]:
    """Return the mailboxes of a field that holds nothing but plain ones, else nothing."""
    boxes = []
    at = start
    while True:
        match = _MAILBOX.match(head, at, end)
        if match is None:
            return []
        which = 1 if match[1] is not None else 3
        at = match.end()
        boxes.append(_Mailbox(match.start(which), match.end(which + 1), match[which], match[which + 1], b"", at))
        if not match[5]:
            return boxes


def _mailboxes(head: bytes, start: int, end: int) -> Iterator[_Mailbox]:
    """Yield the mailboxes of any field, as far as its quotes, comments and brackets are closed."""
    element = _Element()
    for kind, token_start, token_end in _tokens(head, start, end):
        text = head[token_start:token_end]
        if kind == b"(":
            if len(element.comments) == _MAX_WORDS:
                return  # nobody writes so
            element.comments.append((token_start, token_end))
        elif kind == b"<" and not element.in_angle:
            element.in_angle = True
            element.name = (element.words[0][0], element.words[-1][1]) if element.words else (0, 0)
            element.words = []
        elif kind == b">" and element.in_angle:
            element.in_angle = False
            element.closed = True
        elif kind == b":":
            element.colon()
        elif kind in (b",", b";") and not element.in_angle:
            found = element.mailbox(head, token_end)
            if found is not None:
                yield found
            element = _Element()
        elif not element.closed and len(element.words) <= _MAX_WORDS:
            element.words.append((token_start, token_end, text))
    found = element.mailbox(head, end)
    if found is not None:
        yield found


def _tokens(head: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, start, end): kind is a special character, `(` for a whole comment, or `w` for a word."""
    at = start
    while at < end:
        token = _TOKEN.match(head, at, end)
        if token is None:
            return
        first = head[at : at + 1]
        after = token.end()
        if first == b"(":
            after = _comment_end(head, at, end)
            if after < 0:
                return
            yield b"(", at, after
        elif first in b" \t\r\n":
            pass
        elif first in b'"[\\' and after == at + 1:
            return  # what is open here has no end: nothing after it can be told apart
        elif first in b"<>:;,@":
            yield first, at, after
        else:
            yield b"w", at, after
        at = after


def _comment_end(head: bytes, start: int, end: int) -> int:
    depth = 0
    for part in _COMMENT_PART.finditer(head, start, end):
        if part[0] == b"(":
            depth += 1
        elif part[0] == b")":
            depth -= 1
            if depth == 0:
                return part.end()
    return -1


class _Element:
    """What stands between two commas: gathers the words of its addr-spec."""

    __slots__ = ("closed", "comments", "in_angle", "name", "route_start", "words")

    def __init__(self) -> None:
        self.name = (0, 0)
        self.words: list[tuple[int, int, bytes]] = []
        self.comments: list[tuple[int, int]] = []
        self.in_angle = False
        self.closed = False
        self.route_start: int | None = None

    def colon(self) -> None:
        """End a group's name, or a source route inside angle brackets, which then goes with the old address."""
        if self.in_angle and self.words and self.words[0][2] == b"@":
            self.route_start = self.words[0][0]
        if not self.closed:
            self.words = []

    def mailbox(self, head: bytes, after: int) -> _Mailbox | None:
        signs = [i for i, word in enumerate(self.words) if word[2] == b"@"]
        if len(signs) != 1 or self.in_angle or len(self.words) > _MAX_WORDS:
            return None
        before, behind = self.words[: signs[0]], self.words[signs[0] + 1 :]
        local, domain = _joined(before), _joined(behind)
        if local is None or domain is None:
            return None
        start = self.route_start if self.route_start is not None else before[0][0]
        end = behind[-1][1]
        inside = [b" " + head[a:b] for a, b in self.comments if start < a and b < end]
        name = self.name
        if not name[1] and self.comments:
            name = self.comments[-1]  # RFC 5322 §3.4, note: where old mail has the name
        return _Mailbox(start, end, local, domain, b"".join(inside), after, name)


def _joined(words: list[tuple[int, int, bytes]]) -> bytes | None:
    """Join words that dots connect; None where there is none, or two stand side by side without a dot."""
    if not words:
        return None
    text = words[0][2]
    for _, _, word in words[1:]:
        if not (text.endswith(b".") or word.startswith(b".")):
            return None
        text += word
    return text


def _apply(head: bytes, start: int, end: int, edits: list[_Edit]) -> bytes:
    """Return a field's octets with the edits made, folded where a line would be too long."""
    parts: list[bytes] = []
    breakable: list[bytes] = []
    at = start
    for edit in edits:
        parts += [head[at : edit.start], edit.octets]
        breakable += [b"".join(parts) + head[edit.end : edit.after]]
        parts = []
        at = edit.after
    breakable.append(head[at:end])
    made = b"".join(breakable)
    if max(map(len, made.split(b"\n"))) <= MAX_LINE:
        return made
    eol = b"\n" if b"\n" in head and b"\r\n" not in head else b"\r\n"
    return _fold(breakable, eol, b"\r" if made.endswith(b"\r") else b"")


def _fold(parts: list[bytes], eol: bytes, tail: bytes) -> bytes:
    """Put parts on lines of at most 998 octets: broken between parts, and where one is too long, at its blanks."""
    lines: list[bytes] = []
    line = b""
    for part in parts:
        if line.rstrip(b" \t\r") and len(line) + len(part.partition(b"\n")[0]) > MAX_LINE and part.strip():
            lines.append(line.rstrip(b" \t"))
            line = b" "
            part = part.lstrip(b" \t")
        *whole, line = (line + part).split(b"\n")
        lines += [text.removesuffix(b"\r") for text in whole]
    lines.append(line.removesuffix(b"\r") if tail else line)
    return eol.join(piece for text in lines for piece in _at_blanks(text)) + tail


def _at_blanks(line: bytes) -> Iterator[bytes]:
    """Yield a line in pieces of at most 998 octets, each but the first beginning with its blank."""
    while len(line) > MAX_LINE:
        least = len(line) - len(line.lstrip(b" \t")) + 1
        cut = max(line.rfind(b" ", least, MAX_LINE + 1), line.rfind(b"\t", least, MAX_LINE + 1))
        if cut < 0:
            break
        yield line[:cut]
        line = line[cut:]
    yield line
