"""Numbers in a row: none twice, by threads, by processes, or after a crash."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from connectors.filedrop.counter import STEP, Counter


def test_numbers_begin_at_one(tmp_path: Path) -> None:
    counter = Counter(tmp_path / "rows")
    assert not (tmp_path / "rows").exists()
    assert [counter.next("a"), counter.next("a"), counter.next("b")] == [1, 2, 1]


def test_after_a_crash_none_comes_again(tmp_path: Path) -> None:
    given = {Counter(tmp_path).next("a") for _ in range(5)}
    assert given == {1 + n * STEP for n in range(5)}


def test_threads(tmp_path: Path) -> None:
    counter = Counter(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda _: counter.next("a"), range(500)))
    assert sorted(given) == list(range(1, 501))


def test_processes(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from connectors.filedrop.counter import Counter\n"
    code += "c = Counter(Path(sys.argv[1]))\nprint(*[c.next('a') for _ in range(250)])"
    runs = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    given = [int(word) for run in runs for word in run.communicate()[0].split()]
    assert len(given) == len(set(given)) == 750


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.number").write_text("x")
    with pytest.raises(ValueError, match="write the last one that was used"):
        Counter(tmp_path).next("a")
    with pytest.raises(ValueError, match="not the name"):
        Counter(tmp_path).next("../a")
