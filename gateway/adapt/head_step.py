"""Step: a header block made 7-bit (RFC 2047, RFC 2231) and its lines no longer than 998 octets (RFC 5322 §2.1.1).

Promises: only the fields that need it change; the same object comes back where none does. Where a value has no 7-bit
form that means the same (8-bit octets in a Message-ID), each such octet becomes `?`, and the note says so. A CR alone
or a NUL never becomes the end of a line there, or of the header, nor the beginning of another field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote_from_bytes

from gateway.fidelity import Fate, Note
from gateway.octets import MAX_LINE, encode_words, fold
from mappings.fields import Field, scan

ADDRESS_FIELDS: Final = frozenset(
    b"from sender reply-to to cc bcc resent-from resent-sender resent-reply-to resent-to resent-cc resent-bcc "
    b"return-path disposition-notification-to errors-to mail-followup-to".split()
)
_PARAMETER_FIELDS: Final = frozenset((b"content-type", b"content-disposition"))
_STRUCTURED: Final = frozenset(
    b"received message-id in-reply-to references date resent-date resent-message-id mime-version content-id "
    b"content-transfer-encoding dkim-signature arc-seal arc-message-signature arc-authentication-results "
    b"authentication-results list-id list-post list-unsubscribe".split()
)

_LINE_END: Final = re.compile(rb"\r?\n")
_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|<[^<>]*>|\([^()]*\)|[ \t\r\n]+|[^\s"<>(),:;]+|.', re.DOTALL)
_QUOTED: Final = re.compile(rb"\\(.)", re.DOTALL)
_PARAMETER: Final = re.compile(rb'(;[ \t\r\n]*)([!-~]+?)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))', re.DOTALL)
_UNFIT: Final = bytes(ord("?") if i > 127 else i for i in range(256))
_BARE_CR: Final = re.compile(rb"\r(?!\n)")
_LINE: Final = re.compile(rb"[^\n]*\n|[^\n]+")


def fit_head(head: bytes, *, seven_bit: bool) -> tuple[bytes, list[Note]]:
    """Return the header block (whole lines, no empty line) made fit, and notes."""
    pieces: list[bytes] = []
    notes: list[Note] = []
    for field in scan(head):
        octets = head[field.start : field.end]
        fitted = octets
        if seven_bit and not octets.isascii():
            fitted, note = _seven_bit(head, field)
            notes.append(note)
        if len(fitted) > MAX_LINE and any(len(line) > MAX_LINE for line in _LINE_END.split(fitted)):
            fitted = _refold(fitted)
            notes.append(Note(Fate.MAPPED, f"{_name(field)}: line folded", "it was over 998 octets"))
        pieces.append(fitted)
    if not notes:
        return head, notes
    return b"".join(pieces), notes


def close_head(head: bytes, *, newlines: bool, nul: bool) -> tuple[bytes, list[Note]]:
    """Return the header block so that it means the same when its bare CRs (`newlines`) and NULs (`nul`) are gone.

    Made line ends, or taken out, they would end the header early or make a field of what is none (`Bc<NUL>c:`).
    Blanks stand for them; a line that would be left empty goes, and so does one that is no field.
    """
    if not ((nul and b"\0" in head) or (newlines and _BARE_CR.search(head))):
        return head, []
    kept: list[bytes] = []
    dropped = False
    for field in scan(head):
        octets = head[field.start : field.end]
        if not ((nul and b"\0" in octets) or (newlines and _BARE_CR.search(octets))):
            kept.append(octets)
        elif field.name:
            kept += _closed(octets, newlines=newlines, nul=nul)
        else:
            dropped = True
    notes = [Note(Fate.MAPPED, "bare CR or NUL in the header", "made blanks, or they would end a line there")]
    if dropped:
        notes.append(Note(Fate.DROPPED, "a line of the header without a name", "it held a bare CR or NUL"))
    return b"".join(kept), notes


def _closed(octets: bytes, *, newlines: bool, nul: bool) -> Iterator[bytes]:
    """Yield the lines of a field with blanks for what must not be there, and none that is blank by that."""
    for line in _LINE.findall(octets):
        text = line.removesuffix(b"\n")
        text = text.removesuffix(b"\r") if text != line else text
        end = line[len(text) :]
        made = _BARE_CR.sub(b" ", text + end)[: len(text)] if newlines else text
        made = made.replace(b"\0", b" ") if nul else made
        if made == text or made.strip(b" \t"):
            yield made + end


def _name(field: Field) -> str:
    return field.name.decode("latin-1").title() or "a line without a name"


def _refold(octets: bytes) -> bytes:
    body = octets.rstrip(b"\r\n")
    end = octets[len(body) :]
    newline = b"\n" if end == b"\n" else b"\r\n"
    lines = [fold(line, 900) if len(line) > MAX_LINE else line for line in _LINE_END.split(body)]
    return newline.join(lines).replace(b"\r\n", newline) + end


def _seven_bit(head: bytes, field: Field) -> tuple[bytes, Note]:
    name = _name(field)
    before = head[field.start : field.value_start]
    value = head[field.value_start : field.end]
    body = value.rstrip(b"\r\n")
    end = value[len(body) :]
    why = "the destination takes 7-bit headers"
    if field.name in ADDRESS_FIELDS:
        made = _encode_phrases(body)
    elif field.name in _PARAMETER_FIELDS:
        made = _encode_parameters(body)
    elif field.name in _STRUCTURED or not field.name:
        made = body
    else:
        made = _encode_runs(body)
    if not before.isascii() or not made.isascii():
        note = Note(Fate.DROPPED, f"{name}: 8-bit octets", why + "; they have no 7-bit form there")
        return before.translate(_UNFIT) + made.translate(_UNFIT) + end, note
    line = before + made
    if any(len(piece) > MAX_LINE for piece in _LINE_END.split(line)):
        line = fold(line)
    return line + end, Note(Fate.MAPPED, f"{name}: encoded", why)


def _encode_runs(value: bytes) -> bytes:
    """Encode each run of words that holds 8-bit octets; the blanks inside a run become part of it."""
    pieces: list[bytes] = []
    run: list[bytes] = []
    for piece in re.split(rb"([ \t\r\n]+)", value):
        blank = not piece.strip()
        if run if blank else not piece.isascii():
            run.append(piece)
        else:
            pieces += _encoded_run(run)
            run = []
            pieces.append(piece)
    pieces += _encoded_run(run)
    return b"".join(pieces)


def _encoded_run(run: list[bytes]) -> list[bytes]:
    if not run:
        return []
    after = run.pop() if not run[-1].strip() else b""
    text = b"".join(run)
    return [encode_words(re.sub(rb"\r?\n(?=[ \t])", b"", text)), after]


def _encode_phrases(value: bytes) -> bytes:
    """Encode display names and comments; addr-specs are left (`downgrade_addresses` is for them)."""
    pieces: list[bytes] = []
    after_word = False
    for token in _TOKEN.findall(value):
        is_blank = not token.strip()
        if token.isascii() or token.startswith(b"<") or b"@" in token:
            pieces.append(token)
        elif token.startswith(b'"'):
            pieces.append(encode_words(_QUOTED.sub(rb"\1", token[1:-1])))
        elif token.startswith(b"("):
            pieces.append(b"(" + encode_words(token[1:-1]) + b")")
        else:
            if after_word:
                # RFC 2047 §6.2: the blank between two encoded words is not shown, so it goes into the second one.
                blank = pieces.pop() if pieces and not pieces[-1].strip() else b" "
                pieces += [blank, encode_words(b" " + token)]
            else:
                pieces.append(encode_words(token))
            after_word = True
            continue
        after_word = after_word and is_blank
    return b"".join(pieces)


def _encode_parameters(value: bytes) -> bytes:
    """Write parameters that hold 8-bit octets in the form of RFC 2231 §4."""

    def encoded(match: re.Match[bytes]) -> bytes:
        text = match[4] if match[4] is not None else _QUOTED.sub(rb"\1", match[3])
        if text.isascii():
            return match[0]
        try:
            text.decode()
            charset = b"utf-8"
        except UnicodeDecodeError:
            charset = b"unknown-8bit"
        return match[1] + match[2] + b"*=" + charset + b"''" + quote_from_bytes(text, safe="").encode()

    return _PARAMETER.sub(encoded, value)


def with_field(head: bytes, name: bytes, value: bytes) -> bytes:
    """Return the block with this field's value set: in its place where there is one, else at the end."""
    newline = b"\n" if b"\n" in head and b"\r\n" not in head else b"\r\n"
    line = name + b": " + value + newline
    for field in scan(head):
        if field.name == name.lower():
            return head[: field.start] + line + head[field.end :]
    if head and not head.endswith(b"\n"):
        head += newline
    return head + line
