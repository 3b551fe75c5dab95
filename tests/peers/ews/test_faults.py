"""What can be made to go wrong does, at the request that was meant, and leaves the store as it is said to."""

from __future__ import annotations

import http.client
import threading
import time

import pytest

from tests.peers.ews.asking import Asker, letter
from tests.peers.ews.process import EwsCompany, EwsPeer
from tests.peers.process import wait_until


@pytest.fixture
def here(ews_peer: EwsPeer) -> EwsCompany:
    return ews_peer.organisation("ann", "bob")


@pytest.fixture
def ann(here: EwsCompany) -> Asker:
    return Asker(here, mailbox=here.address("ann"))


def test_busy_says_how_long(here: EwsCompany, ann: Asker) -> None:
    here.fault("CreateItem", "busy", nth=1, ms=7000)
    answer = ann.create(letter())
    assert (answer.status, answer.codes) == (500, ["ErrorServerBusy"])
    assert answer.texts(".//t:Value[@Name='BackOffMilliseconds']") == ["7000"]
    assert here.items("ann") == []
    assert ann.create(letter()).codes == ["NoError"]
    here.fault("CreateItem", "busy", nth=1)
    assert ann.create(letter()).texts(".//t:Value") == []


def test_an_http_status(here: EwsCompany, ann: Asker) -> None:
    here.fault("FindItem", "http", nth=1, status=503, retry_after=5, close=True)
    answer = ann.find()
    assert (answer.status, answer.body) == (503, None)
    assert here.log("FindItem")[0].answered == "503"


@pytest.mark.parametrize(("kind", "stored"), [("cut_before", 0), ("cut_after", 1), ("truncate", 1)])
def test_a_cut_connection(here: EwsCompany, ann: Asker, kind: str, stored: int) -> None:
    here.fault("CreateItem", kind, nth=1)  # type: ignore[arg-type]
    with pytest.raises((OSError, http.client.HTTPException)):
        ann.create(letter())
    assert len(here.items("ann")) == stored
    assert here.log("CreateItem")[0].answered == "cut"


@pytest.mark.parametrize(("kind", "stored"), [("never", 0), ("held", 1)])
def test_no_answer(here: EwsCompany, ann: Asker, kind: str, stored: int) -> None:
    here.fault("CreateItem", kind, nth=1)  # type: ignore[arg-type]
    raised: list[BaseException] = []

    def ask() -> None:
        try:
            ann.create(letter())
        except (OSError, http.client.HTTPException) as error:
            raised.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    wait_until(lambda: [each.answered for each in here.log("CreateItem")] == ["never"], 60, "it is in hand")
    time.sleep(0.1)
    assert thread.is_alive()
    assert len(here.items("ann")) == stored
    here.calm()
    thread.join(60)
    assert raised


def test_slow(here: EwsCompany, ann: Asker) -> None:
    here.fault("CreateItem", "slow", nth=1, seconds=0.5)
    began = time.monotonic()
    assert ann.create(letter()).codes == ["NoError"]
    assert time.monotonic() - began >= 0.5


def test_a_code_for_every_part_or_for_the_whole(here: EwsCompany, ann: Asker) -> None:
    here.fault("GetFolder", "refuse", nth=1, code="ErrorAccessDenied")
    here.fault("GetFolder", "code", nth=2, code="ErrorMailboxStoreUnavailable")
    which = '<t:DistinguishedFolderId Id="inbox"/>' * 2
    shape = "<m:FolderShape><t:BaseShape>IdOnly</t:BaseShape></m:FolderShape>"
    body = f"<m:GetFolder>{shape}<m:FolderIds>{which}</m:FolderIds></m:GetFolder>"
    first, second, third = ann.ask(body), ann.ask(body), ann.ask(body)
    assert (first.status, first.codes) == (200, ["ErrorAccessDenied"] * 2)
    assert (second.status, second.codes) == (500, ["ErrorMailboxStoreUnavailable"])
    assert third.codes == ["NoError"] * 2


def test_which_request_is_meant(here: EwsCompany, ann: Asker) -> None:
    here.fault("CreateItem", "code", every=3, code="ErrorInternalServerError")
    codes = [ann.create(letter()).codes[0] for _ in range(6)]
    assert codes == ["NoError", "NoError", "ErrorInternalServerError"] * 2
    here.calm()
    here.fault("CreateItem", "code", code="ErrorInternalServerError", mailbox=here.address("bob"))
    assert ann.create(letter()).codes == ["NoError"]
    assert Asker(here, mailbox=here.address("bob")).create(letter()).codes == ["ErrorInternalServerError"]
    here.calm()
    here.fault("*", "busy", chance=0.5)
    answers = {ann.create(letter()).codes[0] for _ in range(30)}
    assert answers == {"NoError", "ErrorServerBusy"}


def test_a_sync_state_can_be_lost_at_a_request(here: EwsCompany, ann: Asker) -> None:
    state = ann.sync().texts(".//m:SyncState")[0]
    here.fault("SyncFolderItems", "expire_sync", nth=1)
    assert ann.sync(state).codes == ["ErrorInvalidSyncStateData"]


def test_another_organisation_sees_nothing_of_it(ews_peer: EwsPeer, here: EwsCompany) -> None:
    here.fault("*", "busy")
    other = ews_peer.organisation("ann")
    assert Asker(other, mailbox=other.address("ann")).create(letter()).codes == ["NoError"]
    assert here.log() == []


def test_it_can_be_away(ews_peer: EwsPeer, ann: Asker) -> None:
    ews_peer.refuse(True)
    with pytest.raises(ConnectionRefusedError):
        ann.create(letter())
    ews_peer.refuse(False)
    assert ann.create(letter()).codes == ["NoError"]


def test_the_log_has_what_was_said(here: EwsCompany, ann: Asker) -> None:
    ann.create(letter())
    (entry,) = here.log()
    assert (entry.operation, entry.user, entry.mailbox) == ("CreateItem", here.username, here.address("ann"))
    assert (entry.answered, entry.codes) == ("200", ("NoError",))
    assert b"CreateItem" in entry.body
    assert b"CreateItemResponse" in entry.answer
    assert entry.headers["authorization"] == "Basic", "no password stands in it"
    assert abs(entry.at - time.time()) < 60
