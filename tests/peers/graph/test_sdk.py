"""The peer before Microsoft's own clients: msgraph-sdk 1.65 and azure-identity. What they understood is asserted."""

from __future__ import annotations

from pathlib import Path

from tests.peers.graph.client import Client
from tests.peers.graph.process import GraphCompany
from tests.peers.graph.sdk import Sdk


def test_it_logs_in_and_reads_users_and_folders(graph_company: GraphCompany, graph_sdk: Sdk) -> None:
    graph_company.put("ann", b"Subject: a\r\n\r\n")
    told = graph_sdk.tell("directory", graph_company)
    assert told["users"] == [graph_company.address("ann"), graph_company.address("bob")]
    assert told["folders"][:2] == ["Inbox", "Drafts"]
    assert told["inbox"] == ["Inbox", 1, 1]
    assert {each.operation for each in graph_company.log()} >= {"Token", "ListUsers", "ListFolders", "GetFolder"}


def test_it_logs_in_by_certificate(graph_company: GraphCompany, graph_sdk: Sdk, tmp_path: Path) -> None:
    certificate, key = graph_company.certificate(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    assert graph_sdk.tell("directory", graph_company, certificate=str(both))["inbox"] == ["Inbox", 0, 0]
    assert b"client_assertion=" in graph_company.log("Token")[0].body


def test_it_makes_reads_changes_moves_and_deletes(graph_company: GraphCompany, graph_sdk: Sdk) -> None:
    told = graph_sdk.tell("messages", graph_company)
    assert told["made"] == ["Grüße", False, False, "2020-02-03T04:05:06+00:00", True]
    assert told["read"] == ["text", "Hello\r\n", "Bob"]
    assert told["attachment"] == ["a.bin", "AAE="]
    assert "Subject: =?utf-8?" in told["octets"]
    assert told["changed"] == [True, ["Red"], "flagged"]
    assert (told["moved"], told["found"], told["left"]) == ([True, True], [True], 0)


def test_it_makes_a_draft_from_mime_and_sends_it(graph_company: GraphCompany, graph_sdk: Sdk) -> None:
    sender, to = graph_company.address("ann"), graph_company.address("bob")
    octets = f"From: {sender}\r\nTo: {to}\r\nSubject: by SDK\r\n\r\nHi\r\n"
    told = graph_sdk.tell("mime", graph_company, octets=octets)
    assert told == {"made": ["by SDK", True, sender], "sent": ["by SDK"]}
    assert [each.subject for each in graph_company.items("bob")] == ["by SDK"]


def test_it_follows_changes(graph_company: GraphCompany, graph_sdk: Sdk) -> None:
    ids = [graph_company.put("ann", f"Subject: {name}\r\n\r\n".encode()) for name in "abcde"]
    told = graph_sdk.tell("delta", graph_company, id=ids[0])
    assert (told["subjects"], told["pages"], told["token"]) == (list("abcde"), 3, True)
    assert told["gone"] == [[ids[0], {"reason": "deleted"}]]


def test_it_batches(graph_company: GraphCompany, graph_sdk: Sdk) -> None:
    assert graph_sdk.tell("batch", graph_company) == [200, 200, 404]


def test_it_understands_errors(graph: Client, graph_sdk: Sdk) -> None:
    id = graph.company.put("ann", b"Subject: a\r\n\r\n")
    graph.company.alter("ann", id, delete=True)
    told = graph_sdk.tell("errors", graph.company, gone=id)
    assert told == [[400, "ErrorInvalidIdMalformed"], [404, "ErrorItemNotFound"]]


def test_it_obeys_a_throttled_answer(graph_company: GraphCompany, graph_sdk: Sdk) -> None:
    graph_company.fault("ListUsers", "busy", nth=1, ms=1000)
    assert len(graph_sdk.tell("directory", graph_company)["users"]) == 2
    first, second = graph_company.log("ListUsers")
    assert (first.answered, second.answered, second.at - first.at >= 1) == ("429", "200", True)


def test_it_attaches_a_large_file(graph_company: GraphCompany, graph_sdk: Sdk) -> None:
    told = graph_sdk.tell("upload", graph_company)
    assert told == {"statuses": [200, 201], "found": [["big.bin", 4 * 1024 * 1024, True]]}
