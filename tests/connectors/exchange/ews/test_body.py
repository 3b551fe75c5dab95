"""Requests whose contents are encoded while they are sent: the octets that a whole encoding would give."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.exchange.ews.body import PIECE, Body
from gateway.contract import Content
from tests.connectors.exchange.ews.kit import mail, new, organisation
from tests.peers.ews.process import EwsPeer

MIB = 1024 * 1024


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=400))), st.integers(1, 100), st.binary(max_size=30))
def test_parts_come_in_their_order_in_whatever_pieces_are_asked(
    parts: list[tuple[bool, bytes]], size: int, front: bytes
) -> None:
    given_ = [Content(octets, front=front) if encoded else octets for encoded, octets in parts]
    wanted = b"".join(b64encode(front + octets) if encoded else octets for encoded, octets in parts)
    body = Body(given_)
    assert len(body) == len(wanted)
    assert b"".join(body) == wanted
    for _ in range(2):  # it begins anew after its end
        read = b""
        while piece := body.read(size):
            assert len(piece) <= size
            read += piece
        assert read == wanted
    assert body.read() == wanted


def test_it_begins_anew_where_it_is_told_to() -> None:
    body = Body([b"<a>", Content(b"x" * (3 * PIECE + 1)), b"</a>"])
    whole = body.read()
    assert body.tell() == 0
    body.read(10)
    body.seek(-len(body), 1)
    assert body.read() == whole


@pytest.mark.parametrize("auth", ["basic", "ntlm"])
async def test_large_and_small_go_together(ews_peer: EwsPeer, tmp_path: Path, auth: str) -> None:
    company = ews_peer.organisation("ann", honest=False)
    ann = company.address("ann")
    octets = [mail("a"), mail("b", body=bytes(range(256)) * 4000 + b"xy"), mail("*"), mail("d", body=b"d" * MIB)]
    async with organisation(tmp_path, **company.access(auth=auth)) as exchange:
        inbox = await exchange.folder(ann, "inbox")
        # the first request of a connection: by NTLM it is sent three times
        exchange._reach._line.close()  # type: ignore[union-attr]
        items = [new(f"1.{n}", each, categories=("*", "MimeContent>*</")) for n, each in enumerate(octets)]
        await exchange.create(ann, inbox, items)
    assert [each.octets for each in company.items("ann")] == octets


CHILD = """
import asyncio, json, os, sys
from pathlib import Path
from tests.connectors.exchange.ews.kit import new, organisation
from tests.peers.process import vm_hwm_bytes

options, ann, size, way, folder = json.loads(sys.argv[1])

async def main():
    async with organisation(Path(folder), **options) as exchange:
        inbox = await exchange.folder(ann, "inbox")
        seen = (await exchange.page(ann, inbox, None)).seen
        octets = b"Subject: x\\r\\n\\r\\n" + b"x" * size if way == "in" else b""
        before = vm_hwm_bytes(os.getpid())
        if way == "in":
            (made,) = await exchange.create(ann, inbox, [new("1.1", octets)])
            assert made.ref is not None
        else:
            async for _, found in exchange.mime(seen):
                assert len(found.octets()) > size
        print((vm_hwm_bytes(os.getpid()) - before) / size)

asyncio.run(main())
"""


@pytest.mark.parametrize(("way", "times"), [("in", 0.5), ("out", 3.0)])
def test_a_large_mail_takes_little_more_memory_than_itself(
    ews_peer: EwsPeer, tmp_path: Path, way: str, times: float
) -> None:
    company, size = ews_peer.organisation("ann", honest=False), 20 * MIB
    if way == "out":
        company.put("ann", b"Subject: x\r\n\r\n" + b"x" * size)
    asked: list[Any] = [company.access(), company.address("ann"), size, way, str(tmp_path)]
    command = [sys.executable, "-c", CHILD, json.dumps(asked)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=Path(__file__).parents[4])
    assert ran.returncode == 0, ran.stderr
    assert float(ran.stdout) <= times
