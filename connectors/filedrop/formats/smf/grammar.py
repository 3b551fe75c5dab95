"""The lines of an SMF file: `SMF-70` or `SMF-71`, keywords, an empty line, the text.

Promises: linear in the octets; whatever is read either is Parsed or raises a Mistake; a value that is written stays
on its line, for no control character of it does. Sources: the package's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from connectors.filedrop.formats.header_envelope import Mistake

EOL: Final = b"\r\n"
MAX_FIELDS: Final = 10_000

_MAGIC: Final = re.compile(rb"SMF-7[01]", re.IGNORECASE)
_VERSION: Final = re.compile(rb"SMF-?(\d+)", re.IGNORECASE)
_ENVELOPE_64: Final = 128
_BINARY: Final = re.compile(rb"[\x00-\x08\x0e-\x19\x1b-\x1f]")
_NAME: Final = re.compile(rb"[!-9;-~]+")
_FOLD: Final = re.compile(r"(?<! ) (?! )")
_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class Field:
    """One keyword with its value on one line; `keyword` is as written, `offset` where its line begins."""

    keyword: str
    value: str
    offset: int

    @property
    def name(self) -> str:
        return self.keyword.lower()


@dataclass(frozen=True, slots=True)
class Parsed:
    """A message's fields in order, the header lines that are no fields, and its text with LF line ends."""

    fields: tuple[Field, ...]
    skipped: tuple[str, ...]
    text: str

    def first(self, *names: str) -> Field | None:
        """Return the first field of any of these (lower-case) names that has a value."""
        return next((f for f in self.fields if f.name in names and f.value), None)

    def all(self, *names: str) -> list[Field]:
        return [f for f in self.fields if f.name in names and f.value]


def parse(octets: bytes, charset: str, max_header: int) -> Parsed:
    """Take a message apart. Raises: Mistake, with offsets in `octets`."""
    at = _after_magic(octets)
    found: list[tuple[bytes, list[bytes], int]] = []
    skipped: list[bytes] = []
    count = 0
    while at < len(octets):
        end = octets.find(b"\n", at)
        after = len(octets) if end < 0 else end + 1
        line = octets[at:after].rstrip(b"\r\n\x1a")
        if after > max_header:
            raise Mistake(
                "header-too-long",
                max_header,
                f"the header has more than {max_header} octets",
                "put an empty line between header and text, or raise max_header_bytes",
            )
        count += 1
        if count > MAX_FIELDS:
            raise Mistake("too-many-fields", at, f"more than {MAX_FIELDS} header lines", "write a shorter header")
        if not line.strip():
            at = after
            break
        name, colon, value = line.partition(b":")
        if line[:1] in b" \t":
            if found:
                found[-1][1].append(line.strip())
            else:
                skipped.append(line.strip())
        elif colon and _NAME.fullmatch(name.rstrip()):
            found.append((name.rstrip(), [value.strip()], at))
        else:
            skipped.append(line)
        at = after
    fields = tuple(
        Field(name.decode("ascii"), _decoded(b" ".join(filter(None, values)), charset, offset), offset)
        for name, values, offset in found
    )
    text = _decoded(octets[at:].rstrip(b"\x1a"), charset, at).replace("\r\n", "\n").replace("\r", "\n")
    return Parsed(fields, tuple(line.decode(charset, "replace") for line in skipped), text)


def _after_magic(octets: bytes) -> int:
    """Return where the second line begins. Raises: Mistake."""
    end = octets.find(b"\n")
    after = len(octets) if end < 0 else end + 1
    first = octets[:after].strip()
    if _MAGIC.fullmatch(first):
        return after
    if not octets.strip(b" \t\r\n\x1a"):
        raise Mistake("empty", 0, "the file is empty", "write a message into it")
    version = _VERSION.match(first)
    if _BINARY.search(octets[:_ENVELOPE_64]) or (version is not None and version[1] == b"64"):
        raise Mistake(
            "v64",
            0,
            "this is not text; an SMF-64 file begins with 128 binary octets",
            "have the other system write SMF-70 or SMF-71, which MHS 1.5 and later do",
            first[:_SHOWN],
        )
    raise Mistake(
        "magic", 0, "the first line is not SMF-70 or SMF-71", "begin the file with the line SMF-70", first[:_SHOWN]
    )


def _decoded(octets: bytes, charset: str, offset: int) -> str:
    try:
        return octets.decode(charset)
    except UnicodeDecodeError as e:
        at = e.start
        raise Mistake(
            "charset",
            offset + at,
            f"the octet {octets[at]:#04x} is no character of {charset}",
            "set `charset` to the code page of the files",
            octets[at : at + 1],
        ) from None


def clean(value: str) -> str:
    """Return a value as it may stand on a line: without control characters, blanks for them."""
    return "".join(c if c.isprintable() else " " for c in value).strip()


def line(keyword: str, value: str, limit: int | None) -> list[str]:
    """Return a field as lines; over the limit it goes on in lines that begin with a blank, where it has blanks."""
    whole = f"{keyword}: {clean(value)}"
    if limit is None or len(whole) <= limit:
        return [whole]
    first, *words = _FOLD.split(clean(value))
    lines = [f"{keyword}: {first}"]
    for word in words:
        if len(lines[-1]) + 1 + len(word) <= limit:
            lines[-1] += f" {word}"
        else:
            lines.append(f" {word}")
    return lines


def list_lines(keyword: str, entries: list[str], limit: int) -> list[str]:
    """Return a list as lines of the limit, the keyword on each."""
    lines: list[str] = []
    for entry in entries:
        if lines and len(lines[-1]) + 2 + len(entry) <= limit:
            lines[-1] += f", {entry}"
        else:
            lines.append(f"{keyword}: {entry}")
    return lines
