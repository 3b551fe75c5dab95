"""winmail.dat on its way into mailboxes, as the `tnef` option says: left, taken apart, or made."""

from __future__ import annotations

import hashlib
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Literal

import pytest

from gateway.adapt import Adapter
from gateway.contract import Delivered
from gateway.tnef import unpack
from tests.connectors.exchange.bench import mail
from tests.connectors.exchange.ews_bench import EwsBench
from tests.gateway.adapt.builders import TABLE, message
from tests.gateway.adapt.test_tnef_step import PLAIN, WHOLE, mixed, packed
from tests.gateway.tnef.test_reader import streams
from tests.peers.ews.process import EwsCompany

Tnef = Literal["keep", "unpack", "make"]


async def through(company: EwsCompany, folder: Path, tnef: Tnef, given: list[bytes]) -> list[bytes]:
    """Adapt mails to what the connector says it takes, and have them delivered; return what a client gets of each."""
    at = EwsBench(company, folder, tnef=tnef)
    async with at.running() as made:
        parcels = []
        for number, octets in enumerate(given, 1):
            stored = message(octets)
            fitted = Adapter(hostname="gw.example").adapt(stored, stored.deliveries, made.capabilities, TABLE)
            parcels.append(mail(number, at.ann, octets=fitted.content.octets()))
        assert all(isinstance(outcome, Delivered) for outcome in await at.deliver(*parcels))
    return [item.shown for item in company.items("ann")]


def read(octets: bytes) -> EmailMessage:
    found = message_from_bytes(octets, policy=policy.default)
    assert isinstance(found, EmailMessage)
    return found


def types(octets: bytes) -> set[str]:
    return {part.get_content_type() for part in read(octets).walk()}


def files(octets: bytes) -> set[str]:
    """Return the digests of a message's files."""
    found = (part.get_payload(decode=True) for part in read(octets).walk() if part["Content-Disposition"])
    return {hashlib.sha256(each).hexdigest() for each in found if isinstance(each, bytes)}


def meeting(octets: bytes) -> list[str]:
    """Return what the calendar part says."""
    parts = [part.get_content() for part in read(octets).walk() if part.get_content_type() == "text/calendar"]
    return sorted(line for part in parts for line in part.replace("\r\n ", "").replace("\n ", "").split())


async def test_samples_are_taken_apart_with_every_file_and_the_meeting(company: EwsCompany, tmp_path: Path) -> None:
    samples = [path.read_bytes() for path in streams()]
    given = [mixed(PLAIN, packed(each)) for each in samples]
    meetings = 0
    for stream, octets, shown in zip(samples, given, await through(company, tmp_path, "unpack", given), strict=True):
        found = unpack(stream)
        assert found is not None
        assert "application/ms-tnef" not in types(shown)
        assert {hashlib.sha256(file.octets).hexdigest() for file in found.files} <= files(shown)
        if found.message_class == "IPM.Appointment":
            meetings += 1
            stored = message(octets)
            told = EwsBench(company, tmp_path, tnef="unpack").build().capabilities
            sent = Adapter(hostname="gw.example").adapt(stored, stored.deliveries, told, TABLE).content.octets()
            assert "BEGIN:VEVENT" in meeting(shown)
            assert meeting(shown) == meeting(sent)
    assert meetings >= 2 or not samples


@pytest.mark.parametrize("tnef", ["keep", "make"])
async def test_it_is_left_or_made(company: EwsCompany, tmp_path: Path, tnef: Tnef) -> None:
    given = mixed(PLAIN, packed(streams()[0].read_bytes())) if tnef == "keep" and streams() else WHOLE
    (shown,) = await through(company, tmp_path, tnef, [given])
    if given is not WHOLE:
        assert files(shown) >= files(given)
    if tnef == "make" or given is not WHOLE:
        assert "application/ms-tnef" in types(shown)
    if tnef == "make":
        (part,) = (each for each in read(shown).walk() if each.get_content_type() == "application/ms-tnef")
        octets = part.get_payload(decode=True)
        assert isinstance(octets, bytes)
        found = unpack(octets)
        assert found is not None
        assert [(file.name, file.octets) for file in found.files] == [("a.pdf", b"not quite a pdf")]
