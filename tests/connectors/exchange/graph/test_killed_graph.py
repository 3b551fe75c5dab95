"""Graph's connector killed before requests, and before answers: nothing is lost, and nothing doubled.

Before every one in `make soak`; in `make test` before one of three, and of six where a mail is large.
Parts of a batch count as requests of their own: a kill before one is done finds others of its batch done or not.
"""

from __future__ import annotations

import base64
import email
import hashlib
from pathlib import Path
from typing import Final

import pytest

from connectors.exchange.graph import Graph
from tests.connectors.exchange.kit import mail
from tests.connectors.exchange.test_killed import HOW, IS_SOAK, every_request, put, take
from tests.peers.graph.process import GraphPeer
from tests.peers.organisation import Company

FILES: Final = {"big.bin": bytes(range(256)) * 14_000, "small.bin": bytes(range(256)) * 1_000}
"""One that goes by an upload session, and one that goes by itself."""
ENCODED: Final = {name: base64.encodebytes(octets).replace(b"\n", b"\r\n") for name, octets in FILES.items()}


def large(number: int, company: Company, *, to: str) -> bytes:
    """Return a mail that does not fit into one request."""
    head = mail(number, company, to=to, more=["MIME-Version: 1.0", 'Content-Type: multipart/mixed; boundary="files"'])
    parts = [
        head.partition(b"\r\n\r\n")[0],
        b"",
        b"--files",
        b"Content-Type: text/plain",
        b"",
        b"With files.",
        b"--files",
    ]
    for name, encoded in ENCODED.items():
        disposition = f'Content-Disposition: attachment; filename="{name}"'.encode()
        kind = b"Content-Type: application/octet-stream"
        parts += [kind, disposition, b"Content-Transfer-Encoding: base64", b"", encoded, b"--files"]
    return b"\r\n".join(parts) + b"--\r\n"


def files_of(octets: bytes) -> dict[str | None, str]:
    """Return the digests of a message's files."""
    parts = [each for each in email.message_from_bytes(octets).walk() if each.get_filename()]
    return {each.get_filename(): hashlib.sha256(bytes(each.get_payload(decode=True))).hexdigest() for each in parts}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", HOW)
def test_what_is_taken_comes_once(tmp_path: Path, graph_peer: GraphPeer, how: str) -> None:
    def one(folder: Path, nth: int) -> bool:
        return take(folder, graph_peer.organisation("ann"), nth, how, Graph)

    assert every_request(tmp_path, one) >= 6, "a token, folders, a page, the items, and two moves"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", HOW)
def test_what_is_put_into_a_mailbox_is_there_once(tmp_path: Path, graph_peer: GraphPeer, how: str) -> None:
    def one(folder: Path, nth: int) -> bool:
        return put(folder, graph_peer.organisation("ann", "bob"), nth, how, Graph)

    assert every_request(tmp_path, one) >= 4


@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", HOW)
def test_what_is_sent_arrives_once(tmp_path: Path, graph_peer: GraphPeer, how: str) -> None:
    def one(folder: Path, nth: int) -> bool:
        company = graph_peer.organisation("ann", "bob")
        return put(folder, company, nth, how, Graph, mode="send", send_as=company.address("ann"))

    assert every_request(tmp_path, one) >= 6


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("how", "mode"), [("never", "deliver"), ("held", "deliver"), ("held", "send")])
def test_a_large_mail_is_there_once_and_whole(tmp_path: Path, graph_peer: GraphPeer, how: str, mode: str) -> None:
    def one(folder: Path, nth: int) -> bool:
        company = graph_peer.organisation("ann", "bob")
        options = {"mode": "send", "send_as": company.address("ann")} if mode == "send" else {}
        held = put(folder, company, nth, how, Graph, written=large, count=1, **options)
        (item,) = company.items("bob")
        assert files_of(item.shown) == {name: hashlib.sha256(octets).hexdigest() for name, octets in FILES.items()}
        if mode == "deliver":
            assert company.items("bob", "drafts", whole=False) == []
        return held

    every = 1 if IS_SOAK else 6
    assert every_request(tmp_path, one, every) >= 7, (
        "a token, folders, the look-up, the mail, a session, its ranges, a file"
    )
