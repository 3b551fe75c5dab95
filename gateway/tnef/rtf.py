"""RTF as Outlook packs it into messages: unpacked, packed, and brought to the HTML or the text that is in it. Pure.

Promises: any octets are taken; what is unpacked is bounded; time is linear. Formatting is not kept: the RTF itself is
for that.
Sources: MS-OXRTFCP (packing), MS-OXRTFEX (HTML and text inside RTF), the RTF Specification 1.9.1 (control words).
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Final

from gateway.charsets import decoded

MAX_RTF: Final = 16 * 1024 * 1024
_MAX_DEPTH: Final = 1000

_START: Final = (
    rb"{\rtf1\ansi\mac\deff0\deftab720{\fonttbl;}{\f0\fnil \froman \fswiss \fmodern \fscript \fdecor MS Sans Serif"
    rb"SymbolArialTimes New RomanCourier{\colortbl\red0\green0\blue0" + b"\r\n" + rb"\par "
    rb"\pard\plain\f0\fs20\b\i\u\tab\tx"
)
_TOKEN: Final = re.compile(
    rb"\\([A-Za-z]{1,32})(-?[0-9]{1,9})? ?|\\'([0-9A-Fa-f]{2})|\\([^A-Za-z])|([{}])|[\r\n]+|([^\\{}\r\n]+)", re.DOTALL
)
_FROM: Final = re.compile(rb"\\from(html1|text)(?![A-Za-z0-9])")
_FROM_WITHIN: Final = 512
"""Octets in which it stands where the RTF was made of HTML or text: among the first ten tokens (MS-OXRTFEX §2.1.3.1)"""
_HIDDEN: Final = frozenset(
    b"colortbl stylesheet info pict object header footer headerl headerr headerf footerl footerr footerf footnote "
    b"fldinst listtable listoverridetable revtbl rsidtbl generator themedata colorschememapping datastore xmlnstbl "
    b"latentstyles filetbl".split()
)
_SIGNS: Final = {
    b"par": "\n", b"line": "\n", b"sect": "\n", b"page": "\n", b"row": "\n", b"cell": "\t", b"tab": "\t",
    b"lquote": "‘", b"rquote": "’", b"ldblquote": "“", b"rdblquote": "”", b"bullet": "•",
    b"endash": "–", b"emdash": "—", b"enspace": "\u2002", b"emspace": "\u2003",
}  # fmt: skip
_SYMBOLS: Final = {b"~": "\u00a0", b"_": "\u2011", b"\n": "\n", b"\r": "\n", b"{": "{", b"}": "}", b"\\": "\\"}
_CHARSETS: Final = {
    0: 1252, 77: 10000, 128: 932, 129: 949, 130: 1361, 134: 936, 136: 950, 161: 1253, 162: 1254, 163: 1258,
    177: 1255, 178: 1256, 186: 1257, 204: 1251, 222: 874, 238: 1250, 255: 437,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Body:
    """What RTF says. `html` only where it was made of HTML; `text` is empty then. `native`: it was written as RTF."""

    text: str = ""
    html: str = ""
    native: bool = False


@dataclass(slots=True)
class _Group:
    hidden: bool = False
    fonts: bool = False
    tag: bool = False
    """Inside a piece of the HTML itself."""
    not_html: bool = False
    """Inside what stands for a reader of RTF alone."""
    charset: str = "cp1252"
    unicode_skip: int = 1


def unpacked_rtf(octets: bytes) -> bytes:
    """Return RTF that was packed, as far as it can be read; b"" where it is none (MS-OXRTFCP §2.2)."""
    if len(octets) < 16:
        return b""
    size, kind = int.from_bytes(octets[4:8], "little"), octets[8:12]
    size = min(size, MAX_RTF)
    if kind == b"MELA":  # not packed at all
        return octets[16 : 16 + size]
    if kind != b"LZFu":
        return b""
    window = bytearray(_START.ljust(4096, b"\0"))
    write = len(_START)
    made = bytearray()
    at = 16
    while at < len(octets) and len(made) < size:
        control = octets[at]
        at += 1
        for bit in range(8):
            if control >> bit & 1:
                if at + 2 > len(octets):
                    return bytes(made)
                reference = octets[at] << 8 | octets[at + 1]
                at += 2
                read, length = reference >> 4, (reference & 15) + 2
                if read == write:
                    return bytes(made[:size])
                for _ in range(length):
                    octet = window[read]
                    read = (read + 1) & 4095
                    made.append(octet)
                    window[write] = octet
                    write = (write + 1) & 4095
            else:
                if at >= len(octets):
                    return bytes(made)
                made.append(octets[at])
                window[write] = octets[at]
                write = (write + 1) & 4095
                at += 1
    return bytes(made[:size])


def packed_rtf(rtf: bytes) -> bytes:
    """Return RTF in the form that is not compressed (MS-OXRTFCP §2.1.3.1.2), which every reader takes."""
    return (len(rtf) + 12).to_bytes(4, "little") + len(rtf).to_bytes(4, "little") + b"MELA\0\0\0\0" + rtf


def body_of(rtf: bytes) -> Body:
    """Return what RTF says: the HTML it was made of, or its text."""
    if not rtf.lstrip().startswith(b"{\\rtf"):
        return Body()
    rtf = rtf.rstrip(b"\0")
    source = _FROM.search(rtf, 0, _FROM_WITHIN)
    if source is not None and source[1] == b"html1":
        return Body(html=_Reader(of_html=True).read(rtf))
    return Body(text=_Reader(of_html=False).read(rtf), native=source is None)


class _Reader:
    """One pass over RTF."""

    def __init__(self, *, of_html: bool) -> None:
        self._of_html = of_html
        self._made: list[str] = []
        self._run = bytearray()
        self._run_charset = ""
        self._fonts: dict[int, str] = {}
        self._font = 0
        self._default = "cp1252"
        self._skip = 0
        self._high = 0

    def read(self, rtf: bytes) -> str:
        groups = [_Group()]
        too_deep = 0
        starred = False
        at = 0
        while (match := _TOKEN.search(rtf, at)) is not None:
            at = match.end()
            word, parameter, escaped, symbol, brace, text = match.groups()
            group = groups[-1]
            if brace == b"{":
                if len(groups) < _MAX_DEPTH:
                    groups.append(
                        _Group(group.hidden, group.fonts, group.tag, group.not_html, group.charset, group.unicode_skip)
                    )
                else:
                    too_deep += 1
                self._skip = 0
            elif brace:
                if too_deep:
                    too_deep -= 1
                elif len(groups) > 1:
                    groups.pop()
                self._skip = 0
            elif word is not None:
                number = int(parameter) if parameter is not None else None
                if starred:
                    starred = False
                    if word == b"htmltag" and self._of_html:
                        group.tag, group.not_html = True, False
                        continue
                    group.hidden = True
                if word == b"bin" and number is not None and number > 0:
                    at += number
                else:
                    self._word(group, word, number)
            elif symbol == b"*":
                starred = True
            elif escaped is not None:
                self._octets(group, bytes.fromhex(escaped.decode("ascii")))
            elif symbol is not None:
                if symbol in _SYMBOLS:
                    self._text(group, _SYMBOLS[symbol])
            elif text is not None:
                self._octets(group, text)
        self._flush()
        return "".join(self._made)

    def _word(self, group: _Group, word: bytes, number: int | None) -> None:
        if word in _HIDDEN:
            group.hidden = True
        elif word == b"fonttbl":
            group.fonts = True
        elif word == b"htmlrtf":
            group.not_html = number != 0
        elif word == b"ansicpg" and number:
            self._default = group.charset = f"cp{number}"
        elif word == b"f" and number is not None:
            self._font = number
            if not group.fonts:
                group.charset = self._fonts.get(number, self._default)
        elif word == b"fcharset" and number is not None and group.fonts:
            if number in _CHARSETS and number != 0:
                self._fonts[self._font] = f"cp{_CHARSETS[number]}" if number != 77 else "mac_roman"
        elif word == b"uc" and number is not None:
            group.unicode_skip = max(0, min(number, 16))
        elif word == b"u" and number is not None:
            self._unicode(group, number & 0xFFFF)
        elif word in _SIGNS:
            self._text(group, _SIGNS[word])

    def _unicode(self, group: _Group, unit: int) -> None:
        if 0xD800 <= unit < 0xDC00:
            self._high = unit
        elif 0xDC00 <= unit < 0xE000:
            if self._high:
                self._text(group, chr(0x10000 + ((self._high & 0x3FF) << 10) + (unit & 0x3FF)))
            self._high = 0
        elif unit:
            self._text(group, chr(unit))
        self._skip = group.unicode_skip  # what stands for it where nobody reads Unicode

    def _octets(self, group: _Group, octets: bytes) -> None:
        if self._skip:
            octets, self._skip = octets[self._skip :], max(0, self._skip - len(octets))
        if not octets or not self._shown(group):
            return
        if self._of_html and not group.tag:
            octets = octets.replace(b"&", b"&amp;").replace(b"<", b"&lt;").replace(b">", b"&gt;")
        if group.charset != self._run_charset:
            self._flush()
            self._run_charset = group.charset
        self._run += octets

    def _text(self, group: _Group, text: str) -> None:
        self._skip = 0
        if not self._shown(group):
            return
        self._flush()
        self._made.append(html.escape(text, quote=False) if self._of_html and not group.tag else text)

    def _shown(self, group: _Group) -> bool:
        return not (group.hidden or group.fonts or (self._of_html and group.not_html))

    def _flush(self) -> None:
        if self._run:
            self._made.append(decoded(bytes(self._run), self._run_charset))
            self._run.clear()
