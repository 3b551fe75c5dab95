"""Write the reference of the contract from the docstrings of the three modules that plugins import.

python -m tests.docs.reference    prints it; `UPDATE_DOCS=1 pytest tests/docs/test_reference.py` writes the page
"""

from __future__ import annotations

import ast
import enum
import inspect
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import cache
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from gateway.once import once

ROOT: Final = Path(__file__).parents[2]
MODULES: Final = ("gateway.contract", "mappings.network", "gateway.testing")
HEAD: Final = """\
# The contract, name by name

Written from the docstrings; a test holds it to them. These three modules are all that a plugin imports, and their names
are the contract: a name is taken away, or comes to mean something else, only with a new `CONTRACT_VERSION`. This is
version {version}; a gateway takes plugins of its own version and of the one before.
"""
DOUBLES: Final = ("KitLog", "ListBatch", "MemoryWriter", "RecordingIntake")
"""Stand for what the contract describes: their methods are documented there."""


def page() -> str:
    """Return the whole page."""
    parts = [HEAD.format(version=import_module("gateway.contract").CONTRACT_VERSION)]
    for name in MODULES:
        module = import_module(name)
        parts.append(f"## {name}\n\n{_prose(inspect.getdoc(module) or '')}\n")
        parts += [_entry(module, each) for each in sorted(module.__all__, key=str.lower) if not _is_hook(each)]
    return _formatted("\n".join(parts))


def _formatted(text: str) -> str:
    """Return the page with its code as ruff writes it, which looks at pages too."""
    command = [str(Path(sys.executable).parent / "ruff"), "format", "--stdin-filename", "contract.md", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def undocumented() -> Iterator[str]:
    """Yield what the contract names and does not say: names, and public methods of its classes."""
    for name in MODULES:
        module = import_module(name)
        for each in module.__all__:
            found = getattr(module, each)
            if _is_hook(each):
                continue
            if not _doc_of(module, each):
                yield f"{name}.{each}"
            if inspect.isclass(found) and each not in DOUBLES:
                for member, _, doc in _members(found):
                    if not doc and not member.startswith("test_") and member not in _fields(found):
                        yield f"{name}.{each}.{member}"


def _is_hook(name: str) -> bool:
    return name.startswith("pytest_")


def _entry(module: ModuleType, name: str) -> str:
    found = getattr(module, name)
    doc = _prose(_doc_of(module, name))
    if inspect.isclass(found):
        return f"### {name}\n\n{_class(name, found)}\n\n{doc}\n{_members_text(name, found)}"
    if _is_function(found):
        return f"### {name}\n\n{_code(_signature(name, inspect.unwrap(found)))}\n\n{doc}\n"
    return f"### {name}\n\n{_code(f'{name} = {_value(found)}')}\n\n{doc}\n"


def _is_function(found: Any) -> bool:
    return inspect.isfunction(inspect.unwrap(found)) if callable(found) else False


def _class(name: str, found: type) -> str:
    """Return a class as it is written: its bases, its fields, and the values of an enumeration."""
    lines = [f"class {name}{_bases(found)}:"]
    if issubclass(found, enum.Enum):
        lines += [f"    {each.name} = {each.value!r}" for each in found]
    lines += [f"    {shown}" for member, shown, _ in _members(found) if member in _fields(found)]
    return "```python\n" + "\n".join(lines if len(lines) > 1 else [lines[0][:-1]]) + "\n```"


def _members_text(name: str, found: type) -> str:
    parts = []
    tests = [f"`{each}`" for each in dir(found) if each.startswith("test_")]
    for member, shown, doc in _members(found):
        if doc and not member.startswith("test_"):
            heading = member if member in _fields(found) else shown
            parts.append(f"**`{heading}`**\n{_prose(doc)}\n")
    if tests:
        parts.append(f"Its tests: {', '.join(tests)}.\n")
    return "\n" + "\n".join(parts) if parts else ""


def _fields(found: type) -> dict[str, Any]:
    return {name: kind for name, kind in vars(found).get("__annotations__", {}).items() if not name.startswith("_")}


def _members(found: type) -> Iterator[tuple[str, str, str]]:
    """Yield (name, how it is written, what is said of it) of a class's own public members, in its order."""
    strings = _strings_in_class(found)
    fields = _fields(found)
    for name, kind in fields.items():
        yield name, f"{name}: {_default(found, name, str(kind))}", strings.get(name, "")
    for name, value in vars(found).items():
        if name.startswith("_") or name in fields:
            continue
        if isinstance(value, staticmethod | classmethod):
            value = value.__func__
        if isinstance(value, property):
            yield name, name, inspect.getdoc(value.fget) or ""
        elif isinstance(value, once):
            yield name, name, inspect.cleandoc(value.__doc__ or "")
        elif inspect.isfunction(value):
            yield name, _signature(name, value), inspect.getdoc(value) or ""
        elif name in strings:
            yield name, name, strings[name]


def _default(found: type, name: str, kind: str) -> str:
    """Return a field's type, with its default where that is short."""
    try:
        value = vars(found)[name] if not is_dataclass(found) else found.__dataclass_fields__[name].default
    except KeyError:
        return kind
    shown = repr(value)
    plain = isinstance(value, str | int | float | bytes | tuple | frozenset | None.__class__)
    return f"{kind} = {shown}" if plain and len(shown) <= 40 else kind


def _doc_of(module: ModuleType, name: str) -> str:
    found = getattr(module, name)
    if inspect.isclass(found) or _is_function(found):
        doc = inspect.getdoc(found) or ""
        return "" if doc.startswith(f"{name}(") else doc  # what a dataclass makes for itself
    return _string_after(module.__name__, name) or ""


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(import_module(module)))


def _string_after(module: str, name: str) -> str | None:
    """Return the string behind an assignment, in the module where it is made."""
    for node in _tree(module).body:
        if isinstance(node, ast.ImportFrom) and node.module and any((a.asname or a.name) == name for a in node.names):
            (own,) = [a.name for a in node.names if (a.asname or a.name) == name]
            return _string_after(node.module, own)
    return _strings(_tree(module).body).get(name)


def _strings(body: list[ast.stmt]) -> dict[str, str]:
    found: dict[str, str] = {}
    target: ast.expr | None
    for node, behind in pairwise(body):
        target = node.target if isinstance(node, ast.AnnAssign) else None
        if isinstance(node, ast.Assign):
            (target,) = node.targets
        if isinstance(target, ast.Name) and isinstance(behind, ast.Expr) and isinstance(behind.value, ast.Constant):
            found[target.id] = inspect.cleandoc(str(behind.value.value))
    return found


def _strings_in_class(found: type) -> dict[str, str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(found)))
    assert isinstance(tree.body[0], ast.ClassDef)
    return _strings(tree.body[0].body)


def _bases(found: type) -> str:
    bases = [b.__name__ for b in found.__bases__ if b not in (object,) and b.__name__ not in ("Generic",)]
    return f"({', '.join(bases)})" if bases else ""


def _signature(name: str, function: Any) -> str:
    prefix = "async " if inspect.iscoroutinefunction(function) else ""
    text = f"{prefix}{name}{inspect.signature(function)}".replace("'", "")
    text = re.sub(r" at 0x[0-9a-f]+", "", text)
    return re.sub(r"\((self|cls)(, )?", "(", text)


def _value(found: Any) -> str:
    if isinstance(found, frozenset):
        return "{" + ", ".join(sorted(map(repr, found))) + "}"
    return str(found).replace("typing.", "") if not isinstance(found, str) else repr(found)


def _code(text: str) -> str:
    wrapped = textwrap.fill(text, 100, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    return f"```python\n{wrapped}\n```"


def _prose(doc: str) -> str:
    """Return a docstring as Markdown: what stands indented in it is code."""
    return re.sub(r"<(?=[A-Za-z/])", "\\<", doc)


if __name__ == "__main__":
    sys.stdout.write(page())
