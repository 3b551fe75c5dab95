"""Names: a person's first, middle and last name out of a directory's facts or the name that is shown.

Promises: pure; where a directory gives a part, it is taken as it is; a shown name is read as most directories write
them (`Ann Lee`, `Lee, Ann B.`, `van der Berg, Jan`, `GARCIA Luis`), and what cannot be told stays with the last name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from mappings.identity import Identity
from mappings.letters import in_ascii

_FIRST: Final = ("first", "given", "givenname")
_LAST: Final = ("last", "surname", "sn")
_MIDDLE: Final = ("middle", "initials")
_ASIDE: Final = re.compile(r"\([^()]*\)|\[[^\[\]]*\]|\s[-–|/]\s.*$")


def _words(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


_TITLES: Final = _words(
    "dr dr. prof prof. mr mr. mrs mrs. ms ms. miss sir dame rev rev. herr frau ing ing. dipl.-ing. mag mag. hr hr. fr.",
    "mme mlle sr. sra. don dña. ir. drs. fru",
)
_SUFFIXES: Final = _words("jr jr. sr sr. ii iii iv phd ph.d. md m.d. mba esq esq. cpa dds")
_PARTICLES: Final = _words(
    "van von vom der den dem de del della dello delle di da das do dos du des la las le les los ten ter te tot zu zur",
    "zum af av al el bin ibn bint ben abu st st. san santa y e und",
)
_NO_LETTER: Final = re.compile(r"[^a-z0-9-]+")
_HYPHENS: Final = re.compile(r"-{2,}")


@dataclass(frozen=True, slots=True)
class Name:
    """The parts of a name; empty where there is none."""

    first: str = ""
    middle: str = ""
    last: str = ""


def name_of(identity: Identity) -> Name:
    """Return the parts of an identity's name: what its attributes say, else what its shown name says."""
    first, middle, last = (_attribute(identity, names) for names in (_FIRST, _MIDDLE, _LAST))
    if first and last:
        return Name(first, middle, last)
    read = split(identity.name)
    return Name(first or read.first, middle or read.middle, last or read.last)


def _attribute(identity: Identity, names: tuple[str, ...]) -> str:
    return next((value.strip() for name in names if (value := identity.attribute(name)) and value.strip()), "")


def split(shown: str) -> Name:
    """Return the parts of a name as it is shown."""
    text = " ".join(_ASIDE.sub(" ", shown).split())
    before, comma, after = text.partition(",")
    if comma and _without(after.split(), _SUFFIXES):
        last = _without(before.split(), _SUFFIXES)
        given = _without(_without(after.replace(",", " ").split(), _SUFFIXES), _TITLES)
        # `Berg, Jan van der`: particles that stand last belong to the last name.
        at = len(given)
        while at > 1 and given[at - 1].lower() in _PARTICLES:
            at -= 1
        return _name(given[:at], [*given[at:], *last])
    words = _without(_without(before.split(), _SUFFIXES), _TITLES)
    if len(words) < 2:
        return Name(last=" ".join(words))
    upper = [_is_upper(word) for word in words]
    if upper[0] and not all(upper) and not upper[-1]:  # `GARCIA MARQUEZ Gabriel`
        at = upper.index(False)
        return _name(words[at:], words[:at])
    at = len(words) - 1
    while at > 1 and words[at - 1].lower() in _PARTICLES:
        at -= 1
    if at > 1 and upper[-1] and not upper[0]:  # `Gabriel GARCIA MARQUEZ`
        at = min(n for n in range(1, len(words)) if all(upper[n:]))
    return _name(words[:at], words[at:])


def _name(given: list[str], last: list[str]) -> Name:
    return Name(given[0] if given else "", " ".join(given[1:]), " ".join(last))


def _without(words: list[str], some: frozenset[str]) -> list[str]:
    return [word for word in words if word.strip(",").lower() not in some]


def _is_upper(word: str) -> bool:
    return len(word) > 1 and word.isupper() and not word.endswith(".")


def slug(text: str, *, german: bool = False) -> str:
    """Return a name as it stands in a mailbox: ASCII letters, digits and hyphens, without blanks between."""
    return _HYPHENS.sub("-", _NO_LETTER.sub("", in_ascii(text, german=german))).strip("-")
