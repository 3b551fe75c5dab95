"""Reports as the spool keeps them: beside the message that tells one stands the Report itself, for connectors that map
it to their network's own form. Pure.

Promises: what `with_report` wrote, `report_of` reads back, whatever release of this one wrote it; what it can't read is
no report, and the message is told as the DSN that it is. A status's `cause` is not kept: it stays where it arose.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.message import Content
from gateway.report import Action, RecipientReport, Report
from gateway.status import Status
from mappings.address import Address

ATTRIBUTE: Final = "report"
"""The attribute of a report's content that holds the Report."""


def with_report(content: Content, report: Report) -> Content:
    """Return the content with the report beside it."""
    told = {
        "message_id": report.message_id,
        "reverse_path": _plain(report.reverse_path),
        "arrived_at": report.arrived_at,
        "envid": report.envid,
        "ret_full": report.ret_full,
        "peer": report.peer,
        "hand_over": report.hand_over,
        "recipients": [
            {
                "action": r.action.value,
                "original": _plain(r.original),
                "final": _plain(r.final),
                "status": [r.status.code, r.status.text, r.status.reply, r.status.remote],
                "orcpt": r.orcpt,
                "last_attempt_at": r.last_attempt_at,
                "retry_until": r.retry_until,
            }
            for r in report.recipients
        ],
    }
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
    return _with(content, {**content.attributes, ATTRIBUTE: text})


def without_report(content: Content) -> Content:
    """Return the content with no report beside it."""
    return _with(content, {name: text for name, text in content.attributes.items() if name != ATTRIBUTE})


def _with(content: Content, attributes: Mapping[str, str]) -> Content:
    return Content(
        content.source, front=content.front, offset=content.offset, edited=content.edited, attributes=attributes
    )


def report_of(content: Content) -> Report | None:
    """Return the report that stands beside a content, None where there is none."""
    text = content.attributes.get(ATTRIBUTE)
    if text is None:
        return None
    try:
        told = json.loads(text)
        return Report(
            message_id=told["message_id"],
            reverse_path=_address(told["reverse_path"]),
            arrived_at=told["arrived_at"],
            recipients=tuple(_recipient(each) for each in told["recipients"]),
            envid=told.get("envid"),
            ret_full=told.get("ret_full", False),
            peer=told.get("peer", ""),
            hand_over=told.get("hand_over"),
        )
    except (ValueError, KeyError, TypeError, IndexError):
        return None


def _recipient(told: Mapping[str, Any]) -> RecipientReport:
    code, text, reply, remote = told["status"][:4]
    return RecipientReport(
        action=Action(told["action"]),
        original=_address(told["original"]),
        final=_address(told["final"]),
        status=Status(code, text, "", reply, remote),
        orcpt=told.get("orcpt"),
        last_attempt_at=told.get("last_attempt_at"),
        retry_until=told.get("retry_until"),
    )


def _plain(address: Address) -> list[str]:
    return [address.network, address.value, address.key]


def _address(parts: Sequence[str]) -> Address:
    network, value, key = parts
    return Address(network, value, key)
