"""Local delivery keeps the connector contract, into every format of mailbox."""

from __future__ import annotations

from connectors.folders.local import Local
from gateway.testing import DestinationSuite, fixture_of
from tests.connectors.folders.local.driver import MaildirBoxes, MboxBoxes, MmdfBoxes

PATH = {"path": "{tmp}/mail/{user}"}


class TestMaildir(DestinationSuite):
    connector = fixture_of(Local, config=PATH, driver=MaildirBoxes)


class TestMbox(DestinationSuite):
    connector = fixture_of(Local, config=PATH | {"format": "mbox"}, driver=MboxBoxes)


class TestMmdf(
    DestinationSuite,
    only=(
        "test_delivers_and_settles_each",
        "test_carries_what_it_declares",
        "test_each_recipient_has_its_own_outcome",
        "test_a_broken_next_hop_defers_as_a_whole",
    ),
):
    """What depends on the format; the rest is as with mbox."""

    connector = fixture_of(Local, config=PATH | {"format": "mmdf"}, driver=MmdfBoxes)
