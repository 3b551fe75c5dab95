"""The Graph organisation against the peer: folders, creating, finding, reading, sending, finishing.

A large mail breaks off at every second request; at each of them in `make thorough`.
"""

from __future__ import annotations

import asyncio
import time

import pytest

from connectors.exchange.graph.mime import KEY
from connectors.exchange.lookup import SENT
from connectors.exchange.organisation import SYNC_STATE_LOST, Delete, Fault, Made, Mark, Move, New, Ref
from connectors.exchange.properties import TAKEN
from gateway.contract import Content
from tests.connectors.exchange.graph.conftest import Opened
from tests.depth import share
from tests.peers.graph.process import GraphCompany

MAIL = (
    b"Received: from a.example by b.example; Sun, 29 Nov 2026 21:00:00 +0000\r\n"
    b"From: =?utf-8?q?J=C3=B6rg?= <joerg@elsewhere.example>\r\nTo: ann@x.example\r\nSubject: =?utf-8?b?w5xiZXI=?=\r\n"
    b"Date: Sun, 29 Nov 2026 21:00:00 +0000\r\nMessage-ID: <one@elsewhere.example>\r\nX-Colour: green\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    b"Gr\xc3\xbc\xc3\x9fe\r\n"
)
PSETID = KEY.split("{")[1].split("}")[0]


def new(key: str, octets: bytes = MAIL, **changed: object) -> New:
    return New(key, Content(octets), 1_700_000_000.0, **changed)  # type: ignore[arg-type]


async def made(organisation: object, mailbox: str, folder: str, *items: New) -> list[Ref]:
    results = await organisation.create(mailbox, folder, items)  # type: ignore[attr-defined]
    refs = []
    for each in results:
        assert isinstance(each, Made), each
        assert each.ref is not None
        refs.append(each.ref)
    return refs


async def test_received_mail_lies_in_the_inbox_and_is_no_draft(company: GraphCompany, opened: Opened) -> None:
    organisation, ann = await opened(), company.address("ann")
    inbox = await organisation.folder(ann, "inbox")
    await made(organisation, ann, inbox, new("k1"))
    (item,) = company.items("ann")
    assert (item.is_draft, item.is_read, item.received_at, item.subject) == (False, False, 1_700_000_000.0, "Über")
    assert b"one@elsewhere.example" in item.shown
    assert b"X-Colour: green" in item.shown
    assert company.items("ann", "drafts", whole=False) == []
    assert len(company.log("POST mailFolders/messages") or company.log()) >= 1


async def test_twenty_are_created_by_one_request(company: GraphCompany, opened: Opened) -> None:
    organisation, ann = await opened(), company.address("ann")
    inbox = await organisation.folder(ann, "inbox")
    before = len(company.log(whole=False))
    refs = await made(organisation, ann, inbox, *(new(f"k{n}") for n in range(20)))
    assert len(set(refs)) == 20
    assert len(company.items("ann", whole=False)) == 20
    posts = [each for each in company.log()[before:] if "atch" in each.operation]
    assert len(posts) == 1


async def test_what_was_created_is_found_wherever_it_was_moved(company: GraphCompany, opened: Opened) -> None:
    organisation, ann = await opened(), company.address("ann")
    inbox = await organisation.folder(ann, "inbox")
    (ref,) = await made(organisation, ann, inbox, new("k1"))
    found = await organisation.find(ann, ["inbox", "trash"], ["k1", "k2"])
    assert found == {"k1": (Ref(ann, ref.id, found["k1"][0].version), inbox)}
    company.alter("ann", company.items("ann")[0].id, move="Projects")
    moved = await organisation.find(ann, ["inbox", "trash"], ["k1"])
    assert moved["k1"][0].id == ref.id, "an immutable id survives the move"
    assert moved["k1"][1] != inbox


async def test_a_path_is_made_once(company: GraphCompany, opened: Opened) -> None:
    organisation, ann = await opened(), company.address("ann")
    with pytest.raises(Fault, match="ErrorFolderNotFound"):
        await organisation.folder(ann, ("Gatepost", "It's done"))
    first = await organisation.folder(ann, ("Gatepost", "It's done"), create=True)
    other = await opened()
    assert await other.folder(ann, ("Gatepost", "It's done"), create=True) == first
    assert "Gatepost/It's done" in company.folders("ann")


async def test_pages_tell_what_is_new_and_what_has_gone(company: GraphCompany, opened: Opened) -> None:
    organisation, ann = await opened(), company.address("ann")
    inbox = await organisation.folder(ann, "inbox")
    for number in range(5):
        company.put("ann", MAIL.replace(b"one@", b"%d@" % number))
    seen, token = [], None
    while True:
        page = await organisation.page(ann, inbox, token, 2)
        assert len(page.seen) <= 2
        seen += page.seen
        token = page.token
        if not page.more:
            break
    assert [each.message_id for each in seen] == [f"<{n}@elsewhere.example>" for n in range(5)]
    assert not any(each.draft or each.marked for each in seen)
    await organisation.finish(seen[0].ref, Move(await organisation.folder(ann, ("Done",), create=True)))
    await organisation.finish(seen[1].ref, Mark(TAKEN))
    page = await organisation.page(ann, inbox, token)
    assert page.gone == (seen[0].ref.id,)
    assert [(each.ref.id, each.marked) for each in page.seen] == [(seen[1].ref.id, True)]
    company.expire_sync()
    with pytest.raises(Fault) as caught:
        await organisation.page(ann, inbox, page.token)
    assert caught.value.code == SYNC_STATE_LOST
    assert len((await organisation.page(ann, inbox, None)).seen) == 4


async def test_octets_come_as_they_are_shown(company: GraphCompany, opened: Opened) -> None:
    organisation, ann = await opened(max_message_bytes=100_000), company.address("ann")
    inbox = await organisation.folder(ann, "inbox")
    company.put("ann", MAIL)
    company.put("ann", MAIL + b"x" * 200_000)
    seen = (await organisation.page(ann, inbox, None)).seen
    found = {ref.id: content async for ref, content in organisation.mime(seen)}
    assert found[seen[0].ref.id].octets() == company.items("ann")[0].shown  # type: ignore[union-attr]
    too_large = found[seen[1].ref.id]
    assert isinstance(too_large, Fault)
    assert too_large.code == "ErrorMessageSizeExceeded"


async def test_who_it_is_from_and_to(company: GraphCompany, opened: Opened) -> None:
    organisation, ann = await opened(), company.address("ann")
    company.put("ann", MAIL.replace(b"X-Colour", b"In-Reply-To: <zero@a.example>\r\nCc: B <bob@b.example>\r\nX-Colour"))
    seen = (await organisation.page(ann, await organisation.folder(ann, "inbox"), None)).seen
    (told,) = (await organisation.addressed([each.ref for each in seen])).values()
    assert not isinstance(told, Fault)
    assert told.sender is not None
    assert (told.sender.name, told.sender.address, told.sender.routing) == ("Jörg", "joerg@elsewhere.example", "SMTP")
    assert [each.address for each in told.to] == ["ann@x.example"]
    assert [(each.name, each.address) for each in told.cc] == [("B", "bob@b.example")]
    assert told.in_reply_to == "<zero@a.example>"


async def test_a_draft_is_found_by_its_key_and_sent_once(company: GraphCompany, opened: Opened) -> None:
    organisation, ann = await opened(), company.address("ann")
    drafts = await organisation.folder(ann, "drafts")
    bob = company.address("bob").encode()
    octets = MAIL.replace(b"joerg@elsewhere.example", ann.encode()).replace(b"ann@x.example", bob)
    (ref,) = await made(organisation, ann, drafts, new("k9", octets, draft=True))
    assert company.items("ann", "drafts")[0].is_draft
    assert await organisation.find(ann, ["outbox", ("Gatepost", "Sent")], ["k9"]) == {}
    found = await organisation.find(ann, ["drafts"], ["k9"])
    assert found["k9"][0].id == ref.id
    await organisation.send(ref, copy_to=("Gatepost", "Sent"))
    deadline = time.monotonic() + 60
    while not company.items("bob"):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    while not (found := await organisation.find(ann, ["outbox", ("Gatepost", "Sent")], ["k9"])):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    assert await organisation.find(ann, ["drafts"], ["k9"]) == {}
    assert len(company.items("bob", whole=False)) == 1


async def test_copies_of_ours_are_told_from_others_in_sent_items(company: GraphCompany, opened: Opened) -> None:
    organisation, ann = await opened(), company.address("ann")
    drafts = await organisation.folder(ann, "drafts")
    bob = company.address("bob").encode()
    octets = MAIL.replace(b"joerg@elsewhere.example", ann.encode()).replace(b"ann@x.example", bob)
    for ref in await made(organisation, ann, drafts, *(new(f"k{n}", octets, draft=True) for n in range(3))):
        await organisation.send(ref, copy_to=SENT)
    company.put("ann", MAIL, folder="sent")
    deadline = time.monotonic() + 60
    while len(company.items("ann", "sent", whole=False)) < 4:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    folder = await organisation.folder(ann, SENT, create=True)
    token, seen = None, []
    while True:
        page = await organisation.page(ann, folder, token, 2)
        seen += page.seen
        token = page.token
        if not page.more:
            break
    assert len(seen) == 3
    assert all(each.received_at is not None for each in seen)
    for each in seen:
        await organisation.finish(each.ref, Delete(purge=True))
    (left,) = company.items("ann", "sent")
    assert left.subject == "Über"
    assert "Gatepost" not in company.folders("ann")


async def test_a_draft_has_its_key_before_it_gets_the_property(company: GraphCompany, opened: Opened) -> None:
    organisation, ann = await opened(), company.address("ann")
    drafts = await organisation.folder(ann, "drafts")
    company.fault("*", "cut_before", nth=2)  # the PATCH behind the POST
    (result,) = await organisation.create(ann, drafts, [new("k7", draft=True)])
    assert isinstance(result, Fault)
    assert result.why == "unknown"
    assert "k7" in await organisation.find(ann, ["drafts"], ["k7"])


async def test_drafts_of_ours_are_told_from_a_persons_own(company: GraphCompany, opened: Opened) -> None:
    """Those of which the property did not get through any more, too."""
    organisation, ann = await opened(), company.address("ann")
    drafts = await organisation.folder(ann, "drafts")
    await made(organisation, ann, drafts, new("k1", draft=True))
    company.fault("*", "cut_before", nth=2)  # the PATCH behind the POST
    await organisation.create(ann, drafts, [new("k2", draft=True)])
    company.put("ann", b"Subject: a person's own\r\n\r\nhi\r\n", folder="drafts", is_draft=True)
    assert await organisation.left_over(ann, time.time() - 60) == []
    for ref in await organisation.left_over(ann, time.time() + 60):
        await organisation.finish(ref, Delete(purge=True))
    assert [item.subject for item in company.items("ann", "drafts")] == ["a person's own"]


async def test_a_mail_that_goes_round_by_a_mailbox_keeps_its_trace(company: GraphCompany, opened: Opened) -> None:
    """Each turn by a mailbox adds ours; what comes from there tells all of them, the newest first."""
    organisation, ann = await opened(), company.address("ann")
    inbox = await organisation.folder(ann, "inbox")
    octets = MAIL
    for turn in range(1, 4):
        octets = f"Received: from mbx by gw.example with EWS id {turn}; Sun, 29 Nov 2026\r\n".encode() + octets
        await made(organisation, ann, inbox, new(f"k{turn}", octets))
        (seen,) = (await organisation.page(ann, inbox, None)).seen
        ((_, content),) = [each async for each in organisation.mime([seen])]
        assert isinstance(content, Content)
        octets = content.octets()
        kept = [b" ".join(value.split()) for n in range(9) for value in content.get_all(b"x-gatepost-pass-%d" % n)]
        assert [value.partition(b";")[0].decode() for value in kept] == [
            *(f"from mbx by gw.example with EWS id {n}" for n in range(turn, 0, -1)), "from a.example by b.example",
        ]  # fmt: skip
        await organisation.finish(seen.ref, Delete(purge=True))


async def test_a_large_mail_is_moved_once_it_is_whole(company: GraphCompany, opened: Opened) -> None:
    organisation, ann = await opened(), company.address("ann")
    inbox = await organisation.folder(ann, "inbox")
    (ref,) = await made(organisation, ann, inbox, new("k1", large()))
    (item,) = company.items("ann")
    assert not item.is_draft
    assert company.items("ann", "drafts", whole=False) == []
    (seen,) = (await organisation.page(ann, inbox, None)).seen
    assert seen.ref.id == ref.id
    ((_, content),) = [each async for each in organisation.mime([seen])]
    assert not isinstance(content, Fault)
    assert b"big.bin" in content.octets()
    assert content.size > 6_000_000


async def test_a_large_mail_that_broke_off_is_removed_and_made_anew(company: GraphCompany, opened: Opened) -> None:
    organisation, ann = await opened(), company.address("ann")
    inbox = await organisation.folder(ann, "inbox")
    await organisation.find(ann, ["inbox"], [])
    count = len(company.log(whole=False))
    await made(organisation, ann, inbox, new("k0", large()))
    needed = len(company.log(whole=False)) - count
    cuts = list(share(range(1, needed + 1), 2))
    for nth in cuts:
        key = f"c{nth}"
        company.fault("*", "cut_after", nth=nth)
        (result,) = await organisation.create(ann, inbox, [new(key, large())])
        company.calm()
        found = await organisation.find(ann, ["inbox", "trash", "junk"], [key])
        if key not in found:
            assert isinstance(result, Fault)
            await made(organisation, ann, inbox, new(key, large()))
        assert company.items("ann", "drafts", whole=False) == [], nth
    there = company.items("ann", whole=False)
    lying = [each.properties.get(f"{{{PSETID}}}/gatepost-delivery") for each in there]
    assert sorted(lying) == sorted(["k0", *(f"c{nth}" for nth in cuts)])


async def test_an_end_that_was_reached_already_is_one(company: GraphCompany, opened: Opened) -> None:
    organisation, ann = await opened(), company.address("ann")
    inbox = await organisation.folder(ann, "inbox")
    for _ in range(3):
        company.put("ann", MAIL)
    first, second, third = (await organisation.page(ann, inbox, None)).seen
    done = await organisation.folder(ann, ("Done",), create=True)
    for _ in range(2):
        await organisation.finish(first.ref, Move(done))
        await organisation.finish(second.ref, Delete())
        await organisation.finish(third.ref, Delete(purge=True))
    assert len(company.items("ann", "Done", whole=False)) == 1
    assert len(company.items("ann", "trash") or company.items("ann", "deleteditems")) == 1
    assert company.items("ann", whole=False) == []


async def test_ends_that_wait_together_go_together(company: GraphCompany, opened: Opened) -> None:
    organisation, ann = await opened(), company.address("ann")
    inbox = await organisation.folder(ann, "inbox")
    for _ in range(30):
        company.put("ann", MAIL)
    seen = (await organisation.page(ann, inbox, None)).seen
    done = await organisation.folder(ann, ("Done",), create=True)
    before = len(company.log("Batch", whole=False))
    company.alter("ann", company.items("ann")[17].id, delete=True)  # one that is gone is done, and stops no other
    await asyncio.gather(*(organisation.finish(each.ref, Move(done)) for each in seen))
    assert len(company.items("ann", "Done")) in (29, 30)  # Graph moves what lies among the recoverable items too
    assert company.items("ann", whole=False) == []
    assert len(company.log("Batch", whole=False)) - before == 2
    assert len(company.log("MoveMessage", whole=False)) == 30


async def test_the_directory_is_read_and_asked(company: GraphCompany, opened: Opened) -> None:
    organisation = await opened()
    company.contact("carol", "carol@partner.example")
    group = company.group("sales", "ann", "bob")
    people = {each.smtp: each async for each in organisation.people()}
    assert people[company.address("ann")].kind == "mailbox"
    assert people[group].kind == "group"
    assert (people["carol@partner.example"].kind, len(people)) == ("contact", 4)
    company.fault("ListContacts", "code", status=403, code="Authorization_RequestDenied")
    assert {each.smtp async for each in organisation.people()} == people.keys() - {"carol@partner.example"}
    company.calm()
    found = await organisation.resolve([company.address("bob"), company.legacy_dn("ann"), "nobody@x.example"])
    assert found[company.address("bob")] is not None
    assert found["nobody@x.example"] is None
    assert found[company.legacy_dn("ann")].smtp == company.address("ann")  # type: ignore[union-attr]


async def test_nothing_of_an_unknown_mailbox(company: GraphCompany, opened: Opened) -> None:
    organisation = await opened()
    with pytest.raises(Fault) as caught:
        await organisation.folder(f"nobody@{company.domain}", "inbox")
    assert caught.value.why == "refused"
    assert caught.value.code in ("ErrorInvalidUser", "ResourceNotFound", "Request_ResourceNotFound")


def large() -> bytes:
    """A mail with a file that needs an upload session, one that needs a request, and one that goes along."""
    import base64

    def part(name: str, size: int) -> bytes:
        return (
            b'--b\r\nContent-Type: application/octet-stream; name="%s"\r\nContent-Transfer-Encoding: base64\r\n'
            b'Content-Disposition: attachment; filename="%s"\r\n\r\n%s\r\n'
            % (name.encode(), name.encode(), base64.encodebytes(bytes(size)).replace(b"\n", b"\r\n"))
        )

    return (
        b"From: a@b.example\r\nTo: ann@x.example\r\nSubject: large\r\nMessage-ID: <large@b.example>\r\n"
        b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
        b"--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n"
        + part("big.bin", 3_500_000)
        + part("half.bin", 1_500_000)
        + part("small.bin", 1_400_000)
        + b"--b--\r\n"
    )
