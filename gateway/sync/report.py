"""What a comparison found, as a page that a manager can read and a table that an auditor can keep.

The page needs nothing but itself. It names the table's SHA-256, so that the two are known to belong together.
"""

from __future__ import annotations

import csv
import getpass
import hashlib
import io
import os
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from typing import Any, Final

from gateway.quantity import show_size
from gateway.sync.progress import names, show_count, show_seconds
from gateway.sync.verify import MEANING, Checked, Finding, Folder

COLUMNS: Final = (
    "line", "sync", "batch", "from", "to", "folder", "folder_there", "items", "items_there", "octets", "octets_there",
    "on_both", "compared", "same", "only_there", "flags_differ", "dates_differ", "result", "message_id", "received",
    "message_octets", "text",
)  # fmt: skip
_MOST_SHOWN: Final = 200
"""Findings of one mailbox that the page shows; the table has all."""


def as_csv(checks: Sequence[Checked]) -> bytes:
    """Return the table: a line for each mailbox, each of its folders, and each item that is not the same."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, restval="")
    writer.writeheader()
    for checked in checks:
        for row in _rows(checked):
            writer.writerow({key: _safe(value) for key, value in row.items()})
    return text.getvalue().encode("utf-8-sig")  # spreadsheets take UTF-8 for what it is by its mark


def _rows(checked: Checked) -> Iterator[dict[str, Any]]:
    pairing = checked.pairing
    who = {
        "sync": pairing.set,
        "batch": pairing.batch,
        "from": pairing.left.mailbox,
        "to": pairing.right.mailbox,
    }
    sums = {column: checked.sum(name) for column, name in _FIGURES.items()} if checked.fault is None else {}
    yield {"line": "mailbox", **who, **sums, "result": result(checked), "text": checked.fault or ""}
    for folder in checked.folders:
        place = {"folder": folder.path, "folder_there": folder.across or ""}
        figures = {column: getattr(folder, name) for column, name in _FIGURES.items()}
        word = "not complete" if any(each.is_bad for each in folder.findings) else "complete"
        yield {"line": "folder", **who, **place, **figures, "result": word}
        for each in folder.findings:
            yield {
                "line": "item",
                **who,
                **place,
                "result": each.what,
                "message_id": each.message_id or "",
                "received": "" if each.received_at is None else _utc(each.received_at),
                "message_octets": "" if each.octets is None else each.octets,
                "text": each.text,
            }


_FIGURES: Final = {
    "items": "left_items",
    "items_there": "right_items",
    "octets": "left_octets",
    "octets_there": "right_octets",
    "on_both": "matched",
    "compared": "compared",
    "same": "same",
    "only_there": "only_right",
    "flags_differ": "flags",
    "dates_differ": "dates",
}


def _safe(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula, whatever a sender has put into a Message-ID."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def result(checked: Checked) -> str:
    """Return what a comparison came to, in a word or two."""
    if checked.fault is not None:
        return "not compared"
    return "complete" if checked.is_done else "not complete"


@dataclass(frozen=True, slots=True)
class Table:
    """The table that goes with a page."""

    name: str
    digest: str

    @staticmethod
    def of(name: str, octets: bytes) -> Table:
        return Table(name, hashlib.sha256(octets).hexdigest())


def as_html(checks: Sequence[Checked], *, table: Table | None = None, at: float | None = None) -> bytes:
    """Return the page. `at`: when it was made."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"count": show_count, "size": show_size, "seconds": show_seconds, "utc": _utc}
    environment.globals |= {"names": names, "result": result, "shown": _shown}
    text = (files("gateway.sync") / "report.html.jinja").read_text(encoding="utf-8")
    page = environment.from_string(text).render(
        checks=checks,
        table=table,
        at=time.time() if at is None else at,
        who=_who(),
        release=_release(),
        meaning=MEANING,
        bad=sum(not each.is_done for each in checks),
        sums={name: sum(each.sum(name) for each in checks) for name in _FIGURES.values()},
    )
    return page.encode()


def _shown(checked: Checked) -> tuple[list[tuple[Folder, Finding]], int]:
    """Return the findings that the page shows, the bad ones first, and how many there are besides."""
    found = [(folder, each) for folder in checked.folders for each in folder.findings]
    found.sort(key=lambda pair: not pair[1].is_bad)
    return found[:_MOST_SHOWN], max(0, len(found) - _MOST_SHOWN)


def _utc(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    return f"{user} on {socket.gethostname()}"


def _release() -> str:
    try:
        return version("gatepost")
    except PackageNotFoundError:
        return "not installed"
