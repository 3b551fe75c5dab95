"""What Graph loses of a mail is named by what the mail has."""

from __future__ import annotations

import pytest

from connectors.exchange.graph.told import AUTHORS, EMPTY, PRIORITY, RECEIPT, TRACE, ZONE, told
from gateway.contract import Content, Note, memo

TRACES = (b"received", b"arc-")


@pytest.mark.parametrize(
    ("octets", "notes"),
    [
        (b"From: a@x.example\r\nDate: Tue, 24 Nov 2026 01:02:03 +0000\r\n\r\nhi\r\n", []),
        (b"From: a@x.example, b@x.example\r\n\r\nhi\r\n", [AUTHORS]),
        (b"Date: Tue, 24 Nov 2026 01:02:03 +0200\r\n\r\nhi\r\n", [ZONE]),
        (b"Date: someday\r\n\r\nhi\r\n", []),
        (b"Received: a\r\nReceived: b\r\nARC-Seal: c\r\n\r\nhi\r\n", [TRACE]),
        (b"X-Priority: 1\r\nDisposition-Notification-To: a@x.example\r\n\r\nhi\r\n", [PRIORITY, RECEIPT]),
        (b"Subject: nothing\r\n\r\n", [EMPTY]),
    ],
)
def test_what_a_message_loses(octets: bytes, notes: list[Note]) -> None:
    assert list(told(memo(Content(octets)), TRACES)) == notes
