"""Folders whose names are told apart."""

from connectors.folders.paths import untaken


def test_a_name_that_is_taken_gets_the_first_number_that_is_not() -> None:
    taken = {("a",), ("a", "b"), ("a", "b (2)")}
    assert untaken(("b",), taken) == ("b",)
    assert untaken(("a",), taken) == ("a (2)",)
    assert untaken(("a", "b"), taken) == ("a", "b (3)")
