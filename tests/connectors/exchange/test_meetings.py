"""A meeting request that comes by mail is one in the mailbox, and one again in what is taken from there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.contract import Delivered
from tests.connectors.exchange.bench import mail
from tests.connectors.exchange.ews_bench import EwsBench
from tests.peers.ews.process import EwsCompany

UID = "040000008200E00074C5B7101A82E00800000000B05C4A1D"
INVITATION = """From: Pat <pat@far.example>
To: ann@acme.example
Subject: Budget
Message-ID: <m@far.example>
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary="b1"

--b1
Content-Type: text/plain; charset=utf-8

Budget, Tuesday at nine.

--b1
Content-Type: text/calendar; charset=utf-8; method={method}

BEGIN:VCALENDAR
PRODID:-//far.example//Calendar//EN
VERSION:2.0
METHOD:{method}
BEGIN:VEVENT
UID:{uid}
DTSTAMP:20261124T010203Z
DTSTART:20261201T090000Z
DTEND:20261201T100000Z
SUMMARY:Budget
ORGANIZER:mailto:pat@far.example
ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:ann@acme.example
SEQUENCE:0
END:VEVENT
END:VCALENDAR

--b1--
"""


@pytest.mark.parametrize(
    ("method", "item_class"),
    [("REQUEST", "IPM.Schedule.Meeting.Request"), ("CANCEL", "IPM.Schedule.Meeting.Canceled")],
)
async def test_a_meeting_stays_one(company: EwsCompany, tmp_path: Path, method: str, item_class: str) -> None:
    octets = INVITATION.format(method=method, uid=UID).replace("\n", "\r\n").encode()
    at = EwsBench(company, tmp_path)
    async with at.running():
        (outcome,) = await at.deliver(mail(1, at.ann, octets=octets))
    assert isinstance(outcome, Delivered)
    (item,) = company.items("ann")
    assert item.item_class == item_class
    assert item.octets == b"Return-Path: <pat@far.example>\r\n" + octets
    assert re.search(rb"method=\"?" + method.encode(), item.shown, re.IGNORECASE), item.shown
    for line in (f"UID:{UID}", f"METHOD:{method}", "DTSTART:20261201T090000Z"):
        assert line.encode() in item.shown
