"""Every message of the corpus goes into a mailbox by Graph, and what comes back otherwise was told by a note.

Graph keeps less than EWS: what is compared is the text, each file octet for octet, and the fields that people and
programs read; what of these does not come back has a note of its own.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from itertools import islice

import pytest

from connectors.exchange.graph.mime import build, is_sealed
from connectors.exchange.graph.organisation import GraphOrganisation
from connectors.exchange.losses import predict
from connectors.exchange.organisation import Fault, Made, New
from gateway.contract import Content, Memo, memo
from tests.connectors.exchange.graph.conftest import Opened
from tests.integration.test_octets import contents, corpus
from tests.peers.graph.process import GraphCompany

TOGETHER = 100


def chunks() -> Iterator[list[tuple[str, bytes]]]:
    found = (each for each in contents(corpus()) if each[1].strip())
    while chunk := list(islice(found, TOGETHER)):
        yield chunk


@pytest.mark.timeout(900)
async def test_every_message_of_the_corpus(company: GraphCompany, opened: Opened) -> None:
    organisation = await opened(max_message_bytes=64 * 1024 * 1024)
    told: Counter[str] = Counter()
    untold: list[str] = []
    number = 0
    for count, chunk in enumerate(chunks()):
        mailbox = company.add(f"corpus{count}")
        backs = await through(organisation, mailbox, [octets for _, octets in chunk])
        for (path, octets), back in zip(chunk, backs, strict=True):
            number += 1
            notes = {note.what for note in (*predict(Content(octets)), *build(New("k", Content(octets))).notes)}
            found = set(different(octets, back))
            told.update(found or ["nothing"])
            untold += [f"{path}: {what} not told by {notes}" for what in found if not covered(what, notes)]
    print(f"{number} went in; differences: {', '.join(f'{what}: {count}' for what, count in told.most_common())}")
    assert not untold, f"{len(untold)}:\n" + "\n".join(untold[:20])
    assert number > 1500 or not os.environ.get("CI")


async def through(organisation: GraphOrganisation, mailbox: str, mails: list[bytes]) -> list[bytes]:
    """Put mails into a mailbox; return what a client gets of each."""
    inbox = await organisation.folder(mailbox, "inbox")
    ids: list[str] = []
    for at in range(0, len(mails), 20):
        items = [New(f"k{n}", Content(mails[n])) for n in range(at, min(at + 20, len(mails)))]
        for made in await organisation.create(mailbox, inbox, items):
            assert isinstance(made, Made), made
            assert made.ref is not None
            ids.append(made.ref.id)
    seen, token, more = [], None, True
    while more:
        page = await organisation.page(mailbox, inbox, token)
        seen += page.seen
        token, more = page.token, page.more
    found: dict[str, bytes] = {}
    async for ref, content in organisation.mime(seen):
        assert not isinstance(content, Fault), content
        found[ref.id] = content.octets()
    return [found[id] for id in ids]


def different(sent: bytes, back: bytes) -> Iterator[str]:
    """Yield what did not come back."""
    was, now = memo(Content(sent)), memo(Content(back))
    if is_sealed(was.content):
        if Counter(files(was)) != Counter(files(now)):
            yield "sealed"
        if is_clear_signed(was) and was.content.body() != now.content.body():
            yield "sealed"
        return
    if now.text.split() != was.text.split() and (was.page is None or now.html.split() != was.html.split()):
        yield "text"
    for kind, _ in (Counter(files(was)) - Counter(files(now))).elements():
        yield f"file {kind}"
    for name in (b"subject", b"message-id", b"in-reply-to"):
        if squeezed(was.get(name)) not in ("", squeezed(now.get(name))):
            yield f"field {name.decode()}"
    for name in (b"from", b"to", b"cc", b"reply-to"):
        if not addresses(was, name) <= addresses(now, name):
            yield f"field {name.decode()}"


def is_clear_signed(found: Memo) -> bool:
    return (found.content.get(b"content-type") or b"").lstrip().lower().startswith(b"multipart/signed")


def files(found: Memo) -> Iterator[tuple[str, str]]:
    """Yield each file's type and digest; of enclosed messages, whose lines any program may end anew, the type."""
    for each in found.attachments:
        if each is found.page:
            continue
        enclosed = each.type.startswith(("message/", "multipart/"))
        yield ("enclosed", "") if enclosed else (each.type, hashlib.sha256(b"".join(each.octets())).hexdigest())


def addresses(found: Memo, name: bytes) -> set[str]:
    return {each.address.value.lower() for each in found.mailboxes(name, ("smtp",))}


def squeezed(value: str) -> str:
    return "".join(value.split())


COVERED: dict[str, frozenset[str]] = {
    "text": frozenset(
        ("the text", "the text beside the HTML", "control characters of the text", "what is no sound MIME")
    ),
    "file": frozenset(("an enclosed message or report", "what is no sound MIME")),
    "field": frozenset(
        (
            "addresses beyond ASCII",
            "further authors of From",
            "header beyond ASCII",
            "repeated fields",
            "what is no sound MIME",
        )
    ),
}


def covered(what: str, notes: set[str]) -> bool:
    """Whether a note tells it; a cut of many recipients is told with their number."""
    told = COVERED.get(what.split()[0], frozenset())
    return bool(told & notes) or any("recipients of the header" in note for note in notes)
