"""Rule: addresses of a whole domain or space translated by pattern, where nobody is named.

A pattern is `network:text with {variables}`, such as `smtp:{local}@{wg}.mhs.acme.example`. A variable stands for one
or more characters other than `@`, blanks and quoting signs, and in an internet domain for one label, or as `{sub*}`
for one or more. So a percent or bang in a mailbox is passed on as part of a name, and a quoted local part matches
nothing. Of several variables the earlier take as much as they can. `{wg|table:NAME}` is written as what the table
gives for its text, and read by the same table backwards; `|lower` and `|upper` set the case of what is written.
A side without a variable that the other has is a catch-all, and one-way. A pattern may be written as its network's
addresses may be written; it is kept as they are kept.
Promises: what a rule makes is normalised by its network, or the rule does not apply; an address with a sub-address
that is in no pattern or table is tried without it, and gets it back where the network can carry it; reading is linear
in the address's length, whatever a stranger writes; `is_reversible` is only said of what is proved by structure.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from itertools import product
from math import prod
from typing import Final

from mappings.address import Address, AddressError
from mappings.language import Chain, GaveUp, ambiguous, literal, run
from mappings.network import Registry, registry
from mappings.networks.smtp import domain_key

MAX_STEPS: Final = 8
"""How often one recipient may be translated before it is refused as a loop."""
MAX_VARIABLES: Final = 9
CONNECTOR: Final = "connector:"
"""Stands before a connector's name, where a network's could stand too."""

_VARIABLE: Final = re.compile(r"\{([a-z][a-z0-9_]*)(\*?)((?:\|[a-z]+(?::[A-Za-z0-9_-]+)?)*)\}")
_BRACED: Final = re.compile(r"\{([^{}]*)\}")
_MEANT: Final = re.compile(r"\w*\*?(?:\|.*)?", re.DOTALL)
_NOT_IN_ANY: Final = frozenset('@"\\<>(),;: \t')
_MAX_CHAINS: Final = 2000
# What stands for a variable when a pattern is tried: some networks have numbers alone.
_FILLERS: Final = ("x", "1", "10", "5551234")
# Short texts that stand in no pattern, to find variables again in what a network makes of one.
_SIGNS: Final = (
    tuple(f"qz{c}x" for c in "abcdefghi"),
    tuple(f"90{n}7{n}55" for n in range(1, 10)),
)
_MIXED: Final = ("Qz7", "17", "5551234")


class Way(Enum):
    """INWARD translates recipients from `match` to `to`; OUTWARD shows addresses of `to` as `match`; BOTH does both."""

    INWARD = "inward"
    OUTWARD = "outward"
    BOTH = "both"
    TO = INWARD
    FROM = OUTWARD

    @classmethod
    def _missing_(cls, value: object) -> Way | None:
        return {"to": cls.INWARD, "from": cls.OUTWARD}.get(str(value))


@dataclass(frozen=True)
class Lookup:
    """A table of texts for variables; compared without case. Of two equal ones the first counts."""

    name: str
    pairs: tuple[tuple[str, str], ...]

    @cached_property
    def there(self) -> Mapping[str, str]:
        return _first_of_each((key.lower(), value) for key, value in self.pairs)

    @cached_property
    def back(self) -> Mapping[str, str]:
        return _first_of_each((value.lower(), key) for key, value in self.pairs)

    @property
    def is_one_to_one(self) -> bool:
        return len(self.there) == len(self.back) == len(self.pairs)


def _first_of_each(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for one, other in pairs:
        found.setdefault(one, other)
    return found


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message comes from or goes to: the network of the connector, and its configured name."""

    network: str
    connector: str | None = None

    def is_in(self, words: Sequence[str]) -> bool:
        return self.network in words or (self.connector is not None and CONNECTOR + self.connector in words)


@dataclass(frozen=True, slots=True)
class Rule:
    """One pattern translation, as configured.

    `source` and `destination` are networks, or connectors as `connector:NAME`: recipients are translated only in mail
    from one of `source`, and addresses shown only in mail to one of `destination`; empty for any.
    """

    match: str
    to: str
    way: Way = Way.BOTH
    tables: tuple[Lookup, ...] = ()
    source: tuple[str, ...] = ()
    destination: tuple[str, ...] = ()

    def __str__(self) -> str:
        sign = {Way.INWARD: "->", Way.OUTWARD: "<-", Way.BOTH: "<->"}[self.way]
        where = f" from {' or '.join(self.source)}" if self.source else ""
        where += f" shown to {' or '.join(self.destination)}" if self.destination else ""
        return f"{self.match} {sign} {self.to}{where}"


class Span(Enum):
    """What a variable's text may hold."""

    ANY = _NOT_IN_ANY
    LABELS = _NOT_IN_ANY | frozenset("[]")
    LABEL = _NOT_IN_ANY | frozenset("[].")
    WHATEVER = frozenset[str]()
    """Anything at all, where a table holds what other variables may not."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A literal text, or a variable (`name` set). `folds` says that a literal compares without case."""

    text: str = ""
    name: str = ""
    span: Span = Span.ANY
    lookup: Lookup | None = None
    case: str = ""
    folds: bool = True

    def write(self, texts: Mapping[str, str]) -> str | None:
        """Return the piece's own text; None where its table has nothing for the variable's."""
        if not self.name:
            return self.text
        text: str | None = texts[self.name]
        if self.lookup is not None and text is not None:
            text = self.lookup.there.get(text.lower())
        if text is None or not self.case:
            return text
        return text.lower() if self.case == "lower" else text.upper()


class _Reader:
    """Takes texts apart by pieces whose variables take all that they can, the earlier ones more.

    Of several variables that may hold anything, each text between two stands as far back as it can. It is sought from
    the end, so that it is met first and nothing is tried twice: whoever writes an address may choose a long one.
    """

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._from_end = sum(1 for p in pieces if p.name) > 1
        if not self._from_end:
            pattern = "".join(_variable(p) if p.name else _text(p) for p in pieces)
        else:
            pattern = ""
            waiting = deque(reversed(pieces))
            while waiting:
                piece = waiting.popleft()
                if not piece.name:
                    pattern += _text(piece, backwards=True)
                elif any(p.name for p in waiting):  # what follows is a text: two variables never touch
                    pattern += f"(?>{_variable(piece, '+?')}{_text(waiting.popleft(), backwards=True)})"
                else:
                    pattern += _variable(piece)
        self._regex = re.compile(pattern, re.DOTALL)

    def read(self, text: str) -> dict[str, str] | None:
        if not self._from_end:
            found = self._regex.fullmatch(text)
            return None if found is None else found.groupdict()
        found = self._regex.fullmatch(text[::-1])
        return None if found is None else {name: part[::-1] for name, part in found.groupdict().items()}


def _text(piece: Piece, *, backwards: bool = False) -> str:
    escaped = re.escape(piece.text[::-1] if backwards else piece.text)
    return f"(?i:{escaped})" if piece.folds else escaped


def _variable(piece: Piece, times: str = "+") -> str:
    if piece.span is Span.WHATEVER:
        return f"(?P<{piece.name}>.{times})"
    if piece.span is Span.LABELS:
        label = f"[^{re.escape(''.join(sorted(Span.LABEL.value)))}]+"
        return rf"(?P<{piece.name}>{label}(?:\.{label})*)"
    return f"(?P<{piece.name}>[^{re.escape(''.join(sorted(piece.span.value)))}]{times})"


@dataclass(frozen=True, slots=True)
class Pattern:
    """One side of a rule, compiled.

    Of an smtp pattern `domain` matches what follows the last @, that sign with it, and `domain_end` is the literal end
    of its domain, perhaps empty; `reader` then takes the mailbox alone.
    """

    network: str
    text: str
    pieces: tuple[Piece, ...]
    reader: _Reader
    domain: re.Pattern[str] | None
    domain_end: str

    @property
    def names(self) -> frozenset[str]:
        return frozenset(p.name for p in self.pieces if p.name)

    def piece(self, name: str) -> Piece | None:
        return next((p for p in self.pieces if p.name == name), None)

    def read(self, address: Address) -> dict[str, str] | None:
        """Return the variables' texts where an address matches as a whole; literals compare as the network does."""
        if address.network != self.network:
            return None
        text = address.value
        if self.domain is None:
            texts = self.reader.read(text)
        else:
            local, _, domain = text.rpartition("@")
            if not text.isascii():  # compare an internationalised domain by its A-labels
                domain = address.key.rpartition("@")[2]
            found = self.domain.fullmatch("@" + domain)
            texts = None if found is None else self.reader.read(local)
            if texts is not None and found is not None:
                texts |= found.groupdict()
        if texts is None:
            return None
        for piece in self.pieces:
            if piece.lookup is not None:
                key = piece.lookup.back.get(texts[piece.name].lower())
                if key is None:
                    return None
                texts[piece.name] = key
        return texts

    def write(self, texts: Mapping[str, str], networks: Registry) -> Address | None:
        """Return the address that the texts make, None where a table or the network does not take them."""
        made = ""
        for piece in self.pieces:
            text = piece.write(texts)
            if text is None:
                return None
            made += text
        try:
            return networks.parse_in(self.network, made)
        except AddressError:
            return None

    def sample(self, filler: str) -> str:
        """Return a text of the pattern: a filler for each variable, or the first that its table has."""
        return _sample(self.pieces, filler)

    def sample_of(self, name: str, filler: str) -> str:
        """Return a text for one variable: a filler, or the first that its table reads."""
        piece = self.piece(name)
        return filler if piece is None or piece.lookup is None else next(iter(piece.lookup.back.values()))

    @property
    def ambiguous(self) -> str | None:
        """A text that can be read in two ways, as though there were no tables; None where there is none."""
        chain: Chain = sum((_links(replace(p, lookup=None), None)[0] for p in self.pieces), ())
        try:
            return ambiguous(chain)
        except GaveUp:
            return "a long one"

    def chains(self, read_by: Pattern | None = None) -> tuple[Chain, ...]:
        """Return the texts of the pattern in lower case, as far as they are known without its network.

        `read_by` is the other side, where the pattern is written: a variable holds what it was read as there.
        """
        choices = [_links(p, p if read_by is None else read_by.piece(p.name)) for p in self.pieces]
        if prod(len(c) for c in choices) > _MAX_CHAINS:
            choices = [c if len(c) == 1 else ((run(Span.WHATEVER.value),),) for c in choices]
        return tuple(sum(chosen, ()) for chosen in product(*choices))


def _links(piece: Piece, read_as: Piece | None) -> tuple[Chain, ...]:
    """Return what may stand at a piece's place, its variable having been read as another's."""
    if not piece.name:
        return (literal(piece.text.lower()),)
    if read_as is not None and read_as is not piece and read_as.lookup is not None:
        keys = read_as.lookup.back.values()
        found = (k if piece.lookup is None else piece.lookup.there.get(k.lower()) for k in keys)
        return tuple(literal(text.lower()) for text in dict.fromkeys(found) if text)
    if piece.lookup is not None:
        return tuple(literal(text) for text in piece.lookup.back)
    return ((run((read_as or piece).span.value),),)


@dataclass(frozen=True, slots=True)
class Compiled:
    """A rule ready to apply: `order` is its place in the configuration."""

    rule: Rule
    match: Pattern
    to: Pattern
    order: int
    networks: Registry

    @property
    def forwards(self) -> bool:
        return self.rule.way is not Way.OUTWARD

    @property
    def backwards(self) -> bool:
        return self.rule.way is not Way.INWARD

    def takes_from(self, place: Place | None) -> bool:
        """Tell whether recipients of a message from a place are translated; None is an unknown one."""
        return not self.rule.source or (place is not None and place.is_in(self.rule.source))

    def shows_to(self, place: Place | None) -> bool:
        """Tell whether addresses are shown in a message to a place; None is an unknown one."""
        return not self.rule.destination or (place is not None and place.is_in(self.rule.destination))

    def forward(self, address: Address) -> Address | None:
        """Return the address in `to` for one that matches `match`, None where the rule does not apply."""
        return self._translate(address, self.match, self.to)

    def backward(self, address: Address) -> Address | None:
        """Return the address in `match` for one that matches `to`, None where the rule does not apply."""
        return self._translate(address, self.to, self.match)

    def _translate(self, address: Address, one: Pattern, other: Pattern) -> Address | None:
        if address.network != one.network:
            return None
        texts = one.read(address)
        made = None if texts is None else other.write(texts, self.networks)
        if made is not None:
            return made
        network = self.networks.get(one.network)
        for key in network.lookup_keys(address):
            if key == address.key:
                continue
            try:
                texts = one.read(self.networks.parse_in(one.network, key))
            except AddressError:  # with its domain in ASCII, over the bound
                continue
            made = None if texts is None else other.write(texts, self.networks)
            if made is not None:
                return self.networks.get(other.network).carry(made, address)
        return None

    def is_reversible(self) -> bool:
        """Tell whether it is proved that what is translated comes back as it was; see `why_not_reversible`."""
        return not self.why_not_reversible()

    def why_not_reversible(self) -> str:
        """Return why an address translated there and back need not be the same; empty where it is proved to be.

        The proof: both sides have the same variables, each can be read in one way alone, no table gives two texts for
        one, and no network on the way loses what the other tells apart.
        """
        if self.rule.way is not Way.BOTH:
            return "it works in one direction alone"
        odd = self.match.names ^ self.to.names
        if odd:
            return f"{_braced(odd)} stands on one side alone, so its text is lost on the way"
        for pattern in (self.match, self.to):
            for piece in pattern.pieces:
                if piece.lookup is not None and not piece.lookup.is_one_to_one:
                    return f"the table {piece.lookup.name} gives one text for two"
            text = pattern.ambiguous
            if text is not None:
                return f"{pattern.text} can be read in two ways, as in {text!r}"
        for filler in _MIXED:
            texts = {name: self.match.sample_of(name, filler) for name in self.match.names}
            sample = self.match.write(texts, self.networks)
            if sample is None or self.match.read(sample) is None:
                continue
            there = self.forward(sample)
            if there is not None and (back := self.backward(there)) != sample:
                return f"{sample} is shown as {there}, which comes back as {back or 'nothing'}"
        return ""


class RuleError(ValueError):
    """A rule that cannot be used; the text names the place and the mend."""


def compile_rule(rule: Rule, order: int, networks: Registry | None = None) -> Compiled:
    """Check one rule and compile it. Raises: RuleError."""
    networks = networks if networks is not None else registry()
    tables = {table.name: _checked(table) for table in rule.tables}
    match = _pattern(rule.match, tables, networks)
    to = _pattern(rule.to, tables, networks)
    source = tuple(_place(word, networks) for word in rule.source)
    destination = tuple(_place(word, networks) for word in rule.destination)
    compiled = Compiled(replace(rule, source=source, destination=destination), match, to, order, networks)
    for needed, missing, present in (
        (compiled.forwards, to.names - match.names, rule.match),
        (compiled.backwards, match.names - to.names, rule.to),
    ):
        if needed and missing:
            way = "" if rule.way is not Way.BOTH else '; or set direction to "inward" or "outward"'
            raise RuleError(f"{_braced(missing)} does not stand in {present!r}, so its text is not known there{way}")
    return compiled


def _braced(names: frozenset[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in sorted(names))


def _checked(table: Lookup) -> Lookup:
    if not table.pairs:
        raise RuleError(f"the table {table.name} is empty")
    if not all(text.strip() for pair in table.pairs for text in pair):
        raise RuleError(f"the table {table.name} holds an empty text; take it out, or write what it stands for")
    return table


def _place(word: str, networks: Registry) -> str:
    if word.startswith(CONNECTOR):
        return word
    name = networks.canonical_name(word)
    if not networks.is_installed(name):
        known = ", ".join(networks.names)
        raise RuleError(f"no network {word!r} is installed; write {CONNECTOR}NAME, or one of: {known}")
    return name


def _pattern(text: str, tables: Mapping[str, Lookup], networks: Registry) -> Pattern:
    prefix, colon, body = text.partition(":")
    if not colon or not body:
        raise RuleError(f"{text!r} is not a pattern: write network:pattern, such as smtp:{{local}}@old.example")
    name = networks.canonical_name(prefix.strip())
    if not networks.is_installed(name):
        raise RuleError(f"no network {prefix!r} is installed; there are: {', '.join(networks.names)}")
    for braced in _BRACED.finditer(body):
        if not _VARIABLE.fullmatch(braced[0]) and (name == "smtp" or _MEANT.fullmatch(braced[1])):
            raise RuleError(
                f"{braced[0]!r} in {text!r} is not a variable: lower-case letters, digits and _ in braces, "
                "then * for several labels, |lower, |upper or |table:NAME"
            )
    if name == "smtp":
        if "@" not in body:
            raise RuleError(f"{text!r} makes no address of smtp: write a mailbox and a domain")
        body = _with_a_labels(body)
    pieces = _pieces(body, text, tables, is_smtp=name == "smtp")
    seen: set[str] = set()
    for one, other in zip(pieces, (*pieces[1:], Piece("end")), strict=True):
        if one.name and other.name:
            raise RuleError(f"{{{one.name}}} and {{{other.name}}} in {text!r} need a text between them")
        if one.name and one.name in seen:
            raise RuleError(f"{{{one.name}}} stands twice in {text!r}")
        seen.add(one.name)
    if len(seen) > MAX_VARIABLES + 1:
        raise RuleError(f"{text!r} has more than {MAX_VARIABLES} variables")
    return _compile(name, pieces, text, networks)


def _with_a_labels(body: str) -> str:
    local, at, domain = body.rpartition("@")
    try:
        labels = [label if label.isascii() else domain_key(label) for label in domain.split(".")]
    except AddressError as e:
        raise RuleError(f"{body!r}: {e.message}") from None
    return local + at + ".".join(labels)


def _pieces(body: str, text: str, tables: Mapping[str, Lookup], *, is_smtp: bool) -> tuple[Piece, ...]:
    pieces: list[Piece] = []
    last = 0
    at_sign = body.rfind("@") if is_smtp else len(body)
    for variable in _VARIABLE.finditer(body):
        if variable.start() > last:
            pieces.append(Piece(body[last : variable.start()]))
        span = Span.ANY if variable.start() < at_sign else Span.LABELS if variable[2] else Span.LABEL
        if variable[2] and span is Span.ANY:
            raise RuleError(
                f"{variable[0]!r} in {text!r}: only a variable in an internet domain has labels; leave out *"
            )
        pieces.append(_with_words(Piece(name=variable[1], span=span), variable[3], text, tables))
        last = variable.end()
    if last < len(body):
        pieces.append(Piece(body[last:]))
    return tuple(pieces)


def _with_words(piece: Piece, words: str, text: str, tables: Mapping[str, Lookup]) -> Piece:
    for word in words.split("|")[1:]:
        kind, _, name = word.partition(":")
        if kind == "table" and piece.lookup is None:
            if name not in tables:
                known = ", ".join(sorted(tables)) or "none"
                raise RuleError(f"there is no table {name!r} for {{{piece.name}}} in {text!r}; there are: {known}")
            held = frozenset("".join(tables[name].back))
            span = piece.span if not held & piece.span.value else Span.WHATEVER
            if span is not piece.span and piece.span is not Span.ANY:
                mend = "write {NAME*}" if held & piece.span.value == {"."} else "a domain's label has none"
                shown = "".join(sorted(held & piece.span.value))
                raise RuleError(f"the table {name} for {{{piece.name}}} in {text!r} holds {shown!r}: {mend}")
            piece = replace(piece, lookup=tables[name], span=span)
        elif word in ("lower", "upper") and not piece.case:
            piece = replace(piece, case=word)
        else:
            raise RuleError(f"|{word} in {text!r} is none of |lower, |upper and |table:NAME, or stands twice")
    return piece


def _compile(name: str, pieces: tuple[Piece, ...], text: str, networks: Registry) -> Pattern:
    filler = _filler(name, pieces, text, networks)
    if name != "smtp":
        pieces = _as_kept(name, pieces, networks)
        pieces = tuple(
            p if p.name else replace(p, folds=_folds(name, pieces, n, filler, networks)) for n, p in enumerate(pieces)
        )
        return Pattern(name, text, pieces, _Reader(pieces), None, "")
    mailbox, domain = _split(pieces)
    end = domain[-1].text.lower().lstrip("@") if not domain[-1].name else ""
    if len(domain) > 1:  # the first label of the literal end belongs to a variable's label
        end = end.partition(".")[2]
    regex = re.compile("".join(_variable(p) if p.name else _text(p) for p in domain), re.DOTALL)
    return Pattern(name, text, pieces, _Reader(mailbox), regex, end)


def _filler(name: str, pieces: Sequence[Piece], text: str, networks: Registry) -> str:
    """Return a text that the network takes in place of the variables. Raises: RuleError where it takes none."""
    fault: RuleError | None = None
    for filler in _FILLERS:
        sample = _sample(pieces, filler)
        try:
            networks.parse_in(name, sample)
        except AddressError as e:
            fault = fault or RuleError(f"{text!r} makes no address of {name}: {e.message} ({sample!r})")
        else:
            return filler
    raise fault or AssertionError("there is no filler")


def _as_kept(name: str, pieces: tuple[Piece, ...], networks: Registry) -> tuple[Piece, ...]:
    """Return the pieces in the form in which the network keeps its addresses, where it keeps them in another one."""
    variables = [p for p in pieces if p.name and p.lookup is None]
    for signs in _SIGNS:
        texts = {p.name: sign for p, sign in zip(variables, signs, strict=False)}
        written = "".join(texts.get(p.name) or _sample((p,), "") for p in pieces)
        try:
            kept = networks.parse_in(name, written).value
        except AddressError:
            continue
        if kept.lower() == written.lower():
            return pieces
        signs_in_it = re.compile("|".join(map(re.escape, texts.values())) or r"(?!)", re.IGNORECASE)
        by_sign = {texts[p.name]: p for p in variables}
        found = [by_sign[sign.lower()] for sign in signs_in_it.findall(kept)]
        between = signs_in_it.split(kept)
        is_whole = sorted(p.name for p in found) == sorted(texts) and len(variables) == sum(1 for p in pieces if p.name)
        if is_whole and all(between[1:-1]):
            made = [Piece(between[0])]
            for piece, text in zip(found, between[1:], strict=True):
                made += [piece, Piece(text)]
            return tuple(p for p in made if p.name or p.text)
    return pieces


def _sample(pieces: Sequence[Piece], filler: str) -> str:
    return "".join(next(iter(p.lookup.there.values())) if p.lookup else filler if p.name else p.text for p in pieces)


def _folds(name: str, pieces: Sequence[Piece], n: int, filler: str, networks: Registry) -> bool:
    """Tell whether a network compares the text of one piece without case."""
    swapped = [replace(p, text=p.text.swapcase()) if i == n else p for i, p in enumerate(pieces)]
    try:
        keys = [networks.parse_in(name, _sample(some, filler)).key for some in (pieces, swapped)]
    except AddressError:
        return True
    return keys[0] == keys[1]


def _split(pieces: Sequence[Piece]) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """Return the pieces before the last @ and those from it on; it is in a text, since no variable holds one."""
    at = max(n for n, p in enumerate(pieces) if "@" in p.text)
    local, _, domain = pieces[at].text.rpartition("@")
    before = (*pieces[:at], *((Piece(local),) if local else ()))
    return before, (Piece("@" + domain), *pieces[at + 1 :])
