"""Attachments: small ones singly, large ones by upload sessions."""

from __future__ import annotations

import base64
import email
import os

import pytest

from tests.peers.graph.client import Client

PLAIN = b"From: a@x\r\nTo: b@x\r\nSubject: s\r\nMessage-ID: <1@x>\r\n\r\nHello\r\n"
MEGABYTE = 1024 * 1024
FILE = "#microsoft.graph.fileAttachment"


def test_attachments_are_added_listed_read_and_taken_off(graph: Client) -> None:
    here = f"{graph.user()}/messages/{graph.create(PLAIN)['id']}"
    body = {"@odata.type": FILE, "name": "a.bin", "contentType": "application/x-a", "contentBytes": "AAEC"}
    added = graph.ask("POST", f"{here}/attachments", json=body, status=201)
    assert (added["name"], added["size"], added["isInline"], added["contentBytes"]) == ("a.bin", 3, False, "AAEC")
    assert graph.ask("GET", here)["hasAttachments"] is True
    assert graph.raw("GET", f"{here}/attachments/{added['id']}/$value").content == b"\x00\x01\x02"
    assert graph.ask("GET", f"{here}/attachments/{added['id']}")["contentType"] == "application/x-a"
    read = email.message_from_bytes(graph.raw("GET", f"{here}/$value").content)
    assert [part.get_payload(decode=True) for part in read.walk()][1:] == [b"Hello\r\n", b"\x00\x01\x02"]
    graph.ask("DELETE", f"{here}/attachments/{added['id']}", status=204)
    assert graph.ask("GET", f"{here}/attachments")["value"] == []


def test_an_inline_part_keeps_its_content_id_and_counts_as_none(graph: Client) -> None:
    attached = {
        "@odata.type": FILE, "name": "i.png", "contentType": "image/png", "contentBytes": "AAEC", "isInline": True,
        "contentId": "i@x",
    }  # fmt: skip
    body = {"subject": "s", "body": {"contentType": "html", "content": "<img src=cid:i@x>"}, "attachments": [attached]}
    made = graph.ask("POST", f"{graph.user()}/messages", json=body, status=201)
    assert made["hasAttachments"] is False
    octets = graph.raw("GET", f"{graph.user()}/messages/{made['id']}/$value").content
    assert b"Content-ID: <i@x>" in octets


def test_an_embedded_message_is_an_item_whose_content_is_its_mime(graph: Client) -> None:
    octets = (
        b'Subject: outer\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
        b"--b\r\n\r\nText\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n" + PLAIN + b"--b--\r\n"
    )
    here = f"{graph.user()}/messages/{graph.company.put('ann', octets)}/attachments"
    found = graph.ask("GET", here)["value"][0]
    assert (found["@odata.type"], "contentBytes" in found) == ("#microsoft.graph.itemAttachment", False)
    assert email.message_from_bytes(graph.raw("GET", f"{here}/{found['id']}/$value").content)["Subject"] == "s"


def test_an_item_attachment_is_made_of_its_resource(graph: Client) -> None:
    here = f"{graph.user()}/messages/{graph.create(PLAIN)['id']}"
    item = {"@odata.type": "#microsoft.graph.message", "subject": "in", "body": {"contentType": "text", "content": "b"}}
    body = {"@odata.type": "#microsoft.graph.itemAttachment", "name": "in", "item": item}
    graph.ask("POST", f"{here}/attachments", json=body, status=201)
    kinds = [
        part.get_content_type() for part in email.message_from_bytes(graph.raw("GET", f"{here}/$value").content).walk()
    ]
    assert kinds == ["multipart/mixed", "text/plain", "message/rfc822", "text/plain"]


def _session(graph: Client, here: str, size: int, status: int = 201, **more: object) -> dict[str, object]:
    body = {"AttachmentItem": {"attachmentType": "file", "name": "big.bin", "size": size, **more}}
    return graph.ask("POST", f"{here}/attachments/createUploadSession", json=body, status=status)


def test_a_large_attachment_comes_in_ranges(graph: Client) -> None:
    content = os.urandom(3 * MEGABYTE + 1000)
    here = f"{graph.user()}/messages/{graph.create(PLAIN)['id']}"
    session = _session(graph, here, len(content), contentType="application/x-big")
    url = str(session["uploadUrl"])
    assert session["nextExpectedRanges"] == ["0-"]

    def put(first: int, last: int) -> tuple[int, object, str]:
        said = {"Content-Range": f"bytes {first}-{last - 1}/{len(content)}", "Content-Type": "application/octet-stream"}
        answer = graph.http.put(url, content=content[first:last], headers=said)
        return answer.status_code, answer.json() if answer.content else None, answer.headers.get("location", "")

    status, told, _ = put(0, 2 * MEGABYTE)
    assert (status, told["nextExpectedRanges"]) == (200, [str(2 * MEGABYTE)])  # type: ignore[index]
    assert put(0, 2 * MEGABYTE)[0] == 416
    assert put(2 * MEGABYTE + 1, len(content))[0] == 416
    assert graph.http.get(url).json()["nextExpectedRanges"] == [str(2 * MEGABYTE)]
    status, told, location = put(2 * MEGABYTE, len(content))
    assert (status, told) == (201, None)
    id = location.rpartition("('")[2].removesuffix("')")
    assert graph.raw("GET", f"{here}/attachments/{id}/$value").content == content
    assert graph.http.get(url).status_code == 404


def test_an_upload_can_be_given_up(graph: Client) -> None:
    here = f"{graph.user()}/messages/{graph.create(PLAIN)['id']}"
    url = str(_session(graph, here, 4 * MEGABYTE)["uploadUrl"])
    assert graph.http.delete(url).status_code == 204
    assert graph.http.get(url).status_code == 404
    assert graph.ask("GET", f"{here}/attachments")["value"] == []


@pytest.mark.parametrize(
    ("size", "code"),
    [
        (3 * MEGABYTE - 1, "ErrorAttachmentSizeShouldNotBeLessThanMinimumSize"),
        (151 * MEGABYTE, "ErrorAttachmentSizeLimitExceeded"),
    ],
)
def test_uploads_are_from_3_to_150_megabytes(graph: Client, size: int, code: str) -> None:
    here = f"{graph.user()}/messages/{graph.create(PLAIN)['id']}"
    found = _session(graph, here, size, status=400)
    assert found["error"]["code"] == code  # type: ignore[index]


def test_a_token_has_no_place_in_an_upload(graph: Client) -> None:
    here = f"{graph.user()}/messages/{graph.create(PLAIN)['id']}"
    url = str(_session(graph, here, 3 * MEGABYTE)["uploadUrl"])
    assert graph.raw("PUT", url, content=b"x").status_code == 401
    assert len(graph.company.peer.violations()) == 1


@pytest.mark.parametrize("said", ["", "bytes 0-9/10", "bytes 0-1/3145728", "octets 0-0/3145728"])
def test_a_range_that_does_not_fit_is_refused(graph: Client, said: str) -> None:
    here = f"{graph.user()}/messages/{graph.create(PLAIN)['id']}"
    url = str(_session(graph, here, 3 * MEGABYTE)["uploadUrl"])
    assert graph.http.put(url, content=b"x", headers={"Content-Range": said}).status_code == 400


def test_attachments_count_towards_the_quota(graph: Client) -> None:
    here = f"{graph.user()}/messages/{graph.create(PLAIN)['id']}"
    graph.company.quota("ann", 1000)
    body = {"@odata.type": FILE, "name": "a", "contentBytes": base64.b64encode(bytes(2000)).decode()}
    assert graph.ask("POST", f"{here}/attachments", json=body, status=507)["error"]["code"] == "ErrorQuotaExceeded"
