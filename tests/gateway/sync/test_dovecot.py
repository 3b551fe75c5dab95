"""Dovecot to Dovecot by the real store: copied, in step, killed and gone on with."""

from __future__ import annotations

import asyncio
import contextlib
import imaplib
import logging
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from connectors.imap import Imap
from gateway.contract import Context
from gateway.sync.engine import Result, run_pass
from gateway.sync.state import State
from gateway.sync.values import Policy
from tests.peers.dovecot import PASSWORD, Dovecot

TWO_WAY = Policy(mode="two-way", delete="remove", min_removed=1000)
_FOLDERS = ("INBOX", "Projects/Alpha/Deep", "S&APw-d", "Sent")
_ODD = (
    b"no header at all\r\n",
    b"Subject: 8 bit \xe4\xf6\r\n\r\nbody \xff\r\n",
    b"Subject: long\r\n\r\n" + b"x" * 20000 + b"\r\n",
)


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Dovecot, Dovecot]]:
    with Dovecot() as one, Dovecot(separator=".") as two:
        yield one, two


def message(number: int, text: str = "text") -> bytes:
    return f"Message-ID: <{number}@example.org>\r\nSubject: {number}\r\n\r\n{text * 200}\r\n".encode()


def login(server: Dovecot, user: str) -> imaplib.IMAP4:
    client = imaplib.IMAP4("127.0.0.1", server.port)
    client.login(user, PASSWORD)
    return client


def fill(server: Dovecot, user: str, count: int) -> None:
    client = login(server, user)
    for folder in _FOLDERS[1:]:
        client.create(f'"{folder}"')
    for number in range(count):
        flags = ("", "\\Seen", "\\Flagged \\Answered", "$MDNSent word")[number % 4]
        date = imaplib.Time2Internaldate(1_500_000_000 + number * 3600)
        client.append(f'"{_FOLDERS[number % 4]}"', flags, date, message(number))
    for odd in _ODD:
        client.append("INBOX", "", imaplib.Time2Internaldate(1_400_000_000), odd)
    client.logout()


def shown(server: Dovecot, user: str) -> list[tuple[object, ...]]:
    """Return what an independent client reads: folder, octets, flags, date."""
    client = login(server, user)
    found: list[tuple[object, ...]] = []
    for line in client.list()[1]:
        assert isinstance(line, bytes)
        name = line.decode().split(" ", 3)[-1].split('" ', 1)[-1].rsplit(" ", 1)[-1].strip('"')
        told, count = client.select(f'"{name}"', readonly=True)
        if told != "OK" or count == [b"0"]:
            continue
        for part in client.fetch("1:*", "(FLAGS INTERNALDATE BODY.PEEK[])")[1]:
            if isinstance(part, tuple):
                flags = sorted(each.decode() for each in imaplib.ParseFlags(part[0]) if each != b"\\Recent")
                date = imaplib.Internaldate2tuple(part[0])
                assert date is not None
                path = name.replace(".", "/")
                found.append((path, part[1], tuple(flags), time.mktime(date)))
    client.logout()
    return sorted(found, key=repr)


def connector(port: int, folder: Path) -> Imap:
    context = Context(
        hostname="gw.kit.example",
        state_dir=folder,
        base_dir=folder,
        log=logging.getLogger("test"),
        clock=time.time,
        stop_s=5.0,
        count=lambda *_: None,
    )
    config = Imap.Config(host="127.0.0.1", port=port, tls="none", password=PASSWORD)  # type: ignore[call-arg]
    return Imap("peer", config, context)


def run(ports: tuple[int, int], user: str, folder: Path, policy: Policy) -> Result:
    async def body() -> Result:
        one, two = (connector(port, folder) for port in ports)
        await one.start()
        await two.start()
        state = State(folder / "sync.sqlite")
        try:
            async with one.open(user) as left, two.open(user) as right:
                return await run_pass(user, left, right, state, policy)
        finally:
            state.close()
            await one.stop()
            await two.stop()

    return asyncio.run(body())


def test_a_mailbox_is_copied_and_then_nothing_is_done(servers: tuple[Dovecot, Dovecot], tmp_path: Path) -> None:
    fill(servers[0], "anna", 120)
    ports = servers[0].port, servers[1].port
    report = run(ports, "anna", tmp_path, Policy()).report
    assert (report.copied, report.problems) == (123, 0)
    assert shown(servers[1], "anna") == shown(servers[0], "anna")
    for _ in range(2):
        again = run(ports, "anna", tmp_path, Policy()).report
        assert (again.copied, again.read) == (0, 0)
    (tmp_path / "sync.sqlite").unlink()
    lost = run(ports, "anna", tmp_path, Policy()).report
    assert (lost.copied, lost.adopted, lost.problems) == (0, 123, 0)
    assert shown(servers[1], "anna") == shown(servers[0], "anna")


def test_both_sides_change(servers: tuple[Dovecot, Dovecot], tmp_path: Path) -> None:
    fill(servers[0], "bert", 40)
    ports, policy = (servers[0].port, servers[1].port), Policy(mode="two-way", delete="remove")
    run(ports, "bert", tmp_path, policy)
    left, right = login(servers[0], "bert"), login(servers[1], "bert")
    left.select("INBOX")
    left.store("1", "+FLAGS", "\\Flagged mine")
    left.store("2", "+FLAGS", "\\Deleted")
    left.expunge()
    left.uid("MOVE", "3", "Projects/Alpha/Deep")
    right.select("INBOX")
    right.store("4", "+FLAGS", "\\Answered")
    right.append("INBOX", "", imaplib.Time2Internaldate(1_600_000_000), message(900))
    left.logout()
    right.logout()
    report = run(ports, "bert", tmp_path, policy).report
    assert (report.copied, report.removed, report.moved, report.flagged) == (1, 1, 1, 2)
    assert shown(servers[1], "bert") == shown(servers[0], "bert")
    servers[1].adm("mailbox", "update", "-u", "bert", "--uid-validity", "77777", "INBOX")
    again = run(ports, "bert", tmp_path, policy).report
    assert (again.copied, again.removed, again.moved) == (0, 0, 0)
    assert shown(servers[1], "bert") == shown(servers[0], "bert")


@pytest.mark.parametrize("policy", [Policy(batch_items=7, page_items=40), replace(TWO_WAY, batch_items=7)])
def test_killed_at_any_moment_nothing_is_lost_or_doubled(
    servers: tuple[Dovecot, Dovecot], tmp_path: Path, policy: Policy
) -> None:
    user, count = f"carl-{policy.mode}", 240
    ports = servers[0].port, servers[1].port
    fill(servers[0], user, count)
    if policy.mode == "two-way":
        client = login(servers[1], user)
        for number in range(1000, 1000 + count // 2):
            client.append("INBOX", "\\Flagged", imaplib.Time2Internaldate(1_600_000_000 + number), message(number))
        client.logout()
        count += count // 2
    forks, chance, kills = multiprocessing.get_context("fork"), random.Random(7), 0
    for _ in range(8):
        child = forks.Process(target=run, args=(ports, user, tmp_path, policy))
        child.start()
        assert child.pid is not None
        state = tmp_path / "sync.sqlite-wal"
        end = time.monotonic() + 60
        grown = state.stat().st_size if state.exists() else 0
        while child.is_alive() and time.monotonic() < end:
            if state.exists() and state.stat().st_size != grown:  # it is at work, and not starting
                break
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.3))
        kills += child.is_alive()
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
        child.join(60)
    run(ports, user, tmp_path, policy)
    run(ports, user, tmp_path, policy)
    assert kills >= 2
    held = shown(servers[0], user)
    assert shown(servers[1], user) == held
    assert len(held) == len({octets for _, octets, *_ in held}) == count + len(_ODD)
