"""A file read for somebody to look at: what its format understands of it, as values and as lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from connectors.filedrop.files import NotRegular, OpenFile
from connectors.filedrop.formats import Bad, Beside, Codec, FormatName, Options, Part, Span, Stamp, codec_class
from connectors.filedrop.formats.records.codec import Found, Records
from connectors.filedrop.names import is_safe
from gateway.contract import Blob, Content, Memo, Notify, memo

MAX_SHOWN: Final = 4 * 1024 * 1024
"""Octets of a content that are looked at; the rest of a larger one is only counted."""
MAX_CELLS: Final = 200
_VALUE: Final = 60
_FIELDS: Final = ("from", "to", "cc", "date", "message-id", "subject")
_PEOPLE: Final = ("from", "to", "cc")
_OWN: Final[dict[str, dict[str, str]]] = {"ftn": {"aka": "1:1/1"}}
"""Settings that a format needs, to be asked what it carries."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record: its place in the file, its octets there, and its value."""

    name: str
    offset: int
    raw: bytes
    value: str


@dataclass(slots=True)
class Seen:
    """One message, or one bad item, as far as it was understood."""

    place: str
    fields: list[Field] = field(default_factory=list)
    mapped: list[tuple[str, str]] = field(default_factory=list)
    envelope: list[tuple[str, str]] = field(default_factory=list)
    header: list[tuple[str, str]] = field(default_factory=list)
    size: int = 0
    text: str = ""
    attachments: list[tuple[str, str]] = field(default_factory=list)
    bad: Bad | None = None


@dataclass(slots=True)
class Trial:
    """All of a file: `bad` counts what cannot be taken; `more` tells that messages are left out here."""

    file: str
    size: int
    seen: list[Seen] = field(default_factory=list)
    good: int = 0
    bad: int = 0
    more: bool = False

    def plain(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "ok": self.bad == 0,
            "file": self.file,
            "size": self.size,
            "messages": self.good,
            "bad": self.bad,
            "items": [_plain(one) for one in self.seen],
        }


def try_file(codec: Codec, path: Path, limit: int) -> Trial:
    """Read a file; of its messages the first `limit` are kept to be shown, all are counted. Raises: OSError."""
    with ExitStack() as stack:
        file = _opened(stack, path)

        def beside(name: str) -> Blob:
            if not is_safe(name):
                raise FileNotFoundError(f"{name!r} is not the name of a file beside it")
            return _opened(stack, path.parent / name)

        stamp = Stamp("try", file.mtime, path.name, beside)
        trial = Trial(str(path), file.size)
        network = getattr(getattr(codec, "codec", codec), "options", Options()).network
        for found in _found(codec, file, stamp):
            if isinstance(found.outcome, Bad):
                trial.bad += 1
            else:
                trial.good += 1
            if len(trial.seen) < limit:
                trial.seen.append(_seen(found, file, stamp, path.parent, network))
            else:
                trial.more = True
        return trial


def _opened(stack: ExitStack, path: Path) -> OpenFile:
    try:
        return stack.enter_context(OpenFile(path))
    except NotRegular:
        raise OSError(0, "it is no regular file") from None


def _found(codec: Codec, file: Blob, stamp: Stamp) -> Iterator[Found]:
    inner = getattr(codec, "codec", codec)  # what puts attachments into a folder stands around the format's own
    if isinstance(inner, Records):
        yield from inner.understand(file, stamp)
        return
    for outcome in codec.decode(file, stamp):
        yield Found(None, None, outcome)


def _seen(found: Found, file: Blob, stamp: Stamp, folder: Path, network: str) -> Seen:
    one = Seen("")
    if found.group is not None:
        records = found.group.records
        one.place = f"line {records[0].line}, octets {records[0].start} to {records[-1].end}"
        one.fields = [Field(c.name, c.offset, c.raw, c.value) for r in records for c in r.cells][:MAX_CELLS]
    if found.mapper is not None:
        one.mapped = [(each.target, each.value) for each in found.mapper.mapped]
    if isinstance(found.outcome, Bad):
        one.bad = found.outcome
        return one
    _fill(one, found.outcome, file, stamp, folder, network)
    return one


def _fill(one: Seen, part: Part, file: Blob, stamp: Stamp, folder: Path, network: str) -> None:
    one.envelope.append(("sender", "<>" if part.reverse_path is None else str(part.reverse_path)))
    for recipient in part.recipients:
        wish = "" if recipient.notify is Notify.UNSET else f"  (reports: {_wishes(recipient.notify)})"
        one.envelope.append(("recipient", f"{recipient.address}{wish}"))
    for name, value in (("key", part.key), ("envid", part.envid or ""), ("priority", str(part.priority or ""))):
        if value:
            one.envelope.append((name, value))
    one.envelope += sorted(part.attributes.items())
    octets, one.size = _octets(part, file, stamp)
    found = memo(Content(octets))
    one.header = [(name, value) for name in _FIELDS if (value := _header(found, name, network))]
    one.text = found.text
    named = [piece for piece in part.content if isinstance(piece, Beside)]
    one.attachments = list(_attachments(found, named, folder))


def _header(found: Memo, name: str, network: str) -> str:
    """Return a field as people read it: an address that is carried inside another one as itself."""
    value = found.get(name.encode())
    if name not in _PEOPLE or "IMCEA" not in value:
        return value
    boxes = found.mailboxes(name.encode(), (network, "smtp"))
    return ", ".join(f"{box.name} <{box.address}>" if box.name else str(box.address) for box in boxes) or value


def _wishes(notify: Notify) -> str:
    return ", ".join(str(each.name).lower() for each in Notify if each in notify and each)


def _octets(part: Part, file: Blob, stamp: Stamp) -> tuple[bytes, int]:
    """Return the beginning of a content, and how many octets it has without the files that it names."""
    kept: list[bytes] = []
    size = 0
    for piece in part.content:
        if isinstance(piece, Beside):
            kept.append(b"\r\n")
            continue
        pieces = iter((piece,)) if isinstance(piece, bytes) else _span(piece, file, stamp)
        for octets in pieces:
            if size < MAX_SHOWN:
                kept.append(octets[: MAX_SHOWN - size])
            size += len(octets)
    return b"".join(kept), size


def _span(span: Span, file: Blob, stamp: Stamp) -> Iterator[bytes]:
    source = stamp.beside(span.file) if span.file and stamp.beside is not None else file
    pieces = (source.read(at, min(256 * 1024, span.end - at)) for at in range(span.start, span.end, 256 * 1024))
    return pieces if span.filter is None else span.filter(pieces)


def _attachments(found: Memo, named: list[Beside], folder: Path) -> Iterator[tuple[str, str]]:
    waiting = list(named)
    for attachment in found.attachments:
        size = sum(len(octets) for octets in attachment.octets())
        if size == 0 and waiting:
            beside = waiting.pop(0)
            path = folder / beside.folder / beside.name
            there = f"{path.stat().st_size} B" if path.is_file() else "is not there"
            yield attachment.name, f"{attachment.type}, the file {beside.folder or '.'}/{beside.name}: {there}"
        else:
            yield attachment.name, f"{attachment.type}, {size} B"


Style = Literal["head", "plain", "bad"]


def tell_lines(trial: Trial, lines: int) -> Iterator[tuple[Style, str]]:
    """Yield what is to be printed for people, with how it is meant."""
    good = bad = 0
    for one in trial.seen:
        place = f" ({one.place})" if one.place else ""
        if one.bad is None:
            good += 1
            yield "head", f"message {good}{place}"
        else:
            bad += 1
            yield "head", f"bad {bad}{place}"
        yield from _told(one, lines)
        yield "plain", ""
    if trial.more:
        yield "plain", "there are more; --limit shows more of them"
    yield ("bad" if trial.bad else "head"), f"{trial.file}: {_count(trial.good, 'message')}, {trial.bad} bad"


def _told(one: Seen, lines: int) -> Iterator[tuple[Style, str]]:
    if one.fields:
        yield from _table([("field", "at", "octets", "value"), *(_row(each) for each in one.fields)])
    if one.mapped:
        yield "plain", "  mapped to"
        yield from _pairs(one.mapped, indent=4)
    if one.bad is not None:
        yield from _bad(one.bad)
        return
    yield "plain", "  envelope"
    yield from _pairs(one.envelope, indent=4)
    if not one.mapped:
        yield "plain", "  header"
        yield from _pairs(one.header, indent=4)
    text = one.text.split("\n")
    if one.text and not one.text.endswith("\n"):
        text.append("")
    yield "plain", f"  text, {_count(len(text) - 1, 'line')} (the message has {one.size} octets)"
    for line in text[:-1][:lines]:
        yield "plain", f"    | {_printable(line)[:110]}".rstrip()
    if len(text) - 1 > lines:
        yield "plain", "    | ..."
    for name, what in one.attachments:
        yield "plain", f"  attachment {_printable(name)} ({what})"


def _bad(bad: Bad) -> Iterator[tuple[Style, str]]:
    where = f"octet {bad.offset}" + (f", line {bad.line}" if bad.line else "")
    yield "bad", f"  {bad.rule} at {where}: {bad.text}"
    if bad.found:
        yield "plain", f"  found  {_octets_shown(bad.found)}"
    yield "plain", f"  mend   {bad.mend}"


def _row(each: Field) -> tuple[str, str, str, str]:
    return (each.name, "" if each.offset < 0 else str(each.offset), _octets_shown(each.raw), _value(each.value))


def _octets_shown(octets: bytes) -> str:
    """Return octets as text where they are plain, else in hexadecimal."""
    cut = octets[:40]
    if all(0x20 <= octet < 0x7F for octet in cut):
        return cut.decode("ascii").strip() + ("..." if len(octets) > 40 else "")
    return cut[:12].hex(" ") + (" ..." if len(octets) > 12 else "")


def _value(text: str) -> str:
    lines = text.split("\n")
    more = f" (and {_count(len(lines) - 1, 'line')} more)" if len(lines) > 1 else ""
    return _printable(lines[0])[:_VALUE] + more


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text.expandtabs())


def _pairs(pairs: list[tuple[str, str]], indent: int) -> Iterator[tuple[Style, str]]:
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        yield "plain", f"{' ' * indent}{name.ljust(width)}  {_value(value)}"


def _table(rows: list[tuple[str, str, str, str]]) -> Iterator[tuple[Style, str]]:
    widths = [max(len(row[n]) for row in rows) for n in range(4)]
    for row in rows:
        yield "plain", ("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _plain(one: Seen) -> dict[str, Any]:
    bad = None
    if one.bad is not None:
        bad = {key: getattr(one.bad, key) for key in ("rule", "offset", "line", "text", "mend")}
        bad["found"] = one.bad.found.hex()
    return {
        "place": one.place,
        "fields": [
            {"field": f.name, "offset": None if f.offset < 0 else f.offset, "octets": f.raw.hex(), "value": f.value}
            for f in one.fields
        ],
        "mapped": [{"to": target, "value": value} for target, value in one.mapped],
        "envelope": [{"name": name, "value": value} for name, value in one.envelope],
        "header": dict(one.header),
        "size": one.size,
        "text": one.text,
        "attachments": [{"name": name, "what": what} for name, what in one.attachments],
        "bad": bad,
    }


def carried(name: FormatName) -> dict[str, Any]:
    """Return what a format's files carry, as rows of a table have it."""
    if name == "records":
        said = "as described"
        return {"text": said, "attachments": said, "charset": said, "subject": said, "messages a file": said}
    found = codec_class(name)
    codec = found(name, Options(), found.Settings.model_validate(_OWN.get(name, {})))
    can = codec.capabilities
    return {
        "text": "MIME" if can.mime else "text and HTML" if can.html else "text",
        "attachments": "MIME" if can.mime else "files" if can.attachments else "none",
        "charset": "as it comes" if can.mime else can.charset,
        "subject": "any" if can.max_subject_chars is None else f"{can.max_subject_chars} characters",
        "messages a file": "many" if codec.many_a_file else "one",
    }
