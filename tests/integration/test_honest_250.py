"""No 250 before the message is on the disk: shown by strace of every thread of the gateway."""

from __future__ import annotations

from pathlib import Path

from tests.crash.honest import Event, count_honest, honest_answers
from tests.peers.sink import Sink


def test_every_answer_follows_its_own_fsync(tmp_path: Path, sink: Sink) -> None:
    honest, seen = honest_answers(tmp_path, sink.port)
    assert seen == 10
    assert honest == seen


def test_the_check_sees_a_lie() -> None:
    """Without a sync, with one that began before the data, or one that had not returned, an answer is dishonest."""
    early = [Event("sync-begin", "2"), Event("data-end", "1"), Event("sync-end", "2"), Event("answer", "1")]
    open_still = [Event("data-end", "1"), Event("sync-begin", "2"), Event("answer", "1")]
    none = [Event("data-end", "1"), Event("answer", "1")]
    good = [Event("data-end", "1"), Event("sync-begin", "2"), Event("sync-end", "2"), Event("answer", "1")]
    assert [count_honest(each) for each in (early, open_still, none, good)] == [(0, 1), (0, 1), (0, 1), (1, 1)]
