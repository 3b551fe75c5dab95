"""Status files as a description has them: a line for each recipient of whom there is something to tell."""

from __future__ import annotations

from connectors.filedrop.formats.addresses import write_one
from connectors.filedrop.formats.records.attributes import networks_of
from connectors.filedrop.formats.records.charset import charset
from connectors.filedrop.formats.records.dates import zone
from connectors.filedrop.formats.records.description import Description, StatusTable
from connectors.filedrop.formats.records.expression import Lookup, Tables, Values, iso
from connectors.filedrop.formats.values import Encoded, Options
from gateway.contract import RecipientReport, Report, id_text
from mappings.network import network


def encode_status(d: Description, options: Options, report: Report, key: str, stem: str) -> Encoded | None:
    """Return the file of a report; None where the description has none, or nothing is to be told."""
    table = d.status
    if table is None:
        return None
    told = [one for one in report.recipients if one.action.value in table.when]
    if not told:
        return None
    tables = Tables(d.values, zone(table.zone))
    own = networks_of(d, options)
    common = {"key": key, "stem": stem, "message": id_text(report.message_id), "file": report.peer}
    lines = [table.record.one(_lookup(one, table, common, own, report.arrived_at), tables) for one in told]

    def count(name: str) -> Values:
        return [str(len(lines))] if name == "count" else [common[name]] if name in common else []

    if table.header is not None:
        lines.insert(0, table.header.one(count, tables))
    if table.trailer is not None:
        lines.append(table.trailer.one(count, tables))
    used = charset(d.format.charset)
    end = used.line_end(d.format.line_end if d.format.line_end not in ("none", "rdw") else "any")
    # A line end in a peer's answer would begin another line.
    octets = b"".join(used.encode(" ".join(line.splitlines()), "replace") + end for line in lines)
    return Encoded(lambda: (octets,))


def _lookup(
    one: RecipientReport, table: StatusTable, common: dict[str, str], own: tuple[str, ...], at: float
) -> Lookup:
    values = {
        **common,
        "action": one.action.value,
        "code": table.codes.get(one.action.value, one.action.value),
        "status": one.status.code,
        "text": one.status.text,
        "recipient": _written(one, own),
        "time": iso(one.last_attempt_at if one.last_attempt_at is not None else at),
    }
    return lambda name: [values[name]] if name in values else []


def _written(one: RecipientReport, own: tuple[str, ...]) -> str:
    """Return a recipient as the other system wrote it."""
    address = one.original
    return network(address.network).format(address) if address.network in own else write_one(address, own[0])
