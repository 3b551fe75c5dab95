"""Whom an item's mail is from and to, row by row."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.exchange.common_config import Watched
from connectors.exchange.envelope import BadItem, is_automatic, legacy_dns, of_item, of_report
from connectors.exchange.journal_report import Journaled
from connectors.exchange.organisation import Addressed, Party, Person
from gateway.contract import Content

DN = "/o=Org/ou=HQ/cn=Recipients/cn=kim"
KIM = Person("Kim", "kim@org.example", ("SMTP:kim@org.example",), DN)


def rule(**more: Any) -> Watched:
    return Watched(mailbox="ann@org.example", **more)


def content(*lines: str) -> Content:
    return Content("\r\n".join([*lines, "", "text", ""]).encode())


def names(found: Any) -> list[str]:
    return [f"{each.address.network}:{each.address.value}" for each in found.recipients]


PARTIES = Addressed(
    Party("Ann", "ann@org.example"),
    to=(Party("Olga", "olga@out.example"), Party("Kim", DN, "EX")),
    cc=(Party("Fax", "4711", "FAX"), Party("Olga", "OLGA@out.example")),
    bcc=(Party("Eve", "eve@out.example"),),
)


@pytest.mark.parametrize(
    ("watched", "lines", "parties", "expected"),
    [
        (rule(), ["To: x@out.example"], None, ["smtp:ann@org.example"]),
        (rule(recipients=["ops@out.example"], envelope="headers"), [], PARTIES, ["smtp:ops@out.example"]),
        (
            rule(envelope="headers"),
            ["To: nobody@out.example"],
            PARTIES,
            ["smtp:olga@out.example", "smtp:kim@org.example", "smtp:eve@out.example"],
        ),
        (
            rule(envelope="headers"),
            ["To: Olga <olga@out.example>, b@out.example", "Cc: c@out.example", "Bcc: d@out.example"],
            None,
            ["smtp:olga@out.example", "smtp:b@out.example", "smtp:c@out.example", "smtp:d@out.example"],
        ),
    ],
)
def test_recipients(watched: Watched, lines: list[str], parties: Addressed | None, expected: list[str]) -> None:
    assert names(of_item(content(*lines), "IPM.Note", watched, parties, {DN: KIM})) == expected


def test_a_legacy_dn_that_the_directory_does_not_know_stays_one() -> None:
    assert legacy_dns(PARTIES) == [DN]
    found = of_item(content("Subject: x"), "IPM.Note", rule(envelope="headers"), PARTIES, {DN: None})
    assert names(found)[1].lower() == f"x500:{DN.lower()}"


def test_nobody_to_write_to_is_a_bad_item() -> None:
    with pytest.raises(BadItem):
        of_item(content("Subject: x"), "IPM.Note", rule(envelope="headers"))


@pytest.mark.parametrize(
    ("lines", "item_class", "expected"),
    [
        (["Return-Path: <a@x.example>", "From: b@x.example"], "IPM.Note", "a@x.example"),
        (["Return-Path: <>", "From: b@x.example"], "IPM.Note", None),
        (["From: b@x.example"], "IPM.Note", "b@x.example"),
        (["Sender: s@x.example", "From: b@x.example"], "IPM.Note", "s@x.example"),
        (["From: b@x.example", "Auto-Submitted: auto-replied"], "IPM.Note", None),
        (["From: b@x.example", "Auto-Submitted: no"], "IPM.Note", "b@x.example"),
        (["From: b@x.example", "Content-Type: multipart/report; boundary=x"], "IPM.Note", None),
        (["From: b@x.example"], "REPORT.IPM.Note.NDR", None),
        (["Subject: no sender at all"], "IPM.Note", None),
        (["From: nonsense"], "IPM.Note", None),
    ],
)
def test_the_reverse_path(lines: list[str], item_class: str, expected: str | None) -> None:
    path = of_item(content(*lines), item_class, rule()).reverse_path
    assert (path.value if path is not None else None) == expected


def test_a_sender_of_the_properties_is_the_last_resort() -> None:
    parties = Addressed(Party("Kim", DN, "EX"), to=(Party("Olga", "olga@out.example"),))
    path = of_item(content("Subject: x"), "IPM.Note", rule(envelope="headers"), parties, {DN: KIM}).reverse_path
    assert path is not None
    assert path.value == "kim@org.example"


def test_a_report_gives_its_whole_envelope() -> None:
    found = of_report(
        "a@x.example", (Journaled("SMTP:b@y.example", "to", group="all@x.example"), Journaled(DN, "bcc")), {DN: KIM}
    )
    assert found.reverse_path is not None
    assert found.reverse_path.value == "a@x.example"
    assert names(found) == ["smtp:b@y.example", "smtp:kim@org.example"]
    assert found.recipients[0].orcpt == "rfc822;all@x.example"
    assert of_report("<>", (Journaled("b@y.example", "to"),)).reverse_path is None
    with pytest.raises(BadItem):
        of_report("a@x.example", (Journaled("no address", "to"),))


def test_what_programs_write_is_known() -> None:
    assert is_automatic(content("Auto-Submitted: auto-generated; x=y"))
    assert not is_automatic(content("Subject: x"))
