"""Templates: Jinja2 as an operator writes it, over values that anybody may have sent.

Promises: a mistake in a template is told when it is read; rendering takes at most `MAX_STEPS` steps, `MAX_CPU_S` of
CPU time beyond the one step that passes it, and `MAX_OUTPUT` characters of result, or raises BadPayload, with the
template's line; nothing but the given values is reached, and no other template. Nulls show as nothing, truth as `true`
and `false`, objects and arrays as JSON; a name that has no value is a fault, unless `default` gives it one.
Why not Jinja2's sandbox alone: it keeps a template from the interpreter, and bounds nothing but `range`.
Known limit: one filter over one value runs to its end, so values are to be bounded before.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from types import TracebackType
from typing import Any, Final, TypeVar

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, UndefinedError, nodes
from jinja2 import Template as Compiled
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS
from jinja2.runtime import LoopContext, Macro, Undefined, str_join
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer
from markupsafe import Markup

from connectors.mqtt.bad import BadPayload

MAX_SOURCE: Final = 64 * 1024
MAX_STEPS: Final = 100_000
MAX_CPU_S: Final = 1.0
MAX_OUTPUT: Final = 16 * 1024 * 1024
_MAX_BITS: Final = 512

_PLAIN_FILTERS: Final = (
    *("abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "filesizeformat", "first", "float"),
    *("forceescape", "groupby", "int", "items", "last", "length", "list", "lower", "map", "max", "min", "reject"),
    *("rejectattr", "reverse", "safe", "select", "selectattr", "sort", "string", "title", "tojson", "trim", "truncate"),
    *("unique", "upper", "urlencode", "wordcount"),
)
_METHODS: Final[Mapping[type, frozenset[str]]] = {
    str: frozenset({
        *("capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha", "isdecimal", "isdigit"),
        *("islower", "isnumeric", "isspace", "istitle", "isupper", "lower", "lstrip", "partition", "removeprefix"),
        *("removesuffix", "rfind", "rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip"),
        *("swapcase", "title", "upper"),
    }),
    dict: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
    datetime: frozenset({
        "date", "day", "hour", "isoformat", "microsecond", "minute", "month", "second", "timestamp", "weekday", "year",
    }),
}  # fmt: skip
_TIME_FORMAT: Final = re.compile(r"(?:[^%]|%[A-Za-z%])*+")
_FORBIDDEN: Final = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Block)


class TemplateMistake(ValueError):
    """A template that cannot be used; `line` is from 1."""

    def __init__(self, text: str, line: int) -> None:
        self.line = line
        super().__init__(f"line {line} of the template: {text}")


class _Overrun(Exception):
    """A rendering that takes too much: by which rule, in words, with the mend."""

    def __init__(self, rule: str, text: str, mend: str) -> None:
        self.rule = rule
        self.text = text
        self.mend = mend


class _Budget:
    """What is left of one rendering's bounds."""

    __slots__ = ("characters", "steps", "until")

    def __init__(self) -> None:
        self.steps = MAX_STEPS
        self.characters = MAX_OUTPUT
        self.until = time.thread_time() + MAX_CPU_S

    def step(self, characters: int) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise _Overrun("template.endless", f"more than {MAX_STEPS} steps", "go over fewer values")
        if time.thread_time() > self.until:
            raise _Overrun("template.endless", f"more than {MAX_CPU_S:g} s", "do less for each value")
        self.write(characters)

    def write(self, characters: int) -> None:
        self.characters -= characters
        if self.characters < 0:
            raise _too_long()


def _too_long() -> _Overrun:
    return _Overrun("template.too-long", f"more than {MAX_OUTPUT} characters", "write less of it")


_BUDGET: Final[ContextVar[_Budget | None]] = ContextVar("budget", default=None)


def _step(characters: int) -> str:
    budget = _BUDGET.get()
    if budget is not None:
        budget.step(characters)
    return ""


def _shown(value: Any) -> Any:
    """Return what an expression shows, and count it."""
    if not isinstance(value, str):
        if value is None:
            return ""
        if isinstance(value, bool):
            value = "true" if value else "false"
        elif isinstance(value, dict | list):
            value = json.dumps(value, ensure_ascii=False, default=str)
        elif not isinstance(value, Undefined):
            value = str(value)
    budget = _BUDGET.get()
    if budget is not None and isinstance(value, str):
        budget.write(len(value))
    return value


def _size(value: Any) -> int:
    """Return how large a value is, in characters; an element of a list takes as much memory as some."""
    if isinstance(value, list | tuple):
        return len(value) * 64
    return len(value) if isinstance(value, str | bytes) else 0


def _bounded(size: int) -> None:
    if size > MAX_OUTPUT:
        raise _too_long()


def _concat(*values: Any) -> Any:
    shown = [_shown(value) for value in values]
    _bounded(sum(map(_size, shown)))
    return Markup("").join(shown) if any(hasattr(one, "__html__") for one in shown) else str_join(shown)


def _join(values: Iterable[Any], d: str = "", attribute: str | None = None) -> str:
    made: list[str] = []
    size = 0
    for value in values:
        text = str(_shown(value[attribute] if attribute is not None else value))
        size += len(text) + len(d)
        _bounded(size)
        made.append(text)
    return d.join(made)


def _replace(text: str, old: str, new: str) -> str:
    text, old, new = str(text), str(old), str(new)
    _bounded(len(text) + text.count(old) * len(new))
    return text.replace(old, new)


def _indent(text: str, width: int = 4, first: bool = False) -> str:
    text, pad = str(text), " " * min(int(width), 100)
    _bounded(len(text) + (text.count("\n") + 1) * len(pad))
    return (pad if first else "") + text.replace("\n", "\n" + pad)


def _round(value: float, precision: int = 0) -> float:
    return round(float(value), max(-20, min(int(precision), 20)))


def _sum(values: Iterable[Any], attribute: str | None = None) -> float:
    return math.fsum(float(value[attribute] if attribute is not None else value) for value in values)


def _strftime(value: datetime, form: str) -> str:
    # A width in a format, `%999999999d`, is memory by the gigabyte.
    if len(form) > 200 or not _TIME_FORMAT.fullmatch(form):
        raise ValueError(f"{form[:40]!r} is no format of a time")
    return value.strftime(form)


_OWN_FILTERS: Final = {
    "join": _join, "replace": _replace, "indent": _indent, "round": _round, "sum": _sum, "strftime": _strftime,
}  # fmt: skip


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja2 with bounds: what could make much of little is refused, or measured first."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, *, html: bool) -> None:
        super().__init__(undefined=StrictUndefined, autoescape=html, finalize=_shown, keep_trailing_newline=True)
        self.filters = {name: FILTERS[name] for name in _PLAIN_FILTERS} | _OWN_FILTERS
        self.globals = {"range": self.globals["range"], "dict": dict}

    def getattr(self, obj: Any, attribute: str) -> Any:
        # A name in JSON goes before a method that happens to be called so, such as `items`.
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def wrap_str_format(self, value: Any) -> None:
        """Leave `format` to `is_safe_attribute`, which refuses it: a width in it makes a gigabyte of nothing."""
        return

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, LoopContext | Macro):
            return not attr.startswith("_")
        return any(isinstance(obj, kind) and attr in names for kind, names in _METHODS.items())

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str | bytes):
            raise SecurityError("% on a text is not available; write ~ between texts")
        if operator == "+":
            _bounded(_size(left) + _size(right))
        elif operator == "*":
            for one, other in ((left, right), (right, left)):
                if isinstance(other, int):
                    _bounded(_size(one) * max(0, other))
        if operator in ("*", "**", "+") and isinstance(left, int) and isinstance(right, int):
            _check_whole(operator, left, right)
        return super().call_binop(context, operator, left, right)


def _check_whole(operator: str, left: int, right: int) -> None:
    bits = left.bit_length()
    bits = bits * max(0, right) if operator == "**" else bits + right.bit_length()
    if bits > _MAX_BITS:
        raise _Overrun("template.number", f"a number of more than {_MAX_BITS} bits", "reckon with smaller ones")


N = TypeVar("N", nodes.For, nodes.Macro, nodes.CallBlock)


class _Bounding(NodeTransformer):
    """Puts a step at the beginning of each loop and macro, and bounds what `~` makes."""

    def visit_For(self, node: nodes.For) -> nodes.For:
        return self._stepped(node)

    def visit_Macro(self, node: nodes.Macro) -> nodes.Macro:
        return self._stepped(node)

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.CallBlock:
        return self._stepped(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Call:
        self.generic_visit(node)
        return nodes.Call(_ours("concat"), node.nodes, [], None, None, lineno=node.lineno)

    def _stepped(self, node: N) -> N:
        self.generic_visit(node)
        size = sum(len(one.data) for one in node.find_all(nodes.TemplateData))
        call = nodes.Call(_ours("step"), [nodes.Const(size)], [], None, None, lineno=node.lineno)
        node.body.insert(0, nodes.Output([call], lineno=node.lineno))
        return node


def _ours(name: str) -> nodes.Expr:
    return nodes.Getitem(nodes.Name(_OWN, "load"), nodes.Const(name), "load")


_OWN: Final = "__gatepost"
_OURS: Final = {_OWN: {"step": _step, "concat": _concat}}
_ENVIRONMENTS: Final = {html: _Environment(html=html) for html in (False, True)}


class Template:
    """One template, compiled. `place` is what it is called where a fault in it is told.

    Raises: TemplateMistake.
    """

    __slots__ = ("_compiled", "_place", "source")

    def __init__(self, source: str, *, html: bool = False, place: str = "template") -> None:
        self.source = source
        self._place = place
        self._compiled = _compiled(source, _ENVIRONMENTS[html])

    def render(self, values: Mapping[str, Any]) -> str:
        """Return the text. Raises: BadPayload."""
        token = _BUDGET.set(_Budget())
        try:
            return "".join(self._pieces(values))
        except _Overrun as e:
            raise self._bad(e.rule, e.text, e.mend, e) from None
        except RecursionError as e:
            raise self._bad("template.recursive", "a macro calls itself without an end", "end it", e) from None
        except UndefinedError as e:
            mend = "publish it, or write | default('...') behind it"
            raise self._bad("template.undefined", str(e), mend, e) from None
        except SecurityError as e:
            raise self._bad("template.forbidden", str(e), "do without it", e) from None
        except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as e:
            mend = "mend the template, or the payload"
            raise self._bad("template.fault", f"{type(e).__name__}: {e}", mend, e) from None
        finally:
            _BUDGET.reset(token)

    def _pieces(self, values: Mapping[str, Any]) -> Iterator[str]:
        size = 0
        for piece in self._compiled.generate(values):
            size += len(piece)
            _bounded(size)
            yield piece

    def _bad(self, rule: str, text: str, mend: str, e: BaseException) -> BadPayload:
        line = _line(e.__traceback__)
        place = f"{self._place}, line {line}" if line else self._place
        found = self.source.splitlines()[line - 1] if 0 < line <= len(self.source.splitlines()) else ""
        return BadPayload(rule, text, place, mend, found.encode("utf-8", "replace"))


def _compiled(source: str, environment: _Environment) -> Compiled:
    if len(source) > MAX_SOURCE:
        raise TemplateMistake(f"more than {MAX_SOURCE} characters", 1)
    try:
        tree = environment.parse(source)
        forbidden = next(iter(tree.find_all(_FORBIDDEN)), None)
        if forbidden is not None:
            raise TemplateMistake(
                "a template stands for itself: no include, import, extends or block", forbidden.lineno
            )
        hidden = next((one for one in tree.find_all(nodes.Name) if one.name.startswith("__")), None)
        if hidden is not None:
            raise TemplateMistake(f"{hidden.name[:40]} is no name here", hidden.lineno)
        code = environment.compile(_Bounding().visit(tree))
    except TemplateSyntaxError as e:
        raise TemplateMistake(e.message or "no template", e.lineno) from None
    except RecursionError:
        raise TemplateMistake("expressions within expressions, too deep", 1) from None
    return Compiled.from_code(environment, code, {**environment.globals, **_OURS})


def _line(traceback: TracebackType | None) -> int:
    """Return the line of the template in which a fault came up, 0 where that is not known."""
    line = 0
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == "<template>":
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def mistake(source: str, *, html: bool = False) -> str | None:
    """Return what is wrong with a template, None where nothing is."""
    try:
        Template(source, html=html)
    except TemplateMistake as e:
        return str(e)
    return None


__all__: Sequence[str] = ["MAX_OUTPUT", "Template", "TemplateMistake", "mistake"]
