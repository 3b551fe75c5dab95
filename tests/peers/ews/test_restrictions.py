"""What FindItem finds: each kind of restriction, typed as the property is; its order, and its pages."""

from __future__ import annotations

import pytest

from tests.peers.ews.asking import Asker, field, letter, tag
from tests.peers.ews.process import EwsCompany, EwsPeer

SET = "0f7e9f2c-0001-4000-8000-00000000aaaa"
KEY = f'<t:ExtendedFieldURI PropertySetId="{SET}" PropertyName="key" PropertyType="String"/>'
HELD = f"{SET}/key"
DAY = 86400


def _compare(kind: str, path: str, value: str) -> str:
    return f'<t:{kind}>{path}<t:FieldURIOrConstant><t:Constant Value="{value}"/></t:FieldURIOrConstant></t:{kind}>'


def _contains(path: str, value: str, mode: str = "Substring", how: str = "IgnoreCase") -> str:
    said = f'ContainmentMode="{mode}" ContainmentComparison="{how}"'
    return f'<t:Contains {said}>{path}<t:Constant Value="{value}"/></t:Contains>'


SUBJECT, READ, ID = tag("0x37", "String"), field("message:IsRead"), field("message:InternetMessageId")
SIZE, WHEN = tag("0x0e08", "Integer"), tag("0x0e06", "SystemTime")


@pytest.fixture
def ann(ews_peer: EwsPeer) -> Asker:
    """A mailbox with four letters, the first the oldest."""
    here = ews_peer.organisation("ann")
    here.put("ann", letter("Hello 1"), received_at=1 * DAY, is_read=True, extended={HELD: "k.1"})
    here.put("ann", letter("hello 2"), received_at=2 * DAY, extended={HELD: "k.2"})
    here.put("ann", letter("Other 3") + b"x" * 5000, received_at=3 * DAY, categories=["Red", "Blue"])
    here.put("ann", letter("=?utf-8?q?Gr=C3=BC=C3=9Fe_4?="), received_at=4 * DAY, is_read=True)
    return Asker(here, mailbox=here.address("ann"))


@pytest.mark.parametrize(
    ("restriction", "found"),
    [
        (_compare("IsEqualTo", READ, "1"), "14"),
        (_compare("IsEqualTo", READ, "true"), "14"),
        (_compare("IsEqualTo", READ, "false"), "23"),
        (_compare("IsNotEqualTo", READ, "0"), "14"),
        (_compare("IsEqualTo", KEY, "k.2"), "2"),
        (f"<t:Or>{_compare('IsEqualTo', KEY, 'k.1')}{_compare('IsEqualTo', KEY, 'K.2')}</t:Or>", "12"),
        (_compare("IsEqualTo", KEY, "k"), ""),
        (f"<t:Exists>{KEY}</t:Exists>", "12"),
        (f"<t:Not><t:Exists>{KEY}</t:Exists></t:Not>", "34"),
        (f"<t:And>{_compare('IsEqualTo', READ, 'true')}<t:Exists>{KEY}</t:Exists></t:And>", "1"),
        (_compare("IsGreaterThan", SIZE, "999"), "3"),
        (_compare("IsLessThan", SIZE, "1000"), "124"),
        (_compare("IsGreaterThanOrEqualTo", WHEN, "1970-01-04T00:00:00Z"), "34"),
        (_compare("IsLessThanOrEqualTo", WHEN, "1970-01-03T01:00:00+01:00"), "12"),
        (_compare("IsLessThan", WHEN, "1970-01-03T00:00:00.500Z"), "1"),
        (_compare("IsEqualTo", ID, "&lt;hello.2@outside.example&gt;"), "2"),
        (_compare("IsEqualTo", field("item:Categories"), "x"), ""),
        (_compare("IsEqualTo", field("item:Categories"), "blue"), "3"),
        (_contains(field("message:From"), "x@OUTSIDE"), "1234"),
        (_contains(field("message:ToRecipients"), "bob"), ""),
        (_contains(field("item:Body"), "xxxx"), "3"),
        (_contains(SUBJECT, "HELLO"), "12"),
        (_contains(SUBJECT, "HELLO", how="Exact"), ""),
        (_contains(SUBJECT, "grüße"), "4"),
        (_contains(SUBJECT, "hel", "Prefixed"), "12"),
        (_contains(SUBJECT, "ther", "Prefixed"), ""),
        (_contains(SUBJECT, "hello 2", "FullString"), "2"),
        (_contains(field("item:Subject"), "3", "PrefixOnWords"), "3"),
        (_contains(tag("0x0C1A", "String"), "outside"), "1234"),
        (
            _contains(
                '<t:ExtendedFieldURI DistinguishedPropertySetId="PublicStrings" PropertyName="Keywords"'
                ' PropertyType="StringArray"/>',
                "red",
            ),
            "3",
        ),
    ],
)
def test_what_is_found(ann: Asker, restriction: str, found: str) -> None:
    answer = ann.find(restriction=restriction, properties=field("item:Subject"))
    assert answer.codes == ["NoError"]
    assert sorted(each[-1] for each in answer.texts(".//t:Subject")) == list(found)
    assert answer.texts(".//m:RootFolder/@TotalItemsInView") == [str(len(found))]


def test_without_an_order_the_newest_is_first(ann: Asker) -> None:
    assert "".join(each[-1] for each in ann.find(properties=field("item:Subject")).texts(".//t:Subject")) == "4321"


@pytest.mark.parametrize(("way", "found"), [("Ascending", "1243"), ("Descending", "3421")])
def test_an_order_by_a_property(ann: Asker, way: str, found: str) -> None:
    order = f'<m:SortOrder><t:FieldOrder Order="{way}">{SIZE}</t:FieldOrder></m:SortOrder>'
    answer = ann.ask(
        '<m:FindItem Traversal="Shallow"><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>'
        f"{field('item:Subject')}{SIZE}</t:AdditionalProperties></m:ItemShape>{order}"
        '<m:ParentFolderIds><t:DistinguishedFolderId Id="inbox"/></m:ParentFolderIds></m:FindItem>'
    )
    sizes = [int(each) for each in answer.texts(".//t:Value")]
    assert sizes == sorted(sizes, reverse=way == "Descending")
    assert {each[-1] for each in answer.texts(".//t:Subject")} == set(found)


def test_pages(ann: Asker) -> None:
    seen, offset, last = "", "0", "false"
    while last == "false":
        view = f'<m:IndexedPageItemView MaxEntriesReturned="3" Offset="{offset}" BasePoint="Beginning"/>'
        answer = ann.find(properties=field("item:Subject"), view=view)
        seen += "".join(each[-1] for each in answer.texts(".//t:Subject"))
        (offset,) = answer.texts(".//m:RootFolder/@IndexedPagingOffset")
        (last,) = answer.texts(".//m:RootFolder/@IncludesLastItemInRange")
        assert answer.texts(".//m:RootFolder/@TotalItemsInView") == ["4"]
    assert (seen, offset) == ("4321", "4")


def test_no_more_than_a_thousand_at_once(ews_peer: EwsPeer) -> None:
    here: EwsCompany = ews_peer.organisation("ann")
    ews_peer.tell("fill", address=here.address("ann"), count=1003)
    answer = Asker(here, mailbox=here.address("ann")).find()
    assert len(answer.texts(".//t:ItemId/@Id")) == 1000
    assert answer.texts(".//m:RootFolder/@IncludesLastItemInRange") == ["false"]
