"""DSN."""

from __future__ import annotations

from typing import Final

from gateway.message import Notify
from gateway.report import Action
from mappings.address import Address

_WANTED: Final = {
    Action.DELIVERED: Notify.SUCCESS,
    Action.RELAYED: Notify.SUCCESS,
    Action.FAILED: Notify.FAILURE,
    Action.DELAYED: Notify.DELAY,
}


def due(action: Action, notify: Notify, reverse_path: Address | None) -> bool:
    """Say whether a DSN is to be given.

    Never for a null reverse-path (RFC 5321 §6.1), never for NOTIFY=NEVER. Where NOTIFY was absent: for failures and
    delays (RFC 3461 §4.1). Nothing that a header says (Auto-Submitted, Precedence) is asked: RFC 3834 is about
    responders, and a failure that nobody hears of is mail lost. `displayed` is no DSN; see `gateway.mdn`.
    """
    if reverse_path is None or notify & Notify.NEVER:
        return False
    if not notify:
        return action in (Action.FAILED, Action.DELAYED)
    return bool(notify & _WANTED.get(action, 0))
