"""Refusals: one line in the log for each answer that says no to a client's mail, whoever said it.

The same fields each time, so that a line is found by the client, by either address and by the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gateway.contract import Address, Origin, Recipient, Status

MOST_SHOWN: Final = 10
"""Recipients that one line names."""


def printable(text: str) -> str:
    """Return what others said as one line that a spool, a log and a terminal take."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def named(recipients: Sequence[Recipient]) -> str:
    """Return recipients as a line shows them."""
    shown = " ".join(f"<{each.address.value}>" for each in recipients[:MOST_SHOWN])
    more = len(recipients) - MOST_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def tell(log: Any, step: str, origin: Origin, sender: Address | None, recipients: str, status: Status) -> None:
    """Tell what the gateway itself refused: at `mail`, at `rcpt`, or at the end of the `content`."""
    line(
        log,
        "refused",
        "gateway",
        step,
        peer=origin.peer,
        helo=origin.helo,
        user=origin.user,
        sender=f"<{'' if sender is None else sender.value}>",
        recipients=recipients,
        status=status,
    )


def line(
    log: Any,
    event: str,
    check: str,
    step: str,
    *,
    peer: str,
    helo: str,
    user: str,
    sender: str,
    recipients: str,
    status: Status | None,
) -> None:
    """Write a line of a refusal; what clients said in it is made printable."""
    log.info(
        event,
        check=check,
        step=step,
        peer=peer,
        helo=helo,
        user=user,
        sender=printable(sender),
        recipients=printable(recipients),
        why="" if status is None else printable(str(status)),
        cause="" if status is None else printable(status.cause),
    )
