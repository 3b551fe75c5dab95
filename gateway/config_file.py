"""One TOML file as a Document: values with their lines, `${ENV}` and `file:` expanded, and every mistake kept.

Promises: a mistake never ends the reading, so that all of them are told at once; a mistake tells what the file says,
never what an expansion gave, and nothing of a secret.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path as FilePath
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from gateway.config_model import expected_by, is_secret_at, keys_at, secret_texts, small_first, wanted
from gateway.expansion import expanded, has_expansion
from gateway.toml_places import Path, Places, locate

MAX_FILE_OCTETS: Final = 4 * 1024 * 1024

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_PASSWORD_IN_URL: Final = re.compile(r"(//[^/:@\s]*:)[^@\s]+@")
_TOML_PLACE: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong: where it stands, what was found, what was expected, the nearest right name.

    `rule` is a whole sentence where a rule over several keys is broken; it is told instead of `expected`.
    """

    file: str
    line: int | None
    place: str
    found: str
    expected: str
    nearest: str | None = None
    rule: str | None = None

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        place = f"{self.place}: " if self.place else ""
        if self.rule:
            found = "" if self.found in ("a table", "a list") else f" (found {self.found})"
            return f"{where}: {place}{self.rule}{found}"
        hint = f'; did you mean "{self.nearest}"?' if self.nearest else ""
        return f"{where}: {place}found {self.found}, expected {self.expected}{hint}"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class ConfigErrors(Exception):
    """The configuration cannot be used; `mistakes` are all that was found, in the order of the file."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(str(m) for m in self.mistakes))


class Document:
    """A TOML file, read and located. `data` is as written; `expanded` has variables and files put in, unless
    `expands` is off.

    `shown` is the file's name as mistakes tell it, `wanted` what a missing one should be.
    """

    def __init__(
        self,
        path: FilePath,
        environ: Mapping[str, str] | None = None,
        *,
        expands: bool = True,
        wanted: str = "a configuration file; name it with -c FILE",
    ) -> None:
        self.path = path
        self.wanted = wanted
        self.shown = str(path)
        self.base = path.absolute().parent
        self.environ = os.environ if environ is None else environ
        self.mistakes: list[Mistake] = []
        self.warnings: list[str] = []
        self.secrets: set[str] = set()
        self.data: dict[str, Any] = {}
        self.digest = b""
        """Of the file's octets."""
        self.put_in: set[Path] = set()
        """Where variables and files were put in."""
        self._places = Places({})
        self._failed: set[Path] = set()
        self._read()
        self.expanded: dict[str, Any] = self._expand((), self.data) if expands else self.data

    def _read(self) -> None:
        try:
            with self.path.open("rb") as file:
                octets = file.read(MAX_FILE_OCTETS + 1)
        except OSError as e:
            self._add(None, "", f"no readable file ({e.strerror})", self.wanted)
            return
        if len(octets) > MAX_FILE_OCTETS:
            self._add(None, "", f"more than {MAX_FILE_OCTETS} octets", "a file of a smaller size")
            return
        self.digest = blake2b(octets, digest_size=32).digest()
        try:
            text = octets.decode()
        except UnicodeDecodeError as e:
            line = octets.count(b"\n", 0, e.start) + 1
            self._add(line, "", f"the octet 0x{octets[e.start]:02x}", "text in UTF-8")
            return
        try:
            self.data = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as e:
            self._syntax(text, str(e))
            return
        self._places = locate(text)

    def _syntax(self, text: str, message: str) -> None:
        place = _TOML_PLACE.search(message)
        said = _TOML_PLACE.sub("", message)
        lines = text.splitlines() or [""]
        line = int(place[1]) if place is not None and place[1] else len(lines)
        source = lines[min(line, len(lines)) - 1].strip()
        # The text may hold a secret; what stands before the = is enough to find the place.
        before, equals, _ = source.partition("=")
        shown = f"{before.strip()} = …" if equals else source[:60]
        self._add(line, "", f"`{shown}`" if source else "the end of the file", f"valid TOML ({small_first(said)})")

    def _add(self, line: int | None, place: str, found: str, expected: str, nearest: str | None = None) -> None:
        self.mistakes.append(Mistake(self.shown, line, place, found, expected, nearest))

    def broken_rule(self, path: Path, rule: str, found: str = "a table") -> None:
        """Note a rule that what stands at a path breaks, told as a whole sentence."""
        self._failed.add(path)
        line = self.line(path)
        self.mistakes.append(Mistake(self.shown, line, show_path(path), found, "", rule=rule))

    def line(self, path: Path) -> int:
        return self._places.line(path)

    def mistake(self, path: Path, found: str, expected: str, nearest: str | None = None) -> None:
        """Note what is wrong at a path of this document."""
        self._failed.add(path)
        self._add(self.line(path), show_path(path), found, expected, nearest)

    def mistake_in(self, file: str, line: int | None, column: str, rule: str) -> None:
        """Note what is wrong in a table that this file names, in its own words; `column` may be empty."""
        self.mistakes.append(Mistake(file, line, column, "a table", "", rule=rule))

    def has_failed(self, path: Path) -> bool:
        """Tell whether something at this path, around it or within it is already noted."""
        return any(f[: len(path)] == path or path[: len(f)] == f for f in self._failed)

    def finish(self) -> None:
        """Raise all that was noted. Raises: ConfigErrors."""
        if self.mistakes:
            raise ConfigErrors(sorted(self.mistakes, key=lambda m: (m.file != self.shown, m.file, m.line or 0)))

    def raw(self, path: Path) -> Any:
        """Return the value as written, None where there is none."""
        return _at(self.data, path)

    def get(self, path: Path) -> Any:
        """Return the expanded value, None where there is none."""
        return _at(self.expanded, path)

    def table(self, path: Path) -> dict[str, Any] | None:
        """Return the table at a path, empty where it is absent, None (and a mistake) where it is something else."""
        value = self.get(path)
        if value is None:
            return {}
        if isinstance(value, dict):
            return value
        self.mistake(path, show_value(value), f"a table, [{show_path(path)}]")
        return None

    def tables(self, path: Path) -> list[dict[str, Any]]:
        """Return the elements of an array of tables."""
        value = self.get(path)
        if value is None:
            return []
        if isinstance(value, list) and all(isinstance(v, dict) for v in value):
            return value
        self.mistake(path, "a table" if isinstance(value, dict) else show_value(value), f"[[{show_path(path)}]]")
        return []

    def known_keys(self, path: Path, keys: Iterable[str], what: str) -> None:
        """Note every key of the table at a path that is none of `keys`."""
        allowed = list(keys)
        for key in self.get(path) or {}:
            if key not in allowed:
                self._unknown((*path, key), allowed, what)

    def _unknown(self, path: Path, allowed: Sequence[str], what: str) -> str | None:
        near = nearest(str(path[-1]), allowed)
        expected = what if near else f"{what}: {', '.join(sorted(allowed))}"
        self.mistake(path, "an unknown key", expected, near)
        return near

    def model(self, path: Path, model: type[M], value: Mapping[str, Any] | None, what: str) -> M | None:
        """Validate the table at a path, noting every mistake; None where there is any.

        `what` says which keys are right, such as "a key of [gateway]".
        """
        if value is None:
            return None
        secrets = dict(secret_texts(model, value))
        self.secrets.update(secrets.values())
        failed_before = self.has_failed(path)
        try:
            made = model.model_validate(dict(value))
        except ValidationError as e:
            self._explain(path, model, e, what, secrets)
            return None
        return None if failed_before else made

    def _explain(
        self, path: Path, model: type[BaseModel], error: ValidationError, what: str, secrets: Mapping[Path, str]
    ) -> None:
        errors = error.errors(include_url=False)
        meant: set[Path] = set()
        for e in errors:
            if e["type"] == "extra_forbidden":
                loc = e["loc"]
                allowed = keys_at(model, loc[:-1])
                inner = what if len(loc) == 1 else f"a key of {show_path((*path, *loc[:-1]))}"
                near = self._unknown((*path, *loc), allowed, inner)
                if near:
                    meant.add((*loc[:-1], near))
        for e in errors:
            loc = e["loc"]
            if e["type"] == "extra_forbidden" or loc in meant:
                continue
            whole = self._shortened((*path, *loc))
            if e["type"] == "missing":
                self.mistake((*path, *loc), "no such key", wanted(model, loc))
            elif not any(whole[: len(f)] == f and len(f) > len(path) for f in self._failed):
                is_secret = is_secret_at(model, loc)
                found = "a secret, not shown here" if is_secret else show_value(self.raw(whole))
                expected = expected_by(e)
                for secret in secrets.values():
                    expected = expected.replace(secret, "…") if len(secret) > 2 else expected
                if e["type"] in ("value_error", "assertion_error"):
                    self.broken_rule(whole, expected, found)
                else:
                    self.mistake(whole, found, expected)

    def _shortened(self, path: Path) -> Path:
        """Return the part of a path that the document has; pydantic appends names of union members."""
        while path and self.raw(path) is None:
            path = path[:-1]
        return path

    def _expand(self, path: Path, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._expand((*path, key), v) for key, v in value.items()}
        if isinstance(value, list):
            return [self._expand((*path, i), v) for i, v in enumerate(value)]
        if isinstance(value, str) and has_expansion(value):
            self.put_in.add(path)
            return expanded(value, self.base, self.environ, partial(self._not_expanded, path), self._readable)
        return value

    def _not_expanded(self, path: Path, found: str, expected: str, among: Collection[str]) -> None:
        self.mistake(path, found, expected, nearest(found[2:-1], list(among)) if among else None)

    def _readable(self, name: FilePath) -> None:
        self.warnings.append(f"{name} can be read by every user of this machine; chmod 600 keeps it secret")


def nearest(word: str, among: Sequence[str]) -> str | None:
    """Return the likeliest of some names for a misspelt one, None where nothing is near."""
    folded = {a.lower().replace("-", "_"): a for a in among}
    close = difflib.get_close_matches(word.lower().replace("-", "_"), list(folded), 1, 0.7)
    return folded[close[0]] if close else None


def show_path(path: Path) -> str:
    """Return a path as it reads in the file: `connector.internet.listen[0]`."""
    shown = ""
    for part in path:
        if isinstance(part, int):
            shown += f"[{part}]"
            continue
        key = part if _BARE_KEY.fullmatch(part) else json.dumps(part, ensure_ascii=False)
        shown += f".{key}" if shown else key
    return shown


def show_value(value: Any) -> str:
    """Return a value as it may stand in a message."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case str():
            shown = _PASSWORD_IN_URL.sub(r"\1…@", value)
            return '"' + (shown if len(shown) <= 80 else shown[:79] + "…") + '"'
        case dict():
            return "a table"
        case list():
            return "a list"
    return str(value)


def _at(value: Any, path: Path) -> Any:
    for part in path:
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and 0 <= part < len(value):
            value = value[part]
        else:
            return None
    return value
