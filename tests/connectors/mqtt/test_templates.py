"""Templates: what an operator writes, and what neither they nor a payload may make of it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.mqtt import templates
from connectors.mqtt.bad import BadPayload
from connectors.mqtt.templates import Template, TemplateMistake, mistake

AT = datetime(2026, 11, 24, 1, 2, 3, tzinfo=UTC)

TREE = {"t": [{"n": 1, "t": [{"n": 2, "t": []}]}]}


@pytest.mark.parametrize(
    ("source", "values", "expected"),
    [
        ("{{ topic }}: {{ json.state }}\n", {"topic": "a/b", "json": {"state": "on"}}, "a/b: on\n"),
        ("{{ a }} {{ b }} {{ c }} {{ d }}", {"a": True, "b": None, "c": [1, "x"], "d": 1.5}, 'true  [1, "x"] 1.5'),
        ("{{ json.items }}", {"json": {"items": 5}}, "5"),
        ("{% for k, v in json.items() %}{{ k }}={{ v }};{% endfor %}", {"json": {"a": 1, "b": 2}}, "a=1;b=2;"),
        ("{{ json.x|default('?') }}", {"json": {}}, "?"),
        ("{{ x is defined }} {{ 'a' in y }} {{ y[1:] }}", {"y": "abc"}, "false true bc"),
        ("{{ y.upper() }} {{ y|upper }} {{ y|replace('b', '-') }}", {"y": "abc"}, "ABC ABC a-c"),
        ("{{ [1, 2, 3]|sum }} {{ 2.345|round(1) }} {{ [1, 2]|join(', ') }}", {}, "6.0 2.3 1, 2"),
        ("{{ l|sum(attribute='n') }} {{ l|join('-', attribute='n') }}", {"l": [{"n": 1}, {"n": 2}]}, "3.0 1-2"),
        ("{{ 'a\nb'|indent(2) }}|{{ 'a\nb'|indent(2, true) }}", {}, "a\n  b|  a\n  b"),
        ("{{ now|strftime('%H:%M %d.%m.%Y') }} {{ now.hour }}", {"now": AT}, "01:02 24.11.2026 1"),
        ("{{ 'a' ~ 1 ~ none ~ true }}", {}, "a1true"),
        ("{{ 6 * 7 }} {{ 2 ** 8 }} {{ 7 % 4 }} {{ 1 + 2 }} {{ 'ab' * 2 }}", {}, "42 256 3 3 abab"),
        ("{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(1) }}{{ m(2) }}", {}, "<1><2>"),
        ("{% for x in t recursive %}{{ x.n }}{{ loop(x.t) if x.t }}{% endfor %}", TREE, "12"),
        ("{{ json|tojson }}", {"json": {"a": "<"}}, '{"a": "\\u003c"}'),
        ("{% call m2() %}in{% endcall %}{% macro m2() %}[{{ caller() }}]{% endmacro %}", {}, None),
        ("{% macro m2() %}[{{ caller() }}]{% endmacro %}{% call m2() %}in{% endcall %}", {}, "[in]"),
    ],
)  # fmt: skip
def test_what_templates_can(source: str, values: dict[str, Any], expected: str | None) -> None:
    if expected is None:
        with pytest.raises(BadPayload):
            Template(source).render(values)
    else:
        assert Template(source).render(values) == expected


def test_values_in_a_page_are_escaped() -> None:
    values = {"x": "<script>&"}
    assert Template("<b>{{ x }}</b>", html=True).render(values) == "<b>&lt;script&gt;&amp;</b>"
    assert Template("{{ '<i>' ~ x }}", html=True).render(values) == "&lt;i&gt;&lt;script&gt;&amp;"
    assert Template("{{ '<i>'|safe ~ x }}", html=True).render(values) == "<i>&lt;script&gt;&amp;"
    assert Template("{{ [x] }}", html=True).render(values) == "[&#34;&lt;script&gt;&amp;&#34;]"
    assert Template("{{ x }}").render(values) == "<script>&"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{% include 'x' %}", "line 1 of the template: a template stands for itself"),
        ("\n{% import 'x' as y %}", "line 2 of the template: a template stands for itself"),
        ("{% extends 'x' %}", "stands for itself"),
        ("{% block a %}{% endblock %}", "stands for itself"),
        ("a\nb {{ x", "line 2 of the template: unexpected end"),
        ("{{ 'x'|center(10) }}", "No filter named 'center'"),
        ("{{ x|attr('y') }}", "No filter named 'attr'"),
        ("{% do x %}", "unknown tag 'do'"),
        ("{{" + "(" * 5000 + "1" + ")" * 5000 + "}}", "too deep"),
        ("x" * (templates.MAX_SOURCE + 1), "more than 65536 characters"),
        ("{{ __gatepost.step(1) }}", "__gatepost is no name here"),
        ("{% set __gatepost = 1 %}", "__gatepost is no name here"),
    ],
)
def test_mistakes_are_told_when_a_template_is_read(source: str, told: str) -> None:
    found = mistake(source)
    assert found is not None
    assert told in found
    with pytest.raises(TemplateMistake):
        Template(source)


BIG = "a" * 100_000
DOUBLED = "{% set a = 'x' %}" + "{% set a = a OP a %}" * 40 + "{{ a|length }}"


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        # endless
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "template.endless"),
        (
            "{% macro f(n) %}{{ f(n + 1) if n < 20 }}{{ f(n + 1) if n < 20 }}{% endmacro %}{{ f(0) }}",
            "template.endless",
        ),
        ("{% for i in range(99999) %}{% set x = json|sort %}{% endfor %}", "template.endless"),
        # recursive
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "template.recursive"),
        ("{% macro f(x) %}{{ f(x ~ x) }}{% endmacro %}{{ f('aaaa') }}", "template.too-long"),
        (
            "{% macro f(x) %}{% set y %}{{ x }}{{ x }}{% endset %}{{ f(y) }}{% endmacro %}{{ f('aaaa') }}",
            "template.too-long",
        ),
        # much of little
        (DOUBLED.replace("OP", "~"), "template.too-long"),
        (DOUBLED.replace("OP", "+"), "template.too-long"),
        ("{% for i in range(99999) %}" + "long text " * 1000 + "{% endfor %}", "template.too-long"),
        ("{% for i in range(99999) %}{{ big }}{% endfor %}", "template.too-long"),
        ("{{ 'x' * n }}", "template.too-long"),
        ("{{ n * 'x' }}", "template.too-long"),
        ("{{ ([1] * n)|length }}", "template.too-long"),
        ("{{ big|replace('a', big) }}", "template.too-long"),
        ("{{ big|replace('', big) }}", "template.too-long"),
        ("{{ range(9999)|join(big) }}", "template.too-long"),
        ("{{ ('\\n' * 999999)|indent(n) }}", "template.too-long"),
        ("{{ n ** n }}", "template.number"),
        ("{{ (2 ** 500) * (2 ** 500) }}", "template.number"),
        ("{{ '%999999999d' % 1 }}", "template.forbidden"),
        ("{{ '{:>999999999}'.format(1) }}", "template.forbidden"),
        ("{{ 'x'['format'](1) }}", "template.forbidden"),
        ("{{ 'x'.center(n) }}", "template.forbidden"),
        ("{{ 'x'.ljust(n) }}", "template.forbidden"),
        ("{{ now|strftime('%999999999d') }}", "template.fault"),
        ("{{ range(n) }}", "template.fault"),
        # what is not to be reached
        ("{{ ''.__class__.__mro__ }}", "template.forbidden"),
        ("{{ [].append(1) }}", "template.forbidden"),
        ("{{ now.__reduce__() }}", "template.forbidden"),
        ("{{ json|map(attribute='__class__')|list }}", "template.forbidden"),
        ("{{ lipsum(5) }}", "template.undefined"),
        ("{{ namespace() }}", "template.undefined"),
        # what is not there
        ("{{ nothing }}", "template.undefined"),
        ("{{ ob.nothing }}", "template.undefined"),
        ("{{ ob.nothing.more }}", "template.undefined"),
        ("{{ 1 / 0 }}", "template.fault"),
        ("{{ 'a' + 1 }}", "template.fault"),
        ("{{ 'x'() }}", "template.fault"),
    ],
)
def test_what_is_broken_off(source: str, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "MAX_STEPS", 5000)
    values = {"n": 10**9, "big": BIG, "json": list(range(5000, 0, -1)), "ob": {}, "now": AT}
    template = Template("line one\n" + source, place="template.text")
    started = time.thread_time()
    with pytest.raises(BadPayload) as caught:
        template.render(values)
    assert time.thread_time() - started < templates.MAX_CPU_S + 0.5
    assert (caught.value.rule, caught.value.place[:21]) == (rule, "template.text, line 2"), caught.value
    assert caught.value.text
    assert caught.value.mend


def test_time_is_bounded_where_steps_are_not_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "MAX_CPU_S", 0.05)
    with pytest.raises(BadPayload, match=r"more than 0\.05 s"):
        Template("{% for i in json %}{% set x = json|sort(reverse=true) %}{% endfor %}").render(
            {"json": [*range(50000)]}
        )


def test_one_rendering_does_not_use_up_another() -> None:
    template = Template("{% for i in range(60000) %}{% endfor %}x")
    assert [template.render({}) for _ in range(3)] == ["x"] * 3


_PIECES = st.sampled_from([
    "{{ ", " }}", "{% for i in json %}", "{% endfor %}", "{% if x %}", "{% endif %}", "{% set y = ", " %}", "x", "y",
    "json", "|join", "|replace('a', x)", ".items()", "[0]", "(", ")", "'a'", "~", "*", "+", "1", "|sort", "|upper", " ",
    "{% macro m(y) %}", "{% endmacro %}", "m(x)", "{#", "#}", "{% raw %}", "{% endraw %}", "is defined", "not",
])  # fmt: skip


@given(st.lists(_PIECES, max_size=12).map("".join), st.text(max_size=5))
def test_nothing_else_is_raised(source: str, x: str) -> None:
    try:
        made = Template(source).render({"x": x, "json": {"a": [1, x]}})
    except (TemplateMistake, BadPayload):
        return
    assert isinstance(made, str)
