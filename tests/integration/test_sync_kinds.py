"""Calendars, contacts and tasks from one Exchange organisation to another."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

import pytest

from connectors.exchange import calendars
from connectors.exchange.calendars import Task
from connectors.exchange.ews import Ews
from connectors.exchange.properties import DELIVERY, PROPERTY_SET
from gateway.sync.values import Policy
from tests.integration.sync_pair import At, Waits, bring_in_step, mail
from tests.peers.ews.process import EwsCompany, EwsPeer

KEY = f"{PROPERTY_SET}/{DELIVERY}"
EXTENDED = {"0x1090": "2", "{00062008-0000-0000-c000-000000000046}/0x8502": "2026-12-01T09:00:00Z"}
MOMENT_S = 0.5
CARD = b"BEGIN:VCARD\r\nVERSION:3.0\r\nN:Lee;Ann\r\nFN:Ann Lee\r\nEMAIL:ann@acme.example\r\nEND:VCARD\r\n"
CLASSES = {"calendar": "IPM.Appointment", "contacts": "IPM.Contact", "tasks": "IPM.Task", "inbox": "IPM.Note"}


class Brief(Waits):
    """A clock by which a minute that Exchange is left alone is over in a moment, but no sooner."""

    async def _sleep(self, wait_s: float) -> None:
        await asyncio.sleep(min(wait_s, MOMENT_S))
        await super()._sleep(wait_s)


def event(number: int, what: str) -> bytes:
    """Return an appointment."""
    return (
        f"BEGIN:VCALENDAR\r\nPRODID:-//Acme//Calendar//EN\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:{number}@acme.example\r\n"
        "DTSTAMP:20261124T010203Z\r\nDTSTART:20261201T090000Z\r\nDTEND:20261201T100000Z\r\n"
        f"SUMMARY:{what}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    ).encode()


CONTENTS = {
    "calendar": [event(1, "Budget"), event(2, "Lunch")],
    "contacts": [CARD],
    "tasks": [calendars.write(Task("Write the report", "with figures", uid="u1"))],
    "inbox": [mail(1)],
}


def held(company: EwsCompany, folder: str) -> list[tuple[object, ...]]:
    """Return all that is in a folder, as Exchange keeps it; not the key by which what was put in is found again."""
    return sorted(
        (
            item.octets, item.item_class, item.received_at, item.is_read, item.categories,
            sorted((key, value) for key, value in item.properties.items() if key != KEY),
        )
        for item in company.items("ann", folder)
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["copy", "two-way"])
def test_what_is_no_mail_goes_along_whole(ews_peer: EwsPeer, tmp_path: Path, mode: Literal["copy", "two-way"]) -> None:
    acme, bolt = ews_peer.organisation("ann", honest=False), ews_peer.organisation("ann", honest=False)
    for folder, contents in CONTENTS.items():
        for content in contents:
            acme.put(
                "ann", content, folder=folder, item_class=CLASSES[folder], categories=["red"],
                received_at=1_600_000_000, is_read=True, extended=EXTENDED if folder != "inbox" else {},
            )  # fmt: skip
    left, right = (At(Ews, company.access(), company.address("ann")) for company in (acme, bolt))
    policy = Policy(mode=mode, delete="remove", min_removed=100)
    if (
        mode == "two-way"
    ):  # what is uploaded beside is in no folder; what is moved into one is there, and known by its key
        bolt.fault("UploadItems", "cut_after", nth=1)
        bolt.fault("MoveItem", "cut_after", nth=1)
    result = bring_in_step(left, right, tmp_path, policy, waits=Brief())
    report = result.report
    assert (report.copied + report.adopted, report.problems, result.left_out) == (5, 0, [])
    assert (report.adopted > 0) is (mode == "two-way")
    for folder in ("calendar", "contacts", "tasks"):
        assert held(bolt, folder) == held(acme, folder)
    for _ in range(2):
        report = bring_in_step(left, right, tmp_path, policy, waits=Brief()).report
        assert (report.copied, report.flagged, report.removed, report.conflicts) == (0, 0, 0, 0)
    assert report.read == 0

    (lunch,) = [item.id for item in acme.items("ann", "calendar") if b"Lunch" in item.octets]
    acme.edit("ann", lunch, event(2, "Lunch at noon"))
    report = bring_in_step(left, right, tmp_path, policy, waits=Brief()).report
    assert (report.copied, report.problems) == (1, 0)
    assert held(bolt, "calendar") == held(acme, "calendar")
    assert sorted(item.octets for item in bolt.items("ann", "calendar")) == [
        event(1, "Budget"),
        event(2, "Lunch at noon"),
    ]
    for file in tmp_path.glob("*.sqlite*"):
        file.unlink()
    report = bring_in_step(left, right, tmp_path, policy, waits=Brief()).report
    assert (report.copied, report.adopted) == (0, 5)
    if mode == "two-way":
        (budget,) = [item.id for item in bolt.items("ann", "calendar") if b"Budget" in item.octets]
        bolt.edit("ann", budget, event(1, "Budget of the year"))
        bring_in_step(left, right, tmp_path, policy, waits=Brief())
        assert held(acme, "calendar") == held(bolt, "calendar")
        assert len(acme.items("ann", "calendar")) == 2
