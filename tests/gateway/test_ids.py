"""Message ids grow, are unique, and read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import ids


@given(st.integers(0, 2**63 - 1))
def test_reads_back_what_it_shows(message_id: int) -> None:
    shown = ids.text(message_id)
    assert len(shown) == 13
    assert ids.parse(shown) == message_id
    assert ids.parse(shown.upper()) == message_id


@given(st.lists(st.floats(1_600_000_000, 1_900_000_000), min_size=2, max_size=50))
def test_ids_grow_whatever_the_clock_does(times: list[float]) -> None:
    clock = iter(times)
    source = ids.IdSource(5, lambda: next(clock))
    given_ids = [source.next() for _ in times]
    assert given_ids == sorted(set(given_ids))


def test_a_millisecond_can_hold_more_than_the_counter() -> None:
    source = ids.IdSource(1, lambda: 1_700_000_000.0)
    made = [source.next() for _ in range(10_000)]
    assert made == sorted(set(made))
    assert ids.seconds(made[0]) == pytest.approx(1_700_000_000.0)


def test_nodes_never_share_an_id() -> None:
    clock = lambda: 1_700_000_000.0  # noqa: E731
    one, other = ids.IdSource(1, clock), ids.IdSource(2, clock)
    assert not {one.next() for _ in range(100)} & {other.next() for _ in range(100)}


@pytest.mark.parametrize("text", ["", "abc", "01k9rw3m8c00u", "01k9rw3m8c0000"])
def test_refuses_what_is_no_id(text: str) -> None:
    with pytest.raises(ValueError, match="not a message id"):
        ids.parse(text)
