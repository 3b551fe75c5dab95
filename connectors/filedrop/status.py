"""Status files: what became of a message that came in as a file, told to the system that wrote it.

The file's name and its writer's key for the message travel with the message's origin, so nothing else has to be kept
until the report comes. A format with a form of its own for it uses that; all others get lines `Key: value`, a
paragraph for each recipient. A retry after a crash finds the status file it had put.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from connectors.filedrop.config import FileDropConfig
from connectors.filedrop.extras import extras_of
from connectors.filedrop.formats import Codec, Encoded
from connectors.filedrop.formats.addresses import write_one
from connectors.filedrop.layouts import FilesLayout, Layout, Put, Sheet
from connectors.filedrop.names import safe_name, stem_of
from gateway.contract import Notify, RecipientReport, Report, id_text
from gateway.mailbox_files import REAL, Operations

EXTENSION: Final = ".sts"

_NOTIFY: Final = {
    "delivered": Notify.SUCCESS,
    "relayed": Notify.SUCCESS,
    "delayed": Notify.DELAY,
    "failed": Notify.FAILURE,
}


def wishes(config: FileDropConfig) -> Notify:
    """Return which reports a message is given that says nothing of them itself."""
    wanted = Notify.UNSET
    for when in config.status_when:
        wanted |= _NOTIFY[when]
    return wanted or Notify.NEVER


def key_of(report: Report) -> str:
    """Return what the other system calls the message, empty where its file did not say."""
    _, _, rest = (report.hand_over or "").partition(":")
    parts = rest.split(":", 2)
    return parts[2] if len(parts) == 3 else ""


def stem_for(report: Report) -> str:
    """Return the status file's name without its extension: the message's file's."""
    return safe_name(stem_of(report.peer), 200) if report.peer else id_text(report.message_id)


class Plain(Encoded):
    """A status file in our own form."""

    __slots__ = ()


def encode_status(codec: Codec, report: Report, stem: str, network: str) -> Encoded:
    """Return the status file: the format's own, or the plain one."""
    made = codec.status(report, key_of(report), stem)
    return made if made is not None else Plain(lambda: _plain(report, network))


class StatusLayout:
    """The folder of status files: those of the format as it has them, the plain ones as files of their own."""

    def __init__(self, own: Layout, plain: Layout) -> None:
        self._own = own
        self._plain = plain

    def groups(self, sheets: Sequence[Sheet]) -> list[list[int]]:
        return [[index] for index in range(len(sheets))]

    def put(self, sheets: Sequence[Sheet]) -> None:
        layout = self._plain if isinstance(sheets[0].encoded, Plain) else self._own
        layout.put(sheets)

    def sync(self) -> None:
        self._own.sync()
        self._plain.sync()

    def count(self, limit: int) -> int:
        return self._plain.count(limit)


def status_layout(folder: Path, codec: Codec, config: FileDropConfig, put: Put, ops: Operations = REAL) -> StatusLayout:
    """Return the layout of the folder of status files."""
    extras = extras_of(codec)
    own: Layout | None = None
    if extras.status_is_message and extras.layout is not None:
        own = extras.layout(folder, ops)
    if own is None:
        end = config.status_extension or extras.status_extension or EXTENSION
        framed = codec if extras.status_is_message else None
        own = FilesLayout(folder, framed, end, style=config.name_style, put=put, ops=ops)
    end = config.status_extension or EXTENSION
    return StatusLayout(own, FilesLayout(folder, None, end, style=config.name_style, put=put, ops=ops))


def _plain(report: Report, network: str) -> Iterator[bytes]:
    yield _lines(
        ("File", report.peer),
        ("Key", key_of(report)),
        ("Envelope-Id", report.envid or ""),
        ("Gateway-Id", id_text(report.message_id)),
        ("Arrived", _time(report.arrived_at)),
    )
    for recipient in report.recipients:
        yield b"\r\n" + _recipient(recipient, network)


def _recipient(one: RecipientReport, network: str) -> bytes:
    return _lines(
        ("Recipient", write_one(one.original, network)),
        ("Final", write_one(one.final, network) if one.final != one.original else ""),
        ("Action", one.action.value),
        ("Status", one.status.code),
        ("Text", one.status.text),
        ("Retry-Until", _time(one.retry_until) if one.retry_until is not None else ""),
    )


def _lines(*pairs: tuple[str, str]) -> bytes:
    """Return the pairs that have a value as lines; no value leaves its line."""
    kept = ((name, "".join(c if c.isprintable() else " " for c in value)) for name, value in pairs if value)
    return "".join(f"{name}: {value}\r\n" for name, value in kept).encode("utf-8", "backslashreplace")


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
