"""Where it is wanted, the trace says what Exchange has changed of a mail, not what it may change."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from connectors.exchange.losses import OUTSIDE, REMADE, TEXT
from connectors.exchange.organisation import Fault, Ref, Seen
from gateway.contract import Content, Delivered, Outcome
from tests.connectors.exchange.bench import CUT, Bench, mail
from tests.connectors.exchange.ews_bench import EwsBench
from tests.peers.ews.process import EwsCompany

OCTETS = (
    b"From: Pat <pat@far.example>\r\nSubject: hi\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"before\r\n--b\r\n\r\nhi\r\n--b--\r\n"
)


def whats(outcome: Outcome) -> list[str]:
    assert isinstance(outcome, Delivered)
    return [note.what for note in outcome.notes]


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., Bench]:
    return lambda **options: Bench(tmp_path, **options)


async def test_what_is_the_same_has_no_note(bench: Callable[..., Bench]) -> None:
    (told,) = await bench().deliver(mail(1, octets=OCTETS))
    assert whats(told) == [REMADE.what, OUTSIDE.what]
    (found,) = await bench(read_back="always").deliver(mail(1, octets=OCTETS))
    assert whats(found) == []


async def test_what_was_changed_is_told(bench: Callable[..., Bench]) -> None:
    at = bench(read_back="always")

    async def altered(refs: Sequence[Seen]) -> AsyncIterator[tuple[Ref, Content | Fault]]:
        for seen in refs:
            held = next(held for held in at.organisation.items if held.ref == seen.ref)
            yield seen.ref, Content(held.octets.replace(b"\r\nhi\r\n--", b"\r\nho\r\n--"))

    at.organisation.mime = altered  # type: ignore[method-assign]
    (outcome,) = await at.deliver(mail(1, octets=OCTETS))
    assert whats(outcome) == [REMADE.what, TEXT.what]


async def test_what_cannot_be_read_back_is_delivered_all_the_same(bench: Callable[..., Bench]) -> None:
    at = bench(read_back="always")

    async def cut(refs: Sequence[Seen]) -> AsyncIterator[tuple[Ref, Content | Fault]]:
        raise CUT
        yield refs[0].ref, CUT

    at.organisation.mime = cut  # type: ignore[method-assign]
    (outcome,) = await at.deliver(mail(1, octets=OCTETS))
    assert whats(outcome) == [REMADE.what, OUTSIDE.what]


async def test_a_server_tells(company: EwsCompany, tmp_path: Path) -> None:
    at = EwsBench(company, tmp_path, read_back="always")
    async with at.running():
        first, second = await at.deliver(
            mail(1, at.ann, octets=OCTETS), mail(2, at.ann, octets=OCTETS.replace(b"before\r\n", b""))
        )
    assert (whats(first), whats(second)) == ([REMADE.what, OUTSIDE.what], [REMADE.what])
