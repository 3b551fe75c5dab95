"""Small codecs on octets that reports and adaptation share: folding, quoted-printable, base64, encoded words.

Promises: every line that comes out is bounded; any octets are taken. Sources: RFC 2045 §6.7, §6.8, RFC 2047, RFC 5322
§2.1.1, §2.2.3.
"""

from __future__ import annotations

import binascii
import re
from typing import Final

from gateway.charsets import decoded, guessed

LINE: Final = 78
MAX_LINE: Final = 998  # RFC 5322 §2.1.1

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\x80-\x9f\u2028\u2029]+")
_WORD: Final = re.compile(rb"=\?([!-+.-<>@-~-]{1,40})(?:\*[^?]{0,20})?\?([BbQq])\?([ -~]{0,300}?)\?=")


def no_controls(text: str) -> str:
    """Return text with each run of control characters made one blank, so that it can't leave its line."""
    return _CONTROL.sub(" ", text).strip()


def has_longer_line(octets: bytes, most: int) -> bool:
    """Say whether a line is over `most` octets without its line end. Steps from line to line, not through them."""
    at = 0
    size = len(octets)
    reach = most + 2  # with its CRLF
    while size - at > most:
        newline = octets.rfind(b"\n", at, at + reach)
        if newline < 0:
            # What is left may be a last line of just `most` and no line end.
            return size - at > most + (octets[at + most : at + most + 1] == b"\r" and size - at == most + 1)
        if newline - at == most + 1 and octets[newline - 1] != 0x0D and octets.find(b"\n", at, newline) < 0:
            return True
        at = newline + 1
    return False


def fold(line: bytes, width: int = LINE) -> bytes:
    """Fold a header line at its blanks to about `width`, and where it has none at `MAX_LINE`, by force."""
    out: list[bytes] = []
    for piece in line.split(b"\r\n"):
        while len(piece) > width:
            least = len(piece) - len(piece.lstrip(b" \t")) + 1
            cut = piece.rfind(b" ", least, width + 1)
            if cut < 0:
                cut = piece.find(b" ", width)
            if cut < 0 or cut > MAX_LINE:
                if len(piece) <= MAX_LINE:
                    break
                out.append(piece[: MAX_LINE - 1])
                piece = b" " + piece[MAX_LINE - 1 :]
                continue
            if not piece[cut:].strip():
                break
            out.append(piece[:cut])
            piece = piece[cut:]
        out.append(piece)
    return b"\r\n".join(out)


def encode_quoted_printable(octets: bytes) -> bytes:
    """Encode text: its line ends stay line ends, as CRLF (RFC 2045 §6.7). Lines of at most 76 octets."""
    encoded = binascii.b2a_qp(octets.replace(b"\r\n", b"\n"), istext=True, quotetabs=False)
    return encoded.replace(b"\n", b"\r\n")


def encode_base64(octets: bytes) -> bytes:
    """Encode in lines of 76 (RFC 2045 §6.8), the last one with its line end too."""
    return b"".join(binascii.b2a_base64(octets[i : i + 57])[:-1] + b"\r\n" for i in range(0, len(octets), 57))


def encoded_words(value: bytes) -> str:
    """Return a header value with its encoded words decoded (RFC 2047); what can't be is shown as it stands.

    Adjacent words of one charset are decoded together, since some senders part a character between two of them. Raw
    8-bit octets are read as UTF-8 where they are, else as Windows-1252.
    """
    pieces: list[str] = []
    run = b""  # the octets of the words before, of one charset
    charset = ""
    at = 0
    for match in _WORD.finditer(value):
        octets = _word(match[2], match[3])
        if octets is None:
            continue
        between = value[at : match.start()]
        name = match[1].decode("ascii").lower()
        if not charset or name != charset or between.strip(b" \t\r\n"):
            if charset:
                pieces.append(decoded(run, charset))
            if not charset or between.strip(b" \t\r\n"):  # RFC 2047 §6.2: blanks between two words are not shown
                pieces.append(guessed(between))
            run, charset = b"", name
        run += octets
        at = match.end()
    if charset:
        pieces.append(decoded(run, charset))
    pieces.append(guessed(value[at:]))
    return "".join(pieces)


def _word(kind: bytes, text: bytes) -> bytes | None:
    """Return the octets of an encoded word's text, None where it is not encoded so."""
    try:
        if kind in b"bB":
            return binascii.a2b_base64(text + b"=" * (-len(text) % 4))
        return binascii.a2b_qp(text.replace(b"_", b" "), header=False)
    except (binascii.Error, ValueError):
        return None


def encode_words(text: bytes) -> bytes:
    """Return octets as encoded words (RFC 2047 §2), one blank between them; as UTF-8 where they are."""
    try:
        decoded = text.decode()
        charset = b"utf-8"
    except UnicodeDecodeError:
        # RFC 1428 §3: what is known of it is only that it is not ASCII
        decoded = text.decode("latin-1")
        charset = b"unknown-8bit"
    codec = "utf-8" if charset == b"utf-8" else "latin-1"
    words: list[bytes] = []
    piece = b""
    for character in decoded:
        octets = character.encode(codec)
        if len(piece) + len(octets) > 42:  # 42 octets are 56 of base64: the word stays under 75
            words.append(piece)
            piece = b""
        piece += octets
    if piece or not words:
        words.append(piece)
    return b" ".join(b"=?" + charset + b"?b?" + binascii.b2a_base64(w, newline=False) + b"?=" for w in words)
