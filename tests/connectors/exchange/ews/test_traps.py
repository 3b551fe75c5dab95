"""What exchangelib does by itself, and that it does not happen to us: one test a trap, both sides of each.

Where the library's side of a test fails one day, the trap is gone, and what is done against it may go too.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from exchangelib import (
    BASIC,
    DELEGATE,
    IMPERSONATION,
    Account,
    Build,
    Configuration,
    Credentials,
    ExtendedProperty,
    FailFast,
    FaultTolerance,
    Message,
    Version,
)
from exchangelib import errors as library
from exchangelib.autodiscover import cache as library_cache
from exchangelib.protocol import BaseProtocol, NoVerifyHTTPAdapter, Protocol
from exchangelib.services import CreateItem
from exchangelib.services.common import EWSPagingService
from exchangelib.util import to_xml
from lxml import etree

from connectors.exchange.ews.answer import Answer, CutOff, HttpFault, NotSent, SoapFault, answers
from connectors.exchange.ews.calls.folders import read_more
from connectors.exchange.ews.calls.items import CreateItem as OurCreateItem
from connectors.exchange.ews.calls.items import GetMime
from connectors.exchange.ews.calls.paths import Place
from connectors.exchange.ews.config import EwsConfig
from connectors.exchange.ews.session import Line, line
from connectors.exchange.ews.xml import M
from connectors.exchange.organisation import New
from gateway.contract import Content
from tests.connectors.exchange.ews.canned import (
    Asked,
    a_folder,
    answer,
    canned,
    envelope,
    fault,
    folder,
    http,
    message,
)
from tests.connectors.exchange.ews.kit import Log, mail, new, organisation
from tests.peers.ews.process import EwsCompany

ANN = "ann@acme.example"
VERSION = Version(build=Build(15, 0, 847, 32))
ITEM = '<m:Items><t:Message><t:ItemId Id="I{}" ChangeKey="C"/></t:Message></m:Items>'


def stock(url: str, *, user: str = "svc", connections: int | None = 2, policy: Any = None) -> Configuration:
    return Configuration(
        service_endpoint=url, credentials=Credentials(user, "secret"), auth_type=BASIC, version=VERSION,
        retry_policy=policy or FailFast(), max_connections=connections,
    )  # fmt: skip


def stock_account(url: str, **options: Any) -> Account:
    return Account(ANN, config=stock(url, **options), autodiscover=False, access_type=IMPERSONATION)


def our_line(url: str, **options: Any) -> Line:
    config = EwsConfig(url=url, auth="basic", username="svc", password="secret", **options)
    return line(url, config, config.max_connections, Log())


def our_create(url: str, *octets: bytes) -> list[Answer]:
    items = [New(f"1.{n}", Content(each)) for n, each in enumerate(octets, start=1)]
    return OurCreateItem(our_line(url).account(ANN)).ask(Place(id="F1"), items)


def stock_create(account: Account) -> list[Any]:
    """Ask as the library's own services do, with an empty request: of interest is what becomes of the answer."""
    return list(CreateItem(account=account)._get_elements(payload=etree.Element(f"{M}CreateItem")))


async def test_items_carry_defaults_that_stand_against_the_mimes_header(company: EwsCompany, tmp_path: Path) -> None:
    ann = company.address("ann")
    octets = b"Importance: high\r\nSensitivity: private\r\n" + mail("a", ann)
    config = Configuration(
        service_endpoint=company.peer.url, credentials=Credentials(company.username, company.password),
        auth_type=BASIC, version=VERSION,
    )  # fmt: skip
    account = Account(ann, config=config, autodiscover=False, access_type=IMPERSONATION)
    Message(account=account, folder=account.inbox, mime_content=octets).save()
    theirs = company.log("CreateItem")[-1].body
    async with organisation(tmp_path, **company.access()) as exchange:
        await exchange.create(ann, await exchange.folder(ann, "inbox"), [new("1.1", octets)])
    ours = company.log("CreateItem")[-1].body
    unasked = [b"<t:Sensitivity>Normal", b"<t:Importance>Normal", b"<t:IsReadReceiptRequested>", b"<t:ReminderIsSet>"]
    assert [each in theirs for each in unasked] == [True] * 4
    assert [each in ours for each in unasked] == [False] * 4


def test_a_wrong_password_is_a_busy_server_for_an_hour() -> None:
    refused = requests.Response()
    refused.status_code, refused._content = 401, b""  # type: ignore[attr-defined]
    with pytest.raises(library.ErrorServerBusy):
        FaultTolerance(max_wait=3600).raise_response_errors(refused)
    with canned(lambda _: http(401)) as server:
        with pytest.raises(HttpFault) as told:
            our_create(server.url, mail("a"))
        assert (told.value.status, len(server.asked)) == (401, 1)


def test_a_wrong_password_is_a_busy_server_where_the_connection_ends_with_it() -> None:
    with canned(lambda _: http(401, Connection="close")) as server:
        with pytest.raises(library.ErrorServerBusy):
            stock_create(stock_account(server.url))
        with pytest.raises(HttpFault) as told:
            our_create(server.url, mail("a"))
    assert told.value.status == 401


def test_a_lost_connection_is_told_as_a_code_of_the_server() -> None:
    with canned(lambda _: None) as server:
        with pytest.raises(library.ErrorTimeoutExpired):
            stock_create(stock_account(server.url, connections=1))
        several = stock_account(server.url, user="other", connections=4)
        several.protocol.increase_poolsize()
        several.protocol.increase_poolsize()
        with pytest.raises(library.ErrorServerBusy) as busy:
            stock_create(several)
        assert busy.value.back_off, "and it invents how long to wait"
        with pytest.raises(CutOff):
            our_create(server.url, mail("a"))


def test_what_was_not_sent_is_told_apart_from_what_was() -> None:
    with pytest.raises(library.ErrorTimeoutExpired):
        stock_create(stock_account("http://127.0.0.1:9/EWS/Exchange.asmx", connections=1))
    with pytest.raises(NotSent):
        our_create("http://127.0.0.1:9/EWS/Exchange.asmx", mail("a"))


def test_a_pool_that_shrinks_while_all_is_in_use_never_moves_again() -> None:
    """exchangelib issue #647 is about lowering what is asked; this is what happens to who does."""
    config = stock("http://127.0.0.1:9/EWS", user="shrinks", connections=4)
    protocol = Protocol(config=config)
    del Protocol[config]  # who empties the library's memory of protocols would wait for its lock, too
    held = [protocol.get_session() for _ in range(4)]
    protocol.release_session(held.pop())
    protocol.decrease_poolsize()
    stuck = threading.Thread(target=protocol.decrease_poolsize, daemon=True)
    stuck.start()
    stuck.join(1.0)
    assert stuck.is_alive(), "it waits for a session and holds the lock that giving one back needs"
    for each in held:
        protocol.release_session(each)

    ours = our_line("http://127.0.0.1:9/EWS")
    with pytest.raises(library.SessionPoolMinSizeReached):
        ours.decrease_poolsize()


def test_a_request_that_is_refused_is_sent_again_with_every_version() -> None:
    with canned(lambda _: http(500, fault("ErrorInvalidRequest"))) as server:
        with pytest.raises(library.ErrorInvalidSchemaVersionForMailboxVersion):
            stock_create(stock_account(server.url))
        repeated = len(server.asked)
        server.asked.clear()
        with pytest.raises(SoapFault) as told:
            our_create(server.url, mail("a"))
        assert told.value.code == "ErrorInvalidRequest"
        assert len(server.asked) == 1
    assert repeated > 5


def _three(code: str) -> bytes:
    refused = message("CreateItem", "<m:Items/>", code, "no room")
    return answer("CreateItem", message("CreateItem", ITEM.format(1)), refused, message("CreateItem", ITEM.format(3)))


def test_one_refusal_hides_the_results_of_the_others() -> None:
    with canned(lambda _: http(200, _three("ErrorQuotaExceeded"))) as server:
        with pytest.raises(library.ErrorQuotaExceeded):
            stock_create(stock_account(server.url))
        ours = our_create(server.url, mail("a"), mail("b"), mail("c"))
    assert [(each.code, each.text) for each in ours] == [
        ("NoError", ""),
        ("ErrorQuotaExceeded", "no room"),
        ("NoError", ""),
    ]


@pytest.mark.parametrize("code", ["ErrorRecipientNotFound", "ErrorMessagePerFolderCountReceiveQuotaExceeded"])
def test_codes_that_the_library_does_not_know_are_transport_errors(code: str) -> None:
    assert not hasattr(library, code)
    with canned(lambda _: http(200, _three(code))) as server:
        with pytest.raises(library.TransportError):
            stock_create(stock_account(server.url))
        assert our_create(server.url, mail("a"), mail("b"), mail("c"))[1].code == code


def test_an_inner_code_takes_the_place_of_the_code() -> None:
    inner = '<m:MessageXml><t:Value Name="InnerErrorResponseCode">ErrorItemNotFound</t:Value></m:MessageXml>'
    said = answer("CreateItem", message("CreateItem", inner, "ErrorInternalServerError", "boom"))
    with canned(lambda _: http(200, said)) as server:
        found = stock_create(stock_account(server.url))
        assert isinstance(found[0], library.ErrorItemNotFound)
        assert our_create(server.url, mail("a"))[0].code == "ErrorInternalServerError"


def test_an_answer_that_was_cut_off_is_taken_for_whole() -> None:
    """A proxy that ends an answer early, with a length of its own: half a message would pass as the whole."""
    whole = answer(
        "GetItem",
        message("GetItem", f"<m:Items><t:Message><t:MimeContent>{'QUJD' * 100}</t:MimeContent></t:Message></m:Items>"),
    )
    cut = whole[: whole.index(b"QUJD") + 40]
    assert b"QUJD" * 10 in etree.tostring(to_xml(cut))
    with pytest.raises(CutOff):
        answers(cut, "GetItem")
    with canned(lambda _: http(200, cut)) as server, pytest.raises(CutOff):
        GetMime(our_line(server.url).account(ANN)).ask(["I1"])


def test_an_answer_is_read_octet_by_octet() -> None:
    """By the processor's time, in a ratio: what else the machine does has no part in it."""
    text = b"A" * 400_000
    whole = answer("GetItem", message("GetItem", f"<m:Items><t:Message><t:MimeContent>{text.decode()}"
                                      "</t:MimeContent></t:Message></m:Items>"))  # fmt: skip
    response = requests.Response()
    response._content, response._content_consumed = whole, True  # type: ignore[attr-defined]
    theirs = _cost(lambda: to_xml(response.iter_content()))
    ours = _cost(lambda: answers(whole, "GetItem"))
    assert theirs > 20 * ours


def _cost(call: Callable[[], Any]) -> float:
    began = time.process_time()
    call()
    return max(time.process_time() - began, 1e-4)


def test_a_stream_holds_the_session_that_questions_wait_for() -> None:
    """exchangelib issue #906."""
    protocol = Protocol(config=stock("http://127.0.0.1:9/EWS", user="streams", connections=None))
    assert protocol.max_connections == 1
    protocol.get_session()  # as a stream does, for as long as it lasts
    question = threading.Thread(target=protocol.get_session, daemon=True)
    question.start()
    question.join(0.5)
    assert question.is_alive()


async def test_our_streams_have_connections_of_their_own(tmp_path: Path) -> None:
    def reply(asked: Asked) -> bytes | None:
        if asked.operation == "Subscribe":
            return http(200, answer("Subscribe", message("Subscribe", "<m:SubscriptionId>S</m:SubscriptionId>")))
        if asked.operation == "GetStreamingEvents":
            asked.state["gate"].wait(60)
            return None
        return a_folder(asked)

    with canned(reply) as server:
        options: dict[str, Any] = {"auth": "basic", "username": "u", "password": "p", "max_connections": 1}
        async with organisation(tmp_path, url=server.url, **options) as exchange:

            async def collect() -> None:
                async for _ in exchange.watch([(ANN, "F1")]):
                    pass

            task = asyncio.ensure_future(collect())
            async with asyncio.timeout(60):
                while not any(each.operation == "GetStreamingEvents" for each in server.asked):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                assert await exchange.folder(ANN, "inbox") == "F1"
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def test_two_configurations_share_what_the_first_one_said() -> None:
    url = "http://127.0.0.1:9/EWS"
    first = Protocol(config=stock(url, user="shared", connections=4))
    second = Protocol(config=stock(url, user="shared", connections=1, policy=FaultTolerance()))
    assert second is first
    assert isinstance(second.retry_policy, FailFast)

    class Ours(Protocol):  # type: ignore[misc]
        pass

    assert type(Ours(config=stock(url, user="shared"))) is Protocol, "even for another class"
    one, other = our_line(url, max_connections=4), our_line(url, max_connections=1)
    assert one is not other
    assert (one.max_connections, other.max_connections) == (4, 1)
    one.account(ANN)
    assert not [key for key in Protocol._protocol_cache if key[1] is None], "nothing of ours is in the cache"


def test_tls_is_a_matter_of_the_whole_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(BaseProtocol, "HTTP_ADAPTER_CLS", NoVerifyHTTPAdapter)
    theirs = Protocol(config=stock("https://127.0.0.1:9/EWS", user="tls"))
    assert isinstance(theirs.get_adapter(), NoVerifyHTTPAdapter), "though nobody asked it of this one"
    session = our_line("https://127.0.0.1:9/EWS").create_session()
    assert not isinstance(session.get_adapter("https://127.0.0.1:9/EWS"), NoVerifyHTTPAdapter)
    assert session.verify


def test_proxies_and_passwords_come_from_the_environment() -> None:
    theirs = Protocol(config=stock("https://127.0.0.1:9/EWS", user="env")).create_session()
    assert theirs.trust_env
    assert not our_line("https://127.0.0.1:9/EWS").create_session().trust_env


def test_access_zone_and_locale_are_guessed() -> None:
    url = "http://127.0.0.1:9/EWS"
    guessed = Account(ANN, config=stock(url), autodiscover=False)
    assert guessed.access_type == IMPERSONATION, "though nobody said so"
    for access, expected in (("impersonation", IMPERSONATION), ("delegate", DELEGATE)):
        ours = our_line(url, access=access).account(ANN)
        assert (ours.access_type, ours.default_timezone.key, ours.locale) == (expected, "UTC", "en_US")


def test_an_extended_property_is_registered_for_everybody() -> None:
    class Ours(ExtendedProperty):  # type: ignore[misc]
        property_tag = 0x7F01
        property_type = "Integer"

    Message.register("gatepost_trap", Ours)
    try:
        assert "gatepost_trap" in {each.name for each in Message.FIELDS}
    finally:
        Message.deregister("gatepost_trap")
    our_line("http://127.0.0.1:9/EWS").account(ANN)
    assert not [each.name for each in Message.FIELDS if "gatepost" in each.name]


@pytest.mark.parametrize(("spelled", "more"), [("true", False), ("1", False), ("false", True), ("0", True)])
def test_one_spelling_of_the_last_page_is_taken_for_more_to_come(spelled: str, more: bool) -> None:
    root = etree.fromstring(
        f'<m:R xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages"><m:RootFolder '
        f'IndexedPagingOffset="7" TotalItemsInView="7" IncludesLastItemInRange="{spelled}"/></m:R>'
    )
    if spelled == "1":
        assert EWSPagingService._get_paging_values(root[0])[1] == 7, "the library asks on"
    assert (read_more(root) is not None) == more


def test_a_token_is_forgotten_when_a_connection_closes() -> None:
    from exchangelib import OAuth2Credentials

    credentials = OAuth2Credentials("app", "secret", tenant_id="acme")
    config = Configuration(service_endpoint="https://127.0.0.1:9/EWS", credentials=credentials, version=VERSION)
    theirs = type.__call__(Protocol, config=config)
    credentials.access_token = {"access_token": "x"}
    theirs.close_session(requests.Session())
    assert credentials.access_token is None, "each lost connection asks for a new one"
    # Ours is kept apart from connections: test_auth counts the tokens that are asked for.


def test_autodiscovery_is_kept_for_the_whole_machine_in_a_file_that_is_unpickled(tmp_path: Path) -> None:
    place = library_cache.AUTODISCOVER_PERSISTENT_STORAGE
    assert place.parent == Path(tempfile.gettempdir())
    damaged = tmp_path / "cache"
    damaged.write_bytes(b"no shelf")
    neighbour = tmp_path / "cache-of-another-program"
    neighbour.write_text("precious")
    with library_cache.shelve_open_with_failover(damaged):
        pass
    assert not neighbour.exists(), "what begins with the same name goes with it"
    # Ours is one line in the connector's own folder: test_autodiscovery.


def test_a_fault_shows_what_was_sent(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(logging.getLogger("exchangelib"), "level", logging.DEBUG)
    logging.getLogger("exchangelib.util")._cache.clear()  # type: ignore[attr-defined]
    logging.getLogger("exchangelib.util.xml")._cache.clear()  # type: ignore[attr-defined]
    with canned(lambda _: http(200, fault("ErrorQuotaExceeded"))) as server, pytest.raises(library.EWSError):
        stock_create(stock_account(server.url, user="shown"))
    assert "Basic " in caplog.text, "the password is in the log"
    # That our faults and logs hold none of it is shown in test_auth.


def test_a_back_off_of_nothing_is_ten_seconds_or_none() -> None:
    for said, ours in ((None, None), (0, None), (7000, 7.0)):
        octets = fault("ErrorServerBusy", back_off_ms=said)
        with canned(lambda _, octets=octets: http(500, octets)) as server:
            with pytest.raises(library.ErrorServerBusy) as theirs:
                stock_create(stock_account(server.url, user=f"busy{said}"))
            assert theirs.value.back_off == (7.0 if said else 10)
            with pytest.raises(SoapFault) as told:
                our_create(server.url, mail("a"))
            assert told.value.back_off_s == ours


def test_characters_that_xml_does_not_allow_are_mended_in_whole_answers_alone() -> None:
    folders = folder().replace("</t:Folder>", "<t:DisplayName>a&#x1F;b</t:DisplayName></t:Folder>")
    found, mended = answers(answer("GetFolder", message("GetFolder", folders)), "GetFolder")
    assert mended
    assert found[0].ok


@pytest.mark.parametrize(
    "octets",
    [
        b'<!DOCTYPE s:Envelope [<!ENTITY a "aaaa">]>' + envelope("<m:X>&a;</m:X>").partition(b"?>")[2],
        b"<html><body>login</body></html>",
        b"",
        envelope("<m:GetItemResponse/>")[:-20],
        envelope("<m:OtherResponse/>"),
        envelope(""),
    ],
)
def test_what_is_no_answer_is_none(octets: bytes) -> None:
    with pytest.raises(CutOff):
        answers(octets, "GetItem")
