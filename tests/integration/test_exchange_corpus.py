"""Every message of the corpus goes into a mailbox octet for octet, and each difference of what comes back was told.

The octets that went out are read from the server's own log of requests; before them stands the field that final
delivery writes (RFC 5321 §4.4). What comes back is what the EWS peer makes of
them in honest mode, where it generates MIME anew as Exchange does.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from connectors.exchange.losses import differences
from gateway.contract import Content, Delivered
from tests.connectors.exchange.bench import mail
from tests.connectors.exchange.ews_bench import EwsBench
from tests.integration.test_octets import contents, corpus
from tests.peers.ews.process import EwsCompany

MIME = re.compile(rb"<(?:\w+:)?MimeContent[^>]*>([^<]*)<")
TOGETHER = 100


def chunks(folder: Path) -> Iterator[list[tuple[str, bytes]]]:
    # No mail is empty or blank: each has our trace field at least.
    found = (each for each in contents(folder) if each[1].strip())
    while chunk := list(islice(found, TOGETHER)):
        yield chunk


def digest(octets: bytes) -> bytes:
    return hashlib.sha256(octets).digest()


@pytest.mark.timeout(900)
def test_every_message_of_the_corpus(company: EwsCompany, tmp_path: Path) -> None:
    # Fields of an organisation are kept here: what the header firewall takes out is told, and shown elsewhere.
    at = EwsBench(company, tmp_path, organization_headers="keep", max_message_bytes=64 * 1024 * 1024)
    asyncio.run(_through(at, company, corpus()))


def with_path(octets: bytes) -> bytes:
    return Content(octets).with_prefix(b"Return-Path: <pat@far.example>\r\n").octets()


async def _through(at: EwsBench, company: EwsCompany, folder: Path) -> None:
    told: Counter[str] = Counter()
    sent: dict[bytes, str] = {}
    number = 0
    async with at.running():
        for count, chunk in enumerate(chunks(folder)):
            name = f"corpus{count}"
            company.add(name)
            parcels = []
            for path, octets in chunk:
                number += 1
                sent[digest(with_path(octets))] = path
                parcels.append(mail(number, company.address(name), octets=octets))
            outcomes = await at.deliver(*parcels)
            undelivered = [f"{p}: {o}" for (p, _), o in zip(chunk, outcomes, strict=True) if type(o) is not Delivered]
            assert not undelivered, undelivered[:3]
            backs = {digest(item.octets): item.shown for item in company.items(name)}
            for (path, octets), outcome in zip(chunk, outcomes, strict=True):
                assert isinstance(outcome, Delivered)
                notes = {note.what for note in outcome.notes}
                octets = with_path(octets)
                back = backs.get(digest(octets))
                assert back is not None, f"{path}: it is not there as it was sent"
                found = {note.what for note in differences(Content(octets), Content(back))}
                assert found <= notes, f"{path}: not told: {found - notes}"
                told.update(found or ["nothing"])
    logged = {digest(base64.b64decode(each)) for one in company.log("CreateItem") for each in MIME.findall(one.body)}
    assert logged == set(sent), "what the server was asked to keep is what we had"
    print(f"{number} went in; differences: {', '.join(f'{what}: {count}' for what, count in told.most_common())}")
    assert number > 1500 or not os.environ.get("CI")
