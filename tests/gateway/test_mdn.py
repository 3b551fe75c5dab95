"""MDNs: only where asked for, only of the destination's own receipt, and readable."""

from __future__ import annotations

import email
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import mdn
from gateway.message import Content
from gateway.report import Action, RecipientReport
from gateway.status import OK
from mappings.address import Address

PATH = "bob@x.example"


def asks(*values: str) -> Content:
    head = "".join(f"Disposition-Notification-To: {v}\r\n" for v in values)
    return Content(f"{head}Message-ID: <1@x.example>\r\nSubject: x\r\n\r\nhi\r\n".encode())


@pytest.mark.parametrize(
    ("values", "path", "wanted"),
    [
        ((), PATH, None),
        (("bob@x.example",), PATH, "bob@x.example"),
        (("Bob <Bob@X.example>",), PATH, "Bob@X.example"),
        (("Bob <bob@x.example>",), None, None),
        (("eve@y.example",), PATH, None),
        (("bob@x.example, eve@y.example",), PATH, None),
        (("bob@x.example", "bob@x.example"), PATH, None),
        (("nonsense",), PATH, None),
        (("",), PATH, None),
    ],
)
def test_wanted(values: tuple[str, ...], path: str | None, wanted: str | None) -> None:
    found = mdn.wanted(asks(*values), path)
    assert (found.address if found else None) == wanted


def receipt(address: str, orcpt: str | None = None) -> RecipientReport:
    return RecipientReport(Action.DISPLAYED, Address("smtp", address, address), Address("mhs", "a@b", "a@b"), OK, orcpt)


def test_built_as_the_standard_has_it() -> None:
    octets = mdn.build(
        mdn.Wanted(PATH), receipt("ann@s.example", "rfc822;Ann@o.example"), asks(PATH), "gw.example", 9, 1.7e9
    ).octets()
    message = email.message_from_bytes(octets, policy=email.policy.default)
    assert not message.defects
    assert message["Content-Type"].params["report-type"] == "disposition-notification"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["X-Auto-Response-Suppress"] == "All"
    assert message["To"] == PATH
    assert b"a@b" not in octets
    status = [part for part in message.walk() if part["Disposition"]]
    assert len(status) == 1
    fields = status[0]
    assert fields["Final-Recipient"] == "rfc822; Ann@o.example"
    assert fields["Original-Message-ID"] == "<1@x.example>"
    assert fields["Disposition"] == "manual-action/MDN-sent-automatically; displayed"


@pytest.mark.parametrize("address", ["ann@s.example", "jö@s.example"])
def test_read_back(address: str) -> None:
    octets = mdn.build(mdn.Wanted(PATH), receipt(address), asks(PATH), "gw.example", 9, 1.7e9).octets()
    parsed = mdn.parse(octets)
    assert parsed is not None
    assert parsed.final == ("rfc822" if address.isascii() else "utf-8", address)
    assert parsed.action is Action.DISPLAYED
    assert parsed.message_id == "<1@x.example>"


def test_other_dispositions_are_not_displayed() -> None:
    octets = mdn.build(mdn.Wanted(PATH), receipt("a@s.example"), asks(PATH), "gw.example", 9, 1.7e9).octets()
    parsed = mdn.parse(octets.replace(b"; displayed", b"; deleted/error"))
    assert parsed is not None
    assert parsed.action is None


@given(st.binary(max_size=200))
def test_any_octets_can_be_parsed(octets: bytes) -> None:
    mdn.parse(octets)
    mdn.parse(b"Content-Type: message/disposition-notification\r\n\r\n" + octets)
