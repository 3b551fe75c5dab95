"""MH: numbers, sequences, and the line of dashes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.formats.mh import dash_line, merged, next_number, number, read_sequences, write_sequences


@pytest.mark.parametrize(
    ("name", "found"),
    [("1", 1), ("999999999", 999_999_999), ("0", None), ("01", None), (",3", None), ("#3", None), ("3~", None),
     (".mh_sequences", None), ("", None), ("1000000000", None), ("٣", None), ("3\n", None)],
)  # fmt: skip
def test_numbers(name: str, found: int | None) -> None:
    assert number(name) == found


def test_the_next_number_is_above_the_highest() -> None:
    assert next_number(["3", "10", ",12", "x"]) == 11
    assert next_number([]) == 1


def test_sequences_are_read_and_written() -> None:
    text = "unseen: 5-9 3 10\ncur: 7\nlong: 1\n 2\nodd name: 4\nbad: x 9-3 2-x\n7\n"
    found = read_sequences(text)
    assert found == {"unseen": [(3, 3), (5, 10)], "cur": [(7, 7)], "long": [(1, 2)], "bad": []}
    assert write_sequences(found) == "unseen: 3 5-10\ncur: 7\nlong: 1-2\n"


RANGES = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 9)).map(lambda p: (p[0], p[0] + p[1])), max_size=8)


@given(st.dictionaries(st.sampled_from(["unseen", "cur", "a.b_c-9"]), RANGES))
def test_what_is_written_is_read_back(sequences: dict[str, list[tuple[int, int]]]) -> None:
    back = read_sequences(write_sequences(sequences))
    assert back == {name: merged(ranges) for name, ranges in sequences.items() if ranges}
    for name, ranges in back.items():
        assert {n for a, b in ranges for n in range(a, b + 1)} == {
            n for a, b in sequences[name] for n in range(a, b + 1)
        }


@given(st.text(max_size=60))
def test_any_text_is_read(text: str) -> None:
    read_sequences(text)


@pytest.mark.parametrize(
    ("octets", "found"),
    [
        (b"A: b\n--------\ntext", (5, 14)),
        (b"A: b\r\n-\r\ntext", (6, 9)),
        (b"--------\ntext", (0, 9)),
        (b"A: b\n\n--------\ntext", None),
        (b"A: b\n\r\n--\n", None),
        (b"A: b\n-- x\n", None),
        (b"A: b\n --\n", None),
        (b"A: b\n", None),
        (b"", None),
    ],
)
def test_a_line_of_dashes_ends_a_draft_s_header(octets: bytes, found: tuple[int, int] | None) -> None:
    assert dash_line(octets) == found
