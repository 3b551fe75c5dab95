"""Charsets of mail: octets to text, whatever they are declared to be and whatever they are. Pure.

Promises: any octets under any name come to text that UTF-8 can write, in time linear in their number; what a charset
does not know is read octet by octet as Windows-1252, so that nothing is lost that a person could still read.
Source: RFC 2978 (names); the names that mail programs use beside the registered ones.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

_NAME: Final = re.compile(r"[A-Za-z0-9._:+-]{1,40}")
_ALIASES: Final = {
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "sjis": "cp932",
    "x-sjis": "cp932",
    "ms_kanji": "cp932",
    "windows-31j": "cp932",
    "gb2312": "gb18030",
    "gb_2312-80": "gb18030",
    "gbk": "gb18030",
    "x-gbk": "gb18030",
    "euc-kr": "cp949",
    "ks_c_5601-1987": "cp949",
    "ks_c_5601": "cp949",
    "windows-949": "cp949",
    "windows-874": "cp874",
    "x-windows-874": "cp874",
    "iso-8859-1": "cp1252",  # its C1 controls are never meant
    "latin1": "cp1252",
    "latin-1": "cp1252",
    "iso-8859-9": "cp1254",
    "iso-8859-8-i": "iso-8859-8",
    "iso-8859-8-e": "iso-8859-8",
    "iso-8859-6-i": "iso-8859-6",
    "macintosh": "mac_roman",
    "x-mac-roman": "mac_roman",
    "x-mac-cyrillic": "mac_cyrillic",
    "big5": "big5hkscs",
    "x-utf-8": "utf-8",
    "unicode-1-1-utf-7": "utf-7",
    "ibm-1047": "cp1047",
    "unicode-1-1-utf-8": "utf-8",
}
_UNKNOWN: Final = frozenset({"", "us-ascii", "ascii", "unknown-8bit", "x-unknown", "unknown", "8bit"})
# Codecs of text that are no charsets; some of them take more than linear time.
_NOT_CHARSETS: Final = frozenset(
    {"unicode-escape", "raw-unicode-escape", "idna", "punycode", "undefined", "mbcs", "oem"}
)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_UNFIT: Final = "gatepost.windows-1252"


def _as_windows(error: UnicodeError) -> tuple[str, int]:
    """Read what a codec does not know as Windows-1252, and its five empty places as Latin-1."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return _windows(error.object[error.start : error.end]), error.end


def _windows(octets: bytes) -> str:
    try:
        return octets.decode("cp1252")
    except UnicodeDecodeError:
        return "".join(_WINDOWS[octet] for octet in octets)


_WINDOWS: Final = [bytes((i,)).decode("cp1252", "replace").replace("\ufffd", chr(i)) for i in range(256)]
codecs.register_error(_UNFIT, _as_windows)


def decoded(octets: bytes, charset: str) -> str:
    """Return octets as text, by the charset they are declared to be in; by what they look like where it is unknown."""
    name = charset.strip().lower()
    name = _ALIASES.get(name, name)
    if name in _UNKNOWN or not _NAME.fullmatch(name):
        return guessed(octets)
    try:
        if codecs.lookup(name).name in _NOT_CHARSETS:
            return guessed(octets)
        text = octets.decode(name, _UNFIT)
    except (LookupError, ValueError):
        return guessed(octets)
    if not octets.isascii() or name not in ("utf-8", "cp1252"):
        text = _SURROGATE.sub("\ufffd", text)
    return text


def guessed(octets: bytes) -> str:
    """Return octets of no known charset as text: UTF-8 where they are, else Windows-1252."""
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return _windows(octets)
