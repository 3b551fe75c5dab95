"""Formats: the files by which other systems tell who has which addresses, read into identities and written from them.

A format is a module of this package; each says what it reads and what it cannot carry. All promise: any octets give
entries and problems, never a fault; one bad row is reported with its line, column and mend, and the rest goes on;
reading is bounded in time and memory; where a format is written, reading that again loses nothing but what
`Written.problems` names.

What a foreign directory says of a person besides the addresses is kept in attributes, under these names:
`ref`, the key that it knows the person by; `first`, `last`, `company`, `department`, `title`; `uid`, `alias`, `upn`,
names that are no addresses; `dn`; `status`; `forward`, the address that mail is sent on to there; `proxy`, an address
of a kind that is no network here, as `PREFIX:value`; `tel`, `fax`, numbers that are no address of one person.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import PurePath
from typing import Final, Protocol

from mappings.identity import Identity
from mappings.interchange import Entry
from mappings.network import Registry
from mappings.rule import Rule
from mappings.tabular import Problem

__all__ = [
    "FORMATS",
    "Entry",
    "Format",
    "OptionError",
    "Options",
    "Problem",
    "Reading",
    "RouteRow",
    "Writer",
    "Written",
    "by_name",
    "guess",
]

Options = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RouteRow:
    """A row that says how mail for a domain is carried: `connector` is None where nobody has said which one it is."""

    line: int
    match: str
    connector: str | None
    next_hop: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file tells: `notes` are sentences for the operator about what was left aside, and no mistake.

    An identity's attribute `ref` is its key in the foreign directory, by which a later import knows it again.
    `states` names what every entry states whole, as `mappings.merge` explains; most files state nothing so.
    """

    entries: list[Entry] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    states: frozenset[str] = frozenset()
    routes: list[RouteRow] = field(default_factory=list)
    """What tables of transports say of domains, in the order that routes need; each is also one of the notes."""


@dataclass(frozen=True, slots=True)
class Written:
    """A file, and what of the identities it does not carry; the problems' lines are those of the file."""

    octets: bytes
    problems: list[Problem] = field(default_factory=list)


class OptionError(ValueError):
    """An option that a format does not take, or a value that it cannot use; the text names the mend."""


class Format(Protocol):
    """One form of file."""

    @property
    def name(self) -> str: ...

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Ends of file names, in lower case, that make this form likely."""
        ...

    @property
    def options(self) -> Mapping[str, str]:
        """The options that it takes, each with what it does; one that ends in `*` stands for all that begin so."""
        ...

    def read(self, octets: bytes, options: Options, networks: Registry) -> Reading:
        """Read a file. Raises: OptionError alone."""
        ...

    @property
    def write(self) -> Writer | None:
        """Write a file; None where the form is read only."""
        ...


class Writer(Protocol):
    """Writes identities, and rules where the form has a place for them. Raises: OptionError alone."""

    def __call__(
        self, identities: Iterable[Identity], options: Options, networks: Registry, rules: Sequence[Rule] = ()
    ) -> Written: ...


_MODULES: Final = {
    "csv": "people_csv",
    "ldif": "ldif",
    "exchange": "exchange",
    "google": "google",
    "entra": "entra",
    "domino": "domino",
    "vcard": "vcard",
    "postfix-virtual": "postfix",
    "postfix-canonical": "postfix",
    "postfix-generic": "postfix",
    "postfix-transport": "postfix",
    "postfix-relocated": "postfix",
    "aliases": "sendmail",
    "virtusertable": "sendmail",
    "genericstable": "sendmail",
    "mailertable": "sendmail",
}
"""The module of each format; each has its formats in `FORMATS`. They are imported when they are asked for."""


class _Formats(Mapping[str, Format]):
    """All formats by name."""

    def __init__(self) -> None:
        self._found: dict[str, Format] = {}

    def __getitem__(self, name: str) -> Format:
        if name not in self._found:
            module = import_module(f"{__name__}.{_MODULES[name]}")
            self._found |= {each.name: each for each in module.FORMATS}
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


FORMATS: Final[Mapping[str, Format]] = _Formats()


def by_name(name: str) -> Format:
    """Return a format. Raises: OptionError where there is none of this name."""
    try:
        return FORMATS[name.lower()]
    except KeyError:
        raise OptionError(f"there is no format {name!r}; there are: {', '.join(FORMATS)}") from None


_HEADERS: Final = (
    ("exchange", ("emailaddresses",)),
    ("exchange", ("recipienttype",)),
    ("exchange", ("externalemailaddress",)),
    ("exchange", ("dn", "objectclass")),
    ("exchange", ("dn", "proxyaddresses")),
    ("exchange", ("dn", "mail")),
    ("google", ("email address [required]",)),
    ("google", ("first name", "last name", "email address", "org unit path")),
    ("entra", ("userprincipalname",)),
    ("entra", ("user principal name",)),
    ("domino", ("fullname",)),
)
"""Columns that tell whose export a CSV is; the first line that matches as a whole decides."""


def guess(path: str | PurePath, octets: bytes) -> Format | None:
    """Return the format that a file seems to have, by its first octets and its name; None where nothing tells."""
    head = octets[:4096]
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"), (b"", "utf-8")):
        if head.startswith(mark):
            text = head.removeprefix(mark).decode(encoding, "replace").removeprefix("\ufeff")
            break
    start = text.lstrip().lower()
    if start.startswith("begin:vcard"):
        return FORMATS["vcard"]
    lines = [line for line in start.splitlines() if line.strip() and not line.startswith(("#", "sep="))]
    first = lines[0] if lines else ""
    if first.startswith(("version: 1", "version:1", "dn:")):
        return FORMATS["ldif"]
    named = _named(PurePath(path).name.lower())
    if named is not None and named != "csv":
        return FORMATS[named]
    cells = {cell.strip(' "') for line in lines[:2] for cell in line.replace(";", ",").replace("\t", ",").split(",")}
    for format, columns in _HEADERS:
        if cells.issuperset(columns):
            return FORMATS[format]
    return FORMATS["csv"] if named is not None or "name" in cells else None


def _named(name: str) -> str | None:
    """Return the format that a file's name ends like; those of Postfix may be `sender_canonical`."""
    for each in FORMATS:
        if any(name.endswith(suffix) for suffix in FORMATS[each].suffixes):
            return each
    word = name.rpartition("_")[2].partition(".")[0]
    return f"postfix-{word}" if f"postfix-{word}" in _MODULES else None
