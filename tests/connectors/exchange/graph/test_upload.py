"""Upload sessions: pieces of 320 KiB multiples, told with their place, resumed where they broke."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest

from connectors.exchange.graph.mime import REQUEST_OCTETS
from connectors.exchange.graph.upload import FROM, PIECE, STEP, TRIES, Attachment, Uploads, expected
from connectors.exchange.organisation import Fault, Made, New
from gateway.contract import Content
from tests.connectors.exchange.graph.conftest import Opened
from tests.connectors.exchange.graph.kit import URL, graph, told
from tests.connectors.exchange.graph.test_organisation import large
from tests.peers.graph.process import GraphCompany

FILE = Attachment("a.bin", "application/x-a", bytes(range(256)) * 40_000, "c@x", True)  # 10,240,000 octets
LINK = "https://outlook.test/session?authtoken=1"


class Session:
    """An upload session as Graph keeps it. `breaks`: which PUTs fail, and whether they were taken before."""

    def __init__(self, size: int, breaks: dict[int, tuple[object, bool]] | None = None) -> None:
        self.size, self.breaks = size, breaks or {}
        self.octets = bytearray()
        self.puts = 0
        self.pieces: list[tuple[int, int]] = []
        self.asked: dict[str, object] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("createUploadSession"):
            self.asked = json.loads(request.content)
            return httpx.Response(201, json={"uploadUrl": LINK, "nextExpectedRanges": ["0-"]})
        assert str(request.url) == LINK
        assert "authorization" not in request.headers
        if request.method == "GET":
            return self._state(200)
        self.puts += 1
        how, is_taken = self.breaks.get(self.puts, (None, True))
        if is_taken:
            self._take(request)
        if isinstance(how, Exception):
            raise how
        if how is not None:
            assert isinstance(how, httpx.Response)
            return how
        return httpx.Response(201) if len(self.octets) == self.size else self._state(200)

    def _take(self, request: httpx.Request) -> None:
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", request.headers["content-range"])
        assert found is not None
        start, end, size = map(int, found.groups())
        assert (start, size, end - start + 1) == (len(self.octets), self.size, len(request.content))
        self.pieces.append((start, end))
        self.octets += request.content

    def _state(self, status: int) -> httpx.Response:
        left = [f"{len(self.octets)}-"] if len(self.octets) < self.size else []
        return httpx.Response(status, json={"nextExpectedRanges": left})


async def upload(session: Session) -> None:
    peer = graph(session)
    await Uploads(peer.client, URL).put("a@b.example", "/users/a@b.example/messages/1", FILE)


async def test_pieces_are_multiples_of_320_kib_but_the_last() -> None:
    session = Session(len(FILE.octets))
    await upload(session)
    assert bytes(session.octets) == FILE.octets
    sizes = [end - start + 1 for start, end in session.pieces]
    assert sizes[:-1] == [PIECE] * (len(sizes) - 1)
    assert PIECE % STEP == 0
    assert PIECE <= 4 * 1000 * 1000
    assert session.asked == {
        "AttachmentItem": {
            "attachmentType": "file",
            "name": "a.bin",
            "size": 10_240_000,
            "contentType": "application/x-a",
            "isInline": True,
            "contentId": "c@x",
        }
    }


@pytest.mark.parametrize("taken", [True, False])
@pytest.mark.parametrize("how", [httpx.ReadError("cut"), httpx.ConnectError("away"), told(502), httpx.Response(200)])
async def test_a_piece_that_broke_is_resumed_where_the_session_is(how: object, taken: bool) -> None:
    session = Session(len(FILE.octets), {2: (how, taken)})
    await upload(session)
    assert bytes(session.octets) == FILE.octets


async def test_a_session_that_takes_nothing_is_given_up() -> None:
    session = Session(len(FILE.octets), {n: (httpx.ReadError("cut"), False) for n in range(2, 99)})
    with pytest.raises(Fault) as caught:
        await upload(session)
    assert caught.value.why == "unknown"
    assert session.puts == 1 + TRIES


async def test_an_end_that_was_not_confirmed_is_unknown() -> None:
    last = -(-len(FILE.octets) // PIECE)
    session = Session(len(FILE.octets), {last: (httpx.ReadError("cut"), True)})
    with pytest.raises(Fault, match="not confirmed"):
        await upload(session)


async def test_a_refusal_is_told_at_once() -> None:
    session = Session(len(FILE.octets), {1: (told(507, "ErrorQuotaExceeded"), False)})
    with pytest.raises(Fault, match="ErrorQuotaExceeded"):
        await upload(session)
    assert session.puts == 1


@pytest.mark.parametrize("link", ["http://outlook.test/x", "ftp://outlook.test/x", 7, None])
async def test_octets_go_to_no_link_in_the_clear(link: object) -> None:
    peer = graph(lambda _: httpx.Response(201, json={"uploadUrl": link}))
    with pytest.raises(Fault, match="no link that is safe"):
        await Uploads(peer.client, URL).put("a@b.example", "/users/a/messages/1", FILE)
    assert len(peer.seen) == 1


@pytest.mark.parametrize(
    ("ranges", "start"),
    [
        (["0-"], 0),
        (["65-99"], 65),
        ("7-", 7),
        ([], 100),
        (None, None),
        (["x"], None),
        ([-1], None),
        (["101-"], None),
        ([5], 5),
    ],
)
def test_what_a_session_expects(ranges: object, start: int | None) -> None:
    assert expected({"nextExpectedRanges": ranges}, 100) == start


async def test_the_peer_takes_what_we_send_by_the_right_way(company: GraphCompany, opened: Opened) -> None:
    """Files of 3 MB and more by a session, smaller ones that do not fit by a request, the rest within the first."""
    organisation, ann = await opened(), company.address("ann")
    inbox = await organisation.folder(ann, "inbox")
    before = len(company.log(whole=False))
    (made,) = await organisation.create(ann, inbox, [New("k1", Content(large()))])
    assert isinstance(made, Made)
    asked = [each.operation for each in company.log()[before:]]
    assert asked.count("CreateUploadSession") == 1
    assert asked.count("Upload") == 2
    assert asked.count("AddAttachment") == 1
    assert asked[-1] == "MoveMessage"
    assert FROM < 3_500_000 < REQUEST_OCTETS + 1


@pytest.mark.parametrize("size", [2_899_999, 2_900_000, 3_000_000, 3 * 1024 * 1024 - 1000, 3 * 1024 * 1024])
async def test_a_file_of_about_three_megabytes_goes_some_way(company: GraphCompany, opened: Opened, size: int) -> None:
    organisation, ann = await opened(), company.address("ann")
    inbox = await organisation.folder(ann, "inbox")
    octets = b"From: a@b.example\r\nContent-Type: application/x-a; name=a.bin\r\n\r\n" + bytes(size)
    (made,) = await organisation.create(ann, inbox, [New("k1", Content(octets))])
    assert isinstance(made, Made), made
    assert len(company.items("ann", whole=False)) == 1


@pytest.mark.parametrize("kind", ["cut_before", "cut_after", "truncate"])
async def test_a_piece_cut_at_the_peer_is_resumed(company: GraphCompany, opened: Opened, kind: Any) -> None:
    organisation, ann = await opened(), company.address("ann")
    inbox = await organisation.folder(ann, "inbox")
    company.fault("Upload", kind, nth=1)
    (made,) = await organisation.create(ann, inbox, [New("k1", Content(large()))])
    assert isinstance(made, Made), made
    assert len(company.items("ann", whole=False)) == 1
    assert [each.answered for each in company.log("Upload")][:1] == ["cut"]


async def test_large_mail_can_be_refused_instead(company: GraphCompany, opened: Opened) -> None:
    organisation, ann = await opened(large="fail"), company.address("ann")
    inbox = await organisation.folder(ann, "inbox")
    big, small = await organisation.create(
        ann, inbox, [New("k1", Content(large())), New("k2", Content(b"A: b\r\n\r\n"))]
    )
    assert isinstance(big, Fault)
    assert big.code == "ErrorMessageSizeExceeded"
    assert isinstance(small, Made)
    assert company.items("ann", "drafts", whole=False) == []
