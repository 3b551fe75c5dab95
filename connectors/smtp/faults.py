"""What a peer's refusal means: reply code, enhanced code and stage -> Outcome with its scope.

Refusals of a host (connect, greeting, EHLO, TLS, AUTH) and faults that every message would meet reach the whole
next hop; those of MAIL, DATA and the dot reach the message; those of RCPT, and of the dot under LMTP, one
recipient. What is not known to be final is a deferral.
"""

from __future__ import annotations

import re
from typing import Final

from connectors.smtp.client_wire import Reply, Stage
from gateway.contract import Deferred, Delivered, Failed, Outcome, Scope, Status

# RFC 2034 §4
_ENHANCED: Final = re.compile(rb"([245]\.\d{1,3}\.\d{1,3})(?:[ \t]+|$)")

_DETAIL: Final[dict[int, str]] = {
    # RFC 5321 §4.2.3 read in the terms of RFC 3463, for peers that give no enhanced code.
    421: "3.2",
    450: "2.0",
    451: "3.0",
    452: "3.1",
    454: "7.0",
    455: "5.4",
    500: "5.2",
    501: "5.4",
    502: "5.1",
    503: "5.1",
    504: "5.4",
    521: "3.2",
    530: "7.0",
    534: "7.9",
    535: "7.8",
    538: "7.11",
    550: "1.0",
    551: "1.6",
    552: "3.4",
    553: "1.3",
    554: "0.0",
    555: "5.4",
    556: "1.10",
}

_HOST_STAGES: Final = frozenset((Stage.CONNECT, Stage.GREETING, Stage.HELLO, Stage.STARTTLS, Stage.AUTH, Stage.RSET))

_OURS_TO_MEND: Final = frozenset((530, 534, 535, 538))
"""Wants authentication or TLS (RFC 4954 §6, RFC 3207 §4): every message would meet it, and an operator mends it."""


class HopFault(Exception):
    """Nobody of a next hop can be reached or talked to; `outcome` is that of every recipient of it."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__(str(outcome))


def status(reply: Reply, remote: str, *, text: str = "") -> Status:
    """Return a reply as a Status: the peer's enhanced code where its class agrees, else one made from the code."""
    digit = str(reply.code)[0]
    found = _ENHANCED.match(reply.lines[0])
    if found and found[1][:1] == digit.encode():
        code = found[1].decode()
        said = reply.text[found.end() :]
    else:
        # Cyrus explains in its first lines, and gives the code in the last one alone.
        last = _ENHANCED.match(reply.lines[-1]) if len(reply.lines) > 1 else None
        is_told = last is not None and last[1][:1] == digit.encode()
        code = last[1].decode() if last is not None and is_told else f"{digit}.{_DETAIL.get(reply.code, '0.0')}"
        said = reply.text
    return Status(code, text or said, reply=str(reply), remote=remote)


def taken(reply: Reply, remote: str, *, relayed: bool) -> Delivered:
    """Return the outcome of a recipient that the peer took with a 2xx after the dot."""
    return Delivered(status(reply, remote), relayed=relayed)


def refused(stage: Stage, reply: Reply, remote: str, *, lmtp: bool = False) -> Outcome:
    """Return the outcome of a 4xx or 5xx at `stage`. Pure; the table above says why."""
    said = status(reply, remote)
    if stage in _HOST_STAGES or reply.code in _OURS_TO_MEND:
        # RFC 7504 §4: 521 says that the host takes no mail at all, ever.
        if reply.code == 521 and stage is not Stage.AUTH:
            return Failed(said)
        return Deferred(_temporary(said), Scope.HOP)
    if reply.code == 421:
        return Deferred(said, Scope.HOP)
    if reply.code >= 500:
        return Failed(said)
    if said.code.startswith("4.3."):
        # RFC 3463 §3.4: the mail system itself, not this mailbox. 4.3.4 (too big) is about the message.
        return Deferred(said, Scope.MESSAGE if said.code == "4.3.4" else _system_scope(reply, stage))
    if stage is Stage.RCPT or (lmtp and stage is Stage.DOT):
        return Deferred(said, Scope.RECIPIENT)
    return Deferred(said, Scope.MESSAGE)


def too_many(reply: Reply) -> bool:
    """Whether a refusal at RCPT only says that the transaction is full (RFC 5321 §4.5.3.1.10).

    552 was said for 452 by old servers, which the same section tells clients to treat as 452.
    """
    found = _ENHANCED.match(reply.lines[0])
    detail = found[1][2:] if found else b""
    return detail == b"5.3" or (reply.code in (452, 552) and detail in (b"", b"3.1"))


def _system_scope(reply: Reply, stage: Stage) -> Scope:
    # 451 4.3.0 at RCPT is how greylists and filters speak of one recipient; 452 4.3.1 is a full disk.
    if reply.code == 452 or stage is Stage.MAIL:
        return Scope.HOP
    return Scope.RECIPIENT if stage is Stage.RCPT else Scope.MESSAGE


def _temporary(said: Status) -> Status:
    if not said.is_permanent:
        return said
    return Status("4" + said.code[1:], said.text, said.cause, said.reply, said.remote)


def lost(stage: Stage | None, remote: str, cause: str) -> Status:
    """Return the status of a connection that ended while `stage` was awaited."""
    where = f" while waiting for the answer to {stage.value}" if stage else ""
    return Status("4.4.2", f"the connection to the next hop was lost{where}", cause=cause, remote=remote)


def silent(stage: Stage | None, remote: str, waited_s: float) -> Status:
    """Return the status of a peer that gave no answer in time."""
    where = f" to {stage.value}" if stage else ""
    return Status("4.4.1", f"the next hop gave no answer{where} in {waited_s:g} s", remote=remote)


__all__ = ["HopFault", "lost", "refused", "silent", "status", "taken", "too_many"]
