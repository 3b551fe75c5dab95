"""Step: body parts encoded, for destinations that take 7-bit or bounded lines alone.

Promises: a part that needs nothing keeps its octets; a part that needs it is encoded by itself (quoted-printable for
text that is mostly plain, else base64), inside multiparts and enclosed messages, which can't be encoded as a whole
(RFC 2045 §6.4, RFC 2046 §5.2.1). What can't be helped is kept and noted. A content that is not in memory is read in
chunks, and its encoded parts are made when they are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from gateway.adapt.head_step import close_head, fit_head, with_field
from gateway.blobs import Filtered, Slice, Spliced, readable, rewrap_base64, to_base64
from gateway.contract import Capabilities
from gateway.fidelity import Fate, Note
from gateway.message import Blob, Content, Traits
from gateway.mime import MAX_HEAD, InMemory, Octets, Part, parse
from gateway.octets import MAX_LINE, encode_base64, encode_quoted_printable, has_longer_line

_PLAIN: Final = ("7bit", "8bit", "binary", "")
_CHUNK: Final = 256 * 1024
_GAP: Final = 64 * 1024
_UNFIT: Final = bytes(ord("?") if i > 127 else i for i in range(256))

Edit = tuple[int, int, bytes | Blob]


def fit_body(content: Content, traits: Traits, capabilities: Capabilities) -> tuple[Content, list[Note]]:
    """Return the content with its parts fitted, and notes. Blocks on a Blob.

    A part is encoded for its 8-bit octets, its long lines, its NULs, or, where it is declared binary, its bare line
    ends; bare line ends of text are left to `mend_octets`, since they are line ends.
    """
    source = readable(content)
    seven_bit = traits.eight_bit and not capabilities.eight_bit
    step = _Step(
        source,
        seven_bit,
        capabilities.max_line_octets,
        no_nul=traits.nul and not capabilities.nul,
        no_bare=not (traits.crlf_only or capabilities.bare_newlines),
    )
    root = parse(source)
    step.entity(root, top=True)
    if not step.edits:
        return content, step.notes
    pieces = list(_spliced(source, step.edits))
    if content.is_inline:
        made: bytes | Blob = b"".join(p for p in pieces if isinstance(p, bytes))
    else:
        made = Spliced(pieces)
    return Content(made, attributes=content.attributes), step.notes


def _spliced(source: Octets, edits: list[Edit]) -> Iterator[bytes | Blob]:
    at = 0
    for start, end, made in sorted(edits, key=lambda e: (e[0], e[1])):
        if start > at:
            yield _piece(source, at, start)
        yield made
        at = end
    if at < source.size:
        yield _piece(source, at, source.size)


def _piece(source: Octets, start: int, end: int) -> bytes | Blob:
    if isinstance(source, InMemory):
        return source.octets[start:end]
    return Slice(source, start, end)


class _Step:
    """One walk through a message; gathers edits and notes."""

    def __init__(self, source: Octets, seven_bit: bool, max_line: int | None, *, no_nul: bool, no_bare: bool) -> None:
        self.source = source
        self.seven_bit = seven_bit
        self.max_line = max_line
        self.no_nul = no_nul
        self.no_bare = no_bare
        self.edits: list[Edit] = []
        self.notes: list[Note] = []

    def entity(self, part: Part, *, top: bool = False) -> bool:
        """Fit one part and all inside it; return whether anything changed."""
        changed = False
        for i, child in enumerate(part.children):
            child_changed = self.entity(child)
            if child_changed and part.type == "multipart/signed" and i == 0:
                self.notes.append(_broken(part))
            changed = changed or child_changed
        head = part.head
        notes: list[Note] = []
        if not top and (len(head) < MAX_HEAD):
            head, notes = fit_head(head, seven_bit=self.seven_bit)
            head, more = close_head(head, newlines=self.no_bare, nul=self.no_nul)
            notes += more
        if part.is_leaf:
            head = self._leaf(part, head)
        else:
            self._gaps(part)
            if changed and part.encoding in ("8bit", "binary") and self.seven_bit:
                head = with_field(head, b"Content-Transfer-Encoding", b"7bit")
        if head is not part.head:
            self.notes += notes
            self.edits.append((part.start, part.start + len(part.head), head))
            changed = True
        return changed

    def _leaf(self, part: Part, head: bytes) -> bytes:
        """Encode a part's body where it needs it; return its header, which says how."""
        eight, long, nul, bare = self._look(part.body, part.end)
        bare = bare and part.encoding == "binary"
        if not (eight or long or nul or bare):
            return head
        what = f"body part {part.type}"
        if eight:
            why = "the destination takes 7-bit content"
        elif long:
            why = f"a line is over {self.max_line} octets"
        else:
            why = "the destination can't carry NUL" if nul else "the destination takes lines that end in CRLF alone"
        if part.encoding in _PLAIN:
            made, encoding = self._encoded(part)
            self.edits.append((part.body, part.end, made))
            self.notes.append(Note(Fate.MAPPED, f"{what}: {encoding.decode()}", why))
            if part.get(b"content-type") is None:
                head = with_field(head, b"Content-Type", self._guessed_type(part, eight))
                if part.start == 0 and part.get(b"mime-version") is None:
                    head = with_field(head, b"MIME-Version", b"1.0")
            return self._head_end(part, with_field(head, b"Content-Transfer-Encoding", encoding))
        if part.encoding == "base64":
            wrapped: bytes | Blob
            if isinstance(self.source, InMemory):
                wrapped, _ = rewrap_base64(self.source.octets[part.body : part.end], 0, True)
            else:
                wrapped = Filtered(self.source, part.body, part.end, rewrap_base64)
            self.edits.append((part.body, part.end, wrapped))
            self.notes.append(Note(Fate.MAPPED, f"{what}: base64 on lines of 76", why))
        elif part.encoding == "quoted-printable" and isinstance(self.source, InMemory):
            self.edits.append((part.body, part.end, _soft_broken(self.source.octets[part.body : part.end])))
            self.notes.append(Note(Fate.MAPPED, f"{what}: soft line breaks", why))
        else:
            self.notes.append(Note(Fate.KEPT, f"{what} in {part.encoding}", f"{why}, but it can't be encoded anew"))
        return head

    def _head_end(self, part: Part, head: bytes) -> bytes:
        """Make sure that an empty line follows a header which had none (a part that was all body, or all header)."""
        if part.body > part.start + len(part.head):
            return head
        return head + (b"\n" if head.endswith(b"\n") and b"\r\n" not in head else b"\r\n")

    def _encoded(self, part: Part) -> tuple[bytes | Blob, bytes]:
        if not isinstance(self.source, InMemory):
            return Filtered(self.source, part.body, part.end, to_base64), b"base64"
        body = self.source.octets[part.body : part.end]
        # Readable text stays readable in the raw message; what is mostly 8-bit is shorter in base64.
        unplain = len(body) - len(body.translate(None, bytes(range(128, 256)) + b"\0"))
        if part.type.startswith("text/") and unplain * 4 <= len(body) and b"\0" not in body:
            return encode_quoted_printable(body), b"quoted-printable"
        return encode_base64(body).removesuffix(b"\r\n"), b"base64"

    def _guessed_type(self, part: Part, eight: bool) -> bytes:
        if not eight:
            return b"text/plain; charset=us-ascii"
        try:
            self.source.read(part.body, min(part.end - part.body, _CHUNK)).decode()
        except UnicodeDecodeError as e:
            if e.start < _CHUNK - 4:
                return b"text/plain; charset=unknown-8bit"  # RFC 1428 §3
        return b"text/plain; charset=utf-8"

    def _look(self, start: int, end: int) -> tuple[bool, bool, bool, bool]:
        """Say whether a range holds what must not be: 8-bit octets, a line too long, NUL, bare line ends."""
        most = self.max_line
        eight = long = nul = bare = False
        held = b""
        for at in range(start, end, _CHUNK):
            octets = self.source.read(at, min(_CHUNK, end - at))
            eight = eight or (self.seven_bit and not octets.isascii())
            nul = nul or (self.no_nul and b"\0" in octets)
            # A CRLF cut in two by the chunks looks bare; a binary part is then encoded without need, no harm done.
            bare = bare or (self.no_bare and not octets.count(b"\r\n") == octets.count(b"\n") == octets.count(b"\r"))
            if most is None or long:
                continue
            octets = held + octets
            cut = octets.rfind(b"\n") + 1
            held = octets[cut:]
            long = len(held) > most + 1 or has_longer_line(octets[:cut], most)
        if most is not None and not long:
            long = has_longer_line(held, most)
        return eight, long, nul, bare

    def _gaps(self, part: Part) -> None:
        """Mend what stands between the parts: preamble and epilogue, which nobody is shown."""
        if part.type.startswith("message/"):
            return
        at = part.body
        for start, end in [*((c.start, c.end) for c in part.children), (part.end, part.end)]:
            eight, long, _, _ = self._look(at, start)
            if eight or long:
                if start - at > _GAP:
                    self.notes.append(Note(Fate.KEPT, "text around the parts", "it is too large to be mended"))
                else:
                    octets = self.source.read(at, start - at)
                    if eight:
                        octets = octets.translate(_UNFIT)
                    self.edits.append((at, start, _hard_broken(octets, self.max_line or MAX_LINE)))
                    self.notes.append(
                        Note(Fate.MAPPED, "text around the parts", "8-bit or over-long; nobody is shown it")
                    )
            at = end


def _hard_broken(octets: bytes, most: int) -> bytes:
    lines = octets.split(b"\n")
    out: list[bytes] = []
    for line in lines:
        while len(line) > most + 1:
            out.append(line[:most] + b"\r")
            line = line[most:]
        out.append(line)
    return b"\n".join(out)


def _soft_broken(octets: bytes) -> bytes:
    """Break the lines of quoted-printable text that are over 76 octets (RFC 2045 §6.7 rule 5); encode stray octets."""
    octets = re.sub(rb"[\x80-\xff]", lambda m: b"=%02X" % m[0][0], octets)
    out: list[bytes] = []
    for line in octets.split(b"\n"):
        end = b"\r" if line.endswith(b"\r") else b""
        text = line.removesuffix(b"\r")
        if len(text) <= 76:
            out.append(line)
            continue
        made = b""
        for unit in re.findall(rb"=[0-9A-Fa-f]{2}|.", text, re.DOTALL):
            if len(made) + len(unit) > 75:
                out.append(made + b"=\r")
                made = b""
            made += unit
        out.append(made + end)
    return b"\n".join(out)


def _broken(part: Part) -> Note:
    kind = part.parameters.get("protocol", b"").decode("latin-1", "replace")
    name = "PGP" if "pgp" in kind else "S/MIME" if "pkcs7" in kind else "a part's"
    return Note(Fate.DROPPED, f"signature broken: {name}", "the signed part had to be encoded")
