"""Expressions and patterns of descriptions: a table of each pipe, their mistakes, and that they take linear time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.filedrop.formats.records.expression import ExpressionError, Tables, parse, pattern

FIELDS = {"a": ["Ann"], "blank": ["  x "], "many": ["1", "2", "3"], "path": ["HQ/SALES/ANN"], "n": ["7"], "p": ["1"]}
TABLES = Tables({"level": {"1": "urgent", "*": "normal"}})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("{a}", "Ann"),
        ("{A}", "Ann"),
        ("<{a}@x.example>", "<Ann@x.example>"),
        ("{{{a}}}", "{Ann}"),
        ("{a|lower}{a|upper}", "annANN"),
        ("{blank|strip}", "x"),
        ("{a|truncate:2}", "An"),
        ("{n|zero:4}", "0007"),
        ("{none|default:nobody}", "nobody"),
        ("{a|default:nobody}", "Ann"),
        ("{many}", "1"),
        ("{many|last}", "3"),
        ("{many|join:, }", "1, 2, 3"),
        ("{path|before:/}", "HQ"),
        ("{path|after:/}", "SALES/ANN"),
        ("{path|part:/:2}", "SALES"),
        ("{path|part:/:-1}", "ANN"),
        ("{path|part:/:9}", ""),
        ("{path|replace:/:--}", "HQ--SALES--ANN"),
        (r"{path|replace:/:\|}", "HQ|SALES|ANN"),
        ("{p|map:level}", "urgent"),
        ("{n|map:level}", "normal"),
        ("{none}", ""),
    ],
)
def test_value(text: str, value: str) -> None:
    assert parse(text).one(lambda name: FIELDS.get(name, ()), TABLES) == value


def test_each_gives_one_value_for_each_of_a_field() -> None:
    assert parse("<{many}>").each(lambda name: FIELDS.get(name, ())) == ["<1>", "<2>", "<3>"]
    assert parse("<{none}>").each(lambda name: FIELDS.get(name, ())) == []
    assert parse("text").each(lambda name: ()) == ["text"]


def test_dates_are_shown_in_a_zone() -> None:
    shown = parse("{d|date:%d.%m.%Y %H:%M}").one(lambda name: ["2026-11-24T01:02:03+00:00"], Tables({}))
    assert shown == "24.11.2026 01:02"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{a", "without its other half"),
        ("a}", "without its other half"),
        ("{}", "names no field"),
        ("{a|shout}", "no pipe is called 'shout'; there are lower"),
        ("{a|truncate}", "needs an argument"),
        ("{a|truncate:x}", "expected a number"),
        ("{a|truncate:0}", "expected a number"),
        ("{a|part:/}", "needs 2 arguments"),
        ("{a|part:/:1000000}", "expected a number"),
        ("{a|replace::x}", "needs a text to look for"),
        ("{a|lower:x}", "takes no argument"),
    ],
)
def test_mistakes_say_what_is_meant(text: str, said: str) -> None:
    with pytest.raises(ExpressionError, match=said.replace("|", r"\|")):
        parse(text)


@pytest.mark.parametrize(
    ("text", "line", "matches"),
    [
        ("HDR*", "HDR20261124", True),
        ("HDR*", "XHDR", False),
        ("*END", "the END", True),
        ("A?C*9", "AbC....9", True),
        ("A?C*9", "AbC....8", False),
        ("a.b", "axb", False),
        ("TRL{count}", "TRL  012", True),
        ("TRL{count}", "TRLx", False),
    ],
)
def test_patterns(text: str, line: str, matches: bool) -> None:
    assert pattern(text).matches(line) is matches


def test_a_pattern_counts() -> None:
    assert pattern("TRL*;{count}").count("TRL;x;0042;") == (42, 6, 10)
    assert pattern("TRL*").count("TRL;x") is None


def test_many_stars_take_linear_time() -> None:
    begun = time.thread_time()
    assert not pattern("*a" * 20 + "*b").matches("a" * 100_000)
    assert time.thread_time() - begun < 1.0


@given(st.text(max_size=60))
def test_any_text_is_an_expression_or_a_mistake(text: str) -> None:
    try:
        made = parse(text)
    except ExpressionError:
        return
    made.one(lambda name: ["v"], Tables({name: {} for name in made.tables}))


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_field_never_becomes_an_expression(value: str, around: str) -> None:
    literal = around.replace("{", "{{").replace("}", "}}")
    assert parse(literal + "{a}" + literal).one(lambda name: [value]) == around + value + around
