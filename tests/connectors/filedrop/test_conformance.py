"""The file drop keeps the connector contract, both ways: in one process and in two, and with every kind of format."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.filedrop import FileDrop
from gateway.contract import memo
from gateway.testing import Bench, DestinationSuite, RecordingIntake, SourceSuite, fixture_of, numbered, running, sample
from tests.connectors.filedrop.driver import (
    FileDropDriver,
    FtnDriver,
    MaildirDriver,
    NetmailDriver,
    ReplayDriver,
    SmfDriver,
)

BASE: dict[str, Any] = {"network": "mhs", "inbox": "{tmp}/in", "poll_s": 0.5, "max_in_flight": 20}
BOTH = {**BASE, "outbox": "{tmp}/out"}
ALONE = {"isolate": False}


class TestPickup(DestinationSuite, SourceSuite):
    connector = fixture_of(FileDrop, config=BOTH | ALONE, driver=FileDropDriver)


class TestPickupInAProcessOfItsOwn(
    SourceSuite,
    only=(
        "test_acknowledges_after_the_commit_alone",
        "test_unavailable_is_told_as_later",
        "test_rejected_is_told_for_good",
        "test_a_fault_loses_nothing",
        "test_back_pressure_is_the_await",
        "test_stops_within_its_bound",
        "test_a_stop_finishes_what_is_being_accepted",
    ),
):
    """What depends on the process that reads; each test starts it anew."""

    connector = fixture_of(FileDrop, config=BOTH, driver=FileDropDriver)


class TestReplay(DestinationSuite, SourceSuite):
    connector = fixture_of(FileDrop, config=BOTH | ALONE | {"format": "replay"}, driver=ReplayDriver)


class TestMaildir(DestinationSuite, SourceSuite):
    connector = fixture_of(FileDrop, config=BOTH | ALONE | {"format": "maildir"}, driver=MaildirDriver)


class TextSuite(SourceSuite):
    """A source whose format holds text, not octets of a message."""

    @pytest.mark.parametrize("name", ["plain", "dot-lines", "8bit"])
    def test_octets_arrive_as_they_were(self, connector: Bench, name: str) -> None:
        """In place of the kit's own: what is carried is characters, in the format's charset."""
        octets = {"8bit": "X: y\r\n\r\nÄrger mit Öl\r\n".encode("cp437")}.get(name) or sample(name)

        async def body() -> None:
            intake = RecordingIntake(number=connector.driver.number)
            async with running(connector, intake):
                connector.driver.submit(0, octets)
                connector.driver.submit(1, numbered(1))
                await connector.until(
                    lambda: {0, 1} <= connector.driver.acknowledged(), "both are taken", "one was not"
                )
            text = octets.partition(b"\r\n\r\n")[2].decode("cp437").replace("\r\n", "\n")
            found = [memo(one.message.content).text for one in intake.accepted if one.mark is None]
            assert [each.rstrip("\n") for each in found] == [text.rstrip("\n")]

        connector.run(body())


class TestSmf70(TextSuite):
    connector = fixture_of(FileDrop, config=BASE | ALONE | {"format": "smf70"}, driver=SmfDriver)


class TestFtn(TextSuite):
    connector = fixture_of(
        FileDrop,
        config=BASE | ALONE | {"format": "ftn", "network": "ftn", "ftn": {"aka": "2:280/464", "charset": "cp437"}},
        driver=FtnDriver,
    )


class TestNetmailFolder(
    DestinationSuite,
    only=(
        "test_each_recipient_has_its_own_outcome",
        "test_settles_each_as_soon_as_it_is_known",
        "test_may_be_called_several_times_at_once",
        "test_a_broken_next_hop_defers_as_a_whole",
        "test_destination_cancelled_at_every_await_stays_usable",
        "test_destination_killed_at_every_step_loses_nothing",
    ),
):
    """What depends on the folder; that the format carries text, and no octets, is tested with its codec."""

    connector = fixture_of(
        FileDrop,
        config=BOTH
        | ALONE
        | {
            "format": "ftn",
            "network": "ftn",
            "ftn": {"aka": "2:280/464", "layout": "messages", "attachments": "uuencode"},
        },
        driver=NetmailDriver,
    )
