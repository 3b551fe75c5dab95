"""How mailboxes are opened: as their owner, or by rights on each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.connectors.exchange.ews.canned import Asked, a_folder, canned, fault, http
from tests.connectors.exchange.ews.kit import fault_of, mail, new, organisation
from tests.peers.ews.process import EwsCompany

HEADER = b"ExchangeImpersonation"


async def test_impersonation_names_the_mailbox_in_the_header_alone(company: EwsCompany, tmp_path: Path) -> None:
    ann = company.address("ann")
    async with organisation(tmp_path, **company.access()) as exchange:
        inbox = await exchange.folder(ann, "inbox")
        await exchange.create(ann, inbox, [new("1.1", mail("a"))])
    for each in company.log():
        assert HEADER in each.body
        assert each.body.count(ann.encode()) == 1
        assert b"<t:Mailbox>" not in each.body
        assert each.user == f"svc@{company.domain}"
        assert each.mailbox == ann
        assert each.headers["x-anchormailbox"] == ann


async def test_a_delegate_names_whose_folder_it_is(company: EwsCompany, tmp_path: Path) -> None:
    ann, bob = company.address("ann"), company.address("bob")
    async with organisation(tmp_path, **company.access(access="delegate")) as exchange:
        for owner in (ann, bob):
            inbox = await exchange.folder(owner, "inbox")
            taken = await exchange.folder(owner, ("Gatepost", "Taken"), create=True)
            await exchange.create(owner, inbox, [new("1.1", mail(owner))])
            assert await exchange.find(owner, ["inbox", "trash"], ["1.1"])
            assert taken != inbox
    assert [each.subject for each in company.items("ann")] == [ann]
    assert [each.subject for each in company.items("bob")] == [bob]
    requests = company.log()
    assert not any(HEADER in each.body for each in requests)
    assert all(f"<t:EmailAddress>{ann}".encode() in each.body for each in company.log("GetFolder")[:1])


async def test_an_account_without_the_right_is_told_so(company: EwsCompany, tmp_path: Path) -> None:
    options = company.access(username=company.address("bob"))
    async with organisation(tmp_path, **options) as exchange:
        told = await fault_of(exchange.folder(company.address("ann"), "inbox"))
        assert "ErrorImpersonateUserDenied" in (exchange.trouble() or "")
    assert (told.code, told.why) == ("ErrorImpersonateUserDenied", "denied")


async def test_a_mailbox_that_is_not_there_is_its_own_affair(company: EwsCompany, tmp_path: Path) -> None:
    async with organisation(tmp_path, **company.access()) as exchange:
        told = await fault_of(exchange.folder(f"nobody@{company.domain}", "inbox"))
        assert exchange.trouble() is None, "the server answers"
    assert (told.code, told.why) == ("ErrorNonExistentMailbox", "refused")


async def test_the_time_zone_is_said_and_the_version_pinned(company: EwsCompany, tmp_path: Path) -> None:
    for version, asked in (("auto", b"Exchange2013_SP1"), ("2013", b"Exchange2013"), ("2016", b"Exchange2016")):
        async with organisation(tmp_path, **company.access(version=version)) as exchange:
            await exchange.folder(company.address("ann"), "inbox")
        body = company.log()[-1].body
        assert b'RequestServerVersion Version="' + asked + b'"' in body
        assert b'TimeZoneDefinition Id="UTC"' in body


@pytest.mark.parametrize(("version", "asked"), [("auto", [b"Exchange2013_SP1", b"Exchange2013", b"Exchange2013"]),
                                                ("2013_SP1", [b"Exchange2013_SP1", b"Exchange2013_SP1"])])  # fmt: skip
async def test_a_server_before_the_service_pack_is_asked_in_its_own_version(
    tmp_path: Path, version: str, asked: list[bytes]
) -> None:
    def reply(request: Asked) -> bytes:
        old = b'Version="Exchange2013"' in request.body
        return a_folder(request) if old else http(500, fault("ErrorInvalidServerVersion"))

    with canned(reply) as server:
        options: dict[str, Any] = {"auth": "basic", "username": "u", "password": "p", "version": version}
        async with organisation(tmp_path, url=server.url, **options) as exchange:
            for name in ("ann", "bob"):
                if version == "auto":
                    assert await exchange.folder(f"{name}@acme.example", "inbox") == "F1"
                else:
                    told = await fault_of(exchange.folder(f"{name}@acme.example", "inbox"))
                    assert told.code == "ErrorInvalidServerVersion"
    said = [each.body.partition(b'RequestServerVersion Version="')[2].partition(b'"')[0] for each in server.asked]
    assert said == asked
