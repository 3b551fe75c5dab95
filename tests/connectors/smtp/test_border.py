"""What `remove_headers` takes out, both ways; what it must not touch."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from connectors.smtp.config import SmtpConfig
from gateway.contract import Content, Delivered
from tests.connectors.smtp.client_kit import RecordingBatch, config, deliver, parcel
from tests.connectors.smtp.server_kit import serving
from tests.peers.bad_smtp import OFFERS, BadSmtp

NAMES = ("X-MS-Exchange-Organization-*", "x-secret")
KEPT = b"From: a@x.example\r\nX-Secrets: kept\r\n"
BODY = b"\r\nX-Secret: not a field\r\n"
GONE = b"X-Secret: a\r\n b\r\nx-ms-exchange-organization-scl: 9\r\n"


class Octets:
    """Content that is not in memory."""

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self.size = len(octets)

    def read(self, offset: int, length: int) -> bytes:
        return self.octets[offset : offset + length]


async def test_what_goes_out_is_without_them_and_the_outcome_says_so() -> None:
    batch = RecordingBatch(
        [parcel(1, content=GONE + KEPT + BODY), parcel(2, content=KEPT + BODY)],
        later=[[parcel(3, content=KEPT + GONE + BODY)]],
    )
    async with BadSmtp() as peer:
        await deliver(batch, config(peer.port, remove_headers=NAMES))
        assert [message.content for message in peer.messages] == [KEPT + BODY] * 3
    notes = [outcome.notes for _, outcome in sorted(batch.outcomes.items()) if isinstance(outcome, Delivered)]
    told = ["field X-Secret", "field X-Ms-Exchange-Organization-Scl"]
    assert [[note.what for note in each] for each in notes] == [told, [], told]


async def test_what_is_adapted_anew_is_without_them_too() -> None:
    batch = RecordingBatch([parcel(1, content=GONE + KEPT + b"\r\n\xe4\r\n")])
    offers = tuple(offer for offer in OFFERS if offer != "8BITMIME")
    async with BadSmtp(offers=offers) as peer:
        await deliver(batch, config(peer.port, remove_headers=NAMES))
        (message,) = peer.messages
    assert batch.refits == 1
    assert message.content.isascii()
    assert b"secret:" not in message.content.lower()
    assert b"organization" not in message.content


async def test_a_content_that_is_not_in_memory() -> None:
    octets = GONE + KEPT + BODY + b"x" * 400_000 + b"\r\n"
    batch = RecordingBatch([parcel(1, content=Content(Octets(octets)))])
    async with BadSmtp() as peer:
        await deliver(batch, config(peer.port, remove_headers=NAMES))
        (message,) = peer.messages
    assert message.content == octets.removeprefix(GONE)


async def test_what_cannot_be_read_is_deferred_alone() -> None:
    class Broken(Octets):
        def read(self, offset: int, length: int) -> bytes:
            raise OSError("no such disk")

    batch = RecordingBatch([parcel(1, content=Content(Broken(b"x" * 400_000))), parcel(2, content=KEPT + BODY)])
    async with BadSmtp() as peer:
        await deliver(batch, config(peer.port, remove_headers=NAMES))
    assert batch.codes() == ["deferred 4.3.0 message", "delivered 2.0.0"]


async def test_what_comes_in_is_without_them() -> None:
    async with serving(remove_headers=NAMES) as served:
        c = await (await served.dial()).ready()
        await c.send(GONE + KEPT + BODY + b".\r\n")
        assert await c.code() == 250
        large = GONE + KEPT + BODY + b"x" * 70 + b"\r\n"
        large += (b"y" * 70 + b"\r\n") * 5000
        assert await c.say("MAIL FROM:<>", "RCPT TO:<a@acme.example>", "DATA") == [250, 250, 354]
        await c.send(large + b".\r\n")
        assert await c.code() == 250
        assert served.intake.bodies == [KEPT + BODY, large.removeprefix(GONE)]


async def test_a_reload_changes_them_for_new_connections() -> None:
    async with serving() as served:
        listen = served.source._config.listen
        assert served.source.reconfigure(SmtpConfig.model_validate({"listen": listen, "remove_headers": NAMES}))
        assert served.source.reconfigure(SmtpConfig.model_validate({"listen": listen, "remove_headers": ("x-secret",)}))
        c = await (await served.dial()).ready()
        await c.send(GONE + KEPT + BODY + b".\r\n")
        assert await c.code() == 250
        (body,) = served.intake.bodies
    assert body == b"x-ms-exchange-organization-scl: 9\r\n" + KEPT + BODY


@pytest.mark.parametrize("name", ["*", "X Y", "X:", ""])
def test_names_are_checked(name: str) -> None:
    with pytest.raises(ValidationError, match="no name of a header field"):
        SmtpConfig.model_validate({"remove_headers": [name]})
