"""Rows: what is written of a message whose envelope came before, and goes elsewhere by now."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.message import Content, Envelope, Notify, Origin, Recipient
from gateway.spool import rows
from gateway.spool.api import State, Stored
from tests.gateway.spool.builders import LANE, OTHER_LANE, Clock, Maker, smtp

HEAD = b'Message-ID: <"a"@b>\r\nSubject: s\r\n\r\n'


def stored(
    envelope: Envelope, *, body: bytes = b"x", why: str = "a rule", address: str = "bob@there.example"
) -> Stored:
    made = Maker(Clock()).message(content=Content(HEAD + body))
    (only,) = made.deliveries
    asked = envelope.recipients[0].address
    return replace(
        made,
        envelope=envelope,
        deliveries=(replace(only, address=smtp(address), original=asked),),
        why=(why,),
    )


def plain(peer: str = "in/p7") -> Envelope:
    return Envelope(
        smtp("ann@acme.example"), (Recipient(smtp("Bob@there.example")),), Origin("things", peer=peer, trusted=True)
    )


def told(message: Stored) -> dict[str, object]:
    found: dict[str, object] = json.loads(rows.fresh_rows(message, None, 1)[2][5])
    return found


def test_messages_in_one_envelope_are_told_each_by_its_own_size_and_name() -> None:
    envelope = plain()
    first, second = stored(envelope), stored(envelope, body=b"longer")
    fresh = {"from": "smtp:ann@acme.example", "connector": "things", "peer": "in/p7", "message_id": '<"a"@b>'}
    for message in (first, second, first):
        to = [["smtp:Bob@there.example", "smtp:bob@there.example", *LANE, "a rule"]]
        assert told(message) == fresh | {"to": to, "size": message.content.size}
        assert rows.envelope_from(rows.envelope_text(envelope)) == envelope


@pytest.mark.parametrize(
    "changed", [{"why": "another rule"}, {"address": "BOB@there.example"}, {"address": "bob@elsewhere.example"}]
)
def test_an_envelope_that_goes_elsewhere_by_now_is_told_anew(changed: dict[str, str]) -> None:
    envelope = plain()
    before, after = told(stored(envelope)), told(stored(envelope, **changed))
    assert before != after
    assert told(stored(envelope)) == before


def test_an_envelope_that_goes_by_another_lane_is_told_anew() -> None:
    message = stored(plain())
    (only,) = message.deliveries
    moved = replace(message, deliveries=(replace(only, lane=OTHER_LANE),))
    assert told(message) != told(moved)


def test_envelopes_that_are_equal_are_written_as_each_is() -> None:
    one = plain()
    other = replace(one, recipients=(Recipient(smtp("bob@there.example")),))
    assert one == other
    assert rows.envelope_text(one) != rows.envelope_text(other)


def test_so_many_envelopes_are_known_and_no_more() -> None:
    kept = [plain(f"in/p{number}") for number in range(3 * rows._MOST_KNOWN)]
    texts = [rows.envelope_text(each) for each in kept]
    assert len(rows._known) <= rows._MOST_KNOWN
    assert [rows.envelope_text(each) for each in kept] == texts
    assert len(set(texts)) == len(kept)


@pytest.mark.parametrize("origin", [Origin("mx", peer="192.0.2.1", helo="peer.example")])
def test_an_envelope_of_one_message_is_not_kept(origin: Origin) -> None:
    envelope = replace(plain(), origin=origin)
    rows.envelope_text(envelope)
    assert id(envelope) not in rows._known


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"address": smtp("BOB@there.example")},
        {"original": smtp("bob@there.example")},
        {"lane": OTHER_LANE},
        {"notify": Notify.NEVER},
        {"orcpt": "rfc822;bob@there.example"},
        {"sender": "eve@acme.example"},
        {"priority": 3},
        {"at_once": False, "reason": "4.4.1 closed", "next_attempt_at": 7.0},
        {"state": State.HELD, "reason": "held"},
        {"expires_at": 9.0},
    ],
    ids=str,
)
def test_a_delivery_that_is_remembered_in_part_is_written_as_any_other(changed: dict[str, Any]) -> None:
    envelope = plain()
    message = stored(envelope)
    other = replace(message, deliveries=(replace(message.deliveries[0], **changed),))
    for each in (message, other, other, message):
        assert rows.fresh_rows(each, None, 1)[1] == [rows.delivery_row(d) for d in each.deliveries]
