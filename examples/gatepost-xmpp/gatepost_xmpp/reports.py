"""Reports in chat: receipts, errors, and a line of text for who is not there when an error comes. Pure.

Sources: XEP-0184, XEP-0333; RFC 6121 §8.5.2.1 (an error reaches a device, never a person who is away).
"""

from __future__ import annotations

from typing import Final
from xml.etree import ElementTree

from gatepost_xmpp.config import XmppConfig
from gatepost_xmpp.faults import condition_of
from gatepost_xmpp.stanzas import error, message, receipt
from gateway.contract import Action, Address, Item, RecipientReport, Report

_RECEIPTS: Final = frozenset({Action.DELIVERED, Action.RELAYED, Action.DISPLAYED})


def stanzas_of(report: Report, item: Item, id: str, config: XmppConfig) -> list[ElementTree.Element]:
    """Return what tells a chat user what became of their message. `id` names what is sent."""
    to = item.address.value
    device = report.peer if report.peer.partition("/")[0] == to else to
    made = []
    for n, each in enumerate(report.recipients):
        sender = _sender(each.original, config.domain)
        own = f"{id}-{n}" if n else id
        if each.action in _RECEIPTS:
            if report.envid is not None and config.receipts != "never":
                made.append(receipt(device, sender, own, report.envid, displayed=each.action is Action.DISPLAYED))
            continue
        if each.action is Action.FAILED and report.envid is not None:
            made.append(error(device, sender, report.envid, *condition_of(each.status), each.status.text))
        made.append(message(to, sender, own, type="chat", body=_words(each)))
    return made


def _words(each: RecipientReport) -> str:
    shown = each.final.value if each.final.network == "smtp" else each.original.value
    status = f"{each.status.text} ({each.status.code})" if each.status.text else each.status.code
    if each.action is Action.FAILED:
        return f"Your message to {shown} could not be delivered: {status}."
    return f"Your message to {shown} is late: {status}. It is tried further."


def _sender(address: Address, domain: str) -> str:
    """Return the JID that was written to, where it is one of ours; else the component's."""
    is_ours = address.network == "xmpp" and address.value.rpartition("@")[2] == domain
    return address.value if is_ours else domain
