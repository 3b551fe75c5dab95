"""What the daemon tells of its queue and of addresses, to the user who asks with -bp or -bv."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from gateway.contract import Envelope, Intake, Recipient, Status
from gateway.control import ControlError, ask_all
from gateway.sendmail.taken import Desk, User

MOST: Final = 1000
_EX_NOUSER: Final = 67


async def listed(state_dir: Path, desk: Desk, user: User) -> str:
    """Return the queue as text: for root all of it, else the deliveries from the address that is the user's own."""
    where = {} if user.uid == 0 else {"sender": desk.own_address(user)}
    try:
        answers = await ask_all(state_dir, "queue.list", {"where": where, "limit": MOST}, timeout_s=30.0)
    except ControlError as fault:
        return f"the queue cannot be read: {fault}\n"
    rows: dict[str, dict[str, Any]] = {row["delivery"]: row for answer in answers for row in answer["rows"]}
    if not rows:
        return "the queue is empty\n"
    lines = []
    for delivery, row in rows.items():
        arrived = datetime.fromtimestamp(row["arrived_at"]).strftime("%a %b %d %H:%M:%S")
        reason = f"\n{'':12}({row['reason']})" if row["reason"] else ""
        lines.append(
            f"{delivery:<16} {row['size_bytes']:>9} {arrived}  {row['from'] or '<>'}{reason}\n{'':40}{row['to']}\n"
        )
    noun = "delivery" if len(rows) == 1 else "deliveries"
    more = "; there are more" if any(answer["more"] for answer in answers) else ""
    return "".join(lines) + f"-- {len(rows)} {noun}{more}\n"


def explained(intake: Intake, envelope: Envelope, asked: Sequence[tuple[str, Recipient | Status]]) -> tuple[int, str]:
    """Return an exit status, 0 where all addresses can be written to, and a line for each of them."""
    status, lines = 0, []
    for spec, read in asked:
        refused = read if isinstance(read, Status) else intake.check(envelope, read)
        if refused is not None or isinstance(read, Status):
            status = _EX_NOUSER
            lines.append(f"{spec}... {refused}")
        else:
            lines.append(f"{spec}... deliverable: {_way(intake, read)}")
    return status, "\n".join(lines) + "\n"


def _way(intake: Intake, recipient: Recipient) -> str:
    """Return where mail for a recipient goes, and why, as far as the intake tells it."""
    planner: Any = getattr(intake, "planner", None)
    found: Any = planner.target(recipient.address) if planner is not None else None
    lane = getattr(found, "lane", None)
    if lane is None:
        return getattr(found, "why", "") or "it is taken"
    return f"mailer {lane[0]}, host {lane[1]}, user {found.address.value} ({found.why})"
