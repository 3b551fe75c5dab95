"""A small connector for tests of the whole gateway: messages and reports as files of a folder.

In: `in/NAME.msg`, whose first line is the sender and whose second line the recipients. Out: `out/`, a message as its
recipient's address, a line end, and its octets; a report as JSON. Recipients that begin with `bad` are refused; while
`closed` lies in the folder, everything waits.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from gateway.contract import (
    Address,
    Batch,
    Capabilities,
    Connector,
    ConnectorConfig,
    Content,
    Deferred,
    Delivered,
    Envelope,
    Failed,
    Intake,
    Message,
    Notify,
    Origin,
    Outcome,
    Parcel,
    Recipient,
    Report,
    Scope,
    Status,
)
from mappings.network import network


class CarrierConfig(ConnectorConfig):
    """Options of the carrier."""

    folder: str = Field(description="Where it keeps its files.")
    reports: bool = Field(False, description="It takes reports.")


class Carrier(Connector):
    """Carries files of the mhs network."""

    Config: ClassVar[type[ConnectorConfig]] = CarrierConfig

    def __init__(self, name: str, config: Any, context: Any) -> None:
        super().__init__(name, config, context)
        self.takes_reports = config.reports
        self.folder = Path(config.folder)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(header_networks=("mhs",), bare_newlines=True)

    async def run(self, intake: Intake) -> None:
        while True:
            for path in sorted((self.folder / "in").glob("*.msg")):
                sender, to, octets = path.read_bytes().split(b"\n", 2)
                envelope = Envelope(
                    network("mhs").parse(sender.decode()),
                    tuple(
                        Recipient(network("mhs").parse(each), Notify.SUCCESS | Notify.FAILURE, f"mhs;{each}")
                        for each in to.decode().split(",")
                    ),
                    Origin(self.name, trusted=True),
                    envid=path.stem,
                    dedupe_key=path.name,
                )
                await intake.accept(Message(envelope, Content(octets)), report=True)
                path.unlink()
            await asyncio.sleep(0.01)

    def next_hop(self, address: Address) -> str:
        return address.value.rpartition("@")[2]

    async def deliver(self, batch: Batch) -> None:
        for parcel in batch.parcels:
            for item in parcel.items:
                batch.settle(item.id, self._put(parcel, item.id, item.address))

    def _put(self, parcel: Parcel, id: tuple[int, int], address: Address) -> Outcome:
        if (self.folder / "closed").exists():
            return Deferred(Status("4.3.0", "closed"), Scope.HOP, retry_after_s=0.1)
        if address.value.startswith("bad"):
            return Failed(Status("5.1.1", "nobody of that name", reply="550 no"))
        name = f"{id[0]}-{id[1]}"
        if parcel.report is not None:
            (self.folder / "out" / f"{name}.json").write_text(json.dumps(told(parcel.report)))
        else:
            octets = b"".join(parcel.content.chunks())
            (self.folder / "out" / f"{name}.msg").write_bytes(address.value.encode() + b"\n" + octets)
        return Delivered()


def told(report: Report) -> dict[str, Any]:
    return {
        "to": str(report.reverse_path),
        "envid": report.envid,
        "hand_over": report.hand_over,
        "recipients": [
            [r.action.value, str(r.original), r.orcpt, r.status.code, r.status.reply] for r in report.recipients
        ],
    }
