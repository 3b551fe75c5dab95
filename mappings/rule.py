"""Rule: addresses of a whole domain or space translated by pattern, where nobody is named.

A pattern is `network:text with {variables}`, such as `smtp:{local}@{wg}.mhs.acme.example`. A variable stands for one
or more characters other than `@`, blanks and quoting signs, and in an internet domain for one label. So a percent or
bang in a mailbox is passed on as part of a name, and a quoted local part matches nothing.
Promises: what a rule makes is normalised by its network, or the rule does not apply; a rule set whose outputs may
feed its own inputs again is refused with an address that shows it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, unique
from typing import Final

from mappings.address import Address, AddressError
from mappings.network import Registry, registry
from mappings.networks.smtp import domain_key

_VARIABLE: Final = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_BRACED: Final = re.compile(r"\{([^{}]*)\}")
_WORD: Final = re.compile(r"\w*")
_NOT_IN_ANY: Final = '@"\\<>(),;: \t'
_ANY: Final = rf"[^{re.escape(_NOT_IN_ANY)}]+"
_LABEL: Final = r"[^@.\"\\<>(),;: \t\[\]]+"


@unique
class Way(Enum):
    """TO translates recipients from `match` to `to`; FROM shows addresses of `to` as `match`; BOTH does both."""

    TO = "to"
    FROM = "from"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Rule:
    """One pattern translation, as configured."""

    match: str
    to: str
    way: Way = Way.BOTH

    def __str__(self) -> str:
        sign = {Way.TO: "->", Way.FROM: "<-", Way.BOTH: "<->"}[self.way]
        return f"{self.match} {sign} {self.to}"


@dataclass(frozen=True, slots=True)
class _Piece:
    """A literal text, or a variable (`name` set); `label` says that it holds no dot."""

    text: str = ""
    name: str = ""
    label: bool = False


@dataclass(frozen=True, slots=True)
class Pattern:
    """One side of a rule, compiled. `domain_end` is the literal end of an smtp pattern's domain, perhaps empty."""

    network: str
    pieces: tuple[_Piece, ...]
    regex: re.Pattern[str]
    domain: re.Pattern[str] | None
    domain_end: str

    @property
    def names(self) -> frozenset[str]:
        return frozenset(p.name for p in self.pieces if p.name)

    def read(self, address: Address) -> dict[str, str] | None:
        """Return the variables' texts where an address matches as a whole; literals compare without case."""
        if address.network != self.network:
            return None
        text = address.value
        if self.domain is not None and not text.isascii():  # compare an internationalised domain by its A-labels
            text = f"{text.rpartition('@')[0]}@{address.key.rpartition('@')[2]}"
        found = self.regex.fullmatch(text)
        return None if found is None else found.groupdict()

    def write(self, texts: dict[str, str], networks: Registry) -> Address | None:
        """Return the address that the texts make, None where its network does not take it."""
        made = "".join(texts[p.name] if p.name else p.text for p in self.pieces)
        try:
            return networks.parse_in(self.network, made)
        except AddressError:
            return None


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
        return self.rule.way is not Way.FROM

    @property
    def backwards(self) -> bool:
        return self.rule.way is not Way.TO

    def forward(self, address: Address) -> Address | None:
        """Return the address in `to` for one that matches `match`, None where the rule does not apply."""
        texts = self.match.read(address)
        return None if texts is None else self.to.write(texts, self.networks)

    def backward(self, address: Address) -> Address | None:
        """Return the address in `match` for one that matches `to`, None where the rule does not apply."""
        texts = self.to.read(address)
        return None if texts is None else self.match.write(texts, self.networks)


class RuleError(ValueError):
    """A rule that cannot be used; the text names the place and the mend."""


def compile_rule(rule: Rule, order: int, networks: Registry | None = None) -> Compiled:
    """Check one rule and compile it. Raises: RuleError."""
    networks = networks if networks is not None else registry()
    match = _pattern(rule.match, networks)
    to = _pattern(rule.to, networks)
    compiled = Compiled(rule, match, to, order, networks)
    for needed, missing, present in (
        (compiled.forwards, to.names - match.names, rule.match),
        (compiled.backwards, match.names - to.names, rule.to),
    ):
        if needed and missing:
            names = ", ".join(f"{{{n}}}" for n in sorted(missing))
            way = "" if rule.way is not Way.BOTH else '; or set direction to "to" or "from"'
            raise RuleError(f"{names} does not stand in {present!r}, so its text is not known there{way}")
    return compiled


def _pattern(text: str, networks: Registry) -> Pattern:
    prefix, colon, body = text.partition(":")
    if not colon or not body:
        raise RuleError(f"{text!r} is not a pattern: write network:pattern, such as smtp:{{local}}@old.example")
    name = networks.canonical_name(prefix.strip())
    if not networks.is_installed(name):
        raise RuleError(f"no network {prefix!r} is installed; there are: {', '.join(networks.names)}")
    for braced in _BRACED.finditer(body):
        if not _VARIABLE.fullmatch(braced[0]) and (name == "smtp" or _WORD.fullmatch(braced[1])):
            raise RuleError(f"{braced[0]!r} in {text!r} is not a variable: lower-case letters, digits and _ in braces")
    if name == "smtp":
        body = _with_a_labels(body)
    pieces = _pieces(body, is_smtp=name == "smtp")
    seen: set[str] = set()
    for one, other in zip(pieces, (*pieces[1:], _Piece("end")), strict=True):
        if one.name and other.name:
            raise RuleError(f"{{{one.name}}} and {{{other.name}}} in {text!r} need a text between them")
        if one.name and one.name in seen:
            raise RuleError(f"{{{one.name}}} stands twice in {text!r}")
        seen.add(one.name)
    return _compile(name, pieces, text, networks)


def _with_a_labels(body: str) -> str:
    local, at, domain = body.rpartition("@")
    try:
        labels = [label if label.isascii() else domain_key(label) for label in domain.split(".")]
    except AddressError as e:
        raise RuleError(f"{body!r}: {e.message}") from None
    return local + at + ".".join(labels)


def _pieces(body: str, *, is_smtp: bool) -> tuple[_Piece, ...]:
    pieces: list[_Piece] = []
    last = 0
    at_sign = body.rfind("@") if is_smtp else len(body)
    for variable in _VARIABLE.finditer(body):
        if variable.start() > last:
            pieces.append(_Piece(body[last : variable.start()]))
        pieces.append(_Piece(name=variable[1], label=variable.start() > at_sign))
        last = variable.end()
    if last < len(body):
        pieces.append(_Piece(body[last:]))
    return tuple(pieces)


def _compile(name: str, pieces: tuple[_Piece, ...], text: str, networks: Registry) -> Pattern:
    sample = "".join("x" if p.name else p.text for p in pieces)
    try:
        networks.parse_in(name, sample)
    except AddressError as e:
        raise RuleError(f"{text!r} makes no address of {name}: {e.message} ({sample!r})") from None
    regex = re.compile(_regex(pieces), re.IGNORECASE)
    if name != "smtp":
        return Pattern(name, pieces, regex, None, "")
    body = "".join(f"{{{p.name}}}" if p.name else p.text for p in pieces)
    domain_pieces = _pieces("@" + body.rpartition("@")[2], is_smtp=True)
    end = domain_pieces[-1].text.lower().lstrip("@") if not domain_pieces[-1].name else ""
    if len(domain_pieces) > 1:  # the first label of the literal end belongs to a variable's label
        end = end.partition(".")[2]
    return Pattern(name, pieces, regex, re.compile(_regex(domain_pieces), re.IGNORECASE), end)


def _regex(pieces: Sequence[_Piece]) -> str:
    return "".join(f"(?P<{p.name}>{_LABEL if p.label else _ANY})" if p.name else re.escape(p.text) for p in pieces)


def find_loops(rules: Sequence[Compiled]) -> list[str]:
    """Return a sentence for every way in which recipients may be translated without end.

    Errs on the safe side: rules whose outputs and inputs overlap in a ring are refused even where the texts shrink.
    """
    forward = [r for r in rules if r.forwards]
    follows = {a.order: {b.order: w for b in forward if (w := _overlap(a.to, b.match)) is not None} for a in forward}
    by_order = {r.order: r.rule for r in forward}
    problems = []
    for start in sorted(follows):
        ring = _ring(follows, start)
        if ring and start == min(ring):
            shown = "; then ".join(str(by_order[o]) for o in ring)
            example = follows[ring[-1]][ring[0]]
            problems.append(f"these rules feed each other without end, for instance with {example}: {shown}")
    return problems


def _ring(follows: dict[int, dict[int, str]], start: int) -> list[int]:
    """Return the shortest ring of rules through `start`, empty where there is none."""
    waiting = deque([[start]])
    seen: set[int] = set()
    while waiting:
        way = waiting.popleft()
        for after in follows[way[-1]]:
            if after == start:
                return way
            if after not in seen:
                seen.add(after)
                waiting.append([*way, after])
    return []


def _overlap(one: Pattern, other: Pattern) -> str | None:
    """Return the shortest address that both patterns match, None where there is none."""
    if one.network != other.network:
        return None
    if not (one.domain_end.endswith(other.domain_end) or other.domain_end.endswith(one.domain_end)):
        return None  # most pairs end here, so that thousands of rules are compared in a moment
    a, b = _states(one), _states(other)
    waiting = deque([(0, 0, "")])
    seen = {(0, 0)}
    while waiting:
        i, j, text = waiting.popleft()
        if i == len(a) and j == len(b):
            return f"{one.network}:{text}"
        for ni, nj, c in _steps(a, i, b, j):
            if (ni, nj) not in seen:
                seen.add((ni, nj))
                waiting.append((ni, nj, text + c))
    return None


def _states(pattern: Pattern) -> list[str]:
    """Spell a pattern as one state per character; a variable is the state `*`, of a label `+` (one or more)."""
    states: list[str] = []
    for p in pattern.pieces:
        states += [("+" if p.label else "*") + p.name] if p.name else list(p.text.lower())
    return states


def _steps(a: list[str], i: int, b: list[str], j: int) -> list[tuple[int, int, str]]:
    """Return the next places in both patterns after one common character, staying in or leaving variables."""
    if i == len(a) or j == len(b):
        return []
    c = _common(a[i], b[j])
    if c is None:
        return []
    next_i = (i, i + 1) if len(a[i]) > 1 else (i + 1,)
    next_j = (j, j + 1) if len(b[j]) > 1 else (j + 1,)
    return [(ni, nj, c) for nj in reversed(next_j) for ni in reversed(next_i)]


def _common(one: str, other: str) -> str | None:
    """Return a character that both states take; a variable's state is longer than one character."""
    if len(one) > 1 and len(other) > 1:
        return "x"
    if len(one) > 1:
        one, other = other, one
    if len(other) > 1:
        refused = _NOT_IN_ANY + (".[]" if other[0] == "+" else "")
        return None if one in refused else one
    return one if one == other else None
