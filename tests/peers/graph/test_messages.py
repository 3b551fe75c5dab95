"""Messages: what is made of MIME and JSON, what is read again, changed, moved, copied, deleted, found."""

from __future__ import annotations

import base64
import email
import email.policy
from typing import Any

import pytest

from tests.peers.graph.client import IMMUTABLE, MIME, Client, client

KEY = "String {6d0ae0e6-6a53-4d3e-9c1e-5a2d0c4f7b11} Name gatepost-delivery"
HEADER = "String {00020386-0000-0000-C000-000000000046} Name X-Gatepost-Delivery"
LETTER = (
    b"Received: from a by b; Sun, 1 Mar 2026 10:00:00 +0000\r\n"
    b"From: Carl Gauss <carl@x.example>\r\nTo: Ann <ann@y.example>\r\nCc: bob@y.example\r\nBcc: eve@y.example\r\n"
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nDate: Sun, 1 Mar 2026 12:00:00 +0200\r\nMessage-ID: <1@x.example>\r\n"
    b"Importance: high\r\nX-Gatepost-Delivery: k.1\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
    b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHello\r\n"
    b'--b\r\nContent-Type: application/pdf; name="a.pdf"\r\nContent-Transfer-Encoding: base64\r\n'
    b'Content-Disposition: attachment; filename="a.pdf"\r\n\r\nUERG\r\n--b--\r\n'
)


def _json(**changed: Any) -> dict[str, Any]:
    return {
        "subject": "Made",
        "body": {"contentType": "text", "content": "line\r\n"},
        "from": {"emailAddress": {"name": "Quinn", "address": "q@x.example"}},
        "toRecipients": [{"emailAddress": {"address": "ann@y.example"}}],
        "internetMessageId": "<2@x.example>",
        **changed,
    }


def test_mime_becomes_a_draft_in_drafts(graph: Client) -> None:
    made = graph.create(LETTER)
    assert (made["isDraft"], made["isRead"]) == (True, True)
    assert [each.id for each in graph.company.items("ann", "drafts")] == [made["id"]]
    assert made["subject"] == "Grüße"
    assert made["from"] == {"emailAddress": {"name": "Carl Gauss", "address": "carl@x.example"}}
    assert made["bccRecipients"] == [{"emailAddress": {"name": "eve@y.example", "address": "eve@y.example"}}]
    assert (made["sentDateTime"], made["importance"]) == ("2026-03-01T10:00:00Z", "high")
    assert (made["internetMessageId"], made["hasAttachments"]) == ("<1@x.example>", True)
    assert made["body"] == {"contentType": "text", "content": "Hello"}
    assert "internetMessageHeaders" not in made


def test_mime_can_be_made_in_a_folder(graph: Client) -> None:
    graph.create(LETTER, folder="inbox")
    assert [each.is_draft for each in graph.company.items("ann")] == [True]


@pytest.mark.parametrize("body", [b"Subject: plain\r\n\r\n", b"QUJD=", b"\xff\xfe"])
def test_what_is_not_base64_is_refused(graph: Client, body: bytes) -> None:
    found = graph.ask("POST", f"{graph.user()}/messages", content=body, headers=MIME, status=400)
    assert found["error"] | {"innerError": 0} == {
        "code": "ErrorMimeContentInvalidBase64String",
        "message": "Invalid base64 string for MIME content.",
        "innerError": 0,
    }


def test_more_than_four_megabytes_are_refused(graph: Client) -> None:
    octets = base64.b64encode(b"Subject: a\r\n\r\n" + b"x" * 3_200_000)
    answer = graph.raw("POST", f"{graph.user()}/messages", content=octets, headers=MIME)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "RequestEntityTooLarge")


def test_a_field_of_a_message_is_a_property_by_which_it_is_found(graph: Client) -> None:
    made = graph.create(LETTER)
    query = {"$filter": f"singleValueExtendedProperties/any(ep: ep/id eq '{HEADER}' and ep/value eq 'k.1')"}
    for path in (f"{graph.user()}/messages", f"{graph.user()}/mailFolders/drafts/messages"):
        found = graph.ask("GET", path, params={**query, "$select": "id,isDraft", "$top": 5}, headers=IMMUTABLE)
        assert [(each["id"], each["isDraft"], "subject" in each) for each in found["value"]] == [
            (made["id"], True, False)
        ]
    assert graph.ask("GET", f"{graph.user()}/mailFolders/inbox/messages", params=query)["value"] == []
    assert graph.ask("GET", f"{graph.user('bob')}/messages", params=query)["value"] == []


def test_json_with_message_flags_is_no_draft(graph: Client) -> None:
    extended = [
        {"id": "Integer 0x0E07", "value": "4"},
        {"id": "SystemTime 0x0E06", "value": "2020-02-03T04:05:06Z"},
        {"id": "SystemTime 0x0039", "value": "2020-02-03T04:00:00Z"},
        {"id": KEY, "value": "m.1"},
        {"id": "String {00020386-0000-0000-C000-000000000046} Name X-Foo", "value": "bar"},
        {"id": "String 0x1042", "value": "<0@x.example>"},
    ]
    body = _json(isRead=False, categories=["Red"], singleValueExtendedProperties=extended)
    made = graph.ask("POST", f"{graph.user()}/mailFolders/inbox/messages", json=body, status=201)
    assert (made["isDraft"], made["isRead"], made["categories"]) == (False, False, ["Red"])
    assert (made["receivedDateTime"], made["sentDateTime"]) == ("2020-02-03T04:05:06Z", "2020-02-03T04:00:00Z")
    assert made["from"]["emailAddress"]["address"] == "q@x.example"
    octets = graph.raw("GET", f"{graph.user()}/messages/{made['id']}/$value").content
    read = email.message_from_bytes(octets, policy=email.policy.default)
    assert (read["From"], read["To"], read["Subject"]) == ("Quinn <q@x.example>", "ann@y.example", "Made")
    assert (read["X-Foo"], read["In-Reply-To"], read["Message-ID"]) == ("bar", "<0@x.example>", "<2@x.example>")
    assert read["Date"].datetime.isoformat() == "2020-02-03T04:00:00+00:00"
    assert read.get_content().strip() == "line"
    stored = graph.company.items("ann")[0]
    assert stored.properties["{6d0ae0e6-6a53-4d3e-9c1e-5a2d0c4f7b11}/gatepost-delivery"] == "m.1"
    assert (stored.is_draft, stored.shown, stored.octets) == (False, octets, octets)


def test_json_without_message_flags_is_a_draft(graph: Client) -> None:
    made = graph.ask("POST", f"{graph.user()}/mailFolders/inbox/messages", json=_json(), status=201)
    assert (made["isDraft"], made["isRead"]) == (True, True)


def test_message_flags_do_not_change_later(graph: Client) -> None:
    made = graph.create(LETTER)
    body = {"singleValueExtendedProperties": [{"id": "Integer 0x0E07", "value": "4"}, {"id": KEY, "value": "x"}]}
    changed = graph.ask("PATCH", f"{graph.user()}/messages/{made['id']}", json=body)
    assert changed["isDraft"] is True
    assert graph.company.items("ann", "drafts")[0].properties[KEY.split(" ")[1] + "/gatepost-delivery"] == "x"


def test_custom_headers_begin_with_x(graph: Client) -> None:
    good = _json(internetMessageHeaders=[{"name": "x-one", "value": "1"}])
    made = graph.ask("POST", f"{graph.user()}/messages", json=good, status=201)
    assert b"\r\nx-one: 1\r\n" in graph.raw("GET", f"{graph.user()}/messages/{made['id']}/$value").content
    bad = _json(internetMessageHeaders=[{"name": "List-Id", "value": "1"}])
    found = graph.ask("POST", f"{graph.user()}/messages", json=bad, status=400)
    assert found["error"]["code"] == "InvalidInternetMessageHeader"


def test_a_copy_by_its_resource_loses_other_fields(graph: Client) -> None:
    made = graph.create(LETTER.replace(b"X-Gatepost-Delivery", b"List-Id"))
    whole = graph.ask("GET", f"{graph.user()}/messages/{made['id']}", params={"$expand": "attachments"})
    kept = {key: value for key, value in whole.items() if not key.startswith("@")}
    copied = graph.ask("POST", f"{graph.user()}/mailFolders/inbox/messages", json=kept, status=201)
    octets = graph.raw("GET", f"{graph.user()}/messages/{copied['id']}/$value").content
    assert b"List-Id" not in octets
    assert b"Received" not in octets
    parts = [part.get_filename() for part in email.message_from_bytes(octets).walk()]
    assert parts == [None, None, "a.pdf"]


def test_html_gains_a_text_beside_it(graph: Client) -> None:
    body = _json(body={"contentType": "HTML", "content": "<p>Hi <b>you</b></p>"})
    made = graph.ask("POST", f"{graph.user()}/messages", json=body, status=201)
    assert (made["body"]["contentType"], made["bodyPreview"]) == ("html", "Hi you")
    read = email.message_from_bytes(graph.raw("GET", f"{graph.user()}/messages/{made['id']}/$value").content)
    assert [part.get_content_type() for part in read.walk()] == ["multipart/alternative", "text/plain", "text/html"]


@pytest.mark.parametrize(
    ("message_class", "kind"),
    [("IPM.Note.SMIME.MultipartSigned", "multipart/signed"), ("IPM.Note.SMIME", "application/pkcs7-mime")],
)
def test_a_signed_message_comes_out_as_its_one_attachment(graph: Client, message_class: str, kind: str) -> None:
    inner = f'Content-Type: {kind}; boundary="s"\r\n\r\n--s\r\n\r\nText\r\n--s--\r\n'.encode()
    attached = {
        "@odata.type": "#microsoft.graph.fileAttachment", "name": "smime.p7m", "contentType": kind,
        "contentBytes": base64.b64encode(inner).decode(),
    }  # fmt: skip
    extended = [{"id": "String 0x001A", "value": message_class}, {"id": "Integer 0x0E07", "value": "4"}]
    body = _json(attachments=[attached], singleValueExtendedProperties=extended)
    made = graph.ask("POST", f"{graph.user()}/mailFolders/inbox/messages", json=body, status=201)
    octets = graph.raw("GET", f"{graph.user()}/messages/{made['id']}/$value").content
    assert octets.endswith(b"\r\nMIME-Version: 1.0\r\n" + inner)
    assert octets.count(b"Content-Type: " + kind.encode()) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"subject": "a", "nonsense": 1},
        {"isRead": "yes"},
        {"toRecipients": [{"address": "a@b"}]},
        {"body": {"contentType": "rtf", "content": ""}},
        {"attachments": [{"@odata.type": "#microsoft.graph.fileAttachment", "contentBytes": "***"}]},
    ],
)
def test_a_wrong_shape_is_refused_and_reported(graph: Client, body: dict[str, Any]) -> None:
    found = graph.ask("POST", f"{graph.user()}/messages", json=body, status=400)
    assert found["error"]["code"] == "RequestBodyRead"
    assert [each.partition(":")[0] for each in graph.company.peer.violations()] == ["CreateMessage"]


def test_what_is_not_served_is_refused_and_reported(graph: Client) -> None:
    graph.ask("GET", f"{graph.user()}/messages", params={"$search": "x"}, status=400)
    graph.ask("POST", f"{graph.user()}/messages/x/createReply", status=400)
    assert len(graph.company.peer.violations()) == 2


def test_a_message_is_changed(graph: Client) -> None:
    id = graph.company.put("ann", LETTER)
    here = f"{graph.user()}/messages/{id}"
    before = graph.ask("GET", here)
    changed = graph.ask("PATCH", here, json={"isRead": True, "categories": ["A"], "flag": {"flagStatus": "flagged"}})
    assert (changed["isRead"], changed["categories"], changed["flag"]) == (True, ["A"], {"flagStatus": "flagged"})
    assert changed["changeKey"] != before["changeKey"]
    refused = graph.ask("PATCH", here, json={"subject": "other"}, status=400)
    assert refused["error"]["code"] == "ErrorInvalidPropertySet"
    stale = graph.raw("PATCH", here, json={"isRead": False}, headers={"If-Match": before["@odata.etag"]})
    assert (stale.status_code, stale.json()["error"]["code"]) == (412, "ErrorIrresolvableConflict")


def test_a_changed_draft_is_generated_anew(graph: Client) -> None:
    made = graph.create(LETTER)
    graph.ask("PATCH", f"{graph.user()}/messages/{made['id']}", json={"subject": "Other"})
    octets = graph.raw("GET", f"{graph.user()}/messages/{made['id']}/$value").content
    assert b"Subject: Other\r\n" in octets


def test_a_moved_message_has_another_default_id_and_the_same_immutable_one(graph: Client) -> None:
    stable = graph.company.put("ann", LETTER)
    plain = graph.ask("GET", f"{graph.user()}/messages/{stable}")["id"]
    moved = graph.ask("POST", f"{graph.user()}/messages/{plain}/move", json={"destinationId": "archive"}, status=201)
    assert moved["id"] != plain
    assert graph.ask("GET", f"{graph.user()}/messages/{plain}", status=404)["error"]["code"] == "ErrorItemNotFound"
    assert graph.ask("GET", f"{graph.user()}/messages/{stable}", headers=IMMUTABLE)["id"] == stable
    assert [each.id for each in graph.company.items("ann", "archive")] == [stable]
    assert graph.company.items("ann") == []


def test_a_copy_is_another_item_with_the_same_content(graph: Client) -> None:
    id = graph.company.put("ann", LETTER)
    copied = graph.ask("POST", f"{graph.user()}/messages/{id}/copy", json={"destinationId": "archive"}, status=201)
    assert len(graph.company.items("ann")) == len(graph.company.items("ann", "archive")) == 1
    assert graph.company.items("ann")[0].shown == graph.company.items("ann", "archive")[0].shown
    assert len(graph.ask("GET", f"{graph.user()}/messages/{copied['id']}/attachments")["value"]) == 1


def test_a_deleted_message_is_recoverable_and_a_purged_one_is_not(graph: Client) -> None:
    first, second = graph.company.put("ann", LETTER), graph.company.put("ann", LETTER)
    graph.ask("DELETE", f"{graph.user()}/messages/{first}", status=204)
    graph.ask("POST", f"{graph.user()}/messages/{second}/permanentDelete", status=204)
    assert graph.ask("GET", f"{graph.user()}/messages")["value"] == []
    kept = graph.ask("GET", f"{graph.user()}/mailFolders/recoverableitemsdeletions/messages")["value"]
    assert len(kept) == 1
    refused = graph.ask("DELETE", f"{graph.user()}/messages/{kept[0]['id']}", status=400)
    assert refused["error"]["code"] == "ErrorCannotDeleteObject"
    assert graph.ask("GET", f"{graph.user()}/messages/{second}", status=404)["error"]["code"] == "ErrorItemNotFound"


def test_a_damaged_id_is_malformed(graph: Client) -> None:
    id = graph.company.put("ann", LETTER)
    for wrong in ("x", id[:-1], id.swapcase(), id.replace("A", "B", 1)):
        found = graph.ask("GET", f"{graph.user()}/messages/{wrong}", status=400)
        assert found["error"]["code"] == "ErrorInvalidIdMalformed"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("isRead eq false", ["b", "a"]),
        ("internetMessageId eq '<A@x>'", ["a"]),
        ("receivedDateTime ge 2026-01-02T00:00:00Z", ["c", "b"]),
        ("receivedDateTime gt 2026-01-02T00:00:00Z and isRead eq false", []),
        ("subject ne 'a' and (isRead eq true or startswith(subject,'z'))", ["c"]),
        ("from/emailAddress/address eq 'x@y.example'", ["c", "b", "a"]),
        ("categories/any(c: c eq 'Red')", ["b"]),
        ("singleValueExtendedProperties/any(e: e/id eq 'Integer 0xE07' and e/value eq '1')", ["c"]),
    ],
)
def test_messages_are_found_by_filter_newest_first(graph: Client, text: str, expected: list[str]) -> None:
    for at, name in enumerate("abc"):
        octets = f"From: x@y.example\r\nSubject: {name}\r\nMessage-ID: <{name.upper()}@x>\r\n\r\n".encode()
        received = 1_767_225_600 + at * 86_400
        categories = ["Red"] if name == "b" else []
        graph.company.put("ann", octets, received_at=received, is_read=name == "c", categories=categories)
    found = graph.ask("GET", f"{graph.user()}/messages", params={"$filter": text})
    assert [each["subject"] for each in found["value"]] == expected


def test_a_filter_that_is_not_understood_is_refused(graph: Client) -> None:
    for text in ("isRead", "isRead eq", "(isRead eq true", "isRead like true", "subject eq 'a"):
        assert graph.ask("GET", f"{graph.user()}/messages", params={"$filter": text}, status=400)


def test_properties_are_shown_where_they_are_asked_for(graph: Client) -> None:
    id = graph.company.put("ann", LETTER, extended={"0x5d01": "ann@y.example"})
    expand = "singleValueExtendedProperties($filter=id eq 'String 0x5D01' or id eq 'Integer 0x0E07')"
    for found in (
        graph.ask("GET", f"{graph.user()}/messages/{id}", params={"$expand": expand, "$select": "subject"}),
        graph.ask("GET", f"{graph.user()}/messages", params={"$expand": expand, "$select": "subject"})["value"][0],
    ):
        values = {each["value"] for each in found["singleValueExtendedProperties"]}
        assert values == {"ann@y.example", "0"}
        assert "body" not in found


def test_a_full_mailbox_takes_nothing_more(graph: Client) -> None:
    graph.company.quota("ann", 100)
    body = base64.b64encode(LETTER)
    found = graph.ask("POST", f"{graph.user()}/messages", content=body, headers=MIME, status=507)
    assert found["error"]["code"] == "ErrorQuotaExceeded"
    graph.company.quota("ann", None)
    graph.create(LETTER)


def test_in_honest_mode_a_draft_is_not_what_was_sent_to_it(graph: Client) -> None:
    made = graph.create(LETTER)
    octets = graph.raw("GET", f"{graph.user()}/messages/{made['id']}/$value").content
    kept = graph.company.items("ann", "drafts")[0]
    assert (kept.octets, kept.shown) == (LETTER, octets)
    assert octets != LETTER
    read, sent = (email.message_from_bytes(each, policy=email.policy.default) for each in (octets, LETTER))
    for name in ("From", "To", "Cc", "Bcc", "Subject", "Message-ID", "X-Gatepost-Delivery"):
        assert read[name] == sent[name], name
    assert read.get_boundary() != sent.get_boundary()
    assert b"X-MS-Exchange-Organization" not in octets


def test_in_honest_mode_what_was_delivered_has_fields_of_the_organisation_and_no_bcc(graph: Client) -> None:
    graph.company.put("ann", LETTER)
    shown = graph.company.items("ann")[0].shown
    assert f"AuthSource: mbx1.{graph.company.domain}\r\n".encode() in shown
    assert b"eve@y.example" not in shown


def test_in_faithful_mode_mime_comes_back_as_it_went_in(graph: Client) -> None:
    company = graph.company.peer.organisation("ann", honest=False)
    with client(company) as faithful:
        made = faithful.create(LETTER)
        assert faithful.raw("GET", f"{faithful.user()}/messages/{made['id']}/$value").content == LETTER


def test_the_threading_fields_are_properties(graph: Client) -> None:
    id = graph.company.put("ann", b"In-Reply-To: <0@x>\r\nReferences: <a@x> <0@x>\r\nSubject: s\r\n\r\n")
    expand = "singleValueExtendedProperties($filter=id eq 'String 0x1042' or id eq 'String 0x1039')"
    found = graph.ask("GET", f"{graph.user()}/messages/{id}", params={"$expand": expand})
    values = {each["id"]: each["value"] for each in found["singleValueExtendedProperties"]}
    assert values == {"String 0x1042": "<0@x>", "String 0x1039": "<a@x> <0@x>"}


def test_wishes_and_addresses_beyond_ascii_are_in_the_mime(graph: Client) -> None:
    extended = [{"id": "Integer 0x0036", "value": "2"}]
    to = [{"emailAddress": {"name": "Jürgen", "address": "jürgen@y.example"}}]
    body = _json(toRecipients=to, isReadReceiptRequested=True, singleValueExtendedProperties=extended)
    made = graph.ask("POST", f"{graph.user()}/messages", json=body, status=201)
    octets = graph.raw("GET", f"{graph.user()}/messages/{made['id']}/$value").content
    assert "jürgen@y.example".encode() in octets
    read = email.message_from_bytes(octets, policy=email.policy.default)
    assert (read["Sensitivity"], read["Disposition-Notification-To"]) == ("Private", "Quinn <q@x.example>")
