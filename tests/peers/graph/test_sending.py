"""Sending: what the sender keeps, who gets it, and who may not send."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.peers.graph.client import IMMUTABLE, MIME, Client
from tests.peers.process import wait_until

KEY = "String {6d0ae0e6-6a53-4d3e-9c1e-5a2d0c4f7b11} Name gatepost-delivery"


def _letter(graph: Client, *, to: str = "bob", sender: str = "ann", extra: str = "") -> bytes:
    address = to if "@" in to else graph.company.address(to)
    people = f"From: {graph.company.address(sender)}\r\nTo: {address}\r\n"
    return f"{people}Subject: s\r\nMessage-ID: <1@x>\r\n{extra}\r\nHi\r\n".encode()


def test_a_draft_is_sent_and_kept_as_another_item(graph: Client) -> None:
    bcc = f"Bcc: {graph.company.address('ann')}\r\n"
    draft = graph.create(_letter(graph, extra=bcc))
    body = {"singleValueExtendedProperties": [{"id": KEY, "value": "k.1"}]}
    graph.ask("PATCH", f"{graph.user()}/messages/{draft['id']}", json=body)
    assert graph.raw("POST", f"{graph.user()}/messages/{draft['id']}/send").status_code == 202
    assert graph.company.items("ann", "drafts") == []
    sent = graph.company.items("ann", "sent")
    assert [(each.is_draft, each.is_read, each.id != draft["id"]) for each in sent] == [(False, True, True)]
    assert sent[0].properties[KEY.split(" ")[1] + "/gatepost-delivery"] == "k.1"
    assert bcc.upper().encode() in sent[0].shown.upper()
    for name in ("ann", "bob"):
        got = graph.company.items(name)
        assert [(each.is_draft, each.is_read, b"\nBCC" in each.shown.upper()) for each in got] == [
            (False, False, False)
        ]
    gone = graph.ask("GET", f"{graph.user()}/messages/{draft['id']}", status=404)
    assert gone["error"]["code"] == "ErrorItemNotFound"


def test_what_was_sent_is_in_the_outbox_for_a_while(graph: Client) -> None:
    graph.company.set(sent_after_s=1.5)
    draft = graph.create(_letter(graph))
    assert graph.raw("POST", f"{graph.user()}/messages/{draft['id']}/send").status_code == 202
    assert [len(graph.company.items("ann", each)) for each in ("drafts", "outbox", "sent")] == [0, 1, 0]
    wait_until(lambda: graph.ask("GET", f"{graph.user()}/mailFolders/sentitems/messages")["value"], 60, "it is sent")
    assert graph.company.items("ann", "outbox") == []


def test_send_mail_takes_mime_and_always_keeps_a_copy(graph: Client) -> None:
    body = base64.b64encode(_letter(graph))
    assert graph.raw("POST", f"{graph.user()}/sendMail", content=body, headers=MIME).status_code == 202
    assert len(graph.company.items("bob")) == len(graph.company.items("ann", "sent")) == 1
    refused = graph.ask("POST", f"{graph.user()}/sendMail", content=b"...", headers=MIME, status=400)
    assert refused["error"]["code"] == "ErrorMimeContentInvalidBase64String"


@pytest.mark.parametrize(("keep", "kept"), [(None, 1), (True, 1), (False, 0)])
def test_send_mail_takes_json_and_keeps_a_copy_unless_told_not_to(graph: Client, keep: bool | None, kept: int) -> None:
    message = {
        "subject": "j", "body": {"contentType": "Text", "content": "x"},
        "toRecipients": [{"emailAddress": {"address": graph.company.address("bob")}}],
    }  # fmt: skip
    body: dict[str, Any] = {"Message": message} if keep is None else {"message": message, "saveToSentItems": keep}
    assert graph.raw("POST", f"{graph.user()}/sendMail", json=body).status_code == 202
    assert (len(graph.company.items("bob")), len(graph.company.items("ann", "sent"))) == (1, kept)
    assert graph.company.items("bob")[0].subject == "j"


def test_only_its_own_name_is_a_mailbox_to_send_in(graph: Client) -> None:
    draft = graph.create(_letter(graph, sender="bob"))
    refused = graph.ask("POST", f"{graph.user()}/messages/{draft['id']}/send", status=403)
    assert refused["error"]["code"] == "ErrorSendAsDenied"
    assert len(graph.company.items("ann", "drafts")) == 1
    graph.company.grant("ann", graph.company.address("bob"))
    assert graph.raw("POST", f"{graph.user()}/messages/{draft['id']}/send").status_code == 202


@pytest.mark.parametrize("to", ["", "To: nobody\r\n"])
def test_without_a_valid_recipient_nothing_is_sent(graph: Client, to: str) -> None:
    octets = f"From: {graph.company.address('ann')}\r\n{to}Subject: s\r\n\r\n".encode()
    draft = graph.create(octets)
    refused = graph.ask("POST", f"{graph.user()}/messages/{draft['id']}/send", status=400)
    assert refused["error"]["code"] == "ErrorInvalidRecipients"
    body = base64.b64encode(octets)
    graph.ask("POST", f"{graph.user()}/sendMail", content=body, headers=MIME, status=400)
    assert len(graph.company.items("ann", "drafts")) == 1


def test_groups_contacts_and_the_world_outside(graph: Client) -> None:
    graph.company.group("all", "ann", "bob", "fred@far.example")
    graph.company.contact("carl", "carl@elsewhere.example")
    for to in ("all", "carl@elsewhere.example", "zoe@far.example"):
        draft = graph.create(_letter(graph, to=to))
        assert graph.raw("POST", f"{graph.user()}/messages/{draft['id']}/send").status_code == 202
    assert [len(graph.company.items(each)) for each in ("ann", "bob")] == [1, 1]
    assert [each.mailbox for each in graph.company.outside()] == [
        "fred@far.example",
        "carl@elsewhere.example",
        "zoe@far.example",
    ]


def test_an_unknown_recipient_comes_back_as_a_report(graph: Client) -> None:
    draft = graph.create(_letter(graph, to="nobody"))
    assert graph.raw("POST", f"{graph.user()}/messages/{draft['id']}/send").status_code == 202
    report = graph.company.items("ann")[0]
    assert (report.item_class, b"Status: 5.1.10" in report.shown) == ("REPORT.IPM.Note.NDR", True)


def test_what_was_sent_is_no_draft_to_send_again(graph: Client) -> None:
    id = graph.company.put("ann", _letter(graph))
    refused = graph.ask("POST", f"{graph.user()}/messages/{id}/send", headers=IMMUTABLE, status=400)
    assert refused["error"]["code"] == "ErrorInvalidOperation"
