"""A report as JSON, for the status topic."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from connectors.mqtt.properties import clean
from connectors.mqtt.wire.values import Outgoing, Properties
from gateway.contract import RecipientReport, Report, id_text

_KIND: Final = "application/json"


class ReportedRecipient(BaseModel):
    """What became of one recipient."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: Literal["delivered", "relayed", "delayed", "failed", "displayed"] = Field(description="What happened.")
    recipient: str = Field(description="The address as the mail named it, NETWORK:VALUE.")
    final: str = Field(description="Where it was sent.")
    status: str = Field(pattern=r"^[245]\.[0-9]{1,3}\.[0-9]{1,3}$", description="Enhanced status code (RFC 3463).")
    text: str = Field("", description="The same in words.")
    reply: str = Field("", description="What the other side said.")
    remote: str = Field("", description="The other side.")
    last_attempt: str | None = Field(None, description="When it was last tried (RFC 3339).")
    retry_until: str | None = Field(None, description="Until when it will be tried (RFC 3339).")


class ReportDocument(BaseModel):
    """What became of some recipients of a mail that came from a topic."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    message: str = Field(description="The gateway's own name for the mail, as in its log and trace.")
    topic: str = Field("", description="The topic that the mail came from.")
    arrived: str = Field(description="When it came (RFC 3339).")
    envid: str | None = Field(None, description="What the sender called it (RFC 3461).")
    recipients: list[ReportedRecipient] = Field(description="Its recipients.")


def report_payload(report: Report, topic: str) -> Outgoing:
    """Return a report as what is published to a topic."""
    made = ReportDocument(
        message=id_text(report.message_id),
        topic=clean(report.peer),
        arrived=_time(report.arrived_at) or "",
        envid=None if report.envid is None else clean(report.envid),
        recipients=[_recipient(one) for one in report.recipients],
    )
    payload = made.model_dump_json(exclude_none=True).encode()
    return Outgoing(topic, payload, properties=Properties(payload_format=1, content_type=_KIND))


def _recipient(one: RecipientReport) -> ReportedRecipient:
    return ReportedRecipient(
        action=one.action.value,
        recipient=clean(str(one.original)),
        final=clean(str(one.final)),
        status=one.status.code,
        text=clean(one.status.text),
        reply=clean(one.status.reply),
        remote=clean(one.status.remote),
        last_attempt=_time(one.last_attempt_at),
        retry_until=_time(one.retry_until),
    )


def _time(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
