"""What the organisation does, against the EWS peer: values, by behaviour."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from connectors.exchange.organisation import Delete, Fault, Mark, Move, Person, Ref, Seen
from gateway.contract import Content
from tests.connectors.exchange.ews.kit import fault_of, mail, new, organisation
from tests.peers.ews.process import EwsCompany, EwsPeer


async def test_a_folder_is_found_by_its_role_and_made_by_its_path(company: EwsCompany, tmp_path: Path) -> None:
    ann = company.address("ann")
    async with organisation(tmp_path, **company.access()) as exchange:
        inbox = await exchange.folder(ann, "inbox")
        assert inbox == await exchange.folder(ann, "inbox")
        missing = await fault_of(exchange.folder(ann, ("Gatepost", "Taken")))
        both = await asyncio.gather(*(exchange.folder(ann, ("Gatepost", "Taken"), create=True) for _ in range(3)))
        under = await exchange.folder(ann, ("Gatepost", "Refused"), create=True)
    assert missing.code == "ErrorFolderNotFound"
    assert len(set(both)) == 1
    assert len({inbox, both[0], under}) == 3
    assert [each for each in company.folders("ann") if each.startswith("Gatepost")] == [
        "Gatepost",
        "Gatepost/Taken",
        "Gatepost/Refused",
    ]
    assert len(company.log("GetFolder")) == 1, "a folder is asked for once"


async def test_a_folder_that_was_removed_is_asked_for_anew(company: EwsCompany, tmp_path: Path) -> None:
    ann = company.address("ann")
    async with organisation(tmp_path, **company.access()) as exchange:
        inbox = await exchange.folder(ann, "inbox")
        company.fault("CreateItem", "refuse", nth=1, code="ErrorFolderNotFound")
        made = await exchange.create(ann, inbox, [new("1.1", mail("a"))])
        assert isinstance(made[0], Fault)
        assert await exchange.folder(ann, "inbox") == inbox
    assert len(company.log("GetFolder")) == 2


async def test_created_items_are_no_drafts_and_have_their_time_flags_and_key(ews_peer: EwsPeer, tmp_path: Path) -> None:
    company = ews_peer.organisation("ann", honest=False)
    ann = company.address("ann")
    octets = [mail("a", body=bytes(range(256))), b"\nno header at all\r\0\n", mail("c")]
    async with organisation(tmp_path, **company.access()) as exchange:
        inbox = await exchange.folder(ann, "inbox")
        made = await exchange.create(
            ann,
            inbox,
            [
                new("1.1", octets[0], received_at=1_700_000_000.75),
                new("1.2", octets[1], is_read=True, flagged=True, categories=("red", "<&>")),
                new("1.3", octets[2], draft=True),
            ],
        )
    found = company.items("ann")
    assert [each.octets for each in found] == octets
    assert [each.is_draft for each in found] == [False, False, True]
    assert [each.is_read for each in found] == [False, True, False]
    assert found[0].received_at == 1_700_000_000
    assert found[1].categories == ("red", "<&>")
    assert found[1].properties["0x1090"] in (2, "2")
    keys = [next(v for k, v in each.properties.items() if k.endswith("/gatepost-delivery")) for each in found]
    assert keys == ["1.1", "1.2", "1.3"]
    assert [each.ref.id for each in made if not isinstance(each, Fault) and each.ref] == [each.id for each in found]
    body = company.log("CreateItem")[0].body
    for unasked in (b"Sensitivity", b"Importance", b"ReminderIsSet", b"IsReadReceiptRequested", b"IsResponseRequested"):
        assert unasked not in body


async def test_one_item_that_is_refused_does_not_hide_the_others(company: EwsCompany, tmp_path: Path) -> None:
    ann = company.address("ann")
    async with organisation(tmp_path, **company.access()) as exchange:
        inbox = await exchange.folder(ann, "inbox")
        company.quota("ann", 40_000)
        large = mail("b", body=b"x" * 50_000)
        made = await exchange.create(ann, inbox, [new("1.1", mail("a")), new("1.2", large), new("1.3", mail("c"))])
    assert [each.code if isinstance(each, Fault) else "made" for each in made] == ["made", "ErrorQuotaExceeded", "made"]
    assert [each.subject for each in company.items("ann")] == ["a", "c"]


async def test_items_are_found_by_their_keys_wherever_they_are(company: EwsCompany, tmp_path: Path) -> None:
    ann = company.address("ann")
    keys = [f"7.{n}" for n in range(45)]
    async with organisation(tmp_path, **company.access()) as exchange:
        inbox = await exchange.folder(ann, "inbox")
        made = await exchange.create(ann, inbox, [new(key, mail(key)) for key in keys])
        company.alter("ann", company.items("ann")[3].id, move="deleteditems")
        found = await exchange.find(ann, ["inbox", "trash", ("No", "Such")], [*keys, "8.1"])
        trash = await exchange.folder(ann, "trash")
        nowhere = await exchange.find(ann, [("No", "Such")], keys)
    assert not any(isinstance(each, Fault) for each in made)
    assert set(found) == set(keys)
    assert found["7.3"][1] == trash
    assert {each[1] for key, each in found.items() if key != "7.3"} == {inbox}
    assert nowhere == {}
    assert len(company.log("FindItem")) == 3, "20 keys a request"


async def test_a_page_tells_what_came_what_went_and_what_changed(company: EwsCompany, tmp_path: Path) -> None:
    ann = company.address("ann")
    ids = [company.put("ann", mail(str(n)), received_at=1_700_000_000 + n) for n in range(5)]
    company.put("ann", mail("draft"), is_draft=True)
    async with organisation(tmp_path, **company.access()) as exchange:
        inbox = await exchange.folder(ann, "inbox")
        first = await exchange.page(ann, inbox, None, 4)
        second = await exchange.page(ann, inbox, first.token, 4)
        assert (first.more, second.more) == (True, False)
        seen = [*first.seen, *second.seen]
        assert [each.ref.id for each in seen[:5]] == ids
        assert [each.draft for each in seen] == [False] * 5 + [True]
        assert seen[2].received_at == 1_700_000_002
        assert seen[0].item_class == "IPM.Note"
        assert seen[0].size > 50
        await exchange.finish(seen[0].ref, Mark("Gatepost taken"))
        await exchange.finish(seen[1].ref, Delete())
        await exchange.finish(seen[2].ref, Move(await exchange.folder(ann, ("Done",), create=True)))
        last = await exchange.page(ann, inbox, second.token)
        nothing = await exchange.page(ann, inbox, last.token)
        company.expire_sync()
        lost = await fault_of(exchange.page(ann, inbox, last.token))
    assert [(each.ref.id, each.marked) for each in last.changed] == [(ids[0], True)]
    assert set(last.gone) == {ids[1], ids[2]}
    assert (nothing.seen, nothing.gone, nothing.changed) == ((), (), ())
    assert lost.code == "SyncStateLost"


async def test_finishing_twice_is_done_and_a_mark_keeps_other_categories(company: EwsCompany, tmp_path: Path) -> None:
    ann = company.address("ann")
    company.put("ann", mail("a"), categories=["red"])
    company.put("ann", mail("b"))
    async with organisation(tmp_path, **company.access()) as exchange:
        inbox = await exchange.folder(ann, "inbox")
        a, b = (await exchange.page(ann, inbox, None)).seen
        await exchange.finish(a.ref, Mark("Gatepost taken"))
        await exchange.finish(a.ref, Mark("Gatepost taken"))
        for _ in range(2):
            await exchange.finish(b.ref, Delete(purge=True))
        await exchange.finish(b.ref, Move(inbox))
        await exchange.finish(b.ref, Mark("x"))
    assert company.items("ann")[0].categories == ("red", "Gatepost taken")
    assert company.items("ann", "deleteditems") == []
    assert len(company.log("UpdateItem")) == 1


async def test_mime_comes_as_octets_and_one_item_that_is_gone_does_not_keep_the_others(
    ews_peer: EwsPeer, tmp_path: Path
) -> None:
    company = ews_peer.organisation("ann", honest=False)
    ann = company.address("ann")
    octets = [mail(str(n), body=bytes([n]) * 300_000) for n in range(60)]
    for each in octets:
        company.put("ann", each)
    async with organisation(tmp_path, **company.access()) as exchange:
        inbox = await exchange.folder(ann, "inbox")
        seen = list((await exchange.page(ann, inbox, None)).seen)
        company.alter("ann", seen[7].ref.id, delete=True)
        got = {ref.id: found async for ref, found in exchange.mime(seen)}
    assert len(got) == 60
    gone = got.pop(seen[7].ref.id)
    assert isinstance(gone, Fault)
    assert gone.code == "ErrorItemNotFound"
    assert [found.octets() for found in got.values() if isinstance(found, Content)] == octets[:7] + octets[8:]
    assert len(company.log("GetItem")) == 3, "8 MiB and 20 items a request"


async def test_where_a_request_for_many_fails_each_is_asked_for(company: EwsCompany, tmp_path: Path) -> None:
    ann = company.address("ann")
    for n in range(3):
        company.put("ann", mail(str(n)))
    async with organisation(tmp_path, **company.access()) as exchange:
        inbox = await exchange.folder(ann, "inbox")
        seen = (await exchange.page(ann, inbox, None)).seen
        company.fault("GetItem", "truncate", nth=1)
        company.fault("GetItem", "truncate", nth=3)
        got = [found async for _, found in exchange.mime(seen)]
    assert [isinstance(each, Content) for each in got] == [True, False, True]
    assert isinstance(got[1], Fault)
    assert got[1].why == "unknown"


async def test_whom_an_item_is_from_and_to(company: EwsCompany, tmp_path: Path) -> None:
    ann = company.address("ann")
    head = "From: Bob Ray <bob@y.example>\r\nTo: a@y.example, B <b@y.example>\r\nCc: c@y.example\r\n"
    company.put("ann", f"{head}In-Reply-To: <1@y.example>\r\n\r\nhi\r\n".encode(), bcc=["d@y.example"])
    async with organisation(tmp_path, **company.access()) as exchange:
        seen = (await exchange.page(ann, await exchange.folder(ann, "inbox"), None)).seen[0]
        missing = Ref(ann, seen.ref.id[:-8] + "AAAAAAA=")
        found = await exchange.addressed([seen.ref])
        other = (await exchange.addressed([missing]))[missing]
    told = found[seen.ref]
    assert not isinstance(told, Fault)
    assert told.sender is not None
    assert (told.sender.name, told.sender.address, told.sender.routing) == ("Bob Ray", "bob@y.example", "SMTP")
    assert [each.address for each in told.to] == ["a@y.example", "b@y.example"]
    assert [each.address for each in told.cc] == ["c@y.example"]
    assert [each.address for each in told.bcc] == ["d@y.example"]
    assert told.in_reply_to == "<1@y.example>"
    assert isinstance(other, Fault)


async def test_a_draft_is_sent_and_its_copy_carries_the_key(company: EwsCompany, tmp_path: Path) -> None:
    ann, bob = company.address("ann"), company.address("bob")
    async with organisation(tmp_path, **company.access()) as exchange:
        drafts = await exchange.folder(ann, "drafts")
        octets = mail("a", to=bob, sender=ann)
        made = (await exchange.create(ann, drafts, [new("9.1", octets, draft=True)]))[0]
        assert not isinstance(made, Fault)
        assert made.ref is not None
        before = await exchange.find(ann, ["drafts", ("Gatepost", "Sent")], ["9.1"])
        await exchange.send(Ref(ann, made.ref.id), copy_to=("Gatepost", "Sent"))
        after = await exchange.find(ann, ["drafts", "outbox", ("Gatepost", "Sent")], ["9.1"])
        sent = await exchange.folder(ann, ("Gatepost", "Sent"))
        again = await fault_of(exchange.send(made.ref, copy_to="sent"))
    assert before["9.1"][1] == drafts
    assert after["9.1"][1] == sent
    assert [each.subject for each in company.items("bob")] == ["a"]
    assert again.code == "ErrorItemNotFound"


async def test_addresses_are_looked_up_in_the_directory(company: EwsCompany, tmp_path: Path) -> None:
    bob, dn = company.address("bob"), company.legacy_dn("bob")
    watch = [{"mailbox": company.address("ann")}]
    async with organisation(tmp_path, **company.access(watch=watch)) as exchange:
        found = await exchange.resolve([bob, dn, f"nobody@{company.domain}", "bo", "/o=x/cn=nobody"])
        people = [each async for each in exchange.people()]
    assert (found[bob] or Person("", "")).smtp == bob
    assert (found[dn] or Person("", "")).smtp == bob
    assert (found[dn] or Person("", "")).legacy_dn == dn
    assert found[f"nobody@{company.domain}"] is None
    assert found["bo"] is None
    assert found["/o=x/cn=nobody"] is None
    assert {company.address("ann"), bob} <= {each.smtp for each in people}


async def test_drafts_of_ours_are_told_from_a_persons_own(company: EwsCompany, tmp_path: Path) -> None:
    ann = company.address("ann")
    company.put("ann", mail("a person's own"), folder="drafts", is_draft=True)
    async with organisation(tmp_path, **company.access()) as exchange:
        drafts = await exchange.folder(ann, "drafts")
        await exchange.create(ann, drafts, [new("1.1", mail("ours"), draft=True)])
        assert await exchange.left_over(ann, time.time() - 60) == []
        for ref in await exchange.left_over(ann, time.time() + 60):
            await exchange.finish(ref, Delete(purge=True))
    assert [item.subject for item in company.items("ann", "drafts")] == ["a person's own"]


@pytest.mark.parametrize(
    ("kind", "how", "code", "why", "retry"),
    [
        ("busy", {"ms": 7000}, "ErrorServerBusy", "busy", 7.0),
        ("busy", {"ms": 0}, "ErrorServerBusy", "busy", None),
        ("http", {"status": 503, "retry_after": 9}, "HTTP 503", "busy", 9.0),
        ("http", {"status": 429, "retry_after": 3}, "HTTP 429", "busy", 3.0),
        ("http", {"status": 401}, "HTTP 401", "denied", None),
        ("http", {"status": 401, "close": True}, "HTTP 401", "denied", None),
        ("http", {"status": 413}, "HTTP 413", "refused", None),
        ("http", {"status": 500}, "HTTP 500", "unknown", None),
        ("http", {"status": 302}, "HTTP 302", "unreachable", None),
        ("cut_before", {}, "CutOff", "unknown", None),
        ("cut_after", {}, "CutOff", "unknown", None),
        ("truncate", {}, "CutOff", "unknown", None),
        ("code", {"code": "ErrorImpersonateUserDenied"}, "ErrorImpersonateUserDenied", "denied", None),
        ("code", {"code": "ErrorInvalidRequest"}, "ErrorInvalidRequest", "refused", None),
    ],
)
async def test_what_goes_wrong_is_told_for_what_it_is_and_asked_once(
    company: EwsCompany, tmp_path: Path, kind: str, how: dict[str, object], code: str, why: str, retry: float | None
) -> None:
    ann = company.address("ann")
    async with organisation(tmp_path, **company.access()) as exchange:
        inbox = await exchange.folder(ann, "inbox")
        company.fault("CreateItem", kind, nth=1, **how)  # type: ignore[arg-type]
        told = await fault_of(exchange.create(ann, inbox, [new("1.1", mail("a"))]))
        assert (told.code, told.why, told.retry_after_s) == (code, why, retry)
        assert len(company.log("CreateItem")) == 1, "it is not asked again"
        there = await exchange.find(ann, ["inbox"], ["1.1"])
        assert bool(there) == (kind in {"cut_after", "truncate"})
        again = await exchange.create(ann, inbox, [new("1.2", mail("b"))])
        assert not isinstance(again[0], Fault), "the connection is of use again"


def test_items_are_fetched_in_batches_that_fit_memory() -> None:
    from connectors.exchange.ews.organisation import batches

    mib = 1024 * 1024
    sizes = [1000] * 25 + [5 * mib, 3 * mib, 3 * mib, 3 * mib, 30 * mib]
    seen = [Seen(Ref("a", str(n)), size, "IPM.Note", None, None) for n, size in enumerate(sizes)]
    made = list(batches(seen))
    assert sorted(each.ref.id for batch in made for each in batch) == sorted(each.ref.id for each in seen)
    assert [len(batch) for batch in made] == [20, 7, 1, 1, 1]
    assert all(sum(each.size for each in batch) <= 8 * mib or len(batch) == 1 for batch in made)


@pytest.mark.parametrize("how", ["move", "mark", "delete"])
async def test_what_is_finished_together_goes_in_few_requests(company: EwsCompany, tmp_path: Path, how: str) -> None:
    ann = company.address("ann")
    for n in range(91):
        company.put("ann", mail(str(n)))
    async with organisation(tmp_path, **company.access()) as exchange:
        inbox = await exchange.folder(ann, "inbox")
        seen = (await exchange.page(ann, inbox, None)).seen
        company.alter("ann", seen[5].ref.id, delete=True)
        taken = await exchange.folder(ann, ("Taken",), create=True)
        finish = {"move": Move(taken), "mark": Mark("Taken"), "delete": Delete()}[how]
        await asyncio.gather(*(exchange.finish(each.ref, finish) for each in seen))
    operation = {"move": "MoveItem", "mark": "UpdateItem", "delete": "DeleteItem"}[how]
    assert len(company.log(operation)) == 3, "the first goes alone, and of the others 50 a request"
    if how == "mark":
        assert [each.categories for each in company.items("ann")] == [("Taken",)] * 90
    else:
        assert company.items("ann") == []


async def test_a_mark_is_made_again_where_a_user_changed_the_item_meanwhile(
    company: EwsCompany, tmp_path: Path
) -> None:
    ann = company.address("ann")
    company.put("ann", mail("a"))
    async with organisation(tmp_path, **company.access()) as exchange:
        inbox = await exchange.folder(ann, "inbox")
        seen = (await exchange.page(ann, inbox, None)).seen
        company.fault("UpdateItem", "refuse", nth=1, code="ErrorIrresolvableConflict")
        await exchange.finish(seen[0].ref, Mark("Taken"))
        assert company.items("ann")[0].categories == ("Taken",)
        company.fault("UpdateItem", "refuse", code="ErrorIrresolvableConflict")
        told = await fault_of(exchange.finish(seen[0].ref, Mark("Other")))
    assert told.code == "ErrorIrresolvableConflict"
