"""The process that reads a PST file by libpff: a file that is broken, or made to harm, ends this process and no other.

`python -m connectors.folders.pst_child FILE` answers each line of JSON by one: `folders`, `items` of a folder, `write`
an item as a message into a file. What is not mail is left out, and so are searches that were saved as folders.
Sources: MS-OXPROPS (properties), MS-OXCMSG §2.2.1.6 (flags), MS-PST §2.2.2.1 (kinds of ids).
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from gateway.charsets import decoded
from gateway.mailbox import Flag
from gateway.octets import no_controls
from gateway.tnef.mime import entity, message, parts_of
from gateway.tnef.reader import MAX_DEPTH, Packed, Party, Unpacked
from gateway.tnef.rtf import body_of
from mappings.fields import scan

MEMORY: Final = 3 * 1024**3
_DEEPEST: Final = 32
_TOPS: Final = (
    "ipm_subtree",
    "top of personal folders",
    "top of outlook data file",
    "top of information store",
    "oberste ebene der outlook-datendatei",
    "oberste ebene der persönlichen ordner",
)
_MAIL: Final = ("ipm.note", "ipm.schedule.", "report.", "ipm.post", "ipm.outlook.recall", "ipm.recall")
_NORMAL_FOLDER: Final = 0x02
_EPOCH: Final = 11_644_473_600
_UNICODE: Final = 0x1F
_EMBEDDED: Final = 5
_OURS: Final = (b"content-", b"mime-version", b"microsoft mail internet headers")


class Properties:
    """What an object of the file says of itself."""

    def __init__(self, of: Any, charset: str) -> None:
        self._found: dict[int, tuple[int, bytes]] = {}
        self.charset = charset
        for record in of.record_sets:
            for entry in record.entries:
                kind = entry.entry_type
                if kind is None or kind in self._found or entry.value_type is None or kind == 0x3701:
                    continue
                try:
                    octets = entry.data
                except OSError:
                    continue
                if octets is not None:
                    self._found[kind] = entry.value_type, octets
            return  # further sets are of rows

    def text(self, *keys: int) -> str:
        """Return the first of these that is a text."""
        for key in keys:
            kind, octets = self._found.get(key, (0, b""))
            if octets:
                text = octets.decode("utf-16-le", "replace") if kind == _UNICODE else decoded(octets, self.charset)
                if text.rstrip("\0"):
                    return text.rstrip("\0")
        return ""

    def number(self, key: int) -> int:
        return int.from_bytes(self._found.get(key, (0, b""))[1][:4], "little", signed=True)

    def time(self, *keys: int) -> float | None:
        """Return seconds since 1970."""
        for key in keys:
            octets = self._found.get(key, (0, b""))[1]
            if len(octets) == 8 and any(octets):
                return int.from_bytes(octets, "little") / 1e7 - _EPOCH
        return None

    def octets(self, key: int) -> bytes:
        return self._found.get(key, (0, b""))[1]


class Reader:
    """One file, open."""

    def __init__(self, path: str) -> None:
        self._file = importlib.import_module("pypff").file()
        self._file.open(path)
        page = self._file.ascii_codepage or "cp1252"
        self._charset = page.decode("ascii", "replace") if isinstance(page, bytes) else str(page)
        self._folders: dict[str, Any] = {}
        self._places: dict[str, dict[str, int]] = {}

    def folders(self) -> list[list[Any]]:
        """Return id, path and count of each folder of mail."""
        root = self._file.root_folder
        top = self._top(root) or root
        found = []
        for folder, path in self._below(top, (), _DEEPEST):
            kind = Properties(folder, self._charset).text(0x3613).lower()
            if not path or (kind and not kind.startswith("ipf.note")):
                continue
            id = f"{folder.identifier:x}"
            self._folders[id] = folder
            found.append([id, list(path), folder.number_of_sub_messages])
        return found

    def _top(self, root: Any) -> Any:
        """Return the folder that Outlook shows as the file."""
        near = [folder for folder, path in self._below(root, (), 3) if path]
        tops = [folder for folder in near if (folder.name or "").casefold() in _TOPS]
        children = [root.get_sub_folder(at) for at in range(root.number_of_sub_folders)]
        # Of an OST file's two, that of the mailbox and not the one of public folders.
        return max(tops or children, key=lambda each: sum(1 for _ in self._below(each, (), _DEEPEST)), default=None)

    def _below(self, folder: Any, path: tuple[str, ...], depth: int) -> Iterator[tuple[Any, tuple[str, ...]]]:
        yield folder, path
        if depth <= 1:
            return
        for at in range(folder.number_of_sub_folders):
            below = folder.get_sub_folder(at)
            if below.identifier & 0x1F == _NORMAL_FOLDER:
                yield from self._below(below, (*path, no_controls(below.name or "") or "-"), depth - 1)

    def items(self, folder: str) -> list[list[Any]]:
        """Return id, flags, date and Message-ID of each message; one that can't be read is there without them."""
        if not self._folders:
            self.folders()
        of = self._folders[folder]
        found: list[list[Any]] = []
        places: dict[str, int] = {}
        for at in range(of.number_of_sub_messages):
            try:
                item = of.get_sub_message(at)
                id = f"{item.identifier:x}"
                said = Properties(item, self._charset)
                kind = said.text(0x001A).lower()
                if kind and kind != "ipm" and not kind.startswith(_MAIL):
                    continue
                identifier = no_controls(said.text(0x1035)).strip()
                found.append([id, _flags(said), said.time(0x0E06, 0x0039), identifier or None])
            except OSError:
                id = f"at{at}"
                found.append([id, [], None, None])
            places[id] = at
        self._places[folder] = places
        return found

    def write(self, folder: str, item: str, path: str) -> None:
        """Write an item as a message into a file that is there. Raises: OSError, KeyError."""
        if folder not in self._places:
            self.items(folder)
        found = self._folders[folder].get_sub_message(self._places[folder][item])
        octets = self._message(found)
        with Path(path).open("r+b") as file:
            file.write(octets)

    def _message(self, item: Any) -> bytes:
        made = self._unpacked(item, 0)
        said = Properties(item, self._charset)
        head = b"".join(_own_fields(said.text(0x007D)))
        if not head:
            return message(made, hostname="localhost")
        parts = entity(parts_of(made, hostname="localhost"))
        return head + b"MIME-Version: 1.0\r\n" + parts.octets()

    def _unpacked(self, item: Any, depth: int) -> Unpacked:
        said = Properties(item, self._charset)
        page = said.number(0x3FDE)
        charset = {0: self._charset, 65001: "utf-8", 20127: "cp1252", 28591: "cp1252"}.get(page, f"cp{page}")
        text = said.text(0x1000).replace("\r\n", "\n")
        html = decoded(said.octets(0x1013).rstrip(b"\0"), charset)
        rtf = (item.rtf_body or b"") if not (text.strip() or html.strip()) else b""
        if rtf:
            body = body_of(rtf)
            text, html = body.text, body.html
        sender = _party(said, (0x0042, 0x0C1A), (0x5D02, 0x5D01, 0x0065, 0x0C1F), (0x0064, 0x0C1E))
        sent = said.time(0x0039, 0x0E06)
        return Unpacked(
            text,
            html,
            rtf,
            tuple(self._files(item, depth)),
            said.text(0x001A),
            no_controls(_subject(said)),
            sender,
            tuple(self._recipients(item)),
            None if sent is None else int(sent),
            no_controls(said.text(0x1035)),
            charset=charset,
            rtf_alone=bool(rtf),
        )

    def _recipients(self, item: Any) -> Iterator[Party]:
        table = item.recipients
        if table is None:
            return
        for record in table.record_sets:
            said = Properties(_Row(record), self._charset)
            party = _party(said, (0x3001,), (0x39FE, 0x3003), (0x3002,), said.number(0x0C15))
            if party is not None:
                yield party

    def _files(self, item: Any, depth: int) -> Iterator[Packed]:
        for number in range(item.number_of_attachments):
            file = item.get_attachment(number)
            said = Properties(file, self._charset)
            name = no_controls(said.text(0x3707, 0x3704, 0x3001))
            if said.number(0x3705) == _EMBEDDED and file.number_of_sub_items and depth < MAX_DEPTH:
                yield Packed(name, "message/rfc822", b"", enclosed=self._unpacked(file.get_sub_item(0), depth + 1))
                continue
            try:
                size = file.size or 0
                octets = file.read_buffer(size) if size else b""
            except OSError:
                octets = b""
            yield Packed(name, said.text(0x370E), octets, no_controls(said.text(0x3712)).strip("<>"))


class _Row:
    """One row of a table, with what it says."""

    def __init__(self, record: Any) -> None:
        self.record_sets = (record,)


def _flags(said: Properties) -> list[Flag]:
    state, verb = said.number(0x0E07), said.number(0x1081)
    found: list[Flag] = []
    if state & 0x1:
        found.append("seen")
    if state & 0x8:
        found.append("draft")
    if verb in (102, 103):
        found.append("answered")
    if verb == 104:
        found.append("forwarded")
    if said.number(0x1090) == 2:
        found.append("flagged")
    return found


def _subject(said: Properties) -> str:
    text = said.text(0x0037)
    if text[:1] == "\1":  # what follows says how long the prefix is
        text = text[2:]
    return text or said.text(0x0070)


def _party(
    said: Properties, names: tuple[int, ...], addresses: tuple[int, ...], kinds: tuple[int, ...], type: int = 0
) -> Party | None:
    name = no_controls(said.text(*names))
    address, kind = "", said.text(*kinds).upper()
    for key in addresses:
        address = no_controls(said.text(key)).strip()
        if "@" in address:
            kind = "SMTP"
            break
    return Party(name, address, kind, type & 0xF) if name or address else None


def _own_fields(text: str) -> Iterator[bytes]:
    """Yield the fields of a header as it came, but for those that say how its body was written."""
    octets = text.replace("\r\n", "\n").replace("\r", "\n").lstrip("\n").replace("\n", "\r\n").encode()
    octets = octets.partition(b"\r\n\r\n")[0].removesuffix(b"\r\n") + b"\r\n" if octets.strip() else b""
    for field in scan(octets):
        if not field.name.startswith(_OURS) and field.name:
            yield octets[field.start : field.end]


def main() -> None:
    """Answer until the input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        reader = Reader(sys.argv[1])
        answer: dict[str, Any] = {"ok": True}
    except ImportError:
        answer = {"error": "reading PST files needs libpff: pip install gatepost[pst]", "missing": True}
    except OSError as fault:
        answer = {"error": f"it can't be opened: {fault}"}
    print(json.dumps(answer), flush=True)
    if "error" in answer:
        return
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if asked["do"] == "folders":
                answer = {"ok": reader.folders()}
            elif asked["do"] == "items":
                answer = {"ok": reader.items(asked["folder"])}
            else:
                reader.write(asked["folder"], asked["item"], asked["to"])
                answer = {"ok": True}
        except KeyError:
            answer = {"gone": True}
        except (OSError, MemoryError, ValueError, RecursionError) as fault:
            answer = {"error": f"{type(fault).__name__}: {fault}"[:500]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
