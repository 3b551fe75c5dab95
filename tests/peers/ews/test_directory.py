"""The directory: names that are one, several or none; lists; pages of people; ids in another form."""

from __future__ import annotations

import pytest

from tests.peers.ews.asking import Answer, Asker
from tests.peers.ews.process import EwsCompany, EwsPeer


@pytest.fixture
def here(ews_peer: EwsPeer) -> EwsCompany:
    made = ews_peer.organisation("ann", "anna", "bob")
    made.contact("Carl Outside", "carl@outside.example")
    made.group("everybody", "ann", "bob")
    made.proxy("bob", "X500:/o=Old/ou=First/cn=Recipients/cn=bob")
    made.proxy("bob", f"smtp:robert@{made.domain}")
    return made


@pytest.fixture
def ann(here: EwsCompany) -> Asker:
    return Asker(here, mailbox=here.address("ann"))


def _resolve(ann: Asker, name: str, full: bool = True) -> Answer:
    return ann.ask(
        f'<m:ResolveNames ReturnFullContactData="{str(full).lower()}" SearchScope="ActiveDirectory">'
        f"<m:UnresolvedEntry>{name}</m:UnresolvedEntry></m:ResolveNames>"
    )


def test_one(here: EwsCompany, ann: Asker) -> None:
    answer = _resolve(ann, "bob")
    assert answer.codes == ["NoError"]
    assert answer.texts(".//t:Mailbox/t:EmailAddress") == [here.address("bob")]
    assert answer.texts(".//t:Mailbox/t:MailboxType") == ["Mailbox"]
    assert answer.texts(".//t:EmailAddresses/t:Entry") == [
        f"SMTP:{here.address('bob')}",
        "X500:/o=Old/ou=First/cn=Recipients/cn=bob",
        f"smtp:robert@{here.domain}",
    ]


@pytest.mark.parametrize(
    "name", ["{dn}", "/o=Old/ou=First/cn=Recipients/cn=bob", "smtp:robert@{domain}", "robert@{domain}", "Bo"]
)
def test_by_other_names(here: EwsCompany, ann: Asker, name: str) -> None:
    asked = name.format(dn=here.legacy_dn("bob"), domain=here.domain)
    assert _resolve(ann, asked).texts(".//t:Mailbox/t:EmailAddress") == [here.address("bob")]


def test_several_are_a_warning_with_all_of_them(here: EwsCompany, ann: Asker) -> None:
    answer = _resolve(ann, "ann", full=False)
    assert answer.codes == ["ErrorNameResolutionMultipleResults"]
    assert answer.texts("//@ResponseClass") == ["Warning"]
    assert answer.texts(".//t:EmailAddress") == [here.address("ann"), here.address("anna")]
    assert answer.texts(".//t:Contact") == []


def test_none_is_an_error(ann: Asker) -> None:
    assert _resolve(ann, "nobody").codes == ["ErrorNameResolutionNoResults"]


def test_a_list_is_expanded(here: EwsCompany, ann: Asker) -> None:
    def expand(address: str) -> Answer:
        named = f"<t:EmailAddress>{address}</t:EmailAddress>"
        return ann.ask(f"<m:ExpandDL><m:Mailbox>{named}</m:Mailbox></m:ExpandDL>")

    answer = expand(f"everybody@{here.domain}")
    assert answer.texts(".//t:EmailAddress") == [here.address("ann"), here.address("bob")]
    assert expand(here.address("bob")).codes == ["ErrorNameResolutionNoResults"]


def _people(ann: Asker, offset: int, most: int, query: str = "") -> Answer:
    said = f"<m:QueryString>{query}</m:QueryString>" if query else ""
    return ann.ask(
        f'<m:FindPeople><m:IndexedPageItemView MaxEntriesReturned="{most}" Offset="{offset}" BasePoint="Beginning"/>'
        f'<m:ParentFolderId><t:DistinguishedFolderId Id="directory"/></m:ParentFolderId>{said}</m:FindPeople>'
    )


def test_people_by_pages(here: EwsCompany, ann: Asker) -> None:
    seen: list[str] = []
    while True:
        answer = _people(ann, len(seen), 2)
        assert answer.texts(".//m:TotalNumberOfPeopleInView") == ["5"]
        found = answer.texts(".//t:Persona/t:EmailAddress/t:EmailAddress")
        if not found:
            break
        seen += found
    everybody = f"everybody@{here.domain}"
    assert seen == [here.address("ann"), here.address("anna"), here.address("bob"), "carl@outside.example", everybody]
    assert _people(ann, 0, 10, "Carl").texts(".//t:Persona/t:DisplayName") == ["Carl Outside"]


def test_ids_in_another_form_and_back(here: EwsCompany, ann: Asker) -> None:
    def convert(id: str, source: str, wanted: str) -> Answer:
        named = f'<t:AlternateId Format="{source}" Id="{id}" Mailbox="{here.address("ann")}"/>'
        return ann.ask(f'<m:ConvertId DestinationFormat="{wanted}"><m:SourceIds>{named}</m:SourceIds></m:ConvertId>')

    id = here.put("ann", b"Subject: x\r\n\r\n")
    hexadecimal = convert(id, "EwsId", "HexEntryId")
    assert hexadecimal.texts(".//m:AlternateId/@Mailbox") == [here.address("ann")]
    back = convert(hexadecimal.texts(".//m:AlternateId/@Id")[0], "HexEntryId", "EwsId")
    assert back.texts(".//m:AlternateId/@Id") == [id]
    assert convert("nonsense", "EwsId", "HexEntryId").codes == ["ErrorInvalidIdMalformed"]


def test_time_zones(ann: Asker) -> None:
    answer = ann.ask('<m:GetServerTimeZones ReturnFullTimeZoneData="false"/>')
    assert answer.texts(".//t:TimeZoneDefinition/@Id") == ["UTC"]
