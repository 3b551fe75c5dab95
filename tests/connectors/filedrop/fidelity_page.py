"""The page on fidelity: its tables, made of what the formats do to a message with each feature."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from connectors.filedrop.status import Plain, encode_status
from gateway.contract import Action, Fate, RecipientReport, Report, Status
from mappings.network import parse
from tests.connectors.filedrop.fidelity import ARRIVED, FORMATS, Cell, Feature, Format, cell
from tests.connectors.filedrop.fidelity_features import FEATURES

BLOCK: Final = re.compile(r"(<!-- fidelity: ([^>]+) -->\n)(.*?)(<!-- end of fidelity -->)", re.DOTALL)
_SENDERS: Final = {"smtp": "smtp:eve@plant.example", "mhs": "mhs:eve@sales", "ftn": "ftn:Eve Ek@2:280/464"}
_MAX_NOTE: Final = 300


@cache
def cells(format: Format) -> Mapping[Feature, Cell]:
    """Return what becomes of every feature in a format."""
    return {feature: cell(format, feature) for features in FEATURES.values() for feature in features}


def fresh(page: str) -> str:
    """Return a page with its tables as they are now."""
    return BLOCK.sub(lambda m: f"{m[1]}\n{_BLOCKS[m[2]]()}\n\n{m[4]}", page)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


def _fates(formats: Sequence[Format]) -> str:
    rows = []
    for group, features in FEATURES.items():
        rows.append([f"**{group}**", *[""] * len(formats)])
        rows += [[shown(f.name), *(fate_cell(cells(one)[f]) for one in formats)] for f in features]
    counts = [[sum(c.fate is fate for c in cells(one).values()) for one in formats] for fate in Fate]
    rows.append(["**of all**", *[""] * len(formats)])
    rows += [[fate.value, *map(str, row)] for fate, row in zip(Fate, counts, strict=True)]
    return table(["feature", *(one.title for one in formats)], rows)


def fate_cell(found: Cell) -> str:
    return found.fate.value if found.fate is not Fate.DROPPED else f"*{found.fate.value}*"


def told(heading: str, columns: Mapping[str, Mapping[Feature, Cell]]) -> str:
    """What the trace says of each feature that is not kept: the same words of several columns stand once."""
    rows = []
    for features in FEATURES.values():
        for feature in features:
            said: dict[str, list[str]] = {}
            for title, cells_of in columns.items():
                found = cells_of[feature]
                if found.fate is not Fate.KEPT:
                    words = "; ".join(f"{n.fate.value}: {n.what}: {n.why}" for n in found.notes)
                    said.setdefault(words, []).append(title)
            rows += [[shown(feature.name), "; ".join(titles), shown(words)] for words, titles in said.items()]
    return table(["feature", heading, "the trace says"], rows)


def shown(text: str) -> str:
    text = text if len(text) <= _MAX_NOTE else text[: _MAX_NOTE - 3] + "..."
    text = "".join(c if c.isprintable() else " " for c in text)
    return re.sub(r"([|<>*_`\\])", lambda m: "&lt;" if m[1] == "<" else "\\" + m[1], text)


@dataclass(frozen=True)
class ReportSeen:
    """A report about a message as its format tells it."""

    form: str
    facts: Mapping[str, bool]


def report_of(format: Format) -> ReportSeen:
    """Return how a report is told in the status folder, and what of it."""
    bob = parse("smtp:bob@far.example")
    failed = RecipientReport(Action.FAILED, bob, bob, Status("5.1.1", "nobody has that name"))
    network = format.network
    key = "2:280/464 1a2b3c4d" if network == "ftn" else "KEY-7"
    about = Report(7, parse(_SENDERS[network]), ARRIVED, (failed,), peer="ORDER7.TXT", hand_over=f"filedrop:a:0:{key}")
    made = encode_status(format.codec, about, "ORDER7", network)
    text = b"".join(made.octets()).decode("latin-1")
    facts = {
        "which message": key in text or "KEY-7" in text,
        "the recipient": "bob@far.example" in text,
        "what became of it": any(word in text for word in ("failed", "not delivered", "550 ")),
        "the code": "5.1.1" in text,
        "the reason": "nobody has that name" in text,
    }
    return ReportSeen("lines `Name: value`" if isinstance(made, Plain) else _FORMS[format.name], facts)


_FORMS: Final = {
    "bsmtp": "a file of SMTP replies",
    "smf70": "a notification",
    "smf71": "a notification",
    "ftn": "netmail from Mail Delivery",
    "records": "the description's `[status]`",
}


def _reports() -> str:
    def rows() -> Iterator[list[str]]:
        for one in FORMATS:
            seen = report_of(one)
            yield [one.title, seen.form, *("kept" if has else "*dropped*" for has in seen.facts.values())]

    return table(["format", "form", *report_of(FORMATS[0]).facts], rows())


_BLOCKS: Final = {
    "with MIME": lambda: _fates([one for one in FORMATS if one.mime]),
    "without MIME": lambda: _fates([one for one in FORMATS if not one.mime]),
    "notes": lambda: told("formats", {one.title: cells(one) for one in FORMATS}),
    "reports": _reports,
}
