"""What users of other tools for moving mailboxes complain of, to and from Exchange: busy servers, limits of each
mailbox, mail that looks like a draft that was never sent."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from connectors.exchange.ews import Ews
from connectors.exchange.graph import Graph
from gateway.contract import Folder
from gateway.sync.pace import Pace
from gateway.sync.values import Policy
from tests.connectors.exchange.mailboxes import says_the_same_by_graph
from tests.gateway.sync.memory import Memory
from tests.integration.sync_pair import At, Waits, bring_in_step, mail
from tests.peers.ews.process import EwsPeer
from tests.peers.graph.process import GraphCompany


class Real(Waits):
    """The clock as it is: a server's hint of some milliseconds is waited for."""

    def pace(self, most_items: int = 50, bytes_per_day: int | None = None) -> Pace:
        return Pace(most_items)


@pytest.fixture
def graph(graph_company: GraphCompany) -> At:
    graph_company.add("carol")
    return At(Graph, graph_company.access(), graph_company.address("carol"))


def filled(count: int) -> Memory:
    left = Memory()
    for number in range(count):
        words = ["seen"] if number % 2 else []
        date = "Thu, 30 Jan 2014 10:00:00 +0100"
        left.put(mail(number, Date=date), "inbox", *words, at=1.39e9 + number, name=f"<{number}@example.org>")
    return left


def test_a_busy_server_ends_the_move(ews_peer: EwsPeer, tmp_path: Path) -> None:
    """exchangelib #356, exchangelib #647, mustang #121: ErrorServerBusy is waited for, and the work goes on."""
    company = ews_peer.organisation("ann", honest=False)
    for number in range(60):
        company.put("ann", mail(number))
    for operation in ("SyncFolderItems", "GetItem", "SyncFolderHierarchy", "GetFolder"):
        company.fault(operation, "busy", every=2, ms=40)
    right = Memory()
    where = At(Ews, company.access(), company.address("ann"))
    report = bring_in_step(where, right, tmp_path, Policy(batch_items=10), waits=Real()).report
    assert (report.copied, report.problems) == (60, 0)
    assert sorted(held.octets for held in right.items.values()) == sorted(mail(number) for number in range(60))
    busy = [each for each in company.log() if "ErrorServerBusy" in each.codes]
    assert len(busy) > 3


def test_mail_that_is_moved_looks_like_a_draft_that_was_never_sent(
    graph: At, graph_company: GraphCompany, tmp_path: Path
) -> None:
    """microsoft-graph-docs #14829, microsoft-graph-docs #14843."""
    left = filled(6)
    assert bring_in_step(left, graph, tmp_path, waits=Real()).report.copied == 6
    items = sorted(graph_company.items("carol"), key=lambda item: item.received_at)
    assert len(items) == 6
    assert not any(item.is_draft for item in items)
    assert [item.is_read for item in items] == [False, True] * 3
    assert [item.received_at for item in items] == [1.39e9 + number for number in range(6)]
    assert graph_company.items("carol", "drafts") == []
    sent = [held.octets for held in left.items.values()]
    assert all(says_the_same_by_graph(one, item.shown) for one, item in zip(sent, items, strict=True))
    assert all(f"<{number}@example.org>".encode() in item.shown for number, item in enumerate(items))
    assert bring_in_step(left, graph, tmp_path, waits=Real()).report.copied == 0


def test_a_mailbox_is_asked_for_too_much_at_once(graph: At, graph_company: GraphCompany, tmp_path: Path) -> None:
    """learn.microsoft.com, questions 734143 and 1660054: "over its MailboxConcurrency limit" even with four threads."""
    left = filled(20)
    for number in range(6):
        left.list_folders[f"f{number}"] = Folder(f"f{number}", (f"Folder {number}",))
        for each in range(4):
            id = 100 + number * 10 + each
            left.put(mail(id), f"f{number}", name=f"<{id}@example.org>")
    policy = Policy(connections=8, batch_items=5)
    report = bring_in_step(left, graph, tmp_path, policy, waits=Real()).report
    assert (report.copied, report.problems) == (44, 0)
    assert graph_company.most_at_once("carol") <= 4
    assert not any("MailboxConcurrency" in repr(each.answer) for each in graph_company.log())


@pytest.mark.parametrize("mode", ["two-way", "mirror"])
def test_what_is_removed_at_once_stays_where_it_was(
    ews_peer: EwsPeer, tmp_path: Path, mode: Literal["two-way", "mirror"]
) -> None:
    """imapsync's documentation of two ways, to a server that tells nothing of what came and went between two looks."""
    company = ews_peer.organisation("ann", honest=False)
    where = At(Ews, company.access(), company.address("ann"))
    left, policy = filled(6), Policy(mode=mode, delete="remove", min_removed=100)
    bring_in_step(left, where, tmp_path, policy, waits=Real())
    company.alter("ann", company.items("ann")[1].id, delete=True)
    report = bring_in_step(left, where, tmp_path, policy, waits=Real()).report
    assert (report.removed, report.copied) == ((1, 0) if mode == "two-way" else (0, 1))
    assert len(left.items) == len(company.items("ann")) == (5 if mode == "two-way" else 6)
    report = bring_in_step(left, where, tmp_path, policy, waits=Real()).report
    assert (report.removed, report.copied) == (0, 0)
