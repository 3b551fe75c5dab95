"""The notification that an SMF system gets about a message it sent.

The form is ours, for no public text shows one: Subject `Delivery notification: ...`, In-reply-to the message's own
identifier, Return-notification-reason the status, and a line of text for each recipient.
"""

from __future__ import annotations

from email.utils import formatdate

from connectors.filedrop.formats.addresses import write_one
from connectors.filedrop.formats.smf.grammar import EOL, clean, line, list_lines
from connectors.filedrop.formats.smf.people import postmaster, written
from connectors.filedrop.formats.smf.settings import MAX_LINE, SMF70, SmfSettings
from connectors.filedrop.formats.values import Encoded, Options
from connectors.filedrop.names import dos_stem
from gateway.contract import Action, Mailbox, RecipientReport, Report

_WORST_FIRST = (Action.FAILED, Action.DELAYED, Action.RELAYED, Action.DELIVERED, Action.DISPLAYED)


def notice(name: str, report: Report, key: str, options: Options, settings: SmfSettings) -> Encoded | None:
    """Return the notification file. Pure. None where the address cannot be written."""
    limit = MAX_LINE if name == SMF70 else None
    worst = min(report.recipients, key=lambda one: _WORST_FIRST.index(one.action), default=None)
    reason = "no recipient" if worst is None else f"{worst.action.value} {worst.status.code}"
    at = max((one.last_attempt_at or 0.0 for one in report.recipients), default=0.0) or report.arrived_at
    to = written(Mailbox("", report.reverse_path), options, settings.charset)
    sender = written(Mailbox("Gatepost", postmaster(options, settings)), options, settings.charset)
    if to is None:
        return None
    lines = [
        "SMF-70" if name == SMF70 else "SMF-71",
        *list_lines("To", [to], MAX_LINE),
        *list_lines("From", [sender] if sender else [], MAX_LINE),
        f"Subject: Delivery notification: {reason}",
        f"Date: {formatdate(at)}",
        *(line("In-reply-to", key, limit) if clean(key) else []),
        *line("Return-notification-reason", reason, limit),
        "",
        *(_told(one, options) for one in report.recipients),
    ]
    octets = b"".join(one.encode(settings.charset, "replace") + EOL for one in lines)
    if settings.separator:
        octets += settings.separator.encode("ascii") + EOL
    # It is a message like any other there, so its name is that of one; the same report gets the same.
    return Encoded(lambda: (octets,), name=dos_stem(f"{report.message_id} {octets.decode('latin-1')}"))


def _told(one: RecipientReport, options: Options) -> str:
    address = write_one(one.original, options.network)
    return clean(f"{address}: {one.action.value}, {one.status}")
