"""What a pydantic model says of the keys of a table: which there are, which are secret, what was expected of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel, PlainSerializer, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

from gateway.toml_places import Path

_SECRET_NAME: Final = re.compile(r"(^|_)(passwords?|passphrases?|secrets?|tokens?)$")


def is_secret(name: str, field: FieldInfo) -> bool:
    """Tell whether an option holds a secret: by its type, by `repr=False`, or by its name.

    An option may say for itself that it is none, by `json_schema_extra={"secret": False}`.
    """
    if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("secret") is False:
        return False
    return (
        field.repr is False
        or bool(_SECRET_NAME.search(name))
        or any(t in (SecretStr, SecretBytes) for t in _types(field.annotation))
    )


def _types(annotation: Any) -> Iterator[Any]:
    yield annotation
    for inner in get_args(annotation):
        yield from _types(inner)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    for t in _types(annotation):
        if isinstance(t, type) and issubclass(t, BaseModel):
            yield t


def fields_of(model: type[BaseModel]) -> dict[str, tuple[str, FieldInfo]]:
    """Return the fields by the key they have in a file."""
    return {field.alias or name: (name, field) for name, field in model.model_fields.items()}


def _walk(model: type[BaseModel], loc: Path) -> Iterator[tuple[str, FieldInfo, Path]]:
    """Yield (key, field, path below it) for each field on the way down a path."""
    models = [model]
    for i, part in enumerate(loc):
        for m in models:
            if isinstance(part, str) and part in (fields := fields_of(m)):
                field = fields[part][1]
                yield part, field, loc[i + 1 :]
                models = list(_models(field.annotation))
                break


def keys_at(model: type[BaseModel], loc: Path) -> list[str]:
    """Return the keys that the table at a path below a model may have."""
    models = [model]
    for _, field, _ in _walk(model, loc):
        models = list(_models(field.annotation))
    return [key for m in models for key in fields_of(m)]


def is_secret_at(model: type[BaseModel], loc: Path) -> bool:
    """Tell whether a path below a model leads to a secret."""
    return any(is_secret(key, field) for key, field, _ in _walk(model, loc))


def secret_texts(model: type[BaseModel], value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Yield the texts that stand in secret fields, validated or not."""
    if isinstance(value, Mapping):
        fields = fields_of(model)
        for key, inner in value.items():
            if key not in fields:
                continue
            field = fields[key][1]
            if is_secret(key, field):
                yield from _texts(inner, (*path, key))
            for m in _models(field.annotation):
                yield from secret_texts(m, inner, (*path, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from secret_texts(model, inner, (*path, i))


def _texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str) and value:
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, (*path, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _texts(inner, (*path, i))


def wanted(model: type[BaseModel], loc: Path) -> str:
    """Return in words what a missing key would be."""
    for key, field, below in _walk(model, loc):
        if not below:
            return f"{key}: {small_first((field.description or 'it is needed').rstrip('.'))}"
    return "this key"


_EXPECTED: Final = {
    "string_type": "a text in quotes",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list in [ ]",
    "tuple_type": "a list in [ ]",
    "dict_type": "a table",
    "model_type": "a table",
    "path_type": "a path in quotes",
}
_BOUNDS: Final = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}


def expected_by(error: Mapping[str, Any]) -> str:
    """Return in words what a validation error wanted to see."""
    kind, context = error["type"], error.get("ctx", {})
    if kind in _EXPECTED:
        return _EXPECTED[kind]
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"a number of {words} {context[name]}"
    if kind in ("literal_error", "enum"):
        return str(context["expected"]).replace("'", '"')
    if kind in ("value_error", "assertion_error"):
        return str(context["error"])
    return small_first(str(error["msg"]).removeprefix("Input should be "))


def small_first(text: str) -> str:
    """Return a sentence as a part of another one: first letter small, unless it begins an abbreviation."""
    return text[:1].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text


@dataclass(frozen=True, slots=True)
class OptionRow:
    """One option as a table of the documentation shows it; `default` is as written in a file, or `needed`."""

    key: str
    kind: str
    default: str
    text: str


def option_rows(model: type[BaseModel]) -> list[OptionRow]:
    """Return the options of a table in the order of its model."""
    return [
        OptionRow(key, _kind(field), _default(model, name, field), " ".join((field.description or "").split()))
        for key, (name, field) in fields_of(model).items()
    ]


def _kind(field: FieldInfo) -> str:
    types = [t for t in _types(field.annotation) if t is not type(None)]
    choices = [repr(c).replace("'", '"') for t in types if get_origin(t) is Literal for c in get_args(t)]
    if choices:
        return " or ".join(choices)
    metadata = [*field.metadata, *(m for t in types for m in getattr(t, "__metadata__", ()))]
    for serializer in (m for m in metadata if isinstance(m, PlainSerializer)):
        return "size" if getattr(serializer.func, "__name__", "") == "show_size" else "duration"
    names = {str: "text", int: "number", float: "number", bool: "true or false", SecretStr: "secret text"}
    if any(get_origin(t) in (tuple, list, frozenset, set) for t in types):
        is_table = any(isinstance(t, type) and issubclass(t, BaseModel) for t in types)
        return "list of tables" if is_table else "list of texts"
    if any(get_origin(t) is dict or (isinstance(t, type) and issubclass(t, BaseModel)) for t in types):
        return "table"
    return " or ".join(dict.fromkeys(names.get(t, "text") for t in types if isinstance(t, type))) or "text"


def _default(model: type[BaseModel], name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True, validated_data={})
    for serializer in (m for m in field.metadata if isinstance(m, PlainSerializer)):
        value = serializer.func(value)  # type: ignore[call-arg]  # ours take the value alone
    if value is None or value == "" or value == () or value == [] or value == {} or isinstance(value, BaseModel):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list | frozenset):
        return "[" + ", ".join(f'"{v}"' if isinstance(v, str) else str(v) for v in value) + "]"
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    return f'"{value}"' if isinstance(value, str) else str(value)


def option_table(model: type[BaseModel]) -> str:
    """Return the options as a Markdown table, for the documentation."""
    lines = ["| option | kind | default | what it does |", "|---|---|---|---|"]
    for row in option_rows(model):
        default = row.default if row.default in ("", "needed") else f"`{row.default}`"
        lines.append(f"| `{row.key}` | {row.kind} | {default} | {row.text.replace('|', '&#124;')} |")
    return "\n".join(lines)
